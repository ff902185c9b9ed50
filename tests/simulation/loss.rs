//! A history in which time passes by days: a consumer that is away, or that is there and does not
//! get its turn, while records outlive their retention.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinesis_blocking::fake::StoredRecord;
use kinesis_blocking::{
    Checkpoint, Consumer, ConsumerConfig, DataLoss, Event, Gap, PutRecordsEntry, ShardId, ShardRef,
    StartPosition,
};

use crate::truth::Number;
use crate::world::{STREAM, World, calmly};

pub fn live_through(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..history.world.rng.usize(20..60) {
        history.step();
    }
    history.end();
}

/// What the caller has made of a consumer's events, and the place that belongs to it.
#[derive(Default)]
struct Told {
    records: Vec<Place>,
    gaps: Vec<Gap>,
}

/// A Kinesis record: here each is one user record.
type Place = (ShardId, Number);

struct History {
    world: World,
    /// In every other one days pass, and records are lost.
    is_long: bool,
    consumer: Option<Consumer>,
    committed: (Told, Checkpoint),
    uncommitted: Told,
    stored: BTreeSet<Place>,
    /// What had been stored when a consumer first started without a checkpoint: TRIM_HORIZON is the
    /// oldest record that is there when its shard is first read.
    before: BTreeSet<Place>,
    parents: BTreeMap<ShardId, Vec<ShardId>>,
    put: usize,
}

impl History {
    fn new(seed: u64) -> History {
        History {
            world: World::lasting(seed, 100_000 * HOUR),
            is_long: seed.is_multiple_of(2),
            consumer: None,
            committed: Default::default(),
            uncommitted: Told::default(),
            stored: BTreeSet::new(),
            before: BTreeSet::new(),
            parents: BTreeMap::new(),
            put: 0,
        }
    }

    fn step(&mut self) {
        match self.world.rng.u32(0..100) {
            0..35 => self.put(),
            35..65 => self.consume(),
            65..75 => self.commit(),
            75..83 => self.reshard(),
            83..88 => self.world.trouble(),
            88..91 => self.world.calm_down(),
            91..95 => self.consumer = None,
            _ => self.wait(),
        }
    }

    fn put(&mut self) {
        let count = self.world.rng.usize(1..40);
        let entry = |n: usize| PutRecordsEntry {
            partition_key: format!("k{}", n % 20).into(),
            explicit_hash_key: None,
            data: format!("r{n}").into(),
        };
        let entries: Vec<_> = (self.put..self.put + count).map(entry).collect();
        self.put += count;
        // It may fail, and be stored or not: what counts is what is there.
        let _ = self.world.client.put_records(STREAM, &entries);
        self.look();
    }

    fn kept(&self) -> BTreeSet<Place> {
        let records = self.world.kinesis.records(STREAM).into_iter();
        let place = |record: StoredRecord| (record.shard_id, Number(record.sequence_number));
        records.map(place).collect()
    }

    /// Notes what is stored, while it is.
    fn look(&mut self) {
        self.stored.append(&mut self.kept());
        for shard in calmly(|| self.world.client.list_shards(STREAM)) {
            let parents = shard.parents().cloned().collect();
            self.parents.insert(shard.id, parents);
        }
    }

    fn reshard(&mut self) {
        self.world.calm_down();
        self.world.reshard();
        self.look();
    }

    /// Lets time pass, while nobody reads or in the middle of the consumer's calls.
    fn wait(&mut self) {
        let minutes = match self.is_long {
            true => self.world.rng.u32(1..40 * 60),
            false => self.world.rng.u32(1..20),
        };
        if self.world.rng.bool() {
            self.consumer = None;
        }
        self.world.clock.advance(HOUR / 60 * minutes);
    }

    fn consume(&mut self) {
        if self.consumer.is_none() {
            self.uncommitted = Told::default();
            self.consumer = Some(self.start_consumer(false));
        }
        let consumer = self.consumer.as_mut().expect("started");
        for _ in 0..self.world.rng.usize(1..100) {
            let timeout = Duration::from_millis(self.world.rng.u64(0..1_000));
            match consumer.next_event(timeout).expect("an event") {
                Event::Ended => panic!("nobody stopped it"),
                Event::Timeout => return,
                event => self.uncommitted.take(event),
            }
        }
    }

