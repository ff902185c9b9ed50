use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::ShardId;
use crate::producer::histogram::Histogram;

/// What a producer has done since it was started: in all, by stream, and by shard.
///
/// The names and meanings are the KPL's, where it has them:
/// <https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html>.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// Of all streams.
    pub total: Measures,
    /// Of all streams.
    pub percentiles: TimePercentiles,
    /// By the name that the stream was put to with.
    pub streams: BTreeMap<String, StreamMetrics>,
}

/// What a producer has done to one stream.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StreamMetrics {
    /// Of all its shards, and of what belongs to none.
    pub total: Measures,
    /// Of all its shards.
    pub percentiles: TimePercentiles,
    /// By the shard that took a record, or that was predicted to if none did.
    pub shards: BTreeMap<ShardId, Measures>,
}

/// What was measured of a producer, a stream or a shard.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Measures {
    /// User records taken in. Not told by shard. The KPL's `UserRecordsReceived`.
    pub user_records_received: u64,
    /// User records taken in and not yet settled. Not told by shard. The KPL's `UserRecordsPending`.
    pub user_records_pending: u64,
    /// User records stored. The KPL's `UserRecordsPut`.
    pub user_records_put: u64,
    /// User records not confirmed to be stored.
    pub user_records_failed: u64,
    /// Those of them whose time to live was over. The KPL's `UserRecordExpired`.
    pub user_records_expired: u64,
    /// Bytes of the data of user records stored, without their keys. The KPL's `UserRecordsDataPut`.
    pub user_records_data_put: u64,
    /// Kinesis records stored. The KPL's `KinesisRecordsPut`.
    pub kinesis_records_put: u64,
    /// Bytes of the Kinesis records stored: data and partition keys. The KPL's `KinesisRecordsDataPut`.
    pub kinesis_records_data_put: u64,
    /// Kinesis records that were refused, and calls that failed. The KPL's `AllErrors`.
    pub all_errors: u64,
    /// The same by the service's error code or the failure's name. The KPL's `ErrorsByCode`.
    pub errors_by_code: BTreeMap<String, u64>,
    /// PutRecords calls that came to an end, well or not. Not told by shard.
    pub put_records_calls: u64,
    /// Milliseconds that user records waited before each attempt, those of one aggregate as long as
    /// the first of them. The KPL's `BufferingTime`.
    pub buffering_time: Summary,
    /// Milliseconds that calls waited for a thread to make them. Not told by shard.
    pub queue_time: Summary,
    /// Milliseconds of each PutRecords call. Not told by shard. The KPL's `RequestTime`.
    pub request_time: Summary,
    /// Attempts beyond the first, of each user record. The KPL's `RetriesPerRecord`.
    pub retries_per_record: Summary,
    /// The KPL's `UserRecordsPerKinesisRecord`, at each attempt.
    pub user_records_per_kinesis_record: Summary,
    /// The KPL's `KinesisRecordsPerPutRecordsRequest`. Not told by shard.
    pub kinesis_records_per_request: Summary,
    /// The KPL's `UserRecordsPerPutRecordsRequest`. Not told by shard.
    pub user_records_per_request: Summary,
}

/// Count, sum and extremes of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least of them; 0 if there are none.
    pub min: f64,
    /// The greatest of them; 0 if there are none.
    pub max: f64,
}

/// How times spread, in milliseconds, up to an eighth more than they were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TimePercentiles {
    /// Of [`Measures::buffering_time`].
    pub buffering_time: Percentiles,
    /// Of [`Measures::queue_time`].
    pub queue_time: Percentiles,
    /// Of [`Measures::request_time`].
    pub request_time: Percentiles,
}

/// What so many of a hundred, or of a thousand, did not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Percentiles {
    /// One of two.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
}

impl ProducerMetrics {
    /// Writes them as JSON, in a form that only grows.
    ///
    /// An object with `Version`, which is 1, and the members of `total` and `percentiles` under the
    /// KPL's names: counts are numbers, `ErrorsByCode` an object from code to count, every
    /// [`Summary`] an object of `Count`, `Sum`, `Min` and `Max`. `Percentiles` has `BufferingTime`,
    /// `QueueTime` and `RequestTime`, each an object of `P50`, `P90`, `P99` and `P999`. `Streams` is
    /// an object from name to the same again, and there `Shards` one from shard to it. Times are
    /// milliseconds, data bytes. What is not told by shard is left out there.
    pub fn to_json(&self) -> String {
        let mut whole = self.total.members(false);
        whole.insert("Version".to_owned(), json!(1));
        whole.insert("Percentiles".to_owned(), self.percentiles.to_value());
        let streams = self.streams.iter();
        let streams = streams.map(|(name, stream)| (name.clone(), stream.to_value()));
        whole.insert("Streams".to_owned(), Value::Object(streams.collect()));
        Value::Object(whole).to_string()
    }
}

impl StreamMetrics {
    fn to_value(&self) -> Value {
        let mut whole = self.total.members(false);
        whole.insert("Percentiles".to_owned(), self.percentiles.to_value());
        let shards = self.shards.iter();
        let shards = shards.map(|(id, shard)| (id.to_string(), Value::Object(shard.members(true))));
        whole.insert("Shards".to_owned(), Value::Object(shards.collect()));
        Value::Object(whole)
    }
}

