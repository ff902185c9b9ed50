//! Data that is lost is told, and nothing else is.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use kinesis_blocking::aggregation::{SubRecord, encode};
use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{
    Checkpoint, Client, Consumer, ConsumerBuilder, DataLoss, ErrorKind, Event, HashKey, Misplaced,
    Operation, PutRecordsEntry, Result, StartPosition,
};

use crate::time::{Flow, HOUR, run, told, until, world};
use crate::{config, data, entry, merge, named, put, sorted, split};

fn bounded(client: &Client, restored: &Checkpoint, policy: DataLoss) -> ConsumerBuilder {
    let config = config(StartPosition::TrimHorizon).until_caught_up(true);
    let config = config.data_loss(policy).build().expect("valid");
    let builder = Consumer::builder(client.clone()).stream("orders");
    builder.config(config).restore(restored.clone())
}

const MALFORMED: &str = "84mawgoBYRoJCICAgIAQGgF4NGTK18XHZj38mg/p99jSHg==";

const REPORT: DataLoss = DataLoss::ContinueAndReport;

/// Reads all that is there, for the first time. Gives the checkpoint of it.
fn read_all(clock: &VirtualClock, client: &Client) -> Checkpoint {
    let all = bounded(client, &Checkpoint::default(), DataLoss::Fail);
    run(clock, all).expect("read").1
}

#[test]
fn a_checkpoint_older_than_the_retention_is_told_with_its_bounds() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("read", 3));
    let checkpoint = read_all(&clock, &client);
    put(&client, named("lost", 3));
    clock.advance(25 * HOUR);
    put(&client, named("kept", 3));

    let failed = run(&clock, bounded(&client, &checkpoint, DataLoss::Fail));
    let error = failed.expect_err("records are lost");
    assert!(
        matches!(error.kind(), ErrorKind::DataLoss { .. }),
        "{error}"
    );
    let (told, _) = run(&clock, bounded(&client, &checkpoint, REPORT)).expect("read on");
    assert_eq!(told, ["Trimmed: x..x", "kept0", "kept1", "kept2"]);
}

#[test]
fn shards_that_came_and_went_unseen_are_told_of_also_by_the_restart_after_a_kill() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("read", 3));
    let checkpoint = read_all(&clock, &client);
    // Of the halves nothing but their child is left.
    split(&client);
    put(&client, named("lost", 10));
    merge(&client);
    clock.advance(25 * HOUR);
    put(&client, named("kept", 2));
    let killed = bounded(&client, &checkpoint, REPORT).start();
    let checkpoint = killed.expect("started").checkpoint();
    let (told, _) = run(&clock, bounded(&client, &checkpoint, REPORT)).expect("read on");
    let gone = [
        "ShardVanished: x..-",
        "ShardVanished: -..-",
        "ShardVanished: -..-",
    ];
    assert_eq!(told[..3], gone);
    assert_eq!(told[told.len() - 2..], ["kept0", "kept1"]);
}

#[test]
fn checkpoints_of_a_stream_before_and_after_it_was_made_anew_are_one_without_loss() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let started = |restored: &Checkpoint| bounded(&client, restored, REPORT).start();
    put(&client, named("old", 5));
    let _flow = Flow::of(&clock);
    let mut consumer = started(&Checkpoint::default()).expect("started");
    consumer.next().expect("more").expect("a record");
    let of_old = consumer.checkpoint();
    drop(consumer);
    client.delete_stream("orders").expect("deleted");
    clock.sleep(HOUR);
    client.create_stream("orders", 1).expect("made anew");
    put(&client, named("new", 5));
    let mut consumer = started(&Checkpoint::default()).expect("started");
    let first = consumer.next().expect("more").expect("a record");
    let of_new = consumer.checkpoint();
    drop(consumer);
    for merged in [
        of_old.clone().merge(of_new.clone()),
        of_new.clone().merge(of_old.clone()),
    ] {
        // Until the caller has the gap, a restart reports it again.
        let killed = started(&merged).expect("started").checkpoint();
        for restored in [merged, killed] {
            let mut consumer = started(&restored).expect("started");
            let records = told(&mut consumer).expect("read on");
            let expected = ["StreamRecreated: x..-", "new1", "new2", "new3", "new4"];
            assert_eq!(records, expected, "behind {}", data(&first));
            let mut consumer = started(&consumer.checkpoint()).expect("started");
            assert_eq!(told(&mut consumer).expect("read on"), [""; 0]);
        }
    }
}

