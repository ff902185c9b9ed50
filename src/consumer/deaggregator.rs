use std::collections::BTreeSet;
use std::time::Duration;

use crate::aggregation::{self, DecodeError, DecodeLimits, MAGIC, Misplaced, Placement, Verdict};
use crate::client::RawRecord;
use crate::config::ConsumerConfig;
use crate::consumer::answer::Answer;
use crate::consumer::contents::Content;
use crate::consumer::discovery::Start;
use crate::consumer::parts::{Mark, Parts};
use crate::consumer::repeats::{Patience, Repeat, Repeats};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Gap, GapCause, HashKeyRange, SequenceNumber, ShardId, ShardPosition, ShardRef, StartPosition,
    Timestamp,
};

/// Makes user records of a shard's Kinesis records. Loses none without a report.
#[derive(Debug)]
pub(super) struct Deaggregator {
    shard: ShardRef,
    range: HashKeyRange,
    misplaced: Misplaced,
    repeats: Repeats,
    /// `None` where nobody waits for what other readers know.
    patience: Option<Patience>,
    /// Shards that were waited for in vain.
    waited: BTreeSet<ShardId>,
    outside: Outside,
    /// The records of the last answer that have a mark, by Kinesis record and sub-sequence number.
    marked: BTreeSet<(usize, u64)>,
    /// What a restored position inside an aggregate covers: leave out up to this sub-record.
    covered: Option<(SequenceNumber, u64)>,
    /// What was not handed out as it was meant, since this was last asked for.
    gaps: Vec<Gap>,
    /// What the last answer with aggregates came to, and of how many bytes: the next may be alike.
    last: (Mark, usize),
}

/// Misplaced records that are handed out, as they are reported.
#[derive(Debug)]
struct Outside {
    /// The hash keys of the shard and of those it came from.
    ancestry: HashKeyRange,
    window: Duration,
    /// How long after a reshard its producers may not know of it: from the first record of the shard
    /// on, if it is read from its beginning.
    age: Age,
    /// Of the answer under way: explained by a reshard, and not.
    found: [Option<(SequenceNumber, usize)>; 2],
    /// Until the shard's records have come to this, the log says nothing more.
    silent_to: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Age {
    /// Read from somewhere on: nobody knows how old the shard is.
    Unknown,
    /// Read from its beginning, of which no record has come yet.
    Unborn,
    Since(Timestamp),
}

impl Deaggregator {
    pub fn new(start: &Start, config: &ConsumerConfig, repeats: Repeats) -> Deaggregator {
        let covered = match &start.position {
            ShardPosition::After {
                sequence_number,
                sub_sequence_number: Some(sub),
            } => Some((sequence_number.clone(), *sub)),
            _ => None,
        };
        Deaggregator {
            shard: start.shard.clone(),
            range: start.range,
            misplaced: config.misplaced,
            repeats,
            patience: None,
            waited: BTreeSet::new(),
            outside: Outside::new(start, config.misplaced_window),
            marked: BTreeSet::new(),
            covered,
            gaps: Vec::new(),
            last: (Mark::default(), 0),
        }
    }

    /// Waits, where a reshard is too young to say whether an earlier copy is handed out.
    pub fn wait_with(&mut self, patience: Patience) {
        self.patience = Some(patience);
    }

    pub fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    /// Takes the user records out of one answer, which came at `answered` or before; its checksums are
    /// computed side by side.
    ///
    /// # Errors
    /// An aggregate has misplaced records, and the policy on them is to fail.
    pub fn take_apart(&mut self, answer: Vec<RawRecord>, answered: Timestamp) -> Result<Answer> {
        self.outside.on_answer(&answer);
        let all = answer.iter().enumerate();
        let aggregates: Vec<_> = all
            .filter(|(_, raw)| raw.data.starts_with(&MAGIC))
            .collect();
        self.marked.clear();
        let parts = match aggregates.is_empty() {
            true => None,
            false => Some(self.parts(&answer, &aggregates, answered)?),
        };
        self.gaps.extend(self.outside.take_report(&self.shard));
        Ok(Answer::new(self.shard.clone(), answer, parts))
    }

