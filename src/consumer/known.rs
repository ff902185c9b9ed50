//! What discovery knows of a stream and its shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::discovery::Place;
use crate::consumer::listing::{Listing, Times};
use crate::consumer::missing::{Missing, Shown, Spell};
use crate::model::{HashKeyRange, Shard, ShardId, ShardPosition, StartPosition, Timestamp};

/// A stream's shards, as of the last listing.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub start: StartPosition,
    /// The instant from which it is read; `None` if that is the beginning of each shard.
    pub since: Option<Timestamp>,
    /// The restored checkpoint knows it.
    pub restored: bool,
    /// When it was listed last.
    pub listed: Option<Timestamp>,
    /// When it was listed last before it was made anew, until nothing of the old one is left.
    pub listed_before: Option<Timestamp>,
    /// Shards that ought to be listed, and that no listing has shown so far: restored ones, and
    /// parents of shards that are.
    pub awaited: BTreeSet<ShardId>,
    /// Shards that are being read and that the service says it does not have.
    pub doubted: BTreeSet<ShardId>,
    pub missing: Missing,
    /// For how long the stream has not been found.
    not_found: Option<Spell>,
    shards: BTreeMap<ShardId, Known>,
    /// By parent.
    children: BTreeMap<ShardId, BTreeSet<ShardId>>,
    waiting: BTreeSet<ShardId>,
    /// Ended, and not all of their children are known.
    childless: BTreeSet<ShardId>,
    reading: usize,
}

#[derive(Debug)]
pub(super) struct Known {
    pub shard: Shard,
    pub place: Place,
    state: State,
    /// Which of this process's consumers reads it; `None` if another process does.
    pub member: Option<usize>,
    /// It had ended before this consumer started.
    pub ended_before: bool,
    /// Else its parents' end told of it, which says nothing of its records.
    pub is_listed: bool,
    /// The caller is told that it ended because its stream was made anew.
    pub is_told_anew: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its parents are still being read.
    Waiting,
    Reading,
    /// Read no further, but not to its end.
    Resting,
    /// Read as far as a checkpoint bounds it, which may have positions in its children as well.
    Passed,
    Ended,
    /// Another process reads it.
    Foreign,
}

impl Stream {
    pub fn new(start: StartPosition, since: Option<Timestamp>, restored: bool) -> Stream {
        Stream {
            start,
            since,
            restored,
            ..Stream::default()
        }
    }

    /// Says whether its shards were listed before, if not by this consumer: what is new since then has
    /// to be read whole.
    pub fn is_under_way(&self) -> bool {
        self.restored || self.listed.is_some()
    }

    pub fn get(&self, id: &ShardId) -> Option<&Known> {
        self.shards.get(id)
    }

    pub fn get_mut(&mut self, id: &ShardId) -> Option<&mut Known> {
        self.shards.get_mut(id)
    }

    pub fn knows(&self, id: &ShardId) -> bool {
        self.shards.contains_key(id)
    }

    pub fn all(&self) -> impl Iterator<Item = (&ShardId, &Known)> {
        self.shards.iter()
    }

    pub fn insert(&mut self, known: Known) {
        let id = known.shard.id.clone();
        for parent in known.shard.parents() {
            let children = self.children.entry(parent.clone()).or_default();
            children.insert(id.clone());
        }
        self.awaited.remove(&id);
        let state = known.state;
        self.shards.insert(id.clone(), known);
        self.count(&id, state);
    }

