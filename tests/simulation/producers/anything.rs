//! Whatever may happen, in any order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kinesis_blocking::fake::Fault;
use kinesis_blocking::{ErrorKind, Operation, Producer, RecordDistributionStrategy, RecordResult};

use super::lives::{Seen, Settings};
use super::scene::{MISSPELT, Scene};
use crate::everywhere::watchdog;

struct History {
    scene: Scene,
    producer: Option<Arc<Producer>>,
    seen: Arc<Seen>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Burst,
    Calm,
    Close,
    Drop,
    Flush,
    Hot,
    Late,
    Outage,
    Overtake,
    Pass,
    Put,
    Reshard,
    Strategy,
    Trouble,
}

pub fn live_through(seed: u64) {
    let mut scene = Scene::new(seed, 1 + seed as usize % 3);
    for stream in 1..scene.real().end {
        scene.streams[stream].is_undescribed = scene.draws(4);
        if scene.draws(3) {
            scene.set_strategy(stream, RecordDistributionStrategy::Auto);
        }
    }
    scene.calm();
    let mut history = History {
        scene,
        producer: None,
        seen: Arc::default(),
    };
    for number in 0..history.scene.rng.usize(20..50) {
        let step = history.draw();
        watchdog::at(number, &step);
        history.take(step);
    }
    history.end();
}

impl History {
    fn draw(&mut self) -> Step {
        match self.scene.rng.u32(0..100) {
            0..34 => Step::Put,
            34..37 => Step::Hot,
            37..40 => Step::Late,
            40..47 => Step::Burst,
            47..54 => Step::Reshard,
            54..64 => Step::Trouble,
            64..67 => Step::Outage,
            67..73 => Step::Calm,
            73..82 => Step::Pass,
            82..86 => Step::Strategy,
            86..90 => Step::Flush,
            90..94 => Step::Overtake,
            94..97 => Step::Drop,
            _ => Step::Close,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Burst => self.burst(),
            Step::Calm => self.scene.calm(),
            Step::Close => self.close(true),
            Step::Drop => self.drop_producer(),
            Step::Flush => self.flush(),
            Step::Hot => self.reshard_again_and_again(),
            Step::Late => self.answer_late(),
            Step::Outage => self.outage(),
            Step::Overtake => self.overtake_a_flush(),
            Step::Pass => self.pass(),
            Step::Put => {
                let many = self.scene.rng.usize(1..60);
                self.put(many, None);
            }
            Step::Reshard => {
                let stream = self.scene.any_stream();
                self.scene.reshard(stream);
            }
            Step::Strategy => self.change_strategy(),
            Step::Trouble => self.trouble(),
        }
    }

    fn start(&mut self) -> Arc<Producer> {
        if let Some(producer) = &self.producer {
            return producer.clone();
        }
        // A start against an outage fails, as it should.
        self.scene.calm();
        let settings = Settings::draw(&mut self.scene);
        let producer = self.scene.start(settings, &self.seen);
        self.producer = Some(producer.clone());
        producer
    }

    fn put(&mut self, many: usize, only: Option<usize>) {
        let producer = self.start();
        for _ in 0..many {
            let scene = &mut self.scene;
            let stream = only.unwrap_or_else(|| scene.rng.usize(..scene.streams.len()));
            // Seldom, as each costs its time to live or fails.
            let is_misspelt = scene.streams[stream].name == MISSPELT;
            let stream = match is_misspelt && !scene.draws(8) {
                true => 0,
                false => stream,
            };
            let room = match scene.rng.u32(0..20) {
                0 => scene.rng.usize(0..2_000),
                1 if scene.draws(20) => scene.rng.usize(0..200_000),
                _ => 0,
            };
            let (number, record) = scene.record(stream, room);
            // By then every record that was put before has settled, and its room goes to the put that waits.
            let life = scene.life();
            let is_sure = life.is_prompt && life.is_alone && life.ttl <= Duration::from_secs(30);
            let time = Duration::from_secs(if is_sure { 120 } else { 5 });
            let waits = scene.rng.u32(0..8) == 0;
            let taken = match waits {
                true => producer.put_timeout(record.clone(), time),
                false => producer.try_put(record.clone()),
            };
            // Its life begins when it is taken in.
            let at = scene.clock.time();
            watchdog::trace(|| {
                format!(
                    "{:?} {number} {stream} {}",
                    scene.clock.time(),
                    taken.is_ok()
                )
            });
            match taken {
                Ok(delivery) => scene.note(number, (stream, record, at), delivery),
                Err(refused) => {
                    assert!(refused.is_full(), "{refused}");
                    assert!(!(waits && is_sure), "no room within {time:?}: {refused}");
                    assert_eq!(refused.record, record);
                }
            }
        }
    }

