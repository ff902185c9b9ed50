//! What is true: which records arrived, what was handed out of them, and what was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Checkpoint, Gap, GapCause, Record, SequenceNumber, ShardId, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

use crate::truth::Number;
use crate::world::STREAM;

/// A user record: its shard, its Kinesis record, and its place in that, if it is an aggregate.
pub type Place = (ShardId, Number, Option<u64>);

/// A user record that arrived.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: String,
    pub arrival: Timestamp,
    /// How many arrived before it was seen.
    pub index: usize,
    pub generation: u32,
    /// It is not kept any more.
    pub is_gone: bool,
}

/// A gap that a caller was told of, and when.
#[derive(Clone, Debug)]
pub struct Told {
    pub gap: Gap,
    pub index: usize,
    pub generation: u32,
}

/// What a caller has made of a consumer's events.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub records: Vec<Place>,
    pub gaps: Vec<Told>,
}

impl Done {
    pub fn append(&mut self, other: &mut Done) {
        self.records.append(&mut other.records);
        self.gaps.append(&mut other.gaps);
    }
}

/// When consumers started for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub start: StartPosition,
    /// How many records had arrived when the first `start` was called, and when the last had returned.
    pub called: usize,
    pub returned: usize,
    /// Nothing from before that is new under LATEST.
    pub not_before: Timestamp,
}

/// Everything that ever arrived, and where.
#[derive(Debug, Default)]
pub struct Ledger {
    pub stored: BTreeMap<Place, Stored>,
    pub generation: u32,
    /// When the last record happened: each a little later than the one before.
    pub event_time: i64,
    parents: BTreeMap<(u32, ShardId), Vec<ShardId>>,
    /// When each shard was seen first.
    born: BTreeMap<(u32, ShardId), Timestamp>,
    /// Which of the streams of that name each shard is of, by its starting sequence number.
    generations: BTreeMap<(ShardId, String), u32>,
    pub begun: Option<Begun>,
}

pub fn place(record: &Record) -> Place {
    (
        record.shard().shard_id.clone(),
        Number(record.sequence_number().clone()),
        record.sub_sequence_number(),
    )
}

/// What callers were given of a ledger's records, to be looked up.
struct Heard<'a> {
    seen: BTreeSet<&'a Place>,
    gaps: Vec<&'a Told>,
}

