//! The consumer's threads: one a shard, one for discovery. They wait, call and pass on; what they
//! do is decided by [`ShardReader`] and [`Discovery`].

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::{ChildShard, Client};
use crate::config::DataLoss;
use crate::consumer::bound::Until;
use crate::consumer::budget::{Budget, Expectation};
use crate::consumer::decoder::Decoding;
use crate::consumer::discovery::{Discovery, Start};
use crate::consumer::event_time::{Stamping, Tracking};
use crate::consumer::fate::FateSlot;
use crate::consumer::lister::{self, Answer, Lister, Listings};
use crate::consumer::listing::Times;
use crate::consumer::listing_outages::ListingOutages;
use crate::consumer::members::Members;
use crate::consumer::meters::Meters;
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::news::News;
use crate::consumer::outage::{OutageWatch, Warnings};
use crate::consumer::queue::queue;
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shard_worker::{ShardWorker, Trouble};
use crate::consumer::shelf::{Bell, Shelf};
use crate::error::{Error, Result};
use crate::model::{ShardId, ShardPosition, ShardRef, Timestamp};
use crate::sys::clock::{Clock, Timer, later};
use crate::sys::stop::Stop;
use crate::sys::thread;

/// What every thread of a consumer, or of a group, holds: when the last is gone, all have ended.
pub(super) type Alive = Arc<Sender<Infallible>>;

/// Counts threads, and waits for their end.
pub(super) struct Crew {
    alive: Alive,
    all_ended: Receiver<Infallible>,
}

impl Crew {
    pub fn new() -> Crew {
        let (alive, all_ended) = channel::bounded(0);
        let alive = Arc::new(alive);
        Crew { alive, all_ended }
    }

    pub fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Waits until all have ended, but not beyond the deadline, and says how many have not.
    pub fn wait(self, clock: &dyn Clock, deadline: Instant) -> usize {
        let count = Arc::downgrade(&self.alive);
        drop(self.alive);
        let timer = clock.at(deadline);
        select! {
            recv(self.all_ended) -> _ => {}
            recv(timer.channel()) -> _ => {}
        }
        count.strong_count()
    }
}

/// What it takes to start a shard's thread.
#[derive(Clone)]
pub(super) struct Workers {
    pub client: Client,
    pub settings: Settings,
    pub budget: Budget,
    pub retentions: Arc<Retentions>,
    /// Tells the caller that there is something to look at.
    pub bell: Bell,
    /// For discovery.
    pub told: Arc<Shelf<Told>>,
    pub warnings: Arc<Warnings>,
    pub stop: Stop,
    pub meters: Arc<Meters>,
    pub decoding: Arc<Decoding>,
    /// Says when records happened, if anybody asks.
    pub stamping: Option<Arc<Stamping>>,
    /// How many records a shard may lay down at once, if there is a limit.
    pub queue_capacity: Option<usize>,
    pub alive: Weak<Sender<Infallible>>,
}

impl Workers {
    /// Starts a shard's thread, which says by `ready` that its first iterator is taken; `None` if the
    /// consumer is no more.
    pub fn start(
        &self,
        start: Start,
        fate: Arc<FateSlot>,
        ready: Option<Sender<()>>,
    ) -> Result<Option<News>> {
        let Some(alive) = self.alive.upgrade() else {
            return Ok(None);
        };
        let account = self.budget.account();
        let shard = start.shard.clone();
        let meter = self.meters.begin(&shard);
        let (queue, receiver) = queue(
            self.bell.clone(),
            meter.clone(),
            account.clone(),
            start.complete_to,
            self.stop.clone(),
        );
        let position = self.settings.fixed(start.position.clone());
        let name = shard_thread_name(&shard.shard_id);
        // By the whole name: pauses of shards that fail together differ.
        let rng = self.client.sys().rng(&shard.to_string());
        let mut workers = self.clone();
        workers.client = self.client.with_watch(meter.clone());
        log::info!("{shard}: reading starts at {position:?}");
        let worker = ShardWorker {
            workers,
            _alive: alive,
            name: name.clone(),
            account,
            expectation: Expectation::default(),
            queue,
            meter,
            fate,
            ready,
            start,
            trouble: Trouble::default(),
            outage: OutageWatch::new(self.settings.config.outage_timeout),
            rng,
            stamper: None,
            last_stamp: None,
        };
        let stack_bytes = self.settings.config.shard_stack_bytes;
        thread::spawn(name, stack_bytes, move || worker.run())?;
        Ok(Some(News::Started(shard, position, receiver)))
    }
}

