//! Other libraries in other languages: run by `tests/interop/aggregation/run.sh`.
//!
//! A peer is a process that answers line by line; its script tells the lines.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinesis_blocking::HashKey;
use kinesis_blocking::aggregation::{SubRecord, decode, encode};
use serde_json::{Value, json};

use crate::vectors::{blob, record};

/// Aggregates that a run exchanges with each library.
const CASES: u64 = 10_000;

#[test]
#[ignore = "wants PYTHON with aws-kinesis-agg: tests/interop/aggregation/run.sh"]
fn python_s_aws_kinesis_agg_and_we_read_each_other() {
    exchange(
        python("aws-kinesis-agg"),
        // Its deaggregator gives a record without an explicit hash key the first of the table.
        &[HashKeys::All, HashKeys::None],
        1,
    );
}

#[test]
#[ignore = "wants PYTHON with aiokpl: tests/interop/aggregation/run.sh"]
fn python_s_aiokpl_and_we_read_each_other() {
    exchange(
        python("aiokpl"),
        &[HashKeys::All, HashKeys::None, HashKeys::Some],
        // It hands a single record on bare, like the KPL.
        2,
    );
}

#[test]
#[ignore = "wants NODE_PATH with aws-kinesis-agg: tests/interop/aggregation/run.sh"]
fn node_s_aws_kinesis_agg_and_we_read_each_other() {
    let mut node = Command::new("node");
    node.arg(script("agg_peer.cjs"));
    // Its deaggregator has the same fault as Python's.
    exchange(node, &[HashKeys::All, HashKeys::None], 1);
}

/// Which records of an aggregate have an explicit hash key.
#[derive(Clone, Copy)]
enum HashKeys {
    All,
    None,
    Some,
}

fn python(library: &str) -> Command {
    let mut python = Command::new(env::var("PYTHON").expect("PYTHON is set"));
    python.arg(script("agg_peer.py")).arg(library);
    python
}

fn script(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/tests/interop/aggregation/{name}")
}

/// Sends every case to the peer and judges what comes back.
fn exchange(mut peer: Command, kinds: &[HashKeys], min_records: u64) {
    let cases = env::var("CASES").map_or(CASES, |text| text.parse().expect("a number"));
    let mut random = Random::from_environment();
    let cases: Vec<Vec<SubRecord>> = (0..cases)
        .map(|_| {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            random.records(kind, min_records)
        })
        .collect();

    let mut child = peer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peer starts");
    let mut input = child.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut read = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for records in &cases {
                writeln!(input, "{}", question(records)).expect("the peer reads");
            }
            drop(input);
        });
        for records in &cases {
            let answer = answers.next().expect("an answer to each case");
            let answer: Value = serde_json::from_str(&answer.expect("text")).expect("JSON");
            judge(records, &answer);
            read += records.len();
        }
    });
    assert!(child.wait().expect("the peer ends").success());
    println!(
        "{} aggregates of {read} user records, each way",
        cases.len()
    );
}

fn question(records: &[SubRecord]) -> Value {
    let rows = records.iter().map(|record| {
        let hash_key = record.explicit_hash_key.map(|key| key.to_string());
        json!([
            *record.partition_key,
            hash_key,
            STANDARD.encode(&record.data)
        ])
    });
    json!({
        "records": rows.collect::<Vec<_>>(),
        "blob": STANDARD.encode(encode(records)),
    })
}

fn judge(records: &[SubRecord], answer: &Value) {
    let read = answer["records"].as_array().expect("a list");
    let read: Vec<SubRecord> = read.iter().map(record).collect();
    assert_eq!(read, records, "what they read of ours");
    let theirs = blob(&answer["blob"]);
    let decoded = decode(&theirs).expect("sound").expect("an aggregate");
    assert_eq!(decoded, records, "what we read of theirs");
    assert_eq!(theirs, encode(records), "the bytes of both");
}

/// SplitMix64: a short source of numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn from_environment() -> Random {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = match env::var("SEED") {
            Ok(text) => text.parse().expect("SEED is a number"),
            Err(_) => clock().expect("after 1970").as_nanos() as u64,
        };
        println!("SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn records(&mut self, kind: HashKeys, min: u64) -> Vec<SubRecord> {
        // Many records now and then, for indices of two bytes; few keys or one for each.
        let max = if self.below(50) == 0 { 400 } else { 20 };
        let count = min + self.below(max);
        let keys = 1 + self.below(count);
        (0..count).map(|_| self.record(kind, keys)).collect()
    }

    fn record(&mut self, kind: HashKeys, keys: u64) -> SubRecord {
        let has_hash_key = match kind {
            HashKeys::All => true,
            HashKeys::None => false,
            HashKeys::Some => self.below(2) == 0,
        };
        let key = self.below(keys);
        let data_len = [0, 1, 3, 127, 128, 129, 300][self.below(7) as usize];
        SubRecord {
            partition_key: partition_key(key).into(),
            explicit_hash_key: has_hash_key.then(|| self.hash_key(keys)),
            data: (0..data_len).map(|_| self.next() as u8).collect(),
        }
    }

    /// Node's encoder sorts keys that look like an index of an array, which are below 2^32.
    fn hash_key(&mut self, keys: u64) -> HashKey {
        let high = u128::from(1 + self.below(keys)) << 100;
        match self.below(20) {
            0 => HashKey::MAX,
            _ => HashKey::from(high),
        }
    }
}

/// A key that is a name for sure: Node's encoder also sorts partition keys that look like an index.
fn partition_key(number: u64) -> String {
    match number % 5 {
        0 => format!("user-{number}"),
        1 => format!("k{}", "long".repeat(number as usize % 60)),
        2 => format!("né-{number}"),
        3 => format!("鍵-{number}"),
        _ => format!("\u{1f511}{number}"),
    }
}
