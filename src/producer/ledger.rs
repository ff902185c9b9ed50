use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam::channel::select;

use crate::producer::wake::Wake;
use crate::sys::clock::Timer;
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// Counts one stream's records on their way by epoch, so that a flush waits for what came before it
/// only, and by age.
#[derive(Default)]
pub(super) struct Ledger {
    /// Whom the intake charges for the stream's records.
    account: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    /// Records on their way, by the epoch in which they started.
    on_their_way: BTreeMap<u64, usize>,
    /// The same, by the step of time in which the first of their aggregate was put.
    since: BTreeMap<u32, usize>,
    /// Where the steps begin.
    base: Option<Instant>,
    /// How many started ever.
    entered: u64,
    /// The first epoch of which records were given up because the producer ended.
    abandoned: Option<u64>,
    wake: Wake,
}

/// What says which records leave.
#[derive(Clone)]
pub(super) struct Ticket {
    ledger: Arc<Ledger>,
    epoch: u64,
    step: u32,
}

/// What a flush waits for: the last epoch that has to settle.
#[derive(Clone, Copy)]
pub(super) struct Barrier(u64);

/// What a stream has taken in.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// Records on their way.
    pub pending: u64,
    pub received: u64,
    /// When the oldest of those on their way was put.
    pub oldest: Option<Instant>,
}

impl Ticket {
    /// Says whether the records of both leave the same counts.
    pub fn counts_with(&self, other: &Ticket) -> bool {
        Arc::ptr_eq(&self.ledger, &other.ledger)
            && (self.epoch, self.step) == (other.epoch, other.step)
    }

    /// Whom the intake charged for its records.
    pub fn account(&self) -> usize {
        self.ledger.account
    }

    /// Notes that its records are given up because the producer ends. To be called before they settle.
    pub fn abandon(&self) {
        let mut state = self.ledger.state();
        let first = state.abandoned.map_or(self.epoch, |at| at.min(self.epoch));
        state.abandoned = Some(first);
    }

    /// Notes that some of its records are settled.
    pub fn leave(&self, records: usize) {
        self.ledger.leave(self, records);
    }
}

impl Ledger {
    /// Of the stream that the intake knows by this account.
    pub fn of(account: usize) -> Ledger {
        Ledger {
            account,
            ..Ledger::default()
        }
    }

    pub fn account(&self) -> usize {
        self.account
    }

    /// Notes that records start on their way; gives what to show when they settle.
    pub fn enter(self: &Arc<Ledger>, records: usize, since: Instant) -> Ticket {
        let mut state = self.state();
        let epoch = state.epoch;
        *state.on_their_way.entry(epoch).or_default() += records;
        let step = state.step_of(since);
        *state.since.entry(step).or_default() += records;
        state.entered += records as u64;
        Ticket {
            ledger: self.clone(),
            epoch,
            step,
        }
    }

    fn leave(&self, ticket: &Ticket, records: usize) {
        let mut state = self.state();
        take(&mut state.since, ticket.step, records);
        if take(&mut state.on_their_way, ticket.epoch, records) {
            state.wake.all();
        }
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            pending: state.left(u64::MAX) as u64,
            received: state.entered,
            oldest: state.oldest(),
        }
    }

    /// Says how many up to a barrier have not settled.
    pub fn left(&self, barrier: Barrier) -> usize {
        self.state().left(barrier.0)
    }

    /// Says whether records before a barrier were given up because the producer ends. It does not matter
    /// whether that was before the flush began: its caller takes `Ok` for "none was given up".
    pub fn is_overtaken(&self, barrier: Barrier) -> bool {
        let abandoned = self.state().abandoned;
        abandoned.is_some_and(|first| first <= barrier.0)
    }

    /// Begins a new epoch; the barrier stands between it and the ones before.
    pub fn end_epoch(&self) -> Barrier {
        let mut state = self.state();
        state.epoch += 1;
        Barrier(state.epoch - 1)
    }

    /// Waits until everything up to a barrier has settled; gives how many records have not when the time
    /// is up or the producer ends.
    pub fn wait(&self, barrier: Barrier, timer: &Timer, stop: &Stop) -> usize {
        let Barrier(epoch) = barrier;
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
        lock(&self.state)
    }
}