impl<'a> Heard<'a> {
    fn of(done: &[&'a Done]) -> Heard<'a> {
        Heard {
            seen: done.iter().flat_map(|done| &done.records).collect(),
            gaps: done.iter().flat_map(|done| &done.gaps).collect(),
        }
    }
}

impl Ledger {
    /// How many user records have arrived.
    pub fn index(&self) -> usize {
        self.stored.len()
    }

    /// Notes a Kinesis record that was stored, which the service has told of.
    pub fn store(&mut self, shard: &ShardId, number: &SequenceNumber, key: &str, data: &Bytes) {
        let index = self.index();
        let subs = decode(data).expect("nobody put a broken aggregate");
        let subs = subs.map_or(vec![None], |subs| {
            (0..subs.len() as u64).map(Some).collect()
        });
        for sub in subs {
            let new = Stored {
                key: key.to_owned(),
                arrival: arrival(number),
                index,
                generation: self.generation,
                is_gone: false,
            };
            let at = (shard.clone(), Number(number.clone()), sub);
            self.stored.insert(at, new);
        }
    }

    /// Notes which records are still kept, and which shards there are.
    pub fn look(&mut self, kinesis: &FakeKinesis, now: Timestamp) {
        let records = kinesis.records(STREAM).into_iter();
        let kept: BTreeSet<_> = records
            .map(|record| (record.shard_id, Number(record.sequence_number)))
            .collect();
        for ((shard, number, _), stored) in &mut self.stored {
            stored.is_gone = !kept.contains(&(shard.clone(), number.clone()));
        }
        for shard in kinesis.shards(STREAM) {
            let parents = shard.parents().cloned().collect();
            let starting = shard.starting_sequence_number.to_string();
            let begun = self.generations.entry((shard.id.clone(), starting));
            begun.or_insert(self.generation);
            let shard = (self.generation, shard.id);
            self.born.entry(shard.clone()).or_insert(now);
            self.parents.insert(shard, parents);
        }
    }

    /// When the newest shard of that name opened.
    pub fn born(&self, shard: &ShardId) -> Option<Timestamp> {
        self.born.get(&(self.generation, shard.clone())).copied()
    }

    /// What may not be missing: everything that arrived after the start position.
    fn is_after_start(&self, stored: &Stored) -> bool {
        let Some(begun) = &self.begun else {
            return false;
        };
        match begun.start {
            StartPosition::AtTimestamp(time) => stored.arrival >= time,
            StartPosition::Latest => stored.index >= begun.returned,
            _ => true,
        }
    }

    /// Fails unless the records of each key were handed out in their order.
    pub fn check_order(&self, done: &Done) {
        let mut last = BTreeMap::new();
        for place in &done.records {
            let at = (&place.1, place.2);
            if let Some(before) = last.insert(&self.stored[place].key, at) {
                assert!(before < at, "{place:?} came after {before:?}");
            }
        }
    }

    /// Fails if a record from before the start position was handed out.
    pub fn check_start(&self, place: &Place) {
        let (Some(begun), Some(stored)) = (&self.begun, self.stored.get(place)) else {
            panic!("handed out before anything was started or stored: {place:?}");
        };
        let is_old = match begun.start {
            StartPosition::AtTimestamp(time) => stored.arrival < time,
            StartPosition::Latest => {
                stored.index < begun.called && stored.arrival < begun.not_before
            }
            _ => false,
        };
        assert!(
            !is_old,
            "from before the start: {place:?} arrived at {} under {begun:?}",
            stored.arrival
        );
    }

    /// Which records are missing of those that `is_due` says have to be there: neither handed out nor
    /// reported.
    pub fn missing<'a>(
        &'a self,
        done: &[&Done],
        is_due: impl Fn(&Place, &Stored) -> bool,
    ) -> Vec<(&'a Place, &'a Stored)> {
        self.missing_of(&Heard::of(done), is_due)
    }

    /// The same, where what the callers were given is looked at more than once.
    fn missing_of<'a>(
        &'a self,
        heard: &Heard<'_>,
        is_due: impl Fn(&Place, &Stored) -> bool,
    ) -> Vec<(&'a Place, &'a Stored)> {
        let Heard { seen, gaps } = heard;
        // The set is the dearest to ask.
        let due = self.stored.iter().filter(|(place, stored)| {
            self.is_after_start(stored) && is_due(place, stored) && !seen.contains(place)
        });
        due.filter(|(place, stored)| {
            !self.was_gone(place, stored, seen) && !self.is_told(place, stored, seen, gaps)
        })
        .collect()
    }

    /// Says whether a record may be missing from what consumers have done: one of them reported it lost, or
    /// it was gone before any of them could know of it.
    pub fn is_excused(&self, place: &Place, done: &[&Done]) -> bool {
        let seen: BTreeSet<&Place> = done.iter().flat_map(|done| &done.records).collect();
        let gaps: Vec<&Told> = done.iter().flat_map(|done| &done.gaps).collect();
        let stored = &self.stored[place];
        self.was_gone(place, stored, &seen) || self.is_told(place, stored, &seen, &gaps)
    }

    /// Says whether a record had arrived before the first start, and was trimmed before its shard was
    /// read for the first time.
    fn was_gone(&self, place: &Place, stored: &Stored, seen: &BTreeSet<&Place>) -> bool {
        let is_before = self
            .begun
            .is_some_and(|begun| stored.index < begun.returned);
        let mut older = seen
            .iter()
            .filter(|seen| seen.0 == place.0 && ***seen < *place);
        is_before && stored.is_gone && older.next().is_none()
    }

