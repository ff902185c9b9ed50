//! What a call brought: each record's entry judged, and maps taken in.

use std::sync::Arc;
use std::time::Instant;

use crate::client::{Listed, PutRecordOutput, PutRecordsOutput, StreamSummary};
use crate::error::{Error, Result};
use crate::model::ShardMap;
use crate::producer::aggregator::Rules;
use crate::producer::batch::Batch;
use crate::producer::delivery::Stored;
use crate::producer::job::Span;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::pipeline::Pipeline;
use crate::producer::placement::{Placement, is_outdated, regroup};
use crate::producer::retrier::{
    blames_one_record, entry_error, is_odd_again, stored_despite, wrong_shard,
};
use crate::producer::stream_state::Unplaced;
use crate::producer::tally::CallReport;

impl Pipeline {
    pub(super) fn on_answered(
        &mut self,
        now: Instant,
        batch: Batch,
        span: Span,
        output: &PutRecordsOutput,
    ) {
        self.effects.calls.push(batch.answered(span, output));
        let mut again = Vec::new();
        for (mut record, result) in batch.records.into_iter().zip(&output.records) {
            match result {
                Ok(output) => self.on_stored(now, record, span, output.clone()),
                Err(error) => {
                    let error = entry_error(&batch.stream, error.clone());
                    record.note(span.attempt(record.since, Some(error.clone())), span.ended);
                    self.heed(now, &record, &error);
                    match self.retrier.allows(&error) {
                        true => again.push(record),
                        false => self.fail(now, record, error),
                    }
                }
            }
        }
        self.again(now, again);
    }

    /// Sends less to a shard that was throttled.
    fn heed(&mut self, now: Instant, record: &KinesisRecord, error: &Error) {
        if let Some(shard) = record.predicted.as_ref().filter(|_| error.is_throttled()) {
            self.stream(&record.stream).limiter.slow_down(now, shard);
        }
    }

    fn on_stored(
        &mut self,
        now: Instant,
        mut record: KinesisRecord,
        span: Span,
        output: PutRecordOutput,
    ) {
        record.note(span.attempt(record.since, None), span.ended);
        let name = record.stream.clone();
        let stream = self.stream(&name);
        let foreseen = record.predicted.as_ref() == Some(&output.shard_id);
        if record.predicted.is_some() && !foreseen {
            let listing = &mut stream.listing;
            if listing.knows_of(span.began) || listing.is_fruitless() {
                stream.distribution.contradicted(now);
            }
            listing.want_if_older(span.began, now);
        }
        let is_newest = stream.listing.knows_of(span.ended);
        self.place(now, Unplaced { record, output }, is_newest);
    }

    /// Settles a stored record, puts it again, or keeps it for a map that was listed later than it was stored.
    fn place(&mut self, now: Instant, unplaced: Unplaced, is_newest: bool) {
        let Unplaced { mut record, output } = unplaced;
        let (name, shard) = (record.stream.clone(), &output.shard_id);
        let map = self.map_of(&name);
        let stream = self.stream(&name);
        let is_auto = stream.distribution.is_auto();
        let is_put_off = stream.listing.is_put_off(now);
        if is_auto && self.config.aggregation_under_auto {
            // Whoever asked for aggregates there reads them wherever they are.
            return self.settle(record, Ok(output));
        }
        let is_outdated = is_outdated(&record, map.as_deref());
        match Placement::of(&record, shard, map.as_deref()) {
            Placement::InPlace => self.settle(record, Ok(output)),
            Placement::Misplaced if is_newest || is_auto || is_outdated || is_put_off => {
                record.blame(wrong_shard(&name, shard));
                record.stored_at(&output);
                // No map explains it, so no aggregate made by one will fare better.
                let is_explained = is_auto || is_outdated;
                if !is_explained {
                    self.stream(&name).distribution.contradicted(now);
                }
                self.regroup(now, vec![record], map.as_deref(), is_explained);
            }
            Placement::Misplaced => {
                let stream = self.stream(&name);
                stream.listing.want(record.since, now);
                stream.unplaced.push(Unplaced { record, output });
            }
            Placement::Unknown => {
                let stream = self.stream(&name);
                stream.listing.want_unknown(record.since, now);
                stream.unplaced.push(Unplaced { record, output });
            }
        }
    }

