use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::RecordDistributionStrategy;
use crate::fake::ACCOUNT;
use crate::fake::refusal::Refusal;
use crate::fake::shard::{Shard, shard_index};
use crate::model::{HashKey, HashKeyRange, Timestamp};

/// One stream: its shards, living and closed, and the change it is going through.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: String,
    pub made: Timestamp,
    pub retention: Duration,
    pub max_record_bytes: usize,
    pub on_demand: bool,
    /// Who decides on the shards of records.
    pub strategy: RecordDistributionStrategy,
    /// The next open shard to take a record, if the service decides.
    next_place: usize,
    pub shards: BTreeMap<u32, Shard>,
    /// Open shards by the end of their range.
    open: Vec<(HashKey, u32)>,
    next_index: u32,
    pending: Option<Pending>,
    /// No record arrived, and no shard was closed, before this.
    oldest: Timestamp,
}

/// A change that comes into force at a time.
#[derive(Debug)]
struct Pending {
    due: Timestamp,
    change: Change,
}

/// What becomes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Delete,
    Merge { lower: u32, upper: u32, first: u32 },
    Split { shard: u32, at: HashKey },
    UpdateShardCount(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Creating,
    Deleting,
    Active,
    Updating,
    /// Nothing of it is left.
    Gone,
}

impl Stream {
    pub fn new(name: &str, shards: u32, now: Timestamp) -> Stream {
        let mut stream = Stream {
            name: name.to_owned(),
            made: now,
            retention: RETENTION,
            max_record_bytes: RECORD_BYTES_MAX,
            on_demand: false,
            strategy: RecordDistributionStrategy::UserPartitionKey,
            next_place: 0,
            shards: BTreeMap::new(),
            open: Vec::new(),
            next_index: 0,
            pending: None,
            oldest: now,
        };
        for range in even_ranges(shards) {
            stream.add_shard(range, now);
        }
        stream
    }

    pub fn arn(&self) -> String {
        format!("arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{}", self.name)
    }

    pub fn status(&self) -> Status {
        match self.pending.as_ref().map(|pending| &pending.change) {
            None => Status::Active,
            Some(Change::Create) => Status::Creating,
            Some(Change::Delete) if self.shards.is_empty() => Status::Gone,
            Some(Change::Delete) => Status::Deleting,
            Some(_) => Status::Updating,
        }
    }

    /// Lets a change begin, which comes into force at `due`.
    pub fn begin(&mut self, change: Change, due: Timestamp, now: Timestamp) {
        self.pending = Some(Pending { due, change });
        self.settle(now);
    }

    /// Brings into force what is due, and forgets records past their retention.
    pub fn settle(&mut self, now: Timestamp) {
        if let Some(pending) = self.pending.take_if(|pending| pending.due <= now) {
            self.apply(pending);
        }
        self.trim(now);
    }

    fn apply(&mut self, Pending { due, change }: Pending) {
        self.oldest = self.oldest.min(due);
        match change {
            Change::Create => {}
            Change::Delete => {
                self.shards.clear();
                self.pending = Some(Pending { due, change });
            }
            Change::Merge {
                lower,
                upper,
                first,
            } => self.merge(lower, upper, first, due),
            Change::Split { shard, at } => self.split(shard, at, due),
            Change::UpdateShardCount(target) => self.scale(target, due),
        }
    }

