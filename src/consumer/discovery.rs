use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consumer::checkpoint::Checkpoint;
use crate::model::{HashKeyRange, Shard, ShardId, ShardPosition, ShardRef, StartPosition};

/// Which shards there are, which may be read now, and from where. Pure: listings in, starts out.
///
/// A shard may be read once its parents have been handed out to the end, so that the records of one
/// partition key stay in order across a reshard.
#[derive(Debug)]
pub(super) struct Discovery {
    start: StartPosition,
    restored: Checkpoint,
    streams: BTreeMap<Arc<str>, BTreeMap<ShardId, Known>>,
}

#[derive(Debug)]
struct Known {
    shard: Shard,
    position: ShardPosition,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Its parents are still being read.
    Waiting,
    Reading,
    Ended,
}

/// A shard whose reading may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub shard: ShardRef,
    pub range: HashKeyRange,
    /// Takes no more records: it has an end.
    pub closed: bool,
    pub position: ShardPosition,
}

/// What a listing brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Shards not known before, for the checkpoint.
    pub known: Vec<(ShardRef, ShardPosition)>,
    /// Shards to start now.
    pub starts: Vec<Start>,
}

impl Discovery {
    /// `start` is for shards of streams that the restored checkpoint does not know.
    pub fn new(streams: &[Arc<str>], start: StartPosition, restored: Checkpoint) -> Discovery {
        let streams = streams
            .iter()
            .map(|stream| (stream.clone(), BTreeMap::new()))
            .collect();
        Discovery {
            start,
            restored,
            streams,
        }
    }

    /// Takes in a complete listing of a stream, in any order, and says what is new.
    pub fn on_listing(&mut self, stream: &Arc<str>, listing: Vec<Shard>) -> Found {
        let first = self.streams.get(stream).is_none_or(BTreeMap::is_empty);
        let mut found = Found::default();
        for shard in listing {
            let id = shard.id.clone();
            let at = ShardRef {
                stream: stream.clone(),
                shard_id: id.clone(),
            };
            let position = self.position(&at, &shard, first);
            let shards = self.streams.entry(stream.clone()).or_default();
            if let Some(known) = shards.get_mut(&id) {
                known.shard = shard;
                continue;
            }
            let state = if position == ShardPosition::ShardEnd {
                State::Ended
            } else {
                State::Waiting
            };
            found.known.push((at, position.clone()));
            shards.insert(
                id,
                Known {
                    shard,
                    position,
                    state,
                },
            );
        }
        found.starts = self.start_ready(stream);
        found
    }

    /// Takes note that a shard has been handed out to its end, and says who may follow.
    pub fn on_end(&mut self, shard: &ShardRef) -> Vec<Start> {
        let shards = self.streams.get_mut(&shard.stream);
        if let Some(known) = shards.and_then(|shards| shards.get_mut(&shard.shard_id)) {
            known.state = State::Ended;
        }
        self.start_ready(&shard.stream)
    }

    /// Says whether any child of a shard has been listed yet. A listing may lag behind a reshard.
    pub fn has_children(&self, shard: &ShardRef) -> bool {
        let shards = self.streams.get(&shard.stream);
        shards.is_some_and(|shards| {
            shards
                .values()
                .any(|known| known.shard.parents().any(|id| *id == shard.shard_id))
        })
    }

    /// Shards that have ended, and whose children nobody has listed yet.
    pub fn childless(&self) -> Vec<ShardRef> {
        let ended = |(stream, shards): (&Arc<str>, &BTreeMap<ShardId, Known>)| {
            let ended = shards
                .iter()
                .filter(|(_, known)| known.state == State::Ended);
            let named = ended.map(|(id, _)| ShardRef {
                stream: stream.clone(),
                shard_id: id.clone(),
            });
            named.collect::<Vec<_>>()
        };
        self.streams
            .iter()
            .flat_map(ended)
            .filter(|shard| !self.has_children(shard))
            .collect()
    }

    /// Where a shard seen for the first time is read from.
    fn position(&self, at: &ShardRef, shard: &Shard, first: bool) -> ShardPosition {
        if let Some(position) = self.restored.position(at) {
            return position.clone();
        }
        if !first || self.restored.knows_stream(&at.stream) {
            // It opened after the consumer started, or while it was down: all of it is new.
            return ShardPosition::Start(StartPosition::TrimHorizon);
        }
        match self.start {
            // Nothing newer than the newest record can come out of a closed shard.
            StartPosition::Latest if !shard.is_open() => ShardPosition::ShardEnd,
            start => ShardPosition::Start(start),
        }
    }