    fn start_consumer(&mut self, until_caught_up: bool) -> Consumer {
        if self.committed.1.is_empty() {
            self.before = self.stored.clone();
        }
        let rng = &mut self.world.rng;
        let config = ConsumerConfig::builder()
            .start_position(StartPosition::TrimHorizon)
            .data_loss(DataLoss::ContinueAndReport)
            .get_records_max(rng.u32(1..50))
            .get_records_interval(Duration::from_millis(rng.u64(1..400)))
            .until_caught_up(until_caught_up)
            .build()
            .expect("valid");
        calmly(|| {
            let builder = Consumer::builder(self.world.client.clone()).stream(STREAM);
            let restored = builder.restore(self.committed.1.clone());
            restored.config(config.clone()).start()
        })
    }

    fn commit(&mut self) {
        if let Some(consumer) = &self.consumer {
            let json = consumer.checkpoint().to_json();
            self.committed.1 = Checkpoint::from_json(&json).expect("a checkpoint");
            let Told { records, gaps } = std::mem::take(&mut self.uncommitted);
            self.committed.0.records.extend(records);
            self.committed.0.gaps.extend(gaps);
        }
    }

    fn end(mut self) {
        self.world.calm_down();
        self.look();
        self.consumer = None;
        let mut last = self.start_consumer(true);
        let told = &mut self.committed.0;
        loop {
            match last.next_event(Duration::MAX).expect("an event") {
                Event::Ended => break,
                event => told.take(event),
            }
        }
        self.check();
    }

    fn check(&self) {
        let told = &self.committed.0;
        let seen: BTreeSet<_> = told.records.iter().cloned().collect();
        assert_eq!(seen.len(), told.records.len(), "seen twice");
        let silent: Vec<_> = self
            .stored
            .difference(&seen)
            .filter(|place| !self.is_before(place) && !self.is_told(place))
            .take(3)
            .collect();
        assert!(
            silent.is_empty(),
            "lost without a word: {silent:#?} {:#?}",
            told.gaps
        );
        let kept = self.kept();
        for gap in &told.gaps {
            assert!(self.is_long, "nothing was old enough to be lost: {gap}");
            let is_kept = |(shard, number): &Place| {
                *shard == gap.shard.shard_id && Some(&number.0) == gap.after.as_ref()
            };
            assert!(
                !kept.iter().any(is_kept),
                "what comes before {gap} is still there"
            );
        }
    }

    /// Says whether a record had been stored before the first start, and was gone when its shard was
    /// first read.
    fn is_before(&self, (shard, number): &Place) -> bool {
        let is_older = |(of, seen): &Place| of == shard && seen < number;
        self.before.contains(&(shard.clone(), number.clone()))
            && !self.committed.0.records.iter().any(is_older)
    }

    /// Says whether a gap covers a record: one of its shard, or of a shard that it came from or went
    /// into, which was gone as well before anybody knew of it.
    fn is_told(&self, (shard, number): &Place) -> bool {
        let here = |gap: &&Gap| {
            gap.is_loss()
                && gap.shard == ShardRef::new(STREAM, shard.clone())
                && gap.after.as_ref().is_none_or(|after| *after < number.0)
                && gap.before.as_ref().is_none_or(|before| *before > number.0)
        };
        let gaps = &self.committed.0.gaps;
        gaps.iter().any(|gap| here(&gap))
            || self.is_told_of_any(shard, &|shard| self.parents_of(shard))
            || self.is_told_of_any(shard, &|shard| self.children_of(shard))
    }

    fn is_told_of_any(&self, shard: &ShardId, next: &dyn Fn(&ShardId) -> Vec<ShardId>) -> bool {
        next(shard).iter().any(|other| {
            let gone =
                |gap: &Gap| gap.is_loss() && gap.before.is_none() && gap.shard.shard_id == *other;
            self.committed.0.gaps.iter().any(gone) || self.is_told_of_any(other, next)
        })
    }

    fn parents_of(&self, shard: &ShardId) -> Vec<ShardId> {
        self.parents.get(shard).cloned().unwrap_or_default()
    }

    /// Those of a shard of which nothing was ever seen; what was seen is told of by itself.
    fn children_of(&self, shard: &ShardId) -> Vec<ShardId> {
        let seen = self.committed.0.records.iter();
        if seen.clone().any(|(of, _)| of == shard) {
            return Vec::new();
        }
        let of = |(_, parents): &(&ShardId, &Vec<ShardId>)| parents.contains(shard);
        let children = self.parents.iter().filter(of);
        children.map(|(child, _)| child.clone()).collect()
    }
}

impl Told {
    fn take(&mut self, event: Event) {
        match event {
            Event::Record(record) => {
                let place = record.shard().shard_id.clone();
                self.records
                    .push((place, Number(record.sequence_number().clone())));
            }
            Event::Gap(gap) => self.gaps.push(gap),
            _ => {}
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
