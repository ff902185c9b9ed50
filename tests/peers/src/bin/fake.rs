//! The crate's own fake Kinesis behind its socket, whose address it prints; for clients of others.

use kinesis_blocking::fake::FakeKinesis;

fn main() -> std::io::Result<()> {
    let server = FakeKinesis::new().serve()?;
    println!("{}", server.endpoint());
    loop {
        std::thread::park();
    }
}
