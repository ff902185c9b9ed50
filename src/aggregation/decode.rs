use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::aggregation::digest::{digest, digest_all};
use crate::aggregation::wire::{
    Field, Fields, Problem, TAG_DATA, TAG_EXPLICIT_HASH_KEY_INDEX, TAG_PARTITION_KEY_INDEX, Value,
};
use crate::aggregation::{DecodeError, MAGIC, SubRecord, debug_record};
use crate::model::HashKey;

/// Takes an aggregate apart into its user records; their position is the sub-sequence number.
///
/// `Ok(None)` is said of what is no aggregate: use the bytes as they are. The data of the user
/// records are slices of the input, equal partition keys share one allocation. The limits are those
/// of [`DecodeLimits::default`].
///
/// ```
/// use bytes::Bytes;
/// use kinesis_blocking::aggregation::decode;
///
/// let plain = Bytes::from_static(b"a record that was never aggregated");
/// assert_eq!(decode(&plain), Ok(None));
/// ```
///
/// # Errors
///
/// The checksum says that this is an aggregate, but not every user record of it can be read: hand
/// the record on whole and report it. [`decode_readable`] gives what can be read, as the KCL does.
pub fn decode(data: &Bytes) -> Result<Option<Vec<SubRecord>>, DecodeError> {
    let Some(decoded) = decode_readable(data, &DecodeLimits::default())? else {
        return Ok(None);
    };
    match decoded.unreadable {
        None => Ok(Some(decoded.records)),
        Some(error) => Err(error),
    }
}

/// Takes an aggregate apart as far as it can be read, which is what the KCL delivers.
///
/// # Errors
///
/// The checksum says that this is an aggregate, but it is no message or beyond the limits: hand the
/// record on whole and report it.
pub fn decode_readable(
    data: &Bytes,
    limits: &DecodeLimits,
) -> Result<Option<Decoded>, DecodeError> {
    let aggregate = AggregateRef::read(data, limits)?;
    Ok(aggregate.map(|aggregate| aggregate.to_decoded(data)))
}

/// Takes several records apart at once, which is faster: their checksums are computed side by side.
///
/// The answers come in the order of the input and are those of [`decode_readable`], errors too.
pub fn decode_all(
    batch: &[Bytes],
    limits: &DecodeLimits,
) -> Vec<Result<Option<Decoded>, DecodeError>> {
    let aggregates = AggregateRef::read_all(batch, limits);
    let read = batch.iter().zip(aggregates);
    read.map(|(data, read)| Ok(read?.map(|aggregate| aggregate.to_decoded(data))))
        .collect()
}

/// What was read of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// The user records, up to the first that cannot be read.
    pub records: Vec<SubRecord>,
    /// Why the rest cannot be read; `None` when all was read.
    pub unreadable: Option<DecodeError>,
}

/// What an aggregate may hold; beyond it, it is refused before anything is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Bytes of the whole aggregate; by default 10 MiB, the most the service stores as one record.
    pub max_bytes: usize,
    /// User records; by default 2^20, six times what the KPL can put into its largest aggregate.
    pub max_records: usize,
    /// Entries of either table; by default 2^20.
    pub max_table_entries: usize,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits {
            // 10 MiB a record, its partition key included: API_PutRecord.html.
            max_bytes: 10 * 1024 * 1024,
            // AggregationMaxSize ends at 1 MiB, the shortest record takes 6 bytes.
            max_records: 1 << 20,
            max_table_entries: 1 << 20,
        }
    }
}

/// A user record whose key and data lie in the aggregate it was read from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubRecordRef<'a> {
    /// The partition key it was put with.
    pub partition_key: &'a str,
    /// The explicit hash key it was put with, if any.
    pub explicit_hash_key: Option<HashKey>,
    /// What was put.
    pub data: &'a [u8],
}

impl SubRecordRef<'_> {
    /// Returns where the record lies on the ring: its explicit hash key, else its partition key's MD5.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key
            .unwrap_or_else(|| HashKey::of_partition_key(self.partition_key))
    }
}

impl fmt::Debug for SubRecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_record(
            f,
            "SubRecordRef",
            self.partition_key,
            self.explicit_hash_key,
            self.data,
        )
    }
}

/// An aggregate that was checked and is read in place.
///
/// It allocates its two tables and nothing else, however many user records there are: at most 12
/// bytes for each byte of input.
///
/// ```
/// use kinesis_blocking::aggregation::{AggregateRef, DecodeLimits, SubRecord, encode};
///
/// let data = encode(&[SubRecord::new("a", "one"), SubRecord::new("b", "two")]);
/// let aggregate = AggregateRef::read(&data, &DecodeLimits::default())?.expect("an aggregate");
/// let mut keys = String::new();
/// for record in &aggregate {
///     keys += record?.partition_key;
/// }
/// assert_eq!(keys, "ab");
/// # Ok::<(), kinesis_blocking::aggregation::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct AggregateRef<'a> {
    /// The body from its first user record on.
    records: &'a [u8],
    partition_keys: Vec<Cow<'a, str>>,
    explicit_hash_keys: Vec<&'a [u8]>,
    len: usize,
}

