use std::fmt;
use std::sync::Arc;

use crate::model::{Escaped, HashKeyRange, SequenceNumber};

/// A shard's name within its stream, such as `shardId-000000000007`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// Returns the name as the service wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for ShardId {
    fn from(name: T) -> ShardId {
        ShardId(name.into())
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.0))
    }
}

/// Shows control and direction-changing characters as escapes; [`as_str`](ShardId::as_str) gives the
/// name itself.
impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.0))
    }
}

/// A shard of a stream: what a position, a record and an error belong to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardRef {
    /// The stream, as the consumer was told it: its name or its ARN.
    pub stream: Arc<str>,
    /// The shard's name within the stream.
    pub shard_id: ShardId,
}

impl ShardRef {
    /// Names a shard of a stream.
    pub fn new(stream: impl Into<Arc<str>>, shard_id: impl Into<ShardId>) -> ShardRef {
        ShardRef {
            stream: stream.into(),
            shard_id: shard_id.into(),
        }
    }

    /// Returns the stream's name, also where it was named by its ARN.
    pub fn stream_name(&self) -> &str {
        stream_name(&self.stream)
    }
}

/// The name in `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME`, or the name itself.
pub(crate) fn stream_name(stream: &str) -> &str {
    let arn = stream.starts_with("arn:");
    let tail = stream.rsplit_once('/').filter(|_| arn);
    tail.map_or(stream, |(_, name)| name)
}

impl fmt::Display for ShardRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = Escaped(&self.stream);
        write!(f, "stream {stream}, shard {}", self.shard_id)
    }
}

/// What ListShards says of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// The shard's name within its stream.
    pub id: ShardId,
    /// The hash keys whose records the shard takes.
    pub hash_key_range: HashKeyRange,
    /// The shard it was split from, or the first of the two it was merged from.
    pub parent: Option<ShardId>,
    /// The second of the two shards it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// Where the shard's records begin.
    pub starting_sequence_number: SequenceNumber,
    /// Where they end; `None` while the shard is open and takes records.
    pub ending_sequence_number: Option<SequenceNumber>,
}

impl Shard {
    /// Describes an open shard without parents.
    pub fn new(id: impl Into<ShardId>, range: HashKeyRange, starting: SequenceNumber) -> Shard {
        Shard {
            id: id.into(),
            hash_key_range: range,
            parent: None,
            adjacent_parent: None,
            starting_sequence_number: starting,
            ending_sequence_number: None,
        }
    }

    /// Says whether the shard still takes records.
    pub fn is_open(&self) -> bool {
        self.ending_sequence_number.is_none()
    }

    /// Iterates over the shards it came from: none, one after a split, two after a merge.
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        self.parent.iter().chain(&self.adjacent_parent)
    }
}
