//! Shows the shards of a stream: a table, and a picture of who has which hash keys.
//!
//! ```text
//! cargo run --release --example shards -- --stream orders --checkpoint orders.checkpoint
//! ```
//!
//! Splits and merges are seen in both. With a checkpoint it says how far behind its reader is, with
//! `--since` how much every shard took since then.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{ColorChoice, Parser, ValueEnum};
use kinesis_blocking::{
    Checkpoint, Client, Error, HashKeyRange, Shard, ShardId, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};
use serde::Serialize;

mod common {
    pub mod logging;
    pub mod moment;
    pub mod saved;
    pub mod service;
    pub mod table;
    pub mod terminal;
}

use common::logging;
use common::moment;
use common::saved;
use common::service::Service;
use common::table::table;
use common::terminal;

/// Shows the shards of streams, their splits and merges, lag and sizes
#[derive(Parser)]
#[command(name = "shards", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Stream to show; may be given several times
    #[arg(long = "stream", value_name = "NAME", required = true)]
    streams: Vec<String>,
    #[command(flatten)]
    service: Service,
    /// Leave out shards that take no more records
    #[arg(long)]
    open: bool,
    /// Checkpoint file whose lag is to be shown; its reader may be running
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Count records and bytes that came since a time such as 2026-01-31T12:00:00.000Z; reads them,
    /// five calls a second a shard
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// When to paint what is printed
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A table and a picture
    Table,
    /// One object a shard and line
    Json,
}

const EXIT_CODES: &str = "\
Exit codes: 0 shown, 1 something failed, 2 wrong arguments.";

fn main() -> ExitCode {
    logging::init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("shards: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let client = arguments
        .service
        .properties()
        .and_then(|properties| arguments.service.client(&properties))
        .map_err(told)?;
    let since = arguments.since.as_deref().map(moment::read);
    let question = Question {
        since: since.transpose().map_err(told)?,
        checkpoint: match &arguments.checkpoint {
            Some(path) => Some(saved::read(path)?.checkpoint),
            None => None,
        },
    };
    let mut output = io::stdout().lock();
    for stream in &arguments.streams {
        let mut rows = question.rows(&client, stream).map_err(told)?;
        rows.retain(|row| row.shard.is_open() || !arguments.open);
        let painted = terminal::paints(arguments.color);
        let written = match arguments.format {
            Format::Table => output.write_all(shown(&client, stream, &rows, painted)?.as_bytes()),
            Format::Json => rows
                .iter()
                .try_for_each(|row| terminal::write_json(&mut output, &Line::of(row), painted)),
        };
        match written {
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| format!("standard output: {error}"))?,
        }
    }
    Ok(())
}

fn told(error: Error) -> String {
    error.to_string()
}

/// What is to be known of every shard, beside what the listing says.
struct Question {
    since: Option<Timestamp>,
    checkpoint: Option<Checkpoint>,
}

struct Row {
    at: ShardRef,
    shard: Shard,
    size: Option<Size>,
    lag: Option<Lag>,
}

/// What a shard took.
#[derive(Clone, Copy, Default, Serialize)]
struct Size {
    records: u64,
    bytes: u64,
    /// There is more, which was not counted.
    at_least: bool,
}

/// How far a checkpoint is behind a shard's tip.
enum Lag {
    Behind(Duration),
    Ended,
    /// The service does not say.
    Unknown,
    /// The checkpoint has not come to this shard.
    Unread,
}

impl Question {
    fn rows(&self, client: &Client, stream: &str) -> Result<Vec<Row>, Error> {
        let shards = client.list_shards(stream)?.into_iter();
        let row = |shard: Shard| {
            let at = ShardRef::new(stream, shard.id.clone());
            let size = self
                .since
                .map(|since| size(client, &at, since))
                .transpose()?;
            let checkpoint = self.checkpoint.as_ref();
            let lag = checkpoint.map(|checkpoint| lag(client, &at, checkpoint));
            Ok(Row {
                lag: lag.transpose()?,
                size,
                shard,
                at,
            })
        };
        shards.map(row).collect()
    }
}

fn size(client: &Client, at: &ShardRef, since: Timestamp) -> Result<Size, Error> {
    let start = match since {
        Timestamp::MIN => StartPosition::TrimHorizon,
        since => StartPosition::AtTimestamp(since),
    };
    let mut size = Size::default();
    let mut iterator = client.get_shard_iterator(at, &ShardPosition::Start(start))?;
    for call in 0.. {
        let Some(here) = &iterator else {
            return Ok(size);
        };
        if call == CALLS_MAX {
            break;
        }
        if call > 0 {
            thread::sleep(CALL_INTERVAL);
        }
        let answer = client.get_records(here, RECORDS_MAX)?;
        size.records += answer.records.len() as u64;
        let bytes = answer.records.iter().map(|record| record.data.len() as u64);
        size.bytes += bytes.sum::<u64>();
        let is_tip = answer.millis_behind_latest == Some(0);
        iterator = answer.next.filter(|_| !is_tip);
    }
    size.at_least = true;
    Ok(size)
}

fn lag(client: &Client, at: &ShardRef, checkpoint: &Checkpoint) -> Result<Lag, Error> {
    match checkpoint.position(at) {
        None => Ok(Lag::Unread),
        Some(ShardPosition::ShardEnd) => Ok(Lag::Ended),
        Some(position) => {
            let Some(iterator) = client.get_shard_iterator(at, position)? else {
                return Ok(Lag::Ended);
            };
            let answer = client.get_records(&iterator, 1)?;
            let behind = answer.millis_behind_latest.map(Duration::from_millis);
            Ok(behind.map_or(Lag::Unknown, Lag::Behind))
        }
    }
}

