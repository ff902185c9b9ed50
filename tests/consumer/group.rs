//! Several consumers in one process that share the shards.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Client, Commit, Consumer, ConsumerBuilder, ConsumerConfig, Event,
    HashKeyRange, MemoryCheckpointStore, MonotonousTimestamps, Operation, Record, SequenceNumber,
    ShardPosition, ShardRef, StartPosition, Timestamp, WatermarkReport, WatermarkTracker,
};

use crate::time::{Flow, HOUR, until, world};
use crate::{all, config, data, endless, entry, merge, named, put, sorted, split};

const SECOND: Duration = Duration::from_secs(1);

/// Gives shard `n` to consumer `n`, and begins again.
fn in_turns(shard: &ShardRef, _: HashKeyRange, parallelism: usize) -> usize {
    let digits = &shard.shard_id.as_str()["shardId-".len()..];
    digits.parse::<usize>().expect("a number") % parallelism
}

fn builder(client: &Client, config: ConsumerConfig) -> ConsumerBuilder {
    let builder = Consumer::builder(client.clone()).stream("orders");
    builder.config(config).shard_assigner(in_turns)
}

fn group(client: &Client, config: ConsumerConfig, size: usize) -> Vec<Consumer> {
    let builder = builder(client, config);
    builder.start_group(size).expect("started")
}

/// What the consumers of a group hand out, in the order in which they do, each in a thread of its own.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Record>>>);

impl Log {
    fn reads(&self, group: Vec<Consumer>) -> Vec<JoinHandle<Checkpoint>> {
        let read = |mut consumer: Consumer| {
            let log = self.clone();
            thread::spawn(move || {
                for record in &mut consumer {
                    log.0.lock().expect("a log").push(record.expect("a record"));
                }
                consumer.close().expect("closed")
            })
        };
        group.into_iter().map(read).collect()
    }

    fn len(&self) -> usize {
        self.0.lock().expect("a log").len()
    }

    fn names(&self) -> Vec<String> {
        sorted(self.0.lock().expect("a log").iter().map(data).collect())
    }

    /// Fails unless the records of each key are in their order.
    fn check_order(&self) {
        let mut last: BTreeMap<String, SequenceNumber> = BTreeMap::new();
        for record in self.0.lock().expect("a log").iter() {
            let number = record.sequence_number().clone();
            let before = last.insert(record.partition_key().to_owned(), number.clone());
            assert!(before.is_none_or(|before| before < number), "{record:?}");
        }
    }
}

fn joined(threads: Vec<JoinHandle<Checkpoint>>) -> Checkpoint {
    let checkpoints = threads.into_iter().map(|t| t.join().expect("no panic"));
    checkpoints.reduce(Checkpoint::merge).unwrap_or_default()
}

#[test]
fn every_record_comes_once_and_in_the_order_of_its_key_while_shards_split_and_merge() {
    for size in [2, 3, 5] {
        let kinesis = FakeKinesis::new().with_stream("orders", 3);
        let client = kinesis.client();
        let group = group(&client, endless(StartPosition::TrimHorizon), size);
        let stops: Vec<_> = group.iter().map(Consumer::stop_handle).collect();
        let log = Log::default();
        let threads = log.reads(group);
        let mut names = Vec::new();
        for round in 0..12 {
            let record = |n: usize| (format!("k{}", n % 17), format!("{round}-{n}"));
            let records: Vec<_> = (0..100).map(record).collect();
            for (key, name) in records {
                client
                    .put_records("orders", &[entry(&key, name.clone().into())])
                    .expect("put");
                names.push(name);
            }
            match round % 3 {
                0 => split(&client),
                1 => merge(&client),
                _ => {}
            }
        }
        until("records of all", || log.len() >= names.len());
        stops.iter().for_each(|stop| stop.stop());
        let checkpoint = joined(threads);
        assert_eq!(log.names(), sorted(names));
        log.check_order();
        let shards = client.list_shards("orders").expect("listed");
        let read = checkpoint.iter().map(|(shard, _)| shard.shard_id.clone());
        let listed: BTreeSet<_> = shards.into_iter().map(|shard| shard.id).collect();
        assert_eq!(read.collect::<BTreeSet<_>>(), listed);
    }
}

