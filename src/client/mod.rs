//! The typed service: one method an operation, one way for all of them.

mod answers;
mod builder;
mod call;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod listing;
mod maps;
#[cfg(feature = "cloudwatch")]
mod neighbour;
mod permits;
mod service_time;
mod watch;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Uri;

use crate::config::Properties;
use crate::credentials::{Cached, CredentialsProvider};
use crate::error::{Error, Result};
use crate::http::HttpTransport;
use crate::model::{HashKey, Operation, ShardId, ShardPosition, ShardRef, Timestamp};
use crate::retry::RetryPolicy;
use crate::sign::{Signer, SigningClock};
use crate::sys::Sys;
use crate::sys::buffers::Buffers;
use crate::sys::rng::Rng;
use crate::sys::stop::Stop;

pub use answers::{
    ChildShard, EntryError, GetRecordsOutput, PutRecordOutput, PutRecordsEntry, PutRecordsOutput,
    RawRecord, RecordDistributionStrategy, ShardIterator, StreamSummary,
};
pub use builder::ClientBuilder;
pub use listing::ShardFilter;
pub(crate) use maps::Listed;
pub(crate) use service_time::ServerTime;
pub(crate) use watch::Watch;

/// A Kinesis endpoint and the right to use it.
///
/// A stream is named by its name or by its ARN, everywhere. The region is the client's, even for an
/// ARN of another one: see [`ClientBuilder::region_of`].
///
/// Clones share connections, of which there are [no more](ClientBuilder::max_connections) than calls may
/// be under way at once. Every call blocks until it is answered, or until its
/// [retries](RetryPolicy) or its [time](ClientBuilder::call_timeout) are used up. A clock of this
/// machine that is wrong is corrected by the service's, once it refuses a call because of it.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
///
/// // Against AWS: `Client::builder().region("us-east-1").build()?`
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// assert_eq!(client.list_shards("orders")?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    policies: Arc<[RetryPolicy; Operation::ALL.len()]>,
    stop: Stop,
    watch: Option<Arc<dyn Watch>>,
}

/// What every clone of a client uses.
struct Shared {
    transport: Arc<dyn HttpTransport>,
    credentials: Cached<Box<dyn CredentialsProvider>>,
    endpoint: Uri,
    region: String,
    signer: Signer,
    request_timeout: Duration,
    call_timeout: Duration,
    service_time: service_time::ServiceTime,
    signing_clock: Arc<SigningClock>,
    jitter: Mutex<Rng>,
    maps: maps::Maps,
    permits: permits::Permits,
    buffers: Buffers,
    sys: Sys,
}

