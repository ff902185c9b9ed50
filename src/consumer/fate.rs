use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::SequenceNumber;

/// What listings say of a shard that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The service does not have it, and no listing has shown it for long.
    Gone,
    /// The stream was made anew: the shard of this name begins at this number.
    Recreated(SequenceNumber),
}

/// Discovery's word to a shard's thread, and whether that has told the caller.
#[derive(Debug, Default)]
pub(super) struct FateSlot {
    fate: Mutex<Option<Fate>>,
    told_anew: AtomicBool,
}

impl FateSlot {
    pub fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = Some(fate);
    }

    pub fn get(&self) -> Option<Fate> {
        let fate = self.fate.lock();
        fate.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The shard's thread reads in the new stream.
    pub fn reset(&self) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.told_anew.store(false, Ordering::Release);
    }

    /// The caller will know, before it knows of the shard's end, that the stream was made anew.
    pub fn set_told_anew(&self) {
        self.told_anew.store(true, Ordering::Release);
    }

    pub fn is_told_anew(&self) -> bool {
        self.told_anew.load(Ordering::Acquire)
    }
}
