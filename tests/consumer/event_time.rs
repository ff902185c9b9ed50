//! Event time on the fake: records say when they happened, in milliseconds behind START.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    BoundedOutOfOrderness, Checkpoint, Client, Consumer, ConsumerConfigBuilder, Event, HashKey,
    Operation, PutRecordsEntry, Record, Shard, ShardRef, StartPosition, Timestamp,
    WatermarkGenerator,
};

use crate::time::{Flow, world};
use crate::{config, merge, split};

pub const MINUTE: Duration = Duration::from_secs(60);

/// Puts a record that happened then into a shard, of those that are open.
pub fn put(client: &Client, shard: usize, millis: i64) {
    let shards = client.list_shards("orders").expect("listed");
    let mut open: Vec<_> = shards.into_iter().filter(Shard::is_open).collect();
    open.sort_by_key(|shard| shard.hash_key_range.start);
    put_at(client, open[shard].hash_key_range.start, millis);
}

fn put_at(client: &Client, key: HashKey, millis: i64) {
    let entry = PutRecordsEntry {
        data: millis.to_string().into(),
        partition_key: "key".into(),
        explicit_hash_key: Some(key),
    };
    let output = client.put_records("orders", &[entry]).expect("answered");
    assert!(output.records.iter().all(Result::is_ok));
}

pub fn own_time(record: &Record) -> Timestamp {
    let text = String::from_utf8_lossy(record.data());
    Timestamp::from_millis(text.parse().expect("a number"))
}

pub fn settings() -> ConsumerConfigBuilder {
    let config = config(StartPosition::TrimHorizon);
    config.get_records_interval(Duration::from_millis(200))
}

/// Out of order by 5 at most.
fn consumer(client: &Client, config: ConsumerConfigBuilder, from: &Checkpoint) -> Consumer {
    let strategy = BoundedOutOfOrderness::new(Duration::from_millis(5), own_time);
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(config.build().expect("valid"))
        .watermarks(strategy);
    builder.restore(from.clone()).start().expect("started")
}

/// What happens until `last` does, or for a while; shards' starts are left out.
pub fn told(clock: &VirtualClock, consumer: &mut Consumer, last: &str) -> Vec<String> {
    let _flow = Flow::of(clock);
    let mut told: Vec<String> = Vec::new();
    while told.last().is_none_or(|told| told != last) {
        let event = consumer.next_event(5 * MINUTE).expect("an event");
        told.push(match event {
            Event::Record(record) => record.event_time().as_millis().to_string(),
            Event::Watermark(watermark) => format!("up to {}", watermark.as_millis()),
            Event::ShardIdle(shard) => format!("{} is idle", shard.shard_id),
            Event::ShardActive(shard) => format!("{} is active", shard.shard_id),
            Event::ShardStarted(_) | Event::ShardEnded(_) => continue,
            Event::Available(_) | Event::Unavailable(_) => continue,
            other => format!("{other:?}"),
        });
    }
    told
}

pub fn two_shards() -> (VirtualClock, FakeKinesis, Client) {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    (clock, kinesis, client)
}

#[test]
fn a_watermark_follows_right_behind_the_record_that_moved_it() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    for millis in [10, 20, 17, 30] {
        put(&client, 0, millis);
    }
    let prompt = settings().watermark_interval(Duration::ZERO);
    let mut consumer = consumer(&client, prompt, &Checkpoint::default());
    let expected = ["10", "up to 5", "20", "up to 15", "17", "30", "up to 25"];
    assert_eq!(told(&clock, &mut consumer, "up to 25"), expected);
    assert_eq!(consumer.watermark(), Some(Timestamp::from_millis(25)));
    let metrics = consumer.metrics();
    assert_eq!(metrics.event_time.watermark, Some(25));
    let shard = metrics.shards.values().next().expect("a shard");
    assert_eq!((shard.watermark, shard.is_idle), (Some(25), false));
}

