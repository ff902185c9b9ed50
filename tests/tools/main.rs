//! The tools among the examples, run as processes against the fake's socket.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{CheckpointStore, Commit, FileCheckpointStore};
use serde_json::Value;

mod aggregate;
mod checkpoint;
mod event_time;
mod put;
mod shards;
mod tail;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod transcripts;

const TOOLS: [&str; 5] = ["aggregate", "checkpoint", "put", "shards", "tail"];

/// Where `cargo test` puts the examples.
fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("this test's path");
    let profile = this.parent().and_then(Path::parent).expect("target/debug");
    profile.join("examples")
}

/// A tool in an environment that has nothing of AWS.
fn tool(name: &str) -> Command {
    let path = programs().join(name);
    assert!(
        path.exists(),
        "{}: run cargo build --examples",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear();
    command
}

/// A tool that finds the fake by the environment.
fn tool_for(server: &FakeServer, name: &str) -> Command {
    let mut command = tool(name);
    command
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_KINESIS", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

/// What a tool prints that ends well.
fn printed(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What a tool says that fails.
fn refused(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// Saves a checkpoint under another name first: a program that another test is just starting inherits
/// the lock for a moment, and the file would still be in use.
fn save(path: &Path, commit: &Commit) {
    let made = path.with_extension("made");
    let saved = FileCheckpointStore::new(&made).save(commit);
    saved.expect("saved");
    fs::rename(made, path).expect("renamed");
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
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
        "put: 2 things are wrong: RateLimit: \"0\" is not an integer from 1 (percent); RecordTtl: \"30s\" is not an integer from 100 (milliseconds)\n"
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

#[test]
fn every_tool_tells_of_itself_and_refuses_what_it_does_not_know() {
    for name in TOOLS {
        let help = printed(tool(name).arg("--help"), "");
        assert!(help.contains("Usage: "), "{help}");
        assert!(help.contains("Exit codes: 0 "), "{help}");
        let version = printed(tool(name).arg("--version"), "");
        assert_eq!(version, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        let wrong = run(tool(name).arg("--nonsense"), "");
        assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    }
}

#[test]
fn no_tool_logs_requests_and_answers_whatever_it_is_told() {
    let server = FakeKinesis::new().with_stream("orders", 1);
    let server = server.serve().expect("a socket");
    let logged = |name: &str, arguments: &[&str], input: &str| {
        let mut command = tool_for(&server, name);
        command.env("RUST_LOG", "trace,ureq_proto=trace");
        command.env("AWS_SESSION_TOKEN", "TheSessionToken");
        let output = run(command.args(arguments), input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let put = logged("put", &["--stream", "orders"], "a line\n");
    let tail = [
        "--stream",
        "orders",
        "--from",
        "trim_horizon",
        "--until-caught-up",
    ];
    for log in [put, logged("tail", &tail, "")] {
        assert!(log.contains("TRACE kinesis_blocking"), "{log}");
        // Its lines at debug are harmless.
        assert!(log.contains("DEBUG ureq"), "{log}");
        assert!(!log.contains("TRACE ureq"), "{log}");
        // Neither as it is nor in rows of 16 bytes.
        assert!(!log.contains("SessionT"), "{log}");
        assert!(!log.contains("WARN"), "there is nothing to warn of: {log}");
    }
}
