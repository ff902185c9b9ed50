//! What is committed, when, and by whom.

use kinesis_blocking::fake::VirtualClock;
use kinesis_blocking::{
    CheckpointStore, Commit, ConsumerBuilder, Error, ErrorKind, MemoryCheckpointStore, Timestamp,
};

use super::*;
use crate::time::{Flow, HOUR, world};

fn with_store(client: &Client, store: impl CheckpointStore + 'static) -> Result<Consumer> {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    builder.checkpoint_store(store).start()
}

/// Counts the records it reads, up to `count`, on from a state that says how many there were.
fn count(consumer: &mut Consumer, count: usize) -> u64 {
    let counted = consumer.state().map_or(0, |state| {
        let state: [u8; 8] = state[..].try_into().expect("eight bytes");
        u64::from_be_bytes(state)
    });
    let records = consumer.by_ref().take(count);
    records.fold(counted, |counted, record| {
        record.expect("a record");
        counted + 1
    })
}

#[test]
fn a_state_and_its_checkpoint_are_one() {
    let client = client(2);
    put(&client, named("r", 100));
    let store = MemoryCheckpointStore::new();
    let start = || with_store(&client, store.clone()).expect("started");
    let mut first = start();
    assert_eq!(first.state(), None);
    let counted = count(&mut first, 30);
    first
        .commit_with(counted.to_be_bytes().to_vec())
        .expect("committed");
    // What is done since is not committed, and so done again.
    count(&mut first, 20);
    drop(first);
    let mut second = start();
    let counted = count(&mut second, 40);
    assert_eq!(counted, 70);
    second
        .commit_with(counted.to_be_bytes().to_vec())
        .expect("committed");
    count(&mut second, 10);
    let torn = second.commit().expect_err("the state is missing");
    assert!(torn.to_string().starts_with("checkpoint: "), "{torn}");
    let before = store.last();
    second.close().expect("closed");
    assert_eq!(
        store.last(),
        before,
        "closing commits no checkpoint without its state"
    );
    assert_eq!(count(&mut start(), usize::MAX), 100);
}

#[test]
fn a_checkpoint_that_is_given_has_no_state() {
    let client = client(1);
    put(&client, named("r", 3));
    let store = MemoryCheckpointStore::new();
    let mut first = with_store(&client, store.clone()).expect("started");
    first.next().expect("more").expect("a record");
    let checkpoint = first.checkpoint();
    first.commit_with("one").expect("committed");
    drop(first);
    let start = |given: Checkpoint| {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let builder = builder.checkpoint_store(store.clone()).restore(given);
        builder.start().expect("started")
    };
    let given_nothing = start(Checkpoint::default());
    assert_eq!(
        given_nothing.state().map(|state| &state[..]),
        Some(&b"one"[..])
    );
    drop(given_nothing);
    let mut given = start(checkpoint);
    assert_eq!(given.state(), None);
    assert_eq!(read(&mut given), ["r1", "r2"]);
    given.close().expect("committed");
    assert_eq!(store.last().expect("a commit").state, None);
}

#[test]
fn whoever_started_later_ends_the_one_before() {
    let client = client(1);
    put(&client, named("r", 10));
    let store = MemoryCheckpointStore::new();
    let start = || {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let builder = builder.checkpoint_store(store.clone());
        builder
            .commit_interval(Duration::ZERO)
            .start()
            .expect("started")
    };
    let (mut first, mut second) = (start(), start());
    let fenced = first.next().expect("an end").expect_err("taken over");
    assert!(
        matches!(fenced.kind(), ErrorKind::Fenced { .. }),
        "{fenced}"
    );
    assert!(first.next().is_none(), "nothing follows");
    assert_eq!(read(&mut second).len(), 10);
    second.close().expect("committed");
}

#[test]
fn two_consumers_of_one_file_are_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.checkpoint");
    let client = client(1);
    put(&client, named("r", 3));
    let start = || with_store(&client, FileCheckpointStore::new(&path));
    let mut first = start().expect("started");
    let refused = start().expect_err("one at a time").to_string();
    assert!(refused.contains("another consumer uses it"), "{refused}");
    assert_eq!(read(&mut first).len(), 3);
    first.close().expect("committed");
    assert_eq!(read(&mut start().expect("started")), Vec::<String>::new());
}

/// A disk that is full from some save on.
struct Full {
    saves_left: u32,
    last: MemoryCheckpointStore,
}

impl CheckpointStore for Full {
    fn load(&mut self) -> Result<Option<Commit>> {
        self.last.load()
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        match self.saves_left.checked_sub(1) {
            Some(left) => {
                self.saves_left = left;
                self.last.save(commit)
            }
            None => Err(Error::store("writing the table", "no space left")),
        }
    }
}

/// A consumer that starts at LATEST with a store.
fn at_latest(client: &Client, store: &MemoryCheckpointStore) -> ConsumerBuilder {
    let builder = Consumer::builder(client.clone()).stream("orders");
    let builder = builder.config(endless(StartPosition::Latest));
    builder.checkpoint_store(store.clone())
}

