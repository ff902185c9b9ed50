//! One consumer of several streams, one producer to several streams, and one checkpoint of it all.
//!
//! ```text
//! cargo run --example many_streams
//! ```
//!
//! On the fake. Against AWS only the client is made otherwise.

use std::collections::BTreeMap;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, MemoryCheckpointStore, Producer, Result, StartPosition,
    UserRecord,
};

const STREAMS: [(&str, u32); 3] = [("clicks", 4), ("orders", 2), ("returns", 1)];

fn main() -> Result<()> {
    let kinesis = STREAMS
        .iter()
        .fold(FakeKinesis::new(), |kinesis, (name, shards)| {
            kinesis.with_stream(name, *shards)
        });
    let client = kinesis.client();
    // Two runs: the second goes on where the first ended, in each stream.
    let store = MemoryCheckpointStore::new();
    for run in 1..=2 {
        write(&client)?;
        println!("run {run}: {:?}", read(&client, store.clone())?);
    }
    Ok(())
}

/// Each record names its stream. What goes to one does not hold up what goes to another.
fn write(client: &Client) -> Result<()> {
    let producer = Producer::builder(client.clone())
        .fail_on_error(true)
        .start()?;
    for (name, shards) in STREAMS {
        for n in 0..shards * 100 {
            let record = UserRecord::new(format!("customer-{n}"), format!("{name} {n}"));
            producer.put(record.stream(name))?;
        }
        // Streams can be flushed one by one, too.
        producer.flush_stream(name)?;
    }
    producer.close()?;
    Ok(())
}

/// Counts the records by stream.
fn read(client: &Client, store: MemoryCheckpointStore) -> Result<BTreeMap<String, u64>> {
    let config = ConsumerConfig::builder().until_caught_up(true);
    let config = config.start_position(StartPosition::TrimHorizon).build()?;
    let mut consumer = Consumer::builder(client.clone())
        .config(config)
        .checkpoint_store(store);
    for (name, _) in STREAMS {
        // `stream_from` gives a stream a start of its own.
        consumer = consumer.stream(name);
    }
    let mut consumer = consumer.start()?;
    let mut counts = BTreeMap::new();
    for record in &mut consumer {
        let stream = record?.shard().stream.to_string();
        *counts.entry(stream).or_default() += 1;
    }
    consumer.close()?;
    Ok(counts)
}
