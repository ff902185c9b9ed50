//! Which shards are found, when they start, and what becomes of those that listings do not show.

use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, ConsumerBuilder, ConsumerConfig, DataLoss, Event, HashKeyRange,
    Operation, Result, ShardPosition, ShardRef, StartPosition,
};

use crate::time::{Flow, HOUR, START, run, told, world};
use crate::{all, config, data, endless, merge, named, put, sorted, split};

const SECOND: Duration = Duration::from_secs(1);

fn builder(client: &Client, config: ConsumerConfig) -> ConsumerBuilder {
    let builder = Consumer::builder(client.clone());
    builder.stream("orders").config(config)
}

fn polling(start: StartPosition) -> ConsumerConfig {
    let config = config(start).get_records_interval(SECOND);
    config.build().expect("valid")
}

/// The next records, while time passes.
fn records(clock: &VirtualClock, consumer: &mut Consumer, count: usize) -> Vec<String> {
    let _flow = Flow::of(clock);
    let records = consumer.take(count);
    records
        .map(|record| data(&record.expect("a record")))
        .collect()
}

/// The next records and gaps, while time passes.
fn told_next(clock: &VirtualClock, consumer: &mut Consumer, count: usize) -> Vec<String> {
    let _flow = Flow::of(clock);
    let mut told = Vec::new();
    while told.len() < count {
        match consumer.next_event(Duration::MAX).expect("an event") {
            Event::Record(record) => told.push(data(&record)),
            Event::Gap(gap) => told.push(format!("{:?}", gap.cause)),
            Event::Ended => panic!("nobody stopped it"),
            _ => {}
        }
    }
    told
}

/// What comes within so much time.
fn within(clock: &VirtualClock, consumer: &mut Consumer, time: Duration) -> Result<Vec<String>> {
    let _flow = Flow::of(clock);
    let (mut names, end) = (Vec::new(), clock.time().saturating_add(time));
    while clock.time() < end {
        match consumer.next_event(end.saturating_since(clock.time()))? {
            Event::Record(record) => names.push(data(&record)),
            Event::Gap(gap) => names.push(format!("{:?}", gap.cause)),
            Event::Ended => break,
            _ => {}
        }
    }
    Ok(names)
}

fn shard(n: u32) -> ShardRef {
    ShardRef::new("orders", format!("shardId-{n:012}"))
}

#[test]
fn a_subtask_without_a_shard_reads_those_that_opened_while_it_was_down() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let subtask = |index: usize, start, restored: Checkpoint| {
        let builder = builder(&client, polling(start));
        builder.subtask(index, 2).restore(restored)
    };
    let resumed = |index: usize, restored: Checkpoint| {
        let bounded = config(StartPosition::Latest).until_caught_up(true);
        let builder = builder(&client, bounded.build().expect("valid"));
        run(&clock, builder.subtask(index, 2).restore(restored)).expect("read")
    };
    let closed = |builder: ConsumerBuilder| {
        let mut consumer = builder.start().expect("started");
        within(&clock, &mut consumer, 5 * SECOND).expect("read");
        let json = consumer.close().expect("closed").to_json();
        Checkpoint::from_json(&json).expect("a checkpoint")
    };
    for start in [StartPosition::Latest, StartPosition::TrimHorizon] {
        let fresh = |index| closed(subtask(index, start, Checkpoint::default()));
        let checkpoints = [fresh(0), fresh(1)];
        let counts = checkpoints.each_ref().map(|of| of.iter().count());
        assert!(counts.contains(&0), "{counts:?}");
        assert!(checkpoints.iter().all(|of| !of.is_empty()));
        clock.advance(HOUR);
        split(&client);
        put(&client, named("down", 40));
        clock.advance(HOUR);
        let mut names = Vec::new();
        for (index, restored) in checkpoints.into_iter().enumerate() {
            names.extend(resumed(index, restored).0);
        }
        assert_eq!(
            sorted(names),
            sorted(named("down", 40).collect()),
            "{start:?}"
        );
        // As it was before: one shard with nothing in it.
        merge(&client);
        clock.advance(30 * HOUR);
    }
}

