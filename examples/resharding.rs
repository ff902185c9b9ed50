//! A stream is split and merged while it is written and read: nothing is lost, and the records of each
//! partition key stay in order.
//!
//! ```text
//! cargo run --example resharding
//! ```
//!
//! On the fake. The producer is told to keep the order of each key, the consumer to leave out what a
//! reshard put into the wrong shard, as the producer puts it again: the rule of the KCL.

use std::collections::BTreeMap;
use std::time::Duration;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Event, Misplaced, Ordering, Producer, ProducerConfig, Result,
    ShardId, ShardRef, StartPosition, UserRecord,
};

const STREAM: &str = "orders";
const KEYS: u64 = 50;
const ORDERS_A_KEY: u64 = 100;

fn main() -> Result<()> {
    let kinesis = FakeKinesis::new().with_stream(STREAM, 1);
    let client = kinesis.client();
    let config = ProducerConfig::builder().ordering(Ordering::PerPartitionKey);
    let producer = Producer::builder(client.clone())
        .stream(STREAM)
        .config(config.build()?)
        .fail_on_error(true)
        .start()?;
    for order in 0..ORDERS_A_KEY {
        match order {
            25 => split(&client, 0)?,
            50 => split(&client, 1)?,
            // Shard 0 has become 1 and 2, and 1 has become 3 and 4.
            75 => merge(&client, 4, 2)?,
            _ => {}
        }
        for key in 0..KEYS {
            producer.put(UserRecord::new(
                format!("customer-{key}"),
                order.to_string(),
            ))?;
        }
    }
    producer.close()?;
    read(&client)
}

fn shard(number: u32) -> ShardRef {
    ShardRef::new(STREAM, format!("shardId-{number:012}"))
}

fn split(client: &Client, number: u32) -> Result<()> {
    let shards = client.list_shards(STREAM)?;
    let parent = shards
        .into_iter()
        .find(|one| one.id == shard(number).shard_id);
    let middle = parent.expect("it is listed").hash_key_range.midpoint();
    client.split_shard(&shard(number), middle)
}

fn merge(client: &Client, one: u32, other: u32) -> Result<()> {
    client.merge_shards(&shard(one), &ShardId::from(format!("shardId-{other:012}")))
}

/// Reads everything, and says which shards were read to their ends, and whether all was there.
fn read(client: &Client) -> Result<()> {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .misplaced(Misplaced::CompatKcl)
        .until_caught_up(true);
    let mut consumer = Consumer::builder(client.clone())
        .stream(STREAM)
        .config(config.build()?)
        .start()?;
    // The order that is to come next of each key.
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut out_of_order = 0;
    loop {
        match consumer.next_event(Duration::from_secs(1))? {
            Event::ShardStarted(shard) => println!("{} is read", shard.shard_id),
            Event::ShardEnded(shard) => println!("{} has been read to its end", shard.shard_id),
            Event::Record(record) => {
                let order = String::from_utf8_lossy(record.data()).parse().ok();
                let next = next.entry(record.partition_key().to_owned()).or_default();
                out_of_order += u64::from(order != Some(*next));
                *next += 1;
            }
            Event::Ended => break,
            _ => {}
        }
    }
    let records: u64 = next.values().sum();
    println!(
        "{records} records of {} keys, {out_of_order} out of order",
        next.len()
    );
    consumer.close()?;
    Ok(())
}
