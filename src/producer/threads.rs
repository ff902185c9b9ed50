//! The producer's threads: one owns the pipeline, some make its calls, one reports to the user.
//!
//! They cannot block each other. A sender takes one job and gives one outcome; the pipeline hands
//! out no more jobs than there are places in either channel, and counts a job until it has received
//! the outcome. So neither channel is ever full when somebody sends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Operation;
use crate::producer::front::Stream;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::monitor::Monitor;
use crate::producer::own_thread::Duty;
use crate::producer::pipeline::{LISTERS_MAX, Pipeline};
use crate::producer::placement::earlier;
use crate::producer::report::Callback;
use crate::producer::shared::Shared;
use crate::retry::RetryPolicy;
use crate::sys::clock::{Timer, later};
use crate::sys::lock::lock;
use crate::sys::stop::{Stop, StopSource};
use crate::sys::thread::{self, Handle, caught};

/// The threads that a producer waits for when it is closed.
pub(super) struct Threads {
    /// Comes when everything is settled.
    settled: Stop,
    threads: Vec<Member>,
}

/// One of them.
struct Member {
    /// Comes when the thread ends.
    ended: Stop,
    /// `None` once it was waited for.
    handle: Mutex<Option<Handle>>,
}

/// What the user wants to be told, and what else is done from time to time.
pub(super) struct Callbacks {
    pub on_delivery: Option<Callback>,
    pub monitor: Monitor,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(
        shared: Arc<Shared>,
        client: &Client,
        pipeline: Pipeline,
        stop: Stop,
        callbacks: Callbacks,
    ) -> Result<Threads> {
        // The threads that call back end after the pipeline, which has the last results.
        let (over, settled) = (StopSource::new(), StopSource::new());
        let (over_stop, settled_stop) = (over.stop(), settled.stop());
        let Callbacks {
            on_delivery,
            monitor,
        } = callbacks;
        let mut threads = Vec::new();
        if let Some(callback) = on_delivery {
            threads.push(start_report(shared.clone(), callback, over_stop.clone())?);
        }
        if !monitor.is_empty() {
            threads.push(start_monitor(shared.clone(), monitor, over_stop)?);
        }
        let client = once(&client.with_stop(stop.clone()));
        let mut body = PipelineLoop {
            senders: Senders::new(&client, "kin-send", shared.config.senders_max()),
            listers: Senders::new(&client, "kin-list", LISTERS_MAX),
            retire_at: later(shared.clock.now(), RETIRE_INTERVAL),
            shared,
            pipeline,
            stop,
            watched: Vec::new(),
        };
        // One of each is there from the start: a job is never left without a thread.
        body.senders.hire()?;
        body.listers.hire()?;
        let body = move || {
            body.run_to_the_end();
            settled.signal();
            over.signal();
            body.senders.dismiss();
            body.listers.dismiss();
        };
        threads.push(Member::start(
            "kin-pipe",
            STACK_BYTES,
            Duty::Pipeline,
            body,
        )?);
        Ok(Threads {
            settled: settled_stop,
            threads,
        })
    }

    /// Waits until everything is settled, once they have been told to stop: no call and no callback is
    /// waited for, so that takes no time.
    pub fn await_settled(&self) {
        // It carries nothing: it closes.
        let _ = self.settled.channel().recv();
    }

    /// Waits for their end, which somebody else has to call for, or until the time is up.
    ///
    /// # Errors
    /// `Thread`: one of them died.
    pub fn join(&self, timer: &Timer) -> Result<()> {
        let (mut joined, mut is_time_up) = (Ok(()), false);
        for member in &self.threads {
            is_time_up |= !member.has_ended(timer, is_time_up);
            if member.ended.is_stopped() {
                joined = joined.and(member.join());
            }
        }
        if is_time_up {
            log::debug!("a producer was closed while a call or a callback still runs");
        }
        joined
    }
}

