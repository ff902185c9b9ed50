//! Takes connections over TLS and passes them on in plain to the host and port it is given, for clients that
//! speak TLS only. It prints its address; its certificate, made for this run, is for `localhost`.

use std::io::{Error, Result};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[tokio::main]
async fn main() -> Result<()> {
    let target = std::env::args().nth(1);
    let target = target.ok_or_else(|| Error::other("tls_front HOST:PORT"))?;
    let acceptor = acceptor()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("https://localhost:{}", listener.local_addr()?.port());
    loop {
        let (client, _) = listener.accept().await?;
        let (acceptor, target) = (acceptor.clone(), target.clone());
        tokio::spawn(async move {
            if let Err(error) = pass_on(client, &acceptor, &target).await {
                eprintln!("a connection to {target} ended: {error}");
            }
        });
    }
}

async fn pass_on(client: TcpStream, acceptor: &TlsAcceptor, target: &str) -> Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(target).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn acceptor() -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(Error::other)?;
    let key = made.signing_key.serialize_der();
    let key = key.try_into().map_err(Error::other)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(Error::other)?)))
}
