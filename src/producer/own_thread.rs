//! Which threads are the producers' own, where a wait could wait for itself.
//!
//! User code runs on them: callbacks, a logger, a transport, a credentials provider. A `put` there does
//! not wait for room that this very thread would have to free, and a `flush` or `close` there is
//! refused at once instead of hanging for ever. So is a wait for a record's result where records are moved.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// One producer among all of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerId(u64);

impl ProducerId {
    pub fn new() -> ProducerId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ProducerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a thread of a producer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It moves records, and every producer needs such threads to get on: it never waits for another.
    Pipeline,
    /// It calls the user back. It may wait for other producers, and not for its own.
    Callback(ProducerId),
}

thread_local! {
    static DUTY: Cell<Option<Duty>> = const { Cell::new(None) };
}

impl Duty {
    /// Notes what the current thread is for, until it ends.
    pub fn begin(self) {
        DUTY.set(Some(self));
    }
}

/// Says whether the current thread may wait for this producer.
pub(super) fn may_wait_for(producer: ProducerId) -> bool {
    match DUTY.get() {
        None => true,
        Some(Duty::Pipeline) => false,
        Some(Duty::Callback(own)) => own != producer,
    }
}

/// Refuses a call that would wait for the thread that makes it.
///
/// # Errors
/// `OwnThread`.
pub(super) fn check(producer: ProducerId, call: &'static str) -> Result<()> {
    match may_wait_for(producer) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::OwnThread { call })),
    }
}

/// Refuses a wait for a record on a thread that records need to get on, of whatever producer. A thread that
/// calls back may wait for one: records settle without it.
///
/// # Errors
/// `OwnThread`.
pub(super) fn check_result(call: &'static str) -> Result<()> {
    match DUTY.get() {
        Some(Duty::Pipeline) => Err(Error::new(ErrorKind::OwnThread { call })),
        None | Some(Duty::Callback(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_for_no_producer_that_it_belongs_to() {
        let (own, other) = (ProducerId::new(), ProducerId::new());
        let waits = |duty: Option<Duty>| {
            let asked = std::thread::spawn(move || {
                duty.into_iter().for_each(Duty::begin);
                [own, other].map(may_wait_for)
            });
            asked.join().expect("no panic")
        };
        assert_eq!(waits(None), [true, true]);
        assert_eq!(waits(Some(Duty::Callback(own))), [false, true]);
        assert_eq!(waits(Some(Duty::Pipeline)), [false, false]);
    }

    #[test]
    fn a_result_is_waited_for_except_where_records_are_moved() {
        let is_refused = |duty: Duty| {
            let asked = std::thread::spawn(move || {
                duty.begin();
                check_result("Delivery::wait").is_err()
            });
            asked.join().expect("no panic")
        };
        assert!(is_refused(Duty::Pipeline));
        assert!(!is_refused(Duty::Callback(ProducerId::new())));
        check_result("Delivery::wait").expect("the user's own thread");
    }

    #[test]
    fn the_refusal_names_the_call_and_what_to_do() {
        Duty::Pipeline.begin();
        let refused = check(ProducerId::new(), "flush").expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "flush was called on a thread of a producer, in a callback or a logger, and would wait for that \
             thread; call it on another thread"
        );
        DUTY.set(None);
    }
}
