//! Which streams are read, from where, and what becomes of those that are not ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, Event, Operation, PutRecordsEntry, ShardRef, StartPosition,
};

use crate::time::{Flow, HOUR, START, run, told, world};
use crate::{all, config, data, endless, entry, named, put, read, sorted};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

fn put_to(client: &Client, stream: &str, name: &str) {
    let record: PutRecordsEntry = entry("k", name.to_owned().into());
    client.put_records(stream, &[record]).expect("put");
}

#[test]
fn each_stream_starts_where_it_is_told_to() {
    let clock = VirtualClock::starting_at(START);
    let kinesis = FakeKinesis::on_clock(clock.clone());
    let kinesis = ["a", "b", "c"]
        .iter()
        .fold(kinesis, |k, name| k.with_stream(name, 1));
    let client = kinesis.client();
    for stream in ["a", "b", "c"] {
        put_to(&client, stream, &format!("{stream}-old"));
    }
    clock.advance(HOUR);
    for stream in ["a", "b", "c"] {
        put_to(&client, stream, &format!("{stream}-new"));
    }
    let half = START.saturating_add(HOUR / 2);
    let builder = Consumer::builder(client)
        .stream("a")
        .stream_from("b", StartPosition::AtTimestamp(half))
        .stream_from("c", StartPosition::Latest);
    let builder = builder.config(all());
    let mut consumer = builder.start().expect("started");
    let _flow = Flow::of(&clock);
    let told = told(&mut consumer).expect("read");
    assert_eq!(sorted(told), ["a-new", "a-old", "b-new"]);
}

#[test]
fn a_stream_is_read_by_its_arn_with_a_checkpoint_by_its_name_and_back() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    let by = |name: &str, checkpoint: &Checkpoint| {
        let builder = Consumer::builder(client.clone()).stream(name).config(all());
        run(&clock, builder.restore(checkpoint.clone())).expect("read")
    };
    put(&client, named("a", 10));
    let (told, checkpoint) = by("orders", &Checkpoint::default());
    assert_eq!(told.len(), 10);
    put(&client, named("b", 10));
    let (told, checkpoint) = by(ARN, &checkpoint);
    assert_eq!(sorted(told), sorted(named("b", 10).collect()));
    assert!(checkpoint.iter().all(|(shard, _)| &*shard.stream == ARN));
    put(&client, named("c", 10));
    let (told, checkpoint) = by("orders", &checkpoint);
    assert_eq!(sorted(told), sorted(named("c", 10).collect()));
    assert_eq!(checkpoint.iter().count(), 2);
}

#[test]
fn a_stream_named_in_two_ways_is_refused() {
    let (_, kinesis) = world(1);
    let builder = Consumer::builder(kinesis.client())
        .stream("orders")
        .stream(ARN);
    let error = builder.start().expect_err("named twice");
    assert_eq!(
        error.to_string(),
        "stream: \"orders\" is not named once only: it is there by its name and by an ARN"
    );
}

#[test]
fn a_stream_that_is_being_made_is_waited_for() {
    let clock = VirtualClock::starting_at(START);
    let kinesis = FakeKinesis::on_clock(clock.clone()).with_stream_delay(Duration::from_secs(30));
    let client = kinesis.client();
    client.create_stream("orders", 2).expect("being made");
    let _flow = Flow::of(&clock);
    let builder = Consumer::builder(client).stream("orders").config(all());
    let mut consumer = builder.start().expect("started");
    assert!(clock.time() >= START.saturating_add(Duration::from_secs(30)));
    assert_eq!(told(&mut consumer).expect("read"), Vec::<String>::new());
    assert_eq!(consumer.checkpoint().iter().count(), 2);
}

#[test]
fn a_stream_that_stays_unready_is_named() {
    let (clock, kinesis) = world(1);
    let busy = Fault::refuse("ResourceInUseException", "not ACTIVE");
    kinesis.on(Operation::ListShards).fail_next(1_000, busy);
    let _flow = Flow::of(&clock);
    let started = Consumer::builder(kinesis.client()).stream("orders").start();
    let error = started.expect_err("never ready");
    assert!(
        error
            .to_string()
            .starts_with("ListShards on stream orders: ResourceInUseException"),
        "{error}"
    );
    assert!(kinesis.calls(Operation::ListShards) >= 60);
}

#[test]
fn a_stream_that_changes_while_it_is_read_is_listed_again_later() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 3));
    let interval = Duration::from_millis(200);
    let config = config(StartPosition::TrimHorizon).get_records_interval(interval);
    let builder = Consumer::builder(client.clone()).stream("orders");
    let mut consumer = builder
        .config(config.build().expect("valid"))
        .start()
        .expect("started");
    let busy = Fault::refuse("ResourceInUseException", "not ACTIVE");
    kinesis.on(Operation::ListShards).fail_next(3, busy);
    let listings = kinesis.calls(Operation::ListShards);
    let _flow = Flow::of(&clock);
    while kinesis.calls(Operation::ListShards) < listings + 5 {
        let event = consumer
            .next_event(Duration::from_secs(1))
            .expect("no error");
        assert!(!matches!(event, Event::Ended));
    }
}

