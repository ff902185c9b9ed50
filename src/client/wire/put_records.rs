use std::borrow::Cow;

use bytes::Bytes;

use crate::client::answers::{EntryError, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::client::wire::Exchange;
use crate::client::wire::members::Node;
use crate::client::wire::payloads::{Encoder, encode_into, encoded_bytes};
use crate::client::wire::scanner::{Scanner, Template, once};
use crate::client::wire::text::{push_json_string, push_stream};
use crate::client::wire::tree::tree;
use crate::error::{Context, Error, Result};
use crate::model::{Operation, SequenceNumber, ShardId};
use crate::sys::buffers::{Buffers, Writing};

pub(in crate::client) struct PutRecords<'a> {
    pub stream: &'a str,
    pub entries: &'a [PutRecordsEntry],
}

impl Exchange for PutRecords<'_> {
    const OPERATION: Operation = Operation::PutRecords;
    type Answer = PutRecordsOutput;

    fn body(&self) -> Bytes {
        self.written_over(Vec::new()).into_message()
    }

    fn body_in(&self, buffers: &Buffers) -> Bytes {
        let body = self.written_over(buffers.take(self.body_bytes()));
        let (body, bytes) = body.finish();
        buffers.lend(body, bytes)
    }

    fn answer(&self, body: Bytes) -> Result<PutRecordsOutput> {
        let records = match scanned(&body, self.entries.len()) {
            Some(records) => records,
            None => read_by_serde(&body)?,
        };
        let (sent, received) = (self.entries.len(), records.len());
        if sent != received {
            return Err(Error::malformed(
                "PutRecords' answer",
                format_args!("{sent} entries sent, {received} answered"),
            ));
        }
        Ok(PutRecordsOutput { records })
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

impl PutRecords<'_> {
    /// Written by hand and once: base64 goes straight into its place.
    fn written_over(&self, memory: Vec<u8>) -> Writing {
        let mut body = Writing::over(memory, self.body_bytes());
        body.push(b"{");
        push_stream(&mut body, self.stream);
        body.push(b",\"Records\":[");
        let mut encoder = Encoder::default();
        for (number, batch) in self.entries.chunks(BATCH).enumerate() {
            body.push(if number == 0 { b"" } else { b"," });
            push_batch(&mut body, batch, &mut encoder);
        }
        body.push(b"]}");
        body
    }

    /// Enough for the body unless keys have to be escaped.
    fn body_bytes(&self) -> usize {
        let entry = |entry: &PutRecordsEntry| {
            encoded_bytes(entry.data.len()) + entry.partition_key.len() + ENTRY_BYTES
        };
        self.entries.iter().map(entry).sum::<usize>() + self.stream.len() + ENTRY_BYTES
    }
}

fn push_batch(body: &mut Writing, batch: &[PutRecordsEntry], encoder: &mut Encoder) {
    let are_encoded = encoder.encode(batch.iter().map(|entry| &entry.data[..]));
    let mut start = 0;
    for (number, entry) in batch.iter().enumerate() {
        body.push(if number == 0 { b"" } else { b"," });
        body.push(b"{\"Data\":\"");
        match are_encoded {
            true => body.push(encoder.text(start, entry.data.len())),
            false => push_base64(body, &entry.data),
        }
        start += encoded_bytes(entry.data.len());
        push_keys(body, entry);
        body.push(b"}");
    }
}

pub(super) fn push_fields(body: &mut Writing, entry: &PutRecordsEntry) {
    body.push(b"\"Data\":\"");
    push_base64(body, &entry.data);
    push_keys(body, entry);
}

fn push_base64(body: &mut Writing, data: &[u8]) {
    body.push_by(encoded_bytes(data.len()), |room| encode_into(data, room));
}

/// What follows the payload's text.
fn push_keys(body: &mut Writing, entry: &PutRecordsEntry) {
    body.push(b"\"");
    if !entry.partition_key.is_empty() {
        body.push(b",\"PartitionKey\":");
        push_json_string(body, &entry.partition_key);
    }
    if let Some(key) = entry.explicit_hash_key {
        body.push(format!(",\"ExplicitHashKey\":\"{key}\"").as_bytes());
    }
}

type Outcome = Result<PutRecordOutput, EntryError>;

