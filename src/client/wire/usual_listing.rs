//! A page of shards as AWS writes it, read without a copy of its texts.

use std::fmt;
use std::marker::PhantomData;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use crate::client::wire::shards::ShardsPage;
use crate::model::{HashKey, HashKeyRange, SequenceNumber, Shard, ShardId};

/// `None` for a page that is unusual, which is read member by member.
pub(super) fn usual(body: &[u8]) -> Option<ShardsPage> {
    let page: Page = serde_json::from_slice(body).ok()?;
    Some(ShardsPage {
        shards: page.shards.into_iter().map(shard).collect::<Option<_>>()?,
        next_token: page.next_token.filter(|token| !token.is_empty()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    shards: Vec<WireShard>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireShard {
    shard_id: Text<ShardId>,
    hash_key_range: WireRange,
    parent_shard_id: Option<Text<ShardId>>,
    adjacent_parent_shard_id: Option<Text<ShardId>>,
    sequence_number_range: WireSequenceNumbers,
}

/// What a text means, without a copy of the text: a stream may have a hundred thousand shards.
struct Text<T>(Option<T>);

trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for ShardId {
    fn from_text(text: &str) -> Option<ShardId> {
        // An empty name is none.
        (!text.is_empty()).then(|| text.into())
    }
}

impl FromText for HashKey {
    fn from_text(text: &str) -> Option<HashKey> {
        text.parse().ok()
    }
}

impl FromText for SequenceNumber {
    fn from_text(text: &str) -> Option<SequenceNumber> {
        text.parse().ok()
    }
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<T>, D::Error> {
        struct Read<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for Read<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<T>, E> {
                Ok(Text(T::from_text(text)))
            }
        }

        deserializer.deserialize_str(Read(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRange {
    starting_hash_key: Text<HashKey>,
    ending_hash_key: Text<HashKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSequenceNumbers {
    starting_sequence_number: Text<SequenceNumber>,
    ending_sequence_number: Option<Text<SequenceNumber>>,
}

fn shard(shard: WireShard) -> Option<Shard> {
    let (range, numbers) = (shard.hash_key_range, shard.sequence_number_range);
    let range = HashKeyRange {
        start: range.starting_hash_key.0?,
        end: range.ending_hash_key.0?,
    };
    let starting = numbers.starting_sequence_number.0?;
    let mut listed = Shard::new(shard.shard_id.0?, range, starting);
    if let Some(parent) = shard.parent_shard_id {
        listed.parent = Some(parent.0?);
    }
    if let Some(parent) = shard.adjacent_parent_shard_id {
        listed.adjacent_parent = Some(parent.0?);
    }
    if let Some(ending) = numbers.ending_sequence_number {
        listed.ending_sequence_number = Some(ending.0?);
    }
    Some(listed)
}
