//! The door on a socket. The only file of the fake that starts threads.
//!
//! `kin-fake` accepts and starts a `kin-fake-…` a connection, which lives as long as it. Both end
//! when the server is dropped: the listener is woken by a connection of our own, connections are
//! shut down under the threads that read them, and the drop waits for all of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use socket2::SockRef;

use crate::client::{Client, ClientBuilder};
use crate::error::Error;
use crate::fake::fault::Delivery;
use crate::fake::http1::{self, Connection, Unread};
use crate::fake::reply::Reply;
use crate::fake::service::Service;
use crate::fake::{REGION, credentials_of, sys};
use crate::sys::clock::later;
use crate::sys::lock::lock;
use crate::sys::stop::{Stop, StopSource};
use crate::sys::thread::{self, Handle};

/// A fake Kinesis behind a socket on loopback, for whoever speaks HTTP/1.1.
///
/// Serves until it is dropped, which closes every connection and waits for its threads.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kinesis_blocking::fake::FakeKinesis;
///
/// let server = FakeKinesis::new().with_stream("orders", 2).serve()?;
/// let client = server.client_builder().build()?;
/// assert_eq!(client.list_shards("orders")?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeServer {
    endpoint: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<Handle>,
}

/// What the server's threads share.
struct Shared {
    service: Arc<Service>,
    stop: StopSource,
    connections: Mutex<BTreeMap<u64, Served>>,
}

/// One connection and the thread that serves it.
#[derive(Debug)]
struct Served {
    socket: Arc<TcpStream>,
    thread: Handle,
}

impl FakeServer {
    pub(super) fn start(service: Arc<Service>) -> io::Result<FakeServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service,
            stop: StopSource::new(),
            connections: Mutex::default(),
        });
        let accepting = shared.clone();
        let listening = thread::spawn("kin-fake".to_owned(), STACK_BYTES, move || {
            accept(&listener, &accepting);
        });
        Ok(FakeServer {
            endpoint: format!("http://{address}"),
            address,
            shared,
            listening: Some(listening.map_err(io_error)?),
        })
    }

    /// Returns the URL to call, such as `http://127.0.0.1:43210`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Starts a client that calls this server over HTTP, with region, endpoint and credentials set.
    pub fn client_builder(&self) -> ClientBuilder {
        ClientBuilder::new(sys(&self.shared.service))
            .region(REGION)
            .endpoint(&self.endpoint)
            .credentials(credentials_of(&self.shared.service))
    }

    /// Makes a client that calls this server over HTTP.
    pub fn client(&self) -> Client {
        let client = self.client_builder().build();
        client.expect("region and endpoint are well-formed")
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.stop.signal();
        // `accept` has no other way to be woken. Refused, it is awake already.
        let _ = TcpStream::connect_timeout(&self.address, WAKING_TIME);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        // The listener is gone, so no connection comes after these.
        let connections = std::mem::take(&mut *lock(&self.shared.connections));
        for served in connections.values() {
            let _ = served.socket.shutdown(Shutdown::Both);
        }
        for served in connections.into_values() {
            let _ = served.thread.join();
        }
    }
}

impl Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("connections", &lock(&self.connections).len())
            .finish_non_exhaustive()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let stop = shared.stop.stop();
    for n in 0.. {
        let accepted = listener.accept();
        if stop.is_stopped() {
            return;
        }
        match accepted {
            Ok((socket, _)) => admit(n, socket, shared),
            // Out of file descriptors, or the like: trying again at once would only spin.
            Err(_) => drop(stop.channel().recv_timeout(ACCEPT_PAUSE)),
        }
    }
}

