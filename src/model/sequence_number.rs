use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::model::all;

/// The place of a Kinesis record within its shard: a decimal number, ordered by value.
///
/// The text is kept as the service gave it, because it is handed back to the service; `9` is
/// nevertheless less than `10`, and `07` equals `7`. Cheap to clone.
#[derive(Clone)]
pub struct SequenceNumber(Digits);

/// Each record has a number, so those of usual length need no memory of their own.
#[derive(Clone)]
enum Digits {
    Short {
        length: u8,
        digits: [u8; SHORT_DIGITS],
    },
    Long(Arc<str>),
}

impl SequenceNumber {
    /// Returns the digits as the service wrote them.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Digits::Short { length, digits } => {
                let digits = &digits[..usize::from(*length)];
                std::str::from_utf8(digits).expect("digits were put in")
            }
            Digits::Long(digits) => digits,
        }
    }

    /// Reads 1 to 129 digits, and nothing else.
    #[inline(always)]
    pub(crate) fn from_digits(text: &[u8]) -> Option<SequenceNumber> {
        if !all(text, |byte| byte.is_ascii_digit()) || !(1..=DIGITS_MAX).contains(&text.len()) {
            return None;
        }
        let mut digits = [0; SHORT_DIGITS];
        Some(SequenceNumber(match digits.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Digits::Short {
                    length: text.len() as u8,
                    digits,
                }
            }
            None => Digits::Long(std::str::from_utf8(text).ok()?.into()),
        }))
    }

    /// Compares it with a number that may have been counted in another way; `None` if so.
    ///
    /// Some endpoints count records in another way than shards, with numbers of another length.
    #[cfg(feature = "client")]
    pub(crate) fn compare_alike(&self, other: &SequenceNumber) -> Option<Ordering> {
        (self.as_str().len() == other.as_str().len()).then(|| self.cmp(other))
    }

    fn significant(&self) -> &str {
        self.as_str().trim_start_matches('0')
    }
}

/// No service writes longer ones: `0|([1-9]\d{0,128})` in `API_GetShardIterator.html`.
const DIGITS_MAX: usize = 129;

/// The service's numbers have 56 digits; with this many the type has 64 bytes.
const SHORT_DIGITS: usize = 62;

impl FromStr for SequenceNumber {
    type Err = ParseSequenceNumberError;

    fn from_str(text: &str) -> Result<SequenceNumber, ParseSequenceNumberError> {
        SequenceNumber::from_digits(text.as_bytes()).ok_or_else(|| ParseSequenceNumberError {
            text: text.chars().take(DIGITS_MAX).collect(),
        })
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &SequenceNumber) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &SequenceNumber) -> Ordering {
        let (ours, theirs) = (self.significant(), other.significant());
        ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &SequenceNumber) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was not a decimal number of 1 to 129 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSequenceNumberError {
    text: String,
}

impl fmt::Display for ParseSequenceNumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sequence number {:?} is not a decimal number of 1 to {DIGITS_MAX} digits",
            self.text
        )
    }
}

impl std::error::Error for ParseSequenceNumberError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> SequenceNumber {
        text.parse().expect("a sequence number")
    }

    #[test]
    fn order_is_by_value_and_not_by_text() {
        let sorted = [
            "0",
            "7",
            "9",
            "10",
            "49590338271490256608559692538361571095921575989136588898",
        ];
        for pair in sorted.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
        assert_eq!(number("007"), number("7"));
        assert_eq!(number("007").as_str(), "007");
    }

    #[test]
    fn anything_but_digits_is_refused() {
        for text in ["", "-1", "1a", " 1", "LATEST", &"1".repeat(130)] {
            assert!(text.parse::<SequenceNumber>().is_err(), "{text:?}");
        }
        for (digits, at) in (1..70).flat_map(|digits| (0..digits).map(move |at| (digits, at))) {
            for other in *b"/:\0\xff" {
                let mut text = vec![b'9'; digits];
                text[at] = other;
                assert!(
                    SequenceNumber::from_digits(&text).is_none(),
                    "{digits} {at}"
                );
            }
        }
        for digits in [
            1,
            SHORT_DIGITS - 1,
            SHORT_DIGITS,
            SHORT_DIGITS + 1,
            DIGITS_MAX,
        ] {
            let text = "1".repeat(digits);
            assert_eq!(number(&text).as_str(), text);
        }
    }
}