    pub fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        self.open
            .iter()
            .filter_map(|(_, index)| self.shards.get(index))
    }

    /// Finds the open shard a hash key belongs to.
    pub fn shard_of(&mut self, key: HashKey) -> Option<&mut Shard> {
        self.nth_open(self.place_of(key))
    }

    /// Finds the open shard whose turn it is, where the service decides.
    pub fn next_shard(&mut self) -> Option<&mut Shard> {
        let place = self.next_place % self.open.len().max(1);
        self.next_place = place + 1;
        self.nth_open(place)
    }

    /// Finds an open shard a hash key does not belong to, if there is one.
    pub fn wrong_shard_of(&mut self, key: HashKey) -> Option<&mut Shard> {
        self.nth_open((self.place_of(key) + 1) % self.open.len().max(1))
    }

    fn place_of(&self, key: HashKey) -> usize {
        self.open.partition_point(|(end, _)| *end < key)
    }

    fn nth_open(&mut self, n: usize) -> Option<&mut Shard> {
        let (_, index) = self.open.get(n)?;
        self.shards.get_mut(index)
    }

    /// Finds a shard by its name.
    pub fn shard(&self, name: &str) -> Result<&Shard, Refusal> {
        shard_index(name)
            .and_then(|index| self.shards.get(&index))
            .ok_or_else(|| Refusal::no_shard(&self.name, name))
    }

    pub fn shard_mut(&mut self, name: &str) -> Result<&mut Shard, Refusal> {
        shard_index(name)
            .and_then(|index| self.shards.get_mut(&index))
            .ok_or_else(|| Refusal::no_shard(&self.name, name))
    }

    /// The shards that were made of this one, lowest range first.
    pub fn children_of(&self, index: u32) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(move |shard| {
            shard.parent == Some(index) || shard.adjacent_parent == Some(index)
        })
    }

    fn split(&mut self, index: u32, at: HashKey, now: Timestamp) {
        let Some((range, now)) = self.close(index, now) else {
            return;
        };
        let below = HashKey::from(at.as_u128().saturating_sub(1));
        for (start, end) in [(range.start, below), (at, range.end)] {
            let child = self.add_shard(HashKeyRange { start, end }, now);
            child.parent = Some(index);
        }
    }

    fn merge(&mut self, lower: u32, upper: u32, first: u32, now: Timestamp) {
        let (Some((below, now)), Some((above, later))) =
            (self.close(lower, now), self.close(upper, now))
        else {
            return;
        };
        let range = HashKeyRange {
            start: below.start,
            end: above.end,
        };
        let child = self.add_shard(range, now.max(later));
        child.parent = Some(first);
        child.adjacent_parent = Some(if first == lower { upper } else { lower });
    }

    /// Scales as the service does: up by splitting every shard and merging what is too many,
    /// down by merging neighbours.
    fn scale(&mut self, target: usize, now: Timestamp) {
        if target > self.open.len() {
            let halves: Vec<_> = self
                .open_shards()
                .map(|shard| (shard.index, shard.range.midpoint()))
                .collect();
            for (index, at) in halves {
                self.split(index, at, now);
            }
        }
        let merges = self.open.len().saturating_sub(target);
        let neighbours: Vec<u32> = self.open.iter().map(|(_, index)| *index).collect();
        for pair in neighbours.chunks_exact(2).take(merges) {
            self.merge(pair[0], pair[1], pair[0], now);
        }
    }

    /// Closes a shard; returns its range and the time, which lies after its making.
    fn close(&mut self, index: u32, now: Timestamp) -> Option<(HashKeyRange, Timestamp)> {
        let shard = self.shards.get_mut(&index)?;
        // Children are told apart from their parents by the time they were made.
        let closed = now.max(shard.made.saturating_add(Duration::from_millis(1)));
        shard.closed = Some(closed);
        let range = shard.range;
        self.open.retain(|(_, open)| *open != index);
        Some((range, closed))
    }

    fn add_shard(&mut self, range: HashKeyRange, now: Timestamp) -> &mut Shard {
        let index = self.next_index;
        self.next_index += 1;
        let place = self.open.partition_point(|(end, _)| *end < range.end);
        self.open.insert(place, (range.end, index));
        self.shards
            .entry(index)
            .or_insert_with(|| Shard::new(index, range, now))
    }

    /// Looks through the shards only if one of them may have something to trim: each call comes here,
    /// and there may be a hundred thousand.
    fn trim(&mut self, now: Timestamp) {
        let horizon = self.horizon(now);
        // What this call stores arrives now, and a clock may have been set back.
        self.oldest = self.oldest.min(now);
        if horizon <= self.oldest {
            return;
        }
        for shard in self.shards.values_mut() {
            shard.trim(horizon);
        }
        self.shards
            .retain(|_, shard| !shard.is_empty() || shard.closed.is_none_or(|at| at >= horizon));
        let oldest = self.shards.values().filter_map(Shard::oldest).min();
        self.oldest = oldest.map_or(now, |oldest| oldest.min(now));
    }

    /// What came before is no longer kept.
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let horizon = Timestamp::from_millis(now.as_millis().saturating_sub(retention));
        horizon.max(self.made)
    }
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "CREATING",
            Status::Deleting | Status::Gone => "DELETING",
            Status::Active => "ACTIVE",
            Status::Updating => "UPDATING",
        }
    }
}

/// Cuts the ring as the service does: equal parts, and what is left over to the last.
fn even_ranges(shards: u32) -> impl Iterator<Item = HashKeyRange> {
    let shards = u128::from(shards.max(1));
    let (quotient, rest) = (u128::MAX / shards, u128::MAX % shards);
    // 2^128 / shards, of which u128 holds one less.
    let width = quotient.saturating_add(u128::from(rest == shards - 1));
    (0..shards).map(move |n| HashKeyRange {
        start: (n * width).into(),
        end: match n + 1 == shards {
            true => HashKey::MAX,
            false => ((n + 1) * width - 1).into(),
        },
    })
}

