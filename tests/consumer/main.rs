//! The consumer, as its users see it, on the fake.

mod aligned;
mod assignment;
mod bounded;
mod committing;
mod decoding;
mod discovery;
mod event_time;
mod gaps;
mod group;
mod metering;
mod outages;
mod placed;
#[path = "../support/quiet.rs"]
mod quiet;
mod resources;
mod shards;
mod stopping;
mod streams;
mod time;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, ConsumerConfig, ConsumerConfigBuilder, Event,
    FileCheckpointStore, HashKey, Operation, PutRecordsEntry, Record, Result, ShardPosition,
    ShardRef, StartPosition,
};

fn client(shards: u32) -> Client {
    FakeKinesis::new().with_stream("orders", shards).client()
}

fn config(start: StartPosition) -> ConsumerConfigBuilder {
    ConsumerConfig::builder()
        .start_position(start)
        .get_records_interval(Duration::ZERO)
}

/// Everything there is, and an end.
fn all() -> ConsumerConfig {
    let all = config(StartPosition::TrimHorizon).until_caught_up(true);
    all.build().expect("valid")
}

fn endless(start: StartPosition) -> ConsumerConfig {
    let interval = Duration::from_millis(1);
    let endless = config(start).get_records_interval(interval);
    endless.build().expect("valid")
}

fn consumer(client: &Client, config: ConsumerConfig) -> Consumer {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(config);
    builder.start().expect("started")
}

fn restored(client: &Client, config: ConsumerConfig, checkpoint: Checkpoint) -> Consumer {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(config);
    builder.restore(checkpoint).start().expect("started")
}

/// Puts one plain record a name, under its name as partition key.
fn put(client: &Client, names: impl IntoIterator<Item = String>) {
    let entries: Vec<_> = names
        .into_iter()
        .map(|name| entry(&name.clone(), name.into()))
        .collect();
    for entries in entries.chunks(500) {
        let output = client.put_records("orders", entries).expect("answered");
        assert!(output.records.iter().all(Result::is_ok));
    }
}

fn entry(key: &str, data: Bytes) -> PutRecordsEntry {
    PutRecordsEntry {
        data,
        partition_key: key.into(),
        explicit_hash_key: None,
    }
}

fn named(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    let prefix = prefix.to_owned();
    (0..count).map(move |n| format!("{prefix}{n}"))
}

fn data(record: &Record) -> String {
    String::from_utf8(record.data().to_vec()).expect("text")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn read(consumer: &mut Consumer) -> Vec<String> {
    consumer
        .map(|record| data(&record.expect("a record")))
        .collect()
}

/// Splits the only open shard, or the first of them, in its middle.
fn split(client: &Client) {
    let shards = client.list_shards("orders").expect("listed");
    let shard = shards
        .iter()
        .find(|shard| shard.is_open())
        .expect("an open shard");
    let at = shard.hash_key_range.midpoint();
    let shard = ShardRef::new("orders", shard.id.clone());
    client.split_shard(&shard, at).expect("split");
}

fn merge(client: &Client) {
    let shards = client.list_shards("orders").expect("listed");
    let mut open: Vec<_> = shards.iter().filter(|shard| shard.is_open()).collect();
    open.sort_by_key(|shard| shard.hash_key_range.start);
    let shard = ShardRef::new("orders", open[0].id.clone());
    client.merge_shards(&shard, &open[1].id).expect("merged");
}

#[test]
fn every_record_of_every_shard_comes_once() {
    let client = client(4);
    put(&client, named("r", 1_000));
    let mut consumer = consumer(&client, all());
    let names = read(&mut consumer);
    assert_eq!(sorted(names), sorted(named("r", 1_000).collect()));
    assert!(consumer.next().is_none(), "the end stays the end");
    consumer.close().expect("closed");
}

#[test]
fn aggregates_are_taken_apart() {
    let client = client(1);
    let records: Vec<_> = named("r", 3)
        .map(|name| SubRecord::new(name.clone(), name))
        .collect();
    let entries = [
        entry("a", encode(&records)),
        entry("plain", Bytes::from_static(b"p")),
    ];
    client.put_records("orders", &entries).expect("answered");
    let records: Vec<Record> = consumer(&client, all())
        .map(|record| record.expect("a record"))
        .collect();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (
                data(record),
                record.partition_key().to_owned(),
                record.sub_sequence_number(),
            )
        })
        .collect();
    let expected = [
        ("r0", "r0", Some(0)),
        ("r1", "r1", Some(1)),
        ("r2", "r2", Some(2)),
        ("p", "plain", None),
    ];
    assert_eq!(
        seen,
        expected.map(|(data, key, sub)| (data.to_owned(), key.to_owned(), sub))
    );
    assert_eq!(records[0].sequence_number(), records[2].sequence_number());
}

