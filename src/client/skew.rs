use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Timestamp;

/// How far the service's time of day is from this machine's, in milliseconds: between two bounds, as
/// an answer says when it was made and not when that was here.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    least: AtomicI64,
    most: AtomicI64,
}

impl ClockOffset {
    /// Takes what an answer says. It was made while the call was under way, however long that took.
    pub fn note(&self, sent: Timestamp, received: Timestamp, server: Timestamp) {
        let server = server.as_millis();
        let least = server.saturating_sub(received.as_millis());
        let most = server
            .saturating_add(SECOND)
            .saturating_sub(sent.as_millis());
        self.least.store(least, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
    }

    /// The service's time of day, and not later.
    pub fn earliest(&self, wall: Timestamp) -> Timestamp {
        shifted(wall, &self.least)
    }

    /// The service's time of day, and not earlier.
    pub fn latest(&self, wall: Timestamp) -> Timestamp {
        shifted(wall, &self.most)
    }
}

fn shifted(wall: Timestamp, offset: &AtomicI64) -> Timestamp {
    let offset = offset.load(Ordering::Relaxed);
    Timestamp::from_millis(wall.as_millis().saturating_add(offset))
}

/// Dates are told to the second.
const SECOND: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_long_on_its_way_tells_less() {
        let at = Timestamp::from_millis;
        let offset = ClockOffset::default();
        assert_eq!(offset.earliest(at(7)), at(7), "nothing is known");
        for (sent, received, earliest, latest) in [
            (9_500, 9_600, -2_600, -1_500),
            (9_000, 99_000, -92_000, -1_000),
        ] {
            offset.note(at(sent), at(received), at(7_000));
            let now = 100_000;
            let bounds = (offset.earliest(at(now)), offset.latest(at(now)));
            assert_eq!(bounds, (at(now + earliest), at(now + latest)));
        }
    }
}
