use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::model::Escaped;

/// How long streams keep their records, asked for when it matters only. Shared by all readers.
#[derive(Debug, Default)]
pub(super) struct Retentions(Mutex<BTreeMap<Arc<str>, Asked>>);

/// When the service was asked last, and what it said.
type Asked = (Instant, Option<Duration>);

impl Retentions {
    /// Asks the service, but not more often than every 5 minutes unless it has to be `anew`. `None` if
    /// the service does not say.
    pub fn of(&self, client: &Client, stream: &Arc<str>, anew: bool) -> Option<Duration> {
        let now = client.sys().clock.now();
        if let Some(known) = self.known(stream, now).filter(|_| !anew) {
            return known;
        }
        let summary = client.describe_stream_summary(stream);
        let retention = summary.map(|summary| summary.retention);
        let retention = retention.inspect_err(|error| {
            let stream = Escaped(stream);
            log::warn!("the retention of {stream} is taken for 24 hours: {error}");
        });
        let retention = retention.ok();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(stream.clone(), (now, retention));
        retention
    }

    fn known(&self, stream: &Arc<str>, now: Instant) -> Option<Option<Duration>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, retention) = known.get(stream)?;
        (now < *asked + ASK_INTERVAL).then_some(*retention)
    }
}

/// What may have become of a retention is not left unknown for longer.
pub(super) const ASK_INTERVAL: Duration = Duration::from_secs(300);

/// The shortest there is, which counts where the service does not say: it finds gaps that there may
/// not be, and misses none.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
pub(super) const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);
