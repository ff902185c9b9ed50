//! Two of the program on one database: the later one goes on, the earlier one ends and leaves no trace.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{Client, PutRecordsEntry};
use rusqlite::Connection;

fn start(endpoint: &str, database: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exactly-once"));
    command.args(["--stream", "orders", "--region", "us-east-1"]);
    command.args(["--endpoint", endpoint]);
    command.arg("--database").arg(database).args(more);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    command.env("AWS_SECRET_ACCESS_KEY", "secret");
    command.stderr(Stdio::piped()).spawn().expect("started")
}

fn put(client: &Client, from: u32) {
    let entry = |number: u32| PutRecordsEntry {
        data: number.to_string().into(),
        partition_key: format!("key {number}").into(),
        explicit_hash_key: None,
    };
    let entries: Vec<_> = (from..from + 100).map(entry).collect();
    client.put_records("orders", &entries).expect("put");
}

/// How many rows there are, and how many different ones.
fn rows(database: &Path) -> (u32, u32) {
    let query = "SELECT count(*), count(DISTINCT shard_id || '/' || sequence_number) FROM results";
    let connection = Connection::open(database).expect("opened");
    let row = connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)));
    row.unwrap_or((0, 0))
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::yield_now();
    }
}

#[test]
fn whoever_starts_later_takes_the_database_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("orders.db");
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let (client, server) = (kinesis.client(), kinesis.serve().expect("listening"));
    put(&client, 0);
    let mut first = start(server.endpoint(), &database, &[]);
    wait_for("the first", || rows(&database) == (100, 100));
    let mut second = start(server.endpoint(), &database, &[]);
    let token = || {
        let connection = Connection::open(&database).expect("opened");
        let row = connection.query_row("SELECT token FROM place", [], |row| row.get(0));
        row.unwrap_or(0)
    };
    wait_for("the second", || token() == 2);
    put(&client, 100);
    assert!(!first.wait().expect("ended").success());
    let mut said = String::new();
    let mut stderr = first.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("read");
    assert_eq!(said, "exactly-once: another has taken the database over\n");
    wait_for("the second", || rows(&database) == (200, 200));
    second.kill().expect("killed");
    second.wait().expect("ended");
    put(&client, 200);
    let mut third = start(server.endpoint(), &database, &["--until-caught-up"]);
    assert!(third.wait().expect("ended").success());
    assert_eq!(rows(&database), (300, 300));
}
