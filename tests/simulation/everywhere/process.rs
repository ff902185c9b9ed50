//! One process: its machine, its consumer through all its lives, and what it has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kinesis_blocking::fake::VirtualClock;
use kinesis_blocking::{
    BoundedOutOfOrderness, Checkpoint, Client, Consumer, ConsumerBuilder, ConsumerConfig, DataLoss,
    Error, Event, Record, Timestamp,
};

use super::keeping::Keeper;
use super::ledger::{Done, Told, place};
use super::life::{Bound, Life, is_planned};
use super::plan::Keeping;
use super::watchdog;
use crate::world::STREAM;

pub struct Process {
    machine: VirtualClock,
    client: Client,
    pub consumer: Option<Consumer>,
    keeper: Keeper,
    /// Where it goes on from if it has committed nothing yet: the checkpoints of others together.
    origin: Checkpoint,
    /// With [`Keeping::ByHand`], once there is one.
    by_hand: Option<Checkpoint>,
    /// What was committed, and what was handed out since.
    pub done: Done,
    pub pending: Done,
    /// What belongs to the last commit that failed, which may have been saved after all.
    attempt: Done,
    /// How often the library has committed in this life.
    commits: u64,
    /// When it has last committed, and when its consumer was last asked in this life.
    committed: Timestamp,
    asked: Timestamp,
    /// For how long it has known nothing of its shards at most.
    doubt: Duration,
}

/// What came of asking a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Record,
    Other,
    Timeout,
    Ended,
    /// By an error, and it is gone.
    Failed,
}

/// Code of the user's that goes wrong when it is told to.
#[derive(Debug, Default)]
pub struct UserCode {
    pub panic_in: AtomicU64,
    pub refuse_in: AtomicU64,
    pub saves_to_fail: Arc<AtomicU64>,
}

impl UserCode {
    pub fn calm_down(&self) {
        for counter in [&self.panic_in, &self.refuse_in, &*self.saves_to_fail] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Counts down, and says whether it has just come to 0.
fn strikes(counter: &AtomicU64) -> bool {
    let down = |count: u64| count.checked_sub(1);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down) == Ok(1)
}

impl Process {
    pub fn is_reading(&self) -> bool {
        let consumer = self.consumer.as_ref();
        consumer.is_some_and(|consumer| !consumer.metrics().shards.is_empty())
    }

    /// Where it would go on from.
    pub fn restored(&self) -> Checkpoint {
        let own = self.by_hand.clone().or_else(|| self.keeper.last());
        own.unwrap_or_else(|| self.origin.clone())
    }

    pub fn has_checkpoint(&self) -> bool {
        !self.restored().is_empty()
    }
}

impl Life {
    /// As many new processes, which go on from a checkpoint; none does if it is empty.
    pub fn found_processes(&mut self, count: usize, origin: &Checkpoint) {
        for at in 0..count {
            let machine = match self.processes.get(at) {
                Some(process) => process.machine.clone(),
                None => {
                    let machine = self.clock.of_another_machine();
                    machine.step(self.plan.ahead[at]);
                    machine
                }
            };
            let client = self.kinesis.client_builder_on(&machine).build();
            let now = self.clock.time();
            let old =
                (at < self.processes.len()).then(|| std::mem::take(&mut self.processes[at].done));
            let process = Process {
                client: client.expect("well-formed"),
                machine,
                consumer: None,
                keeper: Keeper::new(
                    self.plan.on_disk,
                    self.plan.seed + at as u64,
                    &self.user_code.saves_to_fail,
                ),
                attempt: Done::default(),
                origin: origin.clone(),
                by_hand: None,
                done: old.unwrap_or_default(),
                pending: Done::default(),
                commits: 0,
                committed: self
                    .processes
                    .iter()
                    .map(|process| process.committed)
                    .min()
                    .unwrap_or(now),
                asked: now,
                doubt: Duration::ZERO,
            };
            match self.processes.get_mut(at) {
                Some(place) => *place = process,
                None => self.processes.push(process),
            }
        }
    }

    pub fn machine(&self, at: usize) -> VirtualClock {
        self.processes[at % self.processes.len()].machine.clone()
    }

    /// Everybody is killed, and so many go on from all checkpoints together.
    pub fn regroup(&mut self, size: usize) {
        self.kill_all();
        let all = self.processes.iter().map(Process::restored);
        let merged = all.reduce(Checkpoint::merge).unwrap_or_default();
        // What those have done that are no more counts as done by the first.
        let mut done = Done::default();
        for process in &mut self.processes {
            done.append(&mut process.done);
        }
        self.found_processes(size, &merged);
        self.processes.truncate(size);
        self.processes[0].done = done;
    }

    pub fn start_all(&mut self) {
        for at in 0..self.processes.len() {
            self.ensure_started(at);
        }
    }

    pub fn ensure_started(&mut self, at: usize) {
        if self.processes[at].consumer.is_none() {
            self.start_process(at, &Bound::None);
        }
    }

