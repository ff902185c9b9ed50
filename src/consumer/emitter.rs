use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::client::ChildShard;
use crate::consumer::checkpoint::{Checkpoint, Origins, Replaced, Subtasks, age};
use crate::consumer::discovery::Place;
use crate::consumer::event_time::{EventTime, Lineage, Parents};
use crate::consumer::listing::Listed;
use crate::consumer::queue::{Look, Message, QueueReceiver};
use crate::consumer::record::{Event, Record};
use crate::consumer::shard_reader::End;
use crate::consumer::slot::Slot;
use crate::error::Error;
use crate::model::{Gap, ShardId, ShardPosition, ShardRef, Timestamp};

/// Chooses which record comes next and owns all positions. Lives in the caller's thread, so that a
/// checkpoint needs no lock and cannot catch a record half-way.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    pub(super) slots: Vec<Slot>,
    pub(super) turn: usize,
    /// Positions of the shards that are not being read: waiting for parents, caught up or ended.
    resting: BTreeMap<ShardRef, ShardPosition>,
    /// Shards that have ended, or were read up to their bounds, and whose children are not known yet.
    childless: BTreeSet<ShardRef>,
    /// Whether others of its group may leave it a shard yet.
    is_expecting: bool,
    /// Restored positions of shards that no listing has shown yet.
    hidden: BTreeSet<ShardRef>,
    /// Shards that the caller does not want to hear of for now.
    paused: BTreeSet<ShardRef>,
    /// Up to when nothing is missing of the shards that are not being read.
    times: BTreeMap<ShardRef, Timestamp>,
    /// When the shards of each stream were listed last.
    listed: BTreeMap<Arc<str>, Timestamp>,
    /// The last listing of each stream.
    shown: BTreeMap<Arc<str>, Arc<Listed>>,
    newest: BTreeMap<Arc<str>, ShardId>,
    /// Since when each stream is read: merged with an older checkpoint, shards may be found that opened before that.
    starts: BTreeMap<Arc<str>, Timestamp>,
    origins: Origins,
    /// Shards of streams that were made anew, until the caller knows what was lost of them.
    replaced: BTreeMap<ShardRef, Replaced>,
    /// Shards whose origins the next listing says.
    unidentified: BTreeSet<ShardRef>,
    /// Which subtask this is.
    subtasks: Subtasks,
    /// If somebody asks for it.
    pub(super) event_time: Option<EventTime>,
    /// Where shards are held together in event time: up to when the turn lasts.
    pub(super) until: Option<Timestamp>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Record(Record),
    /// A shard was handed out to its end, with its watermark and those that follow it.
    Ended(ShardRef, Timestamp, Vec<ChildShard>),
    /// A shard is read no further: it has caught up.
    Rested(ShardRef),
    Gap(Gap),
    Failed(Error),
    /// A shard's thread ended without an end or an error: it panicked, or was told to stop.
    Abandoned(Error),
    /// A shard is read no further, because of a record behind its position.
    Halted(ShardRef, Error),
    /// A shard that was idle has records, or its calls fail or succeed again: this is to be told before
    /// the next record.
    Awake(Vec<Event>),
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more.
    Done,
}

impl Emitter {
    /// `childless` are shards that ended in an earlier run, and whose children are not listed yet.
    ///
    /// What was restored stays in the checkpoint until something newer is known of its shard: a
    /// listing may lag behind, and a position that is lost means reading the shard again.
    pub fn new(restored: Checkpoint, childless: Vec<ShardRef>) -> Emitter {
        Emitter {
            resting: restored.shards,
            times: restored.times,
            listed: restored.listed,
            newest: restored.newest,
            origins: restored.origins,
            childless: childless.into_iter().collect(),
            ..Emitter::default()
        }
    }

    /// Says what its checkpoints are to say beside positions: since when the streams are read, and by
    /// which subtask.
    pub fn set_reader(&mut self, starts: BTreeMap<Arc<str>, Timestamp>, subtasks: Subtasks) {
        self.starts = starts;
        self.subtasks = subtasks;
    }

    /// Says what its checkpoints are to say of streams that were made anew, until the caller knows.
    pub fn set_replaced(&mut self, replaced: impl Iterator<Item = (ShardRef, Replaced)>) {
        self.replaced = replaced.collect();
    }

    /// The caller knows that a shard's stream was made anew.
    pub fn on_told_anew(&mut self, shard: &ShardRef) {
        self.replaced.remove(shard);
    }

    /// Looks at event time from now on. Shards whose children are not listed yet hold the watermark.
    pub fn set_event_time(&mut self, event_time: Option<EventTime>) {
        let childless = self.childless.clone();
        self.event_time = event_time;
        self.on_lineage(|lineage| lineage.childless(childless));
    }

    pub fn start(&mut self, shard: ShardRef, position: ShardPosition, queue: QueueReceiver) {
        self.resting.remove(&shard);
        self.hidden.remove(&shard);
        // It may be the first of its name that ended, and this one the first of a new stream's.
        self.childless.remove(&shard);
        let paused = self.paused.contains(&shard);
        let mut slot = Slot::new(shard, position, queue);
        slot.set_paused(paused);
        if let Some(event_time) = &mut self.event_time {
            slot.watermark = event_time.lineage.start(&slot.shard);
        }
        self.slots.push(slot);
    }

