//! PutRecord and PutRecords: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
//!
//! - Limits: 1 to 500 records a call, 10 MiB a call with partition keys, 1 MiB a record unless the
//!   stream is set otherwise, partition keys of 1 to 256 characters, hash keys below 2^128.
//! - Errors: ResourceNotFoundException, InvalidArgumentException, ValidationException,
//!   SerializationException.
//! - Gaps: SequenceNumberForOrdering is taken and changes nothing, as numbers always rise.
//!   Encryption is not there, and every answer says NONE.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::fake::base64;
use crate::fake::check;
use crate::fake::refusal::Refusal;
use crate::fake::service::Service;
use crate::fake::shard::{Entry, shard_name};
use crate::fake::stream::Stream;
use crate::model::{HashKey, Timestamp};

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
    #[serde(flatten)]
    record: Record,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    data: Option<String>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

/// A record that keeps the rules.
struct Valid {
    key: HashKey,
    entry: Entry,
}

pub(super) fn put_records(service: &Service, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let request: PutRecords = check::parse(body)?;
    let name = check::stream_name(request.stream_name, request.stream_arn)?;
    let records = check::required(request.records, "records")?;
    check_count(records.len())?;
    let now = service.now();
    let valid = valid_records(records, now)?;
    let stream = service.live_stream(&name, now)?;
    let mut stream = service.lock(&stream);
    for (n, record) in valid.iter().enumerate() {
        check_size(record, &stream, &format!("records.{}.member.", n + 1))?;
    }
    let results: Vec<_> = valid
        .into_iter()
        .map(|record| store(&mut stream, record))
        .collect();
    drop(stream);
    let failed = results.iter().filter(|result| result.is_err()).count();
    let entries: Vec<_> = results.into_iter().map(entry_answer).collect();
    let answer = json!({
        "FailedRecordCount": failed,
        "Records": entries,
        "EncryptionType": "NONE",
    });
    Ok(answer.to_string().into_bytes())
}

pub(super) fn put_record(service: &Service, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let request: PutRecord = check::parse(body)?;
    let name = check::stream_name(request.stream_name, request.stream_arn)?;
    let now = service.now();
    let record = valid_record(request.record, "", now)?;
    let stream = service.live_stream(&name, now)?;
    let mut stream = service.lock(&stream);
    check_size(&record, &stream, "")?;
    let mut answer = store(&mut stream, record)?;
    answer["EncryptionType"] = "NONE".into();
    Ok(answer.to_string().into_bytes())
}

fn store(stream: &mut Stream, record: Valid) -> Result<serde_json::Value, Refusal> {
    match stream.append(record.key, record.entry) {
        Some(number) => Ok(json!({
            "ShardId": shard_name(number.shard),
            "SequenceNumber": number.to_string(),
        })),
        None => Err(Refusal::new("InternalFailure", "Internal service failure.")),
    }
}

fn entry_answer(result: Result<serde_json::Value, Refusal>) -> serde_json::Value {
    result.unwrap_or_else(|refusal| {
        json!({
            "ErrorCode": refusal.code,
            "ErrorMessage": refusal.message,
        })
    })
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

fn valid_records(records: Vec<Record>, now: Timestamp) -> Result<Vec<Valid>, Refusal> {
    let valid: Vec<_> = records
        .into_iter()
        .enumerate()
        .map(|(n, record)| valid_record(record, &format!("records.{}.member.", n + 1), now))
        .collect::<Result<_, _>>()?;
    let bytes: usize = valid.iter().map(Valid::bytes).sum();
    match bytes > REQUEST_BYTES_MAX {
        true => Err(Refusal::invalid("Records size exceeds 10 MB limit")),
        false => Ok(valid),
    }
}

fn valid_record(record: Record, at: &str, now: Timestamp) -> Result<Valid, Refusal> {
    let data = check::required(record.data, &format!("{at}data"))?;
    let partition_key = check::required(record.partition_key, &format!("{at}partitionKey"))?;
    check::length(&partition_key, &format!("{at}partitionKey"), 1, 256)?;
    let explicit_hash_key = match record.explicit_hash_key {
        Some(text) => Some(check::hash_key(&text, &format!("{at}explicitHashKey"))?),
        None => None,
    };
    let data = base64::decode(&data)
        .ok_or_else(|| Refusal::new("SerializationException", format!("{at}data is not base64")))?;
    Ok(Valid {
        key: explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&partition_key)),
        entry: Entry {
            data: Bytes::from(data),
            partition_key: partition_key.into(),
            explicit_hash_key,
            arrival: now,
        },
    })
}

fn check_size(record: &Valid, stream: &Stream, at: &str) -> Result<(), Refusal> {
    let (bytes, limit) = (record.bytes(), stream.max_record_bytes);
    if bytes <= limit {
        return Ok(());
    }
    let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
    let rule = format!("have length less than or equal to {limit}");
    Err(Refusal::validation(shown, format!("{at}data"), rule))
}

impl Valid {
    fn bytes(&self) -> usize {
        self.entry.data.len() + self.entry.partition_key.len()
    }
}

const RECORDS_MAX: usize = 500;
const REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;
