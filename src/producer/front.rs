//! The caller's side: open aggregates under one short lock a stream, and a shelf for finished ones.
//!
//! Order of locks: the names, a stream's aggregator, then the shelf or the ledger. What is finished
//! is laid on the shelf before its stream's lock is let go, so that the records of one key lie there
//! in the order they were put. No lock is held while blocking or while calling the user's code.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender};

use crate::error::{Error, ErrorKind, Result};
use crate::model::ShardMap;
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::delivery::Delivery;
use crate::producer::group::Group;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::ledger::{Ledger, Standing};
use crate::producer::placement::earlier;
use crate::producer::record::UserRecord;
use crate::sys::clock::Clock;
use crate::sys::lock::{lock, read, write};

pub(super) struct Front {
    default: Option<Arc<Stream>>,
    named: RwLock<HashMap<Arc<str>, Arc<Stream>>>,
    /// The intake's account of the next stream that comes.
    next_account: AtomicUsize,
    bench: Arc<Bench>,
    bell: Receiver<()>,
}

/// One stream that records are put to.
pub(super) struct Stream {
    pub name: Arc<str>,
    aggregator: Mutex<Aggregator>,
    pub ledger: Arc<Ledger>,
    /// Whether the hash key decides nothing, so that it need not be known.
    has_one_shard: AtomicBool,
    bench: Arc<Bench>,
}

/// What the streams share.
struct Bench {
    clock: Arc<dyn Clock>,
    rules: Rules,
    shelf: Mutex<Shelf>,
    ring: Sender<()>,
    /// Set before the last look at the open aggregates: nothing is opened after it.
    closed: AtomicBool,
}

/// What waits for the pipeline; bounded by the intake, whose room these records hold.
#[derive(Default)]
pub(super) struct Shelf {
    pub finished: Vec<KinesisRecord>,
    /// Streams whose first open aggregate nobody watches yet.
    pub opened: Vec<(Instant, Arc<Stream>)>,
    /// Streams for whose records on their way somebody waits.
    pub flush: BTreeSet<Arc<str>>,
    /// Of what is finished.
    bytes: usize,
    /// When the pipeline comes by itself; `None` while it is awake, or if nothing is due.
    comes_at: Option<Instant>,
}

impl Front {
    pub fn new(default: Option<Arc<str>>, rules: Rules, clock: Arc<dyn Clock>) -> Front {
        let (ring, bell) = channel::bounded(1);
        let bench = Arc::new(Bench {
            clock,
            rules,
            shelf: Mutex::default(),
            ring,
            closed: AtomicBool::new(false),
        });
        let default = default.map(|name| Arc::new(Stream::new(name, &bench, 0)));
        Front {
            default,
            named: RwLock::default(),
            next_account: AtomicUsize::new(1),
            bench,
            bell,
        }
    }

    /// Rings when the shelf has something that the pipeline does not know of.
    pub fn bell(&self) -> &Receiver<()> {
        &self.bell
    }

    pub fn default_stream(&self) -> Option<&Arc<str>> {
        self.default.as_ref().map(|stream| &stream.name)
    }

