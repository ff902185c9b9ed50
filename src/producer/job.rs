use std::sync::Arc;
use std::time::Instant;

use crate::client::{Listed, PutRecordsEntry, PutRecordsOutput, StreamSummary};
use crate::error::{Error, Result};
use crate::producer::delivery::Attempt;

/// Something for a sender to do.
pub(super) enum Job {
    Describe {
        stream: Arc<str>,
    },
    List {
        stream: Arc<str>,
        /// A map by a call that began then or later will do.
        since: Instant,
    },
    Put {
        id: u64,
        stream: Arc<str>,
        entries: Vec<PutRecordsEntry>,
    },
}

/// What a sender found.
pub(super) struct Outcome {
    pub span: Span,
    pub answer: Answer,
}

pub(super) enum Answer {
    Described {
        stream: Arc<str>,
        summary: Result<StreamSummary>,
    },
    Listed {
        stream: Arc<str>,
        listed: Result<Listed>,
    },
    Put {
        id: u64,
        output: Result<PutRecordsOutput>,
    },
}

/// When a call was made.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub began: Instant,
    pub ended: Instant,
}

impl Span {
    /// The call as one of a record's attempts, which has waited since then.
    pub fn attempt(self, since: Instant, error: Option<Error>) -> Attempt {
        Attempt {
            delay: self.began.saturating_duration_since(since),
            duration: self.ended.saturating_duration_since(self.began),
            error,
        }
    }
}
