use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, TryRecvError, TrySendError, select};

use crate::client::ChildShard;
use crate::consumer::budget::{Account, Room};
use crate::consumer::chunk::Chunk;
use crate::consumer::event_time::Pulse;
use crate::consumer::meters::ShardMeter;
use crate::consumer::record::Event;
use crate::consumer::shard_reader::End;
use crate::consumer::shelf::Bell;
use crate::error::Error;
use crate::model::{Gap, Timestamp};
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// What a shard's thread tells the caller's.
#[derive(Debug)]
pub(super) enum Message {
    /// Records of one answer, in the shard's order.
    Records(Chunk),
    /// Records that will not come, or not as they were meant.
    Gap(Box<Gap>),
    /// Nothing will follow, and rightly so. Who follows the shard, where the service has said it.
    End(End, Vec<ChildShard>),
    /// Nothing will follow, because this went wrong.
    Failed(Error),
    /// Nothing will follow, because of a record; the consumer goes on.
    Halted(Error),
}

/// A shard thread's end of its queue. Sending blocks while the caller is an answer behind, and a
/// blocked thread does not read on: that is the backpressure.
pub(super) struct QueueSender {
    messages: Option<Sender<(Message, Option<Room>)>>,
    complete_to: Arc<AtomicI64>,
    pulse: Arc<Pulse>,
    reports: Arc<Reports>,
    bell: Bell,
    meter: Arc<ShardMeter>,
    stop: Stop,
}

/// The caller's end.
#[derive(Debug)]
pub(super) struct QueueReceiver {
    messages: Receiver<(Message, Option<Room>)>,
    pub meter: Arc<ShardMeter>,
    complete_to: Arc<AtomicI64>,
    pulse: Arc<Pulse>,
    reports: Arc<Reports>,
    account: Arc<Account>,
    /// What the message takes that was found last: the caller is at it until it looks again.
    room: Option<Room>,
}

/// What a look into a queue found.
#[derive(Debug)]
pub(super) enum Look {
    Message(Message),
    Empty,
    /// The thread is gone and said nothing: it must not look like the end of its shard.
    Abandoned,
}

/// Makes a queue for one shard; `bell` tells the caller that something is in it.
///
/// Everything that arrived up to `complete_to` was handed out before.
pub(super) fn queue(
    bell: Bell,
    meter: Arc<ShardMeter>,
    account: Arc<Account>,
    complete_to: Option<Timestamp>,
    stop: Stop,
) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = channel::bounded(ANSWERS_QUEUED);
    let complete_to = complete_to.map_or(UNKNOWN, Timestamp::as_millis);
    let complete_to = Arc::new(AtomicI64::new(complete_to));
    let pulse = Arc::new(Pulse::default());
    let reports = Arc::new(Reports::default());
    let sender = QueueSender {
        messages: Some(sender),
        complete_to: complete_to.clone(),
        pulse: pulse.clone(),
        reports: reports.clone(),
        bell,
        meter: meter.clone(),
        stop,
    };
    let receiver = QueueReceiver {
        messages: receiver,
        meter,
        complete_to,
        pulse,
        reports,
        account,
        room: None,
    };
    (sender, receiver)
}

impl QueueSender {
    /// Blocks until there is room, or until the consumer is stopped. `false` if nobody will ever look again.
    pub fn send(&self, message: Message) -> bool {
        self.send_with(message, None)
    }

    /// The same for a message that takes room until the caller is done with it.
    pub fn send_with(&self, message: Message, room: Option<Room>) -> bool {
        let Some(messages) = &self.messages else {
            return false;
        };
        if let Message::Records(records) = &message {
            self.meter.queued(records);
            // The records themselves say how far it goes, once they are handed out.
            self.complete_to.store(UNKNOWN, Ordering::Release);
        }
        let sent = match messages.try_send((message, room)) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            // The receiver may be anywhere on its way to the caller, who takes no more once stopped.
            Err(TrySendError::Full(unsent)) => select! {
                send(messages, unsent) -> sent => sent.is_ok(),
                recv(self.stop.channel()) -> _ => false,
            },
        };
        self.bell.ring();
        sent
    }

    /// Says, behind everything that was sent so far, that nothing is missing up to this time.
    /// Disturbs nobody.
    pub fn complete(&self, to: Timestamp) {
        self.complete_to.store(to.as_millis(), Ordering::Release);
    }

    /// Tells the caller of the shard beside what is queued, in place of what it was not told yet. Never
    /// blocks: a thread whose calls fail goes on making them.
    pub fn report(&self, event: Event) {
        self.reports.put(event);
        self.bell.ring();
    }

    /// Where to note whether anything happens in the shard: before what happens is sent.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }
}

/// The caller may be waiting for this queue; it has to hear that it was abandoned.
impl Drop for QueueSender {
    fn drop(&mut self) {
        self.messages.take();
        self.bell.ring();
    }
}

impl QueueReceiver {
    pub fn look(&mut self) -> Look {
        self.room = None;
        match self.messages.try_recv() {
            Ok((message, room)) => {
                self.room = room;
                if let Message::Records(records) = &message {
                    self.meter.taken(records);
                }
                Look::Message(message)
            }
            Err(TryRecvError::Empty) => Look::Empty,
            Err(TryRecvError::Disconnected) => Look::Abandoned,
        }
    }

    /// What there is to tell of the shard beside its records.
    pub fn take_report(&self) -> Option<Event> {
        self.reports.take()
    }

    /// Up to when nothing is missing, once all that was found here has been handed out; `None` while
    /// there is more to find, or if records were the last that was found.
    pub fn complete_to(&self) -> Option<Timestamp> {
        // In this order: what is sent behind a time is found behind it.
        let complete_to = self.complete_to.load(Ordering::Acquire);
        let known = complete_to != UNKNOWN && self.messages.is_empty();
        known.then_some(Timestamp::from_millis(complete_to))
    }

    /// For how long it is certain that nothing has happened in the shard.
    pub fn quiet(&self) -> Option<Duration> {
        self.pulse.quiet()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Says that nobody is about to look, or that somebody is again.
    pub fn set_paused(&self, paused: bool) {
        self.account.set_paused(paused);
    }
}

/// The newest report of a shard.
#[derive(Debug, Default)]
struct Reports {
    /// Whether there is one: every look into a queue asks.
    is_full: AtomicBool,
    newest: Mutex<Option<Event>>,
}

impl Reports {
    fn put(&self, event: Event) {
        let mut newest = lock(&self.newest);
        *newest = Some(event);
        self.is_full.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Event> {
        if !self.is_full.load(Ordering::Acquire) {
            return None;
        }
        let mut newest = lock(&self.newest);
        self.is_full.store(false, Ordering::Release);
        newest.take()
    }
}

const UNKNOWN: i64 = i64::MIN;

/// One answer waits while another is handed out and a third is fetched.
const ANSWERS_QUEUED: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::budget::Budget;
    use crate::sys::stop::StopSource;

    #[test]
    fn a_thread_leaves_a_full_queue_when_its_consumer_is_stopped() {
        let (account, stop) = (Budget::new(u64::MAX).account(), StopSource::new());
        let (sender, mut receiver) =
            queue(Bell::new().0, Arc::default(), account, None, stop.stop());
        let end = || Message::End(End::CaughtUp, Vec::new());
        assert!(sender.send(end()), "there is room for one");
        stop.signal();
        assert!(!sender.send(end()));
        assert!(matches!(receiver.look(), Look::Message(_)));
        assert!(matches!(receiver.look(), Look::Empty));
    }
}
