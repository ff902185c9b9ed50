use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
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
    completion: Arc<Mutex<Completion>>,
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
    completion: Arc<Mutex<Completion>>,
    /// How many messages were taken.
    taken: u64,
    pulse: Arc<Pulse>,
    reports: Arc<Reports>,
    account: Arc<Account>,
    /// What the message takes that was found last: the caller is at it until it looks again.
    room: Option<Room>,
}

/// Up to when nothing is missing, once what was sent before that was said has been handed out.
#[derive(Debug, Default)]
struct Completion {
    /// Each with how many messages were sent before: the newest that may count, and those to come.
    times: VecDeque<(Timestamp, u64)>,
    /// How many messages were sent.
    sent: u64,
}

impl Completion {
    fn complete(&mut self, to: Option<Timestamp>) {
        let Some(to) = to else {
            return self.times.clear();
        };
        self.times.pop_back_if(|(_, behind)| *behind == self.sent);
        self.times.push_back((to, self.sent));
        if self.times.len() > TIMES_MAX {
            self.times.pop_front();
        }
    }

    fn complete_to(&self, handed_out: u64) -> Option<Timestamp> {
        let mut times = self.times.iter().rev();
        let (to, _) = times.find(|(_, behind)| *behind <= handed_out)?;
        Some(*to)
    }
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
    let mut completion = Completion::default();
    completion.complete(complete_to);
    let completion = Arc::new(Mutex::new(completion));
    let pulse = Arc::new(Pulse::default());
    let reports = Arc::new(Reports::default());
    let sender = QueueSender {
        messages: Some(sender),
        completion: completion.clone(),
        pulse: pulse.clone(),
        reports: reports.clone(),
        bell,
        meter: meter.clone(),
        stop,
    };
    let receiver = QueueReceiver {
        messages: receiver,
        meter,
        completion,
        taken: 0,
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
        }
        // Before it can be found: a time that is said later is behind it.
        lock(&self.completion).sent += 1;
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

    /// Says, behind everything that was sent so far, that nothing is missing up to this time, or that this
    /// is not known any more. Disturbs nobody.
    pub fn complete(&self, to: impl Into<Option<Timestamp>>) {
        lock(&self.completion).complete(to.into());
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
                (self.room, self.taken) = (room, self.taken + 1);
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

    /// Up to when nothing is missing, if what was sent before that was said has been handed out: all that
    /// was taken, but for the last message while the caller is at it. It stays so for what follows.
    pub fn complete_to(&self, is_at_last: bool) -> Option<Timestamp> {
        let handed_out = self.taken - u64::from(is_at_last);
        lock(&self.completion).complete_to(handed_out)
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

/// One that counts, and one for each message that may be under way: with the caller, and in the queue.
const TIMES_MAX: usize = ANSWERS_QUEUED + 2;

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
