//! Shard maps, shared by everything that works with clones of one client.
//!
//! A thousand producers of one stream that all see a reshard would list it a thousand times, and an
//! account has a hundred such calls a second. So whoever wants a map says how old it may be, and one
//! call serves all that want it at that time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::client::Client;
use crate::error::Result;
use crate::model::ShardMap;

/// A shard map, and when the call was made that gave it.
#[derive(Clone)]
pub(crate) struct Listed {
    pub map: Arc<ShardMap>,
    pub began: Instant,
    pub ended: Instant,
}

/// The newest map of each stream.
#[derive(Default)]
pub(super) struct Maps(Mutex<HashMap<Arc<str>, Place>>);

/// One stream's, locked while somebody lists it.
type Place = Arc<Mutex<Option<Listed>>>;

impl Maps {
    fn of(&self, stream: &Arc<str>) -> Place {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if maps.len() >= STREAMS_MAX && !maps.contains_key(stream) {
            maps.clear();
        }
        maps.entry(stream.clone()).or_default().clone()
    }
}

impl Client {
    /// Gives a stream's map by a call that began at `since` or later: another's, or one made now.
    ///
    /// Waits for one that another thread is making, which may prove too old.
    ///
    /// # Errors
    /// As [`Client::list_shards`].
    pub(crate) fn shard_map(&self, stream: &Arc<str>, since: Instant) -> Result<Listed> {
        let place = self.shared.maps.of(stream);
        let mut newest = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listed) = newest.as_ref().filter(|listed| listed.began >= since) {
            return Ok(listed.clone());
        }
        let began = self.sys().clock.now();
        let map = Arc::new(ShardMap::new(&self.list_shards(stream)?));
        let ended = self.sys().clock.now();
        let listed = Listed { map, began, ended };
        *newest = Some(listed.clone());
        Ok(listed)
    }
}

/// Streams whose maps are kept; those of more are listed as if nobody had before.
const STREAMS_MAX: usize = 1_000;
