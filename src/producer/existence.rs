use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Whether one stream exists, as its answers say, and how often to ask one that does not.
///
/// Pure. A misspelt name must not cost a call for each record; and a stream may still be made, so it is
/// asked again now and then, by one record's call. The records in between fail with what it said last.
#[derive(Default)]
pub(super) struct Existence {
    /// Whether anything was answered yet that only a stream says.
    is_confirmed: bool,
    /// What the service said of a stream that is not there.
    missing: Option<Error>,
    /// When it said so, of late.
    said_at: VecDeque<Instant>,
    /// Whether a call is on its way that will tell.
    is_asked: bool,
}

impl Existence {
    /// A stream that is known to exist.
    pub fn confirmed() -> Existence {
        Existence {
            is_confirmed: true,
            ..Existence::default()
        }
    }

    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// What to tell of a record instead of making a call; `None` if a call may be made.
    pub fn refusal(&self, now: Instant) -> Option<&Error> {
        let missing = self.missing.as_ref()?;
        let recent = self.said_at.iter().filter(|at| **at + MINUTE > now);
        let last = self.said_at.back().is_some_and(|at| *at + PAUSE > now);
        let is_enough = self.is_asked || last || recent.count() >= ASKS_MAX;
        is_enough.then_some(missing)
    }

    /// Says whether the stream is not there, as far as is known.
    pub fn is_missing(&self) -> bool {
        self.missing.is_some()
    }

    /// Notes that a call is made.
    pub fn asked(&mut self) {
        self.is_asked = self.is_missing();
    }

    /// Notes how a call ended that was made of this stream.
    pub fn answered(&mut self, now: Instant, error: Option<&Error>) {
        self.is_asked = false;
        match error {
            Some(error) if error.is_service("ResourceNotFoundException") => {
                self.missing = Some(error.clone());
                self.is_confirmed = false;
                self.said_at.push_back(now);
                while self.said_at.len() > ASKS_MAX {
                    self.said_at.pop_front();
                }
            }
            // Without an answer nothing is known that was not before.
            Some(error) if !error.is_answered() => {}
            _ => *self = Existence::confirmed(),
        }
    }
}

/// Three times a minute at most, and not at once.
const ASKS_MAX: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, TransportError};
    use crate::sys::Sys;

    fn service(code: &str) -> Error {
        Error::new(ErrorKind::Service {
            code: code.to_owned(),
            message: String::new(),
            status: 400,
        })
    }

    #[test]
    fn a_stream_that_is_not_there_is_asked_three_times_a_minute() {
        let start = Sys::real().clock.now();
        let (missing, mut existence) = (service("ResourceNotFoundException"), Existence::default());
        let mut asked = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            if existence.refusal(now).is_none() {
                existence.asked();
                assert!(
                    second == 0 || existence.refusal(now).is_some(),
                    "one at a time"
                );
                existence.answered(now, Some(&missing));
                asked.push(second);
            }
        }
        for window in asked.windows(4) {
            assert!(window[3] - window[0] >= 60, "{window:?}");
        }
        assert!(asked.len() >= 29, "{asked:?}");
    }

    #[test]
    fn calls_that_were_under_way_together_count_each() {
        let begin = Sys::real().clock.now();
        let missing = service("ResourceNotFoundException");
        for (calls, seconds) in [(1, 20), (2, 20), (3, 60), (9, 60)] {
            let mut existence = Existence::default();
            for _ in 0..calls {
                existence.answered(begin, Some(&missing));
            }
            let next = begin + Duration::from_secs(seconds);
            let before = next - Duration::from_millis(1);
            assert!(existence.refusal(before).is_some(), "{calls}");
            assert!(existence.refusal(next).is_none(), "{calls}");
        }
    }

    #[test]
    fn any_other_answer_says_that_it_is_there_and_none_says_nothing() {
        let now = Sys::real().clock.now();
        let missing = service("ResourceNotFoundException");
        let mut existence = Existence::default();
        assert!(!existence.is_confirmed() && existence.refusal(now).is_none());
        existence.answered(now, Some(&missing));
        let lost = TransportError::Timeout(PAUSE).into();
        existence.answered(now, Some(&lost));
        assert!(existence.is_missing() && existence.refusal(now).is_some());
        existence.answered(now, Some(&service("LimitExceededException")));
        assert!(existence.is_confirmed() && existence.refusal(now).is_none());
        existence.answered(now, Some(&missing));
        existence.answered(now, None);
        assert!(existence.is_confirmed() && !existence.is_missing());
    }
}
