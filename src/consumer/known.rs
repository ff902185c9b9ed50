//! What discovery knows of a stream and its shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::discovery::Place;
use crate::consumer::missing::Missing;
use crate::model::{HashKeyRange, Shard, ShardId, ShardPosition, StartPosition, Timestamp};

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
        self.is_whole(id, children)
    }

    fn is_whole(&self, id: &ShardId, children: impl Iterator<Item = HashKeyRange>) -> bool {
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

    /// Says whether a shard may still start in one of the consumers, be it now or after others.
    ///
    /// `until` is the time up to which is read, if there is one: what opens after it is not waited for.
    pub fn is_expected_by(&self, member: usize, until: Option<Timestamp>, ordered: bool) -> bool {
        let coming = self.coming(ordered);
        let mut children: BTreeMap<&ShardId, Vec<HashKeyRange>> = BTreeMap::new();
        for Known { shard, .. } in self.shards.values() {
            for parent in shard.parents() {
                let ranges = children.entry(parent).or_default();
                ranges.push(shard.hash_key_range);
            }
        }
        // A shard that was open at that time has no children from before it.
        let is_over = until.is_none_or(|until| self.listed >= Some(until));
        self.shards.iter().any(|(id, known)| {
            let all_known = || {
                let ranges = children.get(id).map(Vec::as_slice).unwrap_or_default();
                self.missing.is_gone(id) || self.is_whole(id, ranges.iter().copied())
            };
            match known.state {
                State::Ended => !all_known(),
                _ if !coming.contains(&id) => false,
                _ if known.member == Some(member) => true,
                _ => !(known.shard.is_open() && is_over) && !all_known(),
            }
        })
    }

    /// The shards that are being read, and those that will be once others are read to their end.
    fn coming(&self, ordered: bool) -> BTreeSet<&ShardId> {
        let of = |state| {
            let shards = self.shards.iter();
            shards.filter(move |(_, known)| known.state == state)
        };
        let mut coming: BTreeSet<_> = of(State::Reading).map(|(id, _)| id).collect();
        loop {
            let before = coming.len();
            for (id, waiting) in of(State::Waiting) {
                let comes = |parent: &ShardId| coming.contains(parent) || self.is_done(parent);
                if !ordered || waiting.shard.parents().all(comes) {
                    coming.insert(id);
                }
            }
            if coming.len() == before {
                return coming;
            }
        }
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
