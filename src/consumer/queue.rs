use std::sync::Arc;

use crossbeam::channel::{self, Receiver, SendError, Sender, TryRecvError};

use crate::consumer::meters::ShardMeter;
use crate::consumer::record::Record;
use crate::consumer::shard_reader::End;
use crate::consumer::shelf::Bell;
use crate::error::Error;

/// What a shard's thread tells the caller's.
#[derive(Debug)]
pub(super) enum Message {
    /// Records of one answer, in the shard's order.
    Records(Vec<Record>),
    /// Nothing will follow, and rightly so.
    End(End),
    /// Nothing will follow, because this went wrong.
    Failed(Error),
    /// Nothing will follow, because of a record; the consumer goes on.
    Halted(Error),
}

/// A shard thread's end of its queue. Sending blocks while the caller is an answer behind, and a
/// blocked thread does not read on: that is the backpressure.
pub(super) struct QueueSender {
    messages: Option<Sender<Message>>,
    bell: Bell,
    meter: Arc<ShardMeter>,
}

/// The caller's end.
#[derive(Debug)]
pub(super) struct QueueReceiver {
    messages: Receiver<Message>,
    meter: Arc<ShardMeter>,
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
pub(super) fn queue(bell: Bell, meter: Arc<ShardMeter>) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = channel::bounded(ANSWERS_QUEUED);
    (
        QueueSender {
            messages: Some(sender),
            bell,
            meter: meter.clone(),
        },
        QueueReceiver {
            messages: receiver,
            meter,
        },
    )
}

impl QueueSender {
    /// Blocks until there is room. `false` if nobody will ever look again.
    pub fn send(&self, message: Message) -> bool {
        let Some(messages) = &self.messages else {
            return false;
        };
        if let Message::Records(records) = &message {
            self.meter.queued(records);
        }
        let sent = messages.send(message);
        self.bell.ring();
        !matches!(sent, Err(SendError(_)))
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
    pub fn look(&self) -> Look {
        match self.messages.try_recv() {
            Ok(message) => {
                if let Message::Records(records) = &message {
                    self.meter.taken(records);
                }
                Look::Message(message)
            }
            Err(TryRecvError::Empty) => Look::Empty,
            Err(TryRecvError::Disconnected) => Look::Abandoned,
        }
    }
}

/// One answer waits while another is handed out and a third is fetched.
const ANSWERS_QUEUED: usize = 1;
