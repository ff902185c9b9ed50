use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ShardId, ShardPosition, ShardRef, Timestamp};

/// The watermarks of shards that are not being read: what ended shards leave to their children, and
/// what a checkpoint has brought. [`Timestamp::MIN`] is none.
///
/// Between the end of a shard and the first record of its children the watermark must not run on, or
/// what the children bring would be late: an ended shard holds it until all of them are there.
#[derive(Debug, Default)]
pub(in crate::consumer) struct Lineage {
    watermarks: BTreeMap<ShardRef, Timestamp>,
    ended: BTreeSet<ShardRef>,
    /// What shards that others read, or have read, leave to their children.
    left: BTreeMap<ShardRef, Timestamp>,
    /// Ended, and no listing has shown the children yet.
    childless: BTreeSet<ShardRef>,
    /// Restored and not listed yet, or read no further: what they have is still to come.
    hidden: BTreeSet<ShardRef>,
    /// This consumer's, and not being read yet.
    waiting: BTreeSet<ShardRef>,
    parents: BTreeMap<ShardRef, Vec<ShardRef>>,
}

/// Which shards a shard was split or merged from.
pub(in crate::consumer) type Parents = (ShardId, Vec<ShardId>);

impl Lineage {
    pub fn restored(watermarks: BTreeMap<ShardRef, Timestamp>) -> Lineage {
        Lineage {
            watermarks,
            ..Lineage::default()
        }
    }

    pub fn watermarks(&self) -> &BTreeMap<ShardRef, Timestamp> {
        &self.watermarks
    }

    /// A listing says who comes from whom. What waits for its parents keeps them: a listing may be late.
    pub fn listed(&mut self, stream: &Arc<str>, parents: &[Parents]) {
        let waiting = &self.waiting;
        self.parents
            .retain(|shard, _| shard.stream != *stream || waiting.contains(shard));
        for (child, parents) in parents {
            self.born(ShardRef::new(stream.clone(), child.clone()), parents);
        }
        let parents: BTreeSet<_> = self.parents.values().flatten().collect();
        self.left.retain(|shard, _| parents.contains(shard));
    }

    /// A shard comes from others.
    pub fn born(&mut self, child: ShardRef, parents: &[ShardId]) {
        let at = |id: &ShardId| ShardRef::new(child.stream.clone(), id.clone());
        let parents = parents.iter().map(at).collect();
        self.parents.insert(child, parents);
    }

    /// Another consumer has read a shard to its end.
    pub fn leave(&mut self, shard: ShardRef, watermark: Timestamp) {
        self.ended.insert(shard.clone());
        self.left.insert(shard, watermark);
    }

    /// A shard of this consumer's is there, and where it is to be read from.
    pub fn known(&mut self, shard: &ShardRef, position: &ShardPosition) {
        self.hidden.remove(shard);
        match position {
            ShardPosition::ShardEnd => self.ended.insert(shard.clone()),
            _ => self.waiting.insert(shard.clone()),
        };
    }

    pub fn hidden(&mut self, shards: impl IntoIterator<Item = ShardRef>) {
        self.hidden.extend(shards);
    }

    pub fn childless(&mut self, shards: impl IntoIterator<Item = ShardRef>) {
        for shard in shards {
            self.ended.insert(shard.clone());
            self.childless.insert(shard);
        }
    }

    /// The children of an ended shard are known.
    pub fn settled(&mut self, shard: &ShardRef) {
        self.childless.remove(shard);
    }

    /// A shard's reading begins: returns its watermark, its parents' lowest if it has none of its own.
    pub fn start(&mut self, shard: &ShardRef) -> Timestamp {
        self.waiting.remove(shard);
        self.hidden.remove(shard);
        self.ended.remove(shard);
        self.childless.remove(shard);
        let own = self.watermarks.remove(shard);
        own.or_else(|| self.inherited(shard))
            .unwrap_or(Timestamp::MIN)
    }

    /// A shard has been handed out to its end.
    pub fn end(&mut self, shard: &ShardRef, watermark: Timestamp) {
        self.watermarks.insert(shard.clone(), watermark);
        self.childless([shard.clone()]);
    }

    /// A shard's reading is over, but not because the shard is.
    pub fn rest(&mut self, shard: &ShardRef, watermark: Timestamp) {
        self.watermarks.insert(shard.clone(), watermark);
    }