fn shown(client: &Client, stream: &str, rows: &[Row], painted: bool) -> Result<String, String> {
    let summary = client.describe_stream_summary(stream).map_err(told)?;
    let open = rows.iter().filter(|row| row.shard.is_open()).count();
    let head = format!(
        "stream {stream}: {}, {open} open shards of {}, records are kept for {} h\n\n",
        summary.status.to_lowercase(),
        rows.len(),
        summary.retention.as_secs() / 3_600
    );
    let cells = rows.iter().map(|row| row.cells(rows));
    let table = table(
        &std::iter::once(head_cells(rows))
            .chain(cells)
            .collect::<Vec<_>>(),
    );
    let picture: String = rows.iter().map(|row| row.bar(painted)).collect();
    Ok(format!("{head}{table}\n{picture}"))
}

fn head_cells(rows: &[Row]) -> Vec<String> {
    let mut head = vec!["SHARD", "STATE", "FROM", "INTO", "HASH KEYS", "SHARE"];
    if rows.iter().any(|row| row.size.is_some()) {
        head.extend(["RECORDS", "BYTES"]);
    }
    if rows.iter().any(|row| row.lag.is_some()) {
        head.push("LAG");
    }
    head.into_iter().map(str::to_owned).collect()
}

impl Row {
    fn cells(&self, all: &[Row]) -> Vec<String> {
        let range = self.shard.hash_key_range;
        let children = all
            .iter()
            .filter(|row| row.shard.parents().any(|id| *id == self.shard.id));
        let mut cells = vec![
            self.shard.id.to_string(),
            if self.shard.is_open() {
                "open"
            } else {
                "closed"
            }
            .to_owned(),
            numbers(self.shard.parents()),
            numbers(children.map(|row| &row.shard.id)),
            format!(
                "{:08x}…{:08x}",
                range.start.as_u128() >> 96,
                range.end.as_u128() >> 96
            ),
            format!("{:.1} %", share(&range) * 100.0),
        ];
        if let Some(size) = &self.size {
            let more = if size.at_least { "≥ " } else { "" };
            let count = |n: u64| format!("{more}{n}");
            cells.extend([count(size.records), count(size.bytes)]);
        }
        cells.extend(self.lag.as_ref().map(Lag::shown));
        cells
    }

    /// Draws which part of all hash keys the shard has, to a cell of `1 / CELLS`.
    fn bar(&self, painted: bool) -> String {
        let range = self.shard.hash_key_range;
        let cell = |key: u128| (key >> (128 - CELLS.ilog2())) as usize;
        let (first, last) = (cell(range.start.as_u128()), cell(range.end.as_u128()));
        let (fill, paint) = match self.shard.is_open() {
            true => ("█", "\x1b[32m"),
            false => ("░", "\x1b[2m"),
        };
        let bar = fill.repeat(last - first + 1);
        let bar = match painted {
            true => format!("{paint}{bar}\x1b[0m"),
            false => bar,
        };
        let (before, after) = (" ".repeat(first), " ".repeat(CELLS - 1 - last));
        format!("|{before}{bar}{after}| {}\n", number(&self.shard.id))
    }
}

impl Lag {
    fn shown(&self) -> String {
        match self {
            Lag::Behind(time) => format!("{:.1} s", time.as_secs_f64()),
            Lag::Ended => "read to its end".to_owned(),
            Lag::Unknown => "not said".to_owned(),
            Lag::Unread => "not begun".to_owned(),
        }
    }
}

/// `shardId-000000000007` is 7; other names stay.
fn number(id: &ShardId) -> &str {
    let digits = id.as_str().strip_prefix("shardId-");
    let number = digits.map(|digits| digits.trim_start_matches('0'));
    match number {
        Some("") => "0",
        Some(number) => number,
        None => id.as_str(),
    }
}

fn numbers<'a>(ids: impl Iterator<Item = &'a ShardId>) -> String {
    let numbers: Vec<_> = ids.map(number).collect();
    if numbers.is_empty() {
        return "–".to_owned();
    }
    numbers.join(" + ")
}

fn share(range: &HashKeyRange) -> f64 {
    (range.end.as_u128() - range.start.as_u128()) as f64 / u128::MAX as f64
}

/// One line of JSON. Hash keys are text, as no JSON number is as large as they.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    shard_id: &'a str,
    open: bool,
    parents: Vec<&'a str>,
    hash_key_start: String,
    hash_key_end: String,
    share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<LagLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LagLine {
    BehindMs(u64),
    State(&'static str),
}

impl<'a> Line<'a> {
    fn of(row: &'a Row) -> Line<'a> {
        let range = row.shard.hash_key_range;
        let number = |key: &dyn Display| key.to_string();
        Line {
            stream: &row.at.stream,
            shard_id: row.shard.id.as_str(),
            open: row.shard.is_open(),
            parents: row.shard.parents().map(ShardId::as_str).collect(),
            hash_key_start: number(&range.start),
            hash_key_end: number(&range.end),
            share: share(&range),
            since: row.size,
            lag: row.lag.as_ref().map(|lag| match lag {
                Lag::Behind(time) => {
                    LagLine::BehindMs(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                }
                Lag::Ended => LagLine::State("ended"),
                Lag::Unknown => LagLine::State("unknown"),
                Lag::Unread => LagLine::State("unread"),
            }),
        }
    }
}

/// How wide the picture is: a power of two.
const CELLS: usize = 64;

/// A GetRecords call gives no more: `API_GetRecords.html`.
const RECORDS_MAX: u32 = 10_000;

/// A shard answers five calls a second, also to all its other readers.
const CALL_INTERVAL: Duration = Duration::from_millis(200);

/// What is not counted after so many calls is left, and the count is told to be too low.
const CALLS_MAX: u32 = 100;
