//! What a record costs from the answer's bytes to the caller's loop, with a service in memory that
//! answers at once; and what shards cost in which nothing happens.
//!
//! `cargo bench --bench consumer [records]`. Prints nanoseconds of CPU a user record of 100 bytes, of
//! all threads together; then, of idle shards, threads, memory a shard and CPU; then what event time
//! costs, in runs with and without by turns. With `event-time` only that.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::{
    BoundedOutOfOrderness, Client, Consumer, ConsumerConfig, Credentials, Event, HttpTransport,
    StartPosition, TransportError,
};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let records = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let records: usize = records.unwrap_or(5_000_000);
    let answers = [
        ("plain, 1,000 an answer", plain(1_000)),
        ("plain, 10,000 an answer", plain(10_000)),
        ("aggregated, 100 in each of 100", aggregated(100, 100)),
        ("aggregated, 400 in each of 25", aggregated(25, 400)),
    ];
    if !std::env::args().any(|arg| arg == "event-time") {
        for (what, answer) in &answers {
            for shards in [1, 4] {
                let _ = deliver(shards, answer, records / 10, false);
                let [wall, cpu] = deliver(shards, answer, records, false);
                println!("{what}, {shards} shards: {wall:.0} ns wall, {cpu:.0} ns CPU in all");
            }
        }
        for shards in [1_000, 0] {
            idle(shards, Duration::from_secs(10));
        }
    }
    for (what, answer) in &answers {
        event_time(what, answer, records / 4);
    }
}

/// Both ways by turns, A B B A, so that whatever else the machine does meets both.
fn event_time(what: &str, answer: &Bytes, records: usize) {
    let cpu = |with| deliver(1, answer, records, with)[1];
    let _ = cpu(true);
    let pair = |n: usize| match n % 2 {
        0 => [cpu(false), cpu(true)],
        _ => {
            let with = cpu(true);
            [cpu(false), with]
        }
    };
    let pairs: Vec<_> = (0..PAIRS).map(pair).collect();
    let [without, with] = [0, 1].map(|at| median(pairs.iter().map(|pair| pair[at])));
    let more = 100.0 * (median(pairs.iter().map(|pair| pair[1] / pair[0])) - 1.0);
    println!("{what}: {without:.1} ns CPU, with watermarks {with:.1} ns: {more:+.1} %");
}

const PAIRS: usize = 15;

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Nanoseconds a record: of time, and of CPU.
fn deliver(shards: usize, answer: &Bytes, records: usize, event_time: bool) -> [f64; 2] {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .get_records_interval(Duration::ZERO)
        .read_bytes_per_second(None);
    let config = config.build().expect("valid");
    let mut consumer = consumer(shards, answer.clone(), config, event_time);
    let (wall, cpu) = (Instant::now(), cpu_time());
    let mut bytes = 0;
    for record in consumer.by_ref().take(records) {
        bytes += std::hint::black_box(record.expect("a record").data().len());
    }
    let cpu = cpu_time() - cpu;
    let wall = wall.elapsed();
    assert_eq!(bytes, records * 100);
    consumer.close().expect("closed");
    [wall, cpu].map(|time| time.as_nanos() as f64 / records as f64)
}

/// Polls shards in which nothing happens, every 200 ms each.
fn idle(shards: usize, time: Duration) {
    let nothing =
        Bytes::from_static(br#"{"Records":[],"NextShardIterator":"next","MillisBehindLatest":0}"#);
    let interval = Duration::from_millis(200);
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .empty_interval(interval);
    let before = resident_kib();
    let mut consumer = consumer(shards, nothing, config.build().expect("valid"), false);
    let (end, cpu) = (Instant::now() + time, cpu_time());
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        let event = consumer.next_event(left).expect("an event");
        assert!(!matches!(event, Event::Record(_)));
    }
    let cpu = (cpu_time() - cpu).as_secs_f64() / time.as_secs_f64();
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let memory = resident_kib().saturating_sub(before);
    println!(
        "{shards} idle shards at 200 ms: {threads} threads, {memory} KiB ({:.1} a shard), {:.1} % of a core",
        memory as f64 / shards.max(1) as f64,
        cpu * 100.0
    );
    consumer.close().expect("closed");
}

fn consumer(shards: usize, answer: Bytes, config: ConsumerConfig, event_time: bool) -> Consumer {
    let client = Client::builder()
        .region("us-east-1")
        .endpoint("http://in.memory")
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .transport(InMemory { shards, answer })
        .build()
        .expect("a client");
    let builder = Consumer::builder(client).stream("bench").config(config);
    let delay = Duration::from_secs(5);
    let builder = match event_time {
        true => builder.watermarks(BoundedOutOfOrderness::by_arrival(delay)),
        false => builder,
    };
    builder.start().expect("started")
}

/// An answer of records of 100 bytes.
fn plain(records: usize) -> Bytes {
    answer(vec![vec![b'x'; 100]; records])
}

fn aggregated(aggregates: usize, of: usize) -> Bytes {
    let aggregate = |n: usize| {
        let part = |m: usize| SubRecord::new(key(n * of + m), vec![b'x'; 100]);
        encode(&(0..of).map(part).collect::<Vec<_>>()).to_vec()
    };
    answer((0..aggregates).map(aggregate).collect())
}

/// 36 characters, as UUIDs have.
fn key(n: usize) -> String {
    format!(
        "{:08x}-0000-4000-8000-{n:012x}",
        n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff
    )
}

fn answer(payloads: Vec<Vec<u8>>) -> Bytes {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let record = |(n, payload): (usize, Vec<u8>)| {
        format!(
            r#"{{"SequenceNumber":"4959033827149025660855969253836157{n:022}","ApproximateArrivalTimestamp":{now}.123,"Data":"{}","PartitionKey":"{}"}}"#,
            STANDARD.encode(payload),
            key(n)
        )
    };
    let records: Vec<_> = payloads.into_iter().enumerate().map(record).collect();
    let records = records.join(",");
    format!(r#"{{"Records":[{records}],"NextShardIterator":"next","MillisBehindLatest":1000}}"#)
        .into()
}

/// Of this process, threads that have ended included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Shards that always give the same.
struct InMemory {
    shards: usize,
    answer: Bytes,
}

impl HttpTransport for InMemory {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let answer = match request.headers()["x-amz-target"].as_bytes() {
            b"Kinesis_20131202.ListShards" => self.list().into(),
            b"Kinesis_20131202.GetShardIterator" => {
                Bytes::from_static(br#"{"ShardIterator":"first"}"#)
            }
            _ => self.answer.clone(),
        };
        Ok(http::Response::new(answer))
    }
}

impl InMemory {
    /// All own the whole ring: where records belong is not the question here, but it is asked.
    fn list(&self) -> String {
        let shard = |n: usize| {
            format!(
                r#"{{"ShardId":"shardId-{n:012}","HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211454"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"}}}}"#
            )
        };
        let shards: Vec<_> = (0..self.shards).map(shard).collect();
        format!(r#"{{"Shards":[{}]}}"#, shards.join(","))
    }
}