impl<'a> AggregateRef<'a> {
    /// Checks an aggregate and finds its tables; `Ok(None)` when it is no aggregate.
    ///
    /// # Errors
    ///
    /// The checksum says that this is an aggregate, but it is no message or beyond the limits.
    pub fn read(
        data: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Option<AggregateRef<'a>>, DecodeError> {
        match Frame::of(data, limits)? {
            Some(frame) => frame.open(digest(frame.body), limits),
            None => Ok(None),
        }
    }

    /// Checks several at once, which is faster: their checksums are computed side by side.
    ///
    /// The answers come in the order of the input and are those of [`AggregateRef::read`].
    pub fn read_all<T: AsRef<[u8]>>(
        batch: &'a [T],
        limits: &DecodeLimits,
    ) -> Vec<Result<Option<AggregateRef<'a>>, DecodeError>> {
        let frames: Vec<_> = batch
            .iter()
            .map(|data| Frame::of(data.as_ref(), limits))
            .collect();
        let candidates = frames.iter().flatten().flatten();
        let bodies: Vec<&[u8]> = candidates.map(|frame| frame.body).collect();
        let mut digests = digest_all(&bodies).into_iter();
        let read = frames.into_iter().map(|frame| {
            let Some(frame) = frame? else {
                return Ok(None);
            };
            let digest = digests.next().expect("there is one for each frame");
            frame.open(digest, limits)
        });
        read.collect()
    }

    /// Returns the user records that the aggregate has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether the aggregate has tables only, and no user record.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Iterates over the user records; their position is the sub-sequence number.
    ///
    /// A record that cannot be read is the last.
    pub fn iter(&self) -> SubRecords<'_> {
        SubRecords {
            aggregate: self,
            fields: Fields::new(self.records, 0),
            position: 0,
        }
    }

    fn of_body(body: &'a [u8], limits: &DecodeLimits) -> Result<AggregateRef<'a>, DecodeError> {
        let survey = Survey::of(body, limits)?;
        let mut aggregate = AggregateRef {
            records: &body[survey.records_start..],
            partition_keys: Vec::with_capacity(survey.partition_keys),
            explicit_hash_keys: Vec::with_capacity(survey.explicit_hash_keys),
            len: survey.records,
        };
        // Keys of less than 128 bytes have lengths and tags that are text too, so all of the tables is
        // found to be UTF-8 at once, which is several times faster than key by key.
        let tables = std::str::from_utf8(&body[..survey.tables_end]).unwrap_or_default();
        let mut fields = Fields::new(&body[..survey.tables_end], 0);
        while let Some(Ok(field)) = fields.next() {
            match (field.number, field.value) {
                (PARTITION_KEY_TABLE, Value::Bytes(key)) => {
                    let end = survey.tables_end - fields.rest().len();
                    let text = tables.get(end - key.len()..end).map(Cow::Borrowed);
                    let text = text.unwrap_or_else(|| String::from_utf8_lossy(key));
                    aggregate.partition_keys.push(text);
                }
                (EXPLICIT_HASH_KEY_TABLE, Value::Bytes(text)) => {
                    aggregate.explicit_hash_keys.push(text)
                }
                _ => {}
            }
        }
        Ok(aggregate)
    }

    fn to_decoded(&self, data: &Bytes) -> Decoded {
        let mut keys: Vec<Option<Arc<str>>> = vec![None; self.partition_keys.len()];
        let mut records = Vec::with_capacity(self.len);
        let mut resolved = self.iter();
        let unreadable = loop {
            let Some(record) = resolved.next_indexed() else {
                break None;
            };
            match record {
                Err(error) => break Some(error),
                Ok((index, record)) => records.push(SubRecord {
                    partition_key: keys[index]
                        .get_or_insert_with(|| record.partition_key.into())
                        .clone(),
                    explicit_hash_key: record.explicit_hash_key,
                    data: data.slice_ref(record.data),
                }),
            }
        };
        Decoded {
            records,
            unreadable,
        }
    }
}

impl fmt::Debug for AggregateRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateRef")
            .field("len", &self.len)
            .field("partition_keys", &self.partition_keys.len())
            .field("explicit_hash_keys", &self.explicit_hash_keys.len())
            .finish_non_exhaustive()
    }
}

