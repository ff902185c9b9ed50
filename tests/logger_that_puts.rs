//! A program whose logger puts each line of the crate into a producer, on whatever thread the line is
//! written: nothing waits for itself, and what would is refused by name.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Delivery, Error, ErrorKind, Operation, Producer, ProducerConfig, RecordResult, Stored,
    UserRecord,
};
use log::{LevelFilter, Log, Metadata, Record};

struct Putting {
    producer: Mutex<Option<Weak<Producer>>>,
    /// Lines by thread, without its number, and what went wrong there.
    seen: Mutex<Vec<(String, Option<String>)>>,
    put: AtomicUsize,
    full: AtomicUsize,
}

static LOGGER: Putting = Putting {
    producer: Mutex::new(None),
    seen: Mutex::new(Vec::new()),
    put: AtomicUsize::new(0),
    full: AtomicUsize::new(0),
};

thread_local! {
    /// A line about a line's record would never end.
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

impl Log for Putting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let is_own = record.target().starts_with("kinesis_blocking");
        if !is_own || IS_LOGGING.replace(true) {
            return;
        }
        let producer = lock(&self.producer).as_ref().and_then(Weak::upgrade);
        if let Some(producer) = producer {
            let current = thread::current();
            let name = current.name().unwrap_or("unnamed");
            let name =
                name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '-');
            let wrong = self.put_line(&producer, name, &record.args().to_string());
            lock(&self.seen).push((name.to_owned(), wrong));
        }
        IS_LOGGING.set(false);
    }

    fn flush(&self) {}
}

impl Putting {
    /// Says what went wrong, if anything did.
    fn put_line(&self, producer: &Producer, thread: &str, line: &str) -> Option<String> {
        let moves_records = ["kin-pipe", "kin-send", "kin-list"].contains(&thread);
        let is_own = moves_records || thread == "kin-report";
        let began = Instant::now();
        let put = producer.put(UserRecord::new("log", line.to_owned()));
        let mut wrong = Vec::new();
        match put {
            Ok(delivery) => {
                self.put.fetch_add(1, Ordering::Relaxed);
                if moves_records {
                    wrong.extend(refused_wait(delivery));
                }
            }
            Err(refused) if refused.is_full() => {
                self.full.fetch_add(1, Ordering::Relaxed);
                if !is_own {
                    wrong.push(format!("no wait for room: {refused}"));
                }
            }
            Err(refused) if matches!(refused.error.kind(), ErrorKind::Closed) => {}
            Err(refused) => wrong.push(refused.to_string()),
        }
        if is_own {
            let calls = [
                producer.flush().err(),
                producer.flush_timeout(MINUTE).err(),
                producer.close().err(),
                producer.close_timeout(MINUTE).err(),
            ];
            let is_refused = |error: Option<Error>| {
                error.is_some_and(|error| matches!(error.kind(), ErrorKind::OwnThread { .. }))
            };
            if !calls.into_iter().all(is_refused) {
                wrong.push("flush or close was not refused".to_owned());
            }
            if began.elapsed() > PATIENCE {
                wrong.push(format!("it took {:?}", began.elapsed()));
            }
        }
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

fn refused_wait(delivery: Delivery) -> Option<String> {
    let delivery = match delivery.wait_timeout(MINUTE) {
        Ok(_) => return None,
        Err(delivery) => delivery,
    };
    match delivery.wait() {
        Ok(_) => None,
        Err(undelivered) => {
            let is_named = matches!(
                undelivered.error.kind(),
                ErrorKind::OwnThread {
                    call: "Delivery::wait"
                }
            );
            let is_known = undelivered.stored == Stored::No;
            (!is_named && !is_known).then(|| undelivered.to_string())
        }
    }
}

/// Runs it on a thread of its own, and gives up if it does not end.
fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(time).expect("it ends in time")
}

#[test]
fn a_logger_that_puts_blocks_no_thread_of_the_crate() {
    log::set_logger(&LOGGER).expect("the only logger");
    log::set_max_level(LevelFilter::Trace);
    // The first with room for all lines, the second with next to none.
    for queue_limit in [100_000, 40] {
        within(MINUTE, move || live(queue_limit));
    }
    let seen = lock(&LOGGER.seen);
    let wrong: Vec<_> = seen.iter().filter(|(_, wrong)| wrong.is_some()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for thread in ["kin-pipe", "kin-send", "kin-report"] {
        let lines = seen.iter().filter(|(name, _)| name == thread);
        assert!(lines.count() > 0, "no line on {thread}");
    }
    let others = seen.iter().filter(|(name, _)| !name.starts_with("kin-"));
    assert!(others.count() > 0, "no line on the user's own threads");
    let (put, full) = (&LOGGER.put, &LOGGER.full);
    assert!(put.load(Ordering::Relaxed) > 0 && full.load(Ordering::Relaxed) > 0);
}

fn live(queue_limit: usize) {
    let kinesis = FakeKinesis::new()
        .with_stream("lines", 2)
        .with_stream("side", 1);
    let puts = kinesis.on(Operation::PutRecords);
    let faults = [Fault::AnswerLost, Fault::InternalFailure, Fault::Throttle];
    puts.fail_at_random(1, 0.2, faults);
    let lists = kinesis.on(Operation::ListShards).stream("side");
    lists.fail_next(3, Fault::Throttle);
    let config = ProducerConfig::builder()
        .queue_limit(queue_limit)
        .record_max_buffered_time(Duration::from_millis(5))
        .record_ttl(Duration::from_secs(3));
    let producer = Producer::builder(kinesis.client())
        .stream("lines")
        .config(config.build().expect("valid"))
        // A panic is logged on the thread that calls back.
        .on_delivery(|result: &RecordResult| {
            let is_asked_for = result.as_ref().is_ok_and(|one| one.attempts.len() > 1);
            assert!(!is_asked_for, "made to panic by the test");
        });
    let producer = Arc::new(producer.start().expect("started"));
    *lock(&LOGGER.producer) = Some(Arc::downgrade(&producer));
    let threads = (0..3).map(|thread| {
        let (producer, client) = (producer.clone(), kinesis.client());
        thread::spawn(move || {
            for n in 0..300 {
                let record = UserRecord::new(format!("k{n}"), format!("{thread} {n}"));
                let record = match n % 3 {
                    0 => record.stream("side"),
                    _ => record,
                };
                // Calls of the user's own log as well.
                if n % 100 == 0 {
                    client.list_shards("lines").expect("listed");
                }
                producer.put(record).expect("there is room in time");
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    producer.flush().expect("flushed");
    let began = Instant::now();
    producer
        .close_timeout(Duration::from_secs(5))
        .expect("closed");
    assert!(began.elapsed() < Duration::from_secs(10));
    *lock(&LOGGER.producer) = None;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MINUTE: Duration = Duration::from_secs(60);

/// What is refused at once takes no longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(5);
