//! Writers of four kinds under reshards, and what readers by each policy make of their copies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, ConsumerConfig, Event, GapCause, HashKey, Misplaced, Producer,
    ProducerConfig, PutRecordsEntry, Shard, ShardRef, StartPosition, UserRecord,
};

use crate::time::{Flow, world};

/// Who writes, by what it stores again of an aggregate that went to another shard than predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// This crate's producer: all of it, if a part lies outside, each record with a mark.
    Ours,
    /// As the KPL 1.0: all of it while the shard is unknown, then what lies outside.
    Kpl10,
    /// As the KPL 1.1: all of it, also if it lies in place.
    Kpl11,
    /// An aggregator that looks neither at hash keys nor at where its records go: nothing.
    NoPlacement,
}

/// A third party's writer; or ours.
enum Writer {
    Ours(Box<Producer>),
    Other(Kind, Vec<Shard>),
}

impl Writer {
    fn start(kind: Kind, client: &Client) -> Writer {
        if kind != Kind::Ours {
            return Writer::Other(kind, open_shards(client));
        }
        let config = ProducerConfig::builder()
            .aggregation_max_bytes(1_000)
            .record_ttl(Duration::from_secs(36_000))
            .build();
        let producer = Producer::builder(client.clone()).stream("orders");
        let producer = producer.config(config.expect("valid")).start();
        Writer::Ours(producer.expect("started").into())
    }

    fn put(&mut self, client: &Client, rng: &mut Rng, names: &[String]) {
        match self {
            Writer::Ours(producer) => {
                for name in names {
                    let record = UserRecord::new(name.clone(), name.clone());
                    producer.put(record).expect("taken in");
                }
            }
            Writer::Other(kind, map) => store(*kind, map, client, rng, names.to_vec()),
        }
    }

    fn flush(&self) {
        if let Writer::Ours(producer) = self {
            producer.flush().expect("flushed");
        }
    }
}

fn open_shards(client: &Client) -> Vec<Shard> {
    let mut shards = client.list_shards("orders").expect("listed");
    shards.retain(Shard::is_open);
    shards
}

fn hash_key(name: &str) -> HashKey {
    HashKey::of_partition_key(name)
}

/// Stores records by a map that may be stale, and again what the kind of writer takes for misplaced.
fn store(kind: Kind, map: &mut Vec<Shard>, client: &Client, rng: &mut Rng, names: Vec<String>) {
    let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for name in names {
        let predicted = map
            .iter()
            .find(|shard| shard.hash_key_range.contains(hash_key(&name)));
        let predicted = predicted.map(|shard| shard.id.clone());
        let group = predicted.filter(|_| kind != Kind::NoPlacement);
        groups.entry(group).or_default().push(name);
    }
    for (predicted, group) in groups {
        for names in group.chunks(12) {
            let records = names
                .iter()
                .map(|name| SubRecord::new(&**name, name.clone()));
            let records: Vec<_> = records.collect();
            let (data, key) = match &records[..] {
                [alone] => (alone.data.clone(), &*alone.partition_key),
                all => (encode(all), "a"),
            };
            let entry = PutRecordsEntry {
                data,
                partition_key: key.into(),
                explicit_hash_key: Some(hash_key(&names[0])),
            };
            let output = client.put_records("orders", &[entry]).expect("stored");
            let actual = output.records[0].as_ref().expect("stored").shard_id.clone();
            if kind == Kind::NoPlacement || predicted == Some(actual.clone()) {
                continue;
            }
            // The answer comes before the new map, or after it.
            let is_known = rng.bool();
            if is_known {
                *map = open_shards(client);
            }
            let range = map.iter().find(|shard| shard.id == actual);
            let range = range.map(|shard| shard.hash_key_range);
            let is_in_place =
                |name: &String| range.is_some_and(|range| range.contains(hash_key(name)));
            let mut again = names.to_vec();
            if kind == Kind::Kpl10 && names.len() > 1 {
                again.retain(|name| !is_in_place(name));
            }
            if names.len() == 1 && kind == Kind::Kpl10 {
                again.clear();
            }
            *map = open_shards(client);
            store(kind, map, client, rng, again);
        }
    }
}

