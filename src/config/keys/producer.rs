//! The KPL's keys, with Flink's defaults. Those that concern connections are among the client's.
//!
//! Sources: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/java/amazon-kinesis-producer-sample/default_config.properties>,
//! <https://nightlies.apache.org/flink/flink-docs-release-1.20/docs/connectors/datastream/kinesis/>

use crate::config::keys::{Key, LONG_MAX, Setting, metrics, read, verdict};
use crate::config::{ProducerConfig, Properties, ThreadingModel};
use crate::error::Result;

/// Takes over every key that is set.
pub(in crate::config) fn producer(
    properties: &Properties,
    config: ProducerConfig,
) -> Result<ProducerConfig> {
    let mut draft = Draft::of(config);
    let mut faults = Vec::new();
    read(KEYS, properties, &mut draft, &mut faults);
    metrics::read(properties, &mut faults, &mut draft.config);
    verdict(faults)?;
    Ok(draft.finish())
}

/// A configuration whose threading model is still two settings, as the keys have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    config: ProducerConfig,
    is_pooled: bool,
    threads: usize,
}

impl Draft {
    fn of(config: ProducerConfig) -> Draft {
        let (is_pooled, threads) = match config.threading_model {
            ThreadingModel::PerRequest => (false, POOL_SIZE),
            ThreadingModel::Pooled { threads } => (true, threads),
        };
        Draft {
            config,
            is_pooled,
            threads,
        }
    }

    fn finish(mut self) -> ProducerConfig {
        self.config.threading_model = match self.is_pooled {
            true => ThreadingModel::Pooled {
                threads: self.threads,
            },
            false => ThreadingModel::PerRequest,
        };
        self.config
    }
}

impl Default for Draft {
    fn default() -> Draft {
        Draft::of(ProducerConfig::default())
    }
}