    /// Starts a process's consumer, however often that takes.
    pub fn start_process(&mut self, at: usize, bound: &Bound) {
        let parallelism = self.processes.len();
        for _ in 0..200 {
            let process = &self.processes[at];
            let builder = self.builder(&process.client, bound, (at, parallelism));
            let builder = match &process.by_hand {
                Some(checkpoint) => builder.restore(checkpoint.clone()),
                None if process.keeper.last().is_none() => builder.restore(process.origin.clone()),
                None => builder,
            };
            let builder = match self.plan.keeping {
                Keeping::ByHand => builder,
                Keeping::Store => builder.checkpoint_store(process.keeper.open()),
                Keeping::Interval(interval) => {
                    let builder = builder.checkpoint_store(process.keeper.open());
                    builder.commit_interval(interval)
                }
            };
            let outcome = builder.start();
            match outcome {
                Ok(consumer) => return self.started(at, consumer),
                Err(error) => {
                    let is_planned = error.is_retryable() || is_planned(&self.plan, &error, true);
                    assert!(is_planned, "it does not start: {error}");
                }
            }
        }
        panic!("200 starts went wrong");
    }

    fn started(&mut self, at: usize, consumer: Consumer) {
        let now = self.clock.time();
        let process = &mut self.processes[at];
        watchdog::trace(|| {
            format!(
                "{now} process {at} starts: {}",
                consumer.checkpoint().to_json()
            )
        });
        process.consumer = Some(consumer);
        process.commits = 0;
        process.pending = Done::default();
        let mut attempt = std::mem::take(&mut process.attempt);
        if process.keeper.has_adopted_attempt() {
            process.done.append(&mut attempt);
        }
        process.asked = now;
        process.doubt = process.doubt.max(now.saturating_since(process.committed));
        // With the results of nothing, and the place that belongs to them: one transaction.
        if self.plan.keeping == Keeping::ByHand && process.by_hand.is_none() {
            self.commit(at);
        }
    }

    /// One that reads ahead of a process for somebody who wants to know how far that is.
    pub fn start_scout(&self, at: usize, share: (usize, usize), from: Checkpoint) -> Consumer {
        for _ in 0..200 {
            let client = &self.processes[at].client;
            let builder = self.builder(client, &Bound::None, share);
            if let Ok(consumer) = builder.restore(from.clone()).start() {
                return consumer;
            }
        }
        panic!("200 starts of a scout went wrong");
    }

    fn builder(&self, client: &Client, bound: &Bound, share: (usize, usize)) -> ConsumerBuilder {
        let plan = &self.plan;
        let config = ConsumerConfig::builder()
            .start_position(self.ledger.begun.as_ref().expect("begun").start)
            .data_loss(DataLoss::ContinueAndReport)
            .get_records_max(plan.get_records_max)
            .get_records_interval(plan.interval)
            .shard_discovery_interval(plan.discovery_interval)
            .watermark_interval(match plan.event_time {
                Some(event_time) if event_time.is_prompt => Duration::ZERO,
                _ => plan.interval,
            })
            .shard_idle_interval(plan.event_time.and_then(|event_time| event_time.idle));
        let config = match bound {
            Bound::CaughtUp => config.until_caught_up(true),
            Bound::Time(time) => config.until_timestamp(*time),
            Bound::None | Bound::Checkpoint(_) => config,
        };
        let builder = Consumer::builder(client.clone()).stream(STREAM);
        let builder = builder.subtask(share.0, share.1);
        let builder = builder.config(config.build().expect("valid"));
        let builder = match bound {
            Bound::Checkpoint(checkpoint) => builder.until_checkpoint(checkpoint.clone()),
            _ => builder,
        };
        let user_code = self.user_code.clone();
        let builder = builder.decoder(move |_: &Record| match strikes(&user_code.refuse_in) {
            true => Err("as planned"),
            false => Ok(()),
        });
        let user_code = self.user_code.clone();
        let happened = move |record: &Record| {
            assert!(!strikes(&user_code.panic_in), "as planned");
            let text = String::from_utf8_lossy(record.data());
            Timestamp::from_millis(text.parse().expect("a number"))
        };
        match plan.event_time {
            Some(_) => builder.watermarks(BoundedOutOfOrderness::new(Duration::ZERO, happened)),
            None => builder,
        }
    }

