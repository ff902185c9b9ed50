//! Where the consumer's threads write down what they do, for [`ConsumerMetrics`] to be read off.
//!
//! A shard's meter is written to a few times a second by its thread, once an answer by the caller's,
//! and read by who asks: one short lock a shard does. Who reads holds the locks above it, who writes none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::{GetRecordsOutput, Watch};
use crate::consumer::chunk::Chunk;
use crate::consumer::metrics::{
    CommitMetrics, ConsumerMetrics, DiscoveryMetrics, EventTimeMetrics, ReadCounts, ShardMetrics,
};
use crate::error::{Error, Verdict};
#[cfg(test)]
use crate::model::GapCause;
use crate::model::{Gap, Operation, ShardRef, Timestamp};
use crate::sys::lock::lock;

/// All meters of a consumer.
#[derive(Default)]
pub(super) struct Meters {
    shards: Mutex<BTreeMap<ShardRef, Arc<ShardMeter>>>,
    /// Of the shards that are not among these any more.
    gone: Mutex<ReadCounts>,
    pub discovery: Arc<DiscoveryMeter>,
    commits: Mutex<Committed>,
    event_time: Mutex<EventTimeMetrics>,
}

/// What was committed, and when.
#[derive(Clone, Default)]
struct Committed {
    metrics: CommitMetrics,
    last: Option<Instant>,
    /// Since when every commit has failed.
    failing_since: Option<Instant>,
}

impl Meters {
    /// Meters of one of the consumers that share a discovery.
    pub fn beside(discovery: &Arc<DiscoveryMeter>) -> Meters {
        Meters {
            discovery: discovery.clone(),
            ..Meters::default()
        }
    }

    /// The meter of a shard whose reading begins, or begins again.
    pub fn begin(&self, shard: &ShardRef) -> Arc<ShardMeter> {
        let mut shards = lock(&self.shards);
        if let Some(meter) = shards.get(shard) {
            meter.begin_again();
            return meter.clone();
        }
        let meter = Arc::new(ShardMeter::default());
        shards.insert(shard.clone(), meter.clone());
        meter
    }

    pub fn committed(&self, now: Instant, error: Option<&Error>) {
        let Committed {
            metrics,
            last,
            failing_since,
        } = &mut *lock(&self.commits);
        metrics.last_error = error.map(Error::to_string);
        match error {
            None => {
                metrics.commits += 1;
                (*last, *failing_since) = (Some(now), None);
            }
            Some(_) => {
                metrics.failed_commits += 1;
                failing_since.get_or_insert(now);
            }
        }
    }

    /// How far event time has come, and whether every shard is idle.
    pub fn watermark(&self, watermark: Option<Timestamp>, is_idle: bool) {
        let mut event_time = lock(&self.event_time);
        (event_time.watermark, event_time.is_idle) = (watermark.map(Timestamp::as_millis), is_idle);
    }

    /// The tracker was asked, or failed to answer.
    pub fn synced(&self, local: Option<i64>, global: Option<i64>, is_ok: bool) {
        let mut event_time = lock(&self.event_time);
        (event_time.local_watermark, event_time.global_watermark) = (local, global);
        event_time.syncs += u64::from(is_ok);
        event_time.failed_syncs += u64::from(!is_ok);
    }

    pub fn snapshot(&self, now: Instant) -> ConsumerMetrics {
        let (shards, total) = self.read_shards(now);
        let committed = lock(&self.commits).clone();
        let age =
            |time: Option<Instant>| time.map(|time| millis(now.saturating_duration_since(time)));
        ConsumerMetrics {
            shards,
            total,
            discovery: self.discovery.read(now),
            commits: CommitMetrics {
                millis_since_last: age(committed.last),
                failing_millis: age(committed.failing_since),
                ..committed.metrics
            },
            event_time: lock(&self.event_time).clone(),
        }
    }
}

impl Meters {
    /// All shards' metrics and their sum. Shards with nothing more to come go into the sum alone.
    fn read_shards(&self, now: Instant) -> (BTreeMap<ShardRef, ShardMetrics>, ReadCounts) {
        let (mut meters, mut total) = (lock(&self.shards), lock(&self.gone));
        let mut shards = BTreeMap::new();
        meters.retain(|shard, meter| {
            let (metrics, is_over) = meter.read(now);
            if is_over {
                total.add(&metrics.counts);
            } else {
                shards.insert(shard.clone(), metrics);
            }
            !is_over
        });
        let mut total = total.clone();
        shards
            .values()
            .for_each(|metrics| total.add(&metrics.counts));
        (shards, total)
    }
}

/// The meter of a search for shards.
#[derive(Debug, Default)]
pub(super) struct DiscoveryMeter(Mutex<Discovering>);

