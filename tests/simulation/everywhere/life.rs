//! Lives through a plan, and holds what the callers were given against what is true.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Error, ErrorKind, Event, HashKey, HashKeyRange, Operation, PutRecordsEntry,
    ShardRef, StartPosition, Timestamp,
};

use super::ledger::{Begun, Done, Ledger, Place, place};
use super::plan::{Keeping, Listing, OutageOf, Plan, Start, Step, Until};
use super::process::{Process, Taken, UserCode};
use super::watchdog;
use crate::quiet::Flow;
use crate::world::STREAM;

/// What is there while a plan is lived through.
pub struct Life {
    pub plan: Plan,
    pub kinesis: FakeKinesis,
    admin: Client,
    pub clock: VirtualClock,
    pub ledger: Ledger,
    pub processes: Vec<Process>,
    pub user_code: Arc<UserCode>,
    rng: Rng,
    /// Since when nothing gets through, if that is so.
    pub cut_off: Option<Timestamp>,
    /// What was put while no read got through, by index.
    pub put_unread: Vec<Range<usize>>,
    /// Whether no listing gets through.
    pub is_unlisted: bool,
    _flow: Flow,
}

/// Lives through the history of a seed.
pub fn live_through(plan: Plan) {
    let mut life = Life::new(plan);
    for step in life.plan.before.clone() {
        life.step(&step);
    }
    life.begin();
    for (number, step) in life.plan.steps.clone().iter().enumerate() {
        watchdog::at(number, step);
        life.step(step);
    }
    life.end();
}