/// What a consumer tells discovery, or one of its shards' threads.
#[derive(Debug)]
pub(super) enum Told {
    /// A shard was handed out to its end, and the caller has come back. Its watermark, and who follows
    /// it, where the service has said it.
    Ended(ShardRef, Timestamp, Vec<ChildShard>),
    /// A shard is read no further.
    Rested(ShardRef),
    /// The service says that it does not have a shard that is being read.
    Doubted(ShardRef),
    /// A shard is read on in a stream made anew.
    Moved(ShardRef),
    /// A shard has been handed out up to its bound.
    CaughtUp(ShardRef),
}

/// The discovery thread: lists shards by interval, and at once when one has ended.
pub(super) struct DiscoveryThread {
    pub client: Client,
    pub stop: Stop,
    pub members: Members,
    pub discovery: Discovery,
    pub interval: Duration,
    pub told: Arc<Shelf<Told>>,
    pub told_bell: Receiver<()>,
    pub outages: ListingOutages,
    pub warnings: Warnings,
    /// Ended shards whose children are not listed yet.
    pub childless: Vec<ShardRef>,
    /// A shard has ended since the last listing was asked for.
    pub ended: bool,
    /// Shards that have been handed out up to their bounds, and whose consumers wait to hear whether any
    /// child lies within its own.
    pub passed: Vec<ShardRef>,
    /// What has not been listed by then is gone.
    pub listed_by: Instant,
    /// Several that read up to a bound, and wait to be told that nothing can come any more.
    pub is_bounded: bool,
    pub alive: Alive,
}

impl DiscoveryThread {
    pub fn start(self) -> Result<()> {
        let name = "kin-disc".to_owned();
        thread::spawn(name.clone(), STACK_BYTES, move || {
            let everyone = self.members.shelves();
            let outcome = thread::caught(&name, || self.run()).unwrap_or_else(|panic| {
                log::error!("{panic}");
                Err(panic)
            });
            if let Err(error) = outcome {
                for news in everyone {
                    news.put([News::Failed(error.clone())]);
                }
            }
        })?;
        Ok(())
    }

    fn run(mut self) -> Result<()> {
        let clock = self.client.sys().clock.clone();
        let mut listings = self.start_lister()?;
        let mut listed = clock.now();
        let mut next_listing = listed + self.interval;
        self.complete_if_over();
        while !self.stop.is_stopped() && self.members.has_any() {
            let due = match self.lacks_something() {
                true => next_listing.min(listed + CHILDREN_INTERVAL),
                false => next_listing,
            };
            // While streams are being listed, nothing else is due.
            let due = (!listings.is_busy()).then_some(due);
            let timer = due.map(|due| clock.at(due));
            let never = channel::never();
            let mut answer = None;
            select! {
                recv(self.stop.channel()) -> _ => return Ok(()),
                recv(self.told_bell) -> _ => {}
                recv(listings.answers) -> listing => match listing {
                    // The lister was told to stop as well.
                    Err(_) if self.stop.is_stopped() => return Ok(()),
                    listing => answer = Some(listing.map_err(|_| lister::is_gone())?),
                },
                recv(timer.as_ref().map_or(&never, Timer::channel)) -> _ => {}
            }
            self.ended |= self.follow()?;
            if let Some(answer) = answer {
                listings.answered();
                self.take_in(answer)?;
                listed = clock.now();
            }
            let is_due = due.is_some_and(|due| clock.now() >= due);
            if !listings.is_busy() && (is_due || self.ended) {
                let all = clock.now() >= next_listing;
                if all {
                    next_listing = clock.now() + self.interval;
                }
                self.ended = false;
                listings.request(self.wanted(all));
            }
            self.complete_if_over();
        }
        Ok(())
    }

    fn start_lister(&self) -> Result<Listings> {
        let alive = self.alive.clone();
        let (lister, listings) = Lister::new(self.client.clone(), self.stop.clone(), alive);
        let name = "kin-list".to_owned();
        thread::spawn(name.clone(), STACK_BYTES, move || {
            if let Err(panic) = thread::caught(&name, || lister.run()) {
                log::error!("{panic}");
            }
        })?;
        Ok(listings)
    }

