//! How consumers are started: a group of them, or one that is alone in its group.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, TryRecvError, select};

use crate::client::Client;
use crate::consumer::budget::Budget;
use crate::consumer::builder::ConsumerBuilder;
use crate::consumer::checkpoint::{Checkpoint, Subtasks};
use crate::consumer::commits::Commits;
use crate::consumer::discovery::{Discovery, Plan};
use crate::consumer::emitter::Emitter;
use crate::consumer::event_time::{EventTime, Subtask, Sync};
use crate::consumer::first_listings::first_listings;
use crate::consumer::glances::Glances;
use crate::consumer::inbox::Inbox;
use crate::consumer::listing::Listing;
use crate::consumer::listing_outages::ListingOutages;
use crate::consumer::members::{Member, Members};
use crate::consumer::meters::{DiscoveryMeter, Meters};
use crate::consumer::news::News;
use crate::consumer::outage::Warnings;
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::{START_AHEAD_MAX, Settings};
use crate::consumer::shelf::{Bell, Shelf};
use crate::consumer::threads::{
    BOUNDS_WAIT_MAX, Crew, DiscoveryThread, ReportThread, Told, Workers, start_sync,
};
use crate::consumer::union::Union;
use crate::consumer::{Consumer, Group};
use crate::error::{Error, Result, TransportError};
use crate::model::{StartPosition, Timestamp};
use crate::sys::stop::StopSource;

impl ConsumerBuilder {
    /// Starts so many that share what they need once only.
    pub(super) fn launch(mut self, size: usize) -> Result<Vec<Consumer>> {
        self.assignment.members = size;
        let until = self.until()?;
        let found = Arc::new(DiscoveryMeter::default());
        let meters = (0..size).map(|_| Arc::new(Meters::beside(&found)));
        let meters: Vec<_> = meters.collect();
        let stored = self.stored(&meters)?;
        let stops = (0..size).map(|_| Arc::new(StopSource::new()));
        let stops: Vec<_> = stops.collect();
        let group = Arc::new(Group::of(&stops));
        let client = self.client.with_stop(group.stop.stop());
        let client = client.with_watch(found.clone());
        let listings = first_listings(&client, self.streams.iter().map(|(name, _)| name))?;
        let settings = Settings::new(&self.config, until, &client);
        settings.doubts.restore(&stored.restored);
        settings.repeats.restore(&stored.restored);
        let (bell, told_bell) = Bell::new();
        let told = Arc::new(Shelf::new(bell));
        let all = meters.into_iter().zip(stops);
        let seats = self.seats(&client, &settings, &told, all);
        let plan = self.plan(settings.started);
        let mut members = Members::new(seats.iter().map(Seat::member), settings, found);
        check_starts(&plan, &stored.restored, members.settings.started_by)?;
        let mut discovery = Discovery::new(plan, stored.restored.clone());
        start_shards(&client, &mut members, &mut discovery, listings)?;
        let thread = self.discovery(client, members, discovery, &group, (told, told_bell));
        let consumers = self.consumers(seats, stored, &thread, &group)?;
        self.report(&thread, &consumers)?;
        thread.start()?;
        Ok(consumers)
    }

    /// Takes the store for all of them, and says where to go on from: from what was given, or from
    /// what the store has.
    fn stored(&mut self, meters: &[Arc<Meters>]) -> Result<Stored> {
        let given = self.restore.take().filter(|given| !given.is_empty());
        let (store, interval, is_group) =
            (self.store.take(), self.commit_interval, meters.len() > 1);
        let (mut union, mut alone) = (None, None);
        match store {
            Some(store) if is_group => union = Some(Union::load(store, meters.len())?),
            store => alone = store,
        }
        let (mut all, mut restored, mut held) = (Vec::new(), None, false);
        for (index, meters) in meters.iter().enumerate() {
            let share = union.as_ref().map(|union| union.share(index));
            let store = share.or_else(|| alone.take());
            let timeout = self.config.commit_retry_timeout;
            let (mut commits, loaded) = Commits::load(store, interval, timeout, meters.clone())?;
            held |= loaded.is_some();
            match &given {
                Some(_) => commits.forget_state(),
                None if is_group && commits.has_state() => return Err(state_of_one()),
                None => restored = loaded,
            }
            all.push(commits);
        }
        // What is given has counted above what the store has, and is the caller's to give again.
        let start = match (&given, held) {
            (Some(_), true) => SavedStart::Never,
            (_, true) => SavedStart::IfNew,
            (_, false) => SavedStart::Always,
        };
        let restored = given.or(restored).unwrap_or_default();
        self.check_subtask(&restored.subtasks)?;
        Ok(Stored {
            commits: all,
            union,
            restored: restored.renamed(|stream| self.spelling(stream)),
            start,
        })
    }

