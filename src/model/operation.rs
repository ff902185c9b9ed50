use std::fmt;

/// A call of the Kinesis API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Makes a stream.
    CreateStream,
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
    /// Puts up to 500 records.
    PutRecords,
    /// Makes two shards of one.
    SplitShard,
}

impl Operation {
    /// Every operation this crate calls.
    pub const ALL: [Operation; 8] = [
        Operation::CreateStream,
        Operation::DescribeStreamSummary,
        Operation::GetRecords,
        Operation::GetShardIterator,
        Operation::ListShards,
        Operation::MergeShards,
        Operation::PutRecords,
        Operation::SplitShard,
    ];

    /// Returns the name as AWS writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::CreateStream => "CreateStream",
            Operation::DescribeStreamSummary => "DescribeStreamSummary",
            Operation::GetRecords => "GetRecords",
            Operation::GetShardIterator => "GetShardIterator",
            Operation::ListShards => "ListShards",
            Operation::MergeShards => "MergeShards",
            Operation::PutRecords => "PutRecords",
            Operation::SplitShard => "SplitShard",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
