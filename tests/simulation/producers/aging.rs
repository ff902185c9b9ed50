//! Records of many ages that a stream takes slowly, through reshards, and an outage in which some expire.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kinesis_blocking::fake::Fault;
use kinesis_blocking::{Operation, Producer};

use super::anything::puts_go_wrong;
use super::lives::{Manners, Seen, Settings};
use super::scene::{ORDERS, Scene};
use crate::everywhere::watchdog;

pub fn live_through(seed: u64) {
    let (mut scene, seen) = (Scene::new(seed, 0), Arc::<Seen>::default());
    let producer = start(&mut scene, &seen);
    if scene.rng.bool() {
        squeeze(&mut scene, &producer);
        return end(scene, &producer, &seen);
    }
    let seconds = scene.rng.usize(3..25);
    let reshards = scene.rng.usize(..seconds);
    if scene.rng.bool() {
        let faults = puts_go_wrong(&mut scene);
        let share = 0.2 + scene.rng.f64() * 0.7;
        fail(&mut scene, Operation::PutRecords, share, faults);
    } else {
        // A shard that is throttled keeps its records for the next map.
        let faults = vec![throttled(scene.rng.usize(1..4))];
        let share = 0.5 + scene.rng.f64() * 0.5;
        fail(&mut scene, Operation::PutRecords, share, faults);
    }
    for second in 0..seconds {
        watchdog::at(second, &"put");
        let many = match scene.draws(4) {
            true => scene.rng.usize(100..800),
            false => scene.rng.usize(1..60),
        };
        put(&mut scene, &producer, many);
        if second == reshards || scene.draws(20) {
            scene.reshard(ORDERS);
        }
        let time = scene.millis(1_500);
        scene.pass(time);
    }
    end(scene, &producer, &seen);
}

/// No call passes while the shards change, so that records of all ages wait; then a few do, until one
/// shows the new shards and the rest is grouped anew; then nothing passes until some have expired.
fn squeeze(scene: &mut Scene, producer: &Producer) {
    fail(scene, Operation::PutRecords, 1.0, vec![throttled(1)]);
    for second in 0..scene.rng.usize(3..20) {
        watchdog::at(second, &"squeeze");
        let many = scene.rng.usize(1..40);
        put(scene, producer, many);
        let time = scene.millis(1_500);
        scene.pass(time);
    }
    scene.reshard(ORDERS);
    let before = lists(scene);
    scene.calm();
    let share = 0.7 + scene.rng.f64() * 0.29;
    fail(scene, Operation::PutRecords, share, vec![throttled(1)]);
    for _ in 0..400 {
        if lists(scene) > before {
            break;
        }
        scene.pass(Duration::from_millis(10));
    }
    scene.calm();
    fail(scene, Operation::PutRecords, 1.0, vec![Fault::Throttle]);
    let time = scene.millis(45_000);
    scene.pass(time);
}

/// How often the shards of the stream were listed.
fn lists(scene: &Scene) -> usize {
    let requests = scene.kinesis.requests().into_iter();
    let lists = requests
        .filter(|one| one.operation == "ListShards" && one.stream.as_deref() == Some("orders"));
    lists.count()
}

fn throttled(every: usize) -> Fault {
    let code = "ProvisionedThroughputExceededException".to_owned();
    Fault::FailEntries { every, code }
}

fn start(scene: &mut Scene, seen: &Arc<Seen>) -> Arc<Producer> {
    let mut settings = Settings::draw(scene);
    settings.ttl = Duration::from_secs(30);
    settings.buffered = scene.millis(300);
    settings.config = settings
        .config
        .record_ttl(settings.ttl)
        .record_max_buffered_time(settings.buffered)
        .fail_if_throttled(scene.draws(20));
    if settings.manners != Manners::Bad {
        settings.manners = Manners::Good;
    }
    scene.start(settings, seen)
}

fn put(scene: &mut Scene, producer: &Producer, many: usize) {
    for _ in 0..many {
        let (number, record) = scene.record(ORDERS, 0);
        let at = scene.clock.time();
        if let Ok(delivery) = producer.try_put(record.clone()) {
            scene.note(number, (ORDERS, record, at), delivery);
        }
    }
}

fn fail(scene: &mut Scene, operation: Operation, share: f64, faults: Vec<Fault>) {
    let seed = scene.rng.u64(..);
    let script = scene.kinesis.on(operation).stream("orders");
    script.fail_at_random(seed, share, faults);
}

fn end(mut scene: Scene, producer: &Producer, seen: &Seen) {
    if scene.rng.u32(0..3) > 0 {
        let fault = match scene.rng.bool() {
            true => Fault::Throttle,
            false => Fault::InternalFailure,
        };
        if scene.rng.bool() {
            scene.calm();
            let time = scene.millis(1_500);
            scene.pass(time);
        }
        fail(&mut scene, Operation::PutRecords, 1.0, vec![fault]);
        let time = scene.millis(45_000);
        scene.pass(time);
    }
    scene.calm();
    scene.close(producer, None);
    let reported = || seen.reported.load(Ordering::Relaxed);
    scene.check(&reported);
    assert_eq!(seen.taken_wrong.load(Ordering::Relaxed), 0);
}
