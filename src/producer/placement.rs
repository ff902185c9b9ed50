//! Whether a stored record will reach its readers, and what to do with one that will not.
//!
//! Readers by the KCL's rule leave out a whole aggregate as soon as one of its user records lies
//! outside the shard that it was read from. So an aggregate is judged as a whole: it is in its place
//! if the shard owns all of its user records. If not, all of them are put again, and the copy that is
//! already stored is one that no such reader hands on. A record that went alone is never left out.
//!
//! Other readers hand out both copies. So each record that is put again is marked with where its first
//! copy is ([`EarlierCopy`](crate::aggregation::EarlierCopy)), and this crate's consumer leaves out the
//! second if the first is among what it reads.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::aggregation::{Aggregate, SubRecord, tags};
use crate::model::{HashKey, ShardId, ShardMap};
use crate::producer::aggregator::{OUTER_KEY, Rules};
use crate::producer::delivery::Stored;
use crate::producer::kinesis_record::{Content, KinesisRecord, Run};
use crate::producer::turnstile::Lane;

/// What the shard that took a record says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Readers will find all of it there.
    InPlace,
    /// Readers will leave it out: all of its user records have to go again.
    Misplaced,
    /// The map does not know the shard: ask for a newer one.
    Unknown,
}

impl Placement {
    pub fn of(record: &KinesisRecord, shard: &ShardId, map: Option<&ShardMap>) -> Placement {
        if !record.is_aggregate() || record.predicted.as_ref() == Some(shard) {
            return Placement::InPlace;
        }
        let Some(range) = map.and_then(|map| map.range_of(shard)) else {
            return Placement::Unknown;
        };
        let mut keys = record
            .user_records()
            .into_iter()
            .map(|record| record.hash_key());
        match keys.all(|key| range.contains(key)) {
            true => Placement::InPlace,
            false => Placement::Misplaced,
        }
    }
}

/// Says whether an aggregate was made for a shard that takes no more records.
pub(super) fn is_outdated(record: &KinesisRecord, map: Option<&ShardMap>) -> bool {
    match (map, &record.predicted) {
        (Some(map), Some(shard)) => record.is_aggregate() && !map.is_open(shard),
        _ => false,
    }
}

/// Groups the user records of Kinesis records of one stream anew, by a newer map.
///
/// Records with different ends of life do not share an aggregate: it would have to end with the first.
pub(super) fn regroup(
    now: Instant,
    records: Vec<KinesisRecord>,
    map: Option<&ShardMap>,
    rules: &Rules,
) -> Vec<KinesisRecord> {
    let mut regrouper = Regrouper {
        now,
        rules,
        open: Vec::new(),
        done: Vec::new(),
    };
    for record in &records {
        regrouper.take(record, map);
    }
    regrouper.finish()
}

struct Regrouper<'a> {
    now: Instant,
    rules: &'a Rules,
    open: Vec<Open>,
    done: Vec<KinesisRecord>,
}

/// An aggregate in the making, out of user records of other ones.
struct Open {
    shard: Option<ShardId>,
    aggregate: Aggregate,
    first: SubRecord,
    aggregates: bool,
    max_bytes: usize,
    runs: Vec<Run>,
    /// The first of the Kinesis records that the user records come from.
    stream: Arc<str>,
    lane: Option<Lane>,
    deadline: Instant,
    expires: Option<Instant>,
    stored: Stored,
}

/// A user record on its way from one Kinesis record to another.
struct Mover<'a> {
    record: SubRecord,
    run: Run,
    from: &'a KinesisRecord,
}

