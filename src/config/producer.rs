use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

#[cfg(feature = "cloudwatch")]
use crate::config::metrics::MetricsUpload;
use crate::config::{Properties, keys};
use crate::error::{Error, Result};

/// What a producer can be told in data: the KPL's settings, with Flink's defaults.
///
/// ```
/// use std::time::Duration;
/// use kinesis_blocking::ProducerConfig;
///
/// let config = ProducerConfig::builder()
///     .record_max_buffered_time(Duration::from_millis(20))
///     .queue_limit(10_000)
///     .build()?;
/// # drop(config);
/// # Ok::<(), kinesis_blocking::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ProducerConfig {
    pub(crate) aggregation: bool,
    pub(crate) aggregation_under_auto: bool,
    pub(crate) aggregation_max_bytes: usize,
    pub(crate) aggregation_max_count: u64,
    pub(crate) collection_max_bytes: usize,
    pub(crate) collection_max_count: usize,
    pub(crate) fail_if_throttled: bool,
    pub(crate) max_user_record_bytes: usize,
    /// As the keys have it; what the builder of a producer is told counts above it.
    #[cfg(feature = "cloudwatch")]
    pub(crate) metrics_upload: Option<MetricsUpload>,
    pub(crate) ordering: Ordering,
    /// `None` for the default, which depends on aggregation.
    queue_limit: Option<usize>,
    pub(crate) queue_limit_bytes: usize,
    pub(crate) rate_limit_percent: u32,
    pub(crate) record_max_buffered_time: Duration,
    pub(crate) record_ttl: Duration,
    pub(crate) threading_model: ThreadingModel,
}

impl ProducerConfig {
    /// Makes a configuration of the keys that are set, and defaults for the others.
    ///
    /// The page [`configuration`](crate::manual::configuration) has all keys.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be.
    pub fn from_properties(properties: &Properties) -> Result<ProducerConfig> {
        ProducerConfig::builder().properties(properties)?.build()
    }

    /// Starts from the defaults.
    pub fn builder() -> ProducerConfigBuilder {
        ProducerConfigBuilder {
            config: ProducerConfig::default(),
        }
    }

    /// How many calls may be under way at a time.
    pub(crate) fn senders_max(&self) -> usize {
        match self.threading_model {
            ThreadingModel::PerRequest => MAX_CONNECTIONS,
            ThreadingModel::Pooled { threads } => threads,
        }
    }

    /// How many records may be taken in and not yet settled.
    pub(crate) fn queue_limit(&self) -> usize {
        let default = match self.aggregation {
            true => AGGREGATED_QUEUE_LIMIT,
            false => PLAIN_QUEUE_LIMIT,
        };
        self.queue_limit.unwrap_or(default)
    }

    /// How large an aggregate may be, its partition key included: never larger than the service takes.
    pub(crate) fn aggregate_bytes(&self) -> usize {
        let record_limit = self.max_user_record_bytes.max(MIB);
        self.aggregation_max_bytes.min(record_limit)
    }

    /// How long a record is held for company: never so long that its time to live is spent on it.
    pub(crate) fn buffered_time(&self) -> Duration {
        self.record_max_buffered_time.min(self.record_ttl / 2)
    }
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            aggregation: true,
            aggregation_under_auto: false,
            aggregation_max_bytes: 51_200,
            aggregation_max_count: 4_294_967_295,
            collection_max_bytes: 5 * MIB,
            collection_max_count: COLLECTION_COUNT_MAX,
            fail_if_throttled: false,
            max_user_record_bytes: MIB,
            #[cfg(feature = "cloudwatch")]
            metrics_upload: None,
            ordering: Ordering::None,
            queue_limit: None,
            queue_limit_bytes: 16 * MIB,
            rate_limit_percent: 100,
            record_max_buffered_time: Duration::from_millis(100),
            record_ttl: Duration::from_secs(30),
            threading_model: ThreadingModel::Pooled { threads: 10 },
        }
    }
}

/// Which order records are stored in. Neither the KPL nor Flink has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// None in particular: calls run side by side, and what fails is put again behind what did not.
    None,
    /// Those of one partition key and explicit hash key in the order in which they were put, across
    /// failures, retries and reshards.
    ///
    /// Each shard, or each key if records are not aggregated, has one Kinesis record on its way at a
    /// time, and what comes behind it waits until it is settled. The cost: a shard gets one aggregate a
    /// round trip, 2.5 MB/s at the default size and 20 ms, which is more than it takes; without
    /// aggregation a key gets one record a round trip. A shard that is throttled or fails holds back
    /// only what comes behind it. When shards split or merge, what was put by the new ones waits until
    /// everything put by the old ones is settled.
    ///
    /// What is reported as [possibly stored](crate::Stored::Possibly) may still come in late, and a
    /// record whose answer was lost may come twice: its first copy is in its place.
    PerPartitionKey,
}

