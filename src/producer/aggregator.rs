use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aggregation::Aggregate;
use crate::config::{Ordering, ProducerConfig};
use crate::model::{HashKey, ShardId, ShardMap};
use crate::producer::delivery::{Delivery, Stored};
use crate::producer::group::Group;
use crate::producer::kinesis_record::{Content, KinesisRecord, Run};
use crate::producer::placement::earlier;
use crate::producer::record::UserRecord;
use crate::producer::turnstile::{Lane, Way};
use crate::sys::clock::later;

/// One stream's open aggregates, one for each predicted shard.
///
/// Pure: the caller holds the lock, brings the time, and carries away what is finished.
pub(super) struct Aggregator {
    stream: Arc<str>,
    rules: Rules,
    map: Option<Arc<ShardMap>>,
    /// Whether the stream is one to aggregate for.
    is_aggregating: bool,
    /// Counts the maps that had other open shards than the one before.
    generation: u64,
    /// By the place of their shard in the map; none unless records are aggregated.
    slots: Vec<Slot>,
    /// Whether somebody will come for the next deadline.
    watched: bool,
}

/// What an aggregator has to keep to.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub aggregation: bool,
    ordered: bool,
    /// Of an aggregate without its partition key.
    pub max_bytes: usize,
    pub max_count: u64,
    buffered_time: Duration,
    ttl: Duration,
    /// What is enough for a call, so that it may leave before it is due.
    call_bytes: usize,
    call_records: usize,
}

struct Slot {
    shard: ShardId,
    /// `None` unless records are ordered.
    lane: Option<Lane>,
    /// Keeps its buffers from one aggregate to the next. Empty while the first record is alone.
    aggregate: Aggregate,
    open: Option<Open>,
}

struct Open {
    group: Arc<Group>,
    /// The first record, until it has company: alone, it goes as it is.
    alone: Option<UserRecord>,
    hash_key: HashKey,
    since: Instant,
    bytes: usize,
    data_bytes: usize,
}

impl Aggregator {
    pub fn new(stream: Arc<str>, rules: Rules) -> Aggregator {
        Aggregator {
            stream,
            rules,
            map: None,
            is_aggregating: true,
            generation: 0,
            slots: Vec::new(),
            watched: false,
        }
    }

    /// Goes by another map; gives what was gathered by the old one.
    pub fn follow(&mut self, map: Arc<ShardMap>, finished: &mut Vec<KinesisRecord>) {
        self.finish_all(finished);
        let before = self.map.as_ref();
        if before.is_none_or(|before| !before.has_same_open_shards(&map)) {
            self.generation += 1;
        }
        self.map = Some(map);
        self.open_slots();
    }

    /// Aggregates from now on or not; gives what was gathered before.
    pub fn aggregate(&mut self, yes: bool, finished: &mut Vec<KinesisRecord>) {
        if self.is_aggregating != yes {
            self.finish_all(finished);
            self.is_aggregating = yes;
            self.open_slots();
        }
    }

    fn open_slots(&mut self) {
        let map = self.map.as_ref();
        let map = map.filter(|_| self.rules.aggregation && self.is_aggregating);
        let shards = map.into_iter().flat_map(|map| {
            let places = 0..map.open_shards();
            places.filter_map(|place| map.open_at(place))
        });
        self.slots = shards
            .map(|shard| Slot::new(shard.clone(), self.generation, &self.rules))
            .collect();
    }

    /// Puts a record to others of its shard; `None` if there are none or no more fit.
    ///
    /// The hash key may be left out where the stream has one open shard.
    pub fn join(&mut self, hash_key: Option<HashKey>, record: &UserRecord) -> Option<Delivery> {
        let place = self.place_of(hash_key, record)?;
        self.slots.get_mut(place)?.join(record)
    }

    /// Starts a new aggregate with a record, in place of the one that it did not fit into.
    pub fn start(
        &mut self,
        now: Instant,
        record: UserRecord,
        group: Group,
        finished: &mut Vec<KinesisRecord>,
    ) -> Delivery {
        let (group, hash_key) = (Arc::new(group), record.hash_key());
        let delivery = Delivery::new(&group, 0);
        let map = self.map.as_ref().filter(|_| !record.has_no_key());
        let place = map.and_then(|map| map.place_of(hash_key));
        // Nothing fits beside it, so it waits for nothing.
        let is_giant = record.bytes() > self.rules.max_bytes;
        let open = Open::new(now, record, hash_key, group);
        match place.and_then(|place| self.slots.get_mut(place)) {
            Some(slot) => {
                finished.extend(slot.finish(&self.stream, &self.rules));
                slot.open = Some(open);
                if is_giant {
                    finished.extend(slot.finish(&self.stream, &self.rules));
                }
            }
            None => finished.push(self.alone(place, open)),
        }
        delivery
    }