#[test]
fn a_consumer_goes_on_exactly_where_its_checkpoint_was_taken() {
    let client = client(2);
    let keys = |n: usize| SubRecord::new(format!("k{n}"), format!("r{n}"));
    let aggregates: Vec<_> = (0..100)
        .map(|n| {
            let explicit_hash_key = Some(if n % 2 == 0 {
                HashKey::MIN
            } else {
                HashKey::MAX
            });
            let data = encode(&(n * 5..n * 5 + 5).map(keys).collect::<Vec<_>>());
            PutRecordsEntry {
                explicit_hash_key,
                ..entry("a", data)
            }
        })
        .collect();
    client.put_records("orders", &aggregates).expect("answered");
    // Cut after each number of records, inside aggregates and between them.
    for cut in [0, 1, 4, 5, 6, 249, 499, 500] {
        let mut first = consumer(&client, all());
        let mut names: Vec<_> = first
            .by_ref()
            .take(cut)
            .map(|record| data(&record.expect("a record")))
            .collect();
        let saved = first.checkpoint().to_json();
        drop(first);
        let checkpoint = Checkpoint::from_json(&saved).expect("a checkpoint");
        names.extend(read(&mut restored(&client, all(), checkpoint)));
        assert_eq!(
            sorted(names),
            sorted(named("r", 500).collect()),
            "cut after {cut}"
        );
    }
}

#[test]
fn records_stay_in_order_across_splits_and_merges() {
    let client = client(1);
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    let mut put_round = |round: usize| {
        let entries = (0..100).map(|key| entry(&format!("k{key}"), format!("{round}").into()));
        let output = client
            .put_records("orders", &entries.collect::<Vec<_>>())
            .expect("answered");
        assert!(output.records.iter().all(Result::is_ok));
        (0..100).for_each(|key| *written.entry(format!("k{key}")).or_default() += 1);
    };
    put_round(0);
    split(&client);
    put_round(1);
    split(&client);
    put_round(2);
    merge(&client);
    put_round(3);
    merge(&client);
    put_round(4);
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for record in consumer(&client, all()) {
        let record = record.expect("a record");
        let round = next.entry(record.partition_key().to_owned()).or_default();
        assert_eq!(
            data(&record),
            round.to_string(),
            "{}",
            record.partition_key()
        );
        *round += 1;
    }
    assert_eq!(next, written);
}

