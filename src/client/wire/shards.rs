use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::client::answers::ShardIterator;
use crate::client::listing::ShardFilter;
use crate::client::wire::{Exchange, json, json_about, malformed, parsed, stream_field};
use crate::error::{Context, Error, Result};
use crate::model::{
    HashKey, HashKeyRange, Operation, SequenceNumber, Shard, ShardId, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

/// One page. The pages after the first are named by their token alone: with anything beside it the
/// service refuses them.
pub(in crate::client) struct ListShards<'a> {
    stream: &'a str,
    filter: Option<&'a ShardFilter>,
    token: Option<String>,
}

impl<'a> ListShards<'a> {
    pub fn first(stream: &'a str, filter: Option<&'a ShardFilter>) -> ListShards<'a> {
        ListShards {
            stream,
            filter,
            token: None,
        }
    }

    pub fn after(stream: &'a str, token: String) -> ListShards<'a> {
        ListShards {
            stream,
            filter: None,
            token: Some(token),
        }
    }
}

pub(in crate::client) struct ShardsPage {
    pub shards: Vec<Shard>,
    pub next_token: Option<String>,
}

impl Exchange for ListShards<'_> {
    const OPERATION: Operation = Operation::ListShards;
    type Answer = ShardsPage;

    fn body(&self) -> Bytes {
        match &self.token {
            Some(token) => json(&json!({ "NextToken": token })),
            None => {
                let filter = self.filter.map(filter_fields);
                let fields =
                    filter.map_or_else(|| json!({}), |filter| json!({ "ShardFilter": filter }));
                json_about(self.stream, fields)
            }
        }
    }

    fn answer(&self, body: Bytes) -> Result<ShardsPage> {
        let page: Page = parsed(&body)?;
        let shards = page.shards.into_iter().map(shard).collect::<Result<_>>()?;
        Ok(ShardsPage {
            shards,
            next_token: page.next_token.filter(|token| !token.is_empty()),
        })
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

fn filter_fields(filter: &ShardFilter) -> Value {
    match filter {
        ShardFilter::AfterShardId(id) => {
            json!({ "Type": "AFTER_SHARD_ID", "ShardId": id.as_str() })
        }
        ShardFilter::AtLatest => json!({ "Type": "AT_LATEST" }),
        ShardFilter::AtTimestamp(time) => {
            json!({ "Type": "AT_TIMESTAMP", "Timestamp": seconds(*time) })
        }
        ShardFilter::AtTrimHorizon => json!({ "Type": "AT_TRIM_HORIZON" }),
        ShardFilter::FromTimestamp(time) => {
            json!({ "Type": "FROM_TIMESTAMP", "Timestamp": seconds(*time) })
        }
        ShardFilter::FromTrimHorizon => json!({ "Type": "FROM_TRIM_HORIZON" }),
    }
}

/// A double holds the milliseconds of any date exactly enough.
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1_000.0
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
struct Text<T>(Result<T>);

trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self>;
}

impl FromText for ShardId {
    fn from_text(text: &str) -> Result<ShardId> {
        Ok(text.into())
    }
}

impl FromText for HashKey {
    fn from_text(text: &str) -> Result<HashKey> {
        text.parse().map_err(malformed)
    }
}