impl Regrouper<'_> {
    fn take(&mut self, from: &KinesisRecord, map: Option<&ShardMap>) {
        let mut records = from.user_records().into_iter();
        for run in &from.runs {
            let history = run.attempts(&from.attempts);
            for index in run.range.clone() {
                let Some(record) = records.next() else { return };
                let run = Run {
                    range: index..index + 1,
                    bytes: record.partition_key.len() + record.data.len(),
                    data_bytes: record.data.len(),
                    history: history.clone(),
                    ..run.clone()
                };
                self.place(Mover { record, run, from }, map);
            }
        }
    }

    fn place(&mut self, mover: Mover<'_>, map: Option<&ShardMap>) {
        let key = mover.record.hash_key();
        let shard = map.and_then(|map| map.shard_of(key)).cloned();
        // A record whose shard is not known goes alone, where no reader leaves it out. So does every
        // record of a stream that gets no aggregates, whoever asks for the new grouping.
        let shard = shard.filter(|_| !mover.from.has_no_key());
        if shard.is_none() || !self.rules.aggregation {
            let alone = Open::new(shard, mover, self.rules);
            return self.done.push(alone.finish(self.now));
        }
        let place = self.open.iter().position(|open| open.shard == shard);
        let Some(place) = place else {
            return self.open.push(Open::new(shard, mover, self.rules));
        };
        if !self.open[place].join(&mover) {
            let next = Open::new(shard, mover, self.rules);
            let full = std::mem::replace(&mut self.open[place], next);
            self.done.push(full.finish(self.now));
        }
    }

    fn finish(mut self) -> Vec<KinesisRecord> {
        let rest = self.open.into_iter().map(|open| open.finish(self.now));
        self.done.extend(rest);
        self.done
    }
}

impl Open {
    fn new(shard: Option<ShardId>, mover: Mover<'_>, rules: &Rules) -> Open {
        let mut aggregate = Aggregate::new(rules.max_bytes, rules.max_count);
        push(&mut aggregate, &mover);
        Open {
            shard,
            aggregate,
            aggregates: rules.aggregation,
            max_bytes: rules.max_bytes,
            first: mover.record,
            runs: vec![mover.run],
            stream: mover.from.stream.clone(),
            lane: mover.from.lane.clone(),
            deadline: mover.from.deadline,
            expires: mover.from.expires,
            stored: mover.from.stored,
        }
    }

    /// Takes a record in that lives as long as the others: no record dies before its own time.
    fn join(&mut self, mover: &Mover<'_>) -> bool {
        if self.expires != mover.from.expires || !push(&mut self.aggregate, mover) {
            return false;
        }
        match self.runs.last_mut().filter(|run| follows(run, &mover.run)) {
            Some(last) => {
                last.range.end += 1;
                last.bytes += mover.run.bytes;
                last.data_bytes += mover.run.data_bytes;
            }
            None => self.runs.push(mover.run.clone()),
        }
        self.deadline = self.deadline.min(mover.from.deadline);
        if mover.from.stored == Stored::Possibly {
            self.stored = Stored::Possibly;
        }
        true
    }

    fn finish(mut self, now: Instant) -> KinesisRecord {
        let hash_key = self.first.hash_key();
        let (partition_key, data, content) = match self.aggregate.len() {
            1 if !self.is_marked() => bare(self.first),
            _ => (
                OUTER_KEY.into(),
                self.aggregate.finish(),
                Content::Aggregate,
            ),
        };
        KinesisRecord {
            stream: self.stream,
            data,
            unsealed: None,
            partition_key,
            hash_key,
            content,
            predicted: self.shard,
            lane: self.lane,
            runs: self.runs,
            deadline: self.deadline.min(now),
            expires: self.expires,
            since: now,
            attempts: Vec::new(),
            stored: self.stored,
        }
    }
}

impl Open {
    /// Says whether one record alone goes as an aggregate, as only that has room for its mark. A record
    /// that nearly fills a Kinesis record has no room beside it, and one that no known shard owns must
    /// not be left out by readers that follow the KCL: both go without the mark. So does every record of
    /// a stream that gets no aggregates, which would be misplaced again.
    fn is_marked(&self) -> bool {
        let has_copies = self.runs.iter().any(|run| !run.copies.is_empty());
        let has_room = self.aggregate.encoded_len() <= self.max_bytes;
        self.aggregates && has_copies && self.shard.is_some() && has_room
    }
}

fn bare(record: SubRecord) -> (Arc<str>, Bytes, Content) {
    let explicit_hash_key: Option<HashKey> = record.explicit_hash_key;
    let content = Content::Bare { explicit_hash_key };
    (record.partition_key, record.data, content)
}

fn push(aggregate: &mut Aggregate, mover: &Mover<'_>) -> bool {
    let record = &mover.record;
    aggregate.try_push_tagged(
        &record.partition_key,
        record.explicit_hash_key,
        &record.data,
        &tags(&mover.run.copies),
    )
}

/// Says whether one run goes on where the other ends.
fn follows(run: &Run, next: &Run) -> bool {
    Arc::ptr_eq(&run.group, &next.group)
        && Arc::ptr_eq(&run.history, &next.history)
        && Arc::ptr_eq(&run.copies, &next.copies)
        && run.range.end == next.range.start
}

