//! The AWS SDK for Rust at the same work as the crate's own benchmark, `tests/benches/client.rs`.
//!
//! `sdk_bench [--threads N] URL CASE REQUESTS`, where `--threads` is for a runtime of so many threads
//! in place of the current one, and CASE is a stream of the stub, `put500x100` or `put500x1024`;
//! `sdk_bench … URL poll TASKS SECONDS` polls in that many tasks, each every 200 ms.
//! `produce` and `produce-plain` put so many user records of 100 bytes, in aggregates that prost makes
//! or one by one in requests of 500; `consume` and `consume-aggregated` read so many.
//! Prints nanoseconds of CPU time of this process, the calls made in it, and the peak of the
//! process's memory in KiB.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

const POLL_EVERY: Duration = Duration::from_millis(200);

/// Until all are connected.
const WARM_UP: Duration = Duration::from_secs(3);

const ENTRIES: usize = 500;

static CALLS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut builder = Builder::new_current_thread();
    if arguments[0] == "--threads" {
        builder = Builder::new_multi_thread();
        builder.worker_threads(arguments[1].parse().expect("a number"));
        arguments.drain(..2);
    }
    let number = |n: usize| arguments[n].parse().expect("a number");
    let client = client(&arguments[0]);
    let work = async {
        match &*arguments[1] {
            "poll" => poll(client, number(2), number(3) as u64).await,
            "put500x100" => put(&client, 100, number(2)).await,
            "put500x1024" => put(&client, 1_024, number(2)).await,
            "produce" => produce(&client, number(2), 5 * AGGREGATE, aggregates).await,
            "produce-plain" => produce(&client, number(2), ENTRIES, plain_entries).await,
            "consume" => consume(&client, "get10k", number(2)).await,
            "consume-aggregated" => consume(&client, "aggregated", number(2)).await,
            stream => get(&client, stream, number(2)).await,
        }
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    let cpu = runtime.block_on(work);
    let calls = CALLS.load(Ordering::Relaxed);
    println!("{} {calls} {}", cpu.as_nanos(), peak_memory_kib());
}

fn client(url: &str) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "fixed");
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build(),
    )
}

async fn put(client: &Client, bytes: usize, requests: usize) -> Duration {
    let data: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 3) as u8).collect();
    let entry = |n: usize| {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(data.clone()));
        entry.partition_key(key(n)).build().expect("complete")
    };
    let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
    let mut began = cpu_time();
    for request in 0..requests + warm_up(requests) {
        if request == warm_up(requests) {
            began = cpu_time();
            CALLS.store(requests as u64, Ordering::Relaxed);
        }
        let call = client.put_records().stream_name("put");
        let answer = call.set_records(Some(entries.clone())).send().await;
        assert_eq!(answer.expect("an answer").records().len(), ENTRIES);
    }
    cpu_time() - began
}

async fn get(client: &Client, stream: &str, requests: usize) -> Duration {
    let mut iterator = iterator(client, stream).await;
    let mut began = cpu_time();
    for request in 0..requests + warm_up(requests) {
        if request == warm_up(requests) {
            began = cpu_time();
            CALLS.store(requests as u64, Ordering::Relaxed);
        }
        let call = client.get_records().shard_iterator(iterator).limit(10_000);
        let answer = call.send().await.expect("an answer");
        for record in answer.records() {
            black_box((
                record.data().as_ref().len(),
                record.partition_key(),
                record.sequence_number(),
            ));
        }
        iterator = answer.next_shard_iterator.expect("an iterator");
    }
    cpu_time() - began
}

/// Puts user records, batch by batch: what a batch makes of its records is part of the work.
async fn produce<F>(client: &Client, records: usize, batch: usize, entries: F) -> Duration
where
    F: Fn(Range<usize>) -> Vec<PutRecordsRequestEntry>,
{
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    KEYS_MADE.set(keys).expect("set once");
    let mut began = cpu_time();
    let (mut done, warm) = (0, records / 10);
    while done < records + warm {
        if done <= warm {
            began = cpu_time();
            CALLS.store((records + warm - done) as u64, Ordering::Relaxed);
        }
        let entries = entries(done..done + batch);
        let call = client.put_records().stream_name("produce");
        let answer = call.set_records(Some(entries)).send().await;
        assert_eq!(answer.expect("an answer").failed_record_count, Some(0));
        done += batch;
    }
    CALLS.fetch_add((done - records - warm) as u64, Ordering::Relaxed);
    cpu_time() - began
}

fn plain_entries(records: Range<usize>) -> Vec<PutRecordsRequestEntry> {
    let entry = |n: usize| {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(DATA));
        entry.partition_key(key_of(n)).build().expect("complete")
    };
    records.map(entry).collect()
}