#[test]
fn the_checkpoint_of_another_subtask_is_refused_unless_it_is_merged() {
    let client = FakeKinesis::new().with_stream("orders", 8).client();
    let start = |index, parallelism, restored: &Checkpoint| {
        let builder = builder(&client, all()).restore(restored.clone());
        builder.subtask(index, parallelism).start()
    };
    let checkpoint = |index, parallelism, restored: &Checkpoint| {
        let started = start(index, parallelism, restored).expect("started");
        let json = started.close().expect("closed").to_json();
        Checkpoint::from_json(&json).expect("a checkpoint")
    };
    let none = Checkpoint::default();
    let three = [0, 1, 2].map(|index| checkpoint(index, 3, &none));
    for (index, parallelism, value) in [(1, 3, "1 of 3"), (0, 2, "0 of 2"), (0, 1, "0 of 1")] {
        let refused = start(index, parallelism, &three[0]).expect_err("of another");
        assert_eq!(
            refused.to_string(),
            format!(
                "subtask: \"{value}\" is not the subtask of the restored checkpoint, which is 0 of 3: \
                 merge the checkpoints of all subtasks with Checkpoint::merge, and restore the result"
            )
        );
    }
    checkpoint(0, 3, &three[0]);
    let [first, second, third] = three;
    let two = first.merge(second);
    assert!(start(0, 2, &two).is_err(), "one is missing");
    checkpoint(1, 3, &two);
    let all_three = two.merge(third);
    let mut shards = 0;
    for index in 0..5 {
        shards += checkpoint(index, 5, &all_three).iter().count();
    }
    assert_eq!(shards, 8);
    // The only one has everything.
    let everything = checkpoint(0, 1, &none);
    checkpoint(3, 4, &everything);
}

#[test]
fn consumers_of_a_process_may_become_more_or_fewer() {
    let client = FakeKinesis::new().with_stream("orders", 8).client();
    let group = |size, restored: &Checkpoint| {
        let group = builder(&client, all()).restore(restored.clone());
        group.start_group(size)
    };
    let close = |group: Vec<Consumer>| {
        let closed = group.into_iter().map(|one| one.close().expect("closed"));
        closed.collect::<Vec<_>>()
    };
    let four = close(group(4, &Checkpoint::default()).expect("started"));
    assert!(group(3, &four[0]).is_err(), "that of one of them only");
    let four = four.into_iter().reduce(Checkpoint::merge).expect("four");
    for size in [1, 3, 7] {
        let all = close(group(size, &four).expect("started"));
        assert_eq!(all.iter().map(|of| of.iter().count()).sum::<usize>(), 8);
    }
}

#[test]
fn latest_has_all_that_was_put_since_start_also_behind_a_parent_that_looked_open() {
    for fault in [Fault::ParentsOpen, Fault::ChildrenLate] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("old", 10));
        split(&client);
        put(&client, named("before", 20));
        clock.advance(10 * SECOND);
        kinesis
            .on(Operation::ListShards)
            .fail_next(3, fault.clone());
        let mut consumer = builder(&client, polling(StartPosition::Latest))
            .start()
            .expect("started");
        put(&client, named("new", 20));
        let names = records(&clock, &mut consumer, 20);
        assert_eq!(
            sorted(names),
            sorted(named("new", 20).collect()),
            "{fault:?}"
        );
    }
}

#[test]
fn a_time_is_kept_by_shards_that_the_first_listing_does_not_show() {
    for fault in [Fault::ParentsOpen, Fault::ChildrenLate] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        split(&client);
        put(&client, named("early", 20));
        clock.advance(10 * SECOND);
        let time = clock.time();
        put(&client, named("new", 20));
        clock.advance(10 * SECOND);
        kinesis
            .on(Operation::ListShards)
            .fail_next(2, fault.clone());
        let start = StartPosition::AtTimestamp(time);
        let mut consumer = builder(&client, polling(start)).start().expect("started");
        let mut names = within(&clock, &mut consumer, 5 * SECOND).expect("read");
        // A restart still knows it.
        let json = consumer.close().expect("closed").to_json();
        let checkpoint = Checkpoint::from_json(&json).expect("a checkpoint");
        let again = builder(&client, polling(StartPosition::Latest)).restore(checkpoint);
        let mut consumer = again.start().expect("started");
        let rest = 20 - names.len();
        names.extend(records(&clock, &mut consumer, rest));
        assert_eq!(
            sorted(names),
            sorted(named("new", 20).collect()),
            "{fault:?}"
        );
    }
}

