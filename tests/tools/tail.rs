use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{Operation, PutRecordsEntry};

use crate::{json, printed, properties, run, text, tool, tool_for};

#[test]
fn json_has_the_keys_and_copies_a_stream_whole() {
    let kinesis = FakeKinesis::new()
        .with_stream("orders", 2)
        .with_stream("copies", 2);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    put.args(["--stream=orders", "--partition-key=anna"]);
    printed(&mut put, "one\ntwo\n");
    let mut put = tool_for(&server, "put");
    printed(
        put.args(["--stream=orders", "--partition-key=ben"]),
        "three\n",
    );

    let read = |stream: &str, more: &[&str]| {
        let mut tail = tool_for(&server, "tail");
        tail.args(["--from=trim_horizon", "--until-caught-up", "--format=json"]);
        printed(tail.arg(format!("--stream={stream}")).args(more), "")
    };
    let told = |lines: &str| {
        let mut told: Vec<_> = lines
            .lines()
            .map(json)
            .map(|line| ["partition_key", "data", "text"].map(|name| line[name].to_string()))
            .collect();
        told.sort();
        told
    };
    for more in [&[][..], &["--text"]] {
        let lines = read("orders", more);
        assert_eq!(lines.lines().count(), 3);
        let mut put = tool_for(&server, "put");
        printed(put.args(["--stream=copies", "--format=json"]), &lines);
    }
    let [orders, copies] = ["orders", "copies"].map(|stream| told(&read(stream, &["--text"])));
    let twice: Vec<_> = orders
        .iter()
        .flat_map(|line| [line.clone(), line.clone()])
        .collect();
    assert_eq!(copies, twice);
    assert_eq!(orders[0][0], "\"anna\"");
}

#[test]
fn what_gzip_compressed_is_printed_as_it_was() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let compressed = |text: &str| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).expect("compressed");
        gzip.finish().expect("compressed")
    };
    // Two of them in a row are one gzip as well.
    let whole = [compressed("{\"logEvents\":"), compressed("[]}")].concat();
    let cut = whole[..whole.len() - 1].to_vec();
    let data = [whole.clone(), cut.clone(), b"plain".to_vec()];
    let entries = data.map(|data| PutRecordsEntry {
        data: data.into(),
        partition_key: "k".into(),
        explicit_hash_key: None,
    });
    kinesis
        .client()
        .put_records("orders", &entries)
        .expect("put");
    let server = kinesis.serve().expect("a socket");
    let tail = |more: &[&str]| {
        let mut tail = tool_for(&server, "tail");
        tail.args([
            "--stream=orders",
            "--from=trim_horizon",
            "--until-caught-up",
        ]);
        run(tail.args(more), "").stdout
    };
    let events = b"{\"logEvents\":[]}";
    for more in [&[][..], &["--decompress"], &["--decompress=auto"]] {
        let lines = [events, &cut[..], b"plain"].map(|data| [data, b"\n"].concat());
        assert_eq!(tail(more), lines.concat());
    }
    let lines = [&whole[..], &cut, b"plain"].map(|data| [data, b"\n"].concat());
    assert_eq!(tail(&["--decompress=never"]), lines.concat());
    let json = tail(&["--format=json", "--text"]);
    assert!(text(&json).starts_with('{') && text(&json).contains("logEvents"));
}

#[test]
fn it_reads_several_streams_at_once_and_no_faster_than_it_is_told() {
    let kinesis = FakeKinesis::new().with_stream("a", 1).with_stream("b", 1);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    printed(put.args(["--stream=a", "--stream=b"]), "1\n2\n3\n");
    let mut tail = tool_for(&server, "tail");
    tail.args([
        "--stream=a",
        "--stream=b",
        "--from=trim_horizon",
        "--until-caught-up",
    ]);
    let begin = Instant::now();
    let lines = printed(tail.arg("--rate=25"), "");
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begin.elapsed()
    );
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "1", "2", "2", "3", "3"]);
}

#[test]
fn what_cannot_be_handed_out_as_it_was_meant_is_told() {
    // An aggregate that a reshard put into the wrong shard: KCL's rule leaves it out.
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let server = kinesis.serve().expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lines");
    let lines: String = (0..20)
        .map(|i| format!("{{\"partition_key\":\"k{i}\",\"text\":\"order {i}\"}}\n"))
        .collect();
    fs::write(&file, &lines).expect("written");
    let packed = printed(tool_for(&server, "aggregate").arg("pack").arg(&file), "");
    let line = format!(
        "{{\"partition_key\":\"k\",\"data\":\"{}\"}}\n",
        packed.trim()
    );
    let mut put = tool_for(&server, "put");
    printed(
        put.args(["--stream=orders", "--format=json", "--no-aggregation"]),
        &line,
    );
    for (misplaced, printed) in [
        (Some("kcl"), 0),
        (Some("deliver"), 20),
        (Some("mark"), 20),
        (Some("content"), 20),
        (None, 20),
    ] {
        let mut tail = tool_for(&server, "tail");
        tail.args([
            "--stream=orders",
            "--from=trim_horizon",
            "--until-caught-up",
        ]);
        tail.args(misplaced.map(|policy| format!("--misplaced={policy}")));
        let output = run(&mut tail, "");
        assert_eq!(
            text(&output.stdout).lines().count(),
            printed,
            "{misplaced:?}"
        );
        let told = text(&output.stderr).contains(" of another shard; 20 are left out");
        assert_eq!(told, printed == 0, "{}", text(&output.stderr));
    }
}

#[test]
fn times_may_lack_milliseconds_or_be_dates() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    printed(put.arg("--stream=orders"), "one\n");
    for from in [
        "2020-01-31",
        "2020-01-31T12:00:00Z",
        "2020-01-31T12:00:00+01:00",
        "2020-01-31T12:00:00.000Z",
    ] {
        let mut tail = tool_for(&server, "tail");
        tail.args(["--stream=orders", "--until-caught-up", "--from", from]);
        assert_eq!(printed(&mut tail, ""), "one\n", "{from}");
    }
}

#[test]
fn an_endpoint_that_stays_away_ends_it_with_the_reason_also_without_a_log() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let server = kinesis.serve().expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let file = properties(folder.path(), &server, "shard.outage.timeout = 1000\n");
    let mut tail = tool("tail");
    tail.args(["--stream=orders", "--from=trim_horizon", "--properties"]);
    let tail = tail.arg(&file).env("RUST_LOG", "off").stdin(Stdio::null());
    let tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = tail.spawn().expect("started");
    while kinesis.calls(Operation::GetRecords) == 0 {
        std::thread::yield_now();
    }
    drop(server);
    let output = child.wait_with_output().expect("ended");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let start =
        "tail: GetRecords on stream orders, shard shardId-000000000000 at http://127.0.0.1:";
    assert!(told.starts_with(start), "{told}");
    assert!(told.contains(": no call has succeeded since "), "{told}");
    assert!(
        told.contains("; a restart goes on from the last commit"),
        "{told}"
    );
}
