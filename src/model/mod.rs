//! The nouns: values and arithmetic that every other room is built on.

#[cfg(feature = "client")]
mod bytes;
#[cfg(feature = "client")]
mod escape;
#[cfg(feature = "client")]
mod gap;
mod hash_key;
#[cfg(feature = "client")]
mod operation;
#[cfg(feature = "client")]
mod partition;
#[cfg(feature = "client")]
mod partition_key;
#[cfg(feature = "client")]
mod position;
#[cfg(feature = "client")]
mod redact;
#[cfg(feature = "client")]
mod sequence_number;
#[cfg(feature = "client")]
mod shard;
#[cfg(feature = "client")]
mod shard_map;
#[cfg(feature = "client")]
mod timestamp;

#[cfg(feature = "client")]
pub(crate) use bytes::all;
#[cfg(feature = "client")]
pub(crate) use escape::{Escaped, Escaping, is_misleading};
#[cfg(feature = "client")]
pub use gap::{Gap, GapCause};
pub use hash_key::{HashKey, HashKeyRange, ParseHashKeyError};
#[cfg(feature = "client")]
pub use operation::Operation;
#[cfg(feature = "client")]
pub(crate) use partition::{Variant, endpoint, is_public_host};
#[cfg(feature = "client")]
pub use partition_key::PartitionKey;
#[cfg(feature = "client")]
pub use position::{ShardPosition, StartPosition};
#[cfg(feature = "client")]
pub(crate) use redact::without_password;
#[cfg(feature = "client")]
pub use sequence_number::{ParseSequenceNumberError, SequenceNumber};
#[cfg(feature = "client")]
pub(crate) use shard::stream_name;
#[cfg(feature = "client")]
pub use shard::{Shard, ShardId, ShardRef};
#[cfg(feature = "client")]
pub use shard_map::ShardMap;
#[cfg(feature = "client")]
pub use timestamp::Timestamp;