/// Which threads make a producer's calls. The KPL's `ThreadingModel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadingModel {
    /// As many threads as calls are due, up to the KPL's `MaxConnections`, 24.
    PerRequest,
    /// Up to this many threads, started as they are needed. The KPL's `ThreadPoolSize`.
    Pooled {
        /// From 1 to 256.
        threads: usize,
    },
}

/// Describes a [`ProducerConfig`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ProducerConfigBuilder {
    config: ProducerConfig,
}

impl ProducerConfigBuilder {
    /// Takes over every key of a producer that is set; what is set afterwards counts above it.
    ///
    /// # Errors
    /// `Config`, or `Several` of it: the keys with values that cannot be.
    pub fn properties(mut self, properties: &Properties) -> Result<ProducerConfigBuilder> {
        self.config = keys::producer(properties, self.config)?;
        Ok(self)
    }

    /// Packs many user records into one Kinesis record. Default: true. The KPL's `AggregationEnabled`.
    ///
    /// A stream whose record distribution strategy is
    /// [`AUTO`](https://docs.aws.amazon.com/streams/latest/dev/service-managed-pk-producing-behavior.html)
    /// gets no aggregates: it ignores hash keys, so that readers by the KCL's rule would leave them out.
    /// The producer finds out by itself.
    pub fn aggregation(mut self, yes: bool) -> ProducerConfigBuilder {
        self.config.aggregation = yes;
        self
    }

    /// Aggregates for streams whose record distribution strategy is `AUTO` as well. Default: false.
    ///
    /// For a stream that is read by readers only that take aggregates wherever they lie, as this
    /// library's consumers do; readers by the KCL's rule leave such aggregates out.
    pub fn aggregation_under_auto(mut self, yes: bool) -> ProducerConfigBuilder {
        self.config.aggregation_under_auto = yes;
        self
    }

    /// Limits an aggregate to so many bytes, its partition key included; a larger user record goes alone.
    ///
    /// Default: 51,200. Range: 64 to 10 MiB. The largest record that the stream takes limits it as well:
    /// 1 MiB, or [`max_user_record_bytes`](Self::max_user_record_bytes) if that is more. The KPL's
    /// `AggregationMaxSize`.
    pub fn aggregation_max_bytes(mut self, bytes: usize) -> ProducerConfigBuilder {
        self.config.aggregation_max_bytes = bytes;
        self
    }

    /// Limits an aggregate to so many user records. Default: 4,294,967,295. The KPL's `AggregationMaxCount`.
    pub fn aggregation_max_count(mut self, records: u64) -> ProducerConfigBuilder {
        self.config.aggregation_max_count = records;
        self
    }

    /// Limits a PutRecords call to so many bytes of data and partition keys, at least 52,224.
    ///
    /// A larger Kinesis record goes alone. Default: 5 MiB, the least that every stream takes. The
    /// KPL's `CollectionMaxSize`.
    pub fn collection_max_bytes(mut self, bytes: usize) -> ProducerConfigBuilder {
        self.config.collection_max_bytes = bytes;
        self
    }

    /// Limits a PutRecords call to so many Kinesis records.
    ///
    /// Default: 500, the service's limit; more is taken for 500, with a warning. The KPL's
    /// `CollectionMaxCount`.
    pub fn collection_max_count(mut self, records: usize) -> ProducerConfigBuilder {
        self.config.collection_max_count = records;
        self
    }

    /// Gives a throttled record up at once, in place of trying again. Default: false. The KPL's `FailIfThrottled`.
    pub fn fail_if_throttled(mut self, yes: bool) -> ProducerConfigBuilder {
        self.config.fail_if_throttled = yes;
        self
    }

    /// Limits a user record to so many bytes, data and partition key together, from 64 to 10 MiB.
    ///
    /// Default: 1 MiB; more only for a stream whose maximum record size was raised. The KPL's
    /// `MaxUserRecordSize`.
    pub fn max_user_record_bytes(mut self, bytes: usize) -> ProducerConfigBuilder {
        self.config.max_user_record_bytes = bytes;
        self
    }

