use std::sync::Arc;
use std::time::Duration;
use std::vec;

use crate::consumer::event_time::Live;
use crate::consumer::queue::QueueReceiver;
use crate::consumer::record::{Event, Origin, Record, Stamp};
use crate::error::{Error, ErrorKind};
use crate::model::{ShardPosition, ShardRef, Timestamp};

/// What a shard's reading has come to, on the caller's side.
#[derive(Debug)]
pub(super) struct Slot {
    pub shard: ShardRef,
    pub queue: QueueReceiver,
    pub records: vec::IntoIter<Record>,
    pub paused: bool,
    started: ShardPosition,
    /// The last record handed out, once there is one.
    last: Option<(Arc<Origin>, Option<u64>)>,
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
            records: Vec::new().into_iter(),
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

    /// What is left out counts as handed out when the caller has come past it.
    pub fn next_record(&mut self) -> Option<Record> {
        loop {
            let record = self.records.next()?;
            self.note(&record);
            if !record.is_left_out() {
                return Some(record);
            }
        }
    }

    fn note(&mut self, record: &Record) {
        match &mut self.last {
            Some((origin, sub)) if Arc::ptr_eq(origin, &record.origin) => {
                *sub = record.sub_sequence_number();
            }
            last => *last = Some((record.origin.clone(), record.sub_sequence_number())),
        }
        if record.stamp.watermark > self.watermark {
            self.watermark = record.stamp.watermark;
            self.has_moved = true;
        }
    }

    /// The next record's stamp, once what is left out before it has been passed.
    pub fn head(&mut self) -> Option<Stamp> {
        while self.records.as_slice().first()?.is_left_out() {
            let left_out = self.records.next()?;
            self.note(&left_out);
        }
        self.records.as_slice().first().map(|record| record.stamp)
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
        self.records.as_slice().is_empty() && self.queue.is_empty()
    }

    pub fn live(&self) -> Live {
        Live {
            watermark: self.watermark,
            is_idle: self.is_idle,
        }
    }

    pub fn position(&self) -> ShardPosition {
        let Some((origin, sub_sequence_number)) = &self.last else {
            return self.started.clone();
        };
        let sequence_number = origin.sequence_number.clone();
        ShardPosition::After {
            sequence_number,
            sub_sequence_number: *sub_sequence_number,
        }
    }

    /// Up to when nothing is missing of what was handed out.
    pub fn complete_to(&self) -> Option<Timestamp> {
        let idle = self.queue.complete_to();
        let idle = idle.filter(|_| self.records.as_slice().is_empty());
        let last = self.last.as_ref();
        let last = last.map(|(origin, _)| origin.approximate_arrival);
        // The epoch stands for an endpoint that does not tell.
        idle.max(last.filter(|time| time.as_millis() > 0))
    }

    pub fn abandoned(&self) -> Error {
        let (name, message) = (
            format!("of {}", self.shard),
            "it ended without a word".to_owned(),
        );
        Error::new(ErrorKind::Thread { name, message })
    }
}
