use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::client::ChildShard;
use crate::consumer::assigner::Assignment;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::known::{Known, State, Stream};
use crate::model::{
    Gap, GapCause, HashKeyRange, SequenceNumber, Shard, ShardId, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

/// Which shards there are, which may be read now, and from where. Pure: listings in, starts out.
///
/// A shard may be read once its parents have been handed out to the end, so that the records of one
/// partition key stay in order across a reshard.
#[derive(Debug)]
pub(super) struct Discovery {
    plan: Plan,
    restored: Checkpoint,
    streams: BTreeMap<Arc<str>, Stream>,
    /// The consumers of the group that are no more.
    left: BTreeSet<usize>,
}

/// What a consumer reads, or a group of them.
#[derive(Debug)]
pub(super) struct Plan {
    /// The streams, and where those start that the restored checkpoint does not know.
    pub streams: Vec<(Arc<str>, StartPosition)>,
    pub assignment: Assignment,
    pub parent_before_child: bool,
}

/// Where a shard is read from, and up to when nothing is missing before that.
pub(super) type Place = (ShardPosition, Option<Timestamp>);

/// A shard whose reading may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub shard: ShardRef,
    pub range: HashKeyRange,
    /// Takes no more records: it has an end.
    pub closed: bool,
    pub position: ShardPosition,
    /// Everything that arrived up to then needs no reading.
    pub complete_to: Option<Timestamp>,
}

/// What a listing brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Data that may be lost.
    pub gaps: Vec<Gap>,
    /// Restored shards that are gone.
    pub vanished: Vec<ShardRef>,
    /// Shards that another process reads.
    pub foreign: Vec<ShardRef>,
    /// Shards not known before, for the checkpoint.
    pub known: Vec<(ShardRef, Place)>,
    /// Shards to start now.
    pub starts: Vec<Start>,
}

impl Discovery {
    pub fn new(plan: Plan, restored: Checkpoint) -> Discovery {
        let stream = |(stream, start): &(Arc<str>, StartPosition)| {
            let known = Stream {
                start: *start,
                restored: restored.knows_stream(stream),
                ..Stream::default()
            };
            (stream.clone(), known)
        };
        Discovery {
            streams: plan.streams.iter().map(stream).collect(),
            plan,
            restored,
            left: BTreeSet::new(),
        }
    }

    pub fn stream_names(&self) -> Vec<Arc<str>> {
        self.streams.keys().cloned().collect()
    }

    /// Takes in a complete listing of a stream as of `now`, in any order, and says what is new.
    pub fn on_listing(&mut self, now: Timestamp, stream: &Arc<str>, listing: Vec<Shard>) -> Found {
        let mut found = Found::default();
        self.drop_recreated(stream, &listing, &mut found);
        self.drop_vanished(stream, &listing, &mut found);
        self.drop_unseen(stream, &listing, &mut found);
        for shard in listing {
            let shards = &mut self.streams.entry(stream.clone()).or_default().shards;
            match shards.get_mut(&shard.id) {
                Some(known) => known.update(shard),
                None => self.take_in(now, stream, shard, &mut found),
            }
        }
        self.streams.entry(stream.clone()).or_default().listed = Some(now);
        found.starts = self.start_ready(stream);
        found
    }

    /// Takes in a shard that was not known before.
    fn take_in(&mut self, now: Timestamp, name: &Arc<str>, shard: Shard, found: &mut Found) {
        let at = reference(name, &shard.id);
        let member = self.plan.assignment.member(&at, shard.hash_key_range);
        let place = self.place(now, &at, &shard);
        let ended = place.0 == ShardPosition::ShardEnd;
        let state = match member {
            None => State::Foreign,
            Some(_) if ended => State::Ended,
            Some(member) if self.left.contains(&member) => State::Resting,
            Some(_) => State::Waiting,
        };
        match member {
            Some(_) => found.known.push((at, place.clone())),
            None => found.foreign.push(at),
        }
        let known = Known {
            place,
            state,
            member,
            ended_before: ended,
            is_listed: true,
            shard,
        };
        let shards = &mut self.streams.entry(name.clone()).or_default().shards;
        shards.insert(known.shard.id.clone(), known);
    }

