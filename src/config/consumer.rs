use std::ops::RangeInclusive;
use std::time::Duration;

use crate::aggregation::Misplaced;
use crate::config::{Properties, keys};
use crate::error::{Error, Result};
use crate::model::StartPosition;

/// What a consumer can be told in data.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{ConsumerConfig, StartPosition};
///
/// let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon).build()?;
/// assert_eq!(config.start_position(), StartPosition::TrimHorizon);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerConfig {
    pub(crate) start_position: StartPosition,
    pub(crate) shard_discovery_interval: Duration,
    pub(crate) get_records_max: u32,
    pub(crate) get_records_interval: Duration,
    pub(crate) misplaced: Misplaced,
    pub(crate) until_caught_up: bool,
}

impl ConsumerConfig {
    /// Makes a configuration of the keys that are set, and defaults for the others.
    ///
    /// The page [`configuration`](crate::manual::configuration) has all keys.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be.
    pub fn from_properties(properties: &Properties) -> Result<ConsumerConfig> {
        ConsumerConfig::builder().properties(properties)?.build()
    }

    /// Starts from the defaults.
    pub fn builder() -> ConsumerConfigBuilder {
        ConsumerConfigBuilder {
            config: ConsumerConfig::default(),
        }
    }

    /// Returns where reading starts when no checkpoint says otherwise.
    pub fn start_position(&self) -> StartPosition {
        self.start_position
    }
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            start_position: StartPosition::Latest,
            shard_discovery_interval: Duration::from_secs(10),
            get_records_max: 10_000,
            get_records_interval: Duration::from_millis(200),
            misplaced: Misplaced::Deliver,
            until_caught_up: false,
        }
    }
}

/// Describes a [`ConsumerConfig`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ConsumerConfigBuilder {
    config: ConsumerConfig,
}

impl ConsumerConfigBuilder {
    /// Takes over every key of a consumer that is set; what is set afterwards counts above it.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be.
    pub fn properties(mut self, properties: &Properties) -> Result<ConsumerConfigBuilder> {
        self.config = keys::consumer(properties, self.config)?;
        Ok(self)
    }

    /// Sets where reading starts when no checkpoint says otherwise. Default: `Latest`.
    ///
    /// Flink's `flink.stream.initpos`.
    pub fn start_position(mut self, position: StartPosition) -> ConsumerConfigBuilder {
        self.config.start_position = position;
        self
    }

    /// Sets how often the streams' shards are listed, 100 ms to 1 day. Default: 10 s.
    ///
    /// The children of a shard that ends are looked for at once. Flink's
    /// `flink.shard.discovery.intervalmillis`.
    pub fn shard_discovery_interval(mut self, interval: Duration) -> ConsumerConfigBuilder {
        self.config.shard_discovery_interval = interval;
        self
    }

    /// Sets the most Kinesis records one GetRecords asks for, 1 to 10,000. Default: 10,000.
    ///
    /// Flink's `flink.shard.getrecords.maxrecordcount`.
    pub fn get_records_max(mut self, records: u32) -> ConsumerConfigBuilder {
        self.config.get_records_max = records;
        self
    }

    /// Sets the time from the start of one GetRecords on a shard to the start of the next, up to
    /// 1 hour. Default: 200 ms, the five calls a second that a shard allows to all its readers.
    ///
    /// Flink's `flink.shard.getrecords.intervalmillis`; source of the limit:
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
    pub fn get_records_interval(mut self, interval: Duration) -> ConsumerConfigBuilder {
        self.config.get_records_interval = interval;
        self
    }

    /// Sets what to do with user records that lie outside the shard they are read from, which a
    /// reshard brings about. Default: [`Misplaced::Deliver`], which never loses a record.
    ///
    /// Each such aggregate is told in the log, whatever the policy.
    pub fn misplaced(mut self, policy: Misplaced) -> ConsumerConfigBuilder {
        self.config.misplaced = policy;
        self
    }

    /// Ends the iteration once every shard, children included, has no more records behind that
    /// arrived before the consumer started. Default: `false`, reading goes on for ever.
    pub fn until_caught_up(mut self, yes: bool) -> ConsumerConfigBuilder {
        self.config.until_caught_up = yes;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `Config`: the first setting outside its range.
    pub fn build(self) -> Result<ConsumerConfig> {
        let config = self.config;
        check(
            "shard_discovery_interval",
            config.shard_discovery_interval,
            100..=86_400_000,
        )?;
        check(
            "get_records_interval",
            config.get_records_interval,
            0..=3_600_000,
        )?;
        if !(1..=10_000).contains(&config.get_records_max) {
            return Err(Error::config(
                "get_records_max",
                config.get_records_max.to_string(),
                "from 1 to 10000",
            ));
        }
        Ok(config)
    }
}

fn check(key: &str, value: Duration, range_ms: RangeInclusive<u128>) -> Result<()> {
    if range_ms.contains(&value.as_millis()) {
        return Ok(());
    }
    let expected = format!(
        "from {} to {} milliseconds",
        range_ms.start(),
        range_ms.end()
    );
    Err(Error::config(key, value.as_millis().to_string(), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(
            ConsumerConfig::builder().build().expect("valid"),
            ConsumerConfig::default()
        );
    }

    #[test]
    fn each_range_is_checked_at_its_ends() {
        let millis = Duration::from_millis;
        let builder = ConsumerConfig::builder;
        for (config, message) in [
            (builder().get_records_max(1), None),
            (
                builder().get_records_max(0),
                Some("get_records_max: \"0\" is not from 1 to 10000"),
            ),
            (
                builder().get_records_max(10_001),
                Some("get_records_max: \"10001\" is not from 1 to 10000"),
            ),
            (builder().shard_discovery_interval(millis(100)), None),
            (
                builder().shard_discovery_interval(millis(99)),
                Some("shard_discovery_interval: \"99\" is not from 100 to 86400000 milliseconds"),
            ),
            (builder().get_records_interval(millis(3_600_000)), None),
            (
                builder().get_records_interval(millis(3_600_001)),
                Some("get_records_interval: \"3600001\" is not from 0 to 3600000 milliseconds"),
            ),
        ] {
            assert_eq!(
                config
                    .build()
                    .err()
                    .map(|error| error.to_string())
                    .as_deref(),
                message
            );
        }
    }
}