#[derive(Debug, Default)]
struct Discovering {
    metrics: DiscoveryMetrics,
    /// Since when a stream could not be listed.
    failing: Option<Instant>,
}

impl DiscoveryMeter {
    /// A shard is read to its end.
    pub fn ended(&self) {
        lock(&self.0).metrics.shards_ended += 1;
    }

    pub fn found(&self, shards: usize) {
        lock(&self.0).metrics.shards_found += shards as u64;
    }

    /// Since when a stream could not be listed, or that all were.
    pub fn failing_since(&self, since: Option<Instant>) {
        lock(&self.0).failing = since;
    }

    fn read(&self, now: Instant) -> DiscoveryMetrics {
        let discovering = lock(&self.0);
        let failing = discovering.failing;
        let failing = failing.map(|since| now.saturating_duration_since(since));
        DiscoveryMetrics {
            unavailable_millis: failing.map(millis),
            ..discovering.metrics.clone()
        }
    }
}

/// The calls of discovery.
impl Watch for DiscoveryMeter {
    fn attempted(&self, _: Operation, took: Duration, error: Option<&Error>) {
        let discovery = &mut lock(&self.0).metrics;
        discovery.list_shards_calls += 1;
        discovery.list_shards_millis += millis(took);
        if let Some(error) = error {
            discovery.retries += u64::from(error.is_retryable());
            discovery.throttled_calls += u64::from(error.is_throttled());
            discovery.last_error = Some(error.to_string());
        }
    }
}

/// One shard's meter.
#[derive(Debug, Default)]
pub(super) struct ShardMeter(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    metrics: ShardMetrics,
    /// When the last answer came.
    answered: Option<Instant>,
    /// Since when no call has succeeded.
    failing: Option<Instant>,
    /// Nothing is read any more; some may still wait for the caller.
    is_over: bool,
}

/// What an answer brought, before it is taken apart.
#[derive(Clone, Copy)]
pub(super) struct Fetch {
    limit: u32,
    kinesis_records: u64,
    bytes: u64,
    millis_behind_latest: Option<u64>,
}

impl Fetch {
    pub fn of(output: &GetRecordsOutput, limit: u32) -> Fetch {
        let bytes = output.records.iter().map(|raw| raw.data.len() as u64);
        Fetch {
            limit,
            kinesis_records: output.records.len() as u64,
            bytes: bytes.sum(),
            millis_behind_latest: output.millis_behind_latest,
        }
    }
}

impl ShardMeter {
    /// An answer was taken apart; an adaptive limit aimed at so many bytes.
    pub fn fetched(&self, fetch: Fetch, aim: f64, records: &Chunk, gaps: &[Gap], now: Instant) {
        let data = records.data_bytes();
        let users = records.len() as u64;
        let mut reading = lock(&self.0);
        let loop_time = reading
            .answered
            .map(|last| now.saturating_duration_since(last));
        reading.answered = Some(now);
        let metrics = &mut reading.metrics;
        metrics.millis_behind_latest = fetch.millis_behind_latest.or(metrics.millis_behind_latest);
        metrics.number_of_aggregated_records_per_fetch = fetch.kinesis_records;
        metrics.number_of_deaggregated_records_per_fetch = users;
        metrics.average_record_size_bytes = (data as u64).checked_div(users).unwrap_or(0);
        metrics.max_number_of_records_per_fetch = fetch.limit.into();
        metrics.bytes_requested_per_fetch = aim;
        if let Some(time) = loop_time {
            metrics.run_loop_time_nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            metrics.loop_frequency_hz = hertz(time);
        }
        metrics.counts.kinesis_records_read += fetch.kinesis_records;
        metrics.counts.bytes_read += fetch.bytes;
        metrics.counts.user_records_read += users;
        metrics.counts.add_gaps(gaps);
    }

    pub fn slept(&self, time: Duration) {
        lock(&self.0).metrics.sleep_time_millis = millis(time);
    }

    /// The decoder refused records; some of them became dead letters.
    pub fn refused(&self, records: u64, dead_letters: u64) {
        let counts = &mut lock(&self.0).metrics.counts;
        counts.poison_records += records;
        counts.dead_letters += dead_letters;
    }

    /// Records are about to wait for the caller.
    pub fn queued(&self, records: &Chunk) {
        let metrics = &mut lock(&self.0).metrics;
        metrics.queued_records += records.len() as u64;
        metrics.queued_bytes += records.bytes() as u64;
    }

    /// The caller takes them.
    pub fn taken(&self, records: &Chunk) {
        let metrics = &mut lock(&self.0).metrics;
        // A reading that began again has left what was queued before.
        metrics.queued_records = metrics.queued_records.saturating_sub(records.len() as u64);
        metrics.queued_bytes = metrics.queued_bytes.saturating_sub(records.bytes() as u64);
        metrics.counts.user_records_taken += records.len() as u64;
    }

