mod losses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::client::ChildShard;
use crate::consumer::assigner::Assignment;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::fate::Fate;
use crate::consumer::known::{Known, State, Stream};
use crate::consumer::listing::{Listing, Times};
use crate::consumer::missing::LAG_MAX;
use crate::model::{
    Gap, HashKeyRange, SequenceNumber, Shard, ShardId, ShardPosition, ShardRef, StartPosition,
    Timestamp,
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
    /// The service's time when the consumer started, and not later: what LATEST means from then on.
    pub started: Timestamp,
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
    /// The hash keys of the shard and of those it came from: a producer that does not know of the
    /// reshards yet puts records of all of them into it.
    pub ancestry: HashKeyRange,
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
    /// Shards that another process reads, or that went with their stream.
    pub foreign: Vec<ShardRef>,
    /// Shards not known before, for the checkpoint.
    pub known: Vec<(ShardRef, Place)>,
    /// Parents that no listing has shown yet, and where they are to be read from if one does.
    pub awaited: Vec<(ShardRef, Place)>,
    /// Shards being read that are gone.
    pub fates: Vec<(ShardRef, Fate)>,
    /// Shards to start now.
    pub starts: Vec<Start>,
}

impl Discovery {
    pub fn new(plan: Plan, restored: Checkpoint) -> Discovery {
        let stream = |(name, start): &(Arc<str>, StartPosition)| {
            let is_restored = restored.knows_stream(name);
            let since = match start {
                _ if is_restored => restored.starts.get(name).copied(),
                StartPosition::Latest => Some(plan.started),
                StartPosition::AtTimestamp(time) => Some(*time),
                StartPosition::TrimHorizon => None,
            };
            let known = Stream::new(*start, since, is_restored);
            (name.clone(), known)
        };
        let mut streams: BTreeMap<_, _> = plan.streams.iter().map(stream).collect();
        for (shard, position) in restored.iter() {
            if let Some(stream) = streams.get_mut(&shard.stream)
                && *position != ShardPosition::ShardEnd
            {
                stream.awaited.insert(shard.shard_id.clone());
            }
        }
        Discovery {
            streams,
            plan,
            restored,
            left: BTreeSet::new(),
        }
    }

    pub fn streams(&self) -> impl Iterator<Item = &Arc<str>> {
        self.streams.keys()
    }

    /// Since when each stream is read, where shards may yet be found that opened before that.
    pub fn starts(&self) -> BTreeMap<Arc<str>, Timestamp> {
        let streams = self.streams.iter();
        let since = streams.filter_map(|(name, stream)| Some((name.clone(), stream.since?)));
        since.collect()
    }

    /// When the stream was listed last that its shards are read of: the one before, if it was made anew.
    pub fn listed(&self, name: &Arc<str>) -> Option<Timestamp> {
        let stream = self.streams.get(name)?;
        stream.listed_before.or(stream.listed)
    }

    /// Takes in a complete listing of a stream, and says what is new.
    pub fn on_listing(&mut self, listing: &Listing) -> Found {
        let (mut found, name) = (Found::default(), &listing.stream);
        let stream = self.streams.entry(name.clone()).or_default();
        let (is_first, is_under_way) = (stream.listed.is_none(), stream.is_under_way());
        let changed = stream.changed(listing);
        if is_first {
            self.report_replaced(name, &mut found);
        }
        self.drop_recreated(listing, &changed, &mut found);
        let mut new = Vec::new();
        for shard in changed {
            match self.stream_mut(name).get_mut(&shard.id) {
                Some(known) => known.update(shard),
                None => {
                    new.push(shard.id.clone());
                    self.take_in(listing.at, name, shard, &mut found);
                }
            }
        }
        if is_under_way {
            self.await_unseen(listing, &new, &mut found);
        }
        let there = self.stream_mut(name).look_for(listing).into_iter();
        let asked = listing.times.asked;
        (found.fates).extend(there.map(|id| (reference(name, &id), Fate::Listed(asked))));
        self.find_fates(name, &mut found);
        self.drop_vanished(name, &mut found);
        self.drop_reborn(listing, &mut found);
        self.stream_mut(name).listed = Some(listing.at);
        if found != Found::default() {
            let waiting = self.stream_mut(name).waiting().clone();
            found.starts = self.start_ready(name, waiting);
        }
        if is_first {
            self.fix_latest(name);
        }
        found
    }

    /// Takes note that the service does not know a stream, and says whether that has been so for long.
    pub fn on_not_found(&mut self, times: Times, name: &Arc<str>) -> (Found, bool) {
        let mut found = Found::default();
        let is_long = self.stream_mut(name).look_in_vain(times);
        self.find_fates(name, &mut found);
        self.drop_vanished(name, &mut found);
        if !found.vanished.is_empty() {
            let waiting = self.stream_mut(name).waiting().clone();
            found.starts = self.start_ready(name, waiting);
        }
        (found, is_long)
    }

    fn stream_mut(&mut self, name: &Arc<str>) -> &mut Stream {
        self.streams.entry(name.clone()).or_default()
    }

    /// Takes in a shard that was not known before.
    fn take_in(&mut self, now: Timestamp, name: &Arc<str>, shard: Shard, found: &mut Found) {
        let at = reference(name, &shard.id);
        let member = self.plan.assignment.member(&at, shard.hash_key_range);
        let place = self.place(now, &at, &shard);
        let state = match member {
            None => State::Foreign,
            Some(_) if place.0 == ShardPosition::ShardEnd => State::Ended,
            Some(member) if self.left.contains(&member) => State::Resting,
            Some(_) => State::Waiting,
        };
        match member {
            Some(_) => found.known.push((at, place.clone())),
            None => found.foreign.push(at),
        }
        let known = Known::new(shard, place, member, state);
        self.stream_mut(name).insert(known);
    }

    /// Takes note that a shard has been handed out to its end, and says who may follow: of those that
    /// are listed, and of the children that the end itself told of.
    pub fn on_end(&mut self, shard: &ShardRef, children: Vec<ChildShard>) -> Found {
        let mut found = Found::default();
        self.set_state(shard, State::Ended);
        for child in children {
            self.on_child(&shard.stream, child, &mut found);
        }
        found.starts = self.start_children(shard);
        found
    }

    /// Starts those that have waited for a shard: its children.
    fn start_children(&mut self, shard: &ShardRef) -> Vec<Start> {
        let children = self.streams.get(&shard.stream).map(|stream| {
            let children = stream.children(&shard.shard_id);
            children.map(|child| child.id.clone()).collect()
        });
        self.start_ready(&shard.stream, children.unwrap_or_default())
    }

    /// Takes note that the caller knows of a shard's stream that it was made anew.
    pub fn on_told_anew(&mut self, shard: &ShardRef) {
        let stream = self.streams.get_mut(&shard.stream);
        if let Some(known) = stream.and_then(|stream| stream.get_mut(&shard.shard_id)) {
            known.is_told_anew = true;
        }
    }

    /// Takes note that a shard's thread reads the shard of that name in the stream that was made anew.
    pub fn on_moved(&mut self, shard: &ShardRef) {
        let stream = self.streams.get_mut(&shard.stream);
        if let Some(known) = stream.and_then(|stream| stream.get_mut(&shard.shard_id)) {
            // So it takes over what the next listing shows.
            (known.is_listed, known.is_told_anew) = (false, false);
        }
    }

