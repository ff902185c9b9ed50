//! One stream that answers, beside many that hang or are throttled: it must not notice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kinesis_blocking::fake::Fault;
use kinesis_blocking::{Operation, Producer, ThreadingModel};

use super::lives::{Manners, Seen, Settings};
use super::scene::{ORDERS, Scene};
use crate::everywhere::watchdog;

pub fn live_through(seed: u64) {
    let sides = fastrand::Rng::with_seed(seed ^ 1).usize(1..26);
    let (mut scene, seen) = (Scene::new(seed, sides), Arc::<Seen>::default());
    let producer = start(&mut scene, &seen);
    scene
        .kinesis
        .on(Operation::PutRecords)
        .stream("orders")
        .delay_next(u64::MAX, ROUND_TRIP);
    let rates = trouble(&mut scene);
    let ticks = scene.rng.usize(60..120);
    // One that has answered so far is the worst: it is trusted.
    let turns = scene.rng.usize(..ticks);
    // Some come while others hang already, or have taken all the room that two may have.
    let comes = |_| match scene.rng.bool() {
        true => scene.rng.usize(..ticks),
        false => 0,
    };
    let comes: Vec<usize> = rates.iter().map(comes).collect();
    for tick in 0..ticks {
        watchdog::at(tick, &"put");
        if tick == turns {
            hang(&mut scene, Operation::PutRecords, 1);
        }
        let is_here = |stream: usize| stream == ORDERS || comes[stream] <= tick;
        put(&mut scene, &producer, &rates, is_here);
        scene.pass(TICK);
    }
    let time = scene.millis(5_000);
    scene.close(&producer, Some(time.max(Duration::from_secs(2))));
    check(&scene);
    let reported = || seen.reported.load(Ordering::Relaxed);
    scene.check(&reported);
}

fn start(scene: &mut Scene, seen: &Arc<Seen>) -> Arc<Producer> {
    let mut settings = Settings::draw(scene);
    settings.buffered = scene.millis(200);
    settings.ttl = Duration::from_secs(30);
    settings.config = settings
        .config
        .fail_if_throttled(false)
        .rate_limit_percent(100)
        .record_ttl(settings.ttl)
        .record_max_buffered_time(settings.buffered)
        .queue_limit(scene.rng.usize(1_500..5_000))
        .queue_limit_bytes(16 << 20)
        .threading_model(match scene.draws(3) {
            true => ThreadingModel::PerRequest,
            false => ThreadingModel::Pooled { threads: 10 },
        });
    if settings.manners == Manners::Slow {
        // Its own results wait for it, whatever the neighbours do.
        settings.manners = Manners::Good;
    }
    scene.start(settings, seen)
}

/// How many records are put to each stream at a time. Any number of streams may hang in ListShards, or in
/// PutRecords from the beginning.
fn trouble(scene: &mut Scene) -> Vec<usize> {
    let mut rates = vec![0; scene.streams.len()];
    rates[ORDERS] = scene.rng.usize(1..4);
    let most = 40 / (scene.streams.len() - 2).max(1) + 2;
    let sides = scene.real().end;
    for (stream, rate) in rates.iter_mut().enumerate().take(sides).skip(1) {
        *rate = scene.rng.usize(0..most);
        if scene.rng.bool() {
            hang(scene, Operation::ListShards, stream);
        }
        if scene.draws(3) {
            hang(scene, Operation::DescribeStreamSummary, stream);
        }
        match scene.rng.u32(0..4) {
            0 if stream > 1 => hang(scene, Operation::PutRecords, stream),
            1 => {
                let (seed, name) = (scene.rng.u64(..), scene.streams[stream].name.clone());
                let script = scene.kinesis.on(Operation::PutRecords).stream(&name);
                script.fail_at_random(seed, 1.0, [Fault::Throttle]);
            }
            _ => {}
        }
    }
    rates
}

fn hang(scene: &mut Scene, operation: Operation, stream: usize) {
    let name = &scene.streams[stream].name;
    let script = scene.kinesis.on(operation).stream(name);
    script.fail_at_random(1, 1.0, [Fault::Hang]);
}

fn put(scene: &mut Scene, producer: &Producer, rates: &[usize], is_here: impl Fn(usize) -> bool) {
    for (stream, rate) in rates.iter().enumerate().filter(|one| is_here(one.0)) {
        for _ in 0..*rate {
            let (number, record) = scene.record(stream, 0);
            let at = scene.clock.time();
            match producer.try_put(record.clone()) {
                Ok(delivery) => scene.note(number, (stream, record, at), delivery),
                Err(refused) => assert!(stream != ORDERS, "refused: {refused}"),
            }
        }
    }
}

/// Of the stream that answers, none expires, and 99 of 100 settle within a second.
fn check(scene: &Scene) {
    scene.book.settle_all();
    let puts = scene.book.puts();
    let own = puts.values().filter(|put| put.stream == ORDERS);
    let mut took = Vec::new();
    for put in own {
        let result = put.result.as_ref().expect("settled");
        let delivered = result.as_ref().expect("delivered");
        let attempts = delivered.attempts.iter();
        let time: Duration = attempts.map(|one| one.delay + one.duration).sum();
        took.push(time);
    }
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 <= Duration::from_secs(1), "p99 is {p99:?}");
}

const TICK: Duration = Duration::from_millis(100);

const ROUND_TRIP: Duration = Duration::from_millis(20);
