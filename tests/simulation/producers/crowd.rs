//! A large record waits for room while small ones of other streams come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kinesis_blocking::{Operation, Producer, UserRecord};

use super::lives::{Manners, Seen, Settings};
use super::scene::{ORDERS, Scene};
use crate::everywhere::watchdog;

pub fn live_through(seed: u64) {
    let (mut scene, seen) = (Scene::new(seed, 3), Arc::<Seen>::default());
    let producer = start(&mut scene, &seen);
    // Some of them always have records on their way.
    for (stream, millis) in [("side-0", 50), ("side-1", 70), ("side-2", 90)] {
        let script = scene.kinesis.on(Operation::PutRecords).stream(stream);
        script.delay_next(u64::MAX, Duration::from_millis(millis));
    }
    fill(&mut scene, &producer);
    let is_in = AtomicBool::new(false);
    let (number, at) = (scene.book.number(), scene.clock.time());
    let record = UserRecord::new("k", format!("{number} {}", ".".repeat(LARGE)));
    let (large, passed) = thread::scope(|scope| {
        let large = scope.spawn(|| {
            let large = producer.put(record.clone());
            is_in.store(true, Ordering::SeqCst);
            large
        });
        // It waits from here on, as time passes.
        scene.pass(Duration::from_millis(1));
        let (mut passed, mut tick) = (0, 0);
        while !is_in.load(Ordering::SeqCst) {
            watchdog::at(tick, &"fill");
            passed += fill(&mut scene, &producer);
            assert!(passed <= PASSES_MAX, "{passed} have passed the large one");
            let time = Duration::from_millis(scene.rng.u64(5..30));
            scene.pass(time);
            tick += 1;
        }
        (large.join().expect("no panic"), passed)
    });
    watchdog::trace(|| format!("{passed} have passed the large one"));
    scene.note(number, (ORDERS, record, at), large.expect("taken in"));
    scene.close(&producer, None);
    let reported = || seen.reported.load(Ordering::Relaxed);
    scene.check(&reported);
}

fn start(scene: &mut Scene, seen: &Arc<Seen>) -> Arc<Producer> {
    let mut settings = Settings::draw(scene);
    settings.ttl = Duration::MAX;
    settings.buffered = Duration::ZERO;
    settings.config = settings
        .config
        .record_max_buffered_time(settings.buffered)
        .record_ttl(settings.ttl)
        .queue_limit(10_000)
        .queue_limit_bytes(2_000);
    settings.manners = match scene.rng.bool() {
        true => Manners::Good,
        false => Manners::Absent,
    };
    scene.start(settings, seen)
}

/// Takes whatever room there is for the sides; says how many records were let in.
fn fill(scene: &mut Scene, producer: &Producer) -> usize {
    let mut let_in = 0;
    for stream in 1..4 {
        loop {
            let (number, record) = scene.record(stream, 100);
            let at = scene.clock.time();
            let Ok(delivery) = producer.try_put(record.clone()) else {
                break;
            };
            scene.note(number, (stream, record, at), delivery);
            let_in += 1;
        }
    }
    let_in
}

const LARGE: usize = 1_900;

/// A thousand, and what was let in when it had come and did not yet wait.
const PASSES_MAX: usize = 1_050;
