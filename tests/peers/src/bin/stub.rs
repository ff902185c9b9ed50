//! A Kinesis that costs next to nothing, for measuring clients: a thread a connection, and answers
//! that are made before anybody asks.
//!
//! Prints its URL. A stream's name says what its iterators read: `empty`, `get10k` (10,000 records
//! of 100 bytes), `get1m` (1,024 of 1 KiB) or `aggregated` (100 aggregates of 100 user records of 100
//! bytes). Each has one shard. PutRecords stores nothing and praises every entry; in the stream `put`
//! it speaks of four shards.
//! Each line on the standard input is answered by the number of connections made so far.
//! `--delay-us N` makes every answer wait.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesis_blocking::aggregation::{SubRecord, encode};
use memchr::memmem;

type Records = (&'static str, usize, usize);

const RECORDS: [Records; 3] = [
    ("empty", 0, 0),
    ("get10k", 10_000, 100),
    ("get1m", 1_024, 1_024),
];

const SHARDS: &str = r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211455"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#;

const STACK_BYTES: usize = 64 << 10;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

fn main() -> io::Result<()> {
    let answers = Arc::new(Answers::new());
    let delay = Duration::from_micros(delay_us());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    std::thread::spawn(|| {
        for _ in io::stdin().lines() {
            println!("{}", CONNECTIONS.load(Ordering::Relaxed));
        }
    });
    for stream in listener.incoming() {
        let (stream, answers) = (stream?, answers.clone());
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn(move || Connection::new(stream, delay).serve(&answers))?;
    }
    Ok(())
}

fn delay_us() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--delay-us");
    let value = arguments.nth(1).map(|value| value.parse());
    value.map_or(0, |value| value.expect("--delay-us takes a number"))
}

struct Answers {
    shards: Vec<u8>,
    iterators: Vec<(&'static str, Vec<u8>)>,
    records: Vec<(&'static str, Vec<u8>)>,
}

impl Answers {
    fn new() -> Answers {
        let iterator = |(name, ..): Records| {
            let body = format!(r#"{{"ShardIterator":"{}"}}"#, iterator(name));
            (name, answer(&body))
        };
        let plain = |(name, count, bytes)| {
            let data = |number| base64(bytes, number as u64);
            (name, answer(&records(name, count, data)))
        };
        let aggregates = records("aggregated", 100, |number| {
            STANDARD.encode(aggregate(number))
        });
        let records = RECORDS.map(plain).into_iter();
        let aggregates = ("aggregated", answer(&aggregates));
        Answers {
            shards: answer(SHARDS),
            iterators: RECORDS
                .into_iter()
                .chain([("aggregated", 0, 0)])
                .map(iterator)
                .collect(),
            records: records.chain([aggregates]).collect(),
        }
    }
}

/// One client, and what it has sent that is not answered.
struct Connection {
    stream: TcpStream,
    delay: Duration,
    buffer: Vec<u8>,
    filled: usize,
    /// By the shards that are spoken of, and the entries.
    puts: HashMap<(usize, usize), Vec<u8>>,
}

impl Connection {
    fn new(stream: TcpStream, delay: Duration) -> Connection {
        Connection {
            stream,
            delay,
            buffer: vec![0; 16 << 10],
            filled: 0,
            puts: HashMap::new(),
        }
    }

    /// Until the client goes, whose manner of going does not matter.
    fn serve(mut self, answers: &Answers) {
        let _ = self.stream.set_nodelay(true);
        while let Ok(Some((head, end))) = self.request() {
            let (head, body) = self.buffer[..end].split_at(head);
            let answer = match operation(head) {
                b"GetRecords" => found(&answers.records, body),
                b"GetShardIterator" => found(&answers.iterators, body),
                b"ListShards" => &answers.shards,
                _ => {
                    let entries = memmem::find_iter(body, b"\"PartitionKey\"").count();
                    let shards = match memmem::find(body, b"\"StreamName\":\"put\"") {
                        Some(_) => 4,
                        None => 1,
                    };
                    let answer = self.puts.entry((shards, entries));
                    answer.or_insert_with(|| stored(entries, shards))
                }
            };
            if !self.delay.is_zero() {
                std::thread::sleep(self.delay);
            }
            if self.stream.write_all(answer).is_err() {
                return;
            }
            self.buffer.copy_within(end..self.filled, 0);
            self.filled -= end;
        }
    }

    /// Reads one request: where its head and where its body ends.
    fn request(&mut self) -> io::Result<Option<(usize, usize)>> {
        let mut looked = 0;
        let head = loop {
            if let Some(at) = memmem::find(&self.buffer[looked..self.filled], b"\r\n\r\n") {
                break looked + at + 4;
            }
            looked = self.filled.saturating_sub(3);
            if self.read()? == 0 {
                return Ok(None);
            }
        };
        let length = header(&self.buffer[..head], b"content-length:");
        let length = std::str::from_utf8(length)
            .ok()
            .and_then(|text| text.parse().ok());
        let end = head + length.unwrap_or(0);
        self.buffer.resize(self.buffer.len().max(end), 0);
        while self.filled < end {
            if self.read()? == 0 {
                return Ok(None);
            }
        }
        Ok(Some((head, end)))
    }

    fn read(&mut self) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read)
    }
}

fn operation(head: &[u8]) -> &[u8] {
    let target = header(head, b"x-amz-target:");
    let dot = target.iter().rposition(|byte| *byte == b'.');
    dot.map_or(target, |dot| &target[dot + 1..])
}

fn header<'a>(head: &'a [u8], name: &[u8]) -> &'a [u8] {
    let mut lines = head.split(|byte| *byte == b'\n');
    let is_it = |line: &&[u8]| {
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    lines
        .find(is_it)
        .map_or(&[], |line| line[name.len()..].trim_ascii())
}

