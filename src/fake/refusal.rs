use std::borrow::Cow;
use std::fmt::Display;

use crate::fake::ACCOUNT;

/// An error, in the service's shape and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status: 400,
            code: code.into(),
            message: message.into(),
        }
    }

    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new("InvalidArgumentException", message)
    }

    pub fn internal() -> Refusal {
        Refusal {
            status: 500,
            ..Refusal::new("InternalFailure", "Internal service failure.")
        }
    }

    /// One member of the request breaks one rule.
    pub fn validation(value: impl Display, at: impl Display, rule: impl Display) -> Refusal {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: \
             Member must {rule}"
        );
        Refusal::new("ValidationException", message)
    }

    pub fn missing(at: impl Display) -> Refusal {
        let message = format!(
            "1 validation error detected: Value null at '{at}' failed to satisfy constraint: \
             Member must not be null"
        );
        Refusal::new("ValidationException", message)
    }

    pub fn no_stream(stream: &str) -> Refusal {
        Refusal::new(
            "ResourceNotFoundException",
            format!("Stream {stream} under account {ACCOUNT} not found."),
        )
    }

    /// A limit on a shard's rate is used up.
    pub fn shard_throttled(stream: &str, shard: &str) -> Refusal {
        Refusal::new(
            "ProvisionedThroughputExceededException",
            format!("Rate exceeded for shard {shard} in stream {stream} under account {ACCOUNT}."),
        )
    }

    pub fn no_shard(stream: &str, shard: &str) -> Refusal {
        Refusal::new(
            "ResourceNotFoundException",
            format!("Shard {shard} in stream {stream} under account {ACCOUNT} does not exist"),
        )
    }
}
