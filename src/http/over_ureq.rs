//! HTTP over `ureq`, set up for many threads that poll one host.
//!
//! Three of its defaults would hurt here: a pool of 3 idle connections a host reconnects for nearly
//! every poll of a thousand shards; a global time-out resolves the host on a thread of its own for
//! every request; and a body over 10 MiB is refused, which a full GetRecords answer is.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ureq::config::{Config, ConfigBuilder};
#[cfg(feature = "tls")]
use ureq::tls::{Certificate, PemItem, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
#[cfg(feature = "tls")]
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout};
use ureq::{Agent, Proxy};

use crate::error::{Error, Result, TransportError};
use crate::http::exposure;
use crate::http::phase::{Connecting, before_connecting, not_connected, unresolved};
use crate::http::proxy::{self, ProxyRules, Route};
use crate::http::tcp::{PHASE, TcpConnector};
use crate::http::{HttpTransport, Network, Trust};
use crate::sys::buffers::Buffers;
use crate::sys::clock::{Clock, NEVER};
use crate::sys::lock::lock;

/// A client's connections, shared by all its threads.
pub(crate) struct UreqTransport {
    /// Connections straight to a host.
    direct: Agent,
    /// Those through the proxies, by the scheme of the request.
    by_http_proxy: Option<Proxied>,
    by_https_proxy: Option<Proxied>,
    proxies: ProxyRules,
    /// The one that the agents keep without being told.
    timeout: Duration,
    clock: Arc<dyn Clock>,
    bodies: Buffers,
}

impl UreqTransport {
    /// Makes no connection yet.
    ///
    /// # Errors
    /// `Config`: the proxy's URL or the file of certificates is not what it has to be.
    pub fn new(clock: Arc<dyn Clock>, network: &Network) -> Result<UreqTransport> {
        let proxied = |route| {
            let url = network.proxies.url(route).filter(|url| proxy::is_http(url));
            url.map(|url| Proxied::new(&clock, network, url))
                .transpose()
        };
        Ok(UreqTransport {
            direct: agent(&clock, network, None)?,
            by_http_proxy: proxied(Route::HttpProxy)?,
            by_https_proxy: proxied(Route::HttpsProxy)?,
            proxies: network.proxies.clone(),
            timeout: network.request_timeout,
            clock,
            bodies: Buffers::default(),
        })
    }

    /// The proxy of a request; `Err` where there is one that cannot be asked.
    fn proxied(&self, uri: &http::Uri) -> Result<Option<&Proxied>, TransportError> {
        let proxied = match self.proxies.route(uri) {
            Route::Direct => return Ok(None),
            Route::HttpProxy => &self.by_http_proxy,
            Route::HttpsProxy => &self.by_https_proxy,
        };
        match (proxied, self.proxies.check(uri)) {
            (Some(proxied), _) => Ok(Some(proxied)),
            (None, Err(refused)) => Err(refused_proxy(&refused)),
            (None, Ok(())) => Ok(None),
        }
    }
}

/// A setting was found wrong only when a request needed it.
fn refused_proxy(refused: &Error) -> TransportError {
    let reason = io::Error::new(io::ErrorKind::InvalidInput, refused.to_string());
    TransportError::Connect(reason)
}

/// Connections through one proxy.
struct Proxied {
    agent: Agent,
    /// Its host and port.
    place: String,
}

impl Proxied {
    fn new(clock: &Arc<dyn Clock>, network: &Network, url: &str) -> Result<Proxied> {
        // The rules have checked it. It may hold a password, so it is not repeated.
        let malformed = |_| Error::config("proxy", "what was given", "a URL of a proxy");
        let proxy = Proxy::new(url).map_err(malformed)?;
        let place = format!("{}:{}", proxy.host(), proxy.port());
        let agent = agent(clock, network, Some(proxy))?;
        Ok(Proxied { agent, place })
    }

    fn failed(&self, cause: TransportError) -> TransportError {
        TransportError::Proxied {
            through: self.place.clone(),
            cause: Box::new(cause),
        }
    }
}

