//! The keys of Flink's consumer. Those that concern calls are among the client's.
//!
//! Source: <https://nightlies.apache.org/flink/flink-docs-release-1.20/docs/connectors/datastream/kinesis/>

use std::time::Duration;

use crate::aggregation::Misplaced;
use crate::config::date_pattern::DatePattern;
use crate::config::keys::{Key, LONG_MAX, Setting, integer, read, verdict};
use crate::config::{ConsumerConfig, Properties};
use crate::error::{Error, Result};
use crate::model::{StartPosition, Timestamp};

/// Takes over every key that is set.
pub(in crate::config) fn consumer(
    properties: &Properties,
    config: ConsumerConfig,
) -> Result<ConsumerConfig> {
    let mut draft = Draft {
        config,
        ..Draft::default()
    };
    let mut faults = Vec::new();
    read(KEYS, properties, &mut draft, &mut faults);
    let position = draft.start_position();
    faults.extend(position.as_ref().err().cloned());
    verdict(faults)?;
    if let Ok(Some(position)) = position {
        draft.config.start_position = position;
    }
    Ok(draft.config)
}

/// A configuration whose start position is still three settings, as the keys have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    config: ConsumerConfig,
    /// One of [`POSITIONS`], if it is set.
    position: Option<usize>,
    timestamp: Option<String>,
    pattern: DatePattern,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            config: ConsumerConfig::default(),
            position: None,
            timestamp: None,
            pattern: DatePattern::compile(PATTERN).expect("it is tested"),
        }
    }
}

impl Draft {
    fn start_position(&self) -> Result<Option<StartPosition>> {
        Ok(match self.position.map(|at| POSITIONS[at]) {
            None => None,
            Some("LATEST") => Some(StartPosition::Latest),
            Some("TRIM_HORIZON") => Some(StartPosition::TrimHorizon),
            Some(_) => Some(StartPosition::AtTimestamp(self.start_time()?)),
        })
    }

    /// Reads the time by the pattern, or else as seconds since the epoch.
    fn start_time(&self) -> Result<Timestamp> {
        let text = self.timestamp.as_deref().unwrap_or_default();
        let time = self.pattern.parse(text).or_else(|| epoch_seconds(text));
        time.ok_or_else(|| {
            let expected = format!(
                "a time by {FORMAT_KEY} (default {PATTERN}) or in seconds since 1970, as {INITPOS_KEY} is AT_TIMESTAMP"
            );
            Error::config(TIMESTAMP_KEY, text, expected)
        })
    }
}

/// Reads seconds since the epoch, to the nearest millisecond.
fn epoch_seconds(text: &str) -> Option<Timestamp> {
    let millis = text.parse::<f64>().ok()? * 1_000.0;
    let is_time = millis.is_finite() && millis >= 0.0 && millis < i64::MAX as f64;
    is_time.then(|| Timestamp::from_millis(millis.round() as i64))
}

const INITPOS_KEY: &str = "flink.stream.initpos";
const TIMESTAMP_KEY: &str = "flink.stream.initpos.timestamp";
const FORMAT_KEY: &str = "flink.stream.initpos.timestamp.format";

const POSITIONS: &[&str] = &["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"];

/// Flink's default of the format.
const PATTERN: &str = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX";

