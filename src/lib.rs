// The first definition of a link counts: here README's links lead to pages, and elsewhere to files.
#![cfg_attr(feature = "fake", doc = include_str!("manual_links.md"))]
#![cfg_attr(feature = "client", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "client"),
    doc = "The aggregation format of the Kinesis Producer Library, and the nouns it needs."
)]
#![forbid(unsafe_code)]

pub mod aggregation;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod config;
#[cfg(feature = "client")]
mod consumer;
#[cfg(feature = "client")]
pub mod credentials;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "client")]
mod http;
#[cfg(feature = "client")]
pub mod manual;
mod model;
#[cfg(feature = "client")]
mod producer;
#[cfg(feature = "client")]
mod retry;
#[cfg(feature = "client")]
mod sign;
#[cfg(feature = "client")]
mod sys;

pub use aggregation::Misplaced;
#[cfg(feature = "client")]
pub use client::{
    ChildShard, Client, ClientBuilder, EntryError, GetRecordsOutput, PutRecordOutput,
    PutRecordsEntry, PutRecordsOutput, RawRecord, RecordDistributionStrategy, ShardFilter,
    ShardIterator, StreamSummary,
};
#[cfg(feature = "cloudwatch")]
pub use config::metrics::{MetricsGranularity, MetricsLevel};
#[cfg(feature = "client")]
pub use config::{
    ConsumerConfig, ConsumerConfigBuilder, DataLoss, KnownKey, Ordering, ProducerConfig,
    ProducerConfigBuilder, Properties, ThreadingModel,
};
#[cfg(feature = "client")]
pub use consumer::{
    Bounded, BoundedOutOfOrderness, Checkpoint, CheckpointStore, Commit, CommitMetrics, Consumer,
    ConsumerBuilder, ConsumerMetrics, DeadLetterHandler, DirectoryWatermarkTracker,
    DiscoveryMetrics, Event, EventTimeMetrics, FileCheckpointStore, FlinkHashAssigner, Marked,
    MemoryCheckpointStore, MemoryWatermarkTracker, MonotonousTimestamps, Outage, PoisonPolicy,
    Punctuated, ReadCounts, Record, ShardAssigner, ShardMetrics, StopHandle, UniformAssigner,
    WatermarkGenerator, WatermarkReport, WatermarkStrategy, WatermarkTracker,
};
#[cfg(feature = "client")]
pub use credentials::CredentialsProvider;
#[cfg(feature = "client")]
pub use error::{Error, ErrorKind, Result, TransportError};
#[cfg(feature = "client")]
pub use http::HttpTransport;
pub use model::*;
#[cfg(feature = "cloudwatch")]
pub use producer::CloudWatch;
#[cfg(feature = "client")]
pub use producer::{
    Attempt, Closed, Delivered, Delivery, FixedPartitioner, Measures, Partitioner, Percentiles,
    Producer, ProducerBuilder, ProducerMetrics, PutError, RandomPartitioner, RecordResult,
    Serializer, Stored, StreamMetrics, Summary, TimePercentiles, TypedProducer, Undelivered,
    UserRecord,
};
#[cfg(feature = "client")]
pub use retry::RetryPolicy;
#[cfg(feature = "client")]
pub use sign::Credentials;
