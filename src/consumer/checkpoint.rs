mod json;
mod origins;
mod replaced;
mod subtasks;
mod unconfirmed;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{SequenceNumber, ShardId, ShardPosition, ShardRef, StartPosition, Timestamp};

pub(super) use origins::{Origin, Origins};
pub(super) use replaced::Replaced;
pub(super) use subtasks::Subtasks;
pub(super) use unconfirmed::Unconfirmed;

/// How far each shard has been read: where to go on from.
///
/// Its JSON form is versioned: a later version of this crate reads what an earlier one wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) shards: BTreeMap<ShardRef, ShardPosition>,
    /// Up to when everything of a shard that arrived is covered by its position, where that is known.
    pub(super) times: BTreeMap<ShardRef, Timestamp>,
    /// How far the event time of each shard has come with its position, where that is known.
    pub(super) watermarks: BTreeMap<ShardRef, Timestamp>,
    /// The first Kinesis record of each shard that was read, where that is known and nothing of the
    /// shard has been missing or left out since.
    pub(super) firsts: BTreeMap<ShardRef, SequenceNumber>,
    /// What was read of each shard while nothing proved that it was whole, as the stream's retention
    /// may have been shortened.
    pub(super) unconfirmed: BTreeMap<ShardRef, Unconfirmed>,
    /// Shards of streams that were made anew, of which nobody has reported yet what was lost.
    pub(super) replaced: BTreeMap<ShardRef, Replaced>,
    /// The last watermark that was handed out.
    pub(super) watermark: Option<Timestamp>,
    /// When the shards of each stream were listed last: what it does not know was not there then.
    pub(super) listed: BTreeMap<Arc<str>, Timestamp>,
    /// The newest shard that there was then, of whichever subtask.
    pub(super) newest: BTreeMap<Arc<str>, ShardId>,
    /// Since when each stream is read, while shards may be found that opened before that instant.
    pub(super) starts: BTreeMap<Arc<str>, Timestamp>,
    /// What listings said of the shards.
    pub(super) origins: Origins,
    /// Whose shards it has.
    pub(super) subtasks: Subtasks,
}

impl Checkpoint {
    /// Returns how far one shard has been read; `None` if the checkpoint does not know it.
    pub fn position(&self, shard: &ShardRef) -> Option<&ShardPosition> {
        self.shards.get(shard)
    }

