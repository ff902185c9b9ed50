//! How a consumer ends, and what does not end it.

use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Checkpoint, Consumer, DataLoss, Event, Operation, Properties, ShardPosition, ShardRef,
    StartPosition,
};

use crate::time::{run, until, world};
use crate::{all, client, config, consumer, data, endless, named, put, read, restored, sorted};

#[test]
fn a_stop_under_way_leaves_an_exact_beginning_and_the_rest_for_the_next() {
    let client = client(1);
    put(&client, named("r", 1_000));
    let config = config(StartPosition::TrimHorizon)
        .get_records_max(10)
        .build();
    let mut first = consumer(&client, config.expect("valid"));
    let handle = first.stop_handle();
    let mut names = Vec::new();
    let mut stopper = None;
    for record in first.by_ref() {
        names.push(data(&record.expect("a record")));
        // Somewhere among those that follow it takes effect.
        if names.len() == 100 {
            let handle = handle.clone();
            stopper = Some(std::thread::spawn(move || handle.stop()));
        }
    }
    stopper.expect("started").join().expect("stopped");
    assert!((100..=1_000).contains(&names.len()));
    let expected: Vec<_> = named("r", names.len()).collect();
    assert_eq!(names, expected, "a beginning without a hole");
    let after_the_stop = first.checkpoint();
    let at_the_end = first.close().expect("closed");
    assert!(after_the_stop.iter().eq(at_the_end.iter()));
    names.extend(read(&mut restored(&client, all(), at_the_end)));
    assert_eq!(names, named("r", 1_000).collect::<Vec<_>>());
}

#[test]
fn closing_does_not_wait_for_the_next_listing() {
    let client = client(3);
    let day = Duration::from_secs(24 * 3_600);
    let config = config(StartPosition::TrimHorizon).shard_discovery_interval(day);
    let config = config
        .get_records_interval(Duration::from_secs(3_600))
        .build();
    let consumer = consumer(&client, config.expect("valid"));
    let began = Instant::now();
    consumer.close().expect("closed");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn closing_does_not_wait_for_threads_whose_records_are_held_behind_a_gap() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let client = kinesis.client();
    put(&client, named("r", 200));
    // Of a stream of that name that was there before.
    let mut checkpoint = Checkpoint::default();
    for shard in client.list_shards("orders").expect("listed") {
        let number = shard.starting_sequence_number.as_str();
        let sequence_number = format!("1{}", &number[1..]).parse().expect("a number");
        let position = ShardPosition::After {
            sequence_number,
            sub_sequence_number: None,
        };
        checkpoint.insert(ShardRef::new("orders", shard.id), position, None);
    }
    let config = config(StartPosition::TrimHorizon).get_records_max(1);
    let config = config.data_loss(DataLoss::ContinueAndReport).build();
    let calls = kinesis.calls(Operation::GetRecords);
    let consumer = restored(&client, config.expect("valid"), checkpoint.clone());
    let before = consumer.checkpoint();
    assert_eq!(
        before.iter().collect::<Vec<_>>(),
        checkpoint.iter().collect::<Vec<_>>()
    );
    // Each shard has an answer in its queue, which waits behind two gaps, and no room for another.
    until("second read of each shard", || {
        kinesis.calls(Operation::GetRecords) >= calls + 2 * 2
    });
    let began = Instant::now();
    consumer.close().expect("closed");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_first_error_is_the_one_that_is_told() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let denied = |message| Fault::refuse("AccessDeniedException", message);
    let script = kinesis.on(Operation::GetRecords);
    script.fail_next(u64::MAX, denied("no right to read"));
    let mut consumer = consumer(&kinesis.client(), endless(StartPosition::TrimHorizon));
    let error = consumer.find_map(Result::err).expect("an error");
    assert!(error.to_string().contains("no right to read"), "{error}");
    assert!(consumer.next().is_none(), "there is one error at most");
    consumer.close().expect("closed, and none of it again");
}

#[test]
fn a_shard_whose_iterator_is_late_holds_up_no_other() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let client = kinesis.client();
    put(&client, named("r", 100));
    let late = "shardId-000000000000";
    let script = kinesis.on(Operation::GetShardIterator).shard(late);
    script.fail_next(u64::MAX, Fault::Hang);
    let others = kinesis.records("orders").into_iter();
    let others = others
        .filter(|record| record.shard_id.as_str() != late)
        .count();
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    let late = ShardRef::new("orders", late);
    for record in consumer.by_ref().take(others) {
        assert_ne!(*record.expect("a record").shard(), late);
    }
}

/// A stop ends the threads at once. The caller may ask for an event before, between or after their ends.
#[test]
fn a_stop_at_any_moment_is_an_end_and_no_error() {
    let kinesis = FakeKinesis::new().with_stream("orders", 8);
    let client = kinesis.client();
    for stop in 0..300 {
        let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
        let handle = consumer.stop_handle();
        let calls = kinesis.calls(Operation::GetRecords);
        let stopper = std::thread::spawn(move || handle.stop());
        loop {
            match consumer.next_event(Duration::ZERO) {
                Ok(Event::Ended) => break,
                Ok(_) => {}
                Err(error) => panic!("stop {stop}, after {calls} calls: {error}"),
            }
        }
        stopper.join().expect("no panic");
        consumer.close().expect("closed");
    }
}

#[test]
fn a_burst_of_throttles_ends_nothing() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("r", 100));
    for operation in [Operation::GetRecords, Operation::GetShardIterator] {
        kinesis.on(operation).fail_next(100, Fault::Throttle);
    }
    let builder = Consumer::builder(client).stream("orders").config(all());
    let (names, _) = run(&clock, builder).expect("read");
    assert_eq!(sorted(names), sorted(named("r", 100).collect()));
}

#[test]
fn the_longest_pause_between_calls_is_no_panic_and_ends_with_the_consumer() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let script = kinesis.on(Operation::GetRecords);
    script.fail_next(u64::MAX, Fault::ServiceUnavailable);
    let keys = ["maxretries", "backoff.base", "backoff.max"];
    let values = ["0", "1", "9223372036854775807"];
    let keys = keys.map(|key| format!("flink.shard.getrecords.{key}"));
    let properties: Properties = keys.into_iter().zip(values).collect();
    let client = kinesis.client_builder().properties(&properties);
    let client = client.expect("valid").build().expect("a client");
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    until("read", || kinesis.calls(Operation::GetRecords) > 0);
    let event = consumer.next_event(Duration::from_millis(50));
    assert!(matches!(event, Ok(Event::ShardStarted(_))), "{event:?}");
    let event = consumer.next_event(Duration::from_millis(50));
    assert!(matches!(event, Ok(Event::Timeout)), "{event:?}");
    assert_eq!(consumer.metrics().total.thread_restarts, 0);
    let began = Instant::now();
    consumer.close().expect("closed");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
}
