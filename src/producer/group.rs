use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam::channel::select;

use crate::error::Error;
use crate::model::{SequenceNumber, ShardId};
use crate::producer::delivery::{Attempt, Delivered, RecordResult, Stored, Undelivered};
use crate::producer::record::UserRecord;
use crate::producer::wake::Wake;
use crate::sys::clock::Clock;
use crate::sys::lock::lock;

/// The one result of all records that were put into one aggregate.
///
/// It settles as a whole, or in ranges when its records had to part ways after a reshard.
pub(super) struct Group {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ranges of indices, none of which overlap.
    settled: Vec<(Range<u32>, Outcome)>,
    wake: Wake,
}

/// What became of a range of records.
pub(super) enum Outcome {
    Delivered {
        shard_id: ShardId,
        sequence_number: SequenceNumber,
        /// The first record's sub-sequence number, if they were aggregated.
        first_sub: Option<u64>,
        attempts: Arc<[Attempt]>,
    },
    Undelivered {
        records: Vec<UserRecord>,
        error: Error,
        stored: Stored,
        attempts: Arc<[Attempt]>,
    },
}

impl Group {
    pub fn new(clock: Arc<dyn Clock>) -> Group {
        Group {
            clock,
            state: Mutex::default(),
        }
    }

    /// Says what became of some of the records, and wakes who waits. Once said, it stays.
    pub fn settle(&self, range: Range<u32>, outcome: Outcome) {
        let mut state = self.state();
        state.settled.push((range, outcome));
        state.wake.all();
    }

    pub fn result(&self, index: u32) -> Option<RecordResult> {
        self.state().result(index)
    }

    pub fn wait(&self, index: u32) -> RecordResult {
        loop {
            let woken = match self.state().result_or_wake(index) {
                Ok(result) => return result,
                Err(woken) => woken,
            };
            // It carries nothing: it closes.
            let _ = woken.recv();
        }
    }

    /// `None` when the time is up first.
    pub fn wait_timeout(&self, index: u32, timeout: Duration) -> Option<RecordResult> {
        let timer = self.clock.after(Some(timeout));
        loop {
            let woken = match self.state().result_or_wake(index) {
                Ok(result) => return Some(result),
                Err(woken) => woken,
            };
            select! {
                recv(woken) -> _ => {}
                recv(timer.channel()) -> _ => return self.result(index),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn result(&self, index: u32) -> Option<RecordResult> {
        let found = self
            .settled
            .iter()
            .find(|(range, _)| range.contains(&index));
        found.map(|(range, outcome)| outcome.of(index - range.start))
    }

    fn result_or_wake(
        &mut self,
        index: u32,
    ) -> Result<RecordResult, crossbeam::channel::Receiver<std::convert::Infallible>> {
        self.result(index).ok_or_else(|| self.wake.next())
    }
}

impl Outcome {
    /// What became of the record that is so many places behind the first.
    pub fn of(&self, place: u32) -> RecordResult {
        match self {
            Outcome::Delivered {
                shard_id,
                sequence_number,
                first_sub,
                attempts,
            } => Ok(Delivered {
                shard_id: shard_id.clone(),
                sequence_number: sequence_number.clone(),
                sub_sequence_number: first_sub.map(|first| first + u64::from(place)),
                attempts: attempts.clone(),
            }),
            Outcome::Undelivered {
                records,
                error,
                stored,
                attempts,
            } => Err(Undelivered {
                record: records[place as usize].clone(),
                error: error.clone(),
                stored: *stored,
                attempts: attempts.clone(),
            }),
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("settled", &self.state().settled.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Sys;

    fn group() -> Group {
        Group::new(Sys::real().clock)
    }

    fn stored(shard: &str, first_sub: Option<u64>) -> Outcome {
        Outcome::Delivered {
            shard_id: shard.into(),
            sequence_number: "7".parse().expect("a number"),
            first_sub,
            attempts: Arc::new([]),
        }
    }

    fn place(group: &Group, index: u32) -> Option<(String, Option<u64>)> {
        let delivered = group.result(index)?.expect("delivered");
        Some((
            delivered.shard_id.to_string(),
            delivered.sub_sequence_number,
        ))
    }

    #[test]
    fn records_that_parted_ways_settle_one_by_one() {
        let group = group();
        group.settle(1..3, stored("left", Some(4)));
        assert_eq!(place(&group, 0), None);
        assert_eq!(place(&group, 1), Some(("left".to_owned(), Some(4))));
        assert_eq!(place(&group, 2), Some(("left".to_owned(), Some(5))));
        assert_eq!(place(&group, 3), None);
        group.settle(0..1, stored("right", None));
        assert_eq!(place(&group, 0), Some(("right".to_owned(), None)));
    }

    #[test]
    fn each_undelivered_record_comes_back_itself() {
        let group = group();
        let records = ["a", "b"].map(|data| UserRecord::new("key", data));
        let outcome = Outcome::Undelivered {
            records: records.to_vec(),
            error: Error::new(crate::error::ErrorKind::Closed),
            stored: Stored::No,
            attempts: Arc::new([]),
        };
        group.settle(5..7, outcome);
        for (index, record) in (5..).zip(records) {
            let undelivered = group.wait(index).expect_err("undelivered");
            assert_eq!(undelivered.record, record);
            assert_eq!(
                undelivered.to_string(),
                "record not stored: the producer or consumer was closed"
            );
        }
    }

    #[test]
    fn a_wait_that_is_up_leaves_the_result_to_come() {
        let group = group();
        assert!(group.wait_timeout(0, Duration::ZERO).is_none());
        group.settle(0..1, stored("shard", None));
        assert!(group.wait_timeout(0, Duration::ZERO).is_some());
    }
}