pub(super) static KEYS: &[Key<Draft>] = &[
    Key::new(
        "AggregationEnabled",
        Setting::Switch {
            set: |d, yes| d.config.aggregation = yes,
            get: |d| d.config.aggregation,
        },
        "Packs many user records into one Kinesis record.",
    ),
    Key::<Draft>::new(
        "AggregationMaxCount",
        Setting::Integer {
            range: 1..=LONG_MAX,
            unit: "user records",
            cap: None,
            set: |d, n| d.config.aggregation_max_count = n,
            get: |d| d.config.aggregation_max_count,
        },
        "Limits an aggregate.",
    )
    .once(&["aws.producer.aggregationMaxCount"]),
    Key::new(
        "AggregationMaxSize",
        Setting::Integer {
            range: 64..=10_485_760,
            unit: "bytes",
            cap: None,
            set: |d, n| d.config.aggregation_max_bytes = size(n),
            get: |d| d.config.aggregation_max_bytes as u64,
        },
        "Limits an aggregate; a larger user record goes alone.",
    ),
    Key::<Draft>::new(
        "CollectionMaxCount",
        Setting::Integer {
            range: 1..=LONG_MAX,
            unit: "Kinesis records",
            cap: Some(500),
            set: |d, n| d.config.collection_max_count = size(n),
            get: |d| d.config.collection_max_count as u64,
        },
        "Limits a PutRecords call. The service takes 500: more is taken for 500, and the log says so.",
    )
    .once(&["aws.producer.collectionMaxCount"]),
    Key::new(
        "AggregationUnderAuto",
        Setting::Switch {
            set: |d, yes| d.config.aggregation_under_auto = yes,
            get: |d| d.config.aggregation_under_auto,
        },
        "Aggregates for streams that ignore keys (AUTO) as well. This library's own key.",
    ),
    Key::new(
        "CollectionMaxSize",
        Setting::Integer {
            range: 52_224..=LONG_MAX,
            unit: "bytes",
            cap: Some(10_485_760),
            set: |d, n| d.config.collection_max_bytes = size(n),
            get: |d| d.config.collection_max_bytes as u64,
        },
        "Limits a PutRecords call, data and partition keys together.",
    ),
    Key::new(
        "FailIfThrottled",
        Setting::Switch {
            set: |d, yes| d.config.fail_if_throttled = yes,
            get: |d| d.config.fail_if_throttled,
        },
        "Gives a record up when the service throttles it, instead of trying again.",
    ),
    Key::new(
        "MaxUserRecordSize",
        Setting::Integer {
            range: 64..=10_485_760,
            unit: "bytes",
            cap: None,
            set: |d, n| d.config.max_user_record_bytes = size(n),
            get: |d| d.config.max_user_record_bytes as u64,
        },
        "Refuses larger user records; above 1 MiB the stream has to allow it.",
    ),
    Key::new(
        "RateLimit",
        Setting::Integer {
            range: 1..=LONG_MAX,
            unit: "percent",
            cap: None,
            set: |d, n| d.config.rate_limit_percent = u32::try_from(n).unwrap_or(u32::MAX),
            get: |d| u64::from(d.config.rate_limit_percent),
        },
        "Limits what goes to a shard, in percent of what it takes. Flink's default; the KPL's is 150.",
    ),
    Key::new(
        "RecordMaxBufferedTime",
        Setting::Millis {
            range: 0..=LONG_MAX,
            set: |d, time| d.config.record_max_buffered_time = time,
            get: |d| Some(d.config.record_max_buffered_time),
        },
        "Limits how long a record is held for company.",
    ),
    Key::new(
        "RecordTtl",
        Setting::Millis {
            range: 100..=LONG_MAX,
            set: |d, time| d.config.record_ttl = time,
            get: |d| Some(d.config.record_ttl),
        },
        "Limits how long a record is tried.",
    ),
    Key::new(
        "ThreadPoolSize",
        Setting::Integer {
            range: 0..=2_147_483_647,
            unit: "threads",
            cap: Some(256),
            set: |d, n| d.threads = if n == 0 { DEFAULT_OF_CORE } else { size(n) },
            get: |d| d.threads as u64,
        },
        "Limits the threads that make calls, if ThreadingModel is POOLED; 0 stands for 64.",
    ),
    Key::new(
        "ThreadingModel",
        Setting::Word {
            words: &["POOLED", "PER_REQUEST"],
            set: |d, at| d.is_pooled = at == 0,
            get: |d| usize::from(!d.is_pooled),
        },
        "Keeps a pool of threads for calls, or as many as calls are due. Flink's default.",
    ),
    ignored("CredentialsRefreshDelay", "credentials are renewed before they expire"),
    ignored("DaemonHealthCheckTimeoutMs", NO_DAEMON),
    ignored("EnableCoreDumps", NO_DAEMON),
    ignored("EnableDaemonHealthCheck", NO_DAEMON),
    ignored("EnableOldestFutureTracker", "the age of the oldest record is always known"),
    ignored("LogLevel", "the logger of the program decides"),
    ignored("MaxConnections", "there are as many as threads that make calls: see ThreadPoolSize"),
    ignored("MinConnections", "nothing has to be kept warm; the KPL has not used it since 0.12"),
    ignored("NativeExecutable", NO_DAEMON),
    ignored("ReturnUserRecordOnFailure", "a record that was not delivered is always given back"),
    ignored("StsEndpoint", "the KPL does not use it; see aws.credentials.provider.role.stsEndpoint"),
    ignored("StsPort", "the KPL does not use it; see aws.credentials.provider.role.stsEndpoint"),
    ignored("TempDirectory", NO_DAEMON),
    ignored("UserRecordTimeoutInMillis", "it guards against a daemon that hangs: see RecordTtl"),
    Key::new(
        "GlueSchemaRegistryPropertiesFilePath",
        Setting::Refused {
            because: "serialise with your schema registry's own client before the put",
        },
        "",
    ),
];

const fn ignored(name: &'static str, because: &'static str) -> Key<Draft> {
    Key::new(name, Setting::Ignored { because }, "")
}

/// A number of bytes or things; more than memory can have is all of it.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

const NO_DAEMON: &str = "there is no daemon";

/// Flink's default of `ThreadPoolSize`.
const POOL_SIZE: usize = 10;

