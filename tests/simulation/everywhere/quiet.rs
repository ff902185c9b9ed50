//! Time that passes only while every thread of this process sleeps.
//!
//! So no history depends on how fast the machine is: a thread that could run does so before anything
//! becomes due.

use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use kinesis_blocking::Timestamp;
use kinesis_blocking::fake::VirtualClock;

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
            let me = own_id();
            while !told.load(Ordering::Relaxed) {
                if clock.time() >= end {
                    return at_end();
                }
                thread::yield_now();
                if clock.waiters() > 0 && everyone_else_sleeps(&me) {
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

/// This thread's number, as Linux names it; nothing elsewhere.
fn own_id() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap_or_default();
    let name = link.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Looks twice: a thread may wake one that was looked at already, and fall asleep before its turn.
fn everyone_else_sleeps(me: &str) -> bool {
    everyone_else_slept(me) && everyone_else_slept(me)
}

fn everyone_else_slept(me: &str) -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        // Without Linux, it is likely after a yield.
        return true;
    };
    let mut others = threads.flatten().filter(|entry| *entry.file_name() != *me);
    others.all(|entry| {
        let mut text = [0; 128];
        let read = File::open(entry.path().join("stat")).and_then(|mut file| file.read(&mut text));
        // `7 (kin-disc) S 1 …`: a thread that has ended meanwhile has no state.
        let text = &text[..read.unwrap_or(0)];
        let state = text.iter().rposition(|byte| *byte == b')');
        let state = state.and_then(|end| text.get(end + 2));
        !matches!(state, Some(b'R' | b'D'))
    })
}
