use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::consumer::record::Record;
use crate::model::{ShardRef, Timestamp};

/// Says when records happened, and how far a shard's event time has come.
///
/// Ready-made are [`BoundedOutOfOrderness`], [`MonotonousTimestamps`] and [`Punctuated`]. A closure that
/// makes a [`WatermarkGenerator`] for a shard is a strategy as well. Flink's `WatermarkStrategy`.
pub trait WatermarkStrategy: Send + Sync {
    /// What judges the records of one shard.
    type Generator: WatermarkGenerator + 'static;

    /// Makes a shard's generator, on the thread that reads it: once for each shard, and once more after
    /// each panic on that thread.
    fn for_shard(&self, shard: &ShardRef) -> Self::Generator;
}

impl<F, G> WatermarkStrategy for F
where
    F: Fn(&ShardRef) -> G + Send + Sync,
    G: WatermarkGenerator + 'static,
{
    type Generator = G;

    fn for_shard(&self, shard: &ShardRef) -> G {
        self(shard)
    }
}

/// Judges the records of one shard, on the thread that reads it, in their order.
///
/// Records that the [decoder](crate::ConsumerBuilder::decoder) refused are not shown to it. If it
/// panics, the shard's reading begins again behind what was handed over, with a new generator: the old
/// one may be half-way through records that come again. The watermark does not go back, and the
/// previous event time is still told.
///
/// ```
/// use kinesis_blocking::{Record, Timestamp, WatermarkGenerator};
///
/// /// Sensors that say when they are done with a minute.
/// #[derive(Default)]
/// struct Sensor {
///     done: Option<Timestamp>,
/// }
///
/// impl WatermarkGenerator for Sensor {
///     fn event_time(&mut self, record: &Record, previous: Option<Timestamp>) -> Timestamp {
///         let text = String::from_utf8_lossy(record.data());
///         if let Some(done) = text.strip_prefix("done ").and_then(|millis| millis.parse().ok()) {
///             self.done = Some(Timestamp::from_millis(done));
///         }
///         previous.max(self.done).unwrap_or(record.approximate_arrival())
///     }
///
///     fn watermark(&mut self) -> Option<Timestamp> {
///         self.done
///     }
/// }
/// ```
pub trait WatermarkGenerator: Send {
    /// Returns when a record happened. `previous` is the event time of the shard's record before it;
    /// `None` if this is the first since the consumer started.
    fn event_time(&mut self, record: &Record, previous: Option<Timestamp>) -> Timestamp;

    /// Returns how far the shard's event time has come with that record, if that is known: called
    /// right after each [`event_time`](WatermarkGenerator::event_time). A time before one that was
    /// returned earlier changes nothing.
    fn watermark(&mut self) -> Option<Timestamp>;
}

impl<G: WatermarkGenerator + ?Sized> WatermarkGenerator for Box<G> {
    fn event_time(&mut self, record: &Record, previous: Option<Timestamp>) -> Timestamp {
        (**self).event_time(record, previous)
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        (**self).watermark()
    }
}

/// Where a record's event time comes from.
type Extract = fn(&Record) -> Timestamp;

/// Records of a shard are out of order by so much at most: its watermark stays that far behind the
/// latest of them.
///
/// ```
/// use std::time::Duration;
/// use kinesis_blocking::{BoundedOutOfOrderness, Record, Timestamp};
///
/// let by_arrival = BoundedOutOfOrderness::by_arrival(Duration::from_secs(5));
/// // Records that begin with a time in milliseconds.
/// let of_their_own = BoundedOutOfOrderness::new(Duration::from_secs(5), |record: &Record| {
///     let text = String::from_utf8_lossy(record.data());
///     let millis = text.split(' ').next().and_then(|word| word.parse().ok());
///     millis.map_or(record.approximate_arrival(), Timestamp::from_millis)
/// });
/// ```
///
/// Flink's `BoundedOutOfOrdernessTimestampExtractor`.
#[derive(Clone)]
pub struct BoundedOutOfOrderness<F = Extract> {
    max_delay: Duration,
    event_time: Arc<F>,
}

impl BoundedOutOfOrderness {
    /// Takes the time of arrival, of which the service does not promise that it ascends.
    pub fn by_arrival(
        max_delay: Duration,
    ) -> BoundedOutOfOrderness<impl Fn(&Record) -> Timestamp + Clone + Send + Sync + 'static> {
        // A function of a type of its own is not called through a pointer.
        BoundedOutOfOrderness::new(max_delay, |record: &Record| record.approximate_arrival())
    }
}

impl<F: Fn(&Record) -> Timestamp + Send + Sync + 'static> BoundedOutOfOrderness<F> {
    /// Takes the time that `event_time` finds in a record.
    pub fn new(max_delay: Duration, event_time: F) -> BoundedOutOfOrderness<F> {
        BoundedOutOfOrderness {
            max_delay,
            event_time: Arc::new(event_time),
        }
    }
}

