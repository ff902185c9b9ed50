use crate::client::{GetRecordsOutput, RawRecord};
use crate::consumer::checkpoint::Checkpoint;
use crate::model::{SequenceNumber, ShardPosition, ShardRef, Timestamp};

/// Up to where a consumer reads.
#[derive(Clone, Debug)]
pub(super) enum Until {
    Stopped,
    /// Until nothing that arrived before the consumer started is ahead.
    CaughtUp,
    /// Up to, and without, the first record that arrived at this time or later.
    Timestamp(Timestamp),
    /// Up to where another consumer was.
    Checkpoint(std::sync::Arc<Checkpoint>),
}

/// Up to where one shard is read. Pure.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// To its end, if it has one.
    ShardEnd,
    /// Until nothing that arrived by then is ahead; what came later may be read.
    CaughtUp(Timestamp),
    Timestamp(Timestamp),
    /// Up to and with this user record.
    Through(SequenceNumber, Option<u64>),
    /// Not at all.
    Nothing,
}

/// Whether a bound has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    No,
    /// By this answer, which is empty. Another one has to say so as well: an answer may be empty though
    /// there is more, and of a shard that has just been closed, where its children have the rest.
    Tip,
    /// With what was there, and nothing left out. If the shard has ended as well, that is its end.
    Here,
    /// There is more, which was left out. If the bound is a time, all that arrived before it was not.
    Cut(Option<Timestamp>),
}

impl Reached {
    fn here_if(reached: bool) -> Reached {
        match reached {
            true => Reached::Here,
            false => Reached::No,
        }
    }

    fn tip_if(reached: bool) -> Reached {
        match reached {
            true => Reached::Tip,
            false => Reached::No,
        }
    }
}

/// Tells a tip from one answer that looks like it.
#[derive(Debug, Default)]
pub(super) struct Tip(bool);

impl Tip {
    /// Takes in what the next answer looks like, and gives what may be believed.
    pub fn confirm(&mut self, reached: Reached) -> Reached {
        let is_second = std::mem::replace(&mut self.0, reached == Reached::Tip);
        match reached {
            Reached::Tip if is_second => Reached::Here,
            Reached::Tip => Reached::No,
            other => other,
        }
    }
}

impl Bound {
    /// The bound of a shard whose reading begins at `start`, in a consumer that started by `started`.
    pub fn new(
        until: &Until,
        shard: &ShardRef,
        start: &ShardPosition,
        started: Timestamp,
    ) -> Bound {
        let checkpoint = match until {
            Until::Stopped => return Bound::ShardEnd,
            Until::CaughtUp => return Bound::CaughtUp(started),
            Until::Timestamp(time) => return Bound::Timestamp(*time),
            Until::Checkpoint(checkpoint) => checkpoint,
        };
        match checkpoint.position(shard) {
            Some(ShardPosition::ShardEnd) => Bound::ShardEnd,
            Some(ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            }) if !covers(start, sequence_number, *sub_sequence_number) => {
                Bound::Through(sequence_number.clone(), *sub_sequence_number)
            }
            _ => Bound::Nothing,
        }
    }

    /// Leaves out what lies beyond the bound, and says whether it has been reached.
    ///
    /// `asked` is the service's time when the answer was asked for; `closed`, whether the shard had
    /// an end before the consumer started.
    pub fn cut(&self, output: &mut GetRecordsOutput, asked: Timestamp, closed: bool) -> Reached {
        let is_at_open_tip = |output: &GetRecordsOutput| !closed && output.is_at_tip();
        match self {
            Bound::ShardEnd => Reached::No,
            Bound::Nothing => Reached::Here,
            // Whether the producer ever pauses does not matter: what came later than the start is
            // behind all that was there, in this shard and in those that follow it. Not by
            // `MillisBehindLatest` alone: some endpoints always say 0.
            Bound::CaughtUp(started) => match output.records.last() {
                Some(last) => Reached::here_if(last.approximate_arrival > *started),
                None => Reached::tip_if(is_at_open_tip(output)),
            },
            Bound::Timestamp(time) => {
                let beyond = |record: &RawRecord| record.approximate_arrival >= *time;
                match truncate(&mut output.records, beyond) {
                    true => Reached::Cut(Some(*time)),
                    false => Reached::tip_if(asked > *time && is_at_open_tip(output)),
                }
            }
            Bound::Through(number, sub) => {
                let is_cut = truncate(&mut output.records, |r| r.sequence_number > *number);
                let last = output.records.last();
                let is_there = last.is_some_and(|r| r.sequence_number == *number);
                match is_cut || (is_there && sub.is_some()) {
                    true => Reached::Cut(None),
                    // Or the record that the checkpoint names is not there, nor any behind it.
                    false if is_there => Reached::Here,
                    false => Reached::tip_if(is_at_open_tip(output)),
                }
            }
        }
    }

    /// Says whether a user record lies within the bound; its Kinesis record does.
    pub fn includes(&self, number: &SequenceNumber, sub: Option<u64>) -> bool {
        match self {
            Bound::Through(last, Some(last_sub)) => {
                number != last || sub.is_none_or(|sub| sub <= *last_sub)
            }
            _ => true,
        }
    }
}