impl<'t> IntoIterator for &'t AggregateRef<'_> {
    type Item = Result<SubRecordRef<'t>, DecodeError>;
    type IntoIter = SubRecords<'t>;

    fn into_iter(self) -> SubRecords<'t> {
        self.iter()
    }
}

/// Iterates over the user records of an [`AggregateRef`].
pub struct SubRecords<'t> {
    aggregate: &'t AggregateRef<'t>,
    fields: Fields<'t>,
    position: u64,
}

impl<'t> SubRecords<'t> {
    /// The next user record, with its partition key's index.
    #[inline]
    fn next_indexed(&mut self) -> Option<Result<(usize, SubRecordRef<'t>), DecodeError>> {
        loop {
            // Reading the aggregate has been through every field once and found no fault.
            let field = self.fields.next()?.ok()?;
            if let (RECORDS, Value::Bytes(message)) = (field.number, field.value) {
                let read = self.resolve(RawRecord::of(message).ok()?);
                self.position += 1;
                if read.is_err() {
                    self.fields = Fields::new(&[], 0);
                }
                return Some(read);
            }
        }
    }

    #[inline]
    fn resolve(&self, raw: RawRecord<'t>) -> Result<(usize, SubRecordRef<'t>), DecodeError> {
        let keys = &self.aggregate.partition_keys;
        let (index, partition_key) = entry(keys, raw.partition_key_index).ok_or(
            DecodeError::PartitionKeyIndexOutOfRange {
                sub_sequence_number: self.position,
                index: raw.partition_key_index,
                table_len: keys.len(),
            },
        )?;
        let explicit_hash_key = raw
            .explicit_hash_key_index
            .map(|index| self.hash_key(index));
        Ok((
            index,
            SubRecordRef {
                partition_key,
                explicit_hash_key: explicit_hash_key.transpose()?,
                data: raw.data,
            },
        ))
    }

    fn hash_key(&self, index: u64) -> Result<HashKey, DecodeError> {
        let table = &self.aggregate.explicit_hash_keys;
        let Some((_, text)) = entry(table, index) else {
            return Err(DecodeError::ExplicitHashKeyIndexOutOfRange {
                sub_sequence_number: self.position,
                index,
                table_len: table.len(),
            });
        };
        parse_hash_key(text).ok_or(DecodeError::ExplicitHashKeyNotANumber {
            sub_sequence_number: self.position,
        })
    }
}

impl<'t> Iterator for SubRecords<'t> {
    type Item = Result<SubRecordRef<'t>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (_, record) = match self.next_indexed()? {
            Ok(indexed) => indexed,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(record))
    }
}

/// What the first pass over a body finds out, before anything is allocated.
#[derive(Default)]
struct Survey {
    partition_keys: usize,
    explicit_hash_keys: usize,
    records: usize,
    records_start: usize,
    tables_end: usize,
}

impl Survey {
    fn of(body: &[u8], limits: &DecodeLimits) -> Result<Survey, DecodeError> {
        let mut survey = Survey::default();
        let mut fields = Fields::new(body, 0);
        let mut start = 0;
        while let Some(field) = fields.next() {
            let end = body.len() - fields.rest().len();
            survey
                .count(field, start, end)
                .map_err(|problem| DecodeError::Malformed {
                    start: MAGIC.len() + start,
                    problem,
                })?;
            survey.check(limits)?;
            start = end;
        }
        Ok(survey)
    }

    #[inline(always)]
    fn count(
        &mut self,
        field: Result<Field<'_>, Problem>,
        start: usize,
        end: usize,
    ) -> Result<(), Problem> {
        let field = field?;
        match (field.number, field.value) {
            (PARTITION_KEY_TABLE, Value::Bytes(_)) => {
                self.partition_keys += 1;
                self.tables_end = end;
            }
            (EXPLICIT_HASH_KEY_TABLE, Value::Bytes(_)) => {
                self.explicit_hash_keys += 1;
                self.tables_end = end;
            }
            (RECORDS, Value::Bytes(message)) => {
                RawRecord::of(message)?;
                if self.records == 0 {
                    self.records_start = start;
                }
                self.records += 1;
            }
            _ => {}
        }
        Ok(())
    }

    #[inline(always)]
    fn check(&self, limits: &DecodeLimits) -> Result<(), DecodeError> {
        let entries = self.partition_keys.max(self.explicit_hash_keys);
        if self.records > limits.max_records {
            let max_records = limits.max_records;
            return Err(DecodeError::TooManyRecords { max_records });
        }
        if entries > limits.max_table_entries {
            let max_table_entries = limits.max_table_entries;
            return Err(DecodeError::TooManyTableEntries { max_table_entries });
        }
        Ok(())
    }
}

/// A user record before its indices are looked up.
struct RawRecord<'a> {
    partition_key_index: u64,
    explicit_hash_key_index: Option<u64>,
    data: &'a [u8],
}