#[test]
fn the_instant_of_latest_is_the_services_even_if_this_machines_clock_is_off() {
    for skew_ms in [-60_000, 60_000] {
        let kinesis = FakeKinesis::new()
            .with_stream("orders", 1)
            .with_clock_skew(skew_ms);
        let client = kinesis.client();
        put(&client, named("old", 3));
        let consumer = Consumer::builder(client.clone()).stream("orders");
        let consumer = consumer.config(endless(StartPosition::Latest)).start();
        let checkpoint = consumer.expect("started").close().expect("closed");
        let shard = ShardRef::new("orders", "shardId-000000000000");
        let text = format!("{:?}", checkpoint.position(&shard));
        assert!(text.contains("AtTimestamp"), "{text}");
        put(&client, named("new", 3));
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let mut resumed = builder.restore(checkpoint).start().expect("started");
        let names = read(&mut resumed);
        let new: Vec<_> = names
            .iter()
            .filter(|name| name.starts_with("new"))
            .collect();
        assert_eq!(new, ["new0", "new1", "new2"], "{skew_ms}");
    }
}

#[test]
fn a_latest_iterator_that_expires_before_the_first_record_loses_nothing() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    kinesis
        .on(Operation::GetRecords)
        .after(1)
        .fail_next(1, Fault::ExpiredIterator);
    let builder = Consumer::builder(client.clone()).stream("orders");
    let mut consumer = builder
        .config(endless(StartPosition::Latest))
        .start()
        .expect("started");
    put(&client, named("new", 3));
    let names: Vec<_> = consumer
        .by_ref()
        .take(3)
        .map(|record| data(&record.expect("a record")))
        .collect();
    assert_eq!(names, ["new0", "new1", "new2"]);
}

#[test]
fn an_iterator_at_a_time_is_asked_for_once_on_an_empty_shard() {
    let (clock, kinesis) = world(1);
    let config = config(StartPosition::AtTimestamp(START)).get_records_interval(Duration::ZERO);
    let builder = Consumer::builder(kinesis.client()).stream("orders");
    let consumer = builder
        .config(config.build().expect("valid"))
        .start()
        .expect("started");
    // The thread of the shard and that of the listing live through two seconds.
    assert!(clock.advance_with(2, Duration::from_secs(2)));
    assert!(kinesis.calls(Operation::GetRecords) >= 3);
    assert_eq!(kinesis.calls(Operation::GetShardIterator), 1);
    drop(consumer);
}

#[test]
fn an_iterator_that_expires_under_way_skips_nothing() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let part = |n: usize| SubRecord::new("k", format!("r{n}"));
    let aggregates = (0..200).map(|n| (n * 5..n * 5 + 5).map(part).collect::<Vec<_>>());
    let entries: Vec<_> = aggregates.map(|parts| entry("k", encode(&parts))).collect();
    client.put_records("orders", &entries).expect("put");
    let script = kinesis.on(Operation::GetRecords).after(6);
    script.fail_next(2, Fault::ExpiredIterator);
    let config = config(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .get_records_max(23);
    let builder = Consumer::builder(client).stream("orders");
    let (names, _) = run(&clock, builder.config(config.build().expect("valid"))).expect("read");
    assert_eq!(names, named("r", 1_000).collect::<Vec<_>>());
    // And one for each time that five minutes of this clock went by between two calls.
    assert!(kinesis.calls(Operation::GetShardIterator) >= 3);
}

#[test]
fn an_empty_checkpoint_is_a_fresh_start() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("old", 10));
    clock.advance(HOUR);
    put(&client, named("new", 10));
    let half = StartPosition::AtTimestamp(START.saturating_add(HOUR / 2));
    let config = config(half).until_caught_up(true).build().expect("valid");
    let builder = Consumer::builder(client).stream("orders").config(config);
    let (names, _) = run(&clock, builder.restore(Checkpoint::default())).expect("read");
    assert_eq!(sorted(names), sorted(named("new", 10).collect()));
}

#[test]
fn starting_asks_for_nothing_but_shards_and_iterators() {
    let (clock, kinesis) = world(20);
    let builder = Consumer::builder(kinesis.client())
        .stream("orders")
        .config(all());
    run(&clock, builder).expect("read");
    assert_eq!(kinesis.calls(Operation::GetShardIterator), 20);
    assert_eq!(kinesis.calls(Operation::DescribeStreamSummary), 0);
}

#[test]
fn after_a_time_out_a_read_asks_for_half_as_much() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 10));
    let limits: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = limits.clone();
    let limit = move |request: &http::Request<Bytes>| {
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        let limit = body["Limit"].as_u64().expect("a limit");
        seen.lock().expect("not poisoned").push(limit);
    };
    let reads = kinesis.on(Operation::GetRecords).observe(limit);
    reads.fail_next(2, Fault::Slow(HOUR));
    let builder = Consumer::builder(client).stream("orders").config(all());
    let (names, _) = run(&clock, builder).expect("read");
    assert_eq!(names, named("r", 10).collect::<Vec<_>>());
    let limits = limits.lock().expect("not poisoned");
    assert_eq!(limits[..3], [10_000, 5_000, 2_500]);
}