#[test]
fn a_checkpoint_within_the_retention_is_no_gap() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 3));
    let checkpoint = read_all(&clock, &client);
    // The last record that was read goes meanwhile; nothing came behind it.
    let mut checkpoint = checkpoint;
    for _ in 0..3 {
        clock.advance(20 * HOUR);
        let resumed = run(&clock, bounded(&client, &checkpoint, DataLoss::Fail));
        let (told, next) = resumed.expect("nothing is lost");
        assert_eq!(told, Vec::<String>::new());
        checkpoint = next;
    }
    put(&client, named("new", 2));
    let (told, _) = run(&clock, bounded(&client, &checkpoint, DataLoss::Fail)).expect("read");
    assert_eq!(told, ["new0", "new1"]);
}

#[test]
fn an_old_checkpoint_whose_last_record_is_still_there_is_no_gap() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 2));
    let checkpoint = read_all(&clock, &client);
    // As made by a version that did not note times, and by other hands.
    let json = checkpoint.to_json();
    let (start, rest) = json.split_once(",\"complete_to_ms\":").expect("a time");
    let (_, end) = rest.split_once('}').expect("an end");
    let timeless = Checkpoint::from_json(&format!("{start}}}{end}")).expect("a checkpoint");
    put(&client, named("new", 2));
    let (told, _) = run(&clock, bounded(&client, &timeless, DataLoss::Fail)).expect("read");
    assert_eq!(told, ["new0", "new1"]);
}

/// A record an hour for three days, in a stream that keeps them for a week.
fn three_days() -> (VirtualClock, FakeKinesis, Client) {
    let (clock, kinesis) = world(1);
    kinesis.set_retention("orders", 7 * 24 * HOUR);
    let client = kinesis.client();
    for name in named("r", 72) {
        put(&client, [name]);
        clock.advance(HOUR);
    }
    (clock, kinesis, client)
}

/// A record an hour for three days in a stream that keeps a week, read by one record each `interval`;
/// when ten have been handed out, the stream keeps a day. Gives the events as [`told`] writes them.
fn read_while_the_retention_is_shortened(interval: Duration) -> Vec<String> {
    let (clock, kinesis, client) = three_days();
    let config = config(StartPosition::TrimHorizon)
        .get_records_max(1)
        .get_records_interval(interval)
        .data_loss(REPORT)
        .until_caught_up(true);
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let _flow = Flow::of(&clock);
    let mut consumer = builder.start().expect("started");
    let read = consumer.by_ref().take(10);
    let mut all: Vec<_> = read.map(|r| data(&r.expect("a record"))).collect();
    kinesis.set_retention("orders", 24 * HOUR);
    all.extend(told(&mut consumer).expect("read on"));
    all
}

#[test]
fn a_retention_that_is_shortened_while_the_reader_is_behind_is_noticed() {
    for interval in [Duration::from_millis(200), Duration::from_secs(60)] {
        let told = read_while_the_retention_is_shortened(interval);
        let (gaps, records): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|told| told.contains(".."));
        assert!(records.len() < 72 && records.len() > 20, "{records:?}");
        assert_eq!(gaps.len(), 1, "{interval:?}: {gaps:?}");
        assert!(gaps[0].starts_with("Trimmed: x.."), "{gaps:?}");
    }
}

#[test]
fn a_retention_that_is_shortened_is_noticed_by_the_next_process_too() {
    let (clock, kinesis, client) = three_days();
    let start = |from: &Checkpoint| {
        let config = config(StartPosition::TrimHorizon)
            .get_records_max(1)
            .data_loss(REPORT)
            .until_caught_up(true);
        let builder = Consumer::builder(client.clone()).stream("orders");
        let builder = builder.config(config.build().expect("valid"));
        builder.restore(from.clone()).start().expect("started")
    };
    let _flow = Flow::of(&clock);
    let mut killed = start(&Checkpoint::default());
    let read = |consumer: &mut Consumer, records: usize| {
        let read = consumer.by_ref().take(records);
        read.map(|r| data(&r.expect("a record")))
            .collect::<Vec<_>>()
    };
    let before = read(&mut killed, 10);
    kinesis.set_retention("orders", 24 * HOUR);
    // Behind the loss, and before the retention is read again.
    let behind = read(&mut killed, 5);
    let json = killed.checkpoint().to_json();
    drop(killed);
    let committed = Checkpoint::from_json(&json).expect("a checkpoint");
    let mut next = start(&committed);
    let told = told(&mut next).expect("read on");
    let gaps = told.iter().filter(|told| told.contains("..")).count();
    assert_eq!(gaps, 1, "{told:?}");
    // That much is missing: or a gap would be false.
    assert!(before.len() + behind.len() + told.len() - gaps < 72);
    assert!(
        told[0].starts_with("Trimmed: x.."),
        "first of all: {told:?}"
    );
    // Once the caller has it, it is not reported again.
    let told_once = next.checkpoint();
    assert!(!told_once.to_json().contains("unconfirmed"));
}

