use std::any::Any;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;

use crate::aggregation::SubRecord;
use crate::error::Error;
use crate::model::{Gap, HashKey, PartitionKey, SequenceNumber, ShardRef, Timestamp};

/// A user record, taken out of its aggregate if it came in one. Its data is a slice, not a copy.
///
/// A slice keeps the answer it came in alive: copy the data of records that are kept for long.
#[derive(Clone)]
pub struct Record {
    pub(super) data: Bytes,
    pub(super) partition_key: PartitionKey,
    /// As bytes, which need not stand at an address that 16 divides.
    explicit_hash_key: Option<[u8; 16]>,
    /// Its place in its aggregate, counted from 1: so a record fits two lines of a processor's cache.
    pub(super) place: Option<NonZeroU64>,
    pub(super) origin: Arc<Origin>,
    pub(super) value: Option<Value>,
    pub(super) stamp: Stamp,
}

const _: () = assert!(
    size_of::<Record>() <= 128,
    "two lines of a processor's cache"
);

/// Where a record is in event time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub event_time: Timestamp,
    /// That of its shard, with this record handed out; [`Timestamp::MIN`] if there is none.
    pub watermark: Timestamp,
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
    /// A record that did not come in an aggregate. Its event time is when it arrived.
    pub(super) fn whole(data: Bytes, partition_key: PartitionKey, origin: Arc<Origin>) -> Record {
        let stamp = Stamp {
            event_time: origin.approximate_arrival,
            watermark: Timestamp::MIN,
        };
        Record {
            data,
            partition_key,
            explicit_hash_key: None,
            place: None,
            origin,
            value: None,
            stamp,
        }
    }

    /// The record at a place, counted from 0, of an aggregate.
    pub(super) fn part(sub: u64, record: SubRecord, origin: Arc<Origin>) -> Record {
        let (key, hash_key) = (record.partition_key.into(), record.explicit_hash_key);
        Record {
            explicit_hash_key: hash_key.map(|key| key.as_u128().to_ne_bytes()),
            place: NonZeroU64::new(sub.saturating_add(1)),
            ..Record::whole(record.data, key, origin)
        }
    }

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
        let key = self.explicit_hash_key?;
        Some(u128::from_ne_bytes(key).into())
    }

    /// Returns the place of its Kinesis record in the shard.
    pub fn sequence_number(&self) -> &SequenceNumber {
        &self.origin.sequence_number
    }

    /// Returns its place in its aggregate, from 0; `None` if it did not come in one.
    pub fn sub_sequence_number(&self) -> Option<u64> {
        self.place.map(|place| place.get() - 1)
    }

    /// Returns when the service took in its Kinesis record.
    pub fn approximate_arrival(&self) -> Timestamp {
        self.origin.approximate_arrival
    }

    /// Returns when it happened: what the [watermark strategy](crate::ConsumerBuilder::watermarks) made
    /// of it, or else [when it arrived](Record::approximate_arrival).
    pub fn event_time(&self) -> Timestamp {
        self.stamp.event_time
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
            && self.place == other.place
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
            .field("sub_sequence_number", &self.sub_sequence_number())
            .field("partition_key", &self.partition_key)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// What a consumer has to say, in the order to process it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A shard is not idle any more, after [`Idle`](Event::Idle): the watermark may move again.
    Active,
    /// Nothing will follow: the consumer was stopped, or there is nothing more to read. Where event
    /// time is looked at, this stands for the last watermark of all.
    Ended,
    /// Records may be lost, or were left out, or come in another form than they were meant to.
    Gap(Gap),
    /// Every shard is idle, or there is none: until [`Active`](Event::Active), whoever combines the
    /// watermarks of several consumers should not wait for this one's.
    Idle,
    /// A user record.
    Record(Record),
    /// Records of a shard that was idle are about to come, or its reading is in trouble. It counts for
    /// the watermark again; what it brings may be late.
    ShardActive(ShardRef),
    /// A shard was closed by a split or a merge, and all its records have been handed out. Its
    /// children follow once the caller comes back, be it in another consumer of the
    /// [group](crate::ConsumerBuilder::start_group).
    ShardEnded(ShardRef),
    /// The decoder refused a record, and by the [policy](crate::PoisonPolicy::HaltShard) on that its
    /// shard is read no further. The other shards go on.
    ShardHalted(ShardRef, Error),
    /// A shard had no record for the [idle interval](crate::ConsumerConfigBuilder::shard_idle_interval):
    /// the watermark goes on without it.
    ShardIdle(ShardRef),
    /// A shard's records are about to come.
    ShardStarted(ShardRef),
    /// Nothing came in the time that was given.
    Timeout,
    /// Event time has come so far: the records that follow are not earlier, but for late ones. Each is
    /// later than the one before. See [`manual::event_time`](crate::manual::event_time).
    Watermark(Timestamp),
}
