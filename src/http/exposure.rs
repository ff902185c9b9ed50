//! What the crates below this one log: at level `trace`, secrets.
//!
//! `ureq-proto` prints each head and body in rows of 16 bytes: session tokens, the answers of STS and
//! of metadata servers with their secret keys, the data of records. The level is the program's to
//! set, so it is left as it is, and the program is told.

use std::sync::atomic::{AtomicBool, Ordering};

use log::Level;

/// Warns, once in a process, if the log takes what it should not.
pub(super) fn warn_once() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    // Nearly always false at the first look, which costs one load.
    let Some(target) = exposing() else { return };
    if !WARNED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "the log takes the target {target} at level trace, which shows secret keys, tokens and the \
             data of records: filter it, with env_logger by RUST_LOG=trace,ureq_proto=info,ureq=info"
        );
    }
}

/// The first of the targets that expose something and that the log takes.
fn exposing() -> Option<&'static str> {
    EXPOSING
        .into_iter()
        .find(|target| log::log_enabled!(target: *target, Level::Trace))
}

/// Heads and bodies; then the paths and queries of URLs, which name a container's credentials.
const EXPOSING: [&str; 2] = ["ureq_proto::util", "ureq::util"];