    /// Says whether a gap covers a record: one of its shard, or of a shard that it came from or went
    /// into, which was gone as well before anybody knew of it.
    fn is_told(
        &self,
        place: &Place,
        stored: &Stored,
        seen: &BTreeSet<&Place>,
        gaps: &[&Told],
    ) -> bool {
        let shard = &place.0;
        let here = |told: &&&Told| covers(told, shard, stored) && is_between(told, place);
        let near = |other: &ShardId| {
            let whole = |told: &&&Told| told.gap.before.is_none() && covers(told, other, stored);
            gaps.iter().any(|told| whole(&told))
        };
        let seen_of = |shard: &ShardId| {
            seen.iter().any(|place| {
                let stored_there = self.stored.get(*place);
                place.0 == *shard
                    && stored_there.is_some_and(|at| at.generation == stored.generation)
            })
        };
        // A stream that came and went between two listings: its name is all that anybody knew of it.
        let is_unseen = stored.generation > 0 && !seen_of(shard);
        let stream_gone = gaps.iter().any(|told| {
            let is_gone = matches!(
                told.gap.cause,
                GapCause::StreamRecreated | GapCause::ShardVanished
            );
            is_gone && told.generation > stored.generation
        });
        (is_unseen && stream_gone)
            || gaps.iter().any(|told| here(&told))
            || self.ancestors(stored.generation, shard).iter().any(near)
            || (!seen_of(shard) && self.descendants(stored.generation, shard).iter().any(near))
    }

    fn ancestors(&self, generation: u32, shard: &ShardId) -> Vec<ShardId> {
        let mut all = self
            .parents
            .get(&(generation, shard.clone()))
            .cloned()
            .unwrap_or_default();
        let mut at = 0;
        while let Some(next) = all.get(at).cloned() {
            all.extend(
                self.parents
                    .get(&(generation, next))
                    .cloned()
                    .unwrap_or_default(),
            );
            at += 1;
        }
        all
    }

    fn descendants(&self, generation: u32, shard: &ShardId) -> Vec<ShardId> {
        let of = |((at, child), _): &(&(u32, ShardId), &Vec<ShardId>)| {
            *at == generation && self.ancestors(generation, child).contains(shard)
        };
        let found = self.parents.iter().filter(of);
        found.map(|((_, child), _)| child.clone()).collect()
    }

    /// Fails unless a gap was told for a reason: something is missing there, or may be for all that its
    /// process can know: then it is doubtful.
    pub fn check_gap(&self, told: &Told, done: &[&Done], is_doubtful: bool, kinesis: &FakeKinesis) {
        let gap = &told.gap;
        let is_here = |shard: &ShardId| *shard == gap.shard.shard_id;
        match &gap.cause {
            GapCause::Trimmed | GapCause::UnknownPosition => {
                let mut records = kinesis.records(STREAM).into_iter();
                let kept = records.any(|record| {
                    is_here(&record.shard_id) && Some(&record.sequence_number) == gap.after.as_ref()
                });
                assert!(!kept, "what comes before the gap is still there: {gap}");
                let is_missing = is_doubtful || self.has_lost(told, done);
                assert!(is_missing, "nothing is missing, and nobody was away: {gap}");
            }
            // Another shard may have its name by now.
            GapCause::ShardVanished if self.generation == 0 => {
                let exists = kinesis
                    .shards(STREAM)
                    .iter()
                    .any(|shard| is_here(&shard.id));
                assert!(!exists, "the shard is still there: {gap}");
            }
            GapCause::StreamRecreated => {
                assert!(self.generation > 0, "it is the same stream: {gap}");
            }
            _ => {}
        }
    }

    /// Says whether a record that was not handed out lies in a gap.
    fn has_lost(&self, told: &Told, done: &[&Done]) -> bool {
        let seen: BTreeSet<&Place> = done.iter().flat_map(|done| &done.records).collect();
        let mut stored = self.stored.iter();
        stored.any(|(place, stored)| {
            !seen.contains(place) && is_between(told, place) && covers(told, &place.0, stored)
        })
    }

