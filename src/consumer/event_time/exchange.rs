use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::consumer::shelf::Bell;
use crate::model::Timestamp;
use crate::sys::lock::lock;

/// Between the caller's thread, which knows how far its shards are, and the one that asks the tracker.
pub(in crate::consumer) struct Exchange {
    state: Mutex<(Local, Global)>,
    /// Counts the answers.
    version: AtomicU64,
    /// Asks for an answer before the interval is over.
    bell: Bell,
}

/// How far this consumer is: what its next record would make of its watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Local {
    At(Timestamp),
    /// Nothing happens in its shards, or it has none.
    Idle,
    /// Not all of its shards have said how far they are.
    Unknown,
}

/// How far all consumers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Global {
    At(Timestamp),
    /// Nobody has been asked yet: until then nothing is handed out.
    Joining,
    /// Nobody has said so far: who is the first to know asks again before it hands out anything.
    Unknown,
}

impl Exchange {
    pub fn new(bell: Bell) -> Exchange {
        Exchange {
            state: Mutex::new((Local::Unknown, Global::Joining)),
            version: AtomicU64::new(0),
            bell,
        }
    }

    pub fn tell(&self, local: Local) {
        let mut state = lock(&self.state);
        let news = std::mem::replace(&mut state.0, local) != local;
        let asks = match state.1 {
            Global::Joining => news,
            Global::Unknown => matches!(local, Local::At(_)),
            Global::At(_) => false,
        };
        if asks {
            self.bell.ring();
        }
    }

    pub fn answer(&self, global: Global) {
        lock(&self.state).1 = global;
        self.version.fetch_add(1, Ordering::Release);
    }

    pub fn read(&self) -> (Local, Global) {
        *lock(&self.state)
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}
