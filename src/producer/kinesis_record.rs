use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::aggregation::{
    DecodeLimits, EarlierCopy, SubRecord, Unsealed, decode_readable, seal_all,
};
use crate::client::{PutRecordOutput, PutRecordsEntry};
use crate::error::Error;
use crate::model::{HashKey, ShardId, ShardRef};
use crate::producer::delivery::{Attempt, Stored};
use crate::producer::group::Group;
use crate::producer::ledger::Ticket;
use crate::producer::record::UserRecord;
use crate::producer::turnstile::Lane;

/// A Kinesis record on its way: one user record as it is, or an aggregate of several.
///
/// Holds the only copy of its user records; [`KinesisRecord::take_apart`] gets them back out.
pub(super) struct KinesisRecord {
    pub stream: Arc<str>,
    /// Empty as long as it is in `unsealed`.
    pub data: Bytes,
    /// The data but for their checksum, which is cheaper for several at a time.
    pub unsealed: Option<Unsealed>,
    pub partition_key: Arc<str>,
    pub hash_key: HashKey,
    pub content: Content,
    pub predicted: Option<ShardId>,
    /// Which others it has to keep its order with; `None` unless records are ordered.
    pub lane: Option<Lane>,
    /// Whose results these are, in the order of the user records.
    pub runs: Vec<Run>,
    /// When it should be sent, in good company or not.
    pub deadline: Instant,
    /// When it is given up; `None` for never.
    pub expires: Option<Instant>,
    /// When its last attempt ended, or when it was put.
    pub since: Instant,
    /// Attempts since its user records came together.
    pub attempts: Vec<Attempt>,
    pub stored: Stored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Aggregate,
    /// The explicit hash key is the one that the user gave, if any.
    Bare {
        explicit_hash_key: Option<HashKey>,
    },
}

/// Neighbours in one group that are also neighbours in a Kinesis record.
#[derive(Clone)]
pub(super) struct Run {
    pub group: Arc<Group>,
    pub range: Range<u32>,
    /// Of keys and data, as the intake counts them.
    pub bytes: usize,
    /// Of data alone.
    pub data_bytes: usize,
    /// `None` until it starts on its way.
    pub ticket: Option<Ticket>,
    /// Attempts before the records came into this Kinesis record.
    pub history: Arc<[Attempt]>,
    /// Where the records were stored before, in shards that do not own all of their aggregate; the
    /// newest [`EARLIER_COPIES_MAX`].
    pub copies: Arc<[EarlierCopy]>,
}

impl KinesisRecord {
    /// What the service counts against its limits.
    pub fn bytes(&self) -> usize {
        let unsealed = self.unsealed.as_ref().map_or(0, Unsealed::encoded_len);
        self.data.len() + unsealed + self.partition_key.len()
    }

    /// All attempts, oldest first: also those before its user records were grouped anew, of the user
    /// record that had most.
    pub fn all_attempts(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        let histories = self.runs.iter().map(|run| &*run.history);
        let history = histories.max_by_key(|history| history.len());
        history.unwrap_or_default().iter().chain(&self.attempts)
    }

    /// Writes the checksum, if that is still to be done.
    pub fn seal(&mut self) {
        if let Some(unsealed) = self.unsealed.take() {
            self.data = unsealed.seal();
        }
    }

    /// Writes the checksums of many, side by side.
    pub fn seal_all(records: &mut [KinesisRecord]) {
        KinesisRecord::seal_multiple_of(1, records);
    }

    /// Writes checksums as far as four at a time are there: the rest may find company later.
    pub fn seal_side_by_side(records: &mut [KinesisRecord]) {
        KinesisRecord::seal_multiple_of(4, records);
    }

    fn seal_multiple_of(count: usize, records: &mut [KinesisRecord]) {
        let mut open: Vec<_> = records
            .iter_mut()
            .filter(|record| record.unsealed.is_some())
            .collect();
        open.truncate(open.len() / count * count);
        let unsealed = open.iter_mut().filter_map(|record| record.unsealed.take());
        let sealed = seal_all(unsealed.collect());
        for (record, data) in open.into_iter().zip(sealed) {
            record.data = data;
        }
    }

