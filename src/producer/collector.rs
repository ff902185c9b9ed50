use std::collections::HashMap;
use std::time::Instant;

use crate::config::ProducerConfig;
use crate::model::ShardId;
use crate::producer::kinesis_record::KinesisRecord;

/// Gathers one stream's Kinesis records into calls, by count, by size and by deadline.
///
/// Pure: what is full comes back from [`Collector::add`], what is due from [`Collector::take_due`].
pub(super) struct Collector {
    count_max: usize,
    bytes_max: usize,
    records: Vec<KinesisRecord>,
    /// How many the last call took: the next one will be about as large.
    usual_count: usize,
    bytes: usize,
    shard_bytes: HashMap<ShardId, usize>,
    deadline: Option<Instant>,
}

impl Collector {
    pub fn new(config: &ProducerConfig) -> Collector {
        Collector {
            count_max: config.collection_max_count,
            bytes_max: config.collection_max_bytes,
            records: Vec::new(),
            usual_count: 0,
            bytes: 0,
            shard_bytes: HashMap::new(),
            deadline: None,
        }
    }

    /// Takes a record in; what it did not fit with, and what it filled, goes to `full`.
    pub fn add(&mut self, record: KinesisRecord, full: &mut Vec<Vec<KinesisRecord>>) {
        if self.bytes + record.bytes() > self.bytes_max {
            full.extend(self.take());
        }
        let shard_is_full = self.count_in(&record);
        if self.records.is_empty() {
            self.records.reserve_exact(self.usual_count);
        }
        self.records.push(record);
        let is_full = self.records.len() >= self.count_max || self.bytes >= self.bytes_max;
        if is_full || shard_is_full {
            full.extend(self.take());
        }
    }

    /// Gives what is there, if its deadline has come.
    pub fn take_due(&mut self, now: Instant) -> Option<Vec<KinesisRecord>> {
        self.deadline.filter(|deadline| *deadline <= now)?;
        self.take()
    }

    /// Gives what is there.
    pub fn take(&mut self) -> Option<Vec<KinesisRecord>> {
        self.bytes = 0;
        self.shard_bytes.clear();
        self.deadline = None;
        self.usual_count = self.records.len();
        let records = std::mem::take(&mut self.records);
        (!records.is_empty()).then_some(records)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says whether the record's shard now has enough.
    fn count_in(&mut self, record: &KinesisRecord) -> bool {
        let bytes = record.bytes();
        self.bytes += bytes;
        let deadline = self
            .deadline
            .map_or(record.deadline, |at| at.min(record.deadline));
        self.deadline = Some(deadline);
        let Some(shard) = &record.predicted else {
            return false;
        };
        match self.shard_bytes.get_mut(shard) {
            Some(sum) => {
                *sum += bytes;
                *sum >= SHARD_BYTES_MAX
            }
            None => {
                self.shard_bytes.insert(shard.clone(), bytes);
                bytes >= SHARD_BYTES_MAX
            }
        }
    }
}

/// The KPL's: one shard's share of a call stays within a quarter of the second's worth it takes.
const SHARD_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::producer::kinesis_record::tests::bare;
    use crate::sys::Sys;

    struct Bench {
        collector: Collector,
        now: Instant,
        full: Vec<usize>,
    }

    impl Bench {
        fn new() -> Bench {
            Bench {
                collector: Collector::new(&ProducerConfig::default()),
                now: Sys::real().clock.now(),
                full: Vec::new(),
            }
        }

        /// Adds a record of so many bytes, its key of one byte included.
        fn add(&mut self, bytes: usize, shard: Option<&str>) {
            let mut record = bare(self.now, "k", &vec![0; bytes - 1]);
            record.predicted = shard.map(Into::into);
            let mut full = Vec::new();
            self.collector.add(record, &mut full);
            self.full.extend(full.iter().map(Vec::len));
        }

        fn left(&mut self) -> usize {
            self.collector.take().map_or(0, |records| records.len())
        }
    }

    #[test]
    fn a_call_takes_500_records() {
        let mut bench = Bench::new();
        for (count, full) in [(499, vec![]), (1, vec![500]), (1, vec![500])] {
            (0..count).for_each(|_| bench.add(10, None));
            assert_eq!(bench.full, full);
        }
        assert_eq!(bench.left(), 1);
    }

    #[test]
    fn a_call_takes_5_mib_with_the_keys_counted() {
        const MIB: usize = 1024 * 1024;
        for (last, full, left) in [
            (MIB - 1, vec![], 5),
            (MIB, vec![5], 0),
            (MIB + 1, vec![4], 1),
        ] {
            let mut bench = Bench::new();
            (0..4).for_each(|_| bench.add(MIB, None));
            bench.add(last, None);
            assert_eq!((bench.full.clone(), bench.left()), (full, left), "{last}");
        }
    }

    #[test]
    fn one_shard_with_256_kib_sends_the_whole_call() {
        let quarter = 64 * 1024;
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.add(quarter, Some("a"));
            bench.add(quarter, Some("b"));
        }
        bench.add(quarter - 1, Some("a"));
        assert!(bench.full.is_empty());
        bench.add(1, Some("a"));
        assert_eq!((bench.full.clone(), bench.left()), (vec![8], 0));
    }

    #[test]
    fn the_earliest_deadline_sends_all() {
        let mut bench = Bench::new();
        assert!(bench.collector.take_due(bench.now).is_none());
        let first = bench.now;
        bench.add(10, None);
        bench.now += Duration::from_millis(5);
        bench.add(10, None);
        assert_eq!(bench.collector.next_deadline(), Some(first));
        let early = first - Duration::from_nanos(1);
        assert!(bench.collector.take_due(early).is_none());
        let due = bench.collector.take_due(first).expect("due");
        assert_eq!((due.len(), bench.collector.next_deadline()), (2, None));
    }
}
