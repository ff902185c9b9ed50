use std::io::Write;
use std::process::{Command, Output, Stdio};

use kinesis_blocking::fake::FakeKinesis;

fn run(endpoint: &str) -> Output {
    let proxy = endpoint.trim_start_matches("http://");
    let mut child = Command::new(env!("CARGO_BIN_EXE_embedded"))
        .args(["orders", proxy])
        .env_clear()
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(b"21.5\n21.6\n");
    drop(stdin);
    child.wait_with_output().expect("ended")
}

#[test]
fn what_a_device_puts_is_stored() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let output = run(server.endpoint());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let stored = kinesis.records("orders");
    // One aggregate.
    assert_eq!(stored.len(), 1);
    assert!(stored[0].data.windows(4).any(|part| part == b"21.6"));
}

#[test]
fn a_proxy_that_is_not_there_is_told() {
    let kinesis = FakeKinesis::new();
    let endpoint = kinesis.serve().expect("a socket").endpoint().to_owned();
    let output = run(&endpoint);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("ListShards"), "{told}");
}
