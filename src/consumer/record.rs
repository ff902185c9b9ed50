use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{Gap, HashKey, SequenceNumber, ShardRef, Timestamp};

/// A user record, taken out of its aggregate if it came in one. Its data is a slice, not a copy.
///
/// A slice keeps the answer it came in alive: copy the data of records that are kept for long.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub(super) data: Bytes,
    pub(super) partition_key: Arc<str>,
    pub(super) explicit_hash_key: Option<HashKey>,
    pub(super) sub_sequence_number: Option<u64>,
    pub(super) origin: Arc<Origin>,
}

/// The Kinesis record that a user record came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub shard: ShardRef,
    pub sequence_number: SequenceNumber,
    pub approximate_arrival: Timestamp,
}

impl Record {
    /// Returns what was put.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Takes what was put.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// Returns the partition key it was put with.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// Returns the explicit hash key it was put with. Known only of records that came in an
    /// aggregate: the service does not tell it of others.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.explicit_hash_key
    }

    /// Returns the place of its Kinesis record in the shard.
    pub fn sequence_number(&self) -> &SequenceNumber {
        &self.origin.sequence_number
    }

    /// Returns its place in its aggregate, from 0; `None` if it did not come in one.
    pub fn sub_sequence_number(&self) -> Option<u64> {
        self.sub_sequence_number
    }

    /// Returns when the service took in its Kinesis record.
    pub fn approximate_arrival(&self) -> Timestamp {
        self.origin.approximate_arrival
    }

    /// Returns the shard it was read from.
    pub fn shard(&self) -> &ShardRef {
        &self.origin.shard
    }
}

/// Shows everything but the data, which belong to the user.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("shard", self.shard())
            .field("sequence_number", self.sequence_number())
            .field("sub_sequence_number", &self.sub_sequence_number)
            .field("partition_key", &self.partition_key)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// What a consumer has to say, in the order to process it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Nothing will follow: the consumer was stopped, or there is nothing more to read.
    Ended,
    /// Records may be lost, or were left out, or come in another form than they were meant to.
    Gap(Gap),
    /// A user record.
    Record(Record),
    /// A shard was closed by a split or a merge, and all its records have been handed out. Its
    /// children follow.
    ShardEnded(ShardRef),
    /// A shard's records are about to come.
    ShardStarted(ShardRef),
    /// Nothing came in the time that was given.
    Timeout,
}
