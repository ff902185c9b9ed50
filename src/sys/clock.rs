use std::time::{Duration, Instant, SystemTime};

use crossbeam::channel::{self, Receiver, select};

use crate::model::Timestamp;
use crate::sys::stop::Stop;

/// Time, real or made by hand.
pub(crate) trait Clock: Send + Sync {
    /// Time that never goes back, for intervals.
    fn now(&self) -> Instant;

    /// The time of day, for what other machines read.
    fn wall(&self) -> Timestamp;

    /// A wait until `deadline`, for a `select!`.
    fn at(&self, deadline: Instant) -> Timer;
}

/// One wait, withdrawn from its clock when dropped.
///
/// A `select!` won by another arm must leave nothing behind: a virtual clock counts who waits.
pub(crate) struct Timer {
    fires: Receiver<Instant>,
    _withdraw: Option<Box<dyn Send>>,
}

impl Timer {
    pub fn new(fires: Receiver<Instant>, withdraw: Option<Box<dyn Send>>) -> Timer {
        Timer {
            fires,
            _withdraw: withdraw,
        }
    }

    pub fn channel(&self) -> &Receiver<Instant> {
        &self.fires
    }
}

/// The clock of this machine.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn at(&self, deadline: Instant) -> Timer {
        Timer::new(channel::at(deadline), None)
    }
}

/// Adds a time that may be as long as a [`Duration`] can be. What lies beyond the clock's end is taken for
/// thirty years: for every wait that is never.
pub(crate) fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by.min(NEVER)).unwrap_or(now)
}

/// Far enough for every wait, and near enough for the clocks of all systems.
pub(crate) const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

impl dyn Clock {
    /// A wait that lasts `time` from now, or for ever.
    pub fn after(&self, time: Option<Duration>) -> Timer {
        match time.and_then(|time| self.now().checked_add(time)) {
            Some(deadline) => self.at(deadline),
            None => Timer::new(channel::never(), None),
        }
    }

    /// A wait that lasts until `deadline`, or for ever.
    pub fn until(&self, deadline: Option<Instant>) -> Timer {
        match deadline {
            Some(deadline) => self.at(deadline),
            None => self.after(None),
        }
    }

    /// Waits until `deadline`; `false` if told to stop before.
    pub fn wait_until(&self, deadline: Instant, stop: &Stop) -> bool {
        let timer = self.at(deadline);
        select! {
            recv(stop.channel()) -> _ => false,
            recv(timer.channel()) -> _ => !stop.is_stopped(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_is_added_without_a_panic() {
        let now = SystemClock.now();
        assert_eq!(
            later(now, Duration::from_secs(7)),
            now + Duration::from_secs(7)
        );
        assert_eq!(later(now, Duration::MAX), now + NEVER);
        assert!(later(later(now, Duration::MAX), Duration::MAX) > now);
        let timer = SystemClock.at(later(now, Duration::MAX));
        assert!(timer.channel().try_recv().is_err());
    }
}