    /// Takes note that a shard is read no further, though it has not been handed out to its end.
    pub fn on_rest(&mut self, shard: &ShardRef) {
        self.set_state(shard, State::Resting);
    }

    /// Takes note that the service says it does not have a shard that is being read. Listings decide.
    pub fn on_doubt(&mut self, shard: &ShardRef) {
        if let Some(stream) = self.streams.get_mut(&shard.stream) {
            let known = stream.get(&shard.shard_id);
            if known.is_some_and(|known| known.state() == State::Reading) {
                stream.doubted.insert(shard.shard_id.clone());
            }
        }
    }

    fn set_state(&mut self, shard: &ShardRef, state: State) {
        if let Some(stream) = self.streams.get_mut(&shard.stream) {
            stream.doubted.remove(&shard.shard_id);
            stream.set_state(&shard.shard_id, state);
        }
    }

    /// Takes note that a shard has been read as far as a checkpoint bounds it, and says who may follow:
    /// put together of several, the checkpoint may have positions in its children, too.
    pub fn on_pass(&mut self, shard: &ShardRef) -> Found {
        self.set_state(shard, State::Passed);
        Found {
            starts: self.start_children(shard),
            ..Found::default()
        }
    }

    /// Says whether a shard has been listed, or told of by its parents' end.
    pub fn knows(&self, shard: &ShardRef) -> bool {
        let stream = self.streams.get(&shard.stream);
        stream.is_some_and(|stream| stream.knows(&shard.shard_id))
    }

    /// Takes note that one of the consumers is no more: what it was to read is not read by anyone.
    pub fn on_leave(&mut self, member: usize) {
        self.left.insert(member);
        for stream in self.streams.values_mut() {
            let is_left = |(_, known): &(&ShardId, &Known)| {
                known.member == Some(member)
                    && matches!(known.state(), State::Waiting | State::Reading)
            };
            let left = stream.all().filter(is_left).map(|(id, _)| id.clone());
            for id in left.collect::<Vec<_>>() {
                stream.doubted.remove(&id);
                stream.set_state(&id, State::Resting);
            }
        }
    }

    /// Which of the consumers a shard belongs to; the first, if it belongs to none of them.
    pub fn member(&self, shard: &ShardRef) -> usize {
        let stream = self.streams.get(&shard.stream);
        let known = stream.and_then(|stream| stream.get(&shard.shard_id));
        let member = match known {
            Some(known) => known.member,
            None => {
                let range = self.range_of_unlisted(shard).unwrap_or(HashKeyRange::FULL);
                self.plan.assignment.member(shard, range)
            }
        };
        member.unwrap_or(0)
    }

    /// The hash keys of a shard that is not listed: those that the checkpoint has noted, or else those
    /// of its children, from which all processes draw the same conclusion.
    fn range_of_unlisted(&self, shard: &ShardRef) -> Option<HashKeyRange> {
        let noted = self.restored.origins.get(shard).map(|origin| origin.range);
        noted.or_else(|| {
            let stream = self.streams.get(&shard.stream)?;
            let ranges = stream
                .children(&shard.shard_id)
                .map(|child| child.hash_key_range);
            ranges.reduce(|one, other| one.hull(other))
        })
    }

    /// Says whether any shard is being read. None that waits for its parents starts any more if not.
    pub fn is_reading(&self) -> bool {
        self.streams.values().any(Stream::is_reading)
    }

    /// Takes in a shard before it is listed. With a parent that is not, it has to wait for that:
    /// nobody would know whether it may start.
    fn on_child(&mut self, name: &Arc<str>, child: ChildShard, found: &mut Found) {
        let Some(stream) = self.streams.get(name) else {
            return;
        };
        let first = child.parents.first().and_then(|id| stream.get(id));
        let (Some(now), Some(first)) = (stream.listed, first) else {
            return;
        };
        if stream.knows(&child.id) || !child.parents.iter().all(|id| stream.knows(id)) {
            return;
        }
        let starting = first.shard.starting_sequence_number.clone();
        // What is restored of that name may be of the stream before: listings tell the two apart.
        if self.is_older(&reference(name, &child.id), &starting) {
            return;
        }
        let mut shard = Shard::new(child.id.clone(), child.hash_key_range, starting);
        let mut parents = child.parents.into_iter();
        (shard.parent, shard.adjacent_parent) = (parents.next(), parents.next());
        self.take_in(now, name, shard, found);
        if let Some(known) = self.stream_mut(name).get_mut(&child.id) {
            known.is_listed = false;
        }
    }

    /// Says whether the children of an ended shard have been listed, or will never be. A listing may lag
    /// behind a reshard, and show one child before the other.
    pub fn is_settled(&self, shard: &ShardRef) -> bool {
        self.streams.get(&shard.stream).is_some_and(|stream| {
            let known = stream.get(&shard.shard_id);
            stream.has_all_children(&shard.shard_id)
                || stream.missing.is_gone(&shard.shard_id)
                || known.is_some_and(|known| known.state() != State::Ended)
        })
    }

    /// Shards that have ended, and whose children nobody has listed yet.
    pub fn childless(&self) -> Vec<ShardRef> {
        let ended = |(name, stream): (&Arc<str>, &Stream)| {
            let ended = stream.childless().map(|id| reference(name, id));
            ended.collect::<Vec<_>>()
        };
        let ended = self.streams.iter().flat_map(ended);
        ended.filter(|shard| !self.is_settled(shard)).collect()
    }

    /// Shards that ought to be listed, and that no listing has shown so far.
    pub fn hidden(&self) -> Vec<ShardRef> {
        let hidden = |(name, stream): (&Arc<str>, &Stream)| {
            let hidden = stream.awaited.iter().map(|id| reference(name, id));
            hidden.collect::<Vec<_>>()
        };
        self.streams.iter().flat_map(hidden).collect()
    }

    /// The parents of a shard, as far as they are known.
    pub fn parents(&self, shard: &ShardRef) -> impl Iterator<Item = ShardRef> {
        let stream = self.streams.get(&shard.stream);
        let known = stream.and_then(|stream| stream.get(&shard.shard_id));
        let parents = known.into_iter().flat_map(|known| known.shard.parents());
        parents.map(|id| reference(&shard.stream, id))
    }

    /// The first record of a shard that was read, as a checkpoint has it.
    pub fn restored_first(&self, shard: &ShardRef) -> Option<&SequenceNumber> {
        self.restored.firsts.get(shard)
    }

    /// Says whether the next listing of a stream is to say what became of a shard.
    pub fn is_waited_for(&self, name: &Arc<str>) -> bool {
        let stream = self.streams.get(name);
        stream.is_some_and(|stream| {
            !stream.awaited.is_empty() || !stream.doubted.is_empty() || !stream.is_found()
        })
    }

    /// Where a shard seen for the first time is read from.
    fn place(&self, now: Timestamp, at: &ShardRef, shard: &Shard) -> Place {
        let stream = self.streams.get(&at.stream);
        let listed = self.listed(&at.stream);
        if let Some(position) = self.restored.position(at) {
            let position = match listed {
                Some(_) => self.fixed(position.clone()),
                None => position.clone(),
            };
            return (position, self.restored.complete_to(at));
        }
        match stream {
            Some(stream) if !stream.is_under_way() => match stream.start {
                // Nothing newer than the newest record can come out of a closed shard.
                StartPosition::Latest if !shard.is_open() => (ShardPosition::ShardEnd, Some(now)),
                start => (ShardPosition::Start(start), Some(now)),
            },
            _ => self.place_of_new(&at.stream),
        }
    }

