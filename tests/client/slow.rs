//! Peers that take or give next to nothing: a call ends in bounded time all the same.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_blocking::{Client, Credentials, ErrorKind, PutRecordsEntry, TransportError};

const TIMEOUT: Duration = Duration::from_millis(100);

/// Far beyond what a call may take, for a machine that is busy with other things.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A peer that treats its one connection so until told to end, and a client of it.
fn peer(treat: impl FnOnce(TcpStream, Receiver<()>) + Send + 'static) -> (Client, Sender<()>) {
    peer_with(TIMEOUT, treat)
}

fn peer_with(
    timeout: Duration,
    treat: impl FnOnce(TcpStream, Receiver<()>) + Send + 'static,
) -> (Client, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (end, is_over) = channel();
    std::thread::spawn(move || treat(listener.accept().expect("a client").0, is_over));
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(format!("http://{address}"))
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .request_timeout(timeout);
    (client.build().expect("a client"), end)
}

/// Puts records, which is done once, and says how long it took to time out.
fn timed_out(client: &Client, bytes: usize) -> Duration {
    let entry = PutRecordsEntry {
        data: Bytes::from(vec![0; bytes]),
        partition_key: "key".into(),
        explicit_hash_key: None,
    };
    let began = Instant::now();
    let error = client
        .put_records("orders", &[entry])
        .expect_err("too slow");
    let is_timeout = matches!(
        error.kind(),
        ErrorKind::Transport(TransportError::Timeout(TIMEOUT))
    );
    assert!(is_timeout && error.is_retryable(), "{error}");
    began.elapsed()
}

#[test]
fn headers_that_come_byte_by_byte_are_not_waited_for() {
    let (client, _end) = peer(|mut stream, is_over| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        // Each byte comes within the time of a read.
        while is_over.recv_timeout(TIMEOUT / 5).is_err() && stream.write_all(b"x").is_ok() {}
    });
    let took = timed_out(&client, 1);
    assert!(took >= TIMEOUT && took < TOO_LONG, "{took:?}");
}

#[test]
fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
    let (client, _end) = peer(|mut stream, is_over| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while is_over.recv_timeout(TIMEOUT / 5).is_err() && stream.write_all(b"x").is_ok() {}
    });
    let took = timed_out(&client, 1);
    assert!(took >= TIMEOUT && took < TOO_LONG, "{took:?}");
}

#[test]
fn a_request_that_nobody_takes_is_given_up() {
    let (client, _end) = peer(|stream, is_over| {
        let _ = is_over.recv();
        drop(stream);
    });
    // More than the system keeps for a peer that does not read.
    let took = timed_out(&client, 64 << 20);
    assert!(took >= TIMEOUT && took < TOO_LONG, "{took:?}");
}

#[test]
fn an_answer_that_keeps_arriving_may_take_longer_than_its_time() {
    const PART: usize = 64 << 10;
    const PARTS: u32 = 6;
    let (client, _end) = peer_with(2 * PAUSE, |mut stream, is_over| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let bytes = PART * PARTS as usize;
        let body = format!("{{\"Shards\":[]{}}}", " ".repeat(bytes - 13));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        for part in body.as_bytes().chunks(PART) {
            let _ = is_over.recv_timeout(PAUSE);
            let _ = stream.write_all(part);
        }
        let _ = is_over.recv();
    });
    let began = Instant::now();
    assert_eq!(client.list_shards("orders").expect("answered").len(), 0);
    assert!(began.elapsed() >= PARTS * PAUSE);
}

/// Between two parts of an answer.
const PAUSE: Duration = Duration::from_millis(500);