    /// Takes note that a shard has been handed out to its end, and says who may follow: of those that
    /// are listed, and of the children that the end itself told of.
    pub fn on_end(&mut self, shard: &ShardRef, children: Vec<ChildShard>) -> Found {
        if let Some(known) = self.known_mut(shard) {
            known.state = State::Ended;
        }
        let mut found = Found::default();
        for child in children {
            self.on_child(&shard.stream, child, &mut found);
        }
        found.starts = self.start_ready(&shard.stream);
        found
    }

    /// Takes note that a shard is read no further, though it has not been handed out to its end.
    pub fn on_rest(&mut self, shard: &ShardRef) {
        if let Some(known) = self.known_mut(shard) {
            known.state = State::Resting;
        }
    }

    /// Takes note that one of the consumers is no more: what it was to read is not read by anyone.
    pub fn on_leave(&mut self, member: usize) {
        self.left.insert(member);
        let shards = self
            .streams
            .values_mut()
            .flat_map(|s| s.shards.values_mut());
        for known in shards.filter(|known| known.member == Some(member)) {
            if matches!(known.state, State::Waiting | State::Reading) {
                known.state = State::Resting;
            }
        }
    }

    /// Which of the consumers a shard belongs to; the first, if it belongs to none of them.
    pub fn member(&self, shard: &ShardRef) -> usize {
        let stream = self.streams.get(&shard.stream);
        let known = stream.and_then(|stream| stream.shards.get(&shard.shard_id));
        let member = match known {
            Some(known) => known.member,
            // Its range is not known any more.
            None => self.plan.assignment.member(shard, HashKeyRange::FULL),
        };
        member.unwrap_or(0)
    }

    /// Says whether any shard is being read. None that waits for its parents starts any more if not.
    pub fn is_reading(&self) -> bool {
        let mut shards = self.streams.values().flat_map(|s| s.shards.values());
        shards.any(|known| known.state == State::Reading)
    }

    /// Takes in a shard before it is listed. With a parent that is not, it has to wait for that:
    /// nobody would know whether it may start.
    fn on_child(&mut self, name: &Arc<str>, child: ChildShard, found: &mut Found) {
        let Some(stream) = self.streams.get(name) else {
            return;
        };
        let is_known = |id: &ShardId| stream.shards.contains_key(id);
        let first = child.parents.first().and_then(|id| stream.shards.get(id));
        let (Some(now), Some(first)) = (stream.listed, first) else {
            return;
        };
        if is_known(&child.id) || !child.parents.iter().all(is_known) {
            return;
        }
        let starting = first.shard.starting_sequence_number.clone();
        let mut shard = Shard::new(child.id.clone(), child.hash_key_range, starting);
        let mut parents = child.parents.into_iter();
        (shard.parent, shard.adjacent_parent) = (parents.next(), parents.next());
        self.take_in(now, name, shard, found);
        if let Some(known) = self.known_mut(&reference(name, &child.id)) {
            known.is_listed = false;
        }
    }

    /// Says whether the children of an ended shard have been listed, or will never be. A listing may lag
    /// behind a reshard, and show one child before the other.
    pub fn is_settled(&self, shard: &ShardRef) -> bool {
        self.streams.get(&shard.stream).is_some_and(|stream| {
            let known = stream.shards.get(&shard.shard_id);
            stream.has_all_children(&shard.shard_id)
                || stream.missing.is_gone(&shard.shard_id)
                || known.is_some_and(|known| known.state != State::Ended)
        })
    }

    /// Shards that have ended, and whose children nobody has listed yet.
    pub fn childless(&self) -> Vec<ShardRef> {
        let ended = |(name, stream): (&Arc<str>, &Stream)| {
            let ended = stream.shards.iter();
            let ended = ended.filter(|(_, known)| known.state == State::Ended);
            let named = ended.map(|(id, _)| reference(name, id));
            named.collect::<Vec<_>>()
        };
        let ended = self.streams.iter().flat_map(ended);
        ended.filter(|shard| !self.is_settled(shard)).collect()
    }

    /// Restored shards that are to be read, and that no listing has shown so far.
    pub fn hidden(&self) -> Vec<ShardRef> {
        let names = self.streams.keys();
        names.flat_map(|name| self.hidden_of(name)).collect()
    }

