//! The whole library on a clock that moves by itself.

use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{Consumer, Event, Operation, Timestamp};

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
    // Every 200 ms a read, every 10 s a listing.
    assert!(fake.calls(Operation::GetRecords) >= 18_000);
    assert!(fake.calls(Operation::ListShards) >= 359);
    assert!(begin.elapsed() < HOUR / 60, "{:?}", begin.elapsed());
}
