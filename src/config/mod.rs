//! What can be set, as plain data. A configuration that exists is valid.

mod consumer;
mod producer;

pub use consumer::{ConsumerConfig, ConsumerConfigBuilder};
pub use producer::{Ordering, ProducerConfig, ProducerConfigBuilder, ThreadingModel};
