use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::answers::ShardIterator;
use crate::client::listing::ShardFilter;
use crate::client::wire::members::Node;
use crate::client::wire::tree::tree;
use crate::client::wire::usual_listing::usual;
use crate::client::wire::{Exchange, json, json_about, stream_field};
use crate::error::{Context, Error, Result};
use crate::model::{
    HashKeyRange, Operation, Shard, ShardPosition, ShardRef, StartPosition, Timestamp,
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
        if let Some(page) = usual(&body) {
            return Ok(page);
        }
        let tree = tree(&body)?;
        let page = Node::root(&tree);
        let (shards, next) = (page.at("Shards"), page.at("NextToken"));
        Ok(ShardsPage {
            shards: shards
                .items()?
                .map(|item| shard(&item))
                .collect::<Result<_>>()?,
            next_token: named(&next)?,
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

/// A hash key range, which two kinds of answers have.
pub(super) fn range(range: &Node<'_>) -> Result<HashKeyRange> {
    Ok(HashKeyRange {
        start: range.at("StartingHashKey").parsed()?,
        end: range.at("EndingHashKey").parsed()?,
    })
}

/// What a member names; one that is empty names nothing.
fn named(member: &Node<'_>) -> Result<Option<String>> {
    let text = member.text()?.map(Cow::into_owned);
    Ok(text.filter(|text| !text.is_empty()))
}

fn shard(shard: &Node<'_>) -> Result<Shard> {
    let id = shard.at("ShardId").required()?.into_owned();
    let (range, numbers) = (
        range(&shard.at("HashKeyRange"))?,
        shard.at("SequenceNumberRange"),
    );
    let ending = numbers.at("EndingSequenceNumber");
    let mut listed = Shard::new(id, range, numbers.at("StartingSequenceNumber").parsed()?);
    listed.parent = named(&shard.at("ParentShardId"))?.map(Into::into);
    listed.adjacent_parent = named(&shard.at("AdjacentParentShardId"))?.map(Into::into);
    listed.ending_sequence_number = match ending.is_missing() {
        true => None,
        false => Some(ending.parsed()?),
    };
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
        let tree = tree(&body)?;
        let answer = Node::root(&tree);
        let token = answer.at("ShardIterator").text()?;
        Ok(token.map(|token| ShardIterator {
            shard: self.shard.clone(),
            token: token.into_owned(),
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
    fn an_odd_listing_is_read_as_the_usual_one() {
        let listed = |body: String| ListShards::first("orders", None).answer(body.into());
        let page = |id: &str, parent: &str, token: &str| {
            format!(
                r#"{{"Shards":[{{"ShardId":{id}{parent},"SequenceNumberRange":{{"StartingSequenceNumber":"7"}},
                "HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"9"}}}}]{token}}}"#
            )
        };
        let usual = page("\"5\"", "", "");
        assert!(super::usual(usual.as_bytes()).is_some());
        let usual = listed(usual).expect("a page");
        for odd in [
            page("5", "", ""),
            page("\"5\"", ",\"ParentShardId\":\"\"", ""),
            page("\"5\"", "", ",\"NextToken\":\"\""),
            page("\"5\",\"ShardId\":\"5\"", "", ""),
            format!("\u{feff}{}", page("\"5\"", "", "")),
        ] {
            let read = listed(odd.clone()).expect("a page");
            assert_eq!(
                (read.shards, read.next_token),
                (usual.shards.clone(), None),
                "{odd}"
            );
        }
        let error = listed(page("\"\"", ",\"ParentShardId\":[]", "")).err();
        let text = error.expect("no shard").to_string();
        assert_eq!(
            text,
            "response member is malformed: Shards[0].ParentShardId is no text"
        );
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
