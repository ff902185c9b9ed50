//! Several consumers that share the shards of a stream.

use std::collections::BTreeSet;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Checkpoint, Client, Consumer, FlinkHashAssigner, HashKeyRange, ShardAssigner, ShardRef,
};

use crate::{all, data, named, put, sorted, split};

fn subtask(client: &Client, index: usize, parallelism: usize, restored: &Checkpoint) -> Consumer {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    let builder = builder
        .subtask(index, parallelism)
        .restore(restored.clone());
    builder.start().expect("started")
}

/// What a group reads, and the union of its checkpoints.
fn group(client: &Client, parallelism: usize, restored: &Checkpoint) -> (Vec<String>, Checkpoint) {
    let (mut names, mut checkpoints) = (Vec::new(), Vec::new());
    for index in 0..parallelism {
        let mut consumer = subtask(client, index, parallelism, restored);
        names.extend(
            consumer
                .by_ref()
                .map(|record| data(&record.expect("a record"))),
        );
        checkpoints.push(consumer.close().expect("closed"));
    }
    (names, union(&checkpoints))
}

fn union(checkpoints: &[Checkpoint]) -> Checkpoint {
    let checkpoints = checkpoints.iter().cloned();
    checkpoints.reduce(Checkpoint::merge).unwrap_or_default()
}

fn shards(checkpoint: &Checkpoint) -> Vec<&str> {
    let shards = checkpoint.iter().map(|(shard, _)| shard.shard_id.as_str());
    shards.collect()
}

#[test]
fn a_group_of_any_size_goes_on_from_the_checkpoints_of_another() {
    let client = FakeKinesis::new().with_stream("orders", 5).client();
    let mut checkpoint = Checkpoint::default();
    for (round, parallelism) in [3, 1, 4, 2, 7].into_iter().enumerate() {
        let prefix = format!("{round}-");
        put(&client, named(&prefix, 100));
        if round == 2 {
            split(&client);
            put(&client, named("split-", 100));
        }
        let (names, union) = group(&client, parallelism, &checkpoint);
        let mut expected: Vec<_> = named(&prefix, 100).collect();
        if round == 2 {
            expected.extend(named("split-", 100));
        }
        assert_eq!(sorted(names), sorted(expected), "round {round}");
        checkpoint = union;
    }
    assert_eq!(shards(&checkpoint).len(), 7);
}

#[test]
fn a_checkpoint_holds_what_its_consumer_reads_and_nothing_of_the_others() {
    let client = FakeKinesis::new().with_stream("fakeStream", 4).client();
    let start = |index, parallelism, restored: &Checkpoint| {
        let builder = Consumer::builder(client.clone())
            .stream("fakeStream")
            .config(all());
        let builder = builder
            .shard_assigner(FlinkHashAssigner)
            .restore(restored.clone());
        builder
            .subtask(index, parallelism)
            .start()
            .expect("started")
    };
    let everything = start(0, 1, &Checkpoint::default()).checkpoint();
    assert_eq!(shards(&everything).len(), 4);
    // Before anything was read, what was restored is what the checkpoint says.
    let first = start(0, 2, &everything).checkpoint();
    let two = ["shardId-000000000000", "shardId-000000000002"];
    assert_eq!(shards(&first), two);
    let second = start(1, 2, &everything).checkpoint();
    let union = union(&[first, second]);
    assert!(union.iter().eq(everything.iter()), "{union:?}");
}

#[test]
fn an_assigner_of_ones_own_decides() {
    let client = FakeKinesis::new().with_stream("orders", 3).client();
    for constant in [0, 1, 13] {
        let readers = (0..10).filter(|index| {
            let builder = Consumer::builder(client.clone())
                .stream("orders")
                .config(all());
            let assigner = move |_: &ShardRef, _: HashKeyRange, _: usize| constant;
            let builder = builder.subtask(*index, 10).shard_assigner(assigner);
            let shards = builder
                .start()
                .expect("started")
                .checkpoint()
                .iter()
                .count();
            assert!(shards == 0 || shards == 3);
            shards == 3
        });
        assert_eq!(readers.collect::<Vec<_>>(), [constant % 10]);
    }
}

#[test]
fn a_consumer_without_a_shard_ends_when_it_is_to_end() {
    let client = FakeKinesis::new().with_stream("orders", 1).client();
    let assigned = FlinkHashAssigner.assign(
        &ShardRef::new("orders", "shardId-000000000000"),
        HashKeyRange::FULL,
        2,
    );
    let builder = Consumer::builder(client).stream("orders").config(all());
    let builder = builder
        .shard_assigner(FlinkHashAssigner)
        .subtask(1 - assigned, 2);
    let mut consumer = builder.start().expect("started");
    assert!(consumer.next().is_none());
    assert_eq!(shards(&consumer.checkpoint()), Vec::<&str>::new());
}

#[test]
fn every_shard_of_several_streams_has_one_reader() {
    let kinesis = FakeKinesis::new().with_stream("a", 7).with_stream("b", 4);
    let client = kinesis.client();
    let mut seen = BTreeSet::new();
    for index in 0..3 {
        let builder = Consumer::builder(client.clone())
            .stream("a")
            .stream("b")
            .config(all());
        let consumer = builder.subtask(index, 3).start().expect("started");
        for (shard, _) in consumer.checkpoint().iter() {
            assert!(seen.insert(shard.clone()), "{shard} is read twice");
        }
    }
    assert_eq!(seen.len(), 11);
}

#[test]
fn an_index_outside_the_group_is_refused() {
    let client = FakeKinesis::new().with_stream("orders", 1).client();
    let builder = Consumer::builder(client).stream("orders").subtask(2, 2);
    assert_eq!(
        builder.start().expect_err("refused").to_string(),
        "subtask: \"2 of 2\" is not an index below the parallelism"
    );
}