#[test]
fn without_an_idle_interval_a_silent_shard_stalls_the_watermark_and_nothing_else() {
    let (clock, _kinesis, client) = two_shards();
    put(&client, 0, 10);
    put(&client, 0, 40);
    let mut consumer = consumer(&client, settings(), &Checkpoint::default());
    assert_eq!(
        told(&clock, &mut consumer, "Timeout"),
        ["10", "40", "Timeout"]
    );
    assert_eq!(consumer.watermark(), None);
    put(&client, 1, 20);
    let moved = told(&clock, &mut consumer, "Timeout");
    assert_eq!(moved, ["20", "up to 15", "Timeout"]);
}

#[test]
fn with_an_idle_interval_the_watermark_goes_on_without_a_silent_shard() {
    let (clock, _kinesis, client) = two_shards();
    put(&client, 0, 10);
    let patient = settings().shard_idle_interval(Some(MINUTE));
    let mut consumer = consumer(&client, patient, &Checkpoint::default());
    let all_idle = told(&clock, &mut consumer, "Idle");
    let (one, other) = ("shardId-000000000000", "shardId-000000000001");
    assert_eq!(all_idle[0], "10");
    let told_idle = |name: &str| all_idle.contains(&format!("{name} is idle"));
    assert!(told_idle(one) && told_idle(other), "{all_idle:?}");
    put(&client, 1, 70);
    let awake = told(&clock, &mut consumer, "Idle");
    let active = format!("{other} is active");
    assert_eq!(awake[..2], [&active, "Active"]);
    assert_eq!(awake[2], "70");
    assert!(awake.contains(&"up to 65".to_owned()), "{awake:?}");
}

#[test]
fn a_shard_whose_calls_fail_is_not_idle() {
    let (clock, kinesis, client) = two_shards();
    put(&client, 0, 10);
    kinesis
        .on(Operation::GetRecords)
        .shard("shardId-000000000001")
        .fail_next(u64::MAX, Fault::InternalFailure);
    let patient = settings().shard_idle_interval(Some(MINUTE));
    let patient = patient.outage_timeout(None);
    let mut consumer = consumer(&client, patient, &Checkpoint::default());
    let stalled = told(&clock, &mut consumer, "Timeout");
    let expected = ["10", "shardId-000000000000 is idle", "Timeout"];
    assert_eq!(stalled, expected);
    kinesis.calm_down();
    put(&client, 1, 20);
    let moved = told(&clock, &mut consumer, "Idle");
    // What the idle shard had brought counts before it does not.
    assert_eq!(moved[..3], ["20", "up to 5", "up to 15"]);
}

/// One shard is split and a child of it merged, while the other runs far ahead.
#[test]
fn a_reshard_makes_no_record_late() {
    let (clock, _kinesis, client) = two_shards();
    put(&client, 0, 10);
    split(&client);
    put(&client, 0, 11);
    put(&client, 1, 12);
    merge(&client);
    put(&client, 0, 13);
    for n in 0..50 {
        put(&client, 1, 900 + n);
    }
    let config = settings()
        .watermark_interval(Duration::ZERO)
        .get_records_interval(Duration::from_millis(1))
        .get_records_max(1);
    let mut consumer = consumer(&client, config, &Checkpoint::default());
    let all = told(&clock, &mut consumer, "Timeout");
    let mut watermark = i64::MIN;
    for told in &all {
        if let Some(millis) = told.strip_prefix("up to ") {
            watermark = millis.parse().expect("a number");
        } else if let Ok(millis) = told.parse::<i64>() {
            assert!(millis >= watermark, "{millis} is late: {all:?}");
        }
    }
    assert_eq!(watermark, 13 - 5, "{all:?}");
}

