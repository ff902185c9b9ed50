//! The examples of journeys, run as processes: each tells what it did, on the fake.

use std::path::Path;
use std::process::Command;

/// What an example prints.
fn run(name: &str) -> Vec<String> {
    let this = std::env::current_exe().expect("this test's path");
    let profile = this.parent().and_then(Path::parent).expect("target/debug");
    let mut command = Command::new(profile.join("examples").join(name));
    let output = command.env_clear().output().expect("cargo test builds it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {told}");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn properties_of_a_flink_job_write_and_read() {
    let mut lines = run("from_properties");
    lines.sort();
    let expected = (0..10).map(|n| format!("customer-{n}: order {n}"));
    assert!(lines.iter().cloned().eq(expected), "{lines:?}");
}

#[test]
fn many_streams_are_read_once_each() {
    let counts = r#"{"clicks": 400, "orders": 200, "returns": 100}"#;
    let expected = [1, 2].map(|run| format!("run {run}: {counts}"));
    assert_eq!(run("many_streams"), expected);
}

#[test]
fn a_reshard_loses_nothing_and_keeps_the_order() {
    let lines = run("resharding");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("5000 records of 50 keys, 0 out of order")
    );
    let place = |line: &str| lines.iter().position(|one| one == line);
    for (parent, child) in [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (4, 5)] {
        let ended = place(&format!("shardId-{parent:012} has been read to its end"));
        let started = place(&format!("shardId-{child:012} is read"));
        assert!(
            ended.is_some() && ended < started,
            "{parent}, {child}: {lines:?}"
        );
    }
}

#[test]
fn groups_of_processes_share_the_shards_and_hand_them_over() {
    let lines = run("several_processes");
    let sums: Vec<_> = lines
        .iter()
        .filter(|line| line.ends_with("in all"))
        .collect();
    assert_eq!(
        sums,
        ["600 records in all", "600 records in all"],
        "{lines:?}"
    );
    assert_eq!(lines.len(), 3 + 1 + 2 + 1, "{lines:?}");
}
