//! The aggregation format of the Kinesis Producer Library: many user records in one Kinesis record.
//!
//! [`encode`] writes what the KPL writes, byte for byte. [`decode`] reads what any producer wrote, and
//! says what it makes of odd bytes. This room needs nothing of the rest of the crate: with
//! `default-features = false` it is all there is, on `prost`, `md-5` and `bytes`.
//!
//! ```
//! use kinesis_blocking::aggregation::{Aggregate, decode};
//!
//! // As the KPL does by default: up to 50 KiB in one Kinesis record.
//! let mut aggregate = Aggregate::new(51_200, u64::MAX);
//! assert!(aggregate.try_push("sensor-1", None, b"21.5"));
//! assert!(aggregate.try_push("sensor-2", None, b"19.0"));
//! let data = aggregate.finish();
//!
//! let records = decode(&data)?.expect("an aggregate");
//! assert_eq!(&*records[1].partition_key, "sensor-2");
//! assert_eq!(&records[1].data[..], b"19.0");
//! # Ok::<(), kinesis_blocking::aggregation::DecodeError>(())
//! ```
//!
//! # The bytes
//!
//! ```text
//! offset 0        4                                  4+n        4+n+16
//!        | magic  | AggregatedRecord, a proto2 message | MD5 of it |
//! ```
//!
//! The message, which [`message`] has as types, starts with a table of the distinct partition keys and
//! one of the distinct explicit hash keys, each in order of first use. The user records follow, with
//! indices into the tables. There is no length and no version. A user record without an explicit hash
//! key gets none: the one derived from its partition key is never written.
//!
//! A producer sends a single user record bare; whether it does is not the encoder's choice, which
//! makes an aggregate of one as well. A batch of Kinesis records is made and read faster at once, see
//! [`seal_all`], [`decode_all`] and [`hash_keys`]: most of the time goes into MD5, which this crate
//! computes for eight messages side by side, without `unsafe`.
//!
//! # What readers make of odd bytes
//!
//! Found by giving the same bytes to each: the KCL 2.5.8 and 3.1.3, Python's `aws-kinesis-agg` 1.2.3,
//! Go's `kinesis-aggregation`, Node's `aws-kinesis-agg` 4.2.8 with checksums on. *Plain* means that
//! the Kinesis record is handed on as it is; *up to it* that the user records before the fault are
//! handed on and the others are not.
//!
//! | input | here | KCL | Python | Go | Node |
//! | --- | --- | --- | --- | --- | --- |
//! | another magic, too short | `Ok(None)`: plain | plain | plain | plain | plain |
//! | magic and 16 bytes or fewer | `Ok(None)`: plain | plain | plain | plain | error or nothing |
//! | wrong MD5, a byte too few or too many | `Ok(None)`: plain | plain | plain | plain | error, lost |
//! | right MD5, not the message | [`Malformed`](DecodeError::Malformed) | plain | plain | error for the whole call | error, lost |
//! | a `required` field is missing | [`Malformed`](DecodeError::Malformed) | plain | zero or empty | error for the whole call | error, lost |
//! | partition key index out of range | error; [`decode_readable`] up to it | up to it | up to it | panic | key undefined |
//! | explicit hash key index out of range | error; [`decode_readable`] up to it | up to it | exception | ignored | key undefined |
//! | index of 2^32 or more | error, as out of range | **cut to 32 bits: 2^32 is 0** | up to it | panic | key undefined |
//! | explicit hash key `007` or `+7` | read as 7 | text kept | text kept | ignored | text kept |
//! | explicit hash key that is no number | error; [`decode_readable`] up to it | up to it | text kept | ignored | text kept |
//! | explicit hash key below 0 or above 2^128 - 1 | error; [`decode_readable`] up to it | **the whole aggregate vanishes** | text kept | ignored | text kept |
//! | no explicit hash key, while others have one | none | none | **the table's first** | ignored | **the table's first** |
//! | partition key that is no UTF-8 | U+FFFD for what is not | the same | bytes | bytes | the same |
//! | tables, and no user records | no user records | the same | the same | the same | the same |
//! | an aggregate as a user record's data | left as it is | the same | the same | the same | the same |
//! | unknown fields, tags, unused or repeated entries, any order | read | read | read | read | read |
//! | a user record outside the shard | [`Misplaced`] | **the whole aggregate vanishes** | delivered | delivered | delivered |
//!
//! So this crate reads as the KCL does, but in three things. It does not cut an index to 32 bits, which
//! would give a record a key that nobody wrote. It never lets anything vanish: where the KCL drops
//! what it cannot read with a line in a log, [`decode`] gives a typed error, and the record can be
//! handed on whole and reported. And it has limits, [`DecodeLimits`].
//!
//! Source of the format:
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

mod aggregate_ref;
mod decode;
mod digest;
#[cfg(feature = "client")]
mod earlier_copy;
mod encode;
mod error;
mod gap_buffer;
mod key_table;
pub mod message;
mod misplaced;
mod survey;
mod wire;
#[cfg(feature = "client")]
mod written;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::HashKey;

pub use aggregate_ref::{AggregateRef, SubRecordRef, SubRecords};
pub use decode::{DecodeLimits, Decoded, decode, decode_all, decode_readable};
pub use digest::hash_keys;
pub use encode::{Aggregate, Unsealed, encode, seal_all};
pub use error::DecodeError;
pub use misplaced::{Misplaced, Placement, Verdict};
#[cfg(feature = "client")]
pub(crate) use {
    aggregate_ref::{Indexed, checked},
    earlier_copy::{EarlierCopy, tags},
    written::Written,
};

/// A user record inside an aggregate.
#[derive(Clone, PartialEq, Eq)]
pub struct SubRecord {
    /// The partition key it was put with.
    pub partition_key: Arc<str>,
    /// The explicit hash key it was put with, if any; never one derived from the partition key.
    pub explicit_hash_key: Option<HashKey>,
    /// What was put.
    pub data: Bytes,
}

impl SubRecord {
    /// Makes a user record without an explicit hash key.
    pub fn new(partition_key: impl Into<Arc<str>>, data: impl Into<Bytes>) -> SubRecord {
        SubRecord {
            partition_key: partition_key.into(),
            explicit_hash_key: None,
            data: data.into(),
        }
    }

    /// Returns where the record lies on the ring: its explicit hash key, else its partition key's MD5.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key
            .unwrap_or_else(|| HashKey::of_partition_key(&self.partition_key))
    }
}

impl fmt::Debug for SubRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SubRecord {
            partition_key,
            explicit_hash_key,
            data,
        } = self;
        debug_record(f, "SubRecord", partition_key, *explicit_hash_key, data)
    }
}

/// Shows a record without its key and its data, which belong to the user.
fn debug_record(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    partition_key: &str,
    explicit_hash_key: Option<HashKey>,
    data: &[u8],
) -> fmt::Result {
    f.debug_struct(name)
        .field("partition_key_len", &partition_key.len())
        .field("explicit_hash_key", &explicit_hash_key)
        .field("data_len", &data.len())
        .finish()
}

/// What every aggregate begins with.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// Bytes around an aggregate's message: the magic before it, its MD5 behind it.
pub const FRAME_LEN: usize = MAGIC.len() + 16;
