use std::time::Duration;

use crate::fake::refusal::Refusal;

/// What goes wrong with a call.
///
/// Three kinds: the service refuses; the service answers oddly; the network fails. Where the
/// difference matters it says whether the call was carried out, because a program cannot tell.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call is carried out, and the connection is reset before a byte of the answer.
    AnswerLost,
    /// ListShards shows neither the newest children nor that their parents are closed.
    ChildrenLate,
    /// The connection is reset before the call is carried out.
    Disconnect,
    /// GetRecords gives no records and moves nowhere, although there may be records ahead.
    EmptyBatch,
    /// GetRecords answers that the shard iterator has expired.
    ExpiredIterator,
    /// The session token has expired.
    ExpiredToken,
    /// PutRecords stores all but every n-th entry; with 1 it stores none.
    FailEntries {
        /// How many entries to one that fails, counted over the call.
        every: usize,
        /// The entry's error, such as `ProvisionedThroughputExceededException`.
        code: String,
    },
    /// The call is carried out, and the answer's body is not JSON.
    Garbage,
    /// Nothing is carried out and nothing is answered until the caller gives up.
    Hang,
    /// The call is carried out and answered, and then the connection ends unannounced: whoever has kept
    /// it for the next call finds it dead. In memory there is no connection, and it is like no fault.
    HangUp,
    /// The service fails with status 500.
    InternalFailure,
    /// ListShards shows the stream as it was this long ago: later shards are missing, and their
    /// parents look open.
    ListedLate(Duration),
    /// ListShards shows the shards of a page from the last to the first.
    ListedReversed,
    /// ListShards shows the newest children beside parents that look open.
    ParentsOpen,
    /// The service answers with this error.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The error's name, such as `AccessDeniedException`.
        code: String,
        /// The error's text.
        message: String,
    },
    /// The call is carried out, and the connection is reset in the middle of the answer's body.
    Reset,
    /// The service is not there for the moment: status 503.
    ServiceUnavailable,
    /// ListShards ends a page after its first shard, though more would fit.
    ShortPage,
    /// The call is carried out, and the answer's body takes this long to come.
    Slow(Duration),
    /// The service asks for fewer calls, by the error that this operation has for it.
    Throttle,
    /// The call is carried out, and the answer ends in the middle of its body, as if that were all.
    Truncated,
    /// The call is carried out, and then the way to the service is gone: the connection breaks before a
    /// byte of the answer, in memory with `EHOSTUNREACH`, as if it had never been made.
    Unreachable,
    /// PutRecords stores entries in another shard than their hash keys belong to.
    WrongShard,
}

/// How an answer reaches the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Delivery {
    #[default]
    Whole,
    /// Half of the body, and then the end.
    Cut,
    /// Half of the body, and then a reset.
    Torn,
    /// Not at all: the connection is reset.
    Broken,
    /// The whole, and then the end.
    Last,
    /// Not at all: silence.
    Never,
    Slow(Duration),
    /// Not at all: there is no way to the service any more.
    Unreachable,
}

impl Fault {
    /// Makes an error of the service with status 400.
    pub fn refuse(code: &str, message: &str) -> Fault {
        Fault::Refuse {
            status: 400,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// The answer given in place of carrying out the call.
    pub(super) fn refusal(&self, operation: &str) -> Option<Refusal> {
        let (status, code, message) = match self {
            Fault::ExpiredIterator => (400, "ExpiredIteratorException", "Iterator expired."),
            Fault::ExpiredToken => (
                400,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            Fault::InternalFailure => (500, "InternalFailure", "Internal service failure."),
            Fault::Refuse {
                status,
                code,
                message,
            } => (*status, code.as_str(), message.as_str()),
            Fault::ServiceUnavailable => (503, "ServiceUnavailable", "Service is unavailable."),
            Fault::Throttle => (400, throttle_of(operation), "Rate exceeded"),
            _ => return None,
        };
        Some(Refusal {
            status,
            code: code.to_owned().into(),
            message: message.to_owned(),
        })
    }

    /// The same for the entries of one shard, as far as entries have such errors.
    pub(super) fn by_entry(self) -> Fault {
        let refusal = match &self {
            Fault::ExpiredToken => None,
            fault => fault.refusal("PutRecords"),
        };
        match refusal {
            Some(refusal) => Fault::FailEntries {
                every: 1,
                code: refusal.code.into_owned(),
            },
            None => self,
        }
    }

    /// Says whether the call never reaches the service.
    pub(super) fn comes_before(&self) -> bool {
        matches!(self, Fault::Disconnect | Fault::Hang)
    }

    pub(super) fn delivery(&self) -> Delivery {
        match self {
            Fault::AnswerLost | Fault::Disconnect => Delivery::Broken,
            Fault::Hang => Delivery::Never,
            Fault::HangUp => Delivery::Last,
            Fault::Reset => Delivery::Torn,
            Fault::Slow(time) => Delivery::Slow(*time),
            Fault::Truncated => Delivery::Cut,
            Fault::Unreachable => Delivery::Unreachable,
            _ => Delivery::Whole,
        }
    }
}

/// Calls on records are limited by shard, the others by account.
fn throttle_of(operation: &str) -> &'static str {
    match operation {
        "GetRecords" | "GetShardIterator" | "PutRecord" | "PutRecords" => {
            "ProvisionedThroughputExceededException"
        }
        _ => "LimitExceededException",
    }
}
