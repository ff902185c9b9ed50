//! Puts the lines of standard input into a stream, one user record a line.
//!
//! ```text
//! seq 1 20000 | cargo run --release --example put -- --stream orders
//! ```
//!
//! Credentials and region come from the environment, as everywhere in AWS, or with all other settings
//! from a file of Flink's properties.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, IsTerminal};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use clap::{ColorChoice, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinesis_blocking::{
    Client, CloudWatch, Delivery, Error, ErrorKind, HashKey, Producer, ProducerConfig,
    RecordResult, Stored, UserRecord,
};
use serde::Serialize;
use serde_json::value::RawValue;

mod common {
    pub mod line;
    pub mod logging;
    pub mod pace;
    pub mod service;
    pub mod terminal;
}

use common::line::Line;
use common::logging;
use common::pace::{self, Pace};
use common::service::Service;
use common::terminal;

/// Puts each line of standard input into Kinesis streams, as bytes without the newline
#[derive(Parser)]
#[command(name = "put", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Stream to put into; each line goes into each, if several are given
    #[arg(long = "stream", value_name = "NAME", required = true)]
    streams: Vec<String>,
    #[command(flatten)]
    service: Service,
    /// What a line is
    #[arg(long, value_enum, default_value = "data")]
    format: Format,
    /// Partition key of every record [default: a random one each]
    #[arg(long, value_name = "K")]
    partition_key: Option<String>,
    /// Lines are JSON objects, and this member is the partition key; customer.id is the id in customer
    #[arg(long, value_name = "MEMBER", conflicts_with = "partition_key")]
    partition_key_field: Option<String>,
    /// Hash key of every record, a number below 2^128: decides the shard in place of the partition key
    #[arg(long, value_name = "N")]
    hash_key: Option<HashKey>,
    /// Lines are JSON objects, and this member is the hash key
    #[arg(long, value_name = "MEMBER", conflicts_with = "hash_key")]
    hash_key_field: Option<String>,
    /// Put so many lines a second at most
    #[arg(long, value_name = "N", value_parser = pace::rate)]
    rate: Option<f64>,
    /// Print where each record was stored, one JSON object a line
    #[arg(long)]
    deliveries: bool,
    /// Make streams that are not there, with so many shards
    #[arg(long, value_name = "SHARDS")]
    create: Option<u32>,
    /// Put each line as a Kinesis record of its own
    #[arg(long)]
    no_aggregation: bool,
    /// Keep the order of records with the same partition key
    #[arg(long)]
    ordered: bool,
    /// Upload metrics to CloudWatch at this URL
    #[arg(long, value_name = "URL")]
    cloudwatch: Option<String>,
    /// When to paint what is printed
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// The record's bytes
    Data,
    /// An object as tail --format json prints it, keys included
    Json,
}

const EXIT_CODES: &str = "\
Exit codes: 0 every record was stored, 1 some were not or something failed, 2 wrong arguments,
130 interrupted: what was read until then was put. Progress is shown on a terminal only.";