    /// A restored shard is gone: what it left is its children's.
    pub fn vanish(&mut self, shard: &ShardRef) {
        self.hidden.remove(shard);
        self.waiting.remove(shard);
        self.ended.insert(shard.clone());
    }

    /// Another consumer reads a shard, or nobody ever will. Its children have nothing from before its
    /// watermark.
    pub fn forget(&mut self, shard: &ShardRef) {
        for shards in [
            &mut self.ended,
            &mut self.childless,
            &mut self.hidden,
            &mut self.waiting,
        ] {
            shards.remove(shard);
        }
        let watermark = self.watermarks.remove(shard);
        self.left.extend(watermark.map(|at| (shard.clone(), at)));
    }

    /// Keeps only the shards that are still in the checkpoint.
    pub fn prune(&mut self, kept: impl Fn(&ShardRef) -> bool) {
        let left = &self.left;
        self.ended
            .retain(|shard| kept(shard) || left.contains_key(shard));
        self.watermarks.retain(|shard, _| kept(shard));
    }

    /// The watermarks of shards that are not being read, and that the consumer's waits for.
    pub fn held(&self) -> impl Iterator<Item = Timestamp> {
        let waiting = self
            .waiting
            .iter()
            .filter_map(|child| self.parents.get(child));
        let parents = waiting
            .flatten()
            .filter(|parent| self.ended.contains(*parent));
        let held = self.hidden.iter().chain(&self.childless).chain(parents);
        held.map(|shard| self.watermark(shard))
    }

    /// The same of those from which records may come at any time. A shard that waits for another parent
    /// is none of them: that parent must be read on, or it would wait for ever.
    pub fn coming(&self) -> impl Iterator<Item = Timestamp> {
        let parents = |child: &ShardRef| self.parents.get(child).into_iter().flatten();
        let ended = |parent: &&ShardRef| self.ended.contains(*parent);
        let ready = self.waiting.iter().filter(move |child| {
            let mut parents = parents(child);
            parents.all(|parent| ended(&parent))
        });
        let left = ready.flat_map(parents);
        let coming = self.hidden.iter().chain(&self.childless).chain(left);
        coming.map(|shard| self.watermark(shard))
    }

    fn inherited(&self, shard: &ShardRef) -> Option<Timestamp> {
        let parents = self.parents.get(shard)?.iter();
        let known =
            |parent: &&ShardRef| self.ended.contains(*parent) || self.left.contains_key(*parent);
        parents
            .filter(known)
            .map(|parent| self.watermark(parent))
            .min()
    }

