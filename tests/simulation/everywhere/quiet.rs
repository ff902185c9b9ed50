//! Time that passes only while every thread of this process sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use kinesis_blocking::Timestamp;
use kinesis_blocking::fake::VirtualClock;

use crate::quiet::Mover;

/// Moves a clock from deadline to deadline until it is dropped.
pub struct Time {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Time {
    /// `at_end` is called once if the clock comes as far as `end`, where it stops.
    pub fn start(
        clock: VirtualClock,
        end: Timestamp,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Time {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let body = move || {
            let mover = Mover::new();
            while !told.load(Ordering::Relaxed) {
                if clock.time() >= end {
                    return at_end();
                }
                thread::yield_now();
                if clock.waiters() > 0 && mover.others_sleep() {
                    clock.advance_to_next();
                }
            }
        };
        let thread = Some(thread::spawn(body));
        Time { over, thread }
    }
}

impl Drop for Time {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }
}
