use std::time::{Duration, Instant};

use crate::client::{GetRecordsOutput, RawRecord, ServerTime};
use crate::consumer::bound::Reached;
use crate::consumer::checkpoint::Unconfirmed;
use crate::consumer::retention::{ASK_INTERVAL, RETENTION_MIN};
use crate::model::{SequenceNumber, ShardPosition, Timestamp};

/// Notices that records may have outlived the stream's retention before they were read.
///
/// The service passes over what it does not keep any more without a word. What it keeps is a matter
/// of time: as long as everything up to a time within the retention was read, nothing can be
/// missing. Else the last record that was read is read once more: if it is still there, so is all
/// that came behind it. Pure: times are told.
///
/// The retention is not a constant. It may be shortened at any time, down to 24 hours, and what a
/// reader was behind by is gone then. So what was read on the strength of a longer retention counts
/// once a later reading of the retention confirms it.
#[derive(Debug)]
pub(super) struct TrimWatch {
    /// Everything that arrived up to then has been read, or was told to be missing. Of a shard that is
    /// read for the first time: what arrived later is expected, and what is there from before.
    complete_to: Option<Timestamp>,
    retention: Option<Retention>,
    check: Check,
    unconfirmed: Option<Unconfirmed>,
    /// Records may be missing behind the last one read as well: an empty answer was relied on, or perhaps
    /// was by an earlier reader.
    is_open: bool,
}

/// How long the stream keeps its records, as of some time.
#[derive(Clone, Copy, Debug)]
struct Retention {
    asked: Instant,
    /// The shortest there is, if the service did not say.
    kept: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// No reason for doubt so far.
    None,
    /// In doubt by the retention that is known: the stream's own one has to be asked for.
    AskRetention,
    /// In doubt: the next answer is to begin with the last record that was read.
    Verify,
    /// Verified at this time, by an answer that had room for nothing else: the next goes on from it.
    Verified(Timestamp),
}

/// What to make of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing is missing before it.
    Take,
    /// Records may be missing before it, or before what is to come if it is empty.
    Gap(Missing),
    /// It may have passed over records: read again, with a new iterator.
    Discard,
}

/// Between which records others may be missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub after: Option<SequenceNumber>,
    pub before: Option<SequenceNumber>,
}

impl TrimWatch {
    pub fn new(position: &ShardPosition, complete_to: Option<Timestamp>) -> TrimWatch {
        // Nothing is known of when it was read.
        let doubtful = complete_to.is_none() && number(position).is_some();
        TrimWatch {
            complete_to,
            retention: None,
            check: if doubtful { Check::Verify } else { Check::None },
            unconfirmed: None,
            is_open: false,
        }
    }

    /// Goes on with what an earlier reader of the shard could not confirm any more.
    pub fn doubting(self, unconfirmed: Option<Unconfirmed>) -> TrimWatch {
        TrimWatch {
            is_open: unconfirmed.is_some(),
            unconfirmed,
            ..self
        }
    }

    pub fn complete_to(&self) -> Option<Timestamp> {
        self.complete_to
    }

    /// Looks ahead to an answer that is about to be asked for, and says whether it has to be asked for
    /// from another place.
    ///
    /// An answer that has to be judged by the last record read had better begin with that record. One
    /// that does not is read again, and of a full shard near its horizon the record is trimmed
    /// meanwhile: then nothing can be proved any more.
    pub fn foresee(&mut self, server_now: Timestamp) -> bool {
        let answered = server_now.saturating_add(CALL_TIME);
        if self.check != Check::None || !self.is_past(RETENTION_MIN, answered) {
            return false;
        }
        self.check = match self.retention {
            None => Check::AskRetention,
            Some(retention) if self.is_past(retention.kept, answered) => Check::Verify,
            Some(_) => Check::None,
        };
        self.check == Check::Verify
    }

    /// Says whether the stream's retention has to be read before anything else; at the end of the
    /// reading, whether all that was read counts.
    pub fn asks_retention(&self, now: Instant, is_end: bool) -> bool {
        let is_due = |asked: Instant| is_end || now >= asked + ASK_INTERVAL;
        let asked = self.retention.map(|retention| retention.asked);
        self.check == Check::AskRetention
            || (self.unconfirmed.is_some() && asked.is_none_or(is_due))
    }

    /// Returns what has to be confirmed by reading the retention anew, and not from memory.
    pub fn unconfirmed(&self) -> Option<&Unconfirmed> {
        self.unconfirmed.as_ref()
    }

