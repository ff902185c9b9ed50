//! Writes user records to streams: aggregated, batched, retried, each with its own result.
//!
//! ```text
//!  Producer::put ─► intake ─► aggregator ─► shelf ─► collector ─► sender ─► http ─► outcome ─┐
//!  (any thread: room, lock, copy)    │       └────── pipeline thread ─────┘  (pool)          │
//!                    │                                                                       ▼
//!                room given back ◄── group settled ◄── retrier: in its place, again, or given up
//! ```
//!
//! A record is copied into the open aggregate of its shard in the caller's thread; only finished
//! Kinesis records cross threads. All records of an aggregate share one result, a group.

mod aggregator;
mod batch;
mod builder;
mod closed;
#[cfg(feature = "cloudwatch")]
mod cloudwatch;
mod collector;
mod delivery;
mod front;
mod group;
mod histogram;
mod intake;
mod job;
mod kinesis_record;
mod ledger;
mod limiter;
mod listing;
mod metrics;
mod monitor;
mod pipeline;
mod placement;
mod record;
mod report;
mod retrier;
mod shared;
mod stream_state;
mod tally;
#[cfg(test)]
mod tests;
mod threads;
#[cfg(test)]
mod throttled;
mod turnstile;
mod typed;
#[cfg(feature = "cloudwatch")]
mod upload;
mod wake;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use front::Stream;
use shared::Shared;
use threads::Threads;

use crate::sys::stop::StopSource;

pub use builder::ProducerBuilder;
pub use closed::Closed;
#[cfg(feature = "cloudwatch")]
pub use cloudwatch::CloudWatch;
pub use delivery::{Attempt, Delivered, Delivery, RecordResult, Stored, Undelivered};
pub use metrics::{
    Measures, Percentiles, ProducerMetrics, StreamMetrics, Summary, TimePercentiles,
};
pub use record::{PutError, UserRecord};
pub use typed::{FixedPartitioner, Partitioner, RandomPartitioner, Serializer, TypedProducer};

/// Aggregates, batches and retries user records. Share it by reference between threads.
///
/// At least once: a record whose confirmation was lost is put again, and may then be in the stream
/// twice. Records of one partition key may change places when calls fail or run side by side.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Producer, UserRecord};
///
/// // Against AWS: `Client::builder().region("us-east-1").build()?`
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let producer = Producer::builder(client).stream("orders").start()?;
///
/// let delivery = producer.put(UserRecord::new("customer-7", "order 1"))?;
/// producer.flush()?;
/// println!("stored in {}", delivery.wait()?.shard_id);
/// producer.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    stop: StopSource,
    /// `None` once they were waited for.
    threads: Mutex<Option<Threads>>,
}

/// How long a `put` may wait for room.
#[derive(Clone, Copy)]
enum Patience {
    For(Duration),
    Forever,
    None,
}

impl Producer {
    /// Starts the description of a producer.
    pub fn builder(client: Client) -> ProducerBuilder {
        ProducerBuilder::new(client)
    }

    /// Takes a record in; blocks while the queue limit is reached.
    ///
    /// # Errors
    /// The record comes back. `InvalidRecord`, `RecordTooLarge`: the service would refuse it.
    /// `Closed`: the producer was closed. With [`ProducerBuilder::fail_on_error`], the error of the
    /// first record that was not delivered.
    pub fn put(&self, record: UserRecord) -> Result<Delivery, PutError> {
        self.put_with(record, Patience::Forever)
    }

    /// Takes a record in; blocks while the queue limit is reached, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`Producer::put`], and `Full` when the time is up.
    pub fn put_timeout(&self, record: UserRecord, timeout: Duration) -> Result<Delivery, PutError> {
        self.put_with(record, Patience::For(timeout))
    }

    /// Takes a record in if there is room. Does not block.
    ///
    /// # Errors
    /// As [`Producer::put`], and `Full` if there is no room: see [`PutError::is_full`].
    pub fn try_put(&self, record: UserRecord) -> Result<Delivery, PutError> {
        self.put_with(record, Patience::None)
    }

    /// Sends what is buffered at once, and blocks until all that was taken in before is settled.
    ///
    /// That is at most the time to live and one request timeout. What other threads put meanwhile is
    /// not waited for.
    ///
    /// # Errors
    /// With [`ProducerBuilder::fail_on_error`], the error of the first record that was not delivered.
    pub fn flush(&self) -> Result<()> {
        self.flush_within(None);
        self.shared.failure.check()
    }

