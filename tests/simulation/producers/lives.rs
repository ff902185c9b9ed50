//! Starts and ends producers, with settings and callbacks by chance.

use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use kinesis_blocking::fake::VirtualClock;
use kinesis_blocking::{
    Client, ErrorKind, Operation, Ordering, Producer, ProducerConfig, ProducerConfigBuilder,
    RecordResult, RetryPolicy, ThreadingModel, UserRecord,
};

use super::scene::{Book, Life, ORDERS, Scene, Sleeper, number};
use crate::everywhere::watchdog;
use crate::world::calmly;

/// What callbacks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// There is none.
    Absent,
    Good,
    /// It sleeps now and then.
    Slow,
    /// It does what would wait for itself, and puts.
    Bad,
}

/// What the callbacks of a history have seen.
#[derive(Default)]
pub struct Seen {
    pub reported: AtomicUsize,
    /// Calls that should have been refused at once, or that took time.
    pub taken_wrong: AtomicUsize,
}

/// Settings, and what the checks have to know of them.
pub struct Settings {
    pub config: ProducerConfigBuilder,
    pub aggregation: bool,
    pub under_auto: bool,
    pub is_ordered: bool,
    pub max_bytes: usize,
    pub buffered: Duration,
    pub ttl: Duration,
    pub manners: Manners,
}

impl Settings {
    pub fn draw(scene: &mut Scene) -> Settings {
        let rng = &mut scene.rng;
        let aggregation = rng.u32(0..4) > 0;
        let under_auto = rng.u32(0..8) == 0;
        let ttl = match rng.u32(0..6) {
            0 => Duration::MAX,
            1..4 => Duration::from_secs(30),
            _ => Duration::from_secs(rng.u64(1..3_600)),
        };
        let max_bytes = match rng.bool() {
            true => rng.usize(64..2_000),
            false => 51_200,
        };
        let buffered = match rng.u32(0..12) {
            0 => Duration::MAX,
            _ => Duration::from_millis(rng.u64(0..300)),
        };
        let is_ordered = rng.bool();
        let mut config = ProducerConfig::builder()
            .aggregation(aggregation)
            .aggregation_under_auto(under_auto)
            .aggregation_max_bytes(max_bytes)
            .fail_if_throttled(rng.u32(0..10) == 0)
            .ordering(match is_ordered {
                true => Ordering::PerPartitionKey,
                false => Ordering::None,
            })
            .rate_limit_percent(*rng.choice(&[10, 20, 100, 1_000]).expect("some"))
            .record_max_buffered_time(buffered)
            .record_ttl(ttl)
            .threading_model(match rng.u32(0..3) {
                0 => ThreadingModel::PerRequest,
                _ => ThreadingModel::Pooled {
                    threads: rng.usize(1..12),
                },
            });
        if rng.u32(0..3) == 0 {
            config = config.queue_limit(rng.usize(1..200));
        }
        if rng.u32(0..3) == 0 {
            config = config.queue_limit_bytes(rng.usize(1..4_000));
        }
        let manners = match rng.u32(0..8) {
            0..3 => Manners::Absent,
            3..6 => Manners::Good,
            6 => Manners::Slow,
            _ => Manners::Bad,
        };
        Settings {
            config,
            aggregation,
            under_auto,
            is_ordered,
            max_bytes,
            buffered,
            ttl,
            manners,
        }
    }
}

impl Scene {
    /// A client that repeats calls by its own rules, or as it comes.
    pub fn client_of_a_life(&mut self) -> Client {
        let mut client = self.client.clone();
        for operation in [
            Operation::DescribeStreamSummary,
            Operation::ListShards,
            Operation::PutRecords,
        ] {
            if self.rng.bool() {
                let policy = RetryPolicy {
                    max_retries: Some(self.rng.u32(0..4)),
                    backoff_base: Duration::from_millis(self.rng.u64(0..200)),
                    ..RetryPolicy::default_for(operation)
                };
                client = client.with_retry(operation, policy);
            }
        }
        client
    }

