use std::time::{Duration, Instant};

use crate::aggregation::Misplaced;
use crate::client::{Client, GetRecordsOutput, RawRecord, ShardIterator};
use crate::config::ConsumerConfig;
use crate::consumer::deaggregator::Deaggregator;
use crate::consumer::discovery::Start;
use crate::consumer::record::Record;
use crate::error::Result;
use crate::model::{ShardPosition, StartPosition, Timestamp};

/// One shard's life: get an iterator, read, pause, read on, refresh, end. Pure: `now` is told.
#[derive(Debug)]
pub(super) struct ShardReader {
    deaggregator: Deaggregator,
    /// Closed before the consumer started: read to its end, as its children wait for that.
    closed: bool,
    settings: Settings,
    /// Where an iterator taken now has to start: behind what was read, not behind what was handed out.
    position: ShardPosition,
    state: State,
    next_read: Instant,
}

/// What all readers of a consumer are told.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub get_records_interval: Duration,
    pub misplaced: Misplaced,
    pub until_caught_up: bool,
    /// The service's time when the consumer started, and not later: LATEST from then on means this.
    pub started: Timestamp,
    /// The same, and not earlier: what arrived later is new.
    pub started_by: Timestamp,
}

impl Settings {
    pub fn new(config: &ConsumerConfig, client: &Client) -> Settings {
        let started = client.server_time();
        // The service's time is known to the second, less what its answer took.
        let this_machine = client.sys().clock.wall();
        Settings {
            get_records_interval: config.get_records_interval,
            misplaced: config.misplaced,
            until_caught_up: config.until_caught_up,
            started,
            started_by: this_machine.max(started.saturating_add(Duration::from_secs(1))),
        }
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
    /// Everything that arrived before the consumer started has been read.
    CaughtUp,
    /// The shard was closed, and is read to its end.
    ShardEnd,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    GetIterator(ShardPosition),
    GetRecords(ShardIterator),
    WaitUntil(Instant),
    Done(End),
}

impl ShardReader {
    pub fn new(start: Start, settings: Settings, now: Instant) -> ShardReader {
        ShardReader {
            deaggregator: Deaggregator::new(&start, settings.misplaced),
            closed: start.closed,
            settings,
            position: start.position,
            state: State::NoIterator,
            next_read: now,
        }
    }

    pub fn next_step(&self, now: Instant) -> Step {
        match &self.state {
            State::Done(end) => Step::Done(*end),
            _ if now < self.next_read => Step::WaitUntil(self.next_read),
            State::NoIterator => Step::GetIterator(self.position.clone()),
            State::Reading(iterator) => Step::GetRecords(iterator.clone()),
        }
    }

    /// Takes an iterator; there is none behind the end of a closed shard.
    pub fn on_iterator(&mut self, iterator: Option<ShardIterator>) {
        self.state = iterator.map_or(State::Done(End::ShardEnd), State::Reading);
        // The iterator holds the place of `Latest` for five minutes; after that, an instant has to.
        self.position = self.settings.fixed(self.position.clone());
    }

    /// The iterator lived out its five minutes: read on with a new one, a pause later.
    pub fn on_expired(&mut self, now: Instant) {
        self.state = State::NoIterator;
        self.next_read = now + self.settings.get_records_interval;
    }

    /// Takes an answer to a call that began at `called`, and gives the user records in it.
    ///
    /// # Errors
    /// The policy on misplaced records is to fail.
    pub fn on_records(&mut self, called: Instant, output: GetRecordsOutput) -> Result<Vec<Record>> {
        // The interval is a period: time spent handing over counts.
        self.next_read = called + self.settings.get_records_interval;
        let caught_up = self.settings.until_caught_up && self.is_caught_up(&output);
        if let Some(last) = output.records.last() {
            let (sequence_number, sub_sequence_number) = (last.sequence_number.clone(), None);
            self.position = ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            };
        }
        self.state = match output.next {
            None => State::Done(End::ShardEnd),
            Some(_) if caught_up => State::Done(End::CaughtUp),
            Some(iterator) => State::Reading(iterator),
        };
        self.deaggregator.take_apart(output.records)
    }

    /// Counts the user records left out so far because they belong to another shard.
    pub fn left_out(&self) -> u64 {
        self.deaggregator.left_out()
    }