#[test]
fn a_restart_goes_on_with_the_watermarks_of_the_checkpoint() {
    let (clock, _kinesis, client) = two_shards();
    put(&client, 0, 100);
    put(&client, 1, 200);
    let mut first = consumer(&client, settings(), &Checkpoint::default());
    let before = told(&clock, &mut first, "up to 95");
    assert_eq!(before.len(), 3, "{before:?}");
    let json = first.checkpoint().to_json();
    drop(first);

    let checkpoint = Checkpoint::from_json(&json).expect("a checkpoint");
    put(&client, 0, 150);
    let mut second = consumer(&client, settings(), &checkpoint);
    assert_eq!(second.watermark(), Some(Timestamp::from_millis(95)));
    // The other shard has nothing new, and has not begun anew either.
    let after = told(&clock, &mut second, "Timeout");
    assert_eq!(after, ["150", "up to 145", "Timeout"]);
}

#[test]
fn without_a_strategy_event_time_is_the_time_of_arrival() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, 0, 7);
    let builder = Consumer::builder(client).stream("orders");
    let config = settings().until_caught_up(true).build().expect("valid");
    let mut consumer = builder.config(config).start().expect("started");
    let _flow = Flow::of(&clock);
    let record = consumer.next().expect("a record").expect("no error");
    assert_eq!(record.event_time(), record.approximate_arrival());
    assert_eq!(consumer.watermark(), None);
    assert_eq!(
        consumer.checkpoint().to_json().matches("watermark").count(),
        0
    );
}

/// Fails once, at the record that happened then.
struct Failing {
    latest: i64,
    fails_at: i64,
    has_failed: Arc<AtomicBool>,
}

impl Failing {
    fn at(fails_at: i64) -> impl Fn(&ShardRef) -> Failing + Send + Sync {
        let has_failed = Arc::new(AtomicBool::new(false));
        move |_| Failing {
            latest: i64::MIN,
            fails_at,
            has_failed: has_failed.clone(),
        }
    }
}

impl WatermarkGenerator for Failing {
    fn event_time(&mut self, record: &Record, _: Option<Timestamp>) -> Timestamp {
        let time = own_time(record);
        self.latest = self.latest.max(time.as_millis());
        let fails = self.latest >= self.fails_at && !self.has_failed.swap(true, Ordering::Relaxed);
        assert!(!fails, "a fault that passes");
        time
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(self.latest - 1))
    }
}

#[test]
fn a_generator_that_panicked_does_not_judge_records_that_come_again() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    for millis in 0..100 {
        put(&client, 0, millis);
    }
    let config = settings().watermark_interval(Duration::ZERO);
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let mut consumer = builder
        .watermarks(Failing::at(95))
        .start()
        .expect("started");
    let _flow = Flow::of(&clock);
    let (mut records, mut late) = (0, 0);
    while records < 100 {
        if let Event::Record(record) = consumer.next_event(5 * MINUTE).expect("an event") {
            records += 1;
            let told = consumer.watermark();
            late += usize::from(told.is_some_and(|told| record.event_time() <= told));
        }
    }
    assert_eq!(late, 0);
}

#[test]
fn a_panic_before_the_first_record_does_not_move_the_start() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    // With the first answer: an empty one before it would say that nothing was missed.
    let (producer, is_put) = (client.clone(), AtomicBool::new(false));
    kinesis.on(Operation::GetRecords).observe(move |_| {
        if !is_put.swap(true, Ordering::Relaxed) {
            (0..3).for_each(|millis| put(&producer, 0, millis));
        }
    });
    let latest = config(StartPosition::Latest).get_records_interval(Duration::from_millis(200));
    let builder = Consumer::builder(client.clone()).stream("orders");
    let builder = builder.config(latest.build().expect("valid"));
    let mut consumer = builder.watermarks(Failing::at(0)).start().expect("started");
    let _flow = Flow::of(&clock);
    let (mut told, mut quiet) = (Vec::new(), 0);
    // Time may pass while the thread waits for a processor, but not for so long.
    while told.len() < 3 && quiet < 200 {
        match consumer.next_event(5 * MINUTE).expect("an event") {
            Event::Record(record) => told.push(record.event_time().as_millis()),
            Event::Timeout => quiet += 1,
            _ => {}
        }
    }
    assert_eq!(told, [0, 1, 2]);
}