impl Measures {
    fn members(&self, of_a_shard: bool) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("AllErrors", self.all_errors.into());
        put("BufferingTime", self.buffering_time.to_value());
        put("ErrorsByCode", json!(self.errors_by_code));
        put(
            "KinesisRecordsDataPut",
            self.kinesis_records_data_put.into(),
        );
        put("KinesisRecordsPut", self.kinesis_records_put.into());
        put("RetriesPerRecord", self.retries_per_record.to_value());
        put("UserRecordExpired", self.user_records_expired.into());
        put("UserRecordsDataPut", self.user_records_data_put.into());
        put("UserRecordsFailed", self.user_records_failed.into());
        let per_record = &self.user_records_per_kinesis_record;
        put("UserRecordsPerKinesisRecord", per_record.to_value());
        put("UserRecordsPut", self.user_records_put.into());
        if !of_a_shard {
            let per_request = &self.kinesis_records_per_request;
            put("KinesisRecordsPerPutRecordsRequest", per_request.to_value());
            put("PutRecordsCalls", self.put_records_calls.into());
            put("QueueTime", self.queue_time.to_value());
            put("RequestTime", self.request_time.to_value());
            put("UserRecordsPending", self.user_records_pending.into());
            let per_request = &self.user_records_per_request;
            put("UserRecordsPerPutRecordsRequest", per_request.to_value());
            put("UserRecordsReceived", self.user_records_received.into());
        }
        members
    }
}

impl Summary {
    /// Returns the mean, 0 if there are no values.
    pub fn mean(&self) -> f64 {
        match self.count {
            0 => 0.0,
            count => self.sum / count as f64,
        }
    }

    /// Adds a value so many times.
    pub(super) fn add(&mut self, value: f64, times: u32) {
        if times == 0 {
            return;
        }
        let is_first = self.count == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.count += u64::from(times);
        self.sum += value * f64::from(times);
    }

    /// Adds the values of another.
    pub(super) fn merge(&mut self, other: &Summary) {
        if self.count == 0 {
            *self = *other;
        } else if other.count > 0 {
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
            self.count += other.count;
            self.sum += other.sum;
        }
    }

    fn to_value(self) -> Value {
        json!({"Count": self.count, "Sum": self.sum, "Min": self.min, "Max": self.max})
    }
}

impl TimePercentiles {
    fn to_value(self) -> Value {
        json!({
            "BufferingTime": self.buffering_time.to_value(),
            "QueueTime": self.queue_time.to_value(),
            "RequestTime": self.request_time.to_value(),
        })
    }
}

impl Percentiles {
    fn to_value(self) -> Value {
        json!({"P50": self.p50, "P90": self.p90, "P99": self.p99, "P999": self.p999})
    }
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Percentiles {
        let of = |share| histogram.percentile(share).as_secs_f64() * 1_000.0;
        Percentiles {
            p50: of(0.5),
            p90: of(0.9),
            p99: of(0.99),
            p999: of(0.999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_knows_its_extremes_and_its_mean() {
        let mut summary = Summary::default();
        assert_eq!(summary.mean(), 0.0);
        (0..=100).for_each(|value| summary.add(f64::from(value), 1));
        let expected = Summary {
            count: 101,
            sum: 5_050.0,
            min: 0.0,
            max: 100.0,
        };
        assert_eq!((summary, summary.mean()), (expected, 50.0));
        summary.add(7.0, 0);
        assert_eq!(summary, expected);
        summary.add(200.0, 3);
        assert_eq!(
            (summary.count, summary.sum, summary.max),
            (104, 5_650.0, 200.0)
        );
    }

    #[test]
    fn the_json_form_is_as_documented() {
        let mut total = Measures {
            user_records_received: 3,
            ..Measures::default()
        };
        total.request_time.add(12.5, 1);
        total.errors_by_code.insert("InternalFailure".to_owned(), 2);
        let stream = StreamMetrics {
            total: total.clone(),
            shards: BTreeMap::from([("shardId-000000000000".into(), Measures::default())]),
            ..StreamMetrics::default()
        };
        let metrics = ProducerMetrics {
            total,
            streams: BTreeMap::from([("orders".to_owned(), stream)]),
            ..ProducerMetrics::default()
        };
        let written: Value = serde_json::from_str(&metrics.to_json()).expect("JSON");
        let none = json!({"Count": 0, "Sum": 0.0, "Min": 0.0, "Max": 0.0});
        let times = json!({"P50": 0.0, "P90": 0.0, "P99": 0.0, "P999": 0.0});
        let shard = json!({
            "AllErrors": 0, "BufferingTime": none, "ErrorsByCode": {}, "KinesisRecordsDataPut": 0,
            "KinesisRecordsPut": 0, "RetriesPerRecord": none, "UserRecordExpired": 0,
            "UserRecordsDataPut": 0, "UserRecordsFailed": 0, "UserRecordsPerKinesisRecord": none,
            "UserRecordsPut": 0
        });
        let mut stream = shard.clone();
        for (name, value) in [
            ("ErrorsByCode", json!({"InternalFailure": 2})),
            ("KinesisRecordsPerPutRecordsRequest", none.clone()),
            ("PutRecordsCalls", json!(0)),
            ("QueueTime", none.clone()),
            (
                "RequestTime",
                json!({"Count": 1, "Sum": 12.5, "Min": 12.5, "Max": 12.5}),
            ),
            ("UserRecordsPending", json!(0)),
            ("UserRecordsPerPutRecordsRequest", none),
            ("UserRecordsReceived", json!(3)),
            (
                "Percentiles",
                json!({"BufferingTime": times, "QueueTime": times, "RequestTime": times}),
            ),
        ] {
            stream[name] = value;
        }
        let mut whole = stream.clone();
        stream["Shards"] = json!({"shardId-000000000000": shard});
        whole["Streams"] = json!({"orders": stream});
        whole["Version"] = json!(1);
        assert_eq!(written, whole);
    }
}
