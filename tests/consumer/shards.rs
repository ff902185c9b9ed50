//! Shard threads: pace, room, pauses, panics and the way they stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kinesis_blocking::fake::{FakeKinesis, Fault, StoredRecord};
use kinesis_blocking::{
    Consumer, ErrorKind, Event, Operation, PutRecordsEntry, ShardRef, StartPosition,
};

use crate::time::{Flow, HOUR, run, until, world};
use crate::{all, config, data, entry, named, put, sorted};

#[test]
fn a_shard_whose_thread_panics_begins_again_where_it_was() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("r", 100));
    let calls = AtomicU32::new(0);
    kinesis.on(Operation::GetRecords).observe(move |_| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        assert!(call % 3 != 1, "made to panic by the test");
    });
    let config = config(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .get_records_max(7);
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let (names, _) = run(&clock, builder).expect("read");
    assert_eq!(sorted(names), sorted(named("r", 100).collect()));
}

#[test]
fn a_shard_whose_thread_panics_for_good_is_an_error() {
    let (clock, kinesis) = world(1);
    kinesis
        .on(Operation::GetRecords)
        .observe(|_| panic!("made to panic by the test"));
    let builder = Consumer::builder(kinesis.client())
        .stream("orders")
        .config(all());
    let error = run(&clock, builder).expect_err("it never gets further");
    assert!(matches!(error.kind(), ErrorKind::Thread { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "thread kin-shard-00000 died: made to panic by the test"
    );
    assert_eq!(kinesis.calls(Operation::GetRecords), 6);
}

#[test]
fn a_paused_shard_waits_and_the_others_go_on() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    put(&client, named("r", 200));
    let config = config(StartPosition::TrimHorizon).get_records_max(10);
    let builder = Consumer::builder(client).stream("orders");
    let mut consumer = builder
        .config(config.build().expect("valid"))
        .start()
        .expect("started");
    let paused = ShardRef::new("orders", "shardId-000000000001");
    consumer.pause(&paused);
    let _flow = Flow::of(&clock);
    let records = kinesis.records("orders");
    let of_paused = |record: &&StoredRecord| record.shard_id == paused.shard_id;
    let count = records.iter().filter(of_paused).count();
    let mut names = Vec::new();
    let mut take = |consumer: &mut Consumer, count: usize| {
        let records = consumer.take(count).map(|record| record.expect("a record"));
        let records: Vec<_> = records.collect();
        names.extend(records.iter().map(data));
        records
            .iter()
            .filter(|record| *record.shard() == paused)
            .count()
    };
    assert_eq!(take(&mut consumer, 200 - count), 0);
    consumer.resume(&paused);
    assert_eq!(take(&mut consumer, count), count);
    assert_eq!(sorted(names), sorted(named("r", 200).collect()));
}

#[test]
fn little_room_for_many_shards_is_enough() {
    let (clock, kinesis) = world(8);
    let client = kinesis.client();
    let large =
        |n: usize| -> PutRecordsEntry { entry(&format!("k{n}"), vec![b'x'; 300_000].into()) };
    for chunk in 0..3 {
        let entries: Vec<_> = (0..10).map(|n| large(chunk * 10 + n)).collect();
        client.put_records("orders", &entries).expect("put");
    }
    let config = config(StartPosition::TrimHorizon).until_caught_up(true);
    let config = config.buffered_bytes_max(1 << 20).get_records_max(2);
    let builder = Consumer::builder(client).stream("orders");
    let (names, _) = run(&clock, builder.config(config.build().expect("valid"))).expect("read");
    assert_eq!(names.len(), 30);
}

#[test]
fn room_held_by_a_paused_shard_keeps_nobody_waiting() {
    let (clock, kinesis) = world(2);
    let client = kinesis.client();
    let large =
        |n: usize| -> PutRecordsEntry { entry(&format!("k{n}"), vec![b'x'; 900_000].into()) };
    for chunk in 0..4 {
        let entries: Vec<_> = (0..5).map(|n| large(chunk * 5 + n)).collect();
        client.put_records("orders", &entries).expect("put");
    }
    let paused = ShardRef::new("orders", "shardId-000000000000");
    let others = kinesis
        .records("orders")
        .iter()
        .filter(|r| r.shard_id != paused.shard_id)
        .count();
    let config = config(StartPosition::TrimHorizon)
        .buffered_bytes_max(1 << 20)
        .get_records_max(1);
    let builder = Consumer::builder(client).stream("orders");
    let mut consumer = builder
        .config(config.build().expect("valid"))
        .start()
        .expect("started");
    let _flow = Flow::of(&clock);
    // It has filled the room before it is paused.
    while !matches!(
        consumer.next_event(Duration::from_secs(1)),
        Ok(Event::Record(_))
    ) {}
    consumer.pause(&paused);
    let mut read = 0;
    while read < others - 1 {
        let record = consumer.next().expect("more").expect("a record");
        read += usize::from(*record.shard() != paused);
    }
}

#[test]
fn a_shard_is_not_asked_for_more_than_it_gives() {
    let (clock, kinesis) = world(1);
    let kinesis = kinesis.with_service_limits();
    let client = kinesis.client();
    let large: PutRecordsEntry = entry("k", vec![b'x'; 900_000].into());
    for _ in 0..13 {
        client
            .put_records("orders", std::slice::from_ref(&large))
            .expect("put");
        clock.advance(Duration::from_secs(2));
    }
    let interval = Duration::from_millis(200);
    let config = config(StartPosition::TrimHorizon).get_records_interval(interval);
    let config = config.until_caught_up(true).build().expect("valid");
    let builder = Consumer::builder(client).stream("orders").config(config);
    let mut consumer = builder.start().expect("started");
    // Discovery, the shard and the caller: while one of them is at work, time stands still.
    clock.auto_advance(3);
    let mut records = 0;
    while records < 13 {
        let event = consumer.next_event(HOUR).expect("an event");
        records += usize::from(matches!(event, Event::Record(_)));
    }
    let refused = kinesis
        .requests()
        .iter()
        .filter(|r| r.operation == "GetRecords" && r.status != 200)
        .count();
    assert_eq!(refused, 0);
}

#[test]
fn adaptive_reads_ask_for_what_there_is_time_for() {
    let (clock, kinesis) = world(1);
    let client = kinesis.client();
    let record =
        |n: usize| -> PutRecordsEntry { entry(&format!("k{n}"), vec![b'x'; 10 << 10].into()) };
    for chunk in 0..5 {
        let entries: Vec<_> = (0..100).map(|n| record(chunk * 100 + n)).collect();
        client.put_records("orders", &entries).expect("put");
    }
    let limits = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = limits.clone();
    kinesis.on(Operation::GetRecords).observe(move |request| {
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        seen.lock().expect("a list").push(body["Limit"].as_u64());
    });
    let interval = Duration::from_millis(200);
    let config = config(StartPosition::TrimHorizon).get_records_interval(interval);
    let config = config
        .get_records_max(10)
        .adaptive_reads(true)
        .until_caught_up(true);
    let builder = Consumer::builder(client).stream("orders");
    let mut consumer = builder
        .config(config.build().expect("valid"))
        .start()
        .expect("started");
    // Discovery, the shard and the caller: while one of them is at work, time stands still.
    clock.auto_advance(3);
    let mut records = 0;
    while records < 500 {
        let event = consumer.next_event(HOUR).expect("an event");
        records += usize::from(matches!(event, Event::Record(_)));
    }
    let limits = limits.lock().expect("a list").clone();
    assert_eq!(
        limits[..2],
        [Some(10); 2],
        "no time had passed at the first"
    );
    assert_eq!(
        limits[2..4],
        [Some(40); 2],
        "10 KiB each, five times a second"
    );
}

#[test]
fn closing_is_quick_while_every_thread_is_blocked() {
    let kinesis = FakeKinesis::new().with_stream("orders", 500);
    let client = kinesis.client();
    let every_shard = client.list_shards("orders").expect("listed");
    for _ in 0..4 {
        for shards in every_shard.chunks(500) {
            let entries: Vec<_> = shards
                .iter()
                .map(|shard| PutRecordsEntry {
                    explicit_hash_key: Some(shard.hash_key_range.start),
                    ..entry("k", "r".into())
                })
                .collect();
            client.put_records("orders", &entries).expect("put");
        }
    }
    for shard in every_shard.iter().step_by(2) {
        let script = kinesis.on(Operation::GetRecords).shard(shard.id.as_str());
        script.fail_next(u64::MAX, Fault::Hang);
    }
    let config = config(StartPosition::TrimHorizon)
        .get_records_max(1)
        .build()
        .expect("valid");
    let builder = Consumer::builder(client).stream("orders").config(config);
    let mut consumer = builder.start().expect("started");
    let first = consumer.next().expect("more").expect("a record");
    // Until those that can read have filled their queues: one answer in it, one on its way in.
    let answered = || {
        kinesis
            .requests()
            .iter()
            .filter(|r| r.operation == "GetRecords")
            .count()
    };
    until("500 answers", || answered() >= 500);
    let began = Instant::now();
    let checkpoint = consumer.close().expect("closed");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(checkpoint.iter().count(), 500);
    let read = checkpoint.position(first.shard()).expect("a position");
    assert!(format!("{read:?}").contains(first.sequence_number().as_str()));
}
