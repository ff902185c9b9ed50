use std::sync::Arc;

use bytes::Bytes;

use crate::aggregation::{AggregateRef, DecodeError, SubRecord, aggregate_ref::Indexed};

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
    Ok(aggregate.map(|aggregate| Decoded::of(&aggregate, data)))
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
    read.map(|(data, read)| Ok(read?.map(|aggregate| Decoded::of(&aggregate, data))))
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

impl Decoded {
    /// Reads the user records until there are no more or one cannot be read.
    fn of(aggregate: &AggregateRef<'_>, data: &Bytes) -> Decoded {
        let mut keys: Vec<Option<Arc<str>>> = vec![None; aggregate.partition_key_count()];
        let mut records = Vec::with_capacity(aggregate.len());
        let mut read = aggregate.iter();
        let unreadable = loop {
            let Indexed { key, record, .. } = match read.next_indexed() {
                None => break None,
                Some(Err(error)) => break Some(error),
                Some(Ok(indexed)) => indexed,
            };
            let key = keys[key].get_or_insert_with(|| record.partition_key.into());
            records.push(SubRecord {
                partition_key: Arc::clone(key),
                explicit_hash_key: record.explicit_hash_key,
                data: data.slice_ref(record.data),
            });
        };
        Decoded {
            records,
            unreadable,
        }
    }
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
            max_bytes: MAX_BYTES,
            max_records: MAX_RECORDS,
            max_table_entries: MAX_TABLE_ENTRIES,
        }
    }
}

/// 10 MiB, the longest record the service takes, its partition key included:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>.
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// Six times what the KPL can make: its `AggregationMaxSize` ends at 1 MiB, a record takes 6 bytes.
const MAX_RECORDS: usize = 1 << 20;

/// As many as there may be user records.
const MAX_TABLE_ENTRIES: usize = MAX_RECORDS;