    pub fn know(&mut self, shard: ShardRef, (position, complete_to): Place) {
        self.on_lineage(|lineage| lineage.known(&shard, &position));
        self.hidden.remove(&shard);
        self.times.remove(&shard);
        self.times
            .extend(complete_to.map(|time| (shard.clone(), time)));
        self.resting.insert(shard.clone(), position);
        self.identify(shard);
    }

    /// Takes what the next listing says of a shard, in place of what was known of it.
    pub fn identify(&mut self, shard: ShardRef) {
        self.origins.remove(&shard);
        self.unidentified.insert(shard);
    }

    /// Keeps the end off until each of these is known to be there, or gone.
    pub fn expect(&mut self, hidden: impl IntoIterator<Item = ShardRef>) {
        self.hidden.extend(hidden);
        let hidden = self.hidden.clone();
        self.on_lineage(|lineage| lineage.hidden(hidden));
    }

    /// A listing says who comes from whom.
    pub fn learn_parents(&mut self, stream: &Arc<str>, parents: &[Parents]) {
        self.on_lineage(|lineage| lineage.listed(stream, parents));
    }

    /// The end of a shard says who follows it.
    pub fn learn_birth(&mut self, child: ShardRef, parents: &[ShardId]) {
        self.on_lineage(|lineage| lineage.born(child, parents));
    }

    /// Another one of the group has read a shard to its end.
    pub fn learn_end(&mut self, shard: ShardRef, watermark: Timestamp) {
        self.on_lineage(|lineage| lineage.leave(shard, watermark));
    }

    fn on_lineage(&mut self, change: impl FnOnce(&mut Lineage)) {
        if let Some(event_time) = &mut self.event_time {
            change(&mut event_time.lineage);
        }
    }

    /// Waits for what others of its group may leave it, until told that there will be nothing.
    pub fn set_expecting(&mut self, is_expecting: bool) {
        self.is_expecting = is_expecting;
    }

    /// Leaves a shard to the consumer that reads it.
    pub fn forget(&mut self, shard: &ShardRef) {
        self.on_lineage(|lineage| lineage.forget(shard));
        self.hidden.remove(shard);
        self.resting.remove(shard);
        self.times.remove(shard);
        self.origins.remove(shard);
        self.unidentified.remove(shard);
    }

    /// Takes a shard that is gone for ended.
    pub fn vanish(&mut self, shard: ShardRef) {
        self.on_lineage(|lineage| lineage.vanish(&shard));
        self.hidden.remove(&shard);
        self.resting.insert(shard, ShardPosition::ShardEnd);
    }

