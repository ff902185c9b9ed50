//! What a record costs from `put` to settled, with a service in memory that answers at once.
//!
//! `cargo bench --bench producer [records]`. Prints nanoseconds a record: of the putting thread's
//! time, and of all CPU time of the process; making and dropping the record itself is told apart.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_blocking::{
    Client, Credentials, HttpTransport, Producer, ProducerConfig, TransportError, UserRecord,
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
