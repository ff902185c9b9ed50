//! Histories of one producer and several streams: neighbours that hang, are throttled or gone for
//! minutes, callbacks that misbehave, and every setting by chance. What is said of each record is
//! held against what its stream has stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::Fault;
use kinesis_blocking::{
    Closed, Delivery, ErrorKind, HashKeyRange, Operation, Ordering, Producer, ProducerConfig,
    RecordDistributionStrategy, RecordResult, RetryPolicy, ShardId, ShardRef, Stored,
    ThreadingModel, UserRecord,
};

use crate::world::{World, calmly};

pub fn live_through(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..history.world.rng.usize(20..60) {
        history.step();
    }
    history.end();
}

struct History {
    world: World,
    streams: Vec<Stream>,
    producer: Option<Arc<Producer>>,
    /// What each life of the producer was set to, the current one last.
    lives: Vec<Life>,
    /// One for each record, whose number is its place here.
    puts: Vec<Put>,
    reported: Arc<AtomicUsize>,
    /// How many callbacks were not refused what would wait for themselves.
    taken_wrong: Arc<AtomicUsize>,
}

struct Stream {
    name: String,
    /// Whether the service ever decided on its shards, and whether it always did.
    was_auto: bool,
    is_always_auto: bool,
}

struct Life {
    aggregation: bool,
    under_auto: bool,
    /// What its close gave, if it was closed and not dropped.
    closed: Option<Closed>,
    is_reporting: bool,
}

struct Put {
    life: usize,
    stream: usize,
    record: UserRecord,
    delivery: Option<Delivery>,
    result: Option<RecordResult>,
}

/// A name that no stream has.
const MISSPELT: &str = "misspelt";

impl History {
    fn new(seed: u64) -> History {
        let mut world = World::lasting(seed, Duration::from_secs(12 * 3_600));
        let mut streams = vec![stream("orders", false)];
        for n in 0..world.rng.usize(1..4) {
            let is_auto = world.rng.u32(0..3) == 0;
            let name = format!("side-{n}");
            let shards = world.rng.u32(1..=4);
            world.kinesis = world.kinesis.clone().with_stream(&name, shards);
            if is_auto {
                let auto = RecordDistributionStrategy::Auto;
                world.kinesis.set_record_distribution_strategy(&name, auto);
            }
            streams.push(stream(&name, is_auto));
        }
        streams.push(stream(MISSPELT, false));
        History {
            world,
            streams,
            producer: None,
            lives: Vec::new(),
            puts: Vec::new(),
            reported: Arc::default(),
            taken_wrong: Arc::default(),
        }
    }

    fn step(&mut self) {
        match self.world.rng.u32(0..100) {
            0..45 => self.put(),
            45..52 => self.reshard(),
            52..66 => self.trouble(),
            66..72 => self.world.calm_down(),
            72..80 => self.pass_minutes(),
            80..84 => self.change_strategy(),
            84..90 => self.flush(),
            90..94 => self.overtake_a_flush(),
            94..97 => drop(self.take_producer()),
            _ => self.close(true),
        }
    }

