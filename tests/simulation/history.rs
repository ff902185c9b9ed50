//! One history: what happens, and what is held against the truth at its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::time::Duration;

use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::Fault;
use kinesis_blocking::{
    Checkpoint, Consumer, ConsumerConfig, Delivery, Event, MemoryCheckpointStore, Misplaced,
    Ordering, Producer, ProducerConfig, PutRecordsEntry, RecordResult, StartPosition, Stored,
    UserRecord,
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
    /// In every third history both sides keep their defaults about records outside of their shards, and
    /// no answer to a put is lost: then each record is handed out once, be it another program's or not.
    is_by_default: bool,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    /// What the caller has made of the records, and the place that belongs to it: one transaction.
    committed: (Vec<Seen>, Checkpoint),
    /// In every other history the library keeps the place, and with it how many records were seen.
    store: Option<MemoryCheckpointStore>,
    /// What it has made of the records since.
    uncommitted: Vec<Seen>,
    /// One for each record, whose number is its place here.
    deliveries: Vec<(String, Delivery)>,
    /// What another program has put.
    by_others: Vec<String>,
    /// For each record the life of the producer that promised to keep its order, if one did.
    promised: Vec<Option<usize>>,
    /// How often a producer was started, and whether the last one keeps order.
    lives: usize,
    is_ordered: bool,
    queue_limit: usize,
    /// How many results were reported.
    reported: Arc<AtomicUsize>,
}

impl History {
    fn new(seed: u64) -> History {
        History {
            world: World::new(seed),
            is_by_default: seed % 3 == 2,
            producer: None,
            consumer: None,
            committed: (Vec::new(), Checkpoint::default()),
            store: seed.is_multiple_of(2).then(MemoryCheckpointStore::new),
            uncommitted: Vec::new(),
            deliveries: Vec::new(),
            by_others: Vec::new(),
            promised: Vec::new(),
            lives: 0,
            is_ordered: false,
            queue_limit: 0,
            reported: Arc::default(),
        }
    }

    fn step(&mut self) {
        match self.world.rng.u32(0..100) {
            0..35 => self.put(),
            35..60 => self.consume(),
            60..70 => self.commit(),
            70..78 => {
                self.world.calm_down();
                self.world.reshard();
            }
            78..84 => self.trouble(),
            84..86 => self.world.calm_down(),
            // Dropped without a word: what was not committed is done again.
            86..90 => self.consumer = None,
            90..96 => self.producer = None,
            96..98 => self.flush(),
            _ => self.close_consumer(),
        }
    }

    fn trouble(&mut self) {
        match self.is_by_default {
            true => self
                .world
                .trouble_but(&[Fault::AnswerLost, Fault::Truncated]),
            false => self.world.trouble(),
        }
    }

    /// Another program puts an aggregate as many do, under the key of its first record: it does not look
    /// which shard the others belong to, and stores none of them again.
    fn put_by_another(&mut self) {
        let rng = &mut self.world.rng;
        // A call that fails may have stored them: no name comes again.
        let name = rng.u64(..);
        let data: Vec<_> = (0..rng.usize(2..10))
            .map(|number| format!("other{name}.{number}"))
            .collect();
        let record = |data: &String| SubRecord::new(format!("k{}", rng.u32(0..20)), data.clone());
        let records: Vec<_> = data.iter().map(record).collect();
        let entry = PutRecordsEntry {
            partition_key: records[0].partition_key.to_string().into(),
            explicit_hash_key: None,
            data: encode(&records),
        };
        // Time passes while this thread does not get its turn, and the call may be over before it is made.
        if self.world.client.put_record(STREAM, &entry).is_ok() {
            self.by_others.extend(data);
        }
    }

    fn put(&mut self) {
        if self.is_by_default && self.world.rng.u32(0..4) == 0 {
            self.put_by_another();
        }
        self.start_producer();
        for _ in 0..self.world.rng.usize(1..80) {
            let (key, data) = (
                self.world.rng.u32(0..20),
                format!("r{}", self.deliveries.len()),
            );
            let record = UserRecord::new(format!("k{key}"), data.clone());
            let producer = self.producer.as_ref().expect("started");
            let delivery = producer.try_put(record).unwrap_or_else(|full| {
                // Against an outage it would wait for the time to live.
                self.world.calm_down();
                producer.put(full.record).expect("taken in")
            });
            assert!(producer.outstanding() <= self.queue_limit);
            self.deliveries.push((data, delivery));
            self.promised.push(self.is_ordered.then_some(self.lives));
        }
    }