    pub(super) fn on_failed(&mut self, now: Instant, batch: Batch, span: Span, error: &Error) {
        self.effects.calls.push(CallReport {
            error: Some(error.code().to_owned()),
            ..batch.called(span)
        });
        let Batch {
            stream,
            mut records,
            ..
        } = batch;
        for record in &mut records {
            record.note(span.attempt(record.since, Some(error.clone())), span.ended);
            if stored_despite(error) == Stored::Possibly {
                record.stored = Stored::Possibly;
            }
        }
        if self.retrier.allows(error) {
            let (odd, again) = records.into_iter().partition(is_odd_again);
            self.fail_all(now, odd, &error.clone().of_member_again());
            self.again(now, again);
        } else if records.len() > 1 && blames_one_record(error) {
            let half = records.split_off(records.len() / 2);
            let known = self.stream(&stream);
            known.ready.push_front(Batch::new(now, &stream, half));
            known.ready.push_front(Batch::new(now, &stream, records));
            self.ready(now, &stream, None);
        } else {
            self.fail_all(now, records, error);
        }
    }

    fn fail_all(&mut self, now: Instant, records: Vec<KinesisRecord>, error: &Error) {
        for record in records {
            self.fail(now, record, error.clone());
        }
    }

    pub(super) fn on_listed(&mut self, now: Instant, name: &Arc<str>, listed: Result<Listed>) {
        let error = listed.as_ref().err();
        self.stream(name).existence.answered(now, error);
        match listed {
            Ok(listed) => self.on_map(now, name, listed),
            Err(error) => self.stream(name).on_no_map(now, name, &error),
        }
    }

    /// Goes by what the service says of who decides on shards.
    pub(in crate::producer) fn on_described(
        &mut self,
        now: Instant,
        name: &Arc<str>,
        summary: &Result<StreamSummary>,
    ) {
        let stream = self.stream(name);
        stream.existence.answered(now, summary.as_ref().err());
        if stream.on_described(now, name, summary) {
            let waiting = stream.limiter.take_all();
            let aggregates = !self.is_bare(name);
            self.effects.aggregation.push((name.clone(), aggregates));
            let map = self.map_of(name);
            self.regroup(now, waiting, map.as_deref(), true);
        }
    }

    fn on_map(&mut self, now: Instant, name: &Arc<str>, listed: Listed) {
        let Listed { map, began, ended } = listed;
        let stream = self.stream(name);
        let before = stream.map.as_ref();
        let is_news = before.is_none_or(|before| !before.has_same_open_shards(&map));
        stream.listing.succeeded(began, ended, is_news);
        stream.degraded = false;
        stream.map = Some(map.clone());
        let unplaced = std::mem::take(&mut stream.unplaced);
        let homeless = stream.limiter.take_closed(|shard| map.is_open(shard));
        self.effects.maps.push((name.clone(), map.clone()));
        self.regroup(now, homeless, Some(&map), true);
        for unplaced in unplaced {
            let is_newest = began >= unplaced.record.since;
            self.place(now, unplaced, is_newest);
        }
    }

