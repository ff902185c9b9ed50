use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use crate::client::answers::{self, GetRecordsOutput, RawRecord, ShardIterator};
use crate::client::wire::members::Node;
use crate::client::wire::scanner::{Scanner, Template, once};
use crate::client::wire::shards::range;
use crate::client::wire::text::{push_json_string, push_stream};
use crate::client::wire::tree::tree;
use crate::client::wire::{Exchange, malformed, stream_field};
use crate::error::{Context, Error, Result};
use crate::model::{Operation, PartitionKey, SequenceNumber, Timestamp};
use crate::sys::base64::ANY_PADDING;
use crate::sys::buffers::Writing;

pub(in crate::client) struct GetRecords<'a> {
    pub iterator: &'a ShardIterator,
    pub limit: u32,
    /// The caller asks for less after a time-out: so much would not arrive the next time either.
    pub is_shortened: bool,
}

impl Exchange for GetRecords<'_> {
    const OPERATION: Operation = Operation::GetRecords;
    type Answer = GetRecordsOutput;

    fn body(&self) -> Bytes {
        let (token, stream) = (&*self.iterator.token, &*self.iterator.shard.stream);
        let mut body = Writing::over(Vec::new(), token.len() + stream.len() + FIELDS_BYTES);
        body.push(b"{\"ShardIterator\":");
        push_json_string(&mut body, token);
        // The iterator says it all, but for moto, which knows one made by an ARN with the ARN only.
        if stream_field(stream) == "StreamARN" {
            body.push(b",");
            push_stream(&mut body, stream);
        }
        body.push(format!(",\"Limit\":{}}}", self.limit).as_bytes());
        body.into_message()
    }

    fn answer(&self, body: Bytes) -> Result<GetRecordsOutput> {
        let read = match scanned(&body) {
            Some(read) => read,
            None => read_by_serde(&body)?,
        };
        // Its memory is wanted for the records.
        drop(body);
        self.output(read)
    }

    fn is_repeated_after(&self, error: &Error) -> bool {
        !(self.is_shortened && error.is_timeout())
    }

    fn subject(&self, context: &mut Context) {
        context.shard = Some(self.iterator.shard.clone());
    }
}

/// All that an answer says.
pub(in crate::client) struct Read {
    records: Assembly,
    next: Option<String>,
    millis_behind_latest: Option<u64>,
    children: Vec<answers::ChildShard>,
}

/// The usual way, several times as fast as serde's. `None` for what is unusual.
pub(in crate::client) fn scanned(body: &[u8]) -> Option<Read> {
    let (mut records, mut next, mut behind, mut children) = (None, None, None, None);
    let mut text = Scanner::new(body);
    text.object(&MEMBERS, |text, member| match member {
        Some(0) => once(&mut children, child_shards(Some(&text.value()?))),
        Some(1) => once(&mut behind, text.value()?),
        Some(2) => once(&mut next, text.text(0)?),
        Some(3) => once(&mut records, scanned_records(text)?),
        _ => text.skip(),
    })?;
    text.end()?;
    Some(Read {
        records: records?,
        next: next.flatten().map(Cow::into_owned),
        millis_behind_latest: behind.flatten(),
        children: children.unwrap_or_default(),
    })
}

/// Reads whatever can be read, and names the member that cannot.
pub(in crate::client) fn read_by_serde(body: &[u8]) -> Result<Read> {
    let tree = tree(body)?;
    let answer = Node::root(&tree);
    let list = answer.at("Records");
    let mut records = Assembly::default();
    for record in list.items()? {
        join(&record, &mut records)?;
    }
    Ok(Read {
        records,
        next: answer.at("NextShardIterator").text()?.map(Cow::into_owned),
        millis_behind_latest: answer.at("MillisBehindLatest").count(),
        children: child_shards(tree.get("ChildShards")),
    })
}

fn join(record: &Node<'_>, records: &mut Assembly) -> Result<()> {
    let (data, arrived) = (record.at("Data"), record.at("ApproximateArrivalTimestamp"));
    let text = data.required()?;
    // Missing where a stream spreads records by itself and the producer gave none.
    let key = record.at("PartitionKey").text()?.unwrap_or_default();
    let number = record.at("SequenceNumber").parsed()?;
    let seconds = match (arrived.is_missing(), arrived.decimal()) {
        (false, None) => return Err(arrived.wrong("is no number of seconds")),
        (_, seconds) => seconds,
    };
    let joined = records.push(text.as_bytes(), key.as_bytes(), number, arrival(seconds));
    joined.map_err(|_| data.wrong("is no base64"))
}

/// Those that can be read; the others are in the next listing.
fn child_shards(list: Option<&Value>) -> Vec<answers::ChildShard> {
    let Some(list) = list else {
        return Vec::new();
    };
    let list = Node::root(list);
    let children = list.items().into_iter().flatten();
    children
        .filter_map(|child| child_shard(&child).ok())
        .collect()
}

