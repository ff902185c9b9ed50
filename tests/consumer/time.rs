//! Consumers on a clock that moves whenever somebody waits for it.

use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{Checkpoint, Consumer, ConsumerBuilder, Event, Result, Timestamp};

pub use crate::quiet::{Flow, until};

pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub const HOUR: Duration = Duration::from_secs(3_600);

/// A fake with one stream, `orders`.
pub fn world(shards: u32) -> (VirtualClock, FakeKinesis) {
    let clock = VirtualClock::starting_at(START);
    let kinesis = FakeKinesis::on_clock(clock.clone()).with_stream("orders", shards);
    (clock, kinesis)
}

/// What a consumer tells: data of records, and gaps as `cause: after..before`.
pub fn told(consumer: &mut Consumer) -> Result<Vec<String>> {
    let mut told = Vec::new();
    loop {
        match consumer.next_event(Duration::MAX)? {
            Event::Record(record) => {
                told.push(String::from_utf8_lossy(record.data()).into_owned());
            }
            Event::Gap(gap) => {
                let number = |number: &Option<_>| if number.is_some() { "x" } else { "-" };
                let (after, before) = (number(&gap.after), number(&gap.before));
                let cause = format!("{:?}", gap.cause);
                let cause = cause
                    .split([' ', '{'])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                told.push(format!("{cause}: {after}..{before}"));
            }
            Event::Ended => return Ok(told),
            _ => {}
        }
    }
}

/// Runs a consumer to its end while time passes.
pub fn run(clock: &VirtualClock, builder: ConsumerBuilder) -> Result<(Vec<String>, Checkpoint)> {
    let _flow = Flow::of(clock);
    let mut consumer = builder.start()?;
    let told = told(&mut consumer)?;
    Ok((told, consumer.checkpoint()))
}
