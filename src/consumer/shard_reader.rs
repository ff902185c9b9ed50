use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::client::{ChildShard, Client, GetRecordsOutput, RawRecord, ServerTime, ShardIterator};
use crate::config::{ConsumerConfig, DataLoss};
use crate::consumer::bound::{Bound, Reached, Tip, Until};
use crate::consumer::chunk::Chunk;
use crate::consumer::deaggregator::Deaggregator;
use crate::consumer::discovery::{Place, Start};
use crate::consumer::doubts::Doubts;
use crate::consumer::pace::{Pace, Weight};
use crate::consumer::repeats::{Patience, Repeats};
use crate::consumer::trim_watch::{Judgement, Missing, TrimWatch};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Gap, GapCause, SequenceNumber, ShardPosition, ShardRef, StartPosition, Timestamp,
};

/// One shard's life: get an iterator, read, pause, read on, refresh, end. Pure: `now` is told.
#[derive(Debug)]
pub(super) struct ShardReader {
    shard: ShardRef,
    deaggregator: Deaggregator,
    /// Closed before the consumer started: read to its end, as its children wait for that.
    closed: bool,
    settings: Settings,
    /// Where an iterator taken now has to start: behind what was read, not behind what was handed out.
    position: ShardPosition,
    /// The last record read before the service did not know that place any more.
    refused: Option<SequenceNumber>,
    state: State,
    pace: Pace,
    watch: TrimWatch,
    bound: Bound,
    tip: Tip,
    /// What the last answer brought.
    bytes: usize,
    /// When the iterator was asked for.
    iterator_since: Instant,
    /// Who follows the shard.
    children: Vec<ChildShard>,
    /// Records were read, and none has been missing since.
    is_begun: bool,
}

/// What all readers of a consumer are told.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub config: ConsumerConfig,
    pub until: Until,
    /// The service's time when the consumer started, and not later: LATEST from then on means this.
    pub started: Timestamp,
    /// The same, and not earlier: what arrived later is new.
    pub started_by: Timestamp,
    /// Which copies of records are handed out.
    pub repeats: Repeats,
    /// What was read without proof that nothing of it was trimmed.
    pub doubts: Doubts,
}

impl Settings {
    pub fn new(config: &ConsumerConfig, until: Until, client: &Client) -> Settings {
        let started = client.server_now();
        Settings {
            config: config.clone(),
            until,
            started: started.earliest,
            started_by: started.latest,
            repeats: Repeats::of(config),
            doubts: Doubts::default(),
        }
    }

    /// Says whether reading ends by itself.
    pub fn is_bounded(&self) -> bool {
        !matches!(self.until, Until::Stopped)
    }

    /// What a checkpoint says for `Latest`: the instant that it meant, so that it never means another.
    pub fn fixed(&self, position: ShardPosition) -> ShardPosition {
        match position {
            ShardPosition::Start(StartPosition::Latest) => {
                ShardPosition::Start(StartPosition::AtTimestamp(self.started))
            }
            other => other,
        }
    }

    /// The same with the time that goes with it.
    pub fn fixed_place(&self, (position, complete_to): Place) -> Place {
        (self.fixed(position), complete_to)
    }

    /// Lets a gap pass, to be reported to the caller, if it may.
    ///
    /// # Errors
    /// Data may be lost, and the policy on that is to fail.
    pub fn report(&self, gap: Gap, cause: Option<Error>) -> Result<Gap> {
        log::warn!("{gap}");
        match self.config.data_loss {
            DataLoss::Fail if gap.is_loss() => {
                let shard = Some(gap.shard.clone());
                let error = Error::new(ErrorKind::DataLoss { gap, cause });
                Err(error.within(|context| context.shard = shard))
            }
            _ => Ok(gap),
        }
    }
}

#[derive(Debug)]
enum State {
    NoIterator,
    Reading(ShardIterator),
    Done(End),
}

/// How a reader's work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything that the consumer was to read of the shard has been read.
    CaughtUp,
    /// The shard was closed, and is read to its end.
    ShardEnd,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    GetIterator(ShardPosition),
    GetRecords(ShardIterator, u32),
    /// Ask how long the stream keeps its records.
    GetRetention,
    WaitUntil(Instant),
    Done(End),
}

/// What an answer comes to.
#[derive(Debug)]
pub(super) struct Taken {
    /// What may be missing before the records, or among them.
    pub gaps: Vec<Gap>,
    pub records: Chunk,
}

impl ShardReader {
    pub fn new(start: Start, settings: Settings, now: Instant) -> ShardReader {
        let (until, started) = (&settings.until, settings.started_by);
        let bound = Bound::new(until, &start.shard, &start.position, started);
        ShardReader {
            deaggregator: Deaggregator::new(&start, &settings.config, settings.repeats.clone()),
            closed: start.closed,
            pace: Pace::new(&settings.config, now),
            watch: TrimWatch::new(&start.position, start.complete_to)
                .doubting(settings.doubts.of(&start.shard, &start.position)),
            settings,
            state: match bound {
                Bound::Nothing => State::Done(End::CaughtUp),
                _ => State::NoIterator,
            },
            bound,
            tip: Tip::default(),
            bytes: 0,
            iterator_since: now,
            children: Vec::new(),
            is_begun: false,
            refused: None,
            position: start.position,
            shard: start.shard,
        }
    }

