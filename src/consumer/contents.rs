//! The contents of the newest records, for the policy that compares them.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::model::{HashKey, SequenceNumber, ShardRef, Timestamp};

/// One user record, as its content is compared.
pub(super) struct Content<'a> {
    pub partition_key: &'a str,
    /// `None` for a record that came without an aggregate: what it was put with is not known.
    pub explicit_hash_key: Option<Option<HashKey>>,
    pub data: &'a [u8],
    pub shard: &'a ShardRef,
    pub sequence_number: &'a SequenceNumber,
    pub sub_sequence_number: Option<u64>,
    pub arrived: Timestamp,
}

/// The contents of the newest records, as digests. Holds at most [`CONTENTS_MAX`] records.
#[derive(Debug)]
pub(super) struct Contents {
    window: Duration,
    /// Records remembered at most.
    max: usize,
    hashers: Hashers,
    /// The newer half, and the half before it: the oldest go together, without a look at each.
    halves: [HashMap<u128, Place>; 2],
    /// Records in the newer half.
    records: usize,
}

/// Which copy of a content was handed out.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Tells one record from another, not one content from another.
    record: u64,
    arrived: Timestamp,
}

/// Keyed at random, so that nobody can make two contents that look the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashers([RandomState; 2]);

pub(super) struct Digest {
    /// The content with what is known of its explicit hash key, and without it.
    own: u128,
    any: u128,
    /// The content as a record that came without an aggregate; `None` if this is one.
    plain: Option<u128>,
    place: Place,
}

impl Hashers {
    pub fn digest(&self, content: &Content<'_>) -> Digest {
        let hashed = self.0.each_ref().map(|state| {
            let mut hasher = state.build_hasher();
            hasher.write(content.partition_key.as_bytes());
            // No key has this byte, so key and data cannot be parted elsewhere.
            hasher.write_u8(0xff);
            hasher.write(content.data);
            hasher
        });
        let with = |tag: u8, hash_key: u128| {
            let [high, low] = hashed.each_ref().map(|hasher| {
                let mut hasher = hasher.clone();
                hasher.write_u8(tag);
                hasher.write_u128(hash_key);
                hasher.finish()
            });
            u128::from(high) << 64 | u128::from(low)
        };
        let (any, plain) = (with(0, 0), with(1, 0));
        let own = match content.explicit_hash_key {
            None => plain,
            Some(None) => with(2, 0),
            Some(Some(hash_key)) => with(3, hash_key.as_u128()),
        };
        let Content {
            shard,
            sequence_number,
            sub_sequence_number,
            ..
        } = content;
        let record = self.0[0].hash_one((shard, sequence_number, sub_sequence_number));
        Digest {
            own,
            any,
            plain: content.explicit_hash_key.map(|_| plain),
            place: Place {
                record,
                arrived: content.arrived,
            },
        }
    }
}

impl Contents {
    /// What makes digests, without a lock on the contents.
    pub fn hashers(&self) -> Hashers {
        self.hashers.clone()
    }

    pub fn new(window: Duration) -> Contents {
        Contents {
            window,
            max: CONTENTS_MAX,
            hashers: Hashers::default(),
            halves: Default::default(),
            records: 0,
        }
    }

    /// Takes note of a record, unless one with its content came before. A record that is read again, as
    /// its reading began again, is the same and not a repeat.
    pub fn was_seen(&mut self, digest: &Digest) -> bool {
        // A record without an aggregate may have any explicit hash key.
        let alike = match digest.plain {
            Some(plain) => [Some(digest.own), Some(plain)],
            None => [Some(digest.any), None],
        };
        let before = alike.into_iter().flatten().find_map(|key| self.find(key));
        let is_near = |place: &Place| {
            let (one, other) = (place.arrived, digest.place.arrived);
            one.saturating_since(other).max(other.saturating_since(one)) < self.window
        };
        if let Some(place) = before.filter(is_near) {
            return place.record != digest.place.record;
        }
        if self.records >= self.max / 2 {
            self.halves.swap(0, 1);
            self.halves[0].clear();
            self.records = 0;
        }
        for key in [digest.own, digest.any] {
            self.halves[0].insert(key, digest.place);
        }
        self.records += 1;
        false
    }

