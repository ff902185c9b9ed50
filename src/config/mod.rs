//! What can be set, as plain data. A configuration that exists is valid.

pub(crate) mod aws;
mod consumer;
mod date_pattern;
mod keys;
#[cfg(feature = "cloudwatch")]
pub(crate) mod metrics;
mod producer;
mod properties;

pub use consumer::{ConsumerConfig, ConsumerConfigBuilder, DataLoss};
pub use keys::KnownKey;
pub use producer::{Ordering, ProducerConfig, ProducerConfigBuilder, ThreadingModel};
pub use properties::Properties;
