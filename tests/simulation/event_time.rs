//! A history of event time: consumers that share a tracker, silent shards, reshards, restarts, and a
//! tracker that fails.
//!
//! A record's event time is at most DELAY before that of any record that was put before it. So in the
//! order in which they were put none is late, and none may be here, unless its shard was idle.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kinesis_blocking::{
    BoundedOutOfOrderness, Checkpoint, Consumer, ConsumerConfig, DirectoryWatermarkTracker, Event,
    MemoryWatermarkTracker, PutRecordsEntry, Record, ShardRef, StartPosition, Timestamp,
    WatermarkReport, WatermarkTracker,
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

struct History {
    world: World,
    tracker: Arc<Flaky>,
    _folder: tempfile::TempDir,
    members: Vec<Member>,
    settings: ConsumerConfig,
    lookahead: i64,
    /// How far event time has come where records come from.
    time: i64,
    put: usize,
    /// What anybody has had.
    seen: BTreeSet<(ShardRef, Number)>,
}

/// One consumer of the group, through all its lives.
#[derive(Default)]
struct Member {
    consumer: Option<Consumer>,
    committed: Checkpoint,
    watermark: Option<i64>,
    idle: BTreeSet<ShardRef>,
    /// How far the watermark has gone while a shard was idle: what it brings from before may be late.
    idle_to: BTreeMap<ShardRef, i64>,
    /// How many answers of the tracker it had at its last event.
    answers: usize,
}

/// A tracker that answers only when it is told to.
struct Flaky {
    tracker: Box<dyn WatermarkTracker>,
    fails: AtomicBool,
    /// What each subtask was answered, or has to do with instead: its own watermark, or no limit.
    answers: Mutex<BTreeMap<String, Vec<i64>>>,
}

impl Flaky {
    /// The highest answer that counts or counted since there were so many; and how many there are.
    fn highest(&self, index: usize, since: usize) -> (Option<i64>, usize) {
        let answers = self.answers.lock().expect("no panic");
        let all = answers.get(&format!("{STREAM}-{index}"));
        let all = all.map_or(&[][..], Vec::as_slice);
        // The last one may just be on its way.
        let counting = all.iter().skip(since.saturating_sub(2));
        (counting.max().copied(), all.len())
    }
}

impl WatermarkTracker for Flaky {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        let answer = match self.fails.load(Ordering::Relaxed) {
            true => Err(io::Error::other("out of reach")),
            false => self.tracker.update(report),
        };
        let lowest = *answer.as_ref().unwrap_or(&None);
        let counts = lowest.or(report.watermark);
        let counts = counts.map_or(i64::MAX, Timestamp::as_millis);
        let mut answers = self.answers.lock().expect("no panic");
        let all = answers.entry(report.subtask.to_owned()).or_default();
        // Without an answer the last one goes on to count for a while.
        let last = all.last().filter(|_| answer.is_err()).copied();
        all.push(last.map_or(counts, |last| last.max(counts)));
        answer
    }

    fn withdraw(&self, report: &WatermarkReport<'_>) -> io::Result<()> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(io::Error::other("out of reach")),
            false => self.tracker.withdraw(report),
        }
    }
}

