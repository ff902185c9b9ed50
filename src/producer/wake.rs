use std::convert::Infallible;

use crossbeam::channel::{self, Receiver, Sender};

/// Wakes all who wait, by closing the channel that they wait on.
///
/// The channel is made when the first one waits: what nobody waits for costs nothing. A channel and
/// not a condition variable, so that a wait can end by the crate's clock.
#[derive(Debug, Default)]
pub(super) struct Wake(Option<(Sender<Infallible>, Receiver<Infallible>)>);

impl Wake {
    /// Gives what closes at the next wake-up. To be called under the lock that guards the cause.
    pub fn next(&mut self) -> Receiver<Infallible> {
        self.0.get_or_insert_with(|| channel::bounded(0)).1.clone()
    }

    pub fn all(&mut self) {
        self.0 = None;
    }
}