#[test]
fn a_retention_that_stays_is_no_gap_however_far_behind_the_reader_is() {
    let (clock, kinesis, client) = three_days();
    let config = config(StartPosition::TrimHorizon)
        .get_records_max(1)
        .get_records_interval(Duration::from_secs(60))
        .until_caught_up(true);
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let told = run_step_by_step(&clock, builder).expect("nothing is lost");
    assert_eq!(told, named("r", 72).collect::<Vec<_>>());
    // 49 minutes more than a day behind: once in five, and not for each record.
    let asked = kinesis.calls(Operation::DescribeStreamSummary);
    assert!((9..=13).contains(&asked), "asked {asked} times");
}

#[test]
fn a_start_at_the_horizon_of_a_full_shard_is_no_gap() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    for n in 0..100 {
        put_sized(&client, n, 100 << 10);
        clock.advance(Duration::from_secs(1));
    }
    // Records are trimmed one a second from now on, and ten are read in five seconds.
    clock.advance(24 * HOUR - Duration::from_secs(100));
    let config = config(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .get_records_max(10)
        .read_bytes_per_second(Some(200 << 10));
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let told = run_step_by_step(&clock, builder).expect("nothing is lost");
    assert!(told.len() >= 98, "{} records", told.len());
    // Each answer begins with the last record before it, and none is asked for in vain but the last,
    // which says once more that nothing is ahead.
    assert_eq!(kinesis.calls(Operation::GetRecords), 13);
}

/// Reads one shard to the end of the reading. Time passes only while its thread and that of discovery
/// wait: not while one of them waits for a processor.
fn run_step_by_step(clock: &VirtualClock, builder: ConsumerBuilder) -> Result<Vec<String>> {
    clock.auto_advance(2);
    told(&mut builder.start()?)
}

/// Puts a record whose data begins with its number.
fn put_sized(client: &Client, n: usize, bytes: usize) {
    let mut data = format!("{n} ").into_bytes();
    data.resize(bytes, b'.');
    let output = client.put_records("orders", &[entry("key", data.into())]);
    assert!(output.expect("answered").records.iter().all(Result::is_ok));
}

#[test]
fn a_consumer_that_falls_behind_the_retention_is_told() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 10));
    let config = config(StartPosition::TrimHorizon).get_records_max(1);
    let config = config.get_records_interval(Duration::ZERO);
    let config = config.data_loss(REPORT).until_caught_up(true).build();
    let builder = Consumer::builder(client.clone()).stream("orders");
    let mut consumer = builder
        .config(config.expect("valid"))
        .start()
        .expect("started");
    let first = consumer.next().expect("more").expect("a record");
    assert_eq!(first.data(), b"r0");
    // The caller is away for a day, and the thread waits with the answers it has: one is in the queue,
    // one is on its way in.
    let read = || consumer.metrics().total.user_records_read;
    until("third record", || read() >= 3);
    clock.advance(25 * HOUR);
    put(&client, named("kept", 1));
    let _flow = Flow::of(&clock);
    let told = told(&mut consumer).expect("read on");
    assert_eq!(told, ["r1", "r2", "Trimmed: x..x", "kept0"]);
}

#[test]
fn a_shard_that_vanished_before_its_end_is_told_and_its_children_are_read() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("r", 2));
    let checkpoint = read_all(&clock, &client);
    put(&client, named("lost", 2));
    split(&client);
    clock.advance(30 * HOUR);
    put(&client, named("child", 4));
    let failed = run(&clock, bounded(&client, &checkpoint, DataLoss::Fail));
    let error = failed.expect_err("the shard is gone");
    assert!(
        error
            .to_string()
            .contains("the shard is gone before it was read to its end"),
        "{error}"
    );
    let (told, checkpoint) = run(&clock, bounded(&client, &checkpoint, REPORT)).expect("read on");
    let gaps: Vec<_> = told.iter().filter(|told| told.contains("..")).collect();
    assert_eq!(gaps[0], "ShardVanished: x..-");
    let records = told.iter().filter(|told| !told.contains("..")).cloned();
    assert_eq!(
        sorted(records.collect()),
        sorted(named("child", 4).collect())
    );
    let (told, _) = run(&clock, bounded(&client, &checkpoint, DataLoss::Fail)).expect("told once");
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn a_stream_deleted_and_made_anew_is_told_and_read_from_its_beginning() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("old", 20));
    let checkpoint = read_all(&clock, &client);
    client.delete_stream("orders").expect("deleted");
    clock.advance(HOUR);
    client.create_stream("orders", 2).expect("made");
    put(&client, named("new", 20));
    let error = bounded(&client, &checkpoint, DataLoss::Fail)
        .start()
        .expect_err("another stream");
    assert!(
        error
            .to_string()
            .contains("the stream was deleted and made anew"),
        "{error}"
    );
    let (told, _) = run(&clock, bounded(&client, &checkpoint, REPORT)).expect("read");
    let (gaps, records): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.contains(".."));
    assert_eq!(gaps, ["StreamRecreated: x..-", "StreamRecreated: x..-"]);
    assert_eq!(sorted(records), sorted(named("new", 20).collect()));
}