    /// Sets which order records are stored in. Default: [`Ordering::None`], as in the KPL.
    pub fn ordering(mut self, ordering: Ordering) -> ProducerConfigBuilder {
        self.config.ordering = ordering;
        self
    }

    /// Limits how many records may be taken in and not yet settled; `put` blocks beyond it.
    ///
    /// Default: 200,000, a fifth of a second's worth at a million records a second; 15,000 if records
    /// are not aggregated, as a shard takes a thousand a second: the caller is held back before records
    /// outlive their 30 seconds. An aggregated record costs its key and data, one that goes alone 0.4 KiB
    /// beside its data, a [`Delivery`](crate::Delivery) that is kept 16 bytes. `usize::MAX` is no limit,
    /// which is the KPL's behaviour. Flink's `setQueueLimit`.
    ///
    /// The limit is the sum over all streams. Each stream that was put to in the last minute has a
    /// reserve of it that others leave alone: the limit divided by twice the number of such streams,
    /// and at least one record. So a stream that is throttled cannot fill the queue for all.
    pub fn queue_limit(mut self, records: usize) -> ProducerConfigBuilder {
        self.config.queue_limit = Some(records);
        self
    }

    /// Limits how many bytes of keys and data may be taken in and not yet settled.
    ///
    /// Default: 16 MiB: what one shard takes in half of the time to live, so that the caller is held back
    /// before records expire, and Flink's 100 kB a shard for 160 of them. `usize::MAX` is no limit. A
    /// record larger than the limit is taken in when nothing else is. Divided among streams as
    /// [`queue_limit`](Self::queue_limit) is.
    pub fn queue_limit_bytes(mut self, bytes: usize) -> ProducerConfigBuilder {
        self.config.queue_limit_bytes = bytes;
        self
    }

    /// Limits what is sent to a shard, in percent of what it takes: 1,000 records and 1 MiB a second.
    ///
    /// Default: 100, as in Flink; several producers of one stream should share 100. The KPL's `RateLimit`.
    pub fn rate_limit_percent(mut self, percent: u32) -> ProducerConfigBuilder {
        self.config.rate_limit_percent = percent;
        self
    }

    /// Limits how long a record waits for company in its aggregate and call.
    ///
    /// Default: 100 ms. Never more than half of the time to live. The KPL's `RecordMaxBufferedTime`.
    pub fn record_max_buffered_time(mut self, time: Duration) -> ProducerConfigBuilder {
        self.config.record_max_buffered_time = time;
        self
    }

    /// Limits how long a record is tried, from the moment that its aggregate was begun; at least 100 ms.
    ///
    /// Default: 30 s. [`Duration::MAX`] tries for ever. The KPL's `RecordTtl`.
    pub fn record_ttl(mut self, ttl: Duration) -> ProducerConfigBuilder {
        self.config.record_ttl = ttl;
        self
    }

    /// Sets which threads make the calls that put records. Default: up to ten, started as they are needed.
    ///
    /// One of several streams uses at most three quarters of them, and one call at a time while it does
    /// not answer. Up to four more threads list shards.
    pub fn threading_model(mut self, model: ThreadingModel) -> ProducerConfigBuilder {
        self.config.threading_model = model;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// `Config`: a setting is out of its range.
    pub fn build(mut self) -> Result<ProducerConfig> {
        self.clamp_collection();
        let config = self.config;
        let bytes = "(bytes)";
        within(
            "aggregation_max_bytes",
            config.aggregation_max_bytes,
            64..=RECORD_BYTES_MAX,
            bytes,
        )?;
        within(
            "aggregation_max_count",
            config.aggregation_max_count,
            1..=u64::MAX,
            "(records)",
        )?;
        within(
            "collection_max_bytes",
            config.collection_max_bytes,
            52_224..=usize::MAX,
            bytes,
        )?;
        within(
            "collection_max_count",
            config.collection_max_count,
            1..=COLLECTION_COUNT_MAX,
            "(records)",
        )?;
        within(
            "max_user_record_bytes",
            config.max_user_record_bytes,
            64..=RECORD_BYTES_MAX,
            bytes,
        )?;
        within(
            "queue_limit",
            config.queue_limit(),
            1..=usize::MAX,
            "(records)",
        )?;
        within(
            "queue_limit_bytes",
            config.queue_limit_bytes,
            1..=usize::MAX,
            bytes,
        )?;
        within(
            "rate_limit_percent",
            config.rate_limit_percent,
            1..=u32::MAX,
            "(percent)",
        )?;
        let ttl_ms = config.record_ttl.as_millis();
        within("record_ttl", ttl_ms, 100..=u128::MAX, "(milliseconds)")?;
        if let ThreadingModel::Pooled { threads } = config.threading_model {
            within("threading_model", threads, 1..=THREADS_MAX, "(threads)")?;
        }
        Ok(config)
    }

    /// Flink's own page sets 1000, which the service refuses.
    fn clamp_collection(&mut self) {
        let asked = self.config.collection_max_count;
        if asked > COLLECTION_COUNT_MAX {
            log::warn!(
                "collection_max_count: {asked} is taken for {COLLECTION_COUNT_MAX}, the most that one call takes"
            );
            self.config.collection_max_count = COLLECTION_COUNT_MAX;
        }
    }
}

fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
    unit: &str,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("a number from {} to {} {unit}", range.start(), range.end());
    Err(Error::config(key, value.to_string(), expected))
}

