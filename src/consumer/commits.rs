use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::meters::Meters;
use crate::consumer::outage::OutageWatch;
use crate::consumer::store::{CheckpointStore, Commit};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock::later;

/// When, and where, checkpoints are saved. Pure but for the store. A save takes time, so the methods that save ask
/// the function `now` before and after it; the others are given the time.
pub(super) struct Commits {
    store: Option<Box<dyn CheckpointStore>>,
    interval: Option<Duration>,
    next: Option<Instant>,
    /// The saves that have failed in a row. Only they and the pauses between them count: while the caller is
    /// busy nothing is saved, and nobody knows whether the store works again.
    failing: OutageWatch,
    /// Saves have failed in a row for longer than they may.
    is_over: bool,
    /// What the caller committed last. From then on no checkpoint is saved without its state.
    state: Option<Bytes>,
    meters: Arc<Meters>,
}

/// What became of a commit that the consumer made by itself.
#[derive(Debug)]
pub(super) enum Outcome {
    Saved,
    /// It is tried again.
    Failed(Error),
    /// It is not, so the consumer ends.
    GivenUp(Error),
}

impl Commits {
    /// Takes what the store has. The interval starts with [`begin`](Commits::begin).
    pub fn load(
        store: Option<Box<dyn CheckpointStore>>,
        interval: Option<Duration>,
        retry_timeout: Duration,
        meters: Arc<Meters>,
    ) -> Result<(Commits, Option<Checkpoint>)> {
        let interval = interval.map(|interval| interval.min(INTERVAL_MAX));
        let mut commits = Commits {
            interval: interval.filter(|_| store.is_some()),
            store,
            next: None,
            // A store that throttles saves nothing, either.
            failing: OutageWatch::new(Some(retry_timeout)).counting_throttling(),
            is_over: false,
            state: None,
            meters,
        };
        let loaded = commits.store.as_mut().map_or(Ok(None), |s| s.load())?;
        let checkpoint = loaded.map(|commit| {
            commits.state = commit.state;
            commit.checkpoint
        });
        Ok((commits, checkpoint))
    }

    /// Forgets the state that was loaded: the caller goes on from somewhere else.
    pub fn forget_state(&mut self) {
        self.state = None;
    }

    pub fn begin(&mut self, now: Instant) {
        self.next = self.interval.map(|interval| later(now, interval));
    }

    /// When the next commit is to be made by itself.
    pub fn due(&self) -> Option<Instant> {
        self.next.filter(|_| !self.has_state())
    }

    /// Says whether each record is to be committed before the next.
    pub fn is_prompt(&self) -> bool {
        self.interval.is_some_and(|interval| interval.is_zero())
    }

    /// Only the caller knows the state that belongs to a checkpoint.
    pub fn has_state(&self) -> bool {
        self.state.is_some()
    }

    pub fn state(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }

    /// Says whether the last commit failed, so that the next waits for its time.
    pub fn is_failing(&self) -> bool {
        self.failing.since().is_some()
    }

    /// Saves where reading begins, which is decided once: a start at LATEST that is decided again after
    /// a kill would pass over what arrived since. The state that was loaded still belongs to it.
    ///
    /// # Errors
    /// The store's: nothing was saved.
    pub fn save_start(&mut self, checkpoint: Checkpoint, now: impl Fn() -> Instant) -> Result<()> {
        let commit = Commit::new(checkpoint, self.state.clone());
        match &self.store {
            Some(_) => self.store(commit, now),
            None => Ok(()),
        }
    }

    pub fn save(&mut self, checkpoint: Checkpoint, now: impl Fn() -> Instant) -> Result<()> {
        if self.has_state() {
            let expected = "committed by commit_with, as the checkpoint before it was";
            return Err(Error::config("checkpoint", "without a state", expected));
        }
        self.begin(now());
        match &self.store {
            Some(_) => self.store(Commit::new(checkpoint, None), now),
            None => Ok(()),
        }
    }

    /// Saves because it is time to. What fails is tried again for a while: a disk that is full, or a
    /// database that restarts, need not end the consumer.
    pub fn save_by_itself(&mut self, checkpoint: Checkpoint, now: impl Fn() -> Instant) -> Outcome {
        let Err(error) = self.save(checkpoint, now) else {
            return Outcome::Saved;
        };
        match self.is_over || matches!(error.kind(), ErrorKind::Fenced { .. }) {
            true => Outcome::GivenUp(error),
            false => Outcome::Failed(error),
        }
    }

