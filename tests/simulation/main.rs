//! Random histories of puts, splits, merges, faults, stops, kills and restarts, on a clock that
//! moves by itself, through the real producer and consumer, held against what the fake has stored.
//!
//! ```text
//! cargo test --release --test simulation                     200 histories, 50 of a group, 100 with losses, 100 of event
//!                                                            time, 300 that look everywhere, 300 of producers
//! HISTORIES=10000 cargo test --release --test simulation     so many of each
//! SEED=42 cargo test --release --test simulation             one of them again
//! ```
//!
//! A seed fixes everything but the order in which threads run.

mod event_time;
mod everywhere;
mod group;
mod history;
mod loss;
mod producers;
#[allow(dead_code, reason = "some programs need one kind of Flow only")]
#[path = "../support/quiet.rs"]
mod quiet;
mod truth;
mod world;

#[test]
fn whatever_happens_every_record_counts_once() {
    let test = "whatever_happens_every_record_counts_once";
    everywhere::look_at(200, test, |seed| seed, history::live_through);
}

#[test]
fn whatever_happens_every_record_counts_once_in_a_group() {
    let test = "whatever_happens_every_record_counts_once_in_a_group";
    everywhere::look_at(50, test, |seed| seed, group::live_through);
}

#[test]
fn whatever_is_lost_is_told_and_nothing_else() {
    let test = "whatever_is_lost_is_told_and_nothing_else";
    everywhere::look_at(100, test, |seed| seed, loss::live_through);
}

#[test]
fn whatever_happens_event_time_goes_on_and_nobody_runs_ahead() {
    let test = "whatever_happens_event_time_goes_on_and_nobody_runs_ahead";
    everywhere::look_at(100, test, |seed| seed, event_time::live_through);
}

#[test]
fn histories_that_look_everywhere() {
    everywhere::look(300, "histories_that_look_everywhere");
}

#[test]
fn whatever_producers_and_streams_are_set_to_they_keep_their_word() {
    let test = "whatever_producers_and_streams_are_set_to_they_keep_their_word";
    everywhere::look_at(300, test, producers::plan, producers::live_through);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}
