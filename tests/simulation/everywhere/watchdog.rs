//! Ends a process in which a history takes too long, and says which one that is.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{process, thread};

struct Watched {
    seed: u64,
    plan: String,
    step: String,
    begun: Instant,
}

static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

/// Watches one history from now on.
pub fn begin(seed: u64, plan: &impl Debug) {
    *watched() = Some(Watched {
        seed,
        plan: format!("{plan:#?}"),
        step: "at its start".to_owned(),
        begun: Instant::now(),
    });
}

/// Notes how far it is.
pub fn at(number: usize, step: &impl Debug) {
    trace(|| format!("step {number}: {step:?}"));
    if let Some(watched) = &mut *watched() {
        watched.step = format!("in step {number}, {step:?}");
    }
}

/// Tells what happens, if TRACE is set.
pub fn trace(what: impl Fn() -> String) {
    if std::env::var_os("TRACE").is_some() {
        eprintln!("{}", what());
    }
}

pub fn step() -> String {
    watched()
        .as_ref()
        .map_or_else(String::new, |watched| watched.step.clone())
}

pub fn end() {
    *watched() = None;
}

/// Looks after the histories of this process, each of which may take so long. The process ends with the
/// one that started it.
pub fn start(most: Duration) {
    let parent = parent_id();
    thread::spawn(move || {
        loop {
            // It ends with the process: nobody waits for it.
            thread::park_timeout(Duration::from_secs(1));
            if parent_id() != parent {
                process::exit(GIVEN_UP);
            }
            let is_late = watched()
                .as_ref()
                .is_some_and(|watched| watched.begun.elapsed() > most);
            if is_late {
                give_up(&format!("it takes longer than {most:?}"));
            }
        }
    });
}

/// The process that started this one, where the system tells: it may end without a word.
fn parent_id() -> Option<u32> {
    #[cfg(unix)]
    return Some(std::os::unix::process::parent_id());
    #[cfg(not(unix))]
    None
}

/// Ends this process: nothing else can, where a thread waits for what does not come.
pub fn give_up(why: &str) -> ! {
    if let Some(Watched {
        seed, plan, step, ..
    }) = &*watched()
    {
        if std::env::var_os("KEEP_GOING").is_none() {
            eprintln!("{plan}\nthe history of SEED={seed} broke a rule {step}: {why}");
        }
        println!("failed {seed} {why} {step}");
    }
    process::exit(GIVEN_UP);
}

pub const GIVEN_UP: i32 = 3;

fn watched() -> std::sync::MutexGuard<'static, Option<Watched>> {
    WATCHED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
