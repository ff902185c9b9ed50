//! How consumers are started: a group of them, or one that is alone in its group.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, TryRecvError, select};

use crate::client::Client;
use crate::consumer::bound::Until;
use crate::consumer::budget::Budget;
use crate::consumer::builder::ConsumerBuilder;
use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::commits::Commits;
use crate::consumer::discovery::{Discovery, Plan};
use crate::consumer::emitter::{Emitter, News};
use crate::consumer::event_time::{EventTime, Subtask, Sync};
use crate::consumer::first_listings::{Listing, first_listings};
use crate::consumer::members::{Member, Members};
use crate::consumer::meters::{DiscoveryMeter, Meters};
use crate::consumer::retention::Retentions;
use crate::consumer::shard_reader::Settings;
use crate::consumer::shelf::{Bell, Shelf};
use crate::consumer::threads::{Crew, DiscoveryThread, ReportThread, Told, Workers, start_sync};
use crate::consumer::union::Union;
use crate::consumer::{Consumer, Group};
use crate::error::{Error, Result, TransportError};
use crate::sys::stop::StopSource;

impl ConsumerBuilder {
    pub(super) fn launch(mut self, size: usize) -> Result<Vec<Consumer>> {
        self.assignment.members = size;
        let until = self.until()?;
        let found = Arc::new(DiscoveryMeter::default());
        let meters = (0..size).map(|_| Arc::new(Meters::beside(&found)));
        let meters: Vec<_> = meters.collect();
        let (commits, union) = self.commits(&meters)?;
        let (commits, restored) = self.restored(commits)?;
        let stops = (0..size).map(|_| Arc::new(StopSource::new()));
        let stops: Vec<_> = stops.collect();
        let group = Arc::new(Group {
            // One that is alone stops all there is.
            stop: match &stops[..] {
                [stop] => stop.clone(),
                _ => Arc::new(StopSource::new()),
            },
            crew: Crew::new(),
            size,
        });
        let client = self.client.with_stop(group.stop.stop());
        let client = client.with_watch(found.clone());
        let listings = first_listings(&client, self.streams.iter().map(|(name, _)| name))?;
        let settings = Settings::new(&self.config, until, &client);
        let seats = self.seats(&client, &settings, meters, stops);

        let mut discovery = Discovery::new(self.plan(&settings), restored.clone());
        let mut members = members(&seats, &settings, found);
        start_shards(&client, &mut members, &mut discovery, listings)?;
        let (told, told_bell) = {
            let (bell, heard) = Bell::new();
            (Arc::new(Shelf::new(bell)), heard)
        };
        let mut consumers = Vec::new();
        for (index, (seat, commits)) in seats.into_iter().zip(commits).enumerate() {
            let (event_time, sync) = self.begin_event_time(index, &seat, &restored);
            let workers = seat.workers.clone();
            let mut emitter = Emitter::new(restored.clone(), discovery.childless());
            emitter.set_event_time(event_time);
            emitter.set_expecting(is_expecting(&settings, size));
            let mut consumer = seat.consumer(emitter, commits, &told, &group);
            // Before `start` returns, so that a checkpoint taken at once is whole.
            consumer.take_news()?;
            consumer.emitter.expect(discovery.hidden());
            consumer.commits.begin(consumer.clock.now());
            if let Some(union) = &union {
                union.begin(index, consumer.checkpoint());
            }
            if let Some((tracking, heard)) = sync {
                start_sync(&workers, tracking, heard)?;
            }
            consumers.push(consumer);
        }
        self.report(&client, &group, &consumers)?;
        DiscoveryThread {
            childless: discovery.childless(),
            discovery,
            interval: self.config.shard_discovery_interval,
            told,
            told_bell,
            members,
            stop: group.stop.stop(),
            _alive: group.crew.alive().clone(),
            client,
        }
        .start()?;
        Ok(consumers)
    }

    /// What each of the consumers saves to: the store, or their part in it.
    fn commits(&mut self, meters: &[Arc<Meters>]) -> Result<(Vec<Loaded>, Option<Arc<Union>>)> {
        let (store, interval) = (self.store.take(), self.commit_interval);
        let load = |store, meters: &Arc<Meters>| Commits::load(store, interval, meters.clone());
        let (store, meters) = match (store, meters) {
            (store, [one]) => return Ok((vec![load(store, one)?], None)),
            (store, meters) => (store, meters),
        };
        let union = store.map(|store| Union::load(store, meters.len()));
        let union = union.transpose()?;
        let share = |(index, meters)| {
            let share = union.as_ref().map(|union| union.share(index));
            load(share, meters)
        };
        let commits = meters.iter().enumerate().map(share);
        Ok((commits.collect::<Result<_>>()?, union))
    }

