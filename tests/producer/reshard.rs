//! Shards that split and merge while records are put.

use kinesis_blocking::aggregation::message::{AggregatedRecord, Record};
use kinesis_blocking::aggregation::{FRAME_LEN, MAGIC};
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{Client, HashKey, Operation, ShardRef};
use prost::Message;

use crate::support::*;

fn split(client: &Client, shard: &str) {
    let shards = client.list_shards(STREAM).expect("listed");
    let parent = shards.iter().find(|one| one.id.as_str() == shard);
    let at = parent.expect("it is there").hash_key_range.midpoint();
    client
        .split_shard(&ShardRef::new(STREAM, shard), at)
        .expect("split");
}

fn merge(client: &Client, one: &str, other: &str) {
    let one = ShardRef::new(STREAM, one);
    client.merge_shards(&one, &other.into()).expect("merged");
}

/// The tag of each user record of an aggregate, if it has one.
fn marks(data: &[u8]) -> Vec<Option<String>> {
    let body = &data[MAGIC.len()..data.len() - (FRAME_LEN - MAGIC.len())];
    let aggregate = AggregatedRecord::decode(body).expect("the message");
    let tag = |record: Record| record.tags.into_iter().next()?.value;
    aggregate.records.into_iter().map(tag).collect()
}

#[test]
fn a_split_under_load_loses_and_repeats_nothing_for_readers_by_the_kcls_rule() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| config.aggregation_max_bytes(500));
    let mut deliveries = Vec::new();
    for n in 0..2_000 {
        deliveries.push(producer.put(named(n)).expect("taken in"));
        match n {
            500 => split(&fake.client(), "shardId-000000000000"),
            1_000 => split(&fake.client(), "shardId-000000000001"),
            1_500 => merge(
                &fake.client(),
                "shardId-000000000003",
                "shardId-000000000004",
            ),
            _ => {}
        }
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 2_000);
    for delivery in deliveries {
        delivered(delivery.wait());
    }
}

#[test]
fn without_aggregation_no_aggregate_is_stored_whatever_splits() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| config.aggregation(false));
    let deliveries: Vec<_> = (0..3_000)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    // Most of them still wait for the shard, which takes 1,000 a second.
    split(&fake.client(), "shardId-000000000000");
    producer.close().expect("closed");
    for delivery in deliveries {
        assert_eq!(delivered(delivery.wait()).sub_sequence_number, None);
    }
    assert_eq!(fake.records(STREAM).len(), 3_000);
    assert_each_once(&fake, 3_000);
}

#[test]
fn an_aggregate_across_the_children_goes_again_as_two() {
    let fake = still(1);
    let producer = producer(&fake);
    split(&fake.client(), "shardId-000000000000");
    let keys = [1, u128::MAX, 2, u128::MAX - 1];
    let deliveries = keys.map(|key| {
        let record = named(key).explicit_hash_key(HashKey::from(key));
        producer.put(record).expect("taken in")
    });
    producer.flush().expect("flushed");

    let results = deliveries.map(|delivery| delivered(delivery.wait()));
    let places = results.each_ref().map(|one| {
        let shard = one.shard_id.as_str();
        (shard[shard.len() - 1..].to_owned(), one.sub_sequence_number)
    });
    let place = |shard: &str, sub| (shard.to_owned(), Some(sub));
    assert_eq!(
        places,
        [place("1", 0), place("2", 0), place("1", 1), place("2", 1)]
    );
    for one in &results {
        assert_eq!(one.attempts.len(), 2);
        let error = one.attempts[0].error.as_ref().expect("misplaced");
        assert_eq!(
            error.to_string(),
            "PutRecords on stream orders: Wrong Shard: shardId-000000000001 took the aggregate, but does not own \
             all of its records"
        );
    }
    // The copies in the children say where the first one is, and no other record has such a mark.
    let copies = fake.records(STREAM);
    let (first, again) = copies.split_first().expect("three aggregates");
    assert_eq!(marks(&first.data), [None, None, None, None]);
    let mark = format!("{STREAM}/{}/{}", first.shard_id, first.sequence_number);
    for copy in again {
        assert_eq!(marks(&copy.data), [Some(mark.clone()), Some(mark.clone())]);
    }
    assert_eq!(stored(&fake).len(), 8);
    let seen = seen_by_readers(&fake);
    assert!(
        seen.len() == 4 && seen.values().all(|count| *count == 1),
        "{seen:?}"
    );
}

#[test]
fn an_aggregate_that_one_child_owns_stays_where_it_is() {
    let fake = still(1);
    let producer = producer(&fake);
    split(&fake.client(), "shardId-000000000000");
    let deliveries = [1, 2, 3].map(|key| {
        let record = named(key).explicit_hash_key(HashKey::from(key));
        producer.put(record).expect("taken in")
    });
    producer.flush().expect("flushed");
    for delivery in deliveries {
        let delivered = delivered(delivery.wait());
        assert_eq!(delivered.shard_id.as_str(), "shardId-000000000001");
        assert_eq!(delivered.attempts.len(), 1);
    }
    // The map was stale, and is not any more.
    let calls = fake.calls(Operation::ListShards);
    assert_eq!(
        calls, 3,
        "at start, by the split here, and after the first record"
    );
    for key in [1, 2, u128::MAX] {
        let record = named(key).explicit_hash_key(HashKey::from(key));
        producer.put(record).expect("taken in");
    }
    producer.flush().expect("flushed");
    assert_eq!(fake.calls(Operation::ListShards), calls);
    assert_eq!(stored(&fake).len(), 6);
}

#[test]
fn a_merge_is_followed_without_a_second_copy() {
    let fake = still(2);
    let producer = producer(&fake);
    merge(
        &fake.client(),
        "shardId-000000000000",
        "shardId-000000000001",
    );
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    producer.close().expect("closed");
    assert_eq!(stored(&fake).len(), 100);
    assert_each_once(&fake, 100);
}

#[test]
fn a_record_alone_is_never_put_twice() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    split(&fake.client(), "shardId-000000000000");
    let delivery = producer.put(named("one")).expect("taken in");
    let attempts = delivered(delivery.wait()).attempts;
    assert_eq!((attempts.len(), stored(&fake).len()), (1, 1));
}

#[test]
fn a_list_that_comes_late_or_half_is_asked_for_again() {
    for fault in [Fault::ChildrenLate, Fault::Throttle, Fault::Disconnect] {
        let fake = kinesis(1);
        let producer = producer(&fake);
        split(&fake.client(), "shardId-000000000000");
        fake.on(Operation::ListShards).fail_next(2, fault.clone());
        let deliveries: Vec<_> = (0..100)
            .map(|n| producer.put(named(n)).expect("taken in"))
            .collect();
        producer.flush().expect("flushed");
        for delivery in deliveries {
            delivered(delivery.wait());
        }
        assert_each_once(&fake, 100);
    }
}

#[test]
fn a_list_with_parents_that_look_open_loses_nothing() {
    let fake = still(1);
    let producer = producer(&fake);
    split(&fake.client(), "shardId-000000000000");
    fake.on(Operation::ListShards)
        .fail_next(1, Fault::ParentsOpen);
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 100);
}

#[test]
fn records_that_a_shard_took_for_another_go_again() {
    let fake = FakeKinesis::new().with_stream(STREAM, 4);
    fake.on(Operation::PutRecords)
        .fail_next(1, Fault::WrongShard);
    let producer = producer(&fake);
    for n in 0..1_000 {
        producer.put(named(n)).expect("taken in");
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 1_000);
}
