use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, TryRecvError, select};

use crate::client::Client;
use crate::config::ConsumerConfig;
use crate::consumer::Consumer;
use crate::consumer::assigner::{Assignment, ShardAssigner};
use crate::consumer::bound::Until;
use crate::consumer::budget::Budget;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::commits::Commits;
use crate::consumer::decoder::{Decoding, PoisonPolicy};
use crate::consumer::discovery::{Discovery, Plan};
use crate::consumer::emitter::{Emitter, News};
use crate::consumer::event_time::{Member, Wanted};
use crate::consumer::first_listings::{Listing, first_listings};
use crate::consumer::meters::Meters;
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::record::Record;
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shelf::{Bell, Shelf};
use crate::consumer::store::CheckpointStore;
use crate::consumer::threads::{DiscoveryThread, Report, Workers, start_reports, start_sync};
use crate::error::{Error, Result, TransportError};
use crate::model::{ShardPosition, StartPosition, stream_name};
use crate::sys::stop::StopSource;

/// Describes a [`Consumer`].
#[must_use = "a builder does nothing until `start`"]
pub struct ConsumerBuilder {
    client: Client,
    /// Each with where it starts, if that is not where all do.
    streams: Vec<(Arc<str>, Option<StartPosition>)>,
    assignment: Assignment,
    until: Option<Checkpoint>,
    config: ConsumerConfig,
    restore: Option<Checkpoint>,
    store: Option<Box<dyn CheckpointStore>>,
    commit_interval: Option<Duration>,
    metrics: Option<(Duration, Report)>,
    decoding: Decoding,
    pub(super) event_time: Wanted,
}

impl ConsumerBuilder {
    pub(super) fn new(client: Client) -> ConsumerBuilder {
        let config = ConsumerConfig::default();
        ConsumerBuilder {
            client,
            streams: Vec::new(),
            assignment: Assignment::default(),
            until: None,
            config,
            restore: None,
            store: None,
            commit_interval: None,
            metrics: None,
            decoding: Decoding::default(),
            event_time: Wanted::default(),
        }
    }

    /// Adds a stream to read, by its name or its ARN; at least one is needed.
    ///
    /// A checkpoint made by a stream's name is good for its ARN, and the other way round.
    pub fn stream(self, name: impl Into<String>) -> ConsumerBuilder {
        self.add(name.into(), None)
    }

    /// Adds a stream to read, with a start position of its own.
    pub fn stream_from(self, name: impl Into<String>, start: StartPosition) -> ConsumerBuilder {
        self.add(name.into(), Some(start))
    }

    fn add(mut self, name: String, start: Option<StartPosition>) -> ConsumerBuilder {
        self.streams.retain(|(added, _)| **added != *name);
        self.streams.push((name.into(), start));
        self
    }

    /// Reads this consumer's share of the shards only: that of `index`, which counts from 0, among
    /// `parallelism` consumers, which may run anywhere. Default: all, 0 of 1.
    ///
    /// Each keeps a checkpoint of its own. A group of another size starts from all of them put
    /// together: each consumer takes its part. The order of a partition key's records across a
    /// reshard is kept where parent and child have the same reader; it does not wait for parents
    /// that others read. Flink's subtasks.
    pub fn subtask(mut self, index: usize, parallelism: usize) -> ConsumerBuilder {
        self.assignment = Assignment {
            index,
            parallelism,
            ..self.assignment
        };
        self
    }

    /// Sets who reads which shard of a group. Default: [`UniformAssigner`](crate::UniformAssigner).
    pub fn shard_assigner(mut self, assigner: impl ShardAssigner + 'static) -> ConsumerBuilder {
        self.assignment.assigner = Box::new(assigner);
        self
    }

    /// Reads up to where a checkpoint is, and ends: with the last record that the checkpoint covers
    /// in each of its shards. Shards that it does not know are not read. Default: no end.
    pub fn until_checkpoint(mut self, checkpoint: Checkpoint) -> ConsumerBuilder {
        self.until = Some(checkpoint);
        self
    }

