//! One process: its machine, its consumer through all its lives, and what it has committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kinesis_blocking::fake::VirtualClock;
use kinesis_blocking::{
    BoundedOutOfOrderness, Checkpoint, Client, Consumer, ConsumerBuilder, ConsumerConfig, DataLoss,
    Error, ErrorKind, Event, Gap, Record, ShardId, Timestamp,
};

use super::keeping::Keeper;
use super::ledger::{Done, Place, RETENTION_MIN, Told, arrival, place};
use super::life::{Bound, Life, is_planned};
use super::plan::{Keeping, Step};
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
    /// When it has last committed, and when its consumer was started and last asked in this life.
    committed: Timestamp,
    started: Timestamp,
    asked: Timestamp,
    /// For how long it has known nothing of its shards at most.
    doubt: Duration,
    known: Known,
    /// For how long it has not been asked in all, and what that was when a shard's last record came.
    unasked: Duration,
    last: BTreeMap<ShardId, (Timestamp, Duration)>,
    /// An outage has ended, and its error may still wait behind records in the consumer. `false` again once the
    /// consumer has had nothing to hand out.
    pub may_owe_outage: bool,
}

/// When a process was asked, as far as what it knew then is committed, or is in the memory of its life.
/// With each time, the last one before it of which all are certain that go on together.
#[derive(Clone, Debug, Default)]
struct Known(Vec<(Timestamp, Timestamp)>);

impl Known {
    fn push(&mut self, now: Timestamp) {
        if self.0.last().is_none_or(|(last, _)| *last < now) {
            self.0.push((now, now));
        }
    }

    fn truncate(&mut self, committed: Timestamp) {
        self.0.retain(|(time, _)| *time <= committed);
    }

    fn before(&self, time: Timestamp) -> Option<Timestamp> {
        let later = self.0.partition_point(|(known, _)| *known < time);
        let (_, known) = self.0[..later].last().or(self.0.first())?;
        Some(*known)
    }

    /// What is known where each may be the one that counts.
    fn merge(all: &[&Known]) -> Known {
        let mut times: Vec<_> = all
            .iter()
            .flat_map(|known| &known.0)
            .map(|known| known.0)
            .collect();
        times.sort_unstable();
        times.dedup();
        let least = |time: Timestamp| {
            let next = time.saturating_add(Duration::from_millis(1));
            let least = all.iter().filter_map(|known| known.before(next)).min();
            least.map(|least| (time, least))
        };
        Known(times.into_iter().filter_map(least).collect())
    }
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
    /// The same, by an error that the plan brings about also if every call succeeds.
    FailedAsPlanned,
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

    /// Returns what was handed out and reported since `before` was committed and nothing was pending, be it
    /// committed or not.
    pub fn since(&self, before: &Done) -> Done {
        let (records, gaps) = (before.records.len(), before.gaps.len());
        let mut since = Done {
            records: self.done.records[records..].to_vec(),
            gaps: self.done.gaps[gaps..].to_vec(),
        };
        since.append(&mut self.pending.clone());
        since
    }
}