/// A reader that is stopped and goes on from its checkpoint while a stream is written and resharded.
struct Life {
    clock: VirtualClock,
    kinesis: FakeKinesis,
    client: Client,
    rng: Rng,
    writer: Writer,
    policy: Misplaced,
    restarts: bool,
    start: StartPosition,
    consumer: Option<Consumer>,
    committed: (Vec<String>, Checkpoint),
    uncommitted: Vec<String>,
    put: usize,
    is_over: bool,
    /// Records that were reported as left out or as perhaps coming twice.
    reported: BTreeMap<&'static str, usize>,
}

impl Life {
    fn new(seed: u64, kind: Kind, policy: Misplaced, restarts: bool) -> Life {
        let mut rng = Rng::with_seed(seed);
        let (clock, kinesis) = world(rng.u32(1..=3));
        let client = kinesis.client();
        let start = match rng.u32(0..3) {
            0 => StartPosition::Latest,
            1 => StartPosition::TrimHorizon,
            _ => StartPosition::AtTimestamp(clock.time()),
        };
        let mut life = Life {
            writer: Writer::start(kind, &client),
            clock,
            kinesis,
            client,
            rng,
            policy,
            restarts,
            start,
            consumer: None,
            committed: Default::default(),
            uncommitted: Vec::new(),
            put: 0,
            is_over: false,
            reported: BTreeMap::new(),
        };
        // It reads before anything is written, so that it has to hand out everything.
        life.start_consumer(false);
        life.commit();
        life
    }

    fn start_consumer(&mut self, until_caught_up: bool) {
        let config = ConsumerConfig::builder()
            .start_position(self.start)
            .misplaced(self.policy)
            .get_records_max(self.rng.u32(1..40))
            .get_records_interval(Duration::from_millis(self.rng.u64(1..400)))
            .until_caught_up(until_caught_up)
            .build();
        let builder = Consumer::builder(self.client.clone()).stream("orders");
        let builder = builder.restore(self.committed.1.clone());
        let consumer = builder.config(config.expect("valid")).start();
        self.uncommitted.clear();
        self.consumer = Some(consumer.expect("started"));
    }

    fn live(mut self) -> Self {
        for _ in 0..self.rng.usize(20..50) {
            match self.rng.u32(0..100) {
                0..35 => self.put(),
                35..70 => self.consume(),
                70..80 => self.commit(),
                80..95 => self.reshard(),
                _ if self.restarts => self.start_consumer(false),
                _ => {}
            }
        }
        let flow = Flow::of(&self.clock);
        self.writer.flush();
        drop(flow);
        if self.restarts {
            self.commit();
            self.start_consumer(true);
        }
        self.consume_all();
        self.committed.0.append(&mut self.uncommitted);
        self
    }

    fn put(&mut self) {
        let count = self.rng.usize(1..60);
        let names: Vec<_> = (self.put..self.put + count)
            .map(|n| format!("r{n}"))
            .collect();
        self.put += count;
        self.writer.put(&self.client, &mut self.rng, &names);
        if self.rng.bool() {
            let _flow = Flow::of(&self.clock);
            self.writer.flush();
        }
    }

    fn reshard(&mut self) {
        let mut open = open_shards(&self.client);
        open.sort_by_key(|shard| shard.hash_key_range.start);
        let at = self.rng.usize(..open.len());
        let shard = ShardRef::new("orders", open[at].id.clone());
        let done = match open.get(at + 1) {
            Some(next) if self.rng.bool() || open.len() > 6 => {
                self.client.merge_shards(&shard, &next.id)
            }
            _ => {
                let middle = open[at].hash_key_range.midpoint();
                self.client.split_shard(&shard, middle)
            }
        };
        done.expect("resharded");
    }

    fn consume(&mut self) {
        let _flow = Flow::of(&self.clock);
        for _ in 0..self.rng.usize(1..80) {
            let timeout = Duration::from_millis(self.rng.u64(0..1_000));
            if !self.take(timeout) {
                return;
            }
        }
    }

