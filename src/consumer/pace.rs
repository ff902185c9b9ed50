use std::time::{Duration, Instant};

use crate::config::ConsumerConfig;

/// When a shard may be read next, and how much is asked for. Pure: `now` is told.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    empty_interval: Duration,
    bytes_per_second: Option<u32>,
    adaptive: bool,
    limit: u32,
    /// What arrives in time over this link, as far as that was found out.
    limit_in_time: u32,
    /// What a record of the last answer weighed.
    record_bytes: Option<usize>,
    bytes_requested: f64,
    last_call: Instant,
    next_read: Instant,
}

/// What an answer weighed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub records: usize,
    pub bytes: usize,
    /// Nothing in it, and nothing ahead.
    pub at_tip: bool,
    /// How long the call took.
    pub took: Duration,
}

impl Pace {
    pub fn new(config: &ConsumerConfig, now: Instant) -> Pace {
        Pace {
            interval: config.get_records_interval,
            empty_interval: config.empty_interval.max(config.get_records_interval),
            bytes_per_second: config.read_bytes_per_second,
            adaptive: config.adaptive_reads,
            limit: config.get_records_max,
            limit_in_time: RECORDS_MAX,
            record_bytes: None,
            bytes_requested: 0.0,
            last_call: now,
            next_read: now,
        }
    }

    pub fn next_read(&self) -> Instant {
        self.next_read
    }

    /// How many records the next call asks for.
    pub fn limit(&self) -> u32 {
        self.limit.min(self.limit_in_time)
    }

    /// The bytes that the limit aims at, if it is adaptive.
    pub fn bytes_requested(&self) -> f64 {
        self.bytes_requested
    }

    /// Lets the next call wait for an interval from now.
    pub fn put_off(&mut self, now: Instant) {
        self.next_read = now + self.interval;
    }

    /// Makes no call before `time`.
    pub fn wait_until(&mut self, time: Instant) {
        self.next_read = self.next_read.max(time);
    }

    /// Takes what came of a call that began at `called`.
    ///
    /// The interval is a period: time spent handing over counts.
    pub fn on_answer(&mut self, called: Instant, weight: Weight) {
        let period = match weight.at_tip {
            true => self.empty_interval,
            false => self.interval,
        };
        self.next_read = called + period.max(self.time_for(weight.bytes));
        if self.adaptive {
            self.adapt(called, weight);
        }
        self.grow_back(weight);
        self.last_call = called;
    }

    /// An answer did not arrive in time: the next is to be half as long.
    pub fn on_timeout(&mut self) {
        let asked = self.limit();
        // An answer ends at 10 MiB, so a limit beyond that would be halved for nothing.
        let fitting = self
            .record_bytes
            .map(|bytes| ANSWER_BYTES_MAX / bytes.max(1));
        let fitting = fitting.and_then(|records| u32::try_from(records).ok());
        let answered = fitting.map_or(asked, |fitting| fitting.min(asked));
        self.limit_in_time = (answered / 2).max(1);
    }

    /// Raises a limit that was halved, if the answer was as long as it allows. One that took long does not
    /// raise it: twice as much might not arrive in time again.
    fn grow_back(&mut self, weight: Weight) {
        let average = weight.bytes.checked_div(weight.records);
        self.record_bytes = average.or(self.record_bytes);
        let is_full = weight.records >= self.limit_in_time as usize;
        if is_full && weight.took <= LONG_CALL {
            self.limit_in_time = self.limit_in_time.saturating_mul(2).min(RECORDS_MAX);
        }
    }

    /// A shard gives 10 MiB at once, and then nothing until they are paid for at 2 MiB a second.
    fn time_for(&self, bytes: usize) -> Duration {
        match self.bytes_per_second {
            _ if bytes < BYTES_NOT_COUNTED => Duration::ZERO,
            None | Some(0) => Duration::ZERO,
            Some(rate) => Duration::from_millis((bytes as u64 * 1_000).div_ceil(u64::from(rate))),
        }
    }

    /// Flink's rule: ask for what the shard gives in the time from call to call.
    fn adapt(&mut self, called: Instant, weight: Weight) {
        let seconds = called
            .saturating_duration_since(self.last_call)
            .as_secs_f64();
        let Some(average) = weight.bytes.checked_div(weight.records) else {
            return;
        };
        if seconds > 0.0 {
            let bytes = f64::from(SHARD_BYTES_PER_SECOND) * seconds;
            self.bytes_requested = bytes;
            // A float that is too large becomes the largest number.
            let records = (bytes / average.max(1) as f64) as u32;
            self.limit = records.clamp(1, RECORDS_MAX);
        }
    }
}

/// Five such answers a second are far from the limit.
const BYTES_NOT_COUNTED: usize = 64 << 10;