    /// How far the shard's event time has come; [`Timestamp::MIN`] is not known.
    pub fn watermark(&self, watermark: Timestamp, is_idle: bool) {
        let metrics = &mut lock(&self.0).metrics;
        let known = Some(watermark).filter(|watermark| *watermark > Timestamp::MIN);
        (metrics.watermark, metrics.is_idle) = (known.map(Timestamp::as_millis), is_idle);
    }

    /// Nothing more will be read.
    pub fn end(&self) {
        lock(&self.0).is_over = true;
    }

    /// Something panicked, and reading begins again on the same thread.
    pub fn restarted(&self, panic: &Error) {
        let metrics = &mut lock(&self.0).metrics;
        metrics.counts.thread_restarts += 1;
        metrics.last_error = Some(panic.to_string());
    }

    fn begin_again(&self) {
        let mut reading = lock(&self.0);
        reading.is_over = false;
        reading.metrics.counts.thread_restarts += 1;
    }

    #[cfg(test)]
    pub fn refusals(&self) -> (u64, u64) {
        let counts = &lock(&self.0).metrics.counts;
        (counts.poison_records, counts.dead_letters)
    }

    /// Since when no call has succeeded, or that the last did.
    pub fn failing_since(&self, since: Option<Instant>) {
        lock(&self.0).failing = since;
    }

    /// The metrics, and whether they will never change again.
    fn read(&self, now: Instant) -> (ShardMetrics, bool) {
        let reading = lock(&self.0);
        let is_over = reading.is_over && reading.metrics.queued_records == 0;
        let mut metrics = reading.metrics.clone();
        let failing = reading
            .failing
            .map(|since| now.saturating_duration_since(since));
        metrics.unavailable_millis = failing.map(millis);
        (metrics, is_over)
    }
}

