use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::consumer::event_time::exchange::{Exchange, Global, Local};
use crate::consumer::event_time::syncer::Syncer;
use crate::consumer::event_time::tracker::WatermarkTracker;
use crate::consumer::meters::Meters;
use crate::model::{Escaped, Timestamp};
use crate::sys::thread;

/// What the thread of alignment has: the user's tracker is called nowhere else.
pub(in crate::consumer) struct Tracking {
    pub tracker: Arc<dyn WatermarkTracker>,
    pub syncer: Syncer,
    pub exchange: Arc<Exchange>,
    pub meters: Arc<Meters>,
}

impl Tracking {
    /// Tells the tracker how far this consumer is and learns how far all are, if it is time to.
    pub fn sync(&mut self, now: Instant) -> bool {
        let state = self.exchange.read();
        if !self.syncer.is_due(state, now) {
            return false;
        }
        let answer = self.ask(state.0, now);
        if let Err(error) = &answer {
            let (subtask, error) = (Escaped(&self.syncer.subtask), Escaped(error));
            log::warn!("watermark tracker of {subtask}: {error}");
        }
        let global = self.syncer.on_answer(state, &answer, now);
        let millis = |known: Option<Timestamp>| known.map(Timestamp::as_millis);
        let (local, known) = (millis(state.0.known()), millis(global.known()));
        self.meters.synced(local, known, answer.is_ok());
        self.exchange.answer(global);
        true
    }

    /// Who is idle, or has ended, is not to be waited for.
    pub fn withdraw(&self, now: Instant) {
        let report = self.syncer.report(Local::Idle, now);
        if let Err(error) = caught(|| self.tracker.withdraw(&report)) {
            let (subtask, error) = (Escaped(report.subtask), Escaped(error));
            log::warn!("watermark tracker of {subtask}: {error}; it grows old there");
        }
    }

    fn ask(&self, local: Local, now: Instant) -> io::Result<Option<Timestamp>> {
        if local == Local::Idle {
            self.withdraw(now);
        }
        let report = self.syncer.report(local, now);
        caught(|| self.tracker.update(&report))
    }
}

impl Local {
    fn known(self) -> Option<Timestamp> {
        match self {
            Local::At(watermark) => Some(watermark),
            Local::Idle | Local::Unknown => None,
        }
    }
}

impl Global {
    fn known(self) -> Option<Timestamp> {
        match self {
            Global::At(watermark) => Some(watermark),
            Global::Joining | Global::Unknown => None,
        }
    }
}

/// Runs the user's code; a panic is a failure like any other.
fn caught<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    thread::caught("tracker", call).map_err(io::Error::other)?
}
