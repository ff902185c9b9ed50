//! Requests written by hand, for what the client does not say.

use std::io::{Read, Write};
use std::net::TcpStream;

use kinesis_blocking::fake::FakeServer;
use serde_json::Value;

/// A fake's answer: status, and body as JSON.
pub type Answer = (u16, Value);

/// Calls an operation, unsigned but for a header that says otherwise.
pub fn call(server: &FakeServer, operation: &str, body: Value) -> Answer {
    let signature = "Authorization: AWS4-HMAC-SHA256 Credential=none\r\n";
    ask(server, operation, signature, &body.to_string())
}

/// Sends one request on a connection of its own and reads all that comes back.
pub fn ask(server: &FakeServer, operation: &str, headers: &str, body: &str) -> Answer {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n{headers}\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(server, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).expect("JSON"),
    };
    (status.expect("a status"), body)
}

/// Sends bytes and reads until the other side hangs up.
pub fn exchange(server: &FakeServer, bytes: &[u8]) -> String {
    let mut socket = connect(server);
    socket.write_all(bytes).expect("sent");
    let mut answer = String::new();
    // A reset after the answer is as good an end as any.
    let _ = socket.read_to_string(&mut answer);
    answer
}

pub fn connect(server: &FakeServer) -> TcpStream {
    let address = server.endpoint().trim_start_matches("http://");
    TcpStream::connect(address).expect("connected")
}
