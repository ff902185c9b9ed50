//! What calls cost, against the stub of `tests/peers`; the AWS SDK does the same in its `sdk_bench`,
//! and `tests/benches/beside.py` runs both.
//!
//! `client URL CASE REQUESTS`, where CASE is a stream of the stub, `put500x100` or `put500x1024`;
//! `client URL poll THREADS SECONDS` polls in that many threads, each every 200 ms.
//! `produce` puts so many user records of 100 bytes through a producer, `consume` and
//! `consume-aggregated` read so many through a consumer.
//! Prints nanoseconds of CPU time of this process, the calls made in it, and the peak of the
//! process's memory in KiB.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Credentials, Producer, ProducerConfig, PutRecordsEntry,
    ShardIterator, ShardPosition, ShardRef, StartPosition, UserRecord,
};
use rustix::time::{ClockId, clock_gettime};

const POLL_EVERY: Duration = Duration::from_millis(200);

/// Until all are connected.
const WARM_UP: Duration = Duration::from_secs(3);

const ENTRIES: usize = 500;

const DATA: &[u8] = &[b'x'; 100];

const KEYS: usize = 10_000;

static CALLS: AtomicU64 = AtomicU64::new(0);

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments
        .iter()
        .filter(|argument| *argument != "--bench")
        .collect();
    let [url, case, numbers @ ..] = &arguments[..] else {
        println!("usage: client URL CASE REQUESTS; see tests/benches/beside.py");
        return;
    };
    let number = |n: usize| numbers[n].parse().expect("a number");
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(*url)
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .build()
        .expect("a client");
    let cpu = match case.as_str() {
        "poll" => poll(&client, number(0), number(1) as u64),
        "put500x100" => put(&client, 100, number(0)),
        "put500x1024" => put(&client, 1_024, number(0)),
        "produce" | "produce-plain" => produce(&client, number(0)),
        "consume" => consume(&client, "get10k", number(0)),
        "consume-aggregated" => consume(&client, "aggregated", number(0)),
        stream => get(&client, stream, number(0)),
    };
    let calls = CALLS.load(Ordering::Relaxed);
    println!("{} {calls} {}", cpu.as_nanos(), peak_memory_kib());
}

fn put(client: &Client, bytes: usize, requests: usize) -> Duration {
    let data: Bytes = (0..bytes).map(|n| (n * 7 + n / 3) as u8).collect();
    let entry = |n: usize| PutRecordsEntry {
        data: data.clone(),
        partition_key: key(n).into(),
        explicit_hash_key: None,
    };
    let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
    let call = || {
        let answer = client.put_records("put", &entries).expect("an answer");
        assert_eq!(answer.records.len(), ENTRIES);
    };
    measured(requests, call)
}

fn get(client: &Client, stream: &str, requests: usize) -> Duration {
    let mut iterator = iterator(client, stream);
    let call = || {
        let answer = client.get_records(&iterator, 10_000).expect("an answer");
        for record in &answer.records {
            black_box((
                record.data.len(),
                &record.partition_key,
                &record.sequence_number,
            ));
        }
        iterator = answer.next.expect("an iterator");
    };
    measured(requests, call)
}

/// User records from `put` to settled, default settings but for the limit to a shard's rate.
fn produce(client: &Client, records: usize) -> Duration {
    let config = ProducerConfig::builder().rate_limit_percent(u32::MAX);
    let producer = Producer::builder(client.clone()).stream("produce");
    let producer = producer.config(config.build().expect("valid")).start();
    let producer = producer.expect("started");
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let put = |records: usize| {
        for key in keys.iter().cycle().take(records) {
            let record = UserRecord::new(key.clone(), Bytes::from_static(DATA));
            drop(producer.put(record).expect("taken in"));
        }
        producer.flush().expect("flushed");
    };
    put(records / 10);
    let began = cpu_time();
    put(records);
    let cpu = cpu_time() - began;
    let put = producer.metrics().total.user_records_put;
    assert_eq!(put, (records + records / 10) as u64);
    producer.close().expect("closed");
    CALLS.store(records as u64, Ordering::Relaxed);
    cpu
}

fn consume(client: &Client, stream: &str, records: usize) -> Duration {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .get_records_interval(Duration::ZERO)
        .read_bytes_per_second(None);
    let consumer = Consumer::builder(client.clone()).stream(stream);
    let consumer = consumer.config(config.build().expect("valid")).start();
    let mut consumer = consumer.expect("started");
    let mut read = |records: usize| {
        for record in consumer.by_ref().take(records) {
            let record = record.expect("a record");
            black_box((record.data().len(), record.partition_key()));
        }
    };
    read(records / 10);
    let began = cpu_time();
    read(records);
    let cpu = cpu_time() - began;
    consumer.close().expect("closed");
    CALLS.store(records as u64, Ordering::Relaxed);
    cpu
}

fn measured(requests: usize, mut call: impl FnMut()) -> Duration {
    (0..requests / 10 + 1).for_each(|_| call());
    let began = cpu_time();
    (0..requests).for_each(|_| call());
    CALLS.store(requests as u64, Ordering::Relaxed);
    cpu_time() - began
}

fn poll(client: &Client, threads: usize, seconds: u64) -> Duration {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let is_over = &is_over;
            scope.spawn(move || {
                sleep(POLL_EVERY.mul_f64(thread as f64 / threads as f64));
                let mut position = iterator(client, "empty");
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.get_records(&position, 10_000).expect("an answer");
                    position = answer.next.expect("an iterator");
                    CALLS.fetch_add(1, Ordering::Relaxed);
                    sleep(POLL_EVERY);
                }
            });
        }
        sleep(WARM_UP);
        let began = cpu_time();
        CALLS.store(0, Ordering::Relaxed);
        sleep(Duration::from_secs(seconds));
        is_over.store(true, Ordering::Relaxed);
        cpu_time() - began
    })
}

fn iterator(client: &Client, stream: &str) -> ShardIterator {
    let shard = ShardRef::new(stream, "shardId-000000000000");
    let position = ShardPosition::Start(StartPosition::TrimHorizon);
    let iterator = client.get_shard_iterator(&shard, &position);
    iterator.expect("an answer").expect("an iterator")
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
