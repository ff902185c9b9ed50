//! What a consumer uses of memory and of connections has limits.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::{Client, Consumer, HashKey, Operation, PutRecordsEntry, StartPosition};

use crate::time::{Flow, HOUR, START, until, world};
use crate::{config, entry};

const MIB: u64 = 1 << 20;

/// Puts so many records of 64 KiB into each of so many shards.
fn fill(client: &Client, shards: u128, records: usize) {
    let data = Bytes::from(vec![b'x'; 64 << 10]);
    for shard in 0..shards {
        let hash_key = HashKey::from(u128::MAX / shards * shard + shard);
        let entries = (0..records).map(|_| PutRecordsEntry {
            explicit_hash_key: Some(hash_key),
            ..entry("k", data.clone())
        });
        let entries: Vec<_> = entries.collect();
        client.put_records("orders", &entries).expect("answered");
    }
}

#[test]
fn records_that_wait_exceed_the_limit_by_one_answer_where_it_is_less_than_that() {
    let (clock, kinesis) = world(8);
    let client = kinesis.client();
    fill(&client, 8, 32);
    let config = config(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .shard_discovery_interval(Duration::from_secs(60))
        .buffered_bytes_max(MIB);
    let builder = Consumer::builder(client).stream("orders");
    let builder = builder.config(config.build().expect("valid"));
    let _flow = Flow::of(&clock);
    let mut consumer = builder.start().expect("started");
    // Long enough for all answers there may be, while the caller takes none.
    until("four hours", || {
        clock.time() >= START.saturating_add(4 * HOUR)
    });
    let shards = consumer.metrics().shards;
    let waiting: u64 = shards.values().map(|shard| shard.queued_bytes).sum();
    // The limit, and one answer of 2 MiB with its partition keys.
    assert!(waiting <= 3 * MIB + 1_000, "{waiting} bytes wait");
    assert!(waiting >= 2 * MIB, "{waiting} bytes wait");
    let records = consumer.by_ref().inspect(|record| assert!(record.is_ok()));
    assert_eq!(records.count(), 8 * 32);
}

#[test]
fn calls_under_way_have_a_limit_and_each_shard_its_turn() {
    let (clock, kinesis) = world(6);
    let client = kinesis.client_builder().max_connections(2);
    let client = client.build().expect("a client");
    let call_time = Duration::from_secs(1);
    let reads = kinesis.on(Operation::GetRecords);
    reads.delay_next(u64::MAX, call_time);
    let config = config(StartPosition::TrimHorizon).build().expect("valid");
    let consumer = Consumer::builder(client).stream("orders").config(config);
    let consumer = consumer.start().expect("started");
    let flow = Flow::of(&clock);
    until("hundredth read", || {
        kinesis.calls(Operation::GetRecords) >= 100
    });
    consumer.close().expect("closed");
    drop(flow);
    let calls = kinesis.requests().into_iter();
    let calls: Vec<_> = calls
        .filter(|call| call.operation == "GetRecords")
        // Those behind them may be cut short by close, and leave their places at once.
        .take(100)
        .collect();
    for (first, third) in calls.iter().zip(&calls[2..]) {
        let apart = third.at.saturating_since(first.at);
        assert!(apart >= call_time, "three calls within {apart:?}");
    }
    let shards: BTreeSet<_> = calls
        .iter()
        .filter_map(|call| call.shard_id.clone())
        .collect();
    assert_eq!(shards.len(), 6, "{calls:?}");
}
