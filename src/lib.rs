#![cfg_attr(feature = "fake", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "fake"),
    doc = "Amazon Kinesis Data Streams without an async runtime."
)]
#![forbid(unsafe_code)]

pub mod aggregation;
<<<<<<< HEAD
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
#[cfg(feature = "client")]
mod http;
=======
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
>>>>>>> codec
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
    Client, ClientBuilder, EntryError, GetRecordsOutput, PutRecordOutput, PutRecordsEntry,
    PutRecordsOutput, RawRecord, ShardIterator, StreamSummary,
};
#[cfg(feature = "client")]
pub use config::{
    ConsumerConfig, ConsumerConfigBuilder, ProducerConfig, ProducerConfigBuilder, ThreadingModel,
};
#[cfg(feature = "client")]
pub use consumer::{
    Checkpoint, CheckpointStore, Consumer, ConsumerBuilder, Event, FileCheckpointStore, Record,
    StopHandle,
};
#[cfg(feature = "client")]
pub use credentials::CredentialsProvider;
#[cfg(feature = "client")]
pub use error::{Error, ErrorKind, Result, TransportError};
#[cfg(feature = "client")]
pub use http::HttpTransport;
pub use model::*;
#[cfg(feature = "client")]
pub use producer::{
    Attempt, Delivered, Delivery, Producer, ProducerBuilder, PutError, RecordResult, Stored,
    Undelivered, UserRecord,
};
#[cfg(feature = "client")]
pub use retry::RetryPolicy;
#[cfg(feature = "client")]
pub use sign::Credentials;