    /// Asks a process for its next event.
    pub fn next(&mut self, at: usize, patience: Duration) -> Taken {
        let process = &mut self.processes[at];
        let consumer = process.consumer.as_mut().expect("started");
        let outcome = consumer.next_event(patience);
        let commits = consumer.metrics().commits.commits;
        let watermark = consumer.watermark();
        let now = self.clock.time();
        watchdog::trace(|| format!("{now} process {at}: {outcome:?}"));
        process.doubt = process.doubt.max(now.saturating_since(process.asked));
        process.asked = now;
        if commits > process.commits {
            // By the library, before it handed out anything.
            self.on_commit(at, commits);
        }
        match outcome {
            Ok(Event::Record(record)) => {
                let place = place(&record);
                self.ledger.check_start(&place);
                let is_late = self
                    .plan
                    .event_time
                    .is_some_and(|times| times.idle.is_none())
                    && self.processes.len() == 1
                    && Some(record.event_time()) < watermark;
                let process = &mut self.processes[at];
                let has_gap = !(process.done.gaps.is_empty() && process.pending.gaps.is_empty());
                assert!(!is_late || has_gap, "late under {watermark:?}: {record:?}");
                process.pending.records.push(place);
                Taken::Record
            }
            Ok(Event::Gap(gap)) => {
                let told = Told {
                    gap,
                    index: self.ledger.index(),
                    generation: self.ledger.generation,
                };
                let doubt = self.processes[at].doubt;
                self.ledger
                    .check_gap(&told, &self.all_done(), doubt, &self.kinesis);
                self.processes[at].pending.gaps.push(told);
                Taken::Other
            }
            Ok(Event::Ended) => Taken::Ended,
            Ok(Event::Timeout) => Taken::Timeout,
            Ok(_) => Taken::Other,
            Err(error) => {
                self.on_error(at, &error);
                Taken::Failed
            }
        }
    }

    fn on_error(&mut self, at: usize, error: &Error) {
        assert!(
            is_planned(&self.plan, error, self.is_cut_off),
            "an error that nothing explains: {error}"
        );
        if self.plan.commits_after_error {
            self.commit(at);
        }
        self.kill(at);
    }

    pub fn consume(&mut self, at: usize, events: usize, patience: Duration, puts: usize) {
        let at = at % self.processes.len();
        self.ensure_started(at);
        for _ in 0..events {
            match self.next(at, patience) {
                Taken::Timeout | Taken::Failed => return,
                Taken::Ended => panic!("nobody stopped it"),
                Taken::Record | Taken::Other => {}
            }
            if puts > 0 {
                self.put(puts, 20);
            }
        }
    }

    /// Takes what comes from all that are there, for so long.
    pub fn listen(&mut self, time: Duration) {
        let end = self.clock.time().saturating_add(time);
        loop {
            let now = self.clock.time();
            let left = end.saturating_since(now);
            if left.is_zero() {
                return;
            }
            let mut is_anyone = false;
            for at in 0..self.processes.len() {
                if self.processes[at].consumer.is_some() {
                    is_anyone = true;
                    let left = end.saturating_since(self.clock.time());
                    self.next(at, left.min(self.plan.interval + Duration::from_secs(1)));
                }
            }
            if !is_anyone {
                self.clock.advance(left);
            }
        }
    }

    pub fn commit(&mut self, at: usize) {
        let at = at % self.processes.len();
        let Some(consumer) = &mut self.processes[at].consumer else {
            return;
        };
        let checkpoint = consumer.checkpoint();
        if self.plan.keeping == Keeping::ByHand {
            let json = checkpoint.to_json();
            let read = Checkpoint::from_json(&json).expect("a checkpoint");
            self.processes[at].by_hand = Some(read);
        } else if let Err(error) = consumer.commit() {
            let is_planned = error.to_string().contains("as planned") || self.plan.on_disk;
            assert!(is_planned, "not committed: {error}");
            let process = &mut self.processes[at];
            process.attempt = process.pending.clone();
            return;
        }
        let commits = self.processes[at].commits + 1;
        self.on_commit(at, commits);
    }

    /// All that was handed out so far is committed.
    fn on_commit(&mut self, at: usize, commits: u64) {
        let now = self.clock.time();
        let process = &mut self.processes[at];
        process.commits = commits;
        process.committed = now;
        let mut pending = std::mem::take(&mut process.pending);
        process.done.append(&mut pending);
        let checkpoint = process.restored();
        watchdog::trace(|| format!("{now} process {at} commits: {}", checkpoint.to_json()));
        let all: Vec<_> = self.processes.iter().map(|process| &process.done).collect();
        self.ledger.check_times(&checkpoint, &all, now);
    }

    pub fn kill(&mut self, at: usize) {
        let at = at % self.processes.len();
        let process = &mut self.processes[at];
        if process.consumer.take().is_some() {
            process.pending = Done::default();
        }
    }

    /// The machine's power is lost, in the middle of a commit if that takes more operations.
    pub fn lose_power(&mut self, at: usize, after: Option<u64>) {
        let at = at % self.processes.len();
        if let Some(operations) = after.filter(|_| self.plan.keeping == Keeping::Store) {
            self.processes[at].keeper.stop_after(operations);
            self.commit(at);
        }
        self.kill(at);
        self.processes[at].keeper.power_loss();
    }

    pub fn kill_all(&mut self) {
        for at in 0..self.processes.len() {
            self.kill(at);
        }
    }

    pub fn close(&mut self, at: usize) {
        let at = at % self.processes.len();
        let Some(consumer) = self.processes[at].consumer.take() else {
            return;
        };
        match consumer.close() {
            Ok(checkpoint) => {
                if self.plan.keeping == Keeping::ByHand {
                    self.processes[at].by_hand = Some(checkpoint);
                }
                self.on_commit(at, 0);
            }
            Err(error) => {
                let is_planned = error.to_string().contains("as planned");
                assert!(is_planned, "not closed: {error}");
                self.processes[at].pending = Done::default();
            }
        }
    }
}