    /// Passes a shard over, or does not any more.
    pub fn set_paused(&mut self, shard: &ShardRef, paused: bool) {
        match paused {
            true => self.paused.insert(shard.clone()),
            false => self.paused.remove(shard),
        };
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.shard == *shard) {
            slot.set_paused(paused);
        }
    }

    /// The children of an ended shard are known.
    pub fn settle(&mut self, shard: &ShardRef) {
        self.on_lineage(|lineage| lineage.settled(shard));
        self.childless.remove(shard);
    }

    /// Takes note of a listing, and forgets the ended shards that have outlived the retention.
    ///
    /// A listing may lag behind and lack shards that are new, and were the end of one forgotten, it
    /// would be read again from its beginning. The service counts shards up: a listing that has a
    /// newer shard than one it lacks is not late, and the one is gone for good.
    pub fn on_listing(&mut self, stream: Arc<str>, now: Timestamp, listed: Arc<Listed>) {
        let is_same = |last: &Arc<Listed>| Arc::ptr_eq(last, &listed);
        // There may be a hundred thousand shards, and mostly nothing has changed.
        if !self.shown.get(&stream).is_some_and(is_same) {
            self.prune(&stream, &listed);
            let newest = listed.keys().max_by_key(|id| age(id)).cloned();
            let newest = newest.map(|newest| (stream.clone(), newest));
            self.newest.extend(newest);
        }
        self.unidentified.retain(|shard| {
            let origin = listed
                .get(&shard.shard_id)
                .filter(|_| shard.stream == stream);
            origin.is_none_or(|origin| {
                self.origins.insert(shard.clone(), origin.clone());
                false
            })
        });
        self.shown.insert(stream.clone(), listed);
        self.listed.insert(stream, now);
    }

    fn prune(&mut self, stream: &Arc<str>, listed: &Listed) {
        let newest = listed.keys().map(age).max();
        let childless = &self.childless;
        self.resting.retain(|shard, position| {
            shard.stream != *stream
                || *position != ShardPosition::ShardEnd
                || childless.contains(shard)
                || listed.contains_key(&shard.shard_id)
                || newest < Some(age(&shard.shard_id))
        });
        let resting = &self.resting;
        let reading: BTreeSet<_> = self.slots.iter().map(|slot| &slot.shard).collect();
        let is_kept = |shard: &ShardRef| resting.contains_key(shard) || reading.contains(shard);
        self.times.retain(|shard, _| is_kept(shard));
        self.origins.retain(is_kept);
        if let Some(event_time) = &mut self.event_time {
            event_time.lineage.prune(is_kept);
        }
    }

    /// How far event time has come: nothing earlier will follow, but for late records.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.event_time.as_ref()?.watermark()
    }

    /// Says whether each record may change what is to be told of event time before the next.
    pub fn is_watched(&self) -> bool {
        let event_time = self.event_time.as_ref();
        event_time.is_some_and(EventTime::is_watched)
    }

    /// Looks at event time if it is time to, and says what has changed.
    pub fn look_at_event_time(&mut self, now: Instant) -> Vec<Event> {
        let last = self.slots.get(self.turn);
        match &mut self.event_time {
            Some(event_time) if event_time.is_due(last, now) => {
                event_time.look(&mut self.slots, now)
            }
            _ => Vec::new(),
        }
    }

    /// Takes the next record of the answer that is being handed out.
    #[inline]
    pub fn next_in_turn(&mut self) -> Option<Record> {
        if self.is_aligned() {
            return self.next_in_aligned_turn();
        }
        let slot = self.slots.get_mut(self.turn)?;
        (!slot.paused).then(|| slot.next_record())?
    }

    /// Gives the turn to the next shard that has something.
    ///
    /// A turn is an answer: the shards take them in circles, so none is left behind.
    pub fn next_turn(&mut self) -> Next {
        if self.is_aligned() {
            return self.next_aligned_turn();
        }
        for _ in 0..self.slots.len() {
            self.turn = (self.turn + 1) % self.slots.len().max(1);
            match self.look() {
                Next::Nothing => {}
                next => return next,
            }
        }
        self.nothing()
    }

    /// Nothing at the moment, or nothing any more.
    pub(super) fn nothing(&self) -> Next {
        match self.is_done() {
            true => Next::Done,
            false => Next::Nothing,
        }
    }

    /// Looks into the queue of the shard whose turn it is.
    fn look(&mut self) -> Next {
        let slot = self.slots.get_mut(self.turn).filter(|slot| !slot.paused);
        let Some(slot) = slot else {
            return Next::Nothing;
        };
        // Left over from before a pause.
        if let Some(record) = slot.next_record() {
            return Next::Record(record);
        }
        match slot.queue.look() {
            Look::Message(Message::Records(records)) => {
                slot.take(records);
                self.take_turn()
            }
            Look::Empty => self.take_report().unwrap_or(Next::Nothing),
            look => self.take_other(look),
        }
    }

    /// What there is to tell of the shard whose turn it is, beside its records.
    pub(super) fn take_report(&self) -> Option<Next> {
        let report = self.slots.get(self.turn)?.queue.take_report()?;
        Some(Next::Awake(vec![report]))
    }

    /// Takes in what is no record.
    pub(super) fn take_other(&mut self, look: Look) -> Next {
        match look {
            Look::Message(Message::Gap(gap)) => Next::Gap(*gap),
            Look::Message(Message::End(end, children)) => self.end_turn(end, children),
            Look::Message(Message::Halted(error)) => self.halt_turn(error),
            Look::Message(Message::Failed(error)) => Next::Failed(error),
            Look::Abandoned => Next::Abandoned(self.slots[self.turn].abandoned()),
            Look::Message(Message::Records(_)) | Look::Empty => Next::Nothing,
        }
    }

    /// Hands out the first record of an answer.
    fn take_turn(&mut self) -> Next {
        if let Some(awake) = self.wake() {
            return awake;
        }
        let record = self.slots.get_mut(self.turn).and_then(Slot::next_record);
        record.map_or(Next::Nothing, Next::Record)
    }

    /// The shard whose turn it is has something: says so if it was idle.
    pub(super) fn wake(&mut self) -> Option<Next> {
        let slot = self.slots.get_mut(self.turn)?;
        let event_time = self.event_time.as_mut()?;
        let was_idle = std::mem::take(&mut slot.is_idle);
        was_idle.then(|| Next::Awake(event_time.wake(&slot.shard)))
    }

    /// Every position as of the last record handed out.
    pub fn checkpoint(&self) -> Checkpoint {
        let reading = self
            .slots
            .iter()
            .map(|slot| (slot.shard.clone(), slot.position()));
        let resting = self
            .resting
            .iter()
            .map(|(shard, position)| (shard.clone(), position.clone()));
        let mut times = self.times.clone();
        for slot in &self.slots {
            note_time(&mut times, slot);
        }
        let mut checkpoint = Checkpoint {
            shards: reading.chain(resting).collect(),
            times,
            listed: self.listed.clone(),
            newest: self.newest.clone(),
            starts: self.starts.clone(),
            origins: self.origins.clone(),
            replaced: self.replaced.clone(),
            subtasks: self.subtasks.clone(),
            ..Checkpoint::default()
        };
        if let Some(event_time) = &self.event_time {
            checkpoint.watermark = event_time.watermark();
            let reading = self.slots.iter().map(|slot| (&slot.shard, &slot.watermark));
            let resting = event_time.lineage.watermarks().iter();
            let known = reading
                .chain(resting)
                .filter(|(_, at)| **at > Timestamp::MIN);
            checkpoint.watermarks = known.map(|(shard, at)| (shard.clone(), *at)).collect();
        }
        checkpoint
    }

    /// Takes the shard whose turn it is out of the circle.
    fn end_turn(&mut self, end: End, children: Vec<ChildShard>) -> Next {
        let slot = self.slots.swap_remove(self.turn);
        note_time(&mut self.times, &slot);
        match end {
            End::CaughtUp => {
                self.on_lineage(|lineage| lineage.rest(&slot.shard, slot.watermark));
                let position = slot.position();
                self.resting.insert(slot.shard.clone(), position);
                // Until discovery says whether any child lies within its own bound.
                self.childless.insert(slot.shard.clone());
                Next::Rested(slot.shard)
            }
            End::ShardEnd => {
                self.on_lineage(|lineage| lineage.end(&slot.shard, slot.watermark));
                self.resting
                    .insert(slot.shard.clone(), ShardPosition::ShardEnd);
                self.childless.insert(slot.shard.clone());
                Next::Ended(slot.shard, slot.watermark, children)
            }
        }
    }

    /// Takes the shard whose turn it is out of the circle. It never ends, so its children never start.
    fn halt_turn(&mut self, error: Error) -> Next {
        let slot = self.slots.swap_remove(self.turn);
        let (shard, position) = (slot.shard.clone(), slot.position());
        note_time(&mut self.times, &slot);
        if let Some(event_time) = &mut self.event_time {
            event_time.halt(&shard, slot.watermark);
        }
        self.resting.insert(shard.clone(), position);
        Next::Halted(shard, error)
    }

    /// A shard waiting for its parents cannot be left: its parents are being read, or their end
    /// is on its way to discovery. Where others of a group read them, discovery says when it is over.
    fn is_done(&self) -> bool {
        let is_waiting = self.is_expecting || !self.childless.is_empty() || !self.hidden.is_empty();
        self.slots.is_empty() && !is_waiting
    }
}