    fn hidden_of(&self, name: &Arc<str>) -> Vec<ShardRef> {
        let shards = self.streams.get(name).map(|stream| &stream.shards);
        let restored = self.restored.iter();
        let hidden = restored.filter(|(shard, position)| {
            shard.stream == *name
                && **position != ShardPosition::ShardEnd
                && shards.is_none_or(|shards| !shards.contains_key(&shard.shard_id))
        });
        hidden.map(|(shard, _)| shard.clone()).collect()
    }

    /// Lets go of what was known of a stream that was deleted and made anew: its shards have the
    /// names of those before, and other records.
    fn drop_recreated(&mut self, name: &Arc<str>, listing: &[Shard], found: &mut Found) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let mut reborn = Vec::new();
        for shard in listing {
            let at = reference(name, &shard.id);
            let is_reborn = match stream.shards.get(&shard.id) {
                // What reads it will find out, and end.
                Some(known) if matches!(known.state, State::Reading | State::Resting) => false,
                Some(known) => known.is_reborn(shard) || stream.is_reborn_for_long(known, shard),
                None => self
                    .restored
                    .position(&at)
                    .is_some_and(|position| is_behind(position, shard)),
            };
            if is_reborn {
                reborn.push(at);
            }
        }
        if reborn.is_empty() {
            return;
        }
        let mut old = self.hidden_of(name);
        old.retain(|old| listing.iter().all(|shard| shard.id != old.shard_id));
        found.vanished.append(&mut old);
        for at in reborn {
            let after = self.number(&at);
            let gap = Gap::new(at.clone(), GapCause::StreamRecreated);
            found.gaps.push(Gap { after, ..gap });
            if let Some(stream) = self.streams.get_mut(name) {
                stream.shards.remove(&at.shard_id);
            }
        }
        self.restored.forget_stream(name);
    }

    /// Takes restored shards for gone that are certain not to be listed any more.
    fn drop_vanished(&mut self, name: &Arc<str>, listing: &[Shard], found: &mut Found) {
        let mut wanted = self.hidden_of(name);
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let ended = stream.shards.iter();
        let ended = ended.filter(|(_, known)| known.state == State::Ended);
        let ended: Vec<_> = ended.map(|(id, _)| id.clone()).collect();
        let ids = wanted.iter().map(|shard| shard.shard_id.clone());
        stream.missing.on_listing(ids.chain(ended), listing);
        wanted.retain(|shard| stream.missing.is_gone(&shard.shard_id));
        for at in wanted {
            // Its range is not known any more; one of the consumers has to tell.
            if self.plan.assignment.owns(&at, HashKeyRange::FULL) {
                let after = self.number(&at);
                let gap = Gap::new(at.clone(), GapCause::ShardVanished);
                found.gaps.push(Gap { after, ..gap });
            }
            self.vanish(at, found);
        }
    }

    /// Tells of the parents of new shards that nobody has ever seen: they came and went since the
    /// listing before.
    fn drop_unseen(&mut self, name: &Arc<str>, listing: &[Shard], found: &mut Found) {
        let under_way = |stream: &&Stream| stream.is_under_way();
        let Some(stream) = self.streams.get(name).filter(under_way) else {
            return;
        };
        let is_known = |id: &ShardId| {
            let restored = self.restored.position(&reference(name, id));
            stream.shards.contains_key(id) || restored.is_some()
        };
        let is_listed = |id: &ShardId| listing.iter().any(|shard| shard.id == *id);
        let is_mine = |shard: &&Shard| {
            let at = reference(name, &shard.id);
            self.plan.assignment.owns(&at, shard.hash_key_range)
        };
        let new = listing.iter().filter(|shard| !is_known(&shard.id));
        let parents = new.filter(is_mine).flat_map(Shard::parents);
        let unseen = parents.filter(|id| !is_known(id) && !is_listed(id));
        let unseen: BTreeSet<_> = unseen.map(|id| reference(name, id)).collect();
        for at in unseen {
            if self.plan.assignment.owns(&at, HashKeyRange::FULL) {
                found
                    .gaps
                    .push(Gap::new(at.clone(), GapCause::ShardVanished));
            }
            self.vanish(at, found);
        }
    }

    /// Counts a shard as read, as nothing more can come of it.
    fn vanish(&mut self, at: ShardRef, found: &mut Found) {
        let shards = &mut self.restored.shards;
        shards.insert(at.clone(), ShardPosition::ShardEnd);
        found.vanished.push(at);
    }

    fn number(&self, shard: &ShardRef) -> Option<SequenceNumber> {
        match self.restored.position(shard) {
            Some(ShardPosition::After {
                sequence_number, ..
            }) => Some(sequence_number.clone()),
            _ => None,
        }
    }

    fn known_mut(&mut self, shard: &ShardRef) -> Option<&mut Known> {
        let stream = self.streams.get_mut(&shard.stream)?;
        stream.shards.get_mut(&shard.shard_id)
    }

    /// Where a shard seen for the first time is read from.
    fn place(&self, now: Timestamp, at: &ShardRef, shard: &Shard) -> Place {
        if let Some(position) = self.restored.position(at) {
            return (position.clone(), self.restored.complete_to(at));
        }
        let Some(stream) = self.streams.get(&at.stream) else {
            return (ShardPosition::Start(StartPosition::TrimHorizon), None);
        };
        // It opened after the consumer started, or while it was down: all of it is new.
        let new = ShardPosition::Start(StartPosition::TrimHorizon);
        match stream.start {
            _ if stream.is_under_way() => {
                let listed = stream.listed.or(self.restored.listed(&at.stream));
                let unknown_since = listed.map(|listed| listed.saturating_sub(LISTING_LAG_MAX));
                (new, unknown_since)
            }
            // Nothing newer than the newest record can come out of a closed shard.
            StartPosition::Latest if !shard.is_open() => (ShardPosition::ShardEnd, Some(now)),
            start => (ShardPosition::Start(start), Some(now)),
        }
    }

    fn start_ready(&mut self, name: &Arc<str>) -> Vec<Start> {
        let ordered = self.plan.parent_before_child;
        let Some(stream) = self.streams.get_mut(name) else {
            return Vec::new();
        };
        let ready = stream.ready(ordered);
        let start = |id: ShardId| {
            let known = stream.shards.get_mut(&id)?;
            known.state = State::Reading;
            let (position, complete_to) = known.place.clone();
            Some(Start {
                shard: reference(name, &id),
                range: known.shard.hash_key_range,
                closed: !known.shard.is_open(),
                position,
                complete_to,
            })
        };
        ready.into_iter().filter_map(start).collect()
    }
}

