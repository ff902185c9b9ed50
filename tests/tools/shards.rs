use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Commit, FileCheckpointStore, HashKey, ShardPosition, ShardRef,
    StartPosition,
};
use serde_json::{Value, json};

use crate::{json, printed, refused, tool_for};

#[test]
fn json_says_of_each_shard_what_it_owns_and_how_far_it_was_read() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    printed(
        put.args(["--stream=orders", "--no-aggregation"]),
        "one\nthree\n",
    );
    let shard = |number: u32| ShardRef::new("orders", format!("shardId-{number:012}"));
    let half = HashKey::from(1 << 127);
    client.split_shard(&shard(0), half).expect("split");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint");
    let mut checkpoint = Checkpoint::default();
    checkpoint.insert(shard(0), ShardPosition::ShardEnd, None);
    let begin = ShardPosition::Start(StartPosition::TrimHorizon);
    checkpoint.insert(shard(1), begin, None);
    // The tool looks at the file while its consumer has it.
    let mut store = FileCheckpointStore::new(&file);
    store.save(&Commit::new(checkpoint, None)).expect("saved");

    let mut shards = tool_for(&server, "shards");
    shards.args([
        "--stream=orders",
        "--format=json",
        "--since=trim_horizon",
        "--checkpoint",
    ]);
    let lines = printed(shards.arg(&file), "");
    let lines: Vec<_> = lines.lines().map(json).collect();
    let empty = json!({"records": 0, "bytes": 0, "at_least": false});
    let expected = |id: u32,
                    open: bool,
                    parents: Value,
                    range: (u128, u128),
                    share: f64,
                    since: Value,
                    lag: Value| {
        json!({
            "stream": "orders", "shard_id": shard(id).shard_id.as_str(), "open": open, "parents": parents,
            "hash_key_start": range.0.to_string(), "hash_key_end": range.1.to_string(),
            "share": share, "since": since, "lag": lag,
        })
    };
    let (middle, last) = (1_u128 << 127, u128::MAX);
    let all = json!({"records": 2, "bytes": 8, "at_least": false});
    let parent = json!(["shardId-000000000000"]);
    assert_eq!(
        lines,
        [
            expected(
                0,
                false,
                json!([]),
                (0, last),
                1.0,
                all,
                json!({"state": "ended"})
            ),
            expected(
                1,
                true,
                parent.clone(),
                (0, middle - 1),
                0.5,
                empty.clone(),
                json!({"behind_ms": 0})
            ),
            expected(
                2,
                true,
                parent,
                (middle, last),
                0.5,
                empty,
                json!({"state": "unread"})
            ),
        ]
    );

    let mut open = tool_for(&server, "shards");
    let lines = printed(
        open.args(["--stream=orders", "--format=json", "--open"]),
        "",
    );
    assert_eq!(lines.lines().count(), 2);
    drop(store);
}

#[test]
fn a_stream_that_is_not_there_is_told() {
    let server = FakeKinesis::new().serve().expect("a socket");
    let mut shards = tool_for(&server, "shards");
    let told = refused(shards.arg("--stream=nowhere"), "");
    assert!(told.contains("ResourceNotFoundException"), "{told}");
    let mut shards = tool_for(&server, "shards");
    let told = refused(
        shards.args(["--stream=orders", "--checkpoint=/no/such/file"]),
        "",
    );
    assert_eq!(told, "shards: /no/such/file: there is no such file\n");
}
