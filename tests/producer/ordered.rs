//! Records of one key, stored in the order in which they were put.

use std::collections::BTreeMap;
use std::time::Duration;

use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{Operation, Ordering, Producer, ProducerConfigBuilder, UserRecord};

use crate::quiet::until;
use crate::support::*;

fn ordered(
    fake: &FakeKinesis,
    change: impl FnOnce(ProducerConfigBuilder) -> ProducerConfigBuilder,
) -> Producer {
    configured(fake, |config| {
        change(config.ordering(Ordering::PerPartitionKey))
    })
}

/// The n-th record, of one of seven keys.
fn numbered(n: usize) -> UserRecord {
    UserRecord::new(format!("k{}", n % 7), n.to_string())
}

/// Asserts that each of so many records is stored, and the first copies in the order of their keys.
fn assert_in_order(fake: &FakeKinesis, count: usize) {
    let mut firsts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut records = fake.records(STREAM);
    records.sort_by(|one, other| one.sequence_number.cmp(&other.sequence_number));
    let names = records.into_iter().flat_map(|record| {
        let members = decode(&record.data).expect("our own");
        let payloads = match members {
            Some(members) => members.into_iter().map(|one| one.data).collect(),
            None => vec![record.data],
        };
        payloads.into_iter().map(|data| {
            let text = String::from_utf8(data.to_vec()).expect("text");
            text.parse::<usize>().expect("a number")
        })
    });
    let mut last = BTreeMap::new();
    for (place, name) in names.enumerate() {
        if firsts.insert(name, place).is_none() {
            let before = last.insert(name % 7, name);
            assert!(before < Some(name), "{name} came behind {before:?}");
        }
    }
    assert_eq!(firsts.len(), count);
}

#[test]
fn order_survives_trouble_with_and_without_aggregation() {
    for aggregation in [true, false] {
        let fake = kinesis(3);
        let entries = Fault::FailEntries {
            every: 2,
            code: "InternalFailure".to_owned(),
        };
        let faults = [
            Fault::AnswerLost,
            Fault::Disconnect,
            Fault::InternalFailure,
            entries,
        ];
        fake.on(Operation::PutRecords)
            .fail_at_random(11, 0.3, faults);
        let producer = ordered(&fake, |config| {
            config
                .aggregation(aggregation)
                .aggregation_max_bytes(200)
                .record_ttl(Duration::MAX)
        });
        for n in 0..700 {
            producer.put(numbered(n)).expect("taken in");
        }
        producer.close().expect("closed");
        assert_in_order(&fake, 700);
    }
}

#[test]
fn order_survives_splits_and_merges() {
    for aggregation in [true, false] {
        let fake = kinesis(2);
        let producer = ordered(&fake, |config| {
            config.aggregation(aggregation).aggregation_max_bytes(200)
        });
        let client = fake.client();
        for n in 0..900 {
            producer.put(numbered(n)).expect("taken in");
            match n {
                100 => client.update_shard_count(STREAM, 4).expect("split"),
                300 => client.update_shard_count(STREAM, 2).expect("merged"),
                500 => client.update_shard_count(STREAM, 3).expect("reshuffled"),
                _ => {}
            }
        }
        producer.close().expect("closed");
        assert_in_order(&fake, 900);
    }
}

#[test]
fn a_key_that_fails_holds_back_no_other() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 2);
    let stuck = "shardId-000000000000";
    fake.on(Operation::PutRecords)
        .shard(stuck)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = ordered(&fake, |config| config.aggregation(false));
    let deliveries: Vec<_> = (0..70)
        .map(|n| producer.put(numbered(n)).expect("taken in"))
        .collect();
    assert!(producer.flush_timeout(Duration::ZERO).is_ok());
    let shard_of = |record: &UserRecord| {
        let key = kinesis_blocking::HashKey::of_partition_key(record.partition_key());
        usize::from(key.as_u128() >= 1 << 127)
    };
    let mut stuck_ones = Vec::new();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        match shard_of(&numbered(n)) {
            0 => stuck_ones.push(delivery),
            _ => assert_eq!(delivered(delivery.wait()).attempts.len(), 1),
        }
    }
    assert!(!stuck_ones.is_empty());
    assert!(stuck_ones.iter().all(|delivery| !delivery.is_settled()));
    fake.calm_down();
    let _flow = Flow::of(&clock);
    producer.close().expect("closed");
    assert_in_order(&fake, 70);
}

#[test]
fn what_waits_for_its_turn_expires_with_the_others_and_comes_back() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = ordered(&fake, |config| {
        config.aggregation(false).record_ttl(Duration::from_secs(5))
    });
    let deliveries: Vec<_> = (0..70)
        .map(|n| producer.put(numbered(n)).expect("taken in"))
        .collect();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(undelivered(delivery.wait()).record, numbered(n));
    }
    until("room of all", || producer.outstanding() == 0);
}

#[test]
fn what_waits_for_its_turn_comes_back_from_a_producer_that_is_closed() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = ordered(&fake, |config| config.aggregation(false));
    let deliveries: Vec<_> = (0..70)
        .map(|n| producer.put(numbered(n)).expect("taken in"))
        .collect();
    let closed = producer.close_timeout(Duration::from_secs(1));
    assert_eq!(closed.expect("closed").undelivered(), 70);
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(undelivered(delivery.wait()).record, numbered(n));
    }
}