    /// Refuses the checkpoint of another subtask: this one would read its own shards from their
    /// beginning, as new ones, and those of the other one would be left to nobody.
    fn check_subtask(&self, restored: &Subtasks) -> Result<()> {
        let (mine, members) = (&self.assignment, self.assignment.members);
        let (first, all) = (mine.subtask(0), mine.subtasks());
        if restored.have(first..first + members, all) {
            return Ok(());
        }
        let value = match members {
            1 => format!("{first} of {all}"),
            _ => format!("{first} to {} of {all}", first + members - 1),
        };
        let expected = format!(
            "the subtask of the restored checkpoint, which is {restored}: merge the checkpoints of all \
             subtasks with Checkpoint::merge, and restore the result"
        );
        Err(Error::config("subtask", value, expected))
    }

    fn seats(
        &mut self,
        client: &Client,
        settings: &Settings,
        told: &Arc<Shelf<Told>>,
        all: impl ExactSizeIterator<Item = (Arc<Meters>, Arc<StopSource>)>,
    ) -> Vec<Seat> {
        // Were it one for all, whoever is not asked would keep the others waiting.
        let bytes = self.config.buffered_bytes_max / all.len().max(1) as u64;
        let retentions = Arc::new(Retentions::default());
        let decoding = Arc::new(mem::take(&mut self.decoding));
        let warnings = Arc::new(Warnings::default());
        let seat = |(meters, stop): (Arc<Meters>, Arc<StopSource>)| {
            let ((bell, heard), crew) = (Bell::new(), Crew::new());
            let workers = Workers {
                client: client.with_stop(stop.stop()),
                settings: settings.clone(),
                budget: Budget::new(bytes),
                retentions: retentions.clone(),
                bell: bell.clone(),
                told: told.clone(),
                warnings: warnings.clone(),
                stop: stop.stop(),
                meters,
                decoding: decoding.clone(),
                stamping: self.event_time.stamping(),
                queue_capacity: self.event_time.queue_capacity(&self.config),
                alive: Arc::downgrade(crew.alive()),
            };
            Seat {
                workers,
                news: Arc::new(Shelf::new(bell)),
                heard,
                stop,
                crew,
            }
        };
        all.map(seat).collect()
    }

    fn plan(&self, started: Timestamp) -> Plan {
        let start = self.config.start_position;
        let streams = self.streams.iter();
        let streams = streams.map(|(name, own)| (name.clone(), own.unwrap_or(start)));
        Plan {
            streams: streams.collect(),
            started,
            assignment: self.assignment.clone(),
            parent_before_child: self.config.parent_before_child,
        }
    }

    fn discovery(
        &self,
        client: Client,
        members: Members,
        discovery: Discovery,
        group: &Group,
        (told, told_bell): (Arc<Shelf<Told>>, Receiver<()>),
    ) -> DiscoveryThread {
        let listed_by = client.sys().clock.now() + BOUNDS_WAIT_MAX;
        members.settings.repeats.set_bell(told.bell());
        DiscoveryThread {
            client,
            listed_by,
            stop: group.stop.stop(),
            outages: ListingOutages::default(),
            warnings: Warnings::default(),
            childless: discovery.childless(),
            is_bounded: members.settings.is_bounded() && group.size > 1,
            members,
            discovery,
            interval: self.config.shard_discovery_interval,
            ended: false,
            told,
            told_bell,
            passed: Vec::new(),
            alive: group.crew.alive().clone(),
        }
    }

