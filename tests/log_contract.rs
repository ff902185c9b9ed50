//! What the log says, and at which level: `error` if a thread died or data is lost, `warn` if
//! somebody should act, `info` for what shards live through, `debug` for calls, `trace` for the wire.
//! Never data of records, and never a secret.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Consumer, ConsumerConfig, DataLoss, Operation, Producer, ShardRef, StartPosition, Timestamp,
    UserRecord,
};
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Kept(Mutex<Vec<(Level, String)>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target().starts_with("kinesis_blocking") {
            let line = (record.level(), record.args().to_string());
            self.lines().push(line);
        }
    }

    fn flush(&self) {}
}

impl Kept {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<(Level, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says at which levels there are lines with these words.
    fn levels_of(&self, words: &str) -> Vec<Level> {
        let lines = self.lines();
        let with = lines.iter().filter(|(_, line)| line.contains(words));
        let mut levels: Vec<_> = with.map(|(level, _)| *level).collect();
        levels.dedup();
        levels
    }
}

const DATA: &str = "what-nobody-but-the-caller-may-see";
const KEY: &str = "a-partition-key-of-somebody";
/// A name that forges a line, turns the text's direction and clears a terminal.
const EVIL: &str = "evil\n\u{202e}\u{1b}[2Jstream";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// One stream's life: records, an expired iterator, a throttle, a panic, a split, a lost answer, and
/// records that outlive their retention.
#[test]
fn each_line_is_at_its_level_and_none_shows_data_or_secrets() {
    log::set_logger(&KEPT).expect("the only logger");
    log::set_max_level(LevelFilter::Trace);
    let clock = VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
    let kinesis = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
    clock.auto_advance(1);
    put(&kinesis);
    kinesis
        .on(Operation::GetShardIterator)
        .fail_next(1, Fault::Throttle);
    let is_first = AtomicBool::new(true);
    kinesis.on(Operation::GetRecords).observe(move |_| {
        let is_first = is_first.swap(false, Ordering::Relaxed);
        assert!(!is_first, "made to panic by the test");
    });
    let first = consume(&kinesis, None);
    let shard = ShardRef::new("orders", "shardId-000000000000");
    let client = kinesis.client();
    client.split_shard(&shard, 7.into()).expect("split");
    put(&kinesis);
    let reads = kinesis.on(Operation::GetRecords);
    reads.fail_next(1, Fault::ExpiredIterator);
    let second = consume(&kinesis, Some(first));
    put(&kinesis);
    clock.advance(2 * DAY);
    put(&kinesis);
    consume(&kinesis, Some(second));
    put_to(&kinesis, EVIL);
    outlast(&kinesis);
    for (words, level) in [
        ("reading starts at", Level::Info),
        ("reading ends: CaughtUp", Level::Info),
        ("reading ends: ShardEnd", Level::Info),
        ("ExpiredIteratorException", Level::Debug),
        ("ProvisionedThroughputExceededException", Level::Debug),
        ("made to panic by the test", Level::Error),
        ("may have outlived the stream", Level::Warn),
        ("PutRecords: 200 OK in", Level::Trace),
        ("committed", Level::Debug),
        (": no call has succeeded since", Level::Error),
    ] {
        assert_eq!(
            KEPT.levels_of(words),
            [level],
            "{words}\n{:#?}",
            KEPT.lines()
        );
    }
    // Every 10 s one warning for all shards, which says how many there would have been.
    let lines = KEPT.lines().clone();
    let warned = |words: &str| {
        let with = lines
            .iter()
            .filter(|(level, line)| *level == Level::Warn && line.contains(words));
        with.count()
    };
    let warnings = warned("next attempt in");
    assert!((2..=31).contains(&warnings), "{warnings}");
    assert!(warned(" other calls failed since the last warning") > 0);
    for (_, line) in KEPT.lines().iter() {
        for private in [DATA, KEY, "secret"] {
            assert!(!line.contains(private), "{line}");
        }
        let is_plain = !line.contains(|c: char| c.is_control() || c == '\u{202e}');
        assert!(is_plain, "{line:?}");
    }
}

/// Puts to a stream that the service refuses, and has named in the log.
fn put_to(kinesis: &FakeKinesis, stream: &str) {
    let producer = Producer::builder(kinesis.client())
        .start()
        .expect("started");
    let record = UserRecord::new(KEY, DATA).stream(stream);
    let delivery = producer.put(record).expect("taken in");
    delivery.wait().expect_err("there is no such stream");
    let escaped = "evil\\n\\u{202e}\\u{1b}[2Jstream";
    // The calls that name it in the log go on beside the record's.
    let is_told = (0..10_000_000).any(|_| {
        std::thread::yield_now();
        KEPT.lines().iter().any(|(_, line)| line.contains(escaped))
    });
    assert!(is_told, "{:#?}", KEPT.lines());
    producer.close().expect("closed");
}

fn put(kinesis: &FakeKinesis) {
    let producer = Producer::builder(kinesis.client()).stream("orders").start();
    let producer = producer.expect("started");
    drop(producer.put(UserRecord::new(KEY, DATA)).expect("taken in"));
    producer.close().expect("closed");
}

/// Reads until an outage ends the consumer.
fn outlast(kinesis: &FakeKinesis) {
    let iterators = kinesis.on(Operation::GetShardIterator);
    iterators.fail_next(u64::MAX, Fault::ServiceUnavailable);
    let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon);
    let consumer = Consumer::builder(kinesis.client()).stream("orders");
    let consumer = consumer.config(config.build().expect("valid"));
    let mut consumer = consumer.start().expect("started");
    let error = consumer.find_map(Result::err).expect("an outage");
    assert!(
        error.to_string().contains("no call has succeeded"),
        "{error}"
    );
}

fn consume(
    kinesis: &FakeKinesis,
    from: Option<kinesis_blocking::Checkpoint>,
) -> kinesis_blocking::Checkpoint {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .data_loss(DataLoss::ContinueAndReport)
        .until_caught_up(true);
    let config = config.build().expect("valid");
    let consumer = Consumer::builder(kinesis.client()).stream("orders");
    let consumer = consumer
        .config(config)
        .checkpoint_store(kinesis_blocking::MemoryCheckpointStore::new())
        .restore(from.unwrap_or_default());
    let mut consumer = consumer.start().expect("started");
    consumer
        .by_ref()
        .for_each(|record| drop(record.expect("a record")));
    consumer.close().expect("closed")
}
