use crate::aggregation::{self, DecodeError, DecodeLimits, MAGIC, Misplaced, Verdict};
use crate::client::RawRecord;
use crate::consumer::answer::Answer;
use crate::consumer::discovery::Start;
use crate::consumer::parts::{Mark, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Gap, GapCause, HashKeyRange, SequenceNumber, ShardPosition, ShardRef};

/// Makes user records of a shard's Kinesis records. Loses none without a word.
#[derive(Debug)]
pub(super) struct Deaggregator {
    shard: ShardRef,
    range: HashKeyRange,
    misplaced: Misplaced,
    /// What a restored position inside an aggregate covers: leave out up to this sub-record.
    covered: Option<(SequenceNumber, u64)>,
    /// What was not handed out as it was meant, since this was last asked for.
    gaps: Vec<Gap>,
    /// What the last answer with aggregates came to, and of how many bytes: the next may be alike.
    last: (Mark, usize),
}

impl Deaggregator {
    pub fn new(start: &Start, misplaced: Misplaced) -> Deaggregator {
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
            misplaced,
            covered,
            gaps: Vec::new(),
            last: (Mark::default(), 0),
        }
    }

    pub fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    /// Takes the user records out of one answer; its checksums are computed side by side.
    ///
    /// # Errors
    /// An aggregate has misplaced records, and the policy on them is to fail.
    pub fn take_apart(&mut self, answer: Vec<RawRecord>) -> Result<Answer> {
        let all = answer.iter().enumerate();
        let aggregates: Vec<_> = all
            .filter(|(_, raw)| raw.data.starts_with(&MAGIC))
            .collect();
        let parts = match aggregates.is_empty() {
            true => None,
            false => Some(self.parts(&answer, &aggregates)?),
        };
        Ok(Answer::new(self.shard.clone(), answer, parts))
    }

    fn parts(&mut self, answer: &[RawRecord], may_be: &[(usize, &RawRecord)]) -> Result<Parts> {
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
                self.add(*at, raw, body, &mut parts)?;
            }
        }
        (done..answer.len()).for_each(|at| parts.add_whole(at, &answer[at]));
        self.last = (parts.mark(), bytes);
        Ok(parts)
    }

    /// Adds the user records of a Kinesis record that may be an aggregate.
    fn add(
        &mut self,
        at: usize,
        raw: &RawRecord,
        body: Result<Option<&[u8]>, DecodeError>,
        parts: &mut Parts,
    ) -> Result<()> {
        let start = parts.mark();
        let added = match body {
            Ok(Some(body)) => parts.add_aggregate(at, raw, body),
            Ok(None) => {
                parts.add_whole(at, raw);
                return Ok(());
            }
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            parts.add_whole(at, raw);
            self.report(raw, &error);
            return Ok(());
        }
        self.select(raw, start, parts)
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
    fn select(&mut self, raw: &RawRecord, start: Mark, parts: &mut Parts) -> Result<()> {
        let keys = parts.keys_from(start);
        let placement = self.misplaced.judge_keys(keys, &self.range);
        if placement.misplaced() > 0 {
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
        if placement.left_out() > 0 || covered.is_some() {
            let is_new = |sub| covered.is_none_or(|covered| sub > covered);
            parts.retain_from(start, |sub| is_new(sub) && placement.delivers(sub as usize));
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

/// Aggregates whose checksums are computed together: those that lie in lanes beside each other are
/// of like length, and still in the processor's cache when they are taken apart.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::aggregation::SubRecord;
    use crate::model::{HashKey, StartPosition, Timestamp};

    fn start(position: ShardPosition, end: u128) -> Start {
        let (start, end) = (HashKey::MIN, HashKey::from(end));
        Start {
            shard: ShardRef::new("orders", "a"),
            range: HashKeyRange { start, end },
            closed: false,
            position,
            complete_to: None,
        }
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

    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    #[test]
    fn a_position_inside_an_aggregate_leaves_out_what_it_covers_and_nothing_else() {
        let inside = ShardPosition::After {
            sequence_number: "7".parse().expect("a number"),
            sub_sequence_number: Some(1),
        };
        let mut deaggregator = Deaggregator::new(&start(inside, u128::MAX), Misplaced::Deliver);
        let three = || aggregate(&["x", "y", "z"]);
        let answer = vec![raw(7, three()), raw(8, three())];
        let records = deaggregator.take_apart(answer).expect("records");
        let expected = [("7", 2), ("8", 0), ("8", 1), ("8", 2)];
        assert_eq!(places(&records), expected.map(|(n, sub)| (n, Some(sub))));
    }

    #[test]
    fn what_is_no_aggregate_is_handed_on_as_it_is() {
        let mut cut = aggregate(&["x", "y"]).to_vec();
        cut.pop();
        let payloads = [Bytes::from_static(b"plain"), Bytes::new(), cut.into()];
        let answer = (0..).zip(&payloads).map(|(i, data)| raw(i, data.clone()));
        let mut deaggregator =
            Deaggregator::new(&start(TRIM_HORIZON, u128::MAX), Misplaced::default());
        let records = deaggregator.take_apart(answer.collect()).expect("records");
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
        let mut deaggregator =
            Deaggregator::new(&start(TRIM_HORIZON, u128::MAX), Misplaced::Deliver);
        // The second has room made for it by the first.
        for _ in 0..2 {
            let taken = deaggregator.take_apart(answer.clone()).expect("records");
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
            let taken = Deaggregator::new(&start, misplaced).take_apart(answer());
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
