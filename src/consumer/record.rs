use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::consumer::answer::Answer;
use crate::consumer::outage::Outage;
use crate::error::Error;
use crate::model::{Gap, HashKey, SequenceNumber, ShardRef, Timestamp};

/// A user record, taken out of its aggregate if it came in one. Its data is a slice, not a copy.
///
/// A record and its slice keep the answer it came in alive: copy what is kept for long.
#[derive(Clone)]
pub struct Record {
    answer: Arc<Answer>,
    at: usize,
    pub(super) value: Option<Value>,
    pub(super) stamp: Option<Stamp>,
}

const _: () = assert!(size_of::<Record>() <= 64, "a line of a processor's cache");

/// Where a record is in event time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub event_time: Timestamp,
    /// That of its shard, with this record handed out; [`Timestamp::MIN`] if there is none.
    pub watermark: Timestamp,
}

impl Stamp {
    /// Of a record that no strategy was asked about.
    pub fn by_arrival(arrival: Timestamp) -> Stamp {
        Stamp {
            event_time: arrival,
            watermark: Timestamp::MIN,
        }
    }
}

/// What the user's decoder made of a record; or [`LeftOut`].
pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// In place of a value: the record is not handed out, but counts as if it had been.
struct LeftOut;

pub(super) fn is_left_out(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value.is::<LeftOut>())
}

impl Record {
    /// The record at a place of an answer.
    pub(super) fn new(answer: Arc<Answer>, at: usize) -> Record {
        Record {
            answer,
            at,
            value: None,
            stamp: None,
        }
    }

    /// Makes it the record at another place of its answer: for those who look at many in turn.
    pub(super) fn move_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Returns what was put.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.answer.data(self.at)
    }

    /// Takes what was put, without a copy: a slice of the answer it came in.
    pub fn into_data(self) -> Bytes {
        self.answer.shared_data(self.at)
    }

    /// Returns the partition key it was put with.
    #[inline]
    pub fn partition_key(&self) -> &str {
        self.answer.partition_key(self.at)
    }

    /// Returns the explicit hash key it was put with. Known only of records that came in an
    /// aggregate: the service does not tell it of others.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.answer.explicit_hash_key(self.at)
    }

    /// Returns the place of its Kinesis record in the shard.
    pub fn sequence_number(&self) -> &SequenceNumber {
        self.answer.sequence_number(self.at)
    }

    /// Returns its place in its aggregate, from 0; `None` if it did not come in one.
    pub fn sub_sequence_number(&self) -> Option<u64> {
        self.answer.sub_sequence_number(self.at)
    }

    /// Returns when the service took in its Kinesis record.
    #[inline]
    pub fn approximate_arrival(&self) -> Timestamp {
        self.answer.approximate_arrival(self.at)
    }

    /// Returns when it happened: what the [watermark strategy](crate::ConsumerBuilder::watermarks) made
    /// of it, or else [when it arrived](Record::approximate_arrival).
    pub fn event_time(&self) -> Timestamp {
        let stamp = self.stamp.as_ref();
        stamp.map_or_else(|| self.approximate_arrival(), |stamp| stamp.event_time)
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
        is_left_out(self.value.as_ref())
    }

    /// Returns the shard it was read from.
    pub fn shard(&self) -> &ShardRef {
        self.answer.shard()
    }
}

/// What was put and where it lies is compared, not what a decoder made of it.
impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.data() == other.data()
            && self.partition_key() == other.partition_key()
            && self.explicit_hash_key() == other.explicit_hash_key()
            && self.sub_sequence_number() == other.sub_sequence_number()
            && self.sequence_number() == other.sequence_number()
            && self.approximate_arrival() == other.approximate_arrival()
            && self.shard() == other.shard()
    }
}

impl Eq for Record {}

/// Shows everything but the key and the data, which belong to the user.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("shard", self.shard())
            .field("sequence_number", self.sequence_number())
            .field("sub_sequence_number", &self.sub_sequence_number())
            .field("partition_key_bytes", &self.partition_key().len())
            .field("data_bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}

/// What a consumer has to say, in the order to process it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A shard is not idle any more, after [`Idle`](Event::Idle): the watermark may move again.
    Active,
    /// Calls succeed again whose outage was reported as [`Unavailable`](Event::Unavailable).
    Available(Outage),
    /// A commit by [interval](crate::ConsumerBuilder::commit_interval) failed, and is tried again. Reading goes
    /// on until commits have failed for the
    /// [retry timeout](crate::ConsumerConfigBuilder::commit_retry_timeout), and ends with the store's error.
    CommitFailed(Error),
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
    /// For a minute, all calls that read a shard have failed, or all that list a stream's shards. They
    /// are made again until the [outage timeout](crate::ConsumerConfigBuilder::outage_timeout), and then
    /// the consumer ends with an error; for a listing it does so only if it reads no shard.
    Unavailable(Outage),
    /// Event time has come so far: the records that follow are not earlier, but for late ones. Each is
    /// later than the one before. See [`manual::event_time`](crate::manual::event_time).
    Watermark(Timestamp),
}
