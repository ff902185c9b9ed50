//! Reading with a definite end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Checkpoint, Consumer, ConsumerBuilder, ConsumerConfig, DataLoss, ErrorKind, Operation,
    ShardPosition, ShardRef, StartPosition, Timestamp,
};

use crate::time::{Flow, HOUR, START, run, told, world};
use crate::{all, config, data, entry, merge, named, put, read, sorted, split};

fn minutes(n: u32) -> Timestamp {
    START.saturating_add(HOUR / 60 * n)
}

#[test]
fn two_bounded_consumers_with_a_time_between_them_read_everything_once() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("a", 50));
    split(&client);
    put(&client, named("b", 50));
    clock.advance(HOUR / 2);
    merge(&client);
    put(&client, named("c", 50));
    clock.advance(HOUR);
    put(&client, named("d", 50));
    let read = |config: ConsumerConfig| {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(config);
        sorted(run(&clock, builder).expect("read").0)
    };
    let until = |start, minute| {
        let config = config(start).until_timestamp(minutes(minute));
        read(config.build().expect("valid"))
    };
    let names = |prefixes: &[&str]| {
        let names = prefixes.iter().flat_map(|prefix| named(prefix, 50));
        sorted(names.collect())
    };
    assert_eq!(until(StartPosition::TrimHorizon, 0), Vec::<String>::new());
    assert_eq!(until(StartPosition::TrimHorizon, 15), names(&["a", "b"]));
    assert_eq!(until(StartPosition::TrimHorizon, 30), names(&["a", "b"]));
    assert_eq!(
        until(StartPosition::TrimHorizon, 31),
        names(&["a", "b", "c"])
    );
    let from = StartPosition::AtTimestamp(minutes(30));
    assert_eq!(until(from, 90), names(&["c"]));
    assert_eq!(until(from, 91), names(&["c", "d"]));
}

#[test]
fn a_checkpoint_at_a_time_is_what_the_next_goes_on_from() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("a", 20));
    clock.advance(HOUR);
    put(&client, named("b", 20));
    let config = config(StartPosition::TrimHorizon).until_timestamp(minutes(30));
    let builder = || Consumer::builder(client.clone()).stream("orders");
    let first = builder().config(config.build().expect("valid"));
    let (names, checkpoint) = run(&clock, first).expect("read");
    assert_eq!(sorted(names), sorted(named("a", 20).collect()));
    let second = builder().config(all()).restore(checkpoint);
    let (names, _) = run(&clock, second).expect("read");
    assert_eq!(sorted(names), sorted(named("b", 20).collect()));
}

#[test]
fn a_time_that_has_not_come_is_waited_for() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("a", 3));
    let interval = Duration::from_secs(1);
    let config = config(StartPosition::TrimHorizon).get_records_interval(interval);
    let config = config.until_timestamp(minutes(10)).build().expect("valid");
    let builder = Consumer::builder(client).stream("orders").config(config);
    let (names, _) = run(&clock, builder).expect("read");
    assert_eq!(names, ["a0", "a1", "a2"]);
    assert!(clock.time() >= minutes(10));
}

#[test]
fn a_checkpoint_is_read_up_to_exactly() {
    let client = FakeKinesis::new().with_stream("orders", 1).client();
    let aggregate = |round: usize| {
        let part = |n: usize| SubRecord::new(format!("k{n}"), format!("{round}-{n}"));
        let parts: Vec<_> = (0..4).map(part).collect();
        client
            .put_records("orders", &[entry("a", encode(&parts))])
            .expect("put");
    };
    aggregate(0);
    aggregate(1);
    split(&client);
    aggregate(2);
    put(&client, named("plain", 10));
    let builder = || -> ConsumerBuilder {
        let config = config(StartPosition::TrimHorizon).build().expect("valid");
        Consumer::builder(client.clone())
            .stream("orders")
            .config(config)
    };
    let mut everything = Vec::new();
    let mut bounds = vec![builder().start().expect("started").checkpoint()];
    let mut whole = builder().config(all()).start().expect("started");
    while let Some(record) = whole.next() {
        everything.push(data(&record.expect("a record")));
        bounds.push(whole.checkpoint());
    }
    assert_eq!(everything.len(), 22);
    for (cut, bound) in bounds.iter().enumerate() {
        let mut consumer = builder()
            .until_checkpoint(bound.clone())
            .start()
            .expect("started");
        assert_eq!(
            sorted(read(&mut consumer)),
            sorted(everything[..cut].to_vec()),
            "up to {cut}"
        );
        let again = builder()
            .restore(bound.clone())
            .until_checkpoint(bound.clone());
        let nothing = read(&mut again.start().expect("started"));
        assert_eq!(nothing, Vec::<String>::new(), "from {cut} to {cut}");
        let last = bounds.last().expect("a checkpoint").clone();
        let rest = builder().restore(bound.clone()).until_checkpoint(last);
        let rest = read(&mut rest.start().expect("started"));
        assert_eq!(
            sorted(rest),
            sorted(everything[cut..].to_vec()),
            "from {cut}"
        );
    }
}

