//! What the discovery thread tells a consumer.

use std::sync::Arc;

use crate::consumer::discovery::Place;
use crate::consumer::event_time::Parents;
use crate::consumer::listing::Listed;
use crate::consumer::queue::QueueReceiver;
use crate::consumer::record::Event;
use crate::error::Error;
use crate::model::{Gap, ShardId, ShardPosition, ShardRef, Timestamp};

/// News from the discovery thread.
#[derive(Debug)]
pub(super) enum News {
    /// A shard that was not known before, and where it is to be read from.
    Known(ShardRef, Place),
    /// A shard whose thread has been started.
    Started(ShardRef, ShardPosition, QueueReceiver),
    /// All shards that a stream had at that time; all of them are known by now.
    Listed(Arc<str>, Timestamp, Arc<Listed>),
    /// A shard that ought to be listed and is not: it may have to be read.
    Awaited(ShardRef),
    /// A shard whose thread now reads the one of that name in a stream made anew.
    Moved(ShardRef),
    /// Of all shards that a stream has, those they came from.
    Lineage(Arc<str>, Arc<Vec<Parents>>),
    /// The same of a shard that no listing has shown yet.
    Born(ShardRef, Vec<ShardId>),
    /// A shard that another one of the group has read to its end, and how far its event time came.
    Left(ShardRef, Timestamp),
    /// Nothing that others of the group read can bring a shard any more.
    Complete,
    /// The children of an ended shard are known, or there will never be any.
    Settled(ShardRef),
    /// A shard that another consumer reads.
    Foreign(ShardRef),
    /// A restored shard that is gone: what is reported of it is all that will come.
    Vanished(ShardRef),
    Gap(Gap),
    /// The streams' shards cannot be listed, or can be again.
    Reported(Event),
    /// Discovery cannot go on.
    Failed(Error),
}

impl News {
    /// The stream that it is about; `None` if it is about all of them.
    pub fn stream(&self) -> Option<&Arc<str>> {
        match self {
            News::Known(shard, _)
            | News::Started(shard, ..)
            | News::Born(shard, _)
            | News::Left(shard, _)
            | News::Settled(shard)
            | News::Foreign(shard)
            | News::Vanished(shard)
            | News::Awaited(shard)
            | News::Moved(shard) => Some(&shard.stream),
            News::Gap(gap) => Some(&gap.shard.stream),
            News::Listed(stream, ..) | News::Lineage(stream, _) => Some(stream),
            News::Complete | News::Failed(_) | News::Reported(_) => None,
        }
    }
}
