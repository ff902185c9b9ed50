//! What the KPL's own tests do not try: the rows of the table in the manual that say so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Credentials, CredentialsProvider, HashKey, HttpTransport, Operation, Producer, ShardRef,
    Stored, TransportError, UserRecord,
};

use crate::quiet::until;
use crate::support::*;

#[test]
fn whatever_error_an_entry_has_it_is_tried_again() {
    for code in [
        "xx",
        "InternalFailure",
        "ServiceUnavailable",
        "ProvisionedThroughputExceededException",
    ] {
        let clock = clock();
        let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
        let entries = Fault::FailEntries {
            every: 2,
            code: code.to_owned(),
        };
        fake.on(Operation::PutRecords).fail_next(1, entries);
        let producer = configured(&fake, |config| config.aggregation(false));
        let deliveries = [1, 2, 3, 4].map(|n| producer.put(named(n)).expect("taken in"));
        // Not before all four are there, to go in one call.
        let _flow = Flow::of(&clock);
        let attempts = deliveries.map(|delivery| delivered(delivery.wait()).attempts);
        let mut failures: Vec<_> = attempts.iter().flat_map(|all| all.iter()).collect();
        failures.retain(|one| one.error.is_some());
        let codes = failures.iter().filter_map(|one| one.error.as_ref());
        assert!(
            codes.clone().all(|error| error.to_string().contains(code)),
            "{code}"
        );
        assert_eq!(codes.count(), 2, "{code}");
    }
}

/// Answers every PutRecords as if it had carried nothing, and knows of no shards.
struct Forgetful;

impl HttpTransport for Forgetful {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let answer: &[u8] = match request.headers()["x-amz-target"].as_bytes() {
            b"Kinesis_20131202.ListShards" => br#"{"Shards":[]}"#,
            _ => br#"{"FailedRecordCount":0,"Records":[]}"#,
        };
        Ok(http::Response::new(Bytes::from_static(answer)))
    }
}

#[test]
fn an_answer_for_another_number_of_entries_fails_them_at_once() {
    let fake = kinesis(1);
    let client = fake.client_builder().transport(Forgetful).build();
    let producer = Producer::builder(client.expect("a client")).stream(STREAM);
    let producer = producer.start().expect("started");
    let delivery = producer.put(named("one")).expect("taken in");
    let undelivered = undelivered(delivery.wait());
    assert_eq!(undelivered.stored, Stored::Possibly);
    assert_eq!(undelivered.attempts.len(), 1);
    let message = undelivered.error.to_string();
    assert!(message.contains("1 entries sent, 0 answered"), "{message}");
}

#[test]
fn a_call_that_fails_as_a_whole_is_tried_again_if_that_may_help() {
    let status = |status, code: &str| Fault::Refuse {
        status,
        code: code.to_owned(),
        message: String::new(),
    };
    for (fault, attempts) in [
        (status(400, "KMSNotFoundException"), None),
        (status(403, "AccessDeniedException"), None),
        (status(403, "UnrecognizedClientException"), None),
        (status(400, "LimitExceededException"), Some(2)),
        (status(500, "InternalFailure"), Some(2)),
        (status(503, ""), Some(2)),
        (Fault::Hang, Some(2)),
        (Fault::Disconnect, Some(2)),
        (Fault::AnswerLost, Some(2)),
    ] {
        let fake = kinesis(1);
        fake.on(Operation::PutRecords).fail_next(1, fault.clone());
        let producer = producer(&fake);
        let delivery = producer.put(named("one")).expect("taken in");
        match (delivery.wait(), attempts) {
            (Ok(delivered), Some(attempts)) => {
                assert_eq!(delivered.attempts.len(), attempts, "{fault:?}");
            }
            (Err(undelivered), None) => {
                assert_eq!(undelivered.attempts.len(), 1, "{fault:?}");
                assert_eq!(undelivered.stored, Stored::No, "{fault:?}");
                assert_eq!(undelivered.record, named("one"), "{fault:?}");
            }
            (result, _) => panic!("{fault:?}: {result:?}"),
        }
    }
}

#[test]
fn an_expired_token_is_replaced_and_its_records_are_stored() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(1, Fault::ExpiredToken);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    // The client asks for new ones by itself: to the producer it was one attempt.
    assert_eq!(delivered(delivery.wait()).attempts.len(), 1);
    assert_eq!(fake.calls(Operation::PutRecords), 2);
}

/// Two keys that take turns, each of which expires soon.
struct Rotating {
    asked: AtomicUsize,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl CredentialsProvider for Rotating {
    fn credentials(&self) -> kinesis_blocking::Result<Credentials> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) % 2;
        let soon = (self.now)() + Duration::from_secs(30);
        Ok(Credentials::new(format!("AKID{turn}"), "secret").with_expiry(soon))
    }
}

