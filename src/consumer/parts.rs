use std::num::NonZeroU32;
use std::ops::Range;

use crate::aggregation::{AggregateRef, DecodeError, DecodeLimits, EarlierCopy, Indexed, Written};
use crate::client::RawRecord;
use crate::model::HashKey;

/// The user records of an answer, if some came in aggregates.
#[derive(Default, PartialEq)]
pub(super) struct Parts {
    records: Vec<Part>,
    /// Text that all partition keys lie in.
    keys: String,
    hash_keys: Vec<HashKey>,
    /// Where records of the aggregate added last were stored before, by sub-sequence number.
    earlier: Vec<(u64, EarlierCopy)>,
}

#[derive(PartialEq)]
struct Part {
    kinesis_record: u32,
    /// In what was put with the Kinesis record.
    data: Span,
    /// In the text of all keys.
    key: Span,
    /// Counted from 1, as the next one is: so the lack of a place takes no room.
    place: Option<NonZeroU32>,
    hash_key: Option<NonZeroU32>,
}

const _: () = assert!(
    size_of::<Part>() <= 32,
    "two in a line of a processor's cache"
);

/// Where something lies in what is longer. An answer is far from so long that this is too little.
#[derive(Clone, Copy, PartialEq)]
struct Span {
    start: u32,
    len: u32,
}

/// How much there was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark([usize; 3]);

impl Mark {
    /// How much it is of `to` bytes, if it was that of `of` bytes.
    pub fn scaled(self, to: usize, of: usize) -> Mark {
        Mark(
            self.0
                .map(|len| (len as u128 * to as u128 / of.max(1) as u128) as usize),
        )
    }
}

impl Parts {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Where its data lies in that of its Kinesis record.
    pub fn data(&self, at: usize) -> Range<usize> {
        self.records[at].data.range()
    }

    pub fn key(&self, at: usize) -> &str {
        let key = self.records[at].key.range();
        self.keys.get(key).unwrap_or_default()
    }

    pub fn hash_key(&self, at: usize) -> Option<HashKey> {
        let place = self.records[at].hash_key?;
        self.hash_keys.get(place.get() as usize - 1).copied()
    }

    pub fn sub_sequence_number(&self, at: usize) -> Option<u64> {
        self.records[at].sub_sequence_number()
    }

    /// Which Kinesis record of the answer it came in.
    #[inline]
    pub fn kinesis_record(&self, at: usize) -> usize {
        self.records[at].kinesis_record as usize
    }

    /// The bytes of what was put, and of the partition key.
    pub fn bytes(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let bytes = |part: &Part| (part.data.len as usize, part.key.len as usize);
        self.records[range].iter().map(bytes)
    }

    /// The partition key and the explicit hash key of each from a mark on.
    pub fn keys_from(
        &self,
        Mark([start, ..]): Mark,
    ) -> impl ExactSizeIterator<Item = (&str, Option<HashKey>)> + Clone {
        (start..self.len()).map(|at| (self.key(at), self.hash_key(at)))
    }

    /// Gives where records of the aggregate that was added last were stored before, each with its
    /// sub-sequence number.
    pub fn take_earlier_copies(&mut self) -> Vec<(u64, EarlierCopy)> {
        std::mem::take(&mut self.earlier)
    }

    /// Leaves out those that are not wanted, told by their Kinesis record and their place in it.
    pub fn retain(&mut self, wanted: impl Fn(usize, Option<u64>) -> bool) {
        let wanted = |part: &Part| wanted(part.kinesis_record as usize, part.sub_sequence_number());
        self.records.retain(wanted);
    }

    /// Makes user records of Kinesis records that are no aggregates.
    pub fn of_whole(all: &[RawRecord]) -> Parts {
        let mut parts = Parts::default();
        let all = all.iter().enumerate();
        all.for_each(|(at, raw)| parts.add_whole(at, raw));
        parts
    }

    /// Leaves out those of which this says `false`, in their order.
    pub fn retain_each(&mut self, wanted: &[bool]) {
        let mut wanted = wanted.iter();
        self.records
            .retain(|_| wanted.next().is_none_or(|wanted| *wanted));
    }

    /// Leaves out those from a mark on that are not wanted, told by their sub-sequence numbers.
    pub fn retain_from(&mut self, Mark([start, ..]): Mark, wanted: impl Fn(u64) -> bool) {
        let mut at = 0;
        let wanted = |part: &Part| part.sub_sequence_number().is_none_or(&wanted);
        self.records.retain(|part| {
            at += 1;
            at <= start || wanted(part)
        });
    }
}

