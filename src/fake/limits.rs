//! The service's limits on rates: per shard for records, per account for the rest.
//!
//! Counted in windows of one second that start with the first call after the last one ended. The
//! service does not say how it counts; its own words for reads, ten mebibytes at once and then
//! nothing for five seconds, are what a window gives that lasts until what was taken is paid for.

use std::time::Duration;

use crate::model::Timestamp;

/// A rate: so much a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub calls: u64,
    pub bytes: u64,
}

/// What was used of a rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    start: Option<Timestamp>,
    end: Timestamp,
    calls: u64,
    bytes: u64,
}

impl Window {
    /// Takes a call of known size, or says that it is too much for now.
    ///
    /// What is larger than the whole rate passes if nothing came before it in its window.
    pub fn admit(&mut self, now: Timestamp, bytes: u64, rate: Rate) -> bool {
        self.roll(now);
        let fits = self.calls < rate.calls
            && (self.bytes == 0 || self.bytes.saturating_add(bytes) <= rate.bytes);
        if fits {
            self.calls += 1;
            self.charge(bytes, rate);
        }
        fits
    }

    /// Takes a call whose size is not known yet, if there is anything left.
    pub fn open(&mut self, now: Timestamp, rate: Rate) -> bool {
        self.roll(now);
        let fits = self.calls < rate.calls && self.bytes < rate.bytes;
        self.calls += u64::from(fits);
        fits
    }

    /// Charges what a call turned out to take; what is too much makes the window longer.
    pub fn charge(&mut self, bytes: u64, rate: Rate) {
        self.bytes = self.bytes.saturating_add(bytes);
        let paid = self.bytes.saturating_mul(1_000).div_ceil(rate.bytes.max(1));
        if let Some(start) = self.start {
            self.end = start.saturating_add(Duration::from_millis(paid.max(1_000)));
        }
    }

    fn roll(&mut self, now: Timestamp) {
        if self.start.is_none() || now >= self.end {
            *self = Window {
                start: Some(now),
                end: now.saturating_add(Duration::from_secs(1)),
                ..Window::default()
            };
        }
    }
}

/// The limit on calls a second that an account has for an operation.
///
/// The service counts ListShards by stream; here all streams count together.
pub(super) fn calls_a_second(operation: &str) -> Option<u64> {
    Some(match operation {
        "CreateStream" | "DeleteStream" | "ListStreams" | "MergeShards" | "SplitShard" => 5,
        "DescribeStream" => 10,
        "DescribeStreamSummary" => 20,
        "ListShards" => 1_000,
        _ => return None,
    })
}

// https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
pub(super) const WRITES: Rate = Rate {
    calls: 1_000,
    bytes: 1024 * 1024,
};
pub(super) const READS: Rate = Rate {
    calls: 5,
    bytes: 2 * 1024 * 1024,
};
pub(super) const ITERATORS: Rate = calls_only(5);

pub(super) const fn calls_only(calls: u64) -> Rate {
    Rate {
        calls,
        bytes: u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn a_thousand_records_or_a_mebibyte_fill_a_second() {
        let mut window = Window::default();
        let taken = (0..1_001).filter(|_| window.admit(at(0), 10, WRITES));
        assert_eq!(taken.count(), 1_000);
        assert!(!window.admit(at(999), 10, WRITES));
        assert!(window.admit(at(1_000), MIB, WRITES));
        assert!(!window.admit(at(1_500), 1, WRITES));
        assert!(window.admit(at(2_000), 1, WRITES));
    }

    #[test]
    fn a_record_larger_than_the_rate_is_paid_for_afterwards() {
        let mut window = Window::default();
        assert!(window.admit(at(0), 10 * MIB, WRITES));
        for (millis, taken) in [(1_000, false), (9_999, false), (10_000, true)] {
            assert_eq!(window.admit(at(millis), 1, WRITES), taken, "{millis}");
        }
    }

    #[test]
    fn five_reads_a_second_and_five_seconds_of_rest_after_ten_mebibytes() {
        let mut window = Window::default();
        let taken = (0..6).filter(|_| window.open(at(0), READS));
        assert_eq!(taken.count(), 5);
        assert!(window.open(at(1_000), READS));
        window.charge(10 * MIB, READS);
        for (millis, taken) in [(2_000, false), (5_999, false), (6_000, true)] {
            assert_eq!(window.open(at(millis), READS), taken, "{millis}");
        }
    }
}