    /// Where a shard is read from that opened after the listing before, or while the consumer was down:
    /// all of it is new.
    fn place_of_new(&self, name: &Arc<str>) -> Place {
        let listed = self.listed(name).or(self.restored.listed(name));
        let unknown_since = listed.map(|listed| listed.saturating_sub(LAG_MAX));
        // A listing may have lacked a shard that was there, and that has records from before the
        // instant from which the stream is read.
        let since = self.streams.get(name).and_then(|stream| stream.since);
        let since = since.filter(|since| unknown_since.is_none_or(|time| time < *since));
        let start = since.map_or(StartPosition::TrimHorizon, StartPosition::AtTimestamp);
        (ShardPosition::Start(start), unknown_since)
    }

    /// The instant that LATEST meant when the consumer started.
    fn fixed(&self, position: ShardPosition) -> ShardPosition {
        match position {
            ShardPosition::Start(StartPosition::Latest) => {
                ShardPosition::Start(StartPosition::AtTimestamp(self.plan.started))
            }
            other => other,
        }
    }

    /// LATEST is for shards whose iterators are taken before `start` returns. One that waits for its
    /// parents is read from that instant on, however late that is.
    fn fix_latest(&mut self, name: &Arc<str>) {
        let waiting = self.stream_mut(name).waiting().clone();
        for id in waiting {
            let place = self
                .stream_mut(name)
                .get(&id)
                .map(|known| known.place.0.clone());
            let place = place.map(|position| self.fixed(position));
            if let (Some(known), Some(position)) = (self.stream_mut(name).get_mut(&id), place) {
                known.place.0 = position;
            }
        }
    }

