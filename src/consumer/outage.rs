//! How long calls have kept failing, and when that is too long.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Utc};
use crate::model::{ShardRef, Timestamp};
use crate::sys::lock::lock;

/// Calls that keep failing: those that read a shard, or those that list a stream's shards.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outage {
    /// The stream.
    pub stream: Arc<str>,
    /// The shard that cannot be read; `None` if it is the stream's shards that cannot be listed.
    pub shard: Option<ShardRef>,
    /// When the first call that failed was made, by this machine's clock.
    pub since: Timestamp,
    /// How long ago that is, or was when a call succeeded again.
    pub lasted: Duration,
    /// How many attempts have failed.
    pub attempts: u64,
    /// What the last attempt failed with.
    pub error: Error,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, attempts) = (self.lasted.as_secs(), self.attempts);
        let since = Utc(self.since);
        let error = &self.error;
        write!(
            f,
            "no call has succeeded since {since} ({attempts} attempts in {seconds} s): {error}"
        )
    }
}

/// Watches the calls of one kind, and says when they have failed for too long. Pure: `now` is told.
///
/// Only failing calls and the pauses between them count. Time that passes while no call is made, as the
/// caller is busy, is not an outage; neither is time in which the service answers that calls are too
/// many: it is there.
#[derive(Debug)]
pub(super) struct OutageWatch {
    /// `None` is never too long.
    timeout: Option<Duration>,
    counts_throttling: bool,
    called: Option<Instant>,
    current: Option<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    since: Instant,
    /// What counts of the time since.
    counted: Duration,
    attempts: u64,
    rounds: u32,
    /// When the last call failed, and how long to wait after it.
    pause: Option<(Instant, Duration)>,
    error: Error,
    is_reported: bool,
}

impl OutageWatch {
    pub fn new(timeout: Option<Duration>) -> OutageWatch {
        OutageWatch {
            timeout,
            counts_throttling: false,
            called: None,
            current: None,
        }
    }

    /// The same, where a call that is throttled is as bad as any that fails.
    pub fn counting_throttling(self) -> OutageWatch {
        OutageWatch {
            counts_throttling: true,
            ..self
        }
    }

    /// A call is about to be made.
    pub fn calling(&mut self, now: Instant) {
        self.called = Some(now);
    }

    /// The call failed. Says how long to wait before the next; `None` if it has been too long.
    ///
    /// `pause` says what to wait by how many calls failed before. The last pause is cut, so that one more
    /// call is made when the time is up, and not long after.
    pub fn failed(
        &mut self,
        now: Instant,
        error: &Error,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        let called = self.called.take().unwrap_or(now);
        if error.is_throttled() && !self.counts_throttling {
            if let Some(current) = &mut self.current {
                current.count_pause(called);
            }
            return Some(pause(0));
        }
        let current = self.current.get_or_insert_with(|| Current {
            since: called,
            counted: Duration::ZERO,
            attempts: 0,
            rounds: 0,
            pause: None,
            error: error.clone(),
            is_reported: false,
        });
        current.count(called, now, error);
        let left = self
            .timeout
            .map(|timeout| timeout.saturating_sub(current.counted));
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let pause = pause(current.rounds);
        let pause = left.map_or(pause, |left| pause.min(left));
        current.rounds = current.rounds.saturating_add(1);
        current.pause = Some((now, pause));
        Some(pause)
    }

    /// The call succeeded. Says when the outage began that is over now, and whether it was reported.
    pub fn succeeded(&mut self) -> Option<OutageEnd> {
        self.called = None;
        self.current.take().map(OutageEnd)
    }

    /// When the outage began, if there is one.
    pub fn since(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.since)
    }

    /// Says once an outage whether it has lasted long enough to be reported to the caller.
    pub fn is_report_due(&mut self) -> bool {
        let due = self.current.as_mut();
        let due = due.filter(|current| current.counted >= REPORTED_AFTER);
        due.is_some_and(|current| !std::mem::replace(&mut current.is_reported, true))
    }

    /// The outage as it is to be told, if there is one.
    pub fn outage(&self, subject: &Subject, now: Instant, wall: Timestamp) -> Option<Outage> {
        let current = self.current.as_ref()?;
        Some(current.outage(subject, now, wall))
    }
}

/// An outage that is over.
#[derive(Debug)]
pub(super) struct OutageEnd(Current);

impl OutageEnd {
    /// The outage, if the caller knows of it.
    pub fn reported(&self, subject: &Subject, now: Instant, wall: Timestamp) -> Option<Outage> {
        let OutageEnd(current) = self;
        current
            .is_reported
            .then(|| current.outage(subject, now, wall))
    }
}

