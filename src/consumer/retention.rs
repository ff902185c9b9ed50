use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::model::Escaped;
use crate::sys::lock::lock;

/// How long streams keep their records, asked for when it matters only. Shared by all readers.
#[derive(Debug, Default)]
pub(super) struct Retentions(Mutex<BTreeMap<Arc<str>, Asked>>);

/// When the service was asked last, and what it said.
type Asked = (Instant, Option<Duration>);

impl Retentions {
    /// Asks the service, but not more often than every 5 minutes unless it has to be `anew`. `None` if
    /// the service does not say.
    pub fn of(&self, client: &Client, stream: &Arc<str>, anew: bool) -> Option<Duration> {
        let now = client.sys().clock.now();
        if let Some(known) = self.known(stream, now).filter(|_| !anew) {
            return known;
        }
        let summary = client.describe_stream_summary(stream);
        let retention = summary.map(|summary| summary.retention);
        let retention = retention.inspect_err(|error| {
            let stream = Escaped(stream);
            log::warn!("the retention of {stream} is taken for 24 hours: {error}");
        });
        let retention = retention.ok();
        let mut known = lock(&self.0);
        known.insert(stream.clone(), (now, retention));
        retention
    }

    fn known(&self, stream: &Arc<str>, now: Instant) -> Option<Option<Duration>> {
        let known = lock(&self.0);
        let (asked, retention) = known.get(stream)?;
        (now < *asked + ASK_INTERVAL).then_some(*retention)
    }
}

/// What may have become of a retention is not left unknown for longer.
pub(super) const ASK_INTERVAL: Duration = Duration::from_secs(300);

/// The shortest there is, which counts where the service does not say: it finds gaps that there may
/// not be, and misses none.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
pub(super) const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeKinesis, Fault, VirtualClock};
    use crate::model::{Operation, Timestamp};

    #[test]
    fn a_retention_is_asked_for_every_five_minutes_unless_it_has_to_be_anew() {
        let clock = VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
        let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
        let (client, stream) = (fake.client(), Arc::from("orders"));
        let (retentions, hours) = (Retentions::default(), |hours| hours * RETENTION_MIN / 24);
        fake.set_retention("orders", hours(48));
        assert_eq!(retentions.of(&client, &stream, false), Some(hours(48)));
        fake.set_retention("orders", hours(36));
        for (passes, anew, expected, calls) in [
            (299_999, false, 48, 1),
            (0, true, 36, 2),
            (299_999, false, 36, 2),
            (1, false, 36, 3),
        ] {
            clock.advance(Duration::from_millis(passes));
            let retention = retentions.of(&client, &stream, anew);
            assert_eq!(retention, Some(hours(expected)), "{calls}");
            assert_eq!(fake.calls(Operation::DescribeStreamSummary), calls);
        }
        // Nor is one that refuses to say asked more often.
        clock.advance(ASK_INTERVAL);
        let denied = Fault::refuse("AccessDeniedException", "not allowed");
        let script = fake.on(Operation::DescribeStreamSummary);
        script.fail_next(1, denied);
        for _ in 0..2 {
            assert_eq!(retentions.of(&client, &stream, false), None);
        }
        assert_eq!(fake.calls(Operation::DescribeStreamSummary), 4);
    }
}