/// A consumer that starts at LATEST is dropped without a commit, as by a kill, and later another starts.
fn killed_at_latest(start: impl Fn(ConsumerBuilder)) -> Vec<String> {
    let (clock, kinesis) = world(4);
    let (client, store) = (kinesis.client(), MemoryCheckpointStore::new());
    put(&client, named("before", 10));
    clock.advance(HOUR);
    start(at_latest(&client, &store));
    clock.advance(HOUR);
    put(&client, named("r", 50));
    clock.advance(HOUR);
    let mut second = at_latest(&client, &store).start().expect("started");
    let _flow = Flow::of(&clock);
    let records = second.by_ref().take(50);
    sorted(records.map(|r| data(&r.expect("a record"))).collect())
}

#[test]
fn what_arrives_after_a_start_at_latest_is_read_although_nothing_was_committed() {
    let names = killed_at_latest(|builder| drop(builder.start().expect("started")));
    assert_eq!(names, sorted(named("r", 50).collect()));
}

#[test]
fn what_arrives_after_a_group_s_start_at_latest_is_read_although_nothing_was_committed() {
    let names = killed_at_latest(|builder| drop(builder.start_group(3).expect("started")));
    assert_eq!(names, sorted(named("r", 50).collect()));
}

#[test]
fn a_stream_that_is_added_to_a_checkpoint_has_its_start_saved() {
    let (clock, kinesis) = world(1);
    let (client, store) = (kinesis.client(), MemoryCheckpointStore::new());
    drop(at_latest(&client, &store).start().expect("started"));
    client.create_stream("returns", 1).expect("made");
    clock.advance(HOUR);
    let both = || at_latest(&client, &store).stream("returns");
    drop(both().start().expect("started"));
    clock.advance(HOUR);
    let late = entry("key", "late".into());
    client.put_records("returns", &[late]).expect("put");
    clock.advance(HOUR);
    let mut last = both().start().expect("started");
    let _flow = Flow::of(&clock);
    assert_eq!(data(&last.next().expect("more").expect("a record")), "late");
}

#[test]
fn a_start_that_cannot_be_saved_is_an_error() {
    let client = client(1);
    let store = Full {
        saves_left: 0,
        last: MemoryCheckpointStore::new(),
    };
    let error = with_store(&client, store).expect_err("full").to_string();
    assert_eq!(error, "writing the table: no space left");
}

#[test]
fn a_checkpoint_that_is_given_leaves_what_the_store_has_until_the_first_commit() {
    let client = client(1);
    put(&client, named("r", 3));
    let store = MemoryCheckpointStore::new();
    let mut first = with_store(&client, store.clone()).expect("started");
    first.commit_with("a state").expect("committed");
    drop(first);
    let before = store.last();
    let given = consumer(&client, all()).checkpoint();
    let builder = at_latest(&client, &store).restore(given);
    let given = builder.start().expect("started");
    assert_eq!(store.last(), before);
    given.close().expect("committed");
    assert_ne!(store.last(), before);
}

/// A disk that is full for a while, by the clock.
struct FullUntil {
    clock: VirtualClock,
    until: Timestamp,
    last: MemoryCheckpointStore,
}

impl CheckpointStore for FullUntil {
    fn load(&mut self) -> Result<Option<Commit>> {
        self.last.load()
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        let now = self.clock.time();
        match now > time::START && now < self.until {
            true => Err(Error::store("writing the table", "no space left")),
            false => self.last.save(commit),
        }
    }
}

/// Reads with a commit every 5 s until `time`, or until an error, and counts the commits that failed.
fn commits_failed(seconds: u64) -> (usize, Result<Event>, MemoryCheckpointStore) {
    let (clock, kinesis) = world(1);
    let last = MemoryCheckpointStore::new();
    let after = |seconds| time::START.saturating_add(Duration::from_secs(seconds));
    let builder = Consumer::builder(kinesis.client()).stream("orders");
    let builder = builder.config(endless(StartPosition::Latest));
    let builder = builder.commit_interval(Duration::from_secs(5));
    let builder = builder.checkpoint_store(FullUntil {
        clock: clock.clone(),
        until: after(seconds),
        last: last.clone(),
    });
    let mut consumer = builder.start().expect("started");
    put(&kinesis.client(), named("r", 10));
    let _flow = Flow::of(&clock);
    let (mut failed, mut records) = (0, 0);
    let end = loop {
        let event = consumer.next_event(Duration::from_secs(600));
        match event {
            Ok(Event::CommitFailed(_)) => failed += 1,
            Ok(Event::Record(_)) => records += 1,
            Ok(Event::ShardStarted(_)) => {}
            end => break end,
        }
    };
    assert_eq!(records, 10);
    let commits = consumer.metrics().commits;
    assert_eq!(
        commits.failed_commits as usize,
        failed + usize::from(end.is_err())
    );
    assert_eq!(commits.failing_millis.is_some(), end.is_err());
    (failed, end, last)
}

