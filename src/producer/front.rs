//! The caller's side: open aggregates under one short lock a stream, and a shelf for finished ones.
//!
//! Order of locks: the names, a stream's aggregator, then the shelf or the ledger. What is finished
//! is laid on the shelf before its stream's lock is let go, so that the records of one key lie there
//! in the order they were put. No lock is held while blocking or while calling the user's code.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender};

use crate::error::{Error, ErrorKind};
use crate::model::ShardMap;
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::delivery::Delivery;
use crate::producer::group::Group;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::ledger::Ledger;
use crate::producer::record::UserRecord;
use crate::sys::clock::Clock;

pub(super) struct Front {
    default: Option<Arc<Stream>>,
    named: RwLock<HashMap<Arc<str>, Arc<Stream>>>,
    rules: Rules,
    bench: Arc<Bench>,
    bell: Receiver<()>,
}

/// One stream that records are put to.
pub(super) struct Stream {
    pub name: Arc<str>,
    aggregator: Mutex<Aggregator>,
    /// Whether the hash key decides nothing, so that it need not be known.
    has_one_shard: AtomicBool,
    bench: Arc<Bench>,
}

/// What the streams share.
struct Bench {
    clock: Arc<dyn Clock>,
    ledger: Arc<Ledger>,
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
    /// Somebody waits for everything on its way.
    pub flush: bool,
}

impl Front {
    pub fn new(
        default: Option<Arc<str>>,
        rules: Rules,
        clock: Arc<dyn Clock>,
        ledger: Arc<Ledger>,
    ) -> Front {
        let (ring, bell) = channel::bounded(1);
        let bench = Arc::new(Bench {
            clock,
            ledger,
            shelf: Mutex::default(),
            ring,
            closed: AtomicBool::new(false),
        });
        let default = default.map(|name| Arc::new(Stream::new(name, &rules, &bench)));
        Front {
            default,
            named: RwLock::default(),
            rules,
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

    /// The stream of a name, or the default stream; `None` if there is no name and no default.
    pub fn stream(&self, name: Option<&Arc<str>>) -> Option<Cow<'_, Arc<Stream>>> {
        let Some(name) = name else {
            return self.default.as_ref().map(Cow::Borrowed);
        };
        if self.default_stream() == Some(name) {
            return self.default.as_ref().map(Cow::Borrowed);
        }
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let known = named.get(name).cloned();
        drop(named);
        Some(Cow::Owned(known.unwrap_or_else(|| self.add(name))))
    }

    fn add(&self, name: &Arc<str>) -> Arc<Stream> {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let stream = || Arc::new(Stream::new(name.clone(), &self.rules, &self.bench));
        named.entry(name.clone()).or_insert_with(stream).clone()
    }

    /// Everything that was laid down since the last time.
    pub fn clear_shelf(&self) -> Shelf {
        std::mem::take(&mut *self.bench.shelf())
    }

    /// Finishes every open aggregate, and asks for everything on its way to be sent.
    pub fn flush(&self) {
        self.finish_all();
        self.bench.shelf().flush = true;
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

    fn streams(&self) -> Vec<Arc<Stream>> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        self.default.iter().chain(named.values()).cloned().collect()
    }
}

impl Stream {
    fn new(name: Arc<str>, rules: &Rules, bench: &Arc<Bench>) -> Stream {
        Stream {
            aggregator: Mutex::new(Aggregator::new(name.clone(), rules.clone())),
            name,
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
        let news = self.bench.lay_down(finished, opened);
        drop(aggregator);
        self.bench.ring_if(news);
        Ok(delivery)
    }

    pub fn follow(&self, map: Arc<ShardMap>) {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        self.has_one_shard
            .store(map.open_shards() == 1, Ordering::Relaxed);
        aggregator.follow(map, &mut finished);
        let news = self.bench.lay_down(finished, None);
        self.bench.ring_if(news);
    }

    /// Lays down what is due; gives the next deadline to come back for.
    pub fn finish_due(&self, now: Instant) -> Option<Instant> {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        let next = aggregator.finish_due(now, &mut finished);
        // Who asks is who clears the shelf.
        self.bench.lay_down(finished, None);
        next
    }

    fn finish_all(&self) {
        let (mut aggregator, mut finished) = (self.aggregator(), Vec::new());
        aggregator.finish_all(&mut finished);
        self.bench.lay_down(finished, None);
    }

    fn aggregator(&self) -> MutexGuard<'_, Aggregator> {
        self.aggregator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bench {
    /// Says whether there is news for the pipeline. To be called under the stream's lock.
    fn lay_down(
        &self,
        mut finished: Vec<KinesisRecord>,
        opened: Option<(Instant, Arc<Stream>)>,
    ) -> bool {
        if finished.is_empty() && opened.is_none() {
            return false;
        }
        for run in finished.iter_mut().flat_map(|record| &mut record.runs) {
            run.epoch = self.ledger.enter(run.len() as usize);
        }
        let mut shelf = self.shelf();
        shelf.finished.append(&mut finished);
        shelf.opened.extend(opened);
        true
    }

    fn ring_if(&self, news: bool) {
        if news {
            // A bell that already rings needs no second pull.
            let _ = self.ring.try_send(());
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
