//! Shard iterators and page tokens: opaque outside, and nothing kept of them inside.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fake::base64;
use crate::fake::refusal::Refusal;
use crate::model::Timestamp;

/// A place between two records of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Iterator {
    pub stream: String,
    /// When the stream was made: an iterator does not outlive its stream.
    pub made: i64,
    pub shard: u32,
    pub position: u64,
    pub issued: i64,
}

/// The rest of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    pub stream: String,
    /// The last shard shown.
    pub after: Option<u32>,
    pub filter: Option<(String, i64)>,
    #[serde(skip)]
    pub max_results: usize,
    pub listed: i64,
}

pub(super) fn seal<T: Serialize>(token: &T) -> String {
    // Numbers and texts always make JSON.
    base64::encode(&serde_json::to_vec(token).unwrap_or_default())
}

impl Iterator {
    pub fn open(text: &str, now: Timestamp) -> Result<Iterator, Refusal> {
        let iterator: Iterator =
            unseal(text).ok_or_else(|| Refusal::invalid("Invalid ShardIterator."))?;
        let age = age(iterator.issued, now);
        if age > LIFETIME {
            let message = format!(
                "Iterator expired. The iterator was created at time {} while right now it is {now} \
                 which is further in the future than the tolerated delay of {} milliseconds.",
                Timestamp::from_millis(iterator.issued),
                LIFETIME.as_millis()
            );
            return Err(Refusal::new("ExpiredIteratorException", message));
        }
        Ok(iterator)
    }
}

impl Page {
    pub fn open(text: &str, now: Timestamp) -> Result<Page, Refusal> {
        let page: Page = unseal(text).ok_or_else(|| Refusal::invalid("Invalid NextToken."))?;
        if age(page.listed, now) > LIFETIME {
            return Err(Refusal::new(
                "ExpiredNextTokenException",
                "NextToken has expired: it is valid for 300 seconds.",
            ));
        }
        Ok(page)
    }
}

/// What an iterator is about, however old it is.
pub(super) fn peek(text: &str) -> Option<Iterator> {
    unseal(text)
}

pub(super) fn peek_page(text: &str) -> Option<Page> {
    unseal(text)
}

fn unseal<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&base64::decode(text)?).ok()
}

fn age(issued: i64, now: Timestamp) -> Duration {
    now.saturating_since(Timestamp::from_millis(issued))
}

/// `API_GetShardIterator.html` and `API_ListShards.html`: both live for 300 seconds.
const LIFETIME: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn iterator() -> Iterator {
        Iterator {
            stream: "orders".to_owned(),
            made: 1,
            shard: 2,
            position: 3,
            issued: 1_700_000_000_000,
        }
    }

    #[test]
    fn an_iterator_lives_for_five_minutes() {
        let sealed = seal(&iterator());
        for (age, code) in [
            (0, None),
            (300_000, None),
            (300_001, Some("ExpiredIteratorException")),
        ] {
            let opened = Iterator::open(&sealed, Timestamp::from_millis(1_700_000_000_000 + age));
            assert_eq!(opened.as_ref().err().map(|no| &*no.code), code, "{age}");
            assert_eq!(opened.ok(), code.is_none().then(iterator), "{age}");
        }
    }

    #[test]
    fn a_token_of_another_kind_is_refused() {
        let page = Page {
            stream: "orders".to_owned(),
            after: Some(0),
            filter: None,
            max_results: 0,
            listed: 0,
        };
        let now = Timestamp::from_millis(1);
        for text in ["", "garbage", "AAAA", &seal(&page)] {
            assert_eq!(
                Iterator::open(text, now),
                Err(Refusal::invalid("Invalid ShardIterator."))
            );
        }
        assert_eq!(Page::open(&seal(&page), now), Ok(page));
    }
}