impl Life {
    fn new(plan: Plan) -> Life {
        let clock = VirtualClock::starting_at(BIRTH);
        let kinesis = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, plan.shards);
        let end = BIRTH.saturating_add(LIFETIME);
        let flow = Flow::up_to(clock.clone(), end, || {
            watchdog::give_up("virtual time is over")
        });
        Life {
            admin: kinesis.client(),
            rng: Rng::with_seed(plan.seed ^ 0x9e37_79b9),
            plan,
            kinesis,
            clock,
            ledger: Ledger::default(),
            processes: Vec::new(),
            user_code: Arc::default(),
            cut_off: None,
            put_unread: Vec::new(),
            is_unlisted: false,
            _flow: flow,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put { records, keys } => self.put(*records, *keys),
            Step::Trickle { records, every } => {
                for _ in 0..*records {
                    self.put(1, 20);
                    self.clock.advance(*every);
                }
            }
            Step::Consume {
                process,
                events,
                patience,
                puts,
            } => self.consume(*process, *events, *patience, *puts),
            Step::Quiet(time) => {
                self.start_all();
                self.listen(*time);
            }
            Step::Busy(time) => self.clock.sleep(*time),
            Step::Commit(process) => self.commit(*process),
            Step::Kill(process) => self.kill(*process),
            Step::Close(process) => self.close(*process),
            Step::PowerLoss { process, after } => self.lose_power(*process, *after),
            Step::Regroup(size) => self.regroup(*size),
            Step::Reshard(places) => self.reshard(places),
            Step::Pass(time) => self.clock.advance(*time),
            Step::Away(time) => {
                self.kill_all();
                self.clock.advance(*time);
            }
            Step::Clock {
                process,
                millis,
                during,
            } => self.set_clock(*process, *millis, *during),
            Step::Retention { hours } => {
                self.kinesis
                    .set_retention(STREAM, 60 * 60 * Duration::from_secs(*hours));
            }
            Step::Recreate { after, shards } => self.recreate(*after, *shards),
            Step::Listings { share, how, seed } => self.list_as(*share, *how, *seed),
            Step::Trouble { share, seed } => self.trouble(*share, *seed),
            Step::Calm => self.kinesis.calm_down(),
            Step::NotFound(calls) => {
                let fault = Fault::refuse("ResourceNotFoundException", "as planned");
                self.kinesis
                    .on(Operation::GetRecords)
                    .fail_next(*calls, fault);
            }
            Step::EmptyAnswers => {
                for shard in self.kinesis.shards(STREAM) {
                    let script = self.kinesis.on(Operation::GetRecords);
                    script
                        .shard(shard.id.as_str())
                        .fail_next(1, Fault::EmptyBatch);
                }
            }
            Step::Denied => {
                let fault = Fault::refuse("AccessDeniedException", "as planned");
                self.kinesis.on(Operation::ListShards).fail_next(1, fault);
            }
            Step::Panic(after) => self.user_code.panic_in.store(*after, Ordering::Relaxed),
            Step::Refuse(after) => self.user_code.refuse_in.store(*after, Ordering::Relaxed),
            Step::StoreFails(saves) => {
                self.user_code
                    .saves_to_fail
                    .store(*saves, Ordering::Relaxed);
            }
            Step::Outage { of, time, keys } => self.outage(*of, *time, *keys),
            Step::Bounded { until, puts } => self.bounded(*until, *puts),
            Step::PutLarge { records, bytes } => self.put_large(*records, *bytes),
        }
        self.ledger.look(&self.kinesis, self.clock.time());
    }

    /// Stores records, whatever else goes wrong.
    pub fn put(&mut self, records: usize, keys: u32) {
        let rng = &mut self.rng;
        let mut entry = |time: &mut i64| {
            let key = format!("k{}", rng.u32(0..keys));
            let mut event = || {
                *time += 1;
                time.to_string()
            };
            let data = match rng.usize(0..4) {
                0 | 1 => event().into(),
                parts => {
                    let parts = (1..parts).map(|_| SubRecord::new(key.clone(), event()));
                    encode(&parts.collect::<Vec<_>>())
                }
            };
            PutRecordsEntry {
                partition_key: key.into(),
                explicit_hash_key: None,
                data,
            }
        };
        let time = &mut self.ledger.event_time;
        let entries: Vec<_> = (0..records).map(|_| entry(time)).collect();
        // There may be no stream at the moment.
        let output = self.admin.put_records(STREAM, &entries);
        let stored = output.map_or_else(|_| Vec::new(), |output| output.records);
        for (entry, stored) in entries.iter().zip(stored) {
            let at = stored.expect("no entry fails");
            let key = entry.partition_key.to_string();
            self.ledger
                .store(&at.shard_id, &at.sequence_number, &key, &entry.data);
        }
    }

    fn put_large(&mut self, records: usize, bytes: usize) {
        for _ in 0..records {
            self.ledger.event_time += 1;
            let mut data = self.ledger.event_time.to_string().into_bytes();
            data.resize(data.len() + bytes, b' ');
            let key = format!("k{}", self.rng.u32(..));
            let entry = PutRecordsEntry {
                partition_key: key.as_str().into(),
                explicit_hash_key: None,
                data: data.into(),
            };
            let output = self.admin.put_record(STREAM, &entry);
            if let Ok(at) = output {
                self.ledger
                    .store(&at.shard_id, &at.sequence_number, &key, &entry.data);
            }
        }
    }

    fn reshard(&mut self, places: &[(u32, bool)]) {
        for (place, merges) in places {
            let mut open = self.kinesis.shards(STREAM);
            open.retain(|shard| shard.is_open());
            open.sort_by_key(|shard| shard.hash_key_range.start);
            let Some(index) = (*place as usize).checked_rem(open.len()) else {
                return;
            };
            let shard = ShardRef::new(STREAM, open[index].id.clone());
            let done = match open.get(index + 1) {
                Some(neighbour) if *merges || open.len() > 8 => {
                    self.admin.merge_shards(&shard, &neighbour.id)
                }
                _ => match middle(open[index].hash_key_range) {
                    Some(middle) if open.len() <= 8 => self.admin.split_shard(&shard, middle),
                    _ => Ok(()),
                },
            };
            done.expect("resharded");
            self.ledger.look(&self.kinesis, self.clock.time());
        }
    }

    fn recreate(&mut self, after: Duration, shards: u32) {
        self.admin.delete_stream(STREAM).expect("deleted");
        self.ledger.generation += 1;
        self.listen(after);
        self.admin.create_stream(STREAM, shards).expect("made anew");
        self.ledger.look(&self.kinesis, self.clock.time());
    }

    fn set_clock(&mut self, process: usize, millis: i64, during: Option<Operation>) {
        let machine = self.machine(process);
        let Some(operation) = during else {
            return machine.step(millis);
        };
        let is_done = AtomicBool::new(false);
        self.kinesis.on(operation).observe(move |_| {
            if !is_done.swap(true, Ordering::Relaxed) {
                machine.step(millis);
            }
        });
    }

    fn list_as(&mut self, share: f64, how: Listing, seed: u64) {
        let fault = match how {
            Listing::ParentsOpen => Fault::ParentsOpen,
            // Fault::ChildrenLate hides children of any age, and no listing lags behind by more than a
            // minute: a shard that three listings of more than a minute lack is gone.
            Listing::ChildrenLate => Fault::ListedLate(Duration::from_secs(30)),
            Listing::Late(by) => Fault::ListedLate(by),
            Listing::Reversed => Fault::ListedReversed,
            Listing::ShortPages => Fault::ShortPage,
        };
        let script = self.kinesis.on(Operation::ListShards);
        script.fail_at_random(seed, share, [fault]);
    }

    fn trouble(&mut self, share: f64, seed: u64) {
        for (operation, faults) in FAULTS {
            let script = self.kinesis.on(operation);
            script.fail_at_random(seed, share, faults.to_vec());
        }
        let script = self.kinesis.on(Operation::GetRecords);
        let slow = [1, 3, 20].map(|seconds| Fault::Slow(Duration::from_secs(seconds)));
        script.fail_at_random(seed ^ 1, share / 4.0, slow);
    }

    /// Nothing gets through, or no reads, or no listings.
    fn outage(&mut self, of: OutageOf, time: Duration, keys: u32) {
        self.kinesis.calm_down();
        if of == OutageOf::Listings {
            return self.without_listings(time);
        }
        self.start_all();
        // Everybody has had an answer, also who pauses after an outage before.
        self.listen(2 * self.plan.interval + Duration::from_secs(60));
        // What is idle before it says so long before it ends.
        self.put(20, keys);
        self.listen(2 * self.plan.interval);
        let mut reading: Vec<_> = self.processes.iter().map(Process::is_reading).collect();
        let begun = self.clock.time();
        for operation in Operation::ALL {
            let is_hit = match of {
                OutageOf::Everything => true,
                _ => matches!(
                    operation,
                    Operation::GetRecords | Operation::GetShardIterator
                ),
            };
            if is_hit {
                let script = self.kinesis.on(operation);
                script.fail_at_random(7, 1.0, [Fault::Disconnect, Fault::ServiceUnavailable]);
            }
        }
        self.cut_off = Some(begun);
        if of == OutageOf::Reads {
            let first = self.ledger.index();
            self.put(20, 20);
            self.put_unread.push(first..self.ledger.index());
        }
        let mut ended = vec![None; self.processes.len()];
        let mut dry_since = vec![None; self.processes.len()];
        while self.clock.time() < begun.saturating_add(time) {
            let mut is_idle = true;
            for (at, ended) in ended.iter_mut().enumerate() {
                if self.processes[at].consumer.is_none() {
                    continue;
                }
                is_idle = false;
                match self.next(at, Duration::from_secs(2)) {
                    Taken::Failed => *ended = Some(self.clock.time().saturating_since(begun)),
                    // A record that was read before may be refused now, which says nothing about the outage.
                    Taken::FailedAsPlanned => reading[at] = false,
                    Taken::Timeout => {
                        dry_since[at].get_or_insert(self.clock.time());
                    }
                    _ => {}
                }
            }
            if is_idle {
                self.clock.advance(Duration::from_secs(10));
            }
        }
        self.cut_off = None;
        self.kinesis.calm_down();
        let earliest = OUTAGE_MAX.saturating_sub(2 * self.plan.interval + Duration::from_secs(5));
        for process in &mut self.processes {
            process.may_owe_outage = process.consumer.is_some() && time >= earliest;
        }
        for (at, (ended, is_reading)) in ended.iter().zip(reading).enumerate() {
            match ended {
                Some(after) => assert!(
                    *after >= earliest,
                    "process {at} gave up after {after:?} of an outage"
                ),
                None => {
                    // While records wait for the caller, the shard's thread makes no call that could fail; and an
                    // error comes behind all records. Four processes take turns of up to 2 s for each event.
                    let dry = dry_since[at].map(|since| self.clock.time().saturating_since(since));
                    let is_due = time >= 3 * OUTAGE_MAX
                        && dry.is_some_and(|dry| dry >= 3 * OUTAGE_MAX - Duration::from_secs(60));
                    assert!(
                        !is_reading || !is_due,
                        "process {at} did not report an outage of {time:?}"
                    );
                }
            }
        }
    }

    /// Reads go on, children included, and nobody ends who has something to read.
    fn without_listings(&mut self, time: Duration) {
        self.start_all();
        self.listen(3 * self.plan.discovery_interval + Duration::from_secs(5));
        let script = self.kinesis.on(Operation::ListShards);
        script.fail_at_random(7, 1.0, [Fault::Disconnect, Fault::Throttle]);
        let place = (self.rng.u32(..), self.rng.bool());
        self.reshard(&[place]);
        self.put(20, 20);
        let put = self.ledger.index();
        // A call brings no more than it asks for, and all that is unread may be in one shard. A shard is called
        // five times a second at most.
        let unread = self.ledger.missing(&self.all_done(), |_, _| true).len();
        let calls = 4 + unread.div_ceil(self.plan.get_records_max as usize);
        let calls = u32::try_from(calls).expect("few");
        let every = self.plan.interval.max(Duration::from_millis(200));
        let patience = calls * every + Duration::from_secs(30);
        self.listen(patience);
        // A consumer that is gone ended by an error that the plan has brought about, such as a record that was
        // refused: without listings nothing starts again. Other processes learn of children by listings alone.
        let is_there = self.processes[0].consumer.is_some();
        if is_there && self.processes.len() == 1 && self.ledger.generation == 0 {
            let done = self.all_done();
            let missing = self.ledger.missing(&done, |_, stored| stored.index < put);
            assert!(
                missing.is_empty(),
                "without a listing {:?} did not come in {patience:?}",
                missing[0]
            );
        }
        self.is_unlisted = true;
        // Longer than an outage may last shows nothing more, and many small steps take their time.
        self.listen(time.min(2 * OUTAGE_MAX));
        self.is_unlisted = false;
        self.kinesis.calm_down();
    }

    fn bounded(&mut self, until: Until, puts: usize) {
        self.kill_all();
        let time = match until {
            Until::Time(millis) => Some(shifted(self.clock.time(), millis)),
            _ => None,
        };
        let (before, begun) = (self.ledger.index(), self.clock.time());
        let (mut is_whole, mut read) = (true, Vec::new());
        for at in 0..self.processes.len() {
            let handed_out = match until {
                Until::CaughtUp => self.read_to_end(at, &Bound::CaughtUp, puts),
                Until::Time(_) => self.read_to_end(at, &Bound::Time(time.expect("a time")), puts),
                Until::Checkpoint { scouts, events } => {
                    self.follow_scouts(at, scouts, events);
                    continue;
                }
            };
            is_whole &= handed_out.is_some();
            read.extend(handed_out);
        }
        // The store may refuse the commit at the end of a read, as planned, and the next life hands the
        // records out again. They were handed out all the same: `all_done` has dropped them.
        let mut done = self.all_done();
        done.extend(&read);
        // Each lists for itself, and a listing may be a minute late: one that has nothing to read ends
        // before it hears of the shards that others' shards went into. The next start reads them.
        let is_alone = self.processes.len() == 1;
        let is_listed = |place: &Place| {
            let born = self.ledger.born(&place.0);
            is_alone || born.is_some_and(|born| born.saturating_add(LISTED_AFTER) < begun)
        };
        let missing = match (until, time) {
            (Until::Time(_), Some(time)) => {
                assert!(
                    !is_whole || self.clock.time() >= time,
                    "it ended at {}, before its bound {time}",
                    self.clock.time()
                );
                self.ledger
                    .missing(&done, |at, stored| stored.arrival < time && is_listed(at))
            }
            (Until::CaughtUp, _) => self
                .ledger
                .missing(&done, |at, stored| stored.index < before && is_listed(at)),
            _ => Vec::new(),
        };
        assert!(
            !is_whole || missing.is_empty(),
            "a bounded read ({until:?}) of {} records left out {} of them: {:?}",
            self.ledger.index(),
            missing.len(),
            missing[0]
        );
    }

    /// Reads up to the bound, and commits. Returns the records and gaps that the consumer handed out, also if the
    /// store refused the commit; `None` if an error ended the consumer before the bound.
    fn read_to_end(&mut self, at: usize, bound: &Bound, puts: usize) -> Option<Done> {
        self.start_process(at, bound);
        let before = self.processes[at].done.clone();
        let due = match (bound, self.plan.start) {
            (Bound::Time(time), _) => self.clock.time().max(*time),
            // A start that is ahead is waited for.
            (_, Start::At(_)) => match self.ledger.begun.as_ref().expect("begun").start {
                StartPosition::AtTimestamp(time) => self.clock.time().max(time),
                _ => self.clock.time(),
            },
            _ => self.clock.time(),
        };
        let calls = 40 + 2 * self.ledger.index() / self.plan.get_records_max as usize;
        let calls = u32::try_from(calls).expect("few");
        // Time is told to the second, so what is put in the first second or two may count as there before.
        let most = match bound {
            Bound::CaughtUp if puts > 0 => Duration::from_secs(60),
            _ => BOUNDED_MAX,
        };
        let end = due.saturating_add(most + calls * self.plan.interval);
        let patience = self.plan.interval.max(Duration::from_secs(1));
        let (mut events, events_max) = (0, self.ledger.index() + EVENTS_MAX);
        loop {
            match self.next(at, patience) {
                Taken::Ended => break,
                Taken::Failed | Taken::FailedAsPlanned => return None,
                Taken::Record if self.clock.time() >= due => events += 1,
                _ => {}
            }
            // Only who reads until it has caught up can be kept from its end by what is put.
            let shows_nothing = self.clock.time() < due || matches!(bound, Bound::Time(_));
            if puts > 0 && !(shows_nothing && self.ledger.index() > RECORDS_MAX) {
                self.put(puts, 20);
            }
            assert!(
                self.clock.time() < end && events < events_max,
                "a read up to {bound:?} does not end: {events} records, and it is {}",
                self.clock.time()
            );
        }
        let read = self.processes[at].since(&before);
        if let Bound::Time(time) = bound {
            let late = read
                .records
                .iter()
                .find(|place| self.ledger.stored[*place].arrival >= *time);
            assert!(late.is_none(), "{late:?} lies beyond the bound {time}");
        }
        self.close(at);
        Some(read)
    }

    /// Scouts read ahead from where a process is; the process then reads up to where they came to, and
    /// has to be given what they were given.
    fn follow_scouts(&mut self, at: usize, scouts: usize, events: usize) {
        if self.processes.len() > 1 || !self.processes[at].has_checkpoint() {
            return;
        }
        let (mut scouted, mut reached) = (Done::default(), Checkpoint::default());
        for index in 0..scouts {
            let events = self.rng.usize(0..=events);
            let restored = self.processes[at].restored();
            let mut scout = self.start_scout(at, (index, scouts), restored);
            for _ in 0..events {
                match scout.next_event(Duration::from_secs(2)) {
                    Ok(Event::Record(record)) => scouted.records.push(place(&record)),
                    Ok(Event::Gap(_)) | Err(_) => return,
                    Ok(Event::Timeout) => break,
                    Ok(_) => {}
                }
            }
            let json = scout.checkpoint().to_json();
            reached = reached.merge(Checkpoint::from_json(&json).expect("a checkpoint"));
        }
        let Some(read) = self.read_to_end(at, &Bound::Checkpoint(reached.clone()), 0) else {
            return;
        };
        // Records may expire between the scouts' reads and the process's own. The process reports those as a
        // gap, unless they arrived before the first start and it has read nothing of their shard yet: then
        // no answer and no listing tells it that they were ever there.
        self.ledger.look(&self.kinesis, self.clock.time());
        let done = [&self.processes[at].done, &read];
        let is_missing = |place: &&Place| {
            !read.records.contains(*place) && !self.ledger.is_excused(place, &done)
        };
        let missing = scouted.records.iter().find(is_missing);
        let unscouted = read
            .records
            .iter()
            .find(|place| !scouted.records.contains(place));
        let twice = [&scouted, &read].map(|done| {
            let mut places = done.records.clone();
            places.sort();
            let is_twice = places.windows(2).find(|pair| pair[0] == pair[1]);
            is_twice.map(|pair| pair[0].clone())
        });
        assert!(
            missing.is_none() && unscouted.is_none() && twice == [None, None],
            "up to {}: scouts alone {missing:?}, the process alone {unscouted:?}, twice {twice:?}",
            reached.to_json()
        );
    }

    /// Starts all processes for the first time.
    fn begin(&mut self) {
        let now = self.clock.time();
        let start = match self.plan.start {
            Start::Latest => StartPosition::Latest,
            Start::TrimHorizon => StartPosition::TrimHorizon,
            Start::At(millis) => StartPosition::AtTimestamp(shifted(now, millis)),
        };
        let called = self.ledger.index();
        self.ledger.begun = Some(Begun {
            start,
            called,
            returned: called,
            not_before: now,
        });
        self.found_processes(self.plan.processes, &Checkpoint::default());
        self.start_all();
        let took = self.clock.time().saturating_since(now);
        self.ledger.begun = Some(Begun {
            start,
            called,
            returned: self.ledger.index(),
            // The service tells its time to the second, and when it was within a call nobody knows.
            not_before: now.saturating_sub(took + Duration::from_secs(65)),
        });
    }

    fn end(&mut self) {
        self.kinesis.calm_down();
        self.user_code.calm_down();
        self.kill_all();
        let before = self.ledger.index();
        for at in 0..self.processes.len() {
            assert!(
                self.read_to_end(at, &Bound::CaughtUp, 0).is_some(),
                "nothing goes wrong at the end"
            );
        }
        let done = self.all_done();
        let missing = self
            .ledger
            .missing(&done, |_, stored| stored.index < before);
        assert!(
            missing.is_empty(),
            "lost without a report: {} of {}, the first is {:?}",
            missing.len(),
            self.ledger.index(),
            missing[0]
        );
        let mut seen: Vec<_> = done.iter().flat_map(|done| &done.records).collect();
        seen.sort();
        let twice = seen.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(
            twice.is_none(),
            "handed out twice beyond a commit: {twice:?}"
        );
        // Of a parent and its child a checkpoint of several processes may name a place in each.
        let is_alone = |step: &Step| match step {
            Step::Regroup(_) => false,
            Step::Bounded { until, .. } => !matches!(until, Until::Checkpoint { .. }),
            _ => true,
        };
        if self.plan.processes == 1 && self.plan.steps.iter().all(is_alone) {
            self.ledger.check_order(&self.processes[0].done);
        }
        // Calls of dropped consumers end that hang, and with them the threads that made them.
        self.clock.advance(CALLS_MAX);
    }

    pub fn all_done(&self) -> Vec<&Done> {
        self.processes
            .iter()
            .flat_map(|process| [&process.done, &process.pending])
            .collect()
    }
}