    /// Iterates over all shards, by stream and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ShardRef, &ShardPosition)> {
        self.shards.iter()
    }

    /// Returns whether the checkpoint says nothing: as good as none.
    ///
    /// The checkpoint of a [subtask](crate::ConsumerBuilder::subtask) to which no shard belongs is not
    /// empty. It says when the streams were listed last, so that a later start reads shards that
    /// opened since then from their beginning.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.listed.is_empty()
    }

    /// Says how far one shard has been read, in place of what was known of it.
    ///
    /// For a checkpoint that is made by hand, of another library's say: no consumer needs it.
    /// `complete_to` is the time up to which all that arrived is covered, where that is known: only
    /// with it can a consumer tell whether records were trimmed before it came. Watermarks are
    /// forgotten: what is read again may have happened before them.
    ///
    /// ```
    /// use kinesis_blocking::{Checkpoint, ShardPosition, ShardRef, StartPosition};
    ///
    /// let mut checkpoint = Checkpoint::default();
    /// let shard = ShardRef::new("orders", "shardId-000000000000");
    /// let begin = ShardPosition::Start(StartPosition::TrimHorizon);
    /// checkpoint.insert(shard.clone(), begin.clone(), None);
    /// assert_eq!(checkpoint.position(&shard), Some(&begin));
    /// ```
    pub fn insert(
        &mut self,
        shard: ShardRef,
        position: ShardPosition,
        complete_to: Option<Timestamp>,
    ) {
        self.forget(&shard);
        self.times
            .extend(complete_to.map(|time| (shard.clone(), time)));
        self.shards.insert(shard, position);
    }

    /// Forgets a shard, and gives how far it had been read.
    ///
    /// A consumer that goes on from here reads it from its beginning if it finds it, as a new one.
    pub fn remove(&mut self, shard: &ShardRef) -> Option<ShardPosition> {
        // Else what arrived before that instant would be left out.
        self.starts.remove(&shard.stream);
        self.forget(shard)
    }

    fn forget(&mut self, shard: &ShardRef) -> Option<ShardPosition> {
        self.times.remove(shard);
        self.watermarks.remove(shard);
        self.origins.remove(shard);
        self.firsts.remove(shard);
        self.unconfirmed.remove(shard);
        self.replaced.remove(shard);
        self.watermark = None;
        self.shards.remove(shard)
    }

    /// Puts the checkpoints of two consumers together, for one that goes on from both.
    ///
    /// Where both know a shard, whoever came further counts: what it covers has been handed out. Of
    /// two that have not begun, the one that reads more counts. Where the stream was deleted and made
    /// anew in between, the position in the new one counts, and the start from it reports a
    /// [gap](crate::GapCause::StreamRecreated) behind the other one.
    ///
    /// The checkpoints of all [subtasks](crate::ConsumerBuilder::subtask) together are one that
    /// subtasks of any other parallelism can start from.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use kinesis_blocking::Checkpoint;
    ///
    /// let json = |shard: &str, number: u32| {
    ///     let shard = format!(r#"{{"stream":"orders","shard_id":"{shard}","sequence_number":"{number}"}}"#);
    ///     format!(r#"{{"version":1,"shards":[{shard}]}}"#)
    /// };
    /// let (one, older) = (Checkpoint::from_json(&json("a", 7))?, Checkpoint::from_json(&json("a", 6))?);
    /// assert_eq!(one.clone().merge(older), one);
    /// let other = Checkpoint::from_json(&json("b", 1))?;
    /// assert_eq!(one.merge(other).iter().count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn merge(mut self, mut other: Checkpoint) -> Checkpoint {
        self.watermark = match (self.shards.is_empty(), other.shards.is_empty()) {
            (true, _) => other.watermark,
            (_, true) => self.watermark,
            // What is complete is what is complete for both; nothing, if one does not know.
            _ => self.watermark.min(other.watermark),
        };
        self.subtasks = match (self.is_empty(), other.is_empty()) {
            (true, _) => other.subtasks.clone(),
            (_, true) => self.subtasks,
            _ => self.subtasks.merge(other.subtasks.clone()),
        };
        self.starts = merged_starts((&self.starts, &self.listed), (&other.starts, &other.listed));
        for (stream, newest) in std::mem::take(&mut other.newest) {
            let mine = self.newest.entry(stream).or_insert_with(|| newest.clone());
            if age(&newest) < age(mine) {
                *mine = newest;
            }
        }
        for (stream, listed) in std::mem::take(&mut other.listed) {
            let mine = self.listed.entry(stream).or_insert(listed);
            *mine = listed.min(*mine);
        }
        for (shard, position) in &other.shards {
            let order = self.order_of_streams(&other, shard);
            self.note_replaced(&other, shard, order);
            let mine = self.shards.get(shard);
            if order == Ordering::Greater {
                // The other position is in a stream that was deleted.
            } else if order == Ordering::Equal && mine == Some(position) {
                // The times of both hold.
                keep_later(&mut self.times, &other.times, shard);
                keep_later(&mut self.watermarks, &other.watermarks, shard);
                // Both lines of readers handed out what follows; the earlier one says more.
                let firsts = [self.firsts.remove(shard), other.firsts.get(shard).cloned()];
                let first = firsts.into_iter().flatten().min();
                self.firsts
                    .extend(first.map(|first| (shard.clone(), first)));
                // One line of readers may have confirmed what the other doubts: rather a gap too much.
                if let Some(unconfirmed) = other.unconfirmed.get(shard) {
                    let mine = self.unconfirmed.entry(shard.clone());
                    mine.or_insert_with(|| unconfirmed.clone());
                }
            } else if order == Ordering::Less || mine.is_none_or(|mine| counts_more(position, mine))
            {
                replace(&mut self.times, &other.times, shard);
                replace(&mut self.watermarks, &other.watermarks, shard);
                replace(&mut self.firsts, &other.firsts, shard);
                replace(&mut self.unconfirmed, &other.unconfirmed, shard);
                self.shards.insert(shard.clone(), position.clone());
                match other.origins.get(shard) {
                    Some(origin) => self.origins.insert(shard.clone(), origin.clone()),
                    None => self.origins.remove(shard),
                }
            }
        }
        for (shard, replaced) in other.replaced {
            self.add_replaced(shard, replaced);
        }
        self
    }

    /// Compares by age the streams that two positions of one shard are of: the sequence numbers of a
    /// stream that is made anew are higher. `Equal` unless both say where the shard begins.
    fn order_of_streams(&self, other: &Checkpoint, shard: &ShardRef) -> Ordering {
        match (self.origins.get(shard), other.origins.get(shard)) {
            (Some(mine), Some(other)) if self.shards.contains_key(shard) => {
                let order = mine.starting.compare_alike(&other.starting);
                order.unwrap_or(Ordering::Equal)
            }
            _ => Ordering::Equal,
        }
    }

    /// Notes what is lost of a shard that another checkpoint has as well: the older of the two streams'.
    fn note_replaced(&mut self, other: &Checkpoint, shard: &ShardRef, order: Ordering) {
        let older = match order {
            Ordering::Less => &*self,
            Ordering::Greater => other,
            Ordering::Equal => return,
        };
        let parts = (older.shards.get(shard), older.origins.get(shard));
        if let (Some(position), Some(origin)) = parts {
            let replaced = Replaced::new(position, origin);
            self.add_replaced(shard.clone(), replaced);
        }
    }

    fn add_replaced(&mut self, shard: ShardRef, replaced: Replaced) {
        let replaced = match self.replaced.remove(&shard) {
            Some(known) => known.or(replaced),
            None => replaced,
        };
        self.replaced.insert(shard, replaced);
    }

    /// Says whether it is about a stream, be there a shard of it or not.
    pub(super) fn knows_stream(&self, stream: &str) -> bool {
        self.listed.contains_key(stream) || self.shards.keys().any(|shard| &*shard.stream == stream)
    }

    /// The same, with streams under other names where there is one.
    pub(super) fn renamed(self, name: impl Fn(&str) -> Option<Arc<str>>) -> Checkpoint {
        let stream = |stream: Arc<str>| name(&stream).unwrap_or(stream);
        let shard = |shard: ShardRef| ShardRef {
            stream: stream(shard.stream),
            ..shard
        };
        let all = |times: BTreeMap<ShardRef, Timestamp>| {
            times.into_iter().map(|(of, at)| (shard(of), at)).collect()
        };
        let streams = |times: BTreeMap<Arc<str>, Timestamp>| {
            times.into_iter().map(|(of, at)| (stream(of), at)).collect()
        };
        let shards = self.shards.into_iter();
        Checkpoint {
            shards: shards.map(|(of, at)| (shard(of), at)).collect(),
            times: all(self.times),
            watermarks: all(self.watermarks),
            firsts: {
                let firsts = self.firsts.into_iter();
                firsts.map(|(of, first)| (shard(of), first)).collect()
            },
            unconfirmed: {
                let unconfirmed = self.unconfirmed.into_iter();
                unconfirmed.map(|(of, one)| (shard(of), one)).collect()
            },
            replaced: {
                let replaced = self.replaced.into_iter();
                replaced.map(|(of, one)| (shard(of), one)).collect()
            },
            watermark: self.watermark,
            listed: streams(self.listed),
            newest: self
                .newest
                .into_iter()
                .map(|(of, id)| (stream(of), id))
                .collect(),
            starts: streams(self.starts),
            origins: self.origins.renamed(shard),
            subtasks: self.subtasks,
        }
    }

    /// Lets go of all shards of a stream but these.
    pub(super) fn forget_stream(&mut self, stream: &str, kept: &BTreeSet<ShardId>) {
        let is_kept = |shard: &ShardRef| &*shard.stream != stream || kept.contains(&shard.shard_id);
        self.shards.retain(|shard, _| is_kept(shard));
        self.times.retain(|shard, _| is_kept(shard));
        self.watermarks.retain(|shard, _| is_kept(shard));
        self.origins.retain(is_kept);
        self.firsts.retain(|shard, _| is_kept(shard));
        self.unconfirmed.retain(|shard, _| is_kept(shard));
        self.replaced.retain(|shard, _| is_kept(shard));
        self.listed.remove(stream);
        self.newest.remove(stream);
        self.starts.remove(stream);
    }

    /// Returns up to when everything of a shard that arrived is covered by its position; `None` if
    /// that is not known.
    pub fn complete_to(&self, shard: &ShardRef) -> Option<Timestamp> {
        self.times.get(shard).copied()
    }

    /// When the shards of a stream were listed last.
    pub(super) fn listed(&self, stream: &str) -> Option<Timestamp> {
        self.listed.get(stream).copied()
    }
}