/// What the calls are about.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Listing(Arc<str>),
    Shard(ShardRef),
}

impl Current {
    fn count(&mut self, called: Instant, now: Instant, error: &Error) {
        self.count_pause(called);
        // A machine that was suspended, or a clock that leapt, makes one call look as long as an outage.
        self.counted += now.saturating_duration_since(called).min(CALL_COUNTED_MAX);
        self.attempts += u64::from(error.attempts().max(1));
        self.error = error.clone();
    }

    /// Of what passed between two calls, only what was waited for the sake of the second.
    fn count_pause(&mut self, called: Instant) {
        if let Some((failed, pause)) = self.pause.take() {
            self.counted += called.saturating_duration_since(failed).min(pause);
        }
    }

    fn outage(&self, subject: &Subject, now: Instant, wall: Timestamp) -> Outage {
        let lasted = now.saturating_duration_since(self.since);
        let (stream, shard) = match subject {
            Subject::Listing(stream) => (stream.clone(), None),
            Subject::Shard(shard) => (shard.stream.clone(), Some(shard.clone())),
        };
        Outage {
            stream,
            shard,
            since: wall.saturating_sub(lasted),
            lasted,
            attempts: self.attempts,
            error: self.error.clone(),
        }
    }
}

impl Outage {
    /// What a consumer ends with.
    pub(super) fn into_error(self) -> Error {
        let (cause, since) = (self.error.clone(), self.since);
        let error = Error::new(ErrorKind::Outage { since, cause });
        error.within(|context| {
            *context = self.error.context().clone();
            context.attempts = u32::try_from(self.attempts).unwrap_or(u32::MAX);
            context.elapsed = self.lasted;
            context.is_out_of_time = false;
        })
    }
}

/// Warns of failed calls: of one in a while, and of how many others there were. An outage concerns
/// every shard, and a log that is full hides what else happens.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<WarningLimit>);

impl Warnings {
    pub fn warn(&self, now: Instant, error: &Error, pause: Duration) {
        let millis = pause.as_millis();
        let passed = lock(&self.0).pass(now);
        match passed {
            Some(0) => log::warn!("{error}; next attempt in {millis} ms"),
            Some(others) => log::warn!(
                "{error}; next attempt in {millis} ms; {others} other calls failed since the last warning"
            ),
            None => log::debug!("{error}; next attempt in {millis} ms"),
        }
    }
}

/// Lets one warning pass in an interval, and counts the others. Pure: `now` is told.
#[derive(Debug, Default)]
struct WarningLimit {
    last: Option<Instant>,
    left_out: u64,
}

impl WarningLimit {
    /// Says how many warnings were left out since the last, if this one is due.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let elapsed = self.last.map(|last| now.saturating_duration_since(last));
        if elapsed.is_some_and(|elapsed| elapsed < WARNING_INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// How much of one call counts: what a call may take by default, all of its attempts together. So an outage of 5 minutes
/// takes three calls at least.
const CALL_COUNTED_MAX: Duration = Duration::from_secs(120);

/// Long enough for a fail-over of the service or a restart of a router, and no news to anybody.
const REPORTED_AFTER: Duration = Duration::from_secs(60);

const WARNING_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);
    const SECOND: Duration = Duration::from_secs(1);

    fn unavailable() -> Error {
        Error::service("ServiceUnavailable", "", 503)
    }

    fn throttled() -> Error {
        Error::service("ProvisionedThroughputExceededException", "", 400)
    }

    /// A shard whose calls take no time, and the time by hand.
    struct Shard {
        watch: OutageWatch,
        now: Instant,
        start: Instant,
    }

    impl Shard {
        fn new(timeout: impl Into<Option<Duration>>) -> Shard {
            let (watch, now) = (OutageWatch::new(timeout.into()), Instant::now());
            Shard {
                watch,
                now,
                start: now,
            }
        }

        /// Makes a call that fails, waits as it is told to, and says whether to go on.
        fn fail(&mut self, error: &Error, pause: Duration) -> bool {
            self.watch.calling(self.now);
            let pause = self.watch.failed(self.now, error, |_| pause);
            self.now += pause.unwrap_or_default();
            pause.is_some()
        }

        fn elapsed(&self) -> Duration {
            self.now - self.start
        }
    }

