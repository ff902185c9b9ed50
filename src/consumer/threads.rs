//! The consumer's threads: one a shard, one for discovery. They wait, call and pass on; what they
//! do is decided by [`ShardReader`] and [`Discovery`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, select};

use crate::client::{ChildShard, Client};
use crate::config::DataLoss;
use crate::consumer::bound::Until;
use crate::consumer::budget::Budget;
use crate::consumer::decoder::Decoding;
use crate::consumer::discovery::{Discovery, Found, Start};
use crate::consumer::emitter::News;
use crate::consumer::event_time::{Stamping, Tracking};
use crate::consumer::meters::Meters;
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::queue::queue;
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shard_worker::{ShardWorker, Trouble};
use crate::consumer::shelf::{Bell, Shelf};
use crate::error::{Error, Result};
use crate::model::{Shard, ShardId, ShardRef};
use crate::sys::stop::Stop;
use crate::sys::thread;

/// What it takes to start a shard's thread.
#[derive(Clone)]
pub(super) struct Workers {
    pub client: Client,
    pub settings: Settings,
    pub budget: Budget,
    pub retentions: Arc<Retentions>,
    /// Tells the caller that there is something to look at.
    pub bell: Bell,
    pub stop: Stop,
    pub meters: Arc<Meters>,
    pub decoding: Arc<Decoding>,
    /// Says when records happened, if anybody asks.
    pub stamping: Option<Arc<Stamping>>,
    /// How many records a shard may lay down at once, if there is a limit.
    pub queue_capacity: Option<usize>,
    /// Every thread holds a clone: when the last is gone, all threads have ended.
    pub _alive: Sender<Infallible>,
    /// The same, to be counted.
    pub count: Arc<()>,
}

impl Workers {
    /// Starts a shard's thread, which says by `ready` that its first iterator is taken.
    pub fn start(&self, start: Start, ready: Option<Sender<()>>) -> Result<News> {
        let account = self.budget.account();
        let shard = start.shard.clone();
        let meter = self.meters.begin(&shard);
        let (queue, receiver) = queue(
            self.bell.clone(),
            meter.clone(),
            account.clone(),
            start.complete_to,
        );
        let position = self.settings.fixed(start.position.clone());
        let name = shard_thread_name(&shard.shard_id);
        let mut workers = self.clone();
        workers.client = self.client.with_watch(meter.clone());
        log::info!("{shard}: reading starts at {position:?}");
        let worker = ShardWorker {
            workers,
            name: name.clone(),
            account,
            queue,
            meter,
            ready,
            start,
            trouble: Trouble::default(),
            stamper: None,
        };
        thread::spawn(name, STACK_BYTES, move || worker.run())?;
        Ok(News::Started(shard, position, receiver))
    }
}

/// A shard that was handed out to its end, and who follows it, where the service has said it.
pub(super) type Ended = (ShardRef, Vec<ChildShard>);

/// The discovery thread: lists shards by interval, and at once when one has ended.
pub(super) struct DiscoveryThread {
    pub workers: Workers,
    pub discovery: Discovery,
    pub interval: Duration,
    /// Shards that were handed out to their end.
    pub ended: Arc<Shelf<Ended>>,
    pub ended_bell: Receiver<()>,
    pub news: Arc<Shelf<News>>,
    /// Ended shards whose children are not listed yet.
    pub childless: Vec<ShardRef>,
}

impl DiscoveryThread {
    pub fn start(self) -> Result<()> {
        let name = "kin-disc".to_owned();
        thread::spawn(name.clone(), STACK_BYTES, move || {
            let news = self.news.clone();
            if let Err(error) = thread::caught(&name, || self.run()) {
                log::error!("{error}");
                news.put([News::Failed(error)]);
            }
        })?;
        Ok(())
    }

    fn run(mut self) {
        let clock = self.workers.client.sys().clock.clone();
        let mut next_listing = clock.now() + self.interval;
        while !self.workers.stop.is_stopped() {
            let children = clock.now() + CHILDREN_INTERVAL;
            let timer = clock.at(match self.lacks_something() {
                true => next_listing.min(children),
                false => next_listing,
            });
            select! {
                recv(self.workers.stop.channel()) -> _ => return,
                recv(self.ended_bell) -> _ => {}
                recv(timer.channel()) -> _ => {}
            }
            let round = self.follow_ends().and_then(|()| {
                let all = clock.now() >= next_listing;
                next_listing = if all {
                    clock.now() + self.interval
                } else {
                    next_listing
                };
                self.list(all)
            });
            if let Err(error) = round {
                self.news.put([News::Failed(error)]);
                return;
            }
        }
    }

    /// Starts the children of shards that were handed out to their end, as far as they are known.
    fn follow_ends(&mut self) -> Result<()> {
        for (shard, children) in self.ended.take() {
            // What is bounded has to know whether a shard was closed before, which listings say.
            let children = match self.workers.settings.until {
                Until::Stopped => children,
                _ => Vec::new(),
            };
            let born = children.iter().map(|child| {
                let at = ShardRef::new(shard.stream.clone(), child.id.clone());
                News::Born(at, child.parents.clone())
            });
            self.news.put(born);
            let found = self.discovery.on_end(&shard, children);
            self.pass_on(found)?;
            self.childless.push(shard);
        }
        self.settle();
        Ok(())
    }

