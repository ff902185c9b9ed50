//! How a producer ends.

use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{ErrorKind, Operation, Producer, Stored};

use crate::quiet::until;
use crate::support::*;

#[test]
fn close_delivers_what_was_taken_in() {
    let fake = kinesis(4);
    let producer = producer(&fake);
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    let closed = producer.close().expect("closed");
    assert_each_once(&fake, 100);
    assert_eq!(counts(closed), [100, 0, 0, 0]);
    assert_eq!(producer.close().expect("closed again"), closed);
}

#[test]
fn each_record_is_in_one_count_of_what_close_gives() {
    let clock = clock();
    let names = [STREAM, "refused", "expired", "lost", "kept", "cut"];
    let streams = names.iter().enumerate();
    let fake = streams.fold(FakeKinesis::on_clock(clock.clone()), |fake, (n, name)| {
        fake.with_stream(name, n as u32 + 1)
    });
    let (lost, denied) = (
        Fault::AnswerLost,
        Fault::refuse("AccessDeniedException", "no"),
    );
    for (name, fault) in [
        ("refused", denied),
        ("expired", Fault::Throttle),
        ("lost", lost.clone()),
        ("kept", Fault::Throttle),
        ("cut", lost),
    ] {
        let calls = fake.on(Operation::PutRecords).stream(name);
        calls.fail_next(u64::MAX, fault);
    }
    let ttl = Duration::from_secs(10);
    let producer = configured(&fake, |config| config.record_ttl(ttl).aggregation(false));
    let put = |name: &str, records| {
        for n in 0..records {
            let record = named(n).stream(name);
            producer.put(record).expect("taken in");
        }
    };
    let flow = Flow::of(&clock);
    for (name, records) in [(STREAM, 1), ("refused", 2), ("expired", 4), ("lost", 8)] {
        put(name, records);
    }
    producer.flush().expect("flushed");
    drop(flow);
    for (name, records) in [("kept", 16), ("cut", 32)] {
        put(name, records);
    }
    // Past the time that they are buffered for; then it stands still, and nothing is tried again.
    clock.advance(Duration::from_secs(1));
    let is_refused = |name: &str| {
        let streams = producer.metrics().streams;
        streams
            .get(name)
            .is_some_and(|stream| stream.total.all_errors > 0)
    };
    until("refusal of both streams", || {
        is_refused("kept") && is_refused("cut")
    });
    let closed = producer.close_timeout(Duration::ZERO);
    let closed = closed.expect("closed");
    assert_eq!(counts(closed), [1, 2 + 4, 8 + 32, 16]);
    assert_eq!(closed.undelivered(), 62);
    let text = "1 delivered, 6 failed, 40 unknown, 16 unsent";
    assert_eq!(closed.to_string(), text);
}

#[test]
fn after_close_a_record_comes_back() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    producer.close().expect("closed");
    let refused = producer.put(named("late")).expect_err("closed");
    assert_eq!(refused.record, named("late"));
    assert_eq!(
        refused.to_string(),
        "PutRecords on stream orders: the producer or consumer was closed"
    );
    assert!(matches!(refused.error.kind(), ErrorKind::Closed));
    producer.flush().expect("nothing to flush");
}

#[test]
fn a_dropped_producer_settles_everything_as_closed() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Hang);
    let producer = producer(&fake);
    let sent = producer.put(named("sent")).expect("taken in");
    producer.flush_timeout(Duration::ZERO).expect("flushed");
    // The call hangs; nobody moves the clock.
    until("call", || fake.calls(Operation::PutRecords) > 0);
    let kept = ["kept", "too"].map(|name| producer.put(named(name)).expect("taken in"));
    drop(producer);

    let sent = undelivered(sent.wait());
    assert_eq!(
        (sent.record, sent.stored),
        (named("sent"), Stored::Possibly)
    );
    assert_eq!(
        sent.error.to_string(),
        "the producer or consumer was closed"
    );
    for (name, delivery) in ["kept", "too"].iter().zip(kept) {
        let kept = undelivered(delivery.wait());
        assert_eq!((kept.record, kept.stored), (named(name), Stored::No));
        assert!(matches!(kept.error.kind(), ErrorKind::Closed));
    }
    let _flow = Flow::of(&clock);
}

#[test]
fn a_dropped_producer_says_possibly_of_what_may_lie_in_the_wrong_shard() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 2);
    let producer = producer(&fake);
    // The map that it has is older than what it puts.
    clock.advance(Duration::from_secs(1));
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::WrongShard);
    // The map that would decide does not come.
    fake.on(Operation::ListShards)
        .fail_next(u64::MAX, Fault::Hang);
    let deliveries: Vec<_> = (0..20)
        .map(|n| producer.put(named(n)).expect("taken in"))
        .collect();
    producer.flush_timeout(Duration::ZERO).expect("flushed");
    // It is asked for once the call has been answered: then nothing is under way any more.
    until("second list", || {
        clock.advance_to_next();
        fake.calls(Operation::ListShards) == 2
    });
    drop(producer);
    for delivery in deliveries {
        let undelivered = undelivered(delivery.wait());
        assert_eq!(undelivered.stored, Stored::Possibly);
    }
    let _flow = Flow::of(&clock);
}

#[test]
fn a_close_that_may_not_take_longer_gives_the_rest_up() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock).with_stream(STREAM, 1);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = producer(&fake);
    let delivery = producer.put(named("one")).expect("taken in");
    let closed = producer.close_timeout(Duration::from_secs(2));
    assert_eq!(counts(closed.expect("closed")), [0, 0, 0, 1]);
    let undelivered = undelivered(delivery.wait());
    assert!(matches!(undelivered.error.kind(), ErrorKind::Closed));
    assert_eq!(undelivered.stored, Stored::No);
}

#[test]
fn a_put_that_waits_for_room_ends_when_another_thread_closes() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords)
        .fail_next(u64::MAX, Fault::Throttle);
    let producer = configured(&fake, |config| config.queue_limit(1));
    producer.put(named("one")).expect("taken in");
    let refused = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| producer.put(named("two")));
        let closed = producer.close_timeout(Duration::from_secs(1));
        assert_eq!(closed.expect("closed").undelivered(), 1);
        waiting.join().expect("no panic").expect_err("closed")
    });
    assert_eq!(refused.record, named("two"));
    assert!(matches!(refused.error.kind(), ErrorKind::Closed));
}

#[test]
fn a_producer_can_be_shared_and_sent() {
    fn crosses_threads<T: Send + Sync + 'static>() {}
    crosses_threads::<Producer>();
}