    /// Takes how long the stream keeps records, as of now, for a reader at `position`; `None` if the
    /// service does not say.
    ///
    /// Gives what may be missing of what was read since the retention was read before.
    pub fn on_retention(
        &mut self,
        (asked, server_now): (Instant, Timestamp),
        kept: Option<Duration>,
        position: &ShardPosition,
        is_end: bool,
    ) -> Option<Missing> {
        let is_known = kept.is_some();
        let kept = kept.unwrap_or(RETENTION_MIN);
        self.retention = Some(Retention { asked, kept });
        let in_doubt = self.is_past(kept, server_now.saturating_add(CALL_TIME));
        self.check = if in_doubt { Check::Verify } else { Check::None };
        // Without an answer the next reading may confirm it yet, but at the end there is none.
        let confirms = is_known || is_end;
        let unconfirmed = self.unconfirmed.take_if(|_| confirms)?;
        let after = unconfirmed.after;
        let is_open = std::mem::take(&mut self.is_open);
        let last = number(position).filter(|last| !is_open && Some(*last) != after.as_ref());
        let missing = Missing {
            before: last.cloned(),
            after,
        };
        (unconfirmed.lag > kept).then_some(missing)
    }

    /// Says whether the next answer has to begin with the last record that was read.
    pub fn verifies(&self) -> bool {
        self.check == Check::Verify
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
        answered: ServerTime,
        output: &mut GetRecordsOutput,
    ) -> Judgement {
        if let Check::Verified(at) = self.check
            && answered.latest.saturating_since(at) > VERIFIED_MAX
        {
            self.check = Check::None;
        }
        match self.check {
            Check::AskRetention => Judgement::Discard,
            Check::None if self.is_past(self.kept(), answered.latest) => {
                self.check = Check::AskRetention;
                Judgement::Discard
            }
            Check::None => {
                let relies = self.rely_on_retention(position, answered.latest);
                self.is_open = output.records.is_empty() && (relies || self.is_open);
                Judgement::Take
            }
            Check::Verified(_) => {
                (self.check, self.is_open) = (Check::None, false);
                Judgement::Take
            }
            Check::Verify => {
                let judgement = self.verify(position, answered.latest, output);
                if judgement == Judgement::Take {
                    self.is_open &= output.records.is_empty();
                    leave_out(position, output);
                }
                judgement
            }
        }
    }

    fn verify(
        &mut self,
        position: &ShardPosition,
        now: Timestamp,
        output: &GetRecordsOutput,
    ) -> Judgement {
        let after = number(position).cloned();
        let first = output.records.first().map(|first| &first.sequence_number);
        let before = match (&after, first) {
            (Some(last), Some(first)) if first <= last => {
                self.check = match output.records.len() {
                    1 => Check::Verified(now),
                    _ => Check::None,
                };
                return Judgement::Take;
            }
            (_, Some(first)) => Some(first.clone()),
            (_, None) if output.is_at_tip() || output.next.is_none() => None,
            // The service gives empty answers in the middle of a shard, too.
            (_, None) => return Judgement::Take,
        };
        self.check = Check::None;
        Judgement::Gap(Missing { after, before })
    }

    /// Notes that an answer counts only if the retention is still what it was, and says whether it does.
    fn rely_on_retention(&mut self, position: &ShardPosition, now: Timestamp) -> bool {
        let Some(lag) = self.lag(now).filter(|lag| *lag > RETENTION_MIN) else {
            return false;
        };
        let unconfirmed = self.unconfirmed.get_or_insert_with(|| Unconfirmed {
            after: number(position).cloned(),
            lag,
        });
        unconfirmed.lag = unconfirmed.lag.max(lag);
        true
    }

    /// Notes up to when nothing is missing, once an answer to a reader at `position` was taken, which
    /// was asked for at `asked` or later. What lies behind the bound is not in `output` any more.
    pub fn note(
        &mut self,
        position: &ShardPosition,
        asked: Timestamp,
        output: &GetRecordsOutput,
        reached: Reached,
    ) {
        // The epoch stands for an endpoint that does not tell.
        let last = output.records.last().map(|last| last.approximate_arrival);
        let last = last.filter(|arrival| arrival.as_millis() > 0);
        let complete_to = match reached {
            // What was left out has been there when the answer was made: its time says nothing here.
            Reached::Cut(bound) => last.max(bound.map(just_before)),
            _ if output.records.is_empty() => Some(asked).filter(|_| output.is_at_tip()),
            _ => last.or(Some(asked)),
        };
        let Some(complete_to) = complete_to else {
            return;
        };
        // Up to now it said since when the shard is waited for, and records may well be older.
        let is_first = number(position).is_none();
        self.complete_to = match self.complete_to.filter(|_| !is_first) {
            Some(known) => Some(known.max(complete_to)),
            None => Some(complete_to),
        };
    }

