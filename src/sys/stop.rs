use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use crossbeam::channel::{self, Receiver, Sender, TryRecvError};

/// Told to stop, or not yet. Every wait of a thread waits for this as well.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Receiver<Infallible>);

impl Stop {
    /// Closes when it is time to stop; for a `select!`.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }

    pub fn is_stopped(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// A signal that never comes.
    pub fn never() -> Stop {
        Stop(channel::never())
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
            stop: Stop(receiver),
        }
    }

    pub fn signal(&self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    pub fn stop(&self) -> Stop {
        self.stop.clone()
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