    /// A bounded group is over when all that was to be read has been handed out, whoever reads it.
    fn complete_if_over(&mut self) {
        let is_over = || !self.lacks_something() && !self.discovery.is_reading();
        if self.is_bounded && is_over() {
            self.members.complete(&mut self.discovery);
            self.is_bounded = false;
        }
    }

    /// Takes in what the consumers tell, and says whether a shard has ended.
    fn follow(&mut self) -> Result<bool> {
        let mut has_ended = false;
        for told in self.told.take() {
            match told {
                Told::Rested(shard) => {
                    self.members.on_end(&shard);
                    self.discovery.on_rest(&shard);
                }
                Told::Doubted(shard) => self.discovery.on_doubt(&shard),
                Told::Moved(shard) => {
                    self.discovery.on_moved(&shard);
                    self.members.tell_moved(&self.discovery, shard);
                }
                Told::CaughtUp(shard) => self.follow_bound(shard)?,
                Told::Ended(shard, watermark, children) => {
                    has_ended = true;
                    self.follow_end(shard, watermark, children)?;
                }
            }
        }
        self.members.let_go(&mut self.discovery);
        self.settle();
        Ok(has_ended)
    }

    /// Starts the children of a shard that was handed out to its end, as far as they are known.
    fn follow_end(
        &mut self,
        shard: ShardRef,
        watermark: Timestamp,
        children: Vec<ChildShard>,
    ) -> Result<()> {
        // What is bounded has to know whether a shard was closed before, which listings say.
        let children = match self.members.settings.until {
            Until::Stopped => children,
            _ => Vec::new(),
        };
        self.members
            .tell_end(&self.discovery, &shard, watermark, &children);
        if self.members.on_end(&shard) {
            self.discovery.on_told_anew(&shard);
        }
        let found = self.discovery.on_end(&shard, children);
        self.members.pass_on(&self.discovery, found, None)?;
        self.childless.push(shard);
        Ok(())
    }

    /// Starts the children of a shard that was handed out up to its bound, if that is a checkpoint. Any
    /// other bound is a time, and what opened later lies behind it.
    fn follow_bound(&mut self, shard: ShardRef) -> Result<()> {
        self.members.on_end(&shard);
        match self.members.settings.until {
            Until::Checkpoint(_) => {
                let found = self.discovery.on_pass(&shard);
                self.members.pass_on(&self.discovery, found, None)?;
            }
            _ => self.discovery.on_rest(&shard),
        }
        self.passed.push(shard);
        Ok(())
    }

    /// Says whether a checkpoint that bounds the reading names shards that no listing has shown so far.
    fn awaits_bounds(&self) -> bool {
        let Until::Checkpoint(bounds) = &self.members.settings.until else {
            return false;
        };
        let is_read = |position: &ShardPosition| matches!(position, ShardPosition::After { .. });
        let mut bounds = bounds.iter().filter(|(_, position)| is_read(position));
        let is_late = self.client.sys().clock.now() < self.listed_by;
        is_late && bounds.any(|(shard, _)| !self.discovery.knows(shard))
    }

    /// All streams, or only those in which a shard is looked for.
    fn wanted(&self, all: bool) -> Vec<Arc<str>> {
        let is_wanted = |stream: &Arc<str>| {
            let mut lacking = self.childless.iter().chain(&self.passed);
            let lacks_children = lacking.any(|shard| shard.stream == *stream);
            all || lacks_children || self.members.waits_for(&self.discovery, stream)
        };
        let streams = self.discovery.streams().cloned();
        streams.filter(is_wanted).collect()
    }

    fn take_in(&mut self, (stream, times, listing): Answer) -> Result<()> {
        match listing {
            Ok(listing) => {
                self.on_listed(&stream);
                self.members.take_in(&mut self.discovery, &listing, None)?;
            }
            Err(error) if error.is_service("ResourceNotFoundException") => {
                self.without_stream(&stream, times, error)?;
            }
            Err(_) if self.stop.is_stopped() => {}
            // The shards that are known are read on; a later round may bring the others.
            Err(error) => self.on_failed_listing(&stream, times.asked, &error)?,
        }
        self.settle();
        Ok(())
    }

    /// The service does not know the stream: it was deleted, if that stays so.
    fn without_stream(&mut self, stream: &Arc<str>, times: Times, error: Error) -> Result<()> {
        log::warn!("{error}");
        let (found, is_long) = self.discovery.on_not_found(times, stream);
        self.members.pass_on(&self.discovery, found, None)?;
        match self.members.settings.config.data_loss {
            DataLoss::Fail if is_long => Err(error),
            _ => Ok(()),
        }
    }

