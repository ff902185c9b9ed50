use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::json;

use crate::client::answers::{self, GetRecordsOutput, RawRecord, ShardIterator};
use crate::client::wire::scanner::{Scanner, once};
use crate::client::wire::shards::WireRange;
use crate::client::wire::{Exchange, json, malformed, parsed, stream_field};
use crate::error::{Context, Result};
use crate::model::{Operation, Timestamp};

pub(in crate::client) struct GetRecords<'a> {
    pub iterator: &'a ShardIterator,
    pub limit: u32,
}

impl Exchange for GetRecords<'_> {
    const OPERATION: Operation = Operation::GetRecords;
    type Answer = GetRecordsOutput;

    fn body(&self) -> Bytes {
        let mut fields = json!({ "ShardIterator": self.iterator.token, "Limit": self.limit });
        // The iterator says it all, but for moto, which knows one made by an ARN with the ARN only.
        let stream = &*self.iterator.shard.stream;
        if stream_field(stream) == "StreamARN" {
            fields["StreamARN"] = stream.into();
        }
        json(&fields)
    }

    fn answer(&self, body: Bytes) -> Result<GetRecordsOutput> {
        match self.scanned(&body) {
            Some(output) => Ok(output),
            None => self.read_by_serde(&body),
        }
    }

    fn subject(&self, context: &mut Context) {
        context.shard = Some(self.iterator.shard.clone());
    }
}

impl GetRecords<'_> {
    /// The usual way, several times as fast as serde's. `None` for what is unusual.
    pub fn scanned(&self, body: &[u8]) -> Option<GetRecordsOutput> {
        let (mut records, mut next, mut behind, mut children) = (None, None, None, None);
        let mut text = Scanner::new(body);
        text.object(&MEMBERS, |text, member| match member {
            Some(0) => once(&mut children, text.value()?),
            Some(1) => once(&mut behind, text.value()?),
            Some(2) => once(&mut next, text.text(0)?),
            Some(3) => once(&mut records, scanned_records(text)?),
            _ => text.skip(),
        })?;
        text.end()?;
        let (records, payloads) = records?;
        let next = next.flatten().map(Cow::into_owned);
        let children = children.flatten();
        Some(self.output(
            with_payloads(records, &payloads).ok()?,
            next,
            behind.flatten(),
            children,
        ))
    }

    /// Reads whatever can be read, and says what is wrong with the rest.
    pub fn read_by_serde(&self, body: &[u8]) -> Result<GetRecordsOutput> {
        let answer: Answer<'_> = parsed(body)?;
        let payloads: Vec<_> = answer
            .records
            .iter()
            .map(|record| record.data.as_bytes())
            .collect();
        let records: Result<Vec<_>> = answer.records.iter().map(Record::without_payload).collect();
        let (next, behind) = (answer.next_shard_iterator, answer.millis_behind_latest);
        let records = with_payloads(records?, &payloads)?;
        Ok(self.output(records, next, behind, answer.child_shards))
    }

    fn output(
        &self,
        records: Vec<RawRecord>,
        next: Option<String>,
        millis_behind_latest: Option<u64>,
        children: Option<Vec<ChildShard>>,
    ) -> GetRecordsOutput {
        let shard = &self.iterator.shard;
        let next = next.map(|token| ShardIterator {
            shard: shard.clone(),
            token,
        });
        let children = children.unwrap_or_default().into_iter();
        GetRecordsOutput {
            records,
            next,
            millis_behind_latest,
            // One that cannot be read is in the next listing.
            child_shards: children.filter_map(ChildShard::read).collect(),
        }
    }
}

const MEMBERS: [&str; 4] = [
    "ChildShards",
    "MillisBehindLatest",
    "NextShardIterator",
    "Records",
];

