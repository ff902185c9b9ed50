use crate::model::{SequenceNumber, Timestamp};

/// Where reading of a stream starts when no checkpoint says otherwise.
///
/// Flink's `flink.stream.initpos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartPosition {
    /// After the newest record; what is put once `start` has returned arrives.
    #[default]
    Latest,
    /// At the oldest record that the stream still keeps when the shard is first read. What is put
    /// after `start` has returned arrives, or is told to be lost.
    TrimHorizon,
    /// At the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

/// How far one shard has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardPosition {
    /// Nothing of the shard has been handed out yet.
    Start(StartPosition),
    /// Everything up to and with this user record has been handed out.
    After {
        /// The Kinesis record.
        sequence_number: SequenceNumber,
        /// The user record's place in its aggregate; `None` stands for the whole Kinesis record.
        sub_sequence_number: Option<u64>,
    },
    /// The shard was closed by a split or a merge, and every record of it has been handed out.
    ShardEnd,
}
