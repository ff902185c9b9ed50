//! What a record costs from `put` to settled, how long it takes, and what doing nothing costs.
//!
//! `cargo bench --bench producer [records]`. First with a service in memory that answers at once:
//! nanoseconds a record, of the putting thread's time and of all CPU time of the process; making and
//! dropping the record itself is told apart. Then over the loopback, with the fake behind its socket:
//! milliseconds from `put` to settled, and the share of a core that an idle producer uses.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{
    Client, Credentials, Delivery, HttpTransport, Producer, ProducerConfig, TransportError,
    UserRecord,
};

fn main() {
    let records = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let records = records.unwrap_or(2_000_000);
    let keys = keys();
    println!("making a record: {:.0} ns", making(&keys, records));
    for (shards, threads) in [(1, 1), (4, 1), (4, 4), (4, 8)] {
        let _ = run(&keys, shards, threads, records / 10, true);
        let [wall, put, cpu] = run(&keys, shards, threads, records, true);
        println!(
            "{shards} shards, {threads} threads: {wall:.0} ns wall, {put:.0} ns in put, {cpu:.0} ns CPU in all"
        );
    }
    let [wall, put, cpu] = run(&keys, 4, 1, records / 10, false);
    println!(
        "4 shards, 1 thread, not aggregated: {wall:.0} ns wall, {put:.0} ns in put, {cpu:.0} ns CPU in all"
    );
    println!("1000 records a second, default settings: {}", at_a_rate());
    println!("one after the other, buffering 0: {}", one_by_one());
    println!("idle: {:.3} % of a core", idle());
}

/// A producer over the loopback, to a stream of one shard.
fn over_the_loopback(config: ProducerConfig) -> (FakeServer, Producer) {
    let kinesis = FakeKinesis::new().with_stream("bench", 1);
    let server = kinesis.serve().expect("a socket");
    let producer = Producer::builder(server.client()).stream("bench");
    let producer = producer.config(config).start().expect("started");
    (server, producer)
}

/// Puts a thousand records a second for ten seconds.
fn at_a_rate() -> String {
    const RECORDS: u32 = 10_000;
    let (_server, producer) = over_the_loopback(ProducerConfig::default());
    let (put, settled) = std::sync::mpsc::channel::<(Instant, Delivery)>();
    let waiter = std::thread::spawn(move || {
        let times = settled.into_iter().map(|(began, delivery)| {
            delivery.wait().expect("delivered");
            began.elapsed()
        });
        times.collect::<Vec<_>>()
    });
    let start = Instant::now();
    for n in 0..RECORDS {
        let due = start + Duration::from_millis(1) * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let record = UserRecord::new(n.to_string(), Bytes::from_static(&[b'x'; 100]));
        let began = Instant::now();
        let delivery = producer.put(record).expect("taken in");
        put.send((began, delivery)).expect("somebody waits");
    }
    drop(put);
    let times = waiter.join().expect("no panic");
    let calls = producer.metrics().percentiles.request_time;
    let [p50, p99] = [calls.p50, calls.p99];
    format!("{}; calls p50 {p50:.2} ms, p99 {p99:.2} ms", spread(times))
}

fn one_by_one() -> String {
    let config = ProducerConfig::builder().record_max_buffered_time(Duration::ZERO);
    let (_server, producer) = over_the_loopback(config.build().expect("valid"));
    let times = (0..2_000).map(|n: u32| {
        let record = UserRecord::new(n.to_string(), Bytes::from_static(&[b'x'; 100]));
        let began = Instant::now();
        let delivery = producer.put(record).expect("taken in");
        delivery.wait().expect("delivered");
        began.elapsed()
    });
    spread(times.collect())
}

/// Percent of a core that a producer uses that was used before.
fn idle() -> f64 {
    let (_server, producer) = over_the_loopback(ProducerConfig::default());
    let record = UserRecord::new("k", Bytes::from_static(b"x"));
    drop(producer.put(record).expect("taken in"));
    producer.flush().expect("flushed");
    let (cpu, wall) = (cpu_time(), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    (cpu_time() - cpu).as_secs_f64() / wall.elapsed().as_secs_f64() * 100.0
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times[place.min(times.len() - 1)].as_secs_f64() * 1_000.0
    };
    let [p50, p99, worst] = [at(0.5), at(0.99), at(1.0)];
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, worst {worst:.2} ms")
}

