use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::meters::Meters;
use crate::consumer::store::{CheckpointStore, Commit};
use crate::error::{Error, Result};

/// When, and where, checkpoints are saved.
pub(super) struct Commits {
    store: Option<Box<dyn CheckpointStore>>,
    interval: Option<Duration>,
    next: Option<Instant>,
    /// What the caller committed last. From then on no checkpoint is saved without its state.
    state: Option<Bytes>,
    meters: Arc<Meters>,
}

impl Commits {
    /// Takes what the store has. The interval starts with [`begin`](Commits::begin).
    pub fn load(
        store: Option<Box<dyn CheckpointStore>>,
        interval: Option<Duration>,
        meters: Arc<Meters>,
    ) -> Result<(Commits, Option<Checkpoint>)> {
        let mut commits = Commits {
            interval: interval.filter(|_| store.is_some()),
            store,
            next: None,
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
        self.next = self.interval.and_then(|interval| now.checked_add(interval));
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

    pub fn save(&mut self, checkpoint: Checkpoint, now: Instant) -> Result<()> {
        if self.has_state() {
            let expected = "committed by commit_with, as the checkpoint before it was";
            return Err(Error::config("checkpoint", "without a state", expected));
        }
        self.begin(now);
        match &self.store {
            Some(_) => self.store(Commit::new(checkpoint, None), now),
            None => Ok(()),
        }
    }

    pub fn save_with(&mut self, checkpoint: Checkpoint, state: Bytes, now: Instant) -> Result<()> {
        self.store(Commit::new(checkpoint, Some(state.clone())), now)?;
        self.state = Some(state);
        Ok(())
    }

    fn store(&mut self, commit: Commit, now: Instant) -> Result<()> {
        let Some(store) = &mut self.store else {
            let expected = "a store, or the state would be lost";
            return Err(Error::config("checkpoint_store", "", expected));
        };
        let saved = store.save(&commit);
        self.meters.committed(now, saved.is_ok());
        match &saved {
            Ok(()) => log::debug!("committed {} shards", commit.checkpoint.iter().count()),
            Err(error) => log::warn!("{error}"),
        }
        saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::store::MemoryCheckpointStore;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn commits(store: &MemoryCheckpointStore) -> Commits {
        let store: Box<dyn CheckpointStore> = Box::new(store.clone());
        let loaded = Commits::load(Some(store), Some(INTERVAL), Arc::default());
        loaded.expect("loaded").0
    }

    #[test]
    fn an_interval_counts_from_the_last_commit() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let mut commits = commits(&store);
        assert_eq!(commits.due(), None);
        commits.begin(now);
        assert_eq!(commits.due(), Some(now + INTERVAL));
        let later = now + Duration::from_secs(3);
        commits.save(Checkpoint::default(), later).expect("saved");
        assert_eq!(commits.due(), Some(later + INTERVAL));
        assert_eq!(store.last(), Some(Commit::default()));
    }

    #[test]
    fn what_has_a_state_is_not_committed_without_one() {
        let (now, store) = (Instant::now(), MemoryCheckpointStore::new());
        let mut first = commits(&store);
        first.begin(now);
        let state = Bytes::from_static(b"17");
        let saved = first.save_with(Checkpoint::default(), state.clone(), now);
        saved.expect("saved");
        for mut commits in [first, commits(&store)] {
            assert_eq!((commits.due(), commits.state()), (None, Some(&state)));
            let message = commits.save(Checkpoint::default(), now).expect_err("torn");
            assert_eq!(
                message.to_string(),
                "checkpoint: \"without a state\" is not committed by commit_with, as the checkpoint \
                 before it was"
            );
        }
    }

    #[test]
    fn a_state_needs_a_store() {
        let (mut commits, _) = Commits::load(None, Some(INTERVAL), Arc::default()).expect("loaded");
        commits.begin(Instant::now());
        assert_eq!(commits.due(), None);
        let saved = commits.save(Checkpoint::default(), Instant::now());
        saved.expect("nothing to do");
        let message = commits
            .save_with(Checkpoint::default(), Bytes::new(), Instant::now())
            .expect_err("lost");
        assert_eq!(
            message.to_string(),
            "checkpoint_store is not set: it has to be a store, or the state would be lost"
        );
    }
}
