//! Reading with a definite end.

use std::time::Duration;

use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Checkpoint, Consumer, ConsumerBuilder, ConsumerConfig, Operation, StartPosition, Timestamp,
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
