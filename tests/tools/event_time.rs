//! The example `event_time`, as two processes.

use std::path::Path;
use std::process::Stdio;

use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{HashKey, PutRecordsEntry};

use crate::{text, tool};

/// What one of two processes handed out: when, by the machine's clock, and the event time of it.
type Times = Vec<(u128, i64)>;

/// Reads both shards with a process each, and says what each handed out.
fn read_by_two(server: &FakeServer, directory: Option<&Path>) -> [Times; 2] {
    let children = [0, 1].map(|index: u32| {
        let mut command = tool("event_time");
        command.args([
            "--endpoint",
            server.endpoint(),
            "--index",
            &index.to_string(),
        ]);
        if let Some(directory) = directory {
            command.arg("--align").arg(directory);
        }
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().expect("started")
    });
    // The second one's pipe has room for all that it prints.
    children.map(|child| {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = |line: &str| {
            let (at, millis) = line.split_once(' ').expect("two numbers");
            (at.parse().expect("a time"), millis.parse().expect("a time"))
        };
        text(&output.stdout).lines().map(line).collect()
    })
}

/// The furthest that one of the two ever was ahead of the other, in milliseconds of event time.
fn skew(times: &[Times; 2]) -> i64 {
    let of = |index: usize| {
        times[index]
            .iter()
            .map(move |(at, millis)| (*at, index, *millis))
    };
    let mut all: Vec<_> = of(0).chain(of(1)).collect();
    all.sort();
    let mut latest = [-STEP_MS; 2];
    let mut most = 0;
    for (_, index, millis) in all {
        latest[index] = millis;
        most = most.max(millis - latest[1 - index]);
    }
    most
}

/// Between two records of a shard.
const STEP_MS: i64 = 20;

#[test]
fn two_processes_are_aligned_over_a_directory() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let client = kinesis.client();
    for key in [HashKey::MIN, HashKey::MAX] {
        let entry = |n: i64| PutRecordsEntry {
            data: (n * STEP_MS).to_string().into(),
            partition_key: "key".into(),
            explicit_hash_key: Some(key),
        };
        for first in [0, 500] {
            let entries: Vec<_> = (first..first + 500).map(entry).collect();
            client.put_records("orders", &entries).expect("put");
        }
    }
    let server = kinesis.serve().expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let alone = read_by_two(&server, None);
    let aligned = read_by_two(&server, Some(folder.path()));
    for times in alone.iter().chain(&aligned) {
        assert_eq!(times.len(), 1_000);
    }
    // Left alone, the fast one is done long before the slow one.
    assert!(skew(&alone) > 10_000, "{}", skew(&alone));
    // The look-ahead and one sync interval of the example.
    assert!(skew(&aligned) <= 2_500 + 500, "{}", skew(&aligned));
    println!(
        "skew: {} ms alone, {} ms aligned",
        skew(&alone),
        skew(&aligned)
    );
}
