use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use kinesis_blocking::{HttpTransport, TransportError};

/// HTTP/1.1 over a plain socket, a connection a call: all that Kinesis needs.
pub struct Plain {
    address: String,
}

impl Plain {
    pub fn new(address: &str) -> Plain {
        Plain {
            address: address.to_owned(),
        }
    }

    fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(socket)
    }
}

impl HttpTransport for Plain {
    fn round_trip(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        // What could not be sent was not stored; whatever happens later may have been.
        let mut socket = self.connect(timeout).map_err(TransportError::Connect)?;
        let answer = send(&mut socket, &request).and_then(|()| receive(socket));
        answer.map_err(TransportError::Io)
    }
}

fn send(socket: &mut TcpStream, request: &Request<Bytes>) -> io::Result<()> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nconnection: close\r\n",
        request.method()
    );
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().map_err(io::Error::other)?);
    }
    if !request.headers().contains_key("host") {
        let host = request.uri().authority().map_or("", |host| host.as_str());
        head += &format!("host: {host}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", request.body().len());
    socket.write_all(head.as_bytes())?;
    socket.write_all(request.body())
}

fn receive(socket: TcpStream) -> io::Result<Response<Bytes>> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut reader = BufReader::new(socket.take(ANSWER_BYTES_MAX));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .ok_or_else(|| malformed("no status"))?;
    let mut response = Response::builder().status(status);
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
        response = response.header(name, value.trim());
    }
    let length: usize = length.ok_or_else(|| malformed("no length"))?;
    let mut body = Vec::new();
    reader.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    response.body(body.into()).map_err(io::Error::other)
}

/// A device has little memory; an answer of PutRecords has 50 KB at most, one of ListShards more.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
