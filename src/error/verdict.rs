use crate::error::member::MEMBER;
use crate::error::{ErrorKind, TransportError};

/// What to do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing helps but a change on this side.
    Fatal,
    /// The shard iterator has lived out its five minutes: take a new one.
    NewIterator,
    /// The session token has run out: get new credentials, once.
    RefreshCredentials,
    /// The same call may succeed later.
    Retry,
    /// The service asks for fewer or smaller calls.
    Throttled,
}

impl Verdict {
    pub(crate) fn on(kind: &ErrorKind) -> Verdict {
        match kind {
            ErrorKind::Service { code, status, .. } => on_service(code, *status),
            ErrorKind::Transport(error) => on_transport(error),
            // A garbled answer to a call that went through is as good as a lost one.
            ErrorKind::Malformed {
                what: "response" | MEMBER,
                ..
            } => Verdict::Retry,
            // A place that is set up may work again; one that is not will not come into being.
            ErrorKind::Credentials {
                cause: Some(cause), ..
            } if cause.is_retryable() => Verdict::Retry,
            // Whoever restarts the consumer needs no change.
            ErrorKind::Outage { .. } => Verdict::Retry,
            _ => Verdict::Fatal,
        }
    }
}

fn on_service(code: &str, status: u16) -> Verdict {
    match code {
        "ExpiredIteratorException" => Verdict::NewIterator,
        "ExpiredToken" | "ExpiredTokenException" => Verdict::RefreshCredentials,
        _ if THROTTLES.contains(&code) => Verdict::Throttled,
        // STS could not reach the identity provider, which is asked to be tried again:
        // https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
        "IDPCommunicationError" => Verdict::Retry,
        "InternalFailure"
        | "InternalServerError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServiceUnavailable" => Verdict::Retry,
        // The service names every error of this status, so the answer was garbled on its way.
        "" if status == 400 => Verdict::Retry,
        _ => on_status(status),
    }
}

fn on_status(status: u16) -> Verdict {
    match status {
        429 => Verdict::Throttled,
        // 408 is a time-out, and 5xx is the service's own trouble.
        408 | 500..=599 => Verdict::Retry,
        _ => Verdict::Fatal,
    }
}

fn on_transport(error: &TransportError) -> Verdict {
    match error {
        TransportError::Proxied { cause, .. } => on_transport(cause),
        TransportError::Connect(_)
        | TransportError::Dns(_)
        | TransportError::Io(_)
        | TransportError::Timeout(_) => Verdict::Retry,
        // A wrong certificate and an answer over the cap are the same the next time.
        TransportError::Tls(_) | TransportError::TooLarge { .. } => Verdict::Fatal,
    }
}

/// Every name under which AWS's services ask for patience; botocore's list, and KMS's behind Kinesis.
/// Sources: <https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py> and
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const THROTTLES: [&str; 15] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "KMSThrottlingException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_failure_has_its_verdict() {
        for (code, status, verdict) in [
            ("AccessDeniedException", 400, Verdict::Fatal),
            ("ExpiredIteratorException", 400, Verdict::NewIterator),
            ("ExpiredTokenException", 400, Verdict::RefreshCredentials),
            ("InternalFailure", 500, Verdict::Retry),
            ("InternalFailure", 200, Verdict::Retry),
            ("LimitExceededException", 400, Verdict::Throttled),
            (
                "ProvisionedThroughputExceededException",
                400,
                Verdict::Throttled,
            ),
            ("ResourceNotFoundException", 400, Verdict::Fatal),
            ("ServiceUnavailable", 503, Verdict::Retry),
            ("", 429, Verdict::Throttled),
            ("", 400, Verdict::Retry),
            ("", 408, Verdict::Retry),
            ("ValidationException", 400, Verdict::Fatal),
            ("", 502, Verdict::Retry),
            ("", 403, Verdict::Fatal),
        ] {
            let kind = ErrorKind::Service {
                code: code.to_owned(),
                message: String::new(),
                status,
            };
            assert_eq!(Verdict::on(&kind), verdict, "{code} {status}");
        }
    }

    #[test]
    fn a_call_for_patience_is_known_by_all_its_names() {
        // With the status of an entry of PutRecords, which says nothing.
        for name in "Throttling ThrottlingException ThrottledException RequestThrottledException \
                     TooManyRequestsException ProvisionedThroughputExceededException SlowDown \
                     TransactionInProgressException RequestLimitExceeded BandwidthLimitExceeded \
                     LimitExceededException RequestThrottled PriorRequestNotComplete \
                     EC2ThrottledException KMSThrottlingException"
            .split_whitespace()
        {
            assert_eq!(on_service(name, 200), Verdict::Throttled, "{name}");
        }
    }

    #[test]
    fn what_the_network_does_is_retried_and_what_is_set_up_wrong_is_not() {
        let io = || io::Error::from(io::ErrorKind::ConnectionReset);
        for (error, verdict) in [
            (TransportError::Connect(io()), Verdict::Retry),
            (TransportError::Dns("host".to_owned()), Verdict::Retry),
            (TransportError::Io(io()), Verdict::Retry),
            (
                TransportError::Timeout(Duration::from_secs(6)),
                Verdict::Retry,
            ),
            (
                TransportError::Tls("unknown issuer".to_owned()),
                Verdict::Fatal,
            ),
            (TransportError::TooLarge { limit_bytes: 1 }, Verdict::Fatal),
        ] {
            assert_eq!(on_transport(&error), verdict, "{error}");
        }
    }
}
