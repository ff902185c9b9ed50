use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::Client;
use crate::config::ConsumerConfig;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::discovery::{Discovery, Start};
use crate::consumer::emitter::{Emitter, News};
use crate::consumer::shard_reader::Settings;
use crate::consumer::shelf::{Bell, Shelf};
use crate::consumer::store::CheckpointStore;
use crate::consumer::threads::{DiscoveryThread, Workers};
use crate::consumer::{Commits, Consumer};
use crate::error::{Error, Result, TransportError};
use crate::model::{Operation, ShardPosition, StartPosition, Timestamp};
use crate::retry::RetryPolicy;
use crate::sys::stop::StopSource;

/// Describes a [`Consumer`].
#[must_use = "a builder does nothing until `start`"]
pub struct ConsumerBuilder {
    client: Client,
    streams: Vec<Arc<str>>,
    config: ConsumerConfig,
    restore: Option<Checkpoint>,
    store: Option<Box<dyn CheckpointStore>>,
    commit_interval: Option<Duration>,
}

impl ConsumerBuilder {
    pub(super) fn new(client: Client) -> ConsumerBuilder {
        let config = ConsumerConfig::default();
        ConsumerBuilder {
            client,
            streams: Vec::new(),
            config,
            restore: None,
            store: None,
            commit_interval: None,
        }
    }

    /// Adds a stream to read; at least one is needed.
    pub fn stream(mut self, name: impl Into<String>) -> ConsumerBuilder {
        let name = Arc::from(name.into());
        if !self.streams.contains(&name) {
            self.streams.push(name);
        }
        self
    }

    /// Sets what can be told in data. Default: [`ConsumerConfig::default`].
    pub fn config(mut self, config: ConsumerConfig) -> ConsumerBuilder {
        self.config = config;
        self
    }

    /// Goes on from a checkpoint, which the start position gives way to. An empty one changes nothing.
    pub fn restore(mut self, checkpoint: Checkpoint) -> ConsumerBuilder {
        self.restore = Some(checkpoint);
        self
    }

    /// Goes on from the checkpoint in a store, if it has one, and saves to it on
    /// [`commit`](Consumer::commit) and [`close`](Consumer::close).
    pub fn checkpoint_store(mut self, store: impl CheckpointStore + 'static) -> ConsumerBuilder {
        self.store = Some(Box::new(store));
        self
    }

    /// Commits inside `next` when this much time has passed: the caller has come back for more, so
    /// the last record is done with. Default: never.
    pub fn commit_interval(mut self, interval: Duration) -> ConsumerBuilder {
        self.commit_interval = Some(interval);
        self
    }

    /// Lists the shards and starts their threads. What is put after it returns is read, also from
    /// `Latest`, for which it waits until every shard has its place.
    ///
    /// # Errors
    /// `Config`: no stream is named. `Service`, `Transport`, `Credentials`: the first calls failed.
    /// `Checkpoint`, `Malformed`: the store has a checkpoint that cannot be read.
    pub fn start(mut self) -> Result<Consumer> {
        if self.streams.is_empty() {
            return Err(Error::config(
                "stream",
                "",
                "the name of at least one stream",
            ));
        }
        let restored = self.restored()?;
        let stop = StopSource::new();
        let client = self.client.with_stop(stop.stop());
        let (bell, heard) = Bell::new();
        let (alive, all_ended) = channel::bounded(0);
        let mut discovery = Discovery::new(&self.streams, self.config.start_position, restored);
        let listings = self.first_listings(&client)?;
        let started = client.server_time();
        let workers = Workers {
            client,
            settings: Settings::new(&self.config, started),
            get_records_max: self.config.get_records_max,
            bell: bell.clone(),
            stop: stop.stop(),
            _alive: alive,
        };
        let mut news = Vec::new();
        let (ready, all_ready) = channel::bounded(0);
        for (stream, listing) in self.streams.iter().zip(listings) {
            let found = discovery.on_listing(stream, listing);
            news.extend(
                found
                    .known
                    .into_iter()
                    .map(|(shard, position)| News::Known(shard, instant(position, started))),
            );
            for start in found.starts {
                news.push(first(&workers, start, &ready)?);
            }
        }
        drop(ready);
        wait_until_ready(&workers, &all_ready)?;
        self.assemble(workers, discovery, news, stop, heard, all_ended)
    }