/// Orders shards by when they came to be, if they are numbered: by length first.
pub(super) fn age(shard: &ShardId) -> (usize, &str) {
    (shard.as_str().len(), shard.as_str())
}

/// Since when the streams of two checkpoints are read.
///
/// The earlier instant leaves nothing out. Where only one of two that know a stream has an instant, the
/// other one finds its shards from their beginning: none counts.
fn merged_starts(
    one: (&StreamTimes, &StreamTimes),
    other: (&StreamTimes, &StreamTimes),
) -> StreamTimes {
    let of = |(starts, listed): (&StreamTimes, &StreamTimes), stream: &Arc<str>| {
        let is_known = listed.contains_key(stream) || starts.contains_key(stream);
        is_known.then(|| starts.get(stream).copied())
    };
    let streams = one.0.keys().chain(other.0.keys());
    let start = |stream: &Arc<str>| {
        let start = match (of(one, stream), of(other, stream)) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other).flatten(),
        };
        Some((stream.clone(), start?))
    };
    streams.filter_map(start).collect()
}

type StreamTimes = BTreeMap<Arc<str>, Timestamp>;

/// Two times of the same position of a shard both hold, so the later one says more.
fn keep_later(mine: &mut Times, others: &Times, shard: &ShardRef) {
    let later = mine.remove(shard).max(others.get(shard).copied());
    mine.extend(later.map(|time| (shard.clone(), time)));
}