impl Client {
    /// Starts the description of a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new(Sys::real())
    }

    /// Makes a client of what properties say: region, endpoint, credentials, patience.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be, and what
    /// [`ClientBuilder::build`] finds.
    pub fn from_properties(properties: &Properties) -> Result<Client> {
        Client::builder().properties(properties)?.build()
    }

    /// The same client, with another patience for one operation.
    pub fn with_retry(&self, operation: Operation, policy: RetryPolicy) -> Client {
        let mut policies = (*self.policies).clone();
        policies[operation as usize] = policy;
        Client {
            policies: policies.into(),
            ..self.clone()
        }
    }

    /// The same client, whose waits end when told to stop.
    pub(crate) fn with_stop(&self, stop: Stop) -> Client {
        Client {
            stop,
            ..self.clone()
        }
    }

    /// The same client, whose attempts are told to `watch`.
    pub(crate) fn with_watch(&self, watch: Arc<dyn Watch>) -> Client {
        Client {
            watch: Some(watch),
            ..self.clone()
        }
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn sys(&self) -> &Sys {
        &self.shared.sys
    }

    pub(crate) fn policy(&self, operation: Operation) -> &RetryPolicy {
        &self.policies[operation as usize]
    }

    /// The service's time of day by its last answer, and not later. This machine's, where no answer has
    /// told it.
    pub(crate) fn server_time(&self) -> Timestamp {
        let (time, clock) = (&self.shared.service_time, &self.shared.sys.clock);
        let known = time.earliest(clock.now());
        known.unwrap_or_else(|| clock.wall())
    }

    /// The service's time of day by its last answer, and not earlier, unless the process was suspended
    /// since. Where that would matter, the time of an answer itself has to be used.
    pub(crate) fn server_time_at_most(&self) -> Timestamp {
        let (time, clock) = (&self.shared.service_time, &self.shared.sys.clock);
        let known = time.latest(clock.now());
        known.unwrap_or_else(|| clock.wall())
    }

    /// Both, for those who need either.
    pub(crate) fn server_now(&self) -> ServerTime {
        ServerTime {
            earliest: self.server_time(),
            latest: self.server_time_at_most(),
        }
    }

    /// The service's time of day at `begun`, and not later, as the answers since then have told it.
    ///
    /// To be asked once a call that began then has been answered: before, only what an earlier answer
    /// said is known, and the process may have been suspended since.
    pub(crate) fn server_time_since(&self, begun: Instant) -> Timestamp {
        let now = self.shared.sys.clock.now();
        let passed = now.saturating_duration_since(begun);
        self.server_time().saturating_sub(passed)
    }

    /// Turns a position in a shard into an iterator, which lives for five minutes.
    ///
    /// Inside an aggregate it starts at the aggregate, so that the rest of it can be read again.
    /// `None` means that nothing can follow: the shard is closed and the position is its end.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
    ///
    /// # Errors
    /// `Service`, `Transport`; `Config` for [`ShardPosition::ShardEnd`], which nothing follows.
    pub fn get_shard_iterator(
        &self,
        shard: &ShardRef,
        position: &ShardPosition,
    ) -> Result<Option<ShardIterator>> {
        self.call(&wire::GetShardIterator::new(shard, position)?)
    }

    /// Reads up to `limit` records (1 to 10,000) behind an iterator, at most 10 MiB.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
    ///
    /// # Errors
    /// `Service`, with `ExpiredIteratorException` after five minutes; `Transport`.
    pub fn get_records(&self, iterator: &ShardIterator, limit: u32) -> Result<GetRecordsOutput> {
        self.call(&wire::GetRecords {
            iterator,
            limit,
            is_shortened: false,
        })
    }

    /// The same, and when the service read the shard. After a time-out it is not repeated: it is for the
    /// caller to ask for less.
    pub(crate) fn get_records_timed(
        &self,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<(GetRecordsOutput, ServerTime)> {
        self.call_timed(&wire::GetRecords {
            iterator,
            limit,
            is_shortened: true,
        })
    }

    /// Puts one record. The default [`RetryPolicy`] does not repeat the call: the record could be
    /// stored twice.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>
    ///
    /// # Errors
    /// `Service`: this attempt did not store it, unless the status is 500 or above. `Transport`: it may
    /// be stored all the same, unless [`TransportError::may_have_been_sent`] says no. With a retry
    /// policy of your own the error is that of the last attempt, and an earlier one may have stored it.
    ///
    /// [`TransportError::may_have_been_sent`]: crate::TransportError::may_have_been_sent
    pub fn put_record(&self, stream: &str, entry: &PutRecordsEntry) -> Result<PutRecordOutput> {
        self.call(&wire::PutRecord { stream, entry })
    }

    /// Puts up to 500 records in one call. The default [`RetryPolicy`] does not repeat the call: the
    /// records could be stored twice.
    ///
    /// `Ok` says that the call was answered; each entry still has its own result. A
    /// [`Producer`](crate::Producer) makes each of its calls once, whatever policy the client has.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
    ///
    /// # Errors
    /// `Service`: this attempt stored no entry, unless the status is 500 or above. `Transport`: entries
    /// may be stored all the same, unless [`TransportError::may_have_been_sent`] says no. With a retry
    /// policy of your own the error is that of the last attempt, and an earlier one may have stored
    /// entries.
    ///
    /// [`TransportError::may_have_been_sent`]: crate::TransportError::may_have_been_sent
    pub fn put_records(
        &self,
        stream: &str,
        entries: &[PutRecordsEntry],
    ) -> Result<PutRecordsOutput> {
        self.call(&wire::PutRecords { stream, entries })
    }

    /// Says what state a stream is in.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>
    ///
    /// # Errors
    /// `Service`, `Transport`.
    pub fn describe_stream_summary(&self, stream: &str) -> Result<StreamSummary> {
        self.call(&wire::DescribeStreamSummary { stream })
    }

    /// Makes a stream; it takes records once its status is `ACTIVE`.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>
    ///
    /// # Errors
    /// `Service`, `Transport`; `Config` for an ARN: the service makes up that of a new stream.
    pub fn create_stream(&self, stream: &str, shards: u32) -> Result<()> {
        if stream.starts_with("arn:") {
            return Err(Error::config("stream", stream, "the name of a new stream"));
        }
        self.call(&wire::CreateStream { stream, shards })
    }

    /// Deletes a stream with all that is in it; the service takes a while.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DeleteStream.html>
    ///
    /// # Errors
    /// `Service`, `Transport`.
    pub fn delete_stream(&self, stream: &str) -> Result<()> {
        self.call(&wire::DeleteStream { stream })
    }

    /// Splits and merges a stream's shards until `target` of them are open; that takes a while.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html>
    ///
    /// # Errors
    /// `Service`: less than half or more than double the shards, say; `Transport`.
    pub fn update_shard_count(&self, stream: &str, target: u32) -> Result<()> {
        self.call(&wire::UpdateShardCount { stream, target })
    }

    /// Closes a shard and opens two in its place, the upper of which starts at `at`.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html>
    ///
    /// # Errors
    /// `Service`, `Transport`.
    pub fn split_shard(&self, shard: &ShardRef, at: HashKey) -> Result<()> {
        self.call(&wire::SplitShard { shard, at })
    }

    /// Closes two neighbouring shards and opens one in their place.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html>
    ///
    /// # Errors
    /// `Service`, `Transport`.
    pub fn merge_shards(&self, shard: &ShardRef, adjacent: &ShardId) -> Result<()> {
        self.call(&wire::MergeShards { shard, adjacent })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared {
            endpoint, region, ..
        } = &*self.shared;
        f.debug_struct("Client")
            .field("endpoint", endpoint)
            .field("region", region)
            .finish_non_exhaustive()
    }
}
