use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::model::Escaped;

/// How long streams keep their records, asked for when it matters only. Shared by all readers.
#[derive(Debug, Default)]
pub(super) struct Retentions(Mutex<BTreeMap<Arc<str>, (Instant, Duration)>>);

impl Retentions {
    /// Asks the service, but not more often than every hour. Without an answer, the shortest
    /// retention there is counts: it finds gaps that there may not be, and misses none.
    pub fn of(&self, client: &Client, stream: &Arc<str>) -> Duration {
        let now = client.sys().clock.now();
        if let Some(known) = self.known(stream, now) {
            return known;
        }
        let summary = client.describe_stream_summary(stream);
        let retention = summary.map(|summary| summary.retention);
        let retention = retention.unwrap_or_else(|error| {
            let stream = Escaped(stream);
            log::warn!("the retention of {stream} is taken for 24 hours: {error}");
            RETENTION_MIN
        });
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(stream.clone(), (now, retention));
        retention
    }

    fn known(&self, stream: &Arc<str>, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, retention) = known.get(stream)?;
        (now < *asked + ASK_INTERVAL).then_some(*retention)
    }
}

const ASK_INTERVAL: Duration = Duration::from_secs(3_600);

/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
pub(super) const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600);
