use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::client::{PutRecordOutput, StreamSummary};
use crate::config::ProducerConfig;
use crate::error::{Error, Result};
use crate::model::{Escaped, ShardMap};
use crate::producer::batch::Batch;
use crate::producer::collector::Collector;
use crate::producer::distribution::Distribution;
use crate::producer::existence::Existence;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::limiter::{Limiter, Released};
use crate::producer::listing::Listing;
use crate::producer::placement::earlier;
use crate::producer::retrier::wrong_shard;
use crate::producer::turnstile::Turnstile;

/// What the pipeline knows of one stream, and what it keeps for it.
pub(super) struct StreamState {
    pub map: Option<Arc<ShardMap>>,
    pub listing: Listing,
    pub distribution: Distribution,
    /// Whether it was said that nobody knows who decides on shards.
    pub is_undescribed: bool,
    pub limiter: Limiter,
    pub collector: Collector,
    /// Calls that wait for a sender.
    pub ready: VecDeque<Batch>,
    /// Whether it stands among those that take turns.
    pub in_turn: bool,
    /// Calls that a sender makes.
    pub calls: usize,
    /// Whether the last call to put records that ended was not answered, or none has ended yet.
    pub is_silent: bool,
    pub existence: Existence,
    /// When records were last put to it.
    pub put_at: Option<Instant>,
    pub turnstile: Turnstile,
    /// Stored, but in a shard that a newer map has to judge.
    pub unplaced: Vec<Unplaced>,
    /// Whether it was said that there is no newer map.
    pub degraded: bool,
}

/// A record that was stored, and the place it was stored at.
pub(super) struct Unplaced {
    pub record: KinesisRecord,
    pub output: PutRecordOutput,
}

impl StreamState {
    pub fn new(config: &ProducerConfig) -> StreamState {
        StreamState {
            map: None,
            listing: Listing::new(None),
            distribution: Distribution::unknown(),
            is_undescribed: false,
            limiter: Limiter::new(config.rate_limit_percent),
            collector: Collector::new(config),
            ready: VecDeque::new(),
            in_turn: false,
            calls: 0,
            is_silent: true,
            existence: Existence::default(),
            put_at: None,
            turnstile: Turnstile::default(),
            unplaced: Vec::new(),
            degraded: false,
        }
    }

    /// Gives the calls that are due, and what has expired.
    pub fn take_due(&mut self, now: Instant) -> (Vec<Vec<KinesisRecord>>, Vec<KinesisRecord>) {
        let Released { ready, mut expired } = self.limiter.release(now);
        let mut calls = Vec::new();
        for record in ready {
            self.collector.add(record, &mut calls);
        }
        calls.extend(self.collector.take_due(now));
        expired.extend(self.give_up_unplaced(now));
        // No call waits longer for a sender than its records may live.
        for batch in &mut self.ready {
            expired.extend(batch.take_expired(now));
        }
        self.ready.retain(|batch| !batch.records.is_empty());
        (calls, expired)
    }

    fn give_up_unplaced(&mut self, now: Instant) -> Vec<KinesisRecord> {
        // While a list is under way, its answer decides.
        if self.listing.is_under_way() {
            return Vec::new();
        }
        let expired = |one: &mut Unplaced| one.record.is_expired(now);
        let expired = self.unplaced.extract_if(.., expired);
        expired.map(Unplaced::give_up).collect()
    }

    /// Notes that its shards were not listed, and says so once.
    pub fn on_no_map(&mut self, now: Instant, name: &str, error: &Error) {
        let pause = self.listing.failed(now);
        if self.map.is_some() || !self.unplaced.is_empty() {
            self.listing.want_again(now);
        }
        if !std::mem::replace(&mut self.degraded, true) {
            let name = Escaped(name);
            log::warn!(
                "{error}; records for {name} are not aggregated by a newer shard map until it is listed"
            );
        }
        log::debug!("{error}; again in {} ms", pause.as_millis());
    }

    /// Says whether nothing of it is on its way but what waits for other records.
    pub fn is_idle(&self) -> bool {
        self.calls == 0
            && self.ready.is_empty()
            && self.limiter.is_empty()
            && self.unplaced.is_empty()
    }

    /// Says whether to list its shards: not of one that is not there, until a put finds it, and not
    /// before it is known whether its records are to be aggregated by them.
    pub fn may_list(&self) -> bool {
        !self.existence.is_missing() && !self.distribution.is_awaited()
    }