fn run(
    keys: &[String],
    shards: u128,
    threads: usize,
    records: usize,
    aggregation: bool,
) -> [f64; 3] {
    let client = Client::builder()
        .region("us-east-1")
        .endpoint("http://in.memory")
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .transport(InMemory { shards })
        .build()
        .expect("a client");
    let config = ProducerConfig::builder()
        .aggregation(aggregation)
        .rate_limit_percent(u32::MAX)
        .build()
        .expect("valid");
    let producer = Producer::builder(client).stream("bench").config(config);
    let producer = producer.start().expect("started");
    let putting = AtomicU64::new(0);
    let (wall, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (producer, putting) = (&producer, &putting);
            scope.spawn(move || {
                let data = Bytes::from_static(&[b'x'; 100]);
                let began = schedstat(Path::new("/proc/thread-self"));
                let mine = keys.iter().cycle().skip(thread * 1_000);
                for key in mine.take(records / threads) {
                    let record = UserRecord::new(key.clone(), data.clone());
                    drop(producer.put(record).expect("taken in"));
                }
                let spent = schedstat(Path::new("/proc/thread-self")) - began;
                putting.fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
            });
        }
    });
    producer.flush().expect("flushed");
    let each = |time: Duration| time.as_nanos() as f64 / records as f64;
    let putting = Duration::from_nanos(putting.into_inner());
    // The threads that put are gone from the process's account.
    let cpu = cpu_time() + putting - cpu;
    let measured = [wall.elapsed(), putting, cpu].map(each);
    producer.close().expect("closed");
    measured
}

fn making(keys: &[String], records: usize) -> f64 {
    let (data, began) = (Bytes::from_static(&[b'x'; 100]), Instant::now());
    for key in keys.iter().cycle().take(records) {
        drop(std::hint::black_box(UserRecord::new(
            key.clone(),
            data.clone(),
        )));
    }
    began.elapsed().as_nanos() as f64 / records as f64
}

/// Keys of 36 characters, as UUIDs have.
fn keys() -> Vec<String> {
    (0..10_000_u64)
        .map(|n| {
            format!(
                "{:08x}-0000-4000-8000-{:012x}",
                n.wrapping_mul(0x9e37_79b9),
                n
            )
        })
        .collect()
}

/// Where a byte is; quick over long stretches without it.
fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut chunks = bytes.chunks(4096).enumerate();
    let (n, chunk) = chunks.find(|(_, chunk)| chunk.contains(&byte))?;
    Some(n * 4096 + chunk.iter().position(|b| *b == byte)?)
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let times = tasks.map(|task| schedstat(&task.expect("a thread").path()));
    times.sum()
}

/// Of a thread, which may be gone.
fn schedstat(task: &Path) -> Duration {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let first = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// Shards that take everything.
struct InMemory {
    shards: u128,
}

impl HttpTransport for InMemory {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let body = request.body();
        let answer = match request.headers()["x-amz-target"].as_bytes() {
            b"Kinesis_20131202.ListShards" => self.list(),
            _ => self.put(body),
        };
        Ok(http::Response::new(Bytes::from(answer)))
    }
}

impl InMemory {
    fn width(&self) -> u128 {
        u128::MAX / self.shards
    }

    fn list(&self) -> String {
        let shard = |n: u128| {
            let start = n * self.width() + u128::from(n > 0);
            let end = if n + 1 == self.shards {
                u128::MAX
            } else {
                (n + 1) * self.width()
            };
            format!(
                r#"{{"ShardId":"shardId-{n:012}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"}}}}"#
            )
        };
        let shards: Vec<_> = (0..self.shards).map(shard).collect();
        format!(r#"{{"Shards":[{}]}}"#, shards.join(","))
    }

    fn put(&self, body: &Bytes) -> String {
        const KEY: &[u8] = br#"HashKey":""#;
        let mut results = Vec::new();
        // No brace but those of entries: the data are base64.
        let mut rest = &body[..];
        while let Some(end) = find(rest, b'}') {
            let (entry, behind) = rest.split_at(end);
            rest = &behind[1..];
            let tail = &entry[entry.len().saturating_sub(60)..];
            let Some(start) = tail.windows(KEY.len()).position(|window| window == KEY) else {
                continue;
            };
            let digits = tail[start + KEY.len()..]
                .iter()
                .take_while(|byte| **byte != b'"');
            let key = digits.fold(0_u128, |key, digit| key * 10 + u128::from(digit - b'0'));
            let shard = (key.saturating_sub(1) / self.width()).min(self.shards - 1);
            results.push(format!(
                r#"{{"SequenceNumber":"1","ShardId":"shardId-{shard:012}"}}"#
            ));
        }
        format!(
            r#"{{"FailedRecordCount":0,"Records":[{}]}}"#,
            results.join(",")
        )
    }
}