/// The calls of a shard's thread.
impl Watch for ShardMeter {
    fn attempted(&self, operation: Operation, took: Duration, error: Option<&Error>) {
        let metrics = &mut lock(&self.0).metrics;
        let counts = &mut metrics.counts;
        if operation == Operation::GetRecords {
            counts.get_records_calls += 1;
            counts.get_records_millis += millis(took);
        }
        let Some(error) = error else { return };
        counts.retries += u64::from(error.is_retryable());
        counts.throttled_calls += u64::from(error.is_throttled());
        counts.iterator_refreshes += u64::from(error.verdict() == Verdict::NewIterator);
        metrics.last_error = Some(error.to_string());
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hertz(period: Duration) -> f64 {
    match period.is_zero() {
        true => 0.0,
        false => 1.0 / period.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RawRecord;

    fn shard() -> ShardRef {
        ShardRef::new("orders", "a")
    }

    fn records(data: &[&'static str]) -> Chunk {
        let record = |data: &&'static str| RawRecord {
            data: (*data).into(),
            partition_key: "key".into(),
            sequence_number: "1".parse().expect("a number"),
            approximate_arrival: Timestamp::default(),
        };
        Chunk::for_tests(&shard(), data.iter().map(record).collect())
    }

    fn fetch(kinesis_records: u64, millis_behind_latest: Option<u64>) -> Fetch {
        Fetch {
            limit: 100,
            kinesis_records,
            bytes: 50,
            millis_behind_latest,
        }
    }

    #[test]
    fn gauges_are_of_the_last_answer_and_sums_of_all() {
        let (meter, now) = (ShardMeter::default(), Instant::now());
        let three = records(&["four", "sixsix", ""]);
        meter.fetched(fetch(2, Some(7)), 0.0, &three, &[], now);
        let (first, none) = (meter.read(Instant::now()).0, records(&[]));
        assert_eq!(first.millis_behind_latest, Some(7));
        assert_eq!(first.number_of_aggregated_records_per_fetch, 2);
        assert_eq!(first.number_of_deaggregated_records_per_fetch, 3);
        assert_eq!(first.average_record_size_bytes, 3);
        assert_eq!(first.max_number_of_records_per_fetch, 100);
        assert_eq!(
            (first.run_loop_time_nanos, first.loop_frequency_hz),
            (0, 0.0)
        );
        let cause = GapCause::Misplaced {
            sequence_number: "1".parse().expect("a number"),
            records: 4,
        };
        let gaps = [
            Gap::new(shard(), cause),
            Gap::new(shard(), GapCause::Trimmed),
        ];
        meter.fetched(
            fetch(0, None),
            7.5,
            &none,
            &gaps,
            now + Duration::from_millis(200),
        );
        let second = meter.read(Instant::now()).0;
        assert_eq!(
            second.millis_behind_latest,
            Some(7),
            "the last that told it"
        );
        assert_eq!(second.number_of_aggregated_records_per_fetch, 0);
        assert_eq!(second.average_record_size_bytes, 0);
        assert_eq!(second.bytes_requested_per_fetch, 7.5);
        assert_eq!(second.run_loop_time_nanos, 200_000_000);
        assert_eq!(second.loop_frequency_hz, 5.0);
        assert_eq!(second.counts.kinesis_records_read, 2);
        assert_eq!(second.counts.bytes_read, 100);
        assert_eq!(second.counts.user_records_read, 3);
        assert_eq!(second.counts.misplaced_records_left_out, 4);
    }

    #[test]
    fn what_is_taken_does_not_wait_any_more() {
        let meter = ShardMeter::default();
        let (one, two) = (records(&["data"]), records(&["a", "b"]));
        meter.queued(&one);
        meter.queued(&two);
        let waiting = meter.read(Instant::now()).0;
        assert_eq!((waiting.queued_records, waiting.queued_bytes), (3, 15));
        meter.taken(&one);
        let taken = meter.read(Instant::now()).0;
        assert_eq!((taken.queued_records, taken.queued_bytes), (2, 8));
        assert_eq!(taken.counts.user_records_taken, 1);
    }

    #[test]
    fn a_shard_that_begins_again_is_a_restart_and_one_that_ends_stays_in_the_total() {
        let (meters, now) = (Meters::default(), Instant::now());
        let meter = meters.begin(&shard());
        meter.fetched(fetch(2, None), 0.0, &records(&[]), &[], now);
        meters
            .begin(&shard())
            .fetched(fetch(3, None), 0.0, &records(&[]), &[], now);
        let reading = meters.snapshot(now);
        let counts = &reading.shards[&shard()].counts;
        assert_eq!(
            (counts.thread_restarts, counts.kinesis_records_read),
            (1, 5)
        );
        assert_eq!(&reading.total, counts);
        let waits = records(&["data"]);
        meter.queued(&waits);
        meter.end();
        assert_eq!(meters.snapshot(now).shards.len(), 1, "a record waits");
        meter.taken(&waits);
        for _ in 0..2 {
            let ended = meters.snapshot(now);
            assert_eq!(ended.shards.len(), 0);
            assert_eq!(ended.total.kinesis_records_read, 5);
            assert_eq!(ended.total.user_records_taken, 1);
        }
    }

    #[test]
    fn an_outage_grows_older_until_it_is_over() {
        let (meter, now) = (ShardMeter::default(), Instant::now());
        let unavailable = |seconds| {
            let at = now + Duration::from_secs(seconds);
            meter.read(at).0.unavailable_millis
        };
        assert_eq!(unavailable(1), None);
        meter.failing_since(Some(now));
        assert_eq!([unavailable(1), unavailable(2)], [Some(1_000), Some(2_000)]);
        meter.failing_since(None);
        assert_eq!(unavailable(3), None);
    }

    #[test]
    fn calls_are_counted_by_how_they_fared() {
        let (meter, meters, took) = (
            ShardMeter::default(),
            Meters::default(),
            Duration::from_millis(3),
        );
        let failed = |code: &str| Error::service(code, "", 400);
        let errors = [
            failed("ProvisionedThroughputExceededException"),
            failed("InternalFailure"),
            failed("ExpiredIteratorException"),
            failed("AccessDeniedException"),
        ];
        for error in errors.iter().map(Some).chain([None]) {
            meter.attempted(Operation::GetRecords, took, error);
            meters
                .discovery
                .attempted(Operation::ListShards, took, error);
        }
        meter.attempted(Operation::GetShardIterator, took, None);
        let metrics = meter.read(Instant::now()).0;
        let expected = ReadCounts {
            get_records_calls: 5,
            get_records_millis: 15,
            retries: 2,
            throttled_calls: 1,
            iterator_refreshes: 1,
            ..ReadCounts::default()
        };
        assert_eq!(metrics.counts, expected);
        assert!(
            metrics
                .last_error
                .is_some_and(|error| error.contains("AccessDenied"))
        );
        let discovery = meters.snapshot(Instant::now()).discovery;
        assert_eq!((discovery.list_shards_calls, discovery.retries), (5, 2));
    }

    #[test]
    fn the_last_commit_and_the_first_that_failed_since_grow_older() {
        let (meters, now) = (Meters::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(meters.snapshot(now).commits, CommitMetrics::default());
        let error = Error::store("writing", "no room".to_owned());
        meters.committed(at(0), None);
        meters.committed(at(1), Some(&error));
        meters.committed(at(2), Some(&error));
        let expected = CommitMetrics {
            commits: 1,
            failed_commits: 2,
            millis_since_last: Some(3_000),
            failing_millis: Some(2_000),
            last_error: Some("writing: no room".to_owned()),
        };
        assert_eq!(meters.snapshot(at(3)).commits, expected);
    }
}
