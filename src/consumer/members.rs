//! The consumers that share a discovery, as its thread sees them: what is found out goes to the one
//! that reads the shard, and what the others have to know of it to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crossbeam::channel::Sender;

use crate::client::ChildShard;
use crate::consumer::checkpoint::Origin;
use crate::consumer::discovery::{Discovery, Found, Start};
use crate::consumer::event_time::Parents;
use crate::consumer::fate::FateSlot;
use crate::consumer::listing::{Listed, Listing};
use crate::consumer::meters::DiscoveryMeter;
use crate::consumer::news::News;
use crate::consumer::record::Event;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shelf::Shelf;
use crate::consumer::threads::Workers;
use crate::error::Result;
use crate::model::{Shard, ShardId, ShardPosition, ShardRef, StartPosition, Timestamp};

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
    shown: BTreeMap<Arc<str>, Arc<Listed>>,
    /// What each of them is to be told, all at once: between two parts of what follows from each other
    /// a consumer might end.
    news: Vec<Vec<News>>,
    /// Of the shards that are being read.
    fates: BTreeMap<ShardRef, Arc<FateSlot>>,
}

impl Members {
    pub fn new(
        all: impl Iterator<Item = Member>,
        settings: Settings,
        meter: Arc<DiscoveryMeter>,
    ) -> Members {
        let all: Vec<_> = all.map(Some).collect();
        Members {
            meter,
            news: all.iter().map(|_| Vec::new()).collect(),
            all,
            settings,
            shown: BTreeMap::new(),
            fates: BTreeMap::new(),
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
        listing: &Listing,
        ready: Option<&Sender<()>>,
    ) -> Result<()> {
        let stream = &listing.stream;
        let (shown, is_news) = self.shown(listing);
        if is_news {
            // Before its shards start: they have their watermarks from their parents.
            self.tell_lineage(stream, listing.shards());
        }
        let found = discovery.on_listing(listing);
        self.pass_on(discovery, found, ready)?;
        // Once they are all known.
        self.settings
            .repeats
            .listed(stream, listing.at, is_news.then_some(&shown));
        // A restart from a place in a stream that was made anew meanwhile has to know when the old one
        // was there.
        let at = discovery.listed(stream).unwrap_or(listing.at);
        for member in self.all.iter().flatten() {
            let listed = News::Listed(stream.clone(), at, shown.clone());
            // A consumer that is not asked for long keeps the last one only.
            let is_older = |news: &News| matches!(news, News::Listed(of, ..) if of == stream);
            member.news.put_instead(listed, is_older);
        }
        Ok(())
    }

    /// Says whether discovery, or a shard's reader, waits for the next listing of a stream.
    pub fn waits_for(&self, discovery: &Discovery, stream: &Arc<str>) -> bool {
        discovery.is_waited_for(stream) || self.settings.repeats.wants_listing(stream)
    }

    /// What a listing shows, and whether the one before showed something else, which is rare.
    fn shown(&mut self, listing: &Listing) -> (Arc<Listed>, bool) {
        let shards = listing.shards();
        let is_same = |shown: &&Arc<Listed>| {
            let same = |(shard, (id, origin)): (&Shard, (&ShardId, &Origin))| {
                shard.id == *id && origin.is_of(shard)
            };
            shown.len() == shards.len() && shards.iter().zip(shown.iter()).all(same)
        };
        if let Some(shown) = self.shown.get(&listing.stream).filter(is_same) {
            return (shown.clone(), false);
        }
        let shown = shards
            .iter()
            .map(|shard| (shard.id.clone(), Origin::of(shard)));
        let shown = Arc::new(shown.collect());
        self.shown
            .insert(listing.stream.clone(), Arc::clone(&shown));
        (shown, true)
    }

    /// Says who comes from whom.
    fn tell_lineage(&self, stream: &Arc<str>, shards: &[Shard]) {
        let parents = |shard: &Shard| (shard.id.clone(), shard.parents().cloned().collect());
        let lineage: Arc<Vec<Parents>> = Arc::new(shards.iter().map(parents).collect());
        self.tell_all(|| News::Lineage(stream.clone(), lineage.clone()));
    }

    /// Starts what is to be started, and tells everybody what was found.
    pub fn pass_on(
        &mut self,
        discovery: &Discovery,
        found: Found,
        ready: Option<&Sender<()>>,
    ) -> Result<()> {
        let outcome = self.gather(discovery, found, ready);
        self.deliver();
        outcome
    }

    fn gather(
        &mut self,
        discovery: &Discovery,
        found: Found,
        ready: Option<&Sender<()>>,
    ) -> Result<()> {
        self.meter.found(found.known.len());
        for gap in found.gaps {
            let gap = self.settings.report(gap, None)?;
            self.note(discovery.member(&gap.shard), News::Gap(gap));
        }
        // What follows from a gap is told to the one alone that was told of the gap.
        for shard in found.vanished {
            let vanished = News::Vanished(shard.clone());
            self.note_owner(discovery, &shard, Some(vanished));
        }
        for shard in found.foreign {
            self.note_owner(discovery, &shard, None);
            self.settings.repeats.unknown(&shard);
        }
        for (shard, place) in found.known {
            // Before any shard starts, as the readers of others ask for it.
            let (first, parents) = (discovery.restored_first(&shard), discovery.parents(&shard));
            (self.settings.repeats).known(&shard, &place.0, first, parents);
            let known = News::Known(shard.clone(), self.settings.fixed_place(place));
            self.note_owner(discovery, &shard, Some(known));
        }
        for (shard, place) in found.awaited {
            // A checkpoint has to name it: a restart takes the child for known, and no longer looks out
            // for parents of the child that nobody has seen.
            let known = News::Known(shard.clone(), self.settings.fixed_place(place));
            self.note(discovery.member(&shard), known);
            for index in 0..self.all.len() {
                self.note(index, News::Awaited(shard.clone()));
            }
        }
        for (shard, fate) in found.fates {
            if let Some(slot) = self.fates.get(&shard) {
                slot.set(fate);
            }
        }
        for start in found.starts {
            self.start(discovery.member(&start.shard), start, ready)?;
        }
        Ok(())
    }

    fn note(&mut self, member: usize, news: News) {
        if let Some(all) = self.news.get_mut(member) {
            all.push(news);
        }
    }

    /// Tells the one that reads a shard, if it is one of them, and the others that it is not theirs.
    fn note_owner(&mut self, discovery: &Discovery, shard: &ShardRef, news: Option<News>) {
        let owner = news.map(|news| (discovery.member(shard), news));
        let index = owner.as_ref().map(|(index, _)| *index);
        for other in (0..self.all.len()).filter(|other| Some(*other) != index) {
            self.note(other, News::Foreign(shard.clone()));
        }
        if let Some((index, news)) = owner {
            self.note(index, news);
        }
    }

    fn deliver(&mut self) {
        for (member, news) in self.all.iter().zip(&mut self.news) {
            let news = std::mem::take(news);
            if let Some(member) = member.as_ref().filter(|_| !news.is_empty()) {
                member.news.put(news);
            }
        }
    }

    fn start(&mut self, index: usize, start: Start, ready: Option<&Sender<()>>) -> Result<()> {
        let Some(Some(member)) = self.all.get(index) else {
            return Ok(());
        };
        let is_latest = start.position == ShardPosition::Start(StartPosition::Latest);
        let ready = ready.filter(|_| is_latest).cloned();
        let fate = Arc::new(FateSlot::default());
        self.fates.insert(start.shard.clone(), fate.clone());
        if let Some(started) = member.workers.start(start, fate, ready)? {
            self.note(index, started);
        }
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

    /// A shard is not read on. Says whether the caller knows that its stream was made anew.
    pub fn on_end(&mut self, shard: &ShardRef) -> bool {
        let fate = self.fates.remove(shard);
        fate.is_some_and(|fate| fate.is_told_anew())
    }

    /// A shard's thread reads on in a stream made anew.
    pub fn tell_moved(&self, discovery: &Discovery, shard: ShardRef) {
        if let Some(fate) = self.fates.get(&shard) {
            fate.reset();
        }
        self.tell(discovery.member(&shard), News::Moved(shard));
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

    /// Tells everybody of an outage of the listings, or of its end.
    pub fn report_outage(&self, event: &Event) {
        self.tell_all(|| News::Reported(event.clone()));
    }

    /// Since when a stream could not be listed, for the metrics.
    pub fn listing_fails_since(&self, since: Option<Instant>) {
        self.meter.failing_since(since);
    }

    fn tell_all(&self, news: impl Fn() -> News) {
        for index in 0..self.all.len() {
            self.tell(index, news());
        }
    }
}
