use std::collections::BTreeMap;
use std::time::Instant;

use crate::consumer::event_time::tracker::WatermarkReport;
use crate::model::Timestamp;

/// Who reported which watermark when, and what is the lowest. Pure: `now` is in the reports.
#[derive(Debug, Default)]
pub(in crate::consumer) struct Participants(BTreeMap<String, Participant>);

#[derive(Debug)]
struct Participant {
    run: u64,
    /// When it said anything last.
    heard: Instant,
    /// What it reported last, and when.
    reported: Option<(Timestamp, Instant)>,
}

impl Participants {
    /// Takes in what somebody says. Within a run a watermark does not go back; a new run begins anew.
    pub fn report(&mut self, report: &WatermarkReport<'_>) {
        let WatermarkReport { run, now, .. } = *report;
        self.0.retain(|_, other| !other.is_gone(report));
        let new = Participant {
            run,
            heard: now,
            reported: None,
        };
        if self
            .0
            .get(report.subtask)
            .is_none_or(|known| known.run != run)
        {
            self.0.insert(report.subtask.to_owned(), new);
        }
        let Some(participant) = self.0.get_mut(report.subtask) else {
            return;
        };
        participant.heard = now;
        if let Some(watermark) = report.watermark {
            let last = participant.reported.map(|(last, _)| last);
            participant.reported = Some((last.map_or(watermark, |last| last.max(watermark)), now));
        }
    }

    /// Does not wait for somebody until it reports again. An older run has no say in that.
    pub fn withdraw(&mut self, report: &WatermarkReport<'_>) {
        let participant = self.0.get_mut(report.subtask);
        if let Some(participant) = participant.filter(|known| known.run == report.run) {
            participant.reported = None;
        }
    }

    /// The lowest watermark that counts for who asks; for who joins while others are missing, the
    /// beginning of time.
    pub fn lowest(&self, asks: &WatermarkReport<'_>) -> Option<Timestamp> {
        let alive = |at: Instant| asks.now.saturating_duration_since(at) <= asks.timeout;
        let heard = self.0.values().filter(|other| alive(other.heard));
        if asks.is_joining && heard.count() < asks.parallelism {
            return Some(Timestamp::MIN);
        }
        let reported = self
            .0
            .values()
            .filter_map(|participant| participant.reported);
        let counting = reported.filter(|(_, at)| alive(*at));
        counting.map(|(watermark, _)| watermark).min()
    }
}

impl Participant {
    fn is_gone(&self, report: &WatermarkReport<'_>) -> bool {
        report.now.saturating_duration_since(self.heard) > report.timeout
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Reports, and asks.
    fn update(
        participants: &mut Participants,
        subtask: &str,
        watermark: impl Into<Option<i64>>,
        now: Instant,
    ) -> Option<i64> {
        let watermark = watermark.into().map(at);
        let report = WatermarkReport::new(subtask, watermark, now);
        participants.report(&report);
        participants.lowest(&report).map(Timestamp::as_millis)
    }

    /// `WatermarkTrackerTest.test`, with the beginning of time for a watermark that is not known.
    #[test]
    fn who_has_not_reported_for_long_does_not_count() {
        const MIN: i64 = i64::MIN;
        let (mut all, now) = (Participants::default(), Instant::now());
        assert_eq!(update(&mut all, "other", MIN, now), Some(MIN));
        assert_eq!(update(&mut all, "own", MIN, now), Some(MIN));
        assert_eq!(update(&mut all, "own", 0, now), Some(MIN));
        let later = now + TIMEOUT + Duration::from_millis(1);
        assert_eq!(update(&mut all, "own", 0, later), Some(0));
        assert_eq!(update(&mut all, "own", -1, later), Some(0), "never back");
        assert_eq!(update(&mut all, "other", 1, later), Some(0));
        assert_eq!(update(&mut all, "own", 0, later), Some(0));
        assert_eq!(update(&mut all, "own", 1, later), Some(1));
    }

    /// `JobManagerWatermarkTrackerTest.testUpdateWatermark`.
    #[test]
    fn who_only_asks_changes_nothing() {
        let (mut all, now) = (Participants::default(), Instant::now());
        assert_eq!(update(&mut all, "own", 998, now), Some(998));
        assert_eq!(update(&mut all, "own", 999, now), Some(999));
        assert_eq!(update(&mut all, "own", None, now), Some(999));
        let later = now + TIMEOUT + Duration::from_millis(1);
        assert_eq!(update(&mut all, "own", None, later), None, "it grows old");
    }

    #[test]
    fn who_withdraws_is_not_waited_for() {
        let (mut all, now) = (Participants::default(), Instant::now());
        assert_eq!(update(&mut all, "idle", 1, now), Some(1));
        assert_eq!(update(&mut all, "own", 7, now), Some(1));
        let idle = WatermarkReport::new("idle", None, now);
        all.withdraw(&WatermarkReport {
            run: 9,
            ..idle.clone()
        });
        assert_eq!(update(&mut all, "own", 7, now), Some(1), "another run");
        all.withdraw(&idle);
        assert_eq!(update(&mut all, "own", 7, now), Some(7));
        assert_eq!(update(&mut all, "idle", 5, now), Some(5), "and is back");
    }

    #[test]
    fn a_new_run_may_begin_further_back() {
        let (mut all, now) = (Participants::default(), Instant::now());
        assert_eq!(update(&mut all, "own", 9, now), Some(9));
        let restarted = WatermarkReport {
            run: 1,
            ..WatermarkReport::new("own", Some(at(4)), now)
        };
        all.report(&restarted);
        assert_eq!(all.lowest(&restarted), Some(at(4)));
    }

    #[test]
    fn who_joins_waits_for_those_that_are_expected_but_not_for_ever() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let report = |subtask, watermark, is_joining| WatermarkReport {
            parallelism: 2,
            is_joining,
            ..WatermarkReport::new(subtask, Some(at(watermark)), now)
        };
        let first = report("orders-0", 9, true);
        all.report(&first);
        assert_eq!(all.lowest(&first), Some(Timestamp::MIN));
        let patient = report("orders-0", 9, false);
        assert_eq!(all.lowest(&patient), Some(at(9)), "the other never came");
        let second = report("orders-1", 4, true);
        all.report(&second);
        assert_eq!(all.lowest(&second), Some(at(4)));
        assert_eq!(all.lowest(&first), Some(at(4)));
    }

    #[test]
    fn the_dead_are_forgotten() {
        let (mut all, now) = (Participants::default(), Instant::now());
        for run in 0..1_000 {
            let now = now + TIMEOUT * run;
            update(&mut all, &format!("orders-{run}"), 1, now);
        }
        assert!(all.0.len() <= 2, "{}", all.0.len());
    }
}
