//! What discovery knows of a stream and its shards.

use std::collections::BTreeMap;

use crate::consumer::discovery::Place;
use crate::consumer::missing::Missing;
use crate::model::{Shard, ShardId, ShardPosition, StartPosition, Timestamp};

/// A stream's shards, as of the last listing.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub start: StartPosition,
    /// The restored checkpoint had shards of it.
    pub restored: bool,
    /// When it was listed last.
    pub listed: Option<Timestamp>,
    pub shards: BTreeMap<ShardId, Known>,
    pub missing: Missing,
}

#[derive(Debug)]
pub(super) struct Known {
    pub shard: Shard,
    pub place: Place,
    pub state: State,
    /// Which of this process's consumers reads it; `None` if another process does.
    pub member: Option<usize>,
    /// It had ended before this consumer started.
    pub ended_before: bool,
    /// Else its parents' end told of it, which says nothing of its records.
    pub is_listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its parents are still being read.
    Waiting,
    Reading,
    /// Read no further, but not to its end.
    Resting,
    Ended,
    /// Another process reads it.
    Foreign,
}

impl Stream {
    /// Says whether its shards were listed before, if not by this consumer: what is new since then has
    /// to be read whole.
    pub fn is_under_way(&self) -> bool {
        self.restored || self.listed.is_some()
    }

    fn has_children(&self, id: &ShardId) -> bool {
        self.children(id).next().is_some()
    }

    /// Says whether the children of a shard take all of its hash keys; or have been listed for so long
    /// that it is all there will be.
    pub fn has_all_children(&self, id: &ShardId) -> bool {
        let children = self.children(id).map(|child| child.hash_key_range);
        let parent = self.shards.get(id);
        self.missing.has_children_for_long(id)
            || parent.is_some_and(|parent| parent.shard.hash_key_range.is_covered_by(children))
    }

    fn children(&self, id: &ShardId) -> impl Iterator<Item = &Shard> {
        let shards = self.shards.values().map(|known| &known.shard);
        shards.filter(move |shard| shard.parents().any(|parent| parent == id))
    }

    /// Says whether a shard that had ended has looked open for longer than any listing lags behind.
    pub fn is_reborn_for_long(&self, known: &Known, shard: &Shard) -> bool {
        known.ended_before
            && shard.is_open()
            && !self.has_children(&shard.id)
            && self.missing.is_without_children_for_long(&shard.id)
    }

    /// Says whether a shard is no parent to wait for. One that is not listed any more has outlived its
    /// retention: nothing is left of it. One that another process reads is not waited for: the two do
    /// not know of each other.
    fn is_done(&self, parent: &ShardId) -> bool {
        let parent = self.shards.get(parent);
        parent.is_none_or(|parent| matches!(parent.state, State::Ended | State::Foreign))
    }

    /// The shards that may be read now.
    pub fn ready(&self, ordered: bool) -> Vec<ShardId> {
        let is_ready = |known: &Known| {
            // Its reading had begun before the checkpoint was made, so its parents were done with then.
            let resumed = matches!(known.place.0, ShardPosition::After { .. });
            let mut parents = known.shard.parents();
            known.state == State::Waiting
                && (!ordered || resumed || parents.all(|parent| self.is_done(parent)))
        };
        let ready = self.shards.iter().filter(|(_, known)| is_ready(known));
        ready.map(|(id, _)| id.clone()).collect()
    }
}

impl Known {
    /// A shard of the same name, with other records.
    pub fn is_reborn(&self, shard: &Shard) -> bool {
        self.is_listed && self.shard.starting_sequence_number != shard.starting_sequence_number
    }

    pub fn update(&mut self, shard: Shard) {
        if !self.is_reborn(&shard) {
            self.shard = shard;
            self.is_listed = true;
        }
    }
}
