//! What happens when records come faster than they go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kinesis_blocking::Operation;
use kinesis_blocking::fake::{FakeKinesis, Fault};

use crate::support::*;

#[test]
fn put_blocks_while_the_queue_is_full_and_goes_on_when_records_settle() {
    let fake = kinesis(2);
    let producer = configured(&fake, |config| config.queue_limit(10));
    for n in 0..1_000 {
        producer.put(named(n)).expect("taken in");
        assert!(producer.outstanding() <= 10);
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 1_000);
}

#[test]
fn bytes_are_limited_too() {
    let fake = kinesis(1);
    let producer = configured(&fake, |config| config.queue_limit_bytes(100));
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
        assert!(producer.outstanding() <= 50);
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 100);
}

#[test]
fn who_does_not_want_to_wait_gets_the_record_back() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let producer = configured(&fake, |config| config.queue_limit(1));
    producer.put(named("one")).expect("taken in");
    let refused = producer.try_put(named("two")).expect_err("full");
    assert!(refused.is_full());
    assert_eq!(refused.record, named("two"));
    assert_eq!(
        refused.to_string(),
        "PutRecords on stream orders: the queue limit of records is reached; wait for deliveries, or raise it"
    );
    let refused = producer.put_timeout(named("two"), Duration::ZERO);
    assert!(refused.expect_err("full").is_full());
    let _flow = Flow::of(&clock);
    let taken = producer.put_timeout(named("two"), Duration::from_secs(10));
    let taken = taken.expect("room within ten seconds");
    delivered(taken.wait());
}

#[test]
fn many_threads_put_and_flush_at_once_and_lose_nothing() {
    const THREADS: usize = 8;
    const EACH: usize = 2_000;
    let fake = kinesis(4);
    fake.on(Operation::PutRecords)
        .fail_at_random(3, 0.2, [Fault::Throttle]);
    let producer = configured(&fake, |config| config.queue_limit(3_000));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let name = next.fetch_add(1, Ordering::Relaxed);
                    let delivery = producer.put(named(name)).expect("taken in");
                    if name.is_multiple_of(500) {
                        producer.flush().expect("flushed");
                        assert!(delivery.is_settled(), "{name}");
                    }
                }
            });
        }
    });
    producer.close().expect("closed");
    assert_eq!(producer.outstanding(), 0);
    assert_each_once(&fake, THREADS * EACH);
}

#[test]
fn a_flush_that_may_not_take_longer_says_what_is_left() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Hang);
    let producer = producer(&fake);
    for n in 0..5 {
        producer.put(named(n)).expect("taken in");
    }
    assert_eq!(producer.flush_timeout(Duration::ZERO).expect("flushed"), 5);
    assert_eq!(producer.outstanding(), 5);
    let _flow = Flow::of(&clock);
    producer.flush().expect("flushed");
    assert_eq!(producer.flush_timeout(Duration::ZERO).expect("flushed"), 0);
}

/// Puts 5,000 records to a shard that takes 1,000 a second; counts the throttled attempts.
fn throttles_at(percent: u32) -> u64 {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone())
        .with_stream(STREAM, 1)
        .with_service_limits();
    let producer = configured(&fake, |config| {
        config.aggregation(false).rate_limit_percent(percent)
    });
    let began = clock.time();
    for n in 0..5_000 {
        producer.put(named(n)).expect("taken in");
    }
    let _flow = Flow::of(&clock);
    producer.flush().expect("flushed");
    assert_each_once(&fake, 5_000);
    let took = clock.time().saturating_since(began);
    let bounds = Duration::from_millis(3_900)..Duration::from_secs(20);
    assert!(bounds.contains(&took), "{percent} %: {took:?}");
    producer.metrics().total.errors_by_code.values().sum()
}

#[test]
fn a_shard_is_sent_what_it_takes_and_little_more() {
    let (at_limit, above) = (throttles_at(100), throttles_at(300));
    assert!(
        at_limit < above,
        "{at_limit} throttled at the limit, {above} above it"
    );
}

#[test]
fn a_stream_that_takes_a_tenth_holds_the_caller_back_and_loses_nothing() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock)
        .with_stream(STREAM, 1)
        .with_service_limits();
    let producer = configured(&fake, |config| {
        config
            .aggregation(false)
            .rate_limit_percent(1_000)
            .queue_limit(2_000)
    });
    let mut most = 0;
    for n in 0..20_000 {
        producer.put(named(n)).expect("taken in");
        most = most.max(producer.outstanding());
    }
    producer.close().expect("closed");
    assert_each_once(&fake, 20_000);
    assert!(most <= 2_000, "{most} outstanding");
}

#[test]
fn a_minute_of_throttles_keeps_memory_flat_and_loses_nothing() {
    const LIMIT: usize = 2_000;
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock.clone())
        .with_stream(STREAM, 1)
        .with_service_limits();
    fake.on(Operation::PutRecords)
        .fail_at_random(5, 0.9, [Fault::Throttle]);
    let producer = configured(&fake, |config| {
        config
            .aggregation(false)
            .queue_limit(LIMIT)
            .record_ttl(Duration::from_secs(600))
    });
    let (start, mut put) = (clock.time(), 0);
    let put_until = |seconds, put: &mut usize| {
        while clock.time().saturating_since(start) < Duration::from_secs(seconds) {
            producer.put(named(*put)).expect("taken in");
            assert!(producer.outstanding() <= LIMIT);
            *put += 1;
        }
    };
    put_until(60, &mut put);
    assert!(put < 40_000, "{put} records in a minute of throttles");
    fake.calm_down();
    put_until(90, &mut put);
    producer.close().expect("closed");
    assert_each_once(&fake, put);
}
