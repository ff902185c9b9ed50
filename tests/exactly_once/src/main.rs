//! Writes the user records of a stream into an SQLite database, each exactly once, however often and
//! whenever it is killed, and also if two of it run by mistake.
//!
//! ```text
//! cargo run --manifest-path tests/exactly_once/Cargo.toml -- --stream orders --database orders.db
//! ```
//!
//! The recipe, for any database with transactions:
//!
//! 1. On start, raise the token in the row that has the checkpoint, and read the checkpoint, in one
//!    transaction. Whoever ran before has a token that is too small from now on.
//! 2. Restore the consumer from that checkpoint.
//! 3. Write `consumer.checkpoint()` at once: where reading begins is decided once. A program that starts
//!    at LATEST and is killed before its first results would otherwise begin behind what arrived since.
//! 4. Take records, and write what you make of them *and* `consumer.checkpoint()` in one transaction,
//!    which goes through only if the row still has your token.
//! 5. If it has not, end: another goes on where your last transaction ended.

mod database;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use database::{Database, Row};
use kinesis_blocking::{Client, Consumer, ConsumerConfig, Error, Event, StartPosition};

/// Writes a stream's records into an SQLite database, each exactly once
#[derive(Parser)]
struct Arguments {
    /// Stream to read
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// Read what arrives after the first start, and not from the oldest record on
    #[arg(long)]
    from_latest: bool,
    /// File of the database
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// Region to sign for [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
    /// URL to call in place of the region's endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// End once all that arrived before the start is written
    #[arg(long)]
    until_caught_up: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("exactly-once: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut database, checkpoint) = Database::take_over(&arguments.database)?;
    let start = match arguments.from_latest {
        true => StartPosition::Latest,
        false => StartPosition::TrimHorizon,
    };
    let config = ConsumerConfig::builder()
        .start_position(start)
        .until_caught_up(arguments.until_caught_up)
        .build()?;
    let mut consumer = Consumer::builder(client(arguments)?)
        .stream(&arguments.stream)
        .config(config)
        .restore(checkpoint)
        .start()?;
    database.commit(&[], &consumer.checkpoint())?;
    println!("started");
    let mut committed = Instant::now();
    let mut rows = Vec::new();
    loop {
        let event = consumer.next_event(QUIET)?;
        let is_time = match &event {
            Event::Record(record) => {
                rows.push(Row::of(record));
                rows.len() >= ROWS_MAX
            }
            // Worth a commit without a row: a shard that has ended need not be opened again.
            Event::ShardEnded(_) | Event::Ended => true,
            // Without a row as well: a checkpoint older than the stream's retention cannot tell a quiet
            // shard from one whose records were trimmed unread.
            Event::Timeout => !rows.is_empty() || committed.elapsed() >= COMMIT_INTERVAL_MAX,
            _ => false,
        };
        if is_time {
            database.commit(&rows, &consumer.checkpoint())?;
            rows.clear();
            committed = Instant::now();
        }
        if matches!(event, Event::Ended) {
            return Ok(());
        }
    }
}

fn client(arguments: &Arguments) -> Result<Client, Error> {
    let mut client = Client::builder();
    if let Some(region) = &arguments.region {
        client = client.region(region);
    }
    if let Some(endpoint) = &arguments.endpoint {
        client = client.endpoint(endpoint);
    }
    client.build()
}

/// Why it ended.
#[derive(Debug)]
pub enum Failure {
    Database(rusqlite::Error),
    Kinesis(Error),
    /// Another runs on the same database, and came later.
    TakenOver,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Kinesis(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Database(error) => write!(f, "the database: {error}"),
            Failure::Kinesis(error) => error.fmt(f),
            Failure::TakenOver => f.write_str("another has taken the database over"),
        }
    }
}

/// After this long without a record, what is there is committed.
const QUIET: Duration = Duration::from_millis(50);

const ROWS_MAX: usize = 500;

const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(3_600);
