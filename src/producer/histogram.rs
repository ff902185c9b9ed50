use std::time::Duration;

/// How often times were measured, in 256 steps of at most an eighth each, up to an hour.
///
/// One KiB, whatever comes in; a counter that is full stays so.
#[derive(Clone)]
pub(super) struct Histogram(Box<[u32; STEPS]>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Box::new([0; STEPS]))
    }
}

impl Histogram {
    pub fn add(&mut self, time: Duration, times: u32) {
        let count = &mut self.0[step_of(time)];
        *count = count.saturating_add(times);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (count, added) in self.0.iter_mut().zip(other.0.iter()) {
            *count = count.saturating_add(*added);
        }
    }

    /// Gives the time that so large a share of those measured did not exceed; 0 if there are none.
    ///
    /// Rounded up to the end of its step.
    pub fn percentile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        let step = self.0.iter().position(|count| {
            sum += u64::from(*count);
            sum >= wanted
        });
        step.map_or(Duration::ZERO, end_of)
    }
}

/// The step that a time falls into: by its highest bit, and the three bits behind it.
fn step_of(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros < 8 {
        return micros as usize;
    }
    let shift = micros.ilog2() - 3;
    let step = (shift as usize + 1) * 8 + (micros >> shift) as usize - 8;
    step.min(STEPS - 1)
}

/// The longest time of a step.
fn end_of(step: usize) -> Duration {
    if step < 8 {
        return Duration::from_micros(step as u64);
    }
    let (shift, part) = (step / 8 - 1, step % 8 + 8);
    Duration::from_micros(((part as u64 + 1) << shift) - 1)
}

/// 32 octaves of eight: the last one ends at 2^34 µs.
const STEPS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_step_that_ends_an_eighth_behind_it_at_most() {
        for micros in (0..100_000)
            .chain((17..34).map(|bit| 1 << bit))
            .chain([3_600_000_000])
        {
            let time = Duration::from_micros(micros);
            let end = end_of(step_of(time)).as_micros() as u64;
            assert!(
                micros <= end && end <= micros + micros / 8,
                "{micros}: {end}"
            );
        }
        assert_eq!(step_of(Duration::MAX), STEPS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        for millis in 1..=1_000 {
            histogram.add(Duration::from_millis(millis), 1);
        }
        for (share, millis) in [
            (0.5, 500),
            (0.9, 900),
            (0.99, 990),
            (0.999, 999),
            (1.0, 1_000),
        ] {
            let found = histogram.percentile(share).as_secs_f64() * 1_000.0;
            let exact = f64::from(millis);
            assert!((exact..exact * 1.13).contains(&found), "{share}: {found}");
        }
        let mut more = Histogram::default();
        more.add(Duration::from_secs(1), u32::MAX);
        histogram.merge(&more);
        histogram.merge(&more);
        assert!(histogram.percentile(0.1) >= Duration::from_secs(1));
    }
}
