//! Which failures came before there was a connection.
//!
//! A producer may put a record again without fear of a duplicate only if the request never left. The
//! kind of an I/O error does not say so: the same "no route to host" ends an attempt to connect and
//! breaks a connection that has just carried a request. So the failure is marked where it is made, at
//! the only two steps before a connection: the look-up of the address, and the chain of connectors
//! (TCP, the proxy's CONNECT, the TLS handshake).

use std::fmt;
use std::io;

use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

use crate::error::TransportError;
use crate::http::tls;

/// Marks every failure of the connectors inside.
#[derive(Debug)]
pub(super) struct Connecting<C>(pub C);

impl<In: Transport, C: Connector<In>> Connector<In> for Connecting<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let connected = self.0.connect(details, chained);
        connected.map_err(|error| unconnected(error, details.uri))
    }
}

/// Marks a failed connection.
fn unconnected(error: ureq::Error, uri: &http::Uri) -> ureq::Error {
    match error {
        // Of the connection to a proxy, which is made by the same chain: marked already.
        ureq::Error::Other(marked) if marked.is::<NotConnected>() => ureq::Error::Other(marked),
        error => NotConnected(while_connecting(error, &place(uri))).into(),
    }
}

/// Marks a failed look-up.
pub(super) fn unresolved(error: ureq::Error) -> ureq::Error {
    let reason = match error {
        ureq::Error::HostNotFound => "nothing was found".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    NotConnected(TransportError::Dns(reason)).into()
}

/// A failure before there was a connection, on its way through `ureq`.
#[derive(Debug)]
struct NotConnected(TransportError);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotConnected {}

impl From<NotConnected> for ureq::Error {
    fn from(marked: NotConnected) -> ureq::Error {
        ureq::Error::Other(Box::new(marked))
    }
}

/// Gives back what was marked; any other error is one of a request that may have left.
pub(super) fn not_connected(
    error: Box<dyn std::error::Error + Send + Sync>,
) -> Result<TransportError, Box<dyn std::error::Error + Send + Sync>> {
    error.downcast().map(|marked: Box<NotConnected>| marked.0)
}

/// The host and the port of a URL, without a user.
fn place(uri: &http::Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn while_connecting(error: ureq::Error, host: &str) -> TransportError {
    match error {
        ureq::Error::ConnectionFailed => connect(io::Error::other("no address answered")),
        ureq::Error::ConnectProxyFailed(reason) => connect(io::Error::other(refusal(&reason))),
        ureq::Error::Io(error) => match refused_handshake(&error, host) {
            Some(refused) => refused,
            None => connect(error),
        },
        ureq::Error::Timeout(_) => connect(io::ErrorKind::TimedOut.into()),
        ureq::Error::Tls(reason) => TransportError::Tls(format!("{host}: {reason}")),
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(error) => TransportError::Tls(tls::explained(&error.to_string(), host)),
        other => connect(io::Error::other(other.to_string())),
    }
}

/// What a proxy said to CONNECT: ureq has its status twice, as a number and as a text.
fn refusal(reason: &str) -> String {
    let answer = reason.strip_prefix("proxy server responded ");
    match answer.and_then(|status| status.split_once('/')) {
        Some(("407", _)) => "it answered 407: it asks for another user or password".to_owned(),
        Some((status, _)) => format!("it answered {status}"),
        None => reason.to_owned(),
    }
}

fn connect(error: io::Error) -> TransportError {
    TransportError::Connect(error)
}

/// A handshake that will fail the next time as well.
fn refused_handshake(error: &io::Error, host: &str) -> Option<TransportError> {
    let reason = error.to_string();
    let is_refused = error.kind() == io::ErrorKind::InvalidData && tls::is_final(&reason);
    is_refused.then(|| TransportError::Tls(tls::explained(&reason, host)))
}

/// Errors of ureq's own that come before it has a connection, wherever it notices.
pub(super) fn before_connecting(error: &ureq::Error) -> Option<TransportError> {
    match error {
        ureq::Error::HostNotFound => Some(TransportError::Dns("nothing was found".to_owned())),
        ureq::Error::BadUri(_) | ureq::Error::ConnectionFailed | ureq::Error::InvalidProxyUrl => {
            Some(connect(io::Error::other(error.to_string())))
        }
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            Some(connect(io::ErrorKind::TimedOut.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ureq::{Error, Timeout};

    use super::*;

    #[test]
    fn only_errors_from_before_a_connection_count_as_such() {
        let is_dns = |told: Option<TransportError>| matches!(told, Some(TransportError::Dns(_)));
        assert!(is_dns(before_connecting(&Error::HostNotFound)));
        for error in [
            Error::BadUri("there is no host".to_owned()),
            Error::ConnectionFailed,
            Error::InvalidProxyUrl,
            Error::Timeout(Timeout::Resolve),
            Error::Timeout(Timeout::Connect),
        ] {
            let told = before_connecting(&error);
            assert!(matches!(told, Some(TransportError::Connect(_))), "{error}");
        }
        for error in [
            Error::Timeout(Timeout::Global),
            Error::Timeout(Timeout::SendRequest),
            Error::Timeout(Timeout::RecvBody),
            Error::Io(io::ErrorKind::ConnectionRefused.into()),
            Error::Io(io::ErrorKind::HostUnreachable.into()),
        ] {
            assert!(before_connecting(&error).is_none(), "{error}");
        }
    }

    #[test]
    fn a_mark_lasts_and_nothing_else_has_it() {
        let marked = |error: Error| match error {
            Error::Other(error) => not_connected(error).ok(),
            _ => None,
        };
        let told = marked(unresolved(Error::HostNotFound));
        assert!(matches!(told, Some(TransportError::Dns(reason)) if reason == "nothing was found"));
        assert!(marked(Error::Other("another".into())).is_none());
        assert!(marked(Error::HostNotFound).is_none());
        let error: Error = NotConnected(connect(io::Error::other("no route"))).into();
        assert!(error.to_string().contains("no route"), "{error}");
    }

    #[test]
    fn a_failed_connection_is_marked_once_whatever_its_error() {
        let uri = http::Uri::from_static("http://host.test/");
        let marked = |error: Error| match unconnected(error, &uri) {
            Error::Other(error) => not_connected(error).expect("marked"),
            other => panic!("not marked: {other}"),
        };
        let told = marked(Error::Other("another".into()));
        assert!(matches!(told, TransportError::Connect(_)), "{told}");
        // As by the chain that connects to the proxy, inside the one that goes on to the host.
        let told = marked(unresolved(Error::HostNotFound));
        assert!(matches!(told, TransportError::Dns(_)), "{told}");
    }

    #[test]
    fn a_handshake_is_final_by_its_kind_and_its_reason() {
        let certificate = "invalid peer certificate: Expired";
        for (kind, reason, is_final) in [
            (io::ErrorKind::InvalidData, certificate, true),
            (io::ErrorKind::InvalidData, "unexpected end", false),
            (io::ErrorKind::ConnectionReset, certificate, false),
        ] {
            let error = io::Error::new(kind, reason);
            let told = refused_handshake(&error, "localhost:443");
            assert_eq!(told.is_some(), is_final, "{error}");
        }
    }

    #[test]
    fn a_place_has_no_user_and_its_port_if_it_is_told() {
        for (url, expected) in [
            ("http://user:secret@proxy.test:3128/", "proxy.test:3128"),
            ("https://kinesis.test/", "kinesis.test"),
        ] {
            assert_eq!(place(&url.parse().expect("a URL")), expected);
        }
    }
}
