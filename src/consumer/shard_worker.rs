use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;

use crate::client::{ChildShard, ShardIterator};
use crate::consumer::budget::{Account, Expectation, Room};
use crate::consumer::chunk::Chunk;
use crate::consumer::discovery::Start;
use crate::consumer::event_time::Stamper;
use crate::consumer::fate::{Fate, FateSlot};
use crate::consumer::meters::{Fetch, ShardMeter};
use crate::consumer::outage::{Outage, OutageWatch, Subject};
use crate::consumer::queue::{Message, QueueSender};
use crate::consumer::record::{Event, Stamp};
use crate::consumer::repeats::Patience;
use crate::consumer::shard_reader::{End, ShardReader, Step, Taken};
use crate::consumer::threads::{Alive, Told, Workers};
use crate::error::{Error, Result, Verdict};
use crate::model::{Operation, ShardPosition};
use crate::sys::clock::later;
use crate::sys::rng::Rng;
use crate::sys::thread;

/// A shard's thread, from its first iterator to its end.
pub(super) struct ShardWorker {
    pub workers: Workers,
    /// Until it ends its consumer has a thread.
    pub _alive: Alive,
    pub name: String,
    pub account: Arc<Account>,
    pub expectation: Expectation,
    pub queue: QueueSender,
    pub meter: Arc<ShardMeter>,
    /// What discovery finds out of the shard.
    pub fate: Arc<FateSlot>,
    /// Dropped, it says that the first iterator is taken.
    pub ready: Option<Sender<()>>,
    /// Behind what was handed over: where to begin again after a panic.
    pub start: Start,
    pub trouble: Trouble,
    pub outage: OutageWatch,
    pub rng: Rng,
    /// Made of the user's strategy, if there is one, when the first records come.
    pub stamper: Option<Box<dyn Stamper>>,
    /// Of the last record that was handed over.
    pub last_stamp: Option<Stamp>,
}

/// What may end a shard's thread.
#[derive(Default)]
pub(super) struct Trouble {
    /// Panics since something was handed over.
    panics: u32,
    /// The decoder has refused to go on, and the caller knows.
    is_over: bool,
    /// Since when, and by which error, it is in doubt whether the shard is the one that was assigned.
    doubt: Option<(Instant, Error)>,
}

