//! The crate's own fake Kinesis behind its socket, whose address it prints; for clients of others.
//! `--enforce-limits` makes it throttle, `--stream-delay` lets streams take time to change, and
//! `--late-puts` lets the answers of PutRecords come a second late. Each line of its input says how many
//! milliseconds the Date header of its answers is ahead from then on.

use std::time::Duration;

use kinesis_blocking::Operation;
use kinesis_blocking::fake::FakeKinesis;

const STATE_CHANGE: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(1);

fn main() -> std::io::Result<()> {
    let is_set = |option: &str| std::env::args().any(|argument| argument == option);
    let mut fake = FakeKinesis::new();
    if is_set("--enforce-limits") {
        fake = fake.with_service_limits();
    }
    if is_set("--stream-delay") {
        fake = fake.with_stream_delay(STATE_CHANGE);
    }
    if is_set("--late-puts") {
        fake.on(Operation::PutRecords).delay_next(u64::MAX, LATE);
    }
    let server = fake.serve()?;
    println!("{}", server.endpoint());
    for line in std::io::stdin().lines() {
        if let Ok(millis) = line?.parse() {
            fake.step_date(millis);
        }
    }
    loop {
        std::thread::park();
    }
}