    /// The stream of a name, or the default stream.
    ///
    /// # Errors
    /// There is no name and no default, or there are too many streams.
    pub fn stream(&self, name: Option<&Arc<str>>) -> Result<Cow<'_, Arc<Stream>>> {
        let default = self.default.as_ref();
        let default = default.filter(|default| name.is_none_or(|name| *name == default.name));
        match (default, name) {
            (Some(default), _) => Ok(Cow::Borrowed(default)),
            (None, None) => Err(invalid(
                "the record names no stream and the producer has no default",
            )),
            (None, Some(name)) => match self.known(name) {
                Some(known) => Ok(Cow::Owned(known)),
                None => self.add(name).map(Cow::Owned),
            },
        }
    }

    /// The stream of a name, if a record was put to it.
    pub fn known(&self, name: &str) -> Option<Arc<Stream>> {
        let default = self
            .default
            .as_ref()
            .filter(|default| *default.name == *name);
        default.cloned().or_else(|| {
            let named = read(&self.named);
            named.get(name).cloned()
        })
    }

    fn add(&self, name: &Arc<str>) -> Result<Arc<Stream>> {
        if name.trim().is_empty() {
            return Err(invalid("the record names a stream without a name"));
        }
        let mut named = write(&self.named);
        if named.len() >= STREAMS_MAX && !named.contains_key(name) {
            return Err(invalid(&format!(
                "a producer puts to {STREAMS_MAX} streams at most"
            )));
        }
        let stream = || {
            let account = self.next_account.fetch_add(1, Ordering::Relaxed);
            Arc::new(Stream::new(name.clone(), &self.bench, account))
        };
        Ok(named.entry(name.clone()).or_insert_with(stream).clone())
    }

    /// Everything that was laid down since the last time.
    pub fn clear_shelf(&self) -> Shelf {
        std::mem::take(&mut *self.bench.shelf())
    }

    /// Notes that the pipeline sleeps until then, so that it is woken only for what cannot wait.
    pub fn sleep_until(&self, deadline: Option<Instant>) {
        self.bench.shelf().comes_at = deadline;
    }

    /// Finishes every open aggregate of these streams, and asks for all of theirs on its way to be sent.
    pub fn flush(&self, streams: &[Arc<Stream>]) {
        streams.iter().for_each(|stream| stream.finish_all());
        let names = streams.iter().map(|stream| stream.name.clone());
        self.bench.shelf().flush.extend(names);
        self.bench.ring_if(true);
    }

    /// Finishes every open aggregate.
    pub fn finish_all(&self) {
        for stream in self.streams() {
            stream.finish_all();
        }
    }

    /// Has the pipeline look around.
    pub fn ring(&self) {
        self.bench.ring_if(true);
    }

    /// Takes nothing in any more; what was taken in lies on the shelf afterwards.
    pub fn close(&self) {
        self.bench.closed.store(true, Ordering::SeqCst);
        self.finish_all();
    }

    pub fn is_closed(&self) -> bool {
        self.bench.closed.load(Ordering::SeqCst)
    }

    pub fn streams(&self) -> Vec<Arc<Stream>> {
        let named = read(&self.named);
        self.default.iter().chain(named.values()).cloned().collect()
    }
}

impl Stream {
    fn new(name: Arc<str>, bench: &Arc<Bench>, account: usize) -> Stream {
        Stream {
            aggregator: Mutex::new(Aggregator::new(name.clone(), bench.rules.clone())),
            name,
            ledger: Arc::new(Ledger::of(account)),
            has_one_shard: AtomicBool::new(false),
            bench: bench.clone(),
        }
    }

    /// Puts a record into the open aggregate of its shard.
    ///
    /// # Errors
    /// The producer was closed; the record comes back.
    pub fn put(self: &Arc<Stream>, record: UserRecord) -> Result<Delivery, (UserRecord, Error)> {
        // The MD5 of a key is the dearest part of a put, and so is done before the lock.
        let hash_key = (!self.has_one_shard.load(Ordering::Relaxed)).then(|| record.hash_key());
        let mut aggregator = self.aggregator();
        if self.bench.closed.load(Ordering::SeqCst) {
            return Err((record, Error::new(ErrorKind::Closed)));
        }
        if let Some(delivery) = aggregator.join(hash_key, &record) {
            return Ok(delivery);
        }
        let (now, group) = (self.bench.clock.now(), Group::new(self.bench.clock.clone()));
        let mut finished = Vec::new();
        let delivery = aggregator.start(now, record, group, &mut finished);
        let opened = aggregator.unwatched_deadline();
        let opened = opened.map(|deadline| (deadline, self.clone()));
        let news = self.lay_down(now, finished, opened);
        drop(aggregator);
        self.bench.ring_if(news);
        Ok(delivery)
    }

    pub fn follow(self: &Arc<Stream>, map: Arc<ShardMap>) {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        self.has_one_shard
            .store(map.open_shards() == 1, Ordering::Relaxed);
        aggregator.follow(map, &mut finished);
        let news = self.lay_down(self.bench.clock.now(), finished, None);
        self.bench.ring_if(news);
    }

    /// Aggregates from now on or not.
    pub fn aggregate(self: &Arc<Stream>, yes: bool) {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        aggregator.aggregate(yes, &mut finished);
        let news = self.lay_down(self.bench.clock.now(), finished, None);
        self.bench.ring_if(news);
    }

    /// Lays down what is due; gives the next deadline to come back for.
    pub fn finish_due(self: &Arc<Stream>, now: Instant) -> Option<Instant> {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        let next = aggregator.finish_due(now, &mut finished);
        // Who asks is who clears the shelf.
        self.lay_down(now, finished, None);
        next
    }

