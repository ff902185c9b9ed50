//! A shard that takes less than it is offered, through the pure parts, by hand-made time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{EntryError, Listed, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::config::{Ordering, ProducerConfig, ProducerConfigBuilder};
use crate::model::{HashKeyRange, Shard, ShardMap};
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::group::Group;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::pipeline::Pipeline;
use crate::producer::record::UserRecord;
use crate::sys::Sys;
use crate::sys::clock::Clock;
use crate::sys::rng::Rng;

/// Offers more than one shard takes, and counts what it stores.
struct Load {
    clock: Arc<dyn Clock>,
    start: Instant,
    now: Instant,
    aggregator: Aggregator,
    pipeline: Pipeline,
    queue_limit: usize,
    outstanding: usize,
    failed: usize,
    /// Calls under way, and when they are answered.
    calls: Vec<(Instant, Job)>,
    /// The second that is counted in, and what the shard took in it.
    window: (u64, u32),
    /// What the shard stored in each second.
    stored: Vec<u32>,
}

impl Load {
    fn new(config: ProducerConfigBuilder) -> Load {
        let config = config.aggregation(false).build().expect("valid");
        let (name, clock): (Arc<str>, _) = ("orders".into(), Sys::real().clock);
        let number = "1".parse().expect("a number");
        let shards = [Shard::new("shard", HashKeyRange::FULL, number)];
        let (map, now) = (Arc::new(ShardMap::new(&shards)), clock.now());
        let mut pipeline = Pipeline::new(&config, Rng::from_seed(1));
        let mut aggregator = Aggregator::new(name.clone(), Rules::of(&config));
        aggregator.follow(map.clone(), &mut Vec::new());
        let listed = Listed {
            map,
            began: now,
            ended: now,
        };
        pipeline.learn(&name, Some(&listed));
        Load {
            clock,
            start: now,
            now,
            aggregator,
            pipeline,
            queue_limit: config.queue_limit(),
            outstanding: 0,
            failed: 0,
            calls: Vec::new(),
            window: (0, 0),
            stored: Vec::new(),
        }
    }

    /// Goes on for so many seconds, in steps of 5 ms, with a shard that takes so much a second.
    fn run(&mut self, seconds: u64, rate: u32) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now += Duration::from_millis(5);
            while self.outstanding < self.queue_limit {
                self.put();
            }
            self.turn(rate);
        }
    }

    fn turn(&mut self, rate: u32) {
        self.answer(rate);
        self.pipeline.tick(self.now);
        while self.calls.len() < 10 {
            let Some(job) = self.pipeline.next_job(self.now) else {
                break;
            };
            self.calls.push((self.now + Duration::from_millis(20), job));
        }
        for settlement in self.pipeline.take_effects().settled {
            self.outstanding -= 1;
            self.failed += usize::from(settlement.result.is_err());
        }
    }

    fn put(&mut self) {
        let (record, mut finished) = (UserRecord::new("k", "data"), Vec::new());
        let group = Group::new(self.clock.clone());
        drop(
            self.aggregator
                .start(self.now, record, group, &mut finished),
        );
        self.pipeline.accept(self.now, finished);
        self.outstanding += 1;
    }

    fn answer(&mut self, rate: u32) {
        let due = self.calls.extract_if(.., |(due, _)| *due <= self.now);
        for (ended, job) in due.collect::<Vec<_>>() {
            let Job::Put { id, entries, .. } = job else {
                panic!("its map is new");
            };
            let output = Ok(self.store(&entries, rate));
            let began = ended - Duration::from_millis(20);
            let outcome = Outcome {
                span: Span { began, ended },
                answer: Answer::Put { id, output },
            };
            self.pipeline.on_outcome(self.now, outcome);
        }
    }

    fn store(&mut self, entries: &[PutRecordsEntry], rate: u32) -> PutRecordsOutput {
        let second = (self.now - self.start).as_secs();
        if self.window.0 != second {
            self.window = (second, 0);
        }
        self.stored.resize(second as usize + 1, 0);
        let store = |_: &PutRecordsEntry| {
            if self.window.1 == rate {
                return Err(EntryError {
                    code: "ProvisionedThroughputExceededException".to_owned(),
                    message: String::new(),
                });
            }
            self.window.1 += 1;
            self.stored[second as usize] += 1;
            Ok(PutRecordOutput {
                shard_id: "shard".into(),
                sequence_number: "1".parse().expect("a number"),
            })
        };
        PutRecordsOutput {
            records: entries.iter().map(store).collect(),
        }
    }

    fn mean(&self, seconds: std::ops::Range<usize>) -> u32 {
        let count = seconds.len() as u32;
        self.stored[seconds].iter().sum::<u32>() / count
    }
}

#[test]
fn what_waits_for_a_record_that_expires_goes_on_at_once() {
    // Somewhere in the limiter, where it waits after a throttle, or between two attempts.
    for millis in (500..1_500).step_by(20) {
        let config = ProducerConfig::builder()
            .ordering(Ordering::PerPartitionKey)
            .record_ttl(Duration::from_millis(millis));
        let mut load = Load::new(config);
        load.put();
        load.now += Duration::from_millis(100);
        load.put();
        while load.failed == 0 {
            load.now += Duration::from_millis(5);
            load.turn(0);
        }
        let goes_on = !load.calls.is_empty() || load.pipeline.next_deadline().is_some();
        assert!(
            goes_on,
            "nothing wakes the pipeline for the second ({millis} ms)"
        );
    }
}

/// Records that wait for no time, only for a flush, and of which a shard takes few.
#[test]
fn what_waits_for_its_shard_when_it_is_flushed_does_not_wait_for_others_afterwards() {
    let config = ProducerConfig::builder()
        .record_max_buffered_time(Duration::MAX)
        .record_ttl(Duration::MAX)
        .rate_limit_percent(10);
    let mut load = Load::new(config);
    (0..450).for_each(|_| load.put());
    load.pipeline.flush_stream(load.now, &"orders".into());
    for _ in 0..10 * 200 {
        load.now += Duration::from_millis(5);
        load.turn(1_000);
    }
    assert_eq!(load.outstanding, 0);
}

#[test]
fn a_minute_at_a_tenth_of_the_rate_is_used_up_and_forgotten_afterwards() {
    let config = ProducerConfig::builder().queue_limit(2_000);
    let mut load = Load::new(config.record_ttl(Duration::from_secs(600)));
    load.run(20, 1_000);
    load.run(60, 100);
    load.run(60, 1_000);
    let [before, meanwhile, after] = [load.mean(5..20), load.mean(25..80), load.mean(110..139)];
    assert!(before >= 950, "{before} of 1000 records a second");
    assert!(meanwhile >= 95, "{meanwhile} of 100 records a second");
    assert!(after >= 950, "{after} of 1000 records a second");
    assert_eq!(load.failed, 0);
}

#[test]
fn by_default_one_shard_holds_the_caller_back_before_records_expire() {
    let mut load = Load::new(ProducerConfig::builder());
    load.run(90, 1_000);
    assert_eq!((load.failed, load.mean(20..89)), (0, 1_000));
}
