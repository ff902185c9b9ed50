use crate::aggregation::{SubRecord, hash_keys};
use crate::model::{HashKey, HashKeyRange};

/// What becomes of user records that lie outside the shard they are read from, and of their copies.
///
/// Such records come from resharding. A producer whose shard map is stale puts them into an aggregate
/// that the service files under another record's hash key. When the producer learns where the aggregate
/// went, it stores some of its records again. A plain record cannot be misplaced.
///
/// | who wrote the aggregate | what it stores again after a reshard | the policy that hands out each record once |
/// | --- | --- | --- |
/// | this crate's producer | every user record, each with a mark that names its first copy | [`DeduplicateByMark`](Misplaced::DeduplicateByMark), and [`CompatKcl`](Misplaced::CompatKcl) |
/// | the KPL 1.1 and later, and before 0.15.11 | every user record of an aggregate whose shard is not the predicted one, also if all lie in place | [`CompatKcl`](Misplaced::CompatKcl), but for aggregates that lie in place |
/// | the KPL from 0.15.11 to 1.0 | every user record while its map does not know the shard, then those outside only | none; [`DropAndCount`](Misplaced::DropAndCount) repeats the fewest |
/// | one that does not look where its records went, such as the aggregators of `kinesis-aggregation` | nothing | every one but [`CompatKcl`](Misplaced::CompatKcl) and [`DropAndCount`](Misplaced::DropAndCount) |
///
/// A reader cannot tell who wrote an aggregate. No rule that leaves records out fits all of them:
/// [`CompatKcl`](Misplaced::CompatKcl) loses what the KPL 1.0 does not repeat, and
/// [`DropAndCount`](Misplaced::DropAndCount) loses what an aggregator without placement puts outside,
/// which in the first minute after a reshard looks the same as what a stale map does. So the default
/// leaves a record out only if a mark proves that an earlier copy is handed out. It loses nothing,
/// whoever wrote. What the KPL repeats comes twice;
/// [`DeduplicateByContent`](Misplaced::DeduplicateByContent) leaves that out too, if the records of a
/// stream all differ.
///
/// [`DeduplicateByMark`](Misplaced::DeduplicateByMark) and
/// [`DeduplicateByContent`](Misplaced::DeduplicateByContent) need what a consumer knows of its shards.
/// To judge one aggregate by itself, as here, they deliver everything. Whatever the policy, the
/// [`Placement`] has the numbers to count and report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misplaced {
    /// Leaves the whole aggregate out as soon as one user record lies outside, as the KCL does.
    CompatKcl,
    /// Delivers every copy, but for a repeat of this crate's producer whose first copy is handed out.
    ///
    /// The producer marks each record that it stores again with the shard and sequence number of the
    /// earlier copies. A consumer leaves the repeat out if it reads that shard, and has done so from
    /// that number or an earlier one on, in this run or in those whose checkpoint it goes on from. So
    /// one of the copies is always handed out. The repeat is handed out as well where this is not
    /// certain: the shard is another process's, the consumer started between the two copies, the
    /// checkpoint is older than marks or was made by hand, or the record nearly filled its aggregate
    /// and had no room for the mark. A misplaced record may overtake records of its key in their own
    /// shard; [`CompatKcl`](Misplaced::CompatKcl) keeps their order, if this crate alone writes.
    #[default]
    DeduplicateByMark,
    /// As [`DeduplicateByMark`](Misplaced::DeduplicateByMark), and leaves out every unmarked record
    /// that equals one handed out within a window, whoever wrote it. Window: 60 s, or
    /// `ConsumerConfigBuilder::misplaced_window`.
    ///
    /// Equal are partition key, explicit hash key and bytes, in any shards of the consumer or of its
    /// group. Take it only if all records of the stream differ, by an id in each for example: of two
    /// equal ones it hands out one. It remembers the newest 524,288 records at most, about 64 MiB, and
    /// none across a restart: what was handed out before may come again then.
    DeduplicateByContent,
    /// Delivers them like the others: none is lost, those written again are seen twice.
    Deliver,
    /// Leaves out the user records that lie outside, and delivers the others.
    DropAndCount,
    /// Ends the reading with an error.
    Fail,
}

impl Misplaced {
    /// Judges the user records of one aggregate that was read from a shard with this range.
    ///
    /// ```
    /// use kinesis_blocking::aggregation::{Misplaced, SubRecord, Verdict};
    /// use kinesis_blocking::{HashKey, HashKeyRange};
    ///
    /// let records = ["a", "b"].map(|key| SubRecord::new(key, "data"));
    /// let range = HashKeyRange { start: HashKey::MIN, end: records[0].hash_key() };
    /// let placement = Misplaced::DropAndCount.judge(&records, &range);
    ///
    /// assert_eq!(placement.verdict(), Verdict::DeliverSome);
    /// assert_eq!((placement.in_place(), placement.misplaced()), (1, 1));
    /// let delivered: Vec<u64> = placement.select(records).map(|(number, _)| number).collect();
    /// assert_eq!(delivered, [0]);
    /// ```
    pub fn judge(self, records: &[SubRecord], range: &HashKeyRange) -> Placement {
        let keys = records.iter();
        let keys = keys.map(|record| (&*record.partition_key, record.explicit_hash_key));
        self.judge_keys(keys, range)
    }

