//! The tools among the examples, run as processes against the fake's socket.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{HashKey, PutRecordsEntry};

/// A tool as `cargo test` builds it, in an environment that has nothing of AWS.
fn tool(name: &str) -> Command {
    let this = std::env::current_exe().expect("this test's path");
    let profile = this.parent().and_then(Path::parent).expect("target/debug");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{}: run cargo build --examples",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear();
    command
}

fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A tool that ends before it has read all is judged by what it said.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("ended")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A file of properties that leads to the fake.
fn properties(folder: &Path, server: &FakeServer, more: &str) -> PathBuf {
    let path = folder.join("flink.properties");
    let text = format!(
        "aws.region = us-east-1\n\
         aws.endpoint = {}\n\
         aws.credentials.provider.basic.accesskeyid = AKIDEXAMPLE\n\
         aws.credentials.provider.basic.secretkey = secret\n\
         {more}",
        server.endpoint()
    );
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn put_and_tail_take_a_file_of_properties() {
    let server = FakeKinesis::new()
        .with_stream("orders", 3)
        .serve()
        .expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = (0..1_000).map(|i| format!("line {i:04}")).collect();
    let input = lines.join("\n") + "\n";

    let file = properties(folder.path(), &server, "CollectionMaxCount = 1000\n");
    let put = run(
        tool("put")
            .args(["--stream", "orders", "--properties"])
            .arg(&file),
        &input,
    );
    let told = text(&put.stderr);
    assert!(put.status.success(), "{told}");
    assert!(
        told.contains("CollectionMaxCount: 1000 is more than the service takes"),
        "{told}"
    );
    assert!(
        told.contains("put: 1000 records delivered, 0 failed"),
        "{told}"
    );

    for start in [
        "flink.stream.initpos = TRIM_HORIZON",
        "source.init.position = TRIM_HORIZON",
    ] {
        let file = properties(folder.path(), &server, start);
        let mut tail = tool("tail");
        tail.args(["--stream", "orders", "--until-caught-up", "--properties"])
            .arg(&file);
        let tail = run(&mut tail, "");
        let mut printed: Vec<String> = text(&tail.stdout).lines().map(str::to_owned).collect();
        printed.sort();
        assert_eq!(printed, lines, "{}", text(&tail.stderr));
    }
}

#[test]
fn tail_starts_and_ends_at_a_time() {
    let server = FakeKinesis::new()
        .with_stream("orders", 1)
        .serve()
        .expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let file = properties(folder.path(), &server, "");
    let put = run(
        tool("put")
            .args(["--stream", "orders", "--properties"])
            .arg(&file),
        "one\n",
    );
    assert!(put.status.success(), "{}", text(&put.stderr));
    for (from, until, printed) in [
        (
            "2020-01-01T00:00:00.000Z",
            "2286-11-20T17:46:40.000Z",
            "one\n",
        ),
        ("1577836800", "9999999999", "one\n"),
        ("trim_horizon", "2020-01-01T00:00:00.000Z", ""),
    ] {
        let mut tail = tool("tail");
        tail.args(["--stream", "orders", "--max-records", "1", "--properties"])
            .arg(&file);
        let tail = run(tail.args(["--from", from, "--until", until]), "");
        assert_eq!(
            text(&tail.stdout),
            printed,
            "{from} {until}: {}",
            text(&tail.stderr)
        );
        assert!(tail.status.success());
    }
}

#[test]
fn what_a_file_has_wrong_is_told_in_whole() {
    let server = FakeKinesis::new().serve().expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = "RecordTtl = 30s\nRateLimit = 0\n";
    let file = properties(folder.path(), &server, wrong);
    let put = run(
        tool("put")
            .args(["--stream", "orders", "--properties"])
            .arg(&file),
        "",
    );
    assert_eq!(put.status.code(), Some(1));
    assert_eq!(
        text(&put.stderr),
        "put: 2 settings are wrong: RateLimit: \"0\" is not an integer from 1 (percent); RecordTtl: \"30s\" is not an integer from 100 (milliseconds)\n"
    );
    let tail = run(
        tool("tail").args(["--stream", "orders", "--from", "noon"]),
        "",
    );
    let told = text(&tail.stderr);
    assert!(
        told.starts_with("tail: flink.stream.initpos.timestamp: \"noon\" is not a time"),
        "{told}"
    );
}

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
