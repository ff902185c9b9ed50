//! What is measured, added up for the whole producer, for each stream and for each shard.
//!
//! A value is added once, to the shard it belongs to, because millions are added for each time that
//! somebody looks. Each level is the sum of the one below, and of what belongs to no shard.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::model::ShardId;
use crate::producer::histogram::Histogram;
use crate::producer::metrics::{
    Measures, ProducerMetrics, StreamMetrics, Summary, TimePercentiles,
};
use crate::producer::pipeline::Settlement;

/// What one PutRecords call was, and what came of each of its records.
pub(super) struct CallReport {
    pub stream: Arc<str>,
    /// Between being ready and being sent.
    pub queued: Duration,
    pub took: Duration,
    /// Records it carried: of Kinesis, and of the user.
    pub carried: (usize, u32),
    /// The code of what failed it as a whole.
    pub error: Option<String>,
    /// Empty if it failed as a whole.
    pub records: Vec<RecordReport>,
}

pub(super) struct RecordReport {
    /// The predicted one.
    pub shard: Option<ShardId>,
    pub users: u32,
    pub bytes: usize,
    pub error: Option<String>,
}

#[derive(Clone, Default)]
pub(super) struct Tally {
    pub streams: HashMap<Arc<str>, StreamTally>,
}

#[derive(Clone, Default)]
pub(super) struct StreamTally {
    /// What belongs to none of the shards.
    rest: Sums,
    pub shards: HashMap<ShardId, Sums>,
    times: Times,
}

/// The KPL's metrics, as it counts them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub all_errors: Summary,
    pub buffering_time: Summary,
    pub errors_by_code: BTreeMap<String, Summary>,
    pub kinesis_records_data_put: Summary,
    pub kinesis_records_per_request: Summary,
    pub kinesis_records_put: Summary,
    pub queue_time: Summary,
    pub request_time: Summary,
    pub retries_per_record: Summary,
    pub user_records_data_put: Summary,
    pub user_records_expired: Summary,
    pub user_records_per_kinesis_record: Summary,
    pub user_records_per_request: Summary,
    pub user_records_put: Summary,
}

#[derive(Clone, Default)]
struct Times {
    buffering: Histogram,
    queue: Histogram,
    request: Histogram,
}

impl Tally {
    pub fn call(&mut self, report: &CallReport) {
        let stream = self.stream(&report.stream);
        stream.rest.call(report);
        stream.times.request.add(report.took, 1);
        stream.times.queue.add(report.queued, 1);
        for record in &report.records {
            stream.shard(record.shard.as_ref()).0.record(record);
        }
    }

    pub fn settlement(&mut self, settlement: &Settlement) {
        let Settlement { record, result } = settlement;
        let (shard, expired) = match result {
            Ok(output) => (Some(&output.shard_id), false),
            Err(error) => {
                let expired = matches!(error.kind(), ErrorKind::Expired { .. });
                (record.predicted.as_ref(), expired)
            }
        };
        let (sums, times) = self.stream(&record.stream).shard(shard);
        for run in &record.runs {
            let (users, bytes) = (run.len(), run.data_bytes);
            sums.users(users, bytes, result.is_ok(), expired);
            let mut attempts = 0;
            for attempt in run.history.iter().chain(&record.attempts) {
                attempts += 1;
                sums.buffering_time.add(millis(attempt.delay), users);
                times.buffering.add(attempt.delay, users);
            }
            let retries = f64::from(i32::max(attempts - 1, 0));
            sums.retries_per_record.add(retries, users);
        }
    }

    fn stream(&mut self, name: &Arc<str>) -> &mut StreamTally {
        if !self.streams.contains_key(name) {
            self.streams.insert(name.clone(), StreamTally::default());
        }
        self.streams
            .get_mut(name)
            .expect("it is there or was put there")
    }

    /// What all streams come to.
    pub fn total(&self) -> Sums {
        let mut total = Sums::default();
        for stream in self.streams.values() {
            total.merge(&stream.total());
        }
        total
    }

    /// What it comes to; pending and received records are for others to add.
    pub fn metrics(&self) -> ProducerMetrics {
        let mut times = Times::default();
        for stream in self.streams.values() {
            times.merge(&stream.times);
        }
        let streams = self.streams.iter();
        ProducerMetrics {
            total: self.total().measures(),
            percentiles: times.percentiles(),
            streams: streams
                .map(|(name, stream)| (name.to_string(), stream.metrics()))
                .collect(),
        }
    }
}

