use std::time::{Duration, Instant};

use crate::model::Timestamp;

/// The consumer's watermark: the lowest of its live shards, and never back. Pure: `now` is told.
#[derive(Debug)]
pub(in crate::consumer) struct Watermarks {
    /// Zero: right behind the record that moved it.
    interval: Duration,
    next: Instant,
    /// [`Timestamp::MIN`] until there is one.
    last: Timestamp,
    is_idle: bool,
}

/// What a live shard has to say.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Live {
    /// With what was handed out of it; [`Timestamp::MIN`] if that says nothing.
    pub watermark: Timestamp,
    pub is_idle: bool,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) enum Change {
    Active,
    Idle,
    Watermark(Timestamp),
}

impl Watermarks {
    pub fn new(interval: Duration, restored: Option<Timestamp>, now: Instant) -> Watermarks {
        let mut watermarks = Watermarks {
            interval,
            next: now,
            last: restored.unwrap_or(Timestamp::MIN),
            is_idle: false,
        };
        watermarks.put_off(now);
        watermarks
    }

    /// When to look again, whatever is handed out meanwhile.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Says whether every advance is told at once.
    pub fn is_prompt(&self) -> bool {
        self.interval.is_zero()
    }

    pub fn last(&self) -> Option<Timestamp> {
        Some(self.last).filter(|last| *last > Timestamp::MIN)
    }

    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Looks at all live shards, and says what has changed since the last look.
    pub fn look(&mut self, now: Instant, live: impl Iterator<Item = Live>) -> Vec<Change> {
        self.put_off(now);
        // What an idle shard has brought counts once, as it may be idle since.
        let last = self.last;
        let counting = live.filter(|shard| !shard.is_idle || shard.watermark > last);
        let lowest = counting.map(|shard| shard.watermark).min();
        let mut changes = Vec::new();
        if self.is_idle != lowest.is_none() {
            self.is_idle = lowest.is_none();
            changes.push(match self.is_idle {
                true => Change::Idle,
                false => Change::Active,
            });
        }
        if let Some(lowest) = lowest.filter(|lowest| *lowest > self.last) {
            self.last = lowest;
            changes.push(Change::Watermark(lowest));
        }
        changes
    }

    /// A shard that was idle is about to be handed out: says so if all were.
    pub fn wake(&mut self) -> Option<Change> {
        std::mem::take(&mut self.is_idle).then_some(Change::Active)
    }

    fn put_off(&mut self, now: Instant) {
        let interval = match self.is_prompt() {
            true => IDLE_LOOK_INTERVAL,
            false => self.interval,
        };
        self.next = now + interval;
    }
}

/// How often idle shards are looked for when nothing else asks for a look.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(1_000);

    /// Shards' watermarks; `None` is idle and has brought nothing.
    fn shards<const N: usize>(watermarks: [Option<i64>; N]) -> impl Iterator<Item = Live> {
        watermarks.into_iter().map(|watermark| Live {
            watermark: watermark.map_or(Timestamp::MIN, Timestamp::from_millis),
            is_idle: watermark.is_none(),
        })
    }

    fn watermark(millis: i64) -> Vec<Change> {
        vec![Change::Watermark(Timestamp::from_millis(millis))]
    }

    const NOTHING: Vec<Change> = Vec::new();
    const SILENT: Option<i64> = Some(i64::MIN);

    /// `FlinkKinesisConsumerTest.testPeriodicWatermark`: two shards, out of order by 5.
    #[test]
    fn the_lowest_shard_is_the_watermark_once_an_interval() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        assert_eq!(watermarks.due(), now + INTERVAL);
        // 1 and 2 from one shard, 10 from the other.
        let first = watermarks.look(now + INTERVAL, shards([Some(2 - 5), Some(10 - 5)]));
        assert_eq!(first, watermark(-3));
        assert_eq!(watermarks.due(), now + 2 * INTERVAL);
        let second = watermarks.look(now + 2 * INTERVAL, shards([Some(10 - 5), Some(10 - 5)]));
        assert_eq!(second, watermark(5));
    }

    /// `KinesisDataFetcherTest.testPeriodicWatermark`.
    #[test]
    fn a_consumer_is_idle_when_all_its_shards_are_and_keeps_its_watermark() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        assert_eq!(watermarks.look(now, shards([Some(i64::MIN)])), NOTHING);
        assert_eq!(watermarks.look(now, shards([Some(1)])), watermark(1));
        // 11 ms later, without an idle interval.
        assert_eq!(watermarks.look(now, shards([Some(1)])), NOTHING);
        assert!(!watermarks.is_idle());
        // With one of 10 ms.
        assert_eq!(watermarks.look(now, shards([None])), [Change::Idle]);
        assert_eq!(watermarks.look(now, shards([None])), NOTHING);
        assert_eq!(watermarks.last(), Some(Timestamp::from_millis(1)));
        assert_eq!(watermarks.wake(), Some(Change::Active));
        assert_eq!(watermarks.wake(), None);
    }

    /// Flink's connector, and with it everything behind it, went on to 20 here.
    #[test]
    fn without_an_idle_interval_a_silent_shard_holds_the_watermark() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        let first = watermarks.look(now, shards([Some(10), Some(20)]));
        assert_eq!(first, watermark(10));
        for _ in 0..5 {
            assert_eq!(watermarks.look(now, shards([Some(10), Some(20)])), NOTHING);
        }
        let idle = watermarks.look(now, shards([None, Some(20)]));
        assert_eq!(idle, watermark(20), "with one it goes on");
    }

    #[test]
    fn a_shard_that_has_not_delivered_yet_holds_the_watermark() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        assert_eq!(watermarks.look(now, shards([SILENT, Some(20)])), NOTHING);
        assert_eq!(watermarks.last(), None);
        let both = watermarks.look(now, shards([Some(5), Some(20)]));
        assert_eq!(both, watermark(5));
    }

    #[test]
    fn what_shards_brought_before_they_were_idle_counts_in_its_order() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        let idle = [20, 10].map(|millis| Live {
            watermark: Timestamp::from_millis(millis),
            is_idle: true,
        });
        let mut look = || watermarks.look(now, idle.into_iter());
        assert_eq!(look(), watermark(10));
        assert_eq!(look(), watermark(20));
        assert_eq!(look(), [Change::Idle]);
        assert_eq!(look(), NOTHING);
    }

    #[test]
    fn it_never_goes_back() {
        let (now, restored) = (Instant::now(), Timestamp::from_millis(30));
        let mut watermarks = Watermarks::new(INTERVAL, Some(restored), now);
        assert_eq!(watermarks.last(), Some(restored));
        for lower in [10, 29, 30] {
            assert_eq!(watermarks.look(now, shards([Some(lower)])), NOTHING);
        }
        assert_eq!(watermarks.look(now, shards([Some(31)])), watermark(31));
    }

    #[test]
    fn a_consumer_without_shards_is_idle_until_it_has_one() {
        let now = Instant::now();
        let mut watermarks = Watermarks::new(INTERVAL, None, now);
        assert_eq!(watermarks.look(now, shards([])), [Change::Idle]);
        let found = watermarks.look(now, shards([Some(3)]));
        let expected = [Change::Active, watermark(3)[0]];
        assert_eq!(found, expected);
    }
}