/// The usual way; `None` for what is unusual, which serde reads.
pub(in crate::client) fn scanned(body: &[u8], entries: usize) -> Option<Vec<Outcome>> {
    let (mut records, mut shards, mut text) = (None, Vec::new(), Scanner::new(body));
    text.object(
        &["FailedRecordCount", "Records"],
        |text, member| match member {
            Some(1) => {
                let mut outcomes = Vec::with_capacity(entries);
                let mut template = Template::default();
                text.array(|text| {
                    let member = |text: &mut Scanner<'_>, entry: &mut _, member| {
                        scanned_member(text, entry, member, &mut shards)
                    };
                    let entry = text.object_like(&mut template, &ENTRY_MEMBERS, member)?;
                    outcomes.push(entry.outcome());
                    Some(())
                })?;
                once(&mut records, outcomes)
            }
            _ => text.skip(),
        },
    )?;
    text.end()?;
    records
}

#[derive(Default)]
struct Scanned {
    code: Option<Option<String>>,
    message: Option<Option<String>>,
    number: Option<Option<SequenceNumber>>,
    shard_id: Option<Option<ShardId>>,
}

#[inline(always)]
fn scanned_member(
    text: &mut Scanner<'_>,
    entry: &mut Scanned,
    member: usize,
    shards: &mut Vec<ShardId>,
) -> Option<()> {
    match member {
        0 => once(&mut entry.code, text.text(0)?.map(Cow::into_owned)),
        1 => once(&mut entry.message, text.text(0)?.map(Cow::into_owned)),
        2 => once(&mut entry.number, scanned_number(text)?),
        _ => once(&mut entry.shard_id, scanned_shard(text, shards)?),
    }
}

#[inline(always)]
fn scanned_number(text: &mut Scanner<'_>) -> Option<Option<SequenceNumber>> {
    match text.alike(NUMBER_DIGITS, SequenceNumber::from_digits) {
        Some(number) => Some(Some(number)),
        None => scanned_unusual_number(text),
    }
}

/// A number that serde finds fault with is left to it.
fn scanned_unusual_number(text: &mut Scanner<'_>) -> Option<Option<SequenceNumber>> {
    match text.bytes(NUMBER_DIGITS)? {
        Some(digits) => SequenceNumber::from_digits(&digits).map(Some),
        None => Some(None),
    }
}

#[inline(always)]
fn scanned_shard(text: &mut Scanner<'_>, shards: &mut Vec<ShardId>) -> Option<Option<ShardId>> {
    match text.alike(SHARD_ID_BYTES, |name| known(shards, name)) {
        Some(shard) => Some(Some(shard)),
        None => scanned_unusual_shard(text, shards),
    }
}

fn scanned_unusual_shard(
    text: &mut Scanner<'_>,
    shards: &mut Vec<ShardId>,
) -> Option<Option<ShardId>> {
    let Some(name) = text.text(SHARD_ID_BYTES)? else {
        return Some(None);
    };
    if let Some(shard) = known(shards, name.as_bytes()) {
        return Some(Some(shard));
    }
    let shard = ShardId::from(&*name);
    // What is written with escapes means something else as it stands.
    if shards.len() < SHARDS_SHARED && matches!(name, Cow::Borrowed(_)) {
        shards.push(shard.clone());
    }
    Some(Some(shard))
}

/// One copy of each shard's name, for the few shards that most answers speak of.
#[inline(always)]
fn known(shards: &[ShardId], name: &[u8]) -> Option<ShardId> {
    let mut shards = shards.iter();
    shards
        .find(|shard| shard.as_str().as_bytes() == name)
        .cloned()
}

impl Scanned {
    #[inline(always)]
    fn outcome(self) -> Outcome {
        match (self.number.flatten(), self.shard_id.flatten()) {
            (Some(sequence_number), Some(shard_id)) => Ok(PutRecordOutput {
                sequence_number,
                shard_id,
            }),
            _ => Err(refused(self.code.flatten(), self.message.flatten())),
        }
    }
}

const ENTRY_MEMBERS: [&str; 4] = ["ErrorCode", "ErrorMessage", "SequenceNumber", "ShardId"];

/// Of `49543463076548007577105092703039560359975228518395012686`, the service's usual length.
const NUMBER_DIGITS: usize = 56;

/// Of `shardId-000000000000`, likewise.
const SHARD_ID_BYTES: usize = 20;

