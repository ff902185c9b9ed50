//! Whom a client believes over TLS: a server on the loopback with certificates made for the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use kinesis_blocking::{Client, ClientBuilder, Credentials, Error, ErrorKind, TransportError};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"Shards\":[]}";

/// An authority, and a server on `localhost` that it vouches for; answers until the test ends.
fn server() -> (String, u16) {
    server_with(|_| ())
}

/// The same, with another certificate.
fn server_with(change: impl FnOnce(&mut CertificateParams)) -> (String, u16) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let authority = authority.expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    change(&mut params);
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let port = serving(&certificate, &key);
    (authority.pem(), port)
}

fn serving(certificate: &Certificate, key: &KeyPair) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    let config = Arc::new(config.expect("a certificate that fits its key"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that believes nothing goes in the middle of the handshake.
            let _ = stream.and_then(|stream| answer(stream, config.clone()));
        }
    });
    port
}

/// A server whose certificate nobody else has signed, and that certificate.
fn self_signed(is_ca: IsCa) -> (String, u16) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).expect("a certificate");
    let port = serving(&certificate, &key);
    (certificate.pem(), port)
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    // The body of a listing ends with its only brace.
    while !request.ends_with(b"}") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&part[..read]),
        }
    }
    stream.write_all(ANSWER)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn client(host: &str, port: u16) -> ClientBuilder {
    Client::builder()
        .region("us-east-1")
        .endpoint(format!("https://{host}:{port}"))
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
}

fn listed(client: ClientBuilder) -> Result<usize, Error> {
    Ok(client.build()?.list_shards("orders")?.len())
}

fn is_disbelieved(client: ClientBuilder) -> bool {
    let error = listed(client).expect_err("not to be believed");
    assert_eq!(error.attempts(), 1, "{error}");
    matches!(error.kind(), ErrorKind::Transport(TransportError::Tls(_)))
}

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn a_server_is_believed_if_a_given_authority_vouches_for_it_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, port) = server();
    let right = file(folder.path(), "right.pem", &authority);
    let other = file(folder.path(), "other.pem", &server().0);
    let both = file(
        folder.path(),
        "both.pem",
        &[&*server().0, &authority].concat(),
    );
    for roots in [&right, &both] {
        assert_eq!(
            listed(client("localhost", port).tls_roots(roots)).expect("believed"),
            0
        );
    }
    assert!(is_disbelieved(client("localhost", port)));
    assert!(is_disbelieved(client("localhost", port).tls_roots(&other)));
    assert!(is_disbelieved(client("127.0.0.1", port).tls_roots(&right)));
}

#[test]
fn anybody_is_believed_only_if_that_is_said_aloud() {
    let (_, port) = server();
    for host in ["localhost", "127.0.0.1"] {
        let trusting = client(host, port).dangerously_trust_any_certificate(true);
        assert_eq!(listed(trusting).expect("believed"), 0, "{host}");
        let wary = client(host, port).dangerously_trust_any_certificate(false);
        assert!(is_disbelieved(wary), "{host}");
    }
}

/// What is told of a server that is refused, with its certificate's authority believed.
fn refusal((roots, port): (String, u16), host: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = file(folder.path(), "roots.pem", &roots);
    let error = listed(client(host, port).tls_roots(roots)).expect_err("refused");
    assert_eq!(error.attempts(), 1, "{error}");
    let ErrorKind::Transport(transport) = error.kind() else {
        panic!("{error}");
    };
    assert!(matches!(transport, TransportError::Tls(_)), "{error}");
    assert!(!transport.may_have_been_sent(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{host}:{port}")), "{text}");
    text
}

#[test]
fn a_refused_certificate_is_told_with_what_is_wrong_and_what_to_do() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    let told = refusal(self_signed(authority), "localhost");
    assert!(
        told.contains("CA:TRUE") && told.contains("AWS_CA_BUNDLE"),
        "{told}"
    );

    let (unknown, port) = (server().0, server().1);
    let told = refusal((unknown, port), "localhost");
    assert!(
        told.contains("no authority that is believed") && told.contains("ca_bundle"),
        "{told}"
    );

    let error = listed(client("localhost", port)).expect_err("known to nobody");
    assert!(
        error.to_string().contains("no authority that is believed"),
        "{error}"
    );

    let told = refusal(server(), "127.0.0.1");
    assert!(
        told.contains("is for another name: not for \"127.0.0.1\""),
        "{told}"
    );

    let told = refusal(
        server_with(|params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 2, 3);
        }),
        "localhost",
    );
    assert!(
        told.contains("has expired") && told.contains("valid until 2002-02-03T00:00:00"),
        "{told}"
    );

    let told = refusal(
        server_with(|params| {
            params.not_before = rcgen::date_time_ymd(2150, 1, 2);
            params.not_after = rcgen::date_time_ymd(2151, 1, 1);
        }),
        "localhost",
    );
    assert!(
        told.contains("not valid yet") && told.contains("valid from 2150-01-02T00:00:00"),
        "{told}"
    );
}

/// Such a certificate is its own authority.
#[test]
fn a_certificate_that_signed_itself_and_is_no_authority_is_believed_if_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, port) = self_signed(IsCa::ExplicitNoCa);
    let roots = file(folder.path(), "own.pem", &own);
    assert_eq!(
        listed(client("localhost", port).tls_roots(roots)).expect("believed"),
        0
    );
}

#[test]
fn plain_http_at_a_port_for_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let told = refusal((server().0, port), "localhost");
    assert!(
        told.contains("does not speak TLS") && told.contains("http://"),
        "{told}"
    );
}
