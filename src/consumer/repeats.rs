//! Which records a consumer leaves out because another copy of them is, or will be, handed out.
//!
//! A copy may be left out if the other one is certain to be handed out by the same checkpoint's
//! readers, in this run or a later one. "Handed out already" is not needed, and would not do: the two
//! copies lie in different shards, whose readers know nothing of each other's progress. What is certain
//! follows from where the reading of a shard *began*: every record from there on is handed out, or
//! reported as a [gap](crate::Gap). So [`Repeats`] knows for each shard the first Kinesis record read,
//! and a checkpoint keeps it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::aggregation::{EarlierCopy, Misplaced};
use crate::client::RawRecord;
use crate::config::ConsumerConfig;
use crate::consumer::checkpoint::{Checkpoint, age};
use crate::consumer::contents::{Content, Contents};
use crate::consumer::listing::Listed;
use crate::consumer::missing::LAG_MAX;
use crate::consumer::shelf::Bell;
use crate::model::{
    SequenceNumber, ShardPosition, ShardRef, StartPosition, Timestamp, stream_name,
};
use crate::sys::clock::Clock;
use crate::sys::lock::lock;
use crate::sys::stop::Stop;

/// What the shard readers of a consumer, or of a group, know together. Cheap to clone; empty where the
/// policy leaves no repeats out.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats(Option<Arc<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    shards: Mutex<Shards>,
    /// If contents are compared.
    contents: Option<Mutex<Contents>>,
}

/// What is known of shards. Pure.
#[derive(Debug, Default)]
struct Shards {
    begun: HashMap<ShardRef, Begun>,
    /// What the checkpoint that reading goes on from says of shards, for those not listed since.
    restored: HashMap<ShardRef, SequenceNumber>,
    /// As of when all shards of a stream are known.
    listed: HashMap<Arc<str>, Timestamp>,
    /// Shards that the last listings lack, and since when.
    absent: HashMap<ShardRef, Timestamp>,
    /// Readers that wait for a listing, by stream.
    waiting: HashMap<Arc<str>, usize>,
    /// Tells discovery that one waits.
    bell: Option<Bell>,
}

/// A record with a mark, as far as its repeat is concerned.
#[derive(Clone, Copy)]
pub(super) struct Repeat<'a> {
    pub earlier: &'a EarlierCopy,
    /// The stream it came in, as the consumer was told it.
    pub stream: &'a Arc<str>,
    pub arrived: Timestamp,
    /// It is not later than this.
    pub now: Timestamp,
}

/// Whether an earlier copy is handed out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Yes,
    No,
    /// Not before the shard is listed.
    Unlisted,
    /// Not before a record of the shard is read.
    Unread,
}

/// From where on all records of a shard are handed out.
#[derive(Clone, Debug, PartialEq)]
enum Begun {
    /// From nowhere on: another process reads it, or nobody knows.
    Nowhere,
    /// From the oldest that the stream keeps, which has not been read yet.
    TrimHorizon,
    /// From an instant, but no record has been read yet; with the parents of the shard.
    Instant(Vec<ShardRef>),
    /// From this one on, which was read.
    From(SequenceNumber),
    /// From the one behind this: of a position alone nobody knows what was handed out before it.
    Behind(SequenceNumber),
}

impl Repeats {
    pub fn of(config: &ConsumerConfig) -> Repeats {
        let contents = match config.misplaced {
            Misplaced::DeduplicateByMark => None,
            Misplaced::DeduplicateByContent => {
                Some(Mutex::new(Contents::new(config.misplaced_window)))
            }
            // What these leave out is not handed out, wherever the reading began.
            _ => return Repeats::default(),
        };
        Repeats(Some(Arc::new(Shared {
            shards: Mutex::default(),
            contents,
        })))
    }

    /// Takes over what a checkpoint says: the next one has to say it too, also of shards that no listing
    /// has shown by then.
    pub fn restore(&self, restored: &Checkpoint) {
        if let Some(mut shards) = self.shards() {
            let firsts = restored.firsts.iter();
            let firsts = firsts.map(|(shard, first)| (shard.clone(), first.clone()));
            shards.restored.extend(firsts);
        }
    }