/// Reads whatever can be read, and names the member that cannot.
pub(in crate::client) fn read_by_serde(body: &[u8]) -> Result<Vec<Outcome>> {
    let tree = tree(body)?;
    let answer = Node::root(&tree);
    let records = answer.at("Records");
    records.items()?.map(|entry| outcome(&entry)).collect()
}

/// As in the KPL, an entry was stored if it has a sequence number.
fn outcome(entry: &Node<'_>) -> Result<Outcome> {
    let (number, shard_id) = (entry.at("SequenceNumber"), entry.at("ShardId"));
    if number.is_missing() || shard_id.is_missing() {
        let text = |name| entry.at(name).text().ok().flatten().map(Cow::into_owned);
        return Ok(Err(refused(text("ErrorCode"), text("ErrorMessage"))));
    }
    Ok(Ok(PutRecordOutput {
        sequence_number: number.parsed()?,
        shard_id: shard_id.required()?.as_ref().into(),
    }))
}

#[cold]
fn refused(code: Option<String>, message: Option<String>) -> EntryError {
    EntryError {
        code: code.unwrap_or_else(|| "InternalFailure".to_owned()),
        message: message.unwrap_or_default(),
    }
}

/// More are not worth looking through.
const SHARDS_SHARED: usize = 16;

/// So many entries' payloads are encoded together, while they are in the processor's cache.
const BATCH: usize = 64;