    pub fn start(&mut self, settings: Settings, seen: &Arc<Seen>) -> Arc<Producer> {
        let client = self.client_of_a_life();
        let config = settings.config.build().expect("valid");
        let this = Arc::new(OnceLock::<Weak<Producer>>::new());
        let life = self.lives.len();
        watchdog::trace(|| format!("life {life}: {:?} {config:?}", settings.manners));
        let builder = || {
            let builder = Producer::builder(client.clone()).stream("orders");
            let builder = builder.config(config.clone());
            if settings.manners == Manners::Absent {
                return builder.start();
            }
            let callback = Callback {
                this: this.clone(),
                seen: seen.clone(),
                book: self.book.clone(),
                clock: self.clock.clone(),
                sleeper: self.sleeper(),
                manners: settings.manners,
                life,
                calls: AtomicUsize::new(0),
            };
            let builder = builder.on_delivery(move |result| callback.on(result));
            builder.start()
        };
        let producer = Arc::new(calmly(builder));
        let _ = this.set(Arc::downgrade(&producer));
        self.lives.push(Life {
            aggregation: settings.aggregation,
            under_auto: settings.under_auto,
            is_ordered: settings.is_ordered,
            max_bytes: settings.max_bytes,
            buffered: settings.buffered.min(settings.ttl / 2),
            ttl: settings.ttl,
            is_reporting: settings.manners != Manners::Absent,
            is_prompt: settings.manners != Manners::Slow,
            is_alone: settings.manners != Manners::Bad,
            began: self.clock.time(),
            ended: None,
            closed: None,
        });
        producer
    }

    /// Closes a producer, in time or not.
    pub fn close(&mut self, producer: &Producer, time: Option<Duration>) {
        let began = self.clock.time();
        let closed = match time {
            Some(time) => producer.close_timeout(time),
            None => producer.close(),
        };
        let now = self.clock.time();
        let took = now.saturating_since(began);
        if let Some(most) = time {
            let most = most.saturating_add(Duration::from_millis(100));
            assert!(took <= most, "a close within {time:?} took {took:?}");
        }
        let life = self.life();
        life.closed = Some(closed.expect("no failure"));
        life.ended = Some(now);
    }
}

struct Callback {
    this: Arc<OnceLock<Weak<Producer>>>,
    seen: Arc<Seen>,
    book: Arc<Book>,
    clock: VirtualClock,
    sleeper: Sleeper,
    manners: Manners,
    life: usize,
    calls: AtomicUsize,
}

impl Callback {
    fn on(&self, result: &RecordResult) {
        let now = self.clock.time();
        if let Err(undelivered) = result {
            let number = number(undelivered.record.data());
            self.book.tell(number, now);
        }
        self.seen.reported.fetch_add(1, AtomicOrdering::Relaxed);
        let calls = self.calls.fetch_add(1, AtomicOrdering::Relaxed);
        match self.manners {
            Manners::Slow if calls.is_multiple_of(40) => {
                self.sleeper
                    .sleep(Duration::from_millis(calls as u64 % 7 * 4_000));
            }
            Manners::Bad if calls.is_multiple_of(7) && calls < 300 => {
                // Held no longer than this: a producer that was dropped ends, whatever its callback does.
                let Some(producer) = self.this.get().and_then(Weak::upgrade) else {
                    return;
                };
                let is_refused = self.misbehave(&producer, calls) && self.clock.time() == now;
                let wrong = usize::from(!is_refused);
                self.seen
                    .taken_wrong
                    .fetch_add(wrong, AtomicOrdering::Relaxed);
                drop(producer);
                // The log says so, and the next result is reported all the same.
                panic!("as planned");
            }
            _ => {}
        }
    }

    /// What nobody should do in a callback, each of which is refused at once, but for puts, which never
    /// wait; says whether it was so.
    fn misbehave(&self, producer: &Producer, calls: usize) -> bool {
        let refused = [
            producer.flush().err(),
            producer.flush_timeout(Duration::MAX).err(),
            producer.flush_stream("orders").err(),
            producer.close().err(),
            producer.close_timeout(Duration::MAX).err(),
        ];
        for _ in 0..calls % 5 {
            let number = self.book.number();
            let record = UserRecord::new("callback", format!("{number} "));
            let put = match calls.is_multiple_of(2) {
                true => producer.put(record.clone()),
                false => producer.put_timeout(record.clone(), Duration::MAX),
            };
            if let Ok(delivery) = put {
                let at = self.clock.time();
                self.book
                    .note(number, self.life, ORDERS, record, at, delivery);
            }
        }
        let is_refused =
            |error: kinesis_blocking::Error| matches!(error.kind(), ErrorKind::OwnThread { .. });
        refused
            .into_iter()
            .all(|error| error.is_some_and(is_refused))
    }
}
