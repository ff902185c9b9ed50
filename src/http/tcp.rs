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
        let limit = limit.unwrap_or(CONNECT_TIME_MAX);
        let stream = connected(&details.addrs, limit, TcpStream::connect_timeout)?;
        stream.set_nodelay(true)?;
        let buffers = GrowingBuffers::new(self.memory.clone());
        let transport = TcpTransport::new(stream, self.clock.clone(), buffers);
        Ok(Some(Either::B(transport)))
    }
}

/// Connects to the first address that answers; each has the half of what is left of the time, and
/// the last one all of it.
fn connected<T>(
    addresses: &[SocketAddr],
    limit: Duration,
    mut connect: impl FnMut(&SocketAddr, Duration) -> io::Result<T>,
) -> Result<T, Error> {
    let (mut left, mut last) = (limit, Error::ConnectionFailed);
    for (number, address) in addresses.iter().enumerate() {
        let is_last = number + 1 == addresses.len();
        let share = if is_last { left } else { left / 2 };
        match connect(address, share.max(SHARE_MIN)) {
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
        let written = write_all(&self.stream, output, &*self.clock, limit);
        told(written, timeout.reason)
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
        let read = read_some(&self.stream, self.buffers.input_append_buf());
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

fn read_some(mut peer: impl Read, input: &mut [u8]) -> io::Result<usize> {
    loop {
        match peer.read(input) {
            // By a signal; its time starts anew.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// A peer who takes a byte now and then does not hold the thread for ever. `limit` is the one of
/// each write.
fn write_all(
    mut peer: impl Write,
    mut output: &[u8],
    clock: &dyn Clock,
    limit: Option<Duration>,
) -> io::Result<()> {
    let deadline = limit.map(|limit| later(clock.now(), limit.saturating_mul(PHASE)));
    let in_time = || deadline.is_none_or(|deadline| clock.now() < deadline);
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
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use ureq::unversioned::transport::time;

    use super::*;
    use crate::model::Timestamp;
    use crate::sys::Sys;
    use crate::sys::clock::Timer;

    fn clock() -> Arc<dyn Clock> {
        Sys::real().clock
    }

    fn pair() -> (TcpTransport, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).expect("connected");
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

    #[test]
    fn a_socket_is_told_the_limit_of_each_read_and_write() {
        let (mut transport, mut peer) = pair();
        for seconds in [Some(5), Some(5), Some(7), None] {
            let after = seconds.map_or(time::Duration::NotHappening, time::Duration::from_secs);
            let timeout = NextTimeout {
                after,
                ..NextTimeout::default()
            };
            put(&mut transport, b"request", false);
            peer.write_all(b"answer").expect("sent");
            transport.await_input(timeout).expect("read");
            let stream = &transport.stream;
            let told = [stream.read_timeout(), stream.write_timeout()];
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(told.map(|limit| limit.expect("a socket")), [expected; 2]);
        }
    }

    #[test]
    fn the_end_of_a_connection_is_no_input() {
        let (mut transport, mut peer) = pair();
        peer.write_all(b"x").expect("sent");
        drop(peer);
        for is_input in [true, false] {
            let read = transport.await_input(NextTimeout::default());
            assert_eq!(read.expect("read"), is_input);
        }
    }

    /// A peer that fails with each of these errors in turn, and then reads or writes one byte.
    struct Failing<'a>(std::slice::Iter<'a, io::ErrorKind>);

    impl Failing<'_> {
        fn amount(&mut self) -> io::Result<usize> {
            self.0.next().map_or(Ok(1), |kind| Err((*kind).into()))
        }
    }

    impl Read for Failing<'_> {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.amount()
        }
    }

    impl Write for Failing<'_> {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.amount()
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_read_or_write_is_done_again_after_a_signal_and_after_nothing_else() {
        use io::ErrorKind::{ConnectionReset, Interrupted, WouldBlock};
        for (kinds, expected) in [
            (&[][..], None),
            (&[Interrupted, Interrupted], None),
            (&[WouldBlock], Some(WouldBlock)),
            (&[Interrupted, ConnectionReset], Some(ConnectionReset)),
        ] {
            let peer = || Failing(kinds.iter());
            let read = read_some(peer(), &mut [0]);
            let written = write_all(peer(), b"x", &*clock(), None);
            assert_eq!(read.err().map(|error| error.kind()), expected);
            assert_eq!(written.err().map(|error| error.kind()), expected);
        }
    }

    /// Goes on by a second with each look at it, which the first one finds at 0.
    struct Ticking(Instant, AtomicU64);

    impl Clock for Ticking {
        fn now(&self) -> Instant {
            self.0 + Duration::from_secs(self.1.fetch_add(1, Ordering::Relaxed))
        }

        fn wall(&self) -> Timestamp {
            clock().wall()
        }

        fn at(&self, deadline: Instant) -> Timer {
            clock().at(deadline)
        }
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
        // Ten calls with nine looks between them, and twice the limit for all of it.
        for (limit, expected) in [
            (None, "takes"),
            (Some(5_000), "takes"),
            (Some(4_500), "take"),
            (Some(1_000), "t"),
            (Some(500), ""),
        ] {
            let mut peer = Reluctant(Vec::new(), false);
            let ticking = Ticking(clock().now(), AtomicU64::new(0));
            let limit = limit.map(Duration::from_millis);
            let sent = write_all(&mut peer, b"takes", &ticking, limit);
            assert_eq!(peer.0, expected.as_bytes(), "{limit:?}");
            let error = sent.err().map(|error| error.kind());
            let is_late = expected != "takes";
            assert_eq!(error, is_late.then_some(io::ErrorKind::TimedOut));
        }
        let full = write_all(&mut [0; 3][..], b"more", &*clock(), None);
        assert_eq!(full.expect_err("full").kind(), io::ErrorKind::WriteZero);
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
        let connected = |addresses: &[SocketAddr]| {
            let limit = Duration::from_secs(5);
            connected(addresses, limit, TcpStream::connect_timeout)
        };
        assert!(connected(&[closed, open]).is_ok());
        let error = connected(&[closed]).expect_err("refused");
        assert!(
            matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(matches!(connected(&[]), Err(Error::ConnectionFailed)));
    }

    #[test]
    fn each_address_has_half_of_the_time_that_is_left_and_the_last_one_all_of_it() {
        use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for (limit, kinds, expected) in [
            (
                8_000,
                &[TimedOut, TimedOut, WouldBlock][..],
                &[4_000, 2_000, 2_000][..],
            ),
            // A refusal takes no time.
            (
                8_000,
                &[ConnectionRefused, WouldBlock, TimedOut],
                &[4_000; 3],
            ),
            (8_000, &[TimedOut], &[8_000]),
            (0, &[TimedOut, TimedOut], &[10, 10]),
        ] {
            let (mut kinds_left, mut shares) = (kinds.iter(), Vec::new());
            let connect = |_: &SocketAddr, share: Duration| {
                shares.push(share.as_millis());
                Err::<(), _>(io::Error::from(*kinds_left.next().expect("another")))
            };
            let addresses = vec![address; kinds.len()];
            let outcome = connected(&addresses, Duration::from_millis(limit), connect);
            assert_eq!(shares, expected);
            assert!(matches!(outcome, Err(Error::Timeout(Timeout::Connect))));
        }
    }
}
