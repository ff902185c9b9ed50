use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::ShardId;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::placement::earlier;

/// Holds one stream's records back as far as their shards could not take them.
///
/// Two buckets a shard, of records and of bytes, that hold a second's worth. A record larger than a
/// bucket leaves it in debt. Throttled shards get less for a while: others may write to them too.
pub(super) struct Limiter {
    share: f64,
    shards: HashMap<ShardId, Shard>,
    held: usize,
    next_release: Option<Instant>,
}

struct Shard {
    records: Bucket,
    bytes: Bucket,
    /// By deadline.
    queue: VecDeque<KinesisRecord>,
    /// When the first of them is given up.
    expires: Option<Instant>,
    /// What throttles left of the shard's rate.
    factor: f64,
    cut_at: Option<Instant>,
    filled_at: Instant,
}

struct Bucket {
    tokens: f64,
    /// A second's worth, which is also the most it holds.
    rate: f64,
}

/// What a limiter lets go.
#[derive(Default)]
pub(super) struct Released {
    pub ready: Vec<KinesisRecord>,
    pub expired: Vec<KinesisRecord>,
}

impl Limiter {
    pub fn new(percent: u32) -> Limiter {
        Limiter {
            share: f64::from(percent) / 100.0,
            shards: HashMap::new(),
            held: 0,
            next_release: None,
        }
    }

    /// Lets a record pass, or keeps it for later.
    pub fn admit(&mut self, now: Instant, record: KinesisRecord) -> Option<KinesisRecord> {
        let Some(id) = &record.predicted else {
            return Some(record);
        };
        if !self.shards.contains_key(id) {
            self.shards.insert(id.clone(), Shard::new(now, self.share));
        }
        let shard = self
            .shards
            .get_mut(id)
            .expect("it is there or was put there");
        shard.fill(now);
        if shard.queue.is_empty() && shard.take(&record) {
            return Some(record);
        }
        shard.keep(record);
        self.held += 1;
        None
    }

    /// Gives what may go by now, in portions worth a call.
    pub fn release(&mut self, now: Instant) -> Released {
        let mut released = Released::default();
        if self.held > 0 && self.next_release.is_none_or(|at| at <= now) {
            self.next_release = now.checked_add(RELEASE_INTERVAL);
            let shards = self.shards.values_mut();
            shards.for_each(|shard| shard.release(now, &mut released));
            self.held -= released.ready.len() + released.expired.len();
        }
        released
    }

    /// Lets nothing that is kept wait for other records once it may go.
    pub fn flush(&mut self, now: Instant) {
        let queues = self.shards.values_mut().map(|shard| &mut shard.queue);
        for record in queues.flatten() {
            record.deadline = record.deadline.min(now);
        }
    }

    /// Gives what was kept for shards that have closed.
    pub fn take_closed(&mut self, is_open: impl Fn(&ShardId) -> bool) -> Vec<KinesisRecord> {
        let closed = self.shards.extract_if(|id, _| !is_open(id));
        let taken: Vec<_> = closed.flat_map(|(_, shard)| shard.queue).collect();
        self.held -= taken.len();
        taken
    }

    pub fn take_all(&mut self) -> Vec<KinesisRecord> {
        self.take_closed(|_| false)
    }

    /// Slows down for a shard that was throttled.
    pub fn slow_down(&mut self, now: Instant, shard: &ShardId) {
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.slow_down(now);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        if self.held == 0 {
            return None;
        }
        let first = self.shards.values().filter_map(Shard::next_deadline).min();
        first.max(self.next_release)
    }
}