#[test]
fn a_bounded_group_ends_with_all_that_is_there_whoever_reads_the_parents() {
    let client = FakeKinesis::new().with_stream("orders", 2).client();
    let mut names = Vec::new();
    for round in 0..6 {
        let prefix = format!("{round}-");
        put(&client, named(&prefix, 50));
        names.extend(named(&prefix, 50));
        match round % 2 {
            0 => split(&client),
            _ => merge(&client),
        }
    }
    for size in [1, 2, 3, 4, 20] {
        let log = Log::default();
        let checkpoint = joined(log.reads(group(&client, all(), size)));
        assert_eq!(log.names(), sorted(names.clone()), "{size} consumers");
        log.check_order();
        let shards = client.list_shards("orders").expect("listed").len();
        assert_eq!(checkpoint.iter().count(), shards, "{size} consumers");
    }
}

#[test]
fn a_bounded_group_may_be_asked_in_turns_by_one_thread() {
    let client = FakeKinesis::new().with_stream("orders", 4).client();
    put(&client, named("r", 100));
    let mut group = group(&client, all(), 3);
    let mut names = Vec::new();
    let mut ended = BTreeSet::new();
    while ended.len() < 3 {
        for (index, consumer) in group.iter_mut().enumerate() {
            match consumer.next_event(Duration::ZERO).expect("an event") {
                Event::Record(record) => names.push(data(&record)),
                Event::Ended => drop(ended.insert(index)),
                _ => thread::yield_now(),
            }
        }
    }
    assert_eq!(sorted(names), sorted(named("r", 100).collect()));
}

#[test]
fn a_bounded_group_waits_for_children_that_are_listed_late() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("a", 10));
    split(&client);
    put(&client, named("b", 10));
    let late = kinesis.on(Operation::ListShards);
    late.fail_next(3, Fault::ChildrenLate);
    let log = Log::default();
    let group = group(&client, all(), 3);
    let _flow = Flow::of(&clock);
    joined(log.reads(group));
    let names = named("a", 10).chain(named("b", 10));
    assert_eq!(log.names(), sorted(names.collect()));
}

#[test]
fn a_time_is_read_up_to_by_all() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("a", 20));
    split(&client);
    put(&client, named("b", 20));
    let until = clock.time().saturating_add(HOUR / 2);
    let settings = config(StartPosition::TrimHorizon).get_records_interval(SECOND);
    let settings = settings.until_timestamp(until).build().expect("valid");
    let log = Log::default();
    let group = group(&client, settings, 3);
    let _flow = Flow::of(&clock);
    joined(log.reads(group));
    assert!(clock.time() >= until);
    let names = named("a", 20).chain(named("b", 20));
    assert_eq!(log.names(), sorted(names.collect()));
}

#[test]
fn a_group_of_any_size_goes_on_from_the_store_of_another() {
    let client = FakeKinesis::new().with_stream("orders", 3).client();
    let store = MemoryCheckpointStore::new();
    for (round, size) in [3, 1, 4, 2, 7].into_iter().enumerate() {
        let prefix = format!("{round}-");
        put(&client, named(&prefix, 100));
        match round {
            1 => split(&client),
            3 => merge(&client),
            _ => {}
        }
        let builder = builder(&client, all()).checkpoint_store(store.clone());
        let log = Log::default();
        let union = joined(log.reads(builder.start_group(size).expect("started")));
        assert_eq!(
            log.names(),
            sorted(named(&prefix, 100).collect()),
            "round {round}"
        );
        let saved = store.last().expect("a commit").checkpoint;
        assert!(saved.iter().eq(union.iter()), "round {round}");
    }
}

