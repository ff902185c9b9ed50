//! What errors say, and what to do about those whose cure is known.

use std::fmt;

use crate::error::{Error, ErrorKind};

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorKind::Checkpoint { doing, source } => write!(f, "{doing}: {source}"),
            ErrorKind::Closed => f.write_str("the producer or consumer was closed"),
            ErrorKind::Config {
                key,
                value,
                expected,
            } if value.is_empty() => {
                write!(f, "{key} is not set: it has to be {expected}")
            }
            ErrorKind::Config {
                key,
                value,
                expected,
            } => write!(f, "{key}: {value:?} is not {expected}"),
            ErrorKind::Credentials { tried, .. } => {
                let tried: Vec<_> = tried
                    .iter()
                    .map(|(place, lack)| format!("{place}: {lack}"))
                    .collect();
                write!(f, "no credentials: {}", tried.join("; "))
            }
            ErrorKind::DataLoss { gap, cause } => {
                f.write_str(&gap.what())?;
                cause
                    .as_ref()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            ErrorKind::Several(errors) => {
                let each: Vec<_> = errors.iter().map(Error::to_string).collect();
                let each = each.join("; ");
                write!(f, "{} settings are wrong: {each}", errors.len())
            }
            ErrorKind::Expired { ttl, cause } => {
                write!(
                    f,
                    "not stored within the record's time to live of {} ms",
                    ttl.as_millis()
                )?;
                cause
                    .as_ref()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            ErrorKind::Fenced { store } => {
                write!(
                    f,
                    "nothing was saved: another consumer has taken {store} over"
                )
            }
            ErrorKind::Full { limit } => write!(f, "the queue limit of {limit} is reached"),
            ErrorKind::InvalidRecord { reason } => f.write_str(reason),
            ErrorKind::Malformed { what, detail } => write!(f, "{what} is malformed: {detail}"),
            ErrorKind::Misplaced {
                sequence_number,
                records,
            } => write!(
                f,
                "the aggregate at {sequence_number} has {records} user records of another shard"
            ),
            ErrorKind::Poison {
                sequence_number,
                sub_sequence_number,
                cause,
            } => {
                write!(f, "the decoder refused the record at {sequence_number}")?;
                sub_sequence_number.map_or(Ok(()), |sub| write!(f, " sub {sub}"))?;
                write!(f, ": {cause}")
            }
            ErrorKind::RecordTooLarge { bytes, limit_bytes } => {
                write!(
                    f,
                    "the record's data and partition key are {bytes} bytes, the limit is {limit_bytes}"
                )
            }
            ErrorKind::Service {
                code,
                message,
                status,
            } if code.is_empty() => {
                write!(f, "HTTP status {status}: {message}")
            }
            ErrorKind::Service { code, message, .. } if message.is_empty() => f.write_str(code),
            ErrorKind::Service { code, message, .. } => write!(f, "{code}: {message}"),
            ErrorKind::Thread { name, message } => write!(f, "thread {name} died: {message}"),
            ErrorKind::Transport(error) => error.fmt(f),
        }
    }
}

impl ErrorKind {
    /// What to do now, for the failures whose cure is known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            ErrorKind::Credentials { cause: None, .. } => {
                Some("set one of them, or give the client a provider of your own")
            }
            ErrorKind::DataLoss { .. } => {
                Some("to go on without them: ConsumerConfigBuilder::data_loss")
            }
            ErrorKind::Expired { .. } => Some("raise record_ttl, or put less than the shards take"),
            ErrorKind::Fenced { .. } => Some("end this one, or both do the same work"),
            ErrorKind::Full { .. } => Some("wait for deliveries, or raise it"),
            ErrorKind::Misplaced { .. } => {
                Some("choose what to do with them: ConsumerConfigBuilder::misplaced")
            }
            ErrorKind::Poison { .. } => Some(
                "repair the decoder, or choose what to do with such records: ConsumerBuilder::on_poison",
            ),
            ErrorKind::Service { code, .. } => service_advice(code),
            ErrorKind::Transport(error) => error.advice(),
            _ => None,
        }
    }
}

fn service_advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDeniedException" => "the IAM policy of these credentials has to allow the call",
        "ExpiredToken" | "ExpiredTokenException" => {
            "get new credentials: the session token is no longer valid"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "check the secret key, the region and this machine's clock"
        }
        "ProvisionedThroughputExceededException" => {
            "another program may share the shard: call less often, or split it"
        }
        "ResourceNotFoundException" => "check the stream's name, the region and the account",
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "check the access key: the service does not know it"
        }
        _ => return None,
    })
}
