use crate::consumer::checkpoint::Origin;
use crate::model::{HashKeyRange, SequenceNumber, ShardPosition};

/// How far a shard was read of a stream that was deleted and made anew, where a checkpoint has the
/// position of the new stream's shard of that name.
///
/// What followed in the old stream was handed out by nobody that is known of: it is to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Replaced {
    /// The last record that was read; `None` if none is known.
    pub after: Option<SequenceNumber>,
    /// Says which consumer the shard belonged to.
    pub range: HashKeyRange,
}

impl Replaced {
    pub fn new(position: &ShardPosition, origin: &Origin) -> Replaced {
        Replaced {
            after: match position {
                ShardPosition::After {
                    sequence_number, ..
                } => Some(sequence_number.clone()),
                _ => None,
            },
            range: origin.range,
        }
    }

    /// Of two, the one behind which more is missing.
    pub fn or(self, other: Replaced) -> Replaced {
        match other.after < self.after {
            true => other,
            false => self,
        }
    }
}