    fn consumers(
        &self,
        seats: Vec<Seat>,
        stored: Stored,
        thread: &DiscoveryThread,
        group: &Arc<Group>,
    ) -> Result<Vec<Consumer>> {
        let mut consumers = Vec::new();
        let Stored {
            commits,
            union,
            restored,
            start,
        } = stored;
        for (index, (seat, commits)) in seats.into_iter().zip(commits).enumerate() {
            let workers = seat.workers.clone();
            let (event_time, sync) = self.event_time(index, &workers, &restored);
            let mut emitter = Emitter::new(restored.clone(), thread.childless.clone());
            let subtask = (self.assignment.subtask(index), self.assignment.subtasks());
            emitter.set_reader(
                thread.discovery.starts(),
                Subtasks::one(subtask.0, subtask.1),
            );
            let discovery = &thread.discovery;
            // Discovery tells the same one of the gap.
            let replaced = discovery.replaced();
            let replaced = replaced.filter(|(shard, _)| discovery.member(shard) == index);
            emitter.set_replaced(replaced.map(|(shard, one)| (shard.clone(), one.clone())));
            emitter.set_event_time(event_time);
            emitter.set_expecting(thread.is_bounded);
            let mut consumer = seat.consumer(emitter, commits, thread, group);
            // Before `start` returns, so that a checkpoint taken at once is whole.
            consumer.inbox.take_in(&mut consumer.emitter);
            consumer.emitter.expect(thread.discovery.hidden());
            consumer.watermark = consumer.emitter.watermark();
            if let Some(union) = &union {
                union.begin(index, consumer.checkpoint());
            }
            if let Some((tracking, heard)) = sync {
                start_sync(&workers, tracking, heard)?;
            }
            consumers.push(consumer);
        }
        let all = consumers.iter().map(Consumer::checkpoint);
        let is_due = start.is_due(&restored, all);
        for (index, consumer) in consumers.iter_mut().enumerate() {
            let now = consumer.clock.now();
            // In a group the first saves where all of them begin.
            if is_due && index == 0 {
                let now = || consumer.clock.now();
                consumer.commits.save_start(consumer.checkpoint(), now)?;
            }
            consumer.commits.begin(now);
        }
        Ok(consumers)
    }

    fn event_time(
        &self,
        index: usize,
        workers: &Workers,
        restored: &Checkpoint,
    ) -> (Option<EventTime>, Option<Sync>) {
        let names = self.streams.iter().map(|(name, _)| &**name);
        let subtask = Subtask {
            streams: names.collect::<Vec<_>>().join(","),
            index: self.assignment.subtask(index),
            parallelism: self.assignment.subtasks(),
        };
        let now = workers.client.sys().clock.now();
        (self.event_time).begin(&self.config, restored, subtask, &workers.meters, now)
    }

    fn report(&mut self, thread: &DiscoveryThread, consumers: &[Consumer]) -> Result<()> {
        let Some((interval, report)) = self.metrics.take() else {
            return Ok(());
        };
        let meters = consumers.iter().map(|consumer| consumer.meters.clone());
        ReportThread {
            clock: thread.client.sys().clock.clone(),
            stop: thread.stop.clone(),
            meters: meters.collect(),
            interval,
            report,
            _alive: thread.alive.clone(),
        }
        .start()
    }
}

/// Where consumers go on from, and where they save how far they are.
struct Stored {
    commits: Vec<Commits>,
    /// If several have one store.
    union: Option<Arc<Union>>,
    restored: Checkpoint,
    start: SavedStart,
}

/// When to save where reading begins before `start` returns. LATEST is decided at the start; were it
/// not saved, a process that is killed before its first commit would decide it anew, behind what
/// arrived since.
#[derive(Clone, Copy, Debug)]
enum SavedStart {
    Always,
    /// If a stream or a shard has a start that the store does not have.
    IfNew,
    Never,
}

