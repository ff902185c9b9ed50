//! Puts the lines of standard input into a stream, one user record a line.
//!
//! ```text
//! seq 1 20000 | cargo run --release --example put -- --stream orders
//! ```
//!
//! Credentials and region come from the environment, as everywhere in AWS, or with all other settings
//! from a file of Flink's properties.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinesis_blocking::{
    Client, CloudWatch, Error, Ordering, Producer, ProducerConfig, Properties, RecordResult,
    UserRecord,
};

/// Puts each line of standard input into a Kinesis stream, as bytes without the newline
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Stream to put into
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// Region to sign for [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
    /// URL to call in place of the region's endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// File of Flink's properties and the KPL's; what is given here counts above it
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// Partition key of every record [default: a random one each]
    #[arg(long, value_name = "K")]
    partition_key: Option<String>,
    /// Put each line as a Kinesis record of its own
    #[arg(long)]
    no_aggregation: bool,
    /// Keep the order of records with the same partition key
    #[arg(long)]
    ordered: bool,
    /// Upload metrics to CloudWatch at this URL
    #[arg(long, value_name = "URL")]
    cloudwatch: Option<String>,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("put: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)`: some records were not delivered, and have been told.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let fates = Arc::new(Fates::default());
    let producer = producer(arguments, fates.clone())?;
    let progress = progress();
    let mut refused = 0;
    for line in io::stdin().lock().split(b'\n') {
        let line = line.map_err(Failure::Input)?;
        let key = match &arguments.partition_key {
            Some(key) => key.clone(),
            None => format!("{:016x}", fastrand::u64(..)),
        };
        if let Err(error) = producer.put(UserRecord::new(key, line)) {
            refused += 1;
            fates.tell(&error);
        }
        progress.inc(1);
    }
    producer.flush()?;
    progress.finish_and_clear();
    let metrics = producer.metrics().total;
    producer.close()?;
    let (delivered, failed) = (
        fates.delivered.load(atomic::Ordering::Relaxed),
        fates.failed.load(atomic::Ordering::Relaxed) + refused,
    );
    eprintln!(
        "put: {delivered} records delivered, {failed} failed, {} Kinesis records, {} calls",
        metrics.kinesis_records_put, metrics.put_records_calls
    );
    Ok(failed == 0)
}

fn producer(arguments: &Arguments, fates: Arc<Fates>) -> Result<Producer, Error> {
    let properties = match &arguments.properties {
        Some(file) => Properties::load(file)?,
        None => Properties::new(),
    };
    let mut client = Client::builder().properties(&properties)?;
    if let Some(region) = &arguments.region {
        client = client.region(region);
    }
    if let Some(endpoint) = &arguments.endpoint {
        client = client.endpoint(endpoint);
    }
    let mut config = ProducerConfig::builder().properties(&properties)?;
    if arguments.no_aggregation {
        config = config.aggregation(false);
    }
    if arguments.ordered {
        config = config.ordering(Ordering::PerPartitionKey);
    }
    let producer = Producer::builder(client.build()?)
        .stream(&arguments.stream)
        .config(config.build()?)
        .on_delivery(move |result| fates.count(result));
    match &arguments.cloudwatch {
        Some(url) => producer.cloudwatch(CloudWatch::new().endpoint(url)).start(),
        None => producer.start(),
    }
}

/// What became of the records.
#[derive(Default)]
struct Fates {
    delivered: AtomicU64,
    failed: AtomicU64,
    told: AtomicU64,
}

impl Fates {
    fn count(&self, result: &RecordResult) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, atomic::Ordering::Relaxed);
            }
            Err(undelivered) => {
                self.failed.fetch_add(1, atomic::Ordering::Relaxed);
                self.tell(undelivered);
            }
        }
    }

    /// Tells the first failures; the rest are most likely the same.
    fn tell(&self, error: &dyn std::fmt::Display) {
        if self.told.fetch_add(1, atomic::Ordering::Relaxed) < FAILURES_TOLD_MAX {
            eprintln!("put: {error}");
        }
    }
}

fn progress() -> ProgressBar {
    // Typed lines show themselves.
    let hidden = io::stdin().is_terminal();
    let target = if hidden {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let progress = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records, {per_sec}") {
        progress.set_style(style);
    }
    progress
}

enum Failure {
    Kinesis(Error),
    Input(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Kinesis(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Kinesis(error) => error.fmt(f),
            Failure::Input(error) => write!(f, "cannot read standard input: {error}"),
        }
    }
}

const FAILURES_TOLD_MAX: u64 = 5;
