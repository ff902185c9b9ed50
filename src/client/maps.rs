//! Shard maps, shared by everything that works with clones of one client.
//!
//! A thousand producers of one stream that all see a reshard would list it a thousand times, and an
//! account has a hundred such calls a second. So whoever wants a map says how old it may be, and one
//! call serves all that want it at that time.
//!
//! No lock is held while somebody lists: a call may hang and a logger may block, and those who wait for
//! the list have to hear when they are told to stop.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crossbeam::channel::{self, Receiver, Sender, select};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ShardMap;
use crate::sys::lock::lock;

/// A shard map, and when the call was made that gave it.
#[derive(Clone)]
pub(crate) struct Listed {
    pub map: Arc<ShardMap>,
    pub began: Instant,
    pub ended: Instant,
}

/// The newest map of each stream.
#[derive(Default)]
pub(super) struct Maps(Mutex<HashMap<Arc<str>, Arc<Place>>>);

/// One stream's.
#[derive(Default)]
struct Place(Mutex<State>);

#[derive(Default)]
struct State {
    newest: Option<Listed>,
    /// Closes when the list that somebody makes is there, or has failed.
    under_way: Option<Receiver<Infallible>>,
}

/// The right to list, which one has at a time. Given back when dropped, by a panic too.
struct Turn {
    place: Arc<Place>,
    /// Dropped after the state says that nothing is under way.
    _over: Sender<Infallible>,
}

impl Maps {
    fn of(&self, stream: &Arc<str>) -> Arc<Place> {
        let mut maps = lock(&self.0);
        if maps.len() >= STREAMS_MAX && !maps.contains_key(stream) {
            maps.clear();
        }
        maps.entry(stream.clone()).or_default().clone()
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Turn {
    fn take(place: &Arc<Place>, state: &mut State) -> Turn {
        let (over, under_way) = channel::bounded(0);
        state.under_way = Some(under_way);
        Turn {
            place: place.clone(),
            _over: over,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.place.state().under_way = None;
    }
}

impl Client {
    /// Gives a stream's map by a call that began at `since` or later: another's, or one made now.
    ///
    /// Waits for one that another thread is making, which may prove too old.
    ///
    /// # Errors
    /// As [`Client::list_shards`]; `Closed` when told to stop while another thread lists.
    pub(crate) fn shard_map(&self, stream: &Arc<str>, since: Instant) -> Result<Listed> {
        let place = self.shared.maps.of(stream);
        loop {
            let under_way = {
                let mut state = place.state();
                if let Some(listed) = state.newest.as_ref().filter(|one| one.began >= since) {
                    return Ok(listed.clone());
                }
                match state.under_way.clone() {
                    Some(under_way) => under_way,
                    None => {
                        let turn = Turn::take(&place, &mut state);
                        drop(state);
                        return self.list_map(stream, turn);
                    }
                }
            };
            select! {
                recv(under_way) -> _ => {}
                recv(self.stop().channel()) -> _ => return Err(Error::new(ErrorKind::Closed)),
            }
        }
    }

    fn list_map(&self, stream: &Arc<str>, turn: Turn) -> Result<Listed> {
        let began = self.sys().clock.now();
        let map = Arc::new(ShardMap::new(&self.list_shards(stream)?));
        let ended = self.sys().clock.now();
        let listed = Listed { map, began, ended };
        turn.place.state().newest = Some(listed.clone());
        Ok(listed)
    }
}

/// Streams whose maps are kept; those of more are listed as if nobody had before.
const STREAMS_MAX: usize = 1_000;
