use std::time::Duration;

use crate::model::{SequenceNumber, ShardPosition};

/// A stretch read more than 24 hours behind since the retention was read last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Unconfirmed {
    /// The last record that was read before.
    pub after: Option<SequenceNumber>,
    /// How far behind the reader was at most: the retention must not have been shorter.
    pub lag: Duration,
}

impl Unconfirmed {
    /// Returns whether a checkpoint with this position covers some of the stretch.
    pub fn is_before(&self, position: &ShardPosition) -> bool {
        match position {
            ShardPosition::Start(_) => false,
            ShardPosition::ShardEnd => true,
            ShardPosition::After {
                sequence_number, ..
            } => self
                .after
                .as_ref()
                .is_none_or(|after| sequence_number > after),
        }
    }
}