    /// Groups records of one stream anew, each alone unless they may be aggregated.
    pub(super) fn regroup(
        &mut self,
        now: Instant,
        mut records: Vec<KinesisRecord>,
        map: Option<&ShardMap>,
        aggregates: bool,
    ) {
        let Some(first) = records.first() else { return };
        let mut rules = self.rules_of(&first.stream);
        rules.aggregation &= aggregates;
        KinesisRecord::seal_all(&mut records);
        let (ordered, free): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|one| one.lane.is_some());
        for record in regroup(now, free, map, &rules) {
            self.route(now, record);
        }
        for record in ordered {
            self.part(now, record, map, &rules);
        }
    }

    /// Groups one record anew, by itself, so that it stays before those behind it.
    pub(super) fn part(
        &mut self,
        now: Instant,
        record: KinesisRecord,
        map: Option<&ShardMap>,
        rules: &Rules,
    ) {
        let (lane, name) = (record.lane.clone(), record.stream.clone());
        let parts = regroup(now, vec![record], map, rules);
        let first = lane.and_then(|lane| self.stream(&name).turnstile.part(&lane, parts));
        first.into_iter().for_each(|first| self.route(now, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProducerConfig;
    use crate::producer::kinesis_record::tests::{aggregate, bare};
    use crate::producer::pipeline::tests::{AUTO, Bench, MIDDLE, failed, halves, stored_in, whole};

    /// Of a stream that was described so long ago that it may be asked again at 20 s.
    fn described(under_auto: bool, map: ShardMap) -> Bench {
        let config = ProducerConfig::builder().aggregation_under_auto(under_auto);
        let mut bench = Bench::of_known(config, map);
        assert_eq!(bench.questions(0), ["describe"]);
        bench.describe(0, None);
        bench
    }

    #[test]
    fn a_shard_that_was_throttled_gets_nothing_for_a_moment() {
        for (code, sent) in [
            ("InternalFailure", 1),
            ("ProvisionedThroughputExceededException", 0),
        ] {
            let mut bench = Bench::of_known(ProducerConfig::builder(), whole());
            let record = |bench: &Bench| {
                let mut record = bare(bench.at(0), "k", b"");
                record.predicted = Some("whole".into());
                record
            };
            let id = bench.send(0, record(&bench));
            bench.answer(id, 0, 1, Ok(failed(code)));
            bench.accept(1, record(&bench));
            assert_eq!(bench.entries(1), sent, "{code}");
        }
    }

    #[test]
    fn a_record_stored_elsewhere_than_foreseen_raises_the_questions_that_may_explain_it() {
        let rows = [
            // What was foreseen, what was listed meanwhile, and what is asked then.
            (None, None, vec![]),
            (Some("high"), None, vec![]),
            (Some("whole"), None, vec!["list"]),
            (Some("whole"), Some((whole(), 1)), vec!["describe", "list"]),
            (Some("whole"), Some((halves(), 20_001)), vec!["describe"]),
        ];
        for (predicted, listed, questions) in rows {
            let mut bench = described(false, whole());
            let mut record = bare(bench.at(20_000), "k", b"");
            record.predicted = predicted.map(Into::into);
            let id = bench.send(20_000, record);
            let when = listed.as_ref().map(|(_, began)| *began);
            if let Some((map, began)) = listed {
                bench.list(map, began, began);
            }
            bench.answer(id, 20_000, 20_002, Ok(stored_in("high")));
            assert_eq!(
                bench.questions(20_003),
                questions,
                "{predicted:?}, {when:?}"
            );
        }
    }

    #[test]
    fn an_aggregate_is_read_wherever_it_is_only_if_that_was_asked_for_and_the_service_decides() {
        for (under_auto, strategy, settled) in [
            (false, None, 0),
            (true, None, 0),
            (false, AUTO, 0),
            (true, AUTO, 1),
        ] {
            let mut bench = described(under_auto, halves());
            let id = bench.send(1, aggregate(bench.at(1), &[0, MIDDLE]));
            bench.describe(2, strategy);
            bench.answer(id, 1, 3, Ok(stored_in("low")));
            let effects = bench.pipeline.take_effects();
            assert_eq!(effects.settled.len(), settled, "{under_auto}, {strategy:?}");
        }
    }

    #[test]
    fn what_a_new_map_explains_is_aggregated_again_and_raises_no_question() {
        let mut bench = described(false, whole());
        let mut record = aggregate(bench.at(20_000), &[0, 1]);
        record.predicted = Some("whole".into());
        let id = bench.send(20_000, record);
        bench.list(halves(), 19_999, 20_001);
        bench.answer(id, 20_000, 20_002, Ok(stored_in("high")));
        assert_eq!(bench.entries(20_003), 1);
        assert!(!bench.questions(20_200).contains(&"describe"));
    }

    #[test]
    fn what_no_map_explains_goes_alone_once_a_list_is_new_enough() {
        let mut bench = described(false, halves());
        let id = bench.send(20_000, aggregate(bench.at(20_000), &[0, 1]));
        bench.answer(id, 20_000, 20_010, Ok(stored_in("high")));
        bench.list(halves(), 20_009, 20_020);
        assert_eq!(bench.entries(20_021), 0, "the list may be too old");
        bench.list(halves(), 20_010, 20_030);
        assert_eq!(bench.entries(20_031), 2);
        assert!(bench.questions(20_031).contains(&"describe"));
    }

    #[test]
    fn a_list_is_fruitless_if_it_shows_the_same_open_shards() {
        for (known, listed, is_fruitless) in [(whole(), whole(), true), (whole(), halves(), false)]
        {
            let mut bench = described(false, known);
            bench.list(listed, 1, 1);
            let name = bench.name.clone();
            let listing = &bench.pipeline.stream(&name).listing;
            assert_eq!(listing.is_fruitless(), is_fruitless);
        }
    }

    #[test]
    fn whether_a_stream_gets_aggregates_is_told_when_its_strategy_changes() {
        for (under_auto, strategy, told) in [
            (false, None, vec![]),
            (false, AUTO, vec![("orders".into(), false)]),
            (true, AUTO, vec![("orders".into(), true)]),
        ] {
            let mut bench = described(under_auto, whole());
            bench.describe(1, strategy);
            let effects = bench.pipeline.take_effects();
            assert_eq!(effects.aggregation, told, "{under_auto}, {strategy:?}");
        }
    }
}
