use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::model::{SequenceNumber, ShardId};
use crate::producer::group::Group;
use crate::producer::own_thread;
use crate::producer::record::UserRecord;

/// A record's future result. Dropping it changes nothing but your knowledge.
///
/// An index into a result that all records of a Kinesis record share: cheap to keep by the million.
pub struct Delivery {
    group: Arc<Group>,
    index: u32,
}

impl Delivery {
    pub(super) fn new(group: &Arc<Group>, index: u32) -> Delivery {
        Delivery {
            group: group.clone(),
            index,
        }
    }

    /// Blocks until the record's fate is known: its time to live and one request timeout at most.
    ///
    /// # Errors
    /// The record was not confirmed to be stored; it comes back. `OwnThread`: called in a logger or a
    /// transport on a thread that moves records, for which it would wait. The record is on its way then:
    /// [`Undelivered::record`] is empty, and [`Undelivered::stored`] says possibly.
    pub fn wait(self) -> RecordResult {
        match own_thread::check_result("Delivery::wait") {
            Ok(()) => self.group.wait(self.index),
            Err(error) => {
                let settled = self.group.result(self.index);
                settled.unwrap_or_else(|| Err(on_its_way(error)))
            }
        }
    }

    /// Blocks until the record's fate is known, or for so long.
    ///
    /// # Errors
    /// The time is up; the delivery comes back, to be asked again. So it does at once in a logger or a
    /// transport on a thread that moves records, for which this would wait.
    pub fn wait_timeout(self, timeout: Duration) -> Result<RecordResult, Delivery> {
        let may_wait = own_thread::check_result("Delivery::wait_timeout").is_ok();
        let timeout = if may_wait { timeout } else { Duration::ZERO };
        let waited = self.group.wait_timeout(self.index, timeout);
        waited.ok_or(self)
    }

    /// Says whether the record's fate is known. Does not block.
    pub fn is_settled(&self) -> bool {
        self.group.result(self.index).is_some()
    }
}

/// The result of a wait that is refused: nobody but the producer has the record.
fn on_its_way(error: Error) -> Undelivered {
    Undelivered {
        record: UserRecord::new("", ""),
        error,
        stored: Stored::Possibly,
        attempts: Arc::new([]),
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("index", &self.index)
            .field("settled", &self.is_settled())
            .finish()
    }
}

/// What became of a record.
pub type RecordResult = Result<Delivered, Undelivered>;

/// Where a record was stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// The shard that took it.
    pub shard_id: ShardId,
    /// The place of its Kinesis record in the shard; an aggregate's user records share it.
    pub sequence_number: SequenceNumber,
    /// Its place in the aggregate; `None` if it went alone.
    pub sub_sequence_number: Option<u64>,
    /// Every attempt, the last of which succeeded.
    pub attempts: Arc<[Attempt]>,
}

/// A record that was not confirmed to be stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Undelivered {
    /// The record, to be put again or kept elsewhere. Empty if the error is `OwnThread`.
    pub record: UserRecord,
    /// Why it was given up.
    pub error: Error,
    /// Whether it may be in the stream all the same.
    pub stored: Stored,
    /// Every attempt, none of which is known to have succeeded.
    pub attempts: Arc<[Attempt]>,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may_be = match self.stored {
            Stored::No => "not stored",
            Stored::Possibly => "possibly stored",
        };
        write!(f, "record {may_be}: {}", self.error)
    }
}

impl std::error::Error for Undelivered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Error {
        undelivered.error
    }
}

/// Whether a record that was not confirmed may be in the stream all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is not: putting it again makes no duplicate.
    No,
    /// A call that carried it was sent and its answer was lost, or it was stored where readers leave it out.
    Possibly,
}

/// One call that carried a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// How long the record waited before it, since it was put or since the attempt before.
    pub delay: Duration,
    /// How long the call took.
    pub duration: Duration,
    /// What went wrong; `None` if it succeeded.
    pub error: Option<Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_a_pointer_and_an_index() {
        fn crosses_threads<T: Send + Sync + 'static>() {}
        crosses_threads::<Delivery>();
        assert_eq!(size_of::<Delivery>(), 16);
        assert!(size_of::<Undelivered>() <= 104);
    }
}