    /// So many records for one stream that they wait for their shards, which close meanwhile.
    fn burst(&mut self) {
        let stream = self.scene.any_stream();
        let many = self.scene.rng.usize(100..500);
        self.put(many, Some(stream));
        let time = self.scene.millis(400);
        self.scene.pass(time);
        self.scene.reshard(stream);
        self.put(20, Some(stream));
    }

    /// Shards that change faster than they are listed, while every answer may be late.
    fn reshard_again_and_again(&mut self) {
        let stream = self.scene.any_stream();
        for _ in 0..self.scene.rng.usize(2..9) {
            if self.scene.rng.bool() {
                self.answer_late();
            }
            let many = self.scene.rng.usize(1..50);
            self.put(many, Some(stream));
            self.scene.reshard(stream);
            let time = self.scene.millis(2_000);
            self.scene.pass(time);
        }
    }

    /// Calls are carried out at once, and their answers come later: up to when the client has given up.
    fn answer_late(&mut self) {
        let stream = self.scene.any_stream();
        let scene = &mut self.scene;
        let operations = [Operation::ListShards, Operation::PutRecords];
        let operation = *scene.rng.choice(&operations).expect("some");
        let (calls, time) = (scene.rng.u64(1..20), scene.millis(7_000));
        let name = &scene.streams[stream].name;
        let script = scene.kinesis.on(operation).stream(name);
        script.delay_next(calls, time);
    }

    /// Lets one stream hang, be throttled, or be gone.
    fn trouble(&mut self) {
        let stream = self.scene.any_stream();
        let scene = &mut self.scene;
        let share = *scene.rng.choice(&[0.1, 0.5, 1.0]).expect("some");
        let (operation, faults) = match scene.rng.u32(0..8) {
            0..5 => (Operation::PutRecords, puts_go_wrong(scene)),
            5 | 6 => (Operation::ListShards, lists_go_wrong(scene)),
            // Those of which this decides nothing, so that what it says is known.
            _ if !scene.streams[stream].was_auto => {
                (Operation::DescribeStreamSummary, questions_go_wrong(scene))
            }
            _ => return,
        };
        let seed = scene.rng.u64(..);
        let script = scene
            .kinesis
            .on(operation)
            .stream(&scene.streams[stream].name);
        script.fail_at_random(seed, share, faults);
    }

    /// Nobody is there for minutes.
    fn outage(&mut self) {
        self.start();
        let scene = &mut self.scene;
        for stream in scene.real() {
            let name = &scene.streams[stream].name;
            for operation in [Operation::PutRecords, Operation::ListShards] {
                let script = scene.kinesis.on(operation).stream(name);
                let faults = [Fault::Hang, Fault::Disconnect, Fault::ServiceUnavailable];
                script.fail_at_random(scene.rng.u64(..), 1.0, faults);
            }
        }
        let minutes = Duration::from_secs(self.scene.rng.u64(10..300));
        self.put(20, None);
        self.scene.pass(minutes);
        self.put(20, None);
        self.scene.calm();
    }

    fn pass(&mut self) {
        let time = match self.scene.draws(3) {
            true => Duration::from_secs(self.scene.rng.u64(1..300)),
            false => self.scene.millis(5_000),
        };
        match &self.producer {
            Some(producer) if self.scene.rng.bool() => {
                let began = self.scene.clock.time();
                let left = producer.flush_timeout(time).expect("no failure");
                let took = self.scene.clock.time().saturating_since(began);
                watchdog::trace(|| format!("{left} are left"));
                assert!(took <= time, "a flush within {time:?} took {took:?}");
            }
            _ => self.scene.pass(time),
        }
    }

    fn change_strategy(&mut self) {
        let stream = self.scene.any_stream();
        let strategy = match self.scene.rng.bool() {
            true => RecordDistributionStrategy::Auto,
            false => RecordDistributionStrategy::UserPartitionKey,
        };
        if stream > 0 {
            self.scene.set_strategy(stream, strategy);
        }
    }

