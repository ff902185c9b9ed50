//! What comes back of a record that is not stored, or not at once.

use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Error, ErrorKind, HttpTransport, Operation, Producer, RetryPolicy, Stored, TransportError,
    UserRecord,
};

use crate::support::*;

fn throttled_entries(every: usize) -> Fault {
    Fault::FailEntries {
        every,
        code: "ProvisionedThroughputExceededException".to_owned(),
    }
}

#[test]
fn throttled_entries_are_tried_again_and_the_others_are_not() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    fake.on(Operation::PutRecords)
        .fail_next(3, throttled_entries(2));
    let producer = configured(&fake, |config| config.aggregation(false));
    let deliveries: Vec<_> = (0..100)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    let _flow = Flow::of(&clock);
    producer.flush().expect("flushed");
    assert_each_once(&fake, 100);

    let attempts = deliveries
        .into_iter()
        .map(|delivery| delivered(delivery.wait()).attempts);
    let mut counts: Vec<_> = attempts.map(|attempts| attempts.len()).collect();
    counts.sort();
    assert!(counts[49] == 1 && counts[50] > 1, "{counts:?}");
}

#[test]
fn a_clients_own_retries_do_not_hide_that_a_record_may_be_stored() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(1, Fault::AnswerLost)
        .fail_next(1, Fault::refuse("AccessDeniedException", "no"));
    let policy = RetryPolicy {
        max_retries: Some(5),
        backoff_base: Duration::from_millis(1),
        ..RetryPolicy::default_for(Operation::GetRecords)
    };
    let client = fake.client().with_retry(Operation::PutRecords, policy);
    let producer = Producer::builder(client).stream(STREAM);
    let producer = producer.start().expect("started");
    let delivery = producer.put(named("one")).expect("taken in");
    let undelivered = undelivered(delivery.wait());
    assert_eq!(stored(&fake), ["one"]);
    assert_eq!(undelivered.stored, Stored::Possibly);
    assert_eq!(undelivered.attempts.len(), 2, "each attempt is seen");
}

#[test]
fn a_throttled_call_is_tried_again_with_a_pause() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords).fail_next(3, Fault::Throttle);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    let delivered = delivered(delivery.wait());
    assert_eq!(delivered.attempts.len(), 4);
    let errors: Vec<_> = delivered
        .attempts
        .iter()
        .map(|one| one.error.is_some())
        .collect();
    assert_eq!(errors, [true, true, true, false]);
    assert!(
        delivered.attempts[1..]
            .iter()
            .all(|one| one.delay > Duration::ZERO)
    );
}

#[test]
fn what_no_repetition_helps_fails_at_once_and_the_record_comes_back() {
    let fake = still(1);
    let denied = Fault::refuse("AccessDeniedException", "not yours");
    fake.on(Operation::PutRecords).fail_next(1, denied);
    let producer = producer(&fake);
    let puts = ["one", "two"].map(|name| producer.put(named(name)).expect("taken in"));
    producer.flush().expect("flushed");
    for (name, delivery) in ["one", "two"].iter().zip(puts) {
        let undelivered = undelivered(delivery.wait());
        assert_eq!(
            (undelivered.record.clone(), undelivered.stored),
            (named(name), Stored::No)
        );
        let request_id = undelivered.error.request_id().expect("answered");
        assert_eq!(
            undelivered.to_string(),
            format!(
                "record not stored: PutRecords on stream orders: AccessDeniedException: not yours (1 attempt in \
                 0.0 s, request {request_id}); the IAM policy of these credentials has to allow the call"
            )
        );
    }
    assert_eq!(fake.calls(Operation::PutRecords), 1);
}

#[test]
fn a_record_to_a_stream_that_is_not_there_comes_back() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    let record = named("one").stream("no-such-stream");
    let delivery = producer.put(record.clone()).expect("taken in");
    let undelivered = undelivered(delivery.wait());
    assert_eq!(undelivered.record, record);
    let ErrorKind::Service { code, .. } = undelivered.error.kind() else {
        panic!("{undelivered}");
    };
    assert_eq!(code, "ResourceNotFoundException");
}

#[test]
fn a_record_that_outlives_its_time_comes_back_with_what_kept_it() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = configured(&fake, |config| config.record_ttl(Duration::from_secs(5)));
    let puts = ["one", "two"].map(|name| producer.put(named(name)).expect("taken in"));
    for (name, delivery) in ["one", "two"].iter().zip(puts) {
        let undelivered = undelivered(delivery.wait());
        assert_eq!(
            (undelivered.record.clone(), undelivered.stored),
            (named(name), Stored::No)
        );
        let ErrorKind::Expired {
            ttl,
            cause: Some(cause),
        } = undelivered.error.kind()
        else {
            panic!("{undelivered}");
        };
        assert_eq!(*ttl, Duration::from_secs(5));
        assert!(cause.is_throttled(), "{cause}");
        let spent = undelivered
            .attempts
            .iter()
            .map(|one| one.delay + one.duration);
        let spent = spent.sum::<Duration>();
        assert!(
            Duration::from_secs(2) < spent && spent < Duration::from_secs(5),
            "{spent:?}"
        );
    }
    assert_eq!(stored(&fake), [""; 0]);
}

#[test]
fn throttles_can_be_told_to_fail_at_once() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Throttle);
    let producer = configured(&fake, |config| config.fail_if_throttled(true));
    let delivery = producer.put(named("one")).expect("taken in");
    let undelivered = undelivered(delivery.wait());
    assert!(undelivered.error.is_throttled(), "{undelivered}");
    assert_eq!(undelivered.attempts.len(), 1);
}