impl ShardWorker {
    /// Reads to the end, and begins again where it was if something panics on the way: user code
    /// runs here as well, and one shard's trouble is not the others'.
    pub fn run(mut self) {
        let name = self.name.clone();
        loop {
            let outcome = match thread::caught(&name, || self.read()) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Err(error),
                Err(panic) => self.begin_again(panic),
            };
            if let Err(error) = outcome {
                log::error!("{error}");
                self.meter.end();
                self.queue.send(Message::Failed(error));
                return;
            }
        }
    }

    fn begin_again(&mut self, panic: Error) -> Result<()> {
        self.trouble.panics += 1;
        // Its generator has judged records that come again: they would be late for it. It is the user's
        // as well, and may panic when it is dropped.
        let stamper = self.stamper.take();
        let _ = thread::caught(&self.name, || drop(stamper));
        if self.trouble.panics > PANICS_MAX {
            return Err(panic);
        }
        // Counts it; the meter is the same.
        self.workers.meters.begin(&self.start.shard);
        let pause = PANIC_PAUSE * 2_u32.pow(self.trouble.panics - 1);
        log::error!("{panic}; it begins again in {} ms", pause.as_millis());
        self.meter.restarted(&panic);
        let clock = &self.workers.client.sys().clock;
        clock.wait_until(clock.now() + pause, &self.workers.stop);
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let clock = self.workers.client.sys().clock.clone();
        let settings = self.workers.settings.clone();
        // Two listings may fail to show a young shard.
        let listing_max = 2 * settings.config.shard_discovery_interval + LISTING_WAIT;
        let patience = Patience {
            clock: clock.clone(),
            stop: self.workers.stop.clone(),
            listing_max: listing_max.min(LISTING_WAIT_MAX),
        };
        let mut reader = ShardReader::new(self.start.clone(), settings, clock.now());
        reader.wait_with(patience);
        while !self.workers.stop.is_stopped() && !self.trouble.is_over {
            self.heed_fate(&mut reader)?;
            if let Some(error) = self.doubt(&reader) {
                self.doubted(&error)?;
                continue;
            }
            let step = reader.next_step(clock.now(), self.workers.client.server_now());
            if let Step::Done(end) = step {
                self.end(end, reader.take_children());
                return Ok(());
            }
            if let Err(error) = self.take(step, &mut reader) {
                self.recover(error, &mut reader)?;
            }
        }
        Ok(())
    }

    /// Ends the shard if discovery says that its stream was made anew; or only says so, if it reads
    /// there already.
    fn heed_fate(&self, reader: &mut ShardReader) -> Result<()> {
        if let Some(Fate::Recreated(starting)) = self.fate.get()
            && !self.fate.is_told_anew()
        {
            let has_moved = reader.is_in(&starting);
            let gap = reader.on_recreated(&starting)?;
            // Before discovery hears of it, which resets this for the shard that is read from now on.
            self.fate.set_told_anew();
            if has_moved {
                let moved = Told::Moved(self.start.shard.clone());
                self.workers.told.put([moved]);
            }
            self.queue.send(Message::Gap(gap.into()));
        }
        Ok(())
    }

    fn end(&self, end: End, children: Vec<ChildShard>) {
        log::info!("{}: reading ends: {end:?}", self.start.shard);
        self.meter.end();
        if end == End::ShardEnd {
            self.workers.meters.discovery.ended();
        }
        self.queue.send(Message::End(end, children));
    }

    fn take(&mut self, step: Step, reader: &mut ShardReader) -> Result<()> {
        let client = &self.workers.client;
        match step {
            Step::GetIterator(position) => self.get_iterator(&position, reader),
            Step::GetRecords(iterator, limit) => self.get_records(&iterator, limit, reader),
            Step::GetRetention => self.get_retention(reader),
            Step::WaitUntil(until) => {
                let clock = &client.sys().clock;
                self.meter
                    .slept(until.saturating_duration_since(clock.now()));
                clock.wait_until(until, &self.workers.stop);
                Ok(())
            }
            Step::Done(_) => Ok(()),
        }
    }

    fn get_iterator(&mut self, position: &ShardPosition, reader: &mut ShardReader) -> Result<()> {
        let client = &self.workers.client;
        self.outage.calling(client.sys().clock.now());
        match client.get_shard_iterator(&self.start.shard, position) {
            Ok(iterator) => {
                self.on_success();
                reader.on_iterator(iterator);
                // Before anything is read that a panic may lose: begun again, LATEST would mean later.
                self.start.position = self.workers.settings.fixed(self.start.position.clone());
                // Dropped, it says that reading can begin.
                self.ready.take();
            }
            Err(error) => {
                let gap = reader.on_refused(client.sys().clock.now(), error)?;
                gap.map(|gap| self.queue.send(Message::Gap(gap.into())));
            }
        }
        Ok(())
    }

    fn get_retention(&mut self, reader: &mut ShardReader) -> Result<()> {
        let (client, stream) = (&self.workers.client, &self.start.shard.stream);
        let asked = client.sys().clock.now();
        let anew = reader.needs_new_retention();
        let retention = self.workers.retentions.of(client, stream, anew);
        let now = (asked, client.server_time_at_most());
        if let Some(gap) = reader.on_retention(now, retention)? {
            self.queue.send(Message::Gap(gap.into()));
        }
        Ok(())
    }

    /// One call; what it brings is in the queue when it returns.
    fn get_records(
        &mut self,
        iterator: &ShardIterator,
        limit: u32,
        reader: &mut ShardReader,
    ) -> Result<()> {
        let client = &self.workers.client;
        let expected = self.expectation.bytes(client.sys().clock.now());
        let Some(mut room) = self.account.reserve(expected, &self.workers.stop) else {
            return Ok(());
        };
        let called = client.sys().clock.now();
        self.outage.calling(called);
        let (output, answered) = client.get_records_timed(iterator, limit)?;
        let took = client.sys().clock.now().saturating_duration_since(called);
        self.on_success();
        let client = &self.workers.client;
        let at_tip = output.is_at_tip();
        match at_tip {
            true => self.queue.pulse().nothing(called),
            false => self.queue.pulse().something(),
        }
        if !matches!(reader.place(), (ShardPosition::After { .. }, _)) {
            // The time says since when the shard is waited for, and older records may come.
            self.queue.complete(None);
        }
        let fetch = Fetch::of(&output, limit);
        let taken = reader.on_records((called, took), answered, output)?;
        room.answered(reader.bytes_taken());
        self.expectation
            .answered(called, reader.bytes_taken(), at_tip);
        let (aim, now) = (reader.bytes_requested(), client.sys().clock.now());
        self.meter
            .fetched(fetch, aim, &taken.records, &taken.gaps, now);
        self.hand_over(taken, room, reader);
        Ok(())
    }

    fn hand_over(&mut self, taken: Taken, room: Room, reader: &ShardReader) {
        let Taken { gaps, mut records } = taken;
        let last = self.workers.decoding.apply(&mut records, &self.meter);
        self.stamp(&mut records);
        for gap in gaps {
            self.queue.send(Message::Gap(gap.into()));
        }
        let is_new = !records.is_empty();
        if is_new {
            self.lay_down(records, room);
        }
        let last_stamp = self.stamper.as_ref().and_then(|stamper| stamper.last());
        self.last_stamp = last_stamp.or(self.last_stamp);
        match last {
            None => self.on_handed_over(is_new, reader),
            Some(last) => {
                self.trouble.is_over = true;
                self.meter.end();
                self.queue.send(last);
            }
        }
    }

    /// Hands an answer to the caller, in parts if shards are held together in event time: then many
    /// wait with records, and each keeps no more than an answer and two parts.
    fn lay_down(&self, mut records: Chunk, room: Room) {
        let part = self.workers.queue_capacity.unwrap_or(usize::MAX).max(1);
        while records.len() > part {
            let rest = records.split_off(part);
            if !self.queue.send(Message::Records(records)) {
                return;
            }
            records = rest;
        }
        self.queue.send_with(Message::Records(records), Some(room));
    }

    /// Says when records happened.
    fn stamp(&mut self, records: &mut Chunk) {
        if let Some(stamping) = &self.workers.stamping {
            let new = || stamping(&self.start.shard, self.last_stamp);
            self.stamper.get_or_insert_with(new).stamp(records);
        }
    }

    fn on_handed_over(&mut self, is_new: bool, reader: &ShardReader) {
        let (position, complete_to) = reader.place();
        if is_new || position != self.start.position {
            self.trouble.panics = 0;
        }
        if let Some(complete_to) = complete_to.filter(|_| !is_new) {
            self.queue.complete(complete_to);
        }
        // A place inside an aggregate stays until what is behind it has come.
        (self.start.position, self.start.complete_to) = (position, complete_to);
    }

    /// Says whether to go on after an error, once it is time to.
    fn recover(&mut self, error: Error, reader: &mut ShardReader) -> Result<()> {
        self.queue.pulse().something();
        if error.is_timeout() {
            reader.on_timeout();
        }
        let clock = &self.workers.client.sys().clock;
        match error.verdict() {
            _ if self.workers.stop.is_stopped() => {}
            Verdict::NewIterator => {
                log::debug!("{error}; a new iterator is taken");
                reader.on_expired(clock.now());
            }
            _ if error.is_retryable() => {
                self.pause_after(&error)?;
            }
            _ if error.is_service("ResourceNotFoundException") => {
                if self.fate.get() == Some(Fate::Gone) {
                    let gap = reader.on_vanished(error)?;
                    self.queue.send(Message::Gap(gap.into()));
                } else {
                    // It may be a late answer; listings decide.
                    self.trouble.doubt = Some((clock.now(), error.clone()));
                    self.doubted(&error)?;
                }
            }
            _ => return Err(error),
        }
        Ok(())
    }

    /// Gives the error by which it is in doubt which shard would be read, until a later listing has it.
    ///
    /// A stream that is made anew has shards of the same names, and another process may be the one to
    /// read them. A reader that has read nothing yet would not notice by the place where it is.
    fn doubt(&mut self, reader: &ShardReader) -> Option<Error> {
        let (since, error) = self.trouble.doubt.take()?;
        let is_over = match self.fate.get() {
            Some(Fate::Listed(asked)) => asked >= since,
            Some(Fate::Gone | Fate::Recreated(_)) => true,
            None => false,
        };
        // While `start` waits for the first iterator nobody lists, and the stream was listed just before.
        let is_starting = self.ready.is_some();
        if is_over || is_starting || !matches!(reader.place(), (ShardPosition::Start(_), _)) {
            return None;
        }
        self.trouble.doubt = Some((since, error.clone()));
        Some(error)
    }

    /// Has listings decide whether the shard is there, and waits as after any call that failed.
    fn doubted(&mut self, error: &Error) -> Result<()> {
        let doubt = Told::Doubted(self.start.shard.clone());
        self.workers.told.put([doubt]);
        self.pause_after(error)
    }

    /// Waits until stopped or until a failed call may be made again.
    ///
    /// # Errors
    /// `Outage`: calls have failed for too long.
    fn pause_after(&mut self, error: &Error) -> Result<()> {
        let client = &self.workers.client;
        let (clock, rng) = (&client.sys().clock, &mut self.rng);
        let policy = client.policy(error.operation().unwrap_or(Operation::GetRecords));
        let (now, wall) = (clock.now(), clock.wall());
        let pause = |calls_failed| policy.pause(calls_failed, rng);
        let pause = self.outage.failed(now, error, pause);
        self.meter.failing_since(self.outage.since());
        let subject = Subject::Shard(self.start.shard.clone());
        let Some(pause) = pause else {
            let outage = self.outage.outage(&subject, now, wall);
            return Err(outage.map_or_else(|| error.clone(), Outage::into_error));
        };
        if self.outage.is_report_due()
            && let Some(outage) = self.outage.outage(&subject, now, wall)
        {
            self.queue.report(Event::Unavailable(outage));
        }
        self.workers.warnings.warn(now, error, pause);
        // A configured pause may be as long as a number can be.
        clock.wait_until(later(now, pause), &self.workers.stop);
        Ok(())
    }

    /// Tells the caller of the end of an outage that it knows of.
    fn on_success(&mut self) {
        let Some(end) = self.outage.succeeded() else {
            return;
        };
        self.meter.failing_since(None);
        let clock = &self.workers.client.sys().clock;
        let subject = Subject::Shard(self.start.shard.clone());
        if let Some(outage) = end.reported(&subject, clock.now(), clock.wall()) {
            log::info!("{}: calls succeed again: {outage}", self.start.shard);
            self.queue.report(Event::Available(outage));
        }
    }
}

/// How long a listing that was asked for may take.
const LISTING_WAIT: Duration = Duration::from_secs(5);

/// How long a shard waits at most for a listing that shows another one.
const LISTING_WAIT_MAX: Duration = Duration::from_secs(60);

/// Panics in a row, with nothing handed over between them, after which a shard is given up.
const PANICS_MAX: u32 = 5;

/// How long a shard rests after a panic; twice as long after each that follows.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