#[test]
fn a_commit_by_interval_that_fails_is_told_and_tried_again_for_five_minutes() {
    let (failed, end, last) = commits_failed(200);
    assert!(matches!(end, Ok(Event::Timeout)), "{end:?}");
    // Time may pass while this thread does not get its turn.
    assert!((10..=40).contains(&failed), "{failed}");
    let committed = last.last().expect("a commit").checkpoint;
    let position = committed.iter().next().expect("a shard").1;
    assert!(
        matches!(position, ShardPosition::After { .. }),
        "{position:?}"
    );
    let (failed, end, _) = commits_failed(1_000);
    let error = end.expect_err("given up").to_string();
    assert_eq!(error, "writing the table: no space left");
    assert!((15..=60).contains(&failed), "{failed}");
}

#[test]
fn a_quiet_consumer_commits_by_interval_and_its_restart_after_days_is_no_loss() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let store = MemoryCheckpointStore::new();
    let minutely = config(StartPosition::TrimHorizon).get_records_interval(Duration::from_secs(60));
    let minutely = minutely.build().expect("valid");
    let start = || {
        let builder = Consumer::builder(client.clone()).stream("orders");
        let builder = builder.config(minutely.clone());
        let builder = builder.checkpoint_store(store.clone());
        // Longer than it may be.
        builder.commit_interval(48 * HOUR).start().expect("started")
    };
    put(&client, named("r", 3));
    let mut first = start();
    let flow = Flow::of(&clock);
    while !matches!(
        first.next_event(30 * HOUR).expect("an event"),
        Event::Timeout
    ) {}
    drop((flow, first));
    put(&client, named("later", 3));
    let mut second = start();
    let _flow = Flow::of(&clock);
    let names: Vec<_> = second
        .by_ref()
        .take(3)
        .map(|r| data(&r.expect("no loss")))
        .collect();
    assert_eq!(names, ["later0", "later1", "later2"]);
}

#[test]
fn a_commit_says_when_the_stream_was_listed_also_while_an_answer_takes_days() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 10));
    let config = config(StartPosition::TrimHorizon).get_records_interval(HOUR);
    let config = config.shard_discovery_interval(HOUR);
    let config = config.build().expect("valid");
    for interval in [None, Some(HOUR)] {
        let store = MemoryCheckpointStore::new();
        let builder = Consumer::builder(client.clone()).stream("orders");
        let builder = builder.config(config.clone());
        let builder = builder.checkpoint_store(store.clone());
        let builder = match interval {
            Some(interval) => builder.commit_interval(interval),
            None => builder,
        };
        let mut consumer = builder.start().expect("started");
        let begun = clock.time();
        let _flow = Flow::of(&clock);
        // All ten are in the first answer.
        for _ in 0..4 {
            while !matches!(next(&mut consumer), Event::Record(_)) {}
            clock.sleep(6 * HOUR);
            if interval.is_none() {
                consumer.commit().expect("committed");
            }
        }
        let json = store.last().expect("a commit").checkpoint.to_json();
        let (_, listed) = json.split_once("\"listed_ms\":").expect("a listing");
        let listed = listed.split('}').next().expect("a time").parse();
        let listed = Timestamp::from_millis(listed.expect("a number"));
        let after = listed.saturating_since(begun);
        assert!(
            after >= 16 * HOUR,
            "{interval:?}: listed {after:?} after the start"
        );
    }
}

fn next(consumer: &mut Consumer) -> Event {
    consumer.next_event(HOUR).expect("an event")
}

#[test]
fn a_commit_that_fails_ends_the_consumer_and_leaves_the_one_before() {
    let client = client(1);
    put(&client, named("r", 10));
    let last = MemoryCheckpointStore::new();
    let store = Full {
        saves_left: 6,
        last: last.clone(),
    };
    let config = config(StartPosition::TrimHorizon).until_caught_up(true);
    let config = config.commit_retry_timeout(Duration::ZERO).build();
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(config.expect("valid"));
    let builder = builder
        .checkpoint_store(store)
        .commit_interval(Duration::ZERO);
    let mut consumer = builder.start().expect("started");
    let outcomes: Vec<_> = consumer.by_ref().collect();
    let (error, records) = outcomes.split_last().expect("outcomes");
    assert_eq!(
        error.as_ref().expect_err("full").to_string(),
        "writing the table: no space left"
    );
    assert!(consumer.next().is_none(), "nothing follows");
    drop(consumer);
    // The last save that went well covered all but the last record that came before the failure.
    let rest = read(&mut with_store(&client, last).expect("started"));
    assert!(rest.len() + records.len() >= 10, "{rest:?}");
    assert!(rest.len() + records.len() <= 11, "{rest:?}");
}
