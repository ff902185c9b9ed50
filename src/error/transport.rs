use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::model::Escaping;

/// Why a request got no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection was made.
    Connect(io::Error),
    /// The endpoint's name has no address.
    Dns(String),
    /// The connection broke, or what came over it was not HTTP.
    Io(io::Error),
    /// No answer came in time.
    Timeout(Duration),
    /// A request that was to go through a proxy got no answer.
    Proxied {
        /// The proxy's host and port.
        through: String,
        /// What failed, on the way to the proxy or behind it.
        cause: Box<TransportError>,
    },
    /// The encrypted connection was not agreed on.
    Tls(String),
    /// The answer was longer than any the service gives.
    TooLarge {
        /// The longest answer taken, in bytes.
        limit_bytes: usize,
    },
}

impl Error {
    /// Says whether an answer did not come, or not as a whole, within its time.
    pub(crate) fn is_timeout(&self) -> bool {
        match self.kind() {
            ErrorKind::Transport(error) => matches!(error.unproxied(), TransportError::Timeout(_)),
            _ => false,
        }
    }
}

impl TransportError {
    /// What failed, with or without a proxy on the way.
    pub(crate) fn unproxied(&self) -> &TransportError {
        match self {
            TransportError::Proxied { cause, .. } => cause.unproxied(),
            error => error,
        }
    }

    /// Says whether the request may have reached the service, and been carried out there.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            TransportError::Connect(_) | TransportError::Dns(_) | TransportError::Tls(_) => false,
            TransportError::Proxied { cause, .. } => cause.may_have_been_sent(),
            TransportError::Io(_)
            | TransportError::Timeout(_)
            | TransportError::TooLarge { .. } => true,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            TransportError::Connect(_) => "ConnectError",
            TransportError::Dns(_) => "DnsError",
            TransportError::Io(_) => "IoError",
            TransportError::Proxied { cause, .. } => cause.code(),
            TransportError::Timeout(_) => "Timeout",
            TransportError::Tls(_) => "TlsError",
            TransportError::TooLarge { .. } => "TooLarge",
        }
    }

    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            TransportError::Connect(error) if is_out_of_files(error) => Some(
                "raise the limit of open files (ulimit -n), or lower ClientBuilder::max_connections",
            ),
            TransportError::Connect(_) | TransportError::Dns(_) => {
                Some("check the endpoint and the region, and that this machine can reach it")
            }
            TransportError::Proxied { cause, .. } => match **cause {
                TransportError::Connect(ref error) if !is_out_of_files(error) => Some(PROXY_ADVICE),
                TransportError::Dns(_) => Some(PROXY_ADVICE),
                ref cause => cause.advice(),
            },
            _ => None,
        }
    }
}

const PROXY_ADVICE: &str =
    "check the proxy's address, or add the endpoint's host to NO_PROXY to go without a proxy";

/// Says whether the process, or the machine, has no file left for a socket. The standard library has no
/// kind for it: EMFILE and ENFILE of Unix, WSAEMFILE of Windows.
fn is_out_of_files(error: &io::Error) -> bool {
    let numbers: &[i32] = if cfg!(windows) { &[10_024] } else { &[23, 24] };
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}

/// Escaped, as an [`Error`](crate::Error) is: the peer may have written a part of it.
impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut Escaping(f);
        match self {
            TransportError::Connect(error) => write!(f, "cannot connect: {error}"),
            TransportError::Dns(reason) => write!(f, "the host has no address: {reason}"),
            TransportError::Io(error) => write!(f, "the connection failed: {error}"),
            TransportError::Proxied { through, cause } => {
                write!(f, "through the proxy {through}: {cause}")
            }
            TransportError::Timeout(after) => {
                write!(f, "no answer within {:.1} s", after.as_secs_f64())
            }
            TransportError::Tls(reason) => write!(f, "TLS failed: {reason}"),
            TransportError::TooLarge { limit_bytes } => {
                write!(f, "the answer is longer than {limit_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TransportError::Connect(error) | TransportError::Io(error) => Some(error),
            TransportError::Proxied { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Of the process, and of the whole machine.
    #[cfg(unix)]
    #[test]
    fn a_call_for_which_no_file_is_left_was_not_sent_and_may_be_made_again() {
        for number in [24, 23] {
            let error = TransportError::Connect(io::Error::from_raw_os_error(number));
            assert!(!error.may_have_been_sent());
            let error = Error::from(error);
            assert!(error.is_retryable(), "{error}");
            let text = error.to_string();
            assert!(
                text.starts_with("cannot connect: Too many open files"),
                "{text}"
            );
            assert!(
                text.contains("; raise the limit of open files (ulimit -n)"),
                "{text}"
            );
        }
    }
}
