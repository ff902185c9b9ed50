use std::sync::atomic::{AtomicU64, Ordering};

/// What a producer has done since it started.
///
/// The names and meanings are the KPL's, where it has them:
/// <https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// User records that are stored.
    pub user_records_put: u64,
    /// User records that were given up.
    pub user_records_failed: u64,
    /// User records taken in and not yet settled.
    pub user_records_pending: u64,
    /// Kinesis records that are stored: aggregates, and user records that went alone.
    pub kinesis_records_put: u64,
    /// Calls of PutRecords, answered or not.
    pub put_records_calls: u64,
}

/// The same, where it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub user_records_put: Counter,
    pub user_records_failed: Counter,
    pub kinesis_records_put: Counter,
    pub put_records_calls: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn snapshot(&self, pending: usize) -> ProducerMetrics {
        ProducerMetrics {
            user_records_put: self.user_records_put.get(),
            user_records_failed: self.user_records_failed.get(),
            user_records_pending: pending as u64,
            kinesis_records_put: self.kinesis_records_put.get(),
            put_records_calls: self.put_records_calls.get(),
        }
    }
}
