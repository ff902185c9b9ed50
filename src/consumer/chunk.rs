use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::consumer::answer::Answer;
use crate::consumer::record::{Record, Stamp, Value, is_left_out};
use crate::model::{ShardPosition, Timestamp};
#[cfg(test)]
use crate::{
    client::RawRecord,
    config::ConsumerConfig,
    consumer::{deaggregator::Deaggregator, discovery::Start, repeats::Repeats},
    model::{HashKeyRange, ShardRef, StartPosition},
};

/// User records of one answer, in the shard's order: what crosses threads.
///
/// Iterating hands them out. A record is a place in the answer, with what a decoder and a watermark
/// strategy made of it, if there are such.
pub(super) struct Chunk {
    answer: Arc<Answer>,
    /// Where it begins in the answer.
    start: usize,
    /// What is still to be handed out.
    ahead: Range<usize>,
    /// Of every record, or of none if there is no decoder.
    values: Vec<Option<Value>>,
    /// Of every record, or of none if there is no strategy.
    stamps: Vec<Stamp>,
    data_bytes: usize,
    key_bytes: usize,
}

impl Chunk {
    pub fn new(answer: Answer) -> Chunk {
        let all = 0..answer.len();
        let (values, stamps) = (Vec::new(), Vec::new());
        Chunk::part(Arc::new(answer), all, values, stamps)
    }

    fn part(
        answer: Arc<Answer>,
        range: Range<usize>,
        values: Vec<Option<Value>>,
        stamps: Vec<Stamp>,
    ) -> Chunk {
        let (data_bytes, key_bytes) = answer.bytes(range.clone());
        Chunk {
            answer,
            start: range.start,
            ahead: range,
            values,
            stamps,
            data_bytes,
            key_bytes,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// The bytes of what was put with all of its records.
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// The same and those of the partition keys.
    pub fn bytes(&self) -> usize {
        self.data_bytes + self.key_bytes
    }

    /// Gives records their values, up to the first at which it is told to stop; that one and those
    /// behind it are left to be read again.
    pub fn decode<B>(
        &mut self,
        mut decode: impl FnMut(&mut Record) -> ControlFlow<B>,
    ) -> Option<B> {
        self.values.reserve_exact(self.ahead.len());
        let mut record = Record::new(self.answer.clone(), self.ahead.start);
        for at in self.ahead.clone() {
            record.move_to(at);
            if let ControlFlow::Break(why) = decode(&mut record) {
                self.split_off(at - self.start);
                return Some(why);
            }
            self.values.push(record.value.take());
        }
        None
    }

    /// Says of each record when it happened, but of those that are left out.
    pub fn stamp(&mut self, mut stamp: impl FnMut(&Record) -> Stamp) {
        let mut record = Record::new(self.answer.clone(), self.ahead.start);
        if self.values.is_empty() {
            self.stamps.extend(self.ahead.clone().map(|at| {
                record.move_to(at);
                stamp(&record)
            }));
            return;
        }
        for (at, value) in self.ahead.clone().zip(&mut self.values) {
            record.move_to(at);
            record.value = value.take();
            self.stamps.push(match record.is_left_out() {
                true => Stamp::by_arrival(record.approximate_arrival()),
                false => stamp(&record),
            });
            *value = record.value.take();
        }
    }

    /// Keeps so many records and gives the others; nothing may have been handed out.
    pub fn split_off(&mut self, len: usize) -> Chunk {
        let at = self.start + len;
        let (values, stamps) = (
            split_off(&mut self.values, len),
            split_off(&mut self.stamps, len),
        );
        let rest = Chunk::part(self.answer.clone(), at..self.ahead.end, values, stamps);
        self.ahead.end = at;
        self.data_bytes -= rest.data_bytes;
        self.key_bytes -= rest.key_bytes;
        rest
    }

    /// The next record's stamp.
    pub fn head(&self) -> Option<Stamp> {
        let at = self.next_place()?;
        let stamp = self.stamps.get(at - self.start).copied();
        Some(stamp.unwrap_or_else(|| Stamp::by_arrival(self.answer.approximate_arrival(at))))
    }

    /// Whether the next record is one that is left out.
    pub fn passes_next(&self) -> bool {
        let value = self
            .next_place()
            .and_then(|at| self.values.get(at - self.start));
        is_left_out(value.and_then(Option::as_ref))
    }

    fn next_place(&self) -> Option<usize> {
        Some(self.ahead.start).filter(|_| !self.is_empty())
    }

    /// The place of the last record that was handed out, and when it arrived.
    pub fn last_place(&self) -> Option<(ShardPosition, Timestamp)> {
        let at = self
            .ahead
            .start
            .checked_sub(1)
            .filter(|at| *at >= self.start)?;
        let position = ShardPosition::After {
            sequence_number: self.answer.sequence_number(at).clone(),
            sub_sequence_number: self.answer.sub_sequence_number(at),
        };
        Some((position, self.answer.approximate_arrival(at)))
    }
}

/// Hands records out, those that are left out as well.
impl Iterator for Chunk {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        let at = self.ahead.next()?;
        let mut record = Record::new(self.answer.clone(), at);
        record.stamp = self.stamps.get(at - self.start).copied();
        if let Some(value) = self.values.get_mut(at - self.start) {
            record.value = value.take();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ahead.size_hint()
    }
}

impl ExactSizeIterator for Chunk {}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("ahead", &self.ahead)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Parts a list that has an entry for every record, or none.
fn split_off<T>(list: &mut Vec<T>, at: usize) -> Vec<T> {
    list.split_off(at.min(list.len()))
}

#[cfg(test)]
impl Chunk {
    /// What a shard's reader makes of an answer.
    pub fn for_tests(shard: &ShardRef, answer: Vec<RawRecord>) -> Chunk {
        let start = Start {
            shard: shard.clone(),
            range: HashKeyRange::FULL,
            ancestry: HashKeyRange::FULL,
            closed: false,
            position: ShardPosition::Start(StartPosition::TrimHorizon),
            complete_to: None,
        };
        let mut deaggregator =
            Deaggregator::new(&start, &ConsumerConfig::default(), Repeats::default());
        let taken = deaggregator.take_apart(answer, Timestamp::default());
        Chunk::new(taken.expect("records"))
    }
}