#[test]
fn credentials_may_change_under_way() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    fake.on(Operation::PutRecords).observe(move |request| {
        let signed = request.headers()["authorization"].to_str().expect("text");
        noted.lock().expect("not poisoned").push_str(signed);
    });
    let told = clock.clone();
    let rotating = Rotating {
        asked: AtomicUsize::new(0),
        now: Box::new(move || told.time().into()),
    };
    let client = fake.client_builder().credentials(rotating).build();
    let producer = Producer::builder(client.expect("a client")).stream(STREAM);
    let producer = producer.start().expect("started");
    for n in 0..10 {
        delivered(producer.put(named(n)).expect("taken in").wait());
        clock.advance(Duration::from_secs(20));
    }
    let seen = seen.lock().expect("not poisoned");
    for key in ["AKID0/", "AKID1/"] {
        assert!(seen.contains(key), "{key} never signed");
    }
}

#[test]
fn a_stream_that_is_deleted_and_made_again_is_put_to_as_before() {
    let fake = kinesis(2);
    let (producer, client) = (producer(&fake), fake.client());
    delivered(producer.put(named("before")).expect("taken in").wait());
    client.delete_stream(STREAM).expect("deleted");
    client.create_stream(STREAM, 2).expect("made again");
    let deliveries: Vec<_> = (0..100)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    producer.flush().expect("flushed");
    for delivery in deliveries {
        assert_eq!(delivered(delivery.wait()).attempts.len(), 1);
    }
    assert_each_once(&fake, 100);
}

#[test]
fn a_list_that_does_not_come_holds_nobody_up() {
    let fake = still(1);
    let (producer, client) = (producer(&fake), fake.client());
    let shard = ShardRef::new(STREAM, "shardId-000000000000");
    let middle = HashKey::from(1 << 127);
    client.split_shard(&shard, middle).expect("split");
    // It hangs as long as the clock stands still.
    fake.on(Operation::ListShards).fail_next(1, Fault::Hang);
    for round in 0..5 {
        // Alone, a record is in its place whatever the map.
        let delivery = producer.put(named(round)).expect("taken in");
        producer.flush().expect("flushed");
        assert_eq!(delivered(delivery.wait()).attempts.len(), 1);
    }
    assert_eq!(fake.records(STREAM).len(), 5);
}

#[test]
fn a_time_to_live_shorter_than_the_buffering_leaves_time_to_send() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| {
        config
            .record_ttl(Duration::from_millis(100))
            .record_max_buffered_time(Duration::from_secs(10))
    });
    let attempts = delivered(producer.put(named("one")).expect("taken in").wait()).attempts;
    assert!(attempts[0].delay < Duration::from_millis(100));
}

#[test]
fn a_time_to_live_without_end_expires_nothing() {
    for ttl in [Duration::MAX, Duration::from_millis(i64::MAX as u64)] {
        let fake = kinesis(1);
        fake.on(Operation::PutRecords)
            .fail_next(20, Fault::Throttle);
        let producer = configured(&fake, |config| config.record_ttl(ttl));
        let delivery = producer.put(named("one")).expect("taken in");
        assert_eq!(delivered(delivery.wait()).attempts.len(), 21);
    }
}

#[test]
fn one_bad_record_among_500_is_found_in_few_calls() {
    let fake = still(1);
    let producer = configured(&fake, |config| {
        config
            .aggregation(false)
            .max_user_record_bytes(10 * 1024 * 1024)
            .rate_limit_percent(1_000)
    });
    // A byte more than the stream takes, its key counted.
    let poison = UserRecord::new("k", vec![b'x'; 1024 * 1024]);
    let (mut good, mut bad) = (Vec::new(), None);
    for n in 0..499 {
        good.push(producer.put(named(n)).expect("taken in"));
        if n == 250 {
            bad = Some(producer.put(poison.clone()).expect("taken in"));
        }
    }
    producer.flush().expect("flushed");
    let bad = undelivered(bad.expect("put").wait());
    assert_eq!((bad.record, bad.stored), (poison, Stored::No));
    for delivery in good {
        delivered(delivery.wait());
    }
    assert_each_once(&fake, 499);
    let calls = fake.calls(Operation::PutRecords);
    assert!(calls <= 2 * 9 + 3, "{calls} calls to halve 500 nine times");
}