    /// Leaves out the records of the answer whose content was handed out before, if contents are
    /// compared: once nothing else is left out, as each record counts as handed out from then on.
    ///
    /// A record with a mark is left to the mark: were it left out for its content, and its equal for the
    /// mark, none would be handed out.
    pub fn leave_out_equal(&mut self, answer: &mut Answer) {
        if !self.repeats.compares_contents() {
            return;
        }
        let is_marked = |at: usize| {
            let sub = answer.sub_sequence_number(at);
            let record = answer.kinesis_record_index(at);
            sub.is_some_and(|sub| self.marked.contains(&(record, sub)))
        };
        let judged: Vec<_> = (0..answer.len()).filter(|at| !is_marked(*at)).collect();
        let content = |at: &usize| Content {
            partition_key: answer.partition_key(*at),
            explicit_hash_key: answer
                .sub_sequence_number(*at)
                .map(|_| answer.explicit_hash_key(*at)),
            data: answer.data(*at),
            shard: &self.shard,
            sequence_number: answer.sequence_number(*at),
            sub_sequence_number: answer.sub_sequence_number(*at),
            arrived: answer.approximate_arrival(*at),
        };
        let seen = self.repeats.seen(judged.iter().map(content));
        let mut wanted = vec![true; answer.len()];
        for (at, seen) in judged.into_iter().zip(seen).filter(|(_, seen)| *seen) {
            wanted[at] = !seen;
            self.count_repeated(answer.sequence_number(at).clone(), 1);
        }
        if wanted.contains(&false) {
            answer.retain_each(&wanted);
        }
    }

    fn parts(
        &mut self,
        answer: &[RawRecord],
        may_be: &[(usize, &RawRecord)],
        answered: Timestamp,
    ) -> Result<Parts> {
        let bytes = answer.iter().map(|raw| raw.data.len()).sum();
        let (much, of) = self.last;
        // Memory that grows is copied, and goes back to the kernel and comes again.
        let (mut parts, mut done) = (Parts::expecting(much.scaled(bytes, of)), 0);
        for together in may_be.chunks(TOGETHER) {
            let payloads: Vec<&[u8]> = together.iter().map(|(_, raw)| &*raw.data).collect();
            let bodies = aggregation::checked(&payloads, &DecodeLimits::default());
            for ((at, raw), body) in together.iter().zip(bodies) {
                (done..*at).for_each(|at| parts.add_whole(at, &answer[at]));
                done = at + 1;
                let start = parts.mark();
                if self.add(*at, raw, body, &mut parts) {
                    let repeated = self.repeated(*at, raw, &mut parts, answered);
                    self.select(raw, start, &mut parts, &repeated)?;
                }
            }
        }
        (done..answer.len()).for_each(|at| parts.add_whole(at, &answer[at]));
        self.last = (parts.mark(), bytes);
        Ok(parts)
    }

    /// Adds the user records of a Kinesis record that may be an aggregate, and says whether it was one.
    fn add(
        &mut self,
        at: usize,
        raw: &RawRecord,
        body: Result<Option<&[u8]>, DecodeError>,
        parts: &mut Parts,
    ) -> bool {
        let added = match body {
            Ok(Some(body)) => parts.add_aggregate(at, raw, body),
            Ok(None) => {
                parts.add_whole(at, raw);
                return false;
            }
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            parts.add_whole(at, raw);
            self.report(raw, &error);
            return false;
        }
        true
    }

    /// The user records of the aggregate added last of which an earlier copy is handed out; notes those
    /// that have a mark at all.
    fn repeated(
        &mut self,
        at: usize,
        raw: &RawRecord,
        parts: &mut Parts,
        answered: Timestamp,
    ) -> BTreeSet<u64> {
        let copies = parts.take_earlier_copies();
        if copies.is_empty() {
            return BTreeSet::new();
        }
        let marked = copies.iter().map(|(sub, _)| (at, *sub));
        self.marked.extend(marked);
        let stream = self.shard.stream.clone();
        let repeat = |earlier| Repeat {
            earlier,
            stream: &stream,
            arrived: raw.approximate_arrival,
            now: answered,
        };
        for (_, copy) in &copies {
            self.wait_for(repeat(copy));
        }
        let repeated = copies.iter();
        let repeated = repeated.filter(|(_, copy)| self.repeats.hands_out(repeat(copy)));
        repeated.map(|(sub, _)| *sub).collect()
    }

