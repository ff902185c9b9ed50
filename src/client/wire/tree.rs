//! Bodies as trees of the members that this library knows. All others are stepped over: an odd one among them, a number
//! too large for any type say, keeps nothing else from being read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::client::wire::malformed;
use crate::error::Result;

/// Reads a whole body.
///
/// # Errors
/// `Malformed`, without a quote: the body may hold records.
pub(super) fn tree(body: &[u8]) -> Result<Value> {
    let tree = parsed(body).map_err(|error| {
        let what = match error.classify() {
            Category::Eof => "it breaks off",
            Category::Data | Category::Io | Category::Syntax => "it is no JSON",
        };
        let (line, column) = (error.line(), error.column());
        malformed(format_args!("{what}, line {line} column {column}"))
    })?;
    match tree.is_object() {
        true => Ok(tree),
        false => Err(malformed("it is no JSON object")),
    }
}

/// An object, of a body that may be anything.
pub(super) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match parsed(body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn parsed(body: &[u8]) -> serde_json::Result<Value> {
    let body = without_byte_order_mark(body);
    serde_json::from_slice(body).map(|Known(value)| value)
}

pub(super) fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A value whose objects hold known members only; of two with the same name the last one.
struct Known(Value);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Known, D::Error> {
        source.deserialize_any(Reader).map(Known)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Known(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            if KNOWN.contains(&&*name) {
                object.insert(name.into_owned(), members.next_value::<Known>()?.0);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(object.into())
    }
}

/// The members of all answers, then those of errors.
const KNOWN: [&str; 36] = [
    "AdjacentParentShardId",
    "ApproximateArrivalTimestamp",
    "ChildShards",
    "Data",
    "EndingHashKey",
    "EndingSequenceNumber",
    "ErrorCode",
    "ErrorMessage",
    "HashKeyRange",
    "MillisBehindLatest",
    "NextShardIterator",
    "NextToken",
    "OpenShardCount",
    "ParentShardId",
    "ParentShards",
    "PartitionKey",
    "RecordDistributionStrategy",
    "Records",
    "RetentionPeriodHours",
    "SequenceNumber",
    "SequenceNumberRange",
    "ShardId",
    "ShardIterator",
    "Shards",
    "StartingHashKey",
    "StartingSequenceNumber",
    "StreamARN",
    "StreamDescriptionSummary",
    "StreamStatus",
    "Code",
    "Error",
    "Message",
    "__type",
    "code",
    "errorMessage",
    "message",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_keeps_nothing_from_being_read() {
        let body = "\u{feff}{\"Other\":1e999,\"Records\":[{\"Data\":\"a\",\"Data\":\"b\",\"More\":{\"x\":\"\\ud800\"}}],\
            \"NextToken\":null,\"OpenShardCount\":-1,\"Message\":1.5,\"code\":true}";
        let expected = json!({"Records": [{"Data": "b"}], "NextToken": null, "OpenShardCount": -1,
            "Message": 1.5, "code": true});
        assert_eq!(tree(body.as_bytes()).expect("read"), expected);
        assert_eq!(object(b"[]"), None);
    }

    #[test]
    fn what_is_no_answer_is_told_without_a_quote() {
        for (body, wrong) in [
            (&br#"{"Records"#[..], "it breaks off, line 1 column 9"),
            (b"hidden", "it is no JSON, line 1 column 1"),
            (br#"["hidden"]"#, "it is no JSON object"),
            (b"", "it breaks off, line 1 column 0"),
        ] {
            let error = tree(body).expect_err(wrong);
            let expected = format!("response is malformed: {wrong}");
            assert_eq!(error.to_string(), expected);
        }
        assert!(tree(b"\xff\xfe").is_err(), "not UTF-8");
    }
}
