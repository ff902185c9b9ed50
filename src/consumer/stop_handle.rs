use std::sync::Arc;

use crate::sys::stop::StopSource;

/// Asks a consumer to stop, from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(super) Arc<StopSource>);

impl StopHandle {
    /// Makes the consumer's iterator end, also while it blocks. Returns at once.
    pub fn stop(&self) {
        self.0.signal();
    }
}