#[test]
fn gaps_are_told_before_an_error_that_follows_them() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("old", 20));
    let whole = Checkpoint::default();
    let (_, checkpoint) = run(&clock, bounded(&client, &whole, DataLoss::Fail)).expect("read");
    client.delete_stream("orders").expect("deleted");
    clock.advance(HOUR);
    client.create_stream("orders", 2).expect("made");
    let endless = config(StartPosition::TrimHorizon).data_loss(REPORT);
    let builder = Consumer::builder(client.clone()).stream("orders");
    let builder = builder.config(endless.build().expect("valid"));
    let mut consumer = builder.restore(checkpoint).start().expect("on");
    // The search for shards is over before the caller asks for its first event.
    let listings = kinesis.on(Operation::ListShards);
    listings.observe(|_| panic!("made to panic by the test"));
    let listings = kinesis.calls(Operation::ListShards);
    until("listing", || {
        clock.advance(Duration::from_secs(1));
        kinesis.calls(Operation::ListShards) > listings
    });
    let _flow = Flow::of(&clock);
    let (mut gaps, mut next) = (0, || consumer.next_event(Duration::MAX));
    let error = loop {
        match next() {
            Ok(Event::Gap(_)) => gaps += 1,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Thread { .. }), "{error}");
    assert_eq!(gaps, 2);
}

#[test]
fn a_stream_made_anew_under_way_is_read_from_its_beginning() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    put(&client, named("old", 2));
    let config = config(StartPosition::TrimHorizon).data_loss(REPORT);
    let config = config
        .get_records_interval(Duration::from_millis(200))
        .build();
    let builder = Consumer::builder(client.clone()).stream("orders");
    let mut consumer = builder
        .config(config.expect("valid"))
        .start()
        .expect("started");
    let _flow = Flow::of(&clock);
    let mut names = Vec::new();
    let mut until = |last: &str| {
        while names.last().map(String::as_str) != Some(last) {
            let event = consumer.next_event(Duration::MAX).expect("an event");
            if let Event::Record(record) = event {
                names.push(data(&record));
            }
        }
        names.clone()
    };
    assert_eq!(until("old1"), ["old0", "old1"]);
    clock.advance(Duration::from_secs(1));
    client.delete_stream("orders").expect("deleted");
    client.create_stream("orders", 1).expect("made");
    put(&client, named("new", 2));
    assert_eq!(until("new1"), ["old0", "old1", "new0", "new1"]);
}

#[test]
fn what_is_left_out_or_unreadable_is_told_and_ends_nothing() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    let part = |key: HashKey| SubRecord {
        explicit_hash_key: Some(key),
        ..SubRecord::new("key", "part")
    };
    let low = |data: Bytes| PutRecordsEntry {
        explicit_hash_key: Some(HashKey::MIN),
        ..entry("key", data)
    };
    let mixed = encode(&[part(HashKey::MIN), part(HashKey::MAX)]);
    // Its index of a partition key does not fit: `pk_index_2_32` of the malformed vectors.
    let malformed = base64::engine::general_purpose::STANDARD.decode(MALFORMED);
    let malformed = Bytes::from(malformed.expect("base64"));
    client
        .put_records("orders", &[low(mixed), low(malformed)])
        .expect("put");
    for (policy, expected) in [
        (Misplaced::DropAndCount, 2),
        (Misplaced::CompatKcl, 1),
        (Misplaced::Deliver, 3),
    ] {
        let config = config(StartPosition::TrimHorizon)
            .until_caught_up(true)
            .misplaced(policy);
        let builder = Consumer::builder(client.clone()).stream("orders");
        let builder = builder.config(config.build().expect("valid"));
        let (told, _) = run(&clock, builder).expect("read");
        let (gaps, records): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|told| told.contains(".."));
        let left_out = policy != Misplaced::Deliver;
        let left_out = left_out.then_some("Misplaced: -..-");
        let told: Vec<_> = left_out
            .into_iter()
            .chain(["MalformedAggregate: -..-"])
            .collect();
        assert_eq!(gaps, told, "{policy:?}");
        assert_eq!(records.len(), expected, "{policy:?}");
    }
}