/// The newer source's keys come first, so that the connector's own count above them.
pub(super) static KEYS: &[Key<Draft>] = &[
    Key::new("source.init.position", POSITION, "As flink.stream.initpos."),
    Key::new(
        "source.init.timestamp",
        TIMESTAMP,
        "As flink.stream.initpos.timestamp.",
    ),
    Key::new(
        "source.init.timestamp.format",
        FORMAT,
        "As flink.stream.initpos.timestamp.format.",
    ),
    Key::new(
        "source.shard.discovery.interval",
        Setting::Time {
            range_ms: 0..=86_400_000,
            set: |d, time| d.config.shard_discovery_interval = at_least_100_ms(time),
        },
        "As flink.shard.discovery.intervalmillis.",
    ),
    Key::new(
        "source.shard.get-records.max-record-count",
        MAX_COUNT,
        "As flink.shard.getrecords.maxrecordcount.",
    ),
    Key::new(
        "source.shard.get-records.interval",
        Setting::Time {
            range_ms: 0..=299_999,
            set: |d, time| d.config.get_records_interval = time,
        },
        "As flink.shard.getrecords.intervalmillis.",
    ),
    Key::new(
        "source.reader.empty-records-fetch-interval",
        Setting::Time {
            range_ms: 0..=3_600_000,
            set: |d, time| d.config.empty_interval = time,
        },
        "Time from the start of a GetRecords that gave nothing to the start of the next.",
    ),
    Key::new(
        INITPOS_KEY,
        POSITION,
        "Where reading starts when no checkpoint says otherwise.",
    ),
    Key::new(
        TIMESTAMP_KEY,
        TIMESTAMP,
        "The time that AT_TIMESTAMP means.",
    ),
    Key::new(
        FORMAT_KEY,
        FORMAT,
        "The pattern of that time, as Java's SimpleDateFormat has it; without a zone it is UTC.",
    ),
    Key::new(
        "flink.stream.recordpublisher",
        Setting::Text {
            what: "POLLING",
            set: |_, value| {
                match value {
                "POLLING" => Ok(()),
                "EFO" => Err("possible here: enhanced fan-out needs HTTP/2, which this library does not speak; leave the key out to poll".to_owned()),
                _ => Err("POLLING".to_owned()),
            }
            },
            default: "POLLING",
        },
        "How records are fetched.",
    ),
    Key::new(
        "flink.shard.getrecords.maxrecordcount",
        MAX_COUNT,
        "Most Kinesis records that one GetRecords asks for.",
    ),
    Key::new(
        "flink.shard.getrecords.intervalmillis",
        Setting::Integer {
            range: 0..=299_999,
            unit: "milliseconds",
            cap: None,
            set: |d, n| d.config.get_records_interval = Duration::from_millis(n),
            get: |d| super::millis(d.config.get_records_interval),
        },
        "Time from the start of one GetRecords on a shard to the start of the next.",
    ),
    Key::new(
        "flink.shard.adaptivereads",
        Setting::Switch {
            set: |d, yes| d.config.adaptive_reads = yes,
            get: |d| d.config.adaptive_reads,
        },
        "Asks for as many records as two reads a second may bring, by the size of the last ones.",
    ),
    Key::new(
        "flink.shard.discovery.intervalmillis",
        Setting::Integer {
            range: 0..=LONG_MAX,
            unit: "milliseconds",
            cap: Some(86_400_000),
            set: |d, n| {
                d.config.shard_discovery_interval = at_least_100_ms(Duration::from_millis(n))
            },
            get: |d| super::millis(d.config.shard_discovery_interval),
        },
        "Time between two listings of a stream's shards; below 100 it is taken for 100.",
    ),
    Key::new(
        "flink.shard.idle.interval",
        Setting::Text {
            what: "an integer (milliseconds); -1 and 0 are off",
            set: |d, text| {
                d.config.shard_idle_interval = interval_or_off(text)?;
                Ok(())
            },
            default: "-1",
        },
        "How long a shard may have nothing until the watermark goes on without it; above a day it is taken for a day.",
    ),
    Key::new(
        "pipeline.auto-watermark-interval",
        Setting::Time {
            range_ms: 0..=86_400_000,
            set: |d, time| d.config.watermark_interval = time,
        },
        "Time between two watermarks; Flink's own key, not its connector's.",
    ),
    Key::new(
        "flink.watermark.lookahead.millis",
        Setting::Integer {
            range: 0..=LONG_MAX,
            unit: "milliseconds",
            cap: None,
            set: |d, n| d.config.watermark_lookahead = Duration::from_millis(n),
            get: |d| super::millis(d.config.watermark_lookahead),
        },
        "How far beyond the watermark of all consumers a record may be; at least three times the sync interval counts.",
    ),
    Key::new(
        "flink.watermark.sync.interval",
        Setting::Integer {
            range: 1..=LONG_MAX,
            unit: "milliseconds",
            cap: Some(86_400_000),
            set: |d, n| d.config.watermark_sync_interval = Duration::from_millis(n),
            get: |d| super::millis(d.config.watermark_sync_interval),
        },
        "Time between two exchanges of watermarks between consumers.",
    ),
    Key::new(
        "flink.watermark.sync.queue.capacity",
        Setting::Integer {
            range: 1..=super::INT_MAX,
            unit: "user records",
            cap: None,
            set: |d, n| {
                d.config.watermark_sync_queue_capacity = usize::try_from(n).unwrap_or(usize::MAX);
            },
            get: |d| d.config.watermark_sync_queue_capacity as u64,
        },
        "Most records that a shard lays down for the caller at once where shards are aligned.",
    ),
    Key::new(
        "shard.outage.timeout",
        Setting::Text {
            what: "an integer from 1000 to 86400000 (milliseconds), or never",
            set: |d, text| {
                d.config.outage_timeout = outage_timeout(text)?;
                Ok(())
            },
            default: "300000",
        },
        "How long no read of a shard may succeed until the consumer ends. This library's own key.",
    ),
    Key::new(
        "commit.retry.timeout",
        Setting::Millis {
            range: 0..=86_400_000,
            set: |d, time| d.config.commit_retry_timeout = time,
            get: |d| Some(d.config.commit_retry_timeout),
        },
        "How long commits by interval may fail before the consumer ends. This library's own key.",
    ),
    Key::new(
        "shard.stack.bytes",
        Setting::Integer {
            range: 131_072..=1_073_741_824,
            unit: "bytes",
            cap: None,
            set: |d, n| d.config.shard_stack_bytes = usize::try_from(n).unwrap_or(usize::MAX),
            get: |d| d.config.shard_stack_bytes as u64,
        },
        "The stack of each thread that reads a shard, on which the decoder runs; on 32 bits it is 524288 unless set. This library's own key.",
    ),
    Key::new(
        "shard.misplaced.policy",
        Setting::Word {
            words: POLICIES,
            set: |d, at| d.config.misplaced = POLICIES_SET[at],
            get: |d| {
                let policy = d.config.misplaced;
                let at = POLICIES_SET.iter().position(|one| *one == policy);
                at.unwrap_or(0)
            },
        },
        "What becomes of user records that lie outside the shard they are read from, and of their copies. This library's own key.",
    ),
    Key::new(
        "shard.misplaced.window",
        Setting::Millis {
            range: 1_000..=3_600_000,
            set: |d, time| d.config.misplaced_window = time,
            get: |d| Some(d.config.misplaced_window),
        },
        "How far apart two copies of a record may arrive after a reshard. This library's own key.",
    ),
    ignored("flink.stream.efo.consumername", EFO_ONLY),
    ignored("flink.stream.efo.http-client.max-concurrency", EFO_ONLY),
    ignored("flink.stream.efo.http-client.read-timeout", EFO_ONLY),
    ignored("flink.stream.efo.registration", EFO_ONLY),
    ignored("flink.stream.describestreamconsumer.backoff.base", EFO_ONLY),
    ignored(
        "flink.stream.describestreamconsumer.backoff.expconst",
        EFO_ONLY,
    ),
    ignored("flink.stream.describestreamconsumer.backoff.max", EFO_ONLY),
    ignored("flink.stream.describestreamconsumer.maxretries", EFO_ONLY),
    ignored(
        "flink.stream.deregisterstreamconsumer.backoff.base",
        EFO_ONLY,
    ),
    ignored(
        "flink.stream.deregisterstreamconsumer.backoff.expconst",
        EFO_ONLY,
    ),
    ignored(
        "flink.stream.deregisterstreamconsumer.backoff.max",
        EFO_ONLY,
    ),
    ignored("flink.stream.deregisterstreamconsumer.maxretries", EFO_ONLY),
    ignored("flink.stream.deregisterstreamconsumer.timeout", EFO_ONLY),
    ignored("flink.stream.registerstreamconsumer.backoff.base", EFO_ONLY),
    ignored(
        "flink.stream.registerstreamconsumer.backoff.expconst",
        EFO_ONLY,
    ),
    ignored("flink.stream.registerstreamconsumer.backoff.max", EFO_ONLY),
    ignored("flink.stream.registerstreamconsumer.maxretries", EFO_ONLY),
    ignored("flink.stream.registerstreamconsumer.timeout", EFO_ONLY),
    ignored("flink.shard.subscribetoshard.backoff.base", EFO_ONLY),
    ignored("flink.shard.subscribetoshard.backoff.expconst", EFO_ONLY),
    ignored("flink.shard.subscribetoshard.backoff.max", EFO_ONLY),
    ignored("flink.shard.subscribetoshard.maxretries", EFO_ONLY),
    ignored("flink.shard.subscribetoshard.timeout", EFO_ONLY),
];

