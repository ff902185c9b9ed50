use std::time::{Duration, Instant};

use crate::producer::placement::earlier;

/// When one stream's shards are to be listed, and how old the last list is.
///
/// The old map stays in use meanwhile.
pub(super) struct Listing {
    state: State,
    /// When the call began whose answer is the current map.
    listed_at: Option<Instant>,
    /// How new the next list has to be.
    since: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Duration,
    /// How many lists in a row showed the same shards as the one before.
    fruitless: u32,
    /// How many in a row failed.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Due, and waits for a thread.
    Queued,
    UnderWay,
    Wanted(Instant),
}

/// Streams whose lists wait for a thread, by how likely they are to be answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListingClass {
    Proven,
    New,
    Failing,
}

impl ListingClass {
    /// The best first.
    pub const ALL: [ListingClass; 3] = [
        ListingClass::Proven,
        ListingClass::New,
        ListingClass::Failing,
    ];
}

impl Listing {
    /// Of a stream whose map was listed by a call that began at this time, or not at all.
    pub fn new(listed_at: Option<Instant>) -> Listing {
        Listing {
            state: State::Idle,
            listed_at,
            since: None,
            not_before: None,
            backoff: BACKOFF_MIN,
            fruitless: 0,
            failures: 0,
        }
    }

    /// Asks for a list that was begun at `since` or later, as soon as the last failure allows.
    pub fn want(&mut self, since: Instant, now: Instant) {
        // The one that is there did not help.
        let newer = self.listed_at.map(|at| at + Duration::from_nanos(1));
        self.since = self.since.max(Some(since)).max(newer);
        self.want_again(now);
    }

    /// Asks for what was asked for before.
    pub fn want_again(&mut self, now: Instant) {
        if self.state == State::Idle {
            let at = self.not_before.map_or(now, |at| at.max(now));
            self.state = State::Wanted(at);
        }
    }

    /// Asks for a new list if what happened at this time is news to the current one.
    pub fn want_if_older(&mut self, than: Instant, now: Instant) {
        if !self.knows_of(than) {
            self.want(than, now);
        }
    }

    /// Says whether the current list was asked for at this time or later.
    pub fn knows_of(&self, time: Instant) -> bool {
        self.listed_at.is_some_and(|listed_at| listed_at >= time)
    }

    /// Says whether it has to queue up for a thread now.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = matches!(self.state, State::Wanted(at) if at <= now);
        if is_due {
            self.state = State::Queued;
        }
        is_due
    }

    /// Says how new the list has to be that is under way from now on.
    pub fn begin(&mut self, now: Instant) -> Instant {
        self.state = State::UnderWay;
        self.since.unwrap_or(now)
    }

    /// Says how likely a list is to be answered at once: that of a stream that was listed before more
    /// than one never tried, and that more than one that failed.
    pub fn standing(&self) -> ListingClass {
        match (self.failures, self.listed_at) {
            (0, Some(_)) => ListingClass::Proven,
            (0, None) => ListingClass::New,
            _ => ListingClass::Failing,
        }
    }

    /// Says whether the last list showed nothing new.
    pub fn is_fruitless(&self) -> bool {
        self.fruitless > 0
    }

    /// Says whether lists have shown nothing new for so long that the next one is not worth a wait.
    pub fn is_put_off(&self, now: Instant) -> bool {
        let is_later = |at: Instant| at.saturating_duration_since(now) > PATIENCE;
        self.is_fruitless() && self.not_before.is_some_and(is_later)
    }

    /// Asks for a list because of a shard that is not in the one that is there: that is news for certain,
    /// however many lists have shown none before.
    pub fn want_unknown(&mut self, since: Instant, now: Instant) {
        if self.is_fruitless() {
            let soon = now.checked_add(PATIENCE);
            self.not_before = earlier(self.not_before, soon);
        }
        if let State::Wanted(_) = self.state {
            self.state = State::Idle;
        }
        self.want(since, now);
    }

    pub fn is_under_way(&self) -> bool {
        self.state == State::UnderWay
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Wanted(at) => Some(at),
            State::Idle | State::Queued | State::UnderWay => None,
        }
    }

    /// Notes a new list, and whether its shards are others than before.
    ///
    /// One that still lacks a new shard must not be asked for over and over, and for a stream that
    /// ignores keys all lists are the same: each that brings no news puts the next one off further.
    pub fn succeeded(&mut self, began: Instant, ended: Instant, is_news: bool) {
        let before = self.listed_at.map(|at| began.saturating_duration_since(at));
        let is_in_a_row = !is_news && before.is_some_and(|before| before < BACKOFF_MAX * 2);
        let fruitless = if is_in_a_row { self.fruitless + 1 } else { 0 };
        *self = Listing::new(Some(began));
        self.fruitless = fruitless.min(FRUITLESS_MAX);
        let pause = (PAUSE * (1 << self.fruitless)).min(BACKOFF_MAX);
        self.not_before = ended.checked_add(pause);
    }

    /// Gives how long the next one will be put off.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let pause = self.backoff;
        self.state = State::Idle;
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.checked_add(pause);
        self.backoff = (pause * 3 / 2).min(BACKOFF_MAX);
        pause
    }
}