    /// Says whether nothing that arrived before the start can still be ahead.
    ///
    /// Not by `MillisBehindLatest` alone: some endpoints always say 0. And not by an empty answer
    /// alone: the service gives those in the middle of a shard too.
    fn is_caught_up(&self, output: &GetRecordsOutput) -> bool {
        let new = |record: &RawRecord| record.approximate_arrival > self.settings.started_by;
        !self.closed
            && output.millis_behind_latest.unwrap_or(0) == 0
            && output.records.last().is_none_or(new)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{HashKeyRange, ShardRef};

    const INTERVAL: Duration = Duration::from_millis(200);
    const STARTED: Timestamp = Timestamp::from_millis(1_000_000);

    fn settings() -> Settings {
        Settings {
            get_records_interval: INTERVAL,
            misplaced: Misplaced::Deliver,
            until_caught_up: false,
            started: STARTED,
            started_by: STARTED.saturating_add(Duration::from_secs(1)),
        }
    }

    fn start(position: ShardPosition) -> Start {
        Start {
            shard: ShardRef::new("orders", "a"),
            range: HashKeyRange::FULL,
            closed: false,
            position,
        }
    }

    fn reader(position: ShardPosition, settings: Settings, now: Instant) -> ShardReader {
        let mut reader = ShardReader::new(start(position), settings, now);
        reader.on_iterator(Some(iterator()));
        reader
    }

    fn iterator() -> ShardIterator {
        ShardIterator::for_tests(ShardRef::new("orders", "a"))
    }

    fn raw(number: u64, data: Bytes) -> RawRecord {
        RawRecord {
            data,
            partition_key: "key".into(),
            sequence_number: number.to_string().parse().expect("a number"),
            approximate_arrival: Timestamp::from_millis(0),
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

    #[test]
    fn the_interval_counts_from_the_start_of_a_call() {
        let now = Instant::now();
        let mut reader = reader(TRIM_HORIZON, settings(), now);
        assert!(matches!(reader.next_step(now), Step::GetRecords(_)));
        reader.on_records(now, output(Vec::new())).expect("records");
        let soon = now + INTERVAL - Duration::from_millis(1);
        assert!(
            matches!(reader.next_step(soon), Step::WaitUntil(until) if until == now + INTERVAL)
        );
        assert!(matches!(
            reader.next_step(now + INTERVAL),
            Step::GetRecords(_)
        ));
    }

    #[test]
    fn an_expired_iterator_is_replaced_behind_what_was_read() {
        let now = Instant::now();
        let mut reader = reader(TRIM_HORIZON, settings(), now);
        reader.on_expired(now);
        assert!(matches!(reader.next_step(now), Step::WaitUntil(_)));
        let later = now + INTERVAL;
        assert!(matches!(
            reader.next_step(later),
            Step::GetIterator(TRIM_HORIZON)
        ));
        reader.on_iterator(Some(iterator()));
        reader
            .on_records(later, output(vec![raw(7, Bytes::new())]))
            .expect("records");
        reader.on_expired(later);
        let Step::GetIterator(position) = reader.next_step(later + INTERVAL) else {
            panic!("an iterator is due")
        };
        assert_eq!(position, after(7, None));
    }

    #[test]
    fn latest_becomes_an_instant_once_its_iterator_is_taken() {
        let now = Instant::now();
        let latest = ShardPosition::Start(StartPosition::Latest);
        let mut reader = ShardReader::new(start(latest.clone()), settings(), now);
        assert!(matches!(reader.next_step(now), Step::GetIterator(position) if position == latest));
        reader.on_iterator(Some(iterator()));
        reader.on_records(now, output(Vec::new())).expect("records");
        reader.on_expired(now);
        let Step::GetIterator(position) = reader.next_step(now + INTERVAL) else {
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
        let last = GetRecordsOutput {
            next: None,
            ..output(vec![raw(1, Bytes::new())])
        };
        assert_eq!(
            reader
                .on_records(Instant::now(), last)
                .expect("records")
                .len(),
            1
        );
        assert!(matches!(
            reader.next_step(Instant::now()),
            Step::Done(End::ShardEnd)
        ));
        let mut nothing_left = ShardReader::new(start(TRIM_HORIZON), settings(), Instant::now());
        nothing_left.on_iterator(None);
        assert!(matches!(
            nothing_left.next_step(Instant::now()),
            Step::Done(End::ShardEnd)
        ));
    }

    #[test]
    fn caught_up_is_when_nothing_from_before_the_start_can_be_ahead() {
        let bounded = || Settings {
            until_caught_up: true,
            ..settings()
        };
        let arrived = |after_start_ms: i64| RawRecord {
            approximate_arrival: Timestamp::from_millis(STARTED.as_millis() + after_start_ms),
            ..raw(1, Bytes::new())
        };
        for (what, closed, behind, records, caught_up) in [
            ("an empty answer at the tip", false, Some(0), vec![], true),
            (
                "an empty answer from an endpoint that says nothing",
                false,
                None,
                vec![],
                true,
            ),
            (
                "an empty answer in the middle",
                false,
                Some(1),
                vec![],
                false,
            ),
            (
                "old records at the tip, if it is one",
                false,
                Some(0),
                vec![arrived(-1)],
                false,
            ),
            (
                "records that may be from before the start",
                false,
                Some(0),
                vec![arrived(1_000)],
                false,
            ),
            ("new records", false, Some(0), vec![arrived(1_001)], true),
            (
                "a closed shard, which has an end to reach",
                true,
                Some(0),
                vec![],
                false,
            ),
        ] {
            let start = Start {
                closed,
                ..start(TRIM_HORIZON)
            };
            let mut reader = ShardReader::new(start, bounded(), Instant::now());
            reader.on_iterator(Some(iterator()));
            let answer = GetRecordsOutput {
                millis_behind_latest: behind,
                ..output(records)
            };
            reader.on_records(Instant::now(), answer).expect("records");
            let done = matches!(reader.state, State::Done(End::CaughtUp));
            assert_eq!(done, caught_up, "{what}");
        }
    }
}
