use std::time::{Duration, Instant};

/// When to read the clock between records: that costs a tenth of what a record does.
///
/// While they are handed out fast, it is read for one of [`SPARED_MAX`] + 1. So what is timed is late by
/// so many records at most, once, when the caller becomes slow.
#[derive(Debug, Default)]
pub(super) struct Glances {
    /// How many records go without a look, from one to the next.
    spared: u32,
    ahead: u32,
    last: Option<Instant>,
}

impl Glances {
    /// The clock was read.
    pub fn looked(&mut self, now: Instant) {
        let since = |last| now.saturating_duration_since(last);
        self.spared = match self.last.replace(now).map(since) {
            // A clock that stands still does not tell how fast the caller is.
            Some(passed) if passed < QUICK && !passed.is_zero() => {
                (2 * self.spared + 1).min(SPARED_MAX)
            }
            _ => 0,
        };
        self.ahead = self.spared;
    }

    /// Says whether the next record may go without a look, and counts it.
    #[inline]
    pub fn spare(&mut self) -> bool {
        let left = self.ahead.checked_sub(1);
        self.ahead = left.unwrap_or(0);
        left.is_some()
    }
}

/// The most records that go without a look.
const SPARED_MAX: u32 = 31;

/// What may pass from one look to the next if more are to be spared.
const QUICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records go between looks if each takes so long.
    fn spared(glances: &mut Glances, now: &mut Instant, each: Duration) -> u32 {
        glances.looked(*now);
        let mut records = 0;
        while glances.spare() {
            records += 1;
        }
        *now += each * (records + 1);
        records
    }

    #[test]
    fn a_fast_caller_spares_looks_and_a_slow_one_none_but_once() {
        let (mut glances, mut now) = (Glances::default(), Instant::now());
        let (fast, slow) = (Duration::from_nanos(400), Duration::from_secs(1));
        let mut looks = |each, expected: &[u32]| {
            let found = expected
                .iter()
                .map(|_| spared(&mut glances, &mut now, each));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{each:?}");
        };
        looks(fast, &[0, 1, 3, 7, 15, 31, 31]);
        looks(slow, &[31, 0, 0]);
        looks(fast, &[0, 1, 3]);
        looks(Duration::ZERO, &[7, 0, 0]);
    }
}
