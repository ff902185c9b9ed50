//! Streams that hang or are throttled beside one that answers, through the pure parts, by hand-made
//! time: what the one gets must not depend on the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{EntryError, Listed, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::config::{ProducerConfig, ProducerConfigBuilder, ThreadingModel};
use crate::error::{Error, Result, TransportError};
use crate::model::{HashKeyRange, Shard, ShardMap};
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::group::Group;
use crate::producer::intake::Intake;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::pipeline::{LISTERS_MAX, Pipeline, Settlement};
use crate::producer::record::UserRecord;
use crate::sys::Sys;
use crate::sys::clock::Clock;
use crate::sys::rng::Rng;

/// What a stream does with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    /// Nothing is answered until the client gives up.
    Hangs,
    /// PutRecords fails every entry.
    Throttles,
}

struct Side {
    account: usize,
    aggregator: Aggregator,
    lists: Manner,
    puts: Manner,
    /// Records that are put every 5 ms.
    rate: usize,
}

struct World {
    clock: Arc<dyn Clock>,
    start: Instant,
    now: Instant,
    senders: usize,
    rules: Rules,
    intake: Intake,
    pipeline: Pipeline,
    sides: BTreeMap<Arc<str>, Side>,
    /// Calls under way, and when they end.
    calls: Vec<(Instant, Job)>,
    /// How long each record of the healthy stream took to settle, and what it had to go without.
    settled: Vec<Duration>,
    failed: usize,
    refused: usize,
}

const HEALTHY: &str = "healthy";

impl World {
    fn new(config: ProducerConfigBuilder) -> World {
        let config = config.build().expect("valid");
        let clock = Sys::real().clock;
        let now = clock.now();
        let mut world = World {
            clock,
            start: now,
            now,
            senders: config.senders_max(),
            rules: Rules::of(&config),
            intake: Intake::new(config.queue_limit(), config.queue_limit_bytes),
            pipeline: Pipeline::new(&config, Rng::from_seed(1)),
            sides: BTreeMap::new(),
            calls: Vec::new(),
            settled: Vec::new(),
            failed: 0,
            refused: 0,
        };
        world.add(HEALTHY, Manner::Answers, Manner::Answers, 1);
        world.learn(HEALTHY);
        world
    }

    fn add(&mut self, name: &str, lists: Manner, puts: Manner, rate: usize) {
        let name: Arc<str> = name.into();
        let side = Side {
            account: self.sides.len(),
            aggregator: Aggregator::new(name.clone(), self.rules.clone()),
            lists,
            puts,
            rate,
        };
        self.sides.insert(name, side);
    }

    /// Has a stream known from the start.
    fn learn(&mut self, name: &str) {
        let (listed, name) = (self.listed(self.now), name.into());
        self.pipeline.learn(&name, Some(&listed));
        let side = self.sides.get_mut(&name).expect("it was added");
        side.aggregator.follow(listed.map, &mut Vec::new());
    }

    fn listed(&self, began: Instant) -> Listed {
        let number = "1".parse().expect("a number");
        let map = ShardMap::new(&[Shard::new("shard", HashKeyRange::FULL, number)]);
        Listed {
            map: Arc::new(map),
            began,
            ended: self.now,
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now += Duration::from_millis(5);
            self.put_all();
            self.end_calls();
            self.pipeline.tick(self.now);
            self.begin_calls();
            self.note_effects();
        }
    }

    fn put_all(&mut self) {
        let mut finished = Vec::new();
        for (name, side) in &mut self.sides {
            for n in 0..side.rate {
                let millis = (self.now - self.start).as_millis();
                let record = UserRecord::new(n.to_string(), millis.to_string());
                if self.intake.try_take(side.account, record.bytes()).is_err() {
                    self.refused += usize::from(&**name == HEALTHY);
                    continue;
                }
                let aggregator = &mut side.aggregator;
                if aggregator.join(None, &record).is_none() {
                    let group = Group::new(self.clock.clone());
                    drop(aggregator.start(self.now, record, group, &mut finished));
                }
            }
            side.aggregator.finish_due(self.now, &mut finished);
        }
        self.pipeline.accept(self.now, finished);
    }

