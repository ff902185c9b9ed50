use std::time::Duration;

use crate::client::{GetRecordsOutput, RawRecord};
use crate::consumer::retention::RETENTION_MIN;
use crate::model::{SequenceNumber, ShardPosition, Timestamp};

/// Notices that records may have outlived the stream's retention before they were read.
///
/// The service passes over what it does not keep any more without a word. What it keeps is a matter
/// of time: as long as everything up to a time within the retention was read, nothing can be
/// missing. Else the last record that was read is read once more: if it is still there, so is all
/// that came behind it. Pure: times are told.
#[derive(Debug)]
pub(super) struct TrimWatch {
    /// Everything that arrived up to then has been read, or was told to be missing. Of a shard that is
    /// read for the first time: what arrived later is expected, and what is there from before.
    complete_to: Option<Timestamp>,
    retention: Option<Duration>,
    check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// No reason for doubt so far.
    None,
    /// In doubt by the shortest retention there is: the stream's own one has to be asked for.
    AskRetention,
    /// In doubt: the next answer is to begin with the last record that was read.
    Verify,
    /// Verified at this time, by an answer that had room for nothing else: the next goes on from it.
    Verified(Timestamp),
}

/// When an answer was asked for and when it came, by the service's clock: `at` or later, and
/// `answered` or earlier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub at: Timestamp,
    pub answered: Timestamp,
}

/// What to make of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing is missing before it.
    Take,
    /// Records may be missing before it, or before what is to come if it is empty.
    Gap {
        after: Option<SequenceNumber>,
        before: Option<SequenceNumber>,
    },
    /// It may have passed over records: read again, with a new iterator.
    Discard,
}

impl TrimWatch {
    pub fn new(position: &ShardPosition, complete_to: Option<Timestamp>) -> TrimWatch {
        // Nothing is known of when it was read.
        let doubtful = complete_to.is_none() && number(position).is_some();
        TrimWatch {
            complete_to,
            retention: None,
            check: if doubtful { Check::Verify } else { Check::None },
        }
    }

    pub fn complete_to(&self) -> Option<Timestamp> {
        self.complete_to
    }

    pub fn asks_retention(&self) -> bool {
        self.check == Check::AskRetention
    }

    /// Takes how long the stream keeps records, as of `now`.
    pub fn on_retention(&mut self, now: Timestamp, retention: Duration) {
        self.retention = Some(retention);
        let in_doubt = self.is_past_retention(now);
        self.check = if in_doubt { Check::Verify } else { Check::None };
    }

    /// Says from where an iterator has to be taken for a reader at `position`.
    pub fn iterator_position(&self, position: &ShardPosition) -> ShardPosition {
        match (self.check, position) {
            // A place inside the record means AT it.
            (
                Check::Verify,
                ShardPosition::After {
                    sequence_number,
                    sub_sequence_number,
                },
            ) => ShardPosition::After {
                sequence_number: sequence_number.clone(),
                sub_sequence_number: Some(sub_sequence_number.unwrap_or(0)),
            },
            _ => position.clone(),
        }
    }

    /// The least records an answer has to have room for.
    pub fn limit_min(&self) -> u32 {
        if self.check == Check::Verify { 2 } else { 1 }
    }

    /// Judges an answer to a reader at `position`, and leaves out what only served to verify.
    pub fn on_answer(
        &mut self,
        position: &ShardPosition,
        asked: Asked,
        output: &mut GetRecordsOutput,
    ) -> Judgement {
        if let Check::Verified(at) = self.check
            && asked.answered.saturating_since(at) > VERIFIED_MAX
        {
            self.check = Check::None;
        }
        let verifies = self.check == Check::Verify;
        let judgement = match self.check {
            Check::AskRetention => Judgement::Discard,
            Check::None if self.is_past_retention(asked.answered) => {
                self.check = match self.retention.take() {
                    None => Check::AskRetention,
                    Some(_) => Check::Verify,
                };
                Judgement::Discard
            }
            Check::None => Judgement::Take,
            Check::Verified(_) => {
                self.check = Check::None;
                Judgement::Take
            }
            Check::Verify => self.verify(position, asked.answered, output),
        };
        if judgement != Judgement::Discard {
            if verifies && judgement == Judgement::Take {
                leave_out(position, output);
            }
            self.note(position, asked.at, output);
        }
        judgement
    }

    fn verify(
        &mut self,
        position: &ShardPosition,
        now: Timestamp,
        output: &GetRecordsOutput,
    ) -> Judgement {
        let after = number(position).cloned();
        let first = output.records.first().map(|first| &first.sequence_number);
        let gap = match (&after, first) {
            (Some(last), Some(first)) if first <= last => {
                self.check = match output.records.len() {
                    1 => Check::Verified(now),
                    _ => Check::None,
                };
                return Judgement::Take;
            }
            (_, Some(first)) => Some(first.clone()),
            (_, None) if is_at_tip(output) || output.next.is_none() => None,
            // The service gives empty answers in the middle of a shard, too.
            (_, None) => return Judgement::Take,
        };
        self.check = Check::None;
        Judgement::Gap { after, before: gap }
    }

