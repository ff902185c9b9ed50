//! Reading: one thread a shard, one loop for the caller.

mod aligned;
mod answer;
mod assigner;
mod bound;
mod budget;
mod builder;
mod checkpoint;
mod chunk;
mod commits;
mod contents;
mod deaggregator;
mod decoder;
mod discovery;
mod doubts;
mod emitter;
mod event_time;
mod fate;
mod file_store;
mod first_listings;
mod glances;
mod inbox;
mod known;
mod launch;
mod lister;
mod listing;
mod listing_outages;
mod members;
mod meters;
mod metrics;
mod missing;
mod news;
mod outage;
mod pace;
mod parts;
mod queue;
mod record;
mod repeats;
mod retention;
mod shard_reader;
mod shard_worker;
mod shelf;
mod slot;
mod stop_handle;
mod store;
mod threads;
mod trim_watch;
mod union;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::{Receiver, select};

use crate::client::Client;
use crate::error::Result;
use crate::model::{ShardRef, Timestamp};
use crate::sys::clock::Clock;
use crate::sys::stop::StopSource;
use commits::{Commits, Outcome};
use emitter::{Emitter, Next};
use glances::Glances;
use inbox::Inbox;
use meters::Meters;
use shelf::Shelf;
use threads::{Crew, Told};

pub use assigner::{FlinkHashAssigner, ShardAssigner, UniformAssigner};
pub use builder::ConsumerBuilder;
pub use checkpoint::Checkpoint;
pub use decoder::{DeadLetterHandler, PoisonPolicy};
pub use event_time::{
    Bounded, BoundedOutOfOrderness, DirectoryWatermarkTracker, Marked, MemoryWatermarkTracker,
    MonotonousTimestamps, Punctuated, WatermarkGenerator, WatermarkReport, WatermarkStrategy,
    WatermarkTracker,
};
pub use file_store::FileCheckpointStore;
pub use metrics::{
    CommitMetrics, ConsumerMetrics, DiscoveryMetrics, EventTimeMetrics, ReadCounts, ShardMetrics,
};
pub use outage::Outage;
pub use record::{Event, Record};
pub use stop_handle::StopHandle;
pub use store::{CheckpointStore, Commit, MemoryCheckpointStore};

/// Reads the shards of one or more streams, one thread each, into the caller's loop.
///
/// An iterator over [`Record`]s, which blocks for the next one. It ends once the consumer was
/// [stopped](StopHandle), once all is read that [was to be](crate::ConsumerConfigBuilder::until_caught_up),
/// or after an error, of which there is at most one: what can be tried again is, without a word
/// but in the log. Records of one shard come in its order, and those of a split or merged shard
/// before its children's.
///
/// Dropping it stops the threads and returns at once; it commits nothing.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Consumer, ConsumerConfig, StartPosition};
///
/// let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon).until_caught_up(true);
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let mut consumer = Consumer::builder(client).stream("orders").config(config.build()?).start()?;
/// for record in &mut consumer {
///     let record = record?;
///     println!("{}: {} bytes", record.partition_key(), record.data().len());
/// }
/// let checkpoint = consumer.close()?;
/// assert_eq!(checkpoint.iter().count(), 2);
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    emitter: Emitter,
    inbox: Inbox,
    /// What is to be told of event time before anything else is handed out.
    signals: VecDeque<Event>,
    told: Arc<Shelf<Told>>,
    /// Shards whose ends were handed out: the caller is at the last until it comes back.
    ending: Vec<Told>,
    /// No commit covers all of these.
    has_unsaved_end: bool,
    /// The last watermark that was handed out.
    watermark: Option<Timestamp>,
    heard: Receiver<()>,
    stop: Arc<StopSource>,
    over: bool,
    bounded: bool,
    /// The threads that are this consumer's alone.
    crew: Option<Crew>,
    group: Option<Arc<Group>>,
    commits: Commits,
    /// Where the reading of each shard began, as checkpoints keep it.
    repeats: repeats::Repeats,
    /// What was read without proof that nothing of it was trimmed, as checkpoints keep it.
    doubts: doubts::Doubts,
    meters: Arc<Meters>,
    clock: Arc<dyn Clock>,
    glances: Glances,
}

