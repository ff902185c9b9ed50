//! The emitter where shards are held together in event time: the oldest record is next, and not a
//! whole answer.

use std::time::Instant;

use crate::consumer::emitter::{Emitter, Next};
use crate::consumer::event_time::{Alignment, Awaited, Head, Local};
use crate::consumer::queue::{Look, Message};
use crate::consumer::record::Record;
use crate::consumer::slot::Slot;
use crate::model::Timestamp;

impl Emitter {
    pub(super) fn is_aligned(&self) -> bool {
        self.alignment().is_some()
    }

    fn alignment(&self) -> Option<&Alignment> {
        self.event_time.as_ref()?.alignment.as_ref()
    }

    /// Goes on with the shard whose turn it is, unless another one's record is older by now, or too
    /// far ahead.
    pub(super) fn next_in_aligned_turn(&mut self) -> Option<Record> {
        let until = self.until?;
        let event_time = self.event_time.as_ref()?;
        let alignment = event_time.alignment.as_ref()?;
        let slot = self.slots.get_mut(self.turn)?;
        let next = slot.head().filter(|_| !slot.paused)?;
        let is_in_turn = alignment.time_of(next, slot.last_time) <= until;
        (is_in_turn && !alignment.is_outdated()).then(|| hand_out(slot))?
    }

    pub(super) fn next_aligned_turn(&mut self) -> Next {
        self.until = None;
        if let Some(next) = self.fill() {
            return next;
        }
        let (heads, awaited) = (self.heads(), self.awaited());
        let event_time = self.event_time.as_mut();
        let alignment = event_time.and_then(|event_time| event_time.alignment.as_mut());
        let Some(alignment) = alignment else {
            return self.nothing();
        };
        let turn = alignment.choose(&heads, awaited);
        for head in &heads {
            let has_turn = turn.is_some_and(|turn| turn.slot == head.slot);
            let is_held = alignment.is_beyond(head) && !has_turn;
            self.slots[head.slot].set_held(is_held);
        }
        let Some(turn) = turn else {
            return self.nothing();
        };
        (self.turn, self.until) = (turn.slot, Some(turn.until));
        hand_out(&mut self.slots[turn.slot]).map_or(Next::Nothing, Next::Record)
    }

    /// Looks for the next record of every shard; what is no record is told first.
    fn fill(&mut self) -> Option<Next> {
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.paused || slot.head().is_some() {
                continue;
            }
            self.turn = at;
            match slot.queue.look() {
                Look::Empty => {
                    slot.last_time = None;
                    if let Some(report) = self.take_report() {
                        return Some(report);
                    }
                }
                Look::Message(Message::Records(records)) => {
                    slot.take(records);
                    if let Some(awake) = self.wake() {
                        return Some(awake);
                    }
                }
                other => return Some(self.take_other(other)),
            }
        }
        None
    }

    fn heads(&mut self) -> Vec<Head> {
        let event_time = self.event_time.as_ref();
        let alignment = event_time.and_then(|event_time| event_time.alignment.as_ref());
        let Some(alignment) = alignment else {
            return Vec::new();
        };
        let head = |(at, slot): (usize, &mut Slot)| {
            let next = slot.head().filter(|_| !slot.paused)?;
            Some(Head {
                slot: at,
                time: alignment.time_of(next, slot.last_time),
                watermark: next.watermark.max(slot.watermark),
            })
        };
        self.slots.iter_mut().enumerate().filter_map(head).collect()
    }

    /// How far this consumer is, its next records included, and how far those are that have none.
    fn awaited(&mut self) -> Awaited {
        let mut lowest = None;
        let mut all = Vec::new();
        // A shard that the caller has paused is not waited for.
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| !slot.paused && !slot.is_idle)
        {
            let head = slot.head();
            let watermark = head.map_or(slot.watermark, |head| head.watermark.max(slot.watermark));
            all.push(watermark);
            if head.is_none() {
                lowest = Some(lowest.map_or(watermark, |lowest: Timestamp| lowest.min(watermark)));
            }
        }
        if let Some(event_time) = &self.event_time {
            let coming = event_time.lineage.coming().min();
            all.extend(coming);
            lowest = lowest.into_iter().chain(coming).min();
        }
        let is_joining = self.alignment().is_some_and(Alignment::is_joining);
        let local = local(&all, is_joining);
        Awaited { local, lowest }
    }

    /// When to look for what has become due.
    pub(super) fn event_time_due(&self) -> Option<Instant> {
        self.event_time.as_ref().map(|event_time| event_time.due())
    }
}

fn hand_out(slot: &mut Slot) -> Option<Record> {
    let record = slot.next_record()?;
    slot.last_time = Some(record.event_time());
    Some(record)
}

/// Who has not said yet how far it is does not count, but is waited for before all others are asked.
fn local(watermarks: &[Timestamp], is_joining: bool) -> Local {
    let known = watermarks.iter().filter(|at| **at > Timestamp::MIN);
    match known.clone().min() {
        _ if watermarks.is_empty() => Local::Idle,
        _ if is_joining && known.count() < watermarks.len() => Local::Unknown,
        Some(lowest) => Local::At(*lowest),
        None => Local::Unknown,
    }
}