#[test]
fn a_commit_of_one_says_where_all_go_on() {
    let client = FakeKinesis::new().with_stream("orders", 3).client();
    put(&client, named("r", 90));
    let store = MemoryCheckpointStore::new();
    let builder = || builder(&client, all()).checkpoint_store(store.clone());
    let mut group = builder().start_group(3).expect("started");
    let mut names: Vec<_> = group[0]
        .by_ref()
        .take(5)
        .map(|r| data(&r.expect("a record")))
        .collect();
    // What this one takes is not committed.
    group[1].next().expect("more").expect("a record");
    group[0].commit().expect("committed");
    drop(group);
    let saved = store.last().expect("a commit").checkpoint;
    let begun = saved
        .iter()
        .filter(|(_, position)| matches!(position, ShardPosition::After { .. }));
    assert_eq!((begun.count(), saved.iter().count()), (1, 3));
    let log = Log::default();
    joined(log.reads(builder().start_group(2).expect("started")));
    names.extend(log.names());
    assert_eq!(sorted(names), sorted(named("r", 90).collect()));
}

#[test]
fn a_state_is_for_one_that_is_alone() {
    let client = FakeKinesis::new().with_stream("orders", 2).client();
    let mut store = MemoryCheckpointStore::new();
    let builder = || builder(&client, all());
    let with_store = builder().checkpoint_store(store.clone());
    let mut group = with_store.start_group(2).expect("started");
    let refused = group[0].commit_with("state").expect_err("refused");
    let begins = "commit_with: \"a state\" is not possible in a group";
    assert!(refused.to_string().starts_with(begins), "{refused}");
    group[0].commit().expect("without one");
    drop(group);
    store.load().expect("loaded");
    let commit = Commit::new(Checkpoint::default(), Some("state".into()));
    store.save(&commit).expect("saved");
    let refused = builder().checkpoint_store(store.clone()).start_group(2);
    let begins = "checkpoint_store: \"a checkpoint with a state\" is not one that several";
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.starts_with(begins), "{refused}");
    for consumers in [0, 1_001] {
        let refused = builder().start_group(consumers).expect_err("refused");
        let expected = format!("start_group: \"{consumers}\" is not a number from 1 to 1000");
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn shards_are_listed_once_an_interval_whatever_the_size() {
    for size in [1, 8] {
        let (clock, kinesis) = world(4);
        let interval = 10 * SECOND;
        let settings = config(StartPosition::TrimHorizon).shard_discovery_interval(interval);
        let settings = settings.get_records_interval(SECOND).build();
        let mut group = group(&kinesis.client(), settings.expect("valid"), size);
        assert_eq!(kinesis.calls(Operation::ListShards), 1);
        for round in 1..=5 {
            // The threads of the shards, that of discovery, and nobody else.
            until("thread that waits", || clock.waiters() >= 5);
            for _ in 0..10 {
                clock.advance(SECOND);
                until("thread that waits", || clock.waiters() >= 5);
            }
            assert_eq!(
                kinesis.calls(Operation::ListShards),
                1 + round,
                "{size} consumers"
            );
        }
        let metrics: Vec<_> = group.iter().map(Consumer::metrics).collect();
        assert!(metrics.iter().all(|m| m.discovery.list_shards_calls == 6));
        assert!(metrics.iter().all(|m| m.discovery.shards_found == 4));
        group.clear();
    }
}

#[test]
fn children_wait_until_the_reader_of_their_parent_has_come_back() {
    let client = FakeKinesis::new().with_stream("orders", 1).client();
    put(&client, named("a", 10));
    split(&client);
    put(&client, named("b", 10));
    let store = MemoryCheckpointStore::new();
    let builder = builder(&client, endless(StartPosition::TrimHorizon));
    let builder = builder
        .checkpoint_store(store.clone())
        .commit_interval(HOUR);
    // Shard 0 is the first one's, 1 the second's, 2 the third's.
    let mut group = builder.start_group(3).expect("started");
    let mut third = group.pop().expect("three");
    let mut second = group.pop().expect("three");
    let mut first = group.pop().expect("three");
    let event = |consumer: &mut Consumer| consumer.next_event(Duration::MAX).expect("an event");
    while !matches!(event(&mut first), Event::ShardEnded(_)) {}
    let nothing = |consumer: &mut Consumer| {
        matches!(
            consumer.next_event(Duration::from_millis(20)),
            Ok(Event::Timeout)
        )
    };
    assert!(
        nothing(&mut second) && nothing(&mut third),
        "the first is at it"
    );
    let parent = ShardRef::new("orders", "shardId-000000000000");
    let saved = || {
        let saved = store.last().expect("a commit").checkpoint;
        saved.position(&parent).cloned()
    };
    assert_ne!(saved(), Some(ShardPosition::ShardEnd));
    assert!(nothing(&mut first));
    // Before anything of its children is.
    assert_eq!(saved(), Some(ShardPosition::ShardEnd));
    for other in [&mut second, &mut third] {
        assert!(matches!(event(other), Event::ShardStarted(_)));
        assert!(matches!(event(other), Event::Record(_)));
    }
}

#[test]
fn what_a_closed_one_was_to_read_waits_for_the_next_start() {
    let client = FakeKinesis::new().with_stream("orders", 2).client();
    put(&client, named("a", 40));
    split(&client);
    put(&client, named("b", 40));
    let store = MemoryCheckpointStore::new();
    let builder = || builder(&client, all()).checkpoint_store(store.clone());
    let mut names = Vec::new();
    for is_closed in [true, false] {
        let mut group = builder().start_group(2).expect("started");
        // It reads shard 0, whose children nobody may read before it.
        let early = group.remove(0);
        match is_closed {
            true => drop(early.close().expect("closed")),
            false => drop(early),
        }
        // The rest ends all the same, though a child is its own.
        let log = Log::default();
        joined(log.reads(group));
        assert_eq!(
            log.len() > 0,
            is_closed,
            "the second has nothing more to read"
        );
        names.extend(log.names());
    }
    let log = Log::default();
    joined(log.reads(builder().start_group(3).expect("started")));
    let saved = store.last().expect("a commit").checkpoint;
    assert_eq!(saved.iter().count(), 4);
    log.check_order();
    assert!(names.len() < 80 && log.len() < 80);
    names.extend(log.names());
    let expected = named("a", 40).chain(named("b", 40));
    assert_eq!(sorted(names), sorted(expected.collect()));
}

#[test]
fn an_error_of_the_shared_search_is_everybodys_and_one_of_a_shard_its_readers() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    let denied = |message| Fault::refuse("AccessDeniedException", message);
    let group_of = |config| group(&client, config, 2);
    let settings = || config(StartPosition::TrimHorizon).get_records_interval(SECOND);
    let mut both = group_of(settings().build().expect("valid"));
    let gone = Fault::refuse("ResourceNotFoundException", "no such stream");
    let script = kinesis.on(Operation::ListShards);
    script.fail_next(u64::MAX, gone);
    let flow = Flow::of(&clock);
    for consumer in &mut both {
        let error = consumer.find_map(Result::err).expect("an error");
        assert!(error.to_string().contains("no such stream"), "{error}");
        assert!(consumer.next().is_none());
    }
    drop((both, flow));
    kinesis.calm_down();
    put(&client, named("r", 40));
    let script = kinesis
        .on(Operation::GetRecords)
        .shard("shardId-000000000000");
    script.fail_next(1, denied("no right to read"));
    let mut both = group_of(settings().until_caught_up(true).build().expect("valid"));
    let _flow = Flow::of(&clock);
    let error = both[0].find_map(Result::err).expect("an error");
    assert!(error.to_string().contains("no right to read"), "{error}");
    let names = crate::read(&mut both[1]);
    let of_second = kinesis.records("orders").into_iter();
    let of_second = of_second.filter(|r| r.shard_id.as_str() == "shardId-000000000001");
    assert_eq!(names.len(), of_second.count());
}

