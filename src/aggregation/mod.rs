//! The aggregation format of the Kinesis Producer Library: many user records in one Kinesis record.

mod decode;
mod digest;
mod encode;
mod error;
mod key_table;
pub mod message;
mod misplaced;
mod wire;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::HashKey;

pub use decode::{
    AggregateRef, DecodeLimits, Decoded, SubRecordRef, SubRecords, decode, decode_all,
    decode_readable,
};
pub use digest::hash_keys;
pub use encode::{Aggregate, Unsealed, encode, seal_all};
pub use error::DecodeError;
pub use misplaced::{Misplaced, Placement, Verdict};

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

/// Shows a record without its data, which belong to the user.
fn debug_record(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    partition_key: &str,
    explicit_hash_key: Option<HashKey>,
    data: &[u8],
) -> fmt::Result {
    f.debug_struct(name)
        .field("partition_key", &partition_key)
        .field("explicit_hash_key", &explicit_hash_key)
        .field("data_len", &data.len())
        .finish()
}

/// What every aggregate begins with.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// Bytes around an aggregate's message: the magic before it, its MD5 behind it.
pub const FRAME_LEN: usize = MAGIC.len() + 16;