/// What a shard gives to all its readers, and what one call may ask for:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const SHARD_BYTES_PER_SECOND: u32 = 2 << 20;
const RECORDS_MAX: u32 = 10_000;
const ANSWER_BYTES_MAX: usize = 10 << 20;

/// A quarter of what an answer may take at most.
const LONG_CALL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn pace(adaptive: bool, now: Instant) -> Pace {
        let config = ConsumerConfig::builder().adaptive_reads(adaptive);
        Pace::new(&config.build().expect("valid"), now)
    }

    fn weight(records: usize, bytes: usize) -> Weight {
        Weight {
            records,
            bytes,
            at_tip: records == 0,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn the_interval_is_a_period_and_longer_at_the_tip() {
        let now = Instant::now();
        let mut pace = pace(false, now);
        assert_eq!(pace.next_read(), now);
        pace.on_answer(now, weight(1, 100));
        assert_eq!(pace.next_read(), now + INTERVAL);
        pace.on_answer(now, weight(0, 0));
        assert_eq!(pace.next_read(), now + Duration::from_millis(250));
        let mut in_the_middle = weight(0, 0);
        in_the_middle.at_tip = false;
        pace.on_answer(now, in_the_middle);
        assert_eq!(pace.next_read(), now + INTERVAL);
    }

    #[test]
    fn a_large_answer_is_paid_for_before_the_next() {
        let now = Instant::now();
        let mut pace = pace(false, now);
        for (mebibytes, seconds) in [(10, 5.0), (1, 0.5)] {
            pace.on_answer(now, weight(1_000, mebibytes << 20));
            let expected = now + Duration::from_secs_f64(seconds);
            assert_eq!(pace.next_read(), expected);
        }
    }

    #[test]
    fn a_small_answer_costs_no_time() {
        let now = Instant::now();
        let config = ConsumerConfig::builder().get_records_interval(Duration::ZERO);
        let mut pace = Pace::new(&config.build().expect("valid"), now);
        let kib = 1 << 10;
        // At 2 MiB a second, and in whole milliseconds.
        for (bytes, millis) in [(kib, 0), (64 * kib - 1, 0), (64 * kib, 32)] {
            pace.on_answer(now, weight(1, bytes));
            let expected = now + Duration::from_millis(millis);
            assert_eq!(pace.next_read(), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn adaptive_reads_ask_for_what_the_shard_gives_between_two_calls() {
        let kib = 1 << 10;
        for (records, bytes, limit) in [
            (10, 100 * kib, 40),
            (40, 400 * kib, 40),
            // Empty and tiny records, and such as are larger than what there is time for.
            (10, 0, 10_000),
            (1, 1 << 20, 1),
            (1_000, 10 * kib, 10_000),
        ] {
            let now = Instant::now();
            let mut pace = pace(true, now);
            assert_eq!(pace.limit(), 10_000);
            assert!(pace.bytes_requested() == 0.0);
            pace.on_answer(now + INTERVAL, weight(records, bytes));
            assert_eq!(pace.limit(), limit, "{records} of {bytes} bytes");
            // A fifth of 2 MiB.
            assert_eq!(pace.bytes_requested() as u64, 419_430);
        }
    }

    #[test]
    fn a_limit_halves_with_each_time_out_and_grows_back() {
        let now = Instant::now();
        let mut pace = pace(false, now);
        let halved = [
            5_000, 2_500, 1_250, 625, 312, 156, 78, 39, 19, 9, 4, 2, 1, 1,
        ];
        for limit in halved {
            pace.on_timeout();
            assert_eq!(pace.limit(), limit);
        }
        let long = Weight {
            took: Duration::from_secs(61),
            ..weight(1, 10 << 20)
        };
        for (weight, limit) in [
            (weight(1, 10 << 20), 2),
            (weight(1, 10 << 20), 2),
            (long, 2),
            (weight(2, 10), 4),
        ] {
            pace.on_answer(now, weight);
            assert_eq!(pace.limit(), limit, "{weight:?}");
        }
        for _ in 0..20 {
            pace.on_answer(now, weight(10_000, 10));
        }
        assert_eq!(pace.limit(), 10_000);
        // 10 MiB were 100 of these: half of that is asked for at once.
        pace.on_answer(now, weight(100, 10 << 20));
        pace.on_timeout();
        assert_eq!(pace.limit(), 50);
    }

    #[test]
    fn an_answer_without_records_leaves_the_limit_as_it_is() {
        let now = Instant::now();
        let mut pace = pace(true, now);
        pace.on_answer(now + INTERVAL, weight(10, 100 << 10));
        pace.on_answer(now + 2 * INTERVAL, weight(0, 0));
        assert_eq!(pace.limit(), 40);
        // No time has passed, as far as the clock can tell.
        pace.on_answer(now + 2 * INTERVAL, weight(10, 100 << 10));
        assert_eq!(pace.limit(), 40);
    }
}