    /// Takes note of a shard that will be read from a position; `first` is what a checkpoint says was
    /// the first record read of it.
    pub fn known(
        &self,
        shard: &ShardRef,
        position: &ShardPosition,
        first: Option<&SequenceNumber>,
        parents: impl Iterator<Item = ShardRef>,
    ) {
        let Some(mut shards) = self.shards() else {
            return;
        };
        let known = match (position, first) {
            (ShardPosition::Start(StartPosition::TrimHorizon), _) => Begun::TrimHorizon,
            (ShardPosition::Start(_), _) => Begun::Instant(parents.collect()),
            (_, Some(first)) => Begun::From(first.clone()),
            (
                ShardPosition::After {
                    sequence_number, ..
                },
                None,
            ) => Begun::Behind(sequence_number.clone()),
            (ShardPosition::ShardEnd, None) => Begun::Nowhere,
        };
        shards.begun.insert(shard.clone(), known);
    }

    /// Takes note that nothing of a shard is certain to be handed out: another process reads it, or
    /// records are missing.
    pub fn unknown(&self, shard: &ShardRef) {
        if let Some(mut shards) = self.shards() {
            shards.begun.insert(shard.clone(), Begun::Nowhere);
        }
    }

    /// Takes note of a complete listing: all shards of the stream are known as of then. Those that are
    /// older than what it shows are gone, if it is not the listing that is late. `None` if it shows what
    /// the one before did.
    pub fn listed(&self, stream: &Arc<str>, at: Timestamp, listing: Option<&Arc<Listed>>) {
        let Some(mut shards) = self.shards() else {
            return;
        };
        shards.listed.insert(stream.clone(), at);
        if let Some(listing) = listing {
            shards.look_for(stream, at, listing);
        }
        shards.forget_gone(stream, at);
    }

    /// Takes note of the first records read behind a position, and says whether there were any.
    pub fn begin(&self, shard: &ShardRef, position: &ShardPosition, records: &[RawRecord]) -> bool {
        let Some(mut shards) = self.shards() else {
            return true;
        };
        if let Some(Begun::From(_)) = shards.begun.get(shard) {
            return true;
        }
        // A position inside an aggregate reads it again, and hands out a part of it only.
        let is_new = |raw: &&RawRecord| match position {
            ShardPosition::After {
                sequence_number, ..
            } => raw.sequence_number != *sequence_number,
            _ => true,
        };
        let first = records.iter().find(is_new);
        let first = first.map(|first| Begun::From(first.sequence_number.clone()));
        let is_begun = first.is_some();
        shards
            .begun
            .extend(first.map(|first| (shard.clone(), first)));
        is_begun
    }

    /// Completes a checkpoint with the first Kinesis record read of each shard. Of a shard of which
    /// nothing was handed out, the position says where it begins.
    pub fn complete(&self, checkpoint: &mut Checkpoint) {
        let begun = checkpoint.iter();
        let begun = begun.filter(|(_, position)| !matches!(position, ShardPosition::Start(_)));
        let first = |(shard, _): (&ShardRef, _)| Some((shard.clone(), self.first_of(shard)?));
        let firsts = begun.filter_map(first).collect();
        checkpoint.firsts = firsts;
    }

    /// The first Kinesis record read of a shard: from it on, all are handed out.
    fn first_of(&self, shard: &ShardRef) -> Option<SequenceNumber> {
        let shards = self.shards()?;
        match shards.begun.get(shard) {
            Some(Begun::From(first)) => Some(first.clone()),
            Some(_) => None,
            None => shards.restored.get(shard).cloned(),
        }
    }

    /// Says whether the earlier copy of a record is certain to be handed out.
    pub fn hands_out(&self, repeat: Repeat<'_>) -> bool {
        self.answer(repeat) == Answer::Yes
    }

    fn answer(&self, repeat: Repeat<'_>) -> Answer {
        let shards = self.shards();
        shards.map_or(Answer::No, |shards| shards.answer(repeat))
    }