    fn begin_calls(&mut self) {
        loop {
            let is_listing = |(_, job): &&(Instant, Job)| !matches!(job, Job::Put { .. });
            let lists = self.calls.iter().filter(is_listing).count();
            let mut job = None;
            if lists < LISTERS_MAX {
                job = self.pipeline.next_listing(self.now, lists);
            }
            if job.is_none() && self.calls.len() - lists < self.senders {
                job = self.pipeline.next_job(self.now);
            }
            let Some(job) = job else { return };
            let (manner, _) = self.manner_of(&job);
            let time = match manner {
                Manner::Hangs => TIMEOUT,
                _ => Duration::from_millis(20),
            };
            self.calls.push((self.now + time, job));
        }
    }

    fn manner_of(&self, job: &Job) -> (Manner, Arc<str>) {
        match job {
            Job::Describe { stream } | Job::List { stream, .. } => {
                (self.sides[stream].lists, stream.clone())
            }
            Job::Put { stream, .. } => (self.sides[stream].puts, stream.clone()),
        }
    }

    fn end_calls(&mut self) {
        let ended = self.calls.extract_if(.., |(ended, _)| *ended <= self.now);
        for (ended, job) in ended.collect::<Vec<_>>() {
            let (manner, stream) = self.manner_of(&job);
            let time = match manner {
                Manner::Hangs => TIMEOUT,
                _ => Duration::from_millis(20),
            };
            let span = Span {
                began: ended - time,
                ended,
            };
            let hung =
                (manner == Manner::Hangs).then(|| Error::from(TransportError::Timeout(TIMEOUT)));
            let answer = match job {
                Job::Describe { .. } => Answer::Described {
                    stream,
                    // Without a fault it is one of a service that has no such call.
                    summary: Err(hung.unwrap_or_else(|| Error::malformed("response", "none"))),
                },
                Job::List { .. } => Answer::Listed {
                    stream,
                    listed: hung.map_or_else(|| Ok(self.listed(span.began)), Err),
                },
                Job::Put { id, entries, .. } => Answer::Put {
                    id,
                    output: hung.map_or_else(|| stored(&entries, manner), Err),
                },
            };
            self.pipeline.on_outcome(self.now, Outcome { span, answer });
        }
    }

    fn note_effects(&mut self) {
        let effects = self.pipeline.take_effects();
        let mut finished = Vec::new();
        for (name, map) in effects.maps {
            let side = self.sides.get_mut(&name).expect("it was put to");
            side.aggregator.follow(map, &mut finished);
        }
        self.pipeline.accept(self.now, finished);
        for Settlement { record, result } in effects.settled {
            let account = self.sides[&record.stream].account;
            let bytes = record.runs.iter().map(|run| run.bytes).sum();
            let room = (account, record.users() as usize, bytes);
            self.intake.give_back([room]);
            if &*record.stream != HEALTHY {
                continue;
            }
            for one in record.user_records() {
                let text = String::from_utf8_lossy(&one.data);
                let put = Duration::from_millis(text.parse().expect("a time"));
                self.settled
                    .push((self.now - self.start).saturating_sub(put));
            }
            self.failed += usize::from(result.is_err());
        }
    }

    /// The time within which 99 of 100 records of the healthy stream settled.
    fn p99(&mut self) -> Duration {
        self.settled.sort();
        self.settled[self.settled.len() * 99 / 100]
    }

    fn assert_healthy(&mut self) {
        let p99 = self.p99();
        assert_eq!((self.failed, self.refused), (0, 0), "failed, refused");
        assert!(self.settled.len() > 10_000, "{}", self.settled.len());
        assert!(p99 <= Duration::from_secs(1), "{p99:?}");
    }
}

fn stored(entries: &[PutRecordsEntry], manner: Manner) -> Result<PutRecordsOutput> {
    let store = |_: &PutRecordsEntry| match manner {
        Manner::Throttles => Err(EntryError {
            code: "ProvisionedThroughputExceededException".to_owned(),
            message: String::new(),
        }),
        _ => Ok(PutRecordOutput {
            shard_id: "shard".into(),
            sequence_number: "1".parse().expect("a number"),
        }),
    };
    Ok(PutRecordsOutput {
        records: entries.iter().map(store).collect(),
    })
}

