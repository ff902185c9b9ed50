//! What can be set: plain data. A setting that exists is valid.

mod producer;

pub use producer::{ProducerConfig, ProducerConfigBuilder, ThreadingModel};