    /// Reads to the end that a bounded consumer has; any other until all is there and no more comes.
    fn consume_all(&mut self) {
        let _flow = Flow::of(&self.clock);
        let (mut quiet, mut seen) = (0, BTreeSet::new());
        seen.extend(self.committed.0.iter().chain(&self.uncommitted).cloned());
        // Time may run ahead of a thread that gets no processor, so quiet alone says little; but some
        // policies lose records, and for those that is all there is.
        let leaves_out = [Misplaced::CompatKcl, Misplaced::DropAndCount];
        let quiet_max = if leaves_out.contains(&self.policy) {
            20
        } else {
            2_000
        };
        while !self.is_over && (quiet < 3 || seen.len() < self.put && quiet < quiet_max) {
            let is_quiet = !self.take(Duration::from_secs(10));
            quiet = match is_quiet && !self.restarts {
                true => quiet + 1,
                false => 0,
            };
            if seen.len() < self.put {
                seen.extend(self.uncommitted.last().cloned());
            }
        }
    }

    fn take(&mut self, timeout: Duration) -> bool {
        let consumer = self.consumer.as_mut().expect("started");
        match consumer.next_event(timeout).expect("an event") {
            Event::Record(record) => {
                let name = String::from_utf8(record.data().to_vec()).expect("text");
                self.uncommitted.push(name);
            }
            Event::Gap(gap) => {
                assert!(!gap.is_loss(), "{gap}");
                let (what, records) = match gap.cause {
                    GapCause::Repeated { records, .. } => ("repeated", records),
                    GapCause::Misplaced { records, .. } => ("left out", records),
                    GapCause::MisplacedHandedOut {
                        records,
                        after_reshard,
                        ..
                    } => match after_reshard {
                        true => ("after a reshard", records),
                        false => ("without a reshard", records),
                    },
                    other => panic!("{other}"),
                };
                *self.reported.entry(what).or_default() += records;
            }
            Event::Ended => {
                self.is_over = true;
                return false;
            }
            Event::Timeout => return false,
            _ => {}
        }
        true
    }

    fn commit(&mut self) {
        let consumer = self.consumer.as_ref().expect("started");
        let json = consumer.checkpoint().to_json();
        self.committed.1 = Checkpoint::from_json(&json).expect("a checkpoint");
        self.committed.0.append(&mut self.uncommitted);
    }

    /// How many records never came, and how many came again.
    fn lost_and_again(&self) -> (usize, usize) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &self.committed.0 {
            *times.entry(name).or_default() += 1;
        }
        let stored = self.kinesis.records("orders").len();
        assert!(stored > 0 || self.put == 0);
        (self.put - times.len(), self.committed.0.len() - times.len())
    }
}

/// Lives through many histories, and sums up what was lost and what came again.
fn histories(kind: Kind, policy: Misplaced, restarts: bool) -> Sums {
    let mut sums = Sums::default();
    for seed in seeds() {
        let life = Life::new(seed, kind, policy, restarts).live();
        let (lost, again) = life.lost_and_again();
        if lost + again > 0 && policy == Misplaced::default() {
            eprintln!("{seed}: {:?} lost {lost} again {again}", life.start);
        }
        if lost > 0 {
            sums.losing.push(seed);
        }
        if again > 0 {
            sums.repeating.push(seed);
        }
        sums.put += life.put;
        sums.lost += lost;
        sums.again += again;
        for (what, records) in life.reported {
            *sums.reported.entry(what).or_default() += records;
        }
    }
    eprintln!("{kind:?}, {policy:?}: {sums:?}");
    sums
}

#[derive(Debug, Default)]
struct Sums {
    put: usize,
    lost: usize,
    again: usize,
    reported: BTreeMap<&'static str, usize>,
    /// The seeds of the histories in which records were lost, or came again.
    losing: Vec<u64>,
    repeating: Vec<u64>,
}