/// `kinesis-extended-retention.html`: 24 hours unless changed.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// 1 MiB unless the stream is set otherwise: `API_UpdateMaxRecordSize.html`.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::shard::Entry;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn changed(shards: u32, changes: &[Change]) -> Stream {
        let mut stream = Stream::new("orders", shards, NOW);
        for change in changes {
            stream.begin(change.clone(), NOW, NOW);
        }
        stream
    }

    fn open_ranges(stream: &Stream) -> Vec<(u32, u128, u128)> {
        stream
            .open_shards()
            .map(|shard| {
                let range = shard.range;
                (shard.index, range.start.as_u128(), range.end.as_u128())
            })
            .collect()
    }

    #[test]
    fn the_ring_is_cut_as_the_service_cuts_it() {
        let third = 113427455640312821154458202477256070485;
        for (shards, ranges) in [
            (1, vec![(0, 0, u128::MAX)]),
            (2, vec![(0, 0, (1 << 127) - 1), (1, 1 << 127, u128::MAX)]),
            (
                3,
                vec![
                    (0, 0, third - 1),
                    (1, third, 2 * third - 1),
                    (2, 2 * third, u128::MAX),
                ],
            ),
        ] {
            assert_eq!(open_ranges(&changed(shards, &[])), ranges, "{shards}");
        }
        assert_eq!(
            open_ranges(&changed(4, &[])).last(),
            Some(&(3, 3 << 126, u128::MAX))
        );
    }

    #[test]
    fn children_start_above_their_parents_end_even_if_time_stands_still() {
        let split = Change::Split {
            shard: 0,
            at: 100.into(),
        };
        let merge = Change::Merge {
            lower: 3,
            upper: 1,
            first: 1,
        };
        let stream = changed(2, &[split, merge]);
        let lineage: Vec<_> = stream
            .shards
            .values()
            .map(|shard| (shard.parent, shard.adjacent_parent, shard.is_open()))
            .collect();
        let expected = [
            (None, None, false),
            (None, None, false),
            (Some(0), None, true),
            (Some(0), None, false),
            (Some(1), Some(3), true),
        ];
        assert_eq!(lineage, expected);
        for shard in stream.shards.values() {
            for parent in [shard.parent, shard.adjacent_parent].into_iter().flatten() {
                let end = stream.shards[&parent]
                    .end_number()
                    .map(|end| end.to_string());
                assert!(Some(shard.start_number().to_string()) > end);
            }
        }
    }

    #[test]
    fn scaling_makes_as_many_shards_in_all_as_the_service_does() {
        // Counts observed on AWS, as moto's tests record them.
        for (from, to, in_all) in [(2, 4, 6), (4, 5, 15), (10, 13, 37), (4, 2, 6), (5, 3, 7)] {
            let stream = changed(from, &[Change::UpdateShardCount(to)]);
            assert_eq!(stream.open_shards().count(), to, "{from} to {to}");
            assert_eq!(stream.shards.len(), in_all, "{from} to {to}");
            let mut next = 0u128;
            for (_, start, end) in open_ranges(&stream) {
                assert_eq!(start, next);
                next = end.wrapping_add(1);
            }
            assert_eq!(next, 0);
        }
    }

    #[test]
    fn a_change_comes_into_force_when_it_is_due() {
        let due = NOW.saturating_add(Duration::from_secs(30));
        let mut stream = Stream::new("orders", 1, NOW);
        stream.begin(Change::Create, due, NOW);
        assert_eq!(stream.status(), Status::Creating);
        stream.settle(due);
        assert_eq!(stream.status(), Status::Active);
        let later = due.saturating_add(Duration::from_secs(30));
        stream.begin(Change::UpdateShardCount(2), later, due);
        assert_eq!(
            (stream.status(), stream.open_shards().count()),
            (Status::Updating, 1)
        );
        stream.settle(later);
        assert_eq!(
            (stream.status(), stream.open_shards().count()),
            (Status::Active, 2)
        );
        stream.begin(Change::Delete, later, later);
        assert_eq!(stream.status(), Status::Gone);
    }

    #[test]
    fn closed_shards_go_with_their_last_record() {
        let mut stream = changed(1, &[]);
        let entry = |arrival| Entry {
            data: bytes::Bytes::new(),
            partition_key: "key".into(),
            explicit_hash_key: None,
            arrival,
        };
        let shard = stream.shard_of(HashKey::MIN).expect("an open shard");
        shard.append(entry(NOW));
        let hour = Duration::from_secs(3_600);
        let split = NOW.saturating_add(hour);
        stream.begin(Change::UpdateShardCount(2), split, split);
        for (hours, shards) in [(24, 3), (25, 3), (26, 2)] {
            stream.settle(NOW.saturating_add(hour * hours));
            assert_eq!(stream.shards.len(), shards, "after {hours} hours");
        }
    }
}
