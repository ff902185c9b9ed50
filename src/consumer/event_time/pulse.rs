use crate::sys::lock::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Since when, and up to when, a shard's reading has found that there is nothing: what tells a shard
/// in which nothing happens from one that is only slow.
#[derive(Debug, Default)]
pub(in crate::consumer) struct Pulse(Mutex<Option<(Instant, Instant)>>);

impl Pulse {
    /// An answer to a call that began at `called` was empty, and nothing was behind it.
    pub fn nothing(&self, called: Instant) {
        let mut quiet = lock(&self.0);
        let since = quiet.map_or(called, |(since, _)| since);
        *quiet = Some((since, called));
    }

    /// There was something, or it is not known whether there is.
    pub fn something(&self) {
        *lock(&self.0) = None;
    }

    /// For how long it is certain that nothing came.
    pub fn quiet(&self) -> Option<Duration> {
        let quiet = *lock(&self.0);
        quiet.map(|(since, until)| until.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_what_calls_have_found_and_not_the_time_that_passes() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(pulse.quiet(), None);
        pulse.nothing(at(1));
        assert_eq!(pulse.quiet(), Some(Duration::ZERO));
        pulse.nothing(at(4));
        assert_eq!(pulse.quiet(), Some(Duration::from_secs(3)));
        pulse.something();
        assert_eq!(pulse.quiet(), None);
        pulse.nothing(at(9));
        assert_eq!(pulse.quiet(), Some(Duration::ZERO), "it begins anew");
    }
}