    /// Waits for what says whether an earlier copy is handed out, once for each shard.
    fn wait_for(&mut self, repeat: Repeat<'_>) {
        let Some(patience) = &self.patience else {
            return;
        };
        let shard = &repeat.earlier.shard.shard_id;
        if !self.waited.contains(shard) && !self.repeats.wait_for(repeat, patience) {
            self.waited.insert(shard.clone());
        }
    }

    /// Reports records that are left out as repeats, once for each Kinesis record.
    fn count_repeated(&mut self, at: SequenceNumber, count: usize) {
        if count == 0 {
            return;
        }
        if let Some(Gap {
            cause:
                GapCause::Repeated {
                    sequence_number,
                    records,
                },
            ..
        }) = self.gaps.last_mut()
            && *sequence_number == at
        {
            *records += count;
            return;
        }
        let cause = GapCause::Repeated {
            sequence_number: at,
            records: count,
        };
        self.gaps.push(Gap::new(self.shard.clone(), cause));
    }

    /// An aggregate that cannot be read is handed on whole.
    fn report(&mut self, raw: &RawRecord, error: &DecodeError) {
        let (shard, number) = (&self.shard, &raw.sequence_number);
        log::warn!("{shard}: the aggregate at {number} is handed on whole: {error}");
        let sequence_number = number.clone();
        let cause = GapCause::MalformedAggregate { sequence_number };
        self.gaps.push(Gap::new(shard.clone(), cause));
    }

    /// Leaves out what is not to be delivered of an aggregate, whose parts begin at a mark.
    fn select(
        &mut self,
        raw: &RawRecord,
        start: Mark,
        parts: &mut Parts,
        repeated: &BTreeSet<u64>,
    ) -> Result<()> {
        let judge = |range| self.misplaced.judge_keys(parts.keys_from(start), range);
        let placement = judge(&self.range);
        if placement.misplaced() > 0 && self.misplaced.reports_handed_out() {
            let strange = judge(&self.outside.ancestry);
            self.outside.count(raw, &placement, &strange);
        } else if placement.misplaced() > 0 {
            log::warn!(
                "{}: the aggregate at {} has {} records of another shard; {} are left out",
                self.shard,
                raw.sequence_number,
                placement.misplaced(),
                placement.left_out()
            );
        }
        if placement.verdict() == Verdict::Fail {
            return Err(self.fails(raw, placement.misplaced()));
        }
        if placement.left_out() > 0 {
            let cause = GapCause::Misplaced {
                sequence_number: raw.sequence_number.clone(),
                records: placement.left_out(),
            };
            self.gaps.push(Gap::new(self.shard.clone(), cause));
        }
        let covered = self.covered_in(raw);
        let is_new = |sub: u64| covered.is_none_or(|covered| sub > covered);
        let new_repeats = repeated.iter().filter(|sub| is_new(**sub)).count();
        self.count_repeated(raw.sequence_number.clone(), new_repeats);
        if placement.left_out() > 0 || covered.is_some() || new_repeats > 0 {
            parts.retain_from(start, |sub| {
                is_new(sub) && placement.delivers(sub as usize) && !repeated.contains(&sub)
            });
        }
        Ok(())
    }

    /// How much of this record the restored position covers. Asked once: no record comes again.
    fn covered_in(&mut self, raw: &RawRecord) -> Option<u64> {
        let covered = &mut self.covered;
        let here = covered.take_if(|(number, _)| *number == raw.sequence_number);
        here.map(|(_, sub)| sub)
    }

    fn fails(&self, raw: &RawRecord, records: usize) -> Error {
        let kind = ErrorKind::Misplaced {
            sequence_number: raw.sequence_number.clone(),
            records,
        };
        Error::new(kind).within(|context| context.shard = Some(self.shard.clone()))
    }
}

impl Outside {
    fn new(start: &Start, window: Duration) -> Outside {
        // A child that opened since the consumer started may be read from the instant of the start.
        let is_whole = matches!(
            start.position,
            ShardPosition::Start(StartPosition::TrimHorizon | StartPosition::AtTimestamp(_))
        );
        // A shard without ancestors has no reshard that would explain anything.
        let is_child = start.ancestry != start.range;
        Outside {
            ancestry: start.ancestry,
            window,
            age: match is_whole && is_child {
                true => Age::Unborn,
                false => Age::Unknown,
            },
            found: [None, None],
            silent_to: Timestamp::MIN,
        }
    }

