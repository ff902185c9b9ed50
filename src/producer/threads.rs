//! The producer's threads: one owns the pipeline, some make its calls, one reports to the user.
//!
//! They cannot block each other. A sender takes one job and gives one outcome; the pipeline hands
//! out no more jobs than there are places in either channel, and counts a job until it has received
//! the outcome. So neither channel is ever full when somebody sends.

use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Operation;
use crate::producer::front::Stream;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::monitor::Monitor;
use crate::producer::pipeline::Pipeline;
use crate::producer::placement::earlier;
use crate::producer::report::Callback;
use crate::producer::shared::Shared;
use crate::retry::RetryPolicy;
use crate::sys::clock::{Clock, Timer};
use crate::sys::stop::{Stop, StopSource};
use crate::sys::thread::{self, Handle, caught};

/// The threads that a producer waits for when it is closed.
pub(super) struct Threads {
    pipeline: Handle,
    report: Option<Handle>,
    monitor: Option<Handle>,
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
        let over = StopSource::new();
        let Callbacks {
            on_delivery,
            monitor,
        } = callbacks;
        let report =
            on_delivery.map(|callback| start_report(shared.clone(), callback, over.stop()));
        let report = report.transpose()?;
        let monitor = start_monitor(shared.clone(), monitor, over.stop())?;
        let senders = Senders::new(client, &stop, shared.config.senders_max())?;
        let mut body = PipelineLoop {
            shared,
            pipeline,
            senders,
            stop,
            watched: Vec::new(),
        };
        let body = move || {
            body.run_to_the_end();
            over.signal();
        };
        let pipeline = thread::spawn("kin-pipe".to_owned(), STACK_BYTES, body)?;
        Ok(Threads {
            pipeline,
            report,
            monitor,
        })
    }

    /// Waits for their end, which somebody else has to call for.
    pub fn join(self) -> Result<()> {
        let joined = self.pipeline.join();
        let others = [self.report, self.monitor].into_iter().flatten();
        others.map(Handle::join).fold(joined, Result::and)
    }
}

fn start_report(shared: Arc<Shared>, callback: Callback, over: Stop) -> Result<Handle> {
    let body = move || {
        if let Some(reports) = &shared.reports {
            reports.report_all(&shared, &callback, &over);
        }
    };
    thread::spawn("kin-report".to_owned(), USER_STACK_BYTES, body)
}

fn start_monitor(shared: Arc<Shared>, mut monitor: Monitor, over: Stop) -> Result<Option<Handle>> {
    if monitor.is_empty() {
        return Ok(None);
    }
    let body = move || monitor.watch(&shared, &over);
    thread::spawn("kin-metrics".to_owned(), USER_STACK_BYTES, body).map(Some)
}

struct PipelineLoop {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    senders: Senders,
    stop: Stop,
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
        self.senders.dismiss();
    }

    fn run(&mut self) {
        while !self.stop.is_stopped() {
            let now = self.shared.clock.now();
            self.visit(now);
            self.pipeline.tick(now);
            self.hurry(now);
            while let Some(outcome) = self.senders.finished() {
                self.hand_in(outcome);
            }
            while self.senders.have_one_free() {
                let Some(job) = self.pipeline.next_job(now) else {
                    break;
                };
                self.senders.employ(job);
            }
            self.apply();
            self.wait();
        }
    }

    fn wait(&mut self) {
        let watched = self.watched.iter().map(|(at, _)| *at).min();
        let deadline = earlier(watched, self.pipeline.next_deadline());
        let timer = timer(&self.shared.clock, deadline);
        self.shared.front.sleep_until(deadline);
        select! {
            recv(self.shared.front.bell()) -> _ => {}
            recv(self.senders.outcomes) -> outcome => {
                self.senders.under_way -= 1;
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

    /// Sends at once what holds the room that somebody waits for, if all of it only waits for company.
    fn hurry(&mut self, now: Instant) {
        if self.shared.intake.is_waited_for() && self.pipeline.is_idle() {
            self.shared.front.finish_all();
            self.visit(now);
            self.pipeline.flush(now);
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
    fn new(client: &Client, stop: &Stop, limit: usize) -> Result<Senders> {
        let (jobs, jobs_taken) = channel::bounded(limit);
        let (outcomes_given, outcomes) = channel::bounded(limit);
        let mut senders = Senders {
            client: once(&client.with_stop(stop.clone())),
            limit,
            threads: Vec::new(),
            under_way: 0,
            jobs: Some(jobs),
            jobs_taken,
            outcomes,
            outcomes_given,
        };
        senders.hire()?;
        Ok(senders)
    }

    fn have_one_free(&self) -> bool {
        self.under_way < self.limit
    }

    fn employ(&mut self, job: Job) {
        if self.under_way == self.threads.len()
            && let Err(error) = self.hire()
        {
            log::warn!("{error}; {} senders have to do", self.threads.len());
            self.limit = self.threads.len();
        }
        self.under_way += 1;
        let sent = self.jobs.as_ref().map(|jobs| jobs.try_send(job).is_ok());
        debug_assert_eq!(sent, Some(true), "there is a place for each job under way");
    }

    fn hire(&mut self) -> Result<()> {
        let name = format!("kin-send-{:02}", self.threads.len());
        let (client, jobs) = (self.client.clone(), self.jobs_taken.clone());
        let outcomes = self.outcomes_given.clone();
        let body = move || send(&client, &jobs, &outcomes);
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
fn once(client: &Client) -> Client {
    let once = |client: Client, operation| {
        let policy = RetryPolicy {
            max_retries: Some(0),
            ..client.policy(operation).clone()
        };
        client.with_retry(operation, policy)
    };
    let operations = [Operation::ListShards, Operation::PutRecords];
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

/// A wait until then, or for ever.
fn timer(clock: &Arc<dyn Clock>, deadline: Option<Instant>) -> Timer {
    match deadline {
        Some(deadline) => clock.at(deadline),
        None => clock.after(None),
    }
}

/// Enough for TLS and JSON, several times over; only what is touched is used.
const STACK_BYTES: usize = 1024 * 1024;

/// What Rust gives threads by default: the callback is the user's.
const USER_STACK_BYTES: usize = 2 * 1024 * 1024;
