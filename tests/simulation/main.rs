//! Random histories of puts, splits, merges, faults, stops, kills and restarts, on a clock that
//! moves by itself, through the real producer and consumer, held against what the fake has stored.
//!
//! ```text
//! cargo test --release --test simulation                     200 histories
//! HISTORIES=10000 cargo test --release --test simulation     so many
//! SEED=42 cargo test --release --test simulation             one of them again
//! ```
//!
//! A seed fixes everything but the order in which threads run.

mod history;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[test]
fn whatever_happens_every_record_counts_once() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(200),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| history::live_through(seed))) {
            eprintln!("the history of SEED={seed} broke a rule");
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}
