//! What can be set, as plain data. A configuration that exists is valid.

mod consumer;

pub use consumer::{ConsumerConfig, ConsumerConfigBuilder};