/// A time goes with its position.
fn replace<T: Clone>(
    mine: &mut BTreeMap<ShardRef, T>,
    others: &BTreeMap<ShardRef, T>,
    shard: &ShardRef,
) {
    mine.remove(shard);
    mine.extend(others.get(shard).map(|one| (shard.clone(), one.clone())));
}

type Times = BTreeMap<ShardRef, Timestamp>;

/// Of two positions of one shard, says whether the first is to go on from.
fn counts_more(one: &ShardPosition, other: &ShardPosition) -> bool {
    let (one, other) = (Progress::of(one), Progress::of(other));
    match (&one, &other) {
        (Progress::Start(one), Progress::Start(other)) => one < other,
        _ => one > other,
    }
}

/// A position, ordered by what it covers.
#[derive(PartialEq, PartialOrd)]
enum Progress<'a> {
    /// From when on it reads: `None` is the beginning, and the end of time is LATEST.
    Start(Option<Timestamp>),
    /// A Kinesis record, and the last of its user records that is covered.
    After(&'a SequenceNumber, u64),
    ShardEnd,
}

impl Progress<'_> {
    fn of(position: &ShardPosition) -> Progress<'_> {
        match position {
            ShardPosition::Start(StartPosition::TrimHorizon) => Progress::Start(None),
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Progress::Start(Some(*time)),
            ShardPosition::Start(StartPosition::Latest) => {
                Progress::Start(Some(Timestamp::from_millis(i64::MAX)))
            }
            ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            } => Progress::After(sequence_number, sub_sequence_number.unwrap_or(u64::MAX)),
            ShardPosition::ShardEnd => Progress::ShardEnd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let after = |sub_sequence_number| ShardPosition::After {
            sequence_number: "49590338271490256608559692538361571095921575989136588898"
                .parse()
                .expect("a number"),
            sub_sequence_number,
        };
        let start = ShardPosition::Start;
        let positions = [
            start(StartPosition::Latest),
            start(StartPosition::TrimHorizon),
            start(StartPosition::AtTimestamp(Timestamp::from_millis(
                1_459_799_926_480,
            ))),
            after(None),
            after(Some(41)),
            ShardPosition::ShardEnd,
        ];
        let shards = (0..)
            .zip(positions)
            .map(|(i, position)| (ShardRef::new("orders", format!("shardId-{i}")), position));
        Checkpoint {
            shards: shards.collect(),
            ..Checkpoint::default()
        }
    }

    /// What version 1 wrote; every later version has to read it.
    const VERSION_1: &str = include_str!("../../tests/data/checkpoint/version_1.json");

    #[test]
    fn its_json_is_fixed_and_comes_back_whole() {
        assert_eq!(checkpoint().to_json(), VERSION_1.trim_end());
        assert_eq!(
            Checkpoint::from_json(VERSION_1).expect("a checkpoint"),
            checkpoint()
        );
    }

    /// What version 1 wrote once there were watermarks.
    const WITH_WATERMARKS: &str =
        include_str!("../../tests/data/checkpoint/version_1_watermarks.json");

    #[test]
    fn a_position_made_by_hand_has_no_watermark() {
        let shard = ShardRef::new("orders", "a");
        let time = Timestamp::from_millis;
        let mut made = Checkpoint {
            shards: [(shard.clone(), ShardPosition::ShardEnd)].into(),
            times: [(shard.clone(), time(1))].into(),
            watermarks: [(shard.clone(), time(2))].into(),
            watermark: Some(time(2)),
            ..Checkpoint::default()
        };
        let begin = ShardPosition::Start(StartPosition::TrimHorizon);
        made.insert(shard.clone(), begin.clone(), Some(time(3)));
        let expected = Checkpoint {
            shards: [(shard.clone(), begin.clone())].into(),
            times: [(shard.clone(), time(3))].into(),
            ..Checkpoint::default()
        };
        assert_eq!(made, expected);
        assert_eq!(made.remove(&shard), Some(begin));
        assert_eq!(made, Checkpoint::default());
    }

    #[test]
    fn watermarks_are_kept_beside_the_positions_they_belong_to() {
        let (millis, shard) = (Timestamp::from_millis, ShardRef::new("orders", "shardId-3"));
        let checkpoint = Checkpoint {
            watermarks: [(shard, millis(1_459_799_926_000))].into(),
            watermark: Some(millis(1_459_799_925_000)),
            ..checkpoint()
        };
        assert_eq!(checkpoint.to_json(), WITH_WATERMARKS.trim_end());
        let read = Checkpoint::from_json(WITH_WATERMARKS).expect("a checkpoint");
        assert_eq!(read, checkpoint);
        let renamed = read.renamed(|_| Some("returns".into()));
        assert_eq!(
            renamed.watermarks.keys().next(),
            Some(&ShardRef::new("returns", "shardId-3"))
        );
    }

    /// What version 1 wrote once it noted what shards and whose they are.
    const WITH_ORIGINS: &str = include_str!("../../tests/data/checkpoint/version_1_origins.json");

    #[test]
    fn what_listings_said_is_kept_beside_the_positions() {
        let (time, shard) = (Timestamp::from_millis, ShardRef::new("orders", "shardId-5"));
        let stream = || -> Arc<str> { "orders".into() };
        let origin = Origin {
            range: crate::model::HashKeyRange::FULL,
            starting: "49590338271490256608559692538361571095921575989136588898"
                .parse()
                .expect("a number"),
        };
        let checkpoint = Checkpoint {
            listed: [(stream(), time(1_459_799_926_480))].into(),
            newest: [(stream(), "shardId-7".into())].into(),
            starts: [(stream(), time(1_459_799_900_000))].into(),
            origins: [(shard, origin)].into_iter().collect(),
            subtasks: Subtasks::one(0, 3).merge(Subtasks::one(2, 3)),
            ..checkpoint()
        };
        assert_eq!(checkpoint.to_json(), WITH_ORIGINS.trim_end());
        let read = Checkpoint::from_json(WITH_ORIGINS).expect("a checkpoint");
        assert_eq!(read, checkpoint);
        let renamed = read.clone().renamed(|_| Some("returns".into()));
        let of = ShardRef::new("returns", "shardId-5");
        assert!(renamed.origins.get(&of).is_some());
        let streams = (renamed.starts.len(), renamed.newest.contains_key("returns"));
        assert_eq!(streams, (1, true));
        let mut forgotten = read;
        forgotten.forget_stream("orders", &BTreeSet::new());
        let nothing = Checkpoint {
            subtasks: checkpoint.subtasks,
            ..Checkpoint::default()
        };
        assert_eq!(forgotten, nothing);
    }

    #[test]
    fn a_broken_origin_is_refused() {
        for (from, to) in [
            (r#"["0","#, r#"["x","#),
            (r#"["0","#, "["),
            ("98\"]", "x\"]"),
        ] {
            let text = WITH_ORIGINS.replacen(from, to, 1);
            assert_ne!(text, WITH_ORIGINS);
            Checkpoint::from_json(&text).expect_err("broken");
        }
    }

    #[test]
    fn only_what_knows_neither_a_shard_nor_a_stream_is_empty() {
        let stream = || -> Arc<str> { "orders".into() };
        let shardless = Checkpoint {
            listed: [(stream(), Timestamp::from_millis(1))].into(),
            subtasks: Subtasks::one(1, 2),
            ..Checkpoint::default()
        };
        assert!(!shardless.is_empty() && shardless.knows_stream("orders"));
        assert!(!shardless.knows_stream("returns") && Checkpoint::default().is_empty());
        for (one, other) in [
            (shardless.clone(), Checkpoint::default()),
            (Checkpoint::default(), shardless.clone()),
        ] {
            assert_eq!(one.merge(other), shardless);
        }
        let whole = shardless.clone().merge(Checkpoint {
            subtasks: Subtasks::one(0, 2),
            ..shardless
        });
        assert!(whole.subtasks.is_complete());
    }

    #[test]
    fn of_two_instants_from_which_a_stream_is_read_the_earlier_one_counts() {
        let since = |start: Option<i64>, listed: Option<i64>| {
            let of = |time: Option<i64>| {
                let time = time.map(|time| ("orders".into(), Timestamp::from_millis(time)));
                time.into_iter().collect()
            };
            Checkpoint {
                listed: of(listed),
                starts: of(start),
                ..Checkpoint::default()
            }
        };
        for (one, other, both) in [
            ((Some(3), Some(9)), (Some(5), Some(9)), Some(3)),
            ((Some(3), Some(9)), (None, Some(9)), None),
            ((Some(3), Some(9)), (None, None), Some(3)),
            ((None, Some(9)), (None, None), None),
        ] {
            let [one, other] = [one, other].map(|(start, listed)| since(start, listed));
            let both = both.map(Timestamp::from_millis);
            let start = |merged: Checkpoint| merged.starts.get("orders").copied();
            assert_eq!(start(one.clone().merge(other.clone())), both);
            assert_eq!(start(other.merge(one)), both);
        }
    }

    #[test]
    fn two_consumers_are_as_far_together_as_the_one_that_is_behind() {
        let at = |shard: &str, watermark: Option<i64>| Checkpoint {
            shards: [(ShardRef::new("orders", shard), ShardPosition::ShardEnd)].into(),
            watermark: watermark.map(Timestamp::from_millis),
            ..Checkpoint::default()
        };
        for (one, other, both) in [
            (at("a", Some(3)), at("b", Some(5)), Some(3)),
            (at("a", Some(3)), at("b", None), None),
            (at("a", Some(3)), Checkpoint::default(), Some(3)),
        ] {
            let both = both.map(Timestamp::from_millis);
            assert_eq!(one.clone().merge(other.clone()).watermark, both);
            assert_eq!(other.merge(one).watermark, both);
        }
    }

    #[test]
    fn the_time_of_a_position_is_kept_beside_it() {
        let mut timed = checkpoint();
        let shard = ShardRef::new("orders", "shardId-3");
        timed.times.insert(shard.clone(), Timestamp::from_millis(7));
        timed
            .listed
            .insert("orders".into(), Timestamp::from_millis(8));
        let json = timed.to_json();
        assert!(json.contains(r#""complete_to_ms":7"#), "{json}");
        let streams = r#""streams":[{"stream":"orders","listed_ms":8}]"#;
        assert!(json.contains(streams), "{json}");
        let read = Checkpoint::from_json(&json).expect("a checkpoint");
        assert_eq!(read, timed);
        assert_eq!(read.complete_to(&shard), Some(Timestamp::from_millis(7)));
        assert_eq!(read.listed("orders"), Some(Timestamp::from_millis(8)));
        assert_eq!(read.listed("returns"), None);
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused_with_a_reason() {
        let shard = |fields: &str| {
            format!(r#"{{"version":1,"shards":[{{"stream":"s","shard_id":"x"{fields}}}]}}"#)
        };
        for (text, message) in [
            (
                r#"{"version":2,"shards":[]}"#.to_owned(),
                "checkpoint is malformed: its version is 2, and this version of the crate reads 1: go on \
                 with the one that wrote it, or a newer one",
            ),
            (
                shard(""),
                "checkpoint is malformed: shard x has no position or several",
            ),
            (
                shard(r#","shard_end":true,"sequence_number":"1""#),
                "checkpoint is malformed: shard x has no position or several",
            ),
            (
                shard(r#","start":"SOMEWHERE""#),
                "checkpoint is malformed: shard x has the unknown start \"SOMEWHERE\"",
            ),
            (
                shard(r#","sequence_number":"LATEST""#),
                "checkpoint is malformed: sequence number \"LATEST\" is not a decimal number of 1 to 129 digits",
            ),
        ] {
            assert_eq!(
                Checkpoint::from_json(&text)
                    .expect_err("refused")
                    .to_string(),
                message
            );
        }
        assert!(Checkpoint::from_json("").is_err());
    }

    #[test]
    fn of_two_positions_of_a_shard_the_one_that_covers_more_counts() {
        let at = |position: &ShardPosition| Checkpoint {
            shards: [(ShardRef::new("orders", "a"), position.clone())].into(),
            ..Checkpoint::default()
        };
        let after = |number: u32, sub_sequence_number| ShardPosition::After {
            sequence_number: number.to_string().parse().expect("a number"),
            sub_sequence_number,
        };
        let start = ShardPosition::Start;
        let time = |millis| start(StartPosition::AtTimestamp(Timestamp::from_millis(millis)));
        // Each counts more than all before it.
        let positions = [
            start(StartPosition::Latest),
            time(2),
            time(1),
            start(StartPosition::TrimHorizon),
            after(9, Some(7)),
            after(10, Some(0)),
            after(10, Some(1)),
            after(10, None),
            ShardPosition::ShardEnd,
        ];
        for (less, one) in positions.iter().enumerate() {
            for other in &positions[less..] {
                assert_eq!(at(one).merge(at(other)), at(other), "{one:?}, {other:?}");
                assert_eq!(at(other).merge(at(one)), at(other), "{other:?}, {one:?}");
            }
        }
        let all = checkpoint().merge(at(&ShardPosition::ShardEnd));
        assert_eq!(all.iter().count(), checkpoint().iter().count() + 1);
    }

    #[test]
    fn of_two_streams_of_a_name_the_new_one_counts_and_what_the_old_one_left_is_noted() {
        let shard = || ShardRef::new("orders", "a");
        let number = |number: u64| number.to_string().parse().expect("a number");
        let after = |n: u64| ShardPosition::After {
            sequence_number: number(n),
            sub_sequence_number: None,
        };
        let range = crate::model::HashKeyRange::FULL;
        let at = |starting: u64, position: &ShardPosition| {
            let starting = number(starting);
            Checkpoint {
                shards: [(shard(), position.clone())].into(),
                origins: [(shard(), Origin { range, starting })]
                    .into_iter()
                    .collect(),
                ..Checkpoint::default()
            }
        };
        let begin = ShardPosition::Start(StartPosition::TrimHorizon);
        let old = [
            (begin.clone(), None),
            (after(15), Some(number(15))),
            (ShardPosition::ShardEnd, None),
        ];
        for position in [begin, after(25)] {
            let new = at(20, &position);
            for (old, after) in old.clone() {
                let old = at(10, &old);
                let both = Checkpoint {
                    replaced: [(shard(), Replaced { after, range })].into(),
                    ..new.clone()
                };
                assert_eq!(old.clone().merge(new.clone()), both);
                assert_eq!(new.clone().merge(old.clone()), both);
                let read = Checkpoint::from_json(&both.to_json()).expect("a checkpoint");
                assert_eq!(read, both);
                // It stays, also beside one that does not know of it.
                assert_eq!(both.clone().merge(new.clone()), both);
                assert_eq!(new.clone().merge(both.clone()), both);
            }
        }
        // Of two that were read of the old one, what the first left is all that is lost.
        let three = [at(10, &after(15)), at(20, &after(25)), at(10, &after(12))];
        let three = three.into_iter().reduce(Checkpoint::merge).expect("three");
        assert_eq!(three.replaced[&shard()].after, Some(number(12)));
        assert_eq!(three.position(&shard()), Some(&after(25)));
    }

    #[test]
    fn two_know_only_the_shards_that_both_could_have_listed() {
        let listed = |times: &[(&str, i64)]| Checkpoint {
            listed: times
                .iter()
                .map(|(stream, time)| ((*stream).into(), Timestamp::from_millis(*time)))
                .collect(),
            ..Checkpoint::default()
        };
        let one = listed(&[("orders", 7), ("returns", 7)]);
        let other = listed(&[("orders", 5), ("returns", 9), ("visits", 1)]);
        let both = listed(&[("orders", 5), ("returns", 7), ("visits", 1)]);
        assert_eq!(one.merge(other), both);
    }

    #[test]
    fn the_first_record_of_a_shard_comes_back_and_the_earlier_of_two_counts() {
        let shard = || ShardRef::new("orders", "a");
        let first = |number: &str| {
            let mut checkpoint = Checkpoint::default();
            checkpoint.insert(shard(), ShardPosition::ShardEnd, None);
            let number = number.parse().expect("a number");
            checkpoint.firsts.insert(shard(), number);
            checkpoint
        };
        let read = Checkpoint::from_json(&first("7").to_json()).expect("a checkpoint");
        assert_eq!(read, first("7"));
        assert_eq!(first("7").merge(first("10")), first("7"));
        assert_eq!(first("10").merge(first("7")), first("7"));
        let broken = first("7").to_json().replace(r#""7""#, r#""x""#);
        Checkpoint::from_json(&broken).expect_err("broken");
    }

    #[test]
    fn of_two_newest_shards_the_older_one_was_seen_by_both() {
        let newest = |shard: &str| Checkpoint {
            newest: [("orders".into(), shard.into())].into(),
            ..Checkpoint::default()
        };
        let [seven, ten] = ["shardId-7", "shardId-10"].map(newest);
        assert_eq!(seven.clone().merge(ten.clone()), seven);
        assert_eq!(ten.merge(seven.clone()), seven);
    }

    #[test]
    fn what_was_noted_of_a_shard_without_a_position_does_not_outlive_one() {
        let shard = || ShardRef::new("orders", "a");
        let range = crate::model::HashKeyRange::FULL;
        let of_stream = |starting: &str| Checkpoint {
            origins: [(
                shard(),
                Origin {
                    range,
                    starting: starting.parse().expect("a number"),
                },
            )]
            .into_iter()
            .collect(),
            ..Checkpoint::default()
        };
        let mut read = of_stream("10");
        read.shards.insert(shard(), ShardPosition::ShardEnd);
        for noted in [of_stream("20"), of_stream("10")] {
            let both = noted.merge(read.clone());
            assert_eq!(both.position(&shard()), Some(&ShardPosition::ShardEnd));
            assert!(both.replaced.is_empty(), "nothing was read of the other");
        }
    }

    #[test]
    fn a_time_goes_with_the_position_it_belongs_to() {
        let shard = || ShardRef::new("orders", "a");
        let at = |number: u32, time: Option<i64>| Checkpoint {
            watermark: None,
            watermarks: time
                .map(|time| (shard(), Timestamp::from_millis(time + 1)))
                .into_iter()
                .collect(),
            shards: [(
                shard(),
                ShardPosition::After {
                    sequence_number: number.to_string().parse().expect("a number"),
                    sub_sequence_number: None,
                },
            )]
            .into(),
            times: time
                .map(|time| (shard(), Timestamp::from_millis(time)))
                .into_iter()
                .collect(),
            ..Checkpoint::default()
        };
        for (one, other, both) in [
            (at(1, Some(9)), at(2, None), at(2, None)),
            (at(1, None), at(2, Some(5)), at(2, Some(5))),
            (at(1, Some(9)), at(2, Some(5)), at(2, Some(5))),
            (at(1, Some(9)), at(1, Some(5)), at(1, Some(9))),
            (at(1, None), at(1, Some(5)), at(1, Some(5))),
        ] {
            assert_eq!(one.clone().merge(other.clone()), both);
            assert_eq!(other.merge(one), both);
        }
    }
}