    pub fn remove(&mut self, id: &ShardId) {
        let Some(known) = self.shards.remove(id) else {
            return;
        };
        self.discount(id, known.state);
        for parent in known.shard.parents() {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(id);
            }
        }
    }

    pub fn set_state(&mut self, id: &ShardId, state: State) {
        let Some(known) = self.shards.get_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut known.state, state);
        self.discount(id, before);
        self.count(id, state);
    }

    /// Each state that is looked for has its index: there may be a hundred thousand shards, of which
    /// ten are open.
    fn count(&mut self, id: &ShardId, state: State) {
        match state {
            State::Waiting => drop(self.waiting.insert(id.clone())),
            State::Reading => self.reading += 1,
            State::Ended => drop(self.childless.insert(id.clone())),
            State::Resting | State::Passed | State::Foreign => {}
        }
    }

    fn discount(&mut self, id: &ShardId, state: State) {
        match state {
            State::Waiting => drop(self.waiting.remove(id)),
            State::Reading => self.reading -= 1,
            State::Ended => drop(self.childless.remove(id)),
            State::Resting | State::Passed | State::Foreign => {}
        }
    }

    pub fn is_reading(&self) -> bool {
        self.reading > 0
    }

    pub fn waiting(&self) -> &BTreeSet<ShardId> {
        &self.waiting
    }

    /// Those of a listing's shards that are not known, or not as it shows them.
    pub fn changed(&self, listing: &Listing) -> Vec<Shard> {
        // Both are in order, so none has to be looked up.
        let mut known = self.shards.iter().peekable();
        let is_changed = |shard: &&Shard| {
            while known.next_if(|(id, _)| **id < shard.id).is_some() {}
            let same = known.next_if(|(id, _)| **id == shard.id);
            same.is_none_or(|(_, known)| !known.is_listed || known.shard != **shard)
        };
        let changed = listing.shards().iter().filter(is_changed);
        changed.cloned().collect()
    }

    /// Counts for how long listings lack what is looked for in them.
    ///
    /// Gives those that were doubted, and that are there as they were known.
    pub fn look_for(&mut self, listing: &Listing) -> Vec<ShardId> {
        self.not_found = None;
        let mut childless = std::mem::take(&mut self.childless);
        childless.retain(|id| !self.is_succeeded(id));
        let shown = |id: &ShardId| match (listing.shows(id), self.has_children(id)) {
            (false, _) => Shown::Nothing,
            (true, false) => Shown::Childless,
            (true, true) => Shown::Children,
        };
        let wanted = self.awaited.iter().chain(&childless).chain(&self.doubted);
        let shown = wanted.map(|id| (id.clone(), shown(id)));
        let shown: Vec<_> = shown.collect();
        self.missing.on_listing(listing.times, shown.into_iter());
        self.childless = childless;
        let shards = &self.shards;
        let is_there = |id: &ShardId| {
            let (listed, known) = (listing.get(id), shards.get(id));
            listed.is_some_and(|listed| known.is_none_or(|known| !known.is_reborn(listed)))
        };
        self.doubted.extract_if(.., is_there).collect()
    }

    /// Takes note that the service does not have the stream, and says whether that has been so for long.
    pub fn look_in_vain(&mut self, times: Times) -> bool {
        let wanted = self
            .awaited
            .iter()
            .chain(&self.childless)
            .chain(&self.doubted);
        let shown = wanted.map(|id| (id.clone(), Shown::Nothing));
        let shown: Vec<_> = shown.collect();
        self.missing.on_listing(times, shown.into_iter());
        let spell = self
            .not_found
            .map_or_else(|| Spell::begin(times), |spell| spell.go_on(times));
        self.not_found = Some(spell);
        spell.is_long()
    }

    pub fn is_found(&self) -> bool {
        self.not_found.is_none()
    }

    /// Ended shards without all of their children.
    pub fn childless(&self) -> impl Iterator<Item = &ShardId> {
        let childless = self.childless.iter();
        childless.filter(|id| !self.has_all_children(id))
    }

    /// The hash keys of a shard and of those it came from, so many generations back. They all touch or
    /// overlap, so they are one range.
    pub fn ancestry(&self, id: &ShardId, generations: usize) -> Option<HashKeyRange> {
        let shard = &self.shards.get(id)?.shard;
        let mut all = shard.hash_key_range;
        for parent in shard.parents().filter(|_| generations > 0) {
            if let Some(range) = self.ancestry(parent, generations - 1) {
                all.start = all.start.min(range.start);
                all.end = all.end.max(range.end);
            }
        }
        Some(all)
    }

    fn has_children(&self, id: &ShardId) -> bool {
        self.children(id).next().is_some()
    }

    /// Says whether the children of a shard take all of its hash keys; or have been listed for so long
    /// that it is all there will be.
    pub fn has_all_children(&self, id: &ShardId) -> bool {
        self.missing.is_long(id, Shown::Children) || self.is_succeeded(id)
    }

    fn is_succeeded(&self, id: &ShardId) -> bool {
        let parent = self.shards.get(id);
        parent.is_some_and(|parent| {
            let children = self.children(id).map(|child| child.hash_key_range);
            parent.shard.hash_key_range.is_covered_by(children)
        })
    }

    /// Says whether children that take all hash keys of a shard are known to the processes that read them: a
    /// listing has shown each child, or this process reads it.
    pub fn has_seen_children(&self, id: &ShardId) -> bool {
        let children = self.children.get(id).into_iter().flatten();
        let seen = children.filter_map(|child| self.shards.get(child));
        let seen = seen.filter(|child| child.is_listed || child.member.is_some());
        let seen = seen.map(|child| child.shard.hash_key_range);
        let parent = self.shards.get(id);
        parent.is_some_and(|parent| parent.shard.hash_key_range.is_covered_by(seen))
    }

    pub fn children(&self, id: &ShardId) -> impl Iterator<Item = &Shard> {
        let children = self.children.get(id).into_iter().flatten();
        let known = children.filter_map(|child| self.shards.get(child));
        known.map(|known| &known.shard)
    }

    /// Shards that had ended, and that have looked open for longer than any listing lags behind.
    pub fn reborn_for_long(&self) -> Vec<ShardId> {
        let is_reborn = |id: &&ShardId| {
            let known = self.shards.get(*id);
            known.is_some_and(|known| known.ended_before && known.shard.is_open())
                && !self.has_children(id)
                && self.missing.is_long(id, Shown::Childless)
        };
        let childless = self.childless.iter();
        childless.filter(is_reborn).cloned().collect()
    }

    /// Says whether a shard is no parent to wait for. One that is not listed any more has outlived its
    /// retention: nothing is left of it. One that another process reads is not waited for: the two do
    /// not know of each other. One that ended as its stream was made anew is no parent of what listings show:
    /// that one has its name, and is still to be read.
    fn is_done(&self, parent: &ShardId) -> bool {
        match self.shards.get(parent) {
            Some(parent) if parent.is_told_anew => false,
            Some(parent) => matches!(parent.state, State::Ended | State::Foreign | State::Passed),
            None => !self.awaited.contains(parent),
        }
    }

    /// Says whether a shard that waits may be read now.
    pub fn is_ready(&self, id: &ShardId, ordered: bool) -> bool {
        self.shards.get(id).is_some_and(|known| {
            // Its reading had begun before the checkpoint was made, so its parents were done with then.
            let resumed = matches!(known.place.0, ShardPosition::After { .. });
            let mut parents = known.shard.parents();
            known.state == State::Waiting
                && (!ordered || resumed || parents.all(|parent| self.is_done(parent)))
        })
    }
}

