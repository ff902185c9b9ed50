//! GetShardIterator and GetRecords:
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
//!
//! - Limits: 1 to 10,000 records and 10 MiB a call, but always one record if there is one; a shard
//!   iterator lives for 300 seconds.
//! - Errors: ExpiredIteratorException, InvalidArgumentException,
//!   ProvisionedThroughputExceededException, ResourceNotFoundException, ValidationException.
//! - The end of a closed shard comes with its last records: NextShardIterator is null and
//!   ChildShards names what the shard became. MillisBehindLatest is 0 at the tip, and at least 1
//!   with records ahead.
//! - Gaps: a StreamARN beside an iterator is not compared with it.

use std::io::Write;

use serde::Deserialize;
use serde_json::json;

use crate::fake::ACCOUNT;
use crate::fake::base64;
use crate::fake::call::Call;
use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::limits;
use crate::fake::list::hash_key_range;
use crate::fake::number::Number;
use crate::fake::refusal::Refusal;
use crate::fake::shard::{Entry, Shard, shard_name};
use crate::fake::stream::Stream;
use crate::fake::token::{self, Iterator};
use crate::model::Timestamp;
use crate::sys::lock::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_id: Option<String>,
    shard_iterator_type: Option<String>,
    starting_sequence_number: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: Option<String>,
    limit: Option<i64>,
}

pub(super) fn get_shard_iterator(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let mut request: GetShardIterator = call.parse()?;
    let name = check::stream_name(request.stream_name.take(), request.stream_arn.take())?;
    let shard_id = check::required(request.shard_id.take(), "shardId")?;
    call.shard = Some(shard_id.clone());
    let now = call.now;
    let stream = call.live_stream(&name)?;
    let mut stream = lock(&stream);
    check_rate(call, &mut stream, &shard_id, |shard| {
        shard.iterators.open(now, limits::ITERATORS)
    })?;
    let shard = stream.shard(&shard_id)?;
    let iterator = Iterator {
        stream: name,
        made: stream.made.as_millis(),
        shard: shard.index,
        position: position(&request, &stream, shard, now)?,
        issued: now.as_millis(),
    };
    Ok(json!({ "ShardIterator": token::seal(&iterator) })
        .to_string()
        .into_bytes())
}

fn position(
    request: &GetShardIterator,
    stream: &Stream,
    shard: &Shard,
    now: Timestamp,
) -> Result<u64, Refusal> {
    let kind = check::required(request.shard_iterator_type.as_deref(), "shardIteratorType")?;
    match kind {
        "LATEST" => Ok(shard.end()),
        "TRIM_HORIZON" => Ok(shard.horizon()),
        "AT_TIMESTAMP" => at_timestamp(request, shard, now),
        // The number counts from one, positions from zero.
        "AT_SEQUENCE_NUMBER" => Ok(numbered(request, stream, shard)?.count.saturating_sub(1)),
        "AFTER_SEQUENCE_NUMBER" => Ok(numbered(request, stream, shard)?.count.min(shard.end())),
        _ => {
            let rule = "satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, \
                        AT_SEQUENCE_NUMBER, TRIM_HORIZON]";
            Err(Refusal::validation(kind, "shardIteratorType", rule))
        }
    }
}

fn at_timestamp(request: &GetShardIterator, shard: &Shard, now: Timestamp) -> Result<u64, Refusal> {
    let seconds = request.timestamp.ok_or_else(|| {
        Refusal::invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.")
    })?;
    let time = Timestamp::from_millis((seconds * 1_000.0).round() as i64);
    if time > now {
        return Err(Refusal::invalid(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
             timestampInMillis: {}, currentTimestampInMillis: {}",
            time.as_millis(),
            now.as_millis()
        )));
    }
    Ok(shard.position_at(time))
}

/// Reads the starting number, which has to be one that this shard gave out.
fn numbered(request: &GetShardIterator, stream: &Stream, shard: &Shard) -> Result<Number, Refusal> {
    let Some(text) = &request.starting_sequence_number else {
        return Err(Refusal::invalid(
            "Must either specify (1) AT_SEQUENCE_NUMBER iterator type with StartingSequenceNumber \
             or (2) TRIM_HORIZON or LATEST iterator type without StartingSequenceNumber.",
        ));
    };
    let number = Number::read(text).ok_or_else(|| {
        Refusal::invalid(format!(
            "StartingSequenceNumber {text} used in GetShardIterator on shard {} in stream {} under \
             account {ACCOUNT} is invalid.",
            shard.id(),
            stream.name
        ))
    })?;
    if number.shard != shard.index {
        return Err(Refusal::invalid(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard \
             with {}",
            shard_name(number.shard),
            shard.id()
        )));
    }
    if number.shard_made != shard.made || number.count > shard.end() + 1 {
        return Err(Refusal::invalid(format!(
            "StartingSequenceNumber {text} used in GetShardIterator on shard {} in stream {} under \
             account {ACCOUNT} is invalid because it did not come from this stream.",
            shard.id(),
            stream.name
        )));
    }
    Ok(number)
}

