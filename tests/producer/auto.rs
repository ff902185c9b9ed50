//! Streams whose records the service places by itself: the record distribution strategy `AUTO`.

use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Consumer, ConsumerConfig, ErrorKind, HashKey, Operation, Producer, PutRecordsEntry,
    RecordDistributionStrategy, StartPosition, Stored, UserRecord,
};

use crate::quiet::Flow;
use crate::support::*;

const AUTO: RecordDistributionStrategy = RecordDistributionStrategy::Auto;

/// A fake whose time flies, with one stream that places records by itself.
fn auto(shards: u32) -> Flowing {
    let fake = kinesis(shards);
    fake.set_record_distribution_strategy(STREAM, AUTO);
    fake
}

/// Puts 300 lines, each under its own key.
fn put_300(producer: &Producer, stream: &str) -> Vec<kinesis_blocking::Delivery> {
    let put = |n: usize| producer.put(named(n).stream(stream)).expect("taken in");
    (0..300).map(put).collect()
}

#[test]
fn records_for_a_stream_that_places_by_itself_go_alone_and_with_their_keys_only() {
    let fake = auto(3).with_stream("side", 3);
    fake.set_record_distribution_strategy("side", AUTO);
    let producer = producer(&fake);
    // One is known from the start, and the other with its first record.
    for stream in [STREAM, "side"] {
        for delivery in put_300(&producer, stream) {
            let delivered = delivered(delivery.wait());
            assert_eq!(delivered.sub_sequence_number, None);
            assert_eq!(delivered.attempts.len(), 1);
        }
        let records = fake.records(stream);
        assert_eq!(records.len(), 300);
        for record in records {
            // The first of the other stream are not kept until it is known.
            assert!(record.explicit_hash_key.is_none() || stream != STREAM);
            assert_eq!(record.partition_key.as_bytes(), record.data);
        }
    }
    assert_eq!(counts(producer.close().expect("closed")), [600, 0, 0, 0]);
    assert_eq!(fake.calls(Operation::DescribeStreamSummary), 2);
}

#[test]
fn a_stream_that_begins_to_place_by_itself_loses_nothing() {
    for aggregation in [true, false] {
        let clock = clock();
        let _flow = Flow::of(&clock);
        let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 4);
        let producer = configured(&fake, |config| config.aggregation(aggregation));
        let start = clock.time();
        for delivery in put_300(&producer, STREAM) {
            delivered(delivery.wait());
        }
        fake.set_record_distribution_strategy(STREAM, AUTO);
        // The fake takes one shard after the other, and so may four aggregates in their order.
        let other = PutRecordsEntry {
            data: Bytes::new(),
            partition_key: "other".into(),
            explicit_hash_key: None,
        };
        fake.client().put_records(STREAM, &[other]).expect("put");
        let mut rounds = 1;
        while clock.time().saturating_since(start) < Duration::from_secs(15) {
            for delivery in put_300(&producer, STREAM) {
                delivered(delivery.wait());
            }
            rounds += 1;
        }
        // By now it has been asked again.
        let before = fake.records(STREAM).len();
        for delivery in put_300(&producer, STREAM) {
            delivered(delivery.wait());
        }
        assert_eq!(fake.records(STREAM).len() - before, 300, "{aggregation}");
        // Whoever reads by the KCL's rule has had each record every time.
        let mut seen = seen_by_readers(&fake);
        seen.remove("");
        assert!(seen.len() == 300 && seen.values().all(|count| *count == rounds + 1));
        assert!(fake.calls(Operation::DescribeStreamSummary) <= 3);
        producer.close().expect("closed");
    }
}

#[test]
fn without_an_answer_the_keys_decide_and_nothing_waits_or_fails() {
    for fault in [
        Fault::refuse("AccessDeniedException", "no right to describe"),
        Fault::Throttle,
        Fault::Garbage,
        Fault::Hang,
    ] {
        let fake = kinesis(1).with_stream("side", 1);
        fake.on(Operation::DescribeStreamSummary)
            .fail_next(u64::MAX, fault);
        let producer = producer(&fake);
        for stream in [STREAM, "side"] {
            for delivery in put_300(&producer, stream) {
                assert_eq!(delivered(delivery.wait()).attempts.len(), 1);
            }
        }
        assert!(fake.records(STREAM).len() < 300, "aggregated");
        // The other stream's may still be ahead: nothing waited for it.
        assert!(fake.calls(Operation::DescribeStreamSummary) <= 2);
        producer.close().expect("closed");
    }
}