    /// Those of these shards that may be read now.
    fn start_ready(&mut self, name: &Arc<str>, candidates: BTreeSet<ShardId>) -> Vec<Start> {
        let ordered = self.plan.parent_before_child;
        let Some(stream) = self.streams.get_mut(name) else {
            return Vec::new();
        };
        let mut ready = candidates;
        ready.retain(|id| stream.is_ready(id, ordered));
        let start = |id: ShardId| {
            let ancestry = stream.ancestry(&id, GENERATIONS);
            stream.set_state(&id, State::Reading);
            let known = stream.get(&id)?;
            let (position, complete_to) = known.place.clone();
            Some(Start {
                shard: reference(name, &id),
                range: known.shard.hash_key_range,
                ancestry: ancestry.unwrap_or(known.shard.hash_key_range),
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

/// Reshards of so many in a row may be news to a producer.
const GENERATIONS: usize = 8;

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::consumer::checkpoint::{Origin, Replaced, Subtasks};
    use crate::model::GapCause;

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
            started: NOW,
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
        listed_at(discovery, 0, listing)
    }

    /// A listing so many seconds after the start.
    fn listed_at(discovery: &mut Discovery, second: u64, listing: impl Into<Vec<Shard>>) -> Found {
        let time = Duration::from_secs(second);
        let at = NOW.saturating_add(time);
        let listing = Listing::new(stream(), at, times(second), listing.into());
        discovery.on_listing(&listing)
    }

    fn times(second: u64) -> Times {
        thread_local!(static START: Instant = Instant::now());
        let asked = START.with(|start| *start) + Duration::from_secs(second);
        let answered = asked;
        Times { asked, answered }
    }

    /// Lists a second apart for these seconds, and says what each listing brought.
    fn listed_for(
        discovery: &mut Discovery,
        seconds: Range<u64>,
        listing: &[Shard],
    ) -> Vec<(u64, Found)> {
        let found = |second| (second, listed_at(discovery, second, listing));
        let found = seconds.map(found);
        found
            .filter(|(_, found)| *found != Found::default())
            .collect()
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
    /// The instant that LATEST means.
    const SINCE: ShardPosition = ShardPosition::Start(StartPosition::AtTimestamp(NOW));

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
        assert_eq!(names(&ended(&mut discovery, "b")), [("c", SINCE)]);
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
        assert!(discovery.knows(&at("a")) && !discovery.knows(&at("b")));
        let found = discovery.on_end(&at("a"), children.clone());
        assert!(discovery.knows(&at("b")));
        assert_eq!(names(&found.starts), [("b", SINCE), ("c", SINCE)]);
        let since = Some(NOW.saturating_sub(LAG_MAX));
        let known = ["b", "c"].map(|id| (at(id), (SINCE, since)));
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
    fn children_of_a_shard_that_was_read_up_to_its_bound_may_follow() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let both = [shard("a", &[], false), shard("b", &["a"], true)];
        listed(&mut discovery, both);
        let found = discovery.on_pass(&at("a"));
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_start_says_whether_the_shard_was_closed_when_it_was_listed_last() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let all = |open| {
            let (a, b) = (shard("a", &[], open), shard("b", &["a"], open));
            [a, b, shard("c", &[], false)]
        };
        let closed = |starts: Vec<Start>| {
            let closed = starts.into_iter().map(|start| start.closed);
            closed.collect::<Vec<_>>()
        };
        let found = listed(&mut discovery, all(true));
        assert_eq!(closed(found.starts), [false, true], "a and c");
        listed(&mut discovery, all(false));
        assert_eq!(closed(ended(&mut discovery, "a")), [true], "b");
    }

    #[test]
    fn an_ended_shard_is_childless_until_its_children_are_listed_or_it_is_gone() {
        let restored = ["a", "b"].map(|id| (id, ShardPosition::ShardEnd));
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let (a, b) = (shard("a", &[], false), shard("b", &[], false));
        let child = shard("c", &["a"], true);
        listed(&mut discovery, [a.clone(), b.clone()]);
        assert_eq!(discovery.childless(), [at("a"), at("b")]);
        listed(&mut discovery, [a.clone(), b, child.clone()]);
        assert_eq!(discovery.childless(), [at("b")]);
        listed_for(&mut discovery, 1..62, &[a, child]);
        assert_eq!(discovery.childless(), []);
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
    fn a_child_that_has_been_listed_alone_for_a_minute_is_all_there_will_be() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        ended(&mut discovery, "a");
        let mut lower = half("b", true);
        lower.parent = Some("a".into());
        let listing = [shard("a", &[], false), lower];
        listed_for(&mut discovery, 1..61, &listing);
        assert!(!discovery.is_settled(&at("a")));
        listed_at(&mut discovery, 61, listing);
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
        let late = [shard("c", &["b"], true), shard("d", &[], true)];
        let found = listed(&mut group, late);
        assert_eq!((found.known.len(), found.starts), (2, vec![]));
        assert!(!group.is_reading());
    }

    #[test]
    fn a_restored_shard_is_gone_when_its_children_are_listed_for_long_without_it() {
        let restored = [("a", after()), ("z", TRIM_HORIZON)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        assert_eq!(discovery.hidden(), [at("a"), at("z")]);
        let listing = [shard("b", &["a"], true)];
        let found = listed(&mut discovery, listing.clone());
        assert_eq!((found.gaps, found.starts), (vec![], vec![]), "b waits");
        assert_eq!(found.known, [(at("b"), (TRIM_HORIZON, None))]);
        let told = listed_for(&mut discovery, 1..200, &listing);
        let [(60, found)] = &told[..] else {
            panic!("{told:?}")
        };
        let gone = |id, after| Gap {
            after,
            ..Gap::new(at(id), GapCause::ShardVanished)
        };
        let gaps = [gone("a", "7".parse().ok()), gone("z", None)];
        assert_eq!(found.gaps, gaps);
        assert_eq!(found.vanished, [at("a"), at("z")]);
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert_eq!(discovery.hidden(), []);
    }

    #[test]
    fn a_restored_shard_is_gone_when_no_listing_shows_it_for_long() {
        let mut discovery = discovery(StartPosition::Latest, &[("z", after())]);
        let listing = [shard("a", &[], true)];
        listed(&mut discovery, listing.clone());
        let found = listed_for(&mut discovery, 1..200, &listing);
        let gaps = found.iter().flat_map(|(second, found)| {
            let gaps = found.gaps.iter();
            gaps.map(|gap| (*second, &gap.shard, &gap.cause))
        });
        let gaps: Vec<_> = gaps.collect();
        assert_eq!(gaps, [(60, &at("z"), &GapCause::ShardVanished)], "once");
        assert_eq!(discovery.hidden(), []);
    }

    #[test]
    fn many_listings_in_no_time_make_nothing_vanish() {
        let mut discovery = discovery(StartPosition::Latest, &[("z", after())]);
        let listing = [shard("a", &[], true)];
        for _ in 0..124 {
            let found = listed(&mut discovery, listing.clone());
            assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
        }
        let both = [shard("a", &[], true), shard("z", &[], true)];
        assert_eq!(
            names(&listed(&mut discovery, both).starts),
            [("z", after())]
        );
    }

    #[test]
    fn a_late_listing_makes_nothing_vanish() {
        let mut discovery = discovery(StartPosition::Latest, &[("b", after())]);
        for second in 0..10 {
            let found = listed_at(&mut discovery, second, [shard("a", &[], true)]);
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
        let other = Gap {
            shard: at("c"),
            ..recreated.clone()
        };
        assert_eq!(found.gaps, [recreated, other]);
        assert_eq!((found.vanished, found.foreign), (vec![], vec![at("c")]));
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
        let fate = Fate::Recreated("8".parse().expect("a number"));
        let expected = Found {
            fates: vec![(at("a"), fate)],
            ..Found::default()
        };
        assert_eq!(found, expected, "who reads it is to tell first");
        assert_eq!(names(&ended(&mut discovery, "a")), []);
        let found = listed(&mut discovery, anew());
        assert_eq!(found.gaps, [Gap::new(at("a"), GapCause::StreamRecreated)]);
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert!(discovery.is_settled(&at("a")));
    }

    #[test]
    fn of_a_stream_made_anew_before_the_instant_of_the_start_nothing_older_is_read() {
        let a = shard("a", &[], true);
        let ahead = NOW.saturating_add(Duration::from_secs(600));
        for (listed, expected) in [
            (NOW, StartPosition::AtTimestamp(ahead)),
            (ahead, StartPosition::TrimHorizon),
        ] {
            let start = StartPosition::AtTimestamp(ahead);
            let restored = Checkpoint {
                shards: [(at("a"), ShardPosition::Start(start))].into(),
                origins: [(
                    at("a"),
                    Origin {
                        range: a.hash_key_range,
                        starting: a.starting_sequence_number.clone(),
                    },
                )]
                .into_iter()
                .collect(),
                starts: [(stream(), ahead)].into(),
                listed: [(stream(), listed)].into(),
                ..Checkpoint::default()
            };
            let mut discovery = Discovery::new(plan(start), restored);
            let found = listed_at(&mut discovery, 3_600, [starting_at("8", a.clone())]);
            assert_eq!(
                names(&found.starts),
                [("a", ShardPosition::Start(expected))]
            );
        }
    }

    #[test]
    fn a_stream_made_anew_keeps_its_instant_however_late_the_old_ones_shards_end() {
        let ahead = NOW.saturating_add(Duration::from_secs(600));
        let start = ShardPosition::Start(StartPosition::AtTimestamp(ahead));
        let mut discovery = discovery(StartPosition::AtTimestamp(ahead), &[]);
        let both = ["a", "b"].map(|id| shard(id, &[], true));
        listed(&mut discovery, both.clone());
        let anew = both.map(|shard| starting_at("8", shard));
        // They are waiting for the instant, and find out when it has come.
        for second in [30, 599, 700] {
            listed_at(&mut discovery, second, anew.clone());
            assert_eq!(discovery.listed(&stream()), Some(NOW), "{second}");
        }
        for (second, id) in [(710, "a"), (720, "b")] {
            ended(&mut discovery, id);
            let found = listed_at(&mut discovery, second, anew.clone());
            assert_eq!(names(&found.starts), [(id, start.clone())]);
        }
        listed_at(&mut discovery, 730, anew);
        let last = NOW.saturating_add(Duration::from_secs(730));
        assert_eq!(discovery.listed(&stream()), Some(last));
    }

    #[test]
    fn of_a_stream_made_anew_what_has_been_read_of_the_new_one_is_not_read_again() {
        let read_to = |number: &str| ShardPosition::After {
            sequence_number: number.parse().expect("a number"),
            sub_sequence_number: None,
        };
        // Killed when the thread of one shard read in the new stream, and that of the other did not yet.
        let positions = [
            ("a", read_to("5")),
            ("b", read_to("9")),
            ("c", read_to("8")),
            ("d", ShardPosition::ShardEnd),
        ];
        let anew = positions.clone().map(|(id, position)| {
            let is_open = position != ShardPosition::ShardEnd;
            starting_at("8", shard(id, &[], is_open))
        });
        let restored = Checkpoint {
            shards: positions.map(|(id, position)| (at(id), position)).into(),
            origins: [origin(&anew[3])].into_iter().collect(),
            ..Checkpoint::default()
        };
        let mut discovery = Discovery::new(plan(StartPosition::TrimHorizon), restored);
        let found = listed(&mut discovery, anew);
        let gaps: Vec<_> = found.gaps.iter().map(|gap| gap.shard.clone()).collect();
        assert_eq!(gaps, [at("a")]);
        let starts = [
            ("a", TRIM_HORIZON),
            ("b", read_to("9")),
            ("c", read_to("8")),
        ];
        assert_eq!(names(&found.starts), starts);
    }

    /// A checkpoint that has a shard of a stream made anew, and another one at this place.
    fn in_both_streams(position: ShardPosition, starting: Option<&str>) -> Checkpoint {
        let of_both = [("a", Some("5")), ("b", starting)].into_iter();
        let origins = of_both.filter_map(|(id, starting)| {
            let starting = starting?.parse().expect("a number");
            let range = HashKeyRange::FULL;
            Some((at(id), Origin { range, starting }))
        });
        Checkpoint {
            shards: [(at("a"), TRIM_HORIZON), (at("b"), position)].into(),
            origins: origins.collect(),
            ..Checkpoint::default()
        }
    }

    #[test]
    fn a_child_that_an_answer_tells_of_is_not_taken_for_an_older_one_of_its_name() {
        for (number, is_older) in [("3", true), ("5", false), ("6", false)] {
            let read = ShardPosition::After {
                sequence_number: number.parse().expect("a number"),
                sub_sequence_number: None,
            };
            let plan = plan(StartPosition::TrimHorizon);
            let mut discovery = Discovery::new(plan, in_both_streams(read, None));
            let a = || starting_at("5", shard("a", &[], true));
            listed(&mut discovery, [a()]);
            let found = discovery.on_end(&at("a"), vec![child("b", &["a"])]);
            assert_eq!(found.known.is_empty(), is_older, "{number}");
            let b = starting_at("6", shard("b", &["a"], true));
            let found = listed(&mut discovery, [a(), b]);
            let starts = match is_older {
                true => vec![("b", TRIM_HORIZON)],
                false => vec![],
            };
            assert_eq!(names(&found.starts), starts, "{number}");
        }
    }

    #[test]
    fn an_ended_shard_shows_that_what_is_listed_is_of_a_newer_stream() {
        for (starting, is_older) in [("3", true), ("6", false)] {
            let plan = plan(StartPosition::TrimHorizon);
            let mut restored = in_both_streams(ShardPosition::ShardEnd, Some(starting));
            // That a shard of another stream is older says nothing.
            let origin = Origin {
                range: HashKeyRange::FULL,
                starting: "1".parse().expect("a number"),
            };
            let others = ShardRef::new("returns", "z");
            restored.origins = (restored.origins.iter())
                .map(|(at, origin)| (at.clone(), origin.clone()))
                .chain([(others, origin)])
                .collect();
            let mut discovery = Discovery::new(plan, restored);
            let a = || starting_at("5", shard("a", &[], true));
            let gaps = listed(&mut discovery, [a()]).gaps;
            let recreated = Gap::new(at("b"), GapCause::StreamRecreated);
            let expected = is_older.then_some(recreated).into_iter();
            assert_eq!(gaps, expected.collect::<Vec<_>>(), "{starting}");
            let found = discovery.on_end(&at("a"), vec![child("b", &["a"])]);
            let starts = match is_older {
                true => vec![("b", TRIM_HORIZON)],
                false => vec![],
            };
            assert_eq!(names(&found.starts), starts, "{starting}");
            assert_eq!(listed(&mut discovery, [a()]).gaps, [], "told once");
        }
    }

    #[test]
    fn children_in_a_stream_made_anew_wait_for_the_parent_in_it() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let old = || [shard("a", &[], false), shard("b", &["a"], true)];
        listed(&mut discovery, old());
        // Both streams were resharded alike, and who reads the parent does not know of the new one yet.
        let anew = || {
            [
                starting_at("8", shard("a", &[], false)),
                starting_at("9", shard("c", &["a"], true)),
            ]
        };
        let found = listed(&mut discovery, anew());
        let gaps: Vec<_> = found.gaps.iter().map(|gap| gap.shard.clone()).collect();
        assert_eq!((gaps, found.foreign), (vec![at("b")], vec![at("b")]));
        discovery.on_told_anew(&at("a"));
        assert_eq!(names(&ended(&mut discovery, "a")), []);
        let found = listed(&mut discovery, anew());
        assert_eq!(
            (found.gaps, names(&found.starts)),
            (vec![], vec![("a", TRIM_HORIZON)])
        );
        assert_eq!(names(&ended(&mut discovery, "a")), [("c", TRIM_HORIZON)]);
    }

    #[test]
    fn what_a_shards_thread_has_told_of_a_stream_made_anew_is_not_told_twice() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        let anew = || [starting_at("8", shard("a", &[], true))];
        listed(&mut discovery, anew());
        discovery.on_told_anew(&at("a"));
        ended(&mut discovery, "a");
        let found = listed(&mut discovery, anew());
        assert_eq!((found.gaps, found.starts.len()), (vec![], 1));
    }

    #[test]
    fn a_shard_that_is_read_no_further_is_left_alone_when_its_stream_is_made_anew() {
        for stop in [
            Discovery::on_rest,
            |discovery: &mut Discovery, shard: &ShardRef| {
                discovery.on_pass(shard);
            },
        ] {
            let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
            listed(&mut discovery, [shard("a", &[], true)]);
            stop(&mut discovery, &at("a"));
            let anew = [starting_at("8", shard("a", &[], true))];
            assert_eq!(listed(&mut discovery, anew), Found::default());
        }
    }

    #[test]
    fn a_thread_that_has_moved_on_to_the_new_stream_is_left_alone() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        let anew = || [starting_at("8", shard("a", &[], true))];
        assert_eq!(listed(&mut discovery, anew()).fates.len(), 1);
        discovery.on_told_anew(&at("a"));
        discovery.on_moved(&at("a"));
        assert_eq!(listed(&mut discovery, anew()), Found::default());
        let child = starting_at("9", shard("b", &["a"], true));
        let [a] = anew();
        let found = listed(&mut discovery, [a, child]);
        assert_eq!((found.gaps, names(&found.starts)), (vec![], vec![]));
        assert_eq!(names(&ended(&mut discovery, "a")), [("b", TRIM_HORIZON)]);
        assert_eq!(listed(&mut discovery, anew()), Found::default());
    }

    #[test]
    fn a_shard_that_the_service_denies_is_gone_when_listings_say_so() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let (a, b) = (shard("a", &[], true), shard("b", &[], true));
        listed(&mut discovery, [a.clone(), b.clone()]);
        let without = std::slice::from_ref(&b);
        assert_eq!(
            listed_for(&mut discovery, 1..200, without),
            [],
            "it is read"
        );
        discovery.on_doubt(&at("a"));
        assert!(discovery.is_waited_for(&stream()));
        assert_eq!(listed_for(&mut discovery, 200..230, without), []);
        let found = listed_at(&mut discovery, 230, [a, b.clone()]);
        assert_eq!(found.fates, [(at("a"), Fate::Listed(times(230).asked))]);
        assert!(!discovery.is_waited_for(&stream()), "it is there");
        discovery.on_doubt(&at("a"));
        let found = listed_for(&mut discovery, 240..320, without);
        let (second, found) = &found[0];
        assert_eq!(
            (*second, &found.fates[..]),
            (300, &[(at("a"), Fate::Gone)][..])
        );
        assert_eq!((&found.gaps[..], &found.starts[..]), (&[][..], &[][..]));
        ended(&mut discovery, "a");
        assert!(!discovery.is_waited_for(&stream()));
    }

    #[test]
    fn a_stream_that_is_not_found_for_long_is_gone() {
        let mut discovery = discovery(StartPosition::Latest, &[("z", after())]);
        listed(&mut discovery, [shard("a", &[], true)]);
        discovery.on_doubt(&at("a"));
        for second in 1..60 {
            let (found, is_long) = discovery.on_not_found(times(second), &stream());
            assert_eq!((found, is_long), (Found::default(), false), "{second}");
            assert!(discovery.is_waited_for(&stream()));
        }
        let (found, is_long) = discovery.on_not_found(times(60), &stream());
        assert_eq!((found.vanished, is_long), (vec![at("z")], false));
        let (found, is_long) = discovery.on_not_found(times(61), &stream());
        assert_eq!((found.fates, is_long), (vec![(at("a"), Fate::Gone)], true));
    }

    #[test]
    fn a_stream_that_is_not_found_is_looked_for_until_it_is() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        listed(&mut discovery, [shard("a", &[], true)]);
        assert!(!discovery.is_waited_for(&stream()));
        discovery.on_not_found(times(1), &stream());
        assert!(discovery.is_waited_for(&stream()));
        listed_at(&mut discovery, 2, [shard("a", &[], true)]);
        assert!(!discovery.is_waited_for(&stream()));
    }

