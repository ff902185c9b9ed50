use std::io;
use std::time::{Duration, Instant};

use crate::consumer::event_time::exchange::{Global, Local};
use crate::consumer::event_time::tracker::WatermarkReport;
use crate::model::Timestamp;

/// When to ask the tracker, and what to make of what it says. Pure: `now` is told.
#[derive(Debug)]
pub(in crate::consumer) struct Syncer {
    /// Its name among the consumers that share a tracker.
    pub subtask: String,
    pub run: u64,
    pub parallelism: usize,
    interval: Duration,
    next: Instant,
    /// When the tracker answered last.
    answered: Option<Instant>,
    /// Until when it waits for those that are to be there.
    joins_until: Option<Instant>,
}

impl Syncer {
    pub fn new(
        subtask: String,
        run: u64,
        parallelism: usize,
        interval: Duration,
        now: Instant,
    ) -> Syncer {
        Syncer {
            subtask,
            run,
            parallelism,
            interval,
            next: now + interval,
            answered: None,
            joins_until: now.checked_add(timeout(interval).max(JOIN_TIME_MIN)),
        }
    }

    pub fn due(&self) -> Instant {
        self.next
    }

    /// Every interval, and at once when a consumer knows how far it is and not how far all are.
    pub fn is_due(&self, state: (Local, Global), now: Instant) -> bool {
        let asks = match state {
            (Local::At(_), Global::Joining | Global::Unknown) => true,
            (Local::Idle, Global::Joining) => self.answered.is_none(),
            _ => false,
        };
        asks || now >= self.next
    }

    pub fn report(&self, local: Local, now: Instant) -> WatermarkReport<'_> {
        let watermark = match local {
            Local::At(watermark) => Some(watermark),
            Local::Idle | Local::Unknown => None,
        };
        WatermarkReport {
            run: self.run,
            parallelism: self.parallelism,
            timeout: timeout(self.interval),
            is_joining: self.joins_until.is_some_and(|until| now < until),
            ..WatermarkReport::new(&self.subtask, watermark, now)
        }
    }

    /// Says how far all are, by the tracker's answer to what was said of this one.
    ///
    /// While the tracker fails, its last answer counts for as long as a report does; after that, or if
    /// there is none, this consumer's shards are all there is.
    pub fn on_answer(
        &mut self,
        (local, before): (Local, Global),
        answer: &io::Result<Option<Timestamp>>,
        now: Instant,
    ) -> Global {
        self.next = now + self.interval;
        let alone = match local {
            Local::At(watermark) => Global::At(watermark),
            Local::Idle | Local::Unknown => Global::Unknown,
        };
        match answer {
            Ok(lowest) => {
                self.answered = Some(now);
                // Somebody is expected who is not there yet.
                if *lowest == Some(Timestamp::MIN) {
                    self.next = now + self.interval.min(JOIN_INTERVAL_MAX);
                } else if lowest.is_some() {
                    self.joins_until = None;
                }
                lowest.map_or(alone, Global::At)
            }
            Err(_) if self.is_fresh(now) && before != Global::Unknown => before,
            Err(_) => alone,
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let age = |answered| now.saturating_duration_since(answered);
        self.answered
            .is_some_and(|answered| age(answered) <= timeout(self.interval))
    }
}

/// After how long a report does not count any more, as in Flink's connector.
pub(in crate::consumer) fn timeout(interval: Duration) -> Duration {
    interval.saturating_mul(3)
}

/// How long the others of a group may take to start, however short the interval is.
const JOIN_TIME_MIN: Duration = Duration::from_secs(10);

/// How often to look whether all are there that are expected.
const JOIN_INTERVAL_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn syncer(now: Instant) -> Syncer {
        Syncer::new("orders-0".to_owned(), 7, 1, INTERVAL, now)
    }

    fn fails() -> io::Result<Option<Timestamp>> {
        Err(io::Error::other("out of reach"))
    }

    #[test]
    fn it_asks_when_it_knows_how_far_it_is_and_then_once_an_interval() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let joining = |local| (local, Global::Joining);
        assert!(!syncer.is_due(joining(Local::Unknown), now));
        assert!(syncer.is_due(joining(Local::Unknown), now + INTERVAL));
        let known = joining(Local::At(at(5)));
        assert!(syncer.is_due(known, now));
        assert_eq!(syncer.report(known.0, now).watermark, Some(at(5)));
        let global = syncer.on_answer(known, &Ok(Some(at(3))), now);
        assert_eq!(global, Global::At(at(3)));
        assert!(!syncer.is_due((known.0, global), now));
        assert_eq!(syncer.due(), now + INTERVAL);
    }

    #[test]
    fn who_is_idle_only_asks() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let idle = (Local::Idle, Global::Joining);
        let report = syncer.report(idle.0, now);
        assert_eq!((report.watermark, report.timeout), (None, 3 * INTERVAL));
        let global = syncer.on_answer(idle, &Ok(Some(at(3))), now);
        assert_eq!(global, Global::At(at(3)), "the others'");
        let nobody = syncer.on_answer(idle, &Ok(None), now);
        assert_eq!(nobody, Global::Unknown);
        assert!(!syncer.is_due((Local::Idle, nobody), now));
    }

    #[test]
    fn who_is_the_first_to_know_asks_again_before_it_goes_on() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let silent = (Local::Unknown, Global::Joining);
        let nobody = syncer.on_answer(silent, &Ok(None), now + INTERVAL);
        assert_eq!(nobody, Global::Unknown);
        let known = (Local::At(at(5)), nobody);
        assert!(syncer.is_due(known, now + INTERVAL));
        let failed = syncer.on_answer(known, &fails(), now + INTERVAL);
        assert_eq!(failed, Global::At(at(5)), "and then goes on in any case");
    }

    #[test]
    fn the_last_answer_counts_for_a_while_and_then_it_goes_on_alone() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let known = (Local::At(at(50)), Global::At(at(3)));
        syncer.on_answer(known, &Ok(Some(at(3))), now);
        for intervals in [1, 2, 3] {
            let now = now + intervals * INTERVAL;
            assert_eq!(syncer.on_answer(known, &fails(), now), Global::At(at(3)));
        }
        let later = now + 4 * INTERVAL;
        assert_eq!(syncer.on_answer(known, &fails(), later), Global::At(at(50)));
        let back = syncer.on_answer(known, &Ok(Some(at(4))), later);
        assert_eq!(back, Global::At(at(4)));
    }

    #[test]
    fn a_tracker_that_never_answers_keeps_nobody_from_beginning() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let joining = (Local::At(at(5)), Global::Joining);
        let global = syncer.on_answer(joining, &fails(), now);
        assert_eq!(global, Global::At(at(5)));
    }

    #[test]
    fn who_waits_for_others_to_join_asks_every_second() {
        let now = Instant::now();
        let mut syncer = syncer(now);
        let joining = (Local::At(at(5)), Global::Joining);
        let global = syncer.on_answer(joining, &Ok(Some(Timestamp::MIN)), now);
        assert_eq!(global, Global::At(Timestamp::MIN));
        assert_eq!(syncer.due(), now + Duration::from_secs(1));
        assert!(syncer.report(joining.0, now).is_joining);
        assert!(!syncer.report(joining.0, now + 3 * INTERVAL).is_joining);
        syncer.on_answer(joining, &Ok(Some(at(4))), now);
        assert!(!syncer.report(joining.0, now).is_joining, "all are there");
    }
}