impl StreamTally {
    /// The sums of a shard, or of what belongs to none, and the stream's times.
    fn shard(&mut self, shard: Option<&ShardId>) -> (&mut Sums, &mut Times) {
        let StreamTally {
            rest,
            shards,
            times,
        } = self;
        let Some(id) = shard else {
            return (rest, times);
        };
        if !shards.contains_key(id) && shards.len() < SHARDS_MAX {
            shards.insert(id.clone(), Sums::default());
        }
        (shards.get_mut(id).unwrap_or(rest), times)
    }

    pub fn total(&self) -> Sums {
        let mut total = self.rest.clone();
        for sums in self.shards.values() {
            total.merge(sums);
        }
        total
    }

    fn metrics(&self) -> StreamMetrics {
        let shards = self.shards.iter();
        StreamMetrics {
            total: self.total().measures(),
            percentiles: self.times.percentiles(),
            shards: shards
                .map(|(id, sums)| (id.clone(), sums.measures()))
                .collect(),
        }
    }
}

impl Times {
    fn merge(&mut self, other: &Times) {
        self.buffering.merge(&other.buffering);
        self.queue.merge(&other.queue);
        self.request.merge(&other.request);
    }

    fn percentiles(&self) -> TimePercentiles {
        TimePercentiles {
            buffering_time: (&self.buffering).into(),
            queue_time: (&self.queue).into(),
            request_time: (&self.request).into(),
        }
    }
}

impl Sums {
    fn call(&mut self, report: &CallReport) {
        let (kinesis_records, user_records) = report.carried;
        self.request_time.add(millis(report.took), 1);
        self.queue_time.add(millis(report.queued), 1);
        self.kinesis_records_per_request
            .add(kinesis_records as f64, 1);
        self.user_records_per_request
            .add(f64::from(user_records), 1);
        if let Some(code) = &report.error {
            self.error(code);
        }
    }

    fn error(&mut self, code: &str) {
        self.all_errors.add(1.0, 1);
        self.code(code).add(1.0, 1);
    }

    /// How often there was an error of this code, or of one that is not told apart.
    fn code(&mut self, code: &str) -> &mut Summary {
        let codes = &self.errors_by_code;
        let told_apart = codes.len() - usize::from(codes.contains_key(OTHER));
        let code = match codes.contains_key(code) || told_apart < CODES_MAX {
            true => code,
            false => OTHER,
        };
        self.errors_by_code.entry(code.to_owned()).or_default()
    }

    fn merge(&mut self, other: &Sums) {
        let Sums {
            errors_by_code,
            all_errors,
            buffering_time,
            kinesis_records_data_put,
            kinesis_records_per_request,
            kinesis_records_put,
            queue_time,
            request_time,
            retries_per_record,
            user_records_data_put,
            user_records_expired,
            user_records_per_kinesis_record,
            user_records_per_request,
            user_records_put,
        } = other;
        for (sum, added) in [
            (&mut self.all_errors, all_errors),
            (&mut self.buffering_time, buffering_time),
            (&mut self.kinesis_records_data_put, kinesis_records_data_put),
            (
                &mut self.kinesis_records_per_request,
                kinesis_records_per_request,
            ),
            (&mut self.kinesis_records_put, kinesis_records_put),
            (&mut self.queue_time, queue_time),
            (&mut self.request_time, request_time),
            (&mut self.retries_per_record, retries_per_record),
            (&mut self.user_records_data_put, user_records_data_put),
            (&mut self.user_records_expired, user_records_expired),
            (
                &mut self.user_records_per_kinesis_record,
                user_records_per_kinesis_record,
            ),
            (&mut self.user_records_per_request, user_records_per_request),
            (&mut self.user_records_put, user_records_put),
        ] {
            sum.merge(added);
        }
        for (code, count) in errors_by_code {
            self.code(code).merge(count);
        }
    }

    fn record(&mut self, record: &RecordReport) {
        let users = f64::from(record.users);
        self.user_records_per_kinesis_record.add(users, 1);
        match &record.error {
            None => {
                self.all_errors.add(0.0, 1);
                self.kinesis_records_put.add(1.0, 1);
                self.kinesis_records_data_put.add(record.bytes as f64, 1);
            }
            Some(code) => {
                self.kinesis_records_put.add(0.0, 1);
                self.error(code);
            }
        }
    }

    fn users(&mut self, users: u32, bytes: usize, stored: bool, expired: bool) {
        self.user_records_put
            .add(f64::from(u8::from(stored)), users);
        if stored {
            let each = bytes as f64 / f64::from(users.max(1));
            self.user_records_data_put.add(each, users);
        }
        if expired {
            self.user_records_expired.add(1.0, users);
        }
    }