    /// The deadline of the first open aggregate, if nobody was told of one yet.
    pub fn unwatched_deadline(&mut self) -> Option<Instant> {
        if self.watched {
            return None;
        }
        let deadline = self.next_deadline();
        self.watched = deadline.is_some();
        deadline
    }

    /// Finishes what is due; gives the next deadline, which is then watched.
    pub fn finish_due(
        &mut self,
        now: Instant,
        finished: &mut Vec<KinesisRecord>,
    ) -> Option<Instant> {
        let (stream, rules) = (&self.stream, &self.rules);
        let due = self.slots.iter_mut().filter(|slot| slot.is_due(now, rules));
        finished.extend(due.filter_map(|slot| slot.finish(stream, rules)));
        let deadline = self.next_deadline();
        self.watched = deadline.is_some();
        deadline
    }

    pub fn finish_all(&mut self, finished: &mut Vec<KinesisRecord>) {
        let slots = self.slots.iter_mut();
        finished.extend(slots.filter_map(|slot| slot.finish(&self.stream, &self.rules)));
    }

    /// Counts the records in open aggregates; gives when the first of them was put.
    pub fn open(&self) -> (u64, Option<Instant>) {
        let open = self
            .slots
            .iter()
            .filter_map(|slot| Some((slot, slot.open.as_ref()?)));
        open.fold((0, None), |(count, oldest), (slot, open)| {
            let records = slot.aggregate.len().max(1);
            (count + records, earlier(oldest, Some(open.since)))
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let open = self.slots.iter().filter_map(|slot| slot.open.as_ref());
        open.map(|open| self.rules.deadline(open.since)).min()
    }

    fn place_of(&self, hash_key: Option<HashKey>, record: &UserRecord) -> Option<usize> {
        let map = self.map.as_ref().filter(|_| !record.has_no_key())?;
        match hash_key {
            Some(key) => map.place_of(key),
            None if map.open_shards() == 1 => map.place_of(HashKey::MIN),
            None => map.place_of(record.hash_key()),
        }
    }

    fn alone(&self, place: Option<usize>, open: Open) -> KinesisRecord {
        let map = self.map.as_ref();
        let shard = map.and_then(|map| map.open_at(place?)).cloned();
        // Records without a key have no order to keep.
        let has_key = open.alone.as_ref().is_none_or(|one| !one.has_no_key());
        let lane = (self.rules.ordered && has_key).then_some(Lane {
            generation: self.generation,
            way: Way::Key(open.hash_key),
        });
        KinesisRecord {
            lane,
            ..open.finish(&self.stream, shard, None, &self.rules)
        }
    }
}

impl Rules {
    pub fn of(config: &ProducerConfig) -> Rules {
        Rules {
            // An aggregate that never grows would only wait.
            aggregation: config.aggregation && config.aggregation_max_count > 1,
            ordered: config.ordering == Ordering::PerPartitionKey,
            // The service counts the partition key, and refuses a record over the limit for good.
            max_bytes: config.aggregate_bytes() - OUTER_KEY.len(),
            max_count: config.aggregation_max_count,
            buffered_time: config.buffered_time(),
            ttl: config.record_ttl,
            call_bytes: config.collection_max_bytes.min(CALL_BYTES),
            call_records: config.collection_max_count,
        }
    }

    /// The KPL's: a finished record waits a little for others, so that they share a call.
    pub fn company(&self, now: Instant) -> Instant {
        later(now, (self.buffered_time / 5).min(COMPANY_TIME_MAX))
    }

    /// Says whether so many finished records are to be sent on without waiting for more.
    pub fn is_enough(&self, records: usize, bytes: usize) -> bool {
        self.ordered || records >= self.call_records || bytes >= self.call_bytes
    }

    fn deadline(&self, since: Instant) -> Instant {
        later(since, self.buffered_time)
    }
}

impl Slot {
    fn new(shard: ShardId, generation: u64, rules: &Rules) -> Slot {
        let way = Way::Shard(shard.clone());
        Slot {
            shard,
            lane: rules.ordered.then_some(Lane { generation, way }),
            aggregate: Aggregate::new(rules.max_bytes, rules.max_count),
            open: None,
        }
    }

    fn is_due(&self, now: Instant, rules: &Rules) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| rules.deadline(open.since) <= now)
    }