/// Notes up to when nothing is missing of a shard.
fn note_time(times: &mut BTreeMap<ShardRef, Timestamp>, slot: &Slot) {
    match (slot.complete_to(), slot.position()) {
        (Some(time), _) => {
            times.insert(slot.shard.clone(), time);
        }
        // What is known from before its first record says since when it was waited for.
        (None, ShardPosition::After { .. }) => {
            times.remove(&slot.shard);
        }
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use std::time::Duration;

    use super::*;
    use crate::aggregation::{self, SubRecord};
    use crate::client::RawRecord;
    use crate::config::ConsumerConfig;
    use crate::consumer::budget::Budget;
    use crate::consumer::checkpoint::Origin;
    use crate::consumer::chunk::Chunk;
    use crate::consumer::queue::{QueueSender, queue};
    use crate::consumer::shelf::Bell;
    use crate::error::ErrorKind;
    use crate::model::{GapCause, HashKeyRange, Shard, StartPosition};
    use crate::sys::stop::Stop;

    fn shard(name: &str) -> ShardRef {
        ShardRef::new("orders", name)
    }

    /// One Kinesis record with as many user records `name`-`number` as `subs` says; a plain one for 0.
    fn raw(name: &str, number: u64, subs: usize) -> RawRecord {
        let data = format!("{name}-{number}");
        let aggregate = vec![SubRecord::new("key", data.clone()); subs];
        RawRecord {
            data: match subs {
                0 => data.into(),
                _ => aggregation::encode(&aggregate),
            },
            partition_key: "key".into(),
            sequence_number: number.to_string().parse().expect("a number"),
            approximate_arrival: Timestamp::default(),
        }
    }

    /// An answer of Kinesis records with these numbers and user records.
    fn records(name: &str, numbers: &[(u64, usize)]) -> Message {
        let raw = numbers
            .iter()
            .map(|(number, subs)| raw(name, *number, *subs));
        Message::Records(Chunk::for_tests(&shard(name), raw.collect()))
    }

    const START: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn emitter(names: &[&str]) -> (Emitter, Vec<QueueSender>) {
        let mut emitter = Emitter::new(Checkpoint::default(), Vec::new());
        let mut senders = Vec::new();
        for name in names {
            emitter.know(shard(name), (START, None));
            senders.push(start(&mut emitter, name));
        }
        (emitter, senders)
    }

    fn start(emitter: &mut Emitter, name: &str) -> QueueSender {
        let account = Budget::new(u64::MAX).account();
        let (sender, receiver) = queue(Bell::new().0, Arc::default(), account, None, Stop::never());
        emitter.start(shard(name), START, receiver);
        sender
    }

    fn millis(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const WATERMARK_INTERVAL: Duration = Duration::from_millis(200);

    /// Event time that was looked at last at `now`, and the restored watermarks of shards.
    fn event_time(now: Instant, interval: Duration, restored: &[(&str, i64)]) -> EventTime {
        let config = ConsumerConfig::builder().watermark_interval(interval);
        let restored = restored.iter();
        let restored = restored.map(|(name, at)| (shard(name), millis(*at)));
        let restored = (None, restored.collect());
        let config = config.build().expect("valid");
        EventTime::new(&config, restored, None, Arc::default(), now)
    }

    fn next(emitter: &mut Emitter) -> Next {
        let record = emitter.next_in_turn().map(Next::Record);
        record.unwrap_or_else(|| emitter.next_turn())
    }

    fn said(next: Next) -> String {
        match next {
            Next::Record(record) => String::from_utf8_lossy(record.data()).into_owned(),
            Next::Ended(shard, ..) => format!("end of {}", shard.shard_id),
            Next::Rested(shard) => format!("rest of {}", shard.shard_id),
            Next::Gap(gap) => format!("gap in {}", gap.shard.shard_id),
            Next::Failed(error) | Next::Abandoned(error) => error.to_string(),
            Next::Halted(shard, error) => format!("halt of {}: {error}", shard.shard_id),
            Next::Awake(events) => format!("{events:?}"),
            Next::Nothing => "nothing".to_owned(),
            Next::Done => "done".to_owned(),
        }
    }

    fn at(name: &str, emitter: &Emitter) -> ShardPosition {
        emitter
            .checkpoint()
            .position(&shard(name))
            .expect("a position")
            .clone()
    }

    fn after(number: u64, sub_sequence_number: Option<u64>) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number.to_string().parse().expect("a number"),
            sub_sequence_number,
        }
    }

    fn sorted<const N: usize>(mut said: [String; N]) -> [String; N] {
        said.sort();
        said
    }

    #[test]
    fn shards_take_turns_by_answers_and_keep_their_order() {
        let (mut emitter, queues) = emitter(&["a", "b"]);
        for (queue, name) in queues.iter().zip(["a", "b"]) {
            queue.send(records(name, &[(1, 0), (2, 0)]));
        }
        let mut turns = [(); 2].map(|()| [(); 2].map(|()| said(next(&mut emitter))));
        turns.sort();
        assert_eq!(turns, [["a-1", "a-2"], ["b-1", "b-2"]]);
        assert_eq!(said(next(&mut emitter)), "nothing");
    }

    #[test]
    fn a_checkpoint_covers_what_was_handed_out_and_no_more() {
        let (mut emitter, queues) = emitter(&["a"]);
        queues[0].send(records("a", &[(7, 2), (8, 0)]));
        assert_eq!(at("a", &emitter), START);
        for position in [after(7, Some(0)), after(7, Some(1)), after(8, None)] {
            assert!(matches!(next(&mut emitter), Next::Record(_)));
            assert_eq!(at("a", &emitter), position);
        }
    }

    #[test]
    fn the_end_of_a_shard_counts_once_its_last_record_is_handed_out() {
        let (mut emitter, queues) = emitter(&["a"]);
        queues[0].send(records("a", &[(1, 0)]));
        assert_eq!(said(next(&mut emitter)), "a-1");
        queues[0].send(Message::End(End::ShardEnd, Vec::new()));
        assert_eq!(at("a", &emitter), after(1, None));
        assert_eq!(said(next(&mut emitter)), "end of a");
        assert_eq!(at("a", &emitter), ShardPosition::ShardEnd);
        assert_eq!(
            said(next(&mut emitter)),
            "nothing",
            "its children are not known yet"
        );
        emitter.settle(&shard("a"));
        assert_eq!(said(next(&mut emitter)), "done");
    }

    #[test]
    fn a_shard_that_caught_up_keeps_its_position() {
        let (mut emitter, queues) = emitter(&["a", "b"]);
        queues[0].send(records("a", &[(1, 0)]));
        assert_eq!(said(next(&mut emitter)), "a-1");
        for queue in &queues {
            queue.send(Message::End(End::CaughtUp, Vec::new()));
        }
        let rests = [said(next(&mut emitter)), said(next(&mut emitter))];
        assert_eq!(sorted(rests), ["rest of a", "rest of b"]);
        emitter.settle(&shard("a"));
        assert_eq!(said(next(&mut emitter)), "nothing", "of the children of b");
        emitter.settle(&shard("b"));
        emitter.set_expecting(true);
        assert_eq!(said(next(&mut emitter)), "nothing", "of its group");
        emitter.set_expecting(false);
        assert_eq!(said(next(&mut emitter)), "done");
        assert_eq!(
            (at("a", &emitter), at("b", &emitter)),
            (after(1, None), START)
        );
    }

    #[test]
    fn a_thread_that_vanishes_is_no_end_of_its_shard() {
        let (mut emitter, queues) = emitter(&["a"]);
        queues[0].send(records("a", &[(1, 0)]));
        drop(queues);
        assert_eq!(said(next(&mut emitter)), "a-1");
        assert_eq!(
            said(next(&mut emitter)),
            "thread of stream orders, shard a died: it ended without a word"
        );
    }

    #[test]
    fn a_paused_shard_is_passed_over_with_all_it_has() {
        let (mut emitter, queues) = emitter(&["a", "b"]);
        let two = records("a", &[(1, 0), (2, 0)]);
        queues[0].send(two);
        while said(next(&mut emitter)) != "a-1" {}
        emitter.set_paused(&shard("a"), true);
        queues[0].send(Message::End(End::ShardEnd, Vec::new()));
        queues[1].send(records("b", &[(1, 0)]));
        assert_eq!(said(next(&mut emitter)), "b-1");
        assert_eq!(said(next(&mut emitter)), "nothing");
        assert_eq!(at("a", &emitter), after(1, None));
        emitter.set_paused(&shard("a"), false);
        assert_eq!(said(next(&mut emitter)), "a-2");
        assert_eq!(said(next(&mut emitter)), "end of a");
    }

    #[test]
    fn what_happened_to_a_shard_is_told_before_its_next_record() {
        let (mut emitter, queues) = emitter(&["a"]);
        let event_time = event_time(Instant::now(), WATERMARK_INTERVAL, &[]);
        emitter.set_event_time(Some(event_time));
        emitter.slots[0].is_idle = true;
        queues[0].send(records("a", &[(1, 0)]));
        let active = format!("{:?}", [Event::ShardActive(shard("a"))]);
        assert_eq!(said(next(&mut emitter)), active);
        assert_eq!(said(next(&mut emitter)), "a-1");
        queues[0].report(Event::ShardIdle(shard("a")));
        let idle = format!("{:?}", [Event::ShardIdle(shard("a"))]);
        assert_eq!(said(next(&mut emitter)), idle);
        assert_eq!(said(next(&mut emitter)), "nothing");
    }

    #[test]
    fn event_time_is_looked_at_once_an_interval_or_with_each_record_if_that_is_zero() {
        let start = Instant::now();
        for (interval, is_prompt) in [(WATERMARK_INTERVAL, false), (Duration::ZERO, true)] {
            let (mut emitter, _queues) = emitter(&["a"]);
            assert!(!emitter.is_watched() && emitter.watermark().is_none());
            emitter.set_event_time(Some(event_time(start, interval, &[])));
            assert_eq!(emitter.is_watched(), is_prompt);
            assert_eq!(emitter.watermark(), None);
            let soon = start + WATERMARK_INTERVAL / 2;
            for (time, now, is_told) in [(7, soon, is_prompt), (8, soon + WATERMARK_INTERVAL, true)]
            {
                emitter.slots[0].watermark = millis(time);
                emitter.slots[0].has_moved = true;
                let events = emitter.look_at_event_time(now);
                let told = matches!(&events[..], [Event::Watermark(at)] if *at == millis(time));
                assert_eq!(told, is_told, "{time} {events:?}");
                assert_eq!(events.is_empty(), !is_told);
            }
            assert_eq!(emitter.watermark(), Some(millis(8)));
        }
    }

    #[test]
    fn an_ended_shard_holds_event_time_until_its_children_are_known() {
        let (start, interval) = (Instant::now(), WATERMARK_INTERVAL);
        let mut emitter = Emitter::new(Checkpoint::default(), vec![shard("a")]);
        emitter.set_event_time(Some(event_time(start, interval, &[("a", 5)])));
        let _queue = self::start(&mut emitter, "b");
        emitter.slots[0].watermark = millis(9);
        emitter.look_at_event_time(start + interval);
        assert_eq!(emitter.watermark(), Some(millis(5)));
        emitter.settle(&shard("a"));
        emitter.look_at_event_time(start + 2 * interval);
        assert_eq!(emitter.watermark(), Some(millis(9)));
    }

    #[test]
    fn children_begin_with_the_watermarks_that_their_parents_left() {
        let mut emitter = Emitter::new(Checkpoint::default(), vec![shard("a")]);
        let event_time = event_time(Instant::now(), WATERMARK_INTERVAL, &[("a", 7)]);
        emitter.set_event_time(Some(event_time));
        let listed = ("b".into(), vec!["a".into()]);
        emitter.learn_parents(&"orders".into(), &[listed]);
        emitter.learn_birth(shard("c"), &["a".into()]);
        emitter.learn_birth(shard("d"), &["theirs".into()]);
        emitter.learn_end(shard("theirs"), millis(3));
        let _queues = ["b", "c", "d", "e"].map(|name| start(&mut emitter, name));
        let known = [("a", 7), ("b", 7), ("c", 7), ("d", 3)];
        let known = known.map(|(name, at)| (shard(name), millis(at)));
        assert_eq!(emitter.checkpoint().watermarks, known.into(), "e has none");
    }

    #[test]
    fn a_gap_comes_in_its_place() {
        let (mut emitter, queues) = emitter(&["a"]);
        queues[0].send(records("a", &[(1, 0)]));
        assert_eq!(said(next(&mut emitter)), "a-1");
        let gap = Gap::new(shard("a"), GapCause::Trimmed);
        queues[0].send(Message::Gap(gap.into()));
        assert_eq!(said(next(&mut emitter)), "gap in a");
        assert_eq!(at("a", &emitter), after(1, None));
    }

    #[test]
    fn a_time_counts_once_all_before_it_is_handed_out() {
        let (mut emitter, queues) = emitter(&["a"]);
        let time = |emitter: &Emitter| emitter.checkpoint().complete_to(&shard("a"));
        assert_eq!(time(&emitter), None);
        let two = records("a", &[(1, 0), (2, 0)]);
        queues[0].send(two);
        queues[0].complete(Timestamp::from_millis(9));
        for _ in 0..2 {
            assert_eq!(time(&emitter), None);
            assert!(matches!(next(&mut emitter), Next::Record(_)));
        }
        assert_eq!(time(&emitter), Some(Timestamp::from_millis(9)));
        queues[0].send(records("a", &[(3, 0)]));
        assert_eq!(time(&emitter), Some(Timestamp::from_millis(9)), "as before");
        queues[0].complete(Timestamp::from_millis(11));
        assert_eq!(
            time(&emitter),
            Some(Timestamp::from_millis(9)),
            "one is ahead"
        );
        assert!(matches!(next(&mut emitter), Next::Record(_)));
        assert_eq!(time(&emitter), Some(Timestamp::from_millis(11)));
        queues[0].complete(None);
        assert_eq!(time(&emitter), None);
        queues[0].complete(Timestamp::from_millis(9));
        queues[0].send(Message::End(End::CaughtUp, Vec::new()));
        assert_eq!(said(next(&mut emitter)), "rest of a");
        assert_eq!(time(&emitter), Some(Timestamp::from_millis(9)));
    }

    #[test]
    fn the_end_waits_for_restored_shards_that_no_listing_has_shown() {
        let (mut emitter, queues) = emitter(&["a"]);
        emitter.expect([shard("b"), shard("c"), shard("d")]);
        queues[0].send(Message::End(End::CaughtUp, Vec::new()));
        assert_eq!(said(next(&mut emitter)), "rest of a");
        emitter.settle(&shard("a"));
        assert_eq!(said(next(&mut emitter)), "nothing");
        emitter.vanish(shard("b"));
        emitter.know(shard("c"), (START, None));
        assert_eq!(said(next(&mut emitter)), "nothing");
        emitter.forget(&shard("d"));
        assert_eq!(said(next(&mut emitter)), "done");
        assert_eq!(at("b", &emitter), ShardPosition::ShardEnd);
        assert_eq!(emitter.checkpoint().position(&shard("d")), None);
    }

    #[test]
    fn what_is_left_out_is_covered_once_the_caller_is_past_it() {
        let (mut emitter, queues) = emitter(&["a"]);
        let answer = [raw("a", 7, 3), raw("a", 8, 0), raw("a", 9, 0)];
        let mut answer = Chunk::for_tests(&shard("a"), answer.to_vec());
        let mut places = 0..;
        let _ = answer.decode(|record| {
            if [1, 2, 4].contains(&places.next().expect("a place")) {
                record.leave_out();
            }
            ControlFlow::<()>::Continue(())
        });
        queues[0].send(Message::Records(answer));
        for position in [after(7, Some(0)), after(8, None)] {
            assert!(matches!(next(&mut emitter), Next::Record(_)));
            assert_eq!(at("a", &emitter), position);
        }
        assert_eq!(said(next(&mut emitter)), "nothing");
        assert_eq!(at("a", &emitter), after(9, None));
    }

    #[test]
    fn since_when_a_shard_is_waited_for_is_no_time_of_what_was_read_of_it() {
        let error = || Error::malformed("record", "refused");
        let (mut emitter, queues) = emitter(&["a"]);
        let begin = ShardPosition::Start(StartPosition::TrimHorizon);
        emitter.know(shard("a"), (begin, Some(Timestamp::from_millis(9))));
        let time = |emitter: &Emitter| emitter.checkpoint().complete_to(&shard("a"));
        assert_eq!(time(&emitter), Some(Timestamp::from_millis(9)));
        // Its record has no time of its own.
        queues[0].send(records("a", &[(1, 0)]));
        next(&mut emitter);
        assert_eq!(time(&emitter), None);
        queues[0].send(Message::Halted(error()));
        assert!(matches!(next(&mut emitter), Next::Halted(..)));
        assert_eq!(time(&emitter), None);
    }

    #[test]
    fn a_halted_shard_keeps_its_position_and_the_others_go_on() {
        let (mut emitter, queues) = emitter(&["a", "b"]);
        queues[0].send(records("a", &[(7, 2)]));
        let mut order = vec![said(next(&mut emitter)), said(next(&mut emitter))];
        queues[0].send(Message::Halted(Error::new(ErrorKind::Closed)));
        queues[1].send(records("b", &[(1, 0)]));
        order.extend([said(next(&mut emitter)), said(next(&mut emitter))]);
        order[2..].sort();
        let halt = "halt of a: the producer or consumer was closed";
        assert_eq!(order, ["a-7", "a-7", "b-1", halt]);
        assert_eq!(at("a", &emitter), after(7, Some(1)));
        queues[1].send(Message::End(End::CaughtUp, Vec::new()));
        assert_eq!(said(next(&mut emitter)), "rest of b");
        emitter.settle(&shard("b"));
        assert_eq!(said(next(&mut emitter)), "done");
    }

    #[test]
    fn an_empty_answer_leaves_the_turn_to_the_others() {
        let (mut emitter, queues) = emitter(&["a", "b"]);
        queues[0].send(records("a", &[]));
        queues[1].send(records("b", &[(1, 0)]));
        assert_eq!(said(next(&mut emitter)), "b-1");
    }

    fn shown(ids: &[&str]) -> Arc<Listed> {
        let origin = |id: &&str| {
            let starting = "1".parse().expect("a number");
            let shard = Shard::new(*id, HashKeyRange::FULL, starting);
            (shard.id.clone(), Origin::of(&shard))
        };
        Arc::new(ids.iter().map(origin).collect())
    }

    fn of(shards: BTreeMap<ShardRef, ShardPosition>) -> Checkpoint {
        Checkpoint {
            shards,
            ..Checkpoint::default()
        }
    }

    #[test]
    fn a_checkpoint_says_who_made_it_and_what_the_caller_does_not_know_yet() {
        let (mut emitter, _queues) = emitter(&["a", "b"]);
        let starts: BTreeMap<_, _> = [("orders".into(), NOW)].into();
        emitter.set_reader(starts.clone(), Subtasks::one(1, 3));
        let replaced = Replaced {
            after: None,
            range: HashKeyRange::FULL,
        };
        let of = |name| (shard(name), replaced.clone());
        emitter.set_replaced(["a", "b"].map(of).into_iter());
        emitter.on_told_anew(&shard("a"));
        let checkpoint = emitter.checkpoint();
        assert_eq!(checkpoint.starts, starts);
        assert_eq!(checkpoint.subtasks, Subtasks::one(1, 3));
        assert_eq!(checkpoint.replaced, [of("b")].into());
    }

    #[test]
    fn a_checkpoint_has_what_the_last_listing_of_its_stream_says_of_a_shard() {
        let (mut emitter, _queues) = emitter(&["a"]);
        let has_origin =
            |emitter: &Emitter| emitter.checkpoint().origins.get(&shard("a")).is_some();
        emitter.on_listing("returns".into(), NOW, shown(&["a"]));
        assert!(!has_origin(&emitter));
        emitter.on_listing("orders".into(), NOW, shown(&["a"]));
        assert!(has_origin(&emitter));
        emitter.identify(shard("a"));
        assert!(!has_origin(&emitter), "it may be another one of that name");
    }

    #[test]
    fn a_listing_leaves_the_times_of_all_shards_that_are_read_or_will_be() {
        let (mut emitter, queues) = emitter(&["a"]);
        queues[0].complete(NOW);
        queues[0].send(Message::End(End::CaughtUp, Vec::new()));
        assert_eq!(said(next(&mut emitter)), "rest of a");
        for name in ["b", "c"] {
            emitter.know(shard(name), (START, Some(NOW)));
        }
        let _queue = start(&mut emitter, "b");
        emitter.on_listing("orders".into(), NOW, shown(&["a", "b", "c"]));
        for name in ["a", "b", "c"] {
            let time = emitter.checkpoint().complete_to(&shard(name));
            assert_eq!(time, Some(NOW), "{name}");
        }
    }

    #[test]
    fn an_ended_shard_is_forgotten_when_a_newer_listing_lacks_it() {
        let (old, new) = ("shardId-000000000001", "shardId-000000000003");
        for (what, position, listed, kept) in [
            ("listed", ShardPosition::ShardEnd, vec![old, new], true),
            ("expired", ShardPosition::ShardEnd, vec![new], false),
            ("not ended", after(1, None), vec![new], true),
            (
                "a listing that lags behind",
                ShardPosition::ShardEnd,
                vec!["shardId-000000000000"],
                true,
            ),
            ("an empty listing", ShardPosition::ShardEnd, vec![], true),
            (
                "more digits",
                ShardPosition::ShardEnd,
                vec!["shardId-9999999999999"],
                false,
            ),
        ] {
            let shards = [(shard(old), position)].into();
            let mut emitter = Emitter::new(of(shards), Vec::new());
            let listed = shown(&listed);
            emitter.on_listing("returns".into(), NOW, listed.clone());
            assert_eq!(
                emitter.checkpoint().iter().count(),
                1,
                "another stream's listing"
            );
            emitter.on_listing("orders".into(), NOW, listed);
            let checkpoint = emitter.checkpoint();
            assert_eq!(checkpoint.iter().count() == 1, kept, "{what}");
            assert_eq!(checkpoint.listed("orders"), Some(NOW));
        }
        let shards = [(shard(old), ShardPosition::ShardEnd)].into();
        let mut emitter = Emitter::new(of(shards), vec![shard(old)]);
        emitter.on_listing("orders".into(), NOW, shown(&[new]));
        assert_eq!(
            emitter.checkpoint().iter().count(),
            1,
            "its children are not known yet"
        );
    }
}
