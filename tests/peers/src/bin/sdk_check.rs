//! `sdk_check ENDPOINT`: the AWS SDK for Rust as a client of something that says it is Kinesis.
//! Creates a stream, puts, splits, puts again, and reads the parent to its end and both children.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard, ShardIteratorType, StreamStatus};

type Outcome<T> = Result<T, Box<dyn Error>>;

const STREAM: &str = "sdk-check";
const RECORDS: usize = 1_000;
const CALL_RECORDS: usize = 100;
const PAGE_RECORDS: i32 = 300;
const WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let endpoint = std::env::args().nth(1).expect("usage: sdk_check ENDPOINT");
    if let Err(error) = check(&client(endpoint)).await {
        eprintln!("sdk_check: {error}");
        std::process::exit(1);
    }
}

fn client(endpoint: String) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "fixed");
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build(),
    )
}

async fn check(client: &Client) -> Outcome<()> {
    let begin = Instant::now();
    said(
        client
            .create_stream()
            .stream_name(STREAM)
            .shard_count(1)
            .send()
            .await,
    )?;
    wait_active(client).await?;
    put(client, 0..RECORDS / 2).await?;

    let parent = shards(client).await?.remove(0);
    let middle = "170141183460469231731687303715884105728";
    let split = client
        .split_shard()
        .stream_name(STREAM)
        .shard_to_split(parent.shard_id());
    said(split.new_starting_hash_key(middle).send().await)?;
    wait_active(client).await?;
    put(client, RECORDS / 2..RECORDS).await?;

    let listed = shards(client).await?;
    if listed.len() != 3 {
        return Err(format!("{} shards after the split, not 3", listed.len()).into());
    }
    let mut read = BTreeMap::new();
    let mut counts = Vec::new();
    for shard in &listed {
        let records = read_shard(client, shard).await?;
        counts.push(records.len());
        for (key, data) in records {
            if read.insert(key.clone(), data).is_some() {
                return Err(format!("{key} came twice").into());
            }
        }
    }
    let expected: BTreeMap<_, _> = (0..RECORDS)
        .map(|number| (key(number), data(number)))
        .collect();
    if read != expected {
        return Err(format!(
            "{} records of {RECORDS} came, or with other data",
            read.len()
        )
        .into());
    }
    println!(
        "{RECORDS} records by the AWS SDK for Rust: {counts:?} in parent and children, {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn put(client: &Client, numbers: std::ops::Range<usize>) -> Outcome<()> {
    let numbers: Vec<_> = numbers.collect();
    for some in numbers.chunks(CALL_RECORDS) {
        let mut call = client.put_records().stream_name(STREAM);
        for number in some {
            let entry = PutRecordsRequestEntry::builder().partition_key(key(*number));
            call = call.records(entry.data(Blob::new(data(*number))).build()?);
        }
        let answer = said(call.send().await)?;
        if answer.failed_record_count().unwrap_or_default() != 0 {
            return Err(format!("PutRecords: {answer:?}").into());
        }
    }
    Ok(())
}

/// An open shard is read until it has no more; a closed one until its iterator ends.
async fn read_shard(client: &Client, shard: &Shard) -> Outcome<Vec<(String, Vec<u8>)>> {
    let is_closed = shard
        .sequence_number_range()
        .is_some_and(|range| range.ending_sequence_number().is_some());
    let call = client
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard.shard_id());
    let answer = said(
        call.shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await,
    )?;
    let mut iterator = answer.shard_iterator;
    let mut records = Vec::new();
    let end = Instant::now() + WAIT;
    while let Some(position) = iterator {
        let call = client
            .get_records()
            .shard_iterator(position)
            .limit(PAGE_RECORDS);
        let page = said(call.send().await)?;
        let is_empty = page.records().is_empty();
        for record in page.records {
            let key = record
                .partition_key
                .ok_or("a record without its partition key")?;
            records.push((key, record.data.into_inner()));
        }
        if !is_closed && is_empty && page.millis_behind_latest == Some(0) {
            break;
        }
        if Instant::now() > end {
            return Err(format!("{} has no end", shard.shard_id()).into());
        }
        iterator = page.next_shard_iterator;
    }
    Ok(records)
}

async fn shards(client: &Client) -> Outcome<Vec<Shard>> {
    let answer = said(client.list_shards().stream_name(STREAM).send().await)?;
    Ok(answer.shards.unwrap_or_default())
}

async fn wait_active(client: &Client) -> Outcome<()> {
    let end = Instant::now() + WAIT;
    while Instant::now() < end {
        let answer = said(
            client
                .describe_stream_summary()
                .stream_name(STREAM)
                .send()
                .await,
        )?;
        let summary = answer.stream_description_summary.ok_or("no summary")?;
        if summary.stream_status == StreamStatus::Active {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("{STREAM} is not ACTIVE after {WAIT:?}").into())
}

/// The SDK's own errors only say "service error" unless asked for all of it.
fn said<T, E: Error>(answer: Result<T, E>) -> Result<T, String> {
    answer.map_err(|error| DisplayErrorContext(error).to_string())
}

fn key(number: usize) -> String {
    format!("key {number}")
}

fn data(number: usize) -> Vec<u8> {
    format!("record {number}").into_bytes()
}