    /// Lists all streams, or only those in which an ended shard lacks its children.
    fn list(&mut self, all: bool) -> Result<()> {
        let hidden = self.discovery.hidden();
        let lacks = |stream: &Arc<str>| {
            let lacking = self.childless.iter().chain(&hidden);
            lacking.into_iter().any(|shard| shard.stream == *stream)
        };
        let mut streams = self.discovery.stream_names();
        streams.retain(|stream| all || lacks(stream));
        for stream in streams {
            let now = self.workers.client.server_time();
            let listing = self.workers.client.list_shards(&stream);
            let listing = listing.map_or_else(|error| self.without_listing(error), |l| Ok(Some(l)));
            if let Some(listing) = listing? {
                let listed = News::listed(&stream, now, &listing);
                // Before its shards start: they have their watermarks from their parents.
                self.news.put([News::lineage(&stream, &listing)]);
                let found = self.discovery.on_listing(now, &stream, listing);
                self.pass_on(found)?;
                self.news.put([listed]);
            }
        }
        self.settle();
        Ok(())
    }

    /// What stands for a listing that cannot be had: nothing at all, or that there are no shards.
    fn without_listing(&self, error: Error) -> Result<Option<Vec<Shard>>> {
        let patient = self.workers.settings.config.data_loss == DataLoss::ContinueAndReport;
        let deleted = patient && error.is_service("ResourceNotFoundException");
        // The shards that are known go on; a later round may bring the others.
        let passes = error.is_retryable() || error.is_service("ResourceInUseException");
        if !(deleted || passes || self.workers.stop.is_stopped()) {
            return Err(error);
        }
        log::warn!("{error}");
        Ok(deleted.then(Vec::new))
    }

    /// Says whether a shard is missing that ought to be listed soon.
    fn lacks_something(&self) -> bool {
        !self.childless.is_empty() || !self.discovery.hidden().is_empty()
    }

    fn pass_on(&mut self, found: Found) -> Result<()> {
        self.workers.meters.found(found.known.len());
        let settings = &self.workers.settings;
        let mut news = Vec::new();
        for gap in found.gaps {
            news.push(News::Gap(settings.report(gap, None)?));
        }
        news.extend(found.vanished.into_iter().map(News::Vanished));
        news.extend(found.foreign.into_iter().map(News::Foreign));
        let known = found.known.into_iter();
        news.extend(known.map(|(shard, place)| News::Known(shard, settings.fixed_place(place))));
        self.news.put(news);
        for start in found.starts {
            let news = self.workers.start(start, None)?;
            self.news.put([news]);
        }
        Ok(())
    }

    /// Says of which ended shards the children are known by now.
    fn settle(&mut self) {
        let (discovery, news) = (&self.discovery, &self.news);
        self.childless.retain(|shard| {
            let settled = discovery.is_settled(shard);
            if settled {
                news.put([News::Settled(shard.clone())]);
            }
            !settled
        });
    }
}

/// Starts the thread that asks the watermark tracker: every so often, and whenever it is asked to.
pub(super) fn start_sync(
    workers: &Workers,
    mut tracking: Tracking,
    heard: Receiver<()>,
) -> Result<()> {
    let (workers, name) = (workers.clone(), "kin-sync".to_owned());
    thread::spawn(name, USER_STACK_BYTES, move || {
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

/// Starts the thread that reports: every so often, and once more when it is told to stop.
pub(super) fn start_reports(
    workers: &Workers,
    interval: Duration,
    mut report: Report,
) -> Result<()> {
    let name = "kin-metrics".to_owned();
    let (workers, name_of_thread) = (workers.clone(), name.clone());
    thread::spawn(name, USER_STACK_BYTES, move || {
        let clock = workers.client.sys().clock.clone();
        let work = || {
            while clock.wait_until(clock.now() + interval, &workers.stop) {
                report(&workers.meters.snapshot(clock.now()));
            }
            report(&workers.meters.snapshot(clock.now()));
        };
        if let Err(error) = thread::caught(&name_of_thread, work) {
            log::error!("{error}");
        }
    })?;
    Ok(())
}

/// `kin-shard-00007`: Linux shows 15 characters.
fn shard_thread_name(id: &ShardId) -> String {
    let id = id.as_str();
    let tail = id.char_indices().rev().nth(4).map_or(0, |(index, _)| index);
    format!("kin-shard-{}", &id[tail..])
}

/// Enough for a TLS handshake and a parsed answer; not much, as there is one a shard.
const STACK_BYTES: usize = 512 << 10;

/// The user's code runs on it.
const USER_STACK_BYTES: usize = 2 << 20;

/// How often the children of an ended shard are looked for: listings lag behind by seconds at most.
const CHILDREN_INTERVAL: Duration = Duration::from_secs(1);

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
