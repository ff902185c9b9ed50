use std::collections::VecDeque;

use crate::model::{ShardId, Timestamp};

/// One request as the fake saw it, in the order they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// When it was answered, by the service's clock.
    pub at: Timestamp,
    /// The operation's name, such as `GetRecords`.
    pub operation: String,
    /// The stream it was about, as far as that was read.
    pub stream: Option<String>,
    /// The shard it was about, as far as that was read.
    pub shard_id: Option<ShardId>,
    /// The answer's HTTP status, though the answer may not have arrived; 0 if there was none.
    pub status: u16,
    /// The error's name, if the service refused.
    pub error: Option<String>,
}

/// The newest requests.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<LoggedRequest>);

impl Log {
    pub fn push(&mut self, request: LoggedRequest) {
        if self.0.len() >= REQUESTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(request);
    }

    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.0.iter().cloned().collect()
    }
}

/// More than a test looks through; the oldest are forgotten.
const REQUESTS_MAX: usize = 10_000;