    fn join(&mut self, record: &UserRecord) -> Option<Delivery> {
        let open = self.open.as_mut()?;
        let fits = match &open.alone {
            Some(first) => first_two(&mut self.aggregate, first, record),
            None => push(&mut self.aggregate, record),
        };
        if !fits {
            return None;
        }
        open.alone = None;
        open.bytes += record.bytes();
        open.data_bytes += record.data().len();
        let index = (self.aggregate.len() - 1) as u32;
        Some(Delivery::new(&open.group, index))
    }

    fn finish(&mut self, stream: &Arc<str>, rules: &Rules) -> Option<KinesisRecord> {
        let open = self.open.take()?;
        let shard = Some(self.shard.clone());
        let aggregate = (!self.aggregate.is_empty()).then_some(&mut self.aggregate);
        Some(KinesisRecord {
            lane: self.lane.clone(),
            ..open.finish(stream, shard, aggregate, rules)
        })
    }
}

impl Open {
    fn new(since: Instant, record: UserRecord, hash_key: HashKey, group: Arc<Group>) -> Open {
        Open {
            group,
            hash_key,
            since,
            bytes: record.bytes(),
            data_bytes: record.data().len(),
            alone: Some(record),
        }
    }

    fn finish(
        self,
        stream: &Arc<str>,
        shard: Option<ShardId>,
        aggregate: Option<&mut Aggregate>,
        rules: &Rules,
    ) -> KinesisRecord {
        let count = aggregate.as_ref().map_or(1, |aggregate| aggregate.len());
        let run = Run {
            group: self.group,
            range: 0..count as u32,
            bytes: self.bytes,
            data_bytes: self.data_bytes,
            ticket: None,
            history: Arc::default(),
            copies: Arc::default(),
        };
        let (partition_key, data, content) = match self.alone {
            Some(record) => bare(record),
            None => (OUTER_KEY.into(), Bytes::new(), Content::Aggregate),
        };
        KinesisRecord {
            stream: stream.clone(),
            data,
            unsealed: aggregate.map(Aggregate::finish_unsealed),
            partition_key,
            hash_key: self.hash_key,
            content,
            predicted: shard,
            lane: None,
            runs: vec![run],
            deadline: rules.deadline(self.since),
            expires: self.since.checked_add(rules.ttl),
            since: self.since,
            attempts: Vec::new(),
            stored: Stored::No,
        }
    }
}

fn bare(record: UserRecord) -> (Arc<str>, Bytes, Content) {
    let explicit_hash_key = record.given_hash_key();
    let (partition_key, data) = record.into_parts();
    let content = Content::Bare { explicit_hash_key };
    (partition_key.into(), data, content)
}

/// Puts two records into an empty aggregate, or none.
fn first_two(aggregate: &mut Aggregate, first: &UserRecord, second: &UserRecord) -> bool {
    let fits = push(aggregate, first) && push(aggregate, second);
    if !fits {
        aggregate.clear();
    }
    fits
}

fn push(aggregate: &mut Aggregate, record: &UserRecord) -> bool {
    aggregate.try_push(
        record.partition_key(),
        record.given_hash_key(),
        record.data(),
    )
}

/// What the KPL sends as an aggregate's partition key; the explicit hash key decides the shard.
pub(super) const OUTER_KEY: &str = "a";

/// 50 ms, or a fifth of the buffered time if that is less.
const COMPANY_TIME_MAX: Duration = Duration::from_millis(50);