/// Cuts records off from the first that is beyond, and says whether there is one.
fn truncate(records: &mut Vec<RawRecord>, beyond: impl Fn(&RawRecord) -> bool) -> bool {
    let first = records.iter().position(beyond);
    if let Some(first) = first {
        records.truncate(first);
    }
    first.is_some()
}

/// Says whether a reader that starts there has this user record behind it.
fn covers(start: &ShardPosition, number: &SequenceNumber, sub: Option<u64>) -> bool {
    match start {
        ShardPosition::Start(_) => false,
        ShardPosition::ShardEnd => true,
        ShardPosition::After {
            sequence_number,
            sub_sequence_number,
        } => {
            let last = |sub: Option<u64>| sub.unwrap_or(u64::MAX);
            (sequence_number, last(*sub_sequence_number)) >= (number, last(sub))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::ShardIterator;
    use crate::model::StartPosition;

    fn shard() -> ShardRef {
        ShardRef::new("orders", "a")
    }

    fn number(number: u64) -> SequenceNumber {
        number.to_string().parse().expect("a number")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// An answer with these numbers, which are their times of arrival as well.
    fn answer(numbers: &[u64], behind: Option<u64>) -> GetRecordsOutput {
        let record = |n: &u64| RawRecord {
            data: Bytes::new(),
            partition_key: "key".into(),
            sequence_number: number(*n),
            approximate_arrival: at(*n as i64),
        };
        GetRecordsOutput {
            records: numbers.iter().map(record).collect(),
            next: Some(ShardIterator::for_tests(shard())),
            millis_behind_latest: behind,
            child_shards: Vec::new(),
        }
    }

    fn after(n: u64, sub_sequence_number: Option<u64>) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number(n),
            sub_sequence_number,
        }
    }

    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    #[test]
    fn caught_up_is_when_nothing_from_before_the_start_can_be_ahead() {
        let (yes, tip, no) = (Reached::Here, Reached::Tip, Reached::No);
        for (what, closed, behind, numbers, reached) in [
            ("an empty answer at the tip", false, Some(0), vec![], tip),
            (
                "one from an endpoint that says nothing",
                false,
                None,
                vec![],
                tip,
            ),
            ("an empty answer in the middle", false, Some(1), vec![], no),
            (
                "old records at the tip, if it is one",
                false,
                Some(0),
                vec![99],
                no,
            ),
            ("records of the start itself", false, Some(0), vec![100], no),
            ("new records", false, Some(0), vec![101], yes),
            (
                "new records ahead of newer ones",
                false,
                Some(9),
                vec![99, 101],
                yes,
            ),
            (
                "new records of a closed shard",
                true,
                Some(0),
                vec![101],
                yes,
            ),
            (
                "a closed shard, which has an end",
                true,
                Some(0),
                vec![],
                no,
            ),
        ] {
            let mut output = answer(&numbers, behind);
            let cut = Bound::CaughtUp(at(100)).cut(&mut output, at(200), closed);
            assert_eq!(cut, reached, "{what}");
            assert_eq!(output.records.len(), numbers.len(), "{what}");
        }
    }

    #[test]
    fn a_tip_is_believed_when_two_answers_in_a_row_show_it() {
        let (no, tip, here) = (Reached::No, Reached::Tip, Reached::Here);
        let mut seen = Tip::default();
        let shown = [tip, no, tip, tip, tip, here, Reached::Cut(None), tip];
        let believed = shown.map(|reached| seen.confirm(reached));
        assert_eq!(
            believed,
            [no, no, no, here, here, here, Reached::Cut(None), no]
        );
    }

    #[test]
    fn a_timestamp_ends_before_the_first_record_that_is_not_older() {
        let (no, tip, cut) = (Reached::No, Reached::Tip, Reached::Cut(Some(at(10))));
        for (what, closed, asked, numbers, left, reached) in [
            ("older ones", false, 200, vec![8, 9], 2, no),
            ("some of each", false, 200, vec![8, 9, 10, 11], 2, cut),
            ("newer ones", false, 200, vec![10], 0, cut),
            ("the tip", false, 200, vec![], 0, tip),
            ("the tip, before it is time", false, 10, vec![], 0, no),
            ("a closed shard, which has an end", true, 200, vec![], 0, no),
        ] {
            let mut output = answer(&numbers, Some(0));
            let found = Bound::Timestamp(at(10)).cut(&mut output, at(asked), closed);
            assert_eq!((found, output.records.len()), (reached, left), "{what}");
        }
    }

    #[test]
    fn a_checkpoint_ends_with_the_record_it_names() {
        let (no, here, tip, cut) = (Reached::No, Reached::Here, Reached::Tip, Reached::Cut(None));
        for (what, numbers, left, reached) in [
            ("before it", vec![8, 9], 2, no),
            ("with it", vec![9, 10], 2, here),
            ("beyond it", vec![9, 10, 11], 2, cut),
            ("it is gone", vec![9, 11], 1, cut),
            ("it never was there", vec![], 0, tip),
        ] {
            let mut output = answer(&numbers, Some(0));
            let found = Bound::Through(number(10), None).cut(&mut output, at(0), false);
            assert_eq!((found, output.records.len()), (reached, left), "{what}");
        }
        let inside = Bound::Through(number(10), Some(3));
        let found = inside.cut(&mut answer(&[9, 10], Some(0)), at(0), false);
        assert_eq!(found, Reached::Cut(None), "parts of it may be left out");
        for (n, sub, included) in [
            (9, Some(7), true),
            (10, Some(3), true),
            (10, Some(4), false),
            (10, None, true),
        ] {
            assert_eq!(inside.includes(&number(n), sub), included, "{n} {sub:?}");
        }
    }

    #[test]
    fn a_checkpoint_bounds_each_shard_by_how_far_it_was_read() {
        for (in_checkpoint, start, bound) in [
            (None, TRIM_HORIZON, "Nothing"),
            (Some(TRIM_HORIZON), TRIM_HORIZON, "Nothing"),
            (Some(ShardPosition::ShardEnd), TRIM_HORIZON, "ShardEnd"),
            (Some(after(7, Some(1))), TRIM_HORIZON, "Through(7, Some(1))"),
            (
                Some(after(7, Some(1))),
                after(7, Some(0)),
                "Through(7, Some(1))",
            ),
            (Some(after(7, Some(1))), after(7, Some(1)), "Nothing"),
            (Some(after(7, Some(1))), after(7, None), "Nothing"),
            (Some(after(7, None)), after(7, Some(1)), "Through(7, None)"),
            (Some(after(7, None)), after(10, None), "Nothing"),
        ] {
            let shards = in_checkpoint.clone().map(|position| (shard(), position));
            let checkpoint = Checkpoint {
                shards: shards.into_iter().collect(),
                ..Checkpoint::default()
            };
            let until = Until::Checkpoint(checkpoint.into());
            let found = Bound::new(&until, &shard(), &start, at(0));
            assert_eq!(
                format!("{found:?}"),
                bound,
                "{in_checkpoint:?} from {start:?}"
            );
        }
    }
}
