use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Gap, GapCause, ShardRef};

/// What a consumer is doing, and what it has done since it was started.
///
/// Flink's metrics have Flink's names and meanings; all are explained in
/// [`manual::metrics`](crate::manual::metrics).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConsumerMetrics {
    /// The shards that are being read. One leaves when the caller has all of it.
    pub shards: BTreeMap<ShardRef, ShardMetrics>,
    /// The counts of all shards, of those that have left as well.
    pub total: ReadCounts,
    /// The search for shards.
    pub discovery: DiscoveryMetrics,
    /// What was committed.
    pub commits: CommitMetrics,
    /// How far event time has come.
    pub event_time: EventTimeMetrics,
}

/// One shard's reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShardMetrics {
    /// How far behind the shard's newest record the last answer ended that told it.
    pub millis_behind_latest: Option<u64>,
    /// Kinesis records in the last answer, aggregates or not.
    pub number_of_aggregated_records_per_fetch: u64,
    /// User records that came out of the last answer.
    pub number_of_deaggregated_records_per_fetch: u64,
    /// The mean size of their data; 0 if there were none.
    pub average_record_size_bytes: u64,
    /// The limit that the last GetRecords asked for.
    pub max_number_of_records_per_fetch: u64,
    /// The bytes that the last adaptive GetRecords aimed at; 0 without adaptive reads.
    pub bytes_requested_per_fetch: f64,
    /// Nanoseconds from the end of one GetRecords to the end of the next, pauses included.
    pub run_loop_time_nanos: u64,
    /// The same as a frequency; 0 before the second GetRecords.
    pub loop_frequency_hz: f64,
    /// The last pause between two calls.
    pub sleep_time_millis: u64,
    /// User records that wait for the caller's loop, and that it has not begun to take.
    pub queued_records: u64,
    /// Their data and partition keys.
    pub queued_bytes: u64,
    /// How far the event time of what was handed out has come, in milliseconds since the epoch, as of
    /// the last look at all shards.
    pub watermark: Option<i64>,
    /// Whether the watermark goes on without the shard, as nothing happens in it.
    pub is_idle: bool,
    /// For how long no call on it has succeeded; `None` if the last did.
    pub unavailable_millis: Option<u64>,
    /// What went wrong last, if anything did.
    pub last_error: Option<String>,
    /// Sums since the consumer was started.
    #[serde(flatten)]
    pub counts: ReadCounts,
}

/// Sums since the consumer was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReadCounts {
    /// GetRecords calls, failed ones included.
    pub get_records_calls: u64,
    /// Milliseconds that these took together.
    pub get_records_millis: u64,
    /// Calls that failed and were, or will be, made again.
    pub retries: u64,
    /// Those of them to which the service said that they were too many.
    pub throttled_calls: u64,
    /// Shard iterators that were taken because one had expired.
    pub iterator_refreshes: u64,
    /// How often the shard's reading began again after it had failed.
    pub thread_restarts: u64,
    /// Kinesis records read.
    pub kinesis_records_read: u64,
    /// Bytes of their payloads.
    pub bytes_read: u64,
    /// User records that came out of them.
    pub user_records_read: u64,
    /// User records that the caller's loop has taken, or is about to.
    pub user_records_taken: u64,
    /// User records left out because they belong to another shard, by the policy on them.
    pub misplaced_records_left_out: u64,
    /// User records that belong to another shard and were handed out, where a reshard explains it: the
    /// most that may come twice of what the KPL stored again.
    pub misplaced_records_after_reshard: u64,
    /// The same where no reshard explains it: their producer does not look where its records go.
    pub misplaced_records_without_reshard: u64,
    /// User records left out because another copy of them is handed out.
    pub repeated_records_left_out: u64,
    /// User records that the decoder refused.
    pub poison_records: u64,
    /// Those of them that were handed to the dead letter handler.
    pub dead_letters: u64,
}