    /// Waits until it can be said whether the earlier copy of a record is handed out, but not for ever:
    /// returns whether it can be said now. A reshard may be so young that no listing has shown its
    /// shards yet.
    pub fn wait_for(&self, repeat: Repeat<'_>, patience: &Patience) -> bool {
        let began = patience.clock.now();
        let _waits = match self.answer(repeat) {
            Answer::Unlisted => self.ask_for_listing(repeat.stream),
            _ => None,
        };
        loop {
            let max = match self.answer(repeat) {
                Answer::Yes | Answer::No => return true,
                Answer::Unlisted => patience.listing_max,
                Answer::Unread => READ_WAIT_MAX,
            };
            let now = patience.clock.now();
            let is_over = now.saturating_duration_since(began) >= max;
            if is_over
                || !patience
                    .clock
                    .wait_until(now + LOOK_INTERVAL, &patience.stop)
            {
                return false;
            }
        }
    }

    /// Sets what tells discovery that somebody waits for a listing.
    pub fn set_bell(&self, bell: Bell) {
        if let Some(mut shards) = self.shards() {
            shards.bell = Some(bell);
        }
    }

    /// Says whether a reader waits for a listing of a stream.
    pub fn wants_listing(&self, stream: &Arc<str>) -> bool {
        let shards = self.shards();
        shards.is_some_and(|shards| shards.waiting.contains_key(stream))
    }

    fn ask_for_listing(&self, stream: &Arc<str>) -> Option<Waits<'_>> {
        let mut shards = self.shards()?;
        *shards.waiting.entry(stream.clone()).or_default() += 1;
        shards.bell.iter().for_each(Bell::ring);
        let stream = stream.clone();
        Some(Waits {
            repeats: self,
            stream,
        })
    }

    /// Says whether contents are compared.
    pub fn compares_contents(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.contents.is_some())
    }

    /// Says of each record whether one with the same content came before it, within the window.
    pub fn seen<'a>(&self, records: impl Iterator<Item = Content<'a>>) -> Vec<bool> {
        let Some(contents) = self.0.as_ref().and_then(|shared| shared.contents.as_ref()) else {
            return Vec::new();
        };
        // Hashing is the work; the lock is for the look.
        let hashers = lock(contents).hashers();
        let digests: Vec<_> = records.map(|content| hashers.digest(&content)).collect();
        let mut contents = lock(contents);
        digests.iter().map(|one| contents.was_seen(one)).collect()
    }

    fn shards(&self) -> Option<MutexGuard<'_, Shards>> {
        self.0.as_ref().map(|shared| lock(&shared.shards))
    }
}

/// How a shard's reader waits.
#[derive(Clone)]
pub(super) struct Patience {
    pub clock: Arc<dyn Clock>,
    pub stop: Stop,
    pub listing_max: Duration,
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience")
            .field("listing_max", &self.listing_max)
            .finish_non_exhaustive()
    }
}

/// A reader that waits for a listing.
struct Waits<'a> {
    repeats: &'a Repeats,
    stream: Arc<str>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Some(mut shards) = self.repeats.shards() else {
            return;
        };
        if let Some(count) = shards.waiting.get_mut(&self.stream) {
            *count -= 1;
            if *count == 0 {
                shards.waiting.remove(&self.stream);
            }
        }
    }
}

impl Shards {
    fn look_for(&mut self, stream: &Arc<str>, at: Timestamp, listing: &Listed) {
        let newest = listing.keys().map(age).max();
        for shard in self.begun.keys().filter(|shard| shard.stream == *stream) {
            let id = &shard.shard_id;
            if listing.contains_key(id) || Some(age(id)) > newest {
                self.absent.remove(shard);
            } else if !self.absent.contains_key(shard) {
                self.absent.insert(shard.clone(), at);
            }
        }
    }

    /// One listing may lack a shard that is there. Forgotten too early, its next checkpoint would not
    /// say from where on its records are handed out, and repeats of them would come.
    fn forget_gone(&mut self, stream: &Arc<str>, at: Timestamp) {
        let begun = &mut self.begun;
        self.absent.retain(|shard, since| {
            let is_gone = shard.stream == *stream && at.saturating_since(*since) > LAG_MAX;
            if is_gone {
                begun.remove(shard);
            }
            !is_gone
        });
    }