fn reference(stream: &Arc<str>, id: &ShardId) -> ShardRef {
    ShardRef {
        stream: stream.clone(),
        shard_id: id.clone(),
    }
}

/// Says whether a position lies before the shard begins: it is from another shard of that name.
fn is_behind(position: &ShardPosition, shard: &Shard) -> bool {
    let start = &shard.starting_sequence_number;
    match position {
        // Some endpoints count records in another way than shards; only like is compared with like.
        ShardPosition::After {
            sequence_number, ..
        } => sequence_number.as_str().len() == start.as_str().len() && sequence_number < start,
        _ => false,
    }
}

/// A shard is listed a good while before it is that old.
const LISTING_LAG_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Arc<str> {
        "orders".into()
    }

    fn at(id: &str) -> ShardRef {
        ShardRef::new(stream(), id)
    }

    fn shard(id: &str, parents: &[&str], open: bool) -> Shard {
        let mut shard = Shard::new(id, HashKeyRange::FULL, "1".parse().expect("a number"));
        shard.parent = parents.first().map(|&id| id.into());
        shard.adjacent_parent = parents.get(1).map(|&id| id.into());
        shard.ending_sequence_number = (!open).then(|| "2".parse().expect("a number"));
        shard
    }

    fn plan(start: StartPosition) -> Plan {
        Plan {
            streams: vec![(stream(), start)],
            assignment: Assignment::default(),
            parent_before_child: true,
        }
    }

    fn discovery(start: StartPosition, restored: &[(&str, ShardPosition)]) -> Discovery {
        let shards = restored
            .iter()
            .map(|(id, position)| (at(id), position.clone()))
            .collect();
        let restored = Checkpoint {
            shards,
            ..Checkpoint::default()
        };
        Discovery::new(plan(start), restored)
    }

    fn listed(discovery: &mut Discovery, listing: impl Into<Vec<Shard>>) -> Found {
        discovery.on_listing(NOW, &stream(), listing.into())
    }

    /// A shard was handed out to its end, which told of no children.
    fn ended(discovery: &mut Discovery, id: &str) -> Vec<Start> {
        discovery.on_end(&at(id), Vec::new()).starts
    }

    fn child(id: &str, parents: &[&str]) -> ChildShard {
        ChildShard {
            id: id.into(),
            parents: parents.iter().map(|&id| id.into()).collect(),
            hash_key_range: HashKeyRange::FULL,
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn after() -> ShardPosition {
        ShardPosition::After {
            sequence_number: "7".parse().expect("a number"),
            sub_sequence_number: Some(1),
        }
    }

    fn names(starts: &[Start]) -> Vec<(&str, ShardPosition)> {
        starts
            .iter()
            .map(|start| (start.shard.shard_id.as_str(), start.position.clone()))
            .collect()
    }

    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);
    const LATEST: ShardPosition = ShardPosition::Start(StartPosition::Latest);

    #[test]
    fn a_child_starts_once_all_its_parents_have_ended() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        // A split of a, then a merge of its children; the listing is not in order.
        let listing = [
            shard("d", &["b", "c"], true),
            shard("b", &["a"], false),
            shard("a", &[], false),
            shard("c", &["a"], false),
        ];
        let found = listed(&mut discovery, listing);
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert_eq!(found.known.len(), 4);
        assert_eq!(
            names(&ended(&mut discovery, "a")),
            [("b", TRIM_HORIZON), ("c", TRIM_HORIZON)]
        );
        assert_eq!(names(&ended(&mut discovery, "c")), []);
        assert_eq!(names(&ended(&mut discovery, "b")), [("d", TRIM_HORIZON)]);
    }

    #[test]
    fn latest_skips_what_is_closed_and_nothing_that_opens_later() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        let found = listed(
            &mut discovery,
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("b", LATEST)]);
        assert_eq!(
            found.known,
            [
                (at("a"), (ShardPosition::ShardEnd, Some(NOW))),
                (at("b"), (LATEST, Some(NOW)))
            ]
        );
        let listing = vec![
            shard("a", &[], false),
            shard("b", &["a"], false),
            shard("c", &["b"], true),
        ];
        assert_eq!(names(&listed(&mut discovery, listing).starts), []);
        assert_eq!(names(&ended(&mut discovery, "b")), [("c", TRIM_HORIZON)]);
    }

    #[test]
    fn the_same_listing_again_brings_nothing() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        let listing = || vec![shard("a", &[], true), shard("b", &[], true)];
        assert_eq!(listed(&mut discovery, listing()).starts.len(), 2);
        assert_eq!(listed(&mut discovery, listing()), Found::default());
    }

    #[test]
    fn a_checkpoint_goes_before_the_start_position_and_new_shards_are_read_whole() {
        let restored = [("a", ShardPosition::ShardEnd), ("b", after())];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let listing = vec![
            shard("a", &[], false),
            shard("b", &["a"], true),
            shard("c", &["a"], true),
        ];
        let found = listed(&mut discovery, listing);
        assert_eq!(names(&found.starts), [("b", after()), ("c", TRIM_HORIZON)]);
    }

    #[test]
    fn a_shard_that_was_waiting_when_the_checkpoint_was_made_waits_again() {
        let restored = [("a", after()), ("b", TRIM_HORIZON)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let found = listed(
            &mut discovery,
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("a", after())]);
        assert_eq!(names(&ended(&mut discovery, "a")), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_parent_past_its_retention_holds_nothing_back() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let found = listed(&mut discovery, vec![shard("b", &["a"], true)]);
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_stream_new_to_the_checkpoint_starts_where_it_is_told_to() {
        let restored = Checkpoint {
            shards: [(ShardRef::new("other", "a"), after())].into(),
            ..Checkpoint::default()
        };
        let mut discovery = Discovery::new(plan(StartPosition::Latest), restored);
        let found = listed(&mut discovery, vec![shard("a", &[], true)]);
        assert_eq!(names(&found.starts), [("a", LATEST)]);
    }

    #[test]
    fn children_may_be_listed_later_than_their_parent_ends() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, vec![shard("a", &[], true)]);
        assert_eq!(names(&ended(&mut discovery, "a")), []);
        assert!(!discovery.is_settled(&at("a")));
        let found = listed(
            &mut discovery,
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert!(discovery.is_settled(&at("a")));
    }

    #[test]
    fn children_start_at_once_if_the_end_tells_of_them() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        let children = ["b", "c"].map(|id| child(id, &["a"])).to_vec();
        let found = discovery.on_end(&at("a"), children.clone());
        assert_eq!(
            names(&found.starts),
            [("b", TRIM_HORIZON), ("c", TRIM_HORIZON)]
        );
        let since = Some(NOW.saturating_sub(LISTING_LAG_MAX));
        let known = ["b", "c"].map(|id| (at(id), (TRIM_HORIZON, since)));
        assert_eq!(found.known, known);
        assert!(discovery.is_settled(&at("a")));
        assert_eq!(
            listed(&mut discovery, [shard("a", &[], true)]),
            Found::default(),
            "late"
        );
        let listing = ["b", "c"].map(|id| starting_at("9", shard(id, &["a"], true)));
        assert_eq!(listed(&mut discovery, listing), Found::default());
        let again = discovery.on_end(&at("a"), children);
        assert_eq!(again, Found::default());
    }

    #[test]
    fn a_merged_child_waits_for_both_parents_and_for_one_that_is_not_listed_yet() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, ["a", "b"].map(|id| shard(id, &[], true)));
        let merged = || vec![child("c", &["a", "b"])];
        assert_eq!(discovery.on_end(&at("a"), merged()).starts, []);
        let found = discovery.on_end(&at("b"), merged());
        assert_eq!(names(&found.starts), [("c", TRIM_HORIZON)]);
        let found = discovery.on_end(&at("c"), vec![child("e", &["c", "d"])]);
        assert_eq!(found, Found::default(), "nobody knows whether d has ended");
    }

    #[test]
    fn a_shard_waits_for_both_its_children() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        ended(&mut discovery, "a");
        let middle = HashKeyRange::FULL.midpoint();
        let half = |id, lower| Shard {
            hash_key_range: match lower {
                true => HashKeyRange {
                    end: (middle.as_u128() - 1).into(),
                    ..HashKeyRange::FULL
                },
                false => HashKeyRange {
                    start: middle,
                    ..HashKeyRange::FULL
                },
            },
            ..shard(id, &["a"], true)
        };
        let one = || [shard("a", &[], false), half("b", true)];
        listed(&mut discovery, one());
        assert!(!discovery.is_settled(&at("a")), "c is missing");
        listed(&mut discovery, [half("c", false)]);
        assert!(discovery.is_settled(&at("a")));
    }

    #[test]
    fn unordered_children_do_not_wait() {
        let mut all = plan(StartPosition::TrimHorizon);
        all.parent_before_child = false;
        let mut discovery = Discovery::new(all, Checkpoint::default());
        let listing = [
            shard("a", &[], false),
            shard("b", &["a"], true),
            shard("c", &["a"], true),
        ];
        let starts = listed(&mut discovery, listing).starts;
        let started: Vec<_> = starts.iter().map(|s| s.shard.shard_id.as_str()).collect();
        assert_eq!(started, ["a", "b", "c"]);
    }

    #[test]
    fn what_another_consumer_reads_is_neither_read_nor_waited_for() {
        let mut mine = plan(StartPosition::TrimHorizon);
        mine.assignment = Assignment {
            assigner: Arc::new(|shard: &ShardRef, _: HashKeyRange, _: usize| {
                usize::from(shard.shard_id.as_str() != "a")
            }),
            index: 1,
            parallelism: 2,
            members: 1,
        };
        let mut discovery = Discovery::new(mine, Checkpoint::default());
        let listing = [shard("a", &[], false), shard("b", &["a"], true)];
        let found = listed(&mut discovery, listing);
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert_eq!(found.foreign, [at("a")]);
        assert_eq!(found.known, [(at("b"), (TRIM_HORIZON, Some(NOW)))]);
        assert_eq!(discovery.childless(), []);
    }

    /// Two consumers: the one reads `a`, and all else is the other's.
    fn two() -> Discovery {
        let mut ours = plan(StartPosition::TrimHorizon);
        ours.assignment.assigner = Arc::new(|shard: &ShardRef, _: HashKeyRange, _: usize| {
            usize::from(shard.shard_id.as_str() != "a")
        });
        ours.assignment.members = 2;
        Discovery::new(ours, Checkpoint::default())
    }

    #[test]
    fn a_child_waits_for_the_parent_that_another_of_the_group_reads() {
        let mut group = two();
        let listing = [shard("a", &[], false), shard("b", &["a"], true)];
        let found = listed(&mut group, listing);
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert_eq!((found.known.len(), found.foreign.len()), (2, 0));
        assert_eq!((group.member(&at("a")), group.member(&at("b"))), (0, 1));
        assert_eq!(group.member(&at("gone")), 1);
        assert_eq!(names(&ended(&mut group, "a")), [("b", TRIM_HORIZON)]);
        assert!(group.is_reading());
        group.on_rest(&at("b"));
        assert!(!group.is_reading());
    }

    #[test]
    fn what_one_of_the_group_leaves_is_not_read_and_nothing_waits_to_be() {
        let mut group = two();
        let listing = || [shard("a", &[], false), shard("b", &["a"], true)];
        listed(&mut group, listing());
        group.on_leave(0);
        assert!(!group.is_reading(), "b waits for a, which nobody reads");
        let found = listed(&mut group, listing());
        assert_eq!(found, Found::default());
        // It had told of the end before it left.
        assert_eq!(names(&ended(&mut group, "a")), [("b", TRIM_HORIZON)]);
        group.on_leave(1);
        let found = listed(&mut group, [shard("c", &["b"], true)]);
        assert_eq!((found.known.len(), found.starts), (1, vec![]));
        assert!(!group.is_reading());
    }

    #[test]
    fn a_restored_shard_is_gone_when_its_children_are_listed_without_it() {
        let restored = [("a", after()), ("z", TRIM_HORIZON)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        assert_eq!(discovery.hidden(), [at("a"), at("z")]);
        let found = listed(&mut discovery, [shard("b", &["a"], true)]);
        let gone = Gap {
            after: "7".parse().ok(),
            ..Gap::new(at("a"), GapCause::ShardVanished)
        };
        assert_eq!((found.gaps, found.vanished), (vec![gone], vec![at("a")]));
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert_eq!(discovery.hidden(), [at("z")], "a listing may lag behind");
    }

    #[test]
    fn a_restored_shard_is_gone_when_no_listing_shows_it_for_long() {
        let mut discovery = discovery(StartPosition::Latest, &[("z", after())]);
        let mut gaps = Vec::new();
        for _ in 0..100 {
            gaps.extend(listed(&mut discovery, [shard("a", &[], true)]).gaps);
        }
        let causes: Vec<_> = gaps.iter().map(|gap| (&gap.shard, &gap.cause)).collect();
        assert_eq!(causes, [(&at("z"), &GapCause::ShardVanished)], "told once");
        assert_eq!(discovery.hidden(), []);
    }

    #[test]
    fn a_late_listing_makes_nothing_vanish() {
        let mut discovery = discovery(StartPosition::Latest, &[("b", after())]);
        for _ in 0..10 {
            let found = listed(&mut discovery, [shard("a", &[], true)]);
            assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
        }
        let listing = [shard("a", &[], false), shard("b", &["a"], true)];
        assert_eq!(
            names(&listed(&mut discovery, listing).starts),
            [("b", after())]
        );
    }

    fn starting_at(number: &str, shard: Shard) -> Shard {
        let starting_sequence_number = number.parse().expect("a number");
        Shard {
            starting_sequence_number,
            ..shard
        }
    }

    #[test]
    fn a_position_before_the_shards_beginning_is_of_a_stream_that_is_no_more() {
        let restored = [
            ("a", after()),
            ("b", ShardPosition::ShardEnd),
            ("c", after()),
        ];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let listing = || {
            [
                starting_at("8", shard("a", &[], true)),
                starting_at("8", shard("b", &[], true)),
            ]
        };
        let found = listed(&mut discovery, listing());
        let recreated = Gap {
            after: "7".parse().ok(),
            ..Gap::new(at("a"), GapCause::StreamRecreated)
        };
        assert_eq!(found.gaps, [recreated]);
        assert_eq!(found.vanished, [at("c")]);
        let both = [("a", TRIM_HORIZON), ("b", TRIM_HORIZON)];
        assert_eq!(
            names(&found.starts),
            both,
            "nothing that was restored counts"
        );
        assert_eq!(listed(&mut discovery, listing()), Found::default());
    }

    #[test]
    fn a_stream_made_anew_under_way_is_read_from_its_beginning() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        let anew = || [starting_at("8", shard("a", &[], true))];
        let found = listed(&mut discovery, anew());
        assert_eq!(found, Found::default(), "who reads it finds out first");
        assert_eq!(names(&ended(&mut discovery, "a")), []);
        let found = listed(&mut discovery, anew());
        assert_eq!(found.gaps, [Gap::new(at("a"), GapCause::StreamRecreated)]);
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert!(discovery.is_settled(&at("a")));
    }

    #[test]
    fn a_shard_that_had_ended_and_stays_open_is_a_new_one() {
        let mut discovery = discovery(StartPosition::Latest, &[("a", ShardPosition::ShardEnd)]);
        let mut starts = Vec::new();
        for n in 0..100 {
            let found = listed(&mut discovery, [shard("a", &[], true)]);
            starts.extend(found.starts.into_iter().map(|start| (n, start.position)));
        }
        let [(listings, position)] = &starts[..] else {
            panic!("{starts:?}")
        };
        assert!(*listings > 30, "a listing may lag behind");
        assert_eq!(*position, TRIM_HORIZON);
    }

    #[test]
    fn the_time_of_a_place_is_the_checkpoints_or_that_of_the_listing_before() {
        let minutes = |n: i64| Timestamp::from_millis(NOW.as_millis() + n * 60_000);
        let mut fresh = discovery(StartPosition::TrimHorizon, &[]);
        let starts = listed(&mut fresh, [shard("a", &[], true)]).starts;
        assert_eq!(starts[0].complete_to, Some(NOW));
        let two = vec![shard("a", &[], true), shard("b", &[], true)];
        let starts = fresh.on_listing(minutes(5), &stream(), two).starts;
        assert_eq!(starts[0].complete_to, Some(minutes(-1)));

        let restored = Checkpoint {
            shards: [(at("a"), after()), (at("c"), TRIM_HORIZON)].into(),
            times: [(at("a"), NOW), (at("c"), minutes(2))].into(),
            listed: [(stream(), minutes(3))].into(),
            ..Checkpoint::default()
        };
        let mut resumed = Discovery::new(plan(StartPosition::Latest), restored);
        let three = ["a", "b", "c"].map(|id| shard(id, &[], true));
        let starts = resumed
            .on_listing(minutes(5), &stream(), three.into())
            .starts;
        let times: Vec<_> = starts.iter().map(|start| start.complete_to).collect();
        assert_eq!(times, [Some(NOW), Some(minutes(2)), Some(minutes(2))]);
    }

    #[test]
    fn a_parent_that_came_and_went_unseen_is_told_of_once() {
        let restored = [("a", ShardPosition::ShardEnd)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        // a was split into b and c, and each of these was merged into the next.
        let d = || shard("d", &["b", "c"], true);
        let found = listed(&mut discovery, [d()]);
        let gone = |id| Gap::new(at(id), GapCause::ShardVanished);
        assert_eq!(found.gaps, [gone("b"), gone("c")]);
        assert_eq!(found.vanished, [at("b"), at("c")]);
        assert_eq!(names(&found.starts), [("d", TRIM_HORIZON)]);
        let found = listed(&mut discovery, [d(), shard("e", &["c"], true)]);
        assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
    }

    #[test]
    fn at_the_first_start_parents_have_gone_rightly() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let found = listed(&mut discovery, [shard("d", &["b", "c"], true)]);
        assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
    }
}