impl ReadCounts {
    pub(super) fn add(&mut self, other: &ReadCounts) {
        self.get_records_calls += other.get_records_calls;
        self.get_records_millis += other.get_records_millis;
        self.retries += other.retries;
        self.throttled_calls += other.throttled_calls;
        self.iterator_refreshes += other.iterator_refreshes;
        self.thread_restarts += other.thread_restarts;
        self.kinesis_records_read += other.kinesis_records_read;
        self.bytes_read += other.bytes_read;
        self.user_records_read += other.user_records_read;
        self.user_records_taken += other.user_records_taken;
        self.misplaced_records_left_out += other.misplaced_records_left_out;
        self.misplaced_records_after_reshard += other.misplaced_records_after_reshard;
        self.misplaced_records_without_reshard += other.misplaced_records_without_reshard;
        self.repeated_records_left_out += other.repeated_records_left_out;
        self.poison_records += other.poison_records;
        self.dead_letters += other.dead_letters;
    }

    /// Counts what was reported of misplaced records and of repeats.
    pub(super) fn add_gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            let (sum, records) = match gap.cause {
                GapCause::Misplaced { records, .. } => {
                    (&mut self.misplaced_records_left_out, records)
                }
                GapCause::MisplacedHandedOut {
                    records,
                    after_reshard: true,
                    ..
                } => (&mut self.misplaced_records_after_reshard, records),
                GapCause::MisplacedHandedOut { records, .. } => {
                    (&mut self.misplaced_records_without_reshard, records)
                }
                GapCause::Repeated { records, .. } => {
                    (&mut self.repeated_records_left_out, records)
                }
                _ => continue,
            };
            *sum += records as u64;
        }
    }
}

/// The search for shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DiscoveryMetrics {
    /// ListShards calls, one for each page, failed ones included.
    pub list_shards_calls: u64,
    /// Milliseconds that these took together.
    pub list_shards_millis: u64,
    /// Calls that failed and were, or will be, made again.
    pub retries: u64,
    /// Those of them to which the service said that they were too many.
    pub throttled_calls: u64,
    /// Shards that were found, in all streams.
    pub shards_found: u64,
    /// Shards that were read to their end.
    pub shards_ended: u64,
    /// For how long a stream could not be listed; `None` if all were, the last time.
    pub unavailable_millis: Option<u64>,
    /// What went wrong last, if anything did.
    pub last_error: Option<String>,
}

/// What was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CommitMetrics {
    /// Commits that went well.
    pub commits: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// How long ago the last one went well.
    pub millis_since_last: Option<u64>,
    /// How long ago the first failed of those that failed in a row; `None` if the last one succeeded.
    pub failing_millis: Option<u64>,
    /// Why the last one failed; `None` if it succeeded.
    pub last_error: Option<String>,
}

impl CommitMetrics {
    fn merge(&self, other: &CommitMetrics) -> CommitMetrics {
        let both = |of: fn(&CommitMetrics) -> Option<u64>| of(self).into_iter().chain(of(other));
        let error = self.last_error.as_ref().or(other.last_error.as_ref());
        CommitMetrics {
            commits: self.commits + other.commits,
            failed_commits: self.failed_commits + other.failed_commits,
            millis_since_last: both(|commits| commits.millis_since_last).min(),
            failing_millis: both(|commits| commits.failing_millis).max(),
            last_error: error.cloned(),
        }
    }
}

/// How far event time has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventTimeMetrics {
    /// The last watermark, in milliseconds since the epoch.
    pub watermark: Option<i64>,
    /// Whether every shard is idle, or there is none.
    pub is_idle: bool,
    /// What this consumer told the tracker last: the watermark that its next record brings.
    pub local_watermark: Option<i64>,
    /// How far all consumers are that share the tracker.
    pub global_watermark: Option<i64>,
    /// How often the tracker answered.
    pub syncs: u64,
    /// How often it failed to.
    pub failed_syncs: u64,
}

