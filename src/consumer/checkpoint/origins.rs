use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{HashKeyRange, SequenceNumber, Shard, ShardRef};

/// What a listing said of a shard, so that a later start knows it although the shard is gone by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Origin {
    /// Says which consumer the shard belonged to.
    pub range: HashKeyRange,
    /// Tells the shard from one of the same name in a stream made anew.
    pub starting: SequenceNumber,
}

impl Origin {
    pub fn of(shard: &Shard) -> Origin {
        Origin {
            range: shard.hash_key_range,
            starting: shard.starting_sequence_number.clone(),
        }
    }

    pub fn is_of(&self, shard: &Shard) -> bool {
        self.range == shard.hash_key_range && self.starting == shard.starting_sequence_number
    }
}

/// The origins of a checkpoint's shards. Shared: they change when shards do, and each commit has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::consumer) struct Origins(Arc<BTreeMap<ShardRef, Origin>>);

impl Origins {
    pub fn get(&self, shard: &ShardRef) -> Option<&Origin> {
        self.0.get(shard)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ShardRef, &Origin)> {
        self.0.iter()
    }

    pub fn insert(&mut self, shard: ShardRef, origin: Origin) {
        if self.get(&shard) != Some(&origin) {
            Arc::make_mut(&mut self.0).insert(shard, origin);
        }
    }

    pub fn remove(&mut self, shard: &ShardRef) {
        if self.0.contains_key(shard) {
            Arc::make_mut(&mut self.0).remove(shard);
        }
    }

    pub fn retain(&mut self, is_kept: impl Fn(&ShardRef) -> bool) {
        if !self.0.keys().all(&is_kept) {
            Arc::make_mut(&mut self.0).retain(|shard, _| is_kept(shard));
        }
    }

    pub fn renamed(&self, name: impl Fn(ShardRef) -> ShardRef) -> Origins {
        let all = self.iter();
        all.map(|(shard, origin)| (name(shard.clone()), origin.clone()))
            .collect()
    }
}

impl FromIterator<(ShardRef, Origin)> for Origins {
    fn from_iter<T: IntoIterator<Item = (ShardRef, Origin)>>(all: T) -> Origins {
        Origins(Arc::new(all.into_iter().collect()))
    }
}