    /// Says whether misplaced records that are handed out are reported as such: not where the caller
    /// chose to have all copies.
    #[cfg(feature = "client")]
    pub(crate) fn reports_handed_out(self) -> bool {
        matches!(
            self,
            Misplaced::DeduplicateByMark | Misplaced::DeduplicateByContent
        )
    }

    /// The same by the partition keys and the explicit hash keys of the records.
    pub(crate) fn judge_keys<'a>(
        self,
        keys: impl ExactSizeIterator<Item = Keys<'a>> + Clone,
        range: &HashKeyRange,
    ) -> Placement {
        let len = keys.len();
        let outside = outside(keys, range);
        let misplaced = outside.iter().filter(|&&outside| outside).count();
        let verdict = match self {
            _ if misplaced == 0 => Verdict::DeliverAll,
            Misplaced::CompatKcl => Verdict::DeliverNone,
            Misplaced::DeduplicateByMark | Misplaced::DeduplicateByContent | Misplaced::Deliver => {
                Verdict::DeliverAll
            }
            Misplaced::DropAndCount => Verdict::DeliverSome,
            Misplaced::Fail => Verdict::Fail,
        };
        Placement {
            verdict,
            len,
            misplaced,
            outside,
        }
    }
}

/// What a policy says of one aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every user record is delivered.
    DeliverAll,
    /// No user record is delivered.
    DeliverNone,
    /// The user records in place are delivered, the misplaced ones are not.
    DeliverSome,
    /// No user record is delivered and the reading ends with an error.
    Fail,
}

/// Where the user records of one aggregate lie, and which of them are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    verdict: Verdict,
    len: usize,
    misplaced: usize,
    /// For each user record whether it lies outside; empty when none does.
    outside: Vec<bool>,
}

impl Placement {
    /// Returns what becomes of the aggregate.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns the user records that lie within the shard.
    pub fn in_place(&self) -> usize {
        self.len - self.misplaced
    }

    /// Returns the user records that lie outside the shard, delivered or not.
    pub fn misplaced(&self) -> usize {
        self.misplaced
    }

    /// Returns the user records that are not delivered, in place or not.
    pub fn left_out(&self) -> usize {
        match self.verdict {
            Verdict::DeliverAll => 0,
            Verdict::DeliverNone | Verdict::Fail => self.len,
            Verdict::DeliverSome => self.misplaced,
        }
    }

    /// Says whether the user record at this position is delivered.
    pub fn delivers(&self, position: usize) -> bool {
        match self.verdict {
            Verdict::DeliverAll => true,
            Verdict::DeliverNone | Verdict::Fail => false,
            Verdict::DeliverSome => !self.outside.get(position).is_some_and(|&outside| outside),
        }
    }

    /// Iterates over the user records that are delivered, each with its sub-sequence number.
    ///
    /// The number counts every user record of the aggregate, so that a position stays what it is
    /// whatever the policy.
    pub fn select<T>(self, records: impl IntoIterator<Item = T>) -> impl Iterator<Item = (u64, T)> {
        let numbered = records.into_iter().enumerate();
        let delivered = numbered.filter(move |(position, _)| self.delivers(*position));
        delivered.map(|(position, record)| (position as u64, record))
    }
}

/// The partition key of a user record, and its explicit hash key if it has one.
type Keys<'a> = (&'a str, Option<HashKey>);

/// Says of each user record whether it lies outside; gives nothing at all when none does.
fn outside<'a>(records: impl Iterator<Item = Keys<'a>> + Clone, range: &HashKeyRange) -> Vec<bool> {
    if *range == HashKeyRange::FULL {
        return Vec::new();
    }
    let mut hash_keys = of_partition_keys(records.clone()).into_iter();
    let outside: Vec<bool> = records
        .map(|(_, explicit)| {
            let hash_key = explicit.or_else(|| hash_keys.next());
            hash_key.is_some_and(|hash_key| !range.contains(hash_key))
        })
        .collect();
    match outside.contains(&true) {
        true => outside,
        false => Vec::new(),
    }
}

