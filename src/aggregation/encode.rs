use std::fmt;
use std::io::Write;

use bytes::Bytes;

use crate::aggregation::{
    FRAME_LEN, MAGIC, SubRecord,
    digest::{Sum, digest, digest_all},
    gap_buffer::GapBuffer,
    key_table::KeyTable,
    wire::{
        TAG_DATA, TAG_EXPLICIT_HASH_KEY, TAG_EXPLICIT_HASH_KEY_INDEX, TAG_PARTITION_KEY,
        TAG_PARTITION_KEY_INDEX, TAG_RECORD, varint_len,
    },
};
use crate::model::HashKey;

/// Encodes user records as one aggregate, byte for byte as the KPL does.
///
/// Equal keys share one entry of their table. No records at all give no bytes: an aggregate of
/// nothing would be read as a plain record.
///
/// ```
/// use kinesis_blocking::aggregation::{SubRecord, decode, encode};
///
/// let records = [SubRecord::new("a", "one"), SubRecord::new("b", "two")];
/// let data = encode(&records);
/// assert_eq!(decode(&data)?.as_deref(), Some(&records[..]));
/// # Ok::<(), kinesis_blocking::aggregation::DecodeError>(())
/// ```
pub fn encode(records: &[SubRecord]) -> Bytes {
    let mut aggregate = Aggregate::new(usize::MAX, MAX_COUNT);
    aggregate.reserve(records);
    for record in records {
        let SubRecord {
            partition_key,
            explicit_hash_key,
            data,
        } = record;
        // Nothing is refused: so many records as that would take are 300 GB of `SubRecord`.
        aggregate.try_push(partition_key, *explicit_hash_key, data);
    }
    aggregate.finish()
}

/// An aggregate under construction, for who must stay under a size.
///
/// Its tables are kept from one aggregate to the next, and the records written where they stay.
///
/// ```
/// use kinesis_blocking::aggregation::Aggregate;
///
/// let mut aggregate = Aggregate::new(60, 500);
/// assert!(aggregate.try_push("a", None, b"one"));
/// assert!(aggregate.try_push("b", None, b"two"));
/// assert!(!aggregate.try_push("c", None, b"this would make more than 60 bytes"));
///
/// assert_eq!(aggregate.encoded_len(), 44);
/// assert_eq!(aggregate.finish().len(), 44);
/// assert!(aggregate.is_empty());
/// ```
pub struct Aggregate {
    max_bytes: usize,
    max_count: u64,
    count: u64,
    partition_keys: KeyTable,
    explicit_hash_keys: KeyTable,
    records: GapBuffer,
}

impl Aggregate {
    /// Makes an empty aggregate that is to stay within `max_bytes` bytes and `max_count` records.
    ///
    /// The first record is always taken, whatever its size: the KPL sends such a record alone, and
    /// whether the service takes it is not for the codec to say. More than 2^32 - 2 records are
    /// never taken.
    ///
    /// Answers to the KPL's `AggregationMaxSize` and `AggregationMaxCount`.
    pub fn new(max_bytes: usize, max_count: u64) -> Aggregate {
        Aggregate {
            max_bytes,
            max_count: max_count.min(MAX_COUNT),
            count: 0,
            partition_keys: KeyTable::new(TAG_PARTITION_KEY),
            explicit_hash_keys: KeyTable::new(TAG_EXPLICIT_HASH_KEY),
            records: GapBuffer::new(),
        }
    }

    /// Takes a user record in, or changes nothing and returns false when it does not fit.
    ///
    /// Once the tables have grown to their size only the first record allocates.
    pub fn try_push(
        &mut self,
        partition_key: &str,
        explicit_hash_key: Option<HashKey>,
        data: &[u8],
    ) -> bool {
        self.try_push_tagged(partition_key, explicit_hash_key, data, &[])
    }