    /// As [`Producer::flush`], but no longer than `timeout`; gives how many records are not settled.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_timeout(&self, timeout: Duration) -> Result<usize> {
        let left = self.flush_within(Some(timeout));
        self.shared.failure.check().map(|()| left)
    }

    /// As [`Producer::flush`], for the records of one stream, named as they name it.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_stream(&self, stream: &str) -> Result<()> {
        self.flush_streams(&self.known(stream), None);
        self.shared.failure.check()
    }

    /// As [`Producer::flush_stream`], but no longer than `timeout`; gives how many of the stream's
    /// records are not settled.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_stream_timeout(&self, stream: &str, timeout: Duration) -> Result<usize> {
        let left = self.flush_streams(&self.known(stream), Some(timeout));
        self.shared.failure.check().map(|()| left)
    }

    /// Says how long ago the oldest record was put that is not yet settled; `None` if all are.
    ///
    /// Of an aggregate, its first record counts; to ten milliseconds. The KPL's `getOldestRecordTimeInMillis`.
    pub fn oldest_outstanding(&self) -> Option<Duration> {
        let streams = self.shared.front.streams().into_iter();
        let oldest = streams
            .filter_map(|stream| stream.standing().oldest)
            .min()?;
        Some(self.shared.clock.now().saturating_duration_since(oldest))
    }

    /// The same producer, for elements that a serializer and a partitioner make records of.
    pub fn typed<S, P>(self, serializer: S, partitioner: P) -> TypedProducer<S, P> {
        TypedProducer::new(self, serializer, partitioner)
    }

    /// Counts the records that are taken in and not yet settled.
    pub fn outstanding(&self) -> usize {
        self.shared.intake.records()
    }

    /// Counts what the producer has done so far.
    pub fn metrics(&self) -> ProducerMetrics {
        self.shared.metrics()
    }

    /// Takes nothing in any more, flushes, then stops every thread and waits for it.
    ///
    /// Gives what became of all records that were ever taken in, and so does closing it again. Takes a
    /// reference, so that the threads that put learn of it from their next `put`.
    ///
    /// # Errors
    /// With [`ProducerBuilder::fail_on_error`], the error of the first record that was not delivered.
    /// `Thread`: a thread of the producer died, which is a bug.
    pub fn close(&self) -> Result<Closed> {
        self.close_within(None)
    }

    /// As [`Producer::close`], but flushes no longer than `timeout` and gives up what is left.
    ///
    /// That settles as `Closed`. A call under way is waited for, up to the client's request timeout.
    ///
    /// # Errors
    /// As [`Producer::close`].
    pub fn close_timeout(&self, timeout: Duration) -> Result<Closed> {
        self.close_within(Some(timeout))
    }

    fn put_with(&self, record: UserRecord, patience: Patience) -> Result<Delivery, PutError> {
        let stream = match self.shared.front.stream(record.stream_name()) {
            Ok(stream) => stream,
            Err(error) => return Err(PutError::new(record, error, None)),
        };
        if let Err(error) = self.admit(&record, patience) {
            return Err(PutError::new(record, error, Some(&stream.name)));
        }
        let bytes = record.bytes();
        stream.put(record).map_err(|(record, error)| {
            self.shared.intake.give_back(1, bytes);
            PutError::new(record, error, Some(&stream.name))
        })
    }

    /// Lets a record in that is as it should be, once there is room.
    fn admit(&self, record: &UserRecord, patience: Patience) -> Result<()> {
        let shared = &*self.shared;
        shared.failure.check()?;
        record.check(shared.config.max_user_record_bytes)?;
        if shared.front.is_closed() {
            return Err(Error::new(ErrorKind::Closed));
        }
        let bytes = record.bytes();
        let Err(full) = shared.intake.try_take(bytes) else {
            return Ok(());
        };
        let timer = match patience {
            Patience::None => return Err(full.into()),
            Patience::For(time) => shared.clock.after(Some(time)),
            Patience::Forever => shared.clock.after(None),
        };
        let announce = || shared.front.ring();
        shared
            .intake
            .take(bytes, &timer, &self.stop.stop(), announce)
    }

    /// Gives how many records are left when the time is up.
    fn flush_within(&self, timeout: Option<Duration>) -> usize {
        self.flush_streams(&self.shared.front.streams(), timeout)
    }

    fn known(&self, stream: &str) -> Vec<Arc<Stream>> {
        self.shared.front.known(stream).into_iter().collect()
    }

    fn flush_streams(&self, streams: &[Arc<Stream>], timeout: Option<Duration>) -> usize {
        let timer = self.shared.clock.after(timeout);
        self.shared.front.flush(streams);
        let ledgers = streams.iter().map(|stream| &stream.ledger);
        let barriers: Vec<_> = ledgers.map(|one| (one, one.end_epoch())).collect();
        let mut left = 0;
        for (ledger, epoch) in barriers {
            left += match left {
                0 => ledger.wait(epoch, &timer, &self.stop.stop()),
                // The time is up already.
                _ => ledger.left(epoch),
            };
        }
        left
    }

    fn close_within(&self, timeout: Option<Duration>) -> Result<Closed> {
        self.shared.front.close();
        self.flush_within(timeout);
        self.stop.signal();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = threads.take().map_or(Ok(()), Threads::join);
        let closed = self.shared.closed();
        if closed.undelivered() > 0 {
            log::warn!("a producer was closed: {closed}");
        }
        joined
            .and_then(|()| self.shared.failure.check())
            .map(|()| closed)
    }
}

impl Drop for Producer {
    /// Gives up what is outstanding and returns at once. The threads end by themselves.
    ///
    /// Records settle as `Closed`; what was under way is [`Stored::Possibly`]. Close the producer to
    /// have them delivered.
    fn drop(&mut self) {
        let left = self.outstanding();
        if left > 0 && !self.stop.stop().is_stopped() {
            log::warn!(
                "a producer was dropped with {left} records outstanding; close it to have them delivered"
            );
        }
        self.stop.signal();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stream", &self.shared.front.default_stream())
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}
