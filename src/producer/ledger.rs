use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam::channel::select;

use crate::producer::wake::Wake;
use crate::sys::clock::Timer;
use crate::sys::stop::Stop;

/// Counts the records on their way by epoch, so that a flush waits for what came before it only.
#[derive(Default)]
pub(super) struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    epoch: u64,
    /// Records on their way, by the epoch in which they started.
    on_their_way: BTreeMap<u64, usize>,
    wake: Wake,
}

impl Ledger {
    /// Notes that records start on their way; gives the epoch to name when they settle.
    pub fn enter(&self, records: usize) -> u64 {
        let mut state = self.state();
        let epoch = state.epoch;
        *state.on_their_way.entry(epoch).or_default() += records;
        epoch
    }

    pub fn leave(&self, epoch: u64, records: usize) {
        let mut state = self.state();
        let Some(left) = state.on_their_way.get_mut(&epoch) else {
            return;
        };
        *left = left.saturating_sub(records);
        if *left == 0 {
            state.on_their_way.remove(&epoch);
            state.wake.all();
        }
    }

    /// Begins a new epoch and gives the one that ends.
    pub fn end_epoch(&self) -> u64 {
        let mut state = self.state();
        state.epoch += 1;
        state.epoch - 1
    }

    /// Waits until everything up to an epoch has settled; gives how many records have not.
    pub fn wait(&self, epoch: u64, timer: &Timer, stop: &Stop) -> usize {
        loop {
            let woken = {
                let mut state = self.state();
                match state.left(epoch) {
                    0 => return 0,
                    _ => state.wake.next(),
                }
            };
            select! {
                recv(woken) -> _ => {}
                recv(stop.channel()) -> _ => return self.state().left(epoch),
                recv(timer.channel()) -> _ => return self.state().left(epoch),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn left(&self, epoch: u64) -> usize {
        self.on_their_way
            .range(..=epoch)
            .map(|(_, left)| left)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::Sys;

    #[test]
    fn a_barrier_waits_for_what_came_before_it_only() {
        let (ledger, clock) = (Ledger::default(), Sys::real().clock);
        let left = |epoch| ledger.wait(epoch, &clock.after(Some(Duration::ZERO)), &Stop::never());
        let before = ledger.enter(5);
        let barrier = ledger.end_epoch();
        let after = ledger.enter(7);
        assert_eq!(left(barrier), 5);
        ledger.leave(before, 2);
        assert_eq!(left(barrier), 3);
        ledger.leave(before, 3);
        assert_eq!(left(barrier), 0);
        assert_eq!(left(ledger.end_epoch()), 7);
        ledger.leave(after, 7);
    }
}
