use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;

use crate::config::ConsumerConfig;
use crate::consumer::builder::ConsumerBuilder;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::event_time::stamper::{Stamping, stamping};
use crate::consumer::event_time::strategy::{MonotonousTimestamps, WatermarkStrategy};
use crate::consumer::event_time::{
    Alignment, EventTime, Exchange, Syncer, Tracking, WatermarkTracker, timeout,
};
use crate::consumer::meters::Meters;
use crate::consumer::shelf::Bell;
use crate::sys::rng::Rng;

/// What a builder was told of event time.
#[derive(Default)]
pub(in crate::consumer) struct Wanted {
    stamping: Option<Arc<Stamping>>,
    tracker: Option<Arc<dyn WatermarkTracker>>,
    tracked_as: Option<String>,
    merged: Option<Duration>,
}

/// A consumer, as those know it that share the shards with it.
pub(in crate::consumer) struct Subtask {
    pub streams: String,
    pub index: usize,
    pub parallelism: usize,
}

/// What the thread of alignment needs, and what wakes it.
pub(in crate::consumer) type Sync = (Tracking, Receiver<()>);

impl ConsumerBuilder {
    /// Looks at event time: gives each record [its own](crate::Record::event_time), and hands out
    /// [`Watermark`](crate::Event::Watermark)s between the records. Default: not.
    ///
    /// The page [`manual::event_time`](crate::manual::event_time) shows what is made of it. Flink's
    /// `setPeriodicWatermarkAssigner`.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use std::time::Duration;
    ///
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::{BoundedOutOfOrderness, Consumer, Event};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 2).client();
    /// let strategy = BoundedOutOfOrderness::by_arrival(Duration::from_secs(5));
    /// let mut consumer = Consumer::builder(client).stream("orders").watermarks(strategy).start()?;
    /// match consumer.next_event(Duration::from_millis(1))? {
    ///     Event::Record(record) => println!("happened at {}", record.event_time()),
    ///     Event::Watermark(time) => println!("all before {time} is complete"),
    ///     _ => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watermarks(mut self, strategy: impl WatermarkStrategy + 'static) -> ConsumerBuilder {
        self.event_time.stamping = Some(stamping(strategy).into());
        self
    }

    /// Aligns this consumer with all that share the tracker: no record is handed out that is more than
    /// the [look-ahead](crate::ConsumerConfigBuilder::watermark_lookahead) ahead of the lowest of
    /// their watermarks. Default: not.
    ///
    /// Its own shards are aligned as well, and of their records the oldest comes first. Without
    /// [`watermarks`](ConsumerBuilder::watermarks) event time is the time of arrival, taken for
    /// [monotonous](crate::MonotonousTimestamps). Flink's `setWatermarkTracker`.
    pub fn watermark_tracker(
        mut self,
        tracker: impl WatermarkTracker + 'static,
    ) -> ConsumerBuilder {
        self.event_time.tracker = Some(Arc::new(tracker));
        self
    }

    /// Names this consumer among those that share a tracker; its index as a
    /// [`subtask`](ConsumerBuilder::subtask) is added. Default: the names of its streams.
    ///
    /// Two consumers of one tracker that have the same name and index disturb each other.
    pub fn tracked_as(mut self, name: impl Into<String>) -> ConsumerBuilder {
        self.event_time.tracked_as = Some(name.into());
        self
    }

    /// Hands out the records of all shards in the order of their event times, and not shard by shard.
    /// Default: not.
    ///
    /// A shard of which nothing is there yet, and that is not idle, holds the others back to `within`
    /// beyond its watermark; zero is the exact order. So set a
    /// [`shard_idle_interval`](crate::ConsumerConfigBuilder::shard_idle_interval) where shards may be
    /// silent. What is late in its shard is late here as well: each shard keeps its own order.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use std::time::Duration;
    ///
    /// use kinesis_blocking::fake::FakeKinesis;
    /// use kinesis_blocking::{Consumer, ConsumerConfig, StartPosition};
    ///
    /// let client = FakeKinesis::new().with_stream("orders", 2).client();
    /// let config = ConsumerConfig::builder().start_position(StartPosition::TrimHorizon).until_caught_up(true);
    /// let builder = Consumer::builder(client).stream("orders").config(config.build()?);
    /// let mut last = None;
    /// for record in builder.merged(Duration::ZERO).start()? {
    ///     let time = record?.event_time();
    ///     assert!(last.replace(time) <= Some(time));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn merged(mut self, within: Duration) -> ConsumerBuilder {
        self.event_time.merged = Some(within);
        self
    }
}

impl Wanted {
    fn is_aligned(&self) -> bool {
        self.tracker.is_some() || self.merged.is_some()
    }

    /// What says when records happened, if anybody asks.
    pub fn stamping(&self) -> Option<Arc<Stamping>> {
        let by_arrival = || stamping(MonotonousTimestamps::by_arrival()).into();
        let given = self.stamping.clone();
        given.or_else(|| self.is_aligned().then(by_arrival))
    }

    /// How many records a shard may lay down at once.
    pub fn queue_capacity(&self, config: &ConsumerConfig) -> Option<usize> {
        let capacity = config.watermark_sync_queue_capacity;
        self.is_aligned().then_some(capacity)
    }

    /// What looks at the event time of one consumer.
    pub fn begin(
        &self,
        config: &ConsumerConfig,
        restored: &Checkpoint,
        subtask: Subtask,
        meters: &Arc<Meters>,
        now: Instant,
    ) -> (Option<EventTime>, Option<Sync>) {
        if self.stamping().is_none() {
            return (None, None);
        }
        let is_aligned = self.is_aligned();
        let within = self.merged;
        let sync = self.track(config, subtask, meters, now);
        let exchange = sync.as_ref().map(|(tracking, _)| tracking.exchange.clone());
        let alignment = is_aligned.then(|| {
            let one_past = config.one_past_lookahead;
            Alignment::new(lookahead(config), one_past, exchange, within)
        });
        let restored = (restored.watermark, restored.watermarks.clone());
        let event_time = EventTime::new(config, restored, alignment, meters.clone(), now);
        (Some(event_time), sync)
    }

    fn track(
        &self,
        config: &ConsumerConfig,
        subtask: Subtask,
        meters: &Arc<Meters>,
        now: Instant,
    ) -> Option<Sync> {
        let name = self.tracked_as.as_ref().unwrap_or(&subtask.streams);
        let name = format!("{name}-{}", subtask.index);
        // Not by chance from a seed: a restart is another run.
        let run = Rng::from_entropy().next_u64();
        let interval = config.watermark_sync_interval;
        let (bell, heard) = Bell::new();
        let tracking = Tracking {
            tracker: self.tracker.clone()?,
            syncer: Syncer::new(name, run, subtask.parallelism, interval, now),
            exchange: Arc::new(Exchange::new(bell)),
            meters: meters.clone(),
        };
        Some((tracking, heard))
    }
}

/// What counts, as in Flink's connector: who looks less far ahead would wait for the tracker all the time.
fn lookahead(config: &ConsumerConfig) -> Duration {
    let least = timeout(config.watermark_sync_interval);
    let wanted = config.watermark_lookahead;
    if !wanted.is_zero() && wanted < least {
        log::warn!(
            "watermark_lookahead: {} ms is taken for {} ms, three times the sync interval",
            wanted.as_millis(),
            least.as_millis()
        );
    }
    wanted.max(least)
}