    fn kept(&self) -> Duration {
        self.retention
            .map_or(RETENTION_MIN, |retention| retention.kept)
    }

    fn is_past(&self, kept: Duration, now: Timestamp) -> bool {
        self.lag(now).is_some_and(|lag| lag > kept)
    }

    /// How far behind the reader may be.
    fn lag(&self, now: Timestamp) -> Option<Duration> {
        let lag = |complete_to| now.saturating_add(MARGIN).saturating_since(complete_to);
        self.complete_to.map(lag)
    }
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

/// The last moment before a time, as times are told.
fn just_before(time: Timestamp) -> Timestamp {
    time.saturating_sub(Duration::from_millis(1))
}

/// What is still there now is there a moment later, unless its time runs out just then.
const VERIFIED_MAX: Duration = Duration::from_secs(10);

/// When records arrive is told approximately.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a call may take that is foreseen: one that takes longer may have to be made again.
const CALL_TIME: Duration = Duration::from_secs(10);

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

    fn answered(millis: i64) -> ServerTime {
        let at = at(millis);
        ServerTime {
            earliest: at,
            latest: at,
        }
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
        Judgement::Gap(Missing {
            after: after.map(number),
            before: before.map(number),
        })
    }

    /// Judges an answer, and notes what is taken of it.
    fn take(
        watch: &mut TrimWatch,
        position: &ShardPosition,
        answered: ServerTime,
        output: &mut GetRecordsOutput,
    ) -> Judgement {
        let judgement = watch.on_answer(position, answered, output);
        if judgement != Judgement::Discard {
            watch.note(position, answered.earliest, output, Reached::No);
        }
        judgement
    }

    /// The stream keeps its records for so many days, asked anew.
    fn keeps(
        watch: &mut TrimWatch,
        now: i64,
        days: u32,
        position: &ShardPosition,
    ) -> Option<Missing> {
        let kept = Some(days * RETENTION_MIN);
        watch.on_retention((Instant::now(), at(now)), kept, position, false)
    }

    /// A watch that has come to doubt, and knows that the stream keeps a day.
    fn doubting(position: &ShardPosition) -> TrimWatch {
        let mut watch = TrimWatch::new(position, Some(at(1_000)));
        let now = 1_000 + DAY;
        let judged = take(&mut watch, position, answered(now), &mut answer(&[9], 0));
        assert_eq!(judged, Judgement::Discard);
        assert!(watch.asks_retention(Instant::now(), false));
        assert_eq!(keeps(&mut watch, now, 1, position), None);
        watch
    }

    #[test]
    fn within_the_retention_there_is_no_doubt() {
        let position = after(1, None);
        let mut watch = TrimWatch::new(&position, Some(at(1_000)));
        let now = DAY - 10_000 + 1_000;
        let judged = take(&mut watch, &position, answered(now), &mut answer(&[2], 0));
        assert_eq!(judged, Judgement::Take);
        assert_eq!(watch.complete_to(), Some(at(2_000)));
        assert!(watch.unconfirmed().is_none(), "no stream keeps less");
        take(
            &mut watch,
            &after(2, None),
            answered(now),
            &mut answer(&[], 0),
        );
        assert_eq!(watch.complete_to(), Some(at(now)), "at the tip");
        take(
            &mut watch,
            &after(2, None),
            answered(now + 1),
            &mut answer(&[], 1),
        );
        assert_eq!(watch.complete_to(), Some(at(now)), "not at the tip");
    }

    #[test]
    fn what_is_there_from_before_the_start_is_expected_once_reading_has_begun() {
        let mut watch = TrimWatch::new(&TRIM_HORIZON, Some(at(5_000)));
        take(
            &mut watch,
            &TRIM_HORIZON,
            answered(5_000),
            &mut answer(&[2], 7),
        );
        assert_eq!(watch.complete_to(), Some(at(2_000)));
        let judged = take(
            &mut watch,
            &after(2, None),
            answered(2_000 + DAY),
            &mut answer(&[4], 7),
        );
        assert_eq!(judged, Judgement::Discard);
    }