#[test]
fn children_are_read_when_a_shard_is_split_under_way() {
    let client = client(1);
    put(&client, named("a", 10));
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    let mut names: Vec<_> = consumer
        .by_ref()
        .take(10)
        .map(|record| data(&record.expect("a record")))
        .collect();
    split(&client);
    put(&client, named("b", 10));
    let mut changes = Vec::new();
    while names.len() < 20 {
        match consumer
            .next_event(Duration::from_secs(30))
            .expect("an event")
        {
            Event::Record(record) => names.push(data(&record)),
            Event::ShardStarted(shard) => changes.push(format!("+{}", shard.shard_id)),
            Event::ShardEnded(shard) => changes.push(format!("-{}", shard.shard_id)),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(
        sorted(names),
        sorted(named("a", 10).chain(named("b", 10)).collect())
    );
    assert_eq!(changes[0], "-shardId-000000000000");
    assert!(
        changes.contains(&"+shardId-000000000001".to_owned()),
        "{changes:?}"
    );
    let parent = ShardRef::new("orders", "shardId-000000000000");
    let checkpoint = consumer.close().expect("closed");
    assert_eq!(checkpoint.position(&parent), Some(&ShardPosition::ShardEnd));
}

#[test]
fn latest_gives_what_is_put_after_start_and_nothing_before() {
    let client = client(4);
    put(&client, named("old", 100));
    let mut consumer = consumer(&client, endless(StartPosition::Latest));
    put(&client, named("new", 100));
    let names = consumer
        .by_ref()
        .take(100)
        .map(|record| data(&record.expect("a record")))
        .collect();
    assert_eq!(sorted(names), sorted(named("new", 100).collect()));
    consumer.close().expect("closed");
}

#[test]
fn a_shard_without_a_record_yet_keeps_the_instant_that_latest_meant() {
    let client = client(1);
    put(&client, named("old", 3));
    let latest = consumer(&client, endless(StartPosition::Latest));
    let checkpoint = latest.close().expect("closed");
    let shard = ShardRef::new("orders", "shardId-000000000000");
    let position = checkpoint.position(&shard).expect("a position");
    assert!(
        matches!(
            position,
            ShardPosition::Start(StartPosition::AtTimestamp(_))
        ),
        "{position:?}"
    );
    put(&client, named("new", 3));
    let names = read(&mut restored(&client, all(), checkpoint));
    let new: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("new"))
        .collect();
    assert_eq!(new, ["new0", "new1", "new2"]);
}

#[test]
fn several_streams_come_through_one_consumer() {
    let client = FakeKinesis::new()
        .with_stream("orders", 1)
        .with_stream("returns", 1)
        .client();
    put(&client, named("o", 2));
    client
        .put_records("returns", &[entry("k", Bytes::from_static(b"r"))])
        .expect("answered");
    let builder = Consumer::builder(client)
        .stream("orders")
        .stream("returns")
        .config(all());
    let consumer = builder.start().expect("started");
    let seen = consumer.map(|record| {
        let record = record.expect("a record");
        format!("{} {}", record.shard().stream, data(&record))
    });
    assert_eq!(
        sorted(seen.collect()),
        ["orders o0", "orders o1", "returns r"]
    );
}

#[test]
fn children_are_read_before_any_listing_shows_them() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    put(&client, named("parent", 10));
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    split(&client);
    put(&client, named("child", 10));
    let listings = kinesis.on(Operation::ListShards);
    listings.fail_next(u64::MAX, Fault::ChildrenLate);
    let records = consumer.by_ref().take(20);
    let names = records.map(|record| data(&record.expect("a record")));
    let names: Vec<_> = names.collect();
    assert_eq!(names[..10], named("parent", 10).collect::<Vec<_>>());
    assert_eq!(
        sorted(names[10..].to_vec()),
        named("child", 10).collect::<Vec<_>>()
    );
    assert_eq!(consumer.checkpoint().iter().count(), 3);
}

#[test]
fn a_position_is_kept_while_the_listing_lags_behind_its_shard() {
    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    split(&client);
    put(&client, named("r", 10));
    let mut first = consumer(&client, all());
    assert_eq!(read(&mut first).len(), 10);
    let checkpoint = first.close().expect("closed");
    kinesis
        .on(Operation::ListShards)
        .fail_next(1, Fault::ChildrenLate);
    let second = restored(
        &client,
        endless(StartPosition::TrimHorizon),
        checkpoint.clone(),
    );
    assert!(second.checkpoint().iter().eq(checkpoint.iter()));
    drop(second);
    let mut third = restored(&client, all(), checkpoint);
    assert_eq!(read(&mut third), Vec::<String>::new());
}

