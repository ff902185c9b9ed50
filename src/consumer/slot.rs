use std::time::Duration;

use crate::consumer::chunk::Chunk;
use crate::consumer::event_time::Live;
use crate::consumer::queue::QueueReceiver;
use crate::consumer::record::{Event, Record, Stamp};
use crate::error::{Error, ErrorKind};
use crate::model::{ShardPosition, ShardRef, Timestamp};

/// What a shard's reading has come to, on the caller's side.
#[derive(Debug)]
pub(super) struct Slot {
    pub shard: ShardRef,
    pub queue: QueueReceiver,
    /// What is being handed out.
    pub records: Option<Chunk>,
    pub paused: bool,
    started: ShardPosition,
    /// The place of the last record of what was handed out before, and when it arrived.
    last: Option<(ShardPosition, Timestamp)>,
    /// With what was handed out; [`Timestamp::MIN`] if that says nothing.
    pub watermark: Timestamp,
    /// The watermark has moved since the last look.
    pub has_moved: bool,
    pub is_idle: bool,
    /// The event time of the last record handed out, since there was nothing last.
    pub last_time: Option<Timestamp>,
    /// What it has may not be handed out for now, and takes no room from the others.
    is_held: bool,
}

impl Slot {
    pub fn new(shard: ShardRef, started: ShardPosition, queue: QueueReceiver) -> Slot {
        Slot {
            shard,
            queue,
            records: None,
            paused: false,
            started,
            last: None,
            watermark: Timestamp::MIN,
            has_moved: false,
            is_idle: false,
            last_time: None,
            is_held: false,
        }
    }

    /// Takes an answer, behind the one that has been handed out.
    pub fn take(&mut self, records: Chunk) {
        self.let_go();
        self.records = Some(records);
    }

    /// What is left out counts as handed out when the caller has come past it.
    #[inline]
    pub fn next_record(&mut self) -> Option<Record> {
        loop {
            let records = self.records.as_mut()?;
            let Some(record) = records.next() else {
                self.let_go();
                return None;
            };
            self.note(&record);
            if !record.is_left_out() {
                return Some(record);
            }
        }
    }

    /// All has been handed out: what it takes is no longer needed here.
    #[cold]
    fn let_go(&mut self) {
        let records = self.records.take();
        self.last = records
            .and_then(|records| records.last_place())
            .or(self.last.take());
    }

    #[inline]
    fn note(&mut self, record: &Record) {
        if let Some(stamp) = &record.stamp
            && stamp.watermark > self.watermark
        {
            self.watermark = stamp.watermark;
            self.has_moved = true;
        }
    }

    /// The next record's stamp, once what is left out before it has been passed.
    pub fn head(&mut self) -> Option<Stamp> {
        while self.records.as_ref()?.passes_next() {
            let left_out = self.records.as_mut()?.next()?;
            self.note(&left_out);
        }
        self.records.as_ref()?.head()
    }

    fn has_records(&self) -> bool {
        self.records
            .as_ref()
            .is_some_and(|records| !records.is_empty())
    }

    /// The place of the last record that was handed out, once there is one.
    fn last(&self) -> Option<(ShardPosition, Timestamp)> {
        let records = self.records.as_ref();
        let last = records.and_then(Chunk::last_place);
        last.or_else(|| self.last.clone())
    }

    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.queue.set_paused(self.paused || self.is_held);
    }

    pub fn set_held(&mut self, held: bool) {
        if std::mem::replace(&mut self.is_held, held) != held {
            self.queue.set_paused(self.paused || self.is_held);
        }
    }

    /// Finds out whether anything happens in the shard, and says so if that has changed.
    pub fn look_idle(&mut self, interval: Option<Duration>) -> Option<Event> {
        self.has_moved = false;
        let quiet = interval.and_then(|interval| Some(self.queue.quiet()? >= interval));
        // In this order: what is sent after a quiet time is found after it.
        let is_idle = quiet == Some(true) && self.is_dry();
        let was_idle = std::mem::replace(&mut self.is_idle, is_idle);
        self.queue.meter.watermark(self.watermark, is_idle);
        let shard = self.shard.clone();
        match (was_idle, is_idle) {
            (false, true) => Some(Event::ShardIdle(shard)),
            (true, false) => Some(Event::ShardActive(shard)),
            _ => None,
        }
    }

    /// Nothing of it waits to be handed out.
    fn is_dry(&self) -> bool {
        !self.has_records() && self.queue.is_empty()
    }

    pub fn live(&self) -> Live {
        Live {
            watermark: self.watermark,
            is_idle: self.is_idle,
        }
    }

    pub fn position(&self) -> ShardPosition {
        let last = self.last().map(|(position, _)| position);
        last.unwrap_or_else(|| self.started.clone())
    }

    /// Up to when nothing is missing of what was handed out.
    pub fn complete_to(&self) -> Option<Timestamp> {
        let said = self.queue.complete_to(self.has_records());
        let last = self.last().map(|(_, arrived)| arrived);
        // The epoch stands for an endpoint that does not tell.
        said.max(last.filter(|time| time.as_millis() > 0))
    }

    pub fn abandoned(&self) -> Error {
        let (name, message) = (
            format!("of {}", self.shard),
            "it ended without a word".to_owned(),
        );
        Error::new(ErrorKind::Thread { name, message })
    }
}
