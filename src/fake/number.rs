use std::fmt;
use std::str::FromStr;

use crate::model::{SequenceNumber, Timestamp};

/// What a sequence number says, in 56 digits like the service's.
///
/// `49`, when the shard was made (13 digits), the count of records in it (20), when the record came
/// (13), the shard (8). A child is made later than its parents were, so its numbers start above
/// their end; within a shard the count alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub shard_made: Timestamp,
    /// 0 is the shard's start, and 1 its first record.
    pub count: u64,
    pub time: Timestamp,
    pub shard: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard_made, time) = (digits_of(self.shard_made), digits_of(self.time));
        write!(
            f,
            "{PREFIX}{shard_made:013}{:020}{time:013}{:08}",
            self.count, self.shard
        )
    }
}

impl Number {
    pub fn to_sequence_number(self) -> Option<SequenceNumber> {
        self.to_string().parse().ok()
    }

    /// Reads a number made here; `None` if it was not.
    pub fn read(text: &str) -> Option<Number> {
        let digits = text.strip_prefix(PREFIX)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits || digits.len() != 13 + 20 + 13 + 8 {
            return None;
        }
        Some(Number {
            shard_made: Timestamp::from_millis(part(digits, 0, 13)?),
            count: part(digits, 13, 33)?,
            time: Timestamp::from_millis(part(digits, 33, 46)?),
            shard: part(digits, 46, 54)?,
        })
    }
}

fn part<T: FromStr>(digits: &str, from: usize, to: usize) -> Option<T> {
    digits.get(from..to)?.parse().ok()
}

/// Thirteen digits last from 1970 to 2286.
fn digits_of(time: Timestamp) -> i64 {
    time.as_millis().clamp(0, 9_999_999_999_999)
}

const PREFIX: &str = "49";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_56_digits_and_reads_back() {
        let number = Number {
            shard_made: Timestamp::from_millis(1_700_000_000_000),
            count: 17,
            time: Timestamp::from_millis(1_700_000_000_123),
            shard: 5,
        };
        let text = "49170000000000000000000000000000017170000000012300000005";
        assert_eq!((number.to_string().as_str(), text.len()), (text, 56));
        assert_eq!(Number::read(text), Some(number));
    }

    #[test]
    fn other_numbers_are_not_ours() {
        let ours = "49170000000000000000000000000000017170000000012300000005";
        for text in [
            "",
            "0",
            "49",
            &ours[..55],
            &format!("{ours}0"),
            &ours.replace("49", "50"),
        ] {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }
}
