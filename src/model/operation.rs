use std::fmt;

/// A call of the Kinesis API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Makes a stream.
    CreateStream,
    /// Deletes a stream with all that is in it.
    DeleteStream,
    /// Says what state a stream is in.
    DescribeStreamSummary,
    /// Reads records behind a shard iterator.
    GetRecords,
    /// Turns a position in a shard into a shard iterator.
    GetShardIterator,
    /// Lists a stream's shards.
    ListShards,
    /// Makes one shard of two neighbours.
    MergeShards,
    /// Puts one record.
    PutRecord,
    /// Puts up to 500 records.
    PutRecords,
    /// Makes two shards of one.
    SplitShard,
    /// Splits and merges shards until there are as many as asked for.
    UpdateShardCount,
}

impl Operation {
    /// Every operation this crate calls.
    pub const ALL: [Operation; 11] = [
        Operation::CreateStream,
        Operation::DeleteStream,
        Operation::DescribeStreamSummary,
        Operation::GetRecords,
        Operation::GetShardIterator,
        Operation::ListShards,
        Operation::MergeShards,
        Operation::PutRecord,
        Operation::PutRecords,
        Operation::SplitShard,
        Operation::UpdateShardCount,
    ];

    /// Returns the name as AWS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::CreateStream => "CreateStream",
            Operation::DeleteStream => "DeleteStream",
            Operation::DescribeStreamSummary => "DescribeStreamSummary",
            Operation::GetRecords => "GetRecords",
            Operation::GetShardIterator => "GetShardIterator",
            Operation::ListShards => "ListShards",
            Operation::MergeShards => "MergeShards",
            Operation::PutRecord => "PutRecord",
            Operation::PutRecords => "PutRecords",
            Operation::SplitShard => "SplitShard",
            Operation::UpdateShardCount => "UpdateShardCount",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
