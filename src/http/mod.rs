//! The one gate to the network.

mod growing;
mod network;
mod over_ureq;
mod phase;
mod tcp;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::TransportError;

pub(crate) use network::{Network, Proxying, Trust};
pub(crate) use over_ureq::UreqTransport;

/// Everything this crate says to the network goes through here.
///
/// The client comes with one of its own, over `ureq`, which takes answers of up to 32 MiB. Give it
/// another to speak over something else, or to answer in a test.
pub trait HttpTransport: Send + Sync {
    /// Sends one request and blocks for the whole answer, of any status, until `timeout`.
    ///
    /// # Errors
    /// No answer came. Redirects are answers, and are not followed.
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError>;
}

/// One transport for several owners: a client, and providers of credentials.
impl<T: HttpTransport + ?Sized> HttpTransport for Arc<T> {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        (**self).round_trip(request, timeout)
    }
}