const MIB: usize = 1024 * 1024;

/// A fifth of a second's worth at a million records a second.
const AGGREGATED_QUEUE_LIMIT: usize = 200_000;

/// Half of what one shard takes within the default time to live.
const PLAIN_QUEUE_LIMIT: usize = 15_000;

/// 10 MiB, the most that a stream can be set to take as one record: `API_UpdateMaxRecordSize.html`.
const RECORD_BYTES_MAX: usize = 10 * MIB;

/// Records a call: `API_PutRecords.html`.
const COLLECTION_COUNT_MAX: usize = 500;

/// The KPL's default for `MaxConnections`.
const MAX_CONNECTIONS: usize = 24;

/// The KPL's upper bound for `MaxConnections`: more threads would wait for a connection.
const THREADS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(ProducerConfigBuilder) -> ProducerConfigBuilder) -> String {
        let built = change(ProducerConfig::builder()).build();
        built.expect_err("out of range").to_string()
    }

    #[test]
    fn the_defaults_are_within_their_ranges() {
        let built = ProducerConfig::builder().build().expect("valid");
        assert_eq!(built, ProducerConfig::default());
    }

    #[test]
    fn a_setting_out_of_range_is_refused_with_its_range() {
        for (message, refused) in [
            (
                "aggregation_max_bytes: \"63\" is not a number from 64 to 10485760 (bytes)",
                refused(|config| config.aggregation_max_bytes(63)),
            ),
            (
                "aggregation_max_bytes: \"10485761\" is not a number from 64 to 10485760 (bytes)",
                refused(|config| config.aggregation_max_bytes(10 * MIB + 1)),
            ),
            (
                "collection_max_count: \"0\" is not a number from 1 to 500 (records)",
                refused(|config| config.collection_max_count(0)),
            ),
            (
                "threading_model: \"257\" is not a number from 1 to 256 (threads)",
                refused(|config| config.threading_model(ThreadingModel::Pooled { threads: 257 })),
            ),
        ] {
            assert_eq!(refused, message);
        }
        let ttl = refused(|config| config.record_ttl(Duration::from_millis(99)));
        assert!(
            ttl.starts_with("record_ttl: \"99\" is not a number from 100 to "),
            "{ttl}"
        );
        assert!(refused(|config| config.queue_limit(0)).starts_with("queue_limit: \"0\""));
    }

    #[test]
    fn as_many_calls_run_at_a_time_as_the_threading_model_says() {
        let senders = |model| {
            let config = ProducerConfig::builder().threading_model(model);
            config.build().expect("valid").senders_max()
        };
        assert_eq!(ProducerConfig::default().senders_max(), 10);
        assert_eq!(senders(ThreadingModel::Pooled { threads: 12 }), 12);
        assert_eq!(senders(ThreadingModel::PerRequest), 24);
        let percent = ProducerConfig::builder().rate_limit_percent(150);
        assert_eq!(percent.build().expect("valid").rate_limit_percent, 150);
        assert_eq!(ProducerConfig::default().rate_limit_percent, 100);
    }

    #[test]
    fn a_collection_larger_than_the_service_takes_is_made_as_large_as_it_takes() {
        let config = ProducerConfig::builder().collection_max_count(1_000);
        assert_eq!(config.build().expect("clamped"), ProducerConfig::default());
    }

    #[test]
    fn buffering_leaves_half_of_the_time_to_live_for_sending() {
        let config = ProducerConfig::builder().record_ttl(Duration::from_millis(100));
        let config = config.build().expect("valid");
        assert_eq!(config.buffered_time(), Duration::from_millis(50));
        let buffered_time = ProducerConfig::default().buffered_time();
        assert_eq!(buffered_time, Duration::from_millis(100));
    }
}
