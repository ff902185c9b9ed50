//! The log of these programs: on standard error, by `RUST_LOG`, `warn` and above if that is not set.

use env_logger::{Builder, Env, Logger};
use log::{Level, Log, Metadata, Record};

/// Starts the log. To be called once, before anything is logged.
pub fn init() {
    let logger = Builder::from_env(Env::default().default_filter_or("warn")).build();
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(WithoutWire(logger))).expect("no logger is set before");
}

/// Leaves out what the HTTP crate prints at `trace`, whatever `RUST_LOG` says: requests and answers
/// byte by byte, with secret keys, tokens and records.
struct WithoutWire(Logger);

impl Log for WithoutWire {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !is_wire(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_wire(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Covers the modules of `ureq` and of `ureq-proto`.
fn is_wire(metadata: &Metadata<'_>) -> bool {
    metadata.level() == Level::Trace && metadata.target().starts_with("ureq")
}