    fn restored(&mut self) -> Result<Checkpoint> {
        let stored = self.store.as_mut().map_or(Ok(None), |store| store.load())?;
        Ok(self.restore.take().or(stored).unwrap_or_default())
    }

    /// Few retries: a wrong endpoint should be said soon.
    fn first_listings(&self, client: &Client) -> Result<Vec<Vec<crate::model::Shard>>> {
        let policy = client.policy(Operation::ListShards);
        let max_retries = Some(
            policy
                .max_retries
                .unwrap_or(START_RETRIES_MAX)
                .min(START_RETRIES_MAX),
        );
        let client = client.with_retry(
            Operation::ListShards,
            RetryPolicy {
                max_retries,
                ..policy.clone()
            },
        );
        self.streams
            .iter()
            .map(|stream| client.list_shards(stream))
            .collect()
    }

    fn assemble(
        self,
        workers: Workers,
        discovery: Discovery,
        first_news: Vec<News>,
        stop: StopSource,
        heard: Receiver<()>,
        all_ended: Receiver<std::convert::Infallible>,
    ) -> Result<Consumer> {
        let clock = workers.client.sys().clock.clone();
        let news = Arc::new(Shelf::new(workers.bell.clone()));
        let (ended_bell, ended_heard) = Bell::new();
        let ended = Arc::new(Shelf::new(ended_bell));
        let childless = discovery.childless();
        let mut consumer = Consumer {
            emitter: Emitter::new(childless.clone()),
            events: Default::default(),
            news: news.clone(),
            ended: ended.clone(),
            heard,
            all_ended,
            stop: Arc::new(stop),
            over: false,
            until_caught_up: self.config.until_caught_up,
            commits: Commits::new(self.store, self.commit_interval, clock.now()),
            clock,
        };
        // Before `start` returns, so that a checkpoint taken at once is whole.
        first_news
            .into_iter()
            .try_for_each(|news| consumer.learn(news))?;
        let (streams, interval) = (self.streams, self.config.shard_discovery_interval);
        let ended_bell = ended_heard;
        DiscoveryThread {
            workers,
            discovery,
            streams,
            interval,
            ended,
            ended_bell,
            news,
            childless,
        }
        .start()?;
        Ok(consumer)
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConsumerBuilder {
            streams, config, ..
        } = self;
        f.debug_struct("ConsumerBuilder")
            .field("streams", streams)
            .field("config", config)
            .finish_non_exhaustive()
    }
}

/// Starts a shard of the first listing. From `Latest`, the consumer is ready once it has its place.
fn first(workers: &Workers, start: Start, ready: &Sender<()>) -> Result<News> {
    let latest = start.position == ShardPosition::Start(StartPosition::Latest);
    let started = workers.settings.started;
    Ok(match workers.start(start, latest.then(|| ready.clone()))? {
        News::Started(shard, position, queue) => {
            News::Started(shard, instant(position, started), queue)
        }
        news => news,
    })
}

/// What a checkpoint says for `Latest`: the instant that it meant, so that it never means another.
fn instant(position: ShardPosition, started: Timestamp) -> ShardPosition {
    match position {
        ShardPosition::Start(StartPosition::Latest) => {
            ShardPosition::Start(StartPosition::AtTimestamp(started))
        }
        other => other,
    }
}

fn wait_until_ready(workers: &Workers, all_ready: &Receiver<()>) -> Result<()> {
    let clock = &workers.client.sys().clock;
    let timer = clock.at(clock.now() + READY_WAIT_MAX);
    select! {
        recv(all_ready) -> _ => Ok(()),
        recv(timer.channel()) -> _ => Err(TransportError::Timeout(READY_WAIT_MAX).into()),
    }
}

/// Attempts beyond the first, of each call that `start` makes itself.
const START_RETRIES_MAX: u32 = 3;

/// How long the iterators of all shards may take.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