/// The hash keys of the records without an explicit one, a key that comes again at once hashed once.
fn of_partition_keys<'a>(records: impl Iterator<Item = Keys<'a>>) -> Vec<HashKey> {
    let mut distinct: Vec<&str> = Vec::new();
    let mut repeats: Vec<usize> = Vec::new();
    for (partition_key, _) in records.filter(|(_, explicit)| explicit.is_none()) {
        match (distinct.last(), repeats.last_mut()) {
            (Some(&last), Some(repeats)) if *last == *partition_key => *repeats += 1,
            _ => {
                distinct.push(partition_key);
                repeats.push(1);
            }
        }
    }
    let hashed = hash_keys(&distinct).into_iter().zip(repeats);
    hashed
        .flat_map(|(hash_key, repeats)| std::iter::repeat_n(hash_key, repeats))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of which an aggregate by itself is all there is to know.
    const POLICIES: [Misplaced; 4] = [
        Misplaced::CompatKcl,
        Misplaced::Deliver,
        Misplaced::DropAndCount,
        Misplaced::Fail,
    ];

    fn at(hash_key: u128) -> SubRecord {
        SubRecord {
            explicit_hash_key: Some(hash_key.into()),
            ..SubRecord::new("key", "data")
        }
    }

    fn range(start: u128, end: u128) -> HashKeyRange {
        HashKeyRange {
            start: start.into(),
            end: end.into(),
        }
    }

    /// Sub-sequence numbers that are delivered under each policy, in the order of `POLICIES`.
    fn delivered(records: &[SubRecord], range: &HashKeyRange) -> [Vec<u64>; 4] {
        POLICIES.map(|policy| {
            let placement = policy.judge(records, range);
            placement
                .select(records)
                .map(|(number, _)| number)
                .collect()
        })
    }

    #[test]
    fn every_policy_delivers_what_is_in_place() {
        let records = [at(10), at(15), at(20)];
        let all = [
            Misplaced::DeduplicateByMark,
            Misplaced::DeduplicateByContent,
        ];
        for policy in all.into_iter().chain(POLICIES) {
            let placement = policy.judge(&records, &range(10, 20));
            assert_eq!(placement.verdict(), Verdict::DeliverAll, "{policy:?}");
            assert_eq!(
                (
                    placement.in_place(),
                    placement.misplaced(),
                    placement.left_out()
                ),
                (3, 0, 0)
            );
        }
    }

    #[test]
    fn a_misplaced_record_is_left_out_alone_or_with_all_or_not_at_all() {
        let none = Vec::new;
        for (name, keys, in_place) in [
            ("first below", [9, 10, 20], vec![1, 2]),
            ("middle above", [10, 21, 20], vec![0, 2]),
            ("last below", [10, 20, 9], vec![0, 1]),
            ("all", [0, 9, 21], vec![]),
        ] {
            let records = keys.map(at);
            assert_eq!(
                delivered(&records, &range(10, 20)),
                [none(), vec![0, 1, 2], in_place, none()],
                "{name}"
            );
        }
    }

    #[test]
    fn the_numbers_are_the_same_under_every_policy() {
        let records = [at(1), at(5), at(9), at(12)];
        for (policy, verdict, left_out) in [
            (Misplaced::CompatKcl, Verdict::DeliverNone, 4),
            (Misplaced::Deliver, Verdict::DeliverAll, 0),
            (Misplaced::DeduplicateByMark, Verdict::DeliverAll, 0),
            (Misplaced::DeduplicateByContent, Verdict::DeliverAll, 0),
            (Misplaced::DropAndCount, Verdict::DeliverSome, 3),
            (Misplaced::Fail, Verdict::Fail, 4),
        ] {
            let placement = policy.judge(&records, &range(5, 5));
            assert_eq!(placement.verdict(), verdict);
            assert_eq!(
                (
                    placement.in_place(),
                    placement.misplaced(),
                    placement.left_out()
                ),
                (1, 3, left_out),
                "{policy:?}"
            );
        }
    }

    #[test]
    fn a_record_without_an_explicit_hash_key_lies_where_its_partition_key_does() {
        let keys = ["a", "a", "b", "a", "b", "b", "c"];
        let mut records: Vec<SubRecord> = keys.iter().map(|key| SubRecord::new(*key, "")).collect();
        records.insert(2, at(0));
        let a = HashKey::of_partition_key("a");
        let range = HashKeyRange { start: a, end: a };
        let [_, _, some, _] = delivered(&records, &range);
        assert_eq!(some, [0, 1, 4]);
    }

    #[test]
    fn nothing_is_outside_the_whole_ring() {
        let records = [at(0), at(u128::MAX), SubRecord::new("a", "")];
        let placement = Misplaced::Fail.judge(&records, &HashKeyRange::FULL);
        assert_eq!(placement.verdict(), Verdict::DeliverAll);
        assert_eq!(Misplaced::Fail.judge(&[], &range(5, 5)).left_out(), 0);
    }
}