/// `SEED` lives through one history, `HISTORIES` through so many.
fn seeds() -> std::ops::Range<u64> {
    let set = |name| {
        std::env::var(name)
            .ok()
            .map(|set: String| set.parse().expect("a number"))
    };
    match set("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..set("HISTORIES").unwrap_or(8),
    }
}

#[test]
fn what_our_producer_stores_again_comes_once_by_default() {
    let sums = histories(Kind::Ours, Misplaced::default(), true);
    assert_eq!((sums.lost, sums.again), (0, 0), "{sums:?}");
    // There was something to leave out, and all of it was reported.
    let every_copy = histories(Kind::Ours, Misplaced::Deliver, false);
    assert!(
        every_copy.again > 0 && every_copy.lost == 0,
        "{every_copy:?}"
    );
    assert!(sums.reported["repeated"] > 0, "{sums:?}");
}

#[test]
fn no_writer_loses_a_record_by_default_and_what_may_come_twice_is_counted() {
    for kind in [Kind::Kpl10, Kind::Kpl11, Kind::NoPlacement] {
        let sums = histories(kind, Misplaced::default(), true);
        assert_eq!(sums.lost, 0, "{kind:?}: {sums:?}");
        assert_eq!(sums.again == 0, kind == Kind::NoPlacement, "{sums:?}");
        assert!(sums.reported["after a reshard"] > 0, "{kind:?}: {sums:?}");
    }
    // No rule that leaves records out loses nothing: that is why the default has none.
    for (kind, policy) in [
        (Kind::Kpl10, Misplaced::CompatKcl),
        (Kind::NoPlacement, Misplaced::DropAndCount),
    ] {
        let sums = histories(kind, policy, false);
        assert!(sums.lost > 0, "{kind:?}, {policy:?}: {sums:?}");
    }
}

#[test]
fn whoever_wrote_each_record_comes_once_if_contents_are_compared() {
    for kind in [Kind::Ours, Kind::Kpl10, Kind::Kpl11, Kind::NoPlacement] {
        let sums = histories(kind, Misplaced::DeduplicateByContent, false);
        assert_eq!((sums.lost, sums.again), (0, 0), "{kind:?}: {sums:?}");
        // A restart forgets the contents; it loses nothing.
        let sums = histories(kind, Misplaced::DeduplicateByContent, true);
        assert_eq!(sums.lost, 0, "{kind:?}: {sums:?}");
    }
}

#[test]
fn a_repeat_is_handed_out_if_the_consumer_started_between_the_copies() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let mut writer = Writer::start(Kind::Ours, &client);
    crate::split(&client);
    let names: Vec<_> = (0..8).map(|n| format!("r{n}")).collect();
    writer.put(&client, &mut Rng::with_seed(1), &names);
    let _flow = Flow::of(&clock);
    writer.flush();
    // Both copies are there. What a reader sees from an instant or a position between them is whole.
    let stored = kinesis.records("orders");
    let first = stored
        .iter()
        .find(|one| one.shard_id.as_str().ends_with('1'));
    let first = first.expect("the first copy").sequence_number.clone();
    let mut between = Checkpoint::default();
    for (shard, position) in [
        (
            "shardId-000000000000",
            kinesis_blocking::ShardPosition::ShardEnd,
        ),
        (
            "shardId-000000000001",
            kinesis_blocking::ShardPosition::After {
                sequence_number: first,
                sub_sequence_number: None,
            },
        ),
        (
            "shardId-000000000002",
            kinesis_blocking::ShardPosition::Start(StartPosition::TrimHorizon),
        ),
    ] {
        between.insert(ShardRef::new("orders", shard), position, None);
    }
    for (checkpoint, what) in [(Checkpoint::default(), "all"), (between, "between")] {
        let config = crate::config(StartPosition::TrimHorizon).until_caught_up(true);
        let consumer = Consumer::builder(client.clone()).stream("orders");
        let consumer = consumer.config(config.build().expect("valid"));
        let mut consumer = consumer.restore(checkpoint).start().expect("started");
        let seen = crate::sorted(crate::read(&mut consumer));
        assert_eq!(seen, crate::sorted(names.clone()), "{what}");
    }
}