const POLICIES: &[&str] = &[
    "DEDUPLICATE_BY_MARK",
    "DEDUPLICATE_BY_CONTENT",
    "DELIVER",
    "DROP_AND_COUNT",
    "COMPAT_KCL",
    "FAIL",
];

/// The same, in the same order.
const POLICIES_SET: [Misplaced; 6] = [
    Misplaced::DeduplicateByMark,
    Misplaced::DeduplicateByContent,
    Misplaced::Deliver,
    Misplaced::DropAndCount,
    Misplaced::CompatKcl,
    Misplaced::Fail,
];

const POSITION: Setting<Draft> = Setting::Word {
    words: POSITIONS,
    set: |d, at| d.position = Some(at),
    get: |d| d.position.unwrap_or(0),
};

const TIMESTAMP: Setting<Draft> = Setting::Text {
    what: "a time by the pattern, or in seconds since 1970",
    set: |d, text| {
        d.timestamp = Some(text.to_owned());
        Ok(())
    },
    default: "",
};

const FORMAT: Setting<Draft> = Setting::Text {
    what: "a pattern of letters and quoted text",
    set: |d, text| {
        let pattern = DatePattern::compile(text);
        d.pattern = pattern.map_err(|reason| format!("a pattern for a time: {reason}"))?;
        Ok(())
    },
    default: PATTERN,
};