    fn answer(&self, repeat: Repeat<'_>) -> Answer {
        let Repeat {
            earlier,
            stream,
            arrived,
            now,
        } = repeat;
        if earlier.shard.stream_name() != stream_name(stream) {
            return Answer::No;
        }
        let shard = ShardRef::new(stream.clone(), earlier.shard.shard_id.clone());
        // Nothing that young is trimmed before the shard is read for the first time.
        let is_young = now.saturating_since(arrived) < TRIM_AGE_MIN;
        match self.begun.get(&shard) {
            Some(Begun::From(first)) => Answer::of(*first <= earlier.sequence_number),
            Some(Begun::Behind(last)) => Answer::of(*last < earlier.sequence_number),
            Some(Begun::TrimHorizon) => Answer::of(is_young),
            Some(Begun::Instant(parents)) => match self.follows_read(parents, GENERATIONS) {
                true => Answer::of(is_young),
                false => Answer::Unread,
            },
            Some(Begun::Nowhere) => Answer::No,
            None => {
                // The shard was there when the record arrived, and would be listed by then.
                let by = arrived.saturating_add(LAG_MAX);
                let is_gone = self.listed.get(stream).is_some_and(|listed| *listed > by);
                if is_gone {
                    Answer::No
                } else {
                    Answer::Unlisted
                }
            }
        }
    }

    /// Says whether a record of a parent has been read: then all of the shard came after the instant
    /// from which they are both read, as a shard takes no record before its parents are closed.
    fn follows_read(&self, parents: &[ShardRef], generations: usize) -> bool {
        parents.iter().any(|parent| match self.begun.get(parent) {
            Some(Begun::Instant(parents)) => {
                generations > 0 && self.follows_read(parents, generations - 1)
            }
            Some(Begun::Nowhere) | None => false,
            Some(_) => true,
        })
    }
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// Half of the shortest retention, a day: what is younger is there when its shard is read from its
/// beginning. Its earlier copy came within the time to live of a record before it.
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
const TRIM_AGE_MIN: Duration = Duration::from_secs(12 * 3_600);

/// How long a reader waits for the first record of another shard. Where none comes, its records cannot
/// be told from those before the consumer's start.
const READ_WAIT_MAX: Duration = Duration::from_secs(2);

/// How often a waiting reader looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How far back parents are looked at.
const GENERATIONS: usize = 8;

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::consumer::checkpoint::Origin;
    use crate::fake::VirtualClock;
    use crate::model::HashKeyRange;

    const STREAM: &str = "orders";
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn shard(name: &str) -> ShardRef {
        ShardRef::new(STREAM, name)
    }

    fn number(number: u64) -> SequenceNumber {
        number.to_string().parse().expect("a number")
    }

    fn after(at: u64) -> ShardPosition {
        ShardPosition::After {
            sequence_number: number(at),
            sub_sequence_number: Some(1),
        }
    }

    fn raw(at: u64) -> RawRecord {
        RawRecord {
            data: Default::default(),
            partition_key: "key".into(),
            sequence_number: number(at),
            approximate_arrival: NOW,
        }
    }

    fn repeats(policy: Misplaced) -> Repeats {
        let config = ConsumerConfig::builder().misplaced(policy);
        Repeats::of(&config.build().expect("valid"))
    }

    fn copy(at: u64) -> EarlierCopy {
        EarlierCopy {
            shard: shard("a"),
            sequence_number: number(at),
        }
    }

    fn repeat<'a>(earlier: &'a EarlierCopy, stream: &'a Arc<str>) -> Repeat<'a> {
        Repeat {
            earlier,
            stream,
            arrived: NOW,
            now: NOW,
        }
    }

    /// Which of the copies 1 to 9 in shard `a` are certain to be handed out.
    fn handed_out(repeats: &Repeats) -> Vec<u64> {
        let is_handed_out = |at: &u64| repeats.hands_out(repeat(&copy(*at), &STREAM.into()));
        (1..=9).filter(is_handed_out).collect()
    }

