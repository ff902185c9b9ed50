use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::consumer::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::sys::lock::lock;

/// What a consumer commits: where to go on from, and what the caller has made of the records so far.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Where to go on from.
    pub checkpoint: Checkpoint,
    /// The caller's own, as given to [`commit_with`](crate::Consumer::commit_with).
    pub state: Option<Bytes>,
}

impl Commit {
    /// Puts the two together.
    pub fn new(checkpoint: Checkpoint, state: Option<Bytes>) -> Commit {
        Commit { checkpoint, state }
    }
}

/// Shows everything but the state, which belongs to the user.
impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("checkpoint", &self.checkpoint)
            .field("state_bytes", &self.state.as_ref().map(Bytes::len))
            .finish()
    }
}

/// A place where what a consumer commits outlives the consumer.
///
/// One consumer has it at a time, and [`load`](CheckpointStore::load) is how it takes it. Whoever
/// had it before may still be running, cut off or asleep: its `save` has to fail from then on, as two
/// that save in turns would undo each other's work. So `load` either fails while another has the
/// place, as that of a file does, or takes it away, as a row with a number does that `load` raises and
/// `save` names.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{CheckpointStore, Commit, Error, ErrorKind, Result};
/// use std::sync::{Arc, Mutex};
///
/// /// A table with one row, whose first column is the number of whoever came last.
/// #[derive(Clone, Default)]
/// struct Table {
///     row: Arc<Mutex<(u64, Option<Commit>)>>,
///     mine: u64,
/// }
///
/// impl CheckpointStore for Table {
///     fn load(&mut self) -> Result<Option<Commit>> {
///         let mut row = self.row.lock().map_err(|error| Error::store("reading the row", error.to_string()))?;
///         row.0 += 1;
///         self.mine = row.0;
///         Ok(row.1.clone())
///     }
///
///     fn save(&mut self, commit: &Commit) -> Result<()> {
///         let mut row = self.row.lock().map_err(|error| Error::store("writing the row", error.to_string()))?;
///         if row.0 != self.mine {
///             return Err(Error::fenced("the row"));
///         }
///         row.1 = Some(commit.clone());
///         Ok(())
///     }
/// }
///
/// let mut first = Table::default();
/// first.load()?;
/// let mut second = first.clone();
/// second.load()?;
/// let late = first.save(&Commit::default()).unwrap_err();
/// assert!(matches!(late.kind(), ErrorKind::Fenced { .. }));
/// # second.save(&Commit::default())
/// # }
/// ```
pub trait CheckpointStore: Send {
    /// Takes the place, and returns what was committed last; `None` if nothing was yet.
    ///
    /// # Errors
    /// Another has it, or there may be something that cannot be read: see
    /// [`Error::store`]. The consumer then does not start.
    fn load(&mut self) -> Result<Option<Commit>>;

    /// Saves a commit, wholly or not at all, before it returns.
    ///
    /// # Errors
    /// It may not have been saved: then the one before is still there. [`Error::fenced`] if another has
    /// taken the place; the consumer then ends at once, and otherwise tries a commit by interval again.
    fn save(&mut self, commit: &Commit) -> Result<()>;
}

/// Keeps what is committed in this process's memory: for tests, and for restarts without a crash.
///
/// Clones share one place. The clone that loaded last has it, and the others' saves fail with
/// [`Fenced`](crate::ErrorKind::Fenced).
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{CheckpointStore, Commit, MemoryCheckpointStore};
///
/// let mut store = MemoryCheckpointStore::new();
/// assert_eq!(store.load()?, None);
/// store.save(&Commit::default())?;
/// assert_eq!(store.clone().load()?, Some(Commit::default()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpointStore {
    place: Arc<Mutex<Place>>,
    tenure: u64,
}

#[derive(Debug, Default)]
struct Place {
    /// Of whoever loaded last.
    tenure: u64,
    last: Option<Commit>,
}

impl MemoryCheckpointStore {
    /// Makes an empty one.
    pub fn new() -> MemoryCheckpointStore {
        MemoryCheckpointStore::default()
    }

    /// Returns what was committed last, without taking the place.
    pub fn last(&self) -> Option<Commit> {
        self.place().last.clone()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        lock(&self.place)
    }
}

impl CheckpointStore for MemoryCheckpointStore {
    fn load(&mut self) -> Result<Option<Commit>> {
        let mut place = self.place();
        place.tenure += 1;
        let (tenure, last) = (place.tenure, place.last.clone());
        drop(place);
        self.tenure = tenure;
        Ok(last)
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        let mut place = self.place();
        if place.tenure != self.tenure {
            return Err(Error::fenced("the checkpoint store in memory"));
        }
        place.last = Some(commit.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::model::{ShardPosition, ShardRef};

    #[test]
    fn whoever_loaded_last_has_the_place_and_the_others_lose_nothing_of_it() {
        let commit = |shard: &str| {
            let shards = [(ShardRef::new("orders", shard), ShardPosition::ShardEnd)];
            let checkpoint = Checkpoint {
                shards: shards.into(),
                ..Checkpoint::default()
            };
            Commit::new(checkpoint, Some(Bytes::from_static(b"state")))
        };
        let mut first = MemoryCheckpointStore::new();
        assert_eq!(first.load().expect("loaded"), None);
        first.save(&commit("a")).expect("saved");
        let mut second = first.clone();
        assert_eq!(second.load().expect("loaded"), Some(commit("a")));
        second.save(&commit("b")).expect("saved");
        let fenced = first.save(&commit("c")).expect_err("fenced");
        assert!(matches!(fenced.kind(), ErrorKind::Fenced { .. }));
        assert_eq!(first.last(), Some(commit("b")));
    }

    #[test]
    fn the_callers_state_is_not_shown() {
        let commit = Commit::new(Checkpoint::default(), Some(Bytes::from_static(b"secret")));
        let shown = format!("{commit:?}");
        assert!(
            shown.contains("Some(6)") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
