//! Histories of puts, faults, reshards and time by chance, through the pure parts alone.
//!
//! Whatever happens, every record settles once, and what is said of it holds against the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aggregation::decode;
use crate::client::{EntryError, Listed, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::config::{Ordering, ProducerConfig};
use crate::error::{Error, ErrorKind, Result, TransportError};
use crate::model::{HashKey, HashKeyRange, Shard, ShardMap};
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::delivery::Stored;
use crate::producer::group::Group;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::pipeline::{Pipeline, Settlement};
use crate::producer::record::UserRecord;
use crate::sys::Sys;
use crate::sys::rng::Rng;

/// A stream that is split and merged, and everything that was stored in it.
struct Service {
    shards: Vec<Shard>,
    log: Vec<(usize, Bytes)>,
}

impl Service {
    fn new() -> Service {
        let number = "1".parse().expect("a number");
        let first = Shard::new("shardId-000000000000", HashKeyRange::FULL, number);
        Service {
            shards: vec![first],
            log: Vec::new(),
        }
    }

    fn open(&self) -> Vec<usize> {
        let open = |at: &usize| self.shards[*at].is_open();
        (0..self.shards.len()).filter(open).collect()
    }

    fn reshard(&mut self, rng: &mut Rng) {
        let open = self.open();
        let one = open[pick(rng, open.len())];
        let range = self.shards[one].hash_key_range;
        let above = open.iter().copied().find(|&at| {
            let start = self.shards[at].hash_key_range.start.as_u128();
            range.end.as_u128().checked_add(1) == Some(start)
        });
        match above {
            Some(other) if pick(rng, 2) == 0 => {
                let end = self.shards[other].hash_key_range.end;
                self.close(&[one, other]);
                self.add(range.start, end);
            }
            _ => {
                let middle = range.midpoint();
                self.close(&[one]);
                self.add(range.start, HashKey::from(middle.as_u128() - 1));
                self.add(middle, range.end);
            }
        }
    }

    fn close(&mut self, shards: &[usize]) {
        for &at in shards {
            let end = "2".parse().expect("a number");
            self.shards[at].ending_sequence_number = Some(end);
        }
    }

    fn add(&mut self, start: HashKey, end: HashKey) {
        let id = format!("shardId-{:012}", self.shards.len());
        let number = "1".parse().expect("a number");
        let range = HashKeyRange { start, end };
        self.shards.push(Shard::new(id, range, number));
    }

    fn store(&mut self, entry: &PutRecordsEntry) -> PutRecordOutput {
        let key = entry.explicit_hash_key.expect("always sent");
        let open = self.open().into_iter();
        let mut owners = open.filter(|&at| self.shards[at].hash_key_range.contains(key));
        let at = owners.next().expect("the ring is whole");
        self.log.push((at, entry.data.clone()));
        PutRecordOutput {
            shard_id: self.shards[at].id.clone(),
            sequence_number: self.log.len().to_string().parse().expect("a number"),
        }
    }

    /// The names in each Kinesis record, in the order stored, and whether readers by the KCL's rule see it.
    fn contents(&self) -> impl Iterator<Item = (Vec<String>, bool)> {
        self.log.iter().map(|(at, data)| {
            let range = self.shards[*at].hash_key_range;
            match decode(data).expect("our own") {
                Some(members) => {
                    let read = members.iter().all(|one| range.contains(one.hash_key()));
                    (members.iter().map(|one| text(&one.data)).collect(), read)
                }
                None => (vec![text(data)], true),
            }
        })
    }

    fn readable(&self) -> impl Iterator<Item = String> {
        let read = self.contents().filter(|(_, read)| *read);
        read.flat_map(|(names, _)| names)
    }

    /// How often each name lies in the log, and how often readers by the KCL's rule see it.
    fn truth(&self) -> BTreeMap<String, (usize, usize)> {
        let mut truth: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (names, read) in self.contents() {
            for name in names {
                let counts = truth.entry(name).or_default();
                counts.0 += 1;
                counts.1 += usize::from(read);
            }
        }
        truth
    }
}

struct History {
    rng: Rng,
    now: Instant,
    service: Service,
    aggregator: Aggregator,
    pipeline: Pipeline,
    under_way: Vec<Job>,
    /// The hash key of each record put; its name is its place here.
    puts: Vec<u128>,
    ordering: Ordering,
    lost_answers: usize,
    /// What another producer listed now and then.
    others: Option<Listed>,
    /// What was said of each name.
    settled: HashMap<String, Result<PutRecordOutput, Stored>>,
}

impl History {
    fn new(seed: u64, ordering: Ordering) -> History {
        let config = ProducerConfig::builder()
            .aggregation(!seed.is_multiple_of(3))
            .ordering(ordering)
            .aggregation_max_bytes(200)
            .collection_max_count(4)
            .record_ttl(Duration::from_secs(10))
            .build()
            .expect("valid");
        let (service, now) = (Service::new(), Sys::real().clock.now());
        let name: Arc<str> = "orders".into();
        let map = Arc::new(ShardMap::new(&service.shards));
        let mut pipeline = Pipeline::new(&config, Rng::from_seed(seed));
        let mut aggregator = Aggregator::new(name.clone(), Rules::of(&config));
        // Now and then it may not list at first.
        let known = (!seed.is_multiple_of(5)).then_some(map);
        let known = known.map(|map| Listed {
            map,
            began: now,
            ended: now,
        });
        pipeline.learn(&name, known.as_ref());
        if let Some(known) = known {
            aggregator.follow(known.map, &mut Vec::new());
        }
        History {
            rng: Rng::from_seed(seed),
            now: now + Duration::from_millis(1),
            service,
            aggregator,
            pipeline,
            under_way: Vec::new(),
            puts: Vec::new(),
            ordering,
            lost_answers: 0,
            others: None,
            settled: HashMap::new(),
        }
    }

    fn step(&mut self, calm: bool) {
        match pick(&mut self.rng, if calm { 5 } else { 100 }) {
            0 => self.pass(200),
            1..5 => self.answer(calm),
            5..7 => self.service.reshard(&mut self.rng),
            7..40 => self.answer(calm),
            40..50 => self.pass(300),
            50 => self.flush(),
            51 => self.others = Some(self.listed(self.now, self.now)),
            _ => self.put(),
        }
        self.work();
    }

    fn put(&mut self) {
        let key = match self.ordering {
            // Few, so that each has many records.
            Ordering::PerPartitionKey => (pick(&mut self.rng, 8) as u128) << 125,
            Ordering::None => u128::from(self.rng.next_u64()) << 64,
        };
        let name = self.puts.len().to_string();
        let record = UserRecord::new("k", name).explicit_hash_key(key.into());
        self.puts.push(key);
        if self.aggregator.join(Some(key.into()), &record).is_none() {
            let (group, mut finished) = (Group::new(Sys::real().clock), Vec::new());
            self.aggregator
                .start(self.now, record, group, &mut finished);
            self.pipeline.accept(self.now, finished);
        }
    }

    fn pass(&mut self, millis_max: usize) {
        let millis = 1 + pick(&mut self.rng, millis_max) as u64;
        self.now += Duration::from_millis(millis);
        let mut finished = Vec::new();
        self.aggregator.finish_due(self.now, &mut finished);
        self.pipeline.accept(self.now, finished);
    }

    fn flush(&mut self) {
        let mut finished = Vec::new();
        self.aggregator.finish_all(&mut finished);
        self.pipeline.accept(self.now, finished);
        self.pipeline.flush_stream(self.now, &"orders".into());
    }

    fn work(&mut self) {
        self.pipeline.tick(self.now);
        while self.under_way.len() < 3 {
            let listing = self.pipeline.next_listing(self.now, 0);
            let Some(job) = listing.or_else(|| self.pipeline.next_job(self.now)) else {
                break;
            };
            self.under_way.push(job);
        }
        let effects = self.pipeline.take_effects();
        for (_, map) in effects.maps {
            let mut finished = Vec::new();
            self.aggregator.follow(map, &mut finished);
            self.pipeline.accept(self.now, finished);
        }
        for settlement in effects.settled {
            self.note(settlement);
        }
    }

    fn note(&mut self, Settlement { record, result }: Settlement) {
        let result = result.map_err(|_| record.stored);
        for member in record.user_records() {
            let before = self.settled.insert(text(&member.data), result.clone());
            assert!(before.is_none(), "settled twice: {}", text(&member.data));
        }
    }

    fn answer(&mut self, calm: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let at = pick(&mut self.rng, self.under_way.len());
        let (job, began) = (self.under_way.swap_remove(at), self.now);
        self.now += Duration::from_millis(pick(&mut self.rng, 50) as u64);
        let answer = match job {
            Job::Describe { stream } => {
                let summary = Err(service("AccessDeniedException", 400));
                Answer::Described { stream, summary }
            }
            Job::List { stream, since } => {
                let fails = !calm && pick(&mut self.rng, 4) == 0;
                let listed = match fails {
                    true => Err(io().into()),
                    false => Ok(self.listed(since, began)),
                };
                Answer::Listed { stream, listed }
            }
            Job::Put { id, entries, .. } => {
                let output = self.carry_out(&entries, calm);
                Answer::Put { id, output }
            }
        };
        let span = Span {
            began,
            ended: self.now,
        };
        self.pipeline.on_outcome(self.now, Outcome { span, answer });
    }

    /// A list made now, or another's that is new enough.
    fn listed(&mut self, since: Instant, began: Instant) -> Listed {
        let other = self.others.clone();
        if let Some(other) = other.filter(|other| other.began >= since) {
            return other;
        }
        Listed {
            map: Arc::new(ShardMap::new(&self.service.shards)),
            began,
            ended: self.now,
        }
    }

    fn carry_out(&mut self, entries: &[PutRecordsEntry], calm: bool) -> Result<PutRecordsOutput> {
        let fault = if calm { 99 } else { pick(&mut self.rng, 20) };
        match fault {
            0 => {
                return Err(
                    TransportError::Connect(io::ErrorKind::ConnectionRefused.into()).into(),
                );
            }
            1 => return Err(service("ThrottlingException", 400)),
            2 => return Err(service("AccessDeniedException", 400)),
            3 => return Err(service("InternalFailure", 500)),
            _ => {}
        }
        let records = entries.iter().map(|entry| {
            let throttled = fault < 8 && pick(&mut self.rng, 2) == 0;
            match throttled {
                true => Err(EntryError {
                    code: "ProvisionedThroughputExceededException".to_owned(),
                    message: String::new(),
                }),
                false => Ok(self.service.store(entry)),
            }
        });
        let records = records.collect();
        if fault == 8 {
            self.lost_answers += 1;
            return Err(io().into());
        }
        Ok(PutRecordsOutput { records })
    }

    fn check(&self) {
        let truth = self.service.truth();
        assert_eq!(self.settled.len(), self.puts.len());
        if self.ordering == Ordering::PerPartitionKey {
            self.check_order();
        }
        for (name, said) in &self.settled {
            let (stored, read) = truth.get(name).copied().unwrap_or_default();
            match said {
                Ok(_) if self.lost_answers == 0 => assert_eq!(read, 1, "{name}"),
                Ok(_) => assert!(read >= 1, "{name}"),
                Err(Stored::No) => assert_eq!(stored, 0, "{name}"),
                Err(Stored::Possibly) => {}
            }
        }
    }
}

impl History {
    /// The first copy that readers see of each record is behind those of its key that were put before.
    fn check_order(&self) {
        let (mut last, mut seen) = (HashMap::new(), HashSet::new());
        for name in self.service.readable() {
            let place: usize = name.parse().expect("a number");
            if seen.insert(place) {
                let before = last.insert(self.puts[place], place);
                assert!(before < Some(place), "{place} came behind {before:?}");
            }
        }
    }
}

fn pick(rng: &mut Rng, below: usize) -> usize {
    (rng.next_u64() % below as u64) as usize
}

fn io() -> TransportError {
    TransportError::Io(io::ErrorKind::ConnectionReset.into())
}

fn service(code: &str, status: u16) -> Error {
    let (code, message) = (code.to_owned(), String::new());
    Error::new(ErrorKind::Service {
        code,
        message,
        status,
    })
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

#[test]
fn every_record_settles_once_and_what_is_said_of_it_is_true() {
    settles_once_and_truly(Ordering::None);
}

#[test]
fn ordered_records_settle_once_and_are_stored_in_order() {
    settles_once_and_truly(Ordering::PerPartitionKey);
}

fn settles_once_and_truly(ordering: Ordering) {
    for seed in 0..HISTORIES {
        let told = std::panic::catch_unwind(|| {
            let mut history = History::new(seed, ordering);
            (0..400).for_each(|_| history.step(false));
            history.flush();
            for _ in 0..10_000 {
                if history.settled.len() == history.puts.len() {
                    break;
                }
                history.step(true);
            }
            history.check();
        });
        assert!(told.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_is_abandoned_is_settled_and_possibly_stored_if_it_was_under_way() {
    for seed in 0..HISTORIES {
        let told = std::panic::catch_unwind(|| {
            let ordering = match seed % 2 {
                0 => Ordering::None,
                _ => Ordering::PerPartitionKey,
            };
            let mut history = History::new(seed, ordering);
            (0..200).for_each(|_| history.step(false));
            history.flush();
            history.pipeline.abandon(&Error::new(ErrorKind::Closed));
            let effects = history.pipeline.take_effects();
            effects
                .settled
                .into_iter()
                .for_each(|one| history.note(one));
            history.check();
        });
        assert!(told.is_ok(), "seed {seed}");
    }
}

/// Enough to meet every pair of events often; a tenth of a second each thousand when optimised.
const HISTORIES: u64 = 300;
