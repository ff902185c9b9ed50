//! A plain connection, whose buffers are as large as what goes over it asks for.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use crate::http::growing::{GrowingBuffers, LONG_OUTPUTS_IDLE_MAX};
use crate::sys::buffers;
use crate::sys::clock::{Clock, later};

/// Makes connections, unless a proxy has made one already.
pub(super) struct TcpConnector {
    clock: Arc<dyn Clock>,
    /// Of which a long request borrows, while it is sent.
    memory: Arc<buffers::Buffers>,
}

impl TcpConnector {
    pub fn new(clock: Arc<dyn Clock>) -> TcpConnector {
        let memory = Arc::new(buffers::Buffers::keeping(LONG_OUTPUTS_IDLE_MAX));
        TcpConnector { clock, memory }
    }
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(connection) = chained {
            return Ok(Some(Either::A(connection)));
        }
        let limit = details.timeout.not_zero().map(|limit| *limit);
        let stream = connected(&details.addrs, limit.unwrap_or(CONNECT_TIME_MAX))?;
        stream.set_nodelay(true)?;
        let buffers = GrowingBuffers::new(self.memory.clone());
        let transport = TcpTransport::new(stream, self.clock.clone(), buffers);
        Ok(Some(Either::B(transport)))
    }
}

/// Connects to the first address that answers; each has the half of what is left of the time, and
/// the last one all of it.
fn connected(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, Error> {
    let (mut left, mut last) = (limit, Error::ConnectionFailed);
    for (number, address) in addresses.iter().enumerate() {
        let is_last = number + 1 == addresses.len();
        let share = if is_last { left } else { left / 2 };
        match TcpStream::connect_timeout(address, share.max(SHARE_MIN)) {
            Ok(stream) => return Ok(stream),
            Err(error) if is_timeout(&error) => {
                left = left.saturating_sub(share);
                last = Error::Timeout(Timeout::Connect);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

pub(super) struct TcpTransport {
    stream: TcpStream,
    clock: Arc<dyn Clock>,
    buffers: GrowingBuffers,
    /// What the socket was told last: telling it is a system call.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Whether an answer was read since somebody asked whether the connection is open.
    was_read: bool,
}

impl TcpTransport {
    fn new(stream: TcpStream, clock: Arc<dyn Clock>, buffers: GrowingBuffers) -> TcpTransport {
        TcpTransport {
            stream,
            clock,
            buffers,
            read_timeout: None,
            write_timeout: None,
            was_read: false,
        }
    }

    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let timeout = timeout.for_write();
        let limit = timeout.not_zero().map(|limit| *limit);
        if self.write_timeout != limit {
            self.stream.set_write_timeout(limit)?;
            self.write_timeout = limit;
        }
        let deadline = limit.map(|limit| later(self.clock.now(), limit.saturating_mul(PHASE)));
        let in_time = || deadline.is_none_or(|deadline| self.clock.now() < deadline);
        told(write_all(&self.stream, output, in_time), timeout.reason)
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    /// Headers wait for the body, or for who waits for the answer: two writes make two packets.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        match self.buffers.output_filled(amount) {
            true => self.flush(timeout),
            false => Ok(()),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(timeout)?;
        self.buffers.request_is_out();
        let timeout = timeout.for_read();
        let limit = timeout.not_zero().map(|limit| *limit);
        if self.read_timeout != limit {
            self.stream.set_read_timeout(limit)?;
            self.read_timeout = limit;
        }
        let input = self.buffers.input_append_buf();
        let read = loop {
            match self.stream.read(input) {
                // By a signal; its time starts anew.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let amount = told(read, timeout.reason)?;
        self.buffers.input_appended(amount);
        self.was_read = true;
        Ok(amount > 0)
    }

    /// ureq asks when it lays a connection aside and when it takes it up again: the second time
    /// counts. A peer that says anything in between, be it good-bye, is not asked any more.
    fn is_open(&mut self) -> bool {
        std::mem::take(&mut self.was_read) || is_silent(&self.stream).unwrap_or(false)
    }
}

/// A peer who takes a byte now and then does not hold the thread for ever.
fn write_all(
    mut peer: impl Write,
    mut output: &[u8],
    in_time: impl Fn() -> bool,
) -> io::Result<()> {
    while !output.is_empty() {
        match peer.write(output) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => output = &output[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !output.is_empty() && !in_time() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn is_silent(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(matches!(peeked, Err(error) if is_timeout(&error)))
}

fn told<T>(outcome: io::Result<T>, reason: Timeout) -> Result<T, Error> {
    outcome.map_err(|error| match is_timeout(&error) {
        true => Error::Timeout(reason),
        false => error.into(),
    })
}

impl fmt::Debug for TcpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TcpConnector")
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport").finish_non_exhaustive()
    }
}

/// How many time-outs of a read or write all of them together may take, so that a peer who takes or
/// gives a byte now and then cannot hold the thread for ever. At 1, what is left would be told to
/// the socket before each of them, by a system call.
pub(super) const PHASE: u32 = 2;

/// Where nothing else limits it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(60);

/// So that an address that is near is not passed over.
const SHARE_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use super::*;
    use crate::sys::Sys;

    fn clock() -> Arc<dyn Clock> {
        Sys::real().clock
    }

    fn pair() -> (TcpTransport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = connected(&[address], Duration::from_secs(5)).expect("connected");
        let transport = TcpTransport::new(stream, clock(), GrowingBuffers::new(Arc::default()));
        (transport, listener.accept().expect("a peer").0)
    }

    fn put(transport: &mut TcpTransport, text: &[u8], is_body: bool) {
        let output = match is_body {
            true => transport.buffers().tmp_and_output().1,
            false => transport.buffers().output(),
        };
        output[..text.len()].copy_from_slice(text);
        let sent = transport.transmit_output(text.len(), NextTimeout::default());
        sent.expect("sent");
    }

    #[test]
    fn headers_go_with_the_body_or_when_an_answer_is_waited_for() {
        let (mut transport, mut peer) = pair();
        put(&mut transport, b"head ", false);
        put(&mut transport, b"more ", false);
        peer.set_nonblocking(true).expect("a socket");
        assert!(peer.read(&mut [0]).is_err(), "nothing was sent");
        peer.set_nonblocking(false).expect("a socket");
        put(&mut transport, b"body", true);
        let mut read = [0; 14];
        peer.read_exact(&mut read).expect("all at once");
        assert_eq!(&read, b"head more body");

        put(&mut transport, b"alone", false);
        peer.write_all(b"answer").expect("sent");
        assert!(transport.await_input(NextTimeout::default()).expect("read"));
        assert_eq!(transport.buffers().input(), b"answer");
        peer.read_exact(&mut read[..5]).expect("sent before");
        assert_eq!(&read[..5], b"alone");
    }

    /// Takes a byte at a time, and is disturbed before each.
    struct Reluctant(Vec<u8>, bool);

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_who_takes_little_is_given_up_in_time() {
        for (looks_left, expected) in [(9_u32, "takes"), (8, "take"), (1, "t"), (0, "")] {
            let (mut peer, looks) = (Reluctant(Vec::new(), false), Cell::new(looks_left));
            let in_time = || looks.replace(looks.get().saturating_sub(1)) > 0;
            let sent = write_all(&mut peer, b"takes", in_time);
            assert_eq!(peer.0, expected.as_bytes());
            let error = sent.err().map(|error| error.kind());
            let is_late = looks_left < 9;
            assert_eq!(error, is_late.then_some(io::ErrorKind::TimedOut));
        }
        let error = write_all(&mut [0; 3][..], b"more", || true).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn a_connection_is_open_until_the_peer_says_anything_unasked() {
        let (mut transport, mut peer) = pair();
        assert!(transport.is_open() && transport.is_open());
        peer.write_all(b"x").expect("sent");
        transport.await_input(NextTimeout::default()).expect("read");
        peer.write_all(b"x").expect("sent");
        // The peek that waits shows that it has arrived.
        transport.stream.peek(&mut [0]).expect("arrived");
        assert!(transport.is_open() && !transport.is_open());
        let (mut transport, peer) = pair();
        drop(peer);
        transport
            .stream
            .peek(&mut [0])
            .expect("the end has arrived");
        assert!(!transport.is_open());
    }

    #[test]
    fn the_next_address_is_tried_when_one_does_not_answer() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed = free.local_addr().expect("an address");
        drop(free);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("an address");
        assert!(connected(&[closed, open], Duration::from_secs(5)).is_ok());
        let error = connected(&[closed], Duration::from_secs(5)).expect_err("refused");
        assert!(
            matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(matches!(
            connected(&[], Duration::ZERO),
            Err(Error::ConnectionFailed)
        ));
    }
}
