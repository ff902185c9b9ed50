//! The main job from end to end, without AWS: an in-process Kinesis behind a real HTTP socket, a
//! producer, a consumer that is thrown away half-way, and a stream that is split and merged
//! meanwhile. Every record is accounted for by its name.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Credentials, Event, FileCheckpointStore, Operation, Producer,
    ShardRef, StartPosition, UserRecord,
};

const STREAM: &str = "orders";
const RECORDS: usize = 100_000;
const KEYS: usize = 5_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let started = Instant::now();
    let kinesis = FakeKinesis::new().with_stream(STREAM, 4);
    let server = kinesis.serve()?;
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(server.endpoint())
        .credentials(Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        ))
        .build()?;
    let folder = tempfile::tempdir()?;
    let checkpoint = folder.path().join("orders.checkpoint");

    let done = AtomicBool::new(false);
    let (produced, tally) = thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let produced = produce(&client);
            done.store(true, Ordering::Release);
            produced
        });
        let tally = consume(&client, &checkpoint, &done);
        let produced = producing
            .join()
            .unwrap_or_else(|_| Err("the producing thread panicked".into()));
        (produced, tally)
    });
    let (produced, tally) = (produced?, tally?);

    let calls: u64 = Operation::ALL
        .iter()
        .map(|operation| kinesis.calls(*operation))
        .sum();
    let (consumed, lost, duplicated) = (tally.consumed(), tally.lost(), tally.duplicated());
    println!(
        "quickstart: {produced} produced, {consumed} consumed, {lost} lost, {duplicated} duplicated, \
         {calls} requests, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok((produced, consumed, lost, duplicated) == (RECORDS, RECORDS, 0, 0))
}

/// Puts every record once; splits and merges the stream's shards under way.
fn produce(client: &Client) -> Result<usize> {
    let producer = Producer::builder(client.clone())
        .stream(STREAM)
        .fail_on_error(true)
        .start()?;
    for n in 0..RECORDS {
        match n {
            25_000 => split(client)?,
            50_000 => merge(client)?,
            75_000 => split(client)?,
            _ => {}
        }
        producer.put(UserRecord::new(
            format!("customer-{}", n % KEYS),
            format!("order {n}"),
        ))?;
    }
    // With `fail_on_error`, no error here means that every record is stored.
    producer.close()?;
    Ok(RECORDS)
}

fn split(client: &Client) -> Result<()> {
    let shards = client.list_shards(STREAM)?;
    let shard = shards
        .iter()
        .find(|shard| shard.is_open())
        .ok_or("no shard to split")?;
    let at = shard.hash_key_range.midpoint();
    Ok(client.split_shard(&ShardRef::new(STREAM, shard.id.clone()), at)?)
}

fn merge(client: &Client) -> Result<()> {
    let mut shards = client.list_shards(STREAM)?;
    shards.retain(|shard| shard.is_open());
    shards.sort_by_key(|shard| shard.hash_key_range.start);
    let [first, second, ..] = shards.as_slice() else {
        return Err("no shards to merge".into());
    };
    Ok(client.merge_shards(&ShardRef::new(STREAM, first.id.clone()), &second.id)?)
}

/// Reads with one consumer, throws it away, reads on with another, and looks for leftovers.
fn consume(client: &Client, checkpoint: &Path, done: &AtomicBool) -> Result<Tally> {
    let mut tally = Tally::new();
    let mut first = consumer(client, checkpoint, false)?;
    while tally.seen() < RECORDS * 2 / 5 {
        tally.take(&mut first)?;
    }
    first.commit()?;
    drop(first);

    let mut second = consumer(client, checkpoint, false)?;
    while !(done.load(Ordering::Acquire) && tally.seen() >= RECORDS) {
        if tally.take(&mut second)? == Taken::Nothing && done.load(Ordering::Acquire) {
            break;
        }
    }
    second.close()?;

    // Whatever is left now was lost on the way, or comes a second time.
    let mut last = consumer(client, checkpoint, true)?;
    while tally.take(&mut last)? != Taken::End {}
    last.close()?;
    tally.progress.finish_and_clear();
    Ok(tally)
}

/// The producer stores records again that a reshard put into the wrong shard. By default a consumer hands
/// out one of the copies.
fn consumer(client: &Client, checkpoint: &Path, until_caught_up: bool) -> Result<Consumer> {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(until_caught_up)
        .build()?;
    let consumer = Consumer::builder(client.clone())
        .stream(STREAM)
        .config(config);
    Ok(consumer
        .checkpoint_store(FileCheckpointStore::new(checkpoint))
        .start()?)
}

/// How often each record came.
struct Tally {
    counts: Vec<u32>,
    distinct: usize,
    progress: ProgressBar,
}

#[derive(PartialEq)]
enum Taken {
    Record,
    Nothing,
    End,
}

impl Tally {
    fn new() -> Tally {
        let progress = ProgressBar::new(RECORDS as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {per_sec}") {
            progress.set_style(style);
        }
        Tally {
            counts: vec![0; RECORDS],
            distinct: 0,
            progress,
        }
    }

    fn take(&mut self, consumer: &mut Consumer) -> Result<Taken> {
        match consumer.next_event(Duration::from_secs(3))? {
            Event::Record(record) => {
                let name = std::str::from_utf8(record.data())?;
                let n: usize = name
                    .strip_prefix("order ")
                    .ok_or("a record nobody put")?
                    .parse()?;
                let count = self.counts.get_mut(n).ok_or("a record nobody put")?;
                *count += 1;
                self.distinct += usize::from(*count == 1);
                self.progress.set_position(self.distinct as u64);
                Ok(Taken::Record)
            }
            Event::ShardEnded(shard) => {
                self.progress
                    .suspend(|| eprintln!("{} has been read to its end", shard.shard_id));
                Ok(Taken::Record)
            }
            Event::Timeout => Ok(Taken::Nothing),
            Event::Ended => Ok(Taken::End),
            _ => Ok(Taken::Record),
        }
    }

    fn seen(&self) -> usize {
        self.distinct
    }

    fn consumed(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    fn lost(&self) -> usize {
        self.counts.iter().filter(|count| **count == 0).count()
    }

    fn duplicated(&self) -> usize {
        self.consumed() - self.distinct
    }
}
