//! Keeps the records of one key in order: one at a time is on its way, the others wait.
//!
//! Everything behind it (limits, calls side by side, retries) may then change the order of what it
//! lets through, as no two of those have a key in common. A record that has to part after a reshard
//! keeps its lane until its last part is settled.
//!
//! Lanes are shards if records are aggregated, and hash keys if not. When the open shards change,
//! lanes of the old ones and of the new ones have keys in common: so what was put by a newer map
//! waits until everything put by the older one is settled.

use std::collections::{HashMap, VecDeque};

use crate::model::{HashKey, ShardId};
use crate::producer::kinesis_record::KinesisRecord;

/// Which records have to keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// Counts the maps that had other open shards than the one before.
    pub generation: u64,
    pub way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Key(HashKey),
    Shard(ShardId),
}

#[derive(Default)]
pub(super) struct Turnstile {
    generation: u64,
    /// Records of this generation that came and are not settled.
    unsettled: usize,
    /// What waits in the lanes that have a record on its way.
    lanes: HashMap<Way, VecDeque<KinesisRecord>>,
    /// Of newer generations.
    later: VecDeque<KinesisRecord>,
}

impl Turnstile {
    /// Lets a record pass, or keeps it until those before it are settled.
    pub fn enter(&mut self, lane: &Lane, record: KinesisRecord) -> Option<KinesisRecord> {
        if self.unsettled == 0 {
            self.generation = lane.generation;
        }
        if lane.generation != self.generation {
            self.later.push_back(record);
            return None;
        }
        self.unsettled += 1;
        match self.lanes.get_mut(&lane.way) {
            Some(waiting) => {
                waiting.push_back(record);
                None
            }
            None => {
                self.lanes.insert(lane.way.clone(), VecDeque::new());
                Some(record)
            }
        }
    }

    /// Takes the parts of a record on its way in its place; the first of them goes on.
    pub fn part(&mut self, lane: &Lane, parts: Vec<KinesisRecord>) -> Option<KinesisRecord> {
        self.unsettled += parts.len().saturating_sub(1);
        let mut parts = parts.into_iter();
        let first = parts.next();
        let waiting = self.lanes.entry(lane.way.clone()).or_default();
        for part in parts.rev() {
            waiting.push_front(part);
        }
        first
    }

    /// Notes that a record it let through is settled; gives what may go now.
    pub fn settled(&mut self, lane: &Lane, freed: &mut VecDeque<KinesisRecord>) {
        self.unsettled = self.unsettled.saturating_sub(1);
        match self.lanes.get_mut(&lane.way).and_then(VecDeque::pop_front) {
            Some(next) => freed.push_back(next),
            None => drop(self.lanes.remove(&lane.way)),
        }
        if self.unsettled == 0 {
            self.next_generation(freed);
        }
    }

    /// Gives everything that waits, in the order of each lane.
    pub fn take_all(&mut self) -> Vec<KinesisRecord> {
        let lanes = std::mem::take(&mut self.lanes).into_values().flatten();
        lanes.chain(std::mem::take(&mut self.later)).collect()
    }

    fn next_generation(&mut self, freed: &mut VecDeque<KinesisRecord>) {
        for record in std::mem::take(&mut self.later) {
            match record.lane.clone() {
                Some(lane) => freed.extend(self.enter(&lane, record)),
                None => freed.push_back(record),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::kinesis_record::tests::{bare, texts};
    use crate::sys::Sys;

    fn record(name: &str, generation: u64, way: &str) -> KinesisRecord {
        let mut record = bare(Sys::real().clock.now(), "k", name.as_bytes());
        let way = Way::Shard(way.into());
        record.lane = Some(Lane { generation, way });
        record
    }

    struct Bench {
        turnstile: Turnstile,
        freed: VecDeque<KinesisRecord>,
    }

    impl Bench {
        fn new() -> Bench {
            Bench {
                turnstile: Turnstile::default(),
                freed: VecDeque::new(),
            }
        }

        /// Says whether it passes.
        fn enters(&mut self, record: KinesisRecord) -> bool {
            let lane = record.lane.clone().expect("a lane");
            self.turnstile.enter(&lane, record).is_some()
        }

        /// The names of what goes when one of a lane settles.
        fn after(&mut self, generation: u64, way: &str) -> Vec<String> {
            let lane = record("", generation, way).lane.expect("a lane");
            self.turnstile.settled(&lane, &mut self.freed);
            self.freed.drain(..).flat_map(|one| texts(&one)).collect()
        }
    }

    #[test]
    fn each_lane_has_one_record_on_its_way() {
        let mut bench = Bench::new();
        assert!(bench.enters(record("a1", 0, "a")));
        assert!(!bench.enters(record("a2", 0, "a")));
        assert!(bench.enters(record("b1", 0, "b")));
        assert!(!bench.enters(record("a3", 0, "a")));
        assert_eq!(bench.after(0, "a"), ["a2"]);
        assert_eq!(bench.after(0, "b"), [""; 0]);
        assert_eq!(bench.after(0, "a"), ["a3"]);
        assert!(bench.enters(record("b2", 0, "b")));
        assert_eq!(bench.after(0, "a"), [""; 0]);
        assert!(bench.enters(record("a4", 0, "a")));
    }

    #[test]
    fn other_shards_begin_when_all_is_settled() {
        let mut bench = Bench::new();
        assert!(bench.enters(record("a1", 0, "a")));
        assert!(bench.enters(record("b1", 0, "b")));
        for (name, generation, way) in [
            ("c1", 1, "c"),
            ("c2", 1, "c"),
            ("d1", 1, "d"),
            ("e1", 2, "e"),
        ] {
            assert!(!bench.enters(record(name, generation, way)), "{name}");
        }
        assert_eq!(bench.after(0, "a"), [""; 0]);
        assert_eq!(bench.after(0, "b"), ["c1", "d1"]);
        assert_eq!(bench.after(1, "c"), ["c2"]);
        assert_eq!(bench.after(1, "d"), [""; 0]);
        assert_eq!(bench.after(1, "c"), ["e1"]);
        assert_eq!(bench.after(2, "e"), [""; 0]);
        assert!(bench.enters(record("f1", 7, "f")));
    }

    #[test]
    fn a_record_that_parts_goes_part_by_part_before_those_behind_it() {
        let mut bench = Bench::new();
        let whole = record("a1", 0, "a");
        let lane = whole.lane.clone().expect("a lane");
        assert!(bench.enters(whole));
        assert!(!bench.enters(record("a2", 0, "a")));
        let parts = ["1", "2", "3"].map(|name| record(name, 0, "a")).into();
        let first = bench.turnstile.part(&lane, parts).expect("the first");
        assert_eq!(texts(&first), ["1"]);
        assert_eq!(bench.after(0, "a"), ["2"]);
        let parts = ["2a", "2b"].map(|name| record(name, 0, "a")).into();
        let first = bench.turnstile.part(&lane, parts).expect("the first");
        assert_eq!(texts(&first), ["2a"]);
        for next in ["2b", "3", "a2"] {
            assert_eq!(bench.after(0, "a"), [next]);
        }
        assert_eq!(bench.after(0, "a"), [""; 0]);
        assert!(bench.turnstile.take_all().is_empty());
    }
}
