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

    /// Draws the wait after a whole call that failed, with all its retries, when so many such calls have
    /// failed before it.
    ///
    /// It begins at the longest wait within a call and doubles up to 10 s. Chance takes up to a half off:
    /// threads that failed together come back apart, and none at once.
    pub(crate) fn pause(&self, calls_failed: u32, rng: &mut Rng) -> Duration {
        let first = self.backoff_max.max(PAUSE_MIN);
        let grown = first.saturating_mul(2_u32.saturating_pow(calls_failed));
        let bound = grown.min(first.max(PAUSE_MAX));
        bound.mul_f64(0.5 + rng.next_f64() / 2.0)
    }

    fn bound(&self, retry: u32) -> Duration {
        let max = self.backoff_max.as_secs_f64();
        // A huge power is infinite, and the lesser of it and the maximum is the maximum.
        let bound = self.backoff_base.as_secs_f64() * self.backoff_exponent.powf(f64::from(retry));
        Duration::try_from_secs_f64(bound.min(max)).unwrap_or(self.backoff_max)
    }
}

/// So that a policy without waits does not spin while the service is away.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// A shard is asked at least every 10 s, and found again as soon once the service is back.
const PAUSE_MAX: Duration = Duration::from_secs(10);

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
    fn pauses_between_calls_grow_to_10_s_and_none_is_short() {
        let policy = RetryPolicy::default_for(Operation::GetRecords);
        let slow = RetryPolicy::of(3, 300, 60_000);
        let spinning = RetryPolicy::of(3, 0, 0);
        for (policy, calls_failed, bound_ms) in [
            (&policy, 0, 1_000),
            (&policy, 1, 2_000),
            (&policy, 3, 8_000),
            (&policy, 4, 10_000),
            (&policy, u32::MAX, 10_000),
            (&slow, 0, 60_000),
            (&slow, 9, 60_000),
            (&spinning, 0, 100),
            (&spinning, 9, 10_000),
        ] {
            let mut rng = Rng::from_seed(1);
            let pauses: Vec<_> = (0..100)
                .map(|_| policy.pause(calls_failed, &mut rng).as_millis())
                .collect();
            let (least, most) = (pauses.iter().min(), pauses.iter().max());
            assert!(
                least >= Some(&(bound_ms / 2)) && most <= Some(&bound_ms),
                "{pauses:?}"
            );
            assert!(most > Some(&(bound_ms * 9 / 10)), "{pauses:?}");
        }
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
