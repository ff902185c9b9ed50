//! The consumer's threads: one a shard, one for discovery. They wait, call and pass on; what they
//! do is decided by [`ShardReader`] and [`Discovery`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, select};

use crate::client::{Client, ShardIterator};
use crate::consumer::decoder::Decoding;
use crate::consumer::discovery::{Discovery, Found, Start};
use crate::consumer::emitter::News;
use crate::consumer::meters::{Fetch, Meters, ShardMeter};
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::queue::{Message, QueueSender, queue};
use crate::consumer::record::Record;
use crate::consumer::shard_reader::{End, Settings, ShardReader, Step};
use crate::consumer::shelf::{Bell, Shelf};
use crate::error::{Error, Result, Verdict};
use crate::model::{Operation, ShardId, ShardRef};
use crate::sys::stop::Stop;
use crate::sys::thread;

/// What it takes to start a shard's thread.
#[derive(Clone)]
pub(super) struct Workers {
    pub client: Client,
    pub settings: Settings,
    pub get_records_max: u32,
    /// Tells the caller that there is something to look at.
    pub bell: Bell,
    pub stop: Stop,
    pub meters: Arc<Meters>,
    pub decoding: Arc<Decoding>,
    /// Every thread holds a clone: when the last is gone, all threads have ended.
    pub _alive: Sender<Infallible>,
}

impl Workers {
    /// Starts a shard's thread, which says by `ready` that its first iterator is taken.
    pub fn start(&self, start: Start, ready: Option<Sender<()>>) -> Result<News> {
        let shard = start.shard.clone();
        let meter = self.meters.begin(&shard);
        let (sender, receiver) = queue(self.bell.clone(), meter.clone());
        let position = self.settings.fixed(start.position.clone());
        let name = shard_thread_name(&shard.shard_id);
        let mut workers = self.clone();
        workers.client = self.client.with_watch(meter.clone());
        let name_of_thread = name.clone();
        log::info!("{shard}: reading starts at {position:?}");
        thread::spawn(name, STACK_BYTES, move || {
            let work = || shard_loop(&workers, start, &sender, &meter, ready);
            if let Err(error) = thread::caught(&name_of_thread, work) {
                log::error!("{error}");
                sender.send(Message::Failed(error));
            }
        })?;
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
fn shard_loop(
    workers: &Workers,
    start: Start,
    queue: &QueueSender,
    meter: &ShardMeter,
    mut ready: Option<Sender<()>>,
) {
    let (client, clock) = (&workers.client, &workers.client.sys().clock);
    let shard = start.shard.clone();
    let mut reader = ShardReader::new(start, workers.settings.clone(), clock.now());
    while !workers.stop.is_stopped() {
        let called = clock.now();
        let done = match reader.next_step(called) {
            Step::GetIterator(position) => {
                client
                    .get_shard_iterator(&shard, &position)
                    .map(|iterator| {
                        reader.on_iterator(iterator);
                        // Dropped, it says that reading can begin.
                        ready.take();
                    })
            }
            Step::GetRecords(iterator) => match read(workers, &mut reader, &iterator, meter) {
                Ok((records, last)) => {
                    if !records.is_empty() {
                        queue.send(Message::Records(records));
                    }
                    if let Some(last) = last {
                        meter.end();
                        queue.send(last);
                        return;
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Step::WaitUntil(until) => {
                meter.slept(until - called);
                clock.wait_until(until, &workers.stop);
                Ok(())
            }
            Step::Done(end) => {
                log::info!("{shard}: reading ends: {end:?}");
                meter.end();
                if end == End::ShardEnd {
                    workers.meters.ended();
                }
                queue.send(Message::End(end));
                return;
            }
        };
        let Err(error) = done else { continue };
        match error.verdict() {
            Verdict::NewIterator => reader.on_expired(clock.now()),
            _ if error.is_retryable() => {
                workers.pause_after(&error, error.operation().unwrap_or(Operation::GetRecords));
            }
            _ => {
                queue.send(Message::Failed(error));
                return;
            }
        }
    }
}

/// Makes one GetRecords call. What is returned beside the records, if anything, ends the reading.
fn read(
    workers: &Workers,
    reader: &mut ShardReader,
    iterator: &ShardIterator,
    meter: &ShardMeter,
) -> Result<(Vec<Record>, Option<Message>)> {
    let (client, clock) = (&workers.client, &workers.client.sys().clock);
    let called = clock.now();
    let output = client.get_records(iterator, workers.get_records_max)?;
    let fetch = Fetch::of(&output, workers.get_records_max);
    let mut records = reader.on_records(called, output)?;
    meter.fetched(fetch, &records, reader.left_out(), clock.now());
    let last = workers.decoding.apply(&mut records, meter);
    Ok((records, last))
}

/// The discovery thread: lists shards by interval, and at once when one has ended.
pub(super) struct DiscoveryThread {
    pub workers: Workers,
    pub discovery: Discovery,
    pub streams: Vec<Arc<str>>,
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
            let timer = clock.at(if self.childless.is_empty() {
                next_listing
            } else {
                next_listing.min(children)
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
        let lacking =
            |stream: &Arc<str>| self.childless.iter().any(|shard| shard.stream == *stream);
        let streams: Vec<_> = self
            .streams
            .iter()
            .filter(|stream| all || lacking(stream))
            .cloned()
            .collect();
        for stream in streams {
            match self.workers.client.list_shards(&stream) {
                Ok(listing) => {
                    let listed = News::listed(&stream, &listing);
                    let found = self.discovery.on_listing(&stream, listing);
                    self.pass_on(found)?;
                    self.news.put([listed]);
                }
                // The shards that are known go on; a later round may bring the others.
                Err(error) if error.is_retryable() || self.workers.stop.is_stopped() => {
                    log::warn!("{error}")
                }
                Err(error) => return Err(error),
            }
        }
        self.settle();
        Ok(())
    }

    fn pass_on(&mut self, found: Found) -> Result<()> {
        self.workers.meters.found(found.known.len());
        let known = found
            .known
            .into_iter()
            .map(|(shard, position)| News::Known(shard, position));
        self.news.put(known);
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
            let settled = discovery.has_children(shard);
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
