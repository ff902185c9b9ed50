//! What the fake has stored, read by the rule of the KCL, and what must be so.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_blocking::aggregation::{Misplaced, SubRecord, decode};
use kinesis_blocking::{Record, SequenceNumber, ShardRef};

use crate::world::{STREAM, World};

/// One user record as it came: where it lay, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub shard: ShardRef,
    pub sequence_number: Number,
    pub sub: Option<u64>,
    pub key: String,
    pub data: String,
}

/// A sequence number, ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub SequenceNumber);

impl Seen {
    pub fn of(record: &Record) -> Seen {
        Seen {
            shard: record.shard().clone(),
            sequence_number: Number(record.sequence_number().clone()),
            sub: record.sub_sequence_number(),
            key: record.partition_key().to_owned(),
            data: String::from_utf8_lossy(record.data()).into_owned(),
        }
    }
}

/// Everything a reader has to see, and everything that lies in the stream at all.
pub struct Truth {
    pub readable: BTreeSet<Seen>,
    pub stored: BTreeSet<String>,
}

impl Truth {
    pub fn of(world: &World) -> Truth {
        let mut ranges = BTreeMap::new();
        let mut truth = Truth {
            readable: BTreeSet::new(),
            stored: BTreeSet::new(),
        };
        for record in world.kinesis.records(STREAM) {
            let shard = ShardRef::new(STREAM, record.shard_id.clone());
            let range = *ranges
                .entry(shard.clone())
                .or_insert_with(|| world.range_of(&shard));
            let seen = |sub: Option<u64>, key: &str, data: &[u8]| Seen {
                shard: shard.clone(),
                sequence_number: Number(record.sequence_number.clone()),
                sub,
                key: key.to_owned(),
                data: String::from_utf8_lossy(data).into_owned(),
            };
            let Some(subs) = decode(&record.data).expect("nobody put a broken aggregate") else {
                let plain = seen(None, &record.partition_key, &record.data);
                truth.stored.insert(plain.data.clone());
                truth.readable.insert(plain);
                continue;
            };
            let placement = Misplaced::CompatKcl.judge(&subs, &range);
            for (
                sub,
                SubRecord {
                    partition_key,
                    data,
                    ..
                },
            ) in (0..).zip(&subs)
            {
                let part = seen(Some(sub), partition_key, data);
                truth.stored.insert(part.data.clone());
                if placement.misplaced() == 0 {
                    truth.readable.insert(part);
                }
            }
        }
        truth
    }
}

impl Truth {
    /// Fails unless each record was handed out once at most, wherever and however often it was stored.
    pub fn check_contents(&self, seen: &[Seen]) {
        let mut places = BTreeMap::new();
        for record in seen {
            assert!(
                self.stored.contains(&record.data),
                "not stored: {record:#?}"
            );
            let before = places.insert(&record.data, record);
            assert!(
                before.is_none(),
                "handed out twice: {before:#?} {record:#?}"
            );
        }
    }

    /// Fails unless, of the records that were put in one life with the promise of order, the first
    /// readable copies lie in the order of their keys.
    pub fn check_order(&self, promised: impl Fn(usize) -> Option<usize>) {
        let mut readable: Vec<_> = self.readable.iter().collect();
        readable.sort_by_key(|seen| (&seen.sequence_number, seen.sub));
        let (mut last, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for record in readable {
            let number: usize = record.data[1..].parse().expect("r and a number");
            let Some(life) = promised(number).filter(|_| seen.insert(number)) else {
                continue;
            };
            let before = last.insert((life, &record.key), number);
            assert!(
                before < Some(number),
                "r{number} came behind r{before:?}: {record:#?}"
            );
        }
    }
}

/// Fails unless what was readable before the last look was seen, and nothing that is not there
/// after it; each record once, in the order of its key.
///
/// The two differ by what a dropped producer's last call stored meanwhile.
pub fn check(before: &Truth, after: &Truth, seen: &[Seen]) {
    let once: BTreeSet<Seen> = seen.iter().cloned().collect();
    let lost: Vec<_> = before.readable.difference(&once).take(3).collect();
    let invented: Vec<_> = once.difference(&after.readable).take(3).collect();
    assert!(lost.is_empty(), "lost {lost:#?}");
    assert!(invented.is_empty(), "seen but not stored {invented:#?}");
    assert_eq!(seen.len(), once.len(), "seen twice");
    let mut last: BTreeMap<&str, (&Number, Option<u64>)> = BTreeMap::new();
    for record in seen {
        let place = (&record.sequence_number, record.sub);
        // A child's numbers begin above its parents', so this holds across reshards.
        if let Some(before) = last.insert(&record.key, place) {
            assert!(
                before < place,
                "{} came after {before:?}: {record:#?}",
                record.key
            );
        }
    }
}