    fn note(&mut self, position: &ShardPosition, asked: Timestamp, output: &GetRecordsOutput) {
        let reached = match output.records.last() {
            // The epoch stands for an endpoint that does not tell.
            Some(last) if last.approximate_arrival.as_millis() > 0 => last.approximate_arrival,
            Some(_) => asked,
            None if is_at_tip(output) => asked,
            None => return,
        };
        // Up to now it said since when the shard is waited for, and records may well be older.
        let is_first = number(position).is_none();
        self.complete_to = match self.complete_to.filter(|_| !is_first) {
            Some(complete_to) => Some(complete_to.max(reached)),
            None => Some(reached),
        };
    }

    fn is_past_retention(&self, now: Timestamp) -> bool {
        let kept = self.retention.unwrap_or(RETENTION_MIN);
        let known = |complete_to| now.saturating_add(MARGIN).saturating_since(complete_to) > kept;
        self.complete_to.is_some_and(known)
    }
}

/// Says whether nothing is ahead of an empty answer.
pub(super) fn is_at_tip(output: &GetRecordsOutput) -> bool {
    output.records.is_empty() && output.millis_behind_latest.unwrap_or(0) == 0
}

/// The last record that was read before is not to be read twice, but for the rest of it.
fn leave_out(position: &ShardPosition, output: &mut GetRecordsOutput) {
    if let ShardPosition::After {
        sequence_number,
        sub_sequence_number: None,
    } = position
    {
        let old = |record: &RawRecord| record.sequence_number <= *sequence_number;
        let old = output.records.iter().take_while(|record| old(record));
        let old = old.count();
        output.records.drain(..old);
    }
}

fn number(position: &ShardPosition) -> Option<&SequenceNumber> {
    match position {
        ShardPosition::After {
            sequence_number, ..
        } => Some(sequence_number),
        _ => None,
    }
}

/// What is still there now is there a moment later, unless its time runs out just then.
const VERIFIED_MAX: Duration = Duration::from_secs(10);

