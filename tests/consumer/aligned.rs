//! Shards that are held together in event time.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_blocking::{
    BoundedOutOfOrderness, Client, Consumer, ConsumerBuilder, ConsumerConfigBuilder,
    MemoryWatermarkTracker, PutRecordsEntry, Record, Timestamp, WatermarkReport, WatermarkTracker,
};

use crate::event_time::{MINUTE, own_time, put, settings, told, two_shards};
use crate::time::{Flow, until, world};
use crate::{merge, read};

const HOUR_MS: i64 = 3_600_000;
const SECOND: Duration = Duration::from_secs(1);

fn builder(client: &Client, config: ConsumerConfigBuilder) -> ConsumerBuilder {
    let config = config.watermark_sync_interval(SECOND);
    let strategy = BoundedOutOfOrderness::new(Duration::from_millis(5), own_time);
    Consumer::builder(client.clone())
        .stream("orders")
        .config(config.build().expect("valid"))
        .watermarks(strategy)
}

/// Waits until this many records are there to be taken, while time stands still.
fn until_queued(consumer: &Consumer, records: u64) {
    let queued = || -> u64 {
        let shards = consumer.metrics().shards;
        shards.values().map(|shard| shard.queued_records).sum()
    };
    until("records in the queue", || queued() >= records);
}

fn times(records: &[String]) -> Vec<i64> {
    let times = records.iter().map(|record| record.parse());
    times.collect::<Result<_, _>>().expect("numbers")
}

/// One subtask, and nothing to read within the look-ahead for longer than the idle interval. In Flink's
/// connector it was idle then, said nothing to the tracker any more, and waited for itself for ever.
#[test]
fn flink_29099_a_subtask_that_waits_for_the_look_ahead_is_not_idle() {
    let (clock, _kinesis, client) = two_shards();
    for millis in [0, HOUR_MS, 2 * HOUR_MS] {
        put(&client, 0, millis);
    }
    let config = settings().shard_idle_interval(Some(10 * SECOND));
    let builder = builder(&client, config.watermark_sync_interval(MINUTE));
    let tracker = Arc::new(Noting::default());
    let noting = tracker.clone();
    let mut consumer = builder.watermark_tracker(noting).start().expect("started");
    let all = told(&clock, &mut consumer, "Idle");
    let last = (2 * HOUR_MS).to_string();
    let (at, idle) = (
        all.iter().position(|told| *told == last),
        all.iter()
            .position(|told| told == "shardId-000000000000 is idle"),
    );
    assert!(at.is_some() && at < idle, "{all:?}");
    // The other shard was idle all along, and held nothing.
    let furthest = tracker
        .answers
        .lock()
        .expect("answers")
        .iter()
        .max()
        .copied();
    assert_eq!(
        furthest,
        Some(Some(Timestamp::from_millis(2 * HOUR_MS - 5)))
    );
}

/// Keeps what it answered.
#[derive(Default)]
struct Noting {
    tracker: MemoryWatermarkTracker,
    answers: Mutex<Vec<Option<Timestamp>>>,
}

impl WatermarkTracker for Noting {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        let answer = self.tracker.update(report)?;
        self.answers.lock().expect("answers").push(answer);
        Ok(answer)
    }
}

#[test]
fn records_of_all_shards_are_merged_by_their_times() {
    let (clock, kinesis) = world(3);
    let client = kinesis.client();
    for n in 0..30 {
        put(&client, 0, n * 10);
        put(&client, 1, n * 7 + 3);
        put(&client, 2, 250 + n);
    }
    merge(&client);
    put(&client, 0, 300);
    put(&client, 0, 301);
    let order = |merged: bool| {
        let config = settings().get_records_max(4).until_caught_up(true);
        let builder = builder(&client, config);
        let builder = match merged {
            true => builder.merged(Duration::ZERO),
            false => builder,
        };
        let _flow = Flow::of(&clock);
        times(&read(&mut builder.start().expect("started")))
    };
    let (plain, merged) = (order(false), order(true));
    assert!(!plain.is_sorted(), "{plain:?}");
    assert!(merged.is_sorted(), "{merged:?}");
    assert_eq!(merged.len(), 92);
}

