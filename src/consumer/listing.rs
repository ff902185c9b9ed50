use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::client::Client;
use crate::consumer::checkpoint::Origin;
use crate::error::Result;
use crate::model::{Shard, ShardId, Timestamp};

/// All shards that a stream had at that time or later, by their names.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub stream: Arc<str>,
    /// The service's time when the listing was asked for, and not later.
    pub at: Timestamp,
    pub times: Times,
    shards: Vec<Shard>,
}

/// The shards of a listing, and what it says of them.
pub(super) type Listed = BTreeMap<ShardId, Origin>;

/// When a listing was asked for, and when it was there: it shows the shards of a moment in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub asked: Instant,
    pub answered: Instant,
}

impl Listing {
    /// Takes a listing that may be in any order.
    pub fn new(stream: Arc<str>, at: Timestamp, times: Times, mut shards: Vec<Shard>) -> Listing {
        // The service sorts by name, so this is one pass.
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        shards.dedup_by(|next, kept| next.id == kept.id);
        Listing {
            stream,
            at,
            times,
            shards,
        }
    }

    /// Lists a stream, and notes when that was.
    pub fn of(
        client: &Client,
        stream: &Arc<str>,
        list: impl FnOnce(&str) -> Result<Vec<Shard>>,
    ) -> (Times, Result<Listing>) {
        let clock = &client.sys().clock;
        let asked = clock.now();
        let listed = list(stream);
        let answered = clock.now();
        let times = Times { asked, answered };
        // Behind the call: only an answer says what the service's time is, should this machine's clock
        // have been set meanwhile.
        let at = client.server_time_since(asked);
        let listing = listed.map(|shards| Listing::new(stream.clone(), at, times, shards));
        (times, listing)
    }

    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub fn get(&self, id: &ShardId) -> Option<&Shard> {
        let found = self.shards.binary_search_by(|shard| shard.id.cmp(id));
        self.shards.get(found.ok()?)
    }

    pub fn shows(&self, id: &ShardId) -> bool {
        self.get(id).is_some()
    }
}
