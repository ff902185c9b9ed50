use std::time::{Duration, Instant};

use crate::client::RecordDistributionStrategy;
use crate::sys::clock::later;

/// Who decides on the shards of one stream's records, as DescribeStreamSummary says.
///
/// Pure. The service is asked once for each stream, and again when it stores a record where the map
/// does not explain it. Answers that change nothing make the next question later and later: a
/// stream whose answer stays the same must not cost a call for each record.
pub(super) struct Distribution {
    state: State,
    /// Whether an answer has come, or has failed to.
    is_answered: bool,
    /// What the service said; `None` if it did not say.
    strategy: Option<RecordDistributionStrategy>,
    not_before: Option<Instant>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Due, and waits for a thread.
    Queued,
    UnderWay,
    Wanted,
}

impl Distribution {
    /// Of a stream that has not been asked yet.
    pub fn unknown() -> Distribution {
        Distribution {
            state: State::Wanted,
            is_answered: false,
            strategy: None,
            not_before: None,
            pause: PAUSE_MIN,
        }
    }

    /// Says whether the first answer is still to come.
    pub fn is_awaited(&self) -> bool {
        !self.is_answered
    }

    /// Says whether the service places records by itself, whatever their keys.
    pub fn is_auto(&self) -> bool {
        self.strategy == Some(RecordDistributionStrategy::Auto)
    }

    /// Says whether the service is known to place records by their keys.
    pub fn is_by_key(&self) -> bool {
        self.strategy == Some(RecordDistributionStrategy::UserPartitionKey)
    }

    /// Notes that a record was stored where the map does not explain it.
    pub fn contradicted(&mut self, now: Instant) {
        if self.state == State::Idle && self.not_before.is_none_or(|at| at <= now) {
            self.state = State::Wanted;
        }
    }

    /// Says whether it has to queue up for a thread now.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.state == State::Wanted;
        if is_due {
            self.state = State::Queued;
        }
        is_due
    }

    pub fn begin(&mut self) {
        self.state = State::UnderWay;
    }

    /// Takes what the service said, or that it said nothing; says whether that is another strategy.
    pub fn answered(&mut self, now: Instant, said: Option<RecordDistributionStrategy>) -> bool {
        let was_auto = self.is_auto();
        let is_same = self.is_answered && self.strategy == said;
        self.pause = match is_same {
            true => (self.pause * 2).min(PAUSE_MAX),
            false => PAUSE_MIN,
        };
        self.state = State::Idle;
        self.is_answered = true;
        self.strategy = said;
        self.not_before = Some(later(now, self.pause));
        self.is_auto() != was_auto
    }
}

/// Between two questions: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Sys;

    const AUTO: Option<RecordDistributionStrategy> = Some(RecordDistributionStrategy::Auto);
    const BY_KEY: Option<RecordDistributionStrategy> =
        Some(RecordDistributionStrategy::UserPartitionKey);

    /// The seconds at which a stream is asked, every record of which contradicts the map.
    fn asked(said: impl Fn(u64) -> Option<RecordDistributionStrategy>) -> Vec<u64> {
        let (start, mut distribution) = (Sys::real().clock.now(), Distribution::unknown());
        let ask = |second: u64| {
            let now = start + Duration::from_secs(second);
            let is_first = distribution.is_awaited();
            distribution.contradicted(now);
            let is_asked = distribution.is_due();
            if is_asked {
                assert!(!distribution.is_due(), "once");
                distribution.begin();
                distribution.contradicted(now);
                assert!(!distribution.is_due(), "its answer may explain it");
                distribution.answered(now, said(second));
            }
            assert!(is_asked || !is_first);
            is_asked.then_some(second)
        };
        (0..1_000).filter_map(ask).collect()
    }

    #[test]
    fn a_stream_is_asked_ever_more_rarely_while_its_answer_stays_the_same() {
        for same in [BY_KEY, None] {
            assert_eq!(asked(|_| same), [0, 10, 30, 70, 150, 310, 630]);
        }
        let changes = asked(|second| if second < 100 { BY_KEY } else { None });
        assert_eq!(changes, [0, 10, 30, 70, 150, 160, 180, 220, 300, 460, 780]);
    }

    #[test]
    fn only_an_answer_that_says_so_is_another_strategy() {
        let now = Sys::real().clock.now();
        let mut distribution = Distribution::unknown();
        assert!(distribution.is_awaited());
        for (said, is_news) in [
            (None, false),
            (BY_KEY, false),
            (AUTO, true),
            (AUTO, false),
            (None, true),
            (BY_KEY, false),
        ] {
            assert_eq!(distribution.answered(now, said), is_news, "{said:?}");
            assert_eq!(distribution.is_auto(), said == AUTO);
            assert_eq!(distribution.is_by_key(), said == BY_KEY);
            assert!(!distribution.is_awaited());
        }
    }
}