#[test]
fn a_callback_may_put() {
    let fake = kinesis(1);
    let producer: Arc<OnceLock<Producer>> = Arc::default();
    let (itself, told) = (producer.clone(), AtomicUsize::new(0));
    let report = move |_: &kinesis_blocking::RecordResult| {
        let count = told.fetch_add(1, Ordering::Relaxed);
        if let Some(producer) = itself.get().filter(|_| count < 10) {
            producer.try_put(named(100 + count)).expect("taken in");
        }
    };
    let started = builder(&fake).on_delivery(report).start();
    let producer = producer.get_or_init(|| started.expect("started"));
    producer.put(named("first")).expect("taken in");
    for n in 0..10 {
        let name = (100 + n).to_string();
        until(&name, || stored(&fake).contains(&name));
    }
    producer.close().expect("closed");
    assert_eq!(stored(&fake).len(), 11);
}

#[test]
fn who_waits_for_room_is_let_in_without_any_time_passing() {
    let fake = still(1);
    let producer = configured(&fake, |config| config.queue_limit(1));
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    producer.flush().expect("flushed");
    assert_each_once(&fake, 100);
}

#[test]
fn a_thousand_streams_share_one_producer() {
    let mut fake = still(1);
    for n in 0..1_000 {
        fake = fake.with_stream(&format!("stream-{n}"), 1);
    }
    let producer = producer(&fake);
    for round in 0..3 {
        for n in 0..1_000 {
            let record = named(round).stream(format!("stream-{n}"));
            producer.put(record).expect("taken in");
        }
    }
    producer.flush().expect("flushed");
    assert_eq!(producer.outstanding(), 0);
    for n in 0..1_000 {
        let name = format!("stream-{n}");
        let records = fake.records(&name).into_iter();
        let users = records.map(|record| {
            let members = kinesis_blocking::aggregation::decode(&record.data);
            members.expect("our own").map_or(1, |members| members.len())
        });
        assert_eq!(users.sum::<usize>(), 3, "{name}");
    }
}

#[test]
fn the_time_of_day_may_jump() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    for day in [-1, 1, 0] {
        let jumped = fake.clone().with_clock_skew(day * 86_400_000);
        delivered(producer.put(named(day)).expect("taken in").wait());
        drop(jumped);
    }
    producer.close().expect("closed");
}

#[test]
fn eight_producers_work_side_by_side() {
    let fake = kinesis(2);
    let producers: Vec<_> = (0..8).map(|_| producer(&fake)).collect();
    for n in 0..800 {
        producers[n % 8].put(named(n)).expect("taken in");
    }
    for producer in &producers {
        producer.close().expect("closed");
        assert_eq!(producer.metrics().total.user_records_put, 100);
    }
    assert_each_once(&fake, 800);
}

#[test]
fn a_flush_waits_for_the_last_record() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let slow = Duration::from_secs(5);
    fake.on(Operation::PutRecords).delay_next(1, slow);
    let producer = producer(&fake);
    for n in 0..3 {
        producer.put(named(n)).expect("taken in");
    }
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| producer.flush());
        assert!(clock.await_waiters(1));
        assert_eq!(producer.outstanding(), 3);
        assert!(!flush.is_finished());
        let _flow = Flow::of(&clock);
        flush.join().expect("no panic").expect("flushed");
    });
    assert_eq!(producer.outstanding(), 0);
}

#[test]
fn a_failure_while_a_flush_waits_is_told_by_it() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let denied = Fault::refuse("AccessDeniedException", "not yours");
    fake.on(Operation::PutRecords)
        .fail_next(1, Fault::Hang)
        .fail_next(1, denied);
    let producer = builder(&fake).fail_on_error(true).start().expect("started");
    for n in 0..3 {
        producer.put(named(n)).expect("taken in");
    }
    let error = std::thread::scope(|scope| {
        let flush = scope.spawn(|| producer.flush());
        assert!(clock.await_waiters(1));
        let _flow = Flow::of(&clock);
        flush.join().expect("no panic").expect_err("failed")
    });
    assert!(error.to_string().contains("not yours"), "{error}");
}

#[test]
fn producers_of_one_client_share_their_shard_maps() {
    let fake = kinesis(1);
    let client = fake.client();
    let start = || Producer::builder(client.clone()).stream(STREAM).start();
    let producers: Vec<_> = (0..8).map(|_| start().expect("started")).collect();
    assert_eq!(fake.calls(Operation::ListShards), 1);
    let shard = ShardRef::new(STREAM, "shardId-000000000000");
    let middle = HashKey::from(1 << 127);
    client.split_shard(&shard, middle).expect("split");
    for (n, producer) in producers.iter().enumerate() {
        for m in 0..100 {
            producer.put(named(n * 100 + m)).expect("taken in");
        }
    }
    for producer in &producers {
        producer.close().expect("closed");
    }
    assert_each_once(&fake, 800);
}