    fn on_answer(&mut self, answer: &[RawRecord]) {
        if let (Age::Unborn, Some(first)) = (self.age, answer.first()) {
            self.age = Age::Since(first.approximate_arrival);
        }
    }

    /// Counts the misplaced records of an aggregate, of which `strange` has those that belong to none
    /// of the shard's ancestors either.
    fn count(&mut self, raw: &RawRecord, placement: &Placement, strange: &Placement) {
        let is_young = match self.age {
            Age::Since(first) => raw.approximate_arrival.saturating_since(first) < self.window,
            Age::Unborn | Age::Unknown => false,
        };
        let explained = match is_young {
            true => placement.misplaced().saturating_sub(strange.misplaced()),
            false => 0,
        };
        let counts = [explained, placement.misplaced() - explained];
        for (found, count) in self
            .found
            .iter_mut()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
        {
            let before = found.take().map_or(0, |(_, before)| before);
            *found = Some((raw.sequence_number.clone(), before + count));
        }
        if raw.approximate_arrival >= self.silent_to {
            self.silent_to = raw.approximate_arrival.saturating_add(LOG_PAUSE);
            log::warn!(
                "the aggregate at {} has {} user records of another shard, which are handed out; \
                 further ones are logged after {} s, and all are counted in the metrics",
                raw.sequence_number,
                placement.misplaced(),
                LOG_PAUSE.as_secs()
            );
        }
    }

    fn take_report(&mut self, shard: &ShardRef) -> Vec<Gap> {
        let found = std::mem::take(&mut self.found).into_iter();
        let gap = |(found, after_reshard): (Option<(SequenceNumber, usize)>, bool)| {
            let (sequence_number, records) = found?;
            let cause = GapCause::MisplacedHandedOut {
                sequence_number,
                records,
                after_reshard,
            };
            Some(Gap::new(shard.clone(), cause))
        };
        found.zip([true, false]).filter_map(gap).collect()
    }
}

/// Arrivals of so long are logged once: an aggregator without placement misplaces records all the time.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Aggregates whose checksums are computed together: those that lie in lanes beside each other are
/// of like length, and still in the processor's cache when they are taken apart.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::aggregation::SubRecord;
    use crate::model::HashKey;

    fn start(position: ShardPosition, end: u128) -> Start {
        let (start, end) = (HashKey::MIN, HashKey::from(end));
        Start {
            shard: ShardRef::new("orders", "a"),
            range: HashKeyRange { start, end },
            ancestry: HashKeyRange::FULL,
            closed: false,
            position,
            complete_to: None,
        }
    }

    fn deaggregator(start: &Start, misplaced: Misplaced) -> Deaggregator {
        let config = ConsumerConfig::builder().misplaced(misplaced).build();
        let config = config.expect("valid");
        Deaggregator::new(start, &config, Repeats::of(&config))
    }

    fn raw(number: u64, data: Bytes) -> RawRecord {
        RawRecord {
            data,
            partition_key: "key".into(),
            sequence_number: number.to_string().parse().expect("a number"),
            approximate_arrival: Timestamp::from_millis(0),
        }
    }

    fn aggregate(keys: &[&str]) -> Bytes {
        let record = |key: &&str| SubRecord::new(*key, key.to_string());
        aggregation::encode(&keys.iter().map(record).collect::<Vec<_>>())
    }