/// What the KPL's core takes 0 for.
const DEFAULT_OF_CORE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> Result<ProducerConfig> {
        let properties = Properties::from_iter(pairs.iter().copied());
        producer(&properties, ProducerConfig::default())
    }

    #[test]
    fn flinks_defaults_hold_unless_a_key_is_set() {
        let none = read_all(&[]).expect("no key");
        assert_eq!(none, ProducerConfig::default());
        assert_eq!(none.rate_limit_percent, 100);
        assert_eq!(none.threading_model, ThreadingModel::Pooled { threads: 10 });
        for (key, value, rate, model) in [
            (
                "RateLimit",
                "150",
                150,
                ThreadingModel::Pooled { threads: 10 },
            ),
            (
                "ThreadPoolSize",
                "12",
                100,
                ThreadingModel::Pooled { threads: 12 },
            ),
            (
                "ThreadPoolSize",
                "0",
                100,
                ThreadingModel::Pooled { threads: 64 },
            ),
            (
                "ThreadPoolSize",
                "1000",
                100,
                ThreadingModel::Pooled { threads: 256 },
            ),
            (
                "ThreadingModel",
                "PER_REQUEST",
                100,
                ThreadingModel::PerRequest,
            ),
            (
                "aws.region",
                "us-east-1",
                100,
                ThreadingModel::Pooled { threads: 10 },
            ),
            (
                "MinConnections",
                "7",
                100,
                ThreadingModel::Pooled { threads: 10 },
            ),
        ] {
            let config = read_all(&[(key, value)]).expect(key);
            assert_eq!(
                (config.rate_limit_percent, config.threading_model),
                (rate, model),
                "{key}"
            );
        }
    }

    #[test]
    fn a_deprecated_name_counts_above_the_new_one() {
        for (old, new) in [
            ("aws.producer.collectionMaxCount", "CollectionMaxCount"),
            ("aws.producer.aggregationMaxCount", "AggregationMaxCount"),
        ] {
            for given in [vec![(old, "7")], vec![(old, "7"), (new, "9")]] {
                let config = read_all(&given).expect("two numbers");
                let is_seven = [
                    config.collection_max_count as u64,
                    config.aggregation_max_count,
                ];
                assert!(is_seven.contains(&7), "{given:?}");
            }
        }
    }

    #[test]
    fn bounds_are_the_kpls_but_for_the_count_that_flinks_own_example_breaks() {
        for (key, value, message) in [
            ("RateLimit", "unparsableLong", "an integer from 1 (percent)"),
            ("RateLimit", "0", "an integer from 1 (percent)"),
            (
                "AggregationMaxSize",
                "63",
                "an integer from 64 to 10485760 (bytes)",
            ),
            (
                "AggregationMaxSize",
                "10485761",
                "an integer from 64 to 10485760 (bytes)",
            ),
            (
                "CollectionMaxCount",
                "0",
                "an integer from 1 (Kinesis records)",
            ),
            (
                "CollectionMaxSize",
                "52223",
                "an integer from 52224 (bytes)",
            ),
            (
                "MaxUserRecordSize",
                "1048576;",
                "an integer from 64 to 10485760 (bytes)",
            ),
            ("RecordTtl", "99", "an integer from 100 (milliseconds)"),
            ("RecordTtl", "30s", "an integer from 100 (milliseconds)"),
            (
                "RecordMaxBufferedTime",
                "-1",
                "an integer from 0 (milliseconds)",
            ),
            ("ThreadingModel", "pooled", "POOLED or PER_REQUEST"),
            ("AggregationEnabled", "yes", "true or false"),
        ] {
            let error = read_all(&[(key, value)]).expect_err(key).to_string();
            assert_eq!(error, format!("{key}: {value:?} is not {message}"));
        }
        let most = read_all(&[
            ("CollectionMaxCount", "1000"),
            ("RecordTtl", "9223372036854775807"),
        ]);
        assert_eq!(most.expect("capped").collection_max_count, 500);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = read_all(&[
            ("RateLimit", "x"),
            ("RecordTtl", "1"),
            ("AggregationEnabled", "1"),
        ]);
        assert_eq!(
            error.expect_err("three faults").to_string(),
            "3 things are wrong: AggregationEnabled: \"1\" is not true or false; RateLimit: \"x\" is not an integer from 1 (percent); RecordTtl: \"1\" is not an integer from 100 (milliseconds)"
        );
    }

    #[test]
    fn what_cannot_be_had_says_what_to_do() {
        let error = read_all(&[("GlueSchemaRegistryPropertiesFilePath", "/x")]);
        assert_eq!(
            error.expect_err("no registry").to_string(),
            "GlueSchemaRegistryPropertiesFilePath: \"/x\" is not possible here: serialise with your schema registry's own client before the put"
        );
    }
}
