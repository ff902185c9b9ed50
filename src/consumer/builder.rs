use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::config::ConsumerConfig;
use crate::consumer::Consumer;
use crate::consumer::assigner::{Assignment, ShardAssigner};
use crate::consumer::bound::Until;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::decoder::{Decoding, PoisonPolicy};
use crate::consumer::event_time::Wanted;
use crate::consumer::metrics::ConsumerMetrics;
use crate::consumer::record::Record;
use crate::consumer::store::CheckpointStore;
use crate::consumer::threads::Report;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{StartPosition, stream_name};

/// Describes a [`Consumer`].
#[must_use = "a builder does nothing until `start`"]
pub struct ConsumerBuilder {
    pub(super) client: Client,
    /// Each with where it starts, if that is not where all do.
    pub(super) streams: Vec<(Arc<str>, Option<StartPosition>)>,
    pub(super) assignment: Assignment,
    until: Option<Checkpoint>,
    pub(super) config: ConsumerConfig,
    pub(super) restore: Option<Checkpoint>,
    pub(super) store: Option<Box<dyn CheckpointStore>>,
    pub(super) commit_interval: Option<Duration>,
    pub(super) metrics: Option<(Duration, Report)>,
    pub(super) decoding: Decoding,
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
    /// Each keeps a checkpoint of its own, which names the subtask and the parallelism. A group of another
    /// size starts from all of them [merged](Checkpoint::merge): each consumer takes its part. The
    /// checkpoint of one alone is refused, as shards that it lacks would be read from their beginning. The order of a partition key's records across a
    /// reshard is kept where parent and child have the same reader; it does not wait for parents
    /// that others read. Consumers of one process are better [started
    /// together](ConsumerBuilder::start_group). Flink's subtasks.
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
        self.assignment.assigner = Arc::new(assigner);
        self
    }

    /// Reads up to where a checkpoint is, and ends: with the last record that the checkpoint covers
    /// in each of its shards. Shards that it does not know are not read. A checkpoint that was put together
    /// of several may have positions in a shard and in its children: each is read up to its own, the
    /// children after their parents. Default: no end.
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
    /// that is closed or dropped, or all of its [group](ConsumerBuilder::start_group).
    ///
    /// If the store has no checkpoint, or none of a stream, the position at which reading begins is saved
    /// before [`start`](ConsumerBuilder::start) returns. So a consumer that starts at LATEST and is killed
    /// before its first commit goes on from there, and not from where LATEST is by then. A checkpoint
    /// that is given to [`restore`](ConsumerBuilder::restore) does not replace one in the store before the
    /// first commit.
    pub fn checkpoint_store(mut self, store: impl CheckpointStore + 'static) -> ConsumerBuilder {
        self.store = Some(Box::new(store));
        self
    }

    /// Commits inside `next` when this much time has passed: the caller has come back for more, so
    /// the last record is done with. One of a [group](ConsumerBuilder::start_group) commits the end of a
    /// shard as well, before its children start. Zero: before each record. While records are taken fast,
    /// the clock is read for one of 32, so when the caller becomes slow, one commit may come up to 31
    /// records late. Default: never. Range: 0 to 1 h; a longer interval is taken for 1 h.
    ///
    /// Also commits when no record has come: a checkpoint says up to when nothing is missing. If that is
    /// older than the stream's retention, a restart cannot tell a quiet shard from one whose records were
    /// trimmed unread.
    ///
    /// A commit that fails does not end the consumer at once, see
    /// [`commit_retry_timeout`](crate::ConsumerConfigBuilder::commit_retry_timeout).
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
    /// A closure cannot be made anew: one that changes a state of its own has to leave it as it should be
    /// when it panics. The thread's stack is
    /// [as set](crate::ConsumerConfigBuilder::shard_stack_bytes), 2 MiB by default.
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
    /// own: also while the caller's loop is stuck. Those of a group are put together: sums are of all,
    /// and the watermark is the lowest. Default: never.
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
    /// `Config`: no stream is named, or the checkpoint is that of another
    /// [subtask](ConsumerBuilder::subtask). `Service`, `Transport`, `Credentials`: the first calls failed.
    /// `Checkpoint`, `Malformed`: the store has a checkpoint that cannot be read, or the start cannot be
    /// saved. `DataLoss`: the stream of the checkpoint was deleted and made anew.
    pub fn start(self) -> Result<Consumer> {
        let one = self.start_group(1)?.pop();
        one.ok_or_else(|| Error::new(ErrorKind::Closed))
    }

    /// Starts several consumers that share the shards, one for each of your threads: each shard is read
    /// by one of them. Otherwise as [`start`](ConsumerBuilder::start), which it is for one.
    ///
    /// They have the client, the search for shards and the store in common, and each has an equal part
    /// of [`buffered_bytes_max`](crate::ConsumerConfigBuilder::buffered_bytes_max). As
    /// [`subtask`](ConsumerBuilder::subtask) `index` of `parallelism`, this process has as many of the
    /// subtasks as it has consumers, the others as well: `index * consumers` and those that follow.
    ///
    /// - **Order** of a partition key is kept across splits and merges, also where another of them goes
    ///   on: a shard starts when the one that reads its parent has come back after
    ///   [`ShardEnded`](crate::Event::ShardEnded). Who gathers records should be done with them then.
    /// - **Checkpoints** are of each one's own shards. With a store, a commit saves them together with
    ///   what the others have committed last; a group of any other size goes on from there.
    ///   [`commit_with`](Consumer::commit_with) is refused.
    /// - **A bounded** one ends when nothing can come to it any more, be it from the others' shards. So
    ///   each has to be asked in a thread of its own.
    /// - **Whoever ends early**, closed, dropped or by an error, leaves its shards to the next start:
    ///   nobody reads them meanwhile, nor their children. The others go on.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use std::thread;
    ///
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::{Checkpoint, Consumer, ConsumerConfig, StartPosition};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 8).client();
    /// let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon).until_caught_up(true);
    /// let group = Consumer::builder(client).stream("orders").config(config.build()?).start_group(4)?;
    /// let read = |mut consumer: Consumer| {
    ///     for record in &mut consumer {
    ///         println!("{}", record?.partition_key());
    ///     }
    ///     consumer.close()
    /// };
    /// let threads: Vec<_> = group.into_iter().map(|consumer| thread::spawn(move || read(consumer))).collect();
    /// let mut all = Checkpoint::default();
    /// for thread in threads {
    ///     all = all.merge(thread.join().expect("no panic")?);
    /// }
    /// assert_eq!(all.iter().count(), 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Flink's parallelism within a task manager.
    ///
    /// # Errors
    /// As of [`start`](ConsumerBuilder::start). `Config` as well: `consumers` is 0 or above 1,000; or the store has a
    /// state, which several cannot go on from.
    pub fn start_group(self, consumers: usize) -> Result<Vec<Consumer>> {
        self.check()?;
        if !(1..=CONSUMERS_MAX).contains(&consumers) {
            let expected = "a number from 1 to 1000";
            return Err(Error::config(
                "start_group",
                consumers.to_string(),
                expected,
            ));
        }
        self.launch(consumers)
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
    pub(super) fn spelling(&self, stream: &str) -> Option<Arc<str>> {
        let mut streams = self.streams.iter().map(|(name, _)| name);
        let known = streams.clone().any(|name| **name == *stream);
        let mut same = streams
            .by_ref()
            .filter(|name| stream_name(name) == stream_name(stream));
        let (one, other) = (same.next()?, same.next());
        let arns = one.starts_with("arn:") && stream.starts_with("arn:");
        (!known && !arns && other.is_none()).then(|| one.clone())
    }

    pub(super) fn until(&self) -> Result<Until> {
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

/// More threads than anyone's machine has use for.
const CONSUMERS_MAX: usize = 1_000;
