use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "client")]
use crate::aggregation::EarlierCopy;
use crate::aggregation::{
    DecodeError, DecodeLimits, debug_record,
    digest::{digest, digest_all},
    survey::{EXPLICIT_HASH_KEY_TABLE, Frame, PARTITION_KEY_TABLE, RECORDS, RawRecord, Survey},
    wire::{Fields, Value},
};
use crate::model::HashKey;

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
            Some(frame) if digest(frame.body) == frame.sum => {
                AggregateRef::of_body(frame.body, limits).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Checks several at once, which is faster: their checksums are computed side by side.
    ///
    /// The answers come in the order of the input and are those of [`AggregateRef::read`].
    pub fn read_all<T: AsRef<[u8]>>(
        batch: &'a [T],
        limits: &DecodeLimits,
    ) -> Vec<Result<Option<AggregateRef<'a>>, DecodeError>> {
        let checked = checked(batch, limits).into_iter();
        let read = checked.map(|body| {
            let body = body?.map(|body| AggregateRef::of_body(body, limits));
            body.transpose()
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

    /// Returns the entries of the partition key table, used or not.
    pub(super) fn partition_key_count(&self) -> usize {
        self.partition_keys.len()
    }

    /// Iterates over the entries of the partition key table, used or not.
    #[cfg(feature = "client")]
    pub(crate) fn partition_keys(&self) -> impl Iterator<Item = &str> {
        self.partition_keys.iter().map(|key| &**key)
    }

    /// Iterates over the user records, each with the place of its partition key in the table.
    #[cfg(feature = "client")]
    pub(crate) fn iter_indexed(&self) -> impl Iterator<Item = Result<Indexed<'_>, DecodeError>> {
        let mut records = self.iter();
        std::iter::from_fn(move || records.next_indexed())
    }

    /// Reads the tables of a body whose checksum was right.
    pub(crate) fn of_body(
        body: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<AggregateRef<'a>, DecodeError> {
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
                    let text = tables.get(end - key.len()..end);
                    aggregate
                        .partition_keys
                        .push(text.map_or_else(|| read_text(key), Cow::Borrowed));
                }
                (EXPLICIT_HASH_KEY_TABLE, Value::Bytes(text)) => {
                    aggregate.explicit_hash_keys.push(text)
                }
                _ => {}
            }
        }
        Ok(aggregate)
    }
}

/// The bodies of what has the right checksum; `None` for what is no aggregate.
///
/// The checksums are computed side by side.
pub(crate) fn checked<'a, T: AsRef<[u8]>>(
    batch: &'a [T],
    limits: &DecodeLimits,
) -> Vec<Result<Option<&'a [u8]>, DecodeError>> {
    let frames = batch.iter().map(|data| Frame::of(data.as_ref(), limits));
    let frames: Vec<_> = frames.collect();
    let bodies = frames.iter().flatten().flatten().map(|frame| frame.body);
    let mut digests = digest_all(&bodies.collect::<Vec<_>>()).into_iter();
    let checked = frames.into_iter().map(|frame| {
        let right = frame?.filter(|frame| digests.next() == Some(frame.sum));
        Ok(right.map(|frame| frame.body))
    });
    checked.collect()
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

/// A user record as it lies in its aggregate.
pub(crate) struct Indexed<'t> {
    /// The place of its partition key in the table.
    pub(crate) key: usize,
    pub(crate) record: SubRecordRef<'t>,
    /// All of its fields.
    #[cfg_attr(not(feature = "client"), expect(dead_code))]
    message: &'t [u8],
}

#[cfg(feature = "client")]
impl<'t> Indexed<'t> {
    /// Says where the record was stored before, if its producer wrote that down.
    #[inline]
    pub(crate) fn earlier_copies(&self) -> impl Iterator<Item = EarlierCopy> + use<'t> {
        // Encoders write the tags behind the data, so of a record without tags nothing is read again.
        let ends_with_data = self.message.as_ptr_range().end == self.record.data.as_ptr_range().end;
        EarlierCopy::all_of(if ends_with_data { &[] } else { self.message })
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
    pub(super) fn next_indexed(&mut self) -> Option<Result<Indexed<'t>, DecodeError>> {
        loop {
            // Reading the aggregate has been through every field once and found no fault.
            let field = self.fields.next()?.ok()?;
            if let (RECORDS, Value::Bytes(message)) = (field.number, field.value) {
                let read = self.resolve(message, RawRecord::of(message).ok()?);
                self.position += 1;
                if read.is_err() {
                    self.fields = Fields::new(&[], 0);
                }
                return Some(read);
            }
        }
    }

    #[inline]
    fn resolve(&self, message: &'t [u8], raw: RawRecord<'t>) -> Result<Indexed<'t>, DecodeError> {
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
        Ok(Indexed {
            key: index,
            record: SubRecordRef {
                partition_key,
                explicit_hash_key: explicit_hash_key.transpose()?,
                data: raw.data,
            },
            message,
        })
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

impl fmt::Debug for SubRecords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubRecords")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<'t> Iterator for SubRecords<'t> {
    type Item = Result<SubRecordRef<'t>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let indexed = self.next_indexed()?;
        Some(indexed.map(|indexed| indexed.record))
    }
}

/// Reads a key as text; what is no UTF-8 becomes U+FFFD, as with the KCL.
fn read_text(key: &[u8]) -> Cow<'_, str> {
    // The lossy reader goes byte by byte, so it is left for the keys that need it.
    match std::str::from_utf8(key) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(key),
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
