use std::sync::Arc;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::Client;
use crate::consumer::listing::{Listing, Times};
use crate::consumer::threads::Alive;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::stop::Stop;

/// Lists streams for discovery, on a thread of its own: while ListShards is tried again, or does not
/// answer, discovery still hears of shards that ended, and starts the children that an end has named.
pub(super) struct Lister {
    pub client: Client,
    pub stop: Stop,
    requests: Receiver<Vec<Arc<str>>>,
    answers: Sender<Answer>,
    pub _alive: Alive,
}

/// A stream, when it was listed, and what came of it.
pub(super) type Answer = (Arc<str>, Times, Result<Listing>);

/// Discovery's end: one request at a time.
pub(super) struct Listings {
    requests: Sender<Vec<Arc<str>>>,
    pub answers: Receiver<Answer>,
    /// Streams that are being listed.
    outstanding: usize,
}

impl Lister {
    pub fn new(client: Client, stop: Stop, alive: Alive) -> (Lister, Listings) {
        let (requests, requested) = channel::bounded(1);
        let (sender, answers) = channel::bounded(1);
        let lister = Lister {
            client,
            stop,
            requests: requested,
            answers: sender,
            _alive: alive,
        };
        let listings = Listings {
            requests,
            answers,
            outstanding: 0,
        };
        (lister, listings)
    }

    /// Lists until it is stopped, or discovery is gone.
    pub fn run(self) {
        loop {
            let streams = select! {
                recv(self.stop.channel()) -> _ => return,
                recv(self.requests) -> streams => streams,
            };
            let Ok(streams) = streams else {
                return;
            };
            for stream in streams {
                let list = |name: &str| self.client.list_shards(name);
                let (times, listing) = Listing::of(&self.client, &stream, list);
                if self.answers.send((stream, times, listing)).is_err() {
                    return;
                }
            }
        }
    }
}

/// The lister's thread ended, though it was not told to.
pub(super) fn is_gone() -> Error {
    let (name, message) = ("kin-list".to_owned(), "it ended without a word".to_owned());
    Error::new(ErrorKind::Thread { name, message })
}

impl Listings {
    pub fn request(&mut self, streams: Vec<Arc<str>>) {
        let count = streams.len();
        // There is room: the request before has been answered. Without a thread the answers say so.
        if count > 0 && self.requests.try_send(streams).is_ok() {
            self.outstanding = count;
        }
    }

    /// Takes note of an answer.
    pub fn answered(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub fn is_busy(&self) -> bool {
        self.outstanding > 0
    }
}