#[test]
fn a_lost_answer_leaves_open_whether_the_record_is_stored() {
    for fault in [
        Fault::AnswerLost,
        Fault::Truncated,
        Fault::Garbage,
        Fault::Hang,
    ] {
        let fake = kinesis(1);
        fake.on(Operation::PutRecords).fail_next(1, fault.clone());
        let denied = Fault::refuse("AccessDeniedException", "");
        fake.on(Operation::PutRecords).fail_next(1, denied);
        let producer = producer(&fake);
        let delivery = producer.put(named("one")).expect("taken in");
        let undelivered = undelivered(delivery.wait());
        assert_eq!(undelivered.stored, Stored::Possibly, "{fault:?}");
        assert_eq!(undelivered.attempts.len(), 2, "{fault:?}");
        assert!(
            undelivered
                .to_string()
                .starts_with("record possibly stored: "),
            "{undelivered}"
        );
    }
}

#[test]
fn trouble_on_the_way_loses_nothing() {
    let fake = kinesis(3);
    let faults = [
        Fault::AnswerLost,
        Fault::Disconnect,
        Fault::Garbage,
        Fault::InternalFailure,
        Fault::ServiceUnavailable,
        Fault::Throttle,
        throttled_entries(2),
    ];
    fake.on(Operation::PutRecords)
        .fail_at_random(7, 0.5, faults);
    let producer = configured(&fake, |config| config.aggregation_max_bytes(500));
    let deliveries: Vec<_> = (0..3_000)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    producer.flush().expect("flushed");
    for delivery in deliveries {
        delivered(delivery.wait());
    }
    let seen = seen_by_readers(&fake);
    // Lost answers make duplicates, and nothing makes losses.
    assert_eq!(seen.len(), 3_000);
}

#[test]
fn one_bad_record_does_not_take_its_neighbours_with_it() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| {
        config
            .aggregation(false)
            .max_user_record_bytes(10 * 1024 * 1024)
    });
    // More than the stream takes, which the producer was told not to check.
    let poison = UserRecord::new("k", vec![b'x'; 1024 * 1024]);
    let mut deliveries = Vec::new();
    for n in 0..30 {
        deliveries.push(producer.put(named(n)).expect("taken in"));
    }
    let bad = producer.put(poison.clone()).expect("taken in");
    for n in 30..60 {
        deliveries.push(producer.put(named(n)).expect("taken in"));
    }
    producer.flush().expect("flushed");
    let undelivered = undelivered(bad.wait());
    assert_eq!(
        (undelivered.record, undelivered.stored),
        (poison, Stored::No)
    );
    for delivery in deliveries {
        delivered(delivery.wait());
    }
    assert_each_once(&fake, 60);
}

#[test]
fn fail_on_error_tells_of_the_first_failure_at_every_next_call() {
    let fake = still(1);
    let refused = |n: u8| Fault::refuse("KMSDisabledException", &format!("failure {n}"));
    fake.on(Operation::PutRecords)
        .fail_next(1, refused(1))
        .fail_next(1, refused(2));
    let producer = builder(&fake).fail_on_error(true).start().expect("started");
    let told = |result: Result<(), Error>| result.expect_err("failed").to_string();

    producer.put(named("one")).expect("taken in");
    let first = told(producer.flush());
    let words =
        "PutRecords on stream orders: KMSDisabledException: failure 1 (1 attempt in 0.0 s, ";
    assert!(first.starts_with(words), "{first}");
    let put = producer.put(named("two")).expect_err("failed");
    assert_eq!(
        (put.record, put.error.to_string()),
        (named("two"), first.clone())
    );
    assert_eq!(told(producer.flush()), first);
    assert_eq!(told(producer.close().map(drop)), first);
}

#[test]
fn without_fail_on_error_failures_are_told_by_their_deliveries_only() {
    let fake = kinesis(1);
    let refused = Fault::refuse("KMSDisabledException", "");
    fake.on(Operation::PutRecords).fail_next(1, refused);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    producer.flush().expect("flushed");
    producer.put(named("two")).expect("taken in");
    producer.close().expect("closed");
    undelivered(delivery.wait());
}

#[test]
fn a_callback_that_panics_is_called_for_the_next_record_all_the_same() {
    let fake = kinesis(1);
    let (told, reports) = std::sync::mpsc::channel();
    let report = move |_: &kinesis_blocking::RecordResult| {
        told.send(()).expect("the test listens");
        panic!("in the user's callback");
    };
    let producer = builder(&fake).on_delivery(report).start().expect("started");
    for n in 0..10 {
        producer.put(named(n)).expect("taken in");
    }
    producer.close().expect("closed");
    assert_eq!(reports.iter().count(), 10);
}

/// A transport that panics on PutRecords, and otherwise knows of no shards.
struct Panicking;

impl HttpTransport for Panicking {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let target = &request.headers()["x-amz-target"];
        assert_ne!(
            target, "Kinesis_20131202.PutRecords",
            "in the user's transport"
        );
        let shards = br#"{"Shards":[]}"#;
        Ok(http::Response::new(Bytes::from_static(shards)))
    }
}

#[test]
fn a_transport_that_panics_fails_its_records_and_nothing_else() {
    let fake = kinesis(1);
    let client = fake.client_builder().transport(Panicking).build();
    let producer = Producer::builder(client.expect("a client")).stream(STREAM);
    let producer = producer.start().expect("started");
    for name in ["one", "two"] {
        let delivery = producer.put(named(name)).expect("taken in");
        let undelivered = undelivered(delivery.wait());
        assert_eq!(undelivered.stored, Stored::Possibly);
        let message = undelivered.error.to_string();
        let thread = "PutRecords on stream orders: thread kin-send died: ";
        assert!(message.starts_with(thread), "{message}");
    }
    producer.close().expect("closed");
}