    const TRIM_HORIZON: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    #[test]
    fn what_is_handed_out_follows_from_where_the_reading_of_a_shard_began() {
        let all = (1..=9).collect::<Vec<_>>();
        let latest = ShardPosition::Start(StartPosition::Latest);
        for (position, first, before, behind_6_and_7) in [
            // Nobody reads it here, or nobody knows yet where it begins.
            (None, None, vec![], vec![6, 7, 8, 9]),
            (Some(latest), None, vec![], vec![6, 7, 8, 9]),
            (Some(TRIM_HORIZON), None, all, vec![6, 7, 8, 9]),
            (
                Some(after(6)),
                Some(3),
                (3..=9).collect(),
                (3..=9).collect(),
            ),
            // Record 6 was handed out in part, nobody knows by whom.
            (Some(after(6)), None, vec![7, 8, 9], vec![7, 8, 9]),
            (
                Some(ShardPosition::ShardEnd),
                Some(3),
                (3..=9).collect(),
                (3..=9).collect(),
            ),
            (
                Some(ShardPosition::ShardEnd),
                None,
                vec![],
                vec![6, 7, 8, 9],
            ),
        ] {
            let repeats = repeats(Misplaced::DeduplicateByMark);
            if let Some(position) = &position {
                let first = first.map(number);
                repeats.known(&shard("a"), position, first.as_ref(), iter::empty());
            }
            assert_eq!(handed_out(&repeats), before, "{position:?}");
            let position = position.unwrap_or(TRIM_HORIZON);
            repeats.begin(&shard("a"), &position, &[raw(6), raw(7)]);
            assert_eq!(handed_out(&repeats), behind_6_and_7, "{position:?}");
            let first = repeats.first_of(&shard("a")).expect("begun");
            assert_eq!(number(behind_6_and_7[0]), first, "{position:?}");
            // Later records say nothing new, until records are missing.
            repeats.begin(&shard("a"), &position, &[raw(8)]);
            assert_eq!(handed_out(&repeats), behind_6_and_7, "{position:?}");
            repeats.unknown(&shard("a"));
            assert!(handed_out(&repeats).is_empty());
        }
    }

    #[test]
    fn a_shard_that_is_still_to_be_read_may_lack_what_is_old_by_then() {
        let repeats = repeats(Misplaced::DeduplicateByMark);
        repeats.known(&shard("a"), &TRIM_HORIZON, None, iter::empty());
        let copy = copy(1);
        for (hours, handed_out) in [(11, true), (13, false)] {
            let arrived = NOW.saturating_sub(Duration::from_secs(hours * 3_600));
            let said = repeats.hands_out(Repeat {
                arrived,
                ..repeat(&copy, &STREAM.into())
            });
            assert_eq!(said, handed_out, "{hours}");
        }
    }

    #[test]
    fn a_shard_read_from_an_instant_is_whole_once_a_record_of_a_parent_was_read() {
        let instant = ShardPosition::Start(StartPosition::AtTimestamp(NOW));
        let repeats = repeats(Misplaced::DeduplicateByMark);
        for (child, parent) in [("a", "b"), ("b", "c"), ("c", "gone")] {
            let parents = [shard(parent)].into_iter();
            repeats.known(&shard(child), &instant, None, parents);
        }
        assert!(handed_out(&repeats).is_empty());
        repeats.begin(&shard("c"), &instant, &[raw(1)]);
        assert_eq!(handed_out(&repeats), (1..=9).collect::<Vec<_>>());
        repeats.begin(&shard("a"), &instant, &[raw(5)]);
        assert_eq!(handed_out(&repeats), (5..=9).collect::<Vec<_>>());
    }

    #[test]
    fn a_copy_in_another_stream_is_none_and_one_stream_may_have_two_names() {
        let arn: Arc<str> = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into();
        let repeats = repeats(Misplaced::DeduplicateByMark);
        let a = ShardRef::new(arn.clone(), "a");
        repeats.known(&a, &TRIM_HORIZON, None, iter::empty());
        for (stream, handed_out) in [("orders", true), ("returns", false)] {
            let copy = EarlierCopy {
                shard: ShardRef::new(stream, "a"),
                sequence_number: number(1),
            };
            assert_eq!(repeats.hands_out(repeat(&copy, &arn)), handed_out);
        }
    }

    #[test]
    fn where_the_policy_leaves_records_out_nothing_is_certain() {
        for policy in [
            Misplaced::CompatKcl,
            Misplaced::Deliver,
            Misplaced::DropAndCount,
            Misplaced::Fail,
        ] {
            let repeats = repeats(policy);
            repeats.known(&shard("a"), &TRIM_HORIZON, None, iter::empty());
            repeats.begin(&shard("a"), &TRIM_HORIZON, &[raw(1)]);
            assert!(handed_out(&repeats).is_empty(), "{policy:?}");
            assert_eq!(repeats.first_of(&shard("a")), None, "{policy:?}");
        }
    }

