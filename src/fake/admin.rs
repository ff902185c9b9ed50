//! CreateStream, DeleteStream, MergeShards, SplitShard and UpdateShardCount:
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SplitShard.html>
//!
//! - Limits: stream names of 1 to 128 characters, an UpdateShardCount between half and double the
//!   open shards; a change only to a stream that is ACTIVE.
//! - Errors: InvalidArgumentException, ResourceInUseException, ResourceNotFoundException,
//!   ValidationException.
//! - Changes come into force after the stream delay, none unless set; until then the stream is
//!   CREATING, UPDATING or DELETING and an UPDATING one goes on as before.
//! - Gaps: no limit on shards in an account, nor on calls a second or a day. On-demand streams are
//!   made with 4 shards and do not scale by themselves.

use serde::Deserialize;
use serde_json::json;

use crate::fake::ACCOUNT;
use crate::fake::call::Call;
use crate::fake::check;
use crate::fake::list::in_use;
use crate::fake::refusal::Refusal;
use crate::fake::set::set_strategy;
use crate::fake::shard::Shard;
use crate::fake::stream::{Change, Status, Stream};
use crate::model::HashKey;
use crate::sys::lock::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateStream {
    stream_name: Option<String>,
    shard_count: Option<i64>,
    stream_mode_details: Option<StreamModeDetails>,
    record_distribution_strategy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails {
    stream_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteStream {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MergeShards {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_merge: Option<String>,
    adjacent_shard_to_merge: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitShard {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_split: Option<String>,
    new_starting_hash_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateShardCount {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    target_shard_count: Option<i64>,
    scaling_type: Option<String>,
}

pub(super) fn create_stream(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: CreateStream = call.parse()?;
    let name = check::required(request.stream_name, "streamName")?;
    let name = check::stream_name(Some(name), None)?;
    let mode = request.stream_mode_details;
    let on_demand = mode.is_some_and(|mode| mode.stream_mode == "ON_DEMAND");
    let shards = match (request.shard_count, on_demand) {
        (None, true) => ON_DEMAND_SHARDS,
        (Some(_), true) => {
            return Err(Refusal::invalid(
                "ShardCount must not be provided for a stream in ON_DEMAND mode.",
            ));
        }
        (count, false) => check::range(
            check::required(count, "shardCount")?,
            "shardCount",
            1,
            SHARDS_MAX,
        )?,
    };
    let (service, now) = (call.service, call.now);
    call.stream = Some(name.clone());
    if call.stream(&name).is_ok() {
        return Err(Refusal::new(
            "ResourceInUseException",
            format!("Stream {name} under account {ACCOUNT} already exists."),
        ));
    }
    let mut stream = Stream::new(&name, u32::try_from(shards).unwrap_or(1), now);
    stream.on_demand = on_demand;
    if let Some(strategy) = request.record_distribution_strategy {
        set_strategy(&mut stream, &strategy)?;
    }
    service.begin(&mut stream, Change::Create, now);
    service.insert(stream);
    Ok(Vec::new())
}

pub(super) fn delete_stream(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: DeleteStream = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let stream = call.stream(&name)?;
    call.service
        .begin(&mut lock(&stream), Change::Delete, call.now);
    Ok(Vec::new())
}

pub(super) fn split_shard(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: SplitShard = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let id = check::required(request.shard_to_split, "shardToSplit")?;
    let at = check::required(request.new_starting_hash_key, "newStartingHashKey")?;
    let at = check::hash_key(&at, "newStartingHashKey")?;
    call.shard = Some(id.clone());
    change(call, &name, |stream| {
        let shard = open_shard(stream, &id)?;
        check_split(stream, shard, at)?;
        Ok(Change::Split {
            shard: shard.index,
            at,
        })
    })?;
    Ok(Vec::new())
}

pub(super) fn merge_shards(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: MergeShards = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let id = check::required(request.shard_to_merge, "shardToMerge")?;
    let adjacent = check::required(request.adjacent_shard_to_merge, "adjacentShardToMerge")?;
    call.shard = Some(id.clone());
    change(call, &name, |stream| {
        let pair = (open_shard(stream, &id)?, open_shard(stream, &adjacent)?);
        let (lower, upper) = in_order(pair).ok_or_else(|| {
            Refusal::invalid(format!(
                "Shards {id} and {adjacent} in stream {} under account {ACCOUNT} are not an \
                 adjacent pair of shards eligible for merging",
                stream.name
            ))
        })?;
        Ok(Change::Merge {
            lower,
            upper,
            first: pair.0.index,
        })
    })?;
    Ok(Vec::new())
}

pub(super) fn update_shard_count(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: UpdateShardCount = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let target = check::required(request.target_shard_count, "targetShardCount")?;
    let target = check::range(target, "targetShardCount", 1, SHARDS_MAX)?;
    let target = usize::try_from(target).unwrap_or(1);
    match check::required(request.scaling_type, "scalingType")?.as_str() {
        "UNIFORM_SCALING" => {}
        other => {
            let rule = "satisfy enum value set: [UNIFORM_SCALING]";
            return Err(Refusal::validation(other, "scalingType", rule));
        }
    }
    let mut current = 0;
    let arn = change(call, &name, |stream| {
        current = stream.open_shards().count();
        check_scaling(current, target)?;
        Ok(Change::UpdateShardCount(target))
    })?;
    let answer = json!({
        "StreamName": name,
        "StreamARN": arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    });
    Ok(answer.to_string().into_bytes())
}

/// Lets a change to an ACTIVE stream begin; returns the stream's ARN.
fn change(
    call: &Call<'_>,
    name: &str,
    decide: impl FnOnce(&Stream) -> Result<Change, Refusal>,
) -> Result<String, Refusal> {
    let stream = call.stream(name)?;
    let mut stream = lock(&stream);
    if stream.status() != Status::Active {
        return Err(in_use(&stream, "ACTIVE"));
    }
    let change = decide(&stream)?;
    call.service.begin(&mut stream, change, call.now);
    Ok(stream.arn())
}

fn open_shard<'a>(stream: &'a Stream, id: &str) -> Result<&'a Shard, Refusal> {
    let shard = stream.shard(id).map_err(|_| {
        Refusal::new(
            "ResourceNotFoundException",
            format!(
                "Could not find shard {id} in stream {} under account {ACCOUNT}.",
                stream.name
            ),
        )
    })?;
    match shard.is_open() {
        true => Ok(shard),
        false => Err(Refusal::invalid(format!(
            "Shard {id} in stream {} under account {ACCOUNT} has already been merged or split, and \
             thus is not eligible for merging or splitting.",
            stream.name
        ))),
    }
}

fn check_split(stream: &Stream, shard: &Shard, at: HashKey) -> Result<(), Refusal> {
    let (start, end) = (shard.range.start, shard.range.end);
    if at.as_u128() > start.as_u128().saturating_add(1) && at < end {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "NewStartingHashKey {at} used in SplitShard() on shard {} in stream {} under account \
         {ACCOUNT} is not both greater than one plus the shard's StartingHashKey {start} and less \
         than the shard's EndingHashKey {end}.",
        shard.id(),
        stream.name
    )))
}

/// The two shards, lower range first, if nothing lies between them.
fn in_order((one, other): (&Shard, &Shard)) -> Option<(u32, u32)> {
    let touch = |lower: &Shard, upper: &Shard| {
        lower.range.end.as_u128().checked_add(1) == Some(upper.range.start.as_u128())
    };
    match () {
        _ if touch(one, other) => Some((one.index, other.index)),
        _ if touch(other, one) => Some((other.index, one.index)),
        _ => None,
    }
}

fn check_scaling(current: usize, target: usize) -> Result<(), Refusal> {
    let direction = match target {
        _ if target > current * 2 => "up over double",
        _ if target * 2 < current => "down below half",
        _ => return Ok(()),
    };
    Err(Refusal::invalid(format!(
        "UpdateShardCount cannot scale {direction} your current open shard count. Current open \
         shard count: {current} Target shard count: {target}"
    )))
}

/// `how-do-i-size-a-stream.html`: an on-demand stream starts with 4 shards.
const ON_DEMAND_SHARDS: i64 = 4;
/// `API_CreateStream.html` names no bound; 20,000 is the largest default quota of an account.
const SHARDS_MAX: i64 = 20_000;