    #[test]
    fn a_shard_that_ended_in_this_run_or_is_closed_is_no_new_one() {
        let mut ended_now = discovery(StartPosition::TrimHorizon, &[]);
        let open = [shard("a", &[], true)];
        listed(&mut ended_now, open.clone());
        ended(&mut ended_now, "a");
        assert_eq!(listed_for(&mut ended_now, 1..200, &open), []);
        let restored = [("a", ShardPosition::ShardEnd)];
        let mut ended_before = discovery(StartPosition::Latest, &restored);
        let closed = [shard("a", &[], false)];
        listed(&mut ended_before, closed.clone());
        assert_eq!(listed_for(&mut ended_before, 1..200, &closed), []);
    }

    #[test]
    fn who_waited_for_a_parent_starts_when_it_is_gone_with_its_stream() {
        let mut discovery = discovery(StartPosition::Latest, &[("z", after())]);
        let found = listed(&mut discovery, [shard("b", &["z"], true)]);
        assert_eq!(names(&found.starts), []);
        for second in 1..=60 {
            let (found, _) = discovery.on_not_found(times(second), &stream());
            let starts: Vec<_> = names(&found.starts).iter().map(|(id, _)| *id).collect();
            let expected = if second == 60 { vec!["b"] } else { vec![] };
            assert_eq!(starts, expected, "{second}");
        }
    }