    /// Sets what can be told in data. Default: [`ConsumerConfig::default`].
    pub fn config(mut self, config: ConsumerConfig) -> ConsumerBuilder {
        self.config = config;
        self
    }

    /// Goes on from a checkpoint, which the start position and the store's checkpoint give way to. An
    /// empty one changes nothing.
    pub fn restore(mut self, checkpoint: Checkpoint) -> ConsumerBuilder {
        self.restore = Some(checkpoint);
        self
    }

    /// Goes on from the checkpoint in a store, if it has one, and saves to it on
    /// [`commit`](Consumer::commit) and [`close`](Consumer::close). The store is the consumer's until
    /// that is closed or dropped.
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

    /// Decodes records on the threads that read them, many at a time, in place of the caller's loop.
    ///
    /// The value is had by [`Record::decoded`] and [`Record::take_decoded`]. A decoder that returns an
    /// error, or panics, refuses the record: see [`on_poison`](ConsumerBuilder::on_poison). What it
    /// says stands in that error, so it should not quote the record. Order is kept within each shard.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::{Consumer, ConsumerConfig, PoisonPolicy, PutRecordsEntry, Record, StartPosition};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 1).client();
    /// for data in ["17", "seventeen", "4"] {
    ///     let (data, partition_key) = (data.into(), "key".into());
    ///     client.put_record("orders", &PutRecordsEntry { data, partition_key, explicit_hash_key: None })?;
    /// }
    /// let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon).until_caught_up(true);
    /// let consumer = Consumer::builder(client)
    ///     .stream("orders")
    ///     .config(config.build()?)
    ///     .decoder(|record: &Record| String::from_utf8_lossy(record.data()).parse::<u32>())
    ///     .on_poison(PoisonPolicy::Skip)
    ///     .start()?;
    /// let mut sum = 0;
    /// for record in consumer {
    ///     sum += record?.take_decoded::<u32>().unwrap_or_default();
    /// }
    /// assert_eq!(sum, 21);
    /// # Ok(())
    /// # }
    /// ```
    pub fn decoder<T: Any + Send + Sync, E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        mut self,
        decode: impl Fn(&Record) -> Result<T, E> + Send + Sync + 'static,
    ) -> ConsumerBuilder {
        self.decoding.set(decode);
        self
    }

    /// Sets what to do with records that the decoder refuses. Default: [`PoisonPolicy::Fail`].
    pub fn on_poison(mut self, policy: PoisonPolicy) -> ConsumerBuilder {
        self.decoding.policy = policy;
        self
    }

    /// Reports the metrics every so often, and once more at the end, on a thread of the consumer's
    /// own: also while the caller's loop is stuck. Default: never.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use std::time::Duration;
    ///
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::Consumer;
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 2).client();
    /// let builder = Consumer::builder(client).stream("orders");
    /// let report = |metrics: &kinesis_blocking::ConsumerMetrics| println!("{}", metrics.to_json());
    /// builder.on_metrics(Duration::from_secs(60), report).start()?.close()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_metrics(
        mut self,
        interval: Duration,
        report: impl FnMut(&ConsumerMetrics) + Send + 'static,
    ) -> ConsumerBuilder {
        self.metrics = Some((interval, Box::new(report)));
        self
    }

    /// Lists the shards and starts their threads. What is put after it returns is read, also from
    /// `Latest`, for which it waits until every shard has its place.
    ///
    /// # Errors
    /// `Config`: no stream is named. `Service`, `Transport`, `Credentials`: the first calls failed.
    /// `Checkpoint`, `Malformed`: the store has a checkpoint that cannot be read. `DataLoss`: a shard
    /// of the checkpoint, or its stream, is gone.
    pub fn start(mut self) -> Result<Consumer> {
        self.check()?;
        let until = self.until()?;
        let meters = Arc::new(Meters::default());
        let (commits, restored) = self.restored(&meters)?;
        let restored = restored.renamed(|stream| self.spelling(stream));
        let stop = StopSource::new();
        let client = self.client.with_stop(stop.stop());
        let client = client.with_watch(meters.clone());
        let streams = self.streams.iter().map(|(name, _)| name);
        let listings = first_listings(&client, streams)?;
        let ((bell, heard), (ended_bell, ended_heard)) = (Bell::new(), Bell::new());
        let (alive, all_ended) = channel::bounded(0);
        let workers = Workers {
            settings: Settings::new(&self.config, until, &client),
            client,
            budget: Budget::new(self.config.buffered_bytes_max),
            retentions: Arc::new(Retentions::default()),
            bell,
            stop: stop.stop(),
            meters: meters.clone(),
            decoding: Arc::new(self.decoding),
            stamping: self.event_time.stamping(),
            queue_capacity: self.event_time.queue_capacity(&self.config),
            _alive: alive,
            count: Arc::new(()),
        };
        let bounded = !matches!(workers.settings.until, Until::Stopped);
        let start = self.config.start_position;
        let streams = self.streams.iter();
        let names: Vec<_> = streams.clone().map(|(name, _)| &**name).collect();
        let member = Member {
            streams: names.join(","),
            index: self.assignment.index,
            parallelism: self.assignment.parallelism,
        };
        let plan = Plan {
            streams: streams
                .map(|(name, own)| (name.clone(), own.unwrap_or(start)))
                .collect(),
            assignment: self.assignment,
            parent_before_child: self.config.parent_before_child,
        };
        let mut discovery = Discovery::new(plan, restored.clone());
        let news = start_shards(&workers, &mut discovery, listings)?;
        let clock = workers.client.sys().clock.clone();
        let now = clock.now();
        let (event_time, sync) =
            (self.event_time).begin(&self.config, &restored, member, &meters, now);
        let mut emitter = Emitter::new(restored, discovery.childless());
        emitter.set_event_time(event_time);
        let mut consumer = Consumer {
            emitter,
            events: VecDeque::new(),
            signals: VecDeque::new(),
            held: VecDeque::new(),
            news: Arc::new(Shelf::new(workers.bell.clone())),
            ended: Arc::new(Shelf::new(ended_bell)),
            heard,
            all_ended,
            stop: Arc::new(stop),
            over: false,
            bounded,
            threads: Arc::downgrade(&workers.count),
            commits,
            meters,
            clock,
        };
        // Before `start` returns, so that a checkpoint taken at once is whole.
        consumer.learn_all(news)?;
        consumer.emitter.expect(discovery.hidden());
        consumer.commits.begin(consumer.clock.now());
        if let Some((tracking, heard)) = sync {
            start_sync(&workers, tracking, heard)?;
        }
        if let Some((interval, report)) = self.metrics {
            start_reports(&workers, interval, report)?;
        }
        DiscoveryThread {
            childless: discovery.childless(),
            discovery,
            interval: self.config.shard_discovery_interval,
            ended: consumer.ended.clone(),
            ended_bell: ended_heard,
            news: consumer.news.clone(),
            workers,
        }
        .start()?;
        Ok(consumer)
    }

    fn check(&self) -> Result<()> {
        if let Some((interval, _)) = &self.metrics
            && interval.is_zero()
        {
            return Err(Error::config("on_metrics", "0", "an interval above 0"));
        }
        let Assignment {
            index, parallelism, ..
        } = self.assignment;
        if index >= parallelism {
            let (value, expected) = (
                format!("{index} of {parallelism}"),
                "an index below the parallelism",
            );
            return Err(Error::config("subtask", value, expected));
        }
        let Some((last, others)) = self.streams.split_last() else {
            let expected = "the name of at least one stream";
            return Err(Error::config("stream", "", expected));
        };
        // Which of the accounts the name means, only the service knows.
        let is_arn = |stream: &str| stream.starts_with("arn:");
        let twice = |(stream, _): &&(Arc<str>, _)| {
            stream_name(stream) == stream_name(&last.0) && is_arn(stream) != is_arn(&last.0)
        };
        match others.iter().find(twice) {
            Some(_) => {
                let expected = "named once only: it is there by its name and by an ARN";
                Err(Error::config("stream", stream_name(&last.0), expected))
            }
            None => Ok(()),
        }
    }

    /// How this consumer names a stream of a checkpoint: by its name, or by its ARN.
    fn spelling(&self, stream: &str) -> Option<Arc<str>> {
        let mut streams = self.streams.iter().map(|(name, _)| name);
        let known = streams.clone().any(|name| **name == *stream);
        let mut same = streams
            .by_ref()
            .filter(|name| stream_name(name) == stream_name(stream));
        let (one, other) = (same.next()?, same.next());
        let arns = one.starts_with("arn:") && stream.starts_with("arn:");
        (!known && !arns && other.is_none()).then(|| one.clone())
    }

    fn until(&self) -> Result<Until> {
        let config = &self.config;
        let until = match (&self.until, config.until_timestamp) {
            (Some(checkpoint), None) if !config.until_caught_up => {
                let checkpoint = checkpoint.clone().renamed(|stream| self.spelling(stream));
                Until::Checkpoint(checkpoint.into())
            }
            (Some(_), _) => {
                let expected = "the only end: the configuration has one as well";
                return Err(Error::config("until_checkpoint", "a checkpoint", expected));
            }
            (None, Some(time)) => Until::Timestamp(time),
            (None, None) if config.until_caught_up => Until::CaughtUp,
            (None, None) => Until::Stopped,
        };
        Ok(until)
    }

    fn restored(&mut self, meters: &Arc<Meters>) -> Result<(Commits, Checkpoint)> {
        let (store, meters) = (self.store.take(), meters.clone());
        let (mut commits, stored) = Commits::load(store, self.commit_interval, meters)?;
        let given = self.restore.take().filter(|given| !given.is_empty());
        if given.is_some() {
            commits.forget_state();
        }
        Ok((commits, given.or(stored).unwrap_or_default()))
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

/// Starts the shards of the first listings; from `Latest`, waits until each has its place.
fn start_shards(
    workers: &Workers,
    discovery: &mut Discovery,
    listings: Vec<Listing>,
) -> Result<Vec<News>> {
    let settings = &workers.settings;
    let (ready, all_ready) = channel::bounded(0);
    let mut news = Vec::new();
    for (stream, at, listing) in listings {
        let listed = News::listed(&stream, at, &listing);
        // Before its shards start: they have their watermarks from their parents.
        news.push(News::lineage(&stream, &listing));
        let found = discovery.on_listing(at, &stream, listing);
        workers.meters.found(found.known.len());
        for gap in found.gaps {
            news.push(News::Gap(settings.report(gap, None)?));
        }
        news.extend(found.vanished.into_iter().map(News::Vanished));
        news.extend(found.foreign.into_iter().map(News::Foreign));
        let known = found.known.into_iter();
        news.extend(known.map(|(shard, place)| News::Known(shard, settings.fixed_place(place))));
        for start in found.starts {
            let latest = start.position == ShardPosition::Start(StartPosition::Latest);
            news.push(workers.start(start, latest.then(|| ready.clone()))?);
        }
        news.push(listed);
    }
    drop(ready);
    wait_until_ready(workers, &all_ready)?;
    Ok(news)
}

fn wait_until_ready(workers: &Workers, all_ready: &Receiver<()>) -> Result<()> {
    let clock = &workers.client.sys().clock;
    let timer = clock.at(clock.now() + READY_WAIT_MAX);
    select! {
        recv(all_ready) -> _ => {}
        recv(timer.channel()) -> _ => {}
    }
    // Of two that are there the select takes any.
    match all_ready.try_recv() {
        Err(TryRecvError::Disconnected) => Ok(()),
        _ => Err(TransportError::Timeout(READY_WAIT_MAX).into()),
    }
}

/// How long the iterators of all shards may take.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