/// All records but for their payloads, and these in base64.
fn scanned_records<'a>(text: &mut Scanner<'a>) -> Option<(Vec<RawRecord>, Vec<&'a [u8]>)> {
    let (mut records, mut payloads) = (Vec::<RawRecord>::new(), Vec::new());
    let mut lengths = Lengths::default();
    text.array(|text| {
        let ahead = text.ahead();
        let (record, payload) = scanned_record(text, &mut lengths)?;
        if records.is_empty() {
            // Most records are as long as the first.
            let expected = (ahead / (ahead - text.ahead())).min(RECORDS_MAX);
            records.reserve_exact(expected);
            payloads.reserve_exact(expected);
        }
        records.push(record);
        payloads.push(payload);
        Some(())
    })?;
    Some((records, payloads))
}

/// Of the last record's strings: the next one's are often as long.
#[derive(Default)]
struct Lengths {
    data: usize,
    key: usize,
    number: usize,
}

fn scanned_record<'a>(
    text: &mut Scanner<'a>,
    lengths: &mut Lengths,
) -> Option<(RawRecord, &'a [u8])> {
    let (mut arrived, mut data, mut key, mut number) = (None, None, None, None);
    text.object(&RECORD_MEMBERS, |text, member| match member {
        Some(0) => once(&mut arrived, scanned_arrival(text)?),
        Some(1) => once(&mut data, text.string(lengths.data)?),
        Some(2) => once(&mut key, text.text(lengths.key)?),
        Some(3) => once(&mut number, text.string(lengths.number)?),
        _ => text.skip(),
    })?;
    let (data, key, number) = (data?, key.flatten().unwrap_or_default(), number?);
    *lengths = Lengths {
        data: data.len(),
        key: key.len(),
        number: number.len(),
    };
    let record = RawRecord {
        data: Bytes::new(),
        partition_key: key.into(),
        sequence_number: std::str::from_utf8(number).ok()?.parse().ok()?,
        approximate_arrival: arrived.unwrap_or(Timestamp::from_millis(0)),
    };
    Some((record, data))
}

const RECORD_MEMBERS: [&str; 4] = [
    "ApproximateArrivalTimestamp",
    "Data",
    "PartitionKey",
    "SequenceNumber",
];

