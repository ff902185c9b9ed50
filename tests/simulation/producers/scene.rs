//! The service, its streams and its clock, and every record that was put, with what was said of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Client, Closed, Delivery, Operation, RecordDistributionStrategy, RecordResult, ShardRef,
    Timestamp, UserRecord,
};

use crate::everywhere::watchdog;
use crate::quiet::Flow;

pub struct Scene {
    pub kinesis: FakeKinesis,
    pub client: Client,
    pub clock: VirtualClock,
    pub rng: Rng,
    pub streams: Vec<Stream>,
    pub book: Arc<Book>,
    pub lives: Vec<Life>,
    sleeper: Sleeper,
    _flow: Flow,
}

pub struct Stream {
    pub name: String,
    /// Whether the service ever decided on its shards, and whether it always did.
    pub was_auto: bool,
    pub is_always_auto: bool,
    /// Whether nobody may ask who decides on its shards.
    pub is_undescribed: bool,
}

/// One producer, from its start to its end.
pub struct Life {
    pub aggregation: bool,
    pub under_auto: bool,
    pub max_bytes: usize,
    /// How long a record waits for others at most: an aggregate lives as long as its first record.
    pub buffered: Duration,
    pub ttl: Duration,
    pub is_ordered: bool,
    pub is_reporting: bool,
    /// Whether its callback comes back at once.
    pub is_prompt: bool,
    /// Whether its callback puts nothing.
    pub is_alone: bool,
    pub began: Timestamp,
    pub ended: Option<Timestamp>,
    /// What its close gave, if it was closed and not dropped.
    pub closed: Option<Closed>,
}

/// Every record that was taken in, by its number, which its data begins with.
#[derive(Default)]
pub struct Book {
    next: AtomicUsize,
    puts: Mutex<BTreeMap<usize, Put>>,
    /// When a callback was told that a record was not delivered.
    told: Mutex<BTreeMap<usize, Timestamp>>,
}

pub struct Put {
    pub life: usize,
    pub stream: usize,
    pub record: UserRecord,
    pub at: Timestamp,
    pub delivery: Option<Delivery>,
    pub result: Option<RecordResult>,
}

/// Lets a thread sleep by the clock: it makes a call whose answer comes late.
#[derive(Clone)]
pub struct Sleeper {
    kinesis: FakeKinesis,
    client: Client,
}

/// A name that no stream has.
pub const MISSPELT: &str = "misspelt";

pub const ORDERS: usize = 0;

impl Scene {
    /// A world with some streams, the last of which is not there.
    pub fn new(seed: u64, sides: usize) -> Scene {
        let mut rng = Rng::with_seed(seed);
        let clock = VirtualClock::starting_at(START);
        let mut kinesis = FakeKinesis::on_clock(clock.clone())
            .with_stream("orders", rng.u32(1..=4))
            .with_stream(BED, 1);
        let mut streams = vec![stream("orders")];
        for n in 0..sides {
            let name = format!("side-{n}");
            kinesis = kinesis.with_stream(&name, rng.u32(1..=4));
            streams.push(stream(&name));
        }
        streams.push(stream(MISSPELT));
        let patient = kinesis.client_builder().request_timeout(DAY);
        let client = patient.call_timeout(DAY).build().expect("well-formed");
        let sleeper = Sleeper {
            kinesis: kinesis.clone(),
            client,
        };
        let end = START.saturating_add(DAY * 2);
        let is_over = || watchdog::give_up("virtual time is over");
        Scene {
            client: kinesis.client(),
            kinesis,
            rng,
            streams,
            book: Arc::default(),
            lives: Vec::new(),
            sleeper,
            _flow: Flow::up_to(clock.clone(), end, is_over),
            clock,
        }
    }

    /// Sleeps so long by the clock, and everybody else goes on.
    pub fn pass(&self, time: Duration) {
        self.sleeper.sleep(time);
    }

    pub fn sleeper(&self) -> Sleeper {
        self.sleeper.clone()
    }

    pub fn draws(&mut self, one_in: u32) -> bool {
        self.rng.u32(0..one_in) == 0
    }