#[test]
fn a_stop_from_another_thread_ends_the_iteration() {
    let client = client(2);
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    let handle = consumer.stop_handle();
    let stopper = std::thread::spawn(move || handle.stop());
    assert!(consumer.next().is_none());
    assert!(matches!(
        consumer.next_event(Duration::MAX),
        Ok(Event::Ended)
    ));
    stopper.join().expect("stopped");
    consumer.close().expect("closed");
}

#[test]
fn a_time_out_is_an_event_and_not_an_error() {
    let client = client(1);
    let mut consumer = consumer(&client, endless(StartPosition::TrimHorizon));
    let started = consumer
        .next_event(Duration::from_secs(30))
        .expect("an event");
    assert!(matches!(started, Event::ShardStarted(_)), "{started:?}");
    let event = consumer
        .next_event(Duration::from_millis(1))
        .expect("an event");
    assert!(matches!(event, Event::Timeout), "{event:?}");
}

#[test]
fn a_consumer_that_is_dropped_frees_threads_that_wait_for_room() {
    let client = client(2);
    put(&client, named("r", 1_000));
    let config = config(StartPosition::TrimHorizon)
        .get_records_max(1)
        .build()
        .expect("valid");
    let mut consumer = consumer(&client, config);
    assert!(consumer.next().is_some());
    // The threads hold the only other clones of what they wake the caller with.
    consumer.close().expect("closed");
}

#[test]
fn a_file_keeps_the_place_between_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.checkpoint");
    let client = client(2);
    let run = |count: usize| {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let mut consumer = builder
            .checkpoint_store(FileCheckpointStore::new(&path))
            .start()
            .expect("started");
        let names: Vec<_> = consumer
            .by_ref()
            .take(count)
            .map(|record| data(&record.expect("a record")))
            .collect();
        consumer.close().expect("committed");
        names
    };
    put(&client, named("r", 100));
    let mut names = run(30);
    names.extend(run(30));
    names.extend(run(usize::MAX));
    assert_eq!(sorted(names), sorted(named("r", 100).collect()));
    assert_eq!(run(usize::MAX), Vec::<String>::new());
}

#[test]
fn a_commit_by_interval_waits_until_the_caller_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.checkpoint");
    let client = client(1);
    put(&client, named("r", 3));
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    let builder = builder
        .checkpoint_store(FileCheckpointStore::new(&path))
        .commit_interval(Duration::ZERO);
    let mut consumer = builder.start().expect("started");
    let saved = || {
        let file = std::fs::read_to_string(&path).expect("a file");
        let json = file.lines().nth(1).expect("a checkpoint");
        Checkpoint::from_json(json).expect("a checkpoint")
    };
    let first = consumer.next().expect("more").expect("a record");
    let before = consumer.checkpoint();
    assert_ne!(saved(), before, "the first record is not done with");
    consumer.next().expect("more").expect("a record");
    assert_eq!(saved(), before);
    drop(first);
}

#[test]
fn bad_input_is_named() {
    let nowhere = Consumer::builder(client(1))
        .stream("nowhere")
        .start()
        .expect_err("no such stream");
    assert!(
        nowhere.to_string().starts_with(
            "ListShards on stream nowhere: ResourceNotFoundException: Stream nowhere under account"
        ),
        "{nowhere}"
    );
    assert!(
        nowhere
            .to_string()
            .ends_with("check the stream's name, the region and the account"),
        "{nowhere}"
    );
    let nothing = Consumer::builder(client(1)).start().expect_err("no stream");
    assert_eq!(
        nothing.to_string(),
        "stream is not set: it has to be the name of at least one stream"
    );
}

#[test]
fn a_consumer_can_change_threads() {
    fn sends<T: Send>() {}
    fn shares<T: Send + Sync>() {}
    sends::<Consumer>();
    shares::<Client>();
    shares::<Record>();
    shares::<kinesis_blocking::StopHandle>();
}