    /// The same for a user record with tags, which are encoded already; the KPL never has any.
    #[inline]
    pub(crate) fn try_push_tagged(
        &mut self,
        partition_key: &str,
        explicit_hash_key: Option<HashKey>,
        data: &[u8],
        tags: &[u8],
    ) -> bool {
        let explicit_hash_key = explicit_hash_key.map(Decimal::new);
        let key = self.partition_keys.find(partition_key.as_bytes());
        let hash_key = explicit_hash_key
            .as_ref()
            .map(|text| self.explicit_hash_keys.find(text.as_bytes()));

        let hash_key_index = hash_key.map(|found| found.index);
        let inner_len = inner_len(key.index, hash_key_index, data.len()).saturating_add(tags.len());
        let added_len = (1 + varint_len(inner_len as u64))
            .saturating_add(inner_len)
            .saturating_add(key.added_len)
            .saturating_add(hash_key.map_or(0, |found| found.added_len));
        if !self.has_room(added_len) {
            return false;
        }

        if key.added_len > 0 {
            self.partition_keys.insert(partition_key.as_bytes(), key);
        }
        if let (Some(text), Some(found)) = (&explicit_hash_key, hash_key)
            && found.added_len > 0
        {
            self.explicit_hash_keys.insert(text.as_bytes(), found);
        }
        self.put_record(inner_len, key.index, hash_key_index, data);
        self.records.end().extend_from_slice(tags);
        true
    }

    /// Takes a user record in, or hands it back when it does not fit.
    ///
    /// # Errors
    ///
    /// The record itself, with the aggregate as it was.
    pub fn try_push_record(&mut self, record: SubRecord) -> Result<(), SubRecord> {
        let SubRecord {
            partition_key,
            explicit_hash_key,
            data,
        } = &record;
        if self.try_push(partition_key, *explicit_hash_key, data) {
            Ok(())
        } else {
            Err(record)
        }
    }

    /// Returns the user records taken in so far.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Says whether no user record has been taken in.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the exact length in bytes that finishing would give: 0 while it is empty.
    ///
    /// It is the length as an aggregate, also for one record, which the KPL would send bare.
    pub fn encoded_len(&self) -> usize {
        match self.count {
            0 => 0,
            _ => FRAME_LEN + self.body_len(),
        }
    }

    /// Finishes the aggregate and leaves an empty one in its place.
    ///
    /// An empty aggregate gives no bytes. Whoever finishes several at a time is faster with
    /// [`Aggregate::finish_unsealed`] and [`seal_all`].
    pub fn finish(&mut self) -> Bytes {
        self.finish_unsealed().seal()
    }

    /// Finishes the aggregate but for its checksum and leaves an empty one in its place.
    pub fn finish_unsealed(&mut self) -> Unsealed {
        if self.is_empty() {
            return Unsealed::default();
        }
        let tables = [&self.partition_keys, &self.explicit_hash_keys].map(KeyTable::encoded);
        let joined = self
            .records
            .join([&MAGIC, tables[0], tables[1]], FRAME_LEN - MAGIC.len());
        self.clear();
        Unsealed {
            bytes: joined.bytes,
            start: joined.start,
        }
    }

    /// Throws the user records away and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.partition_keys.clear();
        self.explicit_hash_keys.clear();
        // One huge record must not hold its memory for the rest of the program.
        self.records.clear(self.max_bytes);
    }

    #[inline]
    fn has_room(&self, added_len: usize) -> bool {
        let fits = || {
            let len = (FRAME_LEN + self.body_len()).saturating_add(added_len);
            self.count < self.max_count && len <= self.max_bytes
        };
        self.is_empty() || fits()
    }

    fn body_len(&self) -> usize {
        let tables = self.partition_keys.encoded().len() + self.explicit_hash_keys.encoded().len();
        tables + self.records.len()
    }

    #[inline]
    fn put_record(&mut self, inner_len: usize, key: u64, hash_key: Option<u64>, data: &[u8]) {
        let records = self.records.end();
        // Room of fixed length takes no call; what is too much of it is cut off again.
        let start = records.len();
        records.extend_from_slice(&[0; MAX_HEAD_LEN]);
        let room = records.last_chunk_mut().expect("it was just added");
        let mut head = Head { room, len: 0 };
        head.put(TAG_RECORD, inner_len as u64);
        head.put(TAG_PARTITION_KEY_INDEX, key);
        if let Some(index) = hash_key {
            head.put(TAG_EXPLICIT_HASH_KEY_INDEX, index);
        }
        head.put(TAG_DATA, data.len() as u64);
        let end = start + head.len;
        records.truncate(end);
        records.extend_from_slice(data);
        self.count += 1;
    }

    /// Makes room for records whose keys are all different, as far as that is not much too much.
    fn reserve(&mut self, records: &[SubRecord]) {
        let keys = records.iter().map(|record| record.partition_key.len());
        let key_len = keys.map(|len| USUAL_KEY_HEAD_LEN + len).sum::<usize>();
        let data_len = records
            .iter()
            .map(|record| record.data.len())
            .sum::<usize>();
        let room = data_len + records.len() * USUAL_RECORD_HEAD_LEN;
        self.partition_keys.reserve(records.len());
        self.records.foresee(MAGIC.len() + key_len, room);
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("len", &self.count)
            .field("encoded_len", &self.encoded_len())
            .field("max_bytes", &self.max_bytes)
            .field("max_count", &self.max_count)
            .finish_non_exhaustive()
    }
}

