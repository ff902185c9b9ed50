//! What comes back of a record that is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{Delivery, HashKey, Operation, Producer, UserRecord};

use crate::support::*;

#[test]
fn every_record_is_stored_once_and_says_where() {
    let fake = still(4);
    let producer = producer(&fake);
    let deliveries: Vec<Delivery> = (0..5_000)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    producer.flush().expect("flushed");
    assert_eq!(producer.outstanding(), 0);

    let mut truth = BTreeMap::new();
    for record in fake.records(STREAM) {
        let members = decode(&record.data)
            .expect("our own")
            .expect("an aggregate");
        for (sub, member) in (0..).zip(members) {
            let place = (
                record.shard_id.clone(),
                record.sequence_number.clone(),
                Some(sub),
            );
            truth.insert(place, member.data);
        }
    }
    for (name, delivery) in deliveries.into_iter().enumerate() {
        assert!(delivery.is_settled(), "{name}");
        let one = delivered(delivery.wait());
        assert_eq!(one.attempts.len(), 1);
        let place = (one.shard_id, one.sequence_number, one.sub_sequence_number);
        assert_eq!(truth[&place], name.to_string());
    }
    assert_each_once(&fake, 5_000);
    let calls = fake.calls(Operation::PutRecords);
    assert!(calls <= 10, "{calls} calls for 4 aggregates or so");
}

#[test]
fn a_record_alone_goes_as_it_is() {
    let fake = kinesis(2);
    let producer = producer(&fake);
    let record = named("alone").explicit_hash_key(HashKey::MAX);
    let delivery = producer.put(record).expect("taken in");
    producer.flush().expect("flushed");
    assert_eq!(delivered(delivery.wait()).sub_sequence_number, None);

    let stored = &fake.records(STREAM)[0];
    assert_eq!(
        (
            &stored.data[..],
            &*stored.partition_key,
            stored.explicit_hash_key
        ),
        (&b"alone"[..], "alone", Some(HashKey::MAX))
    );
}

#[test]
fn the_hash_key_is_always_sent_and_is_that_of_the_first_record() {
    // Two puts share an aggregate only if no time passes between them.
    let fake = still(1);
    let producer = producer(&fake);
    for name in ["one", "two"] {
        producer.put(named(name)).expect("taken in");
    }
    producer.flush().expect("flushed");
    producer.put(named("three")).expect("taken in");
    producer.flush().expect("flushed");
    let keys: Vec<_> = fake
        .records(STREAM)
        .into_iter()
        .map(|record| (record.partition_key, record.explicit_hash_key))
        .collect();
    let hash = |key| Some(HashKey::of_partition_key(key));
    let expected = [
        ("a".to_owned(), hash("one")),
        ("three".to_owned(), hash("three")),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn without_a_flush_a_record_is_sent_when_its_time_has_come() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    let attempts = delivered(delivery.wait()).attempts;
    // 100 ms in the aggregate, and 20 ms for company in the call.
    assert_eq!(attempts[0].delay, Duration::from_millis(120));
    assert!(attempts[0].error.is_none());
}

#[test]
fn without_buffering_a_record_is_sent_at_once() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| {
        config.record_max_buffered_time(Duration::ZERO)
    });
    let delivery = producer.put(named("one")).expect("taken in");
    let attempts = delivered(delivery.wait()).attempts;
    assert_eq!(attempts[0].delay, Duration::ZERO);
}

#[test]
fn records_name_their_streams() {
    let fake = kinesis(2).with_stream("audit", 2);
    let producer = producer(&fake);
    for name in ["one", "two"] {
        let audit = producer.put(named(name).stream("audit"));
        audit.expect("taken in");
    }
    producer.put(named("three")).expect("taken in");
    producer.flush().expect("flushed");
    assert_eq!(fake.records("audit").len(), 2);
    assert_eq!(stored(&fake), ["three"]);
}

#[test]
fn a_stream_named_by_records_is_aggregated_to_once_its_shards_are_known() {
    let fake = kinesis(1).with_stream("audit", 1);
    let producer = producer(&fake);
    let is_aggregated_to = |_: &usize| {
        for name in ["one", "two"] {
            let audit = producer.put(named(name).stream("audit"));
            audit.expect("taken in");
        }
        producer.flush().expect("flushed");
        let records = fake.records("audit");
        records.iter().any(|record| record.partition_key == "a")
    };
    let rounds = (0..10_000).find(is_aggregated_to);
    assert!(rounds.is_some(), "never");
}

#[test]
fn an_empty_record_is_a_record() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    let deliveries = ["a", "b"].map(|key| producer.put(UserRecord::new(key, "")));
    producer.flush().expect("flushed");
    for delivery in deliveries {
        delivered(delivery.expect("taken in").wait());
    }
    assert_eq!(stored(&fake), ["", ""]);
}

#[test]
fn results_are_reported_once_each() {
    let fake = kinesis(2);
    let (told, reports) = std::sync::mpsc::channel();
    let report = move |result: &kinesis_blocking::RecordResult| {
        let place = result.as_ref().expect("delivered");
        let place = (place.sequence_number.clone(), place.sub_sequence_number);
        told.send(place).expect("the test listens");
    };
    let producer = builder(&fake).on_delivery(report).start().expect("started");
    let deliveries: Vec<_> = (0..1_000)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    producer.close().expect("closed");
    let mut reported: Vec<_> = reports.iter().collect();
    let mut expected: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| delivered(delivery.wait()))
        .map(|place| (place.sequence_number, place.sub_sequence_number))
        .collect();
    reported.sort();
    expected.sort();
    assert_eq!(reported, expected);
}

#[test]
fn a_wait_may_be_given_up_and_taken_up_again() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let producer = Producer::builder(fake.client()).stream(STREAM);
    let producer = producer.start().expect("started");
    let delivery = producer.put(named("one")).expect("taken in");
    let delivery = delivery
        .wait_timeout(Duration::ZERO)
        .expect_err("too early");
    assert!(!delivery.is_settled());
    let _flow = Flow::of(&clock);
    let waited = delivery.wait_timeout(Duration::from_secs(60));
    delivered(waited.expect("in time"));
}

#[test]
fn metrics_count_what_was_done() {
    let fake = still(1);
    let denied = Fault::refuse("AccessDeniedException", "");
    fake.on(Operation::PutRecords).fail_next(1, denied);
    let producer = producer(&fake);
    for names in [["lost", "too"], ["one", "two"]] {
        for name in names {
            producer.put(named(name)).expect("taken in");
        }
        assert_eq!(producer.metrics().total.user_records_pending, 2);
        producer.flush().expect("flushed");
    }
    let metrics = producer.metrics().total;
    let counts = [
        metrics.user_records_received,
        metrics.user_records_pending,
        metrics.user_records_put,
        metrics.user_records_failed,
        metrics.user_records_data_put,
        metrics.kinesis_records_put,
        metrics.put_records_calls,
        metrics.request_time.count,
        metrics.retries_per_record.count,
    ];
    assert_eq!(counts, [4, 0, 2, 2, 6, 1, 2, 2, 4]);
    let denied = "AccessDeniedException".to_owned();
    assert_eq!(metrics.errors_by_code, BTreeMap::from([(denied, 1)]));
}
