use std::sync::Mutex;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::producer::delivery::RecordResult;
use crate::producer::kinesis_record::Run;
use crate::producer::shared::{Released, Shared};
use crate::sys::lock::lock;
use crate::sys::stop::Stop;
use crate::sys::thread::caught;

/// What a user wants to be called with.
pub(super) type Callback = Box<dyn Fn(&RecordResult) + Send>;

/// Results on their way to the user's callback, bounded by the intake, whose room they hold.
pub(super) struct Reports {
    shelf: Mutex<Vec<Run>>,
    ring: Sender<()>,
    bell: Receiver<()>,
}

impl Reports {
    pub fn new() -> Reports {
        let (ring, bell) = channel::bounded(1);
        Reports {
            shelf: Mutex::default(),
            ring,
            bell,
        }
    }

    pub fn lay_down(&self, run: Run) {
        lock(&self.shelf).push(run);
        // A bell that already rings needs no second pull.
        let _ = self.ring.try_send(());
    }

    /// Reports until told that no more will come.
    pub fn report_all(&self, shared: &Shared, callback: &Callback, over: &Stop) {
        loop {
            let is_over = over.is_stopped();
            for run in self.clear_shelf() {
                report(&run, callback);
                let mut released = Released::default();
                released.add(&run);
                shared.release(released);
            }
            if is_over {
                return;
            }
            select! {
                recv(self.bell) -> _ => {}
                recv(over.channel()) -> _ => {}
            }
        }
    }

    fn clear_shelf(&self) -> Vec<Run> {
        let mut shelf = lock(&self.shelf);
        std::mem::take(&mut *shelf)
    }
}

/// Calls back for each record, come what may.
fn report(run: &Run, callback: &Callback) {
    for result in run
        .range
        .clone()
        .filter_map(|index| run.group.result(index))
    {
        if let Err(error) = caught("kin-report", || callback(&result)) {
            log::error!("{error}: on_delivery is called for the next record all the same");
        }
    }
}