    fn find(&self, key: u128) -> Option<Place> {
        let halves = self.halves.iter();
        halves.filter_map(|half| half.get(&key).copied()).next()
    }
}

/// Records whose contents are remembered: about 64 MiB of digests.
const CONTENTS_MAX: usize = 1 << 19;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn shard(name: &str) -> ShardRef {
        ShardRef::new("orders", name)
    }

    fn number(number: u64) -> SequenceNumber {
        number.to_string().parse().expect("a number")
    }

    /// Which of the records repeat one before them.
    fn seen<const N: usize>(records: [Content<'_>; N]) -> [bool; N] {
        let mut contents = Contents::new(Duration::from_secs(60));
        let hashers = contents.hashers();
        records.map(|record| contents.was_seen(&hashers.digest(&record)))
    }

    fn content<'a>(
        key: &'a str,
        hash_key: Option<Option<u128>>,
        data: &'a str,
        (shard, number): &'a (ShardRef, SequenceNumber),
        second: u64,
    ) -> Content<'a> {
        Content {
            partition_key: key,
            explicit_hash_key: hash_key.map(|known| known.map(HashKey::from)),
            data: data.as_bytes(),
            shard,
            sequence_number: number,
            sub_sequence_number: Some(0),
            arrived: NOW.saturating_add(Duration::from_secs(second)),
        }
    }

    #[test]
    fn a_content_is_its_key_its_explicit_hash_key_and_its_bytes() {
        let (first, other) = ((shard("a"), number(1)), (shard("b"), number(2)));
        let known = Some(Some(7));
        for (what, two, is_seen) in [
            ("the same", content("k", known, "d", &other, 0), true),
            ("itself", content("k", known, "d", &first, 0), false),
            ("another key", content("kd", known, "", &other, 0), false),
            ("other bytes", content("k", known, "e", &other, 0), false),
            (
                "another hash key",
                content("k", Some(Some(8)), "d", &other, 0),
                false,
            ),
            ("none", content("k", Some(None), "d", &other, 0), false),
            ("an unknown one", content("k", None, "d", &other, 0), true),
            ("in the window", content("k", known, "d", &other, 59), true),
            ("behind it", content("k", known, "d", &other, 60), false),
        ] {
            let one = content("k", known, "d", &first, 0);
            assert_eq!(seen([one, two]), [false, is_seen], "{what}");
        }
        let plain = || content("k", None, "d", &first, 0);
        let again = content("k", known, "d", &other, 0);
        assert_eq!(seen([plain(), again, plain()]), [false, true, false]);
    }

    #[test]
    fn the_oldest_contents_are_forgotten_and_memory_has_an_end() {
        let mut contents = Contents {
            max: 1_000,
            ..Contents::new(Duration::from_secs(60))
        };
        let digest = |at: u64| Digest {
            own: at.into(),
            any: u128::MAX - u128::from(at),
            plain: None,
            place: Place {
                record: at,
                arrived: NOW,
            },
        };
        let again = |at: u64| Digest {
            place: Place {
                record: u64::MAX,
                arrived: NOW,
            },
            ..digest(at)
        };
        let max = contents.max as u64;
        assert!((0..max).all(|at| !contents.was_seen(&digest(at))));
        assert!(contents.was_seen(&again(0)) && contents.was_seen(&again(max - 1)));
        assert!(!contents.was_seen(&digest(max)));
        assert!(!contents.was_seen(&again(0)), "forgotten");
        assert!(contents.was_seen(&again(max / 2)));
        let held: usize = contents.halves.iter().map(HashMap::len).sum();
        assert!(held <= 2 * contents.max, "{held}");
    }
}
