use std::ops::RangeInclusive;
use std::time::Duration;

use crate::aggregation::Misplaced;
use crate::config::{Properties, keys};
use crate::error::{Error, Result};
use crate::model::{StartPosition, Timestamp};

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
    pub(crate) misplaced_window: Duration,
    pub(crate) until_caught_up: bool,
    pub(crate) until_timestamp: Option<Timestamp>,
    pub(crate) data_loss: DataLoss,
    pub(crate) parent_before_child: bool,
    pub(crate) adaptive_reads: bool,
    pub(crate) empty_interval: Duration,
    pub(crate) read_bytes_per_second: Option<u32>,
    pub(crate) buffered_bytes_max: u64,
    pub(crate) shard_stack_bytes: usize,
    pub(crate) watermark_interval: Duration,
    pub(crate) shard_idle_interval: Option<Duration>,
    pub(crate) watermark_sync_interval: Duration,
    pub(crate) watermark_lookahead: Duration,
    pub(crate) watermark_sync_queue_capacity: usize,
    pub(crate) one_past_lookahead: bool,
    pub(crate) commit_retry_timeout: Duration,
    pub(crate) outage_timeout: Option<Duration>,
}

/// What becomes of a consumer when records may be lost before it has read them: they outlived the
/// stream's retention, or their shard or stream is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataLoss {
    /// It ends with an error of the kind [`DataLoss`](crate::ErrorKind::DataLoss).
    #[default]
    Fail,
    /// It reads on behind the gap, and reports that as [`Event::Gap`](crate::Event::Gap).
    ContinueAndReport,
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
            misplaced: Misplaced::DeduplicateByMark,
            misplaced_window: Duration::from_secs(60),
            until_caught_up: false,
            until_timestamp: None,
            data_loss: DataLoss::Fail,
            parent_before_child: true,
            adaptive_reads: false,
            empty_interval: Duration::from_millis(250),
            read_bytes_per_second: Some(2 << 20),
            buffered_bytes_max: 256 << 20,
            shard_stack_bytes: SHARD_STACK_BYTES,
            watermark_interval: Duration::from_millis(200),
            shard_idle_interval: None,
            watermark_sync_interval: Duration::from_secs(30),
            watermark_lookahead: Duration::ZERO,
            watermark_sync_queue_capacity: 100,
            one_past_lookahead: false,
            commit_retry_timeout: Duration::from_secs(300),
            outage_timeout: Some(Duration::from_secs(300)),
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
    /// A time that is ahead is waited for: the first record is the first that arrived then or later. One
    /// that is more than 15 minutes ahead by the service's clock is an error when the consumer starts.
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
    /// If an answer does not arrive in time, the shard asks for half as many, and for more again once
    /// answers do. Flink's `flink.shard.getrecords.maxrecordcount`.
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

    /// Sets what to do with user records that lie outside the shard they are read from, and with those
    /// that their producer stored again for that reason. Reshards bring both about. Default:
    /// [`Misplaced::DeduplicateByMark`], which never loses a record.
    ///
    /// Whatever is left out, and whatever may come twice, is counted in the metrics and reported as
    /// [`Event::Gap`](crate::Event::Gap), which ends nothing. Own key:
    /// `shard.misplaced.policy`.
    pub fn misplaced(mut self, policy: Misplaced) -> ConsumerConfigBuilder {
        self.config.misplaced = policy;
        self
    }

    /// Sets how far apart two copies of a record may arrive after a reshard. Default: 60 s. Range: 1 s to
    /// 1 h.
    ///
    /// [`Misplaced::DeduplicateByContent`] leaves out a repeat within this time. All policies that hand
    /// out misplaced records report as explained by a reshard those that arrived in the first such time
    /// of their shard. Own key: `shard.misplaced.window`.
    pub fn misplaced_window(mut self, window: Duration) -> ConsumerConfigBuilder {
        self.config.misplaced_window = window;
        self
    }

    /// Ends the iteration once every record has been handed out, of children included, that arrived before
    /// the consumer started by the service's clock. Default: `false`, reading goes on for ever.
    ///
    /// A producer that never pauses does not put the end off. Records that arrived later are handed out
    /// if they came with the last answer.
    pub fn until_caught_up(mut self, yes: bool) -> ConsumerConfigBuilder {
        self.config.until_caught_up = yes;
        self
    }

    /// Ends the iteration once everything that arrived before `time` has been read, children
    /// included; nothing that arrived then or later is handed out. Default: reading goes on for ever.
    ///
    /// A consumer that starts [at that time](StartPosition::AtTimestamp) reads what follows. A time
    /// that has not come yet is waited for.
    pub fn until_timestamp(mut self, time: Timestamp) -> ConsumerConfigBuilder {
        self.config.until_timestamp = Some(time);
        self
    }

    /// Sets what becomes of the consumer when records may be lost before it has read them. Default:
    /// [`DataLoss::Fail`].
    ///
    /// It is certain of what it did not lose: as long as it is within the stream's retention, or the
    /// last record it read is still there, nothing is reported.
    pub fn data_loss(mut self, policy: DataLoss) -> ConsumerConfigBuilder {
        self.config.data_loss = policy;
        self
    }

    /// Sets whether a shard is read only after the shards that it was split or merged from have been
    /// handed out to their ends. Default: `true`, which keeps the records of a partition key in order.
    ///
    /// With `false` all shards are read side by side, as Flink's connector does.
    pub fn parent_before_child(mut self, yes: bool) -> ConsumerConfigBuilder {
        self.config.parent_before_child = yes;
        self
    }

    /// Lets each GetRecords ask for as many records as the shard gives in the time from call to call,
    /// by the size of those that came last; the first asks for
    /// [`get_records_max`](ConsumerConfigBuilder::get_records_max). Default: `false`.
    ///
    /// Flink's `flink.shard.adaptivereads`.
    pub fn adaptive_reads(mut self, yes: bool) -> ConsumerConfigBuilder {
        self.config.adaptive_reads = yes;
        self
    }

    /// Sets the time from a GetRecords that found nothing to the next, up to 1 hour; at least the
    /// [interval](ConsumerConfigBuilder::get_records_interval) counts. Default: 250 ms, as in Flink's
    /// newer source, which leaves calls to other readers of the shard.
    pub fn empty_interval(mut self, interval: Duration) -> ConsumerConfigBuilder {
        self.config.empty_interval = interval;
        self
    }

    /// Sets how fast one shard is read, in bytes a second. Default: 2 MiB, what a shard gives to all
    /// its readers; the service refuses calls after more. `None` for endpoints without that limit.
    ///
    /// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
    pub fn read_bytes_per_second(mut self, bytes: Option<u32>) -> ConsumerConfigBuilder {
        self.config.read_bytes_per_second = bytes;
        self
    }

    /// Sets how many bytes of records all shards together may hold until the caller takes them, at
    /// least 1 MiB. Default: 256 MiB.
    ///
    /// A shard reads on when there is room for as much as its last answer brought. An answer that turns
    /// out larger exceeds the limit: by one answer, of up to 10 MiB, for each call under way at most, of
    /// which there are [no more](crate::ClientBuilder::max_connections) than the client has connections.
    /// Where there is room for less than one answer, one shard reads at a time. Shards that are
    /// [paused](crate::Consumer::pause) do not count, and hold three answers at most.
    pub fn buffered_bytes_max(mut self, bytes: u64) -> ConsumerConfigBuilder {
        self.config.buffered_bytes_max = bytes;
        self
    }

    /// Sets the stack of each thread that reads a shard, in bytes. Default: 2 MiB, and 512 KiB where
    /// addresses have 32 bits. Range: 128 KiB to 1 GiB.
    ///
    /// The [decoder](crate::ConsumerBuilder::decoder), the handler of dead letters and the watermark
    /// generator run on it. A program that uses more stack than there is aborts. The operating system
    /// gives memory to the part that is used only; the rest costs addresses. The key
    /// `shard.stack.bytes`.
    pub fn shard_stack_bytes(mut self, bytes: usize) -> ConsumerConfigBuilder {
        self.config.shard_stack_bytes = bytes;
        self
    }

    /// Sets how often the watermark is looked at, and handed out if it has moved, up to 1 day. Zero:
    /// each time, right behind the record that moved it, which costs a look at all shards. Default:
    /// 200 ms. While records are taken fast, the clock is read for one of 32: when the caller becomes
    /// slow, one watermark may come up to 31 records late.
    ///
    /// Flink's `pipeline.auto-watermark-interval`.
    pub fn watermark_interval(mut self, interval: Duration) -> ConsumerConfigBuilder {
        self.config.watermark_interval = interval;
        self
    }

    /// Sets for how long a shard has to have nothing before the watermark goes on without it, 1 ms to
    /// 1 day. Default: `None`, the watermark stalls where such a shard is.
    ///
    /// Only what the service says counts: a shard whose calls fail, or that is behind, is not idle,
    /// and neither is one with records that wait for the caller. What an idle shard brings later may
    /// be late. Flink's `flink.shard.idle.interval`.
    pub fn shard_idle_interval(mut self, interval: Option<Duration>) -> ConsumerConfigBuilder {
        self.config.shard_idle_interval = interval;
        self
    }

    /// Sets how often the [watermark tracker](crate::ConsumerBuilder::watermark_tracker) is told how far
    /// this consumer is and asked how far all are, 1 ms to 1 day. Default: 30 s.
    ///
    /// Three times this a consumer is waited for that says nothing. Flink's
    /// `flink.watermark.sync.interval`.
    pub fn watermark_sync_interval(mut self, interval: Duration) -> ConsumerConfigBuilder {
        self.config.watermark_sync_interval = interval;
        self
    }

    /// Sets how far beyond the watermark of all a record may be that is handed out. Default, and least
    /// that counts: three times the [sync interval](ConsumerConfigBuilder::watermark_sync_interval).
    ///
    /// Flink's `flink.watermark.lookahead.millis`.
    pub fn watermark_lookahead(mut self, lookahead: Duration) -> ConsumerConfigBuilder {
        self.config.watermark_lookahead = lookahead;
        self
    }

    /// Sets how many records a shard lays down for the caller at once where shards are held together in
    /// event time, at least 1. Default: 100.
    ///
    /// A shard that has to wait keeps at most twice as many, and one answer. Flink's
    /// `flink.watermark.sync.queue.capacity`.
    pub fn watermark_sync_queue_capacity(mut self, records: usize) -> ConsumerConfigBuilder {
        self.config.watermark_sync_queue_capacity = records;
        self
    }

    /// Sets whether each shard may go one record beyond the look-ahead before it waits, as Flink's
    /// connector lets it. Default: `false`, nothing goes beyond.
    pub fn one_past_lookahead(mut self, yes: bool) -> ConsumerConfigBuilder {
        self.config.one_past_lookahead = yes;
        self
    }

    /// Sets for how long a shard may be out of reach until the consumer ends with
    /// [`ErrorKind::Outage`](crate::ErrorKind::Outage). Default: 5 minutes. Range: 1 s to 1 day. `None`:
    /// it never ends for that.
    ///
    /// The time counts in which no GetRecords and no GetShardIterator of the shard succeeded, from the
    /// first failure on; time in which the service throttles does not. The calls are made again all the
    /// while, with pauses that grow to 10 s. After a minute the consumer tells of it by
    /// [`Event::Unavailable`](crate::Event::Unavailable). A restart goes on without loss. ListShards that
    /// fails ends a consumer only if no shard is being read.
    ///
    /// The key is `shard.outage.timeout`, in milliseconds, or `never`.
    pub fn outage_timeout(mut self, timeout: Option<Duration>) -> ConsumerConfigBuilder {
        self.config.outage_timeout = timeout;
        self
    }

    /// Sets for how long commits by [interval](crate::ConsumerBuilder::commit_interval) may fail before the
    /// consumer ends with the store's error. Default: 5 minutes. Range: 0 to 1 day; 0 ends it at the first.
    ///
    /// Only the commits that fail and the pauses between them count. While the caller processes records nothing is
    /// committed, so that time does not count.
    ///
    /// Meanwhile reading goes on. A failed commit is an [`Event::CommitFailed`](crate::Event::CommitFailed),
    /// and is tried again after the interval, but not sooner than 1 s and not later than 30 s. A restart
    /// repeats what was handed out since the last commit that succeeded.
    /// [`Fenced`](crate::ErrorKind::Fenced) ends the consumer at once. The key `commit.retry.timeout`.
    pub fn commit_retry_timeout(mut self, timeout: Duration) -> ConsumerConfigBuilder {
        self.config.commit_retry_timeout = timeout;
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
        check(
            "misplaced_window",
            config.misplaced_window,
            1_000..=3_600_000,
        )?;
        check("empty_interval", config.empty_interval, 0..=3_600_000)?;
        check("watermark_interval", config.watermark_interval, 0..=DAY_MS)?;
        let timeout = config.commit_retry_timeout;
        check("commit_retry_timeout", timeout, 0..=DAY_MS)?;
        let sync_interval = config.watermark_sync_interval;
        check("watermark_sync_interval", sync_interval, 1..=DAY_MS)?;
        if config.watermark_sync_queue_capacity == 0 {
            return Err(Error::config(
                "watermark_sync_queue_capacity",
                "0",
                "at least 1",
            ));
        }
        if let Some(interval) = config.shard_idle_interval {
            check("shard_idle_interval", interval, 1..=DAY_MS)?;
        }
        if let Some(timeout) = config.outage_timeout {
            check("outage_timeout", timeout, 1_000..=DAY_MS)?;
        }
        if config.buffered_bytes_max < 1 << 20 {
            return Err(Error::config(
                "buffered_bytes_max",
                config.buffered_bytes_max.to_string(),
                "at least 1048576",
            ));
        }
        if !STACK_BYTES.contains(&config.shard_stack_bytes) {
            return Err(Error::config(
                "shard_stack_bytes",
                config.shard_stack_bytes.to_string(),
                "from 131072 to 1073741824",
            ));
        }
        if config.read_bytes_per_second == Some(0) {
            return Err(Error::config(
                "read_bytes_per_second",
                "0",
                "at least 1; None is no limit",
            ));
        }
        if let Some(time) = config.until_timestamp.filter(|_| config.until_caught_up) {
            let expected = "the only end: until_caught_up is set as well";
            return Err(Error::config("until_timestamp", time.to_string(), expected));
        }
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

const DAY_MS: u128 = 86_400_000;

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

/// What the standard library gives its threads; with thousands of them, a fourth of it where there are
/// 4 GiB of addresses.
const SHARD_STACK_BYTES: usize = match usize::BITS {
    64.. => 2 << 20,
    _ => 512 << 10,
};

/// Less is not enough for a TLS handshake and an answer.
const STACK_BYTES: RangeInclusive<usize> = 128 << 10..=1 << 30;

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
            (builder().outage_timeout(Some(millis(1_000))), None),
            (builder().outage_timeout(Some(millis(86_400_000))), None),
            (builder().outage_timeout(None), None),
            (
                builder().outage_timeout(Some(millis(999))),
                Some("outage_timeout: \"999\" is not from 1000 to 86400000 milliseconds"),
            ),
            (
                builder().outage_timeout(Some(millis(86_400_001))),
                Some("outage_timeout: \"86400001\" is not from 1000 to 86400000 milliseconds"),
            ),
            (builder().misplaced_window(millis(1_000)), None),
            (
                builder().misplaced_window(millis(3_600_001)),
                Some("misplaced_window: \"3600001\" is not from 1000 to 3600000 milliseconds"),
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