/// Names, quotes, commas and the longest explicit hash key.
const ENTRY_BYTES: usize = 100;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::fuzz;
    use crate::sys::base64::ANY_PADDING;

    fn entry(
        data: &'static [u8],
        partition_key: &str,
        explicit_hash_key: Option<u128>,
    ) -> PutRecordsEntry {
        let (data, partition_key) = (Bytes::from_static(data), partition_key.into());
        PutRecordsEntry {
            data,
            partition_key,
            explicit_hash_key: explicit_hash_key.map(Into::into),
        }
    }

    fn answer(body: &str) -> Result<PutRecordsOutput> {
        let entries = [entry(b"a", "k", None), entry(b"b", "k", None)];
        PutRecords {
            stream: "orders",
            entries: &entries,
        }
        .answer(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_record_without_a_key_names_none() {
        let entries = [entry(b"data", "", None), entry(b"data", "k", None)];
        let request = PutRecords {
            stream: "orders",
            entries: &entries,
        };
        let expected = r#"{"StreamName":"orders","Records":[{"Data":"ZGF0YQ=="},{"Data":"ZGF0YQ==","PartitionKey":"k"}]}"#;
        assert_eq!(request.body(), expected);
    }

    #[test]
    fn a_body_is_json_whatever_the_keys_hold() {
        let entries = [
            entry(b"\x00\xff\xfe", "k", None),
            entry(b"", "\"\\\n\u{1}é", Some(u128::MAX)),
        ];
        let request = PutRecords {
            stream: "orders",
            entries: &entries,
        };
        let body: Value = serde_json::from_slice(&request.body()).expect("json");
        let expected = json!({"StreamName": "orders", "Records": [
            {"Data": "AP/+", "PartitionKey": "k"},
            {"Data": "", "PartitionKey": "\"\\\n\u{1}é", "ExplicitHashKey": u128::MAX.to_string()}]});
        assert_eq!(body, expected);
    }

    #[test]
    fn plain_entries_fit_the_buffer_they_were_promised() {
        let entries = vec![entry(&[7; 1000], "partition key", Some(u128::MAX)); 500];
        let request = PutRecords {
            stream: "orders",
            entries: &entries,
        };
        assert!(request.body().len() <= request.body_bytes());
    }

    #[test]
    fn many_entries_are_json_whatever_their_lengths() {
        for longest in [1, 100, 2_000] {
            let data = |n: usize| Bytes::from(vec![n as u8; n * longest / 150]);
            let entries = |number| {
                let entry = |n| PutRecordsEntry {
                    data: data(n),
                    ..entry(b"", "k", None)
                };
                (0..number).map(entry).collect::<Vec<_>>()
            };
            for number in [1, BATCH, BATCH + 1, 150] {
                let request = PutRecords {
                    stream: "orders",
                    entries: &entries(number),
                };
                let body: Value = serde_json::from_slice(&request.body()).expect("json");
                let expected =
                    |n| json!({"Data": ANY_PADDING.encode(data(n)), "PartitionKey": "k"});
                let expected: Vec<_> = (0..number).map(expected).collect();
                assert_eq!(body["Records"], Value::from(expected), "{longest} {number}");
            }
        }
    }

    #[test]
    fn each_entry_has_its_own_result() {
        let output = answer(
            r#"{"FailedRecordCount":1,"Records":[
                {"SequenceNumber":"21269319989653637946712965403778482177","ShardId":"shardId-000000000001"},
                {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded","ShardId":null}]}"#,
        );
        let stored = PutRecordOutput {
            shard_id: "shardId-000000000001".into(),
            sequence_number: "21269319989653637946712965403778482177"
                .parse()
                .expect("a number"),
        };
        let failed = EntryError {
            code: "ProvisionedThroughputExceededException".to_owned(),
            message: "Rate exceeded".to_owned(),
        };
        assert_eq!(
            output.expect("an answer").records,
            [Ok(stored), Err(failed)]
        );
    }

    /// An answer with whatever may be in it, by its members as they are written.
    fn written() -> impl Strategy<Value = String> {
        let text = || {
            prop_oneof![
                Just("null".to_owned()),
                any::<String>().prop_map(|text| json!(text).to_string())
            ]
        };
        let number = prop_oneof![
            4 => r#""[0-9]{56}""#,
            1 => r#""[0-9a]{0,70}""#,
            1 => Just("null".to_owned()),
        ];
        let shard = prop_oneof![
            4 => r#""shardId-00000000000[0-3]""#,
            // Of these some are written as others are meant.
            4 => r#""shardId-0000000000(00|\\b|\\\\b)""#,
            1 => r#""(a|\\u0061|\\\\){1,9}""#,
            1 => text(),
        ];
        let entry = (
            number,
            shard,
            prop::option::of((text(), text())),
            any::<bool>(),
        );
        let entry = entry.prop_map(|(number, shard, error, is_first)| {
            let mut members = vec![("SequenceNumber", number), ("ShardId", shard)];
            if let Some((code, message)) = error {
                members.extend([("ErrorCode", code), ("ErrorMessage", message)]);
            }
            members.rotate_left(usize::from(is_first));
            let member = |(name, value)| format!(r#""{name}":{value}"#);
            let members: Vec<_> = members.into_iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        });
        prop::collection::vec(entry, 0..6).prop_map(|entries| {
            format!(
                r#"{{"FailedRecordCount":0,"Records":[{}]}}"#,
                entries.join(",")
            )
        })
    }

    fn assert_same(body: &[u8]) {
        if let (Some(scanned), by_serde) = fuzz::put_records(body) {
            assert_eq!(
                scanned,
                by_serde.expect("serde reads what the scanner reads")
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_scanned_is_what_serde_reads(
            body in written(),
            at: prop::sample::Index,
            byte: u8,
        ) {
            for body in fuzz::damaged(body, at, byte) {
                assert_same(&body);
            }
        }
    }

    #[test]
    fn usual_answers_are_scanned_and_a_shard_has_one_name() {
        let entry = |number: u32, shard: &str| {
            format!(r#"{{"SequenceNumber":"{number:056}","ShardId":"{shard}"}}"#)
        };
        let (one, other) = ("shardId-000000000000", "shardId-000000000001");
        let refused = r#"{"ErrorCode":"InternalFailure","ErrorMessage":"no","SequenceNumber":null,"ShardId":null}"#;
        let entries = [
            entry(1, one),
            entry(2, other),
            refused.to_owned(),
            entry(3, one),
            entry(4, "short"),
            entry(5, "short"),
        ];
        let body = format!(r#"{{"Records":[{}]}}"#, entries.join(","));
        assert_same(body.as_bytes());
        let records = fuzz::put_records(body.as_bytes()).0.expect("scanned");
        let shard = |n: usize| {
            records[n]
                .as_ref()
                .map(|stored| stored.shard_id.as_str().as_ptr())
        };
        assert_eq!(records.len(), entries.len());
        assert_eq!((shard(0), shard(4)), (shard(3), shard(5)));
        assert!(records[2].is_err() && shard(0) != shard(1));
    }

    #[test]
    fn an_answer_for_other_entries_is_refused() {
        let one = r#"{"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
        assert_eq!(
            answer(one).expect_err("one short").to_string(),
            "PutRecords' answer is malformed: 2 entries sent, 1 answered"
        );
    }
}
