use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{HashKey, Operation};

use crate::{json, printed, refused, run, text, tool_for};

#[test]
fn keys_come_from_members_of_a_line() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--no-aggregation"]);
    put.args([
        "--partition-key-field=customer.id",
        "--hash-key-field=place",
    ]);
    let lines = [
        r#"{"customer":{"id":"anna"},"place":"340282366920938463463374607431768211455"}"#,
        r#"{"customer":{"id":7},"place":0}"#,
        r#"{"customer":{"id":true},"place":"1"}"#,
        r#"{"customer":{"id":[]},"place":"1"}"#,
        r#"{"customer":{"id":"anna"},"place":"anywhere"}"#,
        r#"{"customer":"anna","place":"1"}"#,
        "anna",
    ];
    let told = refused(&mut put, &(lines.join("\n") + "\n"));
    for problem in [
        "put: line 4: its member customer.id is neither text nor a number\n",
        "put: line 5: ",
        "put: line 6: it has no member customer.id\n",
        "put: line 7: no JSON: ",
        "put: 3 records delivered, 4 failed, 3 Kinesis records, ",
    ] {
        assert!(told.contains(problem), "{problem:?} is not in {told}");
    }
    let mut stored: Vec<_> = kinesis
        .records("orders")
        .into_iter()
        .map(|record| (record.partition_key, record.explicit_hash_key, record.data))
        .collect();
    stored.sort();
    let stored_of = |key: &str, place: u128, line: &'static str| {
        (key.to_owned(), Some(HashKey::from(place)), line.into())
    };
    assert_eq!(
        stored,
        [
            stored_of("7", 0, lines[1]),
            stored_of("anna", u128::MAX, lines[0]),
            stored_of("true", 1, lines[2]),
        ]
    );
}

#[test]
fn numbers_are_keys_as_they_stand_in_the_line() {
    let numbers = [
        "0",
        "-7",
        "1.10",
        "1e3",
        "18446744073709551616",
        "170141183460469231731687303715884105728",
    ];
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--no-aggregation", "--ordered"]);
    put.arg("--partition-key-field=id");
    let lines: String = numbers
        .map(|number| format!("{{\"id\": {number}}}\n"))
        .concat();
    assert!(run(&mut put, &lines).status.success());
    let keys = kinesis.records("orders").into_iter();
    let mut keys: Vec<_> = keys.map(|record| record.partition_key).collect();
    keys.sort();
    let mut expected = numbers;
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--hash-key-field=id"]);
    let line = format!("{{\"id\":{}}}\n", numbers[5]);
    assert!(run(&mut put, &line).status.success());
    let records = kinesis.records("orders");
    let hash_key = records.last().and_then(|record| record.explicit_hash_key);
    assert_eq!(
        hash_key.map(|key| key.to_string()).as_deref(),
        Some(numbers[5])
    );
}

#[test]
fn each_line_goes_into_every_stream_and_its_fate_is_printed_in_order() {
    let kinesis = FakeKinesis::new().with_stream("a", 2).with_stream("b", 1);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    put.args(["--stream=a", "--stream=b", "--deliveries"]);
    let lines = printed(&mut put, "one\ntwo\nthree\n");
    let fates: Vec<_> = lines.lines().map(json).collect();
    let named: Vec<_> = fates
        .iter()
        .map(|fate| (fate["line"].as_u64(), fate["stream"].as_str()))
        .collect();
    let expected: Vec<_> = (1..4)
        .flat_map(|line| [(Some(line), Some("a")), (Some(line), Some("b"))])
        .collect();
    assert_eq!(named, expected);
    for fate in &fates {
        let stored = kinesis.records(fate["stream"].as_str().expect("a name"));
        let number = fate["sequence_number"].as_str();
        let shard = fate["shard_id"].as_str();
        assert!(
            stored
                .iter()
                .any(|one| Some(one.sequence_number.as_str()) == number
                    && Some(one.shard_id.as_str()) == shard),
            "{fate}"
        );
    }
}

#[test]
fn what_was_not_delivered_is_printed_with_the_reason() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let refusal = Fault::Refuse {
        code: "AccessDeniedException".into(),
        message: "no".into(),
        status: 400,
    };
    kinesis.on(Operation::PutRecords).fail_next(1_000, refusal);
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--deliveries"]);
    let output = run(&mut put, "one\n");
    assert_eq!(output.status.code(), Some(1));
    let fate = json(text(&output.stdout).trim());
    assert_eq!(fate["possibly_stored"], false, "{fate}");
    let error = fate["error"].as_str().unwrap_or_default();
    assert!(error.contains("AccessDeniedException"), "{fate}");
}

#[test]
fn a_stream_that_is_not_there_is_made_if_asked_to() {
    let kinesis = FakeKinesis::new();
    let server = kinesis.serve().expect("a socket");
    let put = || {
        let mut put = tool_for(&server, "put");
        put.arg("--stream=orders");
        put
    };
    let told = refused(&mut put(), "one\n");
    assert!(told.contains("ResourceNotFoundException"), "{told}");
    for _ in 0..2 {
        printed(put().arg("--create=2"), "one\n");
    }
    assert_eq!(kinesis.records("orders").len(), 2);
    assert_eq!(
        kinesis
            .client()
            .list_shards("orders")
            .expect("listed")
            .len(),
        2
    );
}

#[test]
fn no_more_lines_a_second_are_put_than_it_is_told() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let begin = Instant::now();
    let mut put = tool_for(&server, "put");
    printed(
        put.args(["--stream=orders", "--rate=20"]),
        "1\n2\n3\n4\n5\n",
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begin.elapsed()
    );
    for wrong in ["0", "-1", "NaN", "x"] {
        let mut put = tool_for(&server, "put");
        let output = run(
            put.args(["--stream=orders", &format!("--rate={wrong}")]),
            "",
        );
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_input_and_what_was_read_is_put() {
    use rustix::process::{Pid, Signal, kill_process};

    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let (sender, came) = mpsc::channel();
    let script = kinesis.on(Operation::PutRecords);
    script.observe(move |_| {
        let _ = sender.send(());
    });
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--deliveries"]);
    put.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = put.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"one\n").expect("taken");
    // When its record comes, it is known to listen.
    came.recv_timeout(Duration::from_secs(60))
        .expect("a record");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("sent");
    let output = child.wait_with_output().expect("ended");
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(BufReader::new(&output.stdout[..]).lines().count(), 1);
    let told = text(&output.stderr);
    assert!(
        told.contains("put: 1 records delivered, 0 failed"),
        "{told}"
    );
}
