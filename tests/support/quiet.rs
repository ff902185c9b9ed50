//! Says when every thread of this process sleeps, so that virtual time may pass.
//!
//! Then no test depends on how fast the machine is or what else it does: a thread that could run does so
//! before anything becomes due.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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
            let mut mover = Mover::new();
            let mut tries = 0_u32;
            while !told.load(Ordering::Relaxed) {
                if clock.time() >= end {
                    return at_end();
                }
                if clock.waiters() > 0 && mover.others_sleep() {
                    clock.advance_to_next();
                    tries = 0;
                } else if tries < SPINS {
                    tries += 1;
                    thread::yield_now();
                } else {
                    // Somebody is busy, and needs the processor more.
                    thread::park_timeout(NAP);
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
            thread.thread().unpark();
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// Waits until `is_so`, and rests between two looks: virtual time passes only then.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < patience, "after a minute: no {what}");
        thread::park_timeout(Duration::from_micros(100));
    }
}

/// A thread that moves a clock. It is not waited for, as it runs all the time.
struct Mover {
    id: String,
    /// What tells of each thread: to open it anew costs more than to read it.
    threads: HashMap<OsString, File>,
}

impl Mover {
    /// The calling thread.
    fn new() -> Mover {
        let id = own_id();
        movers().insert(id.clone());
        Mover {
            id,
            threads: HashMap::new(),
        }
    }

    /// Looks twice: a thread may wake one that was looked at already, and fall asleep before its turn.
    fn others_sleep(&mut self) -> bool {
        self.others_slept() && self.others_slept()
    }

    fn others_slept(&mut self) -> bool {
        let Ok(threads) = fs::read_dir("/proc/self/task") else {
            // Without Linux, it is likely after a yield.
            thread::yield_now();
            return true;
        };
        let movers = movers();
        let is_mover = |id: &str| movers.contains(id);
        for entry in threads.flatten() {
            let id = entry.file_name();
            if !id.to_str().is_some_and(is_mover) && self.is_awake(id) {
                return false;
            }
        }
        true
    }

    fn is_awake(&mut self, id: OsString) -> bool {
        if let Some(state) = self.threads.get(&id).and_then(state_of) {
            return matches!(state, b'R' | b'D');
        }
        // It is new, or has the number of one that has ended.
        let path = Path::new("/proc/self/task").join(&id).join("stat");
        let Ok(file) = File::open(path) else {
            return false;
        };
        let state = state_of(&file);
        self.threads.insert(id, file);
        matches!(state, Some(b'R' | b'D'))
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

/// How often to look before a rest.
const SPINS: u32 = 10;
const NAP: Duration = Duration::from_micros(50);

/// The letter for what a thread does; `None` once it has ended.
fn state_of(mut stat: &File) -> Option<u8> {
    let mut text = [0; 128];
    stat.rewind().ok()?;
    let read = stat.read(&mut text).ok()?;
    // `7 (kin-disc) S 1 …`
    let end = text[..read].iter().rposition(|byte| *byte == b')')?;
    text.get(end + 2).copied()
}
