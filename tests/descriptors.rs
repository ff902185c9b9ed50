//! More shards than open files: a child process reads them under a small limit, and says how often each
//! was asked.
#![cfg(unix)]

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{Client, Consumer, ConsumerConfig, ConsumerMetrics, Credentials, Event};
use rustix::process::{Resource, Rlimit, setrlimit};

/// What the child is told: endpoint, shards, open files, connections, seconds of each of its rounds.
const TASK: &str = "KINESIS_BLOCKING_DESCRIPTORS";

fn read_in_a_child(shards: u32, files: u32, connections: u32, seconds: u32) {
    let kinesis = FakeKinesis::new().with_stream("orders", shards);
    let server = kinesis.serve().expect("a socket");
    let endpoint = server.endpoint();
    let task = format!("{endpoint} {shards} {files} {connections} {seconds}");
    let mut child = Command::new(env::current_exe().expect("a path"));
    child.args(["--ignored", "--exact", "the_child", "--nocapture"]);
    let output = child.env(TASK, task).output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{text}");
}

#[test]
fn two_hundred_shards_are_read_evenly_under_a_limit_of_64_open_files() {
    read_in_a_child(200, 64, 32, 1);
}

/// Takes a minute of both cores.
#[test]
#[ignore = "run by `.ci/run long-descriptors`"]
fn three_thousand_shards_are_each_asked_every_10_s_under_a_limit_of_1024_open_files() {
    read_in_a_child(3_000, 1_024, 256, 10);
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn the_child() {
    let Ok(task) = env::var(TASK) else { return };
    let parts: Vec<_> = task.split(' ').collect();
    let number = |at: usize| parts[at].parse::<u32>().expect("a number");
    let (shards, seconds) = (number(1) as usize, number(4).into());
    let files = Some(number(2).into());
    let limit = Rlimit {
        current: files,
        maximum: files,
    };
    setrlimit(Resource::Nofile, limit).expect("a limit below the one before");
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(parts[0])
        .credentials(Credentials::new("AKID", "secret"))
        .max_connections(number(3) as usize);
    // Twice in each round.
    let interval = Duration::from_secs(seconds) / 2;
    let config = ConsumerConfig::builder().get_records_interval(interval);
    let consumer = Consumer::builder(client.build().expect("a client")).stream("orders");
    let consumer = consumer.config(config.build().expect("valid"));
    let mut consumer = consumer.start().expect("started");
    let calls = |metrics: &ConsumerMetrics| {
        let calls = metrics.shards.values();
        calls
            .map(|shard| shard.counts.get_records_calls)
            .collect::<Vec<_>>()
    };
    let mut wait = |until: &dyn Fn(&[u64], Duration) -> bool| {
        let begun = Instant::now();
        loop {
            let event = consumer
                .next_event(Duration::from_millis(50))
                .expect("an event");
            assert!(!matches!(event, Event::Ended));
            let metrics = consumer.metrics();
            assert_eq!(
                metrics.total.retries,
                0,
                "{:?}",
                metrics.shards.values().find_map(|s| s.last_error.clone())
            );
            let calls = calls(&metrics);
            if until(&calls, begun.elapsed()) {
                return calls;
            }
        }
    };
    let mut before =
        wait(&|calls, _| calls.len() == shards && calls.iter().all(|calls| *calls > 0));
    for round in 0..3 {
        let after = wait(&|_, elapsed| elapsed >= Duration::from_secs(seconds));
        let asked = before
            .iter()
            .zip(&after)
            .map(|(before, after)| after - before);
        let least = asked.min().expect("shards");
        assert!(least > 0, "a shard was not asked in round {round}");
        before = after;
    }
    consumer.close().expect("closed");
    println!("{DONE}");
}

const DONE: &str = "each shard was asked in each round";