    fn watermark(&self, shard: &ShardRef) -> Timestamp {
        let own = self.watermarks.get(shard);
        let watermark = own.or_else(|| self.left.get(shard));
        watermark.copied().unwrap_or(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StartPosition;

    const START: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    fn shard(name: &str) -> ShardRef {
        ShardRef::new("orders", name)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn held(lineage: &Lineage) -> Option<i64> {
        lineage.held().min().map(Timestamp::as_millis)
    }

    /// Each child with its parents.
    fn lineage(parents: &[(&str, &[&str])]) -> Lineage {
        let mut lineage = Lineage::default();
        let of = |(child, parents): &(&str, &[&str])| {
            let parents = parents.iter().map(|parent| ShardId::from(*parent));
            (ShardId::from(*child), parents.collect())
        };
        let parents: Vec<_> = parents.iter().map(of).collect();
        lineage.listed(&"orders".into(), &parents);
        lineage
    }

    #[test]
    fn an_ended_shard_holds_the_watermark_until_all_its_children_have_it() {
        let mut lineage = lineage(&[]);
        lineage.known(&shard("a"), &START);
        assert_eq!(lineage.start(&shard("a")), Timestamp::MIN);
        assert_eq!(held(&lineage), None);
        lineage.end(&shard("a"), at(7));
        assert_eq!(held(&lineage), Some(7), "no listing has shown the children");
        let (b, c) = (ShardId::from("b"), ShardId::from("c"));
        let parents = [b, c].map(|child| (child, vec![ShardId::from("a")]));
        lineage.listed(&"orders".into(), &parents);
        lineage.known(&shard("b"), &START);
        lineage.known(&shard("c"), &START);
        lineage.settled(&shard("a"));
        assert_eq!(lineage.start(&shard("b")), at(7));
        assert_eq!(held(&lineage), Some(7), "the other is not there yet");
        assert_eq!(lineage.start(&shard("c")), at(7));
        assert_eq!(held(&lineage), None);
    }

    #[test]
    fn a_merged_shard_has_the_lower_of_two_watermarks_and_the_first_to_end_waits_for_it() {
        let mut lineage = lineage(&[("c", &["a", "b"])]);
        lineage.known(&shard("c"), &START);
        lineage.end(&shard("a"), at(3));
        lineage.settled(&shard("a"));
        assert_eq!(held(&lineage), Some(3), "while b is read on to 9");
        assert_eq!(lineage.coming().min(), None, "b must not wait for c");
        lineage.end(&shard("b"), at(9));
        lineage.settled(&shard("b"));
        assert_eq!(lineage.start(&shard("c")), at(3));
        assert_eq!(held(&lineage), None);
    }

    #[test]
    fn a_late_listing_takes_no_parents_from_what_waits_for_them() {
        let mut lineage = lineage(&[("c", &["a", "b"])]);
        lineage.known(&shard("c"), &START);
        lineage.end(&shard("a"), at(3));
        lineage.settled(&shard("a"));
        lineage.listed(&"orders".into(), &[]);
        assert_eq!(held(&lineage), Some(3));
        lineage.end(&shard("b"), at(9));
        assert_eq!(lineage.start(&shard("c")), at(3));
    }

    #[test]
    fn a_parent_that_others_read_leaves_nothing_and_one_without_a_watermark_holds_all() {
        let mut lineage = lineage(&[("c", &["a", "foreign"]), ("d", &["foreign"])]);
        lineage.end(&shard("a"), at(3));
        assert_eq!(lineage.start(&shard("c")), at(3));
        assert_eq!(lineage.start(&shard("d")), Timestamp::MIN);
        lineage.end(&shard("e"), Timestamp::MIN);
        assert_eq!(held(&lineage), Some(i64::MIN));
    }

    #[test]
    fn what_others_of_the_group_have_read_leaves_its_watermark() {
        let parents: &[(&str, &[&str])] = &[("c", &["a", "theirs"]), ("d", &["theirs"])];
        let mut lineage = lineage(parents);
        lineage.known(&shard("c"), &START);
        lineage.leave(shard("theirs"), at(5));
        assert_eq!(held(&lineage), Some(5), "while a is read on");
        assert_eq!(lineage.coming().min(), None);
        lineage.prune(|_| false);
        lineage.listed(
            &"orders".into(),
            &[(ShardId::from("d"), vec!["theirs".into()])],
        );
        lineage.end(&shard("a"), at(7));
        lineage.settled(&shard("a"));
        assert_eq!(lineage.coming().min(), Some(at(5)));
        assert_eq!(lineage.start(&shard("c")), at(5));
        assert_eq!(lineage.start(&shard("d")), at(5));
        assert_eq!((held(&lineage), lineage.watermarks().len()), (None, 1));
        lineage.listed(&"orders".into(), &[]);
        assert_eq!(lineage.start(&shard("d")), Timestamp::MIN, "forgotten");
    }

    #[test]
    fn what_is_restored_holds_the_watermark_until_it_is_read_or_known_to_be_gone() {
        let watermarks = [(shard("a"), at(5)), (shard("b"), at(6))];
        let mut lineage = Lineage::restored(watermarks.into());
        lineage.hidden([shard("a"), shard("b"), shard("c")]);
        assert_eq!(held(&lineage), Some(i64::MIN), "c has none");
        lineage.forget(&shard("c"));
        assert_eq!(held(&lineage), Some(5));
        assert_eq!(lineage.start(&shard("a")), at(5));
        assert_eq!(held(&lineage), Some(6));
        lineage.vanish(&shard("b"));
        assert_eq!(held(&lineage), None);
    }

    #[test]
    fn an_ended_shard_that_outlived_its_retention_is_forgotten() {
        let mut lineage = lineage(&[]);
        lineage.end(&shard("a"), at(3));
        lineage.end(&shard("b"), at(4));
        lineage.prune(|kept| *kept == shard("b"));
        assert_eq!(lineage.watermarks().len(), 1);
    }
}
