//! A loopback server that is told what to do with each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// One request: its first line without the version, and its headers by lower-case names.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is done with a request.
pub enum Reply {
    Answer(u16, String),
    /// The connection stays open and nothing comes.
    Hang,
    /// Something comes, but it is not HTTP.
    Noise,
}

pub struct Server {
    pub url: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    /// Ends the hanging connections.
    _hanging: Sender<()>,
}

impl Server {
    pub fn start(mut reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (sender, hanging) = channel();
        let notes = asked.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else {
                    return;
                };
                let Some(request) = read(&connection) else {
                    continue;
                };
                notes.lock().expect("sound").push(request.clone());
                match reply(&request) {
                    Reply::Answer(status, body) => answer(&mut connection, status, &body),
                    Reply::Hang => held.push(connection),
                    Reply::Noise => drop(connection.write_all(b"220 smtp.example\r\n\r\n")),
                }
                if is_over(&hanging) {
                    return;
                }
            }
        });
        Server {
            url,
            asked,
            _hanging: sender,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("sound");
        asked.iter().map(|asked| asked.line.clone()).collect()
    }
}

fn is_over(hanging: &Receiver<()>) -> bool {
    matches!(
        hanging.try_recv(),
        Err(std::sync::mpsc::TryRecvError::Disconnected)
    )
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|bytes| *bytes > 0)?;
    let mut asked = Asked {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        asked
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = asked.header("content-length").map(str::parse::<usize>);
    let mut body = vec![0; length.and_then(Result::ok).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

fn answer(connection: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Who does not wait for the answer misses it.
    drop(connection.write_all(&[head.as_bytes(), body.as_bytes()].concat()));
}
