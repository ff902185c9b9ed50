//! Event time: when records happened, how far each shard has come, and what that makes of the whole.
//!
//! [`stamper`] runs on a shard's thread; all else in the caller's, behind [`EventTime`].

mod alignment;
mod directory;
mod exchange;
mod lineage;
mod participants;
mod pulse;
mod stamper;
mod strategy;
mod syncer;
mod tracker;
mod tracking;
mod wanted;
mod watermarks;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::ConsumerConfig;
use crate::consumer::meters::Meters;
use crate::consumer::record::Event;
use crate::consumer::slot::Slot;
use crate::model::{ShardRef, Timestamp};
use watermarks::{Change, Watermarks};

pub(super) use alignment::{Alignment, Awaited, Head};
pub use directory::DirectoryWatermarkTracker;
pub(super) use exchange::{Exchange, Local};
pub(super) use lineage::{Lineage, Parents};
pub(super) use pulse::Pulse;
pub(super) use stamper::{Stamper, Stamping};
pub use strategy::{
    Bounded, BoundedOutOfOrderness, Marked, MonotonousTimestamps, Punctuated, WatermarkGenerator,
    WatermarkStrategy,
};
pub(super) use syncer::{Syncer, timeout};
pub use tracker::{MemoryWatermarkTracker, WatermarkReport, WatermarkTracker};
pub(super) use tracking::Tracking;
pub(super) use wanted::{Subtask, Sync, Wanted};
pub(super) use watermarks::Live;

/// The event time of all of a consumer's shards.
pub(super) struct EventTime {
    watermarks: Watermarks,
    /// What is known of shards that are not being read.
    pub lineage: Lineage,
    /// If the shards are held together.
    pub alignment: Option<Alignment>,
    idle_interval: Option<Duration>,
    meters: Arc<Meters>,
}

impl EventTime {
    pub fn new(
        config: &ConsumerConfig,
        restored: (Option<Timestamp>, BTreeMap<ShardRef, Timestamp>),
        alignment: Option<Alignment>,
        meters: Arc<Meters>,
        now: Instant,
    ) -> EventTime {
        let (watermark, shards) = restored;
        meters.watermark(watermark, false);
        EventTime {
            watermarks: Watermarks::new(config.watermark_interval, watermark, now),
            lineage: Lineage::restored(shards),
            alignment,
            idle_interval: config.shard_idle_interval,
            meters,
        }
    }

    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermarks.last()
    }

    pub fn due(&self) -> Instant {
        self.watermarks.due()
    }

    /// Says whether each record may be one to look at the shards behind.
    pub fn is_watched(&self) -> bool {
        self.alignment.is_some() || self.watermarks.is_prompt()
    }

    /// Says whether to look at the shards, `slot` being the one that was handed out of last.
    pub fn is_due(&self, slot: Option<&Slot>, now: Instant) -> bool {
        let moved = || slot.is_some_and(|slot| slot.has_moved);
        now >= self.watermarks.due() || (self.watermarks.is_prompt() && moved())
    }

    /// Looks at all shards, and says what has changed.
    pub fn look(&mut self, slots: &mut [Slot], now: Instant) -> Vec<Event> {
        let mut events: Vec<_> = slots
            .iter_mut()
            .filter_map(|slot| slot.look_idle(self.idle_interval))
            .collect();
        let reading = slots.iter().map(Slot::live);
        let held = self.lineage.held().map(|watermark| Live {
            watermark,
            is_idle: false,
        });
        let changes = self.watermarks.look(now, reading.chain(held));
        // Idleness of a shard comes before what it makes of the whole.
        events.extend(changes.into_iter().map(Event::from));
        self.tell();
        events
    }

    /// A shard is read no further. It is as silent as one in which nothing happens.
    pub fn halt(&mut self, shard: &ShardRef, watermark: Timestamp) {
        self.lineage.rest(shard, watermark);
        if self.idle_interval.is_none() {
            self.lineage.hidden([shard.clone()]);
        }
    }

    /// A shard that was idle has something.
    pub fn wake(&mut self, shard: &ShardRef) -> Vec<Event> {
        let all = self.watermarks.wake().map(Event::from);
        self.tell();
        let one = Event::ShardActive(shard.clone());
        [one].into_iter().chain(all).collect()
    }

    fn tell(&self) {
        let (watermark, is_idle) = (self.watermarks.last(), self.watermarks.is_idle());
        self.meters.watermark(watermark, is_idle);
    }
}

impl From<Change> for Event {
    fn from(change: Change) -> Event {
        match change {
            Change::Active => Event::Active,
            Change::Idle => Event::Idle,
            Change::Watermark(watermark) => Event::Watermark(watermark),
        }
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTime")
            .field("watermarks", &self.watermarks)
            .field("lineage", &self.lineage)
            .finish_non_exhaustive()
    }
}