#[test]
fn processes_with_several_consumers_each_share_the_shards() {
    let client = FakeKinesis::new().with_stream("orders", 9).client();
    let mut readers = BTreeMap::new();
    for index in 0..2 {
        let group = builder(&client, all()).subtask(index, 2).start_group(3);
        for (member, consumer) in group.expect("started").into_iter().enumerate() {
            for (shard, _) in consumer.checkpoint().iter() {
                let before = readers.insert(shard.clone(), index * 3 + member);
                assert_eq!(before, None, "{shard} is read twice");
            }
        }
    }
    let expected = |shard: &ShardRef| in_turns(shard, HashKeyRange::FULL, 6);
    assert_eq!(readers.len(), 9);
    assert!(
        readers
            .iter()
            .all(|(shard, reader)| *reader == expected(shard))
    );
}

#[test]
fn the_metrics_of_all_are_reported_together() {
    let client = FakeKinesis::new().with_stream("orders", 4).client();
    put(&client, named("r", 200));
    let (reports, reported) = mpsc::sync_channel(1_000);
    let report = move |metrics: &kinesis_blocking::ConsumerMetrics| {
        reports.try_send(metrics.clone()).expect("room");
    };
    let store = MemoryCheckpointStore::new();
    let builder = builder(&client, all()).checkpoint_store(store);
    let group = builder.on_metrics(HOUR, report).start_group(3);
    let log = Log::default();
    joined(log.reads(group.expect("started")));
    let last = reported.into_iter().last().expect("the last report");
    assert_eq!(last.total.user_records_taken, 200);
    assert_eq!(
        last.commits.commits, 4,
        "the start, and each before the last report"
    );
    assert_eq!(last.discovery.shards_found, 4);
}