    /// Waits, where it takes what other readers know to say which copies are handed out.
    pub fn wait_with(&mut self, patience: Patience) {
        self.deaggregator.wait_with(patience);
    }

    /// Says what to do next, at `now`, and at that time of the service.
    pub fn next_step(&mut self, now: Instant, server_now: ServerTime) -> Step {
        let end = match &self.state {
            State::Done(end) => Some(*end),
            _ => None,
        };
        if self.watch.asks_retention(now, end.is_some()) {
            return Step::GetRetention;
        }
        if let Some(end) = end {
            return Step::Done(end);
        }
        let next_read = self.pace.next_read();
        if now < next_read {
            return Step::WaitUntil(next_read);
        }
        // Where calls are as far apart as that, each would be refused, and made anew a pause later.
        let is_expired = now.saturating_duration_since(self.iterator_since) >= ITERATOR_LIFE;
        if self.watch.foresee(server_now.latest) || is_expired {
            self.state = State::NoIterator;
        }
        self.iterator_since = now;
        match &self.state {
            _ if self.watch.asks_retention(now, false) => Step::GetRetention,
            State::Reading(iterator) => {
                let limit = self.pace.limit().max(self.watch.limit_min());
                Step::GetRecords(iterator.clone(), limit)
            }
            _ => match self.time_to_start(server_now) {
                Some(wait) => Step::WaitUntil(now + wait),
                None => Step::GetIterator(self.watch.iterator_position(&self.position)),
            },
        }
    }

    /// How long the time at which reading starts is ahead. The service refuses such a time, and would
    /// not wait for it.
    fn time_to_start(&self, server_now: ServerTime) -> Option<Duration> {
        match self.position {
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => {
                let ahead = time.saturating_since(server_now.earliest);
                Some(ahead).filter(|ahead| !ahead.is_zero())
            }
            _ => None,
        }
    }

    /// Where another reader would have to go on from, if this one ended now.
    pub fn place(&self) -> Place {
        (self.position.clone(), self.watch.complete_to())
    }

    /// The bytes that an adaptive limit aims at.
    pub fn bytes_requested(&self) -> f64 {
        self.pace.bytes_requested()
    }

    /// What the last answer brought.
    pub fn bytes_taken(&self) -> u64 {
        self.bytes as u64
    }

    /// Gives, at the shard's end, who follows it.
    pub fn take_children(&mut self) -> Vec<ChildShard> {
        std::mem::take(&mut self.children)
    }

    /// Takes an iterator; there is none behind the end of a closed shard.
    pub fn on_iterator(&mut self, iterator: Option<ShardIterator>) {
        self.state = iterator.map_or(State::Done(End::ShardEnd), State::Reading);
        // The iterator holds the place of `Latest` for five minutes; after that, an instant has to.
        self.position = self.settings.fixed(self.position.clone());
    }

    /// Takes the refusal of an iterator, and looks for another place to read from.
    ///
    /// # Errors
    /// There is none, or the policy on lost data is to fail.
    pub fn on_refused(&mut self, now: Instant, error: Error) -> Result<Option<Gap>> {
        let ErrorKind::Service { code, message, .. } = error.kind() else {
            return Err(error);
        };
        match &self.position {
            _ if code != "InvalidArgumentException" => Err(error),
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => {
                let service = current_time_in(message);
                let ahead = service.and_then(|service| ahead_of(service, *time));
                // By the clock that refused it: no other one counts.
                let wait = ahead.ok_or_else(|| error.clone())?;
                self.pace.wait_until(now + wait);
                Ok(None)
            }
            ShardPosition::After { .. } => {
                let gap = self.gap(GapCause::UnknownPosition);
                self.refused = gap.after.clone();
                self.begin_anew();
                self.position = ShardPosition::Start(StartPosition::TrimHorizon);
                self.settings.report(gap, Some(error)).map(Some)
            }
            _ => Err(error),
        }
    }

    /// Takes note that the shard is not there any more.
    ///
    /// # Errors
    /// The policy on lost data is to fail.
    pub fn on_vanished(&mut self, error: Error) -> Result<Gap> {
        self.state = State::Done(End::ShardEnd);
        let gap = self.gap(GapCause::ShardVanished);
        self.settings.report(gap, Some(error))
    }

    /// Takes note that the stream was made anew, with a shard of this name that begins at `starting`.
    ///
    /// # Errors
    /// The policy on lost data is to fail.
    pub fn on_recreated(&mut self, starting: &SequenceNumber) -> Result<Gap> {
        let mut gap = self.gap(GapCause::StreamRecreated);
        if self.is_in(starting) {
            // It went over before anybody knew: with nothing read, or when its place was refused.
            gap.after = self.refused.take();
        } else {
            self.state = State::Done(End::ShardEnd);
        }
        self.settings.report(gap, None)
    }

