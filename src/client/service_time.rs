use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::model::Timestamp;

/// The service's time of day, as its answers tell it, carried on by the clock that never goes back.
///
/// The time of day of this machine is no part of it: that steps, by hours on a device that NTP sets,
/// and between a request and its answer as well.
#[derive(Debug)]
pub(super) struct ServiceTime {
    base: Instant,
    /// The service's time less what has passed since `base`, in milliseconds: between two bounds, as an
    /// answer says when it was made and not when that was here.
    least: AtomicI64,
    most: AtomicI64,
}

/// A moment by the service's clock, such as when it carried out a call: at `earliest` or later, and at
/// `latest` or earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerTime {
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

/// An attempt of a call, by the clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub sent: Instant,
    pub sent_wall: Timestamp,
    pub received: Instant,
    pub received_wall: Timestamp,
}

impl Attempt {
    /// Takes what an answer says of the service's time: it was made while the call was under way,
    /// however long that took.
    ///
    /// The bounds are those of this answer alone. What earlier ones said may be hours off by now, as a
    /// suspended process lets time pass that no clock of it counts.
    pub fn answered_at(&self, server: Option<Timestamp>) -> ServerTime {
        let took = self.received.saturating_duration_since(self.sent);
        match server {
            Some(server) => ServerTime {
                earliest: server.saturating_sub(took),
                latest: server.saturating_add(DATE_UNIT),
            },
            // Of an endpoint that does not say, only this machine's time is known, which may have stepped.
            None => ServerTime {
                earliest: self.sent_wall.min(self.received_wall.saturating_sub(took)),
                latest: self.received_wall.max(self.sent_wall.saturating_add(took)),
            },
        }
    }
}

impl ServiceTime {
    pub fn new(base: Instant) -> ServiceTime {
        ServiceTime {
            base,
            least: AtomicI64::new(UNKNOWN),
            most: AtomicI64::new(UNKNOWN),
        }
    }

    /// Takes what an answer says.
    ///
    /// A better lower bound stays if this answer allows for it: it holds for as long as the service's
    /// clock is not set back. The upper bound is always the last answer's, as a suspended process knows
    /// no better.
    pub fn note(&self, attempt: &Attempt, server: Timestamp) {
        let server_ms = server.as_millis();
        let least = server_ms.saturating_sub(self.passed(attempt.received));
        let most = server.saturating_add(DATE_UNIT).as_millis();
        let most = most.saturating_sub(self.passed(attempt.sent));
        let known = self.least.load(Ordering::Relaxed);
        let kept = if known <= most { known } else { least };
        self.least.store(kept.max(least), Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
    }

    /// The service's time of day, and not later; `None` if no answer has told it yet.
    pub fn earliest(&self, now: Instant) -> Option<Timestamp> {
        self.carried_on(now, &self.least)
    }

    /// The service's time of day, and not earlier, unless the process was suspended since its last
    /// answer; `None` if no answer has told it yet.
    pub fn latest(&self, now: Instant) -> Option<Timestamp> {
        self.carried_on(now, &self.most)
    }

    fn carried_on(&self, now: Instant, bound: &AtomicI64) -> Option<Timestamp> {
        let bound = bound.load(Ordering::Relaxed);
        let time = bound.saturating_add(self.passed(now));
        (bound != UNKNOWN).then_some(Timestamp::from_millis(time))
    }

    fn passed(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.base).as_millis();
        i64::try_from(passed).unwrap_or(i64::MAX)
    }
}

const UNKNOWN: i64 = i64::MIN;

/// The header `Date` is cut off to the second.
const DATE_UNIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn attempt(base: Instant, sent: u64, received: u64) -> Attempt {
        let later = |millis| base + Duration::from_millis(millis);
        Attempt {
            sent: later(sent),
            sent_wall: at(sent as i64),
            received: later(received),
            received_wall: at(received as i64),
        }
    }

    #[test]
    fn an_answer_that_was_long_on_its_way_tells_less_and_takes_nothing_back() {
        let base = Instant::now();
        let time = ServiceTime::new(base);
        let now = base + Duration::from_secs(100);
        assert_eq!((time.earliest(now), time.latest(now)), (None, None));
        for (sent, received, earliest, latest) in [
            (9_500, 9_600, 97_400, 98_500),
            (9_000, 99_000, 97_400, 99_000),
        ] {
            time.note(&attempt(base, sent, received), at(7_000));
            let bounds = (time.earliest(now), time.latest(now));
            assert_eq!(bounds, (Some(at(earliest)), Some(at(latest))));
        }
    }

    #[test]
    fn a_service_whose_clock_is_set_is_believed() {
        let base = Instant::now();
        let time = ServiceTime::new(base);
        for (server, earliest) in [(70_000, 69_900), (7_000, 6_900), (70_000, 69_900)] {
            time.note(&attempt(base, 9_500, 9_600), at(server));
            let then = base + Duration::from_millis(9_500);
            assert_eq!(time.earliest(then), Some(at(earliest)));
        }
    }

    #[test]
    fn an_answer_s_own_time_counts_whatever_this_machine_s_clock_does() {
        const DAY: i64 = 24 * 3_600_000;
        for step in [-DAY, 0, DAY] {
            let mut call = attempt(Instant::now(), 9_500, 9_600);
            call.received_wall = at(9_600 + step);
            let told = call.answered_at(Some(at(7_000)));
            assert_eq!((told.earliest, told.latest), (at(6_900), at(8_000)));
            let untold = call.answered_at(None);
            let earliest = at(9_500 + step.min(0));
            let latest = at(9_600 + step.max(0));
            assert_eq!((untold.earliest, untold.latest), (earliest, latest));
        }
    }
}