/// Does not answer, and panics now and then.
struct OutOfReach;

impl WatermarkTracker for OutOfReach {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        assert_ne!(
            report.watermark,
            Some(Timestamp::from_millis(-5)),
            "the first"
        );
        Err(io::Error::other("out of reach"))
    }
}

#[test]
fn without_its_tracker_a_consumer_aligns_its_own_shards() {
    let (clock, _kinesis, client) = two_shards();
    for n in 0..50 {
        put(&client, 0, n * 1_000);
        put(&client, 1, n * 1_000 + 500);
    }
    let builder = builder(&client, settings().until_caught_up(true));
    let mut consumer = builder
        .watermark_tracker(OutOfReach)
        .start()
        .expect("started");
    // Shards that have not delivered hold the others up to the first exchange, and no longer.
    until_queued(&consumer, 100);
    let all = {
        let _flow = Flow::of(&clock);
        times(&read(&mut consumer))
    };
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted(), "the oldest first: {all:?}");
    let metrics = consumer.metrics().event_time;
    assert!(
        metrics.failed_syncs > 0 && metrics.syncs == 0,
        "{metrics:?}"
    );
}

/// The first parent has ended, and its watermark is the child's; but the child comes only when the
/// second one has been read to its end, far beyond the look-ahead.
#[test]
fn a_merged_shard_does_not_keep_its_second_parent_from_ending() {
    let (clock, _kinesis, client) = two_shards();
    put(&client, 0, 50);
    for n in 0..100 {
        put(&client, 1, n * HOUR_MS);
    }
    merge(&client);
    put(&client, 0, 51);
    for merged in [false, true] {
        let builder = builder(&client, settings().until_caught_up(true));
        let builder = match merged {
            true => builder.merged(Duration::ZERO),
            false => builder.watermark_tracker(MemoryWatermarkTracker::new()),
        };
        let _flow = Flow::of(&clock);
        let all = times(&read(&mut builder.start().expect("started")));
        assert_eq!((all.len(), all.last()), (102, Some(&51)));
    }
}

/// What waits for the look-ahead takes no room from the shard that all wait for.
#[test]
fn shards_that_wait_leave_room_to_the_one_that_is_behind() {
    let (clock, _kinesis, client) = two_shards();
    let large = |millis: i64| {
        let mut text = millis.to_string();
        text.insert_str(0, &"0".repeat(400_000 - text.len()));
        text
    };
    let put_large = |shard: usize, millis: i64| {
        let shards = client.list_shards("orders").expect("listed");
        let entry = PutRecordsEntry {
            data: large(millis).into(),
            partition_key: "key".into(),
            explicit_hash_key: Some(shards[shard].hash_key_range.start),
        };
        client.put_records("orders", &[entry]).expect("put");
    };
    for n in 0..12 {
        put_large(0, HOUR_MS + n);
        put_large(1, n * 100);
    }
    for merged in [false, true] {
        let config = settings().buffered_bytes_max(1 << 20).get_records_max(3);
        let builder = builder(&client, config.until_caught_up(true));
        let builder = match merged {
            true => builder.merged(Duration::ZERO),
            false => builder.watermark_tracker(MemoryWatermarkTracker::new()),
        };
        let mut consumer = builder.start().expect("started");
        let _flow = Flow::of(&clock);
        let time =
            |record: kinesis_blocking::Result<Record>| record.expect("a record").event_time();
        let all: Vec<_> = consumer.by_ref().map(time).collect();
        assert_eq!(all.len(), 24);
        // A tracker's limit waits an interval for shards that have not delivered, and no longer.
        assert!(!merged || all.is_sorted(), "{all:?}");
    }
}