    /// Says whether it has read records of a shard that begins at `starting`.
    pub fn is_in(&self, starting: &SequenceNumber) -> bool {
        match &self.position {
            ShardPosition::After {
                sequence_number, ..
            } => (sequence_number.compare_alike(starting)).is_some_and(Ordering::is_ge),
            _ => false,
        }
    }

    /// The iterator lived out its five minutes: read on with a new one, a pause later.
    pub fn on_expired(&mut self, now: Instant) {
        self.state = State::NoIterator;
        self.pace.put_off(now);
    }

    /// Says whether the retention has to be read anew.
    pub fn needs_new_retention(&self) -> bool {
        self.watch.unconfirmed().is_some()
    }

    /// Takes how long the stream keeps its records, if the service says so. Gives what may be missing
    /// of what was read before.
    ///
    /// # Errors
    /// The policy on lost data is to fail.
    pub fn on_retention(
        &mut self,
        now: (Instant, Timestamp),
        retention: Option<Duration>,
    ) -> Result<Option<Gap>> {
        let is_end = matches!(self.state, State::Done(_));
        let unconfirmed = self.watch.unconfirmed().cloned();
        let missing = (self.watch).on_retention(now, retention, &self.position, is_end);
        // A gap does that once the caller has it: until then a restart has to find it again.
        if let Some(unconfirmed) = unconfirmed
            && missing.is_none()
            && self.watch.unconfirmed().is_none()
        {
            let after = unconfirmed.after.as_ref();
            self.settings.doubts.confirmed(&self.shard, after);
        }
        if self.watch.verifies() && !is_end {
            self.state = State::NoIterator;
        }
        missing
            .map(|missing| self.report_trimmed(missing))
            .transpose()
    }

    /// An answer did not arrive in time: a shorter one may.
    pub fn on_timeout(&mut self) {
        self.pace.on_timeout();
    }

    /// Takes an answer to a call that began at `called`, took so long, and was carried out at that time
    /// of the service.
    ///
    /// # Errors
    /// The policy on lost data, or that on misplaced records, is to fail.
    pub fn on_records(
        &mut self,
        (called, took): (Instant, Duration),
        answered: ServerTime,
        mut output: GetRecordsOutput,
    ) -> Result<Taken> {
        let weight = weight(&output, took);
        self.bytes = weight.bytes;
        self.pace.on_answer(called, weight);
        let mut gaps = Vec::new();
        match self.watch.on_answer(&self.position, answered, &mut output) {
            Judgement::Discard => {
                self.state = State::NoIterator;
                return self.taken(Vec::new(), gaps, answered.latest);
            }
            Judgement::Gap(missing) => {
                gaps.push(self.report_trimmed(missing)?);
                self.begin_anew();
            }
            Judgement::Take => {}
        }
        if let Some(unconfirmed) = self.watch.unconfirmed() {
            self.settings.doubts.note(&self.shard, unconfirmed);
        }
        let asked = answered.earliest;
        let reached = (self.tip).confirm(self.bound.cut(&mut output, asked, self.closed));
        // Behind the cut: what was left out is handed over by nobody, and must not count as read.
        self.watch.note(&self.position, asked, &output, reached);
        if !self.is_begun {
            let repeats = &self.settings.repeats;
            self.is_begun = repeats.begin(&self.shard, &self.position, &output.records);
        }
        if let Some(last) = output.records.last() {
            let (sequence_number, sub_sequence_number) = (last.sequence_number.clone(), None);
            self.position = ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            };
        }
        self.children = output.child_shards;
        self.state = match (reached, output.next) {
            (Reached::Cut(_), _) => State::Done(End::CaughtUp),
            // However it is listed: a listing may lag behind, and show a shard open that has ended. Its
            // children have records within the bound.
            (_, None) => State::Done(End::ShardEnd),
            (Reached::Here, Some(_)) => State::Done(End::CaughtUp),
            (Reached::No | Reached::Tip, Some(iterator)) => State::Reading(iterator),
        };
        self.taken(output.records, gaps, answered.latest)
    }

    /// Records are missing: only what is read from now on is certain to be handed out.
    fn begin_anew(&mut self) {
        self.settings.repeats.unknown(&self.shard);
        self.is_begun = false;
        self.tip = Tip::default();
    }

    fn report_trimmed(&self, Missing { after, before }: Missing) -> Result<Gap> {
        let gap = Gap {
            after,
            before,
            ..Gap::new(self.shard.clone(), GapCause::Trimmed)
        };
        self.settings.report(gap, None)
    }

    /// Makes user records of what is to be handed over.
    fn taken(
        &mut self,
        raw: Vec<RawRecord>,
        mut gaps: Vec<Gap>,
        answered: Timestamp,
    ) -> Result<Taken> {
        let mut answer = self.deaggregator.take_apart(raw, answered)?;
        if let Bound::Through(..) = self.bound {
            answer.retain_parts(|number, sub| self.bound.includes(number, sub));
        }
        self.deaggregator.leave_out_equal(&mut answer);
        gaps.append(&mut self.deaggregator.take_gaps());
        let records = Chunk::new(answer);
        Ok(Taken { gaps, records })
    }

    fn gap(&self, cause: GapCause) -> Gap {
        Gap {
            after: match &self.position {
                ShardPosition::After {
                    sequence_number, ..
                } => Some(sequence_number.clone()),
                _ => None,
            },
            ..Gap::new(self.shard.clone(), cause)
        }
    }
}

