use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Shard, ShardId};

/// Tells a shard that is gone from one that a late listing does not show, by counting listings.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// How many listings in a row lacked the shard; or showed it, but none of its children; or both.
    absent: BTreeMap<ShardId, u32>,
    childless: BTreeMap<ShardId, u32>,
    parents: BTreeMap<ShardId, u32>,
}

impl Missing {
    /// Takes in a listing, and which shards are looked for in it.
    pub fn on_listing(&mut self, wanted: impl Iterator<Item = ShardId>, listing: &[Shard]) {
        let old = std::mem::take(self);
        let listed: BTreeSet<_> = listing.iter().map(|shard| &shard.id).collect();
        let parents: BTreeSet<_> = listing.iter().flat_map(Shard::parents).collect();
        for id in wanted {
            let count = |counts: &BTreeMap<ShardId, u32>| {
                counts.get(&id).map_or(1, |count| count.saturating_add(1))
            };
            match (listed.contains(&id), parents.contains(&id)) {
                // Its children are newer than it is: no listing can be as late as that.
                (false, true) => self.absent.insert(id, LISTINGS),
                (false, false) => self.absent.insert(id.clone(), count(&old.absent)),
                (true, false) => self.childless.insert(id.clone(), count(&old.childless)),
                (true, true) => self.parents.insert(id.clone(), count(&old.parents)),
            };
        }
    }

    /// Says whether a shard is gone for good.
    pub fn is_gone(&self, id: &ShardId) -> bool {
        self.absent.get(id).is_some_and(|count| *count >= LISTINGS)
    }

    /// Says whether a shard has been listed for long, and none of its children ever.
    pub fn is_without_children_for_long(&self, id: &ShardId) -> bool {
        let count = self.childless.get(id);
        count.is_some_and(|count| *count >= LISTINGS)
    }

    /// Says whether a shard has been listed for long with children, be they all or not.
    pub fn has_children_for_long(&self, id: &ShardId) -> bool {
        let count = self.parents.get(id);
        count.is_some_and(|count| *count >= LISTINGS)
    }
}

/// While something is missing, listings are a second apart; they lag behind by seconds at most.
const LISTINGS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKeyRange;

    fn shard(id: &str, parent: Option<&str>) -> Shard {
        let mut shard = Shard::new(id, HashKeyRange::FULL, "1".parse().expect("a number"));
        shard.parent = parent.map(ShardId::from);
        shard
    }

    fn a() -> ShardId {
        "a".into()
    }

    #[test]
    fn a_shard_is_gone_after_many_listings_in_a_row_without_it() {
        let mut missing = Missing::default();
        for _ in 1..LISTINGS {
            missing.on_listing([a()].into_iter(), &[shard("b", None)]);
        }
        assert!(!missing.is_gone(&a()));
        missing.on_listing([a()].into_iter(), &[shard("a", None)]);
        missing.on_listing([a()].into_iter(), &[]);
        assert!(!missing.is_gone(&a()), "it was seen in between");
        for _ in 1..LISTINGS {
            missing.on_listing([a()].into_iter(), &[]);
        }
        assert!(missing.is_gone(&a()));
    }

    #[test]
    fn a_shard_is_gone_when_only_its_children_are_left() {
        let mut missing = Missing::default();
        missing.on_listing([a()].into_iter(), &[shard("b", Some("a"))]);
        assert!(missing.is_gone(&a()));
    }

    #[test]
    fn children_are_waited_for_as_long() {
        let mut missing = Missing::default();
        for _ in 0..LISTINGS {
            assert!(!missing.is_without_children_for_long(&a()));
            missing.on_listing([a()].into_iter(), &[shard("a", None)]);
        }
        assert!(missing.is_without_children_for_long(&a()));
        let both = [shard("a", None), shard("b", Some("a"))];
        missing.on_listing([a()].into_iter(), &both);
        assert!(!missing.is_without_children_for_long(&a()));
        for _ in 1..LISTINGS {
            assert!(!missing.has_children_for_long(&a()));
            missing.on_listing([a()].into_iter(), &both);
        }
        assert!(missing.has_children_for_long(&a()));
    }
}