impl Shard {
    fn new(now: Instant, share: f64) -> Shard {
        Shard {
            records: Bucket::new(SHARD_RECORDS * share),
            bytes: Bucket::new(SHARD_BYTES * share),
            queue: VecDeque::new(),
            expires: None,
            factor: 1.0,
            cut_at: None,
            filled_at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.factor = (self.factor + time * RECOVERY).min(1.0);
        self.records.fill(time * self.factor);
        self.bytes.fill(time * self.factor);
    }

    fn take(&mut self, record: &KinesisRecord) -> bool {
        let bytes = record.bytes() as f64;
        let fits = self.records.has(1.0) && self.bytes.has(bytes);
        if fits {
            self.records.tokens -= 1.0;
            self.bytes.tokens -= bytes;
        }
        fits
    }

    fn keep(&mut self, record: KinesisRecord) {
        let place = self
            .queue
            .partition_point(|other| other.deadline <= record.deadline);
        self.expires = earlier(self.expires, record.expires);
        self.queue.insert(place, record);
    }

    fn release(&mut self, now: Instant, released: &mut Released) {
        self.fill(now);
        self.give_up(now, released);
        while let Some(record) = self.queue.pop_front() {
            if self.take(&record) {
                released.ready.push(record);
            } else {
                return self.queue.push_front(record);
            }
        }
    }

    /// Lets those go whose time is over, wherever they stand: one that was put again may expire before
    /// those ahead of it.
    fn give_up(&mut self, now: Instant, released: &mut Released) {
        if self.expires.is_none_or(|expires| expires > now) {
            return;
        }
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (expired, left): (Vec<_>, Vec<_>) = queue.partition(|one| one.is_expired(now));
        self.queue = left.into();
        self.expires = self.queue.iter().filter_map(|one| one.expires).min();
        released.expired.extend(expired);
    }

    /// Sends nothing for a moment, and then less; less once a second at most, because one call may
    /// bring many throttled records.
    fn slow_down(&mut self, now: Instant) {
        let is_news = |at: Instant| now.saturating_duration_since(at) >= Duration::from_secs(1);
        if self.cut_at.is_none_or(is_news) {
            self.cut_at = Some(now);
            self.factor = (self.factor * CUT).max(FACTOR_MIN);
        }
        self.records.empty();
        self.bytes.empty();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let first = self.queue.front()?;
        let bytes = self.bytes.time_for(first.bytes() as f64);
        let time = self.records.time_for(1.0).max(bytes) / self.factor;
        let time = Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX);
        // A little later, so that a rounded-down wait does not come in vain.
        let at = self.filled_at.checked_add(time.saturating_add(ROUNDING));
        earlier(at, self.expires)
    }
}

impl Bucket {
    fn new(rate: f64) -> Bucket {
        Bucket { tokens: rate, rate }
    }

    fn fill(&mut self, seconds: f64) {
        self.tokens = (self.tokens + self.rate * seconds).min(self.rate);
    }

    fn empty(&mut self) {
        self.tokens = self.tokens.min(-self.rate * PAUSE);
    }

    fn has(&self, amount: f64) -> bool {
        self.tokens >= amount.min(self.rate)
    }

    fn time_for(&self, amount: f64) -> f64 {
        ((amount.min(self.rate) - self.tokens) / self.rate).max(0.0)
    }
}

/// What a shard takes in a second: `API_PutRecords.html`.
const SHARD_RECORDS: f64 = 1_000.0;
const SHARD_BYTES: f64 = 1024.0 * 1024.0;

/// What a throttle leaves of a shard's rate, the seconds it rests, the least that many throttles
/// leave, and what comes back in a second.
const CUT: f64 = 0.8;
const PAUSE: f64 = 0.2;
const FACTOR_MIN: f64 = 0.1;
const RECOVERY: f64 = 0.05;

/// The KPL's: a record at a time would make a call of each.
const RELEASE_INTERVAL: Duration = Duration::from_millis(25);

