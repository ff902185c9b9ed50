//! Every wait ends: in callbacks, against a close, with times that have no end, on listings without one.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Closed, ErrorKind, HttpTransport, Operation, Producer, ProducerConfig, TransportError,
    UserRecord,
};

use crate::quiet::until;
use crate::support::*;

/// A producer that a callback of its own can reach.
type Own = Arc<OnceLock<Weak<Producer>>>;

fn own(own: &Own) -> Arc<Producer> {
    let producer = own.get().and_then(Weak::upgrade);
    producer.expect("it outlives its callbacks")
}

#[test]
fn what_waits_for_the_producer_is_refused_at_once_in_its_callback() {
    let fake = kinesis(1);
    let (told, results) = mpsc::channel();
    let this = Own::default();
    let inside = this.clone();
    let report = move |_: &_| {
        let producer = own(&inside);
        let minute = Duration::from_secs(60);
        let refused = [
            producer.flush().err(),
            producer.flush_timeout(minute).err(),
            producer.flush_stream(STREAM).err(),
            producer.flush_stream_timeout(STREAM, minute).err(),
            producer.close().err(),
            producer.close_timeout(minute).err(),
        ];
        // The room of the record that is reported is still taken.
        let full = producer.put(named("two")).map(drop);
        let _ = told.send((refused, full.map_err(|refused| refused.is_full())));
    };
    let config = ProducerConfig::builder().queue_limit(1);
    let producer = builder(&fake).config(config.build().expect("valid"));
    let producer = Arc::new(producer.on_delivery(report).start().expect("started"));
    this.set(Arc::downgrade(&producer)).expect("once");
    producer.put(named("one")).expect("taken in");
    let (refused, full) = results.recv().expect("reported");
    let calls = [
        "flush",
        "flush_timeout",
        "flush_stream",
        "flush_stream_timeout",
        "close",
        "close_timeout",
    ];
    for (call, error) in calls.iter().zip(refused) {
        let error = error.expect("refused");
        assert!(
            matches!(error.kind(), ErrorKind::OwnThread { call: named } if named == call),
            "{error}"
        );
    }
    assert_eq!(full, Err(true));
    producer.close().expect("closed, on another thread");
}

/// Closes within a tenth of a second, on this machine's clock, which may be busy with other tests.
fn closed_in_time(producer: &Producer) -> Closed {
    let begun = Instant::now();
    let closed = producer.close_timeout(Duration::from_millis(100));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    closed.expect("closed")
}

#[test]
fn a_close_with_a_timeout_waits_for_no_callback() {
    let fake = FakeKinesis::new().with_stream(STREAM, 1);
    let (entered, enters) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let report = move |_: &_| {
        let _ = entered.send(());
        let _ = released.lock().expect("not poisoned").recv();
    };
    let producer = builder(&fake).on_delivery(report).start();
    let producer = producer.expect("started");
    for n in 0..3 {
        producer.put(named(n)).expect("taken in");
    }
    enters.recv().expect("a callback runs");
    assert_eq!(counts(closed_in_time(&producer)), [3, 0, 0, 0]);
    // Those that are left are reported all the same.
    drop(release);
    assert_eq!(enters.iter().count(), 2);
}

#[test]
fn a_close_with_a_timeout_waits_for_no_call() {
    let fake = FakeKinesis::new().with_stream(STREAM, 1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Hang);
    let producer = producer(&fake);
    producer.put(named("one")).expect("taken in");
    until("call", || fake.calls(Operation::PutRecords) > 0);
    assert_eq!(counts(closed_in_time(&producer)), [0, 0, 1, 0]);
}

#[test]
fn a_flush_that_a_close_overtakes_says_so() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Hang);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| producer.flush());
        until("call", || fake.calls(Operation::PutRecords) > 0);
        let _flow = Flow::of(&clock);
        producer.close_timeout(Duration::ZERO).expect("closed");
        let error = flush.join().expect("no panic").expect_err("overtaken");
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    });
    undelivered(delivery.wait());
    let later = producer
        .flush()
        .expect_err("it was put before, and not stored");
    assert!(matches!(later.kind(), ErrorKind::Closed), "{later}");
}

#[test]
fn a_flush_that_a_close_does_not_overtake_goes_well() {
    let fake = kinesis(1);
    for _ in 0..50 {
        let producer = producer(&fake);
        producer.put(named("one")).expect("taken in");
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| producer.flush());
            producer.close().expect("closed");
            flush.join().expect("no panic").expect("all is stored");
        });
    }
}