impl SavedStart {
    fn is_due(self, restored: &Checkpoint, begin: impl Iterator<Item = Checkpoint>) -> bool {
        let is_known = |begin: &Checkpoint| {
            let mut shards = begin.shards.keys();
            let mut streams = begin.listed.keys();
            shards.all(|shard| restored.shards.contains_key(shard))
                && streams.all(|stream| restored.listed.contains_key(stream))
        };
        match self {
            SavedStart::Always => true,
            SavedStart::IfNew => !begin.into_iter().all(|begin| is_known(&begin)),
            SavedStart::Never => false,
        }
    }
}

/// What is there of a consumer before its shards are known.
struct Seat {
    workers: Workers,
    news: Arc<Shelf<News>>,
    heard: Receiver<()>,
    stop: Arc<StopSource>,
    crew: Crew,
}

impl Seat {
    fn member(&self) -> Member {
        Member {
            workers: self.workers.clone(),
            news: self.news.clone(),
        }
    }

    fn consumer(
        self,
        emitter: Emitter,
        commits: Commits,
        thread: &DiscoveryThread,
        group: &Arc<Group>,
    ) -> Consumer {
        Consumer {
            emitter,
            inbox: Inbox::new(self.news),
            signals: VecDeque::new(),
            told: thread.told.clone(),
            ending: Vec::new(),
            has_unsaved_end: false,
            watermark: None,
            heard: self.heard,
            stop: self.stop,
            over: false,
            bounded: self.workers.settings.is_bounded(),
            crew: Some(self.crew),
            group: Some(group.clone()),
            commits,
            repeats: self.workers.settings.repeats.clone(),
            doubts: self.workers.settings.doubts.clone(),
            meters: self.workers.meters,
            clock: self.workers.client.sys().clock.clone(),
            glances: Glances::default(),
        }
    }
}

impl Group {
    /// One that is alone stops with all there is.
    fn of(stops: &[Arc<StopSource>]) -> Group {
        Group {
            stop: match stops {
                [stop] => stop.clone(),
                _ => Arc::new(StopSource::new()),
            },
            crew: Crew::new(),
            size: stops.len(),
        }
    }
}

/// Starts the shards of the first listings; from `Latest`, waits until each has its place.
fn start_shards(
    client: &Client,
    members: &mut Members,
    discovery: &mut Discovery,
    listings: Vec<Listing>,
) -> Result<()> {
    let (ready, all_ready) = channel::bounded(0);
    for listing in listings {
        members.take_in(discovery, &listing, Some(&ready))?;
    }
    drop(ready);
    wait_until_ready(client, &all_ready)
}

fn wait_until_ready(client: &Client, all_ready: &Receiver<()>) -> Result<()> {
    let clock = &client.sys().clock;
    let timer = clock.at(clock.now() + READY_WAIT_MAX);
    select! {
        recv(all_ready) -> _ => {}
        recv(timer.channel()) -> _ => {}
    }
    // Of two that are there the select takes any.
    match all_ready.try_recv() {
        Err(TryRecvError::Disconnected) => Ok(()),
        _ => Err(TransportError::Timeout(READY_WAIT_MAX).into()),
    }
}

/// A start that is ahead is waited for, but not for longer than clocks may be apart: that is a mistake. A position that
/// a checkpoint has is none, however the service's Date has stepped since: the service itself judges it.
fn check_starts(plan: &Plan, restored: &Checkpoint, now: Timestamp) -> Result<()> {
    let mut unknown = plan
        .streams
        .iter()
        .filter(|(stream, _)| !restored.knows_stream(stream));
    let ahead = unknown.find_map(|(_, start)| match start {
        StartPosition::AtTimestamp(time) => {
            Some(*time).filter(|time| *time > now.saturating_add(START_AHEAD_MAX))
        }
        _ => None,
    });
    match ahead {
        None => Ok(()),
        Some(time) => {
            let expected = "a time in the past, or at most 15 minutes ahead";
            Err(Error::config("start_position", time.to_string(), expected))
        }
    }
}

fn state_of_one() -> Error {
    let expected = "one that several consumers can go on from: start one, or give the checkpoint \
                    alone to restore";
    Error::config("checkpoint_store", "a checkpoint with a state", expected)
}

/// How long the iterators of all shards may take.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
