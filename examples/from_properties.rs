//! Brings a Flink job's properties along: what they say of region, credentials, start, patience,
//! aggregation and time to live holds here as well.
//!
//! ```text
//! cargo run --example from_properties                       # properties of its own, on the fake
//! cargo run --example from_properties -- job.properties orders
//! ```

use std::env;
use std::process::ExitCode;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Producer, ProducerConfig, Properties, Result, UserRecord,
};

mod common {
    pub mod logging;
}

use common::logging;

/// As they would stand in a job's file.
const PROPERTIES: &str = "
aws.region = us-east-1
aws.credentials.provider = BASIC
aws.credentials.provider.basic.accesskeyid = AKIDEXAMPLE
aws.credentials.provider.basic.secretkey = secret

flink.stream.initpos = TRIM_HORIZON
flink.shard.getrecords.intervalmillis = 250
flink.shard.getrecords.maxretries = 10

AggregationMaxCount = 4294967295
CollectionMaxCount = 1000
RecordTtl = 30000
ThreadPoolSize = 15
";

fn main() -> ExitCode {
    // What a key means here and did not there is told in the log.
    logging::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("from_properties: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [file, stream] = &arguments[..] {
        // A key that is misspelt is an error here, and not a setting that has no effect.
        return round_trip(&Properties::load(file)?.strict()?, stream);
    }
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let server = kinesis.serve().expect("a socket");
    let mut properties = Properties::parse(PROPERTIES)?.strict()?;
    properties.set("aws.endpoint", server.endpoint());
    round_trip(&properties, "orders")
}

/// Writes ten records and reads ten.
fn round_trip(properties: &Properties, stream: &str) -> Result<()> {
    let client = Client::from_properties(properties)?;
    let producer = Producer::builder(client.clone())
        .stream(stream)
        .config(ProducerConfig::from_properties(properties)?)
        .fail_on_error(true)
        .start()?;
    let config = ConsumerConfig::from_properties(properties)?;
    let mut consumer = Consumer::builder(client)
        .stream(stream)
        .config(config)
        .start()?;

    for n in 0..RECORDS {
        producer.put(UserRecord::new(
            format!("customer-{n}"),
            format!("order {n}"),
        ))?;
    }
    producer.close()?;
    for record in consumer.by_ref().take(RECORDS) {
        let record = record?;
        println!(
            "{}: {}",
            record.partition_key(),
            record.data().escape_ascii()
        );
    }
    consumer.close()?;
    Ok(())
}

const RECORDS: usize = 10;