impl FromText for SequenceNumber {
    fn from_text(text: &str) -> Result<SequenceNumber> {
        text.parse().map_err(malformed)
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
pub(super) struct WireRange {
    starting_hash_key: Text<HashKey>,
    ending_hash_key: Text<HashKey>,
}

impl WireRange {
    pub fn read(self) -> Result<HashKeyRange> {
        Ok(HashKeyRange {
            start: self.starting_hash_key.0?,
            end: self.ending_hash_key.0?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSequenceNumbers {
    starting_sequence_number: Text<SequenceNumber>,
    ending_sequence_number: Option<Text<SequenceNumber>>,
}

fn shard(shard: WireShard) -> Result<Shard> {
    let (range, numbers) = (shard.hash_key_range.read()?, shard.sequence_number_range);
    let mut listed = Shard::new(
        shard.shard_id.0?,
        range,
        numbers.starting_sequence_number.0?,
    );
    let id = |id: Option<Text<ShardId>>| id.map(|id| id.0).transpose();
    listed.parent = id(shard.parent_shard_id)?;
    listed.adjacent_parent = id(shard.adjacent_parent_shard_id)?;
    let ending = numbers.ending_sequence_number.map(|number| number.0);
    listed.ending_sequence_number = ending.transpose()?;
    Ok(listed)
}

pub(in crate::client) struct GetShardIterator<'a> {
    shard: &'a ShardRef,
    position: Position<'a>,
}

enum Position<'a> {
    Simple(&'static str),
    Timestamp(Timestamp),
    Number(&'static str, &'a str),
}

impl<'a> GetShardIterator<'a> {
    pub fn new(shard: &'a ShardRef, position: &'a ShardPosition) -> Result<GetShardIterator<'a>> {
        let position = match position {
            ShardPosition::Start(StartPosition::Latest) => Position::Simple("LATEST"),
            ShardPosition::Start(StartPosition::TrimHorizon) => Position::Simple("TRIM_HORIZON"),
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Position::Timestamp(*time),
            // The rest of the aggregate is still to be handed out, so the aggregate is read again.
            ShardPosition::After {
                sequence_number,
                sub_sequence_number: Some(_),
            } => Position::Number("AT_SEQUENCE_NUMBER", sequence_number.as_str()),
            ShardPosition::After {
                sequence_number,
                sub_sequence_number: None,
            } => Position::Number("AFTER_SEQUENCE_NUMBER", sequence_number.as_str()),
            ShardPosition::ShardEnd => {
                return Err(Error::config(
                    "position",
                    "ShardEnd",
                    "a position that records can follow",
                ));
            }
        };
        Ok(GetShardIterator { shard, position })
    }

    fn fields(&self) -> Value {
        let (stream, shard_id) = (&*self.shard.stream, self.shard.shard_id.as_str());
        let mut fields = json!({ stream_field(stream): stream, "ShardId": shard_id });
        match self.position {
            Position::Simple(kind) => fields["ShardIteratorType"] = kind.into(),
            Position::Timestamp(time) => {
                fields["ShardIteratorType"] = "AT_TIMESTAMP".into();
                fields["Timestamp"] = seconds(time).into();
            }
            Position::Number(kind, number) => {
                fields["ShardIteratorType"] = kind.into();
                fields["StartingSequenceNumber"] = number.into();
            }
        }
        fields
    }
}

impl Exchange for GetShardIterator<'_> {
    const OPERATION: Operation = Operation::GetShardIterator;
    type Answer = Option<ShardIterator>;

    fn body(&self) -> Bytes {
        json(&self.fields())
    }

    fn answer(&self, body: Bytes) -> Result<Option<ShardIterator>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            shard_iterator: Option<String>,
        }
        let answer: Answer = parsed(&body)?;
        Ok(answer.shard_iterator.map(|token| ShardIterator {
            shard: self.shard.clone(),
            token,
        }))
    }

    fn subject(&self, context: &mut Context) {
        context.shard = Some(self.shard.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_as_aws_documents_it() {
        let body = r#"{"NextToken":"AAA","Shards":[
            {"ShardId":"shardId-000000000001","AdjacentParentShardId":null,"ParentShardId":"shardId-000000000000",
             "HashKeyRange":{"EndingHashKey":"68056473384187692692674921486353642280","StartingHashKey":"34028236692093846346337460743176821145"},
             "SequenceNumberRange":{"StartingSequenceNumber":"49579844037727333356165064238440708846556371693205002258"}}]}"#;
        let page = ListShards::first("orders", None)
            .answer(Bytes::copy_from_slice(body.as_bytes()))
            .expect("a page");
        let range = HashKeyRange {
            start: 34028236692093846346337460743176821145.into(),
            end: 68056473384187692692674921486353642280.into(),
        };
        let number = "49579844037727333356165064238440708846556371693205002258"
            .parse()
            .expect("a number");
        let mut expected = Shard::new("shardId-000000000001", range, number);
        expected.parent = Some("shardId-000000000000".into());
        assert_eq!(page.shards, [expected]);
        assert_eq!(page.next_token.as_deref(), Some("AAA"));
    }

    #[test]
    fn a_later_page_is_asked_for_by_its_token_alone() {
        assert_eq!(
            ListShards::first("orders", None).body(),
            r#"{"StreamName":"orders"}"#
        );
        assert_eq!(
            ListShards::after("orders", "AAA".to_owned()).body(),
            r#"{"NextToken":"AAA"}"#
        );
    }

    #[test]
    fn a_filter_goes_along_with_the_first_page() {
        let time = Timestamp::from_millis(1_459_799_926_480);
        for (filter, fields) in [
            (
                ShardFilter::AfterShardId("shardId-7".into()),
                r#""ShardId":"shardId-7","Type":"AFTER_SHARD_ID""#,
            ),
            (ShardFilter::AtLatest, r#""Type":"AT_LATEST""#),
            (
                ShardFilter::AtTimestamp(time),
                r#""Timestamp":1459799926.48,"Type":"AT_TIMESTAMP""#,
            ),
            (ShardFilter::AtTrimHorizon, r#""Type":"AT_TRIM_HORIZON""#),
            (
                ShardFilter::FromTimestamp(time),
                r#""Timestamp":1459799926.48,"Type":"FROM_TIMESTAMP""#,
            ),
            (
                ShardFilter::FromTrimHorizon,
                r#""Type":"FROM_TRIM_HORIZON""#,
            ),
        ] {
            assert_eq!(
                ListShards::first("orders", Some(&filter)).body(),
                format!(r#"{{"ShardFilter":{{{fields}}},"StreamName":"orders"}}"#)
            );
        }
    }

    #[test]
    fn each_position_has_its_kind_of_iterator() {
        let shard = ShardRef::new("orders", "shardId-0");
        let after = |sub_sequence_number| ShardPosition::After {
            sequence_number: "7".parse().expect("a number"),
            sub_sequence_number,
        };
        let time = Timestamp::from_millis(1_459_799_926_480);
        for (position, expected) in [
            (
                ShardPosition::Start(StartPosition::Latest),
                json!({"ShardIteratorType": "LATEST"}),
            ),
            (
                ShardPosition::Start(StartPosition::TrimHorizon),
                json!({"ShardIteratorType": "TRIM_HORIZON"}),
            ),
            (
                ShardPosition::Start(StartPosition::AtTimestamp(time)),
                json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1459799926.48}),
            ),
            (
                after(None),
                json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "7"}),
            ),
            (
                after(Some(3)),
                json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "7"}),
            ),
        ] {
            let mut fields = GetShardIterator::new(&shard, &position)
                .expect("a request")
                .fields();
            let named = fields.as_object_mut().expect("an object");
            assert_eq!(named.remove("StreamName"), Some("orders".into()));
            assert_eq!(named.remove("ShardId"), Some("shardId-0".into()));
            assert_eq!(fields, expected);
        }
        assert!(GetShardIterator::new(&shard, &ShardPosition::ShardEnd).is_err());
    }
}
