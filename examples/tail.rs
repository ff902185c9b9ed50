//! Prints the user records of one or more streams.
//!
//! ```text
//! cargo run --release --example tail -- --stream orders --from trim_horizon --until-caught-up
//! ```
//!
//! Credentials and region come from the environment, as everywhere in AWS, or with all other settings
//! from a file of Flink's properties. With `--checkpoint` a
//! later run goes on where this one ended, also if it was killed: what was printed since the last
//! checkpoint then comes once more.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Error, Event, FileCheckpointStore, Misplaced, Properties,
    Record, StartPosition, Timestamp,
};
use serde::Serialize;

/// Prints the user records of Kinesis streams, taken out of their aggregates
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Stream to read; may be given several times
    #[arg(long = "stream", value_name = "NAME", required = true)]
    streams: Vec<String>,
    /// Region to sign for [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
    /// URL to call in place of the region's endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// File of Flink's properties; what is given here counts above it
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// Where to start without a checkpoint: latest, trim_horizon, or a time such as
    /// 2026-01-31T12:00:00.000Z or in seconds since 1970 [default: latest]
    #[arg(long, value_name = "WHERE")]
    from: Option<String>,
    /// File that keeps the place between runs
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// End once all that arrived before the start is printed, children of shards included
    #[arg(long)]
    until_caught_up: bool,
    /// End when all is printed that arrived before a time, in the forms of --from
    #[arg(long, value_name = "TIME", conflicts_with = "until_caught_up")]
    until: Option<String>,
    /// End after this many records
    #[arg(long, value_name = "N")]
    max_records: Option<u64>,
    /// What to print of a record
    #[arg(long, value_enum, default_value = "data")]
    format: Format,
    /// What to do with aggregates that a reshard put into the wrong shard
    #[arg(long, value_enum, default_value = "kcl")]
    misplaced: MisplacedArgument,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// The record's bytes and a newline
    Data,
    /// One object a line
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum MisplacedArgument {
    /// Print all of it; what was written twice comes twice
    Deliver,
    /// Leave it out as the KCL does: this library's producer writes its records again
    Kcl,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("tail: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut consumer = consumer(arguments)?;
    let handle = consumer.stop_handle();
    ctrlc::set_handler(move || handle.stop()).map_err(Failure::Signal)?;
    let mut output = Output::new(arguments.format);
    let printed = print(&mut consumer, &mut output, arguments.max_records);
    // Nothing may be in the checkpoint that is not printed.
    output.flush()?;
    consumer.close()?;
    printed
}

fn consumer(arguments: &Arguments) -> Result<Consumer, Error> {
    let mut properties = match &arguments.properties {
        Some(file) => Properties::load(file)?,
        None => Properties::new(),
    };
    if let Some(from) = &arguments.from {
        start_at(&mut properties, from);
    }
    let mut client = Client::builder().properties(&properties)?;
    if let Some(region) = &arguments.region {
        client = client.region(region);
    }
    if let Some(endpoint) = &arguments.endpoint {
        client = client.endpoint(endpoint);
    }
    let mut config = ConsumerConfig::builder()
        .properties(&properties)?
        .misplaced(match arguments.misplaced {
            MisplacedArgument::Deliver => Misplaced::Deliver,
            MisplacedArgument::Kcl => Misplaced::CompatKcl,
        })
        .until_caught_up(arguments.until_caught_up);
    if let Some(until) = &arguments.until {
        config = config.until_timestamp(time(until)?);
    }
    let mut consumer = Consumer::builder(client.build()?).config(config.build()?);
    for stream in &arguments.streams {
        consumer = consumer.stream(stream);
    }
    if let Some(path) = &arguments.checkpoint {
        consumer = consumer.checkpoint_store(FileCheckpointStore::new(path));
    }
    consumer.start()
}

/// Sets where to start, as the key of the same meaning has it.
fn start_at(properties: &mut Properties, from: &str) {
    let position = match from {
        "latest" => "LATEST",
        "trim_horizon" => "TRIM_HORIZON",
        _ => "AT_TIMESTAMP",
    };
    properties.set("flink.stream.initpos", position);
    if position == "AT_TIMESTAMP" {
        properties.set("flink.stream.initpos.timestamp", from);
    }
}

/// Reads a time as a start is read.
fn time(text: &str) -> Result<Timestamp, Error> {
    let mut properties = Properties::new();
    start_at(&mut properties, text);
    match ConsumerConfig::from_properties(&properties)?.start_position() {
        StartPosition::AtTimestamp(time) => Ok(time),
        // The words that mean no time of their own: everything there is, or nothing.
        StartPosition::TrimHorizon => Ok(Timestamp::MIN),
        _ => Ok(Timestamp::from_millis(i64::MAX)),
    }
}

/// Prints until the consumer ends or `max` records are out; commits now and then.
fn print(consumer: &mut Consumer, output: &mut Output, max: Option<u64>) -> Result<(), Failure> {
    let mut commits = Commits {
        since: 0,
        last: Instant::now(),
    };
    while max.is_none_or(|max| output.records < max) {
        match consumer.next_event(QUIET)? {
            Event::Ended => break,
            Event::Record(record) => {
                output.print(&record)?;
                commits.since += 1;
            }
            Event::Timeout => output.flush()?,
            _ => {}
        }
        if commits.are_due() {
            output.flush()?;
            consumer.commit()?;
            commits = Commits {
                since: 0,
                last: Instant::now(),
            };
        }
    }
    Ok(())
}

/// When to save the place: a kill repeats at most what came since.
struct Commits {
    since: u64,
    last: Instant,
}

impl Commits {
    fn are_due(&self) -> bool {
        self.since >= RECORDS_UNSAVED_MAX
            || self.since > 0 && self.last.elapsed() >= TIME_UNSAVED_MAX
    }
}

struct Output {
    format: Format,
    writer: BufWriter<io::Stdout>,
    records: u64,
    progress: ProgressBar,
}

impl Output {
    fn new(format: Format) -> Output {
        // On a terminal, records and their count would write over each other.
        let hidden = io::stdout().is_terminal();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}");
        let progress = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = style {
            progress.set_style(style);
        }
        Output {
            format,
            writer: BufWriter::with_capacity(64 << 10, io::stdout()),
            records: 0,
            progress,
        }
    }

    fn print(&mut self, record: &Record) -> Result<(), Failure> {
        match self.format {
            Format::Data => self.writer.write_all(record.data()),
            Format::Json => {
                serde_json::to_writer(&mut self.writer, &Line::of(record)).map_err(io::Error::from)
            }
        }
        .and_then(|()| self.writer.write_all(b"\n"))
        .map_err(Failure::Output)?;
        self.records += 1;
        self.progress.inc(1);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(Failure::Output)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    shard_id: &'a str,
    sequence_number: &'a str,
    sub_sequence_number: Option<u64>,
    partition_key: &'a str,
    explicit_hash_key: Option<String>,
    arrival_ms: i64,
    data: String,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Line<'a> {
        Line {
            stream: &record.shard().stream,
            shard_id: record.shard().shard_id.as_str(),
            sequence_number: record.sequence_number().as_str(),
            sub_sequence_number: record.sub_sequence_number(),
            partition_key: record.partition_key(),
            explicit_hash_key: record.explicit_hash_key().map(|key| key.to_string()),
            arrival_ms: record.approximate_arrival().as_millis(),
            data: BASE64_STANDARD.encode(record.data()),
        }
    }
}

enum Failure {
    Kinesis(Error),
    Output(io::Error),
    Signal(ctrlc::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Kinesis(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Kinesis(error) => error.fmt(f),
            Failure::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Failure::Signal(error) => write!(f, "cannot listen for signals: {error}"),
        }
    }
}

/// After this long without a record, what is buffered is shown.
const QUIET: Duration = Duration::from_millis(200);

const RECORDS_UNSAVED_MAX: u64 = 1_000;

const TIME_UNSAVED_MAX: Duration = Duration::from_secs(1);
