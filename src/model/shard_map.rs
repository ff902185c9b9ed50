use std::collections::HashMap;

use crate::model::{HashKey, HashKeyRange, Shard, ShardId};

/// Which shard a hash key goes to, as far as the last ListShards knew.
///
/// Knows the ranges of closed shards too, so that a record stored during a reshard can be judged.
#[derive(Clone, Debug, Default)]
pub struct ShardMap {
    /// Open shards, by the end of their range.
    open: Vec<(HashKey, ShardId)>,
    ranges: HashMap<ShardId, HashKeyRange>,
}

impl ShardMap {
    /// Makes the map of a complete listing, in any order.
    pub fn new(shards: &[Shard]) -> ShardMap {
        let open = shards.iter().filter(|shard| shard.is_open());
        let mut open: Vec<_> = open
            .map(|shard| (shard.hash_key_range.end, shard.id.clone()))
            .collect();
        open.sort();
        let ranges = shards
            .iter()
            .map(|shard| (shard.id.clone(), shard.hash_key_range))
            .collect();
        ShardMap { open, ranges }
    }

    /// Predicts the shard that takes a hash key; `None` if no open shard reaches that far.
    ///
    /// Starts of ranges are not looked at: a gap belongs to the shard above it, as in the KPL.
    pub fn shard_of(&self, key: HashKey) -> Option<&ShardId> {
        let index = self.open.partition_point(|(end, _)| *end < key);
        self.open.get(index).map(|(_, id)| id)
    }

    /// Returns the hash keys a shard owns, or owned before it was closed.
    pub fn range_of(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.ranges.get(shard).copied()
    }

    /// Returns the place, among the open shards in the ring's order, of the one that takes a key.
    pub(crate) fn place_of(&self, key: HashKey) -> Option<usize> {
        let place = self.open.partition_point(|(end, _)| *end < key);
        (place < self.open.len()).then_some(place)
    }

    /// Returns the open shard at a place.
    pub(crate) fn open_at(&self, place: usize) -> Option<&ShardId> {
        self.open.get(place).map(|(_, id)| id)
    }

    /// Says whether the same shards take the same keys.
    pub(crate) fn has_same_open_shards(&self, other: &ShardMap) -> bool {
        self.open == other.open
    }

    /// Says whether a shard is known to take records.
    pub(crate) fn is_open(&self, shard: &ShardId) -> bool {
        let range = self.range_of(shard);
        range.is_some_and(|range| self.shard_of(range.end) == Some(shard))
    }

    /// Counts the open shards.
    pub fn open_shards(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, start: u128, end: u128, closed: bool) -> Shard {
        let range = HashKeyRange {
            start: start.into(),
            end: end.into(),
        };
        let mut shard = Shard::new(id, range, "1".parse().expect("a number"));
        shard.ending_sequence_number = closed.then(|| "2".parse().expect("a number"));
        shard
    }

    fn predicted(map: &ShardMap, key: u128) -> Option<&str> {
        map.shard_of(key.into()).map(ShardId::as_str)
    }

    #[test]
    fn a_key_goes_to_the_open_shard_whose_range_holds_it() {
        let map = ShardMap::new(&[
            shard("upper", 200, u128::MAX, false),
            shard("parent", 0, 199, true),
            shard("lower", 0, 99, false),
            shard("middle", 100, 199, false),
        ]);
        for (key, id) in [
            (0, "lower"),
            (99, "lower"),
            (100, "middle"),
            (199, "middle"),
            (200, "upper"),
            (u128::MAX, "upper"),
        ] {
            assert_eq!(predicted(&map, key), Some(id), "{key}");
        }
        assert_eq!(map.open_shards(), 3);
        assert_eq!(
            map.range_of(&"parent".into()).map(|range| range.end),
            Some(199.into())
        );
    }

    #[test]
    fn a_gap_belongs_to_the_shard_above_and_the_end_of_the_ring_to_none() {
        let map = ShardMap::new(&[
            shard("lower", 0, 99, false),
            shard("upper", 150, 200, false),
        ]);
        assert_eq!(predicted(&map, 120), Some("upper"));
        assert_eq!(predicted(&map, 201), None);
        assert_eq!(predicted(&ShardMap::default(), 0), None);
    }
}
