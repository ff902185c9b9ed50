//! Everything between the shelf and the calls, and back: one value with one owner.
//!
//! Pure: time is an argument, jobs are handed out and their outcomes handed in, and what is to be
//! done to the world outside waits in [`Effects`]. A test drives it by hand.

mod outcomes;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Listed, PutRecordOutput};
use crate::config::ProducerConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ShardMap;
use crate::producer::aggregator::Rules;
use crate::producer::batch::Batch;
use crate::producer::delivery::Stored;
use crate::producer::existence::Existence;
use crate::producer::job::{Answer, Job, Outcome};
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::listing::{Listing, ListingClass};
use crate::producer::placement::{earlier, is_outdated};
use crate::producer::retrier::{Retrier, told};
use crate::producer::sender_division::SenderDivision;
use crate::producer::stream_state::{StreamState, Unplaced};
use crate::producer::tally::CallReport;
use crate::sys::rng::Rng;

pub(super) struct Pipeline {
    config: ProducerConfig,
    rules: Rules,
    streams: HashMap<Arc<str>, StreamState>,
    /// Streams that are to be asked about, by how likely they are to answer.
    questions: [VecDeque<(Arc<str>, Question)>; ListingClass::ALL.len()],
    /// Streams with calls that wait for a sender, in turn.
    turns: VecDeque<Arc<str>>,
    /// How many streams records were put to of late.
    active: usize,
    /// Calls that a sender makes.
    in_flight: HashMap<u64, Batch>,
    last_id: u64,
    retrier: Retrier,
    /// Let through, as those before them are settled.
    freed: VecDeque<KinesisRecord>,
    effects: Effects,
}

/// What is to be done outside.
#[derive(Default)]
pub(super) struct Effects {
    pub settled: Vec<Settlement>,
    pub calls: Vec<CallReport>,
    pub maps: Vec<(Arc<str>, Arc<ShardMap>)>,
    /// Streams that are aggregated for from now on, or not.
    pub aggregation: Vec<(Arc<str>, bool)>,
}

/// What is asked about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Distribution,
    Shards,
}

/// A record at its end; whether a failed one may be stored, it knows itself.
pub(super) struct Settlement {
    pub record: KinesisRecord,
    pub result: Result<PutRecordOutput>,
}

impl Pipeline {
    pub fn new(config: &ProducerConfig, rng: Rng) -> Pipeline {
        Pipeline {
            config: config.clone(),
            rules: Rules::of(config),
            streams: HashMap::new(),
            questions: Default::default(),
            turns: VecDeque::new(),
            active: 0,
            in_flight: HashMap::new(),
            last_id: 0,
            retrier: Retrier::new(config, rng),
            freed: VecDeque::new(),
            effects: Effects::default(),
        }
    }

    /// Knows a stream's shards from the start; `None` if it may not list them.
    pub fn learn(&mut self, stream: &Arc<str>, listed: Option<&Listed>) {
        let known = self.stream(stream);
        known.listing = Listing::new(listed.map(|listed| listed.began));
        known.degraded = listed.is_none();
        known.existence = Existence::confirmed();
        // It has answered one call, and counts as one that answers until it does not.
        known.is_silent = false;
        known.map = listed.map(|listed| listed.map.clone());
    }

    /// Takes in what the callers finished.
    pub fn accept(&mut self, now: Instant, mut finished: Vec<KinesisRecord>) {
        KinesisRecord::seal_side_by_side(&mut finished);
        for record in finished {
            self.stream(&record.stream).put_at = Some(now);
            self.enter(now, record);
        }
    }