/// The answer whose name the request has in it.
fn found<'a>(answers: &'a [(&str, Vec<u8>)], body: &[u8]) -> &'a [u8] {
    let is_named = |(name, _): &&(&str, _)| memmem::find(body, name.as_bytes()).is_some();
    &answers.iter().find(is_named).unwrap_or(&answers[0]).1
}

fn answer(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\n\
         x-amzn-RequestId: c8e5c5d6-0000-4000-8000-3f1f00000000\r\n\
         x-amz-id-2: l5bO6fT4+wrmXdM0q0rVn3pEn7fRk0aXN2WJ2Gq0M1cJbF6vT9S1cJkqf0aZ8h\r\n\
         Date: Sat, 25 Oct 2025 12:00:00 GMT\r\n\
         Content-Type: application/x-amz-json-1.1\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// As long as real ones.
fn iterator(name: &str) -> String {
    let noise = "AAAAAAAAAAHSywljv0zEgPX4NyKdZ5wryMzP9yALs8NeKbUjp1IxtZs1Sp";
    format!("{name}#{}", noise.repeat(3))
}

/// An aggregate of user records of 100 bytes, as the KPL makes them.
fn aggregate(number: usize) -> Bytes {
    let noise = |n: usize| base64(75, n as u64).into_bytes();
    let record = |n: usize| SubRecord::new(key(number * 100 + n), noise(number * 100 + n));
    encode(&(0..100).map(record).collect::<Vec<_>>())
}

fn records(name: &str, count: usize, data: impl Fn(usize) -> String) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64() / 1e9;
    let record = |number| {
        format!(
            r#"{{"ApproximateArrivalTimestamp":{now:.12}E9,"Data":"{}","PartitionKey":"{}","SequenceNumber":"{}"}}"#,
            data(number),
            key(number),
            sequence_number(number),
        )
    };
    let records: Vec<_> = (0..count).map(record).collect();
    let (iterator, records) = (iterator(name), records.join(","));
    format!(r#"{{"MillisBehindLatest":0,"NextShardIterator":"{iterator}","Records":[{records}]}}"#)
}

fn stored(entries: usize, shards: usize) -> Vec<u8> {
    let entry = |number| {
        let (sequence_number, shard) = (sequence_number(number), number % shards);
        format!(r#"{{"SequenceNumber":"{sequence_number}","ShardId":"shardId-{shard:012}"}}"#)
    };
    let entries: Vec<_> = (0..entries).map(entry).collect();
    answer(&format!(
        r#"{{"FailedRecordCount":0,"Records":[{}]}}"#,
        entries.join(",")
    ))
}

fn key(number: usize) -> String {
    let scattered = (number as u32).wrapping_mul(2_654_435_761);
    format!("{scattered:08x}-0000-4000-8000-{number:012x}")
}

fn sequence_number(number: usize) -> String {
    let last = 59_975_228_518_395_012_686_u128 + number as u128;
    format!("495434630765480075771050927030395603{last:020}")
}

/// So many bytes of noise, in base64.
fn base64(bytes: usize, seed: u64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut digit = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        char::from(DIGITS[(noise >> 24) as usize % 64])
    };
    let mut text: String = (0..bytes / 3 * 4).map(|_| digit()).collect();
    text.push_str(match bytes % 3 {
        0 => "",
        1 => "AA==",
        _ => "AAA=",
    });
    text
}
