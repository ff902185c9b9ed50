//! Several processes share a stream's shards, each with a checkpoint of its own; then fewer of them go on
//! from the checkpoints of all.
//!
//! ```text
//! cargo run --example several_processes
//! ```
//!
//! It starts itself as the readers. The fake stands for AWS: it is a socket in the first process.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Client, Commit, Consumer, ConsumerConfig, FileCheckpointStore,
    Producer, Result, StartPosition, UserRecord,
};

const STREAM: &str = "orders";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [index, parallelism, folder] => {
            let number = |text: &String| text.parse().expect("a number");
            read(number(index), number(parallelism), Path::new(folder))
        }
        _ => lead(),
    }
}

fn lead() -> Result<()> {
    let kinesis = FakeKinesis::new().with_stream(STREAM, 6);
    let server = kinesis.serve().expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    // First a group of three from the beginning, then one of two from where the three ended.
    for (before, parallelism) in [(0, 3), (3, 2)] {
        write(&kinesis.client(), 600)?;
        hand_over(folder.path(), before, parallelism)?;
        let start = |index| reader(index, parallelism, folder.path(), server.endpoint());
        let readers: Vec<Child> = (0..parallelism).map(start).collect();
        let mut sum = 0;
        for (index, reader) in readers.into_iter().enumerate() {
            let output = reader.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            println!("reader {index} of {parallelism}: {told} records");
            sum += told.parse::<u64>().unwrap_or(0);
        }
        println!("{sum} records in all");
    }
    Ok(())
}

fn write(client: &Client, records: u32) -> Result<()> {
    let producer = Producer::builder(client.clone())
        .stream(STREAM)
        .fail_on_error(true)
        .start()?;
    for n in 0..records {
        producer.put(UserRecord::new(
            format!("customer-{n}"),
            format!("order {n}"),
        ))?;
    }
    producer.close()?;
    Ok(())
}

/// A group of another size starts from the checkpoints of all, and each reader takes its part of them.
fn hand_over(folder: &Path, before: usize, parallelism: usize) -> Result<()> {
    let mut all = Checkpoint::default();
    for index in 0..before {
        let saved = FileCheckpointStore::new(file(folder, index, before)).load()?;
        all = all.merge(saved.unwrap_or_default().checkpoint);
    }
    for index in 0..parallelism {
        let mut store = FileCheckpointStore::new(file(folder, index, parallelism));
        store.save(&Commit::new(all.clone(), None))?;
    }
    Ok(())
}

/// Starts one process of a group. It finds the fake as it would find AWS: by the environment.
fn reader(index: usize, parallelism: usize, folder: &Path, endpoint: &str) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args([index, parallelism].map(|number| number.to_string()))
        .arg(folder)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_KINESIS", endpoint)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Reads the shards that are this one's, and keeps its place in a file that names the group's size.
fn read(index: usize, parallelism: usize, folder: &Path) -> Result<()> {
    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(true);
    let mut consumer = Consumer::builder(Client::builder().build()?)
        .stream(STREAM)
        .subtask(index, parallelism)
        .config(config.build()?)
        .checkpoint_store(FileCheckpointStore::new(file(folder, index, parallelism)))
        .start()?;
    let mut records = 0;
    for record in &mut consumer {
        record?;
        records += 1;
    }
    consumer.close()?;
    println!("{records}");
    Ok(())
}

fn file(folder: &Path, index: usize, parallelism: usize) -> PathBuf {
    folder.join(format!("{index}-of-{parallelism}.checkpoint"))
}