impl Known {
    /// A shard that a listing shows for the first time.
    pub fn new(shard: Shard, place: Place, member: Option<usize>, state: State) -> Known {
        Known {
            ended_before: place.0 == ShardPosition::ShardEnd,
            shard,
            place,
            state,
            member,
            is_listed: true,
            is_told_anew: false,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A shard of the hash keys from `start` to `end`.
    fn shard(id: &str, (start, end): (u128, u128), parents: &[&str]) -> Shard {
        let range = HashKeyRange {
            start: start.into(),
            end: end.into(),
        };
        let mut shard = Shard::new(id, range, "1".parse().expect("a number"));
        shard.parent = parents.first().map(|&id| id.into());
        shard.adjacent_parent = parents.get(1).map(|&id| id.into());
        shard
    }

    fn stream(shards: impl IntoIterator<Item = Shard>) -> Stream {
        let mut stream = Stream::default();
        for shard in shards {
            let place = (ShardPosition::Start(StartPosition::TrimHorizon), None);
            stream.insert(Known::new(shard, place, Some(0), State::Reading));
        }
        stream
    }

    fn listing(shards: impl Into<Vec<Shard>>) -> Listing {
        let now = Instant::now();
        let times = Times {
            asked: now,
            answered: now,
        };
        Listing::new(
            "orders".into(),
            Timestamp::from_millis(0),
            times,
            shards.into(),
        )
    }

    #[test]
    fn what_a_listing_changes_is_found_wherever_it_stands() {
        let all = ["b", "c", "e", "f"].map(|id| shard(id, (0, 9), &[]));
        let [b, c, e, f] = all.clone();
        let mut known = stream(all);
        let mut closed = e.clone();
        closed.ending_sequence_number = Some("2".parse().expect("a number"));
        known.get_mut(&f.id).expect("known").is_listed = false;
        let [a, d, g] = ["a", "d", "g"].map(|id| shard(id, (0, 9), &[]));
        let listed = [&a, &b, &d, &closed, &f, &g].map(Clone::clone);
        assert_eq!(known.changed(&listing(listed)), [a, d, closed, f, g]);
        assert_eq!(known.changed(&listing([b, c, e])), []);
    }

    #[test]
    fn what_a_shard_came_from_is_one_range_as_far_back_as_is_asked() {
        let known = stream([
            shard("a", (0, 4), &[]),
            shard("b", (5, 9), &[]),
            shard("c", (0, 9), &["a", "b"]),
            shard("d", (0, 6), &["c", "gone"]),
            shard("e", (0, 2), &["d"]),
        ]);
        let ancestry = |id: &str, generations| {
            let range = known.ancestry(&id.into(), generations)?;
            Some((range.start.as_u128(), range.end.as_u128()))
        };
        for (generations, expected) in [(0, (0, 2)), (1, (0, 6)), (2, (0, 9)), (8, (0, 9))] {
            assert_eq!(ancestry("e", generations), Some(expected), "{generations}");
        }
        assert_eq!(ancestry("c", 1), Some((0, 9)));
        assert_eq!(ancestry("gone", 8), None);
    }
}