/// Eight aggregates of the default size: their checksums are written side by side, and a shard's share
/// of a call, 256 KiB, is there.
const CALL_BYTES: usize = 8 * 51_200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::SubRecord;
    use crate::model::{HashKeyRange, Shard};
    use crate::sys::Sys;

    fn halves() -> Arc<ShardMap> {
        let middle = 1 << 127;
        let shard = |id: &str, start: u128, end: u128| {
            let (start, end) = (start.into(), end.into());
            Shard::new(
                id,
                HashKeyRange { start, end },
                "1".parse().expect("a number"),
            )
        };
        let shards = [
            shard("lower", 0, middle - 1),
            shard("upper", middle, u128::MAX),
        ];
        Arc::new(ShardMap::new(&shards))
    }

    struct Bench {
        aggregator: Aggregator,
        finished: Vec<KinesisRecord>,
        now: Instant,
    }

    impl Bench {
        fn new(config: &ProducerConfig) -> Bench {
            let mut bench = Bench {
                aggregator: Aggregator::new("orders".into(), Rules::of(config)),
                finished: Vec::new(),
                now: Sys::real().clock.now(),
            };
            bench.aggregator.follow(halves(), &mut bench.finished);
            bench
        }

        fn put(&mut self, key: u128, data: &str) {
            let record = UserRecord::new("k", data.to_owned()).explicit_hash_key(key.into());
            if self.aggregator.join(Some(key.into()), &record).is_none() {
                let group = Group::new(Sys::real().clock);
                self.aggregator
                    .start(self.now, record, group, &mut self.finished);
            }
        }

        /// The data of what was finished, by shard.
        fn taken(&mut self) -> Vec<(Option<String>, Vec<String>)> {
            let finished = self.finished.drain(..);
            finished
                .map(|mut record| {
                    record.seal();
                    let texts = record.user_records().into_iter().map(text).collect();
                    (record.predicted.map(|shard| shard.to_string()), texts)
                })
                .collect()
        }
    }

    fn text(record: SubRecord) -> String {
        String::from_utf8_lossy(&record.data).into_owned()
    }

    fn of(shard: &str, texts: &[&str]) -> (Option<String>, Vec<String>) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        (Some(shard.to_owned()), texts)
    }

    const UPPER: u128 = 1 << 127;

    #[test]
    fn records_gather_by_predicted_shard_until_their_deadline() {
        let mut bench = Bench::new(&ProducerConfig::default());
        bench.put(0, "a");
        bench.now += Duration::from_millis(40);
        bench.put(UPPER, "b");
        bench.put(UPPER - 1, "c");
        bench.put(u128::MAX, "d");
        assert_eq!(bench.taken(), []);

        let first = bench.aggregator.unwatched_deadline().expect("open");
        assert_eq!(first, bench.now + Duration::from_millis(60));
        assert_eq!(bench.aggregator.unwatched_deadline(), None);

        let next = bench.aggregator.finish_due(first, &mut bench.finished);
        assert_eq!(next, Some(first + Duration::from_millis(40)));
        assert_eq!(bench.taken(), [of("lower", &["a", "c"])]);
        let last = first + Duration::from_millis(40);
        assert_eq!(bench.aggregator.finish_due(last, &mut bench.finished), None);
        assert_eq!(bench.taken(), [of("upper", &["b", "d"])]);
    }

    #[test]
    fn what_does_not_fit_starts_the_next_aggregate() {
        let config = ProducerConfig::builder().aggregation_max_bytes(64);
        let mut bench = Bench::new(&config.build().expect("valid"));
        let huge = "x".repeat(100);
        for data in ["a", "b", &huge, &huge, "c", "d"] {
            bench.put(0, data);
        }
        let finished = [
            of("lower", &["a", "b"]),
            of("lower", &[&huge]),
            of("lower", &[&huge]),
        ];
        assert_eq!(bench.taken(), finished);
        bench.aggregator.finish_all(&mut bench.finished);
        assert_eq!(bench.taken(), [of("lower", &["c", "d"])]);
    }

    #[test]
    fn a_giant_leaves_at_once_and_lets_those_before_it_leave_first() {
        let config = ProducerConfig::builder().aggregation_max_bytes(64);
        let mut bench = Bench::new(&config.build().expect("valid"));
        let huge = "x".repeat(100);
        bench.put(0, "a");
        assert_eq!(bench.taken(), []);
        bench.put(0, &huge);
        assert_eq!(bench.taken(), [of("lower", &["a"]), of("lower", &[&huge])]);
        bench.aggregator.finish_all(&mut bench.finished);
        assert_eq!(bench.taken(), [], "what is empty is never finished");
    }

    #[test]
    fn so_many_records_make_an_aggregate_in_the_order_they_were_put() {
        let config = ProducerConfig::builder().aggregation_max_count(100);
        let mut bench = Bench::new(&config.build().expect("valid"));
        let texts: Vec<_> = (0..301).map(|n| n.to_string()).collect();
        texts.iter().for_each(|text| bench.put(0, text));
        bench.aggregator.finish_all(&mut bench.finished);
        let rounds = texts.chunks(100).map(|round| {
            let round: Vec<_> = round.iter().map(String::as_str).collect();
            of("lower", &round)
        });
        assert_eq!(bench.taken(), rounds.collect::<Vec<_>>());
    }

    #[test]
    fn whatever_the_sizes_nothing_is_lost_and_no_aggregate_is_too_large() {
        const MAX: usize = 10_000;
        let config = ProducerConfig::builder().aggregation_max_bytes(MAX);
        let mut bench = Bench::new(&config.build().expect("valid"));
        let mut rng = crate::sys::rng::Rng::from_seed(1);
        let mut put = Vec::new();
        while bench.finished.len() < 250 {
            let text = format!(
                "{}{}",
                put.len(),
                "x".repeat(rng.next_u64() as usize % 2_000)
            );
            bench.put(0, &text);
            put.push(text);
        }
        bench.aggregator.finish_all(&mut bench.finished);
        let sizes = bench
            .finished
            .iter()
            .map(|one| one.bytes() - one.partition_key.len());
        assert!(sizes.max() <= Some(MAX));
        let left: Vec<_> = bench
            .taken()
            .into_iter()
            .flat_map(|(_, texts)| texts)
            .collect();
        assert_eq!(left, put);
    }

    #[test]
    fn what_fills_an_aggregate_moves_the_deadline_to_the_next_one() {
        let config = ProducerConfig::builder().aggregation_max_bytes(64);
        let mut bench = Bench::new(&config.build().expect("valid"));
        bench.put(0, "a");
        let first = bench.aggregator.unwatched_deadline().expect("open");
        bench.now += Duration::from_millis(30);
        for _ in 0..5 {
            bench.put(0, "0123456789");
        }
        assert!(!bench.taken().is_empty());
        let next = bench.aggregator.finish_due(first, &mut bench.finished);
        assert_eq!(next, Some(first + Duration::from_millis(30)));
        assert_eq!(bench.taken(), []);
    }

    #[test]
    fn one_record_goes_as_it_is_and_two_as_an_aggregate() {
        let mut bench = Bench::new(&ProducerConfig::default());
        bench.put(5, "a");
        bench.aggregator.finish_all(&mut bench.finished);
        bench.put(6, "a");
        bench.put(7, "b");
        bench.aggregator.finish_all(&mut bench.finished);
        let explicit_hash_key = Some(5.into());
        let seen: Vec<_> = bench
            .finished
            .iter()
            .map(|record| {
                let KinesisRecord {
                    content,
                    hash_key,
                    partition_key,
                    ..
                } = record;
                (
                    *content,
                    hash_key.as_u128(),
                    &**partition_key,
                    record.runs[0].range.clone(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Content::Bare { explicit_hash_key }, 5, "k", 0..1),
                (Content::Aggregate, 6, "a", 0..2)
            ]
        );
    }

    #[test]
    fn without_a_map_or_aggregation_every_record_goes_alone_and_at_once() {
        let config = ProducerConfig::builder().aggregation(false);
        let mut bench = Bench::new(&config.build().expect("valid"));
        bench.put(0, "a");
        bench.put(0, "b");
        assert_eq!(bench.taken(), [of("lower", &["a"]), of("lower", &["b"])]);

        let rules = Rules::of(&ProducerConfig::default());
        bench.aggregator = Aggregator::new("orders".into(), rules);
        bench.put(0, "a");
        assert_eq!(bench.taken(), [(None, vec!["a".to_owned()])]);
    }

    #[test]
    fn another_map_finishes_what_the_old_one_gathered() {
        let mut bench = Bench::new(&ProducerConfig::default());
        bench.put(0, "a");
        bench.put(UPPER, "b");
        bench.aggregator.follow(halves(), &mut bench.finished);
        assert_eq!(bench.taken(), [of("lower", &["a"]), of("upper", &["b"])]);
    }
}
