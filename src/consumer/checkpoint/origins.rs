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

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(starting: u64, end: u128) -> Shard {
        let range = HashKeyRange {
            start: 0.into(),
            end: end.into(),
        };
        Shard::new("a", range, starting.to_string().parse().expect("a number"))
    }

    #[test]
    fn an_origin_is_of_a_shard_with_its_hash_keys_and_its_beginning() {
        let origin = Origin::of(&shard(7, 9));
        assert!(origin.is_of(&shard(7, 9)));
        assert!(!origin.is_of(&shard(8, 9)));
        assert!(!origin.is_of(&shard(7, 8)));
    }

    #[test]
    fn origins_change_where_they_are_told_and_not_in_what_was_made_before() {
        let [old, new] = [7, 8].map(|starting| Origin::of(&shard(starting, 9)));
        let at = |id: &str| ShardRef::new("orders", id);
        let mut origins = Origins::default();
        origins.insert(at("a"), old.clone());
        origins.insert(at("b"), old.clone());
        let before = origins.clone();
        // What is there already is no change, so nothing is copied.
        origins.insert(at("a"), old.clone());
        assert!(Arc::ptr_eq(&origins.0, &before.0));
        origins.remove(&at("c"));
        origins.retain(|_| true);
        assert!(Arc::ptr_eq(&origins.0, &before.0));
        origins.insert(at("a"), new.clone());
        assert_eq!(origins.get(&at("a")), Some(&new));
        origins.remove(&at("a"));
        assert_eq!(origins.get(&at("a")), None);
        origins.retain(|shard| *shard != at("b"));
        assert_eq!(origins, Origins::default());
        assert_eq!(before.get(&at("a")), Some(&old));
    }
}
