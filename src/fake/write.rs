//! PutRecord and PutRecords: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
//!
//! - Limits: 1 to 500 records a call, 10 MiB a call with partition keys, 1 MiB a record unless the
//!   stream is set otherwise, partition keys of 1 to 256 characters, hash keys below 2^128.
//! - Errors: InvalidArgumentException, ProvisionedThroughputExceededException,
//!   ResourceNotFoundException, SerializationException, ValidationException. A shard without room
//!   fails its entries one by one in an answer of status 200.
//! - Gaps: SequenceNumberForOrdering is taken and changes nothing, as numbers always rise.
//!   Encryption is not there, and every answer says NONE.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake::base64;
use crate::fake::call::{Call, lock};
use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::limits;
use crate::fake::refusal::Refusal;
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

pub(super) fn put_records(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: PutRecords = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let records = check::required(request.records, "records")?;
    check_count(records.len())?;
    let valid = valid_records(records, call.now)?;
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    for (n, record) in valid.iter().enumerate() {
        check_size(record, &stream, &format!("records.{}.member.", n + 1))?;
    }
    let mut placing = Placing::of(call);
    let results: Vec<_> = valid
        .into_iter()
        .map(|record| placing.store(&mut stream, record))
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

pub(super) fn put_record(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: PutRecord = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let record = valid_record(request.record, "", call.now)?;
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    check_size(&record, &stream, "")?;
    let mut answer = Placing::of(call).store(&mut stream, record)?;
    answer["EncryptionType"] = "NONE".into();
    Ok(answer.to_string().into_bytes())
}

/// How the entries of one call find their shards, or fail to.
struct Placing<'a> {
    fault: Option<&'a Fault>,
    /// The shard whose entries alone the fault is for.
    fault_shard: Option<&'a str>,
    /// Entries the fault was for so far.
    met: usize,
    limited: bool,
}

impl<'a> Placing<'a> {
    fn of(call: &Call<'a>) -> Placing<'a> {
        Placing {
            fault: call.fault,
            fault_shard: call.fault_shard,
            met: 0,
            limited: call.service.settings().service_limits,
        }
    }

    fn store(&mut self, stream: &mut Stream, record: Valid) -> Result<Value, Refusal> {
        let name = stream.name.clone();
        let right = stream.shard_of(record.key).map(|shard| shard.id());
        let right = right.ok_or_else(Refusal::internal)?;
        let fault = self.fault_for(&right);
        if let Some(Fault::FailEntries { code, .. }) = fault {
            return Err(entry_refusal(code, &name, &right));
        }
        let shard = match fault {
            Some(Fault::WrongShard) => stream.wrong_shard_of(record.key),
            _ => stream.shard_of(record.key),
        };
        let shard = shard.ok_or_else(Refusal::internal)?;
        let (now, bytes) = (record.entry.arrival, record.bytes() as u64);
        if self.limited && !shard.writes.admit(now, bytes, limits::WRITES) {
            return Err(Refusal::shard_throttled(&name, &shard.id()));
        }
        let number = shard.append(record.entry);
        Ok(json!({
            "ShardId": shard_name(number.shard),
            "SequenceNumber": number.to_string(),
        }))
    }

    /// The fault, if this entry is one that it is for.
    fn fault_for(&mut self, shard: &str) -> Option<&'a Fault> {
        let fault = self.fault?;
        if self.fault_shard.is_some_and(|only| only != shard) {
            return None;
        }
        self.met += 1;
        match fault {
            Fault::FailEntries { every, .. } if !self.met.is_multiple_of((*every).max(1)) => None,
            fault => Some(fault),
        }
    }
}

fn entry_refusal(code: &str, stream: &str, shard: &str) -> Refusal {
    match code {
        "ProvisionedThroughputExceededException" => Refusal::shard_throttled(stream, shard),
        code => Refusal {
            code: code.to_owned().into(),
            ..Refusal::internal()
        },
    }
}

fn entry_answer(result: Result<Value, Refusal>) -> Value {
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
