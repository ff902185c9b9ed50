use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::producer::delivery::Attempt;
use crate::producer::pipeline::Settlement;

/// What a producer has done since it was started.
///
/// The names and meanings are the KPL's, where it has them:
/// <https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html>. Times are those of
/// Kinesis records, of which one carries many user records.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// User records taken in.
    pub user_records_received: u64,
    /// User records taken in and not yet settled.
    pub user_records_pending: u64,
    /// User records stored.
    pub user_records_put: u64,
    /// User records not confirmed to be stored.
    pub user_records_failed: u64,
    /// Those of them whose time to live was over.
    pub user_records_expired: u64,
    /// Bytes of the user records stored: data and partition keys.
    pub user_records_put_bytes: u64,
    /// Kinesis records stored in their place.
    pub kinesis_records_put: u64,
    /// Bytes of the Kinesis records stored in their place: data and partition keys.
    pub kinesis_records_put_bytes: u64,
    /// PutRecords calls that came to an end, well or not.
    pub put_records_calls: u64,
    /// Failed attempts of Kinesis records, by the service's error code or the failure's name.
    pub errors_by_code: BTreeMap<String, u64>,
    /// Milliseconds before each attempt, since the put or since the attempt before.
    pub buffering_time: Summary,
    /// Milliseconds of each PutRecords call.
    pub request_time: Summary,
    /// Attempts beyond the first, of each Kinesis record.
    pub retries_per_record: Summary,
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

impl ProducerMetrics {
    pub(super) fn count_call(&mut self, took: Duration) {
        self.put_records_calls += 1;
        self.request_time.add(millis(took));
    }

    pub(super) fn count(&mut self, settlement: &Settlement) {
        let Settlement { record, result } = settlement;
        let runs = record.runs.iter();
        let (users, bytes) = runs.fold((0, 0), |(users, bytes), run| {
            (users + u64::from(run.len()), bytes + run.bytes as u64)
        });
        match result {
            Ok(_) => {
                self.user_records_put += users;
                self.user_records_put_bytes += bytes;
                self.kinesis_records_put += 1;
                self.kinesis_records_put_bytes += record.bytes() as u64;
            }
            Err(error) => {
                self.user_records_failed += users;
                if matches!(error.kind(), ErrorKind::Expired { .. }) {
                    self.user_records_expired += users;
                }
            }
        }
        let retries = record.attempts.len().saturating_sub(1);
        self.retries_per_record.add(retries as f64);
        record
            .attempts
            .iter()
            .for_each(|one| self.count_attempt(one));
    }

    fn count_attempt(&mut self, attempt: &Attempt) {
        self.buffering_time.add(millis(attempt.delay));
        if let Some(error) = &attempt.error {
            *self
                .errors_by_code
                .entry(error.code().to_owned())
                .or_default() += 1;
        }
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

    fn add(&mut self, value: f64) {
        let is_first = self.count == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_knows_its_extremes_and_its_mean() {
        let mut summary = Summary::default();
        assert_eq!(summary.mean(), 0.0);
        [3.0, 1.0, 5.0]
            .into_iter()
            .for_each(|value| summary.add(value));
        let expected = Summary {
            count: 3,
            sum: 9.0,
            min: 1.0,
            max: 5.0,
        };
        assert_eq!((summary, summary.mean()), (expected, 3.0));
    }
}