    fn places(answer: &Answer) -> Vec<(&str, Option<u64>)> {
        let number = |at| answer.sequence_number(at).as_str();
        let place = |at| (number(at), answer.sub_sequence_number(at));
        (0..answer.len()).map(place).collect()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    #[test]
    fn a_position_inside_an_aggregate_leaves_out_what_it_covers_and_nothing_else() {
        let inside = ShardPosition::After {
            sequence_number: "7".parse().expect("a number"),
            sub_sequence_number: Some(1),
        };
        let mut deaggregator = deaggregator(&start(inside, u128::MAX), Misplaced::Deliver);
        let three = || aggregate(&["x", "y", "z"]);
        let answer = vec![raw(7, three()), raw(8, three())];
        let records = deaggregator.take_apart(answer, NOW).expect("records");
        let expected = [("7", 2), ("8", 0), ("8", 1), ("8", 2)];
        assert_eq!(places(&records), expected.map(|(n, sub)| (n, Some(sub))));
    }

    #[test]
    fn what_is_no_aggregate_is_handed_on_as_it_is() {
        let mut cut = aggregate(&["x", "y"]).to_vec();
        cut.pop();
        let payloads = [Bytes::from_static(b"plain"), Bytes::new(), cut.into()];
        let answer = (0..).zip(&payloads).map(|(i, data)| raw(i, data.clone()));
        let mut deaggregator = deaggregator(&start(TRIM_HORIZON, u128::MAX), Misplaced::default());
        let records = deaggregator
            .take_apart(answer.collect(), NOW)
            .expect("records");
        let data: Vec<_> = (0..records.len())
            .map(|at| records.data(at).to_vec())
            .collect();
        assert_eq!(data, payloads);
        assert_eq!(places(&records), [("0", None), ("1", None), ("2", None)]);
    }

    #[test]
    fn what_is_between_aggregates_and_what_is_written_unusually_keeps_its_place() {
        let records = |hash_key: Option<u128>| {
            ["a", "b", "a"].map(|key| SubRecord {
                explicit_hash_key: hash_key.map(HashKey::from),
                ..SubRecord::new(key, format!("data of {key}"))
            })
        };
        let aggregate = |hash_key| aggregation::encode(&records(hash_key));
        let plain = || Bytes::from_static(b"plain");
        let payloads = [plain(), aggregate(Some(7)), plain(), aggregate(None)];
        let answer = (1..).zip(payloads).map(|(number, data)| raw(number, data));
        let answer: Vec<_> = answer.collect();
        let mut deaggregator = deaggregator(&start(TRIM_HORIZON, u128::MAX), Misplaced::Deliver);
        // The second has room made for it by the first.
        for _ in 0..2 {
            let taken = deaggregator
                .take_apart(answer.clone(), NOW)
                .expect("records");
            let read = |at| {
                let number = taken.sequence_number(at).as_str();
                let data = String::from_utf8_lossy(taken.data(at));
                let hash_key = taken.explicit_hash_key(at).map(HashKey::as_u128);
                format!("{number} {} {data} {hash_key:?}", taken.partition_key(at))
            };
            let of = |number: u64, hash_key: Option<u128>| {
                let keys = ["a", "b", "a"];
                keys.map(|key| format!("{number} {key} data of {key} {hash_key:?}"))
            };
            let mut expected = vec!["1 key plain None".to_owned()];
            expected.extend(of(2, Some(7)));
            expected.push("3 key plain None".to_owned());
            expected.extend(of(4, None));
            assert_eq!((0..taken.len()).map(read).collect::<Vec<_>>(), expected);
            assert_eq!(
                places(&taken)[5..],
                [("4", Some(0)), ("4", Some(1)), ("4", Some(2))]
            );
        }
    }

    #[test]
    fn misplaced_records_are_treated_by_policy() {
        // The hash key of "a" lies in the lower half, that of "abcd" in the upper.
        let answer = || vec![raw(1, aggregate(&["abcd", "a"])), raw(2, aggregate(&["a"]))];
        for (misplaced, expected) in [
            (
                Misplaced::DeduplicateByMark,
                Ok(vec![("1", 0), ("1", 1), ("2", 0)]),
            ),
            (Misplaced::Deliver, Ok(vec![("1", 0), ("1", 1), ("2", 0)])),
            (Misplaced::DropAndCount, Ok(vec![("1", 1), ("2", 0)])),
            (Misplaced::CompatKcl, Ok(vec![("2", 0)])),
            (
                Misplaced::Fail,
                Err(
                    "stream orders, shard a: the aggregate at 1 has 1 user records of another shard; choose what to do with \
                     them: ConsumerConfigBuilder::misplaced",
                ),
            ),
        ] {
            let start = start(TRIM_HORIZON, 1 << 127);
            let taken = deaggregator(&start, misplaced).take_apart(answer(), NOW);
            let taken = taken.map_err(|error| error.to_string());
            let places = taken.as_ref().map(places);
            let expected = expected.map(|places| {
                let place = |(number, sub)| (number, Some(sub));
                places.into_iter().map(place).collect::<Vec<_>>()
            });
            assert_eq!(
                places.map_err(|error| error.as_str()),
                expected,
                "{misplaced:?}"
            );
        }
    }
}