impl Consumer {
    /// Starts the description of a consumer.
    pub fn builder(client: Client) -> ConsumerBuilder {
        ConsumerBuilder::new(client)
    }

    /// Blocks for the next record, shard change or watermark, but not longer than `timeout`.
    ///
    /// # Errors
    /// What went wrong for good: a shard's, discovery's or, with a commit interval, the store's
    /// error. Nothing follows it, and [`checkpoint`](Consumer::checkpoint) is still right.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Event> {
        if let Some(record) = self.next_at_once() {
            return Ok(Event::Record(record));
        }
        self.next_until(self.clock.now().checked_add(timeout))
    }

    /// Returns where to go on from: it covers every record returned so far, and no other.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = self.emitter.checkpoint();
        // What is about to be handed out is not yet: a restart would never say it.
        checkpoint.watermark = checkpoint.watermark.and(self.watermark);
        self.repeats.complete(&mut checkpoint);
        self.doubts.complete(&mut checkpoint);
        checkpoint
    }

    /// Returns the last [watermark](Event::Watermark), also of the run that this one goes on from.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Saves [`checkpoint`](Consumer::checkpoint) to the store, if there is one, before it returns.
    ///
    /// Commit on [`Event::Timeout`] as well, at least once an hour: a checkpoint that is older than the
    /// stream's retention cannot tell a quiet shard from one whose records were trimmed unread.
    ///
    /// # Errors
    /// The store's: it has this commit or the one before. `Config`: the last commit had a state, so this one needs one.
    pub fn commit(&mut self) -> Result<()> {
        self.hear();
        self.commits.save(self.checkpoint(), || self.clock.now())?;
        self.has_unsaved_end = false;
        Ok(())
    }

    /// Saves [`checkpoint`](Consumer::checkpoint) and what the caller has made of the records so far,
    /// both or neither, before it returns. What is counted in the state is then counted exactly once,
    /// whenever the program is killed.
    ///
    /// A consumer that starts from it has it as [`state`](Consumer::state). From the first state on,
    /// nothing is committed without one, so neither the commit interval nor
    /// [`close`](Consumer::close) commits by itself.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::{Consumer, MemoryCheckpointStore};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 2).client();
    /// let store = MemoryCheckpointStore::new();
    /// let start = || Consumer::builder(client.clone()).stream("orders").checkpoint_store(store.clone()).start();
    /// let mut consumer = start()?;
    /// let orders_so_far = 17_u64;
    /// consumer.commit_with(orders_so_far.to_be_bytes().to_vec())?;
    /// drop(consumer);
    /// let state = start()?.state().map(|state| state.to_vec());
    /// assert_eq!(state, Some(17_u64.to_be_bytes().to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's: it has this commit or the one before. `Config`: there is no store, or this is one of a
    /// [group](ConsumerBuilder::start_group), whose store has no room for the state of each.
    pub fn commit_with(&mut self, state: impl Into<Bytes>) -> Result<()> {
        self.hear();
        let now = || self.clock.now();
        self.commits.save_with(self.checkpoint(), state.into(), now)
    }

    /// Returns the state that was committed last, by this consumer or by the one it goes on from.
    pub fn state(&self) -> Option<&Bytes> {
        self.commits.state()
    }

    /// Returns what the consumer is doing, and has done since it was started.
    ///
    /// [`on_metrics`](ConsumerBuilder::on_metrics) gives the same while the caller is busy.
    pub fn metrics(&self) -> ConsumerMetrics {
        self.meters.snapshot(self.clock.now())
    }

    /// Passes a shard over from now on: its records wait, and it is not read on. Another consumer of
    /// the shard is not disturbed, and neither are this one's other shards. Returns at once.
    ///
    /// A bounded consumer does not end before the shard goes on.
    pub fn pause(&mut self, shard: &ShardRef) {
        self.emitter.set_paused(shard, true);
    }

    /// Lets a [paused](Consumer::pause) shard go on where it was.
    pub fn resume(&mut self, shard: &ShardRef) {
        self.emitter.set_paused(shard, false);
    }

    /// Makes a handle that stops this consumer from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Stops every thread, waits for them for up to 1.5 s, and commits if there is a store. It does
    /// not commit if the last commit had a [state](Consumer::commit_with).
    ///
    /// Threads that wait for an answer longer than that are left to their time-outs, and the log says
    /// how many they are.
    ///
    /// # Errors
    /// The store's.
    pub fn close(mut self) -> Result<Checkpoint> {
        self.stop.signal();
        let committed = match self.commits.has_state() {
            true => Ok(()),
            false => self.commit(),
        };
        let checkpoint = self.checkpoint();
        if committed.is_ok() {
            self.told.put(self.ending.drain(..));
        }
        // What is shared ends with the last of a group, when all of them have committed.
        let last = self.group.take().and_then(Arc::into_inner);
        last.iter().for_each(|group| group.stop.signal());
        // The memory of what was not handed out is free before the threads have ended.
        self.emitter = Emitter::default();
        self.inbox.clear();
        self.told.ring();
        let deadline = self.clock.now() + CLOSE_WAIT_MAX;
        let crews = self.crew.take().into_iter();
        let crews = crews.chain(last.map(|group| group.crew));
        let left: usize = crews.map(|crew| crew.wait(&*self.clock, deadline)).sum();
        if left > 0 {
            log::warn!("closed while {left} threads wait for answers; they end by themselves");
        }
        committed.map(|()| checkpoint)
    }

    /// The next record of the answer that is being handed out, if nothing else may be due before it.
    #[inline(always)]
    fn next_at_once(&mut self) -> Option<Record> {
        let is_over = self.over || self.stop.stop_ref().is_stopped();
        let is_watched = self.commits.is_prompt() || self.emitter.is_watched();
        if is_over || is_watched || !self.signals.is_empty() {
            return None;
        }
        let is_timed = self.commits.due().is_some() || self.emitter.event_time.is_some();
        if is_timed && !self.glances.spare() && self.is_due() {
            return None;
        }
        self.emitter.next_in_turn()
    }

    /// Says whether it is time for something between two records.
    fn is_due(&mut self) -> bool {
        let now = self.clock.now();
        self.glances.looked(now);
        let due = [self.commits.due(), self.emitter.event_time_due()];
        due.into_iter().flatten().any(|due| now >= due)
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Event> {
        loop {
            let now = self.clock.now();
            self.commit_if_due(now)?;
            if self.over || self.stop.stop_ref().is_stopped() {
                return Ok(Event::Ended);
            }
            self.tell_ends();
            if let Some(event) = self.next_signal(now) {
                return Ok(event);
            }
            if let Some(record) = self.emitter.next_in_turn() {
                return Ok(Event::Record(record));
            }
            // Between two answers, so that news is heard however much there is to hand out.
            match self.inbox.next(&mut self.emitter) {
                Ok(Some(event)) => return Ok(self.handed_out(event)),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
            match self.emitter.next_turn() {
                Next::Record(record) => return Ok(Event::Record(record)),
                Next::Ended(shard, watermark, children) => {
                    let ended = Told::Ended(shard.clone(), watermark, children);
                    self.ending.push(ended);
                    self.has_unsaved_end = true;
                    return Ok(Event::ShardEnded(shard));
                }
                Next::Rested(shard) => self.told.put([Told::CaughtUp(shard)]),
                Next::Gap(gap) => return Ok(self.handed_out(Event::Gap(gap))),
                Next::Halted(shard, error) => {
                    self.told.put([Told::Rested(shard.clone())]);
                    return Ok(Event::ShardHalted(shard, error));
                }
                Next::Failed(error) => return self.fail(error),
                // By the stop, which came after it was looked for.
                Next::Abandoned(_) if self.stop.stop_ref().is_stopped() => {}
                Next::Abandoned(error) => return self.fail(error),
                Next::Awake(events) => self.signals.extend(events),
                Next::Done if self.bounded => self.over = true,
                Next::Nothing | Next::Done => {
                    if deadline.is_some_and(|deadline| self.clock.now() >= deadline) {
                        return Ok(Event::Timeout);
                    }
                    self.wait(deadline);
                }
            }
        }
    }

    /// From now on a checkpoint covers a gap, and what followed from it.
    fn handed_out(&self, event: Event) -> Event {
        if let Event::Gap(gap) = &event {
            self.doubts.told(gap);
        }
        event
    }

    /// Takes in what discovery has found, for the checkpoint that is about to be saved.
    ///
    /// A slow caller may take days over one answer, and events of discovery come between two answers. A
    /// checkpoint that says when the stream was listed days ago cannot tell later whether a new shard has
    /// lost records.
    fn hear(&mut self) {
        self.inbox.take_in(&mut self.emitter);
    }

    /// The caller has come back for more, so what was handed out is done with.
    fn commit_if_due(&mut self, now: Instant) -> Result<()> {
        let is_time = self.commits.due().is_some_and(|due| now >= due);
        let is_end = self.saves_ends() && self.has_unsaved_end && !self.commits.is_failing();
        if self.over || !(is_time || is_end) {
            return Ok(());
        }
        self.hear();
        let now = || self.clock.now();
        match self.commits.save_by_itself(self.checkpoint(), now) {
            Outcome::Saved => self.has_unsaved_end = false,
            Outcome::Failed(error) => self.signals.push_back(Event::CommitFailed(error)),
            Outcome::GivenUp(error) => return self.fail(error),
        }
        Ok(())
    }

    /// The caller has come back after the end of a shard: its children may start, in whichever consumer.
    fn tell_ends(&mut self) {
        if !(self.ending.is_empty() || self.saves_ends() && self.has_unsaved_end) {
            self.told.put(self.ending.drain(..));
        }
    }

    /// Whether the end of a shard has to be saved before its children start.
    ///
    /// What another one of the group commits of them must not be ahead of what is committed of the
    /// shard, or a restart would hand out the shard's last records behind the children's first.
    fn saves_ends(&self) -> bool {
        self.is_grouped() && self.commits.due().is_some()
    }

    fn is_grouped(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.size > 1)
    }

    /// What there is to tell of event time, with all that was handed out done with.
    fn next_signal(&mut self, now: Instant) -> Option<Event> {
        if self.signals.is_empty() {
            self.signals.extend(self.emitter.look_at_event_time(now));
        }
        let signal = self.signals.pop_front();
        if let Some(Event::Watermark(watermark)) = signal {
            self.watermark = Some(watermark);
        }
        signal
    }

    fn fail<T>(&mut self, error: crate::error::Error) -> Result<T> {
        self.over = true;
        self.stop.signal();
        self.told.ring();
        Err(error)
    }

    /// Waits for something to look at, for the time to be up, or for the next commit or watermark.
    fn wait(&self, deadline: Option<Instant>) {
        let due = [self.commits.due(), self.emitter.event_time_due()];
        let wake = due.into_iter().chain([deadline]).flatten().min();
        let timer = wake.map(|wake| self.clock.at(wake));
        let never = crossbeam::channel::never();
        let fires = timer.as_ref().map_or(&never, |timer| timer.channel());
        select! {
            recv(self.heard) -> _ => {}
            recv(self.stop.stop_ref().channel()) -> _ => {}
            recv(fires) -> _ => {}
        }
    }
}

/// The threads end, and the others of a group are not waited for by what this one was to read.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.signal();
        self.told.ring();
    }
}

/// What the consumers of a group have in common, for as long as one of them is there.
struct Group {
    stop: Arc<StopSource>,
    crew: Crew,
    /// Consumers that were started together.
    size: usize,
}

/// Blocks for the next record; `None` at the end, of which [`Consumer`] tells.
impl Iterator for Consumer {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if let Some(record) = self.next_at_once() {
            return Some(Ok(record));
        }
        loop {
            match self.next_until(None) {
                Ok(Event::Record(record)) => return Some(Ok(record)),
                Ok(Event::Ended) => return None,
                // Gaps and halted shards are in the log, too.
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("checkpoint", &self.checkpoint())
            .finish_non_exhaustive()
    }
}

/// How long `close` waits for threads: none should take longer that is not in a call.
const CLOSE_WAIT_MAX: Duration = Duration::from_millis(1_500);
