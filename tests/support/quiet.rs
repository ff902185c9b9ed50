//! Says when every thread of this process sleeps, so that virtual time may pass.
//!
//! Then no test depends on how fast the machine is or what else it does: a thread that could run does so
//! before anything becomes due.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use kinesis_blocking::Timestamp;
use kinesis_blocking::fake::VirtualClock;

/// Lets time pass, while every thread of this process sleeps, until it is dropped.
pub struct Flow {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flow {
    pub fn of(clock: &VirtualClock) -> Flow {
        Flow::up_to(clock.clone(), Timestamp::from_millis(i64::MAX), || {})
    }

    /// `at_end` is called once if the clock comes as far as `end`, where it stops.
    pub fn up_to(
        clock: VirtualClock,
        end: Timestamp,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Flow {
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
        Flow { over, thread }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// A thread that moves a clock. It is not waited for, as it runs all the time.
struct Mover {
    id: String,
}

impl Mover {
    /// The calling thread.
    fn new() -> Mover {
        let id = own_id();
        movers().insert(id.clone());
        Mover { id }
    }

    /// Looks twice: a thread may wake one that was looked at already, and fall asleep before its turn.
    fn others_sleep(&self) -> bool {
        others_slept() && others_slept()
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        movers().remove(&self.id);
    }
}

fn movers() -> MutexGuard<'static, BTreeSet<String>> {
    static MOVERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    MOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread's number, as Linux names it; nothing elsewhere.
fn own_id() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap_or_default();
    let name = link.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn others_slept() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        // Without Linux, it is likely after a yield.
        thread::yield_now();
        return true;
    };
    let movers = movers();
    let is_mover = |id: &str| movers.contains(id);
    let mut others = threads
        .flatten()
        .filter(|entry| !entry.file_name().to_str().is_some_and(is_mover));
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