/// A finished aggregate whose checksum is still to be written.
///
/// Nothing of it can be sent before [`Unsealed::seal`] or [`seal_all`].
#[derive(Default)]
pub struct Unsealed {
    /// The aggregate from `start` on, without the checksum, or nothing.
    bytes: Vec<u8>,
    start: usize,
}

impl Unsealed {
    /// Writes the checksum and gives the aggregate's bytes.
    pub fn seal(self) -> Bytes {
        let sum = digest(self.body());
        self.seal_with(sum)
    }

    /// Returns the exact length in bytes after sealing.
    pub fn encoded_len(&self) -> usize {
        match self.bytes.len() - self.start {
            0 => 0,
            len => len + FRAME_LEN - MAGIC.len(),
        }
    }

    fn body(&self) -> &[u8] {
        self.bytes
            .get(self.start + MAGIC.len()..)
            .unwrap_or_default()
    }

    fn seal_with(mut self, sum: Sum) -> Bytes {
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(&sum);
        }
        Bytes::from(self.bytes).slice(self.start..)
    }
}

impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsealed")
            .field("encoded_len", &self.encoded_len())
            .finish_non_exhaustive()
    }
}

/// Writes the checksums of several aggregates side by side, faster than one after the other.
///
/// The bytes come in the order of the aggregates. Four or eight at a time are better than many: they
/// are still in the processor's cache when they are read again here.
///
/// ```
/// use kinesis_blocking::aggregation::{Aggregate, decode, seal_all};
///
/// let mut aggregate = Aggregate::new(51_200, 500);
/// let mut batch = Vec::new();
/// for data in ["one", "two", "three", "four"] {
///     aggregate.try_push("key", None, data.as_bytes());
///     batch.push(aggregate.finish_unsealed());
/// }
/// for data in seal_all(batch) {
///     assert!(decode(&data)?.is_some());
/// }
/// # Ok::<(), kinesis_blocking::aggregation::DecodeError>(())
/// ```
pub fn seal_all(batch: Vec<Unsealed>) -> Vec<Bytes> {
    let bodies: Vec<&[u8]> = batch.iter().map(Unsealed::body).collect();
    let sums = digest_all(&bodies);
    let sealed = batch.into_iter().zip(sums);
    sealed
        .map(|(unsealed, sum)| unsealed.seal_with(sum))
        .collect()
}

/// A hash key as the decimal text that goes into the table.
struct Decimal {
    text: [u8; MAX_DECIMAL_LEN],
    len: usize,
}

impl Decimal {
    fn new(key: HashKey) -> Decimal {
        let mut text = [0; MAX_DECIMAL_LEN];
        let mut rest = &mut text[..];
        write!(rest, "{key}").expect("2^128 - 1 has 39 digits");
        let len = MAX_DECIMAL_LEN - rest.len();
        Decimal { text, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// What goes before a record's data, written in its place.
struct Head<'a> {
    room: &'a mut [u8; MAX_HEAD_LEN],
    len: usize,
}

impl Head<'_> {
    #[inline]
    fn put(&mut self, tag: u8, mut number: u64) {
        self.push(tag);
        while number >= 0x80 {
            // The low seven bits, with the mark that more follow.
            self.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.room[self.len] = byte;
        self.len += 1;
    }
}

/// The length of a record's message, without the tag and length before it.
#[inline]
fn inner_len(key: u64, hash_key: Option<u64>, data_len: usize) -> usize {
    let indices = 1 + varint_len(key) + hash_key.map_or(0, |index| 1 + varint_len(index));
    (indices + 1 + varint_len(data_len as u64)).saturating_add(data_len)
}

/// Records of an aggregate at most, so that an index fits its slot.
const MAX_COUNT: u64 = u32::MAX as u64 - 1;

/// Bytes before a record's data at most: four tags, two lengths and two indices of ten bytes.
const MAX_HEAD_LEN: usize = 44;

/// Bytes that usually go before a key in its table: a tag and a length.
const USUAL_KEY_HEAD_LEN: usize = 2;

/// Bytes that usually go before a record's data: three tags, two lengths, an index.
const USUAL_RECORD_HEAD_LEN: usize = 10;

/// Digits of 2^128 - 1.
const MAX_DECIMAL_LEN: usize = 39;
