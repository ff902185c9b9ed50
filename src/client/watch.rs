use std::time::Duration;

use crate::error::Error;
use crate::model::Operation;

/// Told of every attempt of a client's calls, on the thread that makes them.
pub(crate) trait Watch: Send + Sync {
    /// An attempt took so long, and failed or not.
    fn attempted(&self, operation: Operation, took: Duration, error: Option<&Error>);
}
