//! The whole library on a clock that moves by itself.

use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{Consumer, Event, Operation, Timestamp};

use crate::raw;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn an_hour_of_polling_is_over_in_no_time() {
    let clock = VirtualClock::starting_at(START);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
    let consumer = Consumer::builder(fake.client()).stream("orders");
    let mut consumer = consumer.start().expect("started");
    let begin = Instant::now();
    // Discovery, the shard, and this thread.
    clock.auto_advance(3);
    let end = START.saturating_add(HOUR);
    while clock.time() < end {
        let event = consumer.next_event(HOUR).expect("an event");
        assert!(!matches!(event, Event::Record(_)), "{event:?}");
    }
    // Every 250 ms a read that finds nothing, every 10 s a listing.
    assert!(fake.calls(Operation::GetRecords) >= 14_300);
    assert!(fake.calls(Operation::ListShards) >= 359);
    assert!(begin.elapsed() < HOUR / 60, "{:?}", begin.elapsed());
}

/// A reader judges by the date what may have been trimmed before the answer was made.
#[test]
fn an_answer_is_dated_when_it_is_made_and_not_when_its_call_came() {
    let clock = VirtualClock::starting_at(START);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
    let server = fake.serve().expect("a socket");
    let advanced = clock.clone();
    fake.on(Operation::ListShards)
        .observe(move |_| advanced.advance(27 * HOUR));
    let request = "POST / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\nContent-Length: 23\r\n\
                   Authorization: AWS4-HMAC-SHA256 Credential=none\r\n\
                   X-Amz-Target: Kinesis_20131202.ListShards\r\n\r\n{\"StreamName\":\"orders\"}";
    let answer = raw::exchange(&server, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // START is on the 14th, at 22:13:20.
    let date = "Thu, 16 Nov 2023 01:13:20 GMT";
    assert!(answer.contains(date), "{answer}");
}
