//! PutRecord and PutRecords: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
//!
//! - Limits: 1 to 500 records a call, 10 MiB a call with partition keys, 1 MiB a record unless the
//!   stream is set otherwise, partition keys of 1 to 256 characters, hash keys below 2^128. A stream
//!   whose record distribution strategy is AUTO takes records without a partition key, and spreads
//!   all of them over its open shards in turn.
//! - Errors: InvalidArgumentException, ProvisionedThroughputExceededException,
//!   ResourceNotFoundException, SerializationException, ValidationException. A shard without room
//!   fails its entries one by one in an answer of status 200.
//! - Gaps: SequenceNumberForOrdering is taken and changes nothing, as numbers always rise.
//!   Encryption is not there, and every answer says NONE.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::fake::base64;
use crate::fake::call::Call;
use crate::fake::check;
use crate::fake::number::Number;
use crate::fake::placing::{Placing, Valid, write_result};
use crate::fake::refusal::Refusal;
use crate::fake::shard::Entry;
use crate::fake::stream::Stream;
use crate::model::{HashKey, Timestamp};
use crate::sys::lock::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    records: Option<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    data: Option<Blob>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    data: Option<Blob>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

pub(super) fn put_records(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: PutRecords = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let records = check::required(request.records, "records")?;
    check_count(records.len())?;
    let valid = valid_records(records, call.takes_no_keys(&name), call.now)?;
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    for (n, record) in valid.iter().enumerate() {
        check_size(record, &stream, Place::Entry(n))?;
    }
    let mut placing = Placing::of(call);
    let results: Vec<_> = valid
        .into_iter()
        .map(|record| placing.store(&mut stream, record))
        .collect();
    drop(stream);
    Ok(answer(&results))
}

pub(super) fn put_record(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: PutRecord = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let record = Record {
        data: request.data,
        partition_key: request.partition_key,
        explicit_hash_key: request.explicit_hash_key,
    };
    let no_key = call.takes_no_keys(&name);
    let record = valid_record(record, Place::Request, no_key, call.now)?;
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    check_size(&record, &stream, Place::Request)?;
    let stored = Placing::of(call).store(&mut stream, record)?;
    let mut json = String::new();
    write_result(&mut json, &Ok(stored));
    json.pop();
    json.push_str(ENCRYPTION);
    Ok(json.into_bytes())
}

/// Written by hand: a call has up to 500 results.
fn answer(results: &[Result<Number, Refusal>]) -> Vec<u8> {
    let failed = results.iter().filter(|result| result.is_err()).count();
    let mut json = String::with_capacity(results.len() * RESULT_BYTES + RESULT_BYTES);
    json.push_str(&format!("{{\"FailedRecordCount\":{failed},\"Records\":["));
    for (n, result) in results.iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        write_result(&mut json, result);
    }
    json.push(']');
    json.push_str(ENCRYPTION);
    json.into_bytes()
}

fn check_count(records: usize) -> Result<(), Refusal> {
    let rule = match records {
        0 => "have length greater than or equal to 1".to_owned(),
        _ if records > RECORDS_MAX => format!("have length less than or equal to {RECORDS_MAX}"),
        _ => return Ok(()),
    };
    let shown = format!("[{records} records]");
    Err(Refusal::validation(shown, "records", rule))
}

fn valid_records(
    records: Vec<Record>,
    no_key: bool,
    now: Timestamp,
) -> Result<Vec<Valid>, Refusal> {
    let valid: Vec<_> = records
        .into_iter()
        .enumerate()
        .map(|(n, record)| valid_record(record, Place::Entry(n), no_key, now))
        .collect::<Result<_, _>>()?;
    let bytes: usize = valid.iter().map(Valid::bytes).sum();
    match bytes > REQUEST_BYTES_MAX {
        true => Err(Refusal::invalid("Records size exceeds 10 MB limit")),
        false => Ok(valid),
    }
}

/// Checks a record, which needs a partition key unless its stream takes records without.
fn valid_record(
    record: Record,
    place: Place,
    no_key: bool,
    now: Timestamp,
) -> Result<Valid, Refusal> {
    let data = check::required(record.data, place.of("data"))?;
    let at = place.of("partitionKey");
    let partition_key = match record.partition_key {
        None if no_key => String::new(),
        given => {
            let key = check::required(given, &at)?;
            check::length(&key, &at, 1, 256)?;
            key
        }
    };
    let explicit_hash_key = record
        .explicit_hash_key
        .map(|text| check::hash_key(&text, place.of("explicitHashKey")))
        .transpose()?;
    Ok(Valid {
        key: explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&partition_key)),
        entry: Entry {
            data: data.0,
            partition_key: partition_key.into(),
            explicit_hash_key,
            arrival: now,
        },
    })
}

fn check_size(record: &Valid, stream: &Stream, place: Place) -> Result<(), Refusal> {
    let (bytes, limit) = (record.bytes(), stream.max_record_bytes);
    if bytes <= limit {
        return Ok(());
    }
    let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
    let rule = format!("have length less than or equal to {limit}");
    Err(Refusal::validation(shown, place.of("data"), rule))
}

/// Where in a request a record stands, written out only if it has to be named.
#[derive(Clone, Copy)]
enum Place {
    Entry(usize),
    Request,
}

struct Member(Place, &'static str);

impl Place {
    fn of(self, member: &'static str) -> Member {
        Member(self, member)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Entry(n) => write!(f, "records.{}.member.{}", n + 1, self.1),
            Place::Request => f.write_str(self.1),
        }
    }
}

/// Bytes that came as base64, decoded where they are read: a call has up to 10 MiB of them.
struct Blob(Bytes);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        deserializer.deserialize_str(Base64)
    }
}

struct Base64;

impl Visitor<'_> for Base64 {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
        let bytes = base64::decode(text).ok_or_else(|| E::custom("data is not base64"))?;
        Ok(Blob(bytes.into()))
    }
}

const RECORDS_MAX: usize = 500;
const REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The end of an answer.
const ENCRYPTION: &str = ",\"EncryptionType\":\"NONE\"}";
/// A shard's name, a sequence number and what is around them.
const RESULT_BYTES: usize = 128;