/// Starts to serve a connection; one too many is closed again.
fn admit(n: u64, socket: TcpStream, shared: &Arc<Shared>) {
    let mut connections = lock(&shared.connections);
    connections.retain(|_, served| !served.thread.is_finished());
    if connections.len() >= CONNECTIONS_MAX {
        return;
    }
    let socket = Arc::new(socket);
    let (served, shared) = (socket.clone(), shared.clone());
    let name = format!("kin-fake-{:06}", n % 1_000_000);
    let thread = thread::spawn(name, STACK_BYTES, move || {
        match serve(&served, &shared.service, &shared.stop.stop()) {
            Ok(End::Reset) => reset(n, served, &shared),
            // The server holds the socket too, so letting go of it would not close it.
            _ => drop(served.shutdown(Shutdown::Both)),
        }
    });
    if let Ok(thread) = thread {
        connections.insert(n, Served { socket, thread });
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// Closes a socket so that the other side is told of a reset and not of an end.
fn reset(n: u64, socket: Arc<TcpStream>, shared: &Shared) {
    let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
    lock(&shared.connections).remove(&n);
}

/// Answers request after request until either side has enough.
fn serve(socket: &TcpStream, service: &Service, stop: &Stop) -> io::Result<End> {
    // Answers go out whole; waiting for more to send would only delay them.
    socket.set_nodelay(true)?;
    let mut connection = Connection::new(socket);
    while !stop.is_stopped() {
        let request = match connection.read_request() {
            Ok(request) => request,
            Err(Unread::TooLarge) => return refuse_rest(socket, &mut connection),
            Err(Unread::Closed | Unread::Broken) => break,
        };
        if let Some(end) = deliver(&mut connection, service.answer(&request), service, stop)? {
            return Ok(end);
        }
        if http1::is_last(&request) {
            break;
        }
    }
    Ok(End::Closed)
}

/// Lets an answer reach the caller as scripted; says how the connection ends, if it does.
fn deliver(
    connection: &mut Connection<&TcpStream>,
    reply: Reply,
    service: &Service,
    stop: &Stop,
) -> io::Result<Option<End>> {
    let pause = |time: Duration| {
        let clock = &service.clock;
        time.is_zero() || clock.wait_until(later(clock.now(), time), stop)
    };
    if !pause(reply.delay) {
        return Ok(Some(End::Closed));
    }
    let body = reply.response.body();
    let half = &body[..body.len() / 2];
    match reply.delivery {
        Delivery::Whole => connection.write_response(&reply.response)?,
        Delivery::Last => {
            connection.write_response(&reply.response)?;
            return Ok(Some(End::Closed));
        }
        Delivery::Broken | Delivery::Unreachable => return Ok(Some(End::Reset)),
        Delivery::Cut => {
            connection.write_part(&reply.response, half)?;
            return Ok(Some(End::Closed));
        }
        Delivery::Torn => {
            connection.write_part(&reply.response, half)?;
            return Ok(Some(End::Reset));
        }
        Delivery::Never => {
            connection.await_end()?;
            return Ok(Some(End::Closed));
        }
        Delivery::Slow(time) => {
            connection.write_part(&reply.response, &[])?;
            for part in body.chunks(body.len().div_ceil(SLOW_PARTS).max(1)) {
                if !pause(time / SLOW_PARTS as u32) {
                    return Ok(Some(End::Closed));
                }
                connection.write_more(part)?;
            }
        }
    }
    Ok(None)
}

/// Says that a request is too large, and reads on: hung up on while it sends, the caller would see
/// a broken connection and no answer.
fn refuse_rest(socket: &TcpStream, connection: &mut Connection<&TcpStream>) -> io::Result<End> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
    connection.write_response(&response)?;
    socket.shutdown(Shutdown::Write)?;
    connection.await_end()?;
    Ok(End::Closed)
}

fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}

/// More than any test opens; each costs a thread.
const CONNECTIONS_MAX: usize = 1_024;
/// JSON is read on the stack, but never deep.
const STACK_BYTES: usize = 256 * 1024;
/// The loopback answers at once, or the listener is awake with others to accept.
const WAKING_TIME: Duration = Duration::from_secs(1);
/// A slow body comes in so many parts.
const SLOW_PARTS: usize = 8;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
