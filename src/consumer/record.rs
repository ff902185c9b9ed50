use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::model::{Gap, HashKey, PartitionKey, SequenceNumber, ShardRef, Timestamp};

/// A user record, taken out of its aggregate if it came in one. Its data is a slice, not a copy.
///
/// A slice keeps the answer it came in alive: copy the data of records that are kept for long.
#[derive(Clone)]
pub struct Record {
    pub(super) data: Bytes,
    pub(super) partition_key: PartitionKey,
    pub(super) explicit_hash_key: Option<HashKey>,
    pub(super) sub_sequence_number: Option<u64>,
    pub(super) origin: Arc<Origin>,
    pub(super) value: Option<Value>,
}

/// What the user's decoder made of a record; or [`LeftOut`].
pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// In place of a value: the record is not handed out, but counts as if it had been.
struct LeftOut;

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

    /// Returns what the [decoder](crate::ConsumerBuilder::decoder) made of it; `None` if there is no
    /// decoder, or its values are not of this type.
    pub fn decoded<T: Any>(&self) -> Option<&T> {
        self.value.as_ref()?.downcast_ref()
    }

    /// Takes what the [decoder](crate::ConsumerBuilder::decoder) made of it; `None`, and nothing is
    /// taken, if there is no value of this type or a clone of the record has it as well.
    pub fn take_decoded<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let value = self.value.take()?;
        let shared = match value.downcast::<T>() {
            Ok(value) => match Arc::try_unwrap(value) {
                Ok(value) => return Some(value),
                Err(shared) => shared as Value,
            },
            Err(other) => other,
        };
        self.value = Some(shared);
        None
    }

    pub(super) fn leave_out(&mut self) {
        self.value = Some(Arc::new(LeftOut));
    }

    pub(super) fn is_left_out(&self) -> bool {
        self.value
            .as_ref()
            .is_some_and(|value| value.is::<LeftOut>())
    }

    /// Returns the shard it was read from.
    pub fn shard(&self) -> &ShardRef {
        &self.origin.shard
    }
}

/// What was put and where it lies is compared, not what a decoder made of it.
impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.data == other.data
            && self.partition_key == other.partition_key
            && self.explicit_hash_key == other.explicit_hash_key
            && self.sub_sequence_number == other.sub_sequence_number
            && self.origin == other.origin
    }
}

impl Eq for Record {}

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
    /// The decoder refused a record, and by the [policy](crate::PoisonPolicy::HaltShard) on that its
    /// shard is read no further. The other shards go on.
    ShardHalted(ShardRef, Error),
    /// A shard's records are about to come.
    ShardStarted(ShardRef),
    /// Nothing came in the time that was given.
    Timeout,
}