impl History {
    fn new(seed: u64) -> History {
        let mut world = World::new(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let tracker: Box<dyn WatermarkTracker> = match world.rng.bool() {
            true => Box::new(MemoryWatermarkTracker::new()),
            false => Box::new(DirectoryWatermarkTracker::new(folder.path())),
        };
        let fails = AtomicBool::new(false);
        let sync = world.rng.u64(50..500);
        let lookahead = 3 * sync + world.rng.u64(0..2_000);
        let millis = Duration::from_millis;
        let idle = world.rng.bool().then(|| millis(world.rng.u64(500..20_000)));
        let settings = ConsumerConfig::builder()
            .start_position(StartPosition::TrimHorizon)
            .get_records_max(world.rng.u32(1..50))
            .get_records_interval(millis(world.rng.u64(1..400)))
            .watermark_interval(millis(world.rng.u64(0..300)))
            .watermark_sync_interval(millis(sync))
            .watermark_lookahead(millis(lookahead))
            .watermark_sync_queue_capacity(world.rng.usize(1..50))
            .shard_idle_interval(idle);
        History {
            tracker: Arc::new(Flaky {
                tracker,
                fails,
                answers: Mutex::default(),
            }),
            _folder: folder,
            members: (0..world.rng.usize(1..=3))
                .map(|_| Member::default())
                .collect(),
            settings: settings.build().expect("valid"),
            lookahead: i64::try_from(lookahead).expect("small"),
            time: 0,
            put: 0,
            seen: BTreeSet::new(),
            world,
        }
    }

    fn step(&mut self) {
        let member = self.world.rng.usize(..self.members.len());
        match self.world.rng.u32(0..100) {
            0..30 => self.put(),
            30..70 => self.consume(member, Duration::from_millis(500)),
            70..78 => self.members[member].commit(),
            78..84 => self.reshard(),
            84..88 => self.world.trouble(),
            88..91 => self.world.calm_down(),
            91..94 => self
                .tracker
                .fails
                .store(self.world.rng.bool(), Ordering::Relaxed),
            // Dropped without a word: what was not committed is done again.
            _ => self.members[member].consumer = None,
        }
    }

    /// Puts records that happened a little later than those before, often to a few shards only.
    fn put(&mut self) {
        let keys = self.world.rng.usize(1..20);
        let mut entries = Vec::new();
        for _ in 0..self.world.rng.usize(1..40) {
            self.time += self.world.rng.i64(0..200);
            let happened = self.time - self.world.rng.i64(0..=DELAY);
            entries.push(entry(happened, format!("k{}", self.put % keys)));
            self.put += 1;
        }
        // It may fail, and be stored or not: what counts is what is there.
        let _ = self.world.client.put_records(STREAM, &entries);
    }

    fn reshard(&mut self) {
        self.world.calm_down();
        self.world.reshard();
    }

    fn consume(&mut self, index: usize, patience: Duration) {
        self.start(index);
        for _ in 0..self.world.rng.usize(1..200) {
            if !self.take(index, patience) {
                return;
            }
        }
    }

    fn start(&mut self, index: usize) {
        let parallelism = self.members.len();
        let member = &mut self.members[index];
        if member.consumer.is_some() {
            return;
        }
        let start = || {
            let delay = Duration::from_millis(u64::try_from(DELAY).expect("above 0"));
            Consumer::builder(self.world.client.clone())
                .stream(STREAM)
                .subtask(index, parallelism)
                .config(self.settings.clone())
                .restore(member.committed.clone())
                .watermarks(BoundedOutOfOrderness::new(delay, happened))
                .watermark_tracker(self.tracker.clone())
                .start()
        };
        let consumer = calmly(start);
        member.watermark = consumer.watermark().map(Timestamp::as_millis);
        member.idle.clear();
        member.consumer = Some(consumer);
    }

    /// Takes one event; `false` if there is none.
    fn take(&mut self, index: usize, patience: Duration) -> bool {
        let parallelism = self.members.len();
        let member = &mut self.members[index];
        let consumer = member.consumer.as_mut().expect("started");
        let had = member.answers;
        let event = consumer.next_event(patience).expect("an event");
        let (global, answers) = self.tracker.highest(index, had);
        member.answers = answers;
        match event {
            Event::Timeout => return false,
            Event::Ended => panic!("nobody stopped it"),
            Event::Watermark(watermark) => member.go_on(watermark.as_millis()),
            Event::ShardIdle(shard) => assert!(member.idle.insert(shard)),
            Event::ShardActive(shard) => assert!(member.idle.remove(&shard)),
            Event::ShardEnded(shard) => {
                member.idle.remove(&shard);
            }
            Event::ShardStarted(shard) => {
                let parents = self.world.parents_of(&shard);
                member.inherit(&shard, &parents);
            }
            Event::Record(record) => {
                let global = global.expect("nothing comes before all have been asked");
                let limit = global.saturating_add(self.lookahead.max(DELAY));
                let time = record.event_time().as_millis();
                assert!(time <= limit, "{time} beyond {limit}");
                // What another one has read the parent of begins without a watermark.
                let is_whole = parallelism == 1 || !self.world.has_parents(record.shard());
                assert!(!is_whole || !member.is_late(&record), "{record:?} is late");
                let number = Number(record.sequence_number().clone());
                self.seen.insert((record.shard().clone(), number));
            }
            _ => {}
        }
        true
    }

    /// From now on nothing goes wrong: all that is there comes, and the watermark goes up to its end.
    fn end(mut self) {
        self.world.calm_down();
        self.tracker.fails.store(false, Ordering::Relaxed);
        self.time += 10_000;
        for shard in self.world.open_shards() {
            let key = Some(shard.hash_key_range.start);
            let last = entry(self.time, "last".to_owned());
            let last = [PutRecordsEntry {
                explicit_hash_key: key,
                ..last
            }];
            calmly(|| self.world.client.put_records(STREAM, &last));
        }
        let stored = self.world.kinesis.records(STREAM).into_iter();
        let place = |at: kinesis_blocking::fake::StoredRecord| {
            (
                ShardRef::new(STREAM, at.shard_id),
                Number(at.sequence_number),
            )
        };
        let all: BTreeSet<_> = stored.map(place).collect();
        let (mut progress, mut since) = (self.progress(), Instant::now());
        while since.elapsed() < PATIENCE {
            for index in 0..self.members.len() {
                self.consume(index, Duration::from_millis(100));
            }
            if all.is_subset(&self.seen) && self.are_complete() {
                return;
            }
            if self.progress() != progress {
                (progress, since) = (self.progress(), Instant::now());
            }
        }
        let missing: Vec<_> = all.difference(&self.seen).collect();
        let members = self.members.iter();
        let told: Vec<_> = members.map(|member| member.told()).collect();
        panic!(
            "of {} records {missing:?} did not come: {told:#?}",
            all.len()
        );
    }

    fn progress(&self) -> (usize, Vec<Option<i64>>) {
        let members = self.members.iter();
        (
            self.seen.len(),
            members.map(|member| member.watermark).collect(),
        )
    }

    /// Every member that reads anything has had all of it.
    fn are_complete(&self) -> bool {
        let to = self.time - DELAY;
        self.members.iter().all(|member| {
            let consumer = member.consumer.as_ref().expect("started");
            let reads = !consumer.metrics().shards.is_empty();
            !reads || member.watermark >= Some(to)
        })
    }
}

impl Member {
    fn commit(&mut self) {
        if let Some(consumer) = &self.consumer {
            let json = consumer.checkpoint().to_json();
            self.committed = Checkpoint::from_json(&json).expect("a checkpoint");
        }
    }