impl<F: Fn(&Record) -> Timestamp + Send + Sync + 'static> WatermarkStrategy
    for BoundedOutOfOrderness<F>
{
    type Generator = Bounded<F>;

    fn for_shard(&self, _: &ShardRef) -> Bounded<F> {
        Bounded {
            max_delay: self.max_delay,
            event_time: self.event_time.clone(),
            latest: None,
            watermark: None,
        }
    }
}

impl<F> fmt::Debug for BoundedOutOfOrderness<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundedOutOfOrderness({:?})", self.max_delay)
    }
}

/// Records of a shard are in the order of their event times: its watermark is that of the last one.
///
/// Flink's `AscendingTimestampExtractor`; as a watermark here says that what follows is *not
/// earlier*, it is not a millisecond behind.
#[derive(Clone, Debug)]
pub struct MonotonousTimestamps<F = Extract>(BoundedOutOfOrderness<F>);

impl MonotonousTimestamps {
    /// Takes the time of arrival. What the service hands out of order is late.
    pub fn by_arrival()
    -> MonotonousTimestamps<impl Fn(&Record) -> Timestamp + Clone + Send + Sync + 'static> {
        MonotonousTimestamps::new(|record: &Record| record.approximate_arrival())
    }
}

impl<F: Fn(&Record) -> Timestamp + Send + Sync + 'static> MonotonousTimestamps<F> {
    /// Takes the time that `event_time` finds in a record.
    pub fn new(event_time: F) -> MonotonousTimestamps<F> {
        MonotonousTimestamps(BoundedOutOfOrderness::new(Duration::ZERO, event_time))
    }
}

impl<F: Fn(&Record) -> Timestamp + Send + Sync + 'static> WatermarkStrategy
    for MonotonousTimestamps<F>
{
    type Generator = Bounded<F>;

    fn for_shard(&self, shard: &ShardRef) -> Bounded<F> {
        self.0.for_shard(shard)
    }
}

/// Generator of [`BoundedOutOfOrderness`] and [`MonotonousTimestamps`].
pub struct Bounded<F> {
    max_delay: Duration,
    event_time: Arc<F>,
    latest: Option<Timestamp>,
    watermark: Option<Timestamp>,
}

impl<F: Fn(&Record) -> Timestamp + Send + Sync> WatermarkGenerator for Bounded<F> {
    fn event_time(&mut self, record: &Record, _: Option<Timestamp>) -> Timestamp {
        let time = (self.event_time)(record);
        if self.latest < Some(time) {
            self.latest = Some(time);
            self.watermark = Some(time.saturating_sub(self.max_delay));
        }
        time
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        self.watermark
    }
}

impl<F> fmt::Debug for Bounded<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("max_delay", &self.max_delay)
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}

/// Some records say how far their shard has come, and between them its watermark stands still.
///
/// ```
/// use kinesis_blocking::{Punctuated, Record, Timestamp};
///
/// // A record that says "end" closes its time.
/// let strategy = Punctuated::new(Record::approximate_arrival, |record: &Record, time: Timestamp| {
///     (record.data() == b"end").then_some(time)
/// });
/// ```
///
/// With a [watermark interval](crate::ConsumerConfigBuilder::watermark_interval) of zero a watermark
/// follows right behind the record that made it. Flink's `AssignerWithPunctuatedWatermarks`.
#[derive(Clone)]
pub struct Punctuated<F, M> {
    event_time: Arc<F>,
    marker: Arc<M>,
}

impl<F, M> Punctuated<F, M>
where
    F: Fn(&Record) -> Timestamp + Send + Sync + 'static,
    M: Fn(&Record, Timestamp) -> Option<Timestamp> + Send + Sync + 'static,
{
    /// Takes the time that `event_time` finds in a record, and the watermark that `marker` finds in
    /// it and its time, if there is one.
    pub fn new(event_time: F, marker: M) -> Punctuated<F, M> {
        Punctuated {
            event_time: Arc::new(event_time),
            marker: Arc::new(marker),
        }
    }
}

impl<F, M> WatermarkStrategy for Punctuated<F, M>
where
    F: Fn(&Record) -> Timestamp + Send + Sync + 'static,
    M: Fn(&Record, Timestamp) -> Option<Timestamp> + Send + Sync + 'static,
{
    type Generator = Marked<F, M>;

    fn for_shard(&self, _: &ShardRef) -> Marked<F, M> {
        Marked {
            strategy: Punctuated {
                event_time: self.event_time.clone(),
                marker: self.marker.clone(),
            },
            mark: None,
        }
    }
}

impl<F, M> fmt::Debug for Punctuated<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Punctuated")
    }
}

/// Generator of [`Punctuated`].
#[derive(Debug)]
pub struct Marked<F, M> {
    strategy: Punctuated<F, M>,
    mark: Option<Timestamp>,
}

impl<F, M> WatermarkGenerator for Marked<F, M>
where
    F: Fn(&Record) -> Timestamp + Send + Sync,
    M: Fn(&Record, Timestamp) -> Option<Timestamp> + Send + Sync,
{
    fn event_time(&mut self, record: &Record, _: Option<Timestamp>) -> Timestamp {
        let time = (self.strategy.event_time)(record);
        self.mark = (self.strategy.marker)(record, time);
        time
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        self.mark
    }
}
