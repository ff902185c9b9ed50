//! HTTP/1.1 as far as a service over JSON needs it: one request after another on a connection.

use std::io::{self, Read, Write};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response};

/// One side of a connection, with what was read ahead of the request it belongs to.
pub(super) struct Connection<S> {
    stream: S,
    ahead: Vec<u8>,
}

/// Why no request came.
#[derive(Debug)]
pub(super) enum Unread {
    /// The other side hung up between two requests, as it may.
    Closed,
    /// It broke off, or what came is not HTTP.
    Broken,
    /// More than is taken.
    TooLarge,
}

impl<S: Read + Write> Connection<S> {
    pub fn new(stream: S) -> Connection<S> {
        Connection {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Blocks for the next request, until its last byte.
    pub fn read_request(&mut self) -> Result<Request<Bytes>, Unread> {
        let mut request = self.read_head()?;
        let length = body_length(request.headers())?;
        if length != Length::Known(0) && expects_continue(request.headers()) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        *request.body_mut() = match length {
            Length::Known(bytes) => self.read_body(bytes)?,
            Length::Chunked => self.read_chunks()?,
        };
        Ok(request)
    }

    /// Sends an answer, with its length.
    pub fn write_response(&mut self, response: &Response<Bytes>) -> io::Result<()> {
        let body = response.body();
        self.write_part(response, body)
    }

    /// Sends an answer's head and the beginning of its body.
    pub fn write_part(&mut self, response: &Response<Bytes>, body: &[u8]) -> io::Result<()> {
        let head = head_of(response);
        // A small answer leaves in one packet; a large one is not copied.
        if body.len() <= SMALL_BYTES {
            return self.stream.write_all(&[&head, body].concat());
        }
        self.stream.write_all(&head)?;
        self.stream.write_all(body)
    }

    /// Sends more of a body.
    pub fn write_more(&mut self, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(body)
    }

    /// Blocks until the other side hangs up; what it sends meanwhile is thrown away.
    pub fn await_end(&mut self) -> io::Result<()> {
        let mut nowhere = [0; 1024];
        while self.stream.read(&mut nowhere)? > 0 {}
        Ok(())
    }

    fn read_head(&mut self) -> Result<Request<Bytes>, Unread> {
        loop {
            if let Some((request, bytes)) = parse_head(&self.ahead)? {
                self.ahead.drain(..bytes);
                return Ok(request);
            }
            if self.ahead.len() > HEAD_BYTES_MAX {
                return Err(Unread::TooLarge);
            }
            let started = !self.ahead.is_empty();
            match self.read_more()? {
                0 if started => return Err(Unread::Broken),
                0 => return Err(Unread::Closed),
                _ => {}
            }
        }
    }

    fn read_body(&mut self, bytes: usize) -> Result<Bytes, Unread> {
        if bytes > BODY_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        let mut body = Vec::with_capacity(bytes);
        let ready = bytes.min(self.ahead.len());
        body.extend(self.ahead.drain(..ready));
        body.resize(bytes, 0);
        self.stream.read_exact(&mut body[ready..])?;
        Ok(body.into())
    }

    fn read_chunks(&mut self) -> Result<Bytes, Unread> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| Unread::Broken)?;
            if size == 0 {
                break;
            }
            if size > BODY_BYTES_MAX - body.len() {
                return Err(Unread::TooLarge);
            }
            body.extend_from_slice(&self.read_body(size)?);
            self.read_line()?;
        }
        // Trailers, up to the empty line that ends the request.
        while !self.read_line()?.is_empty() {}
        Ok(body.into())
    }

    fn read_line(&mut self) -> Result<String, Unread> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                let line = String::from_utf8(line).map_err(|_| Unread::Broken)?;
                return Ok(line.trim_end().to_owned());
            }
            if self.ahead.len() > LINE_BYTES_MAX {
                return Err(Unread::TooLarge);
            }
            if self.read_more()? == 0 {
                return Err(Unread::Broken);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let start = self.ahead.len();
        self.ahead.resize(start + READ_BYTES, 0);
        let read = self.stream.read(&mut self.ahead[start..]);
        self.ahead.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Unread {
        Unread::Broken
    }
}

