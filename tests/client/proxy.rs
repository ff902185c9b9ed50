//! Which way a client takes to its endpoint: a proxy on the loopback that knows CONNECT and brings everything to one
//! server, whatever the name that is asked for. Nothing of this machine is asked through a proxy, so endpoints have names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use kinesis_blocking::fake::{FakeKinesis, FakeServer};
use kinesis_blocking::{
    Client, ClientBuilder, Credentials, Error, ErrorKind, Operation, Properties, RetryPolicy,
    TransportError,
};

/// A proxy that runs until the test ends, and the heads of what it was asked.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Brings everybody to the target, or answers with a status of its own.
    fn start(target: Result<SocketAddr, u16>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heads = heads.clone();
                // A client may close the connection in the middle of a request.
                thread::spawn(move || drop(serve(stream, target, &heads)));
            }
        });
        Proxy { port, asked }
    }

    fn heads(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    target: Result<SocketAddr, u16>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    heads
        .lock()
        .expect("no panic")
        .push(String::from_utf8_lossy(&head).into_owned());
    let target = match target {
        Ok(target) => target,
        Err(status) => {
            return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        }
    };
    let mut server = TcpStream::connect(target)?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from, mut to) = (stream.try_clone()?, server.try_clone()?);
    thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    std::io::copy(&mut server, &mut stream)?;
    Ok(())
}

fn kinesis() -> (FakeServer, SocketAddr) {
    let server = FakeKinesis::new().with_stream("orders", 2).serve();
    let server = server.expect("a socket");
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    (server, address.parse().expect("an address"))
}

fn client() -> ClientBuilder {
    Client::builder()
        .region("us-east-1")
        .endpoint("http://kinesis.internal.test:4567")
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .retry(
            Operation::ListShards,
            RetryPolicy {
                max_retries: Some(0),
                ..RetryPolicy::default_for(Operation::ListShards)
            },
        )
}

fn shards(client: ClientBuilder) -> Result<usize, Error> {
    Ok(client.build()?.list_shards("orders")?.len())
}

#[test]
fn a_request_reaches_the_service_through_the_proxy_that_is_given() {
    let (_server, address) = kinesis();
    let proxy = Proxy::start(Ok(address));
    let url = format!("http://me:p%40ss@127.0.0.1:{}", proxy.port);
    assert_eq!(shards(client().proxy(url)).expect("listed"), 2);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    let head = heads[0].to_ascii_lowercase();
    assert!(
        head.starts_with("connect kinesis.internal.test:4567 "),
        "{head}"
    );
    // "me:p@ss" in base64.
    assert!(
        head.contains("proxy-authorization: basic bwu6cebzcw=="),
        "{head}"
    );
}

#[test]
fn nothing_of_this_machine_is_asked_through_a_proxy() {
    let (server, address) = kinesis();
    let proxy = Proxy::start(Ok(address));
    let url = format!("http://127.0.0.1:{}", proxy.port);
    for endpoint in [
        server.endpoint().to_owned(),
        format!("http://localhost:{}", address.port()),
    ] {
        let client = client().endpoint(endpoint).proxy(&url);
        assert_eq!(shards(client).expect("listed"), 2);
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn a_proxy_of_properties_is_used_but_for_the_hosts_named_beside_it() {
    let (_server, address) = kinesis();
    let proxy = Proxy::start(Ok(address));
    let port = proxy.port.to_string();
    let with = |hosts: &str| {
        let properties: Properties = [
            ("aws.clientconfig.proxyHost", "127.0.0.1"),
            ("aws.clientconfig.proxyPort", &port),
            ("aws.clientconfig.nonProxyHosts", hosts),
        ]
        .into_iter()
        .collect();
        shards(client().properties(&properties).expect("sound"))
    };
    assert_eq!(with("*.other.test|localhost").expect("listed"), 2);
    // Nobody knows the name but the proxy.
    let error = with("localhost|*.Internal.test").expect_err("asked directly");
    let text = error.to_string();
    assert!(
        !text.contains("proxy") && text.contains("the host has no address"),
        "{text}"
    );
    assert_eq!(proxy.heads().len(), 1);
}

#[test]
fn an_error_on_the_way_through_a_proxy_names_it_and_no_password() {
    let refusing = |status| Proxy::start(Err(status)).port;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = free.local_addr().expect("an address").port();
    drop(free);
    for (port, reason) in [
        (closed, "Connection refused"),
        (refusing(502), "it answered 502"),
        (
            refusing(407),
            "it answered 407: it asks for another user or password",
        ),
    ] {
        let url = format!("http://me:hidden@127.0.0.1:{port}");
        let error = shards(client().proxy(url)).expect_err("no way through");
        let text = error.to_string();
        let expected = format!("through the proxy 127.0.0.1:{port}: cannot connect: {reason}");
        assert!(text.contains(&expected), "{text}");
        assert!(
            text.contains("NO_PROXY") && !text.contains("hidden"),
            "{text}"
        );
        let ErrorKind::Transport(error) = error.kind() else {
            panic!("{text}");
        };
        assert!(matches!(error, TransportError::Proxied { .. }));
        assert!(!error.may_have_been_sent(), "{text}");
    }
    let error = shards(client().proxy("http://no-such-proxy.invalid")).expect_err("unknown");
    let expected = "through the proxy no-such-proxy.invalid:80: the host has no address";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn what_breaks_behind_a_proxy_may_have_been_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        // Reads something, answers nothing.
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let proxy = Proxy::start(Ok(address));
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let error = shards(client().proxy(url)).expect_err("broken");
    let ErrorKind::Transport(transport) = error.kind() else {
        panic!("{error}");
    };
    assert!(transport.may_have_been_sent(), "{error}");
    assert!(
        error.to_string().contains("through the proxy 127.0.0.1:"),
        "{error}"
    );
}

#[test]
fn a_proxy_for_socks_is_refused_where_it_would_be_needed() {
    let socks = || client().proxy("socks5://127.0.0.1:1080");
    let error = socks().build().expect_err("no SOCKS").to_string();
    assert!(
        error.starts_with("proxy: ") && error.contains("no SOCKS"),
        "{error}"
    );
    assert!(socks().endpoint("http://localhost:4567").build().is_ok());
}