    /// How many user records it carries.
    pub fn users(&self) -> u32 {
        self.runs.iter().map(Run::len).sum()
    }

    pub fn is_aggregate(&self) -> bool {
        self.content == Content::Aggregate
    }

    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Says whether the service has to decide where it goes.
    pub fn has_no_key(&self) -> bool {
        self.partition_key.is_empty()
    }

    /// What is sent: with the hash key that was computed, so that nobody else has to, or only with what
    /// the user gave where the service decides on the shard.
    pub fn entry(&self, is_auto: bool) -> PutRecordsEntry {
        let explicit_hash_key = match self.content {
            Content::Aggregate if is_auto => None,
            Content::Bare { explicit_hash_key } if is_auto || self.has_no_key() => {
                explicit_hash_key
            }
            _ => Some(self.hash_key),
        };
        PutRecordsEntry {
            data: self.data.clone(),
            partition_key: self.partition_key.clone(),
            explicit_hash_key,
        }
    }

    pub fn note(&mut self, attempt: Attempt, ended: Instant) {
        self.attempts.push(attempt);
        self.since = ended;
    }

    /// Turns its last attempt, which stored it, into one that did not help.
    pub fn blame(&mut self, error: Error) {
        self.stored = Stored::Possibly;
        if let Some(last) = self.attempts.last_mut() {
            last.error = Some(error);
        }
    }

    /// Notes where all of its user records were stored, before they are put again: a reader that has
    /// handed out that copy leaves out the next.
    pub fn stored_at(&mut self, output: &PutRecordOutput) {
        let copy = EarlierCopy {
            shard: ShardRef::new(self.stream.clone(), output.shard_id.clone()),
            sequence_number: output.sequence_number.clone(),
        };
        for run in &mut self.runs {
            let from = (run.copies.len() + 1).saturating_sub(EARLIER_COPIES_MAX);
            let kept = run.copies[from..].iter().cloned();
            run.copies = kept.chain([copy.clone()]).collect();
        }
    }

    /// Its user records in order; an aggregate's data are slices of its own.
    pub fn user_records(&self) -> Vec<SubRecord> {
        if let Content::Bare { explicit_hash_key } = self.content {
            let mut record = SubRecord::new(self.partition_key.clone(), self.data.clone());
            record.explicit_hash_key = explicit_hash_key;
            return vec![record];
        }
        let decoded = decode_readable(&self.data, &OUR_OWN);
        let decoded = decoded.ok().flatten();
        decoded
            .expect("an aggregate of our own can be read")
            .records
    }

    /// Its user records as they were put, for the default stream or for the one they named.
    pub fn take_apart(&self, default_stream: Option<&str>) -> Vec<UserRecord> {
        let elsewhere = default_stream != Some(&*self.stream);
        let whole = |record: SubRecord| {
            let whole = match record.partition_key.is_empty() {
                true => UserRecord::without_partition_key(record.data),
                false => UserRecord::new(&*record.partition_key, record.data),
            };
            let whole = match record.explicit_hash_key {
                Some(key) => whole.explicit_hash_key(key),
                None => whole,
            };
            match elsewhere {
                true => whole.stream(self.stream.clone()),
                false => whole,
            }
        };
        self.user_records().into_iter().map(whole).collect()
    }
}

impl Run {
    /// How many records it has.
    pub fn len(&self) -> u32 {
        self.range.end - self.range.start
    }

    /// All its attempts, these last ones included.
    pub fn attempts(&self, last: &[Attempt]) -> Arc<[Attempt]> {
        self.history.iter().chain(last).cloned().collect()
    }
}

/// Reshards that follow each other within a record's time to live are few, and a copy that is not
/// named any more comes twice, which is no loss.
const EARLIER_COPIES_MAX: usize = 3;

