//! Writes the user records of a stream into an SQLite database, one statement each, and keeps its place
//! in a checkpoint file beside it. What it writes after its last commit comes again in the next run.
//!
//! A row has the number of the run that wrote it, so a run that writes a record twice fails.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Event, FileCheckpointStore, Record, StartPosition,
};
use rusqlite::{Connection, params};

type Failure = Box<dyn std::error::Error>;

/// Writes what arrives in a stream after the first start into an SQLite database, each record at least once
#[derive(Parser)]
struct Arguments {
    /// Stream to read
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// File of the database
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// File of the checkpoint
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Number of this run
    #[arg(long, value_name = "NUMBER")]
    run: i64,
    /// Region to sign for
    #[arg(long)]
    region: String,
    /// URL to call in place of the region's endpoint
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// End once all that arrived before the start is written
    #[arg(long)]
    until_caught_up: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("file-store: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let database = open(arguments)?;
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::Latest)
        .until_caught_up(arguments.until_caught_up)
        .build()?;
    let client = Client::builder().region(&arguments.region);
    let mut consumer = Consumer::builder(client.endpoint(&arguments.endpoint).build()?)
        .stream(&arguments.stream)
        .config(config)
        .checkpoint_store(FileCheckpointStore::new(&arguments.checkpoint))
        .commit_interval(COMMIT_INTERVAL)
        .start()?;
    println!("started");
    loop {
        match consumer.next_event(Duration::MAX)? {
            Event::Record(record) => write(&database, arguments.run, &record)?,
            Event::CommitFailed(error) => return Err(error.into()),
            Event::Ended => break,
            _ => {}
        }
    }
    consumer.close()?;
    Ok(())
}

fn open(arguments: &Arguments) -> Result<Connection, Failure> {
    let database = Connection::open(&arguments.database)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A process is killed here, and no machine loses power.
    database.pragma_update(None, "synchronous", "OFF")?;
    database.execute_batch(SCHEMA)?;
    Ok(database)
}

fn write(database: &Connection, run: i64, record: &Record) -> Result<(), Failure> {
    let mut insert =
        database.prepare_cached("INSERT INTO results VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute(params![
        run,
        record.shard().shard_id.as_str(),
        record.sequence_number().as_str(),
        record.sub_sequence_number().map_or(-1, |sub| sub as i64),
        record.partition_key(),
        &record.data()[..],
    ])?;
    Ok(())
}

/// -1 stands for no sub-sequence number: SQLite takes each NULL in a key for another.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS results (
        run INTEGER NOT NULL,
        shard_id TEXT NOT NULL,
        sequence_number TEXT NOT NULL,
        sub_sequence_number INTEGER NOT NULL,
        partition_key TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (run, shard_id, sequence_number, sub_sequence_number)
    );
";

/// Short enough for several commits in a life of a second.
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);
