use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{HashKey, Operation};
use crate::producer::Producer;
use crate::producer::delivery::Delivery;
use crate::producer::record::{PutError, UserRecord};
use crate::sys::Sys;
use crate::sys::lock::lock;
use crate::sys::rng::Rng;

/// Makes the data of elements, and says which stream takes them. Flink's `KinesisSerializationSchema`.
///
/// A function from an element to its data is one, for the default stream.
pub trait Serializer<T: ?Sized> {
    /// Makes an element's data.
    ///
    /// # Errors
    /// The element has no data: it is not put, and the caller gets the reason.
    fn serialize(&self, element: &T) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    /// Names the stream that takes an element; `None` is the producer's default. Flink's
    /// `getTargetStream`.
    fn target_stream(&self, element: &T) -> Option<Arc<str>> {
        let _ = element;
        None
    }
}

impl<T: ?Sized, F: Fn(&T) -> Bytes> Serializer<T> for F {
    fn serialize(&self, element: &T) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self(element))
    }
}

/// Decides which shard takes an element. Flink's `KinesisPartitioner`.
///
/// A function from an element to its partition key is one.
pub trait Partitioner<T: ?Sized> {
    /// Makes the partition key, of 1 to 256 characters. Flink's `getPartitionId`.
    fn partition_key(&self, element: &T) -> String;

    /// Decides the shard in place of the partition key. Flink's `getExplicitHashKey`.
    fn explicit_hash_key(&self, element: &T) -> Option<HashKey> {
        let _ = element;
        None
    }
}

impl<T: ?Sized, F: Fn(&T) -> String> Partitioner<T> for F {
    fn partition_key(&self, element: &T) -> String {
        self(element)
    }
}

/// Gives all elements of one subtask the same partition key. Flink's `FixedKinesisPartitioner`.
#[derive(Clone, Debug)]
pub struct FixedPartitioner(String);

impl FixedPartitioner {
    /// Makes the partitioner of one subtask among several: its number is the key.
    pub fn new(subtask: usize) -> FixedPartitioner {
        FixedPartitioner(subtask.to_string())
    }
}

impl<T: ?Sized> Partitioner<T> for FixedPartitioner {
    fn partition_key(&self, _: &T) -> String {
        self.0.clone()
    }
}

/// Gives each element a partition key of its own, a random UUID. Flink's `RandomKinesisPartitioner`.
pub struct RandomPartitioner(Mutex<Rng>);

impl RandomPartitioner {
    /// Makes one that is seeded by the operating system.
    pub fn new() -> RandomPartitioner {
        RandomPartitioner(Mutex::new(Sys::real().rng("partitioner")))
    }
}

impl Default for RandomPartitioner {
    fn default() -> RandomPartitioner {
        RandomPartitioner::new()
    }
}

impl fmt::Debug for RandomPartitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomPartitioner").finish_non_exhaustive()
    }
}

impl<T: ?Sized> Partitioner<T> for RandomPartitioner {
    fn partition_key(&self, _: &T) -> String {
        let mut rng = lock(&self.0);
        uuid(rng.next_u64(), rng.next_u64())
    }
}

/// A UUID of version 4 out of random bits: <https://www.rfc-editor.org/rfc/rfc9562#section-5.4>.
fn uuid(high: u64, low: u64) -> String {
    let (one, two, three) = (high >> 32, high >> 16 & 0xffff, high & 0x0fff);
    let (four, five) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{one:08x}-{two:04x}-4{three:03x}-{four:04x}-{five:012x}")
}

/// A [`Producer`] that makes the records itself, out of the caller's elements.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use bytes::Bytes;
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Producer, RandomPartitioner};
///
/// struct Order { customer: String, text: String }
///
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let producer = Producer::builder(client).stream("orders").start()?;
/// let orders = producer.typed(
///     |order: &Order| Bytes::from(order.text.clone()),
///     |order: &Order| order.customer.clone(),
/// );
/// orders.put(&Order { customer: "7".to_owned(), text: "order 1".to_owned() })?;
/// orders.producer().close()?;
/// # let _ = RandomPartitioner::new();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedProducer<S, P> {
    producer: Producer,
    serializer: S,
    partitioner: P,
}

impl<S, P> TypedProducer<S, P> {
    pub(super) fn new(producer: Producer, serializer: S, partitioner: P) -> TypedProducer<S, P> {
        TypedProducer {
            producer,
            serializer,
            partitioner,
        }
    }

    /// Takes an element in; blocks while the queue limit is reached.
    ///
    /// # Errors
    /// As [`Producer::put`]; `InvalidRecord` too if the serializer refuses the element.
    pub fn put<T: ?Sized>(&self, element: &T) -> Result<Delivery>
    where
        S: Serializer<T>,
        P: Partitioner<T>,
    {
        let record = self.record(element)?;
        self.producer.put(record).map_err(PutError::into)
    }

    /// Takes an element in; blocks while the queue limit is reached, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`TypedProducer::put`], and `Full` when the time is up.
    pub fn put_timeout<T: ?Sized>(&self, element: &T, timeout: Duration) -> Result<Delivery>
    where
        S: Serializer<T>,
        P: Partitioner<T>,
    {
        let record = self.record(element)?;
        let taken = self.producer.put_timeout(record, timeout);
        taken.map_err(PutError::into)
    }

    /// Takes an element in if there is room. Does not block.
    ///
    /// # Errors
    /// As [`TypedProducer::put`], and `Full` if there is no room.
    pub fn try_put<T: ?Sized>(&self, element: &T) -> Result<Delivery>
    where
        S: Serializer<T>,
        P: Partitioner<T>,
    {
        let record = self.record(element)?;
        self.producer.try_put(record).map_err(PutError::into)
    }

    /// Returns the producer of records, to flush, measure and close.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Gives up the serializer and the partitioner.
    pub fn into_producer(self) -> Producer {
        self.producer
    }

    fn record<T: ?Sized>(&self, element: &T) -> Result<UserRecord>
    where
        S: Serializer<T>,
        P: Partitioner<T>,
    {
        let data = self.serializer.serialize(element).map_err(refused)?;
        let record = UserRecord::new(self.partitioner.partition_key(element), data);
        let record = match self.partitioner.explicit_hash_key(element) {
            Some(key) => record.explicit_hash_key(key),
            None => record,
        };
        Ok(match self.serializer.target_stream(element) {
            Some(stream) => record.stream(stream),
            None => record,
        })
    }
}

fn refused(reason: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let reason = format!("the serializer refuses the element: {reason}");
    let error = Error::new(ErrorKind::InvalidRecord { reason });
    error.within(|context| context.operation = Some(Operation::PutRecords))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_key_is_a_uuid_of_version_4() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            uuid(u64::MAX, u64::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        let partitioner = RandomPartitioner::new();
        let keys: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| partitioner.partition_key("")).collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn a_fixed_key_is_the_subtasks_number() {
        let partitioner = FixedPartitioner::new(7);
        assert_eq!(partitioner.partition_key("anything"), "7");
        assert_eq!(partitioner.explicit_hash_key("anything"), None);
    }
}