/// What we made ourselves may be as large as it was made.
const OUR_OWN: DecodeLimits = DecodeLimits {
    max_bytes: usize::MAX,
    max_records: usize::MAX,
    max_table_entries: usize::MAX,
};

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregation::encode;
    use crate::model::{HashKeyRange, Shard, ShardMap};
    use crate::producer::job::Span;
    use crate::sys::Sys;

    /// A map of shards that are all open, by name, start and end.
    pub fn map_of(shards: &[(&str, u128, u128)]) -> ShardMap {
        let shards: Vec<_> = shards
            .iter()
            .map(|&(id, start, end)| {
                let (start, end) = (start.into(), end.into());
                Shard::new(
                    id,
                    HashKeyRange { start, end },
                    "1".parse().expect("a number"),
                )
            })
            .collect();
        ShardMap::new(&shards)
    }

    /// One user record on its way, put just now, with a minute to live.
    pub fn bare(now: Instant, partition_key: &str, data: &[u8]) -> KinesisRecord {
        let run = Run {
            group: Arc::new(Group::new(Sys::real().clock)),
            range: 0..1,
            bytes: partition_key.len() + data.len(),
            data_bytes: data.len(),
            ticket: None,
            history: Arc::new([]),
            copies: Arc::new([]),
        };
        KinesisRecord {
            stream: "orders".into(),
            data: Bytes::copy_from_slice(data),
            unsealed: None,
            partition_key: partition_key.into(),
            hash_key: HashKey::of_partition_key(partition_key),
            content: Content::Bare {
                explicit_hash_key: None,
            },
            predicted: None,
            lane: None,
            runs: vec![run],
            deadline: now,
            expires: Some(now + Duration::from_secs(60)),
            since: now,
            attempts: Vec::new(),
            stored: Stored::No,
        }
    }

    /// An aggregate of records at these hash keys, each of which has its hash key as its data.
    pub fn aggregate(now: Instant, keys: &[u128]) -> KinesisRecord {
        let records: Vec<_> = keys
            .iter()
            .map(|&key| {
                let mut record = SubRecord::new("k", key.to_string());
                record.explicit_hash_key = Some(key.into());
                record
            })
            .collect();
        let mut record = bare(now, "a", b"");
        record.data = encode(&records);
        record.hash_key = keys[0].into();
        record.content = Content::Aggregate;
        record.runs[0].range = 0..keys.len() as u32;
        record.runs[0].bytes = records.iter().map(|one| 1 + one.data.len()).sum();
        record.runs[0].data_bytes = record.runs[0].bytes - keys.len();
        record
    }

    pub fn texts(record: &KinesisRecord) -> Vec<String> {
        let records = record.user_records().into_iter();
        records
            .map(|record| String::from_utf8_lossy(&record.data).into_owned())
            .collect()
    }

    #[test]
    fn attempts_tell_how_long_they_waited_and_took() {
        let start = Sys::real().clock.now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut record = bare(start, "k", b"");
        for (began, ended) in [(0, 5), (11, 18)] {
            let (began, ended) = (at(began), at(ended));
            let attempt = Span { began, ended }.attempt(record.since, None);
            record.note(attempt, ended);
        }
        let seen = record.attempts.iter().map(|one| (one.delay, one.duration));
        let millis = |delay, took| (Duration::from_millis(delay), Duration::from_millis(took));
        assert_eq!(seen.collect::<Vec<_>>(), [millis(0, 5), millis(6, 7)]);
    }

    #[test]
    fn user_records_come_back_as_they_were_put() {
        let now = Sys::real().clock.now();
        let one = UserRecord::new("k", "1").explicit_hash_key(1.into());
        let two = UserRecord::new("k", "2").explicit_hash_key(2.into());
        let record = aggregate(now, &[1, 2]);
        assert_eq!(record.take_apart(Some("orders")), [one.clone(), two]);
        let elsewhere = record.take_apart(Some("other"));
        assert_eq!(elsewhere[0], one.stream("orders"));
        let bare = bare(now, "k", b"data");
        assert_eq!(
            bare.take_apart(Some("orders")),
            [UserRecord::new("k", "data")]
        );
    }
}