impl State {
    fn step_of(&mut self, since: Instant) -> u32 {
        let base = *self.base.get_or_insert(since);
        let steps = since.saturating_duration_since(base).as_millis() / STEP.as_millis();
        u32::try_from(steps).unwrap_or(u32::MAX)
    }

    fn oldest(&self) -> Option<Instant> {
        let (step, _) = self.since.first_key_value()?;
        self.base?.checked_add(STEP * *step)
    }

    fn left(&self, epoch: u64) -> usize {
        self.on_their_way
            .range(..=epoch)
            .map(|(_, left)| left)
            .sum()
    }
}

/// Takes some of what is counted under a key; says whether nothing is left of it.
fn take<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K, records: usize) -> bool {
    let Entry::Occupied(mut count) = counts.entry(key) else {
        return false;
    };
    *count.get_mut() = count.get().saturating_sub(records);
    let is_over = *count.get() == 0;
    if is_over {
        count.remove();
    }
    is_over
}

/// How finely ages are told apart: few steps at a time are on their way, so that counting is cheap.
const STEP: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Sys;

    #[test]
    fn a_barrier_waits_for_what_came_before_it_only() {
        let (ledger, clock) = (Arc::new(Ledger::default()), Sys::real().clock);
        let now = clock.now();
        let left = |epoch| ledger.wait(epoch, &clock.after(Some(Duration::ZERO)), &Stop::never());
        let before = ledger.enter(5, now);
        let barrier = ledger.end_epoch();
        let later = now + 3 * STEP;
        let after = ledger.enter(7, later);
        assert_eq!((left(barrier), ledger.left(barrier)), (5, 5));
        before.leave(2);
        assert_eq!(left(barrier), 3);
        assert_eq!(ledger.standing().oldest, Some(now));
        before.leave(3);
        assert_eq!(left(barrier), 0);
        assert_eq!(ledger.standing().oldest, Some(later));
        assert_eq!(left(ledger.end_epoch()), 7);
        after.leave(7);
        let standing = ledger.standing();
        assert_eq!((standing.pending, standing.received), (0, 12));
        assert_eq!(standing.oldest, None);
    }

    #[test]
    fn a_flush_is_overtaken_by_what_is_given_up_before_its_barrier_only() {
        let (ledger, now) = (Arc::new(Ledger::default()), Sys::real().clock.now());
        let before = ledger.enter(1, now);
        let barrier = ledger.end_epoch();
        let after = ledger.enter(1, now);
        after.abandon();
        assert!(!ledger.is_overtaken(barrier));
        before.abandon();
        assert!(ledger.is_overtaken(barrier));
        assert!(ledger.is_overtaken(ledger.end_epoch()), "a later one, too");
    }

    #[test]
    fn who_waits_for_nothing_does_not_wait() {
        let (ledger, clock) = (Ledger::default(), Sys::real().clock);
        let timer = clock.after(Some(Duration::ZERO));
        let left = ledger.wait(ledger.end_epoch(), &timer, &Stop::never());
        let is_unused = timer.channel().try_recv().is_ok();
        assert_eq!((left, is_unused), (0, true));
    }

    #[test]
    fn records_leave_together_if_their_stream_epoch_and_age_are_the_same() {
        let now = Sys::real().clock.now();
        let [ledger, other] = [7, 8].map(|account| Arc::new(Ledger::of(account)));
        let first = ledger.enter(1, now);
        let rows = [
            (ledger.enter(1, now + STEP / 2), true),
            (ledger.enter(1, now + STEP), false),
            (other.enter(1, now), false),
        ];
        ledger.end_epoch();
        for (n, (ticket, together)) in rows.iter().enumerate() {
            assert_eq!(first.counts_with(ticket), *together, "{n}");
        }
        assert!(!first.counts_with(&ledger.enter(1, now)), "a later epoch");
    }

    #[test]
    fn records_are_charged_to_the_account_of_their_stream() {
        let ledger = Arc::new(Ledger::of(7));
        let ticket = ledger.enter(1, Sys::real().clock.now());
        assert_eq!((ledger.account(), ticket.account()), (7, 7));
    }
}