/// When records arrive is told approximately.
const MARGIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::ShardIterator;
    use crate::model::{ShardRef, StartPosition};

    const DAY: i64 = 24 * 3_600_000;
    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn asked(millis: i64) -> Asked {
        let at = at(millis);
        Asked { at, answered: at }
    }

    fn after(number: u64, sub_sequence_number: Option<u64>) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number.to_string().parse().expect("a number"),
            sub_sequence_number,
        }
    }

    /// An answer with these numbers, each of which arrived at a thousand times its number.
    fn answer(numbers: &[u64], behind: u64) -> GetRecordsOutput {
        let record = |number: &u64| RawRecord {
            data: Bytes::new(),
            partition_key: "key".into(),
            sequence_number: number.to_string().parse().expect("a number"),
            approximate_arrival: at(*number as i64 * 1_000),
        };
        GetRecordsOutput {
            records: numbers.iter().map(record).collect(),
            next: Some(ShardIterator::for_tests(ShardRef::new("orders", "a"))),
            millis_behind_latest: Some(behind),
            child_shards: Vec::new(),
        }
    }

    fn numbers(output: &GetRecordsOutput) -> Vec<&str> {
        let numbers = output.records.iter().map(|r| r.sequence_number.as_str());
        numbers.collect()
    }

    fn gap(after: Option<u64>, before: Option<u64>) -> Judgement {
        let number = |number: u64| number.to_string().parse().expect("a number");
        Judgement::Gap {
            after: after.map(number),
            before: before.map(number),
        }
    }

    /// A watch that has come to doubt, and knows that the stream keeps a day.
    fn doubting(position: &ShardPosition) -> TrimWatch {
        let mut watch = TrimWatch::new(position, Some(at(1_000)));
        let now = 1_000 + DAY;
        let judged = watch.on_answer(position, asked(now), &mut answer(&[9], 0));
        assert_eq!(judged, Judgement::Discard);
        assert!(watch.asks_retention());
        watch.on_retention(at(now), RETENTION_MIN);
        watch
    }

    #[test]
    fn within_the_retention_there_is_no_doubt() {
        let position = after(1, None);
        let mut watch = TrimWatch::new(&position, Some(at(1_000)));
        let now = DAY - 10_000 + 1_000;
        let judged = watch.on_answer(&position, asked(now), &mut answer(&[2], 0));
        assert_eq!(judged, Judgement::Take);
        assert_eq!(watch.complete_to(), Some(at(2_000)));
        watch.on_answer(&after(2, None), asked(now), &mut answer(&[], 0));
        assert_eq!(watch.complete_to(), Some(at(now)), "at the tip");
        watch.on_answer(&after(2, None), asked(now + 1), &mut answer(&[], 1));
        assert_eq!(watch.complete_to(), Some(at(now)), "not at the tip");
    }

    #[test]
    fn what_is_there_from_before_the_start_is_expected_once_reading_has_begun() {
        let mut watch = TrimWatch::new(&TRIM_HORIZON, Some(at(5_000)));
        watch.on_answer(&TRIM_HORIZON, asked(5_000), &mut answer(&[2], 7));
        assert_eq!(watch.complete_to(), Some(at(2_000)));
        let judged = watch.on_answer(&after(2, None), asked(2_000 + DAY), &mut answer(&[4], 7));
        assert_eq!(judged, Judgement::Discard);
    }

    #[test]
    fn a_longer_retention_ends_the_doubt() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        watch.on_retention(at(1_000 + DAY), 7 * RETENTION_MIN);
        assert_eq!(watch.iterator_position(&position), position);
        let judged = watch.on_answer(&position, asked(1_000 + DAY), &mut answer(&[9], 0));
        assert_eq!(judged, Judgement::Take);
    }

    #[test]
    fn the_last_record_read_proves_that_nothing_is_missing() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        assert_eq!(watch.iterator_position(&position), after(1, Some(0)));
        let mut output = answer(&[1, 9], 5);
        let judged = watch.on_answer(&position, asked(2 * DAY), &mut output);
        assert_eq!((judged, numbers(&output)), (Judgement::Take, vec!["9"]));
        let judged = watch.on_answer(&after(9, None), asked(2 * DAY), &mut answer(&[10], 0));
        assert_eq!(judged, Judgement::Discard, "and then in doubt again");
    }

    #[test]
    fn where_an_answer_has_room_for_one_record_the_next_goes_on_from_it() {
        for (seconds, judgement) in [(9, Judgement::Take), (11, Judgement::Discard)] {
            let position = after(1, None);
            let mut watch = doubting(&position);
            let mut output = answer(&[1], 5);
            let judged = watch.on_answer(&position, asked(2 * DAY), &mut output);
            assert_eq!((judged, numbers(&output)), (Judgement::Take, vec![]));
            let later = asked(2 * DAY + seconds * 1_000);
            let judged = watch.on_answer(&position, later, &mut answer(&[2], 5));
            assert_eq!(judged, judgement, "{seconds} s later");
        }
        let mut at_tip = doubting(&after(1, None));
        at_tip.on_answer(&after(1, None), asked(2 * DAY), &mut answer(&[1], 0));
        assert_eq!(at_tip.complete_to(), Some(at(2 * DAY)));
    }

    #[test]
    fn inside_an_aggregate_the_rest_of_it_is_read() {
        let position = after(1, Some(4));
        let mut watch = doubting(&position);
        assert_eq!(watch.iterator_position(&position), position);
        let mut output = answer(&[1, 9], 0);
        let judged = watch.on_answer(&position, asked(2 * DAY), &mut output);
        assert_eq!(
            (judged, numbers(&output)),
            (Judgement::Take, vec!["1", "9"])
        );
    }

    #[test]
    fn another_record_in_its_place_is_a_gap() {
        for (position, last) in [
            (after(1, None), Some(1)),
            (after(1, Some(4)), Some(1)),
            (TRIM_HORIZON, None),
        ] {
            let mut watch = doubting(&position);
            let mut output = answer(&[9], 0);
            let judged = watch.on_answer(&position, asked(2 * DAY), &mut output);
            assert_eq!((judged, numbers(&output)), (gap(last, Some(9)), vec!["9"]));
        }
    }

    #[test]
    fn an_empty_answer_decides_only_at_the_tip() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        let judged = watch.on_answer(&position, asked(2 * DAY), &mut answer(&[], 7));
        assert_eq!(judged, Judgement::Take);
        let judged = watch.on_answer(&position, asked(2 * DAY), &mut answer(&[], 0));
        assert_eq!(judged, gap(Some(1), None));
        let judged = watch.on_answer(&position, asked(2 * DAY), &mut answer(&[], 0));
        assert_eq!(judged, Judgement::Take, "told once");
    }

    #[test]
    fn a_place_without_a_time_is_verified_at_once() {
        let watch = TrimWatch::new(&after(1, None), None);
        assert_eq!(watch.iterator_position(&after(1, None)), after(1, Some(0)));
        assert_eq!(watch.limit_min(), 2);
        let fresh = TrimWatch::new(&TRIM_HORIZON, None);
        assert_eq!(fresh.limit_min(), 1);
    }

    #[test]
    fn an_endpoint_that_does_not_tell_when_records_came_is_believed() {
        let mut watch = TrimWatch::new(&TRIM_HORIZON, None);
        let mut output = answer(&[0], 0);
        watch.on_answer(&TRIM_HORIZON, asked(5 * DAY), &mut output);
        assert_eq!(watch.complete_to(), Some(at(5 * DAY)));
    }
}
