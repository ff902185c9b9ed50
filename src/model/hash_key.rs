use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

/// A position on the ring of 2^128 hash keys, which decides the shard a record goes to.
///
/// Prints and parses as the decimal that Kinesis uses in `ExplicitHashKey`, `StartingHashKey` and
/// `EndingHashKey`.
///
/// ```
/// use kinesis_blocking::HashKey;
///
/// let key = HashKey::of_partition_key("abcd");
/// assert_eq!(key.to_string(), "301716283811389038011477436469853762335");
/// assert_eq!("301716283811389038011477436469853762335".parse(), Ok(key));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(u128);

impl HashKey {
    /// The lowest hash key, where the first shard's range starts.
    pub const MIN: HashKey = HashKey(0);

    /// The highest hash key, 2^128 - 1, where the last shard's range ends.
    pub const MAX: HashKey = HashKey(u128::MAX);

    /// Computes where a partition key lies: its MD5, read as a big-endian number.
    ///
    /// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>
    pub fn of_partition_key(partition_key: &str) -> HashKey {
        HashKey(u128::from_be_bytes(Md5::digest(partition_key).into()))
    }

    /// Returns the number itself.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for HashKey {
    fn from(number: u128) -> HashKey {
        HashKey(number)
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HashKey {
    type Err = ParseHashKeyError;

    /// Takes what the KPL takes: a decimal with blanks around it, a sign or zeros before it.
    fn from_str(text: &str) -> Result<HashKey, ParseHashKeyError> {
        let text = text.trim();
        let parsed = digits(text).or_else(|| text.parse().ok()).map(HashKey);
        parsed.ok_or_else(|| ParseHashKeyError {
            text: text.to_owned(),
        })
    }
}

/// Reads 19 digits at a time, which is several times as fast as in 128 bits: a stream may have a
/// hundred thousand shards, each listed with two keys. `None` if it is something else.
fn digits(text: &str) -> Option<u128> {
    let value = |value: u128, part: &[u8]| {
        let digit = |sum: u64, digit: &u8| {
            let is_digit = digit.is_ascii_digit();
            is_digit.then(|| sum * 10 + u64::from(digit - b'0'))
        };
        let part_value = part.iter().try_fold(0, digit)?;
        let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
        value.checked_mul(scale)?.checked_add(part_value.into())
    };
    let parts = text.as_bytes().chunks(DIGITS_OF_U64);
    parts
        .into_iter()
        .try_fold(0, value)
        .filter(|_| !text.is_empty())
}

/// So many digits always fit into 64 bits.
const DIGITS_OF_U64: usize = 19;

/// The text was not a whole number from 0 to 2^128 - 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseHashKeyError {
    text: String,
}

impl fmt::Display for ParseHashKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "hash key {:?} is not a whole number from 0 to {}",
            self.text,
            HashKey::MAX
        )
    }
}

impl std::error::Error for ParseHashKeyError {}

/// An inclusive range of hash keys: what a shard owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashKeyRange {
    /// The first hash key that belongs to the range.
    pub start: HashKey,
    /// The last hash key that belongs to the range.
    pub end: HashKey,
}

impl HashKeyRange {
    /// The whole ring, which the only shard of a stream owns.
    pub const FULL: HashKeyRange = HashKeyRange {
        start: HashKey::MIN,
        end: HashKey::MAX,
    };

    /// Says whether the range owns this hash key; both ends belong to it.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Says whether each hash key of the range is in one of these.
    #[cfg(feature = "client")]
    pub(crate) fn is_covered_by(&self, ranges: impl Iterator<Item = HashKeyRange>) -> bool {
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_by_key(|range| range.start);
        // The first that is not known to be in one; `None` behind the last of all.
        let mut open = Some(self.start.0);
        for range in ranges {
            open = match open {
                Some(key) if range.start.0 <= key => {
                    let behind = range.end.0.checked_add(1);
                    behind.map(|behind| behind.max(key))
                }
                _ => break,
            };
        }
        open.is_none_or(|open| open > self.end.0)
    }

    /// The smallest range with both.
    #[cfg(feature = "client")]
    pub(crate) fn hull(&self, other: HashKeyRange) -> HashKeyRange {
        HashKeyRange {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// Returns the hash key in the middle, where an even split of the shard starts its upper half.
    pub fn midpoint(&self) -> HashKey {
        let (start, end) = (self.start.0, self.end.0);
        HashKey(start + end.saturating_sub(start) / 2 + u128::from(end > start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "client")]
    fn a_range_is_covered_by_parts_without_a_hole() {
        let range = |start: u128, end: u128| HashKeyRange {
            start: start.into(),
            end: end.into(),
        };
        for (parts, covered) in [
            (vec![], false),
            (vec![range(10, 20)], true),
            (vec![range(0, u128::MAX)], true),
            (vec![range(15, 20), range(10, 14)], true),
            (vec![range(10, 14), range(16, 20)], false),
            (vec![range(10, 19)], false),
            (vec![range(11, 20)], false),
            (vec![range(5, 18), range(6, 7), range(19, 30)], true),
        ] {
            let is_so = range(10, 20).is_covered_by(parts.iter().copied());
            assert_eq!(is_so, covered, "{parts:?}");
        }
        let last = range(u128::MAX, u128::MAX);
        assert!(last.is_covered_by([HashKeyRange::FULL].into_iter()));
    }

    #[test]
    fn a_partition_key_hashes_to_its_md5_read_big_endian() {
        for (partition_key, hash_key) in [
            ("a", "16955237001963240173058271559858726497"),
            ("abc", "191415658344158766168031473277922803570"),
            ("abcd", "301716283811389038011477436469853762335"),
            ("0", "276215275525073243129443018166533317850"),
        ] {
            assert_eq!(
                HashKey::of_partition_key(partition_key).to_string(),
                hash_key,
                "{partition_key}"
            );
        }
    }

    #[test]
    fn a_hash_key_is_a_whole_number_of_128_bits() {
        let max = "340282366920938463463374607431768211455";
        for (text, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("+7", Some(7)),
            (" 7 ", Some(7)),
            (max, Some(u128::MAX)),
            ("340282366920938463463374607431768211456", None),
            ("-1", None),
            ("", None),
            ("x", None),
            ("1.0", None),
        ] {
            assert_eq!(
                text.parse::<HashKey>().ok().map(HashKey::as_u128),
                value,
                "{text:?}"
            );
        }
        assert_eq!(
            "x".parse::<HashKey>()
                .expect_err("not a number")
                .to_string(),
            format!("hash key \"x\" is not a whole number from 0 to {max}")
        );
    }

    #[test]
    fn a_range_owns_both_of_its_ends() {
        let range = HashKeyRange {
            start: HashKey(5),
            end: HashKey(8),
        };
        let inside: Vec<u128> = (3..=10)
            .filter(|&key| range.contains(HashKey(key)))
            .collect();
        assert_eq!(inside, [5, 6, 7, 8]);
    }

    #[test]
    fn the_midpoint_starts_the_upper_half() {
        for (start, end, middle) in [
            (0, u128::MAX, 1 << 127),
            (0, 1, 1),
            (0, 2, 2),
            (4, 7, 6),
            (5, 5, 5),
        ] {
            let range = HashKeyRange {
                start: HashKey(start),
                end: HashKey(end),
            };
            assert_eq!(range.midpoint(), HashKey(middle), "{start}..={end}");
        }
    }
}