fn agent(clock: &Arc<dyn Clock>, network: &Network, proxy: Option<Proxy>) -> Result<Agent> {
    // ureq adds them to the time of day.
    let [connect_timeout, request_timeout] =
        [network.connect_timeout, network.request_timeout].map(|time| time.min(NEVER));
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A signed request is good for one address only.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("kinesis-blocking/", env!("CARGO_PKG_VERSION")))
        // Also where there is none, or ureq would take one from the environment.
        .proxy(proxy)
        .timeout_connect(Some(connect_timeout))
        .timeout_per_read(Some(request_timeout))
        .timeout_per_write(Some(request_timeout))
        .timeout_send_body(Some(PHASE * request_timeout))
        .timeout_recv_response(Some(PHASE * request_timeout))
        .input_buffer_size(TLS_BUFFER_BYTES)
        .output_buffer_size(TLS_BUFFER_BYTES)
        // An idle connection is taken before one is made, so no more are ever open than calls
        // were under way at once.
        .max_idle_connections(network.max_connections)
        .max_idle_connections_per_host(network.max_connections)
        .max_idle_age(IDLE_AGE_MAX);
    let config = trusting(config, &network.trust)?.build();
    let resolver = CachingResolver {
        clock: clock.clone(),
        known: Mutex::default(),
    };
    Ok(Agent::with_parts(
        config,
        connector(clock.clone()),
        resolver,
    ))
}

/// As ureq's own, but for plain connections, and without SOCKS.
fn connector(clock: Arc<dyn Clock>) -> impl Connector {
    let connector = ().chain(ConnectProxyConnector::default());
    let connector = connector.chain(TcpConnector::new(clock));
    #[cfg(feature = "tls")]
    let connector = connector.chain(RustlsConnector::default());
    Connecting(connector)
}

#[cfg(feature = "tls")]
fn trusting(config: Settings, trust: &Trust) -> Result<Settings> {
    let tls = TlsConfig::builder();
    let tls = match trust {
        Trust::Anyone => tls.disable_verification(true),
        Trust::BuiltIn => tls,
        Trust::Pem(text) => tls.root_certs(certificates(text)?.into()),
    };
    Ok(config.tls_config(tls.build()))
}

#[cfg(not(feature = "tls"))]
fn trusting(config: Settings, trust: &Trust) -> Result<Settings> {
    match trust {
        Trust::BuiltIn => Ok(config),
        Trust::Anyone | Trust::Pem(_) => {
            let expected = "for this build, which has no TLS: turn on the cargo feature \"tls\"";
            Err(Error::config("TLS trust", "what was given", expected))
        }
    }
}

type Settings = ConfigBuilder<AgentScope>;

#[cfg(feature = "tls")]
fn certificates(text: &str) -> Result<Vec<Certificate<'static>>> {
    let wrong = |expected| Error::config("TLS roots", "the file given", expected);
    let certificates: Vec<_> = parse_pem(text.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(_) => Some(Err(wrong("a file in the PEM format"))),
        })
        .collect::<Result<_>>()?;
    match certificates.is_empty() {
        true => Err(wrong("a file with certificates in the PEM format")),
        false => Ok(certificates),
    }
}

impl HttpTransport for UreqTransport {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        exposure::warn_once();
        match self.proxied(request.uri())? {
            None => self.exchange(&self.direct, request, timeout),
            Some(proxied) => {
                let answer = self.exchange(&proxied.agent, request, timeout);
                answer.map_err(|cause| proxied.failed(cause))
            }
        }
    }
}

impl UreqTransport {
    fn exchange(
        &self,
        agent: &Agent,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let (parts, body) = request.into_parts();
        let request = http::Request::from_parts(parts, &body[..]);
        let answer = match timeout == self.timeout {
            true => agent.run(request),
            false => agent.run(within(agent, request, timeout)),
        };
        let answer = answer.map_err(|error| transport_error(error, timeout))?;
        let (parts, mut body) = answer.into_parts();
        let expected_bytes = body.content_length();
        let begun = self.clock.now();
        let passed = || self.clock.now().saturating_duration_since(begun);
        let body = Body {
            expected_bytes: usize::try_from(expected_bytes.unwrap_or(0)).unwrap_or(usize::MAX),
            reader: &mut body.as_reader(),
            buffers: &self.bodies,
        };
        let body = body.read(passed, timeout)?;
        Ok(http::Response::from_parts(parts, body))
    }
}