    /// Says whether a shard is missing that ought to be listed soon.
    fn lacks_something(&self) -> bool {
        let mut streams = self.discovery.streams();
        !self.childless.is_empty()
            || !self.passed.is_empty()
            || streams.any(|stream| self.members.waits_for(&self.discovery, stream))
    }

    /// Says of which ended shards the children are known by now.
    fn settle(&mut self) {
        let (discovery, members) = (&self.discovery, &self.members);
        self.childless.retain(|shard| {
            let settled = discovery.is_settled(shard);
            if settled {
                members.tell(discovery.member(shard), News::Settled(shard.clone()));
            }
            !settled
        });
        if !self.awaits_bounds() {
            for shard in std::mem::take(&mut self.passed) {
                let member = self.discovery.member(&shard);
                self.members.tell(member, News::Settled(shard));
            }
        }
    }
}

/// Starts the thread that asks the watermark tracker: every so often, and whenever it is asked to.
pub(super) fn start_sync(
    workers: &Workers,
    mut tracking: Tracking,
    heard: Receiver<()>,
) -> Result<()> {
    let (workers, name) = (workers.clone(), "kin-sync".to_owned());
    let alive = workers.alive.upgrade();
    thread::spawn(name, USER_STACK_BYTES, move || {
        let _alive = alive;
        let clock = workers.client.sys().clock.clone();
        while !workers.stop.is_stopped() {
            let timer = clock.at(tracking.syncer.due());
            select! {
                recv(workers.stop.channel()) -> _ => break,
                recv(heard) -> _ => {}
                recv(timer.channel()) -> _ => {}
            }
            if tracking.sync(clock.now()) {
                workers.bell.ring();
            }
        }
        tracking.withdraw(clock.now());
    })?;
    Ok(())
}

/// What the user does with the metrics.
pub(super) type Report = Box<dyn FnMut(&ConsumerMetrics) + Send>;

/// The thread that reports what all consumers of a group do together.
pub(super) struct ReportThread {
    pub clock: Arc<dyn Clock>,
    pub stop: Stop,
    pub meters: Vec<Arc<Meters>>,
    pub interval: Duration,
    pub report: Report,
    pub _alive: Alive,
}

impl ReportThread {
    pub fn start(mut self) -> Result<()> {
        let name = "kin-metrics".to_owned();
        thread::spawn(name.clone(), USER_STACK_BYTES, move || {
            if let Err(error) = thread::caught(&name, || self.run()) {
                log::error!("{error}");
            }
        })?;
        Ok(())
    }

    /// Reports every so often, and once more when it is told to stop.
    fn run(&mut self) {
        let clock = self.clock.clone();
        while clock.wait_until(later(clock.now(), self.interval), &self.stop) {
            self.report(clock.now());
        }
        self.report(clock.now());
    }

    fn report(&mut self, now: Instant) {
        let all = self.meters.iter().map(|meters| meters.snapshot(now));
        let metrics = all.reduce(ConsumerMetrics::merge).unwrap_or_default();
        (self.report)(&metrics);
    }
}

/// `kin-shard-00007`: Linux shows 15 characters.
fn shard_thread_name(id: &ShardId) -> String {
    let id = id.as_str();
    let tail = id.char_indices().rev().nth(4).map_or(0, |(index, _)| index);
    format!("kin-shard-{}", &id[tail..])
}

/// Enough for a TLS handshake and a parsed answer: nothing of the user's runs on it.
const STACK_BYTES: usize = 512 << 10;

/// The user's code runs on it.
const USER_STACK_BYTES: usize = 2 << 20;

/// How often the children of an ended shard are looked for: listings lag behind by seconds at most.
const CHILDREN_INTERVAL: Duration = Duration::from_secs(1);

/// How long the shards that a bounding checkpoint names are looked for: others have read them, so a listing
/// that lags behind shows them soon.
pub(super) const BOUNDS_WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_name_ends_like_its_shards() {
        for (id, name) in [
            ("shardId-000000000007", "kin-shard-00007"),
            ("a", "kin-shard-a"),
            ("", "kin-shard-"),
        ] {
            assert_eq!(shard_thread_name(&id.into()), name);
        }
    }
}