    #[test]
    fn a_shard_that_no_listing_has_shown_is_waited_for_while_it_may_be_late() {
        let repeats = repeats(Misplaced::DeduplicateByMark);
        let (stream, copy) = (Arc::from(STREAM), copy(1));
        let said = || repeats.answer(repeat(&copy, &stream));
        let second = |second| NOW.saturating_add(Duration::from_secs(second));
        repeats.listed(&stream, second(0), Some(&Arc::default()));
        assert_eq!(said(), Answer::Unlisted);
        repeats.listed(&stream, second(60), None);
        assert_eq!(said(), Answer::Unlisted);
        repeats.listed(&stream, second(61), None);
        assert_eq!(said(), Answer::No, "gone");
        repeats.known(&shard("a"), &TRIM_HORIZON, None, iter::empty());
        assert_eq!(said(), Answer::Yes);
        repeats.unknown(&shard("a"));
        assert_eq!(said(), Answer::No, "another process reads it");
    }

    #[test]
    fn a_restored_shard_is_in_the_next_checkpoint_also_before_it_is_listed() {
        let repeats = repeats(Misplaced::DeduplicateByMark);
        let (seen, hidden, moved) = (shard("a"), shard("b"), shard("c"));
        let all = || [&seen, &hidden, &moved].into_iter().cloned();
        let restored = Checkpoint {
            shards: all().map(|shard| (shard, after(7))).collect(),
            firsts: all().map(|shard| (shard, number(5))).collect(),
            ..Checkpoint::default()
        };
        repeats.restore(&restored);
        repeats.known(&seen, &after(7), Some(&number(5)), iter::empty());
        repeats.unknown(&moved);
        let mut checkpoint = Checkpoint {
            firsts: Default::default(),
            ..restored
        };
        repeats.complete(&mut checkpoint);
        let firsts = [(hidden, number(5)), (seen, number(5))];
        assert_eq!(checkpoint.firsts, firsts.into());
    }

    #[test]
    fn a_shard_is_forgotten_once_listings_have_lacked_it_for_a_minute() {
        let repeats = repeats(Misplaced::DeduplicateByMark);
        let at = shard("shardId-000000000001");
        repeats.known(&at, &after(7), Some(&number(5)), iter::empty());
        let origin = Origin {
            range: HashKeyRange::FULL,
            starting: number(1),
        };
        let listing = |ids: &[&str]| {
            let shards = ids.iter().map(|id| ((*id).into(), origin.clone()));
            Arc::new(shards.collect::<Listed>())
        };
        let (both, without) = (
            listing(&["shardId-000000000001", "shardId-000000000002"]),
            listing(&["shardId-000000000002"]),
        );
        let second = |second| NOW.saturating_add(Duration::from_secs(second));
        for (seconds, shown, is_known) in [
            (0, Some(&without), true),
            (59, None, true),
            // It was there all the time.
            (60, Some(&both), true),
            (61, Some(&without), true),
            (121, None, true),
            (122, None, false),
        ] {
            repeats.listed(&at.stream, second(seconds), shown);
            assert_eq!(repeats.first_of(&at).is_some(), is_known, "{seconds} s");
        }
    }

    #[test]
    fn who_waits_for_a_listing_asks_for_one_and_not_for_ever() {
        let repeats = repeats(Misplaced::DeduplicateByMark);
        let (stream, copy) = (Arc::from(STREAM), copy(1));
        repeats.listed(&stream, NOW, Some(&Arc::default()));
        let (bell, heard) = Bell::new();
        repeats.set_bell(bell);
        let clock = VirtualClock::starting_at(NOW);
        clock.auto_advance(1);
        let patience = Patience {
            clock: Arc::new(clock.clone()),
            stop: Stop::never(),
            listing_max: Duration::from_secs(20),
        };
        assert!(!repeats.wait_for(repeat(&copy, &stream), &patience));
        assert_eq!(clock.time().saturating_since(NOW), Duration::from_secs(20));
        assert!(heard.try_recv().is_ok());
        assert!(!repeats.wants_listing(&stream), "nobody waits any more");
        repeats.known(&shard("a"), &TRIM_HORIZON, None, iter::empty());
        assert!(repeats.wait_for(repeat(&copy, &stream), &patience));
    }
}