impl Life {
    /// As many new processes, which go on from a checkpoint; none does if it is empty.
    pub fn found_processes(&mut self, count: usize, origin: &Checkpoint) {
        // All that go on from all checkpoints know what each of them knew.
        let all: Vec<_> = self
            .processes
            .iter()
            .map(|process| &process.known)
            .collect();
        let known = Known::merge(&all);
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
            let doubt = self.processes.iter().map(|process| process.doubt).max();
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
                started: now,
                asked: now,
                doubt: doubt.unwrap_or_default(),
                known: known.clone(),
                unasked: Duration::ZERO,
                last: BTreeMap::new(),
                may_owe_outage: false,
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
                    let is_planned = error.is_retryable()
                        || is_planned(&self.plan, &error, true)
                        // The start is saved before it returns.
                        || error.to_string().contains("as planned");
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
        process.may_owe_outage = false;
        process.commits = 0;
        process.pending = Done::default();
        let mut attempt = std::mem::take(&mut process.attempt);
        if process.keeper.has_adopted_attempt() {
            process.done.append(&mut attempt);
        }
        process.unasked += now.saturating_since(process.asked);
        (process.started, process.asked) = (now, now);
        process.known.push(now);
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
            .buffered_bytes_max(plan.buffered_bytes_max)
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
            Timestamp::from_millis(text.trim_end().parse().expect("a number"))
        };
        match plan.event_time {
            Some(_) => builder.watermarks(BoundedOutOfOrderness::new(Duration::ZERO, happened)),
            None => builder,
        }
    }

    /// Asks a process for its next event.
    pub fn next(&mut self, at: usize, patience: Duration) -> Taken {
        let process = &mut self.processes[at];
        process.unasked += self.clock.time().saturating_since(process.asked);
        let consumer = process.consumer.as_mut().expect("started");
        let outcome = consumer.next_event(patience);
        let metrics = consumer.metrics();
        let commits = metrics.commits.commits;
        let queued = metrics.shards.values().map(|shard| shard.queued_bytes);
        let queued: u64 = queued.sum();
        let watermark = consumer.watermark();
        let now = self.clock.time();
        watchdog::trace(|| format!("{now} process {at}: {outcome:?}"));
        process.doubt = process.doubt.max(now.saturating_since(process.asked));
        process.asked = now;
        process.known.push(now);
        let shards = metrics.shards.len();
        // Each call under way may bring an answer that is larger than the shard's last, or than the first one of
        // another shard. The limit is exceeded by that, as far as answers of this plan go.
        let answer = u64::from(self.plan.get_records_max) * LARGEST;
        let most = self.plan.buffered_bytes_max + shards as u64 * answer;
        assert!(queued <= most, "{queued} bytes wait, and {most} may");
        if commits > process.commits {
            // By the library, before it handed out anything.
            self.on_commit(at, commits);
        }
        self.check_commits(at);
        match outcome {
            Ok(Event::Record(record)) => {
                let place = place(&record);
                self.ledger.check_start(&place);
                let is_late = self.may_not_be_late(&place) && Some(record.event_time()) < watermark;
                let process = &mut self.processes[at];
                let has_gap = !(process.done.gaps.is_empty() && process.pending.gaps.is_empty());
                assert!(!is_late || has_gap, "late under {watermark:?}: {record:?}");
                process.last.insert(place.0.clone(), (now, process.unasked));
                process.pending.records.push(place);
                Taken::Record
            }
            Ok(Event::Gap(gap)) => {
                let told = Told {
                    gap,
                    index: self.ledger.index(),
                    generation: self.ledger.generation,
                };
                let is_doubtful = self.doubts(at, &told.gap);
                self.ledger
                    .check_gap(&told, &self.all_done(), is_doubtful, &self.kinesis);
                self.processes[at].pending.gaps.push(told);
                Taken::Other
            }
            Ok(Event::ShardIdle(shard)) => {
                let since = self.cut_off.map(|since| now.saturating_since(since));
                let grace = self.plan.interval + Duration::from_secs(10);
                assert!(since <= Some(grace), "{shard} is idle, and its calls fail");
                Taken::Other
            }
            Ok(Event::Ended) => Taken::Ended,
            Ok(Event::Timeout) => {
                // Nothing waits to be handed out, no error either.
                self.processes[at].may_owe_outage = false;
                Taken::Timeout
            }
            Ok(_) => Taken::Other,
            Err(error) => self.on_error(at, &error),
        }
    }

    /// Says whether the watermark has to wait for a record.
    fn may_not_be_late(&self, place: &Place) -> bool {
        let Some(event_time) = self.plan.event_time else {
            return false;
        };
        // A shard that rests at its bound does not hold the watermark, and the next read goes on there.
        let is_bounded = |step: &Step| matches!(step, Step::Bounded { .. });
        let has_bounds = self.plan.steps.iter().any(is_bounded);
        // Nor does one that is idle; but nobody knows whether a shard is whose calls fail.
        let index = self.ledger.stored[place].index;
        let mut unread = self.put_unread.iter();
        let counts = event_time.idle.is_none() || unread.any(|put| put.contains(&index));
        counts && !has_bounds && self.processes.len() == 1
    }

    /// Fails if the library was to commit by itself, and has not for too long, also if nothing came: of
    /// an old checkpoint nobody can tell whether its shards were quiet or trimmed.
    fn check_commits(&self, at: usize) {
        let process = &self.processes[at];
        let Keeping::Interval(interval) = self.plan.keeping else {
            return;
        };
        // A disk that lost its power fails as well.
        let may_fail = |step: &Step| matches!(step, Step::StoreFails(_) | Step::PowerLoss { .. });
        let since = process.committed.max(process.started);
        let is_due = process.asked.saturating_since(since) > interval.min(COMMIT_MAX) + UNASKED_MAX;
        let is_excused = self.plan.steps.iter().any(may_fail) || process.consumer.is_none();
        assert!(
            !is_due || is_excused,
            "process {at} has not committed since {since}, and it is {}",
            process.asked
        );
    }

    /// Says whether a process may report a gap for all that it can know, also if nothing is missing.
    fn doubts(&self, at: usize, gap: &Gap) -> bool {
        let (process, now) = (&self.processes[at], self.clock.time());
        let Some(after) = &gap.after else {
            // It may have opened right after the last listing that was without it, and records have
            // been in it since, for all that a listing says.
            let born = self.ledger.born(&gap.shard.shard_id);
            let known = process.known.before(born.unwrap_or(now));
            let since = known.unwrap_or(process.committed);
            let since = since.min(process.committed);
            // What was known then is what the last listing before showed.
            let since = since.saturating_sub(self.plan.discovery_interval);
            return now.saturating_since(since) >= RETENTION_MIN;
        };
        // The record before the gap may be trimmed before the next call can find it.
        let (handed_out, unasked) = match process.last.get(&gap.shard.shard_id) {
            Some((time, unasked)) => (*time, process.unasked.saturating_sub(*unasked)),
            None => (now, process.unasked),
        };
        let is_calm = |step: &Step| !matches!(step, Step::Trouble { .. } | Step::Outage { .. });
        let slack = match self.plan.steps.iter().all(is_calm) {
            true => Duration::from_millis(100),
            false => Duration::from_secs(120),
        };
        let next_call = handed_out.saturating_add(self.plan.interval + unasked + slack);
        let trimmed = arrival(after).saturating_add(DAY);
        process.doubt >= RETENTION_MIN || trimmed <= next_call
    }

    fn on_error(&mut self, at: usize, error: &Error) -> Taken {
        // Nothing else is left to one that reads nothing, and cannot find what to read.
        let is_blind = self.is_unlisted
            && !self.processes[at].is_reading()
            && matches!(error.kind(), ErrorKind::Outage { .. });
        // The shard's thread gave up while nothing got through, and the caller asks only now.
        let is_late =
            self.processes[at].may_owe_outage && matches!(error.kind(), ErrorKind::Outage { .. });
        let is_as_planned = is_planned(&self.plan, error, false);
        assert!(
            is_as_planned || is_blind || is_late || self.cut_off.is_some(),
            "an error that nothing explains: {error}"
        );
        if self.plan.commits_after_error {
            self.commit(at);
        }
        self.kill(at);
        match is_as_planned {
            true => Taken::FailedAsPlanned,
            false => Taken::Failed,
        }
    }

    pub fn consume(&mut self, at: usize, events: usize, patience: Duration, puts: usize) {
        let at = at % self.processes.len();
        self.ensure_started(at);
        for _ in 0..events {
            match self.next(at, patience) {
                Taken::Timeout | Taken::Failed | Taken::FailedAsPlanned => return,
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
        // What was trimmed since the last look is not read by anybody.
        self.ledger.look(&self.kinesis, now);
        let all: Vec<_> = self.processes.iter().map(|process| &process.done).collect();
        self.ledger.check_times(&checkpoint, &all, now);
    }

    pub fn kill(&mut self, at: usize) {
        let at = at % self.processes.len();
        let process = &mut self.processes[at];
        if process.consumer.take().is_some() {
            process.pending = Done::default();
            let committed = process.committed;
            process.known.truncate(committed);
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

/// The library commits at least as often by itself.
const COMMIT_MAX: Duration = Duration::from_secs(3_600);

/// A caller that has something else to do comes back before that.
const UNASKED_MAX: Duration = Duration::from_secs(1_800);

/// No stream keeps records for less.
const DAY: Duration = Duration::from_secs(86_400);

/// No record is larger.
pub const LARGEST: u64 = 200_000;