    fn start(&mut self) -> Arc<Producer> {
        if let Some(producer) = &self.producer {
            return producer.clone();
        }
        // A start against an outage fails, as it should.
        self.world.calm_down();
        let rng = &mut self.world.rng;
        let aggregation = rng.u32(0..4) > 0;
        let under_auto = rng.u32(0..8) == 0;
        let forever = |rng: &mut fastrand::Rng, time| match rng.u32(0..6) {
            0 => Duration::MAX,
            _ => time,
        };
        let ttl = Duration::from_secs(if rng.bool() { 30 } else { 3_600 });
        let ttl = forever(rng, ttl);
        let buffered = Duration::from_millis(rng.u64(0..300));
        let mut config = ProducerConfig::builder()
            .aggregation(aggregation)
            .aggregation_under_auto(under_auto)
            .aggregation_max_bytes(if rng.bool() {
                rng.usize(64..2_000)
            } else {
                10 << 20
            })
            .fail_if_throttled(rng.u32(0..10) == 0)
            .ordering(match rng.bool() {
                true => Ordering::PerPartitionKey,
                false => Ordering::None,
            })
            .rate_limit_percent(*rng.choice(&[20, 100, 1_000]).expect("some"))
            .record_max_buffered_time(buffered)
            .record_ttl(ttl)
            .threading_model(match rng.u32(0..3) {
                0 => ThreadingModel::PerRequest,
                _ => ThreadingModel::Pooled {
                    threads: rng.usize(1..12),
                },
            });
        if rng.u32(0..3) == 0 {
            config = config.queue_limit(rng.usize(1..100));
        }
        if rng.u32(0..3) == 0 {
            config = config.queue_limit_bytes(rng.usize(1..2_000));
        }
        let mut client = self.world.client.clone();
        for operation in [
            Operation::DescribeStreamSummary,
            Operation::ListShards,
            Operation::PutRecords,
        ] {
            if rng.bool() {
                let policy = RetryPolicy {
                    max_retries: Some(rng.u32(0..4)),
                    backoff_base: Duration::from_millis(rng.u64(0..200)),
                    ..RetryPolicy::default_for(operation)
                };
                client = client.with_retry(operation, policy);
            }
        }
        let config = config.build().expect("valid");
        let is_reporting = rng.bool();
        let misbehaves = rng.u32(0..4) == 0;
        let this = Arc::new(OnceLock::<Weak<Producer>>::new());
        let start = || {
            let builder = Producer::builder(client.clone()).stream("orders");
            let builder = builder.config(config.clone());
            let builder = match is_reporting {
                false => builder,
                true => {
                    let (this, reported) = (this.clone(), self.reported.clone());
                    let taken_wrong = self.taken_wrong.clone();
                    builder.on_delivery(move |result| {
                        reported.fetch_add(1, atomic::Ordering::Relaxed);
                        let producer = this.get().and_then(Weak::upgrade);
                        let producer = producer.filter(|_| misbehaves && result.is_err());
                        if let Some(producer) = producer {
                            let is_refused = misbehave(&producer);
                            taken_wrong
                                .fetch_add(usize::from(!is_refused), atomic::Ordering::Relaxed);
                            // The log says so, and the next result is reported all the same.
                            panic!("a panic of the user's");
                        }
                    })
                }
            };
            builder.start()
        };
        let producer = Arc::new(calmly(start));
        let _ = this.set(Arc::downgrade(&producer));
        self.producer = Some(producer.clone());
        self.lives.push(Life {
            aggregation,
            under_auto,
            closed: None,
            is_reporting,
        });
        producer
    }

    fn put(&mut self) {
        let producer = self.start();
        for _ in 0..self.world.rng.usize(1..60) {
            let (rng, number) = (&mut self.world.rng, self.puts.len());
            let stream = rng.usize(..self.streams.len());
            // Seldom, as each costs its time to live or fails.
            let stream = match &*self.streams[stream].name {
                MISSPELT if rng.u32(0..8) > 0 => 0,
                _ => stream,
            };
            let data = format!("r{number}");
            let of = &self.streams[stream];
            let record = match of.was_auto && rng.u32(0..3) == 0 {
                true => UserRecord::without_partition_key(data),
                false => UserRecord::new(format!("k{}", rng.u32(0..20)), data),
            };
            let record = match stream {
                0 => record,
                _ => record.stream(of.name.clone()),
            };
            let taken = match rng.u32(0..4) {
                0 => producer.put_timeout(record.clone(), Duration::from_secs(5)),
                _ => producer.try_put(record.clone()),
            };
            match taken {
                Ok(delivery) => self.puts.push(Put {
                    life: self.lives.len() - 1,
                    stream,
                    record,
                    delivery: Some(delivery),
                    result: None,
                }),
                Err(refused) => {
                    assert!(refused.is_full(), "{refused}");
                    assert_eq!(refused.record, record);
                }
            }
        }
    }

    fn reshard(&mut self) {
        self.world.calm_down();
        let rng = &mut self.world.rng;
        let name = self.streams[rng.usize(..self.streams.len() - 1)]
            .name
            .clone();
        let client = &self.world.client;
        let mut open = calmly(|| client.list_shards(&name));
        open.retain(|shard| shard.is_open());
        open.sort_by_key(|shard| shard.hash_key_range.start);
        let at = rng.usize(..open.len());
        let shard = ShardRef::new(&*name, open[at].id.clone());
        let merged = open.get(at + 1).filter(|_| rng.bool() || open.len() > 5);
        // A listing that lags behind names a shard that is closed already.
        let _ = match merged {
            Some(neighbour) => client.merge_shards(&shard, &neighbour.id),
            None => client.split_shard(&shard, open[at].hash_key_range.midpoint()),
        };
    }