/// The KPL's, for its shard map: grows by half each time.
const BACKOFF_MIN: Duration = Duration::from_millis(1_000);
const BACKOFF_MAX: Duration = Duration::from_millis(30_000);

/// Lists without news after which the pause does not grow any more.
const FRUITLESS_MAX: u32 = 9;

/// How long a stored record waits for a list that is put off because others showed nothing new.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two lists of one stream that succeed.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Sys;

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let now = Sys::real().clock.now();
        let mut listing = Listing::new(None);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            pauses.push(listing.failed(now).as_millis());
        }
        assert_eq!(
            pauses,
            [
                1000, 1500, 2250, 3375, 5062, 7593, 11390, 17085, 25628, 30000, 30000
            ]
        );
        listing.want(now, now);
        let at = now + Duration::from_secs(30);
        assert_eq!(listing.next_deadline(), Some(at));
        assert!(!listing.is_due(at - Duration::from_nanos(1)));
        assert!(listing.is_due(at) && !listing.is_due(at));
        assert_eq!((listing.begin(at), listing.next_deadline()), (now, None));
    }

    #[test]
    fn old_evidence_asks_for_nothing() {
        let began = Sys::real().clock.now();
        let later = began + Duration::from_secs(1);
        let mut listing = Listing::new(Some(began));
        listing.want_if_older(began, later);
        assert_eq!(listing.next_deadline(), None);
        listing.want_if_older(later, later);
        assert_eq!(listing.next_deadline(), Some(later));
        assert!(listing.is_due(later));
        assert_eq!(listing.begin(later), later);
        listing.succeeded(later, later, true);
        assert!(listing.knows_of(later) && !listing.knows_of(later + PAUSE));
    }

    #[test]
    fn lists_without_news_are_followed_by_longer_and_longer_pauses() {
        let mut now = Sys::real().clock.now();
        let mut listing = Listing::new(None);
        let mut pause_after = |is_news| {
            listing.succeeded(now, now, is_news);
            listing.want(now, now);
            let at = listing.next_deadline().expect("wanted");
            let pause = at - now;
            now = at;
            assert!(listing.is_due(now));
            listing.begin(now);
            pause.as_millis()
        };
        let pauses = [(); 11].map(|()| pause_after(false));
        let expected = [
            100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000,
        ];
        assert_eq!(pauses, expected);
        assert_eq!((pause_after(true), pause_after(false)), (100, 200));
    }

    #[test]
    fn nobody_waits_for_a_list_that_is_put_off_unless_a_shard_is_unknown() {
        let now = Sys::real().clock.now();
        let mut listing = Listing::new(None);
        for _ in 0..10 {
            listing.succeeded(now, now, false);
        }
        listing.want(now, now);
        let at = listing.next_deadline().expect("wanted");
        assert!(at > now + PATIENCE && listing.is_put_off(now));
        assert!(!listing.is_put_off(at - PATIENCE));
        listing.want_unknown(now, now);
        assert_eq!(listing.next_deadline(), Some(now + PATIENCE));
        // A list that failed is waited for: it may show something new.
        let mut failed = Listing::new(None);
        for _ in 0..10 {
            failed.failed(now);
        }
        assert!(!failed.is_put_off(now));
    }

    #[test]
    fn a_list_that_is_wanted_is_newer_than_the_one_that_is_there() {
        let began = Sys::real().clock.now();
        let now = began + Duration::from_secs(10);
        for (listed, since, wanted) in [
            (None, began, began),
            (Some(began), began, began + Duration::from_nanos(1)),
            (Some(began), now, now),
        ] {
            let mut listing = Listing::new(listed);
            listing.want(since, now);
            assert!(listing.is_due(now) && !listing.is_under_way());
            assert_eq!(listing.begin(now), wanted, "{listed:?}");
            assert!(listing.is_under_way());
        }
    }

    #[test]
    fn streams_stand_by_what_came_of_their_last_list() {
        let now = Sys::real().clock.now();
        for (listed, fails, class) in [
            (None, false, ListingClass::New),
            (None, true, ListingClass::Failing),
            (Some(now), false, ListingClass::Proven),
            (Some(now), true, ListingClass::Failing),
        ] {
            let mut listing = Listing::new(listed);
            if fails {
                listing.failed(now);
            }
            assert_eq!(listing.standing(), class, "{listed:?}");
        }
    }

    #[test]
    fn lists_a_minute_apart_are_not_in_a_row() {
        let began = Sys::real().clock.now();
        let minute = Duration::from_secs(60);
        for (pause, in_a_row) in [(minute - Duration::from_nanos(1), true), (minute, false)] {
            let mut listing = Listing::new(Some(began));
            listing.succeeded(began + pause, began + pause, false);
            assert_eq!(listing.is_fruitless(), in_a_row, "{pause:?}");
        }
    }
}