    #[test]
    fn a_shard_that_had_ended_and_stays_open_is_a_new_one() {
        let mut discovery = discovery(StartPosition::Latest, &[("a", ShardPosition::ShardEnd)]);
        let listing = [shard("a", &[], true)];
        listed(&mut discovery, listing.clone());
        let found = listed_for(&mut discovery, 1..200, &listing);
        let starts = found.iter().flat_map(|(second, found)| {
            let starts = found.starts.iter();
            starts.map(|start| (*second, start.position.clone()))
        });
        let starts: Vec<_> = starts.collect();
        assert_eq!(starts, [(60, TRIM_HORIZON)], "a listing may lag behind");
    }

    #[test]
    fn the_time_of_a_place_is_the_checkpoints_or_that_of_the_listing_before() {
        let minutes = |n: i64| Timestamp::from_millis(NOW.as_millis() + n * 60_000);
        let mut fresh = discovery(StartPosition::TrimHorizon, &[]);
        let starts = listed(&mut fresh, [shard("a", &[], true)]).starts;
        assert_eq!(starts[0].complete_to, Some(NOW));
        let two = vec![shard("a", &[], true), shard("b", &[], true)];
        let starts = listed_at(&mut fresh, 300, two).starts;
        assert_eq!(starts[0].complete_to, Some(minutes(-1)));

        let restored = Checkpoint {
            shards: [(at("a"), after()), (at("c"), TRIM_HORIZON)].into(),
            times: [(at("a"), NOW), (at("c"), minutes(2))].into(),
            listed: [(stream(), minutes(3))].into(),
            ..Checkpoint::default()
        };
        let mut resumed = Discovery::new(plan(StartPosition::Latest), restored);
        let three = ["a", "b", "c"].map(|id| shard(id, &[], true));
        let starts = listed_at(&mut resumed, 300, three).starts;
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
        assert_eq!((found.gaps, found.starts), (vec![], vec![]));
        let awaited = [at("b"), at("c")].map(|shard| (shard, (TRIM_HORIZON, None)));
        assert_eq!(found.awaited, awaited, "it may be late");
        let told = listed_for(&mut discovery, 1..200, &[d()]);
        let [(60, found)] = &told[..] else {
            panic!("{told:?}")
        };
        let gone = |id| Gap::new(at(id), GapCause::ShardVanished);
        assert_eq!(found.gaps, [gone("b"), gone("c")]);
        assert_eq!(found.vanished, [at("b"), at("c")]);
        assert_eq!(names(&found.starts), [("d", TRIM_HORIZON)]);
        let found = listed_at(&mut discovery, 200, [d(), shard("e", &["c"], true)]);
        assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
    }