    pub fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(0..=most))
    }

    /// The places of the streams that are there.
    pub fn real(&self) -> std::ops::Range<usize> {
        0..self.streams.len() - 1
    }

    pub fn any_stream(&mut self) -> usize {
        let real = self.real();
        self.rng.usize(real)
    }

    pub fn set_strategy(&mut self, stream: usize, strategy: RecordDistributionStrategy) {
        let is_auto = strategy == RecordDistributionStrategy::Auto;
        let is_new = self.lives.is_empty();
        let stream = &mut self.streams[stream];
        let kinesis = &self.kinesis;
        kinesis.set_record_distribution_strategy(&stream.name, strategy);
        stream.was_auto |= is_auto;
        let is_told = !stream.is_undescribed;
        stream.is_always_auto = is_told && is_auto && (is_new || stream.is_always_auto);
    }

    /// From now on nothing goes wrong but what always does.
    pub fn calm(&self) {
        self.kinesis.calm_down();
        for stream in self.streams.iter().filter(|one| one.is_undescribed) {
            let denied = Fault::refuse("AccessDeniedException", "no right");
            let script = self.kinesis.on(Operation::DescribeStreamSummary);
            script.stream(&stream.name).fail_next(u64::MAX, denied);
        }
    }

    /// Splits a shard of a stream, or merges two.
    pub fn reshard(&mut self, stream: usize) {
        let name = &self.streams[stream].name;
        let mut open = self.kinesis.shards(name);
        open.retain(|shard| shard.is_open());
        open.sort_by_key(|shard| shard.hash_key_range.start);
        let at = self.rng.usize(..open.len());
        let shard = ShardRef::new(&**name, open[at].id.clone());
        let merged = open
            .get(at + 1)
            .filter(|_| self.rng.bool() || open.len() > 5);
        match merged {
            Some(neighbour) => self.client.merge_shards(&shard, &neighbour.id),
            None => {
                let middle = open[at].hash_key_range.midpoint();
                self.client.split_shard(&shard, middle)
            }
        }
        .expect("resharded");
    }

    /// A record that is not yet put anywhere, with its number.
    pub fn record(&mut self, stream: usize, room: usize) -> (usize, UserRecord) {
        let number = self.book.number();
        let data = format!("{number} {}", ".".repeat(room));
        let of = &self.streams[stream];
        let record = match of.was_auto && self.rng.u32(0..3) == 0 {
            true => UserRecord::without_partition_key(data),
            false => UserRecord::new(format!("k{}", self.rng.u32(0..40)), data),
        };
        let record = match stream {
            ORDERS => record,
            _ => record.stream(of.name.clone()),
        };
        (number, record)
    }

    pub fn note(&self, number: usize, put: (usize, UserRecord, Timestamp), delivery: Delivery) {
        let (stream, record, at) = put;
        self.book
            .note(number, self.lives.len() - 1, stream, record, at, delivery);
    }

    pub fn life(&mut self) -> &mut Life {
        self.lives.last_mut().expect("one lives")
    }
}

impl Book {
    pub fn number(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn note(
        &self,
        number: usize,
        life: usize,
        stream: usize,
        record: UserRecord,
        at: Timestamp,
        delivery: Delivery,
    ) {
        let put = Put {
            life,
            stream,
            record,
            at,
            delivery: Some(delivery),
            result: None,
        };
        self.puts().insert(number, put);
    }

    /// Waits for all results: of producers that have nothing outstanding.
    pub fn settle_all(&self) {
        let mut puts = std::mem::take(&mut *self.puts());
        for put in puts.values_mut() {
            if let Some(delivery) = put.delivery.take() {
                put.result = Some(delivery.wait());
            }
        }
        self.puts().append(&mut puts);
    }

    pub fn tell(&self, number: usize, at: Timestamp) {
        lock(&self.told).insert(number, at);
    }

    pub fn told(&self) -> MutexGuard<'_, BTreeMap<usize, Timestamp>> {
        lock(&self.told)
    }

    pub fn puts(&self) -> MutexGuard<'_, BTreeMap<usize, Put>> {
        lock(&self.puts)
    }
}

impl Sleeper {
    pub fn sleep(&self, time: Duration) {
        let script = self.kinesis.on(Operation::ListShards).stream(BED);
        script.delay_next(1, time);
        self.client.list_shards(BED).expect("it has no faults");
    }
}

/// The number that a record's data begins with.
pub fn number(data: &[u8]) -> usize {
    let text = String::from_utf8_lossy(data);
    let number = text.split(' ').next().and_then(|word| word.parse().ok());
    number.expect("a number")
}

fn stream(name: &str) -> Stream {
    Stream {
        name: name.to_owned(),
        was_auto: false,
        is_always_auto: false,
        is_undescribed: false,
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const DAY: Duration = Duration::from_secs(86_400);

/// A stream that nobody puts to.
const BED: &str = "bed";