/// A request with a time-out of its own. Costs a copy of all settings, so not for every call.
fn within<'a>(
    agent: &Agent,
    request: http::Request<&'a [u8]>,
    timeout: Duration,
) -> http::Request<&'a [u8]> {
    let timeout = timeout.min(NEVER);
    let connect = agent.config().timeouts().connect.unwrap_or(timeout);
    let settings = agent.configure_request(request);
    settings
        .timeout_connect(Some(connect.min(timeout)))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .timeout_send_body(Some(PHASE * timeout))
        .timeout_recv_response(Some(PHASE * timeout))
        .build()
}

/// What an answer goes on with behind its headers.
struct Body<'a, R> {
    reader: &'a mut R,
    /// As the headers say; 0 if they do not.
    expected_bytes: usize,
    buffers: &'a Buffers,
}

impl<R: Read> Body<'_, R> {
    /// Reads to the end: a body left unread costs its connection. `passed` says how long that takes so far.
    fn read(
        self,
        passed: impl Fn() -> Duration,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let (mut body, mut filled) = (self.buffers.take(self.expected_bytes), 0);
        // Memory to read into has to be cleared, which that of an answer before is; and there has to be
        // some left for the read that finds the end.
        let wanted = self.expected_bytes.min(CLEARED_BYTES_MAX) + 1;
        body.resize(body.len().max(wanted).max(READ_BYTES_MIN), 0);
        while passed() < time_for(filled, timeout) {
            if filled == body.len() {
                body.resize(
                    (2 * filled).clamp(READ_BYTES_MIN, RESPONSE_BYTES_MAX + 1),
                    0,
                );
            }
            let read = self.reader.read(&mut body[filled..]);
            match read.map_err(|error| io_error(error, timeout))? {
                0 => return Ok(self.buffers.lend(body, filled)),
                read => filled += read,
            }
            if filled > RESPONSE_BYTES_MAX {
                let limit_bytes = RESPONSE_BYTES_MAX;
                return Err(TransportError::TooLarge { limit_bytes });
            }
        }
        Err(TransportError::Timeout(time_for(filled, timeout)))
    }
}

/// How long a body may take of which so many bytes are there.
///
/// A slow link needs long for a long answer, and given up it would have to begin again. So the time
/// grows with what arrives, and a peer who sends a byte now and then gains next to nothing by it.
fn time_for(bytes: usize, timeout: Duration) -> Duration {
    let gained = Duration::from_secs((bytes / BODY_BYTES_PER_SECOND_MIN) as u64);
    let most = BODY_TIME_MAX.max(timeout);
    timeout.saturating_add(gained).min(most)
}

fn transport_error(error: ureq::Error, timeout: Duration) -> TransportError {
    if let Some(error) = before_connecting(&error) {
        return error;
    }
    match error {
        ureq::Error::Io(error) => io_error(error, timeout),
        ureq::Error::Other(error) => match not_connected(error) {
            Ok(error) => error,
            Err(error) => TransportError::Io(io::Error::other(error)),
        },
        ureq::Error::Timeout(_) => TransportError::Timeout(timeout),
        ureq::Error::TlsRequired => TransportError::Tls(
            "this build speaks http only; turn on the cargo feature \"tls\" for https endpoints"
                .to_owned(),
        ),
        other => TransportError::Io(io::Error::other(other.to_string())),
    }
}

/// Sorts an I/O error of an established connection. Whatever its kind, the request may have arrived:
/// see [`phase`](crate::http::phase) for those that say otherwise.
fn io_error(error: io::Error, timeout: Duration) -> TransportError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TransportError::Timeout(timeout),
        _ => match error.downcast::<ureq::Error>() {
            Ok(inner) => transport_error(inner, timeout),
            Err(error) => TransportError::Io(error),
        },
    }
}

/// Remembers addresses for a while, instead of asking for them at every request.
struct CachingResolver {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
}