pub(super) fn get_records(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: GetRecords = call.parse()?;
    let now = call.now;
    let text = check::required(request.shard_iterator, "shardIterator")?;
    let limit = limit(request.limit)?;
    let iterator = Iterator::open(&text, now)?;
    let shard_id = shard_name(iterator.shard);
    (call.stream, call.shard) = (Some(iterator.stream.clone()), Some(shard_id.clone()));
    let stream = call.live_stream(&iterator.stream)?;
    let mut stream = lock(&stream);
    check_rate(call, &mut stream, &shard_id, |shard| {
        shard.reads.open(now, limits::READS)
    })?;
    let most = match call.fault {
        Some(Fault::EmptyBatch) => Most {
            records: 0,
            bytes: 0,
        },
        _ => Most {
            records: usize::try_from(limit).unwrap_or(1),
            bytes: BYTES_MAX,
        },
    };
    let batch = take(&stream, iterator, most, now)?;
    stream
        .shard_mut(&shard_id)?
        .reads
        .charge(batch.bytes() as u64, limits::READS);
    drop(stream);
    Ok(batch.into_json())
}

/// Says how many records are asked for. `API_GetRecords.html` gives each end its own error.
fn limit(asked: Option<i64>) -> Result<i64, Refusal> {
    let limit = asked.unwrap_or(RECORDS_MAX);
    if limit > RECORDS_MAX {
        return Err(Refusal::invalid(format!(
            "Limit {limit} is greater than {RECORDS_MAX}."
        )));
    }
    check::range(limit, "limit", 1, RECORDS_MAX)
}

/// Uses up some of a shard's rate, if limits are kept.
fn check_rate(
    call: &Call<'_>,
    stream: &mut Stream,
    shard_id: &str,
    take: impl FnOnce(&mut Shard) -> bool,
) -> Result<(), Refusal> {
    if !call.service.settings().service_limits || take(stream.shard_mut(shard_id)?) {
        return Ok(());
    }
    Err(Refusal::shard_throttled(&stream.name, shard_id))
}

/// What one call may read.
struct Most {
    records: usize,
    bytes: usize,
}

/// What one call reads, taken out of the stream so that it is written down without the lock.
struct Batch {
    records: Vec<(Number, Entry)>,
    next: Option<Iterator>,
    millis_behind_latest: u64,
    children: Option<serde_json::Value>,
}

fn take(
    stream: &Stream,
    mut iterator: Iterator,
    most: Most,
    now: Timestamp,
) -> Result<Batch, Refusal> {
    let name = shard_name(iterator.shard);
    if iterator.made != stream.made.as_millis() {
        return Err(Refusal::no_shard(&stream.name, &name));
    }
    let shard = stream.shard(&name)?;
    let (start, entries) = shard.from(iterator.position);
    let mut bytes = 0;
    let records: Vec<_> = entries
        .take(most.records)
        .zip(start..)
        .take_while(|(entry, position)| {
            bytes += entry.data.len() + entry.partition_key.len();
            bytes <= most.bytes || *position == start
        })
        .map(|(entry, position)| (shard.number_of(position, entry), entry.clone()))
        .collect();
    iterator.position = start + records.len() as u64;
    iterator.issued = now.as_millis();
    let ended = !shard.is_open() && iterator.position >= shard.end() && most.records > 0;
    Ok(Batch {
        millis_behind_latest: millis_behind_latest(shard, iterator.position, now),
        children: ended.then(|| children(stream, shard)),
        next: (!ended).then_some(iterator),
        records,
    })
}

fn millis_behind_latest(shard: &Shard, position: u64, now: Timestamp) -> u64 {
    let (_, mut ahead) = shard.from(position);
    ahead.next().map_or(0, |entry| {
        let behind = now.saturating_since(entry.arrival).as_millis();
        u64::try_from(behind).unwrap_or(u64::MAX).max(1)
    })
}

fn children(stream: &Stream, shard: &Shard) -> serde_json::Value {
    let child = |child: &Shard| {
        let parents = [child.parent, child.adjacent_parent];
        json!({
            "ShardId": child.id(),
            "ParentShards": parents.into_iter().flatten().map(shard_name).collect::<Vec<_>>(),
            "HashKeyRange": hash_key_range(child),
        })
    };
    stream.children_of(shard.index).map(child).collect()
}

impl Batch {
    fn bytes(&self) -> usize {
        let bytes = |entry: &Entry| entry.data.len() + entry.partition_key.len();
        self.records.iter().map(|(_, entry)| bytes(entry)).sum()
    }