    /// Where to go on from: what was given, or what the store has.
    fn restored(&mut self, loaded: Vec<Loaded>) -> Result<(Vec<Commits>, Checkpoint)> {
        let given = self.restore.take().filter(|given| !given.is_empty());
        let (mut all, mut restored) = (Vec::new(), None);
        let is_group = loaded.len() > 1;
        for (mut commits, stored) in loaded {
            match &given {
                Some(_) => commits.forget_state(),
                None if is_group && commits.has_state() => return Err(state_of_one()),
                None => restored = stored,
            }
            all.push(commits);
        }
        let restored = given.or(restored).unwrap_or_default();
        Ok((all, restored.renamed(|stream| self.spelling(stream))))
    }

    fn seats(
        &mut self,
        client: &Client,
        settings: &Settings,
        meters: Vec<Arc<Meters>>,
        stops: Vec<Arc<StopSource>>,
    ) -> Vec<Seat> {
        // Were it one for all, whoever is not asked would keep the others waiting.
        let bytes = self.config.buffered_bytes_max / stops.len().max(1) as u64;
        let retentions = Arc::new(Retentions::default());
        let decoding = Arc::new(mem::take(&mut self.decoding));
        let seat = |(meters, stop): (Arc<Meters>, Arc<StopSource>)| {
            let ((bell, heard), crew) = (Bell::new(), Crew::new());
            let workers = Workers {
                client: client.with_stop(stop.stop()),
                settings: settings.clone(),
                budget: Budget::new(bytes),
                retentions: retentions.clone(),
                bell: bell.clone(),
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
        meters.into_iter().zip(stops).map(seat).collect()
    }

    fn plan(&self, settings: &Settings) -> Plan {
        let start = self.config.start_position;
        let streams = self.streams.iter();
        let streams = streams.map(|(name, own)| (name.clone(), own.unwrap_or(start)));
        Plan {
            streams: streams.collect(),
            parent_before_child: self.config.parent_before_child,
            until: match settings.until {
                Until::Timestamp(until) => Some(until),
                Until::CaughtUp | Until::Checkpoint(_) | Until::Stopped => None,
            },
            assignment: self.assignment.clone(),
        }
    }

    fn begin_event_time(
        &self,
        index: usize,
        seat: &Seat,
        restored: &Checkpoint,
    ) -> (Option<EventTime>, Option<Sync>) {
        let names = self.streams.iter().map(|(name, _)| &**name);
        let subtask = Subtask {
            streams: names.collect::<Vec<_>>().join(","),
            index: self.assignment.subtask(index),
            parallelism: self.assignment.subtasks(),
        };
        let workers = &seat.workers;
        let now = workers.client.sys().clock.now();
        (self.event_time).begin(&self.config, restored, subtask, &workers.meters, now)
    }

    fn report(&mut self, client: &Client, group: &Group, consumers: &[Consumer]) -> Result<()> {
        let Some((interval, report)) = self.metrics.take() else {
            return Ok(());
        };
        let meters = consumers.iter().map(|consumer| consumer.meters.clone());
        ReportThread {
            clock: client.sys().clock.clone(),
            stop: group.stop.stop(),
            meters: meters.collect(),
            interval,
            report,
            _alive: group.crew.alive().clone(),
        }
        .start()
    }
}

/// What is saved, and what had been.
type Loaded = (Commits, Option<Checkpoint>);

/// What is there of a consumer before its shards are known.
struct Seat {
    workers: Workers,
    news: Arc<Shelf<News>>,
    heard: Receiver<()>,
    stop: Arc<StopSource>,
    crew: Crew,
}

impl Seat {
    fn consumer(
        self,
        emitter: Emitter,
        commits: Commits,
        told: &Arc<Shelf<Told>>,
        group: &Arc<Group>,
    ) -> Consumer {
        let until = &self.workers.settings.until;
        Consumer {
            emitter,
            events: VecDeque::new(),
            signals: VecDeque::new(),
            held: VecDeque::new(),
            news: self.news,
            told: told.clone(),
            ending: None,
            heard: self.heard,
            stop: self.stop,
            over: false,
            bounded: !matches!(until, Until::Stopped),
            crew: Some(self.crew),
            group: Some(group.clone()),
            commits,
            meters: self.workers.meters,
            clock: self.workers.client.sys().clock.clone(),
        }
    }
}

/// The consumers as discovery sees them.
fn members(seats: &[Seat], settings: &Settings, meter: Arc<DiscoveryMeter>) -> Members {
    let member = |seat: &Seat| Member {
        workers: seat.workers.clone(),
        news: seat.news.clone(),
    };
    let size = seats.len();
    let expecting = (0..size).filter(|_| is_expecting(settings, size));
    let all = seats.iter().map(member).collect();
    Members::new(all, settings.clone(), meter, expecting.collect())
}

/// A bounded consumer of a group does not know by itself when nothing will come to it any more.
fn is_expecting(settings: &Settings, size: usize) -> bool {
    size > 1 && !matches!(settings.until, Until::Stopped)
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
        members.take_in(discovery, listing, Some(&ready))?;
    }
    members.tell_complete(discovery);
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

fn state_of_one() -> Error {
    let expected = "one that several consumers can go on from: start one, or give the checkpoint \
                    alone to restore";
    Error::config("checkpoint_store", "a checkpoint with a state", expected)
}

/// How long the iterators of all shards may take.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