#[test]
fn times_without_end_are_taken() {
    let fake = FakeKinesis::new().with_stream(STREAM, 1);
    let server = fake.serve().expect("a socket");
    let over_the_network = kinesis_blocking::Client::builder()
        .region("us-east-1")
        .endpoint(server.endpoint())
        .credentials(kinesis_blocking::Credentials::new("AKID", "secret"))
        .connect_timeout(Duration::MAX)
        .request_timeout(Duration::MAX)
        .call_timeout(Duration::MAX)
        .build()
        .expect("a client");
    for client in [fake.client(), over_the_network] {
        let config = ProducerConfig::builder()
            .record_ttl(Duration::MAX)
            .record_max_buffered_time(Duration::MAX);
        let producer = Producer::builder(client)
            .stream(STREAM)
            .config(config.build().expect("valid"))
            .on_metrics(Duration::MAX, |_| {})
            .start()
            .expect("started");
        let delivery = producer.put_timeout(named("one"), Duration::MAX);
        let delivery = delivery.expect("taken in");
        producer.flush_timeout(Duration::MAX).expect("flushed");
        let settled = delivery.wait_timeout(Duration::MAX);
        delivered(settled.expect("settled"));
        producer.close_timeout(Duration::MAX).expect("closed");
    }
}

/// Lists shards on pages without end, and takes every record.
struct Endless;

impl HttpTransport for Endless {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let target = request.headers()["x-amz-target"].to_str().expect("text");
        let body = match target.ends_with("ListShards") {
            true => r#"{"Shards":[],"NextToken":"next"}"#,
            false => {
                r#"{"FailedRecordCount":0,"Records":[{"ShardId":"shardId-000000000000","SequenceNumber":"1"}]}"#
            }
        };
        Ok(http::Response::new(body.into()))
    }
}

#[test]
fn a_listing_without_an_end_is_given_up_and_holds_no_close_up() {
    let client = still(1).client_builder().transport(Endless);
    let client = client.build().expect("a client");
    let error = client.list_shards("endless").expect_err("no end");
    assert!(
        error.to_string().contains("ListShards has no end"),
        "{error}"
    );
    let producer = Producer::builder(client).start().expect("started");
    let record = named("one").stream("endless");
    let delivery = producer.put(record).expect("taken in");
    producer.flush().expect("flushed");
    delivered(delivery.wait());
    let closed = producer.close().expect("closed");
    assert_eq!(counts(closed), [1, 0, 0, 0]);
}

#[test]
fn a_stream_that_is_not_there_is_asked_three_times_a_minute() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let producer = producer(&fake);
    let start = clock.time();
    let mut put = 0;
    while clock.time().saturating_since(start) < Duration::from_secs(300) {
        let record = named(put).stream("misspelt");
        let delivery = producer.put(record).expect("taken in");
        let undelivered = undelivered(delivery.wait());
        assert_eq!(undelivered.stored, kinesis_blocking::Stored::No);
        let ErrorKind::Service { code, .. } = undelivered.error.kind() else {
            panic!("{undelivered}");
        };
        assert_eq!(code, "ResourceNotFoundException");
        put += 1;
    }
    assert!(put > 1_000, "{put} records");
    let requests = fake.requests().into_iter();
    let asked = requests.filter(|request| request.stream.as_deref() == Some("misspelt"));
    let asked: Vec<_> = asked.map(|request| request.at).collect();
    assert!(asked.len() >= 10, "it may still be made: {}", asked.len());
    for window in asked.windows(4) {
        let time = window[3].saturating_since(window[0]);
        assert!(time >= Duration::from_secs(59), "{time:?}");
    }
    // Made at last, it takes records within a third of a minute.
    let fake = fake.with_stream("misspelt", 1);
    let last = (0..10_000).find(|n| {
        let record = UserRecord::new("k", n.to_string()).stream("misspelt");
        producer.put(record).expect("taken in").wait().is_ok()
    });
    assert!(last.is_some());
    assert!(!fake.records("misspelt").is_empty());
    producer.close().expect("closed");
}

#[test]
fn twenty_five_streams_that_hang_hold_no_other_up() {
    // On this machine's clock: nothing here waits for what hangs.
    let fake = FakeKinesis::new().with_stream(STREAM, 1);
    let producer = producer(&fake);
    for n in 0..25 {
        let side = format!("side-{n}");
        let scripts = fake.on(Operation::ListShards).stream(&side);
        scripts.fail_next(u64::MAX, Fault::Hang);
        let scripts = fake.on(Operation::PutRecords).stream(&side);
        scripts.fail_next(u64::MAX, Fault::Hang);
        producer.put(named(n).stream(side)).expect("taken in");
    }
    for n in 0..10 {
        let delivery = producer.put(named(n)).expect("taken in");
        let settled = delivery.wait_timeout(Duration::from_secs(5));
        delivered(settled.expect("settled"));
    }
}