    /// Lets one stream hang, be throttled, or be gone.
    fn trouble(&mut self) {
        let rng = &mut self.world.rng;
        let stream = &self.streams[rng.usize(..self.streams.len() - 1)];
        let (seed, share) = (rng.u64(..), *rng.choice(&[0.1, 0.5, 1.0]).expect("some"));
        let throttled = Fault::FailEntries {
            every: rng.usize(1..4),
            code: "ProvisionedThroughputExceededException".to_owned(),
        };
        let (operation, fault) = match rng.u32(0..9) {
            0 => (Operation::ListShards, Fault::Hang),
            1 => (Operation::ListShards, Fault::ChildrenLate),
            2 => (Operation::ListShards, Fault::Throttle),
            3 => (Operation::PutRecords, Fault::Hang),
            4 => (Operation::PutRecords, Fault::AnswerLost),
            5 => (Operation::PutRecords, Fault::Disconnect),
            6 => (Operation::PutRecords, Fault::Truncated),
            7 => (Operation::PutRecords, throttled),
            // Those of which this decides nothing, so that what it says is known.
            _ if !stream.was_auto => (Operation::DescribeStreamSummary, Fault::Hang),
            _ => return,
        };
        let script = self.world.kinesis.on(operation).stream(&stream.name);
        script.fail_at_random(seed, share, [fault]);
    }

    fn pass_minutes(&mut self) {
        let minutes = Duration::from_secs(self.world.rng.u64(1..300));
        match &self.producer {
            Some(producer) => drop(producer.flush_timeout(minutes).expect("no failure")),
            None => self.world.clock.advance(minutes),
        }
    }

    fn change_strategy(&mut self) {
        let rng = &mut self.world.rng;
        let stream = rng.usize(1..self.streams.len());
        let strategy = match rng.bool() {
            true => RecordDistributionStrategy::Auto,
            false => RecordDistributionStrategy::UserPartitionKey,
        };
        let stream = &mut self.streams[stream];
        if stream.name != MISSPELT {
            let kinesis = &self.world.kinesis;
            kinesis.set_record_distribution_strategy(&stream.name, strategy);
            stream.was_auto |= strategy == RecordDistributionStrategy::Auto;
            stream.is_always_auto &= strategy == RecordDistributionStrategy::Auto;
        }
    }

    fn flush(&mut self) {
        let Some(producer) = &self.producer else {
            return;
        };
        // Against an outage it would wait for the time to live.
        self.world.calm_down();
        match self.world.rng.bool() {
            true => {
                producer.flush().expect("no failure");
                assert_eq!(producer.outstanding(), 0);
                self.settle_all();
            }
            false => producer.flush_stream("orders").expect("no failure"),
        }
    }

    /// Closes while a flush waits, or just before: it ends, and if it does not go well, for this reason.
    fn overtake_a_flush(&mut self) {
        let Some(producer) = self.producer.clone() else {
            return;
        };
        let time = Duration::from_millis(self.world.rng.u64(0..3_000));
        let flushed = std::thread::scope(|scope| {
            let flush = scope.spawn(|| producer.flush());
            let closed = producer.close_timeout(time).expect("no failure");
            self.lives.last_mut().expect("it lives").closed = Some(closed);
            flush.join().expect("no panic")
        });
        self.producer = None;
        self.settle_all();
        if let Err(error) = flushed {
            assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        }
    }

    /// Waits for all results: of a producer that has nothing outstanding.
    fn settle_all(&mut self) {
        for put in &mut self.puts {
            if let Some(delivery) = put.delivery.take() {
                put.result = Some(delivery.wait());
            }
        }
    }

    fn take_producer(&mut self) -> Option<Arc<Producer>> {
        self.producer.take()
    }

    fn close(&mut self, in_time: bool) {
        let Some(producer) = self.take_producer() else {
            return;
        };
        let time = Duration::from_millis(self.world.rng.u64(0..5_000));
        let closed = match in_time {
            true => producer.close_timeout(time),
            false => producer.close(),
        };
        self.lives.last_mut().expect("it lives").closed = Some(closed.expect("no failure"));
        drop(producer);
        self.settle_all();
    }

    fn end(mut self) {
        self.world.calm_down();
        self.close(false);
        self.settle_all();
        let truths: Vec<_> = self.streams.iter().map(|one| self.truth(one)).collect();
        for put in &self.puts {
            self.check(put, &truths[put.stream]);
        }
        self.check_counts();
        self.check_calls();
        assert_eq!(self.taken_wrong.load(atomic::Ordering::Relaxed), 0);
    }

