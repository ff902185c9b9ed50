//! The consumer's threads: one a shard, one for discovery. They wait, call and pass on; what they
//! do is decided by [`ShardReader`] and [`Discovery`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, select};

use crate::client::{Client, ShardIterator};
use crate::config::DataLoss;
use crate::consumer::budget::{Account, Budget};
use crate::consumer::decoder::Decoding;
use crate::consumer::discovery::{Discovery, Found, Start};
use crate::consumer::emitter::News;
use crate::consumer::meters::{Fetch, Meters, ShardMeter};
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::queue::{Message, QueueSender, queue};
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::{End, Settings, ShardReader, Step, Taken};
use crate::consumer::shelf::{Bell, Shelf};
use crate::consumer::trim_watch::Asked;
use crate::error::{Error, Result, Verdict};
use crate::model::{Operation, Shard, ShardId, ShardPosition, ShardRef};
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
        let bell = self.bell.clone();
        let (queue, receiver) = queue(bell, account.clone(), meter.clone(), start.complete_to);
        let mut workers = self.clone();
        workers.client = self.client.with_watch(meter.clone());
        let position = self.settings.fixed(start.position.clone());
        let name = shard_thread_name(&shard.shard_id);
        log::info!("{shard}: reading starts at {position:?}");
        let worker = ShardWorker {
            workers,
            name: name.clone(),
            account,
            meter,
            queue,
            ready,
            start,
            panics: 0,
        };
        thread::spawn(name, STACK_BYTES, move || worker.run())?;
        Ok(News::Started(shard, position, receiver))
    }

    /// Waits until stopped or until a failed call may be made again.
    fn pause_after(&self, error: &Error, operation: Operation) -> bool {
        let clock = &self.client.sys().clock;
        let pause = self.client.policy(operation).backoff_max;
        log::warn!("{error}; it is tried again in {} ms", pause.as_millis());
        clock.wait_until(clock.now() + pause, &self.stop)
    }
}

/// A shard's thread, from its first iterator to its end.
struct ShardWorker {
    workers: Workers,
    name: String,
    account: Arc<Account>,
    meter: Arc<ShardMeter>,
    queue: QueueSender,
    ready: Option<Sender<()>>,
    /// Behind what was handed over: where to begin again after a panic.
    start: Start,
    /// Since something was handed over.
    panics: u32,
}

impl ShardWorker {
    /// Reads to the end, and begins again where it was if something panics on the way: user code
    /// runs here as well, and one shard's trouble is not the others'.
    fn run(mut self) {
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
                self.queue.send(self.workers.decoding.last_word(error));
                return;
            }
        }
    }

    fn begin_again(&mut self, panic: Error) -> Result<()> {
        self.panics += 1;
        if self.panics > PANICS_MAX {
            return Err(panic);
        }
        let pause = PANIC_PAUSE * 2_u32.pow(self.panics - 1);
        log::error!("{panic}; it begins again in {} ms", pause.as_millis());
        self.meter.restarted(&panic);
        let clock = &self.workers.client.sys().clock;
        clock.wait_until(clock.now() + pause, &self.workers.stop);
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let clock = self.workers.client.sys().clock.clone();
        let settings = self.workers.settings.clone();
        let mut reader = ShardReader::new(self.start.clone(), settings, clock.now());
        while !self.workers.stop.is_stopped() {
            let step = reader.next_step(clock.now());
            if let Step::Done(end) = step {
                log::info!("{}: reading ends: {end:?}", self.start.shard);
                self.meter.end();
                if end == End::ShardEnd {
                    self.workers.meters.ended();
                }
                self.queue.send(Message::End(end));
                return Ok(());
            }
            if let Err(error) = self.take(step, &mut reader) {
                self.recover(error, &mut reader)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step, reader: &mut ShardReader) -> Result<()> {
        let client = &self.workers.client;
        match step {
            Step::GetIterator(position) => self.get_iterator(&position, reader),
            Step::GetRecords(iterator, limit) => self.get_records(&iterator, limit, reader),
            Step::GetRetention => {
                let retention = self.workers.retentions.of(client, &self.start.shard.stream);
                reader.on_retention(client.server_time(), retention);
                Ok(())
            }
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
        match client.get_shard_iterator(&self.start.shard, position) {
            Ok(iterator) => {
                reader.on_iterator(iterator);
                // Dropped, it says that reading can begin.
                self.ready.take();
            }
            Err(error) => {
                let gap = reader.on_refused(error)?;
                gap.map(|gap| self.queue.send(Message::Gap(gap)));
            }
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
        let expected = reader.bytes_expected();
        let Some(mut room) = self.account.reserve(expected, &self.workers.stop) else {
            return Ok(());
        };
        let (called, at) = (client.sys().clock.now(), client.server_time());
        let output = client.get_records(iterator, limit)?;
        let answered = client.server_time();
        let fetch = Fetch::of(&output, limit);
        let taken = reader.on_records(called, Asked { at, answered }, output)?;
        room.resize(reader.bytes_taken());
        let Taken { gaps, mut records } = taken;
        let aim = reader.bytes_requested();
        self.meter
            .fetched(fetch, aim, &records, &gaps, client.sys().clock.now());
        for gap in gaps {
            self.queue.send(Message::Gap(gap));
        }
        let refused = self.workers.decoding.apply(&mut records, &self.meter);
        let is_new = !records.is_empty();
        if is_new {
            self.queue.send_with(Message::Records(records), Some(room));
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        self.on_handed_over(is_new, reader);
        Ok(())
    }

    fn on_handed_over(&mut self, is_new: bool, reader: &ShardReader) {
        let (position, complete_to) = reader.place();
        if is_new || position != self.start.position {
            self.panics = 0;
        }
        if let Some(complete_to) = complete_to.filter(|_| !is_new) {
            self.queue.complete(complete_to);
        }
        // A place inside an aggregate stays until what is behind it has come.
        (self.start.position, self.start.complete_to) = (position, complete_to);
    }

    /// Says whether to go on after an error, once it is time to.
    fn recover(&mut self, error: Error, reader: &mut ShardReader) -> Result<()> {
        let clock = &self.workers.client.sys().clock;
        match error.verdict() {
            _ if self.workers.stop.is_stopped() => {}
            Verdict::NewIterator => reader.on_expired(clock.now()),
            _ if error.is_retryable() => {
                let operation = error.operation().unwrap_or(Operation::GetRecords);
                self.workers.pause_after(&error, operation);
            }
            _ if error.is_service("ResourceNotFoundException") => {
                let gap = reader.on_vanished(error)?;
                self.queue.send(Message::Gap(gap));
            }
            _ => return Err(error),
        }
        Ok(())
    }
}

/// The discovery thread: lists shards by interval, and at once when one has ended.
pub(super) struct DiscoveryThread {
    pub workers: Workers,
    pub discovery: Discovery,
    pub interval: Duration,
    /// Shards that were handed out to their end.
    pub ended: Arc<Shelf<ShardRef>>,
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
        for shard in self.ended.take() {
            let starts = self.discovery.on_end(&shard);
            self.pass_on(Found {
                starts,
                ..Found::default()
            })?;
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
                let listed = News::listed(&stream, &listing);
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
        news.extend(known.map(|(shard, position)| News::Known(shard, settings.fixed(position))));
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

/// Panics in a row, with nothing handed over between them, after which a shard is given up.
const PANICS_MAX: u32 = 5;

/// How long a shard rests after a panic; twice as long after each that follows.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

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