#[test]
fn the_end_waits_for_a_restored_shard_that_the_first_listing_does_not_show() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    split(&client);
    put(&client, named("a", 10));
    let builder = |checkpoint: &Checkpoint| {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        builder.restore(checkpoint.clone())
    };
    let (names, checkpoint) = run(&clock, builder(&Checkpoint::default())).expect("read");
    assert_eq!(names.len(), 10);
    put(&client, named("b", 10));
    kinesis
        .on(Operation::ListShards)
        .fail_next(3, Fault::ChildrenLate);
    let (names, _) = run(&clock, builder(&checkpoint)).expect("read");
    assert_eq!(sorted(names), sorted(named("b", 10).collect()));
}

#[test]
fn two_bounded_reads_in_a_row_miss_nothing_however_the_listings_lag() {
    for fault in [Fault::ParentsOpen, Fault::ChildrenLate] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("parent", 10));
        let lag = || {
            let listings = kinesis.on(Operation::ListShards);
            listings.fail_next(2, fault.clone())
        };
        let read = |from: &Checkpoint| {
            let builder = Consumer::builder(client.clone()).stream("orders");
            run(&clock, builder.config(all()).restore(from.clone())).expect("read")
        };
        let (mut names, checkpoint) = read(&Checkpoint::default());
        split(&client);
        put(&client, named("child", 10));
        // The parent's end comes without a record, as if nothing were ahead of an open shard.
        lag();
        let (rest, checkpoint) = read(&checkpoint);
        names.extend(rest);
        assert_eq!(names.len(), 20, "{fault:?}: {names:?}");
        put(&client, named("later", 10));
        lag();
        let (rest, _) = read(&checkpoint);
        names.extend(rest);
        let all = ["parent", "child", "later"].map(|prefix| named(prefix, 10));
        let all = sorted(all.into_iter().flatten().collect());
        assert_eq!(sorted(names), all, "{fault:?}");
    }
}

/// A stream whose producer puts three records before each read, on a clock that is a day ahead of
/// the service's or right.
fn never_pausing(ahead_ms: i64) {
    let (clock, kinesis) = world(1);
    put(&kinesis.client(), named("old", 20));
    let device = clock.of_another_machine();
    device.step(ahead_ms);
    let (producer, count) = (kinesis.client(), AtomicUsize::new(0));
    let before_each_read = move |_: &http::Request<bytes::Bytes>| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        assert!(n < 1_000, "it never ends");
        put(&producer, (0..3).map(|k| format!("new{n}-{k}")));
    };
    kinesis.on(Operation::GetRecords).observe(before_each_read);
    let config = config(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .get_records_interval(Duration::from_secs(1))
        .get_records_max(2);
    let client = kinesis.client_builder_on(&device).build();
    let builder = Consumer::builder(client.expect("a client"))
        .stream("orders")
        .config(config.build().expect("valid"));
    let (names, _) = run(&clock, builder).expect("read");
    assert_eq!(names[..20], named("old", 20).collect::<Vec<_>>());
    assert!(names.len() < 100, "{} records", names.len());
}

#[test]
fn caught_up_is_what_had_arrived_at_the_start_though_the_producer_never_pauses() {
    never_pausing(0);
}

#[test]
fn a_clock_that_is_ahead_puts_no_end_off() {
    never_pausing(24 * 3_600_000);
}

#[test]
fn a_clock_that_steps_during_a_call_brings_no_end_forward() {
    let (clock, kinesis) = world(1);
    let device = clock.of_another_machine();
    let (stepping, time, producer) = (device.clone(), clock.clone(), kinesis.client());
    let calls = AtomicUsize::new(0);
    kinesis.on(Operation::GetRecords).observe(move |_| {
        match calls.fetch_add(1, Ordering::Relaxed) {
            1 => stepping.step(24 * 3_600_000),
            20 => {
                assert!(time.time() < minutes(10));
                put(&producer, named("in time", 1));
            }
            _ => {}
        }
    });
    let config = config(StartPosition::TrimHorizon)
        .until_timestamp(minutes(10))
        .get_records_interval(Duration::from_secs(10));
    let client = kinesis.client_builder_on(&device).build();
    let builder = Consumer::builder(client.expect("a client"))
        .stream("orders")
        .config(config.build().expect("valid"));
    let (names, checkpoint) = run(&clock, builder).expect("read");
    assert_eq!(names, ["in time0"]);
    assert!(clock.time() >= minutes(10));
    let shard = ShardRef::new("orders", "shardId-000000000000");
    let complete_to = checkpoint.complete_to(&shard).expect("a time");
    assert!(complete_to <= clock.time(), "{complete_to} is ahead");
}