fn child_shard(child: &Node<'_>) -> Result<answers::ChildShard> {
    let list = child.at("ParentShards");
    let parents = list.items().into_iter().flatten();
    let parents = parents.map(|parent| Ok(parent.required()?.as_ref().into()));
    Ok(answers::ChildShard {
        id: child.at("ShardId").required()?.as_ref().into(),
        parents: parents.collect::<Result<_>>()?,
        hash_key_range: range(&child.at("HashKeyRange"))?,
    })
}

impl GetRecords<'_> {
    pub fn output(&self, read: Read) -> Result<GetRecordsOutput> {
        let shard = &self.iterator.shard;
        let next = read.next.map(|token| ShardIterator {
            shard: shard.clone(),
            token,
        });
        Ok(GetRecordsOutput {
            records: read.records.records()?,
            next,
            millis_behind_latest: read.millis_behind_latest,
            child_shards: read.children,
        })
    }
}

const MEMBERS: [&str; 4] = [
    "ChildShards",
    "MillisBehindLatest",
    "NextShardIterator",
    "Records",
];

fn scanned_records<'a>(text: &mut Scanner<'a>) -> Option<Assembly> {
    let (mut assembly, mut template) = (Assembly::default(), Template::default());
    let lengths = Lengths::default();
    text.array(|text| {
        let ahead = text.ahead();
        let read = |text: &mut Scanner<'a>, record: &mut Scanned<'a>, member| {
            scanned_member(text, record, member, &lengths)
        };
        let record = text.object_like(&mut template, &RECORD_MEMBERS, read)?;
        let (data, number) = (record.data?, SequenceNumber::from_digits(record.number?)?);
        let key = record.key.flatten().unwrap_or_default();
        lengths.data.set(data.len());
        lengths.key.set(key.len());
        lengths.number.set(record.number?.len());
        assembly
            .push(data, &key, number, record.arrived.unwrap_or(EPOCH))
            .ok()?;
        if assembly.records.len() == 1 {
            // Most records are as long as the first.
            assembly.reserve((ahead / (ahead - text.ahead())).min(RECORDS_MAX));
        }
        Some(())
    })?;
    Some(assembly)
}

/// Of the last record's strings: the next one's are often as long.
#[derive(Default)]
struct Lengths {
    data: Cell<usize>,
    key: Cell<usize>,
    number: Cell<usize>,
}

#[derive(Default)]
struct Scanned<'a> {
    arrived: Option<Timestamp>,
    data: Option<&'a [u8]>,
    key: Option<Option<Cow<'a, [u8]>>>,
    number: Option<&'a [u8]>,
}

