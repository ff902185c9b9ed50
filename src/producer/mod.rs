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
mod distribution;
mod existence;
mod front;
mod group;
mod histogram;
#[cfg(test)]
mod independence;
mod intake;
mod job;
#[cfg(test)]
mod judged;
mod kinesis_record;
mod ledger;
mod limiter;
mod listing;
mod metrics;
mod monitor;
mod own_thread;
mod pipeline;
mod placement;
mod record;
#[cfg(test)]
mod refused_calls;
mod report;
mod retrier;
mod sender_division;
mod shared;
mod shares;
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
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use front::Stream;
use ledger::Barrier;
use shared::Shared;
use threads::Threads;

use crate::sys::clock::{Timer, later};
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
    threads: Threads,
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
    /// Puts of one stream get room in the order in which they came. A stream that takes nothing for a
    /// while holds only its own back: see [`queue_limit`](crate::ProducerConfigBuilder::queue_limit). On a thread of the
    /// producer itself, in a callback or a logger, this is [`Producer::try_put`], which never blocks.
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
    /// `Closed`: the producer was closed, and gave up a record that was put before this was called.
    /// `OwnThread`: called in a callback or a logger on a thread of the producer, for which it would wait.
    pub fn flush(&self) -> Result<()> {
        self.flush_streams(&self.shared.front.streams(), None, "flush")
            .map(drop)
    }

    /// As [`Producer::flush`], but no longer than `timeout`; gives how many records are not settled.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_timeout(&self, timeout: Duration) -> Result<usize> {
        let streams = self.shared.front.streams();
        self.flush_streams(&streams, Some(timeout), "flush_timeout")
    }

    /// As [`Producer::flush`], for the records of one stream, named as they name it.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_stream(&self, stream: &str) -> Result<()> {
        self.flush_streams(&self.known(stream), None, "flush_stream")
            .map(drop)
    }

    /// As [`Producer::flush_stream`], but no longer than `timeout`; gives how many of the stream's
    /// records are not settled.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub fn flush_stream_timeout(&self, stream: &str, timeout: Duration) -> Result<usize> {
        let streams = self.known(stream);
        self.flush_streams(&streams, Some(timeout), "flush_stream_timeout")
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
    /// `Thread`: a thread of the producer died, which is a bug. `OwnThread`: called in a callback or a
    /// logger on a thread of the producer, for which it would wait.
    pub fn close(&self) -> Result<Closed> {
        self.close_within(None, "close")
    }

    /// As [`Producer::close`], but flushes no longer than `timeout` and gives up what is left.
    ///
    /// Records that are left settle as `Closed`. Returns within `timeout` and 100 ms more, whatever a
    /// call under way or a callback does: their threads then end by themselves, and results that
    /// were not reported yet still are.
    ///
    /// # Errors
    /// As [`Producer::close`].
    pub fn close_timeout(&self, timeout: Duration) -> Result<Closed> {
        self.close_within(Some(timeout), "close_timeout")
    }

    fn put_with(&self, record: UserRecord, patience: Patience) -> Result<Delivery, PutError> {
        let stream = match self.shared.front.stream(record.stream_name()) {
            Ok(stream) => stream,
            Err(error) => return Err(PutError::new(record, error, None)),
        };
        if let Err(error) = self.admit(&stream, &record, patience) {
            return Err(PutError::new(record, error, Some(&stream.name)));
        }
        let bytes = record.bytes();
        stream.put(record).map_err(|(record, error)| {
            let room = (stream.ledger.account(), 1, bytes);
            self.shared.intake.give_back([room]);
            PutError::new(record, error, Some(&stream.name))
        })
    }

    /// Lets a record in that is as it should be, once there is room.
    fn admit(&self, stream: &Stream, record: &UserRecord, patience: Patience) -> Result<()> {
        let shared = &*self.shared;
        shared.failure.check()?;
        record.check(shared.config.max_user_record_bytes)?;
        if shared.front.is_closed() {
            return Err(Error::new(ErrorKind::Closed));
        }
        let (account, bytes) = (stream.ledger.account(), record.bytes());
        let Err(full) = shared.intake.try_take(account, bytes) else {
            return Ok(());
        };
        let timer = match patience {
            Patience::None => return Err(full.into()),
            // The room may be what this very thread is to free.
            _ if !own_thread::may_wait_for(shared.id) => return Err(full.into()),
            Patience::For(time) => shared.clock.after(Some(time)),
            Patience::Forever => shared.clock.after(None),
        };
        let announce = || shared.front.ring();
        shared
            .intake
            .take(account, bytes, &timer, &self.stop.stop(), announce)
    }

    fn known(&self, stream: &str) -> Vec<Arc<Stream>> {
        self.shared.front.known(stream).into_iter().collect()
    }

    /// Gives how many records are left when the time is up.
    fn flush_streams(
        &self,
        streams: &[Arc<Stream>],
        timeout: Option<Duration>,
        call: &'static str,
    ) -> Result<usize> {
        own_thread::check(self.shared.id, call)?;
        let timer = self.shared.clock.after(timeout);
        let barriers = self.send_off(streams);
        let left = self.await_settled(streams, &barriers, &timer);
        if self.stop.stop_ref().is_stopped() {
            // What was given up is known when the pipeline has ended, which takes no time.
            self.threads.await_settled();
        }
        self.shared.failure.check()?;
        let overtaken =
            |(stream, barrier): (&Arc<Stream>, &Barrier)| stream.ledger.is_overtaken(*barrier);
        match streams.iter().zip(&barriers).any(overtaken) {
            true => Err(Error::new(ErrorKind::Closed)),
            false => Ok(left),
        }
    }

    /// Has everything sent that was taken in; gives what to wait for.
    fn send_off(&self, streams: &[Arc<Stream>]) -> Vec<Barrier> {
        self.shared.front.flush(streams);
        let barriers = streams.iter().map(|stream| stream.ledger.end_epoch());
        barriers.collect()
    }

    fn await_settled(&self, streams: &[Arc<Stream>], barriers: &[Barrier], timer: &Timer) -> usize {
        let mut left = 0;
        for (stream, barrier) in streams.iter().zip(barriers) {
            left += match left {
                0 => stream.ledger.wait(*barrier, timer, self.stop.stop_ref()),
                // The time is up already.
                _ => stream.ledger.left(*barrier),
            };
        }
        left
    }

    fn close_within(&self, timeout: Option<Duration>, call: &'static str) -> Result<Closed> {
        own_thread::check(self.shared.id, call)?;
        let clock = &self.shared.clock;
        let until = timeout.map(|timeout| later(clock.now(), timeout));
        self.shared.front.close();
        let streams = self.shared.front.streams();
        let barriers = self.send_off(&streams);
        self.await_settled(&streams, &barriers, &clock.until(until));
        self.stop.signal();
        self.threads.await_settled();
        // A callback that is about to return may do so.
        let until = until.map(|until| later(until.max(clock.now()), GRACE));
        let joined = self.threads.join(&clock.until(until));
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

/// How long a close with a timeout waits for threads beyond it.
const GRACE: Duration = Duration::from_millis(50);

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stream", &self.shared.front.default_stream())
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}
