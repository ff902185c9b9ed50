//! Room for records: taken by `put`, given back when a record settles.
//!
//! Who finds no room stands in a queue, and whoever gives room back hands it to those in front: a put
//! that waits does not look for itself, so it neither spins nor misses a wake-up. The queue is in
//! order of arrival. A later put passes an earlier one only where the earlier one's own stream is what
//! keeps it out, or where it is of another stream and fits in its reserve, and that [so often](PASSES_MAX).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::error::{Error, ErrorKind, Result};
use crate::producer::shares::{Full, Refusal, Shares};
use crate::sys::clock::Timer;
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

pub(super) struct Intake {
    state: Mutex<State>,
    /// How many wait, for those who ask without the lock.
    waiting: AtomicUsize,
}

struct State {
    shares: Shares,
    queue: VecDeque<Waiter>,
    last_number: u64,
}

/// A put that waits for room.
struct Waiter {
    number: u64,
    account: usize,
    bytes: usize,
    /// How many later ones were let in before it.
    passed: u32,
    /// Takes a message once the room is taken for it.
    granted: Sender<()>,
}

/// One look through the queue from its front: what those that stay keep those behind them from.
#[derive(Default)]
struct Look {
    /// Streams of which one has to stay: the later ones of the same stream stay as well.
    refused: Vec<usize>,
    /// Whether one stays that wanted more than its stream's reserve: nobody behind it gets more.
    is_reserve_only: bool,
    /// Whether one was passed often enough: nobody behind it goes in.
    is_over: bool,
}

impl Intake {
    pub fn new(records: usize, bytes: usize) -> Intake {
        let state = State {
            shares: Shares::new(records, bytes),
            queue: VecDeque::new(),
            last_number: 0,
        };
        Intake {
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
        }
    }

    /// How many records are in.
    pub fn records(&self) -> usize {
        self.state().shares.records()
    }

    /// Says whether somebody waits for room.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Takes room for one record of a stream, if there is and nobody waits for it; else says what there
    /// is too much of.
    pub fn try_take(&self, account: usize, bytes: usize) -> Result<(), Full> {
        let mut state = self.state();
        state.shares.touch(account);
        if state.queue.is_empty() {
            let admitted = state.shares.admits(account, bytes, true);
            admitted.map_err(|refusal| refusal.full)?;
            state.shares.take(account, bytes);
            return Ok(());
        }
        let (number, granted) = state.enqueue(account, bytes);
        state.grant();
        if granted.try_recv().is_ok() {
            return Ok(());
        }
        let refusal = state.shares.admits(account, bytes, true).err();
        state.dequeue(number);
        Err(refusal.map_or(Full::Records, |refusal| refusal.full))
    }

    /// Takes room for one record, and waits for it until the timer fires.
    ///
    /// Announces that it waits, so that what holds the room is sent.
    ///
    /// # Errors
    /// `Full` when the time is up, `Closed` when told to stop.
    pub fn take(
        &self,
        account: usize,
        bytes: usize,
        timer: &Timer,
        stop: &Stop,
        announce: impl FnOnce(),
    ) -> Result<()> {
        let (number, granted) = {
            let mut state = self.state();
            state.shares.touch(account);
            let place = state.enqueue(account, bytes);
            state.grant();
            // Under the lock, so that who gives room back later sees it.
            self.waiting.store(state.queue.len(), Ordering::SeqCst);
            place
        };
        if granted.try_recv().is_ok() {
            return Ok(());
        }
        announce();
        let refusal = select! {
            recv(granted) -> _ => return Ok(()),
            recv(stop.channel()) -> _ => None,
            recv(timer.channel()) -> _ => Some(Full::Records),
        };
        let Some(full) = self.leave(number) else {
            // The room was taken for it at the same moment.
            return Ok(());
        };
        Err(match refusal {
            Some(_) => full.into(),
            None => Error::new(ErrorKind::Closed),
        })
    }

    /// Gives the room of a stream's settled records back, to those who wait for it.
    pub fn give_back(&self, settled: impl IntoIterator<Item = (usize, usize, usize)>) {
        let mut state = self.state();
        for (account, records, bytes) in settled {
            state.shares.give_back(account, records, bytes);
        }
        self.hand_on(&mut state);
    }

    /// Looks which streams are still active.
    pub fn retire(&self) {
        let mut state = self.state();
        state.shares.retire();
        self.hand_on(&mut state);
    }

    /// Takes a put out of the queue; says what it waited for, or `None` if its room is taken.
    fn leave(&self, number: u64) -> Option<Full> {
        let mut state = self.state();
        let full = state.dequeue(number);
        self.hand_on(&mut state);
        full
    }