/// The client's, for one attempt.
const TIMEOUT: Duration = Duration::from_secs(6);

#[test]
fn twenty_five_streams_that_hang_in_list_shards_do_not_touch_another() {
    let mut world = World::new(ProducerConfig::builder());
    for n in 0..25 {
        world.add(&format!("side-{n}"), Manner::Hangs, Manner::Answers, 1);
    }
    world.run(60);
    world.assert_healthy();
}

#[test]
fn a_stream_that_hangs_in_put_records_does_not_touch_another() {
    for known in [true, false] {
        let mut world = World::new(ProducerConfig::builder());
        world.add("side", Manner::Answers, Manner::Hangs, 20);
        if known {
            world.learn("side");
        }
        world.run(60);
        world.assert_healthy();
    }
}

#[test]
fn a_stream_that_begins_to_hang_does_not_touch_another() {
    let mut world = World::new(ProducerConfig::builder().aggregation(false));
    world.add("side", Manner::Answers, Manner::Answers, 20);
    world.run(20);
    world.sides.get_mut("side").expect("added").puts = Manner::Hangs;
    world.run(60);
    world.assert_healthy();
}

#[test]
fn a_stream_that_begins_to_hang_beside_others_that_do_takes_no_sender_from_another() {
    let mut world = World::new(ProducerConfig::builder().aggregation(false));
    for n in 0..10 {
        world.add(&format!("hangs-{n}"), Manner::Answers, Manner::Hangs, 1);
    }
    world.add("side", Manner::Answers, Manner::Answers, 20);
    world.run(20);
    world.sides.get_mut("side").expect("added").puts = Manner::Hangs;
    world.run(60);
    world.assert_healthy();
}

#[test]
fn streams_that_hang_take_no_sender_from_another_while_one_that_answered_hangs_too() {
    let mut world = World::new(ProducerConfig::builder().aggregation(false));
    world.add("side", Manner::Answers, Manner::Answers, 20);
    world.run(20);
    world.sides.get_mut("side").expect("added").puts = Manner::Hangs;
    for n in 0..10 {
        world.add(&format!("hangs-{n}"), Manner::Answers, Manner::Hangs, 1);
        world.run(1);
    }
    world.run(50);
    world.assert_healthy();
}

#[test]
fn twenty_five_streams_that_hang_in_put_records_let_no_record_of_another_expire() {
    let mut world = World::new(ProducerConfig::builder());
    for n in 0..25 {
        world.add(&format!("side-{n}"), Manner::Answers, Manner::Hangs, 1);
    }
    world.run(60);
    world.assert_healthy();
}

/// With one thread nobody is independent, but no record waits longer for it than it may live.
#[test]
fn a_record_that_waits_for_a_sender_expires_in_time() {
    let threads = ThreadingModel::Pooled { threads: 1 };
    let config = ProducerConfig::builder().threading_model(threads);
    let mut world = World::new(config);
    for n in 0..10 {
        world.add(&format!("side-{n}"), Manner::Answers, Manner::Hangs, 1);
    }
    world.run(200);
    let longest = world.settled.iter().max().expect("some");
    // A call that began just before may still store it, 20 ms later; the world moves by 5 ms.
    let most = Duration::from_millis(30_000 + 20 + 5);
    assert!(world.failed > 0 && *longest <= most, "{longest:?}");
}

#[test]
fn a_throttled_stream_does_not_fill_the_queue_for_another() {
    for config in [
        ProducerConfig::builder().queue_limit(2_000),
        ProducerConfig::builder().queue_limit_bytes(20_000),
        ProducerConfig::builder()
            .queue_limit(2_000)
            .aggregation(false),
    ] {
        let mut world = World::new(config);
        world.add("side", Manner::Answers, Manner::Throttles, 100);
        world.run(60);
        world.assert_healthy();
    }
}