    /// Sends the records that one stream's collector has, without waiting for more. Records that the
    /// limiter holds back follow as soon as it lets them go.
    pub fn flush_stream(&mut self, now: Instant, name: &Arc<str>) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        stream.limiter.flush(now);
        let records = stream.collector.take();
        self.ready(now, name, records);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.go_on(now);
        for mut record in self.retrier.take_due(now) {
            // Before what came later, where a shard's queue is long.
            record.deadline = record.deadline.min(now);
            self.route(now, record);
        }
        let (mut expired, mut active) = (Vec::new(), 0);
        for (name, stream) in &mut self.streams {
            let (calls, late) = stream.take_due(now);
            for records in calls {
                stream.ready.push_back(Batch::new(now, name, records));
                take_turns(&mut self.turns, name, stream);
            }
            expired.extend(late);
            let questions = &mut self.questions[stream.listing.standing() as usize];
            if !stream.existence.is_missing() && stream.distribution.is_due() {
                questions.push_back((name.clone(), Question::Distribution));
            }
            if stream.may_list() && stream.listing.is_due(now) {
                questions.push_back((name.clone(), Question::Shards));
            }
            let is_active = |put_at: Instant| put_at + ACTIVE_TIME > now;
            active += usize::from(stream.put_at.is_some_and(is_active));
        }
        self.active = active;
        self.expire(now, expired);
        // They may have freed others, for which nothing else would wake the pipeline.
        self.go_on(now);
    }

    /// Gives the next job for a thread that asks about streams, `under_way` of which are at work.
    ///
    /// Calls that may hang leave threads to those that will not.
    pub fn next_listing(&mut self, now: Instant, under_way: usize) -> Option<Job> {
        loop {
            let free = LISTERS_MAX.saturating_sub(under_way);
            let mut queues = self.questions.iter_mut().take(free);
            let (name, question) = queues.find_map(VecDeque::pop_front)?;
            let stream = self.stream(&name);
            // It may have been found not to be there while it queued.
            let is_missing = stream.existence.is_missing();
            match question {
                Question::Shards if is_missing => drop(stream.listing.failed(now)),
                Question::Distribution if is_missing => {
                    stream.distribution.answered(now, None);
                }
                Question::Shards => {
                    let since = stream.listing.begin(now);
                    return Some(Job::List {
                        stream: name,
                        since,
                    });
                }
                Question::Distribution => {
                    stream.distribution.begin();
                    return Some(Job::Describe { stream: name });
                }
            }
        }
    }

    /// Gives the next job for a sender that has nothing to do.
    ///
    /// Streams take turns, so that each has its share of the senders.
    pub fn next_job(&mut self, now: Instant) -> Option<Job> {
        let division = self.division();
        let mut passed = 0;
        while passed < self.turns.len() {
            let name = self.turns.pop_front()?;
            let stream = self.stream(&name);
            if !stream.ready.is_empty() && !division.allows(stream) {
                passed += 1;
                self.turns.push_back(name);
                continue;
            }
            let batch = stream.ready.pop_front();
            stream.in_turn = false;
            take_turns(&mut self.turns, &name, self.streams.get_mut(&name)?);
            let job = batch.and_then(|batch| self.launch(now, batch));
            self.go_on(now);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    pub fn on_outcome(&mut self, now: Instant, outcome: Outcome) {
        let Outcome { span, answer } = outcome;
        match answer {
            Answer::Described { stream, summary } => self.on_described(now, &stream, &summary),
            Answer::Listed { stream, listed } => self.on_listed(now, &stream, listed),
            Answer::Put { id, output } => {
                let batch = self.in_flight.remove(&id);
                batch.into_iter().for_each(|batch| {
                    let stream = self.stream(&batch.stream);
                    stream.calls = stream.calls.saturating_sub(1);
                    let error = output.as_ref().err();
                    stream.is_silent = error.is_some_and(|error| !error.is_answered());
                    stream.existence.answered(now, error);
                    match &output {
                        Ok(output) => self.on_answered(now, batch, span, output),
                        Err(error) => self.on_failed(now, batch, span, error),
                    }
                });
            }
        }
        self.go_on(now);
    }

    /// When to come back if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        debug_assert!(
            self.freed.is_empty(),
            "every call lets the freed ones go on"
        );
        let streams = self.streams.values().filter_map(StreamState::next_deadline);
        earlier(streams.min(), self.retrier.next_deadline())
    }

    /// Says whether nothing of a stream is on its way but what waits for other records.
    pub fn is_idle(&self, name: &Arc<str>) -> bool {
        self.streams.get(name).is_none_or(StreamState::is_idle) && !self.retrier.has_any_of(name)
    }

    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Settles everything with an error, what is under way as possibly stored.
    pub fn abandon(&mut self, error: &Error) {
        // First of all, so that what settles lets nobody through.
        let waiting = self.streams.values_mut();
        let waiting = waiting.flat_map(|stream| stream.turnstile.take_all());
        let mut records: Vec<_> = waiting.chain(self.freed.drain(..)).collect();
        for batch in std::mem::take(&mut self.in_flight).into_values() {
            for mut record in batch.records {
                record.stored = Stored::Possibly;
                self.settle(record, Err(error.clone()));
            }
        }
        records.extend(self.retrier.take_all());
        for stream in self.streams.values_mut() {
            records.extend(stream.ready.drain(..).flat_map(|batch| batch.records));
            records.extend(stream.limiter.take_all());
            records.extend(stream.collector.take().into_iter().flatten());
            records.extend(stream.unplaced.drain(..).map(Unplaced::give_up));
        }
        for record in records {
            self.settle(record, Err(error.clone()));
        }
    }

    fn stream(&mut self, name: &Arc<str>) -> &mut StreamState {
        if !self.streams.contains_key(name) {
            let stream = StreamState::new(&self.config);
            self.streams.insert(name.clone(), stream);
        }
        self.streams
            .get_mut(name)
            .expect("it is there or was put there")
    }

    /// Says whether a stream gets no aggregates because the service decides on shards.
    fn is_bare(&self, name: &Arc<str>) -> bool {
        let stream = self.streams.get(name);
        let is_auto = stream.is_some_and(|stream| stream.distribution.is_auto());
        is_auto && !self.config.aggregation_under_auto
    }

    /// By what a stream's records are grouped.
    fn rules_of(&self, name: &Arc<str>) -> Rules {
        let mut rules = self.rules.clone();
        rules.aggregation &= !self.is_bare(name);
        rules
    }

    fn map_of(&self, name: &Arc<str>) -> Option<Arc<ShardMap>> {
        self.streams.get(name)?.map.clone()
    }

    /// Lets a new record in, once those that it has to keep its order with are settled.
    fn enter(&mut self, now: Instant, record: KinesisRecord) {
        let passes = match record.lane.clone() {
            Some(lane) => {
                let name = record.stream.clone();
                self.stream(&name).turnstile.enter(&lane, record)
            }
            None => Some(record),
        };
        passes
            .into_iter()
            .for_each(|record| self.route(now, record));
    }

    /// Sends on what was let through. It has waited enough, and shares a call with what was let
    /// through beside it.
    fn go_on(&mut self, now: Instant) {
        while let Some(mut record) = self.freed.pop_front() {
            if record.is_expired(now) {
                self.expire(now, vec![record]);
            } else {
                record.deadline = record.deadline.min(now);
                self.route(now, record);
            }
        }
    }

    fn route(&mut self, now: Instant, mut record: KinesisRecord) {
        let name = record.stream.clone();
        let (stream, mut full) = (self.stream(&name), Vec::new());
        if stream.distribution.is_auto() {
            // Its hash key says nothing about the shard.
            record.predicted = None;
        }
        if stream.map.is_none() {
            // Any map is better than none.
            let since = now.checked_sub(MAP_AGE_MAX).unwrap_or(now);
            stream.listing.want(since, now);
        }
        let admitted = stream.limiter.admit(now, record);
        admitted
            .into_iter()
            .for_each(|record| stream.collector.add(record, &mut full));
        self.ready(now, &name, full);
    }

    /// Has records sent by the next sender whose turn it is for this stream.
    fn ready(
        &mut self,
        now: Instant,
        name: &Arc<str>,
        calls: impl IntoIterator<Item = Vec<KinesisRecord>>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else {
            return;
        };
        let batches = calls
            .into_iter()
            .map(|records| Batch::new(now, name, records));
        stream.ready.extend(batches);
        take_turns(&mut self.turns, name, stream);
    }

    fn division(&self) -> SenderDivision {
        let calling = self.in_flight.values().map(|batch| &batch.stream);
        let busy = calling.chain(&self.turns);
        SenderDivision::count(self.config.senders_max(), self.active, &self.streams, busy)
    }

    /// Makes a call of a batch, without what has expired or was made for shards that have closed.
    fn launch(&mut self, now: Instant, mut batch: Batch) -> Option<Job> {
        let expired = batch.take_expired(now);
        self.expire(now, expired);
        let Batch {
            stream,
            mut records,
            since,
            ..
        } = batch;
        let map = self.map_of(&stream);
        if let Some(error) = self.stream(&stream).existence.refusal(now).cloned() {
            for record in records {
                self.fail(now, record, error.clone());
            }
            return None;
        }
        KinesisRecord::seal_all(&mut records);
        let known = self.stream(&stream);
        let (is_auto, is_by_key) = (known.distribution.is_auto(), known.distribution.is_by_key());
        if is_by_key {
            let keyless = take_if(&mut records, KinesisRecord::has_no_key);
            for record in keyless {
                self.fail(now, record, no_key());
            }
        }
        let is_bare = self.is_bare(&stream);
        let outdated = take_if(&mut records, |record| {
            is_bare && record.is_aggregate() || is_outdated(record, map.as_deref())
        });
        self.regroup(now, outdated, map.as_deref(), true);
        if records.is_empty() {
            return None;
        }
        let known = self.stream(&stream);
        known.existence.asked();
        known.calls += 1;
        self.last_id += 1;
        let (id, entries) = (
            self.last_id,
            records.iter().map(|record| record.entry(is_auto)).collect(),
        );
        self.in_flight
            .insert(id, Batch::new(since, &stream, records));
        Some(Job::Put {
            id,
            stream,
            entries,
        })
    }

    fn again(&mut self, now: Instant, records: Vec<KinesisRecord>) {
        if !records.is_empty() {
            let expired = self.retrier.wait(now, records);
            self.expire(now, expired);
        }
    }

    fn expire(&mut self, now: Instant, records: Vec<KinesisRecord>) {
        for record in records {
            let error = self.retrier.expired(&record);
            self.fail(now, record, error);
        }
    }

    fn fail(&mut self, now: Instant, record: KinesisRecord, error: Error) {
        let error = told(error, &record, now);
        self.settle(record, Err(error));
    }

    fn settle(&mut self, mut record: KinesisRecord, result: Result<PutRecordOutput>) {
        // One that was never sent has still to be taken apart.
        record.seal();
        if let Some(lane) = &record.lane
            && let Some(stream) = self.streams.get_mut(&record.stream)
        {
            stream.turnstile.settled(lane, &mut self.freed);
        }
        self.effects.settled.push(Settlement { record, result });
    }
}