impl Member {
    fn start(
        name: &str,
        stack_bytes: usize,
        duty: Duty,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Member> {
        let end = StopSource::new();
        let ended = end.stop();
        let body = move || {
            // Dropped, and so signalled, if the body panics as well.
            let _end = end;
            duty.begin();
            body();
        };
        let handle = thread::spawn(name.to_owned(), stack_bytes, body)?;
        Ok(Member {
            ended,
            handle: Mutex::new(Some(handle)),
        })
    }

    /// Waits until it ends or the timer fires, which it does once; says whether it has ended.
    fn has_ended(&self, timer: &Timer, is_time_up: bool) -> bool {
        if !is_time_up {
            select! {
                recv(self.ended.channel()) -> _ => {}
                recv(timer.channel()) -> _ => {}
            }
        }
        self.ended.is_stopped()
    }

    fn join(&self) -> Result<()> {
        let handle = lock(&self.handle).take();
        handle.map_or(Ok(()), Handle::join)
    }
}

fn start_report(shared: Arc<Shared>, callback: Callback, over: Stop) -> Result<Member> {
    let duty = Duty::Callback(shared.id);
    let body = move || {
        if let Some(reports) = &shared.reports {
            reports.report_all(&shared, &callback, &over);
        }
    };
    Member::start("kin-report", USER_STACK_BYTES, duty, body)
}

fn start_monitor(shared: Arc<Shared>, mut monitor: Monitor, over: Stop) -> Result<Member> {
    let duty = Duty::Callback(shared.id);
    let body = move || monitor.watch(&shared, &over);
    Member::start("kin-metrics", USER_STACK_BYTES, duty, body)
}

struct PipelineLoop {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    /// They put records.
    senders: Senders,
    /// They list shards: where that hangs, records are still put.
    listers: Senders,
    stop: Stop,
    /// When to look next which streams are still active.
    retire_at: Instant,
    /// Streams with open aggregates, and when the first of each is due.
    watched: Vec<(Instant, Arc<Stream>)>,
}

impl PipelineLoop {
    fn run_to_the_end(&mut self) {
        let error = match caught("kin-pipe", || self.run()) {
            Ok(()) => Error::new(ErrorKind::Closed),
            Err(error) => self.died(error),
        };
        self.shared.front.close();
        self.visit(self.shared.clock.now());
        self.pipeline.abandon(&error);
        self.apply();
    }

    fn run(&mut self) {
        while !self.stop.is_stopped() {
            let now = self.shared.clock.now();
            self.visit(now);
            self.pipeline.tick(now);
            self.hurry(now);
            self.retire(now);
            while let Some(outcome) = self.senders.finished() {
                self.hand_in(outcome);
            }
            while let Some(outcome) = self.listers.finished() {
                self.hand_in(outcome);
            }
            self.give_work(now);
            self.apply();
            self.wait();
        }
    }

    fn give_work(&mut self, now: Instant) {
        while self.senders.have_one_free() {
            let Some(job) = self.pipeline.next_job(now) else {
                break;
            };
            self.senders.employ(job);
        }
        while self.listers.have_one_free() {
            let Some(job) = self.pipeline.next_listing(now, self.listers.under_way) else {
                break;
            };
            self.listers.employ(job);
        }
    }

    fn retire(&mut self, now: Instant) {
        if now >= self.retire_at {
            self.retire_at = later(now, RETIRE_INTERVAL);
            self.shared.intake.retire();
        }
    }

    fn wait(&mut self) {
        let watched = self.watched.iter().map(|(at, _)| *at).min();
        let deadline = earlier(watched, self.pipeline.next_deadline());
        let timer = self.shared.clock.until(deadline);
        self.shared.front.sleep_until(deadline);
        select! {
            recv(self.shared.front.bell()) -> _ => {}
            recv(self.senders.outcomes) -> outcome => {
                self.senders.under_way -= 1;
                outcome.into_iter().for_each(|outcome| self.hand_in(outcome));
            }
            recv(self.listers.outcomes) -> outcome => {
                self.listers.under_way -= 1;
                outcome.into_iter().for_each(|outcome| self.hand_in(outcome));
            }
            recv(timer.channel()) -> _ => {}
            recv(self.stop.channel()) -> _ => {}
        }
    }

    /// Collects what the callers finished, and finishes what is due.
    fn visit(&mut self, now: Instant) {
        for (_, stream) in self
            .watched
            .extract_if(.., |(at, _)| *at <= now)
            .collect::<Vec<_>>()
        {
            let next = stream.finish_due(now);
            self.watched.extend(next.map(|at| (at, stream)));
        }
        let shelf = self.shared.front.clear_shelf();
        self.watched.extend(shelf.opened);
        self.pipeline.accept(now, shelf.finished);
        for stream in &shelf.flush {
            self.pipeline.flush_stream(now, stream);
        }
    }

    fn hand_in(&mut self, outcome: Outcome) {
        self.pipeline.on_outcome(self.shared.clock.now(), outcome);
    }

    /// Sends at once what holds the room that somebody waits for, of each stream whose records only
    /// wait for others: nothing else of it frees room.
    fn hurry(&mut self, now: Instant) {
        if !self.shared.intake.is_waited_for() {
            return;
        }
        let streams = self.shared.front.streams().into_iter();
        let idle = streams.filter(|stream| self.pipeline.is_idle(&stream.name));
        let idle: Vec<_> = idle.collect();
        idle.iter().for_each(|stream| stream.finish_all());
        self.visit(now);
        for stream in &idle {
            self.pipeline.flush_stream(now, &stream.name);
        }
    }

