use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{
    HashKey, HashKeyRange, PartitionKey, SequenceNumber, ShardId, ShardRef, Timestamp,
};

/// A place in a shard from which records can be read, good for five minutes.
#[derive(Clone)]
pub struct ShardIterator {
    pub(super) shard: ShardRef,
    pub(super) token: String,
}

impl ShardIterator {
    /// Returns the shard it reads.
    pub fn shard(&self) -> &ShardRef {
        &self.shard
    }

    #[cfg(test)]
    pub(crate) fn for_tests(shard: ShardRef) -> ShardIterator {
        ShardIterator {
            shard,
            token: String::new(),
        }
    }
}

/// Shows the token's length only.
impl fmt::Debug for ShardIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardIterator")
            .field("shard", &self.shard)
            .field("token_len", &self.token.len())
            .finish()
    }
}

/// What GetRecords answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GetRecordsOutput {
    /// The records, oldest first. May be empty although more are ahead.
    pub records: Vec<RawRecord>,
    /// Where to read on; `None` at the end of a closed shard.
    pub next: Option<ShardIterator>,
    /// How far behind the shard's newest record the answer ends, in milliseconds.
    pub millis_behind_latest: Option<u64>,
    /// The shards that take over at the end of a closed shard; empty where the endpoint says nothing.
    pub child_shards: Vec<ChildShard>,
}

impl GetRecordsOutput {
    /// Says whether nothing is in the answer and nothing ahead of it.
    pub(crate) fn is_at_tip(&self) -> bool {
        self.records.is_empty() && self.millis_behind_latest.unwrap_or(0) == 0
    }
}

/// A shard that takes over from one or two others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildShard {
    /// The shard's name within its stream.
    pub id: ShardId,
    /// The shards that it takes over from: one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys whose records the shard takes.
    pub hash_key_range: HashKeyRange,
}

/// A Kinesis record as it is stored: one user record, or an aggregate of many.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawRecord {
    /// The payload: a slice of the whole answer's payloads.
    pub data: Bytes,
    /// The partition key it was put with.
    pub partition_key: PartitionKey,
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
    /// When the service took it in; the epoch where the endpoint says nothing.
    pub approximate_arrival: Timestamp,
}

/// Shows everything but the key and the data, which belong to the user.
impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRecord")
            .field("sequence_number", &self.sequence_number)
            .field("approximate_arrival", &self.approximate_arrival)
            .field("partition_key_len", &self.partition_key.len())
            .field("data_len", &self.data.len())
            .finish()
    }
}

/// A Kinesis record to put.
#[derive(Clone, PartialEq, Eq)]
pub struct PutRecordsEntry {
    /// The payload.
    pub data: Bytes,
    /// Decides the shard by its MD5: 1 to 256 characters. Empty for none, which a stream takes whose
    /// record distribution strategy is [`Auto`](RecordDistributionStrategy::Auto).
    pub partition_key: Arc<str>,
    /// Decides the shard in place of the partition key.
    pub explicit_hash_key: Option<HashKey>,
}

/// Shows everything but the key and the data, which belong to the user.
impl fmt::Debug for PutRecordsEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRecordsEntry")
            .field("partition_key_len", &self.partition_key.len())
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_len", &self.data.len())
            .finish()
    }
}

/// Where a record was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutRecordOutput {
    /// The shard that took it.
    pub shard_id: ShardId,
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
}

/// What PutRecords answered: a result for each entry, in the entries' order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutRecordsOutput {
    /// Stored, or why not.
    pub records: Vec<Result<PutRecordOutput, EntryError>>,
}

/// Why one entry of PutRecords was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryError {
    /// The error's name, such as `ProvisionedThroughputExceededException`.
    pub code: String,
    /// The service's own words.
    pub message: String,
}

/// What DescribeStreamSummary answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSummary {
    /// The stream's Amazon resource name.
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `UPDATING` or `DELETING`.
    pub status: String,
    /// How many shards take records.
    pub open_shards: u32,
    /// How long records are kept.
    pub retention: Duration,
    /// Who decides on the shards of records; `None` where the endpoint does not say.
    pub record_distribution_strategy: Option<RecordDistributionStrategy>,
}

/// Who decides on the shard of a record that is put.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/service-managed-record-distribution.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordDistributionStrategy {
    /// `AUTO`: the service, which ignores partition keys and explicit hash keys.
    Auto,
    /// `USER_PARTITION_KEY`, the default: the record's explicit hash key, or else its partition key.
    UserPartitionKey,
}

impl RecordDistributionStrategy {
    /// Reads the name that AWS uses.
    pub(crate) fn named(name: &str) -> Option<RecordDistributionStrategy> {
        let all = [Self::Auto, Self::UserPartitionKey];
        all.into_iter().find(|strategy| strategy.as_str() == name)
    }

    /// Returns the name as AWS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordDistributionStrategy::Auto => "AUTO",
            RecordDistributionStrategy::UserPartitionKey => "USER_PARTITION_KEY",
        }
    }
}
