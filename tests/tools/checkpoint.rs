use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Commit, FileCheckpointStore, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

use crate::{printed, refused, run, save, text, tool};

fn shard(number: u32) -> ShardRef {
    ShardRef::new("orders", format!("shardId-{number:012}"))
}

fn after(number: &str) -> ShardPosition {
    ShardPosition::After {
        sequence_number: number.parse().expect("a number"),
        sub_sequence_number: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn start(seconds: i64) -> ShardPosition {
    ShardPosition::Start(StartPosition::AtTimestamp(at(seconds)))
}

/// A file in a folder of its own, with these positions and when they were come to.
fn file(
    positions: &[(ShardRef, ShardPosition, Option<i64>)],
    state: Option<&'static str>,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.checkpoint");
    let mut checkpoint = Checkpoint::default();
    for (shard, position, seconds) in positions {
        checkpoint.insert(shard.clone(), position.clone(), seconds.map(at));
    }
    let state = state.map(Bytes::from);
    save(&path, &Commit::new(checkpoint, state));
    (folder, path)
}

fn saved(path: &Path) -> Commit {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    fs::copy(path, &copy).expect("copied");
    let loaded = FileCheckpointStore::new(copy).load();
    loaded.expect("whole").expect("something")
}

fn positions(path: &Path) -> Vec<(ShardRef, ShardPosition)> {
    let saved = saved(path).checkpoint;
    let positions = saved
        .iter()
        .map(|(shard, position)| (shard.clone(), position.clone()));
    positions.collect()
}

#[test]
fn a_rewind_goes_back_and_never_forward() {
    let (_folder, path) = file(
        &[
            (shard(0), after("1"), Some(50)),
            (shard(1), after("2"), Some(150)),
            (shard(2), ShardPosition::ShardEnd, Some(99)),
            (shard(3), ShardPosition::ShardEnd, Some(101)),
            (shard(4), start(99), None),
            (shard(5), start(101), None),
            (
                shard(6),
                ShardPosition::Start(StartPosition::TrimHorizon),
                None,
            ),
            (shard(7), ShardPosition::Start(StartPosition::Latest), None),
            (ShardRef::new("other", "shardId-0"), after("3"), Some(150)),
        ],
        None,
    );
    let before = positions(&path);
    let rewind = |more: &[&str]| {
        let mut rewind = tool("checkpoint");
        rewind
            .arg("rewind")
            .arg(&path)
            .args(["--to=100", "--stream=orders"]);
        printed(rewind.args(more), "")
    };
    let told = rewind(&["--dry-run"]);
    assert_eq!(positions(&path), before, "a dry run changes nothing");
    assert_eq!(rewind(&[]), told);
    let rewound = before.into_iter().map(|(shard, position)| {
        let number = shard
            .shard_id
            .as_str()
            .trim_start_matches("shardId-")
            .parse()
            .unwrap_or(0);
        match number {
            1 | 3 | 5 | 7 => (shard, start(100)),
            _ => (shard, position),
        }
    });
    assert_eq!(positions(&path), rewound.collect::<Vec<_>>());
    assert_eq!(
        saved(&path).checkpoint.complete_to(&shard(1)),
        Some(at(100))
    );
    assert_eq!(rewind(&[]), "nothing changes\n");
}

#[test]
fn a_position_of_unknown_age_is_rewound_only_if_asked_to() {
    let (_folder, path) = file(&[(shard(0), after("1"), None)], None);
    let mut rewind = tool("checkpoint");
    rewind.arg("rewind").arg(&path).arg("--to=100");
    let told = refused(&mut rewind, "");
    assert!(
        told.contains("stream orders, shard shardId-000000000000: --assume-later"),
        "{told}"
    );
    assert_eq!(positions(&path), [(shard(0), after("1"))]);
    printed(rewind.arg("--assume-later"), "");
    assert_eq!(positions(&path), [(shard(0), start(100))]);
}

#[test]
fn a_state_is_not_torn_from_its_positions_unasked() {
    for (flag, kept) in [
        ("--keep-state", Some(Bytes::from("sums"))),
        ("--drop-state", None),
    ] {
        let (_folder, path) = file(&[(shard(0), after("1"), Some(150))], Some("sums"));
        let mut rewind = tool("checkpoint");
        rewind.arg("rewind").arg(&path).arg("--to=100");
        let told = refused(&mut rewind, "");
        assert!(told.contains("say --keep-state or --drop-state"), "{told}");
        assert_eq!(positions(&path), [(shard(0), after("1"))]);
        printed(rewind.arg(flag), "");
        assert_eq!(saved(&path).state, kept, "{flag}");
        assert_eq!(positions(&path), [(shard(0), start(100))]);
    }
    let (_folder, path) = file(&[(shard(0), after("1"), None)], Some("sums"));
    let (_other, output) = file(&[(shard(1), after("1"), None)], None);
    let mut merge = tool("checkpoint");
    merge.arg("merge").arg(&path).arg("--output").arg(&output);
    let told = refused(&mut merge, "");
    assert!(told.contains("states cannot be merged"), "{told}");
}

#[test]
fn what_a_consumer_uses_is_looked_at_and_not_changed() {
    let (_folder, path) = file(&[(shard(0), after("1"), Some(150))], None);
    let mut consumers = FileCheckpointStore::new(&path);
    consumers.load().expect("whole");
    let shown = printed(tool("checkpoint").arg("show").arg(&path), "");
    assert!(shown.contains("after 1\n"), "{shown}");
    let mut rewind = tool("checkpoint");
    let told = refused(rewind.arg("rewind").arg(&path).arg("--to=100"), "");
    assert!(told.contains("another consumer uses it"), "{told}");
}

#[test]
fn an_edit_sets_forgets_and_renames() {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let (_folder, path) = file(
        &[
            (shard(0), after("1"), Some(50)),
            (shard(1), after("2"), Some(50)),
            (ShardRef::new("old", "shardId-0"), after("3"), Some(60)),
            (ShardRef::new(arn, "shardId-0"), after("4"), None),
        ],
        None,
    );
    let long = "49590338271490256608559692538361571095921575989136588898";
    let mut edit = tool("checkpoint");
    edit.arg("edit")
        .arg(&path)
        .arg(format!("--set=orders/{}={long}:7", shard(0).shard_id));
    edit.args([
        "--set=orders/new=1970-01-01T00:01:40.000Z",
        "--set=orders/end=SHARD_END",
    ]);
    edit.arg(format!("--forget=orders/{}", shard(1).shard_id));
    printed(
        edit.arg(format!("--forget={arn}"))
            .arg("--rename=old=renamed"),
        "",
    );
    let inside = ShardPosition::After {
        sequence_number: long.parse().expect("a number"),
        sub_sequence_number: Some(7),
    };
    let renamed = ShardRef::new("renamed", "shardId-0");
    assert_eq!(
        positions(&path),
        [
            (ShardRef::new("orders", "end"), ShardPosition::ShardEnd),
            (ShardRef::new("orders", "new"), start(100)),
            (shard(0), inside),
            (renamed.clone(), after("3")),
        ]
    );
    assert_eq!(saved(&path).checkpoint.complete_to(&renamed), Some(at(60)));
    for (wrong, told) in [
        (
            "--set=orders",
            "checkpoint: \"orders\" is not of the form STREAM/SHARD=POSITION\n",
        ),
        (
            "--rename=orders",
            "checkpoint: \"orders\" is not of the form STREAM=NAME\n",
        ),
        (
            "--forget=x/y",
            "checkpoint: the checkpoint has nothing of stream x, shard y\n",
        ),
        (
            "--rename=x=y",
            "checkpoint: the checkpoint has nothing of stream x\n",
        ),
    ] {
        assert_eq!(
            refused(tool("checkpoint").arg("edit").arg(&path).arg(wrong), ""),
            told
        );
    }
    let noon = refused(
        tool("checkpoint")
            .arg("edit")
            .arg(&path)
            .arg("--set=a/b=noon"),
        "",
    );
    assert!(noon.contains("\"noon\" is not a time"), "{noon}");
}

#[test]
fn comparing_says_by_its_exit_code_whether_they_are_equal() {
    let (_one, one) = file(
        &[(shard(0), after("1"), None), (shard(1), after("1"), None)],
        None,
    );
    let (_other, other) = file(
        &[(shard(0), after("1"), None), (shard(1), after("2"), None)],
        None,
    );
    let compare = |one: &Path, other: &Path| {
        let output = run(tool("checkpoint").arg("compare").arg(one).arg(other), "");
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(compare(&one, &one), (Some(0), String::new()));
    let line = "orders  shardId-000000000001  after 1  →  after 2\n";
    assert_eq!(compare(&one, &other), (Some(1), line.to_owned()));
}

#[test]
fn merged_files_keep_the_position_that_covers_more() {
    let (_one, one) = file(
        &[
            (shard(0), after("1"), Some(1)),
            (shard(1), after("3"), Some(3)),
        ],
        None,
    );
    let (_other, other) = file(
        &[
            (shard(0), after("2"), Some(2)),
            (shard(2), after("1"), None),
        ],
        None,
    );
    let mut merge = tool("checkpoint");
    printed(merge.arg("merge").arg(&one).arg("--output").arg(&other), "");
    assert_eq!(
        positions(&other),
        [
            (shard(0), after("2")),
            (shard(1), after("3")),
            (shard(2), after("1"))
        ]
    );
    let shown = printed(
        tool("checkpoint")
            .args(["show", "--format=json"])
            .arg(&other),
        "",
    );
    let shown = Checkpoint::from_json(&shown).expect("a checkpoint");
    assert_eq!(shown, saved(&other).checkpoint);
}