/// Up to where a consumer is to read.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Bound {
    None,
    CaughtUp,
    Time(Timestamp),
    Checkpoint(Checkpoint),
}

/// Says whether an error is one that the plan has brought about.
pub fn is_planned(plan: &Plan, error: &Error, is_cut_off: bool) -> bool {
    let has = |is: fn(&Step) -> bool| plan.steps.iter().any(is);
    match error.kind() {
        ErrorKind::Poison { .. } => has(|step| matches!(step, Step::Refuse(_))),
        ErrorKind::Service { code, .. } if code == "AccessDeniedException" => {
            has(|step| matches!(step, Step::Denied))
        }
        ErrorKind::Checkpoint { .. } => {
            plan.keeping == Keeping::Store && has(|step| matches!(step, Step::StoreFails(_)))
        }
        _ => is_cut_off,
    }
}

fn shifted(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis() + millis)
}

fn middle(range: HashKeyRange) -> Option<HashKey> {
    let (start, end) = (range.start.as_u128(), range.end.as_u128());
    (end - start > 8).then(|| HashKey::from(start + (end - start) / 2))
}

const BIRTH: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// No listing lags behind for longer.
const LISTED_AFTER: Duration = Duration::from_secs(60);

/// A call that is not answered has ended after this.
const CALLS_MAX: Duration = Duration::from_secs(300);

