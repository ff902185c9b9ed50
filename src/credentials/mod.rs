//! Where credentials come from.

mod environment;

use crate::error::Result;
use crate::sign::Credentials;

pub use environment::Environment;

/// A place that has credentials.
///
/// Asked before every request, so that they may change; a provider that has to fetch them keeps
/// them.
pub trait CredentialsProvider: Send + Sync {
    /// Returns credentials that are good now.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`](crate::ErrorKind::Credentials): the place has none.
    fn credentials(&self) -> Result<Credentials>;
}

/// Fixed credentials: Flink's `BASIC`.
impl CredentialsProvider for Credentials {
    fn credentials(&self) -> Result<Credentials> {
        Ok(self.clone())
    }
}