const ROUNDING: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::kinesis_record::tests::bare;
    use crate::sys::Sys;

    struct Bench {
        limiter: Limiter,
        now: Instant,
    }

    impl Bench {
        fn new(percent: u32) -> Bench {
            Bench {
                limiter: Limiter::new(percent),
                now: Sys::real().clock.now(),
            }
        }

        /// Says whether a record of so many bytes passes at once.
        fn passes(&mut self, bytes: usize) -> bool {
            let mut record = bare(self.now, "k", &vec![0; bytes - 1]);
            record.predicted = Some("shard".into());
            self.limiter.admit(self.now, record).is_some()
        }

        fn pass(&mut self, count: usize, bytes: usize) -> usize {
            (0..count).filter(|_| self.passes(bytes)).count()
        }

        fn released_after(&mut self, millis: u64) -> usize {
            self.now += Duration::from_millis(millis);
            self.limiter.release(self.now).ready.len()
        }
    }

    #[test]
    fn a_shard_gets_1000_records_at_once_and_1000_a_second() {
        for (percent, at_once) in [(100, 1_000), (150, 1_500), (50, 500)] {
            let mut bench = Bench::new(percent);
            assert_eq!(bench.pass(3_000, 10), at_once, "{percent}");
            assert_eq!(bench.released_after(500), at_once / 2, "{percent}");
            assert_eq!(bench.released_after(100), at_once / 10, "{percent}");
        }
    }

    #[test]
    fn a_shard_gets_a_mebibyte_at_once_and_one_a_second() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.pass(40, 64 * 1024), 16);
        assert_eq!(bench.released_after(250), 4);
        let next = bench.limiter.next_deadline().expect("some wait");
        let wait = next - bench.now;
        assert!(
            Duration::from_millis(62) < wait && wait < Duration::from_millis(65),
            "{wait:?}"
        );
    }

    #[test]
    fn a_record_larger_than_a_seconds_worth_goes_and_is_paid_off() {
        let mut bench = Bench::new(50);
        assert!(bench.passes(1024 * 1024));
        assert!(!bench.passes(1));
        assert_eq!(bench.released_after(990), 0);
        assert_eq!(bench.released_after(25), 1);
    }

    #[test]
    fn a_throttled_shard_gets_less_until_it_recovers() {
        let mut bench = Bench::new(100);
        assert!(bench.passes(10));
        bench.limiter.slow_down(bench.now, &"shard".into());
        bench.limiter.slow_down(bench.now, &"shard".into());
        assert_eq!(bench.pass(10_000, 10), 0);
        let first = bench.released_after(1_000);
        assert!((640..=700).contains(&first), "{first}");
        for _ in 0..4 {
            bench.released_after(1_000);
        }
        assert_eq!(bench.released_after(1_000), 1_000);
    }

    #[test]
    fn what_waits_too_long_is_given_up_and_what_waits_for_a_closed_shard_is_given_back() {
        let mut bench = Bench::new(100);
        bench.pass(1_000, 10);
        let mut dying = bare(bench.now, "k", b"");
        dying.predicted = Some("shard".into());
        dying.expires = Some(bench.now);
        assert!(bench.limiter.admit(bench.now, dying).is_none());
        assert_eq!(bench.limiter.next_deadline(), Some(bench.now));
        assert_eq!(bench.limiter.release(bench.now).expired.len(), 1);

        bench.passes(10);
        assert_eq!(bench.limiter.take_closed(|_| true).len(), 0);
        assert_eq!(bench.limiter.take_closed(|_| false).len(), 1);
        assert!(bench.limiter.is_empty());
    }

    #[test]
    fn what_waits_leaves_by_deadline() {
        let mut bench = Bench::new(100);
        bench.pass(1_000, 10);
        let mut rng = crate::sys::rng::Rng::from_seed(7);
        let mut deadlines: Vec<_> = (0..2_000).map(|n| n % 1_000).collect();
        deadlines.extend((0..2_000).map(|_| 1_000 + rng.next_u64() % 100_000));
        for millis in &deadlines {
            let mut record = bare(bench.now, "k", b"");
            record.predicted = Some("shard".into());
            record.deadline = bench.now + Duration::from_millis(*millis);
            assert!(bench.limiter.admit(bench.now, record).is_none());
        }
        deadlines.sort();
        let (start, mut left) = (bench.now, Vec::new());
        for _ in 0..5 {
            bench.now += Duration::from_millis(1_000);
            let ready = bench.limiter.release(bench.now).ready.into_iter();
            left.extend(ready.map(|one| (one.deadline - start).as_millis() as u64));
        }
        assert_eq!(left, deadlines);
    }

    #[test]
    fn what_expires_is_given_up_wherever_it_stands_and_the_rest_is_sent() {
        let mut bench = Bench::new(100);
        let mut sent = 0;
        for (count, dies_after) in [(3_000, None), (1_000, Some(0)), (1_000, Some(1_050))] {
            for _ in 0..count {
                let mut record = bare(bench.now, "k", b"");
                record.predicted = Some("shard".into());
                record.expires = dies_after.map(|millis| bench.now + Duration::from_millis(millis));
                sent += usize::from(bench.limiter.admit(bench.now, record).is_some());
            }
        }
        let mut expired = 0;
        while !bench.limiter.is_empty() {
            bench.now = bench.limiter.next_deadline().expect("some wait");
            let released = bench.limiter.release(bench.now);
            sent += released.ready.len();
            expired += released.expired.len();
        }
        assert_eq!((sent, expired), (3_000, 2_000));
    }

    #[test]
    fn what_one_bucket_lacks_is_not_taken_from_the_other() {
        let mut bench = Bench::new(100);
        assert!(bench.passes(1024 * 1024));
        assert_eq!(bench.pass(500, 1_000), 0);
        let shard = &bench.limiter.shards[&ShardId::from("shard")];
        assert_eq!((shard.records.tokens, shard.bytes.tokens), (999.0, 0.0));
    }

    #[test]
    fn a_record_without_a_predicted_shard_is_not_limited() {
        let mut bench = Bench::new(1);
        for _ in 0..100 {
            let record = bare(bench.now, "k", b"");
            assert!(bench.limiter.admit(bench.now, record).is_some());
        }
    }
}