    fn told(&self) -> String {
        let metrics = self.consumer.as_ref().map(Consumer::metrics);
        let metrics = metrics.map(|metrics| metrics.to_json());
        format!("{:?} {:?} {metrics:?}", self.watermark, self.idle)
    }

    fn go_on(&mut self, watermark: i64) {
        assert!(
            self.watermark < Some(watermark),
            "{:?}, {watermark}",
            self.watermark
        );
        self.watermark = Some(watermark);
        for shard in &self.idle {
            self.idle_to.insert(shard.clone(), watermark);
        }
    }

    fn inherit(&mut self, shard: &ShardRef, parents: &[ShardRef]) {
        let idle = parents.iter().filter_map(|parent| self.idle_to.get(parent));
        if let Some(idle_to) = idle.max().copied() {
            self.idle_to.insert(shard.clone(), idle_to);
        }
    }

    fn is_late(&self, record: &Record) -> bool {
        let time = record.event_time().as_millis();
        let was_idle = self.idle_to.get(record.shard());
        Some(time) < self.watermark && was_idle.is_none_or(|idle_to| time >= *idle_to)
    }
}

fn entry(happened: i64, key: String) -> PutRecordsEntry {
    PutRecordsEntry {
        data: happened.to_string().into(),
        partition_key: key.into(),
        explicit_hash_key: None,
    }
}

fn happened(record: &Record) -> Timestamp {
    let text = String::from_utf8_lossy(record.data());
    Timestamp::from_millis(text.parse().expect("a number"))
}

/// By how much records are out of order.
const DELAY: i64 = 500;

/// Who makes no progress for so long, in real time, never will: virtual time may pass by threads that
/// the machine does not run.
const PATIENCE: Duration = Duration::from_secs(30);
