//! Takes aggregates apart and builds them, from files: to see what a producer wrote.
//!
//! ```text
//! aws kinesis get-records … | cargo run --release --example aggregate -- unpack
//! aws kinesis get-records … --query 'Records[].Data' --output text |
//!   cargo run --release --example aggregate -- unpack --base64
//! ```
//!
//! What `unpack` prints, `pack` reads, and so does `put --format json`.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use clap::{ColorChoice, Parser, Subcommand};
use kinesis_blocking::aggregation::{
    Aggregate, DecodeLimits, Misplaced, SubRecord, decode_readable,
};
use kinesis_blocking::{HashKey, HashKeyRange};
use serde::{Deserialize, Serialize};

mod common {
    pub mod line;
    pub mod terminal;
}

use common::line::Line;
use common::terminal;

/// Takes aggregates of the Kinesis Producer Library apart, and builds them
#[derive(Parser)]
#[command(name = "aggregate", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print the user records of Kinesis records, one JSON object a line
    Unpack {
        /// The data of a Kinesis record, or the whole answer of `aws kinesis get-records`; standard input
        /// if it is - or left out
        #[arg(default_value = "-")]
        file: PathBuf,
        /// The file has base64, as pack writes it: the data of several Kinesis records, with blanks, tabs
        /// or newlines between them
        #[arg(long)]
        base64: bool,
        /// Print data that are UTF-8 as text, not in base64
        #[arg(long)]
        text: bool,
        /// The hash keys of the shard it was read from: tell which user records lie outside
        #[arg(long, value_name = "FIRST-LAST", value_parser = Range::from_str)]
        range: Option<Range>,
        /// When to paint what is printed
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: ColorChoice,
    },
    /// Build aggregates of the lines that unpack prints; one in base64 a line
    Pack {
        /// The lines; standard input if it is - or left out
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Bytes of an aggregate at most; a larger user record gets one of its own
        #[arg(long, value_name = "N", default_value_t = 51_200)]
        max_size: usize,
        /// User records in an aggregate at most
        #[arg(long, value_name = "N", default_value_t = u64::from(u32::MAX))]
        max_count: u64,
        /// Write the bytes of the only aggregate here
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// The hash keys that a shard owns.
#[derive(Clone)]
struct Range(HashKeyRange);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let (start, end) = text
            .split_once('-')
            .ok_or("not FIRST-LAST, such as 0-100")?;
        let key = |text: &str| text.parse::<HashKey>().map_err(|error| error.to_string());
        let (start, end) = (key(start)?, key(end)?);
        match start <= end {
            true => Ok(Range(HashKeyRange { start, end })),
            false => Err("its first is behind its last".to_owned()),
        }
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 it is damaged, or no aggregate, or something failed; 2 wrong arguments.";

fn main() -> ExitCode {
    match run(Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("aggregate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<(), String> {
    match what {
        What::Unpack {
            file,
            base64,
            text,
            range,
            color,
        } => {
            let data = read(&file)?;
            let kinesis_records = match base64 {
                true => several_in_base64(&data)?,
                false => answered(&data)?.unwrap_or_else(|| vec![data]),
            };
            unpack_all(kinesis_records, text, range, terminal::paints(color))
        }
        What::Pack {
            file,
            max_size,
            max_count,
            output,
        } => {
            let records = records(&read(&file)?)?;
            let aggregates = pack(&records, max_size, max_count);
            write(&aggregates, output.as_deref())
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    let read = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut data).map(|_| data),
        false => fs::read(file),
    };
    read.map_err(|error| format!("{}: {error}", file.display()))
}

/// The data of Kinesis records that stand one after the other, or of one in lines of equal length.
fn several_in_base64(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let words: Vec<&[u8]> = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let has_lines_only = !text.iter().any(|byte| matches!(byte, b' ' | b'\t'));
    if has_lines_only && is_wrapped(&words) {
        return Ok(vec![unbase64(&words.concat())?]);
    }
    let numbered = (1..).zip(&words);
    numbered
        .map(|(number, word)| {
            unbase64(word).map_err(|problem| of_several(number, words.len(), problem))
        })
        .collect()
}

/// Says whether it is one text that `base64` broke into lines, of 76 characters or of 64 as in PEM.
fn is_wrapped(words: &[&[u8]]) -> bool {
    let Some(([first, others @ ..], last)) = words.split_last().map(|(last, rest)| (rest, last))
    else {
        return false;
    };
    let is_as_long = |word: &&[u8]| word.len() == first.len();
    let is_aggregate = |word: &&[u8]| word.starts_with(MAGIC_IN_BASE64);
    matches!(first.len(), 64 | 76)
        && last.len() <= first.len()
        && others.iter().all(is_as_long)
        && !others.iter().chain([last]).any(is_aggregate)
}

/// Begins each aggregate: the bytes F3 89 9A C2, as far as they fill characters.
const MAGIC_IN_BASE64: &[u8] = b"84maw";

fn unbase64(text: &[u8]) -> Result<Vec<u8>, String> {
    let data = BASE64_STANDARD.decode(text);
    data.map_err(|error| format!("no base64: {error}"))
}

/// The data of the records of a GetRecords answer, if it is one.
fn answered(text: &[u8]) -> Result<Option<Vec<Vec<u8>>>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        records: Vec<Answered>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answered {
        data: String,
    }
    let Ok(Answer { records }) = serde_json::from_slice(text) else {
        return Ok(None);
    };
    let data = records.iter().map(|one| unbase64(one.data.as_bytes()));
    data.collect::<Result<_, _>>().map(Some)
}

/// Names the Kinesis record, if there are several.
fn of_several(number: usize, count: usize, problem: String) -> String {
    match count {
        1 => problem,
        _ => format!("record {number}: {problem}"),
    }
}

/// Prints what can be read of each, and then tells what cannot.
fn unpack_all(
    kinesis_records: Vec<Vec<u8>>,
    text: bool,
    range: Option<Range>,
    painted: bool,
) -> Result<(), String> {
    let count = kinesis_records.len();
    let mut problems = Vec::new();
    for (number, data) in (1..).zip(kinesis_records) {
        if let Err(problem) = unpack(data.into(), text, range.as_ref(), painted) {
            problems.push(of_several(number, count, problem));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\naggregate: ")),
    }
}

/// A user record and where it was found.
#[derive(Serialize)]
struct Unpacked {
    sub_sequence_number: usize,
    hash_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_range: Option<bool>,
    #[serde(flatten)]
    line: Line,
}

/// Prints all that can be read, and then tells what cannot.
fn unpack(data: Bytes, text: bool, range: Option<&Range>, painted: bool) -> Result<(), String> {
    let decoded =
        decode_readable(&data, &DecodeLimits::default()).map_err(|error| error.to_string())?;
    let Some(decoded) = decoded else {
        return Err(format!(
            "no aggregate: these {} bytes are one plain record, or a damaged one",
            data.len()
        ));
    };
    let placement = range.map(|range| Misplaced::DropAndCount.judge(&decoded.records, &range.0));
    let mut output = io::stdout().lock();
    for (number, record) in decoded.records.iter().enumerate() {
        let (key, hash_key) = (&record.partition_key, record.explicit_hash_key);
        let unpacked = Unpacked {
            sub_sequence_number: number,
            hash_key: record.hash_key().to_string(),
            in_range: placement
                .as_ref()
                .map(|placement| placement.delivers(number)),
            line: Line::new(key, hash_key, &record.data, text),
        };
        match terminal::write_json(&mut output, &unpacked, painted) {
            // Whoever reads our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| format!("standard output: {error}"))?,
        }
    }
    match decoded.unreadable {
        None => Ok(()),
        Some(error) => Err(error.to_string()),
    }
}

fn records(lines: &[u8]) -> Result<Vec<SubRecord>, String> {
    let lines = (1..).zip(lines.lines());
    let record = |(number, line): (u64, io::Result<String>)| {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        Line::read(line.as_bytes()).map_err(|problem| format!("line {number}: {problem}"))
    };
    lines.map(record).collect()
}

fn pack(records: &[SubRecord], max_size: usize, max_count: u64) -> Vec<Bytes> {
    let mut open = Aggregate::new(max_size, max_count.max(1));
    let mut full = Vec::new();
    for record in records {
        let (key, hash_key) = (&record.partition_key, record.explicit_hash_key);
        if !open.try_push(key, hash_key, &record.data) {
            full.push(open.finish());
            // The first one fits, whatever its size.
            open.try_push(key, hash_key, &record.data);
        }
    }
    if !open.is_empty() {
        full.push(open.finish());
    }
    full
}

fn write(aggregates: &[Bytes], output: Option<&Path>) -> Result<(), String> {
    let Some(file) = output else {
        let mut stdout = io::stdout().lock();
        let mut lines = aggregates.iter().map(|one| BASE64_STANDARD.encode(one));
        let written = lines.try_for_each(|line| writeln!(stdout, "{line}"));
        return written.map_err(|error| format!("standard output: {error}"));
    };
    match aggregates {
        [one] => fs::write(file, one).map_err(|error| format!("{}: {error}", file.display())),
        several => Err(format!(
            "these are {} aggregates: leave --output out, or raise --max-size",
            several.len()
        )),
    }
}