    fn truth(&self, stream: &Stream) -> Truth {
        let mut truth = Truth::default();
        if stream.name == MISSPELT {
            return truth;
        }
        let shards = calmly(|| self.world.client.list_shards(&stream.name));
        let ranges = shards.into_iter().map(|one| (one.id, one.hash_key_range));
        let ranges: BTreeMap<ShardId, HashKeyRange> = ranges.collect();
        for record in self.world.kinesis.records(&stream.name) {
            let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
            let Some(members) = decode(&record.data).expect("our own") else {
                let place = (text(&record.data), record.shard_id);
                truth.stored.insert(place.0.clone());
                truth.readable.insert(place);
                continue;
            };
            let range = &ranges[&record.shard_id];
            let is_read = members.iter().all(|one| range.contains(one.hash_key()));
            for member in members {
                let data = text(&member.data);
                let life = &self.lives[self.puts[number(&data)].life];
                assert!(life.aggregation, "{data} is in an aggregate");
                let may_be = life.under_auto || !stream.is_always_auto;
                assert!(may_be, "{data} is in an aggregate under AUTO");
                truth.stored.insert(data.clone());
                if is_read || life.under_auto && stream.was_auto {
                    truth.readable.insert((data, record.shard_id.clone()));
                }
            }
        }
        truth
    }

    fn check(&self, put: &Put, truth: &Truth) {
        let data = String::from_utf8_lossy(put.record.data()).into_owned();
        match put.result.as_ref().expect("settled") {
            Ok(delivered) => {
                let place = (data, delivered.shard_id.clone());
                assert!(truth.readable.contains(&place), "{place:?} is not there");
            }
            Err(undelivered) => {
                assert_eq!(undelivered.record, put.record);
                let is_stored = truth.stored.contains(&data);
                let said = undelivered.stored;
                assert!(
                    said == Stored::Possibly || !is_stored,
                    "{data}: {undelivered:#?}"
                );
            }
        }
    }

    /// What a close says is the sum of what was said of each record.
    fn check_counts(&self) {
        for (life, at) in self.lives.iter().zip(0..) {
            let puts = self.puts.iter().filter(|put| put.life == at);
            let results: Vec<_> = puts.filter_map(|put| put.result.as_ref()).collect();
            let count = |is_so: fn(&RecordResult) -> bool| {
                results.iter().filter(|result| is_so(result)).count() as u64
            };
            let Some(closed) = life.closed else { continue };
            assert_eq!(closed.delivered, count(|result| result.is_ok()));
            let possibly = count(|result| {
                let undelivered = result.as_ref().err();
                undelivered.is_some_and(|one| one.stored == Stored::Possibly)
            });
            assert_eq!(closed.unknown, possibly);
            let all = closed.delivered + closed.undelivered();
            assert_eq!(all, results.len() as u64, "{closed}");
        }
        let reporting = |put: &&Put| self.lives[put.life].is_reporting;
        let expected = self.puts.iter().filter(reporting).count();
        // The threads that report may be a little behind the results.
        let reported = || self.reported.load(atomic::Ordering::Relaxed);
        let is_told = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            reported() >= expected
        });
        assert!(
            is_told && reported() == expected,
            "{} of {expected}",
            reported()
        );
    }

    /// A stream that is not there is asked three times a minute by each producer.
    fn check_calls(&self) {
        let requests = self.world.kinesis.requests().into_iter();
        let asked = requests.filter(|one| one.stream.as_deref() == Some(MISSPELT));
        let asked: Vec<_> = asked.map(|one| one.at).collect();
        let per_minute = 4 * self.lives.len().max(1);
        for window in asked.windows(per_minute + 1) {
            let time = window[per_minute].saturating_since(window[0]);
            assert!(time >= Duration::from_secs(50), "{time:?}");
        }
    }
}

#[derive(Default)]
struct Truth {
    stored: BTreeSet<String>,
    readable: BTreeSet<(String, ShardId)>,
}

fn stream(name: &str, is_auto: bool) -> Stream {
    Stream {
        name: name.to_owned(),
        was_auto: is_auto,
        is_always_auto: is_auto,
    }
}

fn number(data: &str) -> usize {
    data[1..].parse().expect("r and a number")
}

/// What nobody should do in a callback, each of which has to be refused at once; says whether it was.
fn misbehave(producer: &Producer) -> bool {
    let minute = Duration::from_secs(60);
    let refused = [
        producer.flush().err(),
        producer.flush_timeout(minute).err(),
        producer.close().err(),
        producer.close_timeout(minute).err(),
    ];
    let is_refused =
        |error: kinesis_blocking::Error| matches!(error.kind(), ErrorKind::OwnThread { .. });
    refused
        .into_iter()
        .all(|error| error.is_some_and(is_refused))
}