    fn flush(&mut self) {
        let Some(producer) = &self.producer else {
            return;
        };
        // Against an outage it would wait for the time to live.
        self.scene.calm();
        match self.scene.rng.u32(0..3) {
            0 => producer.flush().expect("no failure"),
            1 => {
                let left = producer.flush_timeout(Duration::MAX);
                assert_eq!(left.expect("no failure"), 0);
            }
            _ => return producer.flush_stream("orders").expect("no failure"),
        }
        let life = self.scene.lives.len() - 1;
        let puts = self.scene.book.puts();
        // One that was dropped gives up by itself, and nobody waits for it.
        for (number, put) in puts.iter().filter(|(_, put)| put.life == life) {
            let delivery = put.delivery.as_ref();
            let is_settled = delivery.is_none_or(|delivery| delivery.is_settled());
            // Callbacks put meanwhile.
            let is_later = put.record.partition_key() == "callback";
            assert!(is_settled || is_later, "{number} was left by a flush");
        }
    }

    /// Closes while a flush waits, or just before: it ends, and if it does not go well, for this reason.
    fn overtake_a_flush(&mut self) {
        let Some(producer) = self.producer.take() else {
            return;
        };
        let time = self.scene.millis(3_000);
        let flushed = std::thread::scope(|scope| {
            let flush = scope.spawn(|| producer.flush());
            self.scene.close(&producer, Some(time));
            flush.join().expect("no panic")
        });
        let life = self.scene.lives.len() - 1;
        self.scene.book.settle_all();
        match flushed {
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Closed), "{error}"),
            Ok(()) => {
                let puts = self.scene.book.puts();
                let given_up = puts.values().filter(|put| {
                    put.life == life
                        && put.record.partition_key() != "callback"
                        && is_closed(put.result.as_ref())
                });
                assert_eq!(given_up.count(), 0, "given up, and the flush went well");
            }
        }
    }

    fn drop_producer(&mut self) {
        if self.producer.take().is_some() {
            self.scene.life().ended = Some(self.scene.clock.time());
        }
    }

    fn close(&mut self, in_time: bool) {
        let Some(producer) = self.producer.take() else {
            return;
        };
        let time = match self.scene.draws(8) {
            true => Duration::MAX,
            false => self.scene.millis(5_000),
        };
        if time == Duration::MAX {
            self.scene.calm();
        }
        self.scene.close(&producer, in_time.then_some(time));
        drop(producer);
        self.scene.book.settle_all();
    }

    fn end(mut self) {
        self.scene.calm();
        self.close(false);
        let reported = || self.seen.reported.load(Ordering::Relaxed);
        self.scene.check(&reported);
        assert_eq!(self.seen.taken_wrong.load(Ordering::Relaxed), 0);
    }
}

fn is_closed(result: Option<&RecordResult>) -> bool {
    let error = result.and_then(|result| result.as_ref().err());
    error.is_some_and(|undelivered| matches!(undelivered.error.kind(), ErrorKind::Closed))
}

/// Several at once: what one attempt has stored, the next must not deny.
pub fn puts_go_wrong(scene: &mut Scene) -> Vec<Fault> {
    let throttled = Fault::FailEntries {
        every: scene.rng.usize(1..4),
        code: "ProvisionedThroughputExceededException".to_owned(),
    };
    let all = [
        Fault::AnswerLost,
        Fault::Disconnect,
        throttled.clone(),
        throttled,
        Fault::Garbage,
        Fault::Hang,
        Fault::InternalFailure,
        Fault::Reset,
        Fault::Throttle,
        Fault::Throttle,
        Fault::Truncated,
        Fault::Unreachable,
        Fault::refuse("AccessDeniedException", "no right"),
    ];
    several(scene, &all)
}

fn lists_go_wrong(scene: &mut Scene) -> Vec<Fault> {
    let all = [
        Fault::ChildrenLate,
        Fault::Disconnect,
        Fault::Hang,
        Fault::ParentsOpen,
        Fault::Throttle,
        Fault::refuse("AccessDeniedException", "no right"),
    ];
    several(scene, &all)
}

fn questions_go_wrong(scene: &mut Scene) -> Vec<Fault> {
    let all = [
        Fault::Hang,
        Fault::Throttle,
        Fault::refuse("AccessDeniedException", "no right"),
    ];
    several(scene, &all)
}

fn several(scene: &mut Scene, all: &[Fault]) -> Vec<Fault> {
    let count = scene.rng.usize(1..4);
    (0..count)
        .map(|_| scene.rng.choice(all).expect("some").clone())
        .collect()
}
