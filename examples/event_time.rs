//! Two consumers, one of which is slow: how far they run apart in event time, aligned and not.
//!
//! ```text
//! cargo run --release --example event_time
//! ```
//!
//! runs both in this process, on a fake of Kinesis. As processes of their own, in two terminals, they
//! print what they hand out, and when, in nanoseconds:
//!
//! ```text
//! cargo run --release --example event_time -- --endpoint URL --align DIRECTORY --index 0
//! cargo run --release --example event_time -- --endpoint URL --align DIRECTORY --index 1
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Credentials, DirectoryWatermarkTracker, HashKey,
    MemoryWatermarkTracker, MonotonousTimestamps, PutRecordsEntry, Record, Result, StartPosition,
    Timestamp, WatermarkTracker,
};

mod common {
    pub mod logging;
}

use common::logging;

/// Shows how far two consumers run apart in event time
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// URL of a Kinesis with a stream `orders` of two shards; without it, one is made up
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Which of the two this process is: 0 is fast, 1 is slow
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..2))]
    index: u32,
    /// Directory to align the two processes over [default: they are not aligned]
    #[arg(long, value_name = "DIRECTORY")]
    align: Option<PathBuf>,
}

fn main() -> ExitCode {
    logging::init();
    let arguments = Arguments::parse();
    let done = match &arguments.endpoint {
        Some(endpoint) => print_one(endpoint, &arguments),
        None => compare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event_time: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both consumers in this process, first left alone and then aligned.
fn compare() -> Result<()> {
    let client = FakeKinesis::new().with_stream("orders", 2).client();
    fill(&client)?;
    for (what, tracker) in [
        ("without alignment", None),
        ("with alignment", Some(MemoryWatermarkTracker::new())),
    ] {
        let (begun, skew) = (Instant::now(), Arc::new(Mutex::new(Skew::default())));
        let consumers = [0, 1].map(|index| {
            let (client, skew, tracker) = (client.clone(), skew.clone(), tracker.clone());
            let tracker = tracker.map(|tracker| Arc::new(tracker) as Arc<dyn WatermarkTracker>);
            let see = move |record: &Record| {
                let mut skew = skew.lock().unwrap_or_else(PoisonError::into_inner);
                skew.see(index, record.event_time().as_millis());
            };
            std::thread::spawn(move || consume(client, index, tracker, see))
        });
        let mut records = 0;
        for consumer in consumers {
            records += consumer.join().expect("no panic")?;
        }
        let most = skew.lock().unwrap_or_else(PoisonError::into_inner).most;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{what}: at most {most} ms apart; {records} records in {seconds:.1} s");
    }
    Ok(())
}

/// One consumer in a process of its own.
fn print_one(endpoint: &str, arguments: &Arguments) -> Result<()> {
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(endpoint)
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .build()?;
    let directory = arguments.align.as_ref().map(DirectoryWatermarkTracker::new);
    let tracker = directory.map(|tracker| Arc::new(tracker) as Arc<dyn WatermarkTracker>);
    consume(client, arguments.index, tracker, |record| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        println!("{now} {}", record.event_time().as_millis());
    })?;
    Ok(())
}

/// Reads one of the two shards to its end, the first one as fast as it goes.
fn consume(
    client: Client,
    index: u32,
    tracker: Option<Arc<dyn WatermarkTracker>>,
    mut see: impl FnMut(&Record),
) -> Result<usize> {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .get_records_max(if index == 0 { 10_000 } else { 10 })
        .get_records_interval(Duration::from_millis(20))
        .watermark_sync_interval(Duration::from_millis(500))
        .watermark_lookahead(Duration::from_millis(2_500));
    let builder = Consumer::builder(client)
        .stream("orders")
        .subtask(index as usize, 2)
        .config(config.build()?)
        .watermarks(MonotonousTimestamps::new(happened));
    let builder = match tracker {
        Some(tracker) => builder.watermark_tracker(tracker),
        None => builder,
    };
    let mut records = 0;
    for record in builder.start()? {
        see(&record?);
        records += 1;
    }
    Ok(records)
}

/// Records say themselves when they happened.
fn happened(record: &Record) -> Timestamp {
    let text = String::from_utf8_lossy(record.data());
    let millis = text.parse().ok().map(Timestamp::from_millis);
    millis.unwrap_or(record.approximate_arrival())
}

/// Twenty seconds of records for each shard.
fn fill(client: &Client) -> Result<()> {
    for key in [HashKey::MIN, HashKey::MAX] {
        let entry = |n: i64| PutRecordsEntry {
            data: (n * 20).to_string().into(),
            partition_key: "key".into(),
            explicit_hash_key: Some(key),
        };
        for first in (0..1_000).step_by(500) {
            let entries: Vec<_> = (first..first + 500).map(entry).collect();
            client.put_records("orders", &entries)?;
        }
    }
    Ok(())
}

/// How far two consumers are apart.
#[derive(Default)]
struct Skew {
    latest: [i64; 2],
    most: i64,
}

impl Skew {
    fn see(&mut self, index: u32, millis: i64) {
        let (own, other) = (index as usize, 1 - index as usize);
        self.latest[own] = millis;
        self.most = self.most.max(millis - self.latest[other]);
    }
}