    pub fn finish_all(self: &Arc<Stream>) {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        aggregator.finish_all(&mut finished);
        self.lay_down(self.bench.clock.now(), finished, None);
    }

    /// What it has taken in, open aggregates included.
    pub fn standing(&self) -> Standing {
        // Under its lock nothing goes from one account to the other.
        let aggregator = self.aggregator();
        let (open, oldest) = aggregator.open();
        let finished = self.ledger.standing();
        Standing {
            pending: finished.pending + open,
            received: finished.received + open,
            oldest: earlier(finished.oldest, oldest),
        }
    }

    /// Says whether the pipeline has to be woken. To be called under the aggregator's lock.
    fn lay_down(
        self: &Arc<Stream>,
        now: Instant,
        mut finished: Vec<KinesisRecord>,
        opened: Option<(Instant, Arc<Stream>)>,
    ) -> bool {
        if finished.is_empty() && opened.is_none() {
            return false;
        }
        let rules = &self.bench.rules;
        let (mut due, mut bytes) = (opened.as_ref().map(|(at, _)| *at), 0);
        for record in &mut finished {
            record.deadline = record.deadline.max(rules.company(now));
            due = earlier(due, Some(record.deadline));
            bytes += record.bytes();
            for run in &mut record.runs {
                run.ticket = Some(self.ledger.enter(run.len() as usize, record.since));
            }
        }
        let mut shelf = self.bench.shelf();
        shelf.finished.append(&mut finished);
        shelf.opened.extend(opened);
        shelf.bytes += bytes;
        let comes_in_time = due.is_some_and(|due| shelf.comes_at.is_some_and(|at| at <= due));
        !comes_in_time || rules.is_enough(shelf.finished.len(), shelf.bytes)
    }

    fn aggregator(&self) -> MutexGuard<'_, Aggregator> {
        lock(&self.aggregator)
    }
}

impl Bench {
    fn ring_if(&self, news: bool) {
        if news {
            // A bell that already rings needs no second pull.
            let _ = self.ring.try_send(());
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

fn invalid(reason: &str) -> Error {
    let reason = reason.to_owned();
    Error::new(ErrorKind::InvalidRecord { reason })
}

/// Streams that a producer remembers; each costs a few KiB, more with many shards.
const STREAMS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::config::ProducerConfig;
    use crate::sys::Sys;

    fn front() -> Front {
        let config = ProducerConfig::builder().build().expect("valid");
        let name = Some("orders".into());
        Front::new(name, Rules::of(&config), Sys::real().clock)
    }

    fn record() -> UserRecord {
        UserRecord::new("key", "data")
    }

    /// How many user records lie on the shelf.
    fn laid_down(front: &Front) -> u32 {
        let finished = front.clear_shelf().finished;
        finished.iter().map(KinesisRecord::users).sum()
    }

    #[test]
    fn nothing_is_taken_in_once_it_is_closed() {
        let front = front();
        // A put that has its stream already looks at nothing but the stream.
        let stream = front.stream(None).expect("the default").into_owned();
        stream.put(record()).expect("taken in");
        front.close();
        let (refused, error) = stream.put(record()).expect_err("closed");
        assert_eq!(refused, record());
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        front.finish_all();
        assert_eq!(laid_down(&front), 1);
    }

    /// Whoever looks at the flag before it has the lock can be overtaken by the close in between.
    #[test]
    fn what_a_put_takes_in_beside_a_close_lies_on_the_shelf_afterwards() {
        for _ in 0..500 {
            let (front, start) = (front(), Barrier::new(3));
            let taken: u32 = std::thread::scope(|scope| {
                let putters = [(); 2].map(|()| {
                    scope.spawn(|| {
                        let stream = front.stream(None).expect("the default").into_owned();
                        start.wait();
                        (0..3)
                            .map(|_| u32::from(stream.put(record()).is_ok()))
                            .sum::<u32>()
                    })
                });
                start.wait();
                front.close();
                let laid_down = laid_down(&front);
                let taken: u32 = putters
                    .map(|one| one.join().expect("no panic"))
                    .iter()
                    .sum();
                assert_eq!(laid_down, taken);
                taken
            });
            assert!(taken <= 6);
        }
    }
}