    fn measures(&self) -> Measures {
        let whole = |summary: &Summary| summary.sum.round() as u64;
        let codes = self.errors_by_code.iter();
        Measures {
            user_records_received: 0,
            user_records_pending: 0,
            user_records_put: whole(&self.user_records_put),
            user_records_failed: self.user_records_put.count - whole(&self.user_records_put),
            user_records_expired: whole(&self.user_records_expired),
            user_records_data_put: whole(&self.user_records_data_put),
            kinesis_records_put: whole(&self.kinesis_records_put),
            kinesis_records_data_put: whole(&self.kinesis_records_data_put),
            all_errors: whole(&self.all_errors),
            errors_by_code: codes
                .map(|(code, count)| (code.clone(), count.count))
                .collect(),
            put_records_calls: self.request_time.count,
            buffering_time: self.buffering_time,
            queue_time: self.queue_time,
            request_time: self.request_time,
            retries_per_record: self.retries_per_record,
            user_records_per_kinesis_record: self.user_records_per_kinesis_record,
            kinesis_records_per_request: self.kinesis_records_per_request,
            user_records_per_request: self.user_records_per_request,
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Shards told apart in one stream; years of resharding do not fill the memory.
const SHARDS_MAX: usize = 10_000;

/// Error codes told apart.
const CODES_MAX: usize = 50;

/// What all other codes are counted under.
const OTHER: &str = "Other";

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stream: &str, shard: Option<&str>, users: u32, error: Option<&str>) -> CallReport {
        CallReport {
            stream: stream.into(),
            queued: Duration::from_millis(1),
            took: Duration::from_millis(10),
            carried: (1, users),
            error: None,
            records: vec![RecordReport {
                shard: shard.map(Into::into),
                users,
                bytes: 100,
                error: error.map(str::to_owned),
            }],
        }
    }

    #[test]
    fn a_value_counts_in_its_shard_and_all_above_it() {
        let mut tally = Tally::default();
        for (stream, shard, users) in [
            ("a", Some("a0"), 1),
            ("a", Some("a1"), 2),
            ("b", Some("b0"), 3),
            ("b", None, 4),
        ] {
            tally.call(&report(stream, shard, users, None));
        }
        let sum = |sums: &Sums| sums.user_records_per_kinesis_record.sum;
        assert_eq!(sum(&tally.total()), 10.0);
        let streams = ["a", "b"].map(|name| &tally.streams[name]);
        assert_eq!(streams.map(|stream| sum(&stream.total())), [3.0, 7.0]);
        let shard = |stream: usize, id: &str| sum(&streams[stream].shards[&ShardId::from(id)]);
        assert_eq!(
            [shard(0, "a0"), shard(0, "a1"), shard(1, "b0")],
            [1.0, 2.0, 3.0]
        );
        assert_eq!(streams[1].shards.len(), 1);
    }

    #[test]
    fn errors_are_counted_by_code_and_in_all_and_successes_as_none() {
        let mut tally = Tally::default();
        for error in [None, Some("InternalFailure"), Some("Other"), None] {
            tally.call(&report("a", Some("a0"), 1, error));
        }
        let failed = CallReport {
            error: Some("ServiceUnavailable".to_owned()),
            records: Vec::new(),
            ..report("a", None, 1, None)
        };
        tally.call(&failed);
        let total = tally.total();
        assert_eq!((total.all_errors.count, total.all_errors.sum), (5, 3.0));
        let codes: Vec<_> = total.errors_by_code.keys().map(String::as_str).collect();
        assert_eq!(codes, ["InternalFailure", "Other", "ServiceUnavailable"]);
        // Nobody knows which shard a whole call failed for.
        let shard = &tally.streams["a"].shards[&ShardId::from("a0")];
        assert_eq!((shard.all_errors.count, shard.errors_by_code.len()), (4, 2));
        let put = &shard.kinesis_records_put;
        assert_eq!((put.count, put.sum, put.mean()), (4, 2.0, 0.5));
    }

    #[test]
    fn codes_without_end_are_counted_together() {
        let mut tally = Tally::default();
        for n in 0..1_000 {
            tally.call(&report("a", None, 1, Some(&format!("code {n}"))));
        }
        let codes = tally.total().errors_by_code;
        assert_eq!((codes.len(), codes["Other"].count), (CODES_MAX + 1, 950));
    }
}
