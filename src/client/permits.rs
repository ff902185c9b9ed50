//! Bounds how many calls of a client are under way at once, and with them its connections.
//!
//! A thread per shard is cheap; a connection and a TLS handshake per shard are not, and their number
//! is limited by the operating system. Permits are granted in the order in which they were asked for:
//! a shard cannot starve another one. Stores of checkpoints must never wait for one: a commit would
//! then be late just when the service is slow.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::sys::clock::Clock;
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// The permits of a client and its clones.
#[derive(Debug)]
pub(super) struct Permits {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    next_id: u64,
    waiting: VecDeque<(u64, Sender<()>)>,
}

/// The right to make one call; returned when dropped.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Permits);

/// Who waits for a permit.
#[derive(Debug)]
struct Waiting {
    id: u64,
    granted: Receiver<()>,
}

impl Permits {
    pub fn new(limit: usize) -> Permits {
        Permits {
            limit,
            state: Mutex::default(),
        }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Blocks for a permit; `None` if told to stop, or at the deadline.
    pub fn acquire(&self, clock: &dyn Clock, deadline: Instant, stop: &Stop) -> Option<Permit<'_>> {
        let waiting = match self.take_or_wait() {
            Ok(permit) => return Some(permit),
            Err(waiting) => waiting,
        };
        let timer = clock.at(deadline);
        let is_granted = select! {
            recv(waiting.granted) -> _ => true,
            recv(stop.channel()) -> _ => false,
            recv(timer.channel()) -> _ => false,
        };
        match is_granted {
            true => Some(Permit(self)),
            false => {
                self.withdraw(&waiting);
                None
            }
        }
    }

    fn take_or_wait(&self) -> Result<Permit<'_>, Waiting> {
        let mut state = lock(&self.state);
        // A returned permit goes straight to who waits, so nobody waits while one is free.
        if state.in_use < self.limit {
            state.in_use += 1;
            return Ok(Permit(self));
        }
        let (sender, granted) = channel::bounded(1);
        let id = state.next_id;
        state.next_id += 1;
        state.waiting.push_back((id, sender));
        Err(Waiting { id, granted })
    }

    fn withdraw(&self, waiting: &Waiting) {
        let mut state = lock(&self.state);
        state.waiting.retain(|(id, _)| *id != waiting.id);
        drop(state);
        // It may have been granted after all, between the two.
        if waiting.granted.try_recv().is_ok() {
            drop(Permit(self));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        match state.waiting.pop_front() {
            // The channel has room for one, and whoever waits holds its other end until withdrawn.
            Some((_, granted)) => drop(granted.send(())),
            None => state.in_use -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::clock::SystemClock;
    use crate::sys::stop::StopSource;

    fn wait(permits: &Permits) -> Waiting {
        permits.take_or_wait().expect_err("none is free")
    }

    #[test]
    fn no_more_than_the_limit_are_in_use_and_they_come_back() {
        let permits = Permits::new(2);
        let [one, other] = [(); 2].map(|()| permits.take_or_wait().expect("one is free"));
        let waiting = wait(&permits);
        assert!(waiting.granted.try_recv().is_err());
        drop(one);
        assert!(waiting.granted.try_recv().is_ok());
        let third = Permit(&permits);
        assert_eq!(lock(&permits.state).in_use, 2);
        drop((other, third));
        assert_eq!(lock(&permits.state).in_use, 0);
    }

    #[test]
    fn they_are_granted_in_the_order_they_were_asked_for_and_to_no_newcomer() {
        let permits = Permits::new(1);
        let mut held = permits.take_or_wait().expect("one is free");
        let waiting: Vec<_> = (0..3).map(|_| wait(&permits)).collect();
        for next in 0..3 {
            drop(held);
            let newcomer = wait(&permits);
            let granted: Vec<_> = waiting
                .iter()
                .map(|w| w.granted.try_recv().is_ok())
                .collect();
            let expected: Vec<_> = (0..3).map(|n| n == next).collect();
            assert_eq!(granted, expected);
            permits.withdraw(&newcomer);
            held = Permit(&permits);
        }
    }

    #[test]
    fn a_wait_ends_at_its_deadline_or_when_told_to_stop_and_leaves_nothing_behind() {
        let (permits, clock) = (Permits::new(1), SystemClock);
        let held = permits.take_or_wait().expect("one is free");
        let now = clock.now();
        let late = permits.acquire(&clock, now, &Stop::never());
        assert!(late.is_none());
        let stopped = StopSource::new().stop();
        let day = now + Duration::from_secs(86_400);
        assert!(permits.acquire(&clock, day, &stopped).is_none());
        assert!(lock(&permits.state).waiting.is_empty());
        // One that was granted just as its wait ended is not lost.
        let waiting = wait(&permits);
        drop(held);
        permits.withdraw(&waiting);
        assert_eq!(lock(&permits.state).in_use, 0);
    }
}