fn scanned_arrival(text: &mut Scanner<'_>) -> Option<Timestamp> {
    match text.seconds_as_millis() {
        Some(millis) => Some(Timestamp::from_millis(millis)),
        None => Some(arrival(text.value()?)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<u64>,
    child_shards: Option<Vec<ChildShard>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    /// Borrowed unless the endpoint escapes characters of base64, `\/` say.
    #[serde(borrow)]
    data: Cow<'a, str>,
    /// Missing where a stream spreads records by itself and the producer gave none.
    #[serde(borrow, default)]
    partition_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    approximate_arrival_timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChildShard {
    shard_id: String,
    #[serde(default)]
    parent_shards: Vec<String>,
    hash_key_range: Option<WireRange>,
}

impl ChildShard {
    fn read(self) -> Option<answers::ChildShard> {
        Some(answers::ChildShard {
            id: self.shard_id.into(),
            parents: self.parent_shards.into_iter().map(Into::into).collect(),
            hash_key_range: self.hash_key_range?.read().ok()?,
        })
    }
}

impl Record<'_> {
    fn without_payload(&self) -> Result<RawRecord> {
        Ok(RawRecord {
            data: Bytes::new(),
            partition_key: self.partition_key.as_deref().unwrap_or_default().into(),
            sequence_number: self.sequence_number.parse().map_err(malformed)?,
            approximate_arrival: arrival(self.approximate_arrival_timestamp),
        })
    }
}

/// Decodes all payloads into one buffer, of which the records become slices.
fn with_payloads(mut records: Vec<RawRecord>, payloads: &[&[u8]]) -> Result<Vec<RawRecord>> {
    let bytes = payloads
        .iter()
        .map(|text| base64::decoded_len_estimate(text.len()))
        .sum();
    let mut buffer = BytesMut::zeroed(bytes);
    for (record, text) in records.iter_mut().zip(payloads) {
        let length = BASE64.decode_slice(text, &mut buffer).map_err(malformed)?;
        record.data = buffer.split_to(length).freeze();
    }
    Ok(records)
}

/// Seconds since the epoch, with a fraction, to milliseconds.
fn arrival(seconds: Option<f64>) -> Timestamp {
    // A float becomes the nearest integer there is; no number becomes zero.
    Timestamp::from_millis((seconds.unwrap_or(0.0) * 1_000.0).round() as i64)
}

/// The most that GetRecords gives.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const RECORDS_MAX: usize = 10_000;

/// The engine that uses vector instructions where the machine has them; `STANDARD` does not.
pub(super) static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HashKeyRange, ShardRef};

    fn answer(body: &str) -> Result<GetRecordsOutput> {
        let iterator = ShardIterator {
            shard: ShardRef::new("orders", "shardId-0"),
            token: "token".to_owned(),
        };
        GetRecords {
            iterator: &iterator,
            limit: 10_000,
        }
        .answer(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn an_answer_is_read_as_aws_documents_it() {
        let output = answer(
            r#"{"MillisBehindLatest":2100,"NextShardIterator":"AAAB","Records":[
                {"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"XzxkYXRhPl8w","PartitionKey":"part\"itionKey",
                 "SequenceNumber":"21269319989652663814458848515492872193","EncryptionType":"NONE"},
                {"Data":"","PartitionKey":"é","SequenceNumber":"9"},
                {"Data":"","SequenceNumber":"10","PartitionKey":null}]}"#,
        )
        .expect("an answer");
        let record = |data: &'static str, key: &str, number: &str, millis| RawRecord {
            data: Bytes::from_static(data.as_bytes()),
            partition_key: key.into(),
            sequence_number: number.parse().expect("a number"),
            approximate_arrival: Timestamp::from_millis(millis),
        };
        assert_eq!(
            output.records,
            [
                record(
                    "_<data>_0",
                    "part\"itionKey",
                    "21269319989652663814458848515492872193",
                    1_441_215_410_867
                ),
                record("", "é", "9", 0),
                record("", "", "10", 0),
            ]
        );
        assert_eq!(output.millis_behind_latest, Some(2100));
        assert_eq!(output.next.expect("an iterator").token, "AAAB");
    }

    #[test]
    fn the_end_of_a_shard_is_no_iterator_or_a_null_one() {
        for (iterator, children) in [
            ("", 0),
            (r#","NextShardIterator":null,"ChildShards":null"#, 0),
        ] {
            let output = answer(&format!(r#"{{"Records":[]{iterator}}}"#)).expect("an answer");
            assert!(output.next.is_none());
            assert_eq!(output.child_shards.len(), children);
        }
        let output = answer(
            r#"{"Records":[],"ChildShards":[{"ShardId":"shardId-1","ParentShards":["shardId-0"],
                "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}]}"#,
        );
        let child = answers::ChildShard {
            id: "shardId-1".into(),
            parents: vec!["shardId-0".into()],
            hash_key_range: HashKeyRange {
                start: 0.into(),
                end: 1.into(),
            },
        };
        assert_eq!(output.expect("an answer").child_shards, [child]);
    }

    #[test]
    fn payloads_share_one_buffer() {
        let record =
            |data| format!(r#"{{"Data":"{data}","PartitionKey":"k","SequenceNumber":"1"}}"#);
        let body = format!(
            r#"{{"Records":[{},{}]}}"#,
            record("YWJj"),
            record("ZGVmZw==")
        );
        let records = answer(&body).expect("an answer").records;
        assert_eq!(
            (&records[0].data[..], &records[1].data[..]),
            (&b"abc"[..], &b"defg"[..])
        );
        assert_eq!(
            records[0].data.as_ptr().wrapping_add(3),
            records[1].data.as_ptr()
        );
    }

    #[test]
    fn anything_else_is_malformed_and_not_quoted() {
        let secret =
            r#"{"Records":[{"Data":"c2VjcmV0!","PartitionKey":"k","SequenceNumber":"1"}]}"#;
        for body in ["", "<html>", "{}", r#"{"Records":[{}]}"#, secret] {
            let message = answer(body).expect_err("malformed").to_string();
            assert!(message.starts_with("response is malformed: "), "{message}");
            assert!(!message.contains("c2VjcmV0"), "{message}");
        }
    }
}