impl EventTimeMetrics {
    /// What is complete for both, be it nothing; one that is idle is not waited for.
    fn merge(&self, other: &EventTimeMetrics) -> EventTimeMetrics {
        let lowest = |one: Option<i64>, two: Option<i64>| one.into_iter().chain(two).min();
        EventTimeMetrics {
            watermark: match (self.is_idle, other.is_idle) {
                (true, false) => other.watermark,
                (false, true) => self.watermark,
                _ => self.watermark.min(other.watermark),
            },
            is_idle: self.is_idle && other.is_idle,
            local_watermark: lowest(self.local_watermark, other.local_watermark),
            global_watermark: lowest(self.global_watermark, other.global_watermark),
            syncs: self.syncs + other.syncs,
            failed_syncs: self.failed_syncs + other.failed_syncs,
        }
    }
}

impl ConsumerMetrics {
    /// Those of two consumers of a group, whose search for shards is the same.
    pub(super) fn merge(mut self, other: ConsumerMetrics) -> ConsumerMetrics {
        self.shards.extend(other.shards);
        self.total.add(&other.total);
        self.commits = self.commits.merge(&other.commits);
        self.event_time = self.event_time.merge(&other.event_time);
        self
    }

    /// Writes them as one JSON object, whose form is documented in
    /// [`manual::metrics`](crate::manual::metrics). A field may be added, and none changes, while its
    /// `version` is the same.
    pub fn to_json(&self) -> String {
        let document = Document {
            version: 1,
            shards: self.shards.iter().map(Named::of).collect(),
            total: &self.total,
            discovery: &self.discovery,
            commits: &self.commits,
            event_time: &self.event_time,
        };
        serde_json::to_string(&document).expect("strings and numbers are always JSON")
    }
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    shards: Vec<Named<'a>>,
    total: &'a ReadCounts,
    discovery: &'a DiscoveryMetrics,
    commits: &'a CommitMetrics,
    #[serde(rename = "eventTime")]
    event_time: &'a EventTimeMetrics,
}

#[derive(Serialize)]
struct Named<'a> {
    stream: &'a str,
    #[serde(rename = "shardId")]
    shard_id: &'a str,
    #[serde(flatten)]
    metrics: &'a ShardMetrics,
}