    pub fn save_with(
        &mut self,
        checkpoint: Checkpoint,
        state: Bytes,
        now: impl Fn() -> Instant,
    ) -> Result<()> {
        self.store(Commit::new(checkpoint, Some(state.clone())), now)?;
        self.state = Some(state);
        Ok(())
    }

    fn store(&mut self, commit: Commit, now: impl Fn() -> Instant) -> Result<()> {
        let Some(store) = &mut self.store else {
            let expected = "a store, or the state would be lost";
            return Err(Error::config("checkpoint_store", "", expected));
        };
        let called = now();
        self.failing.calling(called);
        let saved = store.save(&commit);
        self.meters.committed(called, saved.as_ref().err());
        match &saved {
            Ok(()) => {
                self.failing.succeeded();
                self.is_over = false;
                log::debug!("committed {} shards", commit.checkpoint.iter().count());
            }
            Err(error) => {
                self.failed(now(), error);
                log::warn!("{error}");
            }
        }
        saved
    }

    /// The next save is made after a pause, also where the caller made the one that failed: an interval may be an
    /// hour.
    fn failed(&mut self, now: Instant, error: &Error) {
        let interval = self.interval.unwrap_or_default();
        let pause = interval.clamp(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
        let pause = self.failing.failed(now, error, |_| pause);
        self.is_over = pause.is_none();
        if let (Some(_), Some(pause)) = (self.interval, pause) {
            self.next = Some(later(now, pause));
        }
    }
}

/// A checkpoint says up to when nothing is missing. If that is older than the stream's retention, a
/// quiet shard cannot be told from one that was trimmed; the shortest retention is 24 hours.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// How long after a failed commit the next is tried, if the interval is shorter or longer.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::consumer::store::MemoryCheckpointStore;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn commits(store: &MemoryCheckpointStore) -> Commits {
        let store: Box<dyn CheckpointStore> = Box::new(store.clone());
        load(store, INTERVAL)
    }

    fn load(store: Box<dyn CheckpointStore>, interval: Duration) -> Commits {
        let loaded = Commits::load(Some(store), Some(interval), RETRY_TIMEOUT, Arc::default());
        loaded.expect("loaded").0
    }

    const RETRY_TIMEOUT: Duration = Duration::from_secs(300);

    #[test]
    fn an_interval_counts_from_the_last_commit() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let mut commits = commits(&store);
        assert_eq!(commits.due(), None);
        commits.begin(now);
        assert_eq!(commits.due(), Some(now + INTERVAL));
        let later = now + Duration::from_secs(3);
        commits
            .save(Checkpoint::default(), || later)
            .expect("saved");
        assert_eq!(commits.due(), Some(later + INTERVAL));
        assert_eq!(store.last(), Some(Commit::default()));
    }

    #[test]
    fn what_has_a_state_is_not_committed_without_one() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let mut first = commits(&store);
        first.begin(now);
        let state = Bytes::from_static(b"17");
        let saved = first.save_with(Checkpoint::default(), state.clone(), || now);
        saved.expect("saved");
        for mut commits in [first, commits(&store)] {
            assert_eq!((commits.due(), commits.state()), (None, Some(&state)));
            let message = commits
                .save(Checkpoint::default(), || now)
                .expect_err("torn");
            assert_eq!(
                message.to_string(),
                "checkpoint: \"without a state\" is not committed by commit_with, as the checkpoint \
                 before it was"
            );
        }
    }

    #[test]
    fn a_state_needs_a_store() {
        let (mut commits, _) =
            Commits::load(None, Some(INTERVAL), RETRY_TIMEOUT, Arc::default()).expect("loaded");
        commits.begin(Instant::now());
        assert_eq!(commits.due(), None);
        let saved = commits.save(Checkpoint::default(), Instant::now);
        saved.expect("nothing to do");
        let message = commits
            .save_with(Checkpoint::default(), Bytes::new(), Instant::now)
            .expect_err("lost");
        assert_eq!(
            message.to_string(),
            "checkpoint_store is not set: it has to be a store, or the state would be lost"
        );
    }

    #[test]
    fn at_most_an_hour_passes_between_two_commits_by_interval() {
        let now = Instant::now();
        for (interval, expected) in [
            (Duration::from_secs(3_599), 3_599),
            (Duration::from_secs(86_400), 3_600),
            (Duration::MAX, 3_600),
        ] {
            let mut commits = load(Box::new(MemoryCheckpointStore::new()), interval);
            commits.begin(now);
            let expected = Duration::from_secs(expected);
            assert_eq!(commits.due(), Some(now + expected), "{interval:?}");
        }
    }

    /// Fails while told to.
    struct Broken(Arc<AtomicBool>);

    impl CheckpointStore for Broken {
        fn load(&mut self) -> Result<Option<Commit>> {
            Ok(None)
        }

        fn save(&mut self, _: &Commit) -> Result<()> {
            match self.0.load(Ordering::Relaxed) {
                true => Err(Error::store("writing", "no room".to_owned())),
                false => Ok(()),
            }
        }
    }

    #[test]
    fn a_commit_that_fails_is_tried_again_and_given_up_in_the_end() {
        for (interval, pause) in [(0, 1), (5, 5), (600, 30)] {
            let broken = Arc::new(AtomicBool::new(true));
            let mut commits = load(
                Box::new(Broken(broken.clone())),
                Duration::from_secs(interval),
            );
            let begin = Instant::now();
            let at = |seconds| begin + Duration::from_secs(seconds);
            commits.begin(begin);
            for second in (0..300).step_by(pause) {
                let outcome = commits.save_by_itself(Checkpoint::default(), || at(second));
                assert!(matches!(outcome, Outcome::Failed(_)), "{second} s");
                assert_eq!(commits.due(), Some(at(second + pause as u64)));
                assert!(commits.is_failing());
            }
            broken.store(false, Ordering::Relaxed);
            let outcome = commits.save_by_itself(Checkpoint::default(), || at(299));
            assert!(matches!(outcome, Outcome::Saved) && !commits.is_failing());
            assert_eq!(commits.due(), Some(at(299 + interval)));
            // The time counts from the first failure in a row.
            broken.store(true, Ordering::Relaxed);
            for second in (300..=600).step_by(pause) {
                let outcome = commits.save_by_itself(Checkpoint::default(), || at(second));
                assert_eq!(
                    matches!(outcome, Outcome::GivenUp(_)),
                    second == 600,
                    "{second} s"
                );
            }
        }
    }

    #[test]
    fn time_in_which_nothing_is_saved_is_no_failure() {
        let broken = Arc::new(AtomicBool::new(true));
        let mut commits = load(Box::new(Broken(broken)), INTERVAL);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let by_hand = commits.save(Checkpoint::default(), || begin);
        by_hand.expect_err("broken");
        assert_eq!(commits.due(), Some(begin + INTERVAL));
        // A caller who is busy for 17 minutes, again and again: each time counts as the pause that was due.
        for turn in 1..60 {
            let outcome = commits.save_by_itself(Checkpoint::default(), || at(turn * 1_020));
            assert!(matches!(outcome, Outcome::Failed(_)), "{turn}");
        }
        let outcome = commits.save_by_itself(Checkpoint::default(), || at(60 * 1_020));
        assert!(matches!(outcome, Outcome::GivenUp(_)), "{outcome:?}");
    }

    #[test]
    fn the_time_that_a_save_takes_counts() {
        let broken = Arc::new(AtomicBool::new(true));
        let mut commits = load(Box::new(Broken(broken)), Duration::ZERO);
        let clock = Cell::new(Instant::now());
        // It is asked once before each save, and once after it.
        let slow = || clock.replace(clock.get() + Duration::from_secs(59));
        let mut saves = 0;
        let outcome = loop {
            saves += 1;
            clock.set(clock.get() + Duration::from_secs(1));
            match commits.save_by_itself(Checkpoint::default(), slow) {
                Outcome::Failed(_) => {}
                outcome => break outcome,
            }
        };
        assert!(
            matches!(outcome, Outcome::GivenUp(_)) && saves <= 6,
            "{saves}"
        );
    }

    #[test]
    fn a_store_that_another_has_taken_is_not_tried_again() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let mut commits = commits(&store);
        store.clone().load().expect("taken away");
        let outcome = commits.save_by_itself(Checkpoint::default(), || now);
        assert!(matches!(outcome, Outcome::GivenUp(_)), "{outcome:?}");
    }

    #[test]
    fn the_start_is_saved_with_the_state_that_was_there() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let state = Bytes::from_static(b"17");
        let mut first = commits(&store);
        let saved = first.save_with(Checkpoint::default(), state.clone(), || now);
        saved.expect("saved");
        let mut second = commits(&store);
        second
            .save_start(Checkpoint::default(), || now)
            .expect("saved");
        let last = store.last().expect("a commit");
        assert_eq!(last.state, Some(state));
    }
}
