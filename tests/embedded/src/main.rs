//! Puts the lines of standard input from a small device: no TLS, which a proxy at the edge of its network
//! speaks, and a transport of its own over a plain socket.
//!
//! ```text
//! cargo build --profile small --target x86_64-unknown-linux-musl
//! AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… embedded orders 192.0.2.1:8080
//! ```
//!
//! With the musl target nothing else has to be on the device.

mod plain;

use std::env;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use kinesis_blocking::{Client, Producer, ProducerConfig, Result, ThreadingModel, UserRecord};

use plain::Plain;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [stream, proxy] = &arguments[..] else {
        eprintln!("usage: embedded STREAM PROXY:PORT < LINES");
        return ExitCode::from(2);
    };
    match put(stream, proxy) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded: {error}");
            ExitCode::FAILURE
        }
    }
}

fn put(stream: &str, proxy: &str) -> Result<()> {
    let client = Client::builder()
        .endpoint(format!("http://{proxy}"))
        .transport(Plain::new(proxy))
        .build()?;
    // One call at a time, and never more than a quarter of a megabyte that waits for it.
    let config = ProducerConfig::builder()
        .threading_model(ThreadingModel::Pooled { threads: 1 })
        .queue_limit_bytes(256 << 10)
        .record_max_buffered_time(Duration::from_secs(1));
    let producer = Producer::builder(client)
        .stream(stream)
        .config(config.build()?)
        .fail_on_error(true)
        .start()?;
    for line in io::stdin().lines().map_while(|line| line.ok()) {
        producer.put(UserRecord::new("device-1", line))?;
    }
    let closed = producer.close()?;
    eprintln!("embedded: {closed}");
    Ok(())
}
