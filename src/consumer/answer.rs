use std::num::NonZeroU32;
use std::ops::Range;

use bytes::Bytes;

use crate::client::RawRecord;
use crate::model::{HashKey, SequenceNumber, ShardRef, Timestamp};

/// What an answer brought, in one piece: its user records are places in it, and share it.
#[derive(PartialEq)]
pub(super) struct Answer {
    shard: ShardRef,
    kinesis_records: Vec<RawRecord>,
    /// The user records, if some came in aggregates; if not, each Kinesis record is one.
    parts: Option<Parts>,
}

/// User records that came in aggregates, and those that came between them.
#[derive(Default, PartialEq)]
pub(super) struct Parts {
    records: Vec<Part>,
    /// All partition keys, one behind the other.
    keys: String,
    hash_keys: Vec<HashKey>,
}

#[derive(PartialEq)]
struct Part {
    data: Bytes,
    key: Key,
    /// Counted from 1, as the next one is: so the lack of a place takes no room.
    place: Option<NonZeroU32>,
    hash_key: Option<NonZeroU32>,
    kinesis_record: usize,
}

/// Where a partition key lies in the text of all.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Key {
    start: usize,
    len: u32,
}

const _: () = assert!(size_of::<Part>() <= 64, "a line of a processor's cache");

impl Answer {
    /// Takes Kinesis records, and their user records if they are others.
    pub fn new(shard: ShardRef, kinesis_records: Vec<RawRecord>, parts: Option<Parts>) -> Answer {
        Answer {
            shard,
            kinesis_records,
            parts,
        }
    }

    /// How many user records there are.
    pub fn len(&self) -> usize {
        match &self.parts {
            None => self.kinesis_records.len(),
            Some(parts) => parts.records.len(),
        }
    }

    pub fn shard(&self) -> &ShardRef {
        &self.shard
    }

    pub fn data(&self, at: usize) -> &Bytes {
        match &self.parts {
            None => &self.kinesis_records[at].data,
            Some(parts) => &parts.records[at].data,
        }
    }

    pub fn partition_key(&self, at: usize) -> &str {
        match &self.parts {
            None => &self.kinesis_records[at].partition_key,
            Some(parts) => parts.key(at),
        }
    }

    pub fn explicit_hash_key(&self, at: usize) -> Option<HashKey> {
        self.parts.as_ref()?.hash_key(at)
    }

    pub fn sub_sequence_number(&self, at: usize) -> Option<u64> {
        self.parts.as_ref()?.records[at].sub_sequence_number()
    }

    pub fn sequence_number(&self, at: usize) -> &SequenceNumber {
        &self.kinesis_record(at).sequence_number
    }

    pub fn approximate_arrival(&self, at: usize) -> Timestamp {
        self.kinesis_record(at).approximate_arrival
    }

    fn kinesis_record(&self, at: usize) -> &RawRecord {
        match &self.parts {
            None => &self.kinesis_records[at],
            Some(parts) => &self.kinesis_records[parts.records[at].kinesis_record],
        }
    }

    /// The bytes of what was put with these records, and those of their partition keys.
    pub fn bytes(&self, range: Range<usize>) -> (usize, usize) {
        let add = |sum: (usize, usize), (data, key)| (sum.0 + data, sum.1 + key);
        match &self.parts {
            None => {
                let bytes = |raw: &RawRecord| (raw.data.len(), raw.partition_key.bytes_len());
                let records = self.kinesis_records[range].iter();
                records.map(bytes).fold((0, 0), add)
            }
            Some(parts) => {
                let bytes = |part: &Part| (part.data.len(), part.key.len as usize);
                parts.records[range].iter().map(bytes).fold((0, 0), add)
            }
        }
    }

    /// Leaves out those parts of aggregates that are not wanted.
    pub fn retain_parts(&mut self, wanted: impl Fn(&SequenceNumber, Option<u64>) -> bool) {
        if let Some(parts) = &mut self.parts {
            let raw = &self.kinesis_records;
            let number = |part: &Part| &raw[part.kinesis_record].sequence_number;
            let wanted = |part: &Part| wanted(number(part), part.sub_sequence_number());
            parts.records.retain(wanted);
        }
    }
}

impl Parts {
    /// Makes room for so many records.
    pub fn reserve(&mut self, records: usize) {
        self.records.reserve(records);
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds a partition key for records to have.
    pub fn add_key(&mut self, key: &str) -> Key {
        let start = self.keys.len();
        self.keys.push_str(key);
        // An aggregate has 10 MiB at most.
        let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
        Key { start, len }
    }

    /// Adds a Kinesis record that is a user record.
    pub fn add_whole(&mut self, kinesis_record: usize, raw: &RawRecord) {
        let key = self.add_key(&raw.partition_key);
        self.records.push(Part {
            data: raw.data.clone(),
            key,
            place: None,
            hash_key: None,
            kinesis_record,
        });
    }

    /// Adds the record at a place, counted from 0, of an aggregate.
    pub fn add_part(
        &mut self,
        kinesis_record: usize,
        sub: usize,
        key: Key,
        hash_key: Option<HashKey>,
        data: Bytes,
    ) {
        let hash_key = hash_key.and_then(|hash_key| {
            self.hash_keys.push(hash_key);
            counted(self.hash_keys.len() - 1)
        });
        let place = counted(sub);
        self.records.push(Part {
            data,
            key,
            place,
            hash_key,
            kinesis_record,
        });
    }

    /// Takes back all from a record on.
    pub fn truncate(&mut self, len: usize) {
        self.records.truncate(len);
    }

    /// Leaves out those from a record on that are not wanted, by their sub-sequence numbers.
    pub fn retain_from(&mut self, start: usize, wanted: impl Fn(u64) -> bool) {
        let mut at = 0;
        let wanted = |part: &Part| part.sub_sequence_number().is_none_or(&wanted);
        self.records.retain(|part| {
            at += 1;
            at <= start || wanted(part)
        });
    }

    /// The partition key and the explicit hash key of each from a record on.
    pub fn keys_from(
        &self,
        start: usize,
    ) -> impl ExactSizeIterator<Item = (&str, Option<HashKey>)> + Clone {
        (start..self.len()).map(|at| (self.key(at), self.hash_key(at)))
    }

    fn key(&self, at: usize) -> &str {
        let Key { start, len } = self.records[at].key;
        self.keys
            .get(start..start + len as usize)
            .unwrap_or_default()
    }

    fn hash_key(&self, at: usize) -> Option<HashKey> {
        let place = self.records[at].hash_key?;
        self.hash_keys.get(place.get() as usize - 1).copied()
    }
}

impl Part {
    fn sub_sequence_number(&self) -> Option<u64> {
        Some(u64::from(self.place?.get()) - 1)
    }
}

/// A place counted from 1. Aggregates of more records are not read.
fn counted(at: usize) -> Option<NonZeroU32> {
    u32::try_from(at + 1).ok().and_then(NonZeroU32::new)
}