    fn apply(&mut self) {
        let effects = self.pipeline.take_effects();
        self.shared.measure(&effects);
        for (name, map) in effects.maps {
            if let Ok(stream) = self.shared.front.stream(Some(&name)) {
                stream.follow(map);
            }
        }
        for (name, aggregates) in effects.aggregation {
            if let Ok(stream) = self.shared.front.stream(Some(&name)) {
                stream.aggregate(aggregates);
            }
        }
        self.shared.settle(effects.settled);
    }

    fn died(&self, error: Error) -> Error {
        log::error!("{error}; records on their way are given up");
        self.shared.failure.set(&error);
        error
    }
}

/// The threads that make calls, started as they are needed.
struct Senders {
    client: Client,
    /// Of the threads, before their numbers.
    name: &'static str,
    limit: usize,
    threads: Vec<Handle>,
    under_way: usize,
    /// `None` once they are dismissed.
    jobs: Option<Sender<Job>>,
    jobs_taken: Receiver<Job>,
    outcomes: Receiver<Outcome>,
    outcomes_given: Sender<Outcome>,
}

impl Senders {
    fn new(client: &Client, name: &'static str, limit: usize) -> Senders {
        let (jobs, jobs_taken) = channel::bounded(limit);
        let (outcomes_given, outcomes) = channel::bounded(limit);
        Senders {
            client: client.clone(),
            name,
            limit,
            threads: Vec::new(),
            under_way: 0,
            jobs: Some(jobs),
            jobs_taken,
            outcomes,
            outcomes_given,
        }
    }

    fn have_one_free(&self) -> bool {
        self.under_way < self.limit
    }

    fn employ(&mut self, job: Job) {
        if self.under_way == self.threads.len()
            && let Err(error) = self.hire()
        {
            self.limit = self.threads.len();
            log::warn!("{error}; {} threads have to do", self.threads.len());
        }
        self.under_way += 1;
        let sent = self.jobs.as_ref().map(|jobs| jobs.try_send(job).is_ok());
        debug_assert_eq!(sent, Some(true), "there is a place for each job under way");
    }

    fn hire(&mut self) -> Result<()> {
        let name = format!("{}-{:02}", self.name, self.threads.len());
        let (client, jobs) = (self.client.clone(), self.jobs_taken.clone());
        let outcomes = self.outcomes_given.clone();
        let body = move || {
            Duty::Pipeline.begin();
            send(&client, &jobs, &outcomes);
        };
        self.threads.push(thread::spawn(name, STACK_BYTES, body)?);
        Ok(())
    }

    fn finished(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.under_way -= 1;
        Some(outcome)
    }

    /// Lets them finish what they are at, and waits for it.
    fn dismiss(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if let Err(error) = thread.join() {
                log::error!("{error}");
            }
        }
    }
}

/// The same client, which makes every call of the pipeline once, whatever its own policies say.
///
/// The pipeline repeats calls by itself, and loops of retry are never nested. Of PutRecords it has to
/// see the outcome of each attempt: of three attempts the last may have failed before it was sent
/// while the first stored the records and lost the answer.
pub(super) fn once(client: &Client) -> Client {
    let once = |client: Client, operation| {
        let policy = RetryPolicy {
            max_retries: Some(0),
            ..client.policy(operation).clone()
        };
        client.with_retry(operation, policy)
    };
    let operations = [
        Operation::DescribeStreamSummary,
        Operation::ListShards,
        Operation::PutRecords,
    ];
    operations.into_iter().fold(client.clone(), once)
}

fn send(client: &Client, jobs: &Receiver<Job>, outcomes: &Sender<Outcome>) {
    for job in jobs {
        let began = client.sys().clock.now();
        let answer = carry_out(client, job);
        let ended = client.sys().clock.now();
        let span = Span { began, ended };
        let outcome = Outcome { span, answer };
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn carry_out(client: &Client, job: Job) -> Answer {
    match job {
        Job::Describe { stream } => {
            let summary = contained(|| client.describe_stream_summary(&stream));
            Answer::Described { stream, summary }
        }
        Job::List { stream, since } => {
            let listed = contained(|| client.shard_map(&stream, since));
            Answer::Listed { stream, listed }
        }
        Job::Put {
            id,
            stream,
            entries,
        } => {
            let output = contained(|| client.put_records(&stream, &entries));
            Answer::Put { id, output }
        }
    }
}

/// A panic of the user's transport or credentials provider, made an error.
fn contained<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    caught("kin-send", call).flatten()
}

/// How often streams are looked for that put nothing any more, and whose share of the queue is free.
const RETIRE_INTERVAL: Duration = Duration::from_secs(30);

/// Enough for TLS and JSON, several times over; only what is touched is used.
const STACK_BYTES: usize = 1024 * 1024;

/// What Rust gives threads by default: the callback is the user's.
const USER_STACK_BYTES: usize = 2 * 1024 * 1024;