    fn start_producer(&mut self) {
        if self.producer.is_some() {
            return;
        }
        let rng = &mut self.world.rng;
        self.lives += 1;
        self.is_ordered = rng.bool();
        self.queue_limit = match rng.u32(0..4) {
            0 => rng.usize(1..100),
            _ => 200_000,
        };
        let config = ProducerConfig::builder()
            .aggregation(rng.u32(0..5) > 0)
            .ordering(match self.is_ordered {
                true => Ordering::PerPartitionKey,
                false => Ordering::None,
            })
            .queue_limit(self.queue_limit)
            // A record that nearly fills its aggregate has no room for the mark of its first copy.
            .aggregation_max_bytes(match self.is_by_default {
                true => rng.usize(1_000..5_000),
                false => rng.usize(64..2_000),
            })
            .record_max_buffered_time(Duration::from_millis(rng.u64(0..300)))
            // Mostly none runs out; what does is told, and that is checked.
            .record_ttl(Duration::from_secs(if rng.u32(0..10) == 0 {
                30
            } else {
                36_000
            }))
            .build()
            .expect("valid");
        let start = || {
            let builder = Producer::builder(self.world.client.clone()).stream(STREAM);
            let reported = self.reported.clone();
            let report = move |_: &RecordResult| {
                reported.fetch_add(1, atomic::Ordering::Relaxed);
            };
            builder.config(config.clone()).on_delivery(report).start()
        };
        self.producer = Some(calmly(start));
    }

    fn flush(&mut self) {
        if let Some(producer) = &self.producer {
            // Against an outage it would wait for the time to live.
            self.world.calm_down();
            producer.flush().expect("flushed");
            assert_eq!(producer.outstanding(), 0);
        }
    }

    fn consume(&mut self) {
        for _ in 0..self.world.rng.usize(1..200) {
            let timeout = Duration::from_millis(self.world.rng.u64(0..1_000));
            match self.consumer().next_event(timeout).expect("an event") {
                Event::Record(record) => self.uncommitted.push(Seen::of(&record)),
                Event::Ended => panic!("nobody stopped it"),
                Event::Timeout => return,
                _ => {}
            }
        }
    }

    fn consumer(&mut self) -> &mut Consumer {
        if self.consumer.is_none() {
            self.uncommitted.clear();
            self.consumer = Some(self.start_consumer(false));
        }
        self.consumer.as_mut().expect("started")
    }

    fn start_consumer(&mut self, until_caught_up: bool) -> Consumer {
        let rng = &mut self.world.rng;
        let config = ConsumerConfig::builder()
            .start_position(StartPosition::TrimHorizon)
            .misplaced(match self.is_by_default {
                true => Misplaced::default(),
                false => Misplaced::CompatKcl,
            })
            .get_records_max(rng.u32(1..50))
            .get_records_interval(Duration::from_millis(rng.u64(1..400)))
            .until_caught_up(until_caught_up)
            .build()
            .expect("valid");
        let consumer = calmly(|| {
            let builder = Consumer::builder(self.world.client.clone()).stream(STREAM);
            let builder = match &self.store {
                Some(store) => builder.checkpoint_store(store.clone()),
                None => builder.restore(self.committed.1.clone()),
            };
            builder.config(config.clone()).start()
        });
        let seen = self.committed.0.len().to_be_bytes();
        if let Some(state) = consumer.state() {
            assert_eq!(state[..], seen, "the state of another place");
        }
        consumer
    }

    fn commit(&mut self) {
        let Some(consumer) = &mut self.consumer else {
            return;
        };
        self.committed.0.append(&mut self.uncommitted);
        if self.store.is_some() {
            let seen = self.committed.0.len().to_be_bytes();
            consumer.commit_with(seen.to_vec()).expect("committed");
        } else {
            let json = consumer.checkpoint().to_json();
            self.committed.1 = Checkpoint::from_json(&json).expect("a checkpoint");
        }
    }

    fn close_consumer(&mut self) {
        self.commit();
        if let Some(consumer) = self.consumer.take() {
            self.committed.1 = consumer.close().expect("closed");
        }
    }

    fn end(mut self) {
        self.world.calm_down();
        if let Some(producer) = self.producer.take() {
            producer.close().expect("closed");
        }
        self.close_consumer();
        let before = Truth::of(&self.world);
        let mut last = self.start_consumer(true);
        for record in &mut last {
            self.committed.0.push(Seen::of(&record.expect("a record")));
        }
        let truth = Truth::of(&self.world);
        match self.is_by_default {
            true => truth.check_contents(&self.committed.0),
            false => {
                check(&before, &truth, &self.committed.0);
                truth.check_order(|number| self.promised[number]);
            }
        }
        let seen: BTreeSet<_> = self.committed.0.iter().map(|seen| &seen.data).collect();
        let lost = self.by_others.iter().find(|data| !seen.contains(data));
        assert!(
            lost.is_none(),
            "another program's {lost:?} is not handed out"
        );
        let readable = |data: &str| truth.readable.iter().any(|seen| seen.data == data);
        let put = self.deliveries.len();
        for (data, delivery) in self.deliveries {
            match delivery.wait() {
                Ok(delivered) => {
                    let is_there = match self.is_by_default {
                        true => seen.contains(&data),
                        false => readable(&data),
                    };
                    assert!(
                        is_there,
                        "{data} was delivered to {} and is not there",
                        delivered.shard_id
                    );
                }
                Err(undelivered) if undelivered.stored == Stored::No => {
                    assert!(
                        !truth.stored.contains(&data),
                        "{data} is there after all: {undelivered:#?}"
                    );
                }
                Err(_) => {}
            }
        }
        // The thread that reports may be a little behind the results.
        let reported = || self.reported.load(atomic::Ordering::Relaxed);
        let is_told = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            reported() >= put
        });
        assert!(
            is_told && reported() == put,
            "{} of {put} reported",
            reported()
        );
    }
}
