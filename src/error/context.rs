use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::model::{Operation, ShardRef};

/// What was being done when the error came up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub operation: Option<Operation>,
    pub stream: Option<Arc<str>>,
    pub shard: Option<ShardRef>,
    /// Told where it may be what is wrong.
    pub endpoint: Option<String>,
    pub request_id: Option<String>,
    pub attempts: u32,
    pub elapsed: Duration,
    /// Whether another attempt was due, but not the time for it.
    pub is_out_of_time: bool,
}

/// Says whether the endpoint may be what is wrong: it was not reached, or something else answers there.
pub(super) fn concerns_endpoint(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Malformed { what, .. } => *what != "request",
        ErrorKind::Outage { .. } | ErrorKind::Transport(_) => true,
        // The service names its errors, so something else answered.
        ErrorKind::Service { code, .. } => code.is_empty(),
        _ => false,
    }
}

/// ` on stream S, shard X`, as far as it is known.
pub(super) struct Subject<'a>(pub &'a Context);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.shard, &self.0.stream) {
            (Some(shard), _) => write!(f, " on {shard}"),
            (None, Some(stream)) => write!(f, " on stream {stream}"),
            (None, None) => Ok(()),
        }
    }
}

impl Context {
    pub(super) fn fmt_attempts(&self, f: &mut impl Write) -> fmt::Result {
        let plural = if self.attempts == 1 { "" } else { "s" };
        let tried = format!(
            "{} attempt{plural} in {:.1} s",
            self.attempts,
            self.elapsed.as_secs_f64()
        );
        match (self.attempts, &self.request_id) {
            (0, _) => return Ok(()),
            (_, None) => write!(f, " ({tried}")?,
            (_, Some(request_id)) => write!(f, " ({tried}, request {request_id}")?,
        }
        f.write_str(match self.is_out_of_time {
            true => ", no time left for another)",
            false => ")",
        })
    }
}