    /// Fails if a checkpoint says that something is covered that was neither handed out nor reported.
    pub fn check_times(&self, checkpoint: &Checkpoint, done: &[&Done], now: Timestamp) {
        let json: serde_json::Value =
            serde_json::from_str(&checkpoint.to_json()).expect("a checkpoint");
        // Made once: there may be many shards, and a library that commits by itself does so all the time.
        let heard = Heard::of(done);
        for (shard, position) in checkpoint.iter() {
            // What the retention has not confirmed is said to be in doubt, and is reported if it is lost.
            let doubt = &json["unconfirmed"][STREAM][shard.shard_id.as_str()];
            let doubt_after: Option<SequenceNumber> =
                doubt["after"].as_str().and_then(|after| after.parse().ok());
            let is_doubted = |number: &Number| {
                doubt.is_object() && doubt_after.as_ref().is_none_or(|after| number.0 > *after)
            };
            let Some(complete_to) = checkpoint.complete_to(shard) else {
                continue;
            };
            // A shard made in the same millisecond as its parents shows itself as one younger.
            let now = now.saturating_add(Duration::from_millis(100));
            assert!(
                complete_to <= now,
                "{shard} is complete to {complete_to}, and it is {now}"
            );
            if let ShardPosition::Start(_) = position {
                continue;
            }
            // A stream made anew has other shards of the same names. The checkpoint says which one this is, once
            // a listing has shown it; until then it is the one that records were read of.
            let starting = json["origins"][STREAM][shard.shard_id.as_str()][2].as_str();
            let of_starting = |starting: &str| {
                let begun = (shard.shard_id.clone(), starting.to_owned());
                self.generations.get(&begun).copied()
            };
            let read = heard.seen.iter().copied();
            let read = read.filter(|place| place.0 == shard.shard_id);
            let read = read.filter_map(|place| self.stored.get(place));
            let generation = read.map(|stored| stored.generation).max();
            let generation = starting.and_then(of_starting).or(generation);
            let generation = generation.unwrap_or(self.generation);
            let missing = self.missing_of(&heard, |(of, number, _), stored| {
                *of == shard.shard_id
                    && !is_doubted(number)
                    && stored.arrival < complete_to
                    && stored.generation == generation
            });
            assert!(
                missing.is_empty(),
                "{shard} is said to be complete to {complete_to}, without {:?}",
                missing[0]
            );
        }
    }
}

/// Says whether a record lies between the bounds of a gap. What is left of an aggregate does that was
/// handed out in part.
fn is_between(told: &Told, (_, number, sub): &Place) -> bool {
    let (after, before) = (&told.gap.after, &told.gap.before);
    let is_behind =
        |after: &SequenceNumber| number.0 > *after || (number.0 == *after && sub.is_some());
    after.as_ref().is_none_or(is_behind) && before.as_ref().is_none_or(|before| *before > number.0)
}

/// Says whether a gap is about a shard's records that had arrived when it was told.
fn covers(told: &Told, shard: &ShardId, stored: &Stored) -> bool {
    let is_of_its_stream = match told.gap.cause {
        GapCause::StreamRecreated => stored.generation < told.generation,
        _ => true,
    };
    told.gap.is_loss()
        && told.gap.shard == ShardRef::new(STREAM, shard.clone())
        && (told.gap.before.is_some() || stored.index < told.index)
        && is_of_its_stream
}

/// No stream keeps records for less, and what knows of a shard for less is in no doubt. What is not
/// certain to the minute is left out.
pub const RETENTION_MIN: Duration = Duration::from_secs(24 * 3_600 - 15 * 60);

/// When a record arrived: the fake's sequence numbers say it behind `49`, 13 digits of the shard's
/// and 20 of the record's.
pub fn arrival(number: &SequenceNumber) -> Timestamp {
    let millis = number.as_str()[35..48].parse();
    Timestamp::from_millis(millis.expect("a time"))
}