    /// Written by hand into one buffer: data is by far the most of it.
    fn into_json(self) -> Vec<u8> {
        let data: usize = self
            .records
            .iter()
            .map(|(_, entry)| entry.data.len() * 4 / 3 + 6 * entry.partition_key.len())
            .sum();
        let mut json = Vec::with_capacity(data + self.records.len() * MEMBERS_BYTES + 1_024);
        json.extend_from_slice(b"{\"Records\":[");
        for (n, (number, entry)) in self.records.iter().enumerate() {
            if n > 0 {
                json.push(b',');
            }
            write_record(&mut json, *number, entry);
        }
        let rest = json!({
            "NextShardIterator": self.next.as_ref().map(token::seal),
            "MillisBehindLatest": self.millis_behind_latest,
        });
        json.extend_from_slice(b"],");
        json.extend_from_slice(&rest.to_string().as_bytes()[1..]);
        if let Some(children) = self.children {
            json.pop();
            // A vector takes every byte.
            let _ = write!(json, ",\"ChildShards\":{children}}}");
        }
        json
    }
}

fn write_record(json: &mut Vec<u8>, number: Number, entry: &Entry) {
    let arrival = entry.arrival;
    // A vector takes every byte, and a text is always JSON.
    let _ = write!(
        json,
        "{{\"SequenceNumber\":\"{number}\",\"ApproximateArrivalTimestamp\":{arrival},\"Data\":\""
    );
    base64::encode_into(&entry.data, json);
    json.push(b'"');
    // One that was put without a key has none.
    if !entry.partition_key.is_empty() {
        json.extend_from_slice(b",\"PartitionKey\":");
        let _ = serde_json::to_writer(&mut *json, &*entry.partition_key);
    }
    json.push(b'}');
}

/// `API_GetRecords.html`.
const RECORDS_MAX: i64 = 10_000;
const BYTES_MAX: usize = 10 * 1024 * 1024;
/// What a record's members take beside its data and key.
const MEMBERS_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fake::stream::Change;
    use crate::model::HashKey;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// A shard with records of 5 bytes each, key included.
    fn stream(records: usize) -> Stream {
        let mut stream = Stream::new("orders", 1, NOW);
        for _ in 0..records {
            let shard = stream.shard_of(HashKey::MIN).expect("an open shard");
            shard.append(Entry {
                data: Bytes::from_static(b"data"),
                partition_key: "\"".into(),
                explicit_hash_key: None,
                arrival: NOW,
            });
        }
        stream
    }

    fn from(position: u64) -> Iterator {
        Iterator {
            stream: "orders".to_owned(),
            made: NOW.as_millis(),
            shard: 0,
            position,
            issued: NOW.as_millis(),
        }
    }

    #[test]
    fn an_answer_holds_what_fits_but_always_a_record() {
        let stream = stream(4);
        for (records, bytes, taken) in [
            (10, 100, 4),
            (3, 100, 3),
            (10, 14, 2),
            (10, 15, 3),
            (10, 16, 3),
            (10, 1, 1),
        ] {
            let batch = take(&stream, from(0), Most { records, bytes }, NOW).expect("a batch");
            assert_eq!(batch.records.len(), taken, "{records} {bytes}");
            assert_eq!(batch.next.map(|next| next.position), Some(taken as u64));
        }
    }

    #[test]
    fn the_end_of_a_shard_is_written_as_the_service_writes_it() {
        let mut stream = stream(1);
        stream.begin(Change::UpdateShardCount(2), NOW, NOW);
        let most = Most {
            records: 10,
            bytes: 100,
        };
        let batch = take(&stream, from(0), most, NOW).expect("a batch");
        let json = String::from_utf8(batch.into_json()).expect("text");
        assert_eq!(
            json,
            "{\"Records\":[{\
             \"SequenceNumber\":\"49170000000000000000000000000000001170000000000000000000\",\
             \"ApproximateArrivalTimestamp\":1700000000.000,\
             \"Data\":\"ZGF0YQ==\",\"PartitionKey\":\"\\\"\"}],\
             \"MillisBehindLatest\":0,\"NextShardIterator\":null,\
             \"ChildShards\":[{\"HashKeyRange\":{\
             \"EndingHashKey\":\"170141183460469231731687303715884105727\",\
             \"StartingHashKey\":\"0\"},\
             \"ParentShards\":[\"shardId-000000000000\"],\"ShardId\":\"shardId-000000000001\"},\
             {\"HashKeyRange\":{\
             \"EndingHashKey\":\"340282366920938463463374607431768211455\",\
             \"StartingHashKey\":\"170141183460469231731687303715884105728\"},\
             \"ParentShards\":[\"shardId-000000000000\"],\"ShardId\":\"shardId-000000000002\"}]}"
        );
    }

    #[test]
    fn an_iterator_does_not_outlive_its_stream() {
        let stream = stream(1);
        let iterator = Iterator { made: 0, ..from(0) };
        let most = Most {
            records: 1,
            bytes: 1,
        };
        let refusal = take(&stream, iterator, most, NOW).err();
        let gone = Refusal::no_shard("orders", "shardId-000000000000");
        assert_eq!(refusal, Some(gone));
    }
}