    /// Notes what was said of who decides on shards, or that nobody says, and then logs it once; says
    /// whether that is another strategy.
    pub fn on_described(
        &mut self,
        now: Instant,
        name: &str,
        summary: &Result<StreamSummary>,
    ) -> bool {
        let said = summary.as_ref().ok();
        let said = said.and_then(|summary| summary.record_distribution_strategy);
        if said.is_none() && !std::mem::replace(&mut self.is_undescribed, true) {
            let name = Escaped(name);
            match summary {
                Ok(_) => log::info!(
                    "DescribeStreamSummary on stream {name} names no record distribution strategy; \
                     the producer takes it for USER_PARTITION_KEY"
                ),
                Err(error) => log::warn!(
                    "{error}; the producer takes the record distribution strategy of stream {name} \
                     for USER_PARTITION_KEY"
                ),
            }
        }
        self.distribution.answered(now, said)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let expiry = match self.listing.is_under_way() {
            // Its answer decides, and comes for certain.
            true => None,
            false => {
                let expiries = self.unplaced.iter().filter_map(|one| one.record.expires);
                expiries.min()
            }
        };
        let sends = earlier(self.limiter.next_deadline(), self.collector.next_deadline());
        let listing = self.listing.next_deadline();
        let listing = listing.filter(|_| self.may_list());
        let calls = self.ready.iter().filter_map(|batch| batch.expires).min();
        earlier(earlier(sends, listing), earlier(calls, expiry))
    }
}

impl Unplaced {
    /// The record, stored where nobody knows whether it is read.
    pub fn give_up(self) -> KinesisRecord {
        let Unplaced { mut record, output } = self;
        let error = wrong_shard(&record.stream, &output.shard_id);
        record.blame(error);
        record
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::TransportError;
    use crate::producer::kinesis_record::tests::{bare, map_of};
    use crate::sys::Sys;

    const MINUTE: Duration = Duration::from_secs(60);

    fn stream() -> StreamState {
        let config = ProducerConfig::builder().build();
        StreamState::new(&config.expect("valid"))
    }

    /// A minute before it expires.
    fn unplaced(now: Instant) -> Unplaced {
        let output = PutRecordOutput {
            shard_id: "shard".into(),
            sequence_number: "7".parse().expect("a number"),
        };
        let record = bare(now, "k", b"");
        Unplaced { record, output }
    }

    #[test]
    fn what_waits_for_a_map_is_given_up_when_it_expires_unless_a_list_is_under_way() {
        let now = Sys::real().clock.now();
        for (is_under_way, given_up) in [(false, 1), (true, 0)] {
            let mut stream = stream();
            stream.unplaced.push(unplaced(now));
            if is_under_way {
                stream.listing.begin(now);
            }
            let expires = (!is_under_way).then_some(now + MINUTE);
            assert_eq!(stream.next_deadline(), expires);
            let counts = [MINUTE - Duration::from_nanos(1), MINUTE].map(|time| {
                let (_, expired) = stream.take_due(now + time);
                expired.len()
            });
            assert_eq!(counts, [0, given_up]);
        }
    }

    #[test]
    fn a_list_that_failed_is_made_again_if_there_is_a_map_or_a_record_waits_for_one() {
        let now = Sys::real().clock.now();
        let error = TransportError::Timeout(MINUTE).into();
        for (has_map, has_unplaced, again) in [
            (false, false, false),
            (true, false, true),
            (false, true, true),
        ] {
            let mut stream = stream();
            stream.map = has_map.then(|| Arc::new(map_of(&[("shard", 0, u128::MAX)])));
            stream.unplaced.extend(has_unplaced.then(|| unplaced(now)));
            stream.on_no_map(now, "orders", &error);
            let is_wanted = stream.listing.next_deadline().is_some();
            assert_eq!(is_wanted, again, "{has_map}, {has_unplaced}");
        }
    }

    #[test]
    fn a_stream_comes_back_for_what_is_due_first_and_for_a_list_once_it_is_described() {
        let (now, mut stream) = (Sys::real().clock.now(), stream());
        assert_eq!(stream.next_deadline(), None);
        let batch = Batch::new(now, &"orders".into(), vec![bare(now, "k", b"")]);
        stream.ready.push_back(batch);
        assert_eq!(stream.next_deadline(), Some(now + MINUTE));
        let mut record = bare(now, "k", b"");
        record.deadline = now + MINUTE / 2;
        stream.collector.add(record, &mut Vec::new());
        assert_eq!(stream.next_deadline(), Some(now + MINUTE / 2));
        stream.listing.want(now, now);
        assert_eq!(stream.next_deadline(), Some(now + MINUTE / 2));
        stream.distribution.answered(now, None);
        assert_eq!(stream.next_deadline(), Some(now));
    }
}
