use crate::sys::lock::lock;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam::channel::{self, Receiver, Sender};

/// Told to stop, or not yet. Every wait of a thread waits for this as well.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    closes: Receiver<Infallible>,
    /// The same, where asking for it has to be cheap.
    stopped: Arc<AtomicBool>,
}

impl Stop {
    /// Closes when it is time to stop; for a `select!`.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.closes
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A signal that never comes.
    pub fn never() -> Stop {
        Stop {
            closes: channel::never(),
            stopped: Arc::default(),
        }
    }
}

/// Tells any number of threads to stop, once and for all; dropping it does the same.
#[derive(Debug)]
pub(crate) struct StopSource {
    open: Mutex<Option<Sender<Infallible>>>,
    stop: Stop,
}

impl StopSource {
    pub fn new() -> StopSource {
        let (sender, receiver) = channel::bounded(0);
        StopSource {
            open: Mutex::new(Some(sender)),
            stop: Stop {
                closes: receiver,
                stopped: Arc::default(),
            },
        }
    }

    pub fn signal(&self) {
        self.stop.stopped.store(true, Ordering::Release);
        lock(&self.open).take();
    }

    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    pub fn stop_ref(&self) -> &Stop {
        &self.stop
    }
}

impl Drop for StopSource {
    fn drop(&mut self) {
        self.signal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_reaches_every_clone_and_stays() {
        let source = StopSource::new();
        let (one, other) = (source.stop(), source.stop());
        assert!(!one.is_stopped());
        source.signal();
        source.signal();
        assert!(one.is_stopped() && other.is_stopped() && source.stop().is_stopped());
        assert!(!Stop::never().is_stopped());
    }

    #[test]
    fn a_dropped_source_counts_as_a_signal() {
        let stop = StopSource::new().stop();
        assert!(stop.is_stopped());
    }
}
