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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{ColorChoice, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinesis_blocking::{
    Consumer, ConsumerConfig, Error, Event, FileCheckpointStore, Misplaced, Record, StopHandle,
};
use serde::Serialize;

mod common {
    pub mod gzip;
    pub mod line;
    pub mod logging;
    pub mod moment;
    pub mod pace;
    pub mod service;
    pub mod terminal;
}

use common::gzip;
use common::line::Line;
use common::logging;
use common::moment;
use common::pace::{self, Pace};
use common::service::Service;
use common::terminal;

/// Prints the user records of Kinesis streams, taken out of their aggregates
#[derive(Parser)]
#[command(name = "tail", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Stream to read; may be given several times
    #[arg(long = "stream", value_name = "NAME", required = true)]
    streams: Vec<String>,
    #[command(flatten)]
    service: Service,
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
    /// Print so many records a second at most
    #[arg(long, value_name = "N", value_parser = pace::rate)]
    rate: Option<f64>,
    /// What to print of a record
    #[arg(long, value_enum, default_value = "data")]
    format: Format,
    /// In JSON, print data that are UTF-8 as text, not in base64
    #[arg(long)]
    text: bool,
    /// What to do with records that gzip compressed, such as those of CloudWatch Logs
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "auto",
        default_missing_value = "auto"
    )]
    decompress: Decompress,
    /// When to paint what is printed
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// What to do with user records in a shard that does not own them, and with their copies
    #[arg(long, value_enum, default_value = "mark")]
    misplaced: MisplacedArgument,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// The record's bytes and a newline
    Data,
    /// One object a line
    Json,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Decompress {
    /// Print what was compressed: a whole gzip of at most 64 MiB; all else as it is
    Auto,
    /// Print each record's bytes as they are
    Never,
}

#[derive(Clone, Copy, ValueEnum)]
enum MisplacedArgument {
    /// Print every copy but those that this library's producer marked as repeats: nothing is lost
    Mark,
    /// As mark, and leave out a record that equals one of the last minute: nothing is lost if all differ
    Content,
    /// Print every copy
    Deliver,
    /// Leave out whole aggregates, as the KCL does: loses records of the KPL 0.15.11 to 1.0 and of
    /// aggregators that do not look where their records go
    Kcl,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all was printed, or an interrupt or a closed pipe ended it; 1 something failed;
2 wrong arguments. Progress is shown on a terminal only.";

fn main() -> ExitCode {
    logging::init();
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
    let stopped = stop_on_signals(consumer.stop_handle())?;
    let mut output = Output::new(arguments, stopped);
    let printed = print(&mut consumer, &mut output, arguments.max_records);
    // Nothing may be in the checkpoint that is not printed.
    output.flush()?;
    consumer.close()?;
    printed
}

/// Ends the consumer, and the wait of a rate, on the first signal.
fn stop_on_signals(handle: StopHandle) -> Result<Arc<AtomicBool>, Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    let (flag, main) = (stopped.clone(), thread::current());
    let handled = ctrlc::set_handler(move || {
        flag.store(true, Ordering::Relaxed);
        handle.stop();
        main.unpark();
    });
    handled.map_err(Failure::Signal)?;
    Ok(stopped)
}

fn consumer(arguments: &Arguments) -> Result<Consumer, Error> {
    let mut properties = arguments.service.properties()?;
    if let Some(from) = &arguments.from {
        moment::start_at(&mut properties, from);
    }
    let mut config = ConsumerConfig::builder()
        .properties(&properties)?
        .misplaced(match arguments.misplaced {
            MisplacedArgument::Mark => Misplaced::DeduplicateByMark,
            MisplacedArgument::Content => Misplaced::DeduplicateByContent,
            MisplacedArgument::Deliver => Misplaced::Deliver,
            MisplacedArgument::Kcl => Misplaced::CompatKcl,
        })
        .until_caught_up(arguments.until_caught_up);
    if let Some(until) = &arguments.until {
        config = config.until_timestamp(moment::read(until)?);
    }
    let client = arguments.service.client(&properties)?;
    let mut consumer = Consumer::builder(client).config(config.build()?);
    for stream in &arguments.streams {
        consumer = consumer.stream(stream);
    }
    if let Some(path) = &arguments.checkpoint {
        consumer = consumer.checkpoint_store(FileCheckpointStore::new(path));
    }
    consumer.start()
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
    as_text: bool,
    decompress: Decompress,
    painted: bool,
    pace: Pace,
    stopped: Arc<AtomicBool>,
    writer: BufWriter<io::Stdout>,
    records: u64,
    progress: ProgressBar,
}

impl Output {
    fn new(arguments: &Arguments, stopped: Arc<AtomicBool>) -> Output {
        Output {
            format: arguments.format,
            as_text: arguments.text,
            decompress: arguments.decompress,
            painted: terminal::paints(arguments.color),
            pace: Pace::new(arguments.rate),
            stopped,
            writer: BufWriter::with_capacity(64 << 10, io::stdout()),
            records: 0,
            progress: progress(),
        }
    }

    fn print(&mut self, record: &Record) -> Result<(), Failure> {
        if self.pace.is_ahead() {
            self.flush()?;
            self.pace.wait(|| self.stopped.load(Ordering::Relaxed));
        }
        let data = match self.decompress {
            Decompress::Auto => gzip::decompressed(record.data(), DECOMPRESSED_BYTES_MAX),
            Decompress::Never => record.data().into(),
        };
        match self.format {
            Format::Data => {
                let written = self.writer.write_all(&data);
                written.and_then(|()| self.writer.write_all(b"\n"))
            }
            Format::Json => {
                let line = Printed::of(record, &data, self.as_text);
                terminal::write_json(&mut self.writer, &line, self.painted)
            }
        }
        .map_err(Failure::Output)?;
        self.records += 1;
        self.progress.inc(1);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(Failure::Output)
    }
}

fn progress() -> ProgressBar {
    // On a terminal, records and their count would write over each other.
    let target = match io::stdout().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let progress = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}") {
        progress.set_style(style);
    }
    progress
}

#[derive(Serialize)]
struct Printed<'a> {
    stream: &'a str,
    shard_id: &'a str,
    sequence_number: &'a str,
    sub_sequence_number: Option<u64>,
    arrival_ms: i64,
    #[serde(flatten)]
    line: Line,
}

impl<'a> Printed<'a> {
    fn of(record: &'a Record, data: &[u8], as_text: bool) -> Printed<'a> {
        let (key, hash_key) = (record.partition_key(), record.explicit_hash_key());
        Printed {
            stream: &record.shard().stream,
            shard_id: record.shard().shard_id.as_str(),
            sequence_number: record.sequence_number().as_str(),
            sub_sequence_number: record.sub_sequence_number(),
            arrival_ms: record.approximate_arrival().as_millis(),
            line: Line::new(key, hash_key, data, as_text),
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

/// A record of 10 MiB, compressed to a sixth: more is no text, or made to fill the memory.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// After this long without a record, what is buffered is shown.
const QUIET: Duration = Duration::from_millis(200);

const RECORDS_UNSAVED_MAX: u64 = 1_000;

const TIME_UNSAVED_MAX: Duration = Duration::from_secs(1);
