//! The schema of an aggregate as `prost` messages, for who needs more of it than user records.
//!
//! The codec of this crate does not use them: it writes and reads the same bytes in a fraction of the
//! time, and refuses messages without their `required` fields, which `prost` fills with zeros. They
//! are the second implementation that the codec is tested against.
//!
//! Source: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

use std::fmt;

use bytes::Bytes;

/// The message between an aggregate's magic and its MD5.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct AggregatedRecord {
    /// The distinct partition keys in order of first use.
    #[prost(string, repeated, tag = "1")]
    pub partition_key_table: Vec<String>,
    /// The distinct explicit hash keys in order of first use, as decimal text.
    #[prost(string, repeated, tag = "2")]
    pub explicit_hash_key_table: Vec<String>,
    /// The user records; their position is the sub-sequence number.
    #[prost(message, repeated, tag = "3")]
    pub records: Vec<Record>,
}

/// Shows how many keys and user records there are: what they are belongs to the user.
impl fmt::Debug for AggregatedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explicit_hash_keys = self.explicit_hash_key_table.len();
        f.debug_struct("AggregatedRecord")
            .field("partition_keys", &self.partition_key_table.len())
            .field("explicit_hash_keys", &explicit_hash_keys)
            .field("records", &self.records)
            .finish()
    }
}

/// A user record, its keys as indices into the tables.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Record {
    /// Which entry of the partition key table is the record's.
    #[prost(uint64, required, tag = "1")]
    pub partition_key_index: u64,
    /// Which entry of the explicit hash key table is the record's, if it was put with one.
    #[prost(uint64, optional, tag = "2")]
    pub explicit_hash_key_index: Option<u64>,
    /// What was put.
    #[prost(bytes = "bytes", required, tag = "3")]
    pub data: Bytes,
    /// Never written by the KPL and never read by the KCL.
    #[prost(message, repeated, tag = "4")]
    pub tags: Vec<Tag>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("partition_key_index", &self.partition_key_index)
            .field("explicit_hash_key_index", &self.explicit_hash_key_index)
            .field("data_len", &self.data.len())
            .field("tags", &self.tags.len())
            .finish()
    }
}

/// A name, with a value if need be, that a user record carries.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Tag {
    /// The name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// The value, if any.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// Shows lengths only.
impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tag")
            .field("key_len", &self.key.len())
            .field("value_len", &self.value.as_ref().map(String::len))
            .finish()
    }
}