const MAX_COUNT: Setting<Draft> = Setting::Integer {
    range: 1..=10_000,
    unit: "Kinesis records",
    cap: None,
    set: |d, n| d.config.get_records_max = u32::try_from(n).unwrap_or(u32::MAX),
    get: |d| u64::from(d.config.get_records_max),
};

/// Reads milliseconds, of which none and less are off.
fn interval_or_off(text: &str) -> Result<Option<Duration>, String> {
    let millis: i64 = text
        .parse()
        .map_err(|_| "an integer (milliseconds); -1 and 0 are off".to_owned())?;
    let millis = u64::try_from(millis).unwrap_or(0).min(86_400_000);
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

fn outage_timeout(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    let expected = || "an integer from 1000 to 86400000 (milliseconds), or never".to_owned();
    let millis = integer(text, &(1_000..=86_400_000)).ok_or_else(expected)?;
    Ok(Some(Duration::from_millis(millis)))
}

const fn ignored(name: &'static str, because: &'static str) -> Key<Draft> {
    Key::new(name, Setting::Ignored { because }, "")
}

fn at_least_100_ms(time: Duration) -> Duration {
    time.max(Duration::from_millis(100))
}

const EFO_ONLY: &str = "it is for enhanced fan-out, and this library polls";

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> Result<ConsumerConfig> {
        let properties = Properties::from_iter(pairs.iter().copied());
        consumer(&properties, ConsumerConfig::default())
    }

    fn at(millis: i64) -> StartPosition {
        StartPosition::AtTimestamp(Timestamp::from_millis(millis))
    }

    #[test]
    fn an_outage_has_a_time_or_no_end() {
        for (text, timeout) in [
            ("1000", Some(Some(1_000))),
            ("86400000", Some(Some(86_400_000))),
            ("never", Some(None)),
            ("999", None),
            ("86400001", None),
            ("-1", None),
            ("", None),
        ] {
            let config = read_all(&[("shard.outage.timeout", text)]);
            let read = config.ok().map(|config| config.outage_timeout);
            let expected = timeout.map(|timeout| timeout.map(Duration::from_millis));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_start_is_read_in_every_form() {
        for (position, timestamp, format, start) in [
            ("LATEST", None, None, StartPosition::Latest),
            (
                "TRIM_HORIZON",
                Some("no time, and not looked at"),
                None,
                StartPosition::TrimHorizon,
            ),
            (
                "AT_TIMESTAMP",
                Some("2016-04-04T19:58:46.480-00:00"),
                None,
                at(1_459_799_926_480),
            ),
            (
                "AT_TIMESTAMP",
                Some("2020-08-13T09:18:00.0+01:00"),
                None,
                at(1_597_306_680_000),
            ),
            (
                "AT_TIMESTAMP",
                Some("1459799926.480"),
                None,
                at(1_459_799_926_480),
            ),
            (
                "AT_TIMESTAMP",
                Some("1459799926"),
                None,
                at(1_459_799_926_000),
            ),
            ("AT_TIMESTAMP", Some("1.001"), None, at(1_001)),
            ("AT_TIMESTAMP", Some("1e9"), None, at(1_000_000_000_000)),
            ("AT_TIMESTAMP", Some("-0.0"), None, at(0)),
            (
                "AT_TIMESTAMP",
                Some("2016-04-04"),
                Some("yyyy-MM-dd"),
                at(1_459_728_000_000),
            ),
            (
                "AT_TIMESTAMP",
                Some("1459799926.480"),
                Some("yyyy-MM-dd"),
                at(1_459_799_926_480),
            ),
            (
                "AT_TIMESTAMP",
                Some("2020-08-13T09:23"),
                Some("yyyy-MM-dd'T'HH:mm"),
                at(1_597_310_580_000),
            ),
        ] {
            let mut pairs = vec![(INITPOS_KEY, position)];
            pairs.extend(timestamp.map(|timestamp| (TIMESTAMP_KEY, timestamp)));
            pairs.extend(format.map(|format| (FORMAT_KEY, format)));
            let config = read_all(&pairs).expect(position);
            assert_eq!(config.start_position, start, "{pairs:?}");
        }
        assert_eq!(
            read_all(&[]).expect("no key").start_position,
            StartPosition::Latest
        );
    }

    #[test]
    fn a_start_that_means_nothing_is_refused() {
        let no_time = "a time by flink.stream.initpos.timestamp.format (default yyyy-MM-dd'T'HH:mm:ss.SSSXXX) or in seconds since 1970, as flink.stream.initpos is AT_TIMESTAMP";
        let position = (INITPOS_KEY, "AT_TIMESTAMP");
        let error = read_all(&[position]).expect_err("no time").to_string();
        assert_eq!(
            error,
            format!("{TIMESTAMP_KEY} is not set: it has to be {no_time}")
        );
        for time in ["unparsableDate", "-1.0", "NaN", "Infinity", "1e300", "bad"] {
            let error = read_all(&[position, (TIMESTAMP_KEY, time)])
                .expect_err(time)
                .to_string();
            assert_eq!(error, format!("{TIMESTAMP_KEY}: {time:?} is not {no_time}"));
        }
        for (pairs, begin) in [
            (
                vec![(INITPOS_KEY, "wrongInitPosition")],
                "flink.stream.initpos: \"wrongInitPosition\" is not one of LATEST, TRIM_HORIZON, AT_TIMESTAMP",
            ),
            (
                vec![(INITPOS_KEY, "latest")],
                "flink.stream.initpos: \"latest\" is not one of",
            ),
            (
                vec![
                    position,
                    (TIMESTAMP_KEY, "1"),
                    (FORMAT_KEY, "InvalidPattern"),
                ],
                "flink.stream.initpos.timestamp.format: \"InvalidPattern\" is not a pattern for a time: I is no part of an instant",
            ),
            (
                vec![
                    position,
                    (TIMESTAMP_KEY, "stillUnparsable"),
                    (FORMAT_KEY, "yyyy-MM-dd"),
                ],
                "flink.stream.initpos.timestamp: \"stillUnparsable\" is not a time by",
            ),
        ] {
            let error = read_all(&pairs).expect_err(begin).to_string();
            assert!(error.starts_with(begin), "{error}");
        }
    }

    #[test]
    fn numbers_have_flinks_bounds() {
        for (key, good, bad) in [
            (
                "flink.shard.getrecords.intervalmillis",
                ["0", "+5", "299999"],
                ["300000", "-1", "unparsableLong"],
            ),
            (
                "flink.shard.getrecords.maxrecordcount",
                ["1", "500", "10000"],
                ["0", "10001", "unparsableInt"],
            ),
            (
                "flink.shard.discovery.intervalmillis",
                ["0", " 100 ", "9223372036854775807"],
                ["-1", "5 6", "unparsableLong"],
            ),
            (
                "source.shard.discovery.interval",
                ["0", "10 s", "1 d"],
                ["2 d", "-1 s", "soon"],
            ),
            (
                "flink.stream.recordpublisher",
                ["POLLING", "POLLING", "POLLING"],
                ["EFO", "efo", ""],
            ),
        ] {
            for value in good {
                read_all(&[(key, value)]).unwrap_or_else(|error| panic!("{error}"));
            }
            for value in bad {
                let error = read_all(&[(key, value)]).expect_err(key).to_string();
                assert!(error.starts_with(key), "{error}");
            }
        }
    }

    #[test]
    fn the_connectors_own_keys_count_above_the_newer_ones() {
        let pairs = [
            ("source.init.position", "TRIM_HORIZON"),
            ("source.shard.get-records.interval", "1 s"),
        ];
        let config = read_all(&pairs).expect("two keys");
        assert_eq!(config.start_position, StartPosition::TrimHorizon);
        assert_eq!(config.get_records_interval, Duration::from_secs(1));
        let both = [pairs[0], pairs[1], (INITPOS_KEY, "LATEST")];
        assert_eq!(
            read_all(&both).expect("both").start_position,
            StartPosition::Latest
        );
    }
}
