//! Histories of one producer and several streams: neighbours that hang, are throttled or gone for
//! minutes, callbacks that misbehave, and every setting by chance. What is said of each record is
//! held against what its stream has stored.
//!
//! They run as those that look everywhere do, in processes of their own, where time passes only while all
//! threads sleep: a second of virtual time is the same on every machine.

mod aging;
mod anything;
mod crowd;
mod lives;
mod neighbours;
mod scene;
mod truth;

use fastrand::Rng;

/// What a history is about, beside what may happen in any.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    theme: Theme,
}

#[derive(Debug)]
enum Theme {
    /// Records of many ages go on through reshards and outages, until some expire.
    Aging,
    Anything,
    /// A large record waits for room that small ones of other streams take.
    Crowd,
    /// One stream answers, and many others do not.
    Neighbours,
}

pub fn plan(seed: u64) -> Plan {
    let theme = match Rng::with_seed(seed).u32(0..16) {
        0 => Theme::Neighbours,
        1 => Theme::Crowd,
        2..6 => Theme::Aging,
        _ => Theme::Anything,
    };
    Plan { seed, theme }
}

pub fn live_through(plan: Plan) {
    match plan.theme {
        Theme::Aging => aging::live_through(plan.seed),
        Theme::Anything => anything::live_through(plan.seed),
        Theme::Crowd => crowd::live_through(plan.seed),
        Theme::Neighbours => neighbours::live_through(plan.seed),
    }
}
