//! Where credentials come from: a provider for each place, a chain of them, and a cache.
//!
//! A [`Client`](crate::Client) that is given no provider uses [`Chain::standard`].

#[cfg(feature = "sts")]
mod assume_role;
mod cached;
#[cfg(test)]
mod canned;
mod chain;
mod configured;
mod container;
mod document;
mod environment;
mod imds;
mod keys;
mod outside;
pub(crate) mod profile;
mod properties;
#[cfg(feature = "sts")]
pub(crate) mod sts;
#[cfg(feature = "sts")]
mod web_identity;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::sign::Credentials;

#[cfg(feature = "sts")]
pub use assume_role::AssumeRole;
pub use cached::Cached;
pub use chain::Chain;
pub(crate) use configured::configured;
pub use container::Container;
pub use environment::Environment;
pub use imds::Imds;
pub(crate) use outside::Outside;
pub use profile::Profile;
pub(crate) use profile::Settings;
pub use properties::SystemProperties;
#[cfg(feature = "sts")]
pub use web_identity::WebIdentity;

/// A place that has credentials.
///
/// A client keeps what it gets, as [`Cached`] describes, so a provider need not keep anything: it
/// may ask a server or read a file each time. It is called on whatever thread makes a call, one at
/// a time.
///
/// ```
/// use kinesis_blocking::{Credentials, CredentialsProvider, Result};
///
/// struct Vault;
///
/// impl CredentialsProvider for Vault {
///     fn credentials(&self) -> Result<Credentials> {
///         Ok(Credentials::new("AKIDEXAMPLE", "secret"))
///     }
/// }
/// ```
pub trait CredentialsProvider: Send + Sync {
    /// Returns credentials that are good now. Blocks until they are there.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`]: the place has none, or does not answer. Any other kind will do:
    /// it tells that the place is set up but does not work.
    fn credentials(&self) -> Result<Credentials>;

    /// Hears that the service refused these credentials because they have expired.
    ///
    /// What keeps credentials forgets these ones; by default nothing happens.
    fn refused(&self, credentials: &Credentials) {
        let _ = credentials;
    }
}

/// Fixed credentials: Flink's `BASIC`.
impl CredentialsProvider for Credentials {
    fn credentials(&self) -> Result<Credentials> {
        Ok(self.clone())
    }
}

impl<P: CredentialsProvider + ?Sized> CredentialsProvider for Box<P> {
    fn credentials(&self) -> Result<Credentials> {
        (**self).credentials()
    }

    fn refused(&self, credentials: &Credentials) {
        (**self).refused(credentials);
    }
}

/// Error of a place that is not set up: a chain goes on.
fn lacks(place: &str, lack: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Credentials {
        tried: vec![(place.to_owned(), lack.to_string())],
        cause: None,
    })
}

/// Error of a place that is set up and does not work: a chain ends here.
fn fails(place: &str, cause: Error) -> Error {
    // What was tried on the way to the failure is told in the same list.
    let (deeper, cause) = match cause.kind() {
        ErrorKind::Credentials { tried, cause: deep } => {
            (tried.clone(), deep.clone().unwrap_or_else(|| cause.clone()))
        }
        ErrorKind::Malformed { what, detail } if *what == place => {
            (vec![(String::new(), detail.clone())], cause)
        }
        _ => (vec![(String::new(), cause.to_string())], cause),
    };
    let named = |(inner, lack): (String, String)| match inner.is_empty() {
        true => (place.to_owned(), lack),
        false => (format!("{place}: {inner}"), lack),
    };
    Error::new(ErrorKind::Credentials {
        tried: deeper.into_iter().map(named).collect(),
        cause: Some(cause),
    })
}
