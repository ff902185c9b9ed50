//! How often, and how patiently, a failed call is made again.

use std::time::Duration;

use crate::model::Operation;
use crate::sys::rng::Rng;

/// How often, and how patiently, a failed call is made again.
///
/// Flink's `maxretries`, `backoff.base`, `backoff.max` and `backoff.expconst` keys.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts beyond the first; `None` retries for as long as a call may take.
    pub max_retries: Option<u32>,
    /// The first wait is at most this long.
    pub backoff_base: Duration,
    /// No wait is longer.
    pub backoff_max: Duration,
    /// How much longer each wait may be than the one before.
    pub backoff_exponent: f64,
}

impl RetryPolicy {
    /// Flink's defaults for a call; once for PutRecord and PutRecords: the producer
    /// repeats entries one by one, and others may not want a record twice.
    ///
    /// Source: <https://nightlies.apache.org/flink/flink-docs-release-1.20/docs/connectors/datastream/kinesis/>
    pub fn default_for(operation: Operation) -> RetryPolicy {
        match operation {
            Operation::GetRecords | Operation::GetShardIterator => RetryPolicy::of(3, 300, 1_000),
            Operation::PutRecord | Operation::PutRecords => RetryPolicy::of(0, 0, 0),
            _ => RetryPolicy::of(10, 1_000, 5_000),
        }
    }

    fn of(retries: u32, base_ms: u64, max_ms: u64) -> RetryPolicy {
        RetryPolicy {
            max_retries: Some(retries),
            backoff_base: Duration::from_millis(base_ms),
            backoff_max: Duration::from_millis(max_ms),
            backoff_exponent: 1.5,
        }
    }

    /// Says whether another attempt may follow after `retries` of them.
    pub(crate) fn allows(&self, retries: u32) -> bool {
        self.max_retries.is_none_or(|max| retries < max)
    }

    /// Draws the wait before retry number `retry`, counted from 0.
    ///
    /// Full jitter: anything up to the bound, so that threads that failed together come back apart.
    pub(crate) fn backoff(&self, retry: u32, rng: &mut Rng) -> Duration {
        self.bound(retry).mul_f64(rng.next_f64())
    }

    fn bound(&self, retry: u32) -> Duration {
        let max = self.backoff_max.as_secs_f64();
        // A huge power is infinite, and the lesser of it and the maximum is the maximum.
        let bound = self.backoff_base.as_secs_f64() * self.backoff_exponent.powf(f64::from(retry));
        Duration::try_from_secs_f64(bound.min(max)).unwrap_or(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound_as_flinks_do() {
        let millis =
            |operation, retry| RetryPolicy::default_for(operation).bound(retry).as_millis();
        for (operation, bounds) in [
            (Operation::GetRecords, [300, 450, 675, 1000, 1000]),
            (Operation::ListShards, [1000, 1500, 2250, 3375, 5000]),
        ] {
            assert_eq!(
                [0, 1, 2, 3, 4].map(|retry| millis(operation, retry)),
                bounds,
                "{operation}"
            );
        }
        assert_eq!(millis(Operation::ListShards, u32::MAX), 5000);
    }

    #[test]
    fn jitter_spreads_over_the_whole_wait() {
        let policy = RetryPolicy::default_for(Operation::GetRecords);
        let mut rng = Rng::from_seed(1);
        let waits: Vec<_> = (0..1_000)
            .map(|_| policy.backoff(0, &mut rng).as_millis())
            .collect();
        assert!(waits.iter().all(|&wait| wait < 300));
        assert!(waits.iter().any(|&wait| wait < 30) && waits.iter().any(|&wait| wait > 270));
    }

    #[test]
    fn max_retries_counts_the_attempts_beyond_the_first() {
        let policy = RetryPolicy::default_for(Operation::GetRecords);
        assert!(policy.allows(2) && !policy.allows(3));
        assert!(!RetryPolicy::default_for(Operation::PutRecords).allows(0));
        assert!(
            RetryPolicy {
                max_retries: None,
                ..policy
            }
            .allows(u32::MAX)
        );
    }
}