/// Nobody says that the service decides, and no map explains where it stores an aggregate. The records go
/// again alone, which any reader finds wherever they are; a new aggregate would be misplaced again.
#[test]
fn what_no_map_explains_is_not_aggregated_again() {
    let fake = auto(4);
    let denied = Fault::refuse("AccessDeniedException", "no right");
    fake.on(Operation::DescribeStreamSummary)
        .fail_next(u64::MAX, denied);
    let producer = producer(&fake);
    for n in 0..40 {
        let put = |record| producer.put(record).expect("taken in");
        // One aggregate at a time, for one shard after another.
        let pair = ["a", "b"].map(|name| put(UserRecord::new(n.to_string(), format!("{n}{name}"))));
        for delivery in pair {
            delivered(delivery.wait());
        }
    }
    producer.close().expect("closed");
    assert!(fake.records(STREAM).len() > 40, "some go again");
    let mut copies = stored(&fake);
    copies.sort();
    for same in copies.chunk_by(|one, next| one == next) {
        assert!(
            same.len() <= 2,
            "{} is stored {} times",
            same[0],
            same.len()
        );
    }
}

#[test]
fn a_stream_that_contradicts_its_map_is_asked_ever_more_rarely() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 2);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::WrongShard);
    let producer = producer(&fake);
    let start = clock.time();
    while clock.time().saturating_since(start) < Duration::from_secs(300) {
        let deliveries = [1, u128::MAX].map(|key| {
            let record = named(key).explicit_hash_key(HashKey::from(key));
            producer.put(record).expect("taken in")
        });
        deliveries.into_iter().for_each(|one| drop(one.wait()));
    }
    let requests = fake.requests().into_iter();
    let asked = requests.filter(|request| request.operation == "DescribeStreamSummary");
    let asked: Vec<_> = asked.map(|request| request.at).collect();
    assert!((2..=7).contains(&asked.len()), "{}", asked.len());
    let pauses = asked.windows(2).map(|two| two[1].saturating_since(two[0]));
    let mut least = Duration::from_secs(10);
    for pause in pauses {
        assert!(pause >= least, "{pause:?} after {least:?}");
        least *= 2;
    }
    drop(producer);
}

#[test]
fn a_record_without_a_key_is_stored_and_read_without_one() {
    let fake = auto(2);
    let producer = producer(&fake);
    let deliveries: Vec<_> = (0..10)
        .map(|n| {
            let record = UserRecord::without_partition_key(n.to_string());
            producer.put(record).expect("taken in")
        })
        .collect();
    for delivery in deliveries {
        delivered(delivery.wait());
    }
    producer.close().expect("closed");
    let records = fake.records(STREAM);
    assert_eq!(records.len(), 10);
    assert!(records.iter().all(|one| one.partition_key.is_empty()));
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(true);
    let consumer = Consumer::builder(fake.client()).stream(STREAM);
    let consumer = consumer.config(config.build().expect("valid"));
    let mut read = Vec::new();
    for record in &mut consumer.start().expect("started") {
        let record = record.expect("a record");
        assert_eq!(record.partition_key(), "");
        read.push(Bytes::copy_from_slice(record.data()));
    }
    read.sort();
    let expected: Vec<_> = (0..10).map(|n: u32| Bytes::from(n.to_string())).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_record_without_a_key_comes_back_from_a_stream_that_needs_one() {
    let fake = kinesis(2);
    let producer = producer(&fake);
    let record = UserRecord::without_partition_key("data");
    let others = put_300(&producer, STREAM);
    let delivery = producer.put(record.clone()).expect("taken in");
    let undelivered = undelivered(delivery.wait());
    assert_eq!(
        (undelivered.record, undelivered.stored),
        (record, Stored::No)
    );
    let kind = undelivered.error.kind();
    assert!(matches!(kind, ErrorKind::InvalidRecord { .. }), "{kind:?}");
    for delivery in others {
        delivered(delivery.wait());
    }
    assert_each_once(&fake, 300);
    producer.close().expect("closed");
}

#[test]
fn aggregates_go_there_only_if_they_are_asked_for() {
    let fake = auto(3);
    let producer = configured(&fake, |config| config.aggregation_under_auto(true));
    for delivery in put_300(&producer, STREAM) {
        let delivered = delivered(delivery.wait());
        assert_eq!(delivered.attempts.len(), 1, "wherever it is, it is read");
    }
    assert!(fake.records(STREAM).len() < 300, "aggregated");
    assert_eq!(stored(&fake).len(), 300);
    producer.close().expect("closed");
}