    #[test]
    fn a_longer_retention_ends_the_doubt() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        assert_eq!(keeps(&mut watch, 1_000 + DAY, 7, &position), None);
        assert_eq!(watch.iterator_position(&position), position);
        let judged = take(
            &mut watch,
            &position,
            answered(1_000 + DAY),
            &mut answer(&[9], 0),
        );
        assert_eq!(judged, Judgement::Take);
    }

    #[test]
    fn doubt_is_foreseen_before_an_answer_is_asked_for() {
        let (position, now) = (after(1, None), Instant::now());
        let mut watch = TrimWatch::new(&position, Some(at(0)));
        assert!(!watch.foresee(at(DAY - 20_000)));
        assert!(!watch.asks_retention(now, false));
        assert!(!watch.foresee(at(DAY - 19_999)));
        assert!(watch.asks_retention(now, false));
        assert_eq!(keeps(&mut watch, DAY, 2, &position), None);
        assert!(!watch.foresee(at(DAY)) && !watch.verifies());
        assert!(watch.foresee(at(2 * DAY)) && watch.verifies());
        assert!(!watch.foresee(at(2 * DAY)), "once");
    }

    /// Three days behind in a stream that keeps seven, and read on by two records.
    fn three_days_behind() -> TrimWatch {
        let mut watch = TrimWatch::new(&after(1, None), Some(at(1_000)));
        let now = 3 * DAY;
        assert!(!watch.foresee(at(now)));
        assert_eq!(keeps(&mut watch, now, 7, &after(1, None)), None);
        for (last, next) in [(1, 2), (2, 3)] {
            let mut output = answer(&[next], 7);
            let judged = take(&mut watch, &after(last, None), answered(now), &mut output);
            assert_eq!(judged, Judgement::Take);
        }
        assert!(watch.unconfirmed().is_some());
        watch
    }

    #[test]
    fn a_retention_that_is_shortened_meanwhile_is_a_gap_since_the_last_good_reading() {
        let soon = Instant::now() + Duration::from_secs(299);
        let mut watch = three_days_behind();
        assert!(!watch.asks_retention(soon, false) && watch.asks_retention(soon, true));
        let due = Instant::now() + ASK_INTERVAL;
        assert!(watch.asks_retention(due, false));
        let missing = keeps(&mut watch, 3 * DAY, 2, &after(3, None));
        let missing = Judgement::Gap(missing.expect("something"));
        assert_eq!(missing, gap(Some(1), Some(3)));
        assert!(watch.unconfirmed().is_none() && watch.verifies());
        // And then it is less behind than even the shorter one, which says nothing of before.
        let mut watch = three_days_behind();
        let caught_up = at(3 * DAY);
        watch.complete_to = Some(caught_up);
        let missing = keeps(&mut watch, 3 * DAY, 1, &after(3, None));
        assert_eq!(missing.map(Judgement::Gap), Some(gap(Some(1), Some(3))));
        assert!(!watch.verifies());
    }

    #[test]
    fn behind_the_last_record_read_something_may_be_missing_if_an_empty_answer_was_relied_on() {
        let position = after(3, None);
        let open = || {
            let mut watch = three_days_behind();
            let now = answered(3 * DAY);
            take(&mut watch, &position, now, &mut answer(&[], 0));
            watch
        };
        fn missing(mut watch: TrimWatch, position: &ShardPosition) -> Option<Missing> {
            keeps(&mut watch, 3 * DAY, 1, position)
        }
        let found = missing(open(), &position).map(Judgement::Gap);
        assert_eq!(found, Some(gap(Some(1), None)));
        // Records that came later are behind all that may be missing.
        let mut watch = open();
        let now = answered(3 * DAY);
        take(&mut watch, &position, now, &mut answer(&[7], 0));
        let found = missing(watch, &after(7, None)).map(Judgement::Gap);
        assert_eq!(found, Some(gap(Some(1), Some(7))));
        // An earlier reader may have relied on one.
        let restarted = TrimWatch::new(&position, Some(at(3 * DAY)));
        let restarted = restarted.doubting(three_days_behind().unconfirmed().cloned());
        let found = missing(restarted, &position).map(Judgement::Gap);
        assert_eq!(found, Some(gap(Some(1), None)));
    }

    #[test]
    fn the_last_record_read_shows_that_nothing_behind_it_is_missing_and_no_record_shows_nothing() {
        let position = after(3, None);
        for (numbers, was_open, is_open) in [
            (&[3, 4][..], true, false),
            (&[], true, true),
            (&[], false, false),
        ] {
            let mut watch = doubting(&position);
            watch.is_open = was_open;
            let mut output = answer(numbers, 5);
            let judged = watch.on_answer(&position, answered(2 * DAY), &mut output);
            assert_eq!((judged, watch.is_open), (Judgement::Take, is_open));
        }
    }

    #[test]
    fn a_retention_that_is_still_long_enough_confirms_what_was_read() {
        let mut watch = three_days_behind();
        assert_eq!(keeps(&mut watch, 3 * DAY, 4, &after(3, None)), None);
        assert!(watch.unconfirmed().is_none() && !watch.verifies());
    }

    #[test]
    fn a_retention_as_long_as_the_reader_was_behind_confirms_what_was_read() {
        // What is behind by three days and one second, and clocks may differ by ten.
        let lag = Duration::from_millis(3 * DAY as u64 + 9_000);
        let shorter = lag - Duration::from_millis(1);
        for (kept, is_gap) in [(lag, false), (shorter, true)] {
            let mut watch = three_days_behind();
            let now = (Instant::now(), at(3 * DAY));
            let missing = watch.on_retention(now, Some(kept), &after(3, None), false);
            assert_eq!(missing.is_some(), is_gap, "{kept:?}");
        }
    }

    #[test]
    fn without_an_answer_the_next_reading_decides_and_at_the_end_it_is_a_gap() {
        for (is_end, is_gap) in [(false, false), (true, true)] {
            let mut watch = three_days_behind();
            let now = (Instant::now(), at(3 * DAY));
            let missing = watch.on_retention(now, None, &after(3, None), is_end);
            assert_eq!(missing.is_some(), is_gap);
            assert_eq!(watch.unconfirmed().is_some(), !is_gap);
            assert!(watch.verifies(), "24 hours count meanwhile");
        }
    }

    #[test]
    fn the_last_record_read_proves_that_nothing_is_missing() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        assert_eq!(watch.iterator_position(&position), after(1, Some(0)));
        let mut output = answer(&[1, 9], 5);
        let judged = take(&mut watch, &position, answered(2 * DAY), &mut output);
        assert_eq!((judged, numbers(&output)), (Judgement::Take, vec!["9"]));
        let judged = take(
            &mut watch,
            &after(9, None),
            answered(2 * DAY),
            &mut answer(&[10], 0),
        );
        assert_eq!(judged, Judgement::Discard, "and then in doubt again");
    }

    #[test]
    fn where_an_answer_has_room_for_one_record_the_next_goes_on_from_it() {
        for (seconds, judgement) in [(10, Judgement::Take), (11, Judgement::Discard)] {
            let position = after(1, None);
            let mut watch = doubting(&position);
            let mut output = answer(&[1], 5);
            let judged = take(&mut watch, &position, answered(2 * DAY), &mut output);
            assert_eq!((judged, numbers(&output)), (Judgement::Take, vec![]));
            let later = answered(2 * DAY + seconds * 1_000);
            let judged = take(&mut watch, &position, later, &mut answer(&[2], 5));
            assert_eq!(judged, judgement, "{seconds} s later");
        }
        let mut at_tip = doubting(&after(1, None));
        take(
            &mut at_tip,
            &after(1, None),
            answered(2 * DAY),
            &mut answer(&[1], 0),
        );
        assert_eq!(at_tip.complete_to(), Some(at(2 * DAY)));
    }

    #[test]
    fn inside_an_aggregate_the_rest_of_it_is_read() {
        let position = after(1, Some(4));
        let mut watch = doubting(&position);
        assert_eq!(watch.iterator_position(&position), position);
        let mut output = answer(&[1, 9], 0);
        let judged = take(&mut watch, &position, answered(2 * DAY), &mut output);
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
            let judged = take(&mut watch, &position, answered(2 * DAY), &mut output);
            assert_eq!((judged, numbers(&output)), (gap(last, Some(9)), vec!["9"]));
        }
    }

    #[test]
    fn an_empty_answer_decides_only_at_the_tip() {
        let position = after(1, None);
        let mut watch = doubting(&position);
        let judged = take(
            &mut watch,
            &position,
            answered(2 * DAY),
            &mut answer(&[], 7),
        );
        assert_eq!(judged, Judgement::Take);
        let judged = take(
            &mut watch,
            &position,
            answered(2 * DAY),
            &mut answer(&[], 0),
        );
        assert_eq!(judged, gap(Some(1), None));
        let judged = take(
            &mut watch,
            &position,
            answered(2 * DAY),
            &mut answer(&[], 0),
        );
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
        take(&mut watch, &TRIM_HORIZON, answered(5 * DAY), &mut output);
        assert_eq!(watch.complete_to(), Some(at(5 * DAY)));
    }
}