fn weight(output: &GetRecordsOutput, took: Duration) -> Weight {
    Weight {
        records: output.records.len(),
        bytes: output
            .records
            .iter()
            .map(|record| record.data.len() + record.partition_key.bytes_len())
            .sum(),
        at_tip: output.is_at_tip(),
        took,
    }
}

/// Reads the service's time out of its refusal of a time that has not come yet:
/// `… timestampInMillis: 2, currentTimestampInMillis: 1`.
fn current_time_in(message: &str) -> Option<Timestamp> {
    let (_, behind) = message.split_once("currentTimestampInMillis: ")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Timestamp::from_millis)
}

/// How far a time is ahead of the service's, if it is to be waited for.
fn ahead_of(service: Timestamp, time: Timestamp) -> Option<Duration> {
    let ahead = time.saturating_since(service);
    (service < time && ahead <= START_AHEAD_MAX).then_some(ahead)
}

/// How long an iterator lives.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
const ITERATOR_LIFE: Duration = Duration::from_secs(300);

/// How far ahead a start may lie to be waited for: clocks that are further apart cannot make calls.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
pub(super) const START_AHEAD_MAX: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::consumer::checkpoint::Checkpoint;
    use crate::consumer::record::Record;
    use crate::model::HashKeyRange;

    const INTERVAL: Duration = Duration::from_millis(200);
    const STARTED: Timestamp = Timestamp::from_millis(1_000_000);

    fn settings() -> Settings {
        Settings {
            config: ConsumerConfig::default(),
            until: Until::Stopped,
            started: STARTED,
            started_by: STARTED.saturating_add(Duration::from_secs(1)),
            repeats: Repeats::default(),
            doubts: Doubts::default(),
        }
    }

    /// Goes on where data may be lost.
    fn patient() -> Settings {
        let mut patient = settings();
        patient.config.data_loss = DataLoss::ContinueAndReport;
        patient
    }

    fn shard() -> ShardRef {
        ShardRef::new("orders", "a")
    }

    fn start(position: ShardPosition) -> Start {
        Start {
            shard: shard(),
            range: HashKeyRange::FULL,
            ancestry: HashKeyRange::FULL,
            closed: false,
            position,
            complete_to: Some(STARTED),
        }
    }

    fn reader(position: ShardPosition, settings: Settings, now: Instant) -> ShardReader {
        let mut reader = ShardReader::new(start(position), settings, now);
        reader.on_iterator(Some(iterator()));
        reader
    }

    fn iterator() -> ShardIterator {
        ShardIterator::for_tests(shard())
    }

    fn raw(number: u64, data: Bytes) -> RawRecord {
        RawRecord {
            data,
            partition_key: "key".into(),
            sequence_number: number.to_string().parse().expect("a number"),
            approximate_arrival: STARTED,
        }
    }

    fn output(records: Vec<RawRecord>) -> GetRecordsOutput {
        GetRecordsOutput {
            records,
            next: Some(iterator()),
            millis_behind_latest: Some(0),
            child_shards: Vec::new(),
        }
    }

    fn after(number: u64, sub_sequence_number: Option<u64>) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number.to_string().parse().expect("a number"),
            sub_sequence_number,
        }
    }

    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    fn by_server(time: Timestamp) -> ServerTime {
        ServerTime {
            earliest: time,
            latest: time,
        }
    }

    fn next_step(reader: &mut ShardReader, now: Instant) -> Step {
        reader.next_step(now, by_server(STARTED))
    }

    /// Takes an answer that came at once.
    fn take(reader: &mut ShardReader, now: Instant, output: GetRecordsOutput) -> Vec<Record> {
        take_at(reader, now, STARTED, output).collect()
    }

    fn take_at(
        reader: &mut ShardReader,
        now: Instant,
        server_now: Timestamp,
        output: GetRecordsOutput,
    ) -> Chunk {
        let taken = reader.on_records((now, Duration::ZERO), by_server(server_now), output);
        taken.expect("records").records
    }

    #[test]
    fn an_iterator_is_taken_anew_before_it_would_be_refused() {
        for (pause, is_new) in [(299, false), (300, true)] {
            let now = Instant::now();
            let mut config = settings();
            let interval = Duration::from_secs(pause);
            let built = ConsumerConfig::builder().get_records_interval(interval);
            config.config = built.build().expect("valid");
            let mut reader = reader(TRIM_HORIZON, config, now);
            assert!(matches!(next_step(&mut reader, now), Step::GetRecords(..)));
            take(&mut reader, now, output(vec![raw(1, Bytes::new())]));
            let step = next_step(&mut reader, now + interval);
            assert_eq!(matches!(step, Step::GetIterator(_)), is_new, "{step:?}");
            if is_new {
                reader.on_iterator(Some(iterator()));
                let step = next_step(&mut reader, now + interval);
                assert!(matches!(step, Step::GetRecords(..)), "{step:?}");
            }
        }
    }

    #[test]
    fn the_interval_counts_from_the_start_of_a_call() {
        let now = Instant::now();
        let mut reader = reader(TRIM_HORIZON, settings(), now);
        assert!(matches!(next_step(&mut reader, now), Step::GetRecords(..)));
        take(&mut reader, now, output(vec![raw(1, Bytes::new())]));
        let soon = now + INTERVAL - Duration::from_millis(1);
        assert!(
            matches!(next_step(&mut reader, soon), Step::WaitUntil(until) if until == now + INTERVAL)
        );
        assert!(matches!(
            next_step(&mut reader, now + INTERVAL),
            Step::GetRecords(..)
        ));
    }

    #[test]
    fn an_expired_iterator_is_replaced_behind_what_was_read() {
        let now = Instant::now();
        let mut reader = reader(TRIM_HORIZON, settings(), now);
        reader.on_expired(now);
        assert!(matches!(next_step(&mut reader, now), Step::WaitUntil(_)));
        let later = now + INTERVAL;
        assert!(matches!(
            next_step(&mut reader, later),
            Step::GetIterator(TRIM_HORIZON)
        ));
        reader.on_iterator(Some(iterator()));
        take(&mut reader, later, output(vec![raw(7, Bytes::new())]));
        reader.on_expired(later);
        let Step::GetIterator(position) = next_step(&mut reader, later + INTERVAL) else {
            panic!("an iterator is due")
        };
        assert_eq!(position, after(7, None));
    }

    #[test]
    fn latest_becomes_an_instant_once_its_iterator_is_taken() {
        let now = Instant::now();
        let latest = ShardPosition::Start(StartPosition::Latest);
        let mut reader = ShardReader::new(start(latest.clone()), settings(), now);
        assert!(
            matches!(next_step(&mut reader, now), Step::GetIterator(position) if position == latest)
        );
        reader.on_iterator(Some(iterator()));
        take(&mut reader, now, output(Vec::new()));
        reader.on_expired(now);
        let Step::GetIterator(position) = next_step(&mut reader, now + INTERVAL) else {
            panic!("an iterator is due")
        };
        assert_eq!(
            position,
            ShardPosition::Start(StartPosition::AtTimestamp(STARTED))
        );
    }

    #[test]
    fn the_end_of_a_shard_comes_after_its_last_records() {
        let mut reader = reader(TRIM_HORIZON, settings(), Instant::now());
        let children = ["b", "c"].map(|id| ChildShard {
            id: id.into(),
            parents: vec!["a".into()],
            hash_key_range: HashKeyRange::FULL,
        });
        let last = GetRecordsOutput {
            next: None,
            child_shards: children.to_vec(),
            ..output(vec![raw(1, Bytes::new())])
        };
        assert_eq!(take(&mut reader, Instant::now(), last).len(), 1);
        assert!(matches!(
            next_step(&mut reader, Instant::now()),
            Step::Done(End::ShardEnd)
        ));
        assert_eq!(reader.take_children(), children);
        let mut nothing_left = ShardReader::new(start(TRIM_HORIZON), settings(), Instant::now());
        nothing_left.on_iterator(None);
        assert!(matches!(
            next_step(&mut nothing_left, Instant::now()),
            Step::Done(End::ShardEnd)
        ));
    }

    const fn millis(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn at(millis: i64) -> ShardPosition {
        ShardPosition::Start(StartPosition::AtTimestamp(Timestamp::from_millis(millis)))
    }

    #[test]
    fn a_time_that_is_ahead_is_waited_for_before_the_service_is_asked() {
        let now = Instant::now();
        let ahead = at(STARTED.as_millis() + 5_000);
        let mut reader = ShardReader::new(start(ahead.clone()), settings(), now);
        let step = next_step(&mut reader, now);
        let due = now + Duration::from_secs(5);
        assert!(
            matches!(step, Step::WaitUntil(until) if until == due),
            "{step:?}"
        );
        // By the earlier bound: what is promised is that nothing before it comes.
        let mut later = by_server(STARTED.saturating_add(Duration::from_secs(5)));
        let step = reader.next_step(due, later);
        assert!(
            matches!(&step, Step::GetIterator(position) if *position == ahead),
            "{step:?}"
        );
        later.earliest = STARTED.saturating_add(Duration::from_secs(4));
        let step = reader.next_step(due, later);
        assert!(matches!(step, Step::WaitUntil(_)), "{step:?}");
    }

    #[test]
    fn a_refused_time_is_waited_for_by_the_clock_that_refused_it() {
        let refused = |message: &str| Error::service("InvalidArgumentException", message, 400);
        let message = "The timestampInMillis parameter cannot be greater than the \
                       currentTimestampInMillis. timestampInMillis: 5000, currentTimestampInMillis: 3000";
        let now = Instant::now();
        let mut skewed = ShardReader::new(start(at(5_000)), settings(), now);
        let told = skewed.on_refused(now, refused(message));
        assert_eq!(told.expect("a place"), None);
        assert_eq!(skewed.place().0, at(5_000), "and not replaced");
        let step = next_step(&mut skewed, now);
        let due = now + Duration::from_secs(2);
        assert!(
            matches!(step, Step::WaitUntil(until) if until == due),
            "{step:?}"
        );
        let mut later = ShardReader::new(start(at(5_000_000)), settings(), now);
        assert!(later.on_refused(now, refused(message)).is_err());
        let mut oldest = ShardReader::new(start(TRIM_HORIZON), settings(), now);
        assert!(oldest.on_refused(now, refused(message)).is_err());
    }

    #[test]
    fn a_refused_time_is_waited_for_if_it_is_ahead_by_minutes_at_most() {
        let service = STARTED.as_millis();
        let most = START_AHEAD_MAX.as_millis() as i64;
        for (ahead, wait) in [
            (-1, None),
            (0, None),
            (1, Some(Duration::from_millis(1))),
            (most, Some(START_AHEAD_MAX)),
            (most + 1, None),
        ] {
            let time = millis(service + ahead);
            assert_eq!(ahead_of(STARTED, time), wait, "{ahead}");
        }
    }

    fn bounded(until: Until) -> Settings {
        Settings {
            until,
            ..settings()
        }
    }

    #[test]
    fn reading_ends_by_itself_unless_it_is_told_to_go_on_until_it_is_stopped() {
        assert!(!settings().is_bounded());
        for until in [Until::CaughtUp, Until::Timestamp(STARTED)] {
            assert!(bounded(until).is_bounded());
        }
    }

    #[test]
    fn where_lost_data_is_an_error_records_that_are_left_out_are_none() {
        let gap = |cause| Gap::new(shard(), cause);
        let repeated = GapCause::Repeated {
            sequence_number: "7".parse().expect("a number"),
            records: 1,
        };
        let told = settings().report(gap(repeated.clone()), None);
        assert_eq!(told.expect("no loss"), gap(repeated));
        let lost = settings().report(gap(GapCause::Trimmed), None);
        assert!(lost.is_err());
        let told = patient().report(gap(GapCause::Trimmed), None);
        assert_eq!(told.expect("reported"), gap(GapCause::Trimmed));
    }

    #[test]
    fn what_an_answer_weighs_and_whether_it_came_in_time_say_how_much_is_asked_for() {
        let now = Instant::now();
        let mut adaptive = settings();
        adaptive.config.adaptive_reads = true;
        let mut reader = reader(TRIM_HORIZON, adaptive, now);
        assert_eq!(reader.bytes_taken(), 0);
        assert!(reader.bytes_requested() == 0.0);
        // Five bytes of data, three of a key.
        let one = output(vec![raw(1, Bytes::from_static(b"hello"))]);
        take(&mut reader, now + INTERVAL, one);
        assert_eq!(reader.bytes_taken(), 8);
        // What a shard gives in a fifth of a second.
        assert_eq!(reader.bytes_requested() as u64, (2 << 20) / 5);
        let later = now + 2 * INTERVAL;
        let step = next_step(&mut reader, later);
        assert!(matches!(step, Step::GetRecords(_, 10_000)), "{step:?}");
        reader.on_timeout();
        let step = next_step(&mut reader, later);
        assert!(matches!(step, Step::GetRecords(_, 5_000)), "{step:?}");
    }

    #[test]
    fn the_end_of_a_shard_counts_above_the_end_of_a_bounded_read() {
        let now = Instant::now();
        let caught_up = || bounded(Until::CaughtUp);
        let in_time = || bounded(Until::Timestamp(STARTED.saturating_add(INTERVAL)));
        let older = || bounded(Until::Timestamp(STARTED));
        for (what, settings, records, end) in [
            ("nothing left", caught_up(), vec![], End::ShardEnd),
            ("old records", caught_up(), vec![1], End::ShardEnd),
            ("within the time", in_time(), vec![1], End::ShardEnd),
            ("some left out", older(), vec![1], End::CaughtUp),
        ] {
            let mut reader = reader(TRIM_HORIZON, settings, now);
            let records = records.iter().map(|n| raw(*n, Bytes::new())).collect();
            let answer = GetRecordsOutput {
                next: None,
                ..output(records)
            };
            take(&mut reader, now, answer);
            let step = next_step(&mut reader, now);
            assert!(
                matches!(step, Step::Done(found) if found == end),
                "{what}: {step:?}"
            );
        }
    }

    #[test]
    fn a_bounded_read_ends_at_the_second_answer_that_shows_the_tip() {
        let now = Instant::now();
        let mut reader = reader(TRIM_HORIZON, bounded(Until::CaughtUp), now);
        take(&mut reader, now, output(vec![]));
        let Step::WaitUntil(next) = next_step(&mut reader, now) else {
            panic!("one answer may be empty by chance");
        };
        take(&mut reader, next, output(vec![]));
        let step = next_step(&mut reader, next);
        assert!(matches!(step, Step::Done(End::CaughtUp)), "{step:?}");
    }

    #[test]
    fn what_lies_behind_the_bound_does_not_count_as_read() {
        let now = Instant::now();
        let bound = STARTED.saturating_sub(Duration::from_secs(60));
        let before_the_bound = bound.saturating_sub(Duration::from_millis(1));
        let mut reader = ShardReader::new(
            Start {
                complete_to: Some(millis(5)),
                ..start(after(7, None))
            },
            bounded(Until::Timestamp(bound)),
            now,
        );
        reader.on_iterator(Some(iterator()));
        // It arrived at STARTED, and it is the last of an answer that says that nothing is ahead.
        take(&mut reader, now, output(vec![raw(8, Bytes::new())]));
        assert_eq!(reader.place(), (after(7, None), Some(before_the_bound)));
    }

    #[test]
    fn an_answer_that_will_be_in_doubt_is_asked_for_from_the_last_record() {
        let now = Instant::now();
        let day = Duration::from_secs(24 * 3_600);
        let late = STARTED.saturating_add(day);
        let mut reader = reader(after(7, None), settings(), now);
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::GetRetention), "{step:?}");
        let told = reader.on_retention((now, late), Some(day));
        assert_eq!(told.expect("nothing is missing"), None);
        let step = reader.next_step(now, by_server(late));
        assert!(
            matches!(&step, Step::GetIterator(position) if *position == after(7, Some(0))),
            "{step:?}"
        );
        reader.on_iterator(Some(iterator()));
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::GetRecords(_, 10_000)), "{step:?}");
        let both = output(vec![raw(7, Bytes::new()), raw(8, Bytes::new())]);
        let taken = take_at(&mut reader, now, late, both);
        assert_eq!(taken.len(), 1, "nothing has to be read twice");
        assert_eq!(reader.place().0, after(8, None));
    }

    #[test]
    fn a_number_that_the_service_does_not_know_is_a_gap() {
        let refused = || Error::service("InvalidArgumentException", "no such number", 400);
        let mut failing = ShardReader::new(start(after(7, None)), settings(), Instant::now());
        let error = failing
            .on_refused(Instant::now(), refused())
            .expect_err("data may be lost");
        assert!(
            matches!(error.kind(), ErrorKind::DataLoss { .. }),
            "{error}"
        );
        let mut reader = ShardReader::new(start(after(7, None)), patient(), Instant::now());
        let other = Error::service("AccessDeniedException", "not allowed", 400);
        let told = reader.on_refused(Instant::now(), other);
        told.expect_err("this says nothing of the number");
        assert_eq!(reader.place().0, after(7, None));
        let gap = reader
            .on_refused(Instant::now(), refused())
            .expect("a place")
            .expect("a gap");
        assert_eq!(gap.cause, GapCause::UnknownPosition);
        assert_eq!(gap.after, "7".parse().ok());
        assert_eq!(reader.place().0, TRIM_HORIZON);
    }

    #[test]
    fn all_records_are_handed_out_from_the_first_one_behind_a_gap() {
        let now = Instant::now();
        let mut patient = patient();
        patient.repeats = Repeats::of(&patient.config);
        let repeats = patient.repeats.clone();
        let first = |reader: &ShardReader| {
            let mut checkpoint = Checkpoint {
                shards: [(shard(), reader.place().0)].into(),
                ..Checkpoint::default()
            };
            repeats.complete(&mut checkpoint);
            let first = checkpoint.firsts.get(&shard());
            first.map(|first| first.as_str().to_owned())
        };
        let mut reader = reader(after(7, None), patient, now);
        assert_eq!(first(&reader), None);
        for number in [9, 11] {
            take(&mut reader, now, output(vec![raw(number, Bytes::new())]));
            assert_eq!(first(&reader).as_deref(), Some("9"));
        }
        let refused = Error::service("InvalidArgumentException", "no such number", 400);
        reader.on_refused(now, refused).expect("a place");
        reader.on_iterator(Some(iterator()));
        take(&mut reader, now, output(vec![raw(30, Bytes::new())]));
        assert_eq!(first(&reader).as_deref(), Some("30"));
    }

    #[test]
    fn what_was_left_of_a_stream_made_anew_lies_behind_what_was_read_of_that_one() {
        let now = Instant::now();
        let starting = "20".parse().expect("a number");
        let patient = patient();
        let refused = || Error::service("InvalidArgumentException", "no such number", 400);
        for (position, is_refused, expected) in [
            (TRIM_HORIZON, false, None),
            (after(17, None), true, "17".parse().ok()),
        ] {
            let mut moved = ShardReader::new(start(position), patient.clone(), now);
            if is_refused {
                moved.on_refused(now, refused()).expect("a place");
            }
            moved.on_iterator(Some(iterator()));
            take_at(
                &mut moved,
                now,
                STARTED,
                output(vec![raw(30, Bytes::new())]),
            );
            let gap = moved.on_recreated(&starting).expect("told");
            assert_eq!(gap.after, expected);
            assert!(!matches!(next_step(&mut moved, now), Step::Done(_)));
        }
        let mut left = ShardReader::new(start(after(17, None)), patient, now);
        let gap = left.on_recreated(&starting).expect("told");
        assert_eq!(gap.after, "17".parse().ok());
        assert!(matches!(
            next_step(&mut left, now),
            Step::Done(End::ShardEnd)
        ));
    }

    #[test]
    fn a_shard_that_lies_beyond_the_bound_is_not_read_at_all() {
        let bounded = bounded(Until::Checkpoint(std::sync::Arc::default()));
        let mut reader = ShardReader::new(start(TRIM_HORIZON), bounded, Instant::now());
        let step = next_step(&mut reader, Instant::now());
        assert!(matches!(step, Step::Done(End::CaughtUp)), "{step:?}");
    }

    #[test]
    fn a_doubtful_answer_is_read_again_from_the_last_record() {
        let now = Instant::now();
        let mut reader = reader(after(7, None), settings(), now);
        let days = Timestamp::from_millis(STARTED.as_millis() + 3 * 24 * 3_600_000);
        let late = by_server(days);
        let records = |reader: &mut ShardReader, numbers: &[u64]| {
            let raw = numbers.iter().map(|n| raw(*n, Bytes::new())).collect();
            let taken = reader.on_records((now, Duration::ZERO), late, output(raw));
            taken.map(|taken| taken.records.len())
        };
        assert_eq!(records(&mut reader, &[9]).expect("nothing yet"), 0);
        assert!(matches!(next_step(&mut reader, now), Step::GetRetention));
        let day = Duration::from_secs(24 * 3_600);
        let told = reader.on_retention((now, days), Some(day));
        assert_eq!(told.expect("nothing is known yet"), None);
        let step = next_step(&mut reader, now + INTERVAL);
        let Step::GetIterator(position) = step else {
            panic!("{step:?}")
        };
        assert_eq!(position, after(7, Some(0)));
        reader.on_iterator(Some(iterator()));
        let error = records(&mut reader, &[9]).expect_err("7 is gone");
        assert_eq!(
            error.to_string(),
            "stream orders, shard a: records may have outlived the stream's retention unread, after \
             7, before 9; or the shard was quiet, and nothing is lost: quiet or trimmed cannot be \
             distinguished; to go on without them: ConsumerConfigBuilder::data_loss"
        );
    }

    #[test]
    fn what_only_a_longer_retention_allowed_is_to_be_confirmed_before_the_end() {
        let (now, day) = (Instant::now(), Duration::from_secs(24 * 3_600));
        let late = STARTED.saturating_add(3 * day);
        let mut reader = reader(after(7, None), patient(), now);
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::GetRetention), "{step:?}");
        assert!(!reader.needs_new_retention());
        let told = reader.on_retention((now, late), Some(7 * day));
        assert_eq!(told.expect("no gap"), None);
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::GetRecords(..)), "with its iterator");
        let last = GetRecordsOutput {
            next: None,
            ..output(vec![raw(8, Bytes::new())])
        };
        take_at(&mut reader, now, late, last);
        assert!(reader.needs_new_retention());
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::GetRetention), "{step:?}");
        let told = reader.on_retention((now, late), Some(day));
        let gap = told.expect("reported").expect("it was shortened");
        assert_eq!(
            (gap.after, gap.before),
            ("7".parse().ok(), "8".parse().ok())
        );
        assert!(!reader.needs_new_retention());
        let step = reader.next_step(now, by_server(late));
        assert!(matches!(step, Step::Done(End::ShardEnd)), "{step:?}");
    }

    #[test]
    fn an_iterator_that_expires_inside_an_aggregate_is_taken_at_its_number_again() {
        let now = Instant::now();
        let inside = after(7, Some(1));
        let mut reader = reader(inside.clone(), settings(), now);
        reader.on_expired(now);
        let step = next_step(&mut reader, now + INTERVAL);
        let Step::GetIterator(position) = step else {
            panic!("{step:?}")
        };
        assert_eq!(position, inside);
        reader.on_iterator(Some(iterator()));
        let aggregate = ["x", "y", "z"].map(|key| crate::aggregation::SubRecord::new(key, key));
        let payload = crate::aggregation::encode(&aggregate);
        let taken = take(&mut reader, now, output(vec![raw(7, payload)]));
        let subs = taken.iter().map(Record::sub_sequence_number);
        assert_eq!(subs.collect::<Vec<_>>(), [Some(2)]);
    }
}