    fn hand_on(&self, state: &mut State) {
        if !state.queue.is_empty() {
            state.grant();
        }
        self.waiting.store(state.queue.len(), Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn enqueue(&mut self, account: usize, bytes: usize) -> (u64, Receiver<()>) {
        self.last_number += 1;
        let (granted, grant) = channel::bounded(1);
        self.shares.wait(account, true);
        self.queue.push_back(Waiter {
            number: self.last_number,
            account,
            bytes,
            passed: 0,
            granted,
        });
        (self.last_number, grant)
    }

    /// Takes one out that has waited in vain; says what it lacked.
    fn dequeue(&mut self, number: u64) -> Option<Full> {
        let place = self.queue.iter().position(|one| one.number == number)?;
        let waiter = self.queue.remove(place)?;
        self.shares.wait(waiter.account, false);
        let refusal = self.shares.admits(waiter.account, waiter.bytes, true).err();
        Some(refusal.map_or(Full::Records, |refusal| refusal.full))
    }

    /// Lets those in for whom there is room, from the front.
    fn grant(&mut self) {
        let (mut place, mut look) = (0, Look::default());
        while place < self.queue.len() && !look.is_over && !self.shares.is_full() {
            match look.at(&self.queue[place], &self.shares) {
                true => self.let_in(place),
                false => place += 1,
            }
        }
    }

    fn let_in(&mut self, place: usize) {
        let Some(waiter) = self.queue.remove(place) else {
            return;
        };
        self.shares.wait(waiter.account, false);
        self.shares.take(waiter.account, waiter.bytes);
        // It has room for one, and gets one.
        let _ = waiter.granted.try_send(());
        for passed in self.queue.iter_mut().take(place) {
            passed.passed += 1;
        }
    }
}

impl Look {
    /// Says whether this one goes in; if not, notes what that means for those behind it.
    fn at(&mut self, waiter: &Waiter, shares: &Shares) -> bool {
        if self.refused.contains(&waiter.account) {
            return false;
        }
        let beyond = !self.is_reserve_only;
        let Err(Refusal { is_own, .. }) = shares.admits(waiter.account, waiter.bytes, beyond)
        else {
            return true;
        };
        self.refused.push(waiter.account);
        self.is_reserve_only = true;
        // Where its own stream is in the way, it would wait for that one alone.
        self.is_over = !is_own && waiter.passed >= PASSES_MAX;
        false
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Error {
        let limit = match full {
            Full::Bytes => "bytes",
            Full::Records => "records",
        };
        let limit = limit.to_owned();
        Error::new(ErrorKind::Full { limit })
    }
}

/// How many later puts of other streams may go in before one that waits for room they hold.
const PASSES_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::Sys;
    use crate::sys::stop::StopSource;

    fn said(taken: Result<(), Full>) -> Option<String> {
        taken.err().map(|full| Error::from(full).to_string())
    }

    /// One that waits, without a thread.
    fn wait(intake: &Intake, account: usize, bytes: usize) -> Receiver<()> {
        let mut state = intake.state();
        state.shares.touch(account);
        let (_, granted) = state.enqueue(account, bytes);
        intake.hand_on(&mut state);
        granted
    }

    fn is_in(granted: &Receiver<()>) -> bool {
        granted.try_recv().is_ok()
    }

    #[test]
    fn room_ends_at_its_limits_and_not_before() {
        let intake = Intake::new(2, 100);
        assert_eq!(said(intake.try_take(0, 99)), None);
        assert_eq!(
            said(intake.try_take(0, 2)).as_deref(),
            Some("the queue limit of bytes is reached; wait for deliveries, or raise it")
        );
        assert_eq!(said(intake.try_take(0, 1)), None);
        assert_eq!(
            said(intake.try_take(0, 0)).as_deref(),
            Some("the queue limit of records is reached; wait for deliveries, or raise it")
        );
        intake.give_back([(0, 1, 99)]);
        assert_eq!((said(intake.try_take(0, 99)), intake.records()), (None, 2));
    }

    #[test]
    fn a_record_larger_than_the_limit_goes_in_alone() {
        let intake = Intake::new(10, 100);
        assert_eq!(said(intake.try_take(0, 101)), None);
        assert!(intake.try_take(0, 1).is_err());
        intake.give_back([(0, 1, 101)]);
        assert_eq!(said(intake.try_take(0, 1)), None);
        assert!(intake.try_take(0, 101).is_err());
    }

    #[test]
    fn who_waits_is_told_to_stop_or_that_the_time_is_up() {
        let intake = Intake::new(1, 100);
        intake.try_take(0, 1).expect("room");
        let clock = Sys::real().clock;
        let up = clock.after(Some(Duration::ZERO));
        let up = intake.take(0, 1, &up, &Stop::never(), || {});
        assert!(matches!(
            up.expect_err("full").kind(),
            ErrorKind::Full { .. }
        ));
        let stopped = StopSource::new().stop();
        let announced = || assert!(intake.is_waited_for());
        let closed = intake.take(0, 1, &clock.after(None), &stopped, announced);
        assert!(matches!(
            closed.expect_err("stopped").kind(),
            ErrorKind::Closed
        ));
        assert!(!intake.is_waited_for());
        intake.give_back([(0, 1, 1)]);
        assert_eq!((said(intake.try_take(0, 1)), intake.records()), (None, 1));
    }

    #[test]
    fn a_large_put_is_not_passed_by_a_later_one_of_its_stream() {
        let intake = Intake::new(1_000, 100);
        (0..10).for_each(|_| intake.try_take(0, 10).expect("room"));
        let large = wait(&intake, 0, 100);
        let small = wait(&intake, 0, 1);
        for _ in 0..9 {
            intake.give_back([(0, 1, 10)]);
            assert!(!is_in(&large) && !is_in(&small));
            assert!(
                intake.try_take(0, 1).is_err(),
                "nor by one that does not wait"
            );
        }
        intake.give_back([(0, 1, 10)]);
        assert!(is_in(&large) && !is_in(&small));
        intake.give_back([(0, 1, 100)]);
        assert!(is_in(&small) && !intake.is_waited_for());
    }

    #[test]
    fn a_put_is_passed_by_at_most_a_thousand_of_other_streams() {
        let intake = Intake::new(usize::MAX, 100_000);
        intake.try_take(0, 90_000).expect("room");
        intake.try_take(1, 1).expect("room");
        // What keeps it out are the records of others.
        let large = wait(&intake, 2, 20_000);
        let passed = (0..).find(|_| match intake.try_take(1, 1) {
            Ok(()) => {
                intake.give_back([(1, 1, 1)]);
                false
            }
            Err(_) => true,
        });
        assert_eq!(passed, Some(PASSES_MAX));
        intake.give_back([(0, 1, 90_000)]);
        assert!(is_in(&large));
        assert_eq!(said(intake.try_take(1, 1)), None);
    }

    #[test]
    fn a_stream_that_takes_nothing_keeps_no_other_out() {
        let intake = Intake::new(100, usize::MAX);
        (0..2).for_each(|account| intake.try_take(account, 1).expect("room"));
        while intake.try_take(0, 1).is_ok() {}
        let stuck = [(); 50].map(|()| wait(&intake, 0, 1));
        // A reserve is 100 / (2 * 2), and one of it is used.
        for _ in 0..10_000 {
            (0..24).for_each(|_| intake.try_take(1, 1).expect("room"));
            assert!(intake.try_take(1, 1).is_err());
            intake.give_back([(1, 24, 24)]);
        }
        assert!(!stuck.iter().any(is_in));
    }

    #[test]
    fn who_is_let_in_while_its_time_is_up_is_in() {
        let intake = Intake::new(1, usize::MAX);
        intake.try_take(0, 1).expect("room");
        let granted = wait(&intake, 0, 1);
        intake.give_back([(0, 1, 1)]);
        assert_eq!(intake.leave(1), None);
        assert!(is_in(&granted));
        assert_eq!(intake.records(), 1);
    }

    #[test]
    fn those_behind_one_that_gives_up_go_in() {
        let intake = Intake::new(10, 100);
        intake.try_take(0, 90).expect("room");
        let large = wait(&intake, 0, 100);
        let behind = wait(&intake, 0, 10);
        assert!(!is_in(&large) && !is_in(&behind));
        // The large one was in their way, and its time is up.
        assert!(matches!(intake.leave(1), Some(Full::Bytes)));
        assert!(is_in(&behind));
        assert_eq!((intake.records(), intake.is_waited_for()), (2, false));
    }

    #[test]
    fn who_waits_gets_the_reserve_of_a_stream_that_puts_nothing_any_more() {
        let intake = Intake::new(4, usize::MAX);
        intake.try_take(1, 1).expect("room");
        intake.give_back([(1, 1, 1)]);
        // A reserve is 4 / (2 * 2).
        (0..3).for_each(|_| intake.try_take(0, 1).expect("room"));
        let last = wait(&intake, 0, 1);
        intake.retire();
        assert!(!is_in(&last), "the other has put since the last look");
        intake.retire();
        assert!(is_in(&last) && !intake.is_waited_for());
    }

    #[test]
    fn everyone_who_waits_gets_room_in_the_end() {
        let intake = Intake::new(3, 1_000);
        let clock = Sys::real().clock;
        std::thread::scope(|scope| {
            for account in 0..8 {
                let (intake, clock) = (&intake, &clock);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let forever = clock.after(None);
                        intake
                            .take(account / 2, 10, &forever, &Stop::never(), || {})
                            .expect("room");
                        intake.give_back([(account / 2, 1, 10)]);
                    }
                });
            }
        });
        assert_eq!(intake.records(), 0);
        assert!(!intake.is_waited_for());
    }
}
