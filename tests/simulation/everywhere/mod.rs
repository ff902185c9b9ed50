//! Histories that look everywhere: each has a theme, and whatever else may happen in between.
//!
//! ```text
//! cargo test --test simulation look_everywhere                        300 histories
//! HISTORIES=20000 cargo test --release --test simulation look_everywhere
//! SEED=42 cargo test --test simulation look_everywhere                one of them, with its plan
//! KEEP_GOING=1 …                                                      counts failures, and does not stop
//! TRACE=1 …                                                           tells what happens
//! ```
//!
//! They run in processes of their own: virtual time passes only while all threads of a process sleep.

mod draw;
mod keeping;
mod ledger;
mod life;
mod plan;
mod process;
pub mod watchdog;

use std::any::Any;
use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use std::{env, thread};

use crate::number;

/// Lives through so many, or through what the environment asks for.
pub fn look(histories: u64, test: &str) {
    look_at(histories, test, draw::plan, life::live_through);
}

/// The same for histories of another kind, made of a seed by `plan`.
pub fn look_at<P: Debug>(
    histories: u64,
    test: &str,
    plan: impl Fn(u64) -> P,
    live_through: impl Fn(P),
) {
    if let Ok(seeds) = env::var(WORKER) {
        return work(&seeds, plan, live_through);
    }
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(histories),
    };
    let jobs = thread::available_parallelism().map_or(1, usize::from) as u64;
    let jobs = number("JOBS").unwrap_or(jobs).max(1);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for job in 0..jobs {
            let (seeds, failures) = (seeds.clone(), &failures);
            scope.spawn(move || oversee(test, seeds.start + job, jobs, seeds.end, failures));
        }
    });
    let failures = failures.into_inner().expect("no panic");
    for (seed, why) in &failures {
        eprintln!("SEED={seed}: {why}");
    }
    assert!(
        failures.is_empty(),
        "{} histories broke a rule",
        failures.len()
    );
}

type Failures = Mutex<Vec<(u64, String)>>;

/// Has a process live through every `stride`-th history, and another one where that gives up.
fn oversee(test: &str, mut first: u64, stride: u64, end: u64, failures: &Failures) {
    while first < end && (keeps_going() || failures.lock().expect("no panic").is_empty()) {
        let mut worker = spawn(test, &format!("{first} {stride} {end}"));
        let output = BufReader::new(worker.stdout.take().expect("piped"));
        let mut last = first;
        for line in output.lines().map_while(Result::ok) {
            let mut words = line.splitn(3, ' ');
            let (word, seed) = (
                words.next(),
                words.next().and_then(|word| word.parse().ok()),
            );
            match (word, seed) {
                (Some("begins"), Some(seed)) => last = seed,
                (Some("failed"), Some(seed)) => {
                    let why = words.next().unwrap_or_default().to_owned();
                    failures.lock().expect("no panic").push((seed, why));
                }
                _ => {}
            }
            if !keeps_going() && !failures.lock().expect("no panic").is_empty() {
                break;
            }
        }
        let _ = worker.kill();
        let status = worker.wait().expect("a process that was started");
        if status.success() {
            return;
        }
        let is_told = failures
            .lock()
            .expect("no panic")
            .iter()
            .any(|(seed, _)| *seed == last);
        if keeps_going() && !is_told {
            let why = format!("its process ended: {status}");
            failures.lock().expect("no panic").push((last, why));
        }
        first = last + stride;
    }
}

fn spawn(test: &str, seeds: &str) -> Child {
    let program = env::current_exe().expect("the path of this test");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(WORKER, seeds).env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped());
    command.spawn().expect("a process")
}

/// Lives through some histories, and says which on its standard output.
fn work<P: Debug>(seeds: &str, plan: impl Fn(u64) -> P, live_through: impl Fn(P)) {
    let numbers = seeds.split(' ').map(|word| word.parse().expect("a number"));
    let numbers: Vec<u64> = numbers.collect();
    let [first, stride, end] = numbers[..] else {
        panic!("{WORKER}={seeds} is not three numbers");
    };
    set_hook(Box::new({
        let usual = take_hook();
        move |panic| {
            let is_planned = text(panic.payload()).contains("as planned");
            if !is_planned && !keeps_going() {
                usual(panic);
            }
        }
    }));
    watchdog::start(Duration::from_secs(number("REAL_SECONDS").unwrap_or(240)));
    let mut has_failed = false;
    for seed in (first..end).step_by(usize::try_from(stride).expect("small")) {
        println!("begins {seed}");
        let plan = plan(seed);
        watchdog::begin(seed, &plan);
        let shown = format!("{plan:#?}");
        let outcome = catch_unwind(AssertUnwindSafe(|| live_through(plan)));
        let step = watchdog::step();
        watchdog::end();
        if let Err(panic) = outcome {
            let why = text(&*panic).replace('\n', " ");
            has_failed = true;
            if !keeps_going() {
                eprintln!("{shown}\nthe history of SEED={seed} broke a rule {step}");
            }
            println!("failed {seed} {why} {step}");
            if !keeps_going() {
                break;
            }
        }
    }
    assert!(!has_failed || keeps_going(), "a history broke a rule");
}

fn text(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

fn keeps_going() -> bool {
    env::var_os("KEEP_GOING").is_some()
}

/// Tells a process which seeds are its own: the first, the distance, and the end.
const WORKER: &str = "SIMULATION_SEEDS";
