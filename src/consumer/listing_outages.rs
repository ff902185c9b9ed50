//! Listings that fail: they are reported, and end a consumer only if it reads nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::consumer::outage::{Outage, OutageWatch, Subject};
use crate::consumer::record::Event;
use crate::consumer::threads::DiscoveryThread;
use crate::error::{Error, Result};
use crate::model::Timestamp;

impl DiscoveryThread {
    /// A listing that was asked for at `asked` failed.
    ///
    /// # Errors
    /// Nothing is being read, and the listing fails for good, or has failed for too long.
    pub(super) fn on_failed_listing(
        &mut self,
        stream: &Arc<str>,
        asked: Instant,
        error: &Error,
    ) -> Result<()> {
        let clock = &self.client.sys().clock;
        let (now, wall) = (clock.now(), clock.wall());
        let timeout = self.members.settings.config.outage_timeout;
        let failed = (self.outages).failed(stream, asked, (now, wall), error, timeout);
        self.members.listing_fails_since(self.outages.since());
        let may_pass = error.is_retryable() || error.is_service("ResourceInUseException");
        let is_reading = self.discovery.is_reading();
        if !is_reading && !may_pass {
            return Err(error.clone());
        }
        self.warnings.warn(now, error, self.interval);
        let Some(failed) = failed else { return Ok(()) };
        if failed.is_over && !is_reading {
            return Err(failed.outage.into_error());
        }
        if failed.is_report_due {
            let event = Event::Unavailable(failed.outage);
            self.members.report_outage(&event);
        }
        Ok(())
    }

    /// A stream was listed.
    pub(super) fn on_listed(&mut self, stream: &Arc<str>) {
        let clock = &self.client.sys().clock;
        let over = self.outages.succeeded(stream, (clock.now(), clock.wall()));
        self.members.listing_fails_since(self.outages.since());
        if let Some(outage) = over {
            log::info!("stream {stream}: listings succeed again: {outage}");
            self.members.report_outage(&Event::Available(outage));
        }
    }
}

/// Watches the listings of a consumer's streams. They do not keep its shards from being read, but the
/// children of those that end are not found without them, throttled or not. Pure: `now` is told.
#[derive(Debug, Default)]
pub(super) struct ListingOutages {
    streams: BTreeMap<Arc<str>, OutageWatch>,
}

/// What a listing that failed comes to.
#[derive(Debug)]
pub(super) struct ListingOutage {
    pub outage: Outage,
    pub is_report_due: bool,
    /// Too long, if nothing is being read.
    pub is_over: bool,
}

impl ListingOutages {
    /// The listing of a stream that began at `called` failed.
    pub fn failed(
        &mut self,
        stream: &Arc<str>,
        called: Instant,
        (now, wall): (Instant, Timestamp),
        error: &Error,
        timeout: Option<Duration>,
    ) -> Option<ListingOutage> {
        let watch = self.streams.entry(stream.clone());
        let watch = watch.or_insert_with(|| OutageWatch::new(timeout).counting_throttling());
        watch.calling(called);
        // All time until the next listing counts.
        let is_over = watch.failed(now, error, |_| Duration::MAX).is_none();
        let is_report_due = watch.is_report_due();
        let outage = watch.outage(&Subject::Listing(stream.clone()), now, wall)?;
        Some(ListingOutage {
            outage,
            is_report_due,
            is_over,
        })
    }

    /// A stream was listed. Gives the outage that is over now, if it was reported.
    pub fn succeeded(
        &mut self,
        stream: &Arc<str>,
        (now, wall): (Instant, Timestamp),
    ) -> Option<Outage> {
        let end = self.streams.remove(stream)?.succeeded()?;
        end.reported(&Subject::Listing(stream.clone()), now, wall)
    }

    /// Since when a stream could not be listed, if there is one.
    pub fn since(&self) -> Option<Instant> {
        self.streams.values().filter_map(OutageWatch::since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_listing_is_watched_for_each_stream_and_throttling_counts() {
        let (mut outages, now) = (ListingOutages::default(), Instant::now());
        let [orders, returns] = ["orders", "returns"].map(Arc::from);
        let wall = Timestamp::from_millis(1_700_000_000_000);
        let at = |seconds| (now + seconds * SECOND, wall);
        let mut fail = |stream: &Arc<str>, seconds| {
            let called = now + seconds * SECOND;
            let error = Error::service("LimitExceededException", "", 400);
            let outage = outages.failed(stream, called, at(seconds), &error, Some(TIMEOUT));
            let outage = outage.expect("an outage");
            (outage.is_report_due, outage.is_over)
        };
        for (seconds, expected) in [
            (0, (false, false)),
            (59, (false, false)),
            (60, (true, false)),
            (299, (false, false)),
            (300, (false, true)),
            (301, (false, true)),
        ] {
            assert_eq!(fail(&orders, seconds), expected, "{seconds}");
        }
        assert_eq!(fail(&returns, 301), (false, false));
        assert_eq!(outages.since(), Some(now));
        let over = outages
            .succeeded(&orders, at(302))
            .expect("it was reported");
        assert_eq!((over.stream, over.shard, over.attempts), (orders, None, 6));
        assert_eq!(outages.since(), Some(now + 301 * SECOND));
        assert!(outages.succeeded(&returns, at(302)).is_none());
        assert_eq!(outages.since(), None);
    }
}