    fn start_ready(&mut self, stream: &Arc<str>) -> Vec<Start> {
        let Some(shards) = self.streams.get_mut(stream) else {
            return Vec::new();
        };
        let ready: Vec<ShardId> = shards
            .iter()
            .filter(|(_, known)| known.is_ready(shards))
            .map(|(id, _)| id.clone())
            .collect();
        let start = |id: ShardId| {
            let known = shards.get_mut(&id)?;
            known.state = State::Reading;
            let shard = ShardRef {
                stream: stream.clone(),
                shard_id: id,
            };
            let (range, closed) = (known.shard.hash_key_range, !known.shard.is_open());
            Some(Start {
                shard,
                range,
                closed,
                position: known.position.clone(),
            })
        };
        ready.into_iter().filter_map(start).collect()
    }
}

impl Known {
    fn is_ready(&self, shards: &BTreeMap<ShardId, Known>) -> bool {
        // Its reading had begun before the checkpoint was made, so its parents were done with then.
        let resumed = matches!(self.position, ShardPosition::After { .. });
        // A parent that is not listed any more has outlived its retention: nothing is left of it.
        let done = |parent: &ShardId| {
            shards
                .get(parent)
                .is_none_or(|parent| parent.state == State::Ended)
        };
        self.state == State::Waiting && (resumed || self.shard.parents().all(done))
    }
}

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

    fn discovery(start: StartPosition, restored: &[(&str, ShardPosition)]) -> Discovery {
        let shards = restored
            .iter()
            .map(|(id, position)| (at(id), position.clone()))
            .collect();
        Discovery::new(&[stream()], start, Checkpoint { shards })
    }

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
        let found = discovery.on_listing(&stream(), listing.into());
        assert_eq!(names(&found.starts), [("a", TRIM_HORIZON)]);
        assert_eq!(found.known.len(), 4);
        assert_eq!(
            names(&discovery.on_end(&at("a"))),
            [("b", TRIM_HORIZON), ("c", TRIM_HORIZON)]
        );
        assert_eq!(names(&discovery.on_end(&at("c"))), []);
        assert_eq!(names(&discovery.on_end(&at("b"))), [("d", TRIM_HORIZON)]);
    }

    #[test]
    fn latest_skips_what_is_closed_and_nothing_that_opens_later() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        let found = discovery.on_listing(
            &stream(),
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("b", LATEST)]);
        assert_eq!(
            found.known,
            [(at("a"), ShardPosition::ShardEnd), (at("b"), LATEST)]
        );
        let listing = vec![
            shard("a", &[], false),
            shard("b", &["a"], false),
            shard("c", &["b"], true),
        ];
        assert_eq!(names(&discovery.on_listing(&stream(), listing).starts), []);
        assert_eq!(names(&discovery.on_end(&at("b"))), [("c", TRIM_HORIZON)]);
    }

    #[test]
    fn the_same_listing_again_brings_nothing() {
        let mut discovery = discovery(StartPosition::Latest, &[]);
        let listing = || vec![shard("a", &[], true), shard("b", &[], true)];
        assert_eq!(discovery.on_listing(&stream(), listing()).starts.len(), 2);
        assert_eq!(discovery.on_listing(&stream(), listing()), Found::default());
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
        let found = discovery.on_listing(&stream(), listing);
        assert_eq!(names(&found.starts), [("b", after()), ("c", TRIM_HORIZON)]);
    }

    #[test]
    fn a_shard_that_was_waiting_when_the_checkpoint_was_made_waits_again() {
        let restored = [("a", after()), ("b", TRIM_HORIZON)];
        let mut discovery = discovery(StartPosition::Latest, &restored);
        let found = discovery.on_listing(
            &stream(),
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("a", after())]);
        assert_eq!(names(&discovery.on_end(&at("a"))), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_parent_past_its_retention_holds_nothing_back() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        let found = discovery.on_listing(&stream(), vec![shard("b", &["a"], true)]);
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
    }

    #[test]
    fn a_stream_new_to_the_checkpoint_starts_where_it_is_told_to() {
        let restored = Checkpoint {
            shards: [(ShardRef::new("other", "a"), after())].into(),
        };
        let mut discovery = Discovery::new(&[stream()], StartPosition::Latest, restored);
        let found = discovery.on_listing(&stream(), vec![shard("a", &[], true)]);
        assert_eq!(names(&found.starts), [("a", LATEST)]);
    }

    #[test]
    fn children_may_be_listed_later_than_their_parent_ends() {
        let mut discovery = discovery(StartPosition::TrimHorizon, &[]);
        discovery.on_listing(&stream(), vec![shard("a", &[], true)]);
        assert_eq!(names(&discovery.on_end(&at("a"))), []);
        assert!(!discovery.has_children(&at("a")));
        let found = discovery.on_listing(
            &stream(),
            vec![shard("a", &[], false), shard("b", &["a"], true)],
        );
        assert_eq!(names(&found.starts), [("b", TRIM_HORIZON)]);
        assert!(discovery.has_children(&at("a")));
    }
}
