//! Room for records: taken by `put`, given back when a record settles.
//!
//! Counters without a lock, because every `put` takes room and most find it. Whoever finds none
//! says so in `waiting` and looks again before it waits; whoever gives room back looks at `waiting`
//! afterwards. So one of the two sees the other, and no wake-up is lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::clock::Timer;
use crate::sys::stop::Stop;

pub(super) struct Intake {
    records: Room,
    bytes: Room,
    waiting: AtomicUsize,
    ring: Sender<()>,
    bell: Receiver<()>,
}

struct Room {
    used: AtomicUsize,
    limit: usize,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Full {
    Bytes,
    Records,
}

impl Intake {
    pub fn new(records: usize, bytes: usize) -> Intake {
        let (ring, bell) = channel::bounded(1);
        Intake {
            records: Room::new(records),
            bytes: Room::new(bytes),
            waiting: AtomicUsize::new(0),
            ring,
            bell,
        }
    }

    /// How many records are in.
    pub fn records(&self) -> usize {
        self.records.used.load(Ordering::SeqCst)
    }

    /// Takes room for one record of so many bytes, if there is; else says what there is too much of.
    pub fn try_take(&self, bytes: usize) -> Result<(), Full> {
        if !self.records.take(1) {
            return Err(Full::Records);
        }
        if !self.bytes.take(bytes) {
            self.give_back(1, 0);
            return Err(Full::Bytes);
        }
        Ok(())
    }

    /// Says whether somebody waits for room.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Takes room for one record, and waits for it until the timer fires.
    ///
    /// Announces that it waits, so that what holds the room is sent.
    ///
    /// # Errors
    /// `Full` when the time is up, `Closed` when told to stop.
    pub fn take(
        &self,
        bytes: usize,
        timer: &Timer,
        stop: &Stop,
        announce: impl FnOnce(),
    ) -> Result<()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        announce();
        let taken = self.wait(bytes, timer, stop);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        // The wake-up may have been for more than one: who waits next looks for itself.
        self.wake();
        taken
    }

    fn wait(&self, bytes: usize, timer: &Timer, stop: &Stop) -> Result<()> {
        loop {
            let Err(full) = self.try_take(bytes) else {
                return Ok(());
            };
            select! {
                recv(self.bell) -> _ => {}
                recv(stop.channel()) -> _ => return Err(Error::new(ErrorKind::Closed)),
                recv(timer.channel()) -> _ => return self.try_take(bytes).map_err(|_| full.into()),
            }
        }
    }

    pub fn give_back(&self, records: usize, bytes: usize) {
        self.bytes.used.fetch_sub(bytes, Ordering::SeqCst);
        self.records.used.fetch_sub(records, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.is_waited_for() {
            // A bell that already rings needs no second pull.
            let _ = self.ring.try_send(());
        }
    }
}

impl Room {
    fn new(limit: usize) -> Room {
        Room {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    /// What is larger than the whole room goes in when nothing else is.
    fn take(&self, amount: usize) -> bool {
        let grown = |used: usize| {
            let sum = used.saturating_add(amount);
            (sum <= self.limit || used == 0).then_some(sum)
        };
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, grown)
            .is_ok()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::Sys;
    use crate::sys::stop::StopSource;

    fn said(taken: Result<(), Full>) -> Option<String> {
        taken.err().map(|full| Error::from(full).to_string())
    }

    #[test]
    fn room_ends_at_its_limits_and_not_before() {
        let intake = Intake::new(2, 100);
        assert_eq!(said(intake.try_take(99)), None);
        assert_eq!(
            said(intake.try_take(2)).as_deref(),
            Some("the queue limit of bytes is reached; wait for deliveries, or raise it")
        );
        assert_eq!(said(intake.try_take(1)), None);
        assert_eq!(
            said(intake.try_take(0)).as_deref(),
            Some("the queue limit of records is reached; wait for deliveries, or raise it")
        );
        intake.give_back(1, 99);
        assert_eq!((said(intake.try_take(99)), intake.records()), (None, 2));
    }

    #[test]
    fn a_record_larger_than_the_limit_goes_in_alone() {
        let intake = Intake::new(10, 100);
        assert_eq!(said(intake.try_take(101)), None);
        assert!(intake.try_take(1).is_err());
        intake.give_back(1, 101);
        assert_eq!(said(intake.try_take(1)), None);
        assert!(intake.try_take(101).is_err());
    }

    #[test]
    fn who_waits_is_told_to_stop_or_that_the_time_is_up() {
        let intake = Intake::new(1, 100);
        intake.try_take(1).expect("room");
        let clock = Sys::real().clock;
        let up = intake.take(1, &clock.after(Some(Duration::ZERO)), &Stop::never(), || {});
        assert!(matches!(
            up.expect_err("full").kind(),
            ErrorKind::Full { .. }
        ));
        let stopped = StopSource::new().stop();
        let closed = intake.take(1, &clock.after(None), &stopped, || {});
        assert!(matches!(
            closed.expect_err("stopped").kind(),
            ErrorKind::Closed
        ));
    }

    #[test]
    fn everyone_who_waits_gets_room_in_the_end() {
        let intake = Intake::new(3, 1_000);
        let clock = Sys::real().clock;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let forever = clock.after(None);
                        intake
                            .take(10, &forever, &Stop::never(), || {})
                            .expect("room");
                        intake.give_back(1, 10);
                    }
                });
            }
        });
        assert_eq!(intake.records(), 0);
    }
}