#[test]
fn a_stream_made_anew_while_nothing_of_it_was_read_is_told() {
    for start in [StartPosition::Latest, StartPosition::AtTimestamp(START)] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        let checkpoint = builder(&client, polling(start)).start().expect("started");
        let checkpoint = checkpoint.close().expect("closed").to_json();
        put(&client, named("lost", 5));
        clock.advance(HOUR);
        client.delete_stream("orders").expect("deleted");
        client.create_stream("orders", 1).expect("made");
        put(&client, named("new", 5));
        let restored = || {
            let config = config(StartPosition::Latest).until_caught_up(true);
            let config = config.data_loss(DataLoss::ContinueAndReport);
            let builder = builder(&client, config.build().expect("valid"));
            builder.restore(Checkpoint::from_json(&checkpoint).expect("a checkpoint"))
        };
        let (told, after) = run(&clock, restored()).expect("read on");
        let expected: Vec<_> = named("new", 5).collect();
        assert_eq!(
            told,
            [&["StreamRecreated: -..-".to_owned()], &expected[..]].concat()
        );
        let again = builder(&client, all()).restore(after);
        assert_eq!(
            run(&clock, again).expect("read").0,
            Vec::<String>::new(),
            "once"
        );
    }
}

#[test]
fn a_stream_made_anew_under_way_before_anything_was_read_is_told() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let config = config(StartPosition::Latest).get_records_interval(SECOND);
    let config = config.data_loss(DataLoss::ContinueAndReport);
    let mut consumer = builder(&client, config.build().expect("valid"))
        .start()
        .expect("started");
    within(&clock, &mut consumer, 10 * SECOND).expect("read");
    // A read that is just under way brings nothing of what is to be lost.
    kinesis
        .on(Operation::GetRecords)
        .fail_next(3, Fault::EmptyBatch);
    put(&client, named("lost", 5));
    client.delete_stream("orders").expect("deleted");
    client.create_stream("orders", 1).expect("made");
    put(&client, named("new", 5));
    let told = told_next(&clock, &mut consumer, 6);
    let expected: Vec<_> = named("new", 5).collect();
    assert_eq!(
        told,
        [&["StreamRecreated".to_owned()], &expected[..]].concat()
    );
}

#[test]
fn of_two_processes_exactly_one_tells_of_each_shard_that_vanished() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("read", 20));
    let process = |index: usize, restored: Checkpoint| {
        let config = config(StartPosition::TrimHorizon).until_caught_up(true);
        let config = config.data_loss(DataLoss::ContinueAndReport);
        let builder = builder(&client, config.build().expect("valid"));
        run(&clock, builder.subtask(index, 2).restore(restored)).expect("read")
    };
    let own = [0, 1].map(|index| process(index, Checkpoint::default()).1);
    put(&client, named("lost", 20));
    merge(&client);
    clock.advance(30 * HOUR);
    put(&client, named("new", 20));
    let gone = "ShardVanished: x..-".to_owned();
    let both = own[0].clone().merge(own[1].clone());
    for restored in [own, [both.clone(), both]] {
        let mut all = Vec::new();
        for (index, restored) in restored.into_iter().enumerate() {
            let json = restored.to_json();
            let restored = Checkpoint::from_json(&json).expect("a checkpoint");
            let told = process(index, restored).0;
            let gaps = told.iter().filter(|told| **told == gone).count();
            assert_eq!(gaps, 1, "{index}: {told:?}");
            // Nobody knows what came into the merged shard meanwhile.
            all.extend(told.into_iter().filter(|told| !told.starts_with("Trimmed")));
        }
        let gaps = [gone.clone(), gone.clone()];
        assert_eq!(sorted(all), sorted(named("new", 20).chain(gaps).collect()));
    }
}

#[test]
fn one_answer_that_a_shard_is_not_there_ends_nothing() {
    for operation in [Operation::GetRecords, Operation::GetShardIterator] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("a", 10));
        let message = "Shard shardId-000000000000 in stream orders under account 0 does not exist";
        let denied = Fault::refuse("ResourceNotFoundException", message);
        kinesis.on(operation).fail_next(3, denied);
        let mut consumer = builder(&client, polling(StartPosition::TrimHorizon))
            .start()
            .expect("started");
        assert_eq!(records(&clock, &mut consumer, 10).len(), 10);
        put(&client, named("b", 10));
        let names = records(&clock, &mut consumer, 10);
        assert_eq!(names, named("b", 10).collect::<Vec<_>>());
        let checkpoint = consumer.close().expect("closed");
        assert!(matches!(
            checkpoint.position(&shard(0)),
            Some(ShardPosition::After { .. })
        ));
    }
}

