use std::time::{Duration, Instant};

use crossbeam::channel::select;

use crate::producer::metrics::ProducerMetrics;
use crate::producer::shared::Shared;
use crate::sys::clock::later;
use crate::sys::stop::Stop;
use crate::sys::thread::caught;

/// What a user wants to be told of from time to time.
pub(super) type OnMetrics = Box<dyn FnMut(&ProducerMetrics) + Send>;

/// What is done with the metrics from time to time, and once more at the end.
#[derive(Default)]
pub(super) struct Monitor {
    duties: Vec<Duty>,
}

struct Duty {
    every: Duration,
    act: Act,
}

type Act = Box<dyn FnMut(&Shared, &Stop) + Send>;

impl Monitor {
    /// Adds something to be done, first when so much time has passed.
    pub fn add(&mut self, every: Duration, act: Act) {
        self.duties.push(Duty { every, act });
    }

    pub fn is_empty(&self) -> bool {
        self.duties.is_empty()
    }

    /// Does what is due until told that nothing more will be measured.
    pub fn watch(&mut self, shared: &Shared, over: &Stop) {
        let start = shared.clock.now();
        let duties = self.duties.iter();
        let mut dues: Vec<_> = duties.map(|duty| later(start, duty.every)).collect();
        while let Some(first) = dues.iter().copied().min() {
            let timer = shared.clock.at(first);
            select! {
                recv(timer.channel()) -> _ => {}
                recv(over.channel()) -> _ => break,
            }
            for (duty, due) in self.duties.iter_mut().zip(&mut dues) {
                if *due <= first {
                    duty.act(shared, over);
                    *due = next(*due, duty.every, shared.clock.now());
                }
            }
        }
        for duty in &mut self.duties {
            duty.act(shared, over);
        }
    }
}

impl Duty {
    fn act(&mut self, shared: &Shared, over: &Stop) {
        if let Err(error) = caught("kin-metrics", || (self.act)(shared, over)) {
            log::error!("{error}: it is called again all the same");
        }
    }
}

/// The next time at a fixed rate; what was missed is not made up for.
fn next(due: Instant, every: Duration, now: Instant) -> Instant {
    let next = later(due, every);
    if next > now { next } else { later(now, every) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Sys;

    #[test]
    fn the_rate_is_kept_and_what_was_missed_is_not_made_up_for() {
        let start = Sys::real().clock.now();
        let (at, every) = (
            |seconds| start + Duration::from_secs(seconds),
            Duration::from_secs(10),
        );
        for (now, expected) in [(10, 20), (13, 20), (19, 20), (20, 30), (57, 67)] {
            assert_eq!(next(at(10), every, at(now)), at(expected), "{now}");
        }
    }
}