/// As many records in an aggregate as the KPL puts into its 50 KiB.
fn aggregates(records: Range<usize>) -> Vec<PutRecordsRequestEntry> {
    let parts = records.clone().step_by(AGGREGATE);
    let entry = |start: usize| {
        let part = start..(start + AGGREGATE).min(records.end);
        let first = key_of(start);
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(aggregated(part)));
        entry
            .partition_key(first)
            .explicit_hash_key("1")
            .build()
            .expect("complete")
    };
    parts.map(entry).collect()
}

fn aggregated(records: Range<usize>) -> Vec<u8> {
    let mut indexes = HashMap::new();
    let mut aggregate = AggregatedRecord::default();
    for n in records {
        let next = indexes.len() as u64;
        let index = *indexes.entry(key_of(n)).or_insert_with(|| {
            aggregate.partition_key_table.push(key_of(n).to_owned());
            next
        });
        aggregate.records.push(Record {
            partition_key_index: index,
            explicit_hash_key_index: None,
            data: Bytes::from_static(DATA),
            tags: Vec::new(),
        });
    }
    let mut bytes = MAGIC.to_vec();
    aggregate.encode(&mut bytes).expect("a Vec grows");
    let digest = Md5::digest(&bytes[MAGIC.len()..]);
    bytes.extend_from_slice(&digest);
    bytes
}

/// Reads user records, taking aggregates apart.
async fn consume(client: &Client, stream: &str, records: usize) -> Duration {
    let mut iterator = iterator(client, stream).await;
    let (mut began, mut first, mut done) = (cpu_time(), 0, 0);
    while done < records + first {
        if first == 0 && done >= records / 10 {
            (began, first) = (cpu_time(), done);
        }
        let call = client.get_records().shard_iterator(iterator).limit(10_000);
        let answer = call.send().await.expect("an answer");
        for record in answer.records() {
            done += each_user_record(record.data().as_ref());
        }
        iterator = answer.next_shard_iterator.expect("an iterator");
    }
    CALLS.store((done - first) as u64, Ordering::Relaxed);
    cpu_time() - began
}

fn each_user_record(data: &[u8]) -> usize {
    let Some(body) = data
        .strip_prefix(MAGIC)
        .and_then(|body| body.split_last_chunk::<16>())
    else {
        black_box(data.len());
        return 1;
    };
    let (body, digest) = body;
    assert_eq!(Md5::digest(body).as_slice(), digest);
    let aggregate = AggregatedRecord::decode(body).expect("an aggregate");
    for record in &aggregate.records {
        let key = &aggregate.partition_key_table[record.partition_key_index as usize];
        black_box((record.data.len(), key));
    }
    aggregate.records.len()
}

/// The KPL's messages.
#[derive(Clone, PartialEq, prost::Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tag {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

const MAGIC: &[u8] = &[0xf3, 0x89, 0x9a, 0xc2];

/// User records in 50 KiB. Five such aggregates are the 256 KiB that the KPL sends to a shard at once.
const AGGREGATE: usize = 340;

const DATA: &[u8] = &[b'x'; 100];

const KEYS: usize = 10_000;
static KEYS_MADE: OnceLock<Vec<String>> = OnceLock::new();

fn key_of(record: usize) -> &'static str {
    &KEYS_MADE.get().expect("made at first")[record % KEYS]
}

async fn poll(client: Client, tasks: usize, seconds: u64) -> Duration {
    let first = Instant::now();
    let end = first + WARM_UP + Duration::from_secs(seconds);
    for task in 0..tasks {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(POLL_EVERY.mul_f64(task as f64 / tasks as f64)).await;
            let mut position = iterator(&client, "empty").await;
            while Instant::now() < end {
                let call = client.get_records().shard_iterator(position).limit(10_000);
                let answer = call.send().await.expect("an answer");
                position = answer.next_shard_iterator.expect("an iterator");
                CALLS.fetch_add(1, Ordering::Relaxed);
                sleep(POLL_EVERY).await;
            }
        });
    }
    sleep_until(first + WARM_UP).await;
    let began = cpu_time();
    CALLS.store(0, Ordering::Relaxed);
    sleep_until(end).await;
    cpu_time() - began
}

async fn iterator(client: &Client, stream: &str) -> String {
    let call = client
        .get_shard_iterator()
        .stream_name(stream)
        .shard_id("shardId-000000000000");
    let answer = call
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await;
    answer
        .expect("an answer")
        .shard_iterator
        .expect("an iterator")
}

fn warm_up(requests: usize) -> usize {
    requests / 10 + 1
}

fn key(number: usize) -> String {
    let scattered = (number as u32).wrapping_mul(2_654_435_761);
    format!("{scattered:08x}-0000-4000-8000-{number:012x}")
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
