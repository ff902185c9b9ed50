//! One store for all consumers of a group.

use std::sync::{Arc, Mutex};

use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::store::{CheckpointStore, Commit};
use crate::error::{Error, Result};
use crate::sys::lock::lock;

/// The store, and the newest checkpoint of each consumer: what one commits is saved in one write with
/// what the others have committed last, so that the store always has where all are to go on from.
pub(super) struct Union(Mutex<State>);

struct State {
    store: Box<dyn CheckpointStore>,
    loaded: Option<Commit>,
    newest: Vec<Checkpoint>,
}

/// One consumer's part in it.
struct Share {
    union: Arc<Union>,
    member: usize,
}

impl Union {
    /// Takes the place for all of them.
    ///
    /// # Errors
    /// The store's.
    pub fn load(mut store: Box<dyn CheckpointStore>, members: usize) -> Result<Arc<Union>> {
        let state = State {
            loaded: store.load()?,
            store,
            newest: vec![Checkpoint::default(); members],
        };
        Ok(Arc::new(Union(Mutex::new(state))))
    }

    pub fn share(self: &Arc<Union>, member: usize) -> Box<dyn CheckpointStore> {
        let union = self.clone();
        Box::new(Share { union, member })
    }

    /// Says where a consumer begins: that counts until it commits.
    pub fn begin(&self, member: usize, checkpoint: Checkpoint) {
        let mut state = lock(&self.0);
        // All have begun before one commits.
        state.loaded = None;
        state.set(member, checkpoint);
    }
}

impl State {
    fn set(&mut self, member: usize, checkpoint: Checkpoint) -> Checkpoint {
        let place = self.newest.get_mut(member);
        place.map_or_else(Checkpoint::default, |place| {
            std::mem::replace(place, checkpoint)
        })
    }

    fn save(&mut self) -> Result<()> {
        let all = self.newest.iter().cloned();
        let union = all.reduce(Checkpoint::merge).unwrap_or_default();
        self.store.save(&Commit::new(union, None))
    }
}

impl CheckpointStore for Share {
    fn load(&mut self) -> Result<Option<Commit>> {
        Ok(lock(&self.union.0).loaded.clone())
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        if commit.state.is_some() {
            let expected = "possible in a group, whose consumers would have one each: keep checkpoint \
                            and state of each in a transaction of your own";
            return Err(Error::config("commit_with", "a state", expected));
        }
        let mut state = lock(&self.union.0);
        let before = state.set(self.member, commit.checkpoint.clone());
        let saved = state.save();
        if saved.is_err() {
            // Nor may another one's commit save what this one was told is not saved.
            state.set(self.member, before);
        }
        saved
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::consumer::store::MemoryCheckpointStore;
    use crate::model::{ShardPosition, ShardRef};

    fn at(positions: &[(&str, u64)]) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for (shard, number) in positions {
            let position = ShardPosition::After {
                sequence_number: number.to_string().parse().expect("a number"),
                sub_sequence_number: None,
            };
            checkpoint.insert(ShardRef::new("orders", *shard), position, None);
        }
        checkpoint
    }

    fn commit(positions: &[(&str, u64)]) -> Commit {
        Commit::new(at(positions), None)
    }

    /// Two consumers that begin at `a` 1 and `b` 1.
    fn two(store: &MemoryCheckpointStore) -> [Box<dyn CheckpointStore>; 2] {
        let union = Union::load(Box::new(store.clone()), 2).expect("loaded");
        union.begin(0, at(&[("a", 1)]));
        union.begin(1, at(&[("b", 1)]));
        [union.share(0), union.share(1)]
    }

    #[test]
    fn each_commit_saves_the_newest_of_all() {
        let store = MemoryCheckpointStore::new();
        let [mut first, mut second] = two(&store);
        first.save(&commit(&[("a", 2)])).expect("saved");
        assert_eq!(store.last(), Some(commit(&[("a", 2), ("b", 1)])));
        second.save(&commit(&[("b", 5)])).expect("saved");
        assert_eq!(store.last(), Some(commit(&[("a", 2), ("b", 5)])));
    }

    #[test]
    fn what_one_was_told_is_not_saved_is_not_saved_by_another() {
        let store = MemoryCheckpointStore::new();
        let [mut first, mut second] = two(&store);
        store.clone().load().expect("taken away");
        first.save(&commit(&[("a", 2)])).expect_err("fenced");
        second.save(&commit(&[("b", 5)])).expect_err("fenced");
        assert_eq!(store.last(), None);
        let fails = true;
        let flaky = Arc::new(Mutex::new(Flaky { fails, last: None }));
        let union = Union::load(Box::new(Shared(flaky.clone())), 2).expect("loaded");
        union.begin(0, at(&[("a", 1)]));
        let (mut first, mut second) = (union.share(0), union.share(1));
        first.save(&commit(&[("a", 2)])).expect_err("out of room");
        flaky.lock().expect("a store").fails = false;
        second.save(&commit(&[("b", 5)])).expect("saved");
        let saved = flaky.lock().expect("a store").last.clone();
        assert_eq!(saved, Some(commit(&[("a", 1), ("b", 5)])));
    }

    struct Flaky {
        fails: bool,
        last: Option<Commit>,
    }

    struct Shared(Arc<Mutex<Flaky>>);

    impl CheckpointStore for Shared {
        fn load(&mut self) -> Result<Option<Commit>> {
            Ok(None)
        }

        fn save(&mut self, commit: &Commit) -> Result<()> {
            let mut flaky = self.0.lock().expect("a store");
            if flaky.fails {
                return Err(Error::store("writing", "out of room".to_owned()));
            }
            flaky.last = Some(commit.clone());
            Ok(())
        }
    }

    #[test]
    fn a_state_is_refused_before_anything_is_saved() {
        let store = MemoryCheckpointStore::new();
        let [mut first, _] = two(&store);
        let with_state = Commit::new(at(&[("a", 2)]), Some(Bytes::from_static(b"state")));
        let refused = first.save(&with_state).expect_err("refused").to_string();
        assert!(
            refused.starts_with("commit_with: \"a state\" is not possible in a group"),
            "{refused}"
        );
        assert_eq!(store.last(), None);
    }

    #[test]
    fn all_go_on_from_what_was_loaded_once() {
        let store = MemoryCheckpointStore::new();
        let mut before = store.clone();
        before.load().expect("loaded");
        before.save(&commit(&[("a", 7)])).expect("saved");
        let union = Union::load(Box::new(store), 2).expect("loaded");
        for member in 0..2 {
            let loaded = union.share(member).load().expect("loaded");
            assert_eq!(loaded, Some(commit(&[("a", 7)])));
        }
    }
}