#[inline(always)]
fn scanned_member<'a>(
    text: &mut Scanner<'a>,
    record: &mut Scanned<'a>,
    member: usize,
    lengths: &Lengths,
) -> Option<()> {
    match member {
        0 => once(&mut record.arrived, scanned_arrival(text)?),
        1 => once(&mut record.data, text.string(lengths.data.get())?),
        2 => once(&mut record.key, text.bytes(lengths.key.get())?),
        _ => once(&mut record.number, text.string(lengths.number.get())?),
    }
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

/// Records whose payloads are still to become slices of one buffer, and their partition keys of one
/// text.
#[derive(Default)]
pub(in crate::client) struct Assembly {
    records: Vec<RawRecord>,
    /// Where the slices of each record end.
    ends: Vec<(u32, u32)>,
    data: Vec<u8>,
    keys: Vec<u8>,
}

impl Assembly {
    /// Makes room for so many records like the first one.
    fn reserve(&mut self, records: usize) {
        self.records.reserve_exact(records);
        self.ends.reserve_exact(records);
        self.data.reserve_exact(records * self.data.len());
        self.keys.reserve_exact(records * self.keys.len());
    }

    #[inline(always)]
    fn push(
        &mut self,
        base64: &[u8],
        key: &[u8],
        sequence_number: SequenceNumber,
        approximate_arrival: Timestamp,
    ) -> Result<()> {
        self.records.push(RawRecord {
            data: Bytes::new(),
            partition_key: PartitionKey::EMPTY,
            sequence_number,
            approximate_arrival,
        });
        let start = self.data.len();
        let room = base64::decoded_len_estimate(base64.len());
        self.data.resize(start + room, 0);
        let decoded = ANY_PADDING.decode_slice(base64, &mut self.data[start..]);
        self.data.truncate(start + decoded.map_err(malformed)?);
        self.keys.extend_from_slice(key);
        let end = |buffer: &[u8]| u32::try_from(buffer.len()).map_err(malformed);
        self.ends.push((end(&self.data)?, end(&self.keys)?));
        Ok(())
    }

    fn records(mut self) -> Result<Vec<RawRecord>> {
        let keys: Arc<str> = String::from_utf8(self.keys).map_err(malformed)?.into();
        let (data, mut data_start, mut key_start) = (Bytes::from(self.data), 0, 0);
        for (record, (data_end, key_end)) in self.records.iter_mut().zip(self.ends) {
            record.data = data.slice(data_start as usize..data_end as usize);
            let key = PartitionKey::slice(&keys, key_start..key_end);
            record.partition_key = key.ok_or_else(|| malformed("a partition key is no text"))?;
            (data_start, key_start) = (data_end, key_end);
        }
        Ok(self.records)
    }
}

const EPOCH: Timestamp = Timestamp::from_millis(0);

/// Seconds since the epoch, with a fraction, to milliseconds.
///
/// An emulator has sent milliseconds: no second of this and the next thousand years is as large.
fn arrival(seconds: Option<f64>) -> Timestamp {
    let seconds = seconds.unwrap_or(0.0);
    let is_millis = seconds >= MILLIS_MIN;
    let millis = if is_millis {
        seconds
    } else {
        seconds * 1_000.0
    };
    // A float becomes the nearest integer there is; no number becomes zero.
    Timestamp::from_millis(millis.round() as i64)
}

/// As seconds the year 5138, as milliseconds the year 1973.
const MILLIS_MIN: f64 = 1e11;

/// Of a request: names, quotes and the longest limit.
const FIELDS_BYTES: usize = 64;

/// The most that GetRecords gives.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const RECORDS_MAX: usize = 10_000;

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
            is_shortened: false,
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
            assert!(message.starts_with("response "), "{message}");
            assert!(message.contains(" is malformed: "), "{message}");
            assert!(!message.contains("c2VjcmV0"), "{message}");
        }
    }

    #[test]
    fn an_odd_member_is_read_if_it_means_one_thing_only() {
        let record = |fields: &str| {
            let body = format!(
                r#"{{"Records":[{{"Data":"eA==","PartitionKey":"k","SequenceNumber":"7"{fields}}}]}}"#
            );
            let output = answer(&body).expect(fields);
            (
                output.records[0].data.clone(),
                output.records[0].approximate_arrival.as_millis(),
            )
        };
        for (arrival, millis) in [
            ("1.605283809962E9", 1_605_283_809_962),
            ("1605283809", 1_605_283_809_000),
            ("16052838099.62E-1", 1_605_283_809_962),
            ("\"1605283809.962\"", 1_605_283_809_962),
            ("1.605283809962E12", 1_605_283_809_962),
            ("1605283809962", 1_605_283_809_962),
            ("null", 0),
        ] {
            let field = format!(r#","ApproximateArrivalTimestamp":{arrival}"#);
            assert_eq!(
                record(&field),
                (Bytes::from_static(b"x"), millis),
                "{arrival}"
            );
        }
        let unpadded = answer(r#"{"Records":[{"Data":"eA","SequenceNumber":7,"PartitionKey":5}]}"#);
        let records = unpadded.expect("read").records;
        assert_eq!(
            (&records[0].data[..], &*records[0].partition_key),
            (&b"x"[..], "5")
        );
        for (behind, expected) in [
            ("-1", Some(0)),
            ("2100.0", Some(2100)),
            ("\"2100\"", Some(2100)),
            ("null", None),
            ("{}", None),
        ] {
            let output = answer(&format!(
                "\u{feff}{{\"Records\":[],\"MillisBehindLatest\":{behind}}}"
            ));
            assert_eq!(
                output.expect(behind).millis_behind_latest,
                expected,
                "{behind}"
            );
        }
        let children = r#"{"Records":[],"ChildShards":[{"ShardId":"a"},{"ShardId":"b","ParentShards":["c"],
            "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":1}}],"MillisBehindLatest":-1}"#;
        let children = answer(children).expect("read").child_shards;
        assert_eq!(children.len(), 1);
    }

    #[test]
    fn a_member_that_cannot_be_read_is_named() {
        for (body, member) in [
            (r#"{"Records":null}"#, "Records is no list"),
            (
                r#"{"Records":[{"Data":"eA=="}]}"#,
                "Records[0].SequenceNumber is missing",
            ),
            (
                r#"{"Records":[{"Data":"e","SequenceNumber":"7"}]}"#,
                "Records[0].Data is no base64",
            ),
            (
                r#"{"Records":[{"Data":"","SequenceNumber":"7","ApproximateArrivalTimestamp":"2021-03-04T19:57:14"}]}"#,
                "Records[0].ApproximateArrivalTimestamp is no number of seconds",
            ),
            (
                r#"{"Records":[],"NextShardIterator":{}}"#,
                "NextShardIterator is no text",
            ),
        ] {
            let error = answer(body).expect_err(member);
            assert_eq!(
                error.to_string(),
                format!("response member is malformed: {member}")
            );
            assert!(error.is_retryable(), "{member}");
        }
    }
}