#[test]
fn a_child_has_the_watermark_that_its_parent_had_in_another_consumer() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    crate::event_time::put(&client, 0, 7_000);
    split(&client);
    let strategy = MonotonousTimestamps::new(crate::event_time::own_time);
    let config = crate::event_time::settings().build().expect("valid");
    // Shard 0 is the first one's, its children are the second's and the third's.
    let group = builder(&client, config).watermarks(strategy).start_group(3);
    let mut group = group.expect("started");
    let _flow = Flow::of(&clock);
    for _ in 0..50 {
        for consumer in &mut group {
            consumer.next_event(SECOND).expect("an event");
        }
    }
    // What they read has brought nothing.
    for child in &group[1..] {
        assert_eq!(child.watermark(), Some(Timestamp::from_millis(7_000)));
    }
}

/// Notes who reports.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<BTreeSet<(String, usize)>>>);

impl WatermarkTracker for Reported {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        let who = (report.subtask.to_owned(), report.parallelism);
        self.0.lock().expect("a set").insert(who);
        Ok(report.watermark)
    }
}

#[test]
fn consumers_of_a_group_have_one_tracker_and_each_its_name() {
    let (clock, kinesis) = world(2);
    let config = crate::event_time::settings().watermark_sync_interval(SECOND);
    let builder = builder(&kinesis.client(), config.build().expect("valid")).subtask(1, 2);
    let reported = Reported::default();
    let builder = builder.watermark_tracker(reported.clone());
    let _group = builder.start_group(2).expect("started");
    let _flow = Flow::of(&clock);
    until("second name", || {
        reported.0.lock().expect("a set").len() >= 2
    });
    let names = ["orders-2", "orders-3"].map(|name| (name.to_owned(), 4));
    assert_eq!(*reported.0.lock().expect("a set"), BTreeSet::from(names));
}