    #[test]
    fn an_outage_is_too_long_when_its_time_is_up_and_not_before() {
        let mut shard = Shard::new(TIMEOUT);
        while shard.fail(&unavailable(), 7 * SECOND) {}
        assert_eq!(shard.elapsed(), TIMEOUT, "the last pause is cut");
        let mut shard = Shard::new(TIMEOUT);
        while shard.elapsed() < 299 * SECOND {
            assert!(shard.fail(&unavailable(), SECOND));
        }
        assert!(shard.watch.succeeded().is_some());
        assert!(shard.watch.succeeded().is_none());
        shard.start = shard.now;
        while shard.fail(&unavailable(), SECOND) {}
        assert_eq!(shard.elapsed(), TIMEOUT, "it begins anew");
    }

    #[test]
    fn one_call_in_which_the_clock_leaps_ends_nothing() {
        let mut shard = Shard::new(TIMEOUT);
        for _ in 0..2 {
            shard.watch.calling(shard.now);
            shard.now += 24 * 3_600 * SECOND;
            let pause = shard.watch.failed(shard.now, &unavailable(), |_| SECOND);
            assert_eq!(pause, Some(SECOND));
        }
        shard.watch.calling(shard.now);
        shard.now += 24 * 3_600 * SECOND;
        assert_eq!(
            shard.watch.failed(shard.now, &unavailable(), |_| SECOND),
            None
        );
    }

    #[test]
    fn never_is_never() {
        let mut shard = Shard::new(None);
        for _ in 0..100_000 {
            assert!(shard.fail(&unavailable(), 10 * SECOND));
        }
    }

    #[test]
    fn throttling_is_no_outage_and_does_not_end_one() {
        let mut shard = Shard::new(TIMEOUT);
        for _ in 0..3_600 {
            assert!(shard.fail(&throttled(), SECOND));
        }
        assert!(shard.watch.since().is_none());
        // Half of the time it is an outage.
        while shard.fail(&unavailable(), SECOND) {
            assert!(shard.fail(&throttled(), SECOND));
        }
        assert_eq!(shard.elapsed(), 3_600 * SECOND + 2 * TIMEOUT);
    }

    #[test]
    fn time_in_which_no_call_is_made_does_not_count() {
        let mut shard = Shard::new(TIMEOUT);
        assert!(shard.fail(&unavailable(), SECOND));
        shard.now += 3_600 * SECOND;
        assert!(shard.fail(&unavailable(), SECOND), "the caller was busy");
        // The calls themselves count: 2 s of pauses so far, and two more between the calls.
        for seconds in [120, 120, 55] {
            shard.watch.calling(shard.now);
            shard.now += seconds * SECOND;
            let late = shard.watch.failed(shard.now, &unavailable(), |_| SECOND);
            assert_eq!(late, Some(SECOND), "{seconds} s");
            shard.now += SECOND;
        }
        assert!(!shard.fail(&unavailable(), SECOND));
    }

    #[test]
    fn pauses_are_asked_for_by_how_often_calls_failed() {
        let (mut watch, now) = (OutageWatch::new(Some(TIMEOUT)), Instant::now());
        let mut rounds = Vec::new();
        for error in [unavailable(), unavailable(), throttled(), unavailable()] {
            watch.calling(now);
            watch.failed(now, &error, |round| {
                rounds.push(round);
                SECOND
            });
        }
        assert_eq!(rounds, [0, 1, 0, 2]);
    }

    #[test]
    fn it_is_reported_once_after_a_minute_and_so_is_its_end() {
        let subject = Subject::Shard(ShardRef::new("orders", "a"));
        let wall = Timestamp::from_millis(1_700_000_000_000);
        let mut shard = Shard::new(TIMEOUT);
        let mut reported = Vec::new();
        for _ in 0..100 {
            shard.fail(&unavailable(), SECOND);
            if shard.watch.is_report_due() {
                reported.push(shard.elapsed());
            }
        }
        assert_eq!(reported, [61 * SECOND]);
        let end = shard.watch.succeeded().expect("an outage");
        let outage = end.reported(&subject, shard.now, wall).expect("reported");
        assert_eq!((outage.attempts, outage.lasted), (100, 100 * SECOND));
        assert_eq!(
            outage.to_string(),
            "no call has succeeded since 2023-11-14T22:11:40Z (100 attempts in 100 s): ServiceUnavailable"
        );
        assert!(shard.fail(&unavailable(), SECOND) && !shard.watch.is_report_due());
        let end = shard.watch.succeeded().expect("an outage");
        assert!(end.reported(&subject, shard.now, wall).is_none());
    }

    #[test]
    fn one_warning_passes_in_ten_seconds_and_says_how_many_did_not() {
        let (mut limit, now) = (WarningLimit::default(), Instant::now());
        let passed = [0, 1, 9, 10, 11, 25].map(|second| limit.pass(now + second * SECOND));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