impl std::fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CachingResolver")
    }
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, now) = (
            format!("{:?}/{:?}", uri.scheme(), uri.authority()),
            self.clock.now(),
        );
        let known = || lock(&self.known);
        if let Some((_, addresses)) = known().get(&host).filter(|(until, _)| now < *until) {
            return Ok(addresses.clone());
        }
        // Not under the lock: a slow name server must not hold up threads that know their address.
        let addresses = DefaultResolver::default().resolve(uri, config, timeout);
        let addresses = addresses.map_err(unresolved)?;
        let mut known = known();
        if known.len() >= HOSTS_MAX {
            known.clear();
        }
        known.insert(host, (now + RESOLVED_FOR, addresses.clone()));
        Ok(addresses)
    }
}

/// 10 MiB of records are 14 MB in base64; 10,000 records with the longest keys add 14 MB more.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// What brings less is no link but a peer that stalls. GetRecords of one record of 10 MiB, 14 MB in base64,
/// takes two minutes at 1 Mbit/s.
const BODY_BYTES_PER_SECOND_MIN: usize = 1 << 10;

/// The end of the longest body: the iterator behind an answer lives for five minutes.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
const BODY_TIME_MAX: Duration = Duration::from_secs(240);

/// How much is read between two looks at the clock. Of a long answer it is more, but stays in the
/// processor's cache.
const READ_BYTES_MIN: usize = 2 << 10;

/// As much is believed of what the headers say.
const CLEARED_BYTES_MAX: usize = 4 << 20;

/// What TLS takes at once. Plain connections have buffers of their own.
const TLS_BUFFER_BYTES: usize = 16 << 10;

/// Longer than the discovery interval, shorter than load balancers keep idle connections.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);