impl Parts {
    /// Makes room for so much.
    pub fn expecting(Mark([records, keys, hash_keys]): Mark) -> Parts {
        Parts {
            records: Vec::with_capacity(records),
            keys: String::with_capacity(keys),
            hash_keys: Vec::with_capacity(hash_keys),
            earlier: Vec::new(),
        }
    }

    /// What there is by now.
    pub fn mark(&self) -> Mark {
        Mark([self.records.len(), self.keys.len(), self.hash_keys.len()])
    }

    fn take_back(&mut self, Mark([records, keys, hash_keys]): Mark) {
        self.records.truncate(records);
        self.keys.truncate(keys);
        self.hash_keys.truncate(hash_keys);
        self.earlier.clear();
    }

    /// Adds a Kinesis record that is a user record.
    pub fn add_whole(&mut self, kinesis_record: usize, raw: &RawRecord) {
        let key = self.add_key(&raw.partition_key);
        self.records.push(Part {
            kinesis_record: short(kinesis_record),
            data: Span::new(0, raw.data.len()),
            key,
            place: None,
            hash_key: None,
        });
    }

    /// Adds all records of an aggregate, of which `body` is the message.
    ///
    /// # Errors
    /// Not all of it can be read, and none of it is added.
    pub fn add_aggregate(
        &mut self,
        kinesis_record: usize,
        raw: &RawRecord,
        body: &[u8],
    ) -> Result<(), DecodeError> {
        let before = self.mark();
        if self.add_written(kinesis_record, body).is_some() {
            return Ok(());
        }
        self.take_back(before);
        let added = self.add_unusual(kinesis_record, raw, body);
        added.inspect_err(|_| self.take_back(before))
    }

    /// The quick way, for what is written as encoders do.
    fn add_written(&mut self, kinesis_record: usize, body: &[u8]) -> Option<()> {
        let written = Written::of(body, &DecodeLimits::default())?;
        let text = self.keys.len();
        self.keys.push_str(written.key_text());
        let (mut sub, kinesis_record) = (0, short(kinesis_record));
        written.each(|record| {
            sub += 1;
            self.records.push(Part {
                kinesis_record,
                data: Span::new(record.data.start, record.data.len()),
                key: Span::new(text + record.key.start, record.key.len()),
                place: NonZeroU32::new(sub),
                hash_key: None,
            });
        })
    }

    /// The way for all that can be read, which says what is wrong with the rest.
    fn add_unusual(
        &mut self,
        kinesis_record: usize,
        raw: &RawRecord,
        body: &[u8],
    ) -> Result<(), DecodeError> {
        let aggregate = AggregateRef::of_body(body, &DecodeLimits::default())?;
        let keys = aggregate.partition_keys().map(|key| self.add_key(key));
        let keys: Vec<Span> = keys.collect();
        for (sub, read) in aggregate.iter_indexed().enumerate() {
            let indexed = read?;
            let earlier = indexed.earlier_copies().map(|copy| (sub as u64, copy));
            self.earlier.extend(earlier);
            let Indexed { key, record, .. } = indexed;
            self.hash_keys.extend(record.explicit_hash_key);
            let hash_key = record.explicit_hash_key.and(place(self.hash_keys.len()));
            self.records.push(Part {
                kinesis_record: short(kinesis_record),
                data: Span::of(record.data, &raw.data),
                key: keys[key],
                place: place(sub + 1),
                hash_key,
            });
        }
        Ok(())
    }

    fn add_key(&mut self, key: &str) -> Span {
        let start = self.keys.len();
        self.keys.push_str(key);
        Span::new(start, key.len())
    }
}

impl Part {
    fn sub_sequence_number(&self) -> Option<u64> {
        Some(u64::from(self.place?.get()) - 1)
    }
}

impl Span {
    fn new(start: usize, len: usize) -> Span {
        let (start, len) = (short(start), short(len));
        Span { start, len }
    }

    /// Where a part lies in the whole that it was taken from.
    fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        match part.is_empty() {
            true => Span::new(0, 0),
            false => Span::new(start, part.len()),
        }
    }

    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

fn short(long: usize) -> u32 {
    u32::try_from(long).unwrap_or(u32::MAX)
}

/// A place counted from 1. Aggregates of more records than this holds are not read.
fn place(counted: usize) -> Option<NonZeroU32> {
    u32::try_from(counted).ok().and_then(NonZeroU32::new)
}
