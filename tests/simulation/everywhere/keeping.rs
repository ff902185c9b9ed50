//! The stores of the processes: in memory or on a simulated disk, and failing when they are told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kinesis_blocking::fake::FakeDisk;
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Commit, Error, FileCheckpointStore, MemoryCheckpointStore, Result,
};

/// Where one process keeps its checkpoints, through all its lives.
#[derive(Clone)]
pub struct Keeper {
    memory: MemoryCheckpointStore,
    disk: Option<FakeDisk>,
    state: Arc<Mutex<State>>,
    saves_to_fail: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    /// What was saved last, and what a save that failed may have left in its place.
    saved: Option<Commit>,
    attempt: Option<Commit>,
    is_attempt_adopted: bool,
}

impl Keeper {
    pub fn new(on_disk: bool, seed: u64, saves_to_fail: &Arc<AtomicU64>) -> Keeper {
        Keeper {
            memory: MemoryCheckpointStore::new(),
            disk: on_disk.then(|| FakeDisk::with_seed(seed)),
            state: Arc::default(),
            saves_to_fail: saves_to_fail.clone(),
        }
    }

    /// What was saved last.
    pub fn last(&self) -> Option<Checkpoint> {
        let state = self.state();
        state.saved.as_ref().map(|commit| commit.checkpoint.clone())
    }

    /// The store of one life.
    pub fn open(&self) -> OpenStore {
        let store: Box<dyn CheckpointStore> = match &self.disk {
            Some(disk) => Box::new(FileCheckpointStore::new("orders.checkpoint").on_disk(disk)),
            None => Box::new(self.memory.clone()),
        };
        OpenStore {
            store,
            keeper: self.clone(),
        }
    }

    /// Lets the disk stop after so many operations.
    pub fn stop_after(&self, operations: u64) {
        if let Some(disk) = &self.disk {
            disk.fail_after(operations);
        }
    }

    pub fn power_loss(&self) {
        if let Some(disk) = &self.disk {
            disk.power_loss();
        }
    }

    /// Says, once, whether what a failed save left was found since.
    pub fn has_adopted_attempt(&self) -> bool {
        std::mem::take(&mut self.state().is_attempt_adopted)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

pub struct OpenStore {
    store: Box<dyn CheckpointStore>,
    keeper: Keeper,
}

impl CheckpointStore for OpenStore {
    /// Fails the history unless it finds what was saved last.
    fn load(&mut self) -> Result<Option<Commit>> {
        let loaded = self.store.load()?;
        let mut state = self.keeper.state();
        let attempt = state.attempt.take();
        if loaded != state.saved {
            assert!(
                attempt.is_some() && loaded == attempt,
                "loaded {loaded:?}, and saved {:?}",
                state.saved
            );
            state.is_attempt_adopted = true;
            state.saved.clone_from(&loaded);
        }
        Ok(loaded)
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        if counts_down(&self.keeper.saves_to_fail) {
            return Err(Error::store("saving", "as planned"));
        }
        let saved = self.store.save(commit);
        let mut state = self.keeper.state();
        match &saved {
            Ok(()) => {
                state.saved = Some(commit.clone());
                state.attempt = None;
            }
            Err(_) => state.attempt = Some(commit.clone()),
        }
        saved
    }
}

/// Counts down to 0, and says whether it was above.
pub fn counts_down(counter: &AtomicU64) -> bool {
    let down = |count: u64| count.checked_sub(1);
    let counted = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down);
    counted.is_ok()
}
