use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::fake::limits::Window;
use crate::fake::number::Number;
use crate::model::{HashKey, HashKeyRange, Timestamp};

/// One shard: a range of hash keys and the records that fell into it.
#[derive(Debug)]
pub(super) struct Shard {
    pub index: u32,
    pub range: HashKeyRange,
    pub made: Timestamp,
    /// `None` while it takes records.
    pub closed: Option<Timestamp>,
    pub parent: Option<u32>,
    pub adjacent_parent: Option<u32>,
    pub writes: Window,
    pub reads: Window,
    pub iterators: Window,
    records: VecDeque<Entry>,
    /// Records that are gone; the first kept one lies at this position.
    trimmed: u64,
}

/// One record as it lies in its shard.
#[derive(Clone)]
pub(super) struct Entry {
    pub data: Bytes,
    pub partition_key: Arc<str>,
    pub explicit_hash_key: Option<HashKey>,
    pub arrival: Timestamp,
}

/// Shows everything but the key and the data.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("partition_key_len", &self.partition_key.len())
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("arrival", &self.arrival)
            .field("data_len", &self.data.len())
            .finish()
    }
}

impl Shard {
    pub fn new(index: u32, range: HashKeyRange, made: Timestamp) -> Shard {
        Shard {
            index,
            range,
            made,
            closed: None,
            parent: None,
            adjacent_parent: None,
            writes: Window::default(),
            reads: Window::default(),
            iterators: Window::default(),
            records: VecDeque::new(),
            trimmed: 0,
        }
    }

    /// Stores a record and returns its number.
    pub fn append(&mut self, mut entry: Entry) -> Number {
        // A clock of day may step back, but what came later is never shown as older.
        let last = self.records.back().map(|last| last.arrival);
        entry.arrival = entry.arrival.max(last.unwrap_or(self.made));
        let number = self.number(self.end() + 1, entry.arrival);
        self.records.push_back(entry);
        number
    }

    /// The position behind the newest record.
    pub fn end(&self) -> u64 {
        self.trimmed + self.records.len() as u64
    }

    /// The position of the oldest record that is kept.
    pub fn horizon(&self) -> u64 {
        self.trimmed
    }

    /// Records from a position on, with the position of the first.
    pub fn from(&self, position: u64) -> (u64, impl Iterator<Item = &Entry>) {
        let start = position.clamp(self.trimmed, self.end());
        let skip = usize::try_from(start - self.trimmed).unwrap_or(usize::MAX);
        (start, self.records.range(skip.min(self.records.len())..))
    }

    /// The position of the first record that came at `time` or later.
    pub fn position_at(&self, time: Timestamp) -> u64 {
        self.trimmed + self.records.partition_point(|entry| entry.arrival < time) as u64
    }

    /// Drops the records that came before `horizon`.
    pub fn trim(&mut self, horizon: Timestamp) {
        let old = self
            .records
            .partition_point(|entry| entry.arrival < horizon);
        self.records.drain(..old);
        self.trimmed += old as u64;
    }

    /// When its oldest record arrived, or when it was closed, whichever was first.
    pub fn oldest(&self) -> Option<Timestamp> {
        let first = self.records.front().map(|first| first.arrival);
        first.into_iter().chain(self.closed).min()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Says whether it took records at some time.
    pub fn was_open_at(&self, time: Timestamp) -> bool {
        self.made <= time && self.closed.is_none_or(|closed| closed > time)
    }

    pub fn id(&self) -> String {
        shard_name(self.index)
    }

    pub fn start_number(&self) -> Number {
        self.number(0, self.made)
    }

    pub fn end_number(&self) -> Option<Number> {
        self.closed
            .map(|closed| self.number(self.end() + 1, closed))
    }

    /// The number of a record at a position.
    pub fn number_of(&self, position: u64, entry: &Entry) -> Number {
        self.number(position + 1, entry.arrival)
    }

    fn number(&self, count: u64, time: Timestamp) -> Number {
        Number {
            shard_made: self.made,
            count,
            time,
            shard: self.index,
        }
    }
}

pub(super) fn shard_name(index: u32) -> String {
    ShardName(index).to_string()
}

/// The name of a shard by its index.
pub(super) struct ShardName(pub u32);

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

/// Reads a shard's index from its name; `None` for a name the service never gives.
pub(super) fn shard_index(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("shardId-")?;
    (digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(arrival: i64) -> Entry {
        Entry {
            data: Bytes::from_static(b"data"),
            partition_key: "key".into(),
            explicit_hash_key: None,
            arrival: Timestamp::from_millis(arrival),
        }
    }

    fn shard(arrivals: &[i64]) -> Shard {
        let mut shard = Shard::new(3, HashKeyRange::FULL, Timestamp::from_millis(1_000));
        for arrival in arrivals {
            shard.append(entry(*arrival));
        }
        shard
    }

    fn arrivals(shard: &Shard, position: u64) -> (u64, Vec<i64>) {
        let (start, entries) = shard.from(position);
        (
            start,
            entries.map(|entry| entry.arrival.as_millis()).collect(),
        )
    }

    #[test]
    fn numbers_rise_even_when_the_clock_of_day_steps_back() {
        let mut shard = shard(&[]);
        let numbers: Vec<_> = [1_000, 1_500, 1_400, 1_500]
            .map(|arrival| shard.append(entry(arrival)).to_string())
            .to_vec();
        assert!(numbers.is_sorted() && numbers[0] > shard.start_number().to_string());
        assert_eq!(arrivals(&shard, 0), (0, vec![1_000, 1_500, 1_500, 1_500]));
        shard.closed = Some(Timestamp::from_millis(1_500));
        assert!(shard.end_number().map(|end| end.to_string()) > numbers.last().cloned());
    }

    #[test]
    fn trimmed_records_are_passed_over() {
        let mut shard = shard(&[1_000, 2_000, 3_000]);
        shard.trim(Timestamp::from_millis(2_000));
        assert_eq!((shard.horizon(), shard.end()), (1, 3));
        for (position, read) in [
            (0, (1, vec![2_000, 3_000])),
            (1, (1, vec![2_000, 3_000])),
            (2, (2, vec![3_000])),
            (3, (3, vec![])),
            (4, (3, vec![])),
        ] {
            assert_eq!(arrivals(&shard, position), read, "{position}");
        }
    }

    #[test]
    fn a_time_is_found_at_the_first_record_not_before_it() {
        let shard = shard(&[2_000, 3_000, 3_000, 4_000]);
        for (time, position) in [(0, 0), (2_000, 0), (2_001, 1), (3_000, 1), (4_001, 4)] {
            let time = Timestamp::from_millis(time);
            assert_eq!(shard.position_at(time), position, "{time}");
        }
    }

    #[test]
    fn a_shard_is_named_by_twelve_digits() {
        assert_eq!(shard_name(7), "shardId-000000000007");
        for (name, index) in [
            ("shardId-000000000007", Some(7)),
            ("shardId-7", None),
            ("shardId-00000000000x", None),
            ("shard-000000000007", None),
            ("shardId-999999999999", None),
        ] {
            assert_eq!(shard_index(name), index, "{name}");
        }
    }
}