/// Error for a record without a partition key, put to a stream that places records by it.
fn no_key() -> Error {
    let reason = "the record has no partition key, which only a stream takes whose record distribution \
                  strategy is AUTO";
    Error::new(ErrorKind::InvalidRecord {
        reason: reason.to_owned(),
    })
}

/// Has a stream stand in line for a sender, if it has something to send and does not stand there yet.
fn take_turns(turns: &mut VecDeque<Arc<str>>, name: &Arc<str>, stream: &mut StreamState) {
    if !stream.in_turn && !stream.ready.is_empty() {
        stream.in_turn = true;
        turns.push_back(name.clone());
    }
}

/// Takes the records out that are so, and keeps the order of both.
fn take_if(
    records: &mut Vec<KinesisRecord>,
    is_so: impl Fn(&KinesisRecord) -> bool,
) -> Vec<KinesisRecord> {
    records.extract_if(.., |record| is_so(record)).collect()
}

/// Threads that list shards. One of them is left to streams that were listed before, and one more to
/// those whose last list did not fail.
pub(super) const LISTERS_MAX: usize = 4;

/// A stream counts as one of several for so long after a put.
const ACTIVE_TIME: Duration = Duration::from_secs(60);

/// How old a map may be for who has none: what it does not know shows soon.
pub(super) const MAP_AGE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{
        EntryError, PutRecordsEntry, PutRecordsOutput, RecordDistributionStrategy, StreamSummary,
    };
    use crate::config::ProducerConfigBuilder;
    use crate::error::TransportError;
    use crate::producer::job::Span;
    use crate::producer::kinesis_record::tests::{aggregate, bare, map_of};
    use crate::sys::Sys;

    pub const MIDDLE: u128 = 1 << 127;

    pub type Entry = Result<PutRecordOutput, EntryError>;

    /// A pipeline whose calls for the stream `orders` are answered by hand. Times are in milliseconds.
    pub struct Bench {
        start: Instant,
        pub name: Arc<str>,
        pub pipeline: Pipeline,
    }

    impl Bench {
        pub fn new(config: ProducerConfigBuilder) -> Bench {
            let config = config.build().expect("valid");
            Bench {
                start: Sys::real().clock.now(),
                name: "orders".into(),
                pipeline: Pipeline::new(&config, Rng::from_seed(1)),
            }
        }

        /// Of a stream whose map is known from the start.
        pub fn of_known(config: ProducerConfigBuilder, map: ShardMap) -> Bench {
            let mut bench = Bench::new(config);
            let listed = Listed {
                map: Arc::new(map),
                began: bench.start,
                ended: bench.start,
            };
            bench.pipeline.learn(&bench.name, Some(&listed));
            bench
        }

        pub fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        pub fn accept(&mut self, now: u64, record: KinesisRecord) {
            self.pipeline.accept(self.at(now), vec![record]);
        }

        /// What is asked about the stream now.
        pub fn questions(&mut self, now: u64) -> Vec<&'static str> {
            let now = self.at(now);
            self.pipeline.tick(now);
            let mut asked = Vec::new();
            while let Some(job) = self.pipeline.next_listing(now, 0) {
                asked.push(match job {
                    Job::Describe { .. } => "describe",
                    Job::List { .. } => "list",
                    Job::Put { .. } => panic!("no question"),
                });
            }
            asked
        }

        /// The calls of PutRecords that are made now.
        pub fn puts(&mut self, now: u64) -> Vec<(u64, Vec<PutRecordsEntry>)> {
            let now = self.at(now);
            let mut puts = Vec::new();
            // What is grouped anew when its call is made goes with the next one.
            for _ in 0..2 {
                self.pipeline.tick(now);
                while let Some(job) = self.pipeline.next_job(now) {
                    let Job::Put { id, entries, .. } = job else {
                        panic!("no call of PutRecords");
                    };
                    puts.push((id, entries));
                }
            }
            puts
        }

        /// How many Kinesis records are put now.
        pub fn entries(&mut self, now: u64) -> usize {
            let puts = self.puts(now).into_iter();
            puts.map(|(_, entries)| entries.len()).sum()
        }

        /// Has one Kinesis record under way, and gives the number of its call.
        pub fn send(&mut self, now: u64, record: KinesisRecord) -> u64 {
            self.accept(now, record);
            let puts = self.puts(now);
            let [(id, entries)] = &puts[..] else {
                panic!("{} calls", puts.len());
            };
            assert_eq!(entries.len(), 1);
            *id
        }

        fn end(&mut self, began: u64, ended: u64, answer: Answer) {
            let (began, ended) = (self.at(began), self.at(ended));
            let span = Span { began, ended };
            self.pipeline.on_outcome(ended, Outcome { span, answer });
        }

        /// Answers a call for one record.
        pub fn answer(&mut self, id: u64, began: u64, ended: u64, output: Result<Entry>) {
            let output = output.map(|one| PutRecordsOutput { records: vec![one] });
            self.end(began, ended, Answer::Put { id, output });
        }

        pub fn list(&mut self, map: ShardMap, began: u64, ended: u64) {
            let listed = Ok(Listed {
                map: Arc::new(map),
                began: self.at(began),
                ended: self.at(ended),
            });
            let stream = self.name.clone();
            self.end(began, ended, Answer::Listed { stream, listed });
        }

        pub fn describe(&mut self, now: u64, strategy: Option<RecordDistributionStrategy>) {
            let summary = Ok(StreamSummary {
                arn: String::new(),
                status: String::new(),
                open_shards: 1,
                retention: Duration::ZERO,
                record_distribution_strategy: strategy,
            });
            let stream = self.name.clone();
            self.end(now, now, Answer::Described { stream, summary });
        }
    }

    pub fn stored_in(shard: &str) -> Entry {
        Ok(PutRecordOutput {
            shard_id: shard.into(),
            sequence_number: "7".parse().expect("a number"),
        })
    }

    pub fn failed(code: &str) -> Entry {
        Err(EntryError {
            code: code.to_owned(),
            message: String::new(),
        })
    }

    /// One open shard, `whole`.
    pub fn whole() -> ShardMap {
        map_of(&[("whole", 0, u128::MAX)])
    }

    /// Two open shards, `low` and `high`.
    pub fn halves() -> ShardMap {
        map_of(&[("low", 0, MIDDLE - 1), ("high", MIDDLE, u128::MAX)])
    }

    pub const AUTO: Option<RecordDistributionStrategy> = Some(RecordDistributionStrategy::Auto);

    fn of_stream(stream: &str, mut record: KinesisRecord) -> KinesisRecord {
        record.stream = stream.into();
        record
    }

    #[test]
    fn a_stream_is_described_once_and_then_listed_once_unless_its_shards_are_known() {
        let config = ProducerConfig::builder;
        let benches = [
            (Bench::new(config()), vec!["list"]),
            (Bench::of_known(config(), whole()), vec![]),
        ];
        for (mut bench, then) in benches {
            bench.accept(0, bare(bench.at(0), "k", b""));
            assert_eq!(bench.questions(0), ["describe"]);
            assert_eq!(bench.questions(1), [""; 0]);
            bench.describe(2, None);
            assert_eq!(bench.questions(3), then);
            assert_eq!(bench.questions(4), [""; 0]);
        }
    }

    #[test]
    fn a_question_that_waits_for_a_thread_is_dropped_if_a_put_finds_no_stream() {
        for described in [false, true] {
            let mut bench = Bench::new(ProducerConfig::builder());
            if described {
                assert!(bench.questions(0).is_empty());
                bench.describe(0, None);
            }
            // The call's tick has the question wait.
            let id = bench.send(1, bare(bench.at(1), "k", b""));
            assert_eq!(bench.pipeline.questions.iter().flatten().count(), 1);
            let missing = Error::service("ResourceNotFoundException", "", 400);
            bench.answer(id, 1, 2, Err(missing));
            assert_eq!(bench.questions(3), [""; 0], "{described}");
        }
    }

    #[test]
    fn a_stream_is_active_for_a_minute_after_a_put() {
        let mut bench = Bench::of_known(ProducerConfig::builder(), whole());
        let record = bare(bench.at(0), "k", b"");
        bench.accept(0, of_stream("other", record));
        bench.accept(30_000, bare(bench.at(30_000), "k", b""));
        for (now, active) in [(30_000, 2), (59_999, 2), (60_000, 1), (90_000, 0)] {
            bench.pipeline.tick(bench.at(now));
            assert_eq!(bench.pipeline.active, active, "{now}");
        }
    }

    /// Has a call ready for each of two streams that have not answered yet.
    fn accept_two(bench: &mut Bench) {
        for stream in ["first", "second"] {
            let record = bare(bench.at(0), "k", b"");
            bench.accept(0, of_stream(stream, record));
        }
        bench.pipeline.tick(bench.at(0));
    }

    #[test]
    fn streams_that_do_not_answer_have_one_call_each_and_keep_their_turn() {
        let mut bench = Bench::new(ProducerConfig::builder());
        accept_two(&mut bench);
        assert_eq!(bench.puts(0).len(), 2);
        accept_two(&mut bench);
        let turns = bench.pipeline.turns.clone();
        assert!(bench.pipeline.next_job(bench.at(0)).is_none());
        assert_eq!((turns.len(), &bench.pipeline.turns), (2, &turns));
    }

    #[test]
    fn a_stream_whose_call_was_answered_may_have_several() {
        for (answer, calls) in [
            (Error::from(TransportError::Timeout(Duration::ZERO)), 1),
            (Error::service("AccessDeniedException", "", 400), 2),
        ] {
            let mut bench = Bench::new(ProducerConfig::builder());
            accept_two(&mut bench);
            let (id, _) = bench.puts(0)[0];
            bench.answer(id, 0, 1, Err(answer));
            // The call of the other one stays under way.
            let made = [(); 2].map(|()| {
                accept_two(&mut bench);
                bench.puts(1).len()
            });
            assert_eq!(made.iter().sum::<usize>(), calls);
        }
    }

    #[test]
    fn a_stream_is_idle_while_its_records_wait_for_others_only() {
        let mut bench = Bench::of_known(ProducerConfig::builder(), whole());
        assert!(bench.pipeline.is_idle(&"never put to".into()));
        bench.accept(0, bare(bench.at(0), "k", b""));
        assert!(bench.pipeline.is_idle(&bench.name));
        bench.pipeline.tick(bench.at(0));
        assert!(!bench.pipeline.is_idle(&bench.name), "a call is ready");
        let (id, _) = bench.puts(0)[0];
        bench.answer(id, 0, 1, Ok(failed("InternalFailure")));
        assert!(!bench.pipeline.is_idle(&bench.name), "it is put again");
    }

    #[test]
    fn a_record_that_expires_before_a_sender_is_free_settles_then() {
        let mut bench = Bench::of_known(ProducerConfig::builder(), whole());
        bench.accept(0, bare(bench.at(0), "k", b""));
        for (now, settled) in [(0, 0), (59_999, 0), (60_000, 1)] {
            bench.pipeline.tick(bench.at(now));
            let effects = bench.pipeline.take_effects();
            assert_eq!(effects.settled.len(), settled, "{now}");
            for Settlement { result, .. } in effects.settled {
                let error = result.expect_err("it was not sent");
                assert!(matches!(error.kind(), ErrorKind::Expired { .. }));
            }
        }
    }

    #[test]
    fn records_are_aggregated_unless_the_service_decides_on_shards() {
        for (aggregation, under_auto, strategy, expected) in [
            (true, false, None, true),
            (true, false, AUTO, false),
            (true, true, AUTO, true),
            (false, false, None, false),
            (false, true, AUTO, false),
        ] {
            let config = ProducerConfig::builder().aggregation(aggregation);
            let mut bench = Bench::new(config.aggregation_under_auto(under_auto));
            bench.describe(0, strategy);
            let rules = bench.pipeline.rules_of(&bench.name);
            assert_eq!(rules.aggregation, expected, "{aggregation}, {strategy:?}");
        }
    }

    #[test]
    fn an_aggregate_is_taken_apart_before_it_is_sent_where_it_would_not_be_read() {
        for (predicted, strategy, entries) in
            [(None, None, 1), (Some("closed"), None, 2), (None, AUTO, 2)]
        {
            let mut bench = Bench::of_known(ProducerConfig::builder(), halves());
            bench.describe(0, strategy);
            let mut record = aggregate(bench.at(0), &[0, MIDDLE]);
            record.predicted = predicted.map(Into::into);
            bench.accept(0, record);
            assert_eq!(bench.entries(0), entries, "{predicted:?}, {strategy:?}");
        }
    }
}
