use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::model::SequenceNumber;
use crate::sys::lock::lock;

/// What listings say of a shard that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The service does not have it, and no listing has shown it for long.
    Gone,
    /// The stream was made anew: the shard of this name begins at this number.
    Recreated(SequenceNumber),
    /// The service said that it does not have it, and a listing asked for at this time shows it.
    Listed(Instant),
}

/// Discovery's word to a shard's thread, and whether that has told the caller.
#[derive(Debug, Default)]
pub(super) struct FateSlot {
    fate: Mutex<Option<Fate>>,
    told_anew: AtomicBool,
}

impl FateSlot {
    /// A late listing may still show the stream as it was: that it was made anew stays said.
    pub fn set(&self, fate: Fate) {
        let mut known = lock(&self.fate);
        if !matches!(
            (&*known, &fate),
            (Some(Fate::Recreated(_)), Fate::Listed(_))
        ) {
            *known = Some(fate);
        }
    }

    pub fn get(&self) -> Option<Fate> {
        lock(&self.fate).clone()
    }

    /// The shard's thread reads in the new stream.
    pub fn reset(&self) {
        *lock(&self.fate) = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_listing_does_not_take_back_that_the_stream_was_made_anew() {
        let slot = FateSlot::default();
        let listed = Fate::Listed(Instant::now());
        let anew = Fate::Recreated("8".parse().expect("a number"));
        for (said, known) in [
            (listed.clone(), &listed),
            (Fate::Gone, &Fate::Gone),
            (listed.clone(), &listed),
            (anew.clone(), &anew),
            (listed.clone(), &anew),
            (Fate::Gone, &Fate::Gone),
        ] {
            slot.set(said);
            assert_eq!(slot.get().as_ref(), Some(known));
        }
    }
}