/// No history takes as long, but one that does not end.
const LIFETIME: Duration = Duration::from_secs(400 * 86_400);

/// More than that are not put while a bound is waited for.
const RECORDS_MAX: usize = 1_000;

/// Nor are so many handed out of what was put since a read was due to end.
const EVENTS_MAX: usize = 6_000;

/// A bounded read is over so long after its bound, whatever goes wrong.
const BOUNDED_MAX: Duration = Duration::from_secs(3_600);

/// After so long without any answer a consumer reports an outage.
const OUTAGE_MAX: Duration = Duration::from_secs(300);

/// What may go wrong with which call, short of what nothing can mend.
const FAULTS: [(Operation, &[Fault]); 4] = [
    (
        Operation::GetRecords,
        &[
            Fault::AnswerLost,
            Fault::Disconnect,
            Fault::EmptyBatch,
            Fault::ExpiredIterator,
            Fault::Garbage,
            Fault::Hang,
            Fault::InternalFailure,
            Fault::Throttle,
            Fault::Truncated,
        ],
    ),
    (
        Operation::GetShardIterator,
        &[Fault::AnswerLost, Fault::InternalFailure, Fault::Throttle],
    ),
    (
        Operation::ListShards,
        &[
            Fault::Disconnect,
            Fault::ServiceUnavailable,
            Fault::Throttle,
        ],
    ),
    (
        Operation::DescribeStreamSummary,
        &[
            Fault::Disconnect,
            Fault::ServiceUnavailable,
            Fault::Throttle,
        ],
    ),
];