fn main() -> ExitCode {
    logging::init();
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("put: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Tells what could not be done with some lines, and fails because of the others.
fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let failures = Arc::new(Failures::default());
    let (lines, interrupted) = read_lines();
    let producer = producer(arguments, failures.clone())?;
    let mut deliveries = Deliveries::new(arguments);
    let progress = progress();
    let mut pace = Pace::new(arguments.rate);
    let mut refused = 0;
    for (number, line) in (1..).zip(&lines) {
        let Input::Line(line) = line else {
            refused += failures.input(line);
            break;
        };
        pace.wait(|| interrupted.load(Ordering::Relaxed));
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        refused += put(
            arguments,
            &producer,
            number,
            line,
            &failures,
            &mut deliveries,
        );
        deliveries.print_settled();
        progress.inc(1);
    }
    producer.flush()?;
    progress.finish_and_clear();
    deliveries.print_all();
    let metrics = producer.metrics().total;
    let closed = producer.close()?;
    let failed = closed.undelivered() + refused;
    eprintln!(
        "put: {} records delivered, {failed} failed, {} Kinesis records, {} calls",
        closed.delivered, metrics.kinesis_records_put, metrics.put_records_calls
    );
    Ok(match failed {
        _ if interrupted.load(Ordering::Relaxed) => ExitCode::from(INTERRUPTED),
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Puts one line into every stream; gives how many of these records were not taken in.
fn put(
    arguments: &Arguments,
    producer: &Producer,
    number: u64,
    line: Vec<u8>,
    failures: &Failures,
    deliveries: &mut Deliveries,
) -> u64 {
    let record = match record(arguments, line) {
        Ok(record) => record,
        Err(problem) => {
            failures.tell(format_args!("line {number}: {problem}"));
            return arguments.streams.len() as u64;
        }
    };
    let mut refused = 0;
    for stream in &arguments.streams {
        match producer.put(record.clone().stream(stream.as_str())) {
            Ok(delivery) => deliveries.add(number, stream, delivery),
            Err(error) => {
                failures.tell(format_args!("line {number}: {error}"));
                refused += 1;
            }
        }
    }
    refused
}

/// Makes a record of a line. What is given to all records counts above what the line has.
fn record(arguments: &Arguments, line: Vec<u8>) -> Result<UserRecord, String> {
    let fields = [&arguments.partition_key_field, &arguments.hash_key_field];
    let member = |field: &Option<String>| field.as_ref().map(|path| member(&line, path));
    let [key, hash_key] = fields.map(member);
    let (key, hash_key) = (key.transpose()?, hash_key.transpose()?);
    let hash_key = hash_key.map(|text| text.parse::<HashKey>());
    let hash_key = hash_key.transpose().map_err(|error| error.to_string())?;
    let (own, data) = match arguments.format {
        Format::Data => (None, line.into()),
        Format::Json => {
            let own = Line::read(&line)?;
            (Some((own.partition_key, own.explicit_hash_key)), own.data)
        }
    };
    let (own_key, own_hash_key) = own.unzip();
    let key = arguments.partition_key.clone().or(key);
    let key = key.or_else(|| own_key.map(|key| key.to_string()));
    let key = key.unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
    let record = UserRecord::new(key, data);
    Ok(
        match arguments.hash_key.or(hash_key).or(own_hash_key.flatten()) {
            Some(hash_key) => record.explicit_hash_key(hash_key),
            None => record,
        },
    )
}

/// Finds `customer.id`: the member `id` of the member `customer`. Text, numbers and booleans will do; a
/// number is taken as it stands in the line, however long it is.
fn member(line: &[u8], path: &str) -> Result<String, String> {
    let no_json = |error| format!("no JSON: {error}");
    let mut value: &RawValue = serde_json::from_slice(line).map_err(no_json)?;
    for name in path.split('.') {
        let members: HashMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(value.get()).unwrap_or_default();
        let member = members.get(name).copied();
        value = member.ok_or_else(|| format!("it has no member {path}"))?;
    }
    match value.get().as_bytes() {
        [b'"', ..] => serde_json::from_str(value.get()).map_err(no_json),
        [b'{' | b'[', ..] | b"null" => {
            Err(format!("its member {path} is neither text nor a number"))
        }
        _ => Ok(value.get().to_owned()),
    }
}

fn producer(arguments: &Arguments, failures: Arc<Failures>) -> Result<Producer, Error> {
    let properties = arguments.service.properties()?;
    let client = arguments.service.client(&properties)?;
    if let Some(shards) = arguments.create {
        for stream in &arguments.streams {
            create(&client, stream, shards)?;
        }
    }
    let mut config = ProducerConfig::builder().properties(&properties)?;
    if arguments.no_aggregation {
        config = config.aggregation(false);
    }
    if arguments.ordered {
        config = config.ordering(kinesis_blocking::Ordering::PerPartitionKey);
    }
    let producer = Producer::builder(client)
        // Each record names its stream; this one's shards are listed at the start.
        .stream(arguments.streams[0].as_str())
        .config(config.build()?)
        .on_delivery(move |result| failures.look(result));
    match &arguments.cloudwatch {
        Some(url) => {
            let cloudwatch = CloudWatch::from_properties(&properties)?;
            producer.cloudwatch(cloudwatch.endpoint(url)).start()
        }
        None => producer.start(),
    }
}

/// Makes a stream, and waits until it is there; one that is there already stays as it is.
fn create(client: &Client, stream: &str, shards: u32) -> Result<(), Error> {
    if let Err(error) = client.create_stream(stream, shards) {
        let is_there = matches!(error.kind(), ErrorKind::Service { code, .. } if code == "ResourceInUseException");
        if !is_there {
            return Err(error);
        }
    }
    for _ in 0..CREATING_SECONDS_MAX {
        if client.describe_stream_summary(stream)?.status != "CREATING" {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

enum Input {
    End,
    Interrupted,
    Line(Vec<u8>),
    Unreadable(io::Error),
}

/// Reads standard input in a thread of its own, as nothing else could end the wait for it.
///
/// The first signal ends the input and what was read is put; the second ends the program.
fn read_lines() -> (Receiver<Input>, Arc<AtomicBool>) {
    let (sender, lines) = mpsc::sync_channel(LINES_AHEAD);
    let interrupted = Arc::new(AtomicBool::new(false));
    let (flag, wake, main) = (interrupted.clone(), sender.clone(), thread::current());
    let handled = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(INTERRUPTED.into());
        }
        main.unpark();
        // A full channel wakes the program as well.
        let _ = wake.try_send(Input::Interrupted);
    });
    if let Err(error) = handled {
        eprintln!("put: cannot listen for signals: {error}");
    }
    thread::spawn(move || send_lines(&sender));
    (lines, interrupted)
}

fn send_lines(sender: &SyncSender<Input>) {
    for line in io::stdin().lock().split(b'\n') {
        let is_over = line.is_err();
        let sent = sender.send(line.map_or_else(Input::Unreadable, Input::Line));
        if is_over || sent.is_err() {
            return;
        }
    }
    // The handler of signals keeps the channel open.
    let _ = sender.send(Input::End);
}

/// What went wrong, of which the first is told; the rest is most likely the same.
#[derive(Default)]
struct Failures(std::sync::atomic::AtomicU64);

impl Failures {
    fn look(&self, result: &RecordResult) {
        if let Err(undelivered) = result {
            self.tell(format_args!("{undelivered}"));
        }
    }

    /// Gives how many records cannot be read.
    fn input(&self, input: Input) -> u64 {
        let Input::Unreadable(error) = input else {
            return 0;
        };
        self.tell(format_args!("cannot read standard input: {error}"));
        1
    }

    fn tell(&self, problem: std::fmt::Arguments<'_>) {
        if self.0.fetch_add(1, Ordering::Relaxed) < FAILURES_TOLD_MAX {
            eprintln!("put: {problem}");
        }
    }
}

/// The records whose fate is to be printed, in the order of the lines.
struct Deliveries {
    waiting: Option<VecDeque<(u64, String, Delivery)>>,
    painted: bool,
}

/// One line of output.
#[derive(Serialize)]
struct Fate<'a> {
    line: u64,
    stream: &'a str,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Place {
    Delivered {
        shard_id: String,
        sequence_number: String,
        sub_sequence_number: Option<u64>,
        attempts: usize,
    },
    Undelivered {
        error: String,
        possibly_stored: bool,
        attempts: usize,
    },
}

impl Deliveries {
    fn new(arguments: &Arguments) -> Deliveries {
        Deliveries {
            waiting: arguments.deliveries.then(VecDeque::new),
            painted: terminal::paints(arguments.color),
        }
    }

    fn add(&mut self, line: u64, stream: &str, delivery: Delivery) {
        if let Some(waiting) = &mut self.waiting {
            waiting.push_back((line, stream.to_owned(), delivery));
        }
    }

    fn print_settled(&mut self) {
        while let Some(first) = self
            .waiting
            .as_mut()
            .and_then(|waiting| waiting.pop_front_if(|(_, _, delivery)| delivery.is_settled()))
        {
            self.print(first);
        }
    }

    fn print_all(&mut self) {
        for one in self.waiting.take().into_iter().flatten() {
            self.print(one);
        }
    }

    fn print(&self, (line, stream, delivery): (u64, String, Delivery)) {
        let (stream, place) = (stream.as_str(), Place::of(delivery.wait()));
        let fate = Fate {
            line,
            stream,
            place,
        };
        // Nobody reads on: the records go where they go all the same.
        let _ = terminal::write_json(io::stdout().lock(), &fate, self.painted);
    }
}

impl Place {
    fn of(result: RecordResult) -> Place {
        match result {
            Ok(delivered) => Place::Delivered {
                shard_id: delivered.shard_id.to_string(),
                sequence_number: delivered.sequence_number.to_string(),
                sub_sequence_number: delivered.sub_sequence_number,
                attempts: delivered.attempts.len(),
            },
            Err(undelivered) => Place::Undelivered {
                error: undelivered.error.to_string(),
                possibly_stored: undelivered.stored == Stored::Possibly,
                attempts: undelivered.attempts.len(),
            },
        }
    }
}

fn progress() -> ProgressBar {
    // Typed lines show themselves.
    let target = match io::stdin().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let progress = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} lines, {per_sec}") {
        progress.set_style(style);
    }
    progress
}

/// A stream takes about half a minute. What is not there by then is told by the first call.
const CREATING_SECONDS_MAX: u32 = 120;

/// Lines read ahead of what the producer takes in.
const LINES_AHEAD: usize = 1_024;

const FAILURES_TOLD_MAX: u64 = 5;

/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;