impl<'a> Named<'a> {
    fn of((shard, metrics): (&'a ShardRef, &'a ShardMetrics)) -> Named<'a> {
        Named {
            stream: &shard.stream,
            shard_id: shard.shard_id.as_str(),
            metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn metrics() -> ConsumerMetrics {
        let shard = ShardMetrics {
            millis_behind_latest: Some(7),
            loop_frequency_hz: 5.0,
            ..ShardMetrics::default()
        };
        ConsumerMetrics {
            shards: [(ShardRef::new("orders", "shardId-0"), shard)].into(),
            ..ConsumerMetrics::default()
        }
    }

    #[test]
    fn the_json_is_fixed() {
        let counts = concat!(
            r#""getRecordsCalls":0,"getRecordsMillis":0,"retries":0,"throttledCalls":0,"#,
            r#""iteratorRefreshes":0,"threadRestarts":0,"kinesisRecordsRead":0,"bytesRead":0,"#,
            r#""userRecordsRead":0,"userRecordsTaken":0,"misplacedRecordsLeftOut":0,"#,
            r#""misplacedRecordsAfterReshard":0,"misplacedRecordsWithoutReshard":0,"#,
            r#""repeatedRecordsLeftOut":0,"#,
            r#""poisonRecords":0,"deadLetters":0"#,
        );
        let shard = concat!(
            r#""stream":"orders","shardId":"shardId-0","millisBehindLatest":7,"#,
            r#""numberOfAggregatedRecordsPerFetch":0,"numberOfDeaggregatedRecordsPerFetch":0,"#,
            r#""averageRecordSizeBytes":0,"maxNumberOfRecordsPerFetch":0,"#,
            r#""bytesRequestedPerFetch":0.0,"runLoopTimeNanos":0,"loopFrequencyHz":5.0,"#,
            r#""sleepTimeMillis":0,"queuedRecords":0,"queuedBytes":0,"watermark":null,"isIdle":false,"#,
            r#""unavailableMillis":null,"lastError":null,"#,
        );
        let rest = concat!(
            r#""discovery":{"listShardsCalls":0,"listShardsMillis":0,"retries":0,"#,
            r#""throttledCalls":0,"shardsFound":0,"shardsEnded":0,"unavailableMillis":null,"#,
            r#""lastError":null},"#,
            r#""commits":{"commits":0,"failedCommits":0,"millisSinceLast":null,"#,
            r#""failingMillis":null,"lastError":null},"#,
            r#""eventTime":{"watermark":null,"isIdle":false,"localWatermark":null,"#,
            r#""globalWatermark":null,"syncs":0,"failedSyncs":0}"#,
        );
        let expected = format!(
            r#"{{"version":1,"shards":[{{{shard}{counts}}}],"total":{{{counts}}},{rest}}}"#
        );
        assert_eq!(metrics().to_json(), expected);
    }

    #[test]
    fn the_manual_explains_each_name_and_no_other() {
        let page = include_str!("../manual/metrics.md");
        let json = serde_json::from_str(&metrics().to_json()).expect("JSON");
        let mut names = Vec::new();
        collect(&json, &mut names);
        for name in &names {
            assert!(
                page.contains(&format!("| `{name}` |")),
                "{name} is not on the page"
            );
        }
        let consumer = page.split("# The producer's").next().unwrap_or_default();
        let explained = consumer.lines().filter_map(|line| {
            let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
            Some(name.to_owned())
        });
        for name in explained {
            assert!(names.contains(&name), "{name} is on the page only");
        }
    }

    fn collect(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                names.push(name.clone());
                collect(value, names);
            }),
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            _ => {}
        }
    }

    #[test]
    fn those_of_a_group_are_put_together() {
        let of = |shard: &str, millis_since_last, watermark, is_idle| ConsumerMetrics {
            shards: [(ShardRef::new("orders", shard), ShardMetrics::default())].into(),
            commits: CommitMetrics {
                commits: 2,
                millis_since_last,
                ..CommitMetrics::default()
            },
            event_time: EventTimeMetrics {
                watermark,
                is_idle,
                ..EventTimeMetrics::default()
            },
            ..metrics()
        };
        for (one, other, watermark, is_idle) in [
            ((Some(7), false), (Some(5), false), Some(5), false),
            ((None, false), (Some(5), false), None, false),
            ((None, true), (Some(5), false), Some(5), false),
            ((Some(7), false), (Some(5), true), Some(7), false),
            ((Some(7), true), (Some(5), true), Some(5), true),
        ] {
            let both = of("a", None, one.0, one.1).merge(of("b", Some(9), other.0, other.1));
            assert_eq!(both.shards.len(), 2);
            assert_eq!(both.commits.commits, 4);
            assert_eq!(both.commits.millis_since_last, Some(9));
            let event_time = &both.event_time;
            assert_eq!(
                (event_time.watermark, event_time.is_idle),
                (watermark, is_idle)
            );
        }
    }

    #[test]
    fn sums_add_up_field_by_field() {
        let json = serde_json::to_value(ReadCounts::default()).expect("JSON");
        let fields = json.as_object().expect("fields").len();
        let ones = ReadCounts {
            get_records_calls: 1,
            get_records_millis: 1,
            retries: 1,
            throttled_calls: 1,
            iterator_refreshes: 1,
            thread_restarts: 1,
            kinesis_records_read: 1,
            bytes_read: 1,
            user_records_read: 1,
            user_records_taken: 1,
            misplaced_records_left_out: 1,
            misplaced_records_after_reshard: 1,
            misplaced_records_without_reshard: 1,
            repeated_records_left_out: 1,
            poison_records: 1,
            dead_letters: 1,
        };
        let mut sum = ones.clone();
        sum.add(&ones);
        let sum = serde_json::to_value(sum).expect("JSON");
        let twos = sum.as_object().expect("fields").values();
        assert_eq!(twos.filter(|value| **value == 2).count(), fields);
    }
}