    #[test]
    fn a_restart_still_waits_for_a_parent_that_came_and_went_unseen() {
        let listed_before = Checkpoint {
            listed: [(stream(), NOW)].into(),
            newest: [(stream(), "a".into())].into(),
            ..Checkpoint::default()
        };
        let c = || shard("c", &["b"], true);
        let mut first = Discovery::new(plan(StartPosition::TrimHorizon), listed_before);
        let found = listed_at(&mut first, 1, [c()]);
        let place = (TRIM_HORIZON, Some(NOW.saturating_sub(LAG_MAX)));
        assert_eq!(found.awaited, [(at("b"), place.clone())]);
        // What the checkpoint says by then: b is known by its name, and is not new any more.
        let (position, time) = place;
        let of = |id: &str| (at(id), position.clone());
        let killed = Checkpoint {
            shards: [of("b"), of("c")].into(),
            times: time.map(|time| (at("b"), time)).into_iter().collect(),
            listed: [(stream(), NOW.saturating_add(Duration::from_secs(1)))].into(),
            newest: [(stream(), "c".into())].into(),
            ..Checkpoint::default()
        };
        let mut second = Discovery::new(plan(StartPosition::TrimHorizon), killed);
        let told = listed_for(&mut second, 2..200, &[c()]);
        let [(2, _), (62, found)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(found.gaps, [Gap::new(at("b"), GapCause::ShardVanished)]);
        assert_eq!(names(&found.starts), [("c", TRIM_HORIZON)]);
    }

    #[test]
    fn a_parent_that_is_listed_later_than_its_child_is_read_first() {
        let restored = [("a", ShardPosition::ShardEnd)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let c = || shard("c", &["b"], true);
        assert_eq!(names(&listed(&mut discovery, [c()]).starts), []);
        assert_eq!(discovery.hidden(), [at("b")]);
        let both = [c(), shard("b", &["a"], false)];
        let found = listed_at(&mut discovery, 30, both);
        assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert_eq!(discovery.hidden(), []);
        assert_eq!(names(&ended(&mut discovery, "b")), [("c", TRIM_HORIZON)]);
    }

    #[test]
    fn at_the_first_start_parents_have_gone_rightly() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let found = listed(&mut discovery, [shard("d", &["b", "c"], true)]);
        assert_eq!((found.gaps, found.vanished), (vec![], vec![]));
    }

    #[test]
    fn parents_of_a_restored_shard_have_gone_rightly() {
        let mut discovery = discovery(StartPosition::Latest, &[("b", after())]);
        let listing = [shard("b", &["a"], true)];
        let found = listed(&mut discovery, listing.clone());
        assert_eq!(names(&found.starts), [("b", after())]);
        assert_eq!(found.awaited, []);
        assert_eq!(listed_for(&mut discovery, 1..200, &listing), []);
    }

    #[test]
    fn the_first_record_read_of_a_shard_is_the_checkpoints() {
        let first: SequenceNumber = "5".parse().expect("a number");
        let restored = Checkpoint {
            firsts: [(at("a"), first.clone())].into(),
            ..Checkpoint::default()
        };
        let discovery = Discovery::new(plan(StartPosition::Latest), restored);
        assert_eq!(discovery.restored_first(&at("a")), Some(&first));
        assert_eq!(discovery.restored_first(&at("b")), None);
    }

    #[test]
    fn a_checkpoint_without_shards_makes_new_ones_new() {
        let restored = Checkpoint {
            listed: [(stream(), NOW)].into(),
            ..Checkpoint::default()
        };
        let mut discovery = Discovery::new(plan(StartPosition::Latest), restored);
        let listing = [shard("a", &[], false), shard("b", &["a"], true)];
        let found = listed_at(&mut discovery, 7_200, listing);
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert_eq!(names(&ended(&mut discovery, "a")), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_child_whose_parent_looked_open_starts_at_the_instant_of_the_start() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        let listing = [shard("a", &[], true), shard("b", &["a"], true)];
        let found = listed(&mut discovery, listing);
        assert_eq!(names(&found.starts), [("a", LATEST)]);
        assert_eq!(names(&ended(&mut discovery, "a")), [("b", SINCE)]);
    }

    #[test]
    fn a_restored_latest_that_is_found_late_means_the_instant_of_the_start() {
        let restored = [("a", after()), ("b", LATEST), ("c", LATEST)];
        let mut discovery = discovery(StartPosition::TrimHorizon, &restored);
        let listing = [shard("a", &[], true), shard("b", &["a"], true)];
        assert_eq!(
            names(&listed(&mut discovery, listing.clone()).starts),
            [("a", after())]
        );
        let late = [&listing[..], &[shard("c", &[], true)]].concat();
        assert_eq!(names(&listed(&mut discovery, late).starts), [("c", SINCE)]);
        assert_eq!(names(&ended(&mut discovery, "a")), [("b", SINCE)]);
    }

    #[test]
    fn a_shard_that_is_listed_late_has_nothing_from_before_the_start() {
        let time = NOW.saturating_sub(Duration::from_secs(600));
        let at_time = StartPosition::AtTimestamp(time);
        for (start, position) in [
            (StartPosition::Latest, SINCE),
            (at_time, TRIM_HORIZON),
            (StartPosition::AtTimestamp(NOW), SINCE),
            (StartPosition::TrimHorizon, TRIM_HORIZON),
        ] {
            let mut discovery = discovery(start, &[]);
            listed(&mut discovery, [shard("a", &[], true)]);
            ended(&mut discovery, "a");
            let late = [shard("a", &[], false), shard("b", &["a"], true)];
            let found = listed_at(&mut discovery, 30, late);
            assert_eq!(names(&found.starts), [("b", position)], "{start:?}");
        }
    }

    #[test]
    fn a_shard_that_opened_long_after_the_start_is_read_from_its_beginning() {
        for start in [StartPosition::Latest, StartPosition::AtTimestamp(NOW)] {
            let mut discovery = discovery(start, &[]);
            for second in [0, 60] {
                listed_at(&mut discovery, second, [shard("a", &[], true)]);
            }
            ended(&mut discovery, "a");
            let both = [shard("a", &[], false), shard("b", &["a"], true)];
            let found = listed_at(&mut discovery, 70, both);
            assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)], "{start:?}");
        }
    }

    #[test]
    fn a_restart_soon_after_the_start_still_knows_the_instant() {
        let restored = |seconds: u64| Checkpoint {
            shards: [(at("a"), ShardPosition::ShardEnd)].into(),
            listed: [(stream(), NOW.saturating_add(Duration::from_secs(seconds)))].into(),
            starts: [(stream(), NOW)].into(),
            ..Checkpoint::default()
        };
        for (seconds, position) in [(30, SINCE), (60, TRIM_HORIZON)] {
            let plan = plan(StartPosition::TrimHorizon);
            let mut discovery = Discovery::new(plan, restored(seconds));
            assert_eq!(discovery.starts(), [(stream(), NOW)].into());
            let both = [shard("a", &[], false), shard("b", &["a"], true)];
            let found = listed_at(&mut discovery, 3_600, both);
            assert_eq!(names(&found.starts), [("b", position)], "{seconds}");
        }
    }

    fn origin(shard: &Shard) -> (ShardRef, Origin) {
        (at(shard.id.as_str()), Origin::of(shard))
    }

    #[test]
    fn a_start_position_is_of_the_shard_that_the_checkpoint_has_noted() {
        for position in [TRIM_HORIZON, SINCE, ShardPosition::ShardEnd] {
            let a = shard("a", &[], true);
            let restored = Checkpoint {
                shards: [(at("a"), position.clone())].into(),
                origins: [origin(&a)].into_iter().collect(),
                starts: [(stream(), NOW)].into(),
                listed: [(stream(), NOW)].into(),
                ..Checkpoint::default()
            };
            let start = |listing: [Shard; 1]| {
                let plan = plan(StartPosition::Latest);
                let mut discovery = Discovery::new(plan, restored.clone());
                let found = listed_at(&mut discovery, 3_600, listing);
                let names = names(&found.starts).into_iter();
                let names = names.map(|(id, position)| (id.to_owned(), position));
                (found.gaps.clone(), names.collect::<Vec<_>>())
            };
            let same = match position {
                ShardPosition::ShardEnd => vec![],
                _ => vec![("a".to_owned(), position)],
            };
            assert_eq!(start([a.clone()]), (vec![], same));
            let recreated = Gap::new(at("a"), GapCause::StreamRecreated);
            let anew = vec![("a".to_owned(), TRIM_HORIZON)];
            assert_eq!(start([starting_at("8", a)]), (vec![recreated], anew));
        }
    }

    #[test]
    fn of_a_stream_made_anew_an_ended_shard_is_told_of_whose_children_nobody_has_seen() {
        let recreated = |id: &str| Gap::new(at(id), GapCause::StreamRecreated);
        let anew = || [starting_at("8", shard("a", &[], true))];
        // Restored: the end was saved, and nothing of what followed.
        let origins = || [shard("a", &[], true), shard("b", &[], false)];
        let ended = ShardPosition::ShardEnd;
        let of_another_stream = (ShardRef::new("returns", "b"), ended.clone());
        let mut restored = Checkpoint {
            shards: [(at("a"), after()), (at("b"), ended), of_another_stream].into(),
            origins: origins().iter().map(origin).collect(),
            listed: [(stream(), NOW)].into(),
            ..Checkpoint::default()
        };
        let start = |restored: &Checkpoint| {
            let mut discovery = Discovery::new(plan(StartPosition::TrimHorizon), restored.clone());
            let found = listed(&mut discovery, anew());
            assert_eq!(listed_at(&mut discovery, 1, anew()).gaps, []);
            found
        };
        let found = start(&restored);
        assert_eq!(found.gaps.first(), Some(&recreated("b")));
        assert_eq!(found.foreign, [at("b")], "no checkpoint keeps it");
        // Its child was seen, and is reported by its own name.
        restored.shards.insert(at("c"), TRIM_HORIZON);
        let c = origin(&shard("c", &["b"], true));
        restored.origins.insert(c.0, c.1);
        let gaps = start(&restored).gaps;
        assert!(
            !gaps.contains(&recreated("b")) && gaps.contains(&recreated("c")),
            "{gaps:?}"
        );

        // Under way: the end tells of a child that another process reads, and perhaps of an own one.
        for (is_listed, is_own) in [(false, false), (true, false), (false, true)] {
            let mut mine = plan(StartPosition::TrimHorizon);
            (mine.assignment.index, mine.assignment.parallelism) = (0, 2);
            let lower = mine
                .assignment
                .member(&at("b"), half("b", true).hash_key_range);
            let is_lower = lower.is_some();
            let open = |id: &str, is_lower: bool| {
                let mut open = half(id, is_lower);
                open.ending_sequence_number = None;
                open
            };
            let mut discovery = Discovery::new(mine, Checkpoint::default());
            let own = || [open("a", is_lower), open("b", is_lower)];
            listed(&mut discovery, own());
            let mut foreign = child("c", &["b"]);
            foreign.hash_key_range = half("c", !is_lower).hash_key_range;
            let mut own_child = child("d", &["b"]);
            own_child.hash_key_range = half("d", is_lower).hash_key_range;
            let own_child = Some(own_child).filter(|_| is_own);
            let children = [foreign].into_iter().chain(own_child);
            discovery.on_end(&at("b"), children.collect());
            if is_listed {
                let mut child = open("d", is_lower);
                child.parent = Some("b".into());
                let all = [own().to_vec(), vec![child]].concat();
                listed_at(&mut discovery, 1, all);
            }
            let [a, _] = own();
            let found = listed_at(&mut discovery, 2, [starting_at("8", a.clone())]);
            let expected = [recreated("b")].into_iter();
            let expected = expected.filter(|_| !is_listed && !is_own);
            assert_eq!(found.gaps, expected.collect::<Vec<_>>());
            let again = listed_at(&mut discovery, 3, [starting_at("8", a)]);
            assert_eq!(again.gaps, [], "told once");
        }
    }

    #[test]
    fn what_another_process_left_of_a_stream_made_anew_is_told_of_by_exactly_one() {
        let mut anew = starting_at("8", half("a", true));
        anew.ending_sequence_number = None;
        let left = Checkpoint {
            shards: [(at("a"), TRIM_HORIZON)].into(),
            origins: [origin(&anew)].into_iter().collect(),
            listed: [(stream(), NOW)].into(),
            replaced: [(
                at("a"),
                Replaced {
                    after: Some("5".parse().expect("a number")),
                    range: anew.hash_key_range,
                },
            )]
            .into(),
            ..Checkpoint::default()
        };
        let told = |index: usize| {
            let mut mine = plan(StartPosition::TrimHorizon);
            (mine.assignment.index, mine.assignment.parallelism) = (index, 2);
            let mut discovery = Discovery::new(mine, left.clone());
            let found = listed(&mut discovery, [anew.clone()]);
            assert_eq!(listed_at(&mut discovery, 1, [anew.clone()]).gaps, []);
            assert_eq!(discovery.replaced().count(), found.gaps.len());
            found.gaps
        };
        let gap = Gap {
            after: Some("5".parse().expect("a number")),
            ..Gap::new(at("a"), GapCause::StreamRecreated)
        };
        assert_eq!([told(0), told(1)].concat(), [gap]);
    }

    /// The halves of the ring.
    fn half(id: &str, lower: bool) -> Shard {
        let middle = HashKeyRange::FULL.midpoint();
        let mut half = shard(id, &[], false);
        match lower {
            true => half.hash_key_range.end = (middle.as_u128() - 1).into(),
            false => half.hash_key_range.start = middle,
        }
        half
    }

    #[test]
    fn of_those_that_restored_a_lost_position_exactly_one_tells() {
        let (a, b) = (half("a", true), half("b", false));
        let merged = [shard("c", &["a", "b"], true)];
        let restored = |shards: &[&Shard], subtasks: Subtasks, has_origins: bool| Checkpoint {
            shards: shards
                .iter()
                .map(|s| (at(s.id.as_str()), after()))
                .collect(),
            listed: [(stream(), NOW)].into(),
            newest: [(stream(), "b".into())]
                .into_iter()
                .filter(|_| has_origins)
                .collect(),
            origins: shards
                .iter()
                .filter(|_| has_origins)
                .map(|s| origin(s))
                .collect(),
            subtasks,
            ..Checkpoint::default()
        };
        let told = |index: usize, restored: Checkpoint| {
            let mut mine = plan(StartPosition::TrimHorizon);
            (mine.assignment.index, mine.assignment.parallelism) = (index, 2);
            let mut discovery = Discovery::new(mine, restored);
            let found = listed_for(&mut discovery, 0..100, &merged);
            let gaps = found.into_iter().flat_map(|(_, found)| found.gaps);
            let ids = gaps.map(|gap| gap.shard.shard_id.to_string());
            ids.collect::<Vec<_>>()
        };
        let assignment = Assignment {
            parallelism: 2,
            ..Assignment::default()
        };
        let first_has_a = assignment.member(&at("a"), a.hash_key_range).is_some();
        let owned = |index: usize| if (index == 0) == first_has_a { &a } else { &b };
        for index in 0..2 {
            let id = [owned(index).id.to_string()];
            // Each from its own checkpoint.
            let own = |subtasks, has_origins| restored(&[owned(index)], subtasks, has_origins);
            assert_eq!(told(index, own(Subtasks::one(index, 2), true)), id);
            // Only this subtask restored the position, so it reports the loss, whichever owns the shard now.
            let other = owned(1 - index);
            let others = restored(&[other], Subtasks::one(index, 2), true);
            assert_eq!(told(index, others), [other.id.to_string()]);
            // An older version wrote it.
            let told_of = told(index, own(Subtasks::default(), false));
            assert!(told_of.contains(&id[0]), "{told_of:?}");
            // Both from one.
            let both = restored(&[&a, &b], Subtasks::default(), true);
            assert_eq!(told(index, both), id);
            // An older version wrote it: rather twice than not at all.
            let both = restored(&[&a, &b], Subtasks::default(), false);
            assert_eq!(told(index, both), ["a", "b"]);
        }
    }

    #[test]
    fn a_parent_that_nobody_has_seen_is_told_of_by_exactly_one() {
        // Of the shard a nothing was ever seen, and its children are the two processes'.
        let children = [("b", true), ("c", false)].map(|(id, lower)| {
            let mut child = half(id, lower);
            (child.parent, child.ending_sequence_number) = (Some("a".into()), None);
            child
        });
        let told = |index: usize| {
            let mut mine = plan(StartPosition::TrimHorizon);
            (mine.assignment.index, mine.assignment.parallelism) = (index, 2);
            let restored = Checkpoint {
                listed: [(stream(), NOW)].into(),
                ..Checkpoint::default()
            };
            let mut discovery = Discovery::new(mine, restored);
            let found = listed_for(&mut discovery, 0..100, &children);
            let found = found
                .into_iter()
                .map(|(_, found)| (found.gaps.len(), found.starts.len()));
            found.fold((0, 0), |sum, (gaps, starts)| (sum.0 + gaps, sum.1 + starts))
        };
        let both = [told(0), told(1)];
        let total = both
            .iter()
            .fold((0, 0), |sum, (gaps, starts)| (sum.0 + gaps, sum.1 + starts));
        assert_eq!(total, (1, 2), "{both:?}");
    }
}
