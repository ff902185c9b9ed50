//! The one gate to the network.

mod encoding;
mod exposure;
mod growing;
mod network;
mod over_ureq;
mod phase;
mod proxy;
mod said;
mod tcp;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::TransportError;

pub(crate) use encoding::encoding_refused;
pub(crate) use network::{Network, Trust};
pub(crate) use over_ureq::UreqTransport;
pub(crate) use proxy::ProxyRules;
pub(crate) use said::{Said, bare_code, page};

/// Everything this crate says to the network goes through here.
///
/// The client comes with one of its own, over `ureq`, which takes answers of up to 32 MiB. Give it
/// another to speak over something else, or to answer in a test.
pub trait HttpTransport: Send + Sync {
    /// Sends one request and blocks for the whole answer, of any status.
    ///
    /// Gives up once nothing has happened for `timeout`. A body that keeps arriving may take longer, but
    /// no more than 4 minutes.
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

/// Says whether a URL has a user's name, and perhaps a password, before its host.
///
/// Such a URL is refused wherever one is called: its whole authority would be sent and logged as the
/// host, and no service of AWS takes a password.
pub(crate) fn has_user(uri: &http::Uri) -> bool {
    let authority = uri.authority();
    authority.is_some_and(|authority| authority.as_str().contains('@'))
}