#[test]
fn one_answer_that_a_stream_is_not_there_ends_nothing() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let mut consumer = builder(&client, polling(StartPosition::TrimHorizon))
        .start()
        .expect("started");
    let denied = Fault::refuse("ResourceNotFoundException", "Stream orders not found");
    kinesis.on(Operation::ListShards).fail_next(20, denied);
    within(&clock, &mut consumer, 60 * SECOND).expect("it goes on");
    put(&client, named("a", 10));
    assert_eq!(records(&clock, &mut consumer, 10).len(), 10);
}

#[test]
fn a_stream_that_was_deleted_is_told_after_a_minute() {
    for policy in [DataLoss::Fail, DataLoss::ContinueAndReport] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("a", 1));
        let config = config(StartPosition::TrimHorizon).get_records_interval(SECOND);
        let config = config.data_loss(policy).build().expect("valid");
        let mut consumer = builder(&client, config).start().expect("started");
        assert_eq!(records(&clock, &mut consumer, 1), ["a0"]);
        client.delete_stream("orders").expect("deleted");
        let deleted = clock.time();
        // Time may run ahead of the thread that lists.
        let outcome = within(&clock, &mut consumer, 600 * SECOND);
        match policy {
            DataLoss::Fail => drop(outcome.expect_err("it is gone")),
            _ => assert_eq!(outcome.expect("told"), ["ShardVanished"]),
        }
        assert!(clock.time() >= deleted.saturating_add(60 * SECOND));
    }
}

#[test]
fn children_that_an_end_names_start_while_listings_fail() {
    for fault in [Fault::InternalFailure, Fault::Hang] {
        let (clock, kinesis) = world(1);
        let client = kinesis.client();
        put(&client, named("a", 10));
        let interval = Duration::from_millis(200);
        let config = config(StartPosition::TrimHorizon).get_records_interval(interval);
        let mut consumer = builder(&client, config.build().expect("valid"))
            .start()
            .expect("started");
        assert_eq!(records(&clock, &mut consumer, 10).len(), 10);
        // The listing that is due is under way, and goes on failing.
        kinesis
            .on(Operation::ListShards)
            .fail_next(1_000, fault.clone());
        let calls = kinesis.calls(Operation::ListShards);
        let patience = Instant::now() + Duration::from_secs(60);
        let flow = Flow::of(&clock);
        while kinesis.calls(Operation::ListShards) == calls {
            assert!(Instant::now() < patience, "{fault:?}: no listing");
            let event = consumer.next_event(SECOND).expect("an event");
            assert!(matches!(event, Event::Timeout), "{event:?}");
        }
        drop(flow);
        let middle = HashKeyRange::FULL.midpoint();
        client.split_shard(&shard(0), middle).expect("split");
        put(&client, named("b", 10));
        let begun = clock.time();
        let names = records(&clock, &mut consumer, 10);
        let took = clock.time().saturating_since(begun);
        assert_eq!(sorted(names), sorted(named("b", 10).collect()));
        assert!(took < 2 * SECOND, "{fault:?}: {took:?}");
    }
}

#[test]
fn what_a_bounded_consumer_reads_next_is_listed_late() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("a", 10));
    split(&client);
    put(&client, named("b", 10));
    for fault in [Fault::ParentsOpen, Fault::ChildrenLate] {
        kinesis.on(Operation::ListShards).fail_next(5, fault);
        let mut consumer = builder(&client, all()).start().expect("started");
        let _flow = Flow::of(&clock);
        let told = told(&mut consumer).expect("read");
        assert_eq!(
            sorted(told),
            sorted(named("a", 10).chain(named("b", 10)).collect())
        );
    }
}

#[test]
fn latest_on_this_machines_clock_has_what_is_put_after_start() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    split(&client);
    kinesis
        .on(Operation::ListShards)
        .fail_next(1, Fault::ParentsOpen);
    let mut consumer = builder(&client, endless(StartPosition::Latest))
        .start()
        .expect("started");
    put(&client, named("new", 50));
    let records = consumer.by_ref().take(50);
    let names = records.map(|record| data(&record.expect("a record")));
    assert_eq!(sorted(names.collect()), sorted(named("new", 50).collect()));
}
