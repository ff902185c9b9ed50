use std::ops::Range;

use bytes::Bytes;

use crate::client::RawRecord;
use crate::consumer::parts::Parts;
use crate::model::{HashKey, SequenceNumber, ShardRef, Timestamp};

/// What an answer brought, in one piece: its user records are places in it, and share it.
#[derive(PartialEq)]
pub(super) struct Answer {
    shard: ShardRef,
    kinesis_records: Vec<RawRecord>,
    /// The user records, if some came in aggregates; if not, each Kinesis record is one.
    parts: Option<Parts>,
}

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
            Some(parts) => parts.len(),
        }
    }

    pub fn shard(&self) -> &ShardRef {
        &self.shard
    }

    #[inline]
    pub fn data(&self, at: usize) -> &[u8] {
        match &self.parts {
            None => &self.kinesis_records[at].data,
            Some(parts) => {
                let whole = &self.kinesis_records[parts.kinesis_record(at)].data;
                whole.get(parts.data(at)).unwrap_or_default()
            }
        }
    }

    /// The same as a slice that keeps it alive.
    pub fn shared_data(&self, at: usize) -> Bytes {
        self.kinesis_record(at).data.slice_ref(self.data(at))
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
        self.parts.as_ref()?.sub_sequence_number(at)
    }

    pub fn sequence_number(&self, at: usize) -> &SequenceNumber {
        &self.kinesis_record(at).sequence_number
    }

    #[inline]
    pub fn approximate_arrival(&self, at: usize) -> Timestamp {
        self.kinesis_record(at).approximate_arrival
    }

    /// Which Kinesis record of the answer it came in.
    pub fn kinesis_record_index(&self, at: usize) -> usize {
        let parts = self.parts.as_ref();
        parts.map_or(at, |parts| parts.kinesis_record(at))
    }

    /// Leaves out the records of which this says `false`, in their order.
    pub fn retain_each(&mut self, wanted: &[bool]) {
        let all = &self.kinesis_records;
        let parts = self.parts.get_or_insert_with(|| Parts::of_whole(all));
        parts.retain_each(wanted);
    }

    #[inline]
    fn kinesis_record(&self, at: usize) -> &RawRecord {
        match &self.parts {
            None => &self.kinesis_records[at],
            Some(parts) => &self.kinesis_records[parts.kinesis_record(at)],
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
            Some(parts) => parts.bytes(range).fold((0, 0), add),
        }
    }

    /// Leaves out those parts of aggregates that are not wanted.
    pub fn retain_parts(&mut self, wanted: impl Fn(&SequenceNumber, Option<u64>) -> bool) {
        if let Some(parts) = &mut self.parts {
            let number = |at: usize| &self.kinesis_records[at].sequence_number;
            parts.retain(|at, sub| wanted(number(at), sub));
        }
    }
}