/// Says whether the connection ends with this request.
pub(super) fn is_last<T>(request: &Request<T>) -> bool {
    let asked = |word: &str| {
        request.headers().get_all(CONNECTION).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|value| value.to_ascii_lowercase().contains(word))
        })
    };
    asked("close") || (request.version() < http::Version::HTTP_11 && !asked("keep-alive"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Chunked,
    Known(usize),
}

fn body_length(headers: &HeaderMap) -> Result<Length, Unread> {
    if let Some(encoding) = headers.get(TRANSFER_ENCODING) {
        return match encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            true => Ok(Length::Chunked),
            false => Err(Unread::Broken),
        };
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(Length::Known(0));
    };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Length::Known).ok_or(Unread::Broken)
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads a head and its length in bytes; `None` if its end is not there yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request<Bytes>, usize)>, Unread> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Unread::Broken),
    };
    let version = match parsed.version {
        Some(0) => http::Version::HTTP_10,
        _ => http::Version::HTTP_11,
    };
    let mut request = Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(parsed.path.unwrap_or_default())
        .version(version);
    for header in parsed.headers {
        request = request.header(header.name, header.value);
    }
    let request = request.body(Bytes::new()).map_err(|_| Unread::Broken)?;
    Ok(Some((request, length)))
}

fn head_of(response: &Response<Bytes>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    let length = format!("content-length: {}\r\n\r\n", response.body().len());
    head.extend_from_slice(length.as_bytes());
    head
}

/// What one read asks for.
const READ_BYTES: usize = 16 * 1024;
/// The request line and headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// A chunk's size, or a trailer.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// 10 MiB of records as base64 in JSON, with room for keys.
pub(super) const BODY_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Up to here head and body are sent together.
const SMALL_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A connection on which bytes arrive a few at a time, and which keeps what is sent.
    struct Trickle {
        arriving: Cursor<Vec<u8>>,
        at_a_time: usize,
        sent: Vec<u8>,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let few = buffer.len().min(self.at_a_time);
            self.arriving.read(&mut buffer[..few])
        }
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection(bytes: &[u8]) -> Connection<Trickle> {
        Connection::new(Trickle {
            arriving: Cursor::new(bytes.to_vec()),
            // A long head is read again with every part of it that comes.
            at_a_time: 7.max(bytes.len() / 20),
            sent: Vec::new(),
        })
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let mut connection = connection(
            b"POST / HTTP/1.1\r\nX-Amz-Target: a\r\nContent-Length: 4\r\n\r\nbody\
              POST /two HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
              3\r\nchu\r\n9;note=x\r\nnked body\r\n0\r\nTrailer: x\r\n\r\n\
              GET /three HTTP/1.0\r\n\r\n",
        );
        for (path, body, last) in [
            ("/", "body", false),
            ("/two", "chunked body", false),
            ("/three", "", true),
        ] {
            let request = connection.read_request().expect("a request");
            assert_eq!(request.uri(), path);
            assert_eq!(request.body(), body);
            assert_eq!(is_last(&request), last, "{path}");
        }
        assert!(matches!(connection.read_request(), Err(Unread::Closed)));
    }

    #[test]
    fn who_waits_to_be_told_to_go_on_is_told() {
        let mut connection =
            connection(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(connection.read_request().expect("a request").body(), "ok");
        assert_eq!(connection.stream.sent, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn what_is_not_a_whole_request_is_told_apart() {
        let long = format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
        let large = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
            BODY_BYTES_MAX + 1
        );
        for (bytes, kind) in [
            ("", "Closed"),
            ("POST / HT", "Broken"),
            ("garbage\r\n\r\n", "Broken"),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nbody", "Broken"),
            ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "Broken"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
                "Broken",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
                "TooLarge",
            ),
            (&long, "TooLarge"),
            (&large, "TooLarge"),
        ] {
            let unread = connection(bytes.as_bytes()).read_request();
            let unread = format!("{:?}", unread.expect_err("no request"));
            assert_eq!(unread, kind, "{:.60}", bytes);
        }
    }

    #[test]
    fn an_answer_carries_its_length() {
        let mut connection = connection(b"");
        let response = Response::builder()
            .status(400)
            .header("x-amzn-requestid", "7c1f")
            .body(Bytes::from_static(b"{}"))
            .expect("a response");
        connection.write_response(&response).expect("written");
        assert_eq!(
            String::from_utf8_lossy(&connection.stream.sent),
            "HTTP/1.1 400 Bad Request\r\nx-amzn-requestid: 7c1f\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