impl<'a> RawRecord<'a> {
    #[inline(always)]
    fn of(message: &'a [u8]) -> Result<RawRecord<'a>, Problem> {
        match RawRecord::as_written(message) {
            Some(record) => Ok(record),
            None => RawRecord::as_allowed(message),
        }
    }

    /// Reads the form that the encoders write: each field once and in order, and nothing else.
    #[inline(always)]
    fn as_written(message: &'a [u8]) -> Option<RawRecord<'a>> {
        let mut cursor = Fields::new(message.strip_prefix(&[TAG_PARTITION_KEY_INDEX])?, 1);
        let partition_key_index = cursor.varint().ok()?;
        let mut explicit_hash_key_index = None;
        if let Some(rest) = cursor.rest().strip_prefix(&[TAG_EXPLICIT_HASH_KEY_INDEX]) {
            cursor = Fields::new(rest, 1);
            explicit_hash_key_index = Some(cursor.varint().ok()?);
        }
        cursor = Fields::new(cursor.rest().strip_prefix(&[TAG_DATA])?, 1);
        let data = cursor.bytes().ok()?;
        cursor.rest().is_empty().then_some(RawRecord {
            partition_key_index,
            explicit_hash_key_index,
            data,
        })
    }

    /// Reads any form that protobuf allows; of a field that comes twice, the last counts.
    #[cold]
    fn as_allowed(message: &'a [u8]) -> Result<RawRecord<'a>, Problem> {
        let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
        for field in Fields::new(message, 1) {
            let field = field?;
            match (field.number, field.value) {
                (PARTITION_KEY_INDEX, Value::Varint(index)) => partition_key_index = Some(index),
                (EXPLICIT_HASH_KEY_INDEX, Value::Varint(index)) => {
                    explicit_hash_key_index = Some(index)
                }
                (DATA, Value::Bytes(bytes)) => data = Some(bytes),
                (TAGS, Value::Bytes(tag)) => check_tag(tag)?,
                _ => {}
            }
        }
        Ok(RawRecord {
            partition_key_index: partition_key_index.ok_or("a record lacks partition_key_index")?,
            explicit_hash_key_index,
            data: data.ok_or("a record lacks data")?,
        })
    }
}

/// Tags are read by nobody, but their key is `required`.
fn check_tag(message: &[u8]) -> Result<(), Problem> {
    let mut has_key = false;
    for field in Fields::new(message, 2) {
        let field = field?;
        has_key |= matches!((field.number, field.value), (TAG_KEY, Value::Bytes(_)));
    }
    has_key.then_some(()).ok_or("a tag lacks its key")
}

/// What could be an aggregate, parted into message and checksum.
struct Frame<'a> {
    body: &'a [u8],
    sum: [u8; 16],
}

impl<'a> Frame<'a> {
    /// A message of nothing is no aggregate, even with its right checksum: the KCL has it so.
    fn of(data: &'a [u8], limits: &DecodeLimits) -> Result<Option<Frame<'a>>, DecodeError> {
        let framed = data.strip_prefix(&MAGIC);
        let Some((body, sum)) = framed.and_then(<[u8]>::split_last_chunk) else {
            return Ok(None);
        };
        if body.is_empty() {
            return Ok(None);
        }
        if data.len() > limits.max_bytes {
            return Err(DecodeError::TooManyBytes {
                len: data.len(),
                max_bytes: limits.max_bytes,
            });
        }
        Ok(Some(Frame { body, sum: *sum }))
    }

    fn open(
        &self,
        digest: [u8; 16],
        limits: &DecodeLimits,
    ) -> Result<Option<AggregateRef<'a>>, DecodeError> {
        if digest != self.sum {
            return Ok(None);
        }
        AggregateRef::of_body(self.body, limits).map(Some)
    }
}

#[inline]
fn entry<T>(table: &[T], index: u64) -> Option<(usize, &T)> {
    let index = usize::try_from(index).ok()?;
    Some((index, table.get(index)?))
}

/// Reads the text of an explicit hash key: decimal digits, with a plus before them if need be.
fn parse_hash_key(text: &[u8]) -> Option<HashKey> {
    let number: u128 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(HashKey::from(number))
}

// The field numbers of the schema, as in `message.rs`.
const PARTITION_KEY_TABLE: u64 = 1;
const EXPLICIT_HASH_KEY_TABLE: u64 = 2;
const RECORDS: u64 = 3;
const PARTITION_KEY_INDEX: u64 = 1;
const EXPLICIT_HASH_KEY_INDEX: u64 = 2;
const DATA: u64 = 3;
const TAGS: u64 = 4;
const TAG_KEY: u64 = 1;
