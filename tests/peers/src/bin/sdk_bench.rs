//! The AWS SDK for Rust at the same work as the crate's own benchmark, `tests/benches/client.rs`.
//!
//! `sdk_bench [--threads N] URL CASE REQUESTS`, where `--threads` is for a runtime of so many threads
//! in place of the current one, and CASE is a stream of the stub, `put500x100` or `put500x1024`;
//! `sdk_bench … URL poll TASKS SECONDS` polls in that many tasks, each every 200 ms.
//! Prints nanoseconds of CPU time of this process, the calls made in it, and the peak of the
//! process's memory in KiB.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
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
