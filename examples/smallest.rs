//! The least that a program needs to put a record into a stream over TLS.
//!
//! ```text
//! cargo build --profile small --example smallest
//! AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… smallest STREAM
//! ```

use std::env;
use std::process::ExitCode;

use kinesis_blocking::{Client, PutRecordsEntry, Result};

fn main() -> ExitCode {
    let Some(stream) = env::args().nth(1) else {
        eprintln!("usage: smallest STREAM");
        return ExitCode::from(2);
    };
    match put_one(&stream) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smallest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn put_one(stream: &str) -> Result<()> {
    let client = Client::builder().build()?;
    let entry = PutRecordsEntry {
        data: "one record".into(),
        partition_key: "key".into(),
        explicit_hash_key: None,
    };
    for stored in client.put_records(stream, &[entry])?.records {
        match stored {
            Ok(stored) => println!("{} {}", stored.shard_id, stored.sequence_number),
            Err(error) => eprintln!("smallest: {error:?}"),
        }
    }
    Ok(())
}