#[test]
fn what_was_left_out_behind_an_end_is_missed_when_it_is_gone() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("a", 2));
    clock.advance(HOUR);
    put(&client, named("b", 1));
    clock.advance(HOUR);
    put(&client, named("c", 1));
    // The second answer holds what lies behind the end, and nothing else.
    let first = config(StartPosition::TrimHorizon)
        .until_timestamp(minutes(30))
        .get_records_max(2);
    let builder = |config: ConsumerConfig| {
        let builder = Consumer::builder(client.clone()).stream("orders");
        builder.config(config)
    };
    let first = builder(first.build().expect("valid"));
    let (names, checkpoint) = run(&clock, first).expect("read");
    assert_eq!(names, ["a0", "a1"]);
    // "b" is trimmed, and "c" is not.
    clock.advance(23 * HOUR + HOUR / 2);
    let restored = |policy| {
        let second = config(StartPosition::TrimHorizon).until_caught_up(true);
        let second = second.data_loss(policy).build().expect("valid");
        run(&clock, builder(second).restore(checkpoint.clone()))
    };
    let error = restored(DataLoss::Fail).expect_err("one is gone");
    assert!(
        matches!(error.kind(), ErrorKind::DataLoss { .. }),
        "{error}"
    );
    let (told, _) = restored(DataLoss::ContinueAndReport).expect("read");
    assert_eq!(told, ["Trimmed: x..x", "c0"]);
}

#[test]
fn a_start_that_is_ahead_is_waited_for() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let config = config(StartPosition::AtTimestamp(minutes(5)));
    let config = config.get_records_interval(Duration::from_millis(200));
    let builder = Consumer::builder(client.clone()).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let mut consumer = builder.start().expect("started");
    put(&client, named("early", 3));
    clock.advance(HOUR / 12 - Duration::from_millis(1));
    put(&client, named("late", 3));
    assert_eq!(kinesis.calls(Operation::GetShardIterator), 0);
    clock.advance(Duration::from_millis(1));
    put(&client, named("first", 3));
    let _flow = Flow::of(&clock);
    let names = (0..3).map(|_| data(&consumer.next().expect("more").expect("a record")));
    assert_eq!(names.collect::<Vec<_>>(), ["first0", "first1", "first2"]);
}

#[test]
fn a_start_that_is_far_ahead_is_an_error() {
    let (_, kinesis) = world(1);
    let config = config(StartPosition::AtTimestamp(minutes(16)));
    let builder = Consumer::builder(kinesis.client()).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    assert_eq!(
        builder.start().expect_err("refused").to_string(),
        "start_position: \"1700000960.000\" is not a time in the past, or at most 15 minutes ahead"
    );
}

#[test]
fn a_checkpoint_put_together_of_several_bounds_children_beside_their_parents() {
    for late_listings in [0, 3] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("parent", 10));
        split(&client);
        put(&client, named("child", 40));
        let stored = kinesis.records("orders");
        let nth = |shard: &str, n: usize| {
            let of_shard = stored
                .iter()
                .filter(|record| record.shard_id.as_str() == shard);
            let record = of_shard.clone().nth(n).expect("a record");
            ShardPosition::After {
                sequence_number: record.sequence_number.clone(),
                sub_sequence_number: None,
            }
        };
        let mut bound = Checkpoint::default();
        for (shard, n) in [("shardId-000000000000", 5), ("shardId-000000000002", 7)] {
            bound.insert(ShardRef::new("orders", shard), nth(shard, n), None);
        }
        kinesis
            .on(Operation::ListShards)
            .fail_next(late_listings, Fault::ChildrenLate);
        let config = config(StartPosition::TrimHorizon).build().expect("valid");
        let builder = Consumer::builder(client).stream("orders").config(config);
        let (names, _) = run(&clock, builder.until_checkpoint(bound)).expect("read");
        let of = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
        assert_eq!((of("parent"), of("child")), (6, 8), "{late_listings} late");
    }
}

#[test]
fn two_ends_are_one_too_many() {
    let (_, kinesis) = world(1);
    let builder = Consumer::builder(kinesis.client())
        .stream("orders")
        .config(all());
    let error = builder.until_checkpoint(Checkpoint::default()).start();
    assert_eq!(
        error.expect_err("refused").to_string(),
        "until_checkpoint: \"a checkpoint\" is not the only end: the configuration has one as well"
    );
    let both = ConsumerConfig::builder()
        .until_caught_up(true)
        .until_timestamp(START);
    assert_eq!(
        both.build().expect_err("refused").to_string(),
        "until_timestamp: \"1700000000.000\" is not the only end: until_caught_up is set as well"
    );
}

#[test]
fn an_empty_checkpoint_is_an_end_at_once() {
    let (clock, kinesis) = world(2);
    put(&kinesis.client(), named("a", 10));
    let builder = Consumer::builder(kinesis.client()).stream("orders");
    let builder = builder.until_checkpoint(Checkpoint::default());
    let config = config(StartPosition::TrimHorizon).build().expect("valid");
    let mut consumer = builder.config(config).start().expect("started");
    let _flow = Flow::of(&clock);
    assert_eq!(told(&mut consumer).expect("read"), Vec::<String>::new());
}