/// The service's addresses change; its DNS answers live for about as long.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// A client speaks to the service, STS and a metadata server.
const HOSTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::fake::VirtualClock;
    use crate::model::Timestamp;

    struct Dripping(usize);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.min(buffer.len());
            self.0 -= n;
            Ok(n)
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(6);

    #[cfg(feature = "tls")]
    #[test]
    fn a_file_of_roots_has_to_hold_certificates() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let count = |text: &str| {
            certificates(text)
                .map(|certificates| certificates.len())
                .ok()
        };
        for (text, certificates) in [
            (certificate.to_owned(), Some(1)),
            (format!("text\n{certificate}{key}{certificate}"), Some(2)),
            (key.to_owned(), None),
            (String::new(), None),
            (certificate.replace("AAAA", "!"), None),
        ] {
            assert_eq!(count(&text), certificates, "{text}");
        }
    }

    fn read_body(
        bytes: usize,
        expected_bytes: usize,
        passed: impl Fn() -> Duration,
    ) -> Result<Bytes, TransportError> {
        let body = Body {
            reader: &mut Dripping(bytes),
            expected_bytes,
            buffers: &Buffers::default(),
        };
        body.read(passed, TIMEOUT)
    }

    #[test]
    fn a_body_is_read_whole_up_to_the_cap() {
        for bytes in [0, 1, READ_BYTES_MIN, CLEARED_BYTES_MAX, RESPONSE_BYTES_MAX] {
            for expected in [0, 1, bytes] {
                let body = read_body(bytes, expected, || Duration::ZERO);
                assert_eq!(body.expect("a body").len(), bytes);
            }
        }
        let error =
            read_body(RESPONSE_BYTES_MAX + 1, 0, || Duration::ZERO).expect_err("over the cap");
        assert_eq!(
            error.to_string(),
            "the answer is longer than 33554432 bytes"
        );
    }

    #[test]
    fn the_end_of_an_answer_is_found_without_more_memory_than_its_headers_ask_for() {
        let (buffers, bytes) = (Buffers::default(), 1_000_000);
        let body = Body {
            reader: &mut Dripping(bytes),
            expected_bytes: bytes,
            buffers: &buffers,
        };
        drop(body.read(|| Duration::ZERO, TIMEOUT).expect("a body"));
        assert_eq!(buffers.take(bytes).len(), bytes + 1);
    }

    /// Brings so many bytes in each second, and says what became of the body and how long it took.
    fn over_link(bytes: usize, per_second: usize) -> (Result<usize, TransportError>, u64) {
        struct Link<'a>(usize, usize, &'a std::cell::Cell<u64>);

        impl Read for Link<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.min(self.1).min(buffer.len());
                self.0 -= n;
                self.2.set(self.2.get() + 1);
                Ok(n)
            }
        }

        let seconds = std::cell::Cell::new(0);
        let body = Body {
            reader: &mut Link(bytes, per_second, &seconds),
            expected_bytes: bytes,
            buffers: &Buffers::default(),
        };
        let passed = || Duration::from_secs(seconds.get());
        let outcome = body.read(passed, TIMEOUT).map(|body| body.len());
        (outcome, seconds.get())
    }

    #[test]
    fn a_body_may_take_as_long_as_it_goes_on_but_not_for_ever() {
        let record = (10 << 20) * 4 / 3;
        let (whole, took) = over_link(record, 1_000_000 / 8);
        assert_eq!(whole.expect("a body"), record);
        assert!((112..=120).contains(&took), "{took} s");
        for (per_second, gives_up, limit) in [(1, 6, "6.0"), (50_000, 240, "240.0")] {
            let (outcome, took) = over_link(record, per_second);
            let error = outcome.expect_err("too slow");
            assert_eq!(error.to_string(), format!("no answer within {limit} s"));
            assert_eq!(took, gives_up, "{per_second} bytes a second");
        }
    }

    #[test]
    fn an_io_error_of_an_established_connection_never_says_that_the_request_did_not_leave() {
        for kind in [
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::InvalidData,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::TimedOut,
            io::ErrorKind::UnexpectedEof,
        ] {
            let error = transport_error(ureq::Error::Io(kind.into()), TIMEOUT);
            assert!(error.may_have_been_sent(), "{kind}");
        }
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock] {
            let error = io_error(kind.into(), TIMEOUT);
            assert!(matches!(error, TransportError::Timeout(TIMEOUT)), "{error}");
        }
    }

    /// A transport for this machine, whose connectors and resolver are the real ones.
    fn transport() -> UreqTransport {
        UreqTransport::new(crate::sys::Sys::real().clock, &network()).expect("a transport")
    }

    fn network() -> Network {
        Network {
            connect_timeout: TIMEOUT,
            request_timeout: TIMEOUT,
            max_connections: 1,
            proxies: ProxyRules::default(),
            trust: Trust::BuiltIn,
        }
    }

    #[test]
    fn an_address_is_remembered_for_half_a_minute_beside_those_of_other_hosts() {
        let clock = VirtualClock::starting_at(Timestamp::from_millis(0));
        let resolver = CachingResolver {
            clock: Arc::new(clock.clone()),
            known: Mutex::default(),
        };
        let port = |port: usize| {
            let uri = format!("http://127.0.0.1:{port}/").parse().expect("a URL");
            let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default());
            found.expect("an address")[0].port()
        };
        assert_eq!(port(1), 1);
        // The changed port shows that an address comes from the cache, and not from the resolver.
        for (_, addresses) in lock(&resolver.known).values_mut() {
            addresses[0].set_port(99);
        }
        clock.advance(Duration::from_millis(29_999));
        assert_eq!(port(1), 99);
        clock.advance(Duration::from_millis(1));
        assert_eq!(port(1), 1);
        for (host, hosts) in [(2, 2), (HOSTS_MAX, HOSTS_MAX), (HOSTS_MAX + 1, 1)] {
            for host in 1..=host {
                port(host);
            }
            assert_eq!(lock(&resolver.known).len(), hosts);
        }
    }

    #[test]
    fn a_request_with_a_time_of_its_own_is_given_up_by_it() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let (transport, begun) = (transport(), Instant::now());
        let request = http::Request::get(url).body(Bytes::new());
        let answer = transport.round_trip(request.expect("a request"), TIMEOUT / 300);
        answer.expect_err("silence");
        assert!(begun.elapsed() < TIMEOUT);
    }

    #[test]
    fn a_failure_before_there_is_a_connection_says_that_the_request_did_not_leave() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed = free.local_addr().expect("an address");
        drop(free);
        for (url, code) in [
            (format!("http://{closed}/"), "ConnectError"),
            ("http://no-such-host.invalid/".to_owned(), "DnsError"),
        ] {
            let request = http::Request::post(&url).body(Bytes::new());
            let answer = transport().round_trip(request.expect("a request"), TIMEOUT);
            let error = answer.expect_err("nobody there");
            assert_eq!((error.code(), error.may_have_been_sent()), (code, false));
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_handshake_that_breaks_off_comes_before_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let peer = thread::spawn(move || drop(listener.accept()));
        let request = http::Request::post(format!("https://{address}/")).body(Bytes::new());
        let answer = transport().round_trip(request.expect("a request"), TIMEOUT);
        let error = answer.expect_err("no handshake");
        assert_eq!(error.code(), "ConnectError", "{error}");
        assert!(!error.may_have_been_sent());
        peer.join().expect("no panic");
    }

    /// Answers one request, and gives its first line.
    fn answering(listener: TcpListener, head: String) -> JoinHandle<String> {
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a caller");
            let mut line = String::new();
            let mut reader = io::BufReader::new(connection.try_clone().expect("a socket"));
            io::BufRead::read_line(&mut reader, &mut line).expect("a line");
            let answer = format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            io::Write::write_all(&mut connection, answer.as_bytes()).expect("sent");
            // Until the caller has read it all and goes, lest a reset overtake it.
            drop(reader.read_to_end(&mut Vec::new()));
            line
        })
    }

    /// The variables choose the way, and those of this process do not: the transport knows no others than it is given.
    #[test]
    fn the_variables_of_an_environment_choose_the_way_of_each_request() {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (first, second) = (listen(), listen());
        let url = |listener: &TcpListener| {
            let address = listener.local_addr().expect("an address");
            let url: &str = format!("http://{address}").leak();
            url
        };
        let env = HashMap::from([
            ("http_proxy", url(&first)),
            ("HTTPS_PROXY", url(&second)),
            ("NO_PROXY", "invalid"),
        ]);
        let network = Network {
            proxies: ProxyRules::from_env(&env).expect("sound"),
            ..network()
        };
        let transport = UreqTransport::new(crate::sys::Sys::real().clock, &network);
        let transport = transport.expect("a transport");
        let ask = |url: &str| {
            let request = http::Request::get(url).body(Bytes::new());
            let answer = transport.round_trip(request.expect("a request"), TIMEOUT);
            answer.expect_err("no service").to_string()
        };
        let refusal = "HTTP/1.1 502 No".to_owned();
        let servers = [first, second].map(|listener| answering(listener, refusal.clone()));
        assert!(ask("http://host.test/").contains("it answered 502"));
        if cfg!(feature = "tls") {
            assert!(ask("https://host.test/").contains("it answered 502"));
        }
        assert!(ask("http://no-such-host.invalid/").starts_with("the host has no address"));
        let [http, https] = servers;
        assert_eq!(
            http.join().expect("no panic"),
            "CONNECT host.test:80 HTTP/1.1\r\n"
        );
        if cfg!(feature = "tls") {
            assert_eq!(
                https.join().expect("no panic"),
                "CONNECT host.test:443 HTTP/1.1\r\n"
            );
        }
    }

    #[test]
    fn a_redirect_is_an_answer_and_is_not_followed() {
        let transport = transport();
        for (method, status) in [("POST", 307), ("POST", 302), ("GET", 301), ("PUT", 308)] {
            let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
            let (first, second) = (listen(), listen());
            let url = |listener: &TcpListener| {
                format!("http://{}/", listener.local_addr().expect("an address"))
            };
            let (place, elsewhere) = (url(&first), url(&second));
            let head = format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {elsewhere}");
            let server = answering(first, head);
            let request = http::Request::builder().method(method).uri(place);
            let request = request.body(Bytes::from_static(b"a secret"));
            let answer = transport.round_trip(request.expect("a request"), TIMEOUT);
            assert_eq!(answer.expect("an answer").status(), status, "{method}");
            server.join().expect("no panic");
            second.set_nonblocking(true).expect("a socket");
            let error = second.accept().expect_err("nobody comes here");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{method} {status}");
        }
    }
}