/// The earlier of two instants, of which `None` is never.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregation::{AggregateRef, DecodeLimits, EarlierCopy};
    use crate::client::PutRecordOutput;
    use crate::config::ProducerConfig;
    use crate::producer::kinesis_record::tests::{aggregate, bare, map_of, texts};
    use crate::sys::Sys;

    fn now() -> Instant {
        Sys::real().clock.now()
    }

    #[test]
    fn an_aggregate_is_in_its_place_if_the_shard_owns_all_of_it() {
        let map = map_of(&[("parent", 0, 99), ("left", 0, 49), ("right", 50, 99)]);
        for (what, keys, predicted, shard, placement) in [
            (
                "as predicted",
                [10, 60],
                "parent",
                "parent",
                Placement::InPlace,
            ),
            (
                "all to the left",
                [10, 49],
                "parent",
                "left",
                Placement::InPlace,
            ),
            (
                "all to the right",
                [50, 99],
                "parent",
                "right",
                Placement::InPlace,
            ),
            (
                "last one outside",
                [49, 50],
                "parent",
                "left",
                Placement::Misplaced,
            ),
            (
                "first one outside",
                [49, 50],
                "parent",
                "right",
                Placement::Misplaced,
            ),
            ("merged", [10, 20], "left", "parent", Placement::InPlace),
            ("unheard of", [10, 20], "left", "new", Placement::Unknown),
        ] {
            let mut record = aggregate(now(), &keys);
            record.predicted = Some(predicted.into());
            let found = Placement::of(&record, &shard.into(), Some(&map));
            assert_eq!(found, placement, "{what}");
        }
        let alone = bare(now(), "k", b"data");
        let found = Placement::of(&alone, &"new".into(), None);
        assert_eq!(found, Placement::InPlace);
    }

    #[test]
    fn the_records_of_a_split_shard_go_to_its_children_and_keep_their_results() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        let mut record = aggregate(now(), &[10, 60, 70, 20, 30]);
        record.stored = Stored::Possibly;
        let rules = Rules::of(&ProducerConfig::default());
        let regrouped = regroup(now(), vec![record], Some(&map), &rules);
        let seen: Vec<_> = regrouped
            .iter()
            .map(|record| {
                let ranges: Vec<_> = record
                    .runs
                    .iter()
                    .map(|run| (run.range.start, run.range.end))
                    .collect();
                let shard = record.predicted.as_ref().map(ShardId::as_str);
                (shard, texts(record), ranges, record.hash_key.as_u128())
            })
            .collect();
        let text = |keys: &[u128]| keys.iter().map(u128::to_string).collect::<Vec<_>>();
        assert_eq!(
            seen,
            [
                (Some("left"), text(&[10, 20, 30]), vec![(0, 1), (3, 5)], 10),
                (Some("right"), text(&[60, 70]), vec![(1, 3)], 60)
            ]
        );
        assert!(
            regrouped
                .iter()
                .all(|record| record.stored == Stored::Possibly)
        );
    }

    #[test]
    fn a_record_that_is_left_alone_goes_as_it_is() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        let rules = Rules::of(&ProducerConfig::default());
        let record = aggregate(now(), &[10, 60, 20]);
        let regrouped = regroup(now(), vec![record], Some(&map), &rules);
        let alone = &regrouped[1];
        let explicit_hash_key = Some(60.into());
        assert_eq!(alone.content, Content::Bare { explicit_hash_key });
        assert_eq!((&alone.data[..], &*alone.partition_key), (&b"60"[..], "k"));
    }

    fn stored_in(shard: &str, number: u32, record: &mut KinesisRecord) {
        record.stored_at(&PutRecordOutput {
            shard_id: shard.into(),
            sequence_number: number.to_string().parse().expect("a number"),
        });
    }

    /// For each user record of an aggregate its data, and the shards and numbers of earlier copies.
    fn marks(record: &KinesisRecord) -> Vec<(String, Vec<String>)> {
        let read = AggregateRef::read(&record.data, &DecodeLimits::default());
        let read = read.expect("our own").expect("an aggregate");
        let mark = |copy: EarlierCopy| format!("{} {}", copy.shard, copy.sequence_number);
        read.iter_indexed()
            .map(|one| {
                let one = one.expect("our own");
                let data = String::from_utf8_lossy(one.record.data).into_owned();
                (data, one.earlier_copies().map(mark).collect())
            })
            .collect()
    }

    #[test]
    fn a_record_that_is_put_again_names_its_earlier_copies_and_no_other_does() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        let rules = Rules::of(&ProducerConfig::default());
        let start = now();
        let mut twice = aggregate(start, &[10, 60]);
        stored_in("child", 7, &mut twice);
        let once = aggregate(start, &[11, 61]);
        let regrouped = regroup(start, vec![twice, once], Some(&map), &rules);
        let named = |number| vec![format!("stream orders, shard child {number}")];
        let left = [("10".to_owned(), named(7)), ("11".to_owned(), vec![])];
        assert_eq!(marks(&regrouped[0]), left);

        // Its next copy names both; of many the newest three, so that the marks have an end.
        let mut again = regrouped.into_iter().next().expect("the left one");
        for number in 8..=10 {
            stored_in("child", number, &mut again);
        }
        let regrouped = regroup(start, vec![again], Some(&map), &rules);
        let newest = (8..=10).flat_map(named).collect::<Vec<_>>();
        let left = [("10".to_owned(), newest.clone()), ("11".to_owned(), newest)];
        assert_eq!(marks(&regrouped[0]), left);
    }

    #[test]
    fn a_record_that_is_put_again_alone_stays_an_aggregate_if_its_mark_fits() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        for (max_bytes, marked) in [(51_200, true), (64, false)] {
            let config = ProducerConfig::builder().aggregation_max_bytes(max_bytes);
            let rules = Rules::of(&config.build().expect("valid"));
            let mut record = aggregate(now(), &[10, 60]);
            stored_in("child", 7, &mut record);
            let regrouped = regroup(now(), vec![record], Some(&map), &rules);
            assert_eq!(regrouped.len(), 2);
            for record in regrouped {
                assert_eq!(record.is_aggregate(), marked, "{max_bytes}");
                assert_eq!(record.users(), 1);
            }
        }
    }

    #[test]
    fn without_aggregation_no_record_joins_another() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        let config = ProducerConfig::builder().aggregation(false).build();
        let rules = Rules::of(&config.expect("valid"));
        let waiting = (0..20).map(|key| bare(now(), &key.to_string(), b"data"));
        let regrouped = regroup(now(), waiting.collect(), Some(&map), &rules);
        assert_eq!(regrouped.len(), 20);
        assert!(regrouped.iter().all(|record| !record.is_aggregate()));
        // Not even those of an aggregate that was made before and stored where it does not belong.
        let mut before = aggregate(now(), &[1, 2]);
        stored_in("child", 7, &mut before);
        let regrouped = regroup(now(), vec![before], Some(&map), &rules);
        assert_eq!(regrouped.len(), 2);
        assert!(regrouped.iter().all(|record| !record.is_aggregate()));
    }

    #[test]
    fn each_record_keeps_its_time_to_live_to_the_millisecond() {
        let map = map_of(&[("left", 0, 49), ("right", 50, 99)]);
        let rules = Rules::of(&ProducerConfig::default());
        let (start, millis) = (now(), Duration::from_millis);
        let ages = [
            Some(0),
            Some(1),
            Some(6_000),
            Some(24_000),
            Some(30_000),
            None,
        ];
        // Each aggregate by its age has the keys n, 10 + n and 60 + n.
        let expires = |n: usize| ages[n].map(|age| start + millis(30_000 - age));
        let records = (0..ages.len()).map(|n| {
            let keys = [n, 10 + n, 60 + n].map(|key| key as u128);
            let expires = expires(n);
            KinesisRecord {
                expires,
                ..aggregate(start, &keys)
            }
        });
        let regrouped = regroup(start, records.collect(), Some(&map), &rules);
        assert_eq!(regrouped.iter().map(KinesisRecord::users).sum::<u32>(), 18);
        for record in &regrouped {
            for key in texts(record) {
                let key: usize = key.parse().expect("a key");
                assert_eq!(record.expires, expires(key % 10), "{key}");
            }
        }
        // Records of one age still share an aggregate.
        assert_eq!(regrouped.len(), 12);
    }

    #[test]
    fn without_a_map_every_record_goes_alone() {
        let rules = Rules::of(&ProducerConfig::default());
        let regrouped = regroup(now(), vec![aggregate(now(), &[1, 2, 3])], None, &rules);
        let bare = regrouped.iter().filter(|record| !record.is_aggregate());
        assert_eq!(bare.count(), 3);
    }
}
