//! A history of consumers that share the shards in one process, each with commits of its own.

use std::time::Duration;

use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::{
    Consumer, ConsumerConfig, Event, FlinkHashAssigner, MemoryCheckpointStore, Misplaced,
    PutRecordsEntry, StartPosition,
};

use crate::truth::{Seen, Truth, check};
use crate::world::{STREAM, World, calmly};

pub fn live_through(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..history.world.rng.usize(20..60) {
        history.step();
    }
    history.end();
}

struct History {
    world: World,
    /// Empty while none is started; those that ended early leave a hole.
    group: Vec<Option<Member>>,
    store: MemoryCheckpointStore,
    /// In every other history the library commits by itself.
    commit_interval: Option<Duration>,
    /// What the callers have made of the records, in the order in which it was committed.
    committed: Vec<Seen>,
    put: usize,
}

struct Member {
    consumer: Consumer,
    /// What its caller has made of the records since the last commit.
    uncommitted: Vec<Seen>,
    /// Whether the library commits by itself, and how often it has.
    is_committed: bool,
    commits: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let mut world = World::new(seed);
        let interval = Duration::from_millis(world.rng.u64(1..2_000));
        History {
            world,
            group: Vec::new(),
            store: MemoryCheckpointStore::new(),
            commit_interval: seed.is_multiple_of(2).then_some(interval),
            committed: Vec::new(),
            put: 0,
        }
    }

    fn step(&mut self) {
        match self.world.rng.u32(0..100) {
            0..30 => self.put(),
            30..65 => self.consume(),
            65..70 => self.commit(),
            70..80 => {
                self.world.calm_down();
                self.world.reshard();
            }
            80..86 => self.world.trouble(),
            86..88 => self.world.calm_down(),
            // All of them, without a word.
            88..93 => self.group.clear(),
            _ => self.end_one(),
        }
    }

    fn put(&mut self) {
        let count = self.world.rng.usize(1..40);
        let entries: Vec<_> = (0..count).map(|_| self.entry()).collect();
        // It may fail, and be stored or not: what counts is what is there.
        let _ = self.world.client.put_records(STREAM, &entries);
    }

    fn entry(&mut self) -> PutRecordsEntry {
        let key = format!("k{}", self.world.rng.u32(0..20));
        let parts = self.world.rng.usize(0..4);
        let mut name = || {
            self.put += 1;
            format!("r{}", self.put)
        };
        let data = match parts {
            0 => name().into(),
            _ => {
                let parts = (0..parts).map(|_| SubRecord::new(key.clone(), name()));
                encode(&parts.collect::<Vec<_>>())
            }
        };
        PutRecordsEntry {
            partition_key: key.into(),
            explicit_hash_key: None,
            data,
        }
    }

    fn consume(&mut self) {
        if self.group.iter().all(Option::is_none) {
            self.start(false);
        }
        for _ in 0..self.world.rng.usize(1..100) {
            let (at, millis) = (self.world.rng.usize(..), self.world.rng.u64(0..500));
            let size = self.group.len();
            if let Some(member) = &mut self.group[at % size] {
                let event = member.next(Duration::from_millis(millis), &mut self.committed);
                assert!(event, "nobody stopped it");
            }
        }
    }

    fn start(&mut self, until_caught_up: bool) {
        let rng = &mut self.world.rng;
        let size = rng.usize(1..=5);
        let config = ConsumerConfig::builder()
            .start_position(StartPosition::TrimHorizon)
            .misplaced(Misplaced::CompatKcl)
            .get_records_max(rng.u32(1..50))
            .get_records_interval(Duration::from_millis(rng.u64(1..400)))
            .until_caught_up(until_caught_up)
            .build()
            .expect("valid");
        let by_name = rng.bool();
        let group = calmly(|| {
            let builder = Consumer::builder(self.world.client.clone()).stream(STREAM);
            let builder = builder.checkpoint_store(self.store.clone());
            let builder = builder.config(config.clone());
            let builder = match by_name {
                true => builder.shard_assigner(FlinkHashAssigner),
                false => builder,
            };
            let builder = match self.commit_interval {
                Some(interval) => builder.commit_interval(interval),
                None => builder,
            };
            builder.start_group(size)
        });
        let member = |consumer| Member {
            consumer,
            uncommitted: Vec::new(),
            is_committed: self.commit_interval.is_some(),
            commits: 0,
        };
        self.group = group.into_iter().map(member).map(Some).collect();
    }

    fn commit(&mut self) {
        for member in self.group.iter_mut().flatten() {
            if self.world.rng.bool() {
                member.commit(&mut self.committed);
            }
        }
    }

    /// One is closed or dropped, and the others go on.
    fn end_one(&mut self) {
        let at = self.world.rng.usize(..);
        let size = self.group.len().max(1);
        let Some(mut member) = self.group.get_mut(at % size).and_then(Option::take) else {
            return;
        };
        if self.world.rng.bool() {
            member.consumer.close().expect("closed");
            self.committed.append(&mut member.uncommitted);
        }
    }

    fn end(mut self) {
        self.world.calm_down();
        self.group.clear();
        let before = Truth::of(&self.world);
        self.start(true);
        while self.group.iter().any(Option::is_some) {
            for place in &mut self.group {
                let is_over = place.as_mut().is_some_and(|member| {
                    !member.next(Duration::from_millis(50), &mut self.committed)
                });
                if is_over && let Some(mut member) = place.take() {
                    member.consumer.close().expect("closed");
                    self.committed.append(&mut member.uncommitted);
                }
            }
        }
        check(&before, &Truth::of(&self.world), &self.committed);
    }
}

impl Member {
    /// Takes what comes next, and says whether there may be more.
    fn next(&mut self, timeout: Duration, committed: &mut Vec<Seen>) -> bool {
        let event = self.consumer.next_event(timeout).expect("an event");
        // The library commits before it hands out anything.
        let commits = self.consumer.metrics().commits.commits;
        if commits > self.commits {
            self.commits = commits;
            committed.append(&mut self.uncommitted);
        }
        match event {
            Event::Record(record) => self.uncommitted.push(Seen::of(&record)),
            Event::Ended => return false,
            // So that what others commit of its children is not ahead of it. The library knows that.
            Event::ShardEnded(_) if !self.is_committed => self.commit(committed),
            _ => {}
        }
        true
    }

    fn commit(&mut self, committed: &mut Vec<Seen>) {
        self.consumer.commit().expect("committed");
        self.commits += 1;
        committed.append(&mut self.uncommitted);
    }
}
