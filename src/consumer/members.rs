//! The consumers that share a discovery, as its thread sees them: what is found out goes to the one
//! that reads the shard, and what the others have to know of it to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam::channel::Sender;

use crate::client::ChildShard;
use crate::consumer::discovery::{Discovery, Found, Start};
use crate::consumer::emitter::News;
use crate::consumer::event_time::Parents;
use crate::consumer::first_listings::Listing;
use crate::consumer::meters::DiscoveryMeter;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shelf::Shelf;
use crate::consumer::threads::Workers;
use crate::error::Result;
use crate::model::{Shard, ShardPosition, ShardRef, StartPosition, Timestamp};

/// One of them.
pub(super) struct Member {
    pub workers: Workers,
    pub news: Arc<Shelf<News>>,
}

pub(super) struct Members {
    /// `None` once it was closed or dropped.
    all: Vec<Option<Member>>,
    pub settings: Settings,
    meter: Arc<DiscoveryMeter>,
    /// What was told of each stream last.
    lineages: BTreeMap<Arc<str>, Arc<Vec<Parents>>>,
}

impl Members {
    pub fn new(
        all: impl Iterator<Item = Member>,
        settings: Settings,
        meter: Arc<DiscoveryMeter>,
    ) -> Members {
        Members {
            meter,
            all: all.map(Some).collect(),
            settings,
            lineages: BTreeMap::new(),
        }
    }

    pub fn shelves(&self) -> Vec<Arc<Shelf<News>>> {
        let shelves = self.all.iter().flatten();
        shelves.map(|member| member.news.clone()).collect()
    }

    pub fn has_any(&self) -> bool {
        self.all.iter().any(Option::is_some)
    }

    /// Takes in a listing, and starts the shards that may be read by now, each of which says by `ready`
    /// that its place at the tip is taken.
    pub fn take_in(
        &mut self,
        discovery: &mut Discovery,
        (stream, at, shards): Listing,
        ready: Option<&Sender<()>>,
    ) -> Result<()> {
        // Before its shards start: they have their watermarks from their parents.
        self.tell_lineage(&stream, &shards);
        let ids: BTreeSet<_> = shards.iter().map(|shard| shard.id.clone()).collect();
        let found = discovery.on_listing(at, &stream, shards);
        self.pass_on(discovery, found, ready)?;
        let ids = Arc::new(ids);
        for member in self.all.iter().flatten() {
            let listed = News::Listed(stream.clone(), at, ids.clone());
            // A consumer that is not asked for long keeps the last one only.
            let is_older = |news: &News| matches!(news, News::Listed(of, ..) if *of == stream);
            member.news.put_instead(listed, is_older);
        }
        Ok(())
    }

    /// Says who comes from whom, if that is news.
    fn tell_lineage(&mut self, stream: &Arc<str>, shards: &[Shard]) {
        let parents = |shard: &Shard| (shard.id.clone(), shard.parents().cloned().collect());
        let lineage: Vec<Parents> = shards.iter().map(parents).collect();
        let told = self.lineages.get(stream);
        if told.is_none_or(|told| **told != lineage) {
            let lineage = Arc::new(lineage);
            self.tell_all(|| News::Lineage(stream.clone(), lineage.clone()));
            self.lineages.insert(stream.clone(), lineage);
        }
    }

    /// Starts what is to be started, and tells everybody what was found.
    pub fn pass_on(
        &self,
        discovery: &Discovery,
        found: Found,
        ready: Option<&Sender<()>>,
    ) -> Result<()> {
        self.meter.found(found.known.len());
        for gap in found.gaps {
            let gap = self.settings.report(gap, None)?;
            self.tell(discovery.member(&gap.shard), News::Gap(gap));
        }
        // What follows from a gap is told to the one alone that was told of the gap.
        for shard in found.vanished {
            let vanished = News::Vanished(shard.clone());
            self.tell_owner(discovery, &shard, vanished);
        }
        for shard in found.foreign {
            self.tell_all(|| News::Foreign(shard.clone()));
        }
        for (shard, place) in found.known {
            let known = News::Known(shard.clone(), self.settings.fixed_place(place));
            self.tell_owner(discovery, &shard, known);
        }
        for start in found.starts {
            self.start(discovery.member(&start.shard), start, ready)?;
        }
        Ok(())
    }

    /// Tells the one that reads a shard, and the others that it is not theirs.
    fn tell_owner(&self, discovery: &Discovery, shard: &ShardRef, news: News) {
        let owner = discovery.member(shard);
        self.tell_others(owner, || News::Foreign(shard.clone()));
        self.tell(owner, news);
    }

    fn start(&self, member: usize, start: Start, ready: Option<&Sender<()>>) -> Result<()> {
        let Some(Some(member)) = self.all.get(member) else {
            return Ok(());
        };
        let is_latest = start.position == ShardPosition::Start(StartPosition::Latest);
        let ready = ready.filter(|_| is_latest).cloned();
        member.news.put(member.workers.start(start, ready)?);
        Ok(())
    }

    /// A shard was handed out to its end.
    pub fn tell_end(
        &self,
        discovery: &Discovery,
        shard: &ShardRef,
        watermark: Timestamp,
        children: &[ChildShard],
    ) {
        for child in children {
            let at = ShardRef::new(shard.stream.clone(), child.id.clone());
            self.tell_all(|| News::Born(at.clone(), child.parents.clone()));
        }
        let left = || News::Left(shard.clone(), watermark);
        self.tell_others(discovery.member(shard), left);
    }

    /// Lets go of those that were closed or dropped: what they were to read is not read by anyone.
    pub fn let_go(&mut self, discovery: &mut Discovery) {
        for (index, place) in self.all.iter_mut().enumerate() {
            let is_over = |member: &mut Member| member.workers.stop.is_stopped();
            if place.take_if(is_over).is_some() {
                discovery.on_leave(index);
            }
        }
    }

    /// Tells a bounded group that nothing can come to any of them any more.
    pub fn complete(&self, discovery: &mut Discovery) {
        for index in 0..self.all.len() {
            // What opens from now on lies beyond the bound.
            discovery.on_leave(index);
            self.tell(index, News::Complete);
        }
    }

    pub fn tell(&self, member: usize, news: News) {
        if let Some(Some(member)) = self.all.get(member) {
            member.news.put([news]);
        }
    }

    fn tell_others(&self, owner: usize, news: impl Fn() -> News) {
        for index in (0..self.all.len()).filter(|index| *index != owner) {
            self.tell(index, news());
        }
    }

    fn tell_all(&self, news: impl Fn() -> News) {
        for index in 0..self.all.len() {
            self.tell(index, news());
        }
    }
}
