//! ListShards, ListStreams, DescribeStream and DescribeStreamSummary:
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
//!
//! - Limits: 1 to 10,000 shards a page, 1,000 unless asked otherwise; a page token lives for 300
//!   seconds and stands alone.
//! - Errors: ExpiredNextTokenException, InvalidArgumentException, ResourceInUseException,
//!   ResourceNotFoundException, ValidationException.
//! - Gaps: StreamCreationTimestamp is not looked at in requests. Nothing of consumers, encryption,
//!   tags or enhanced monitoring is there; descriptions say so.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::fake::ACCOUNT;
use crate::fake::call::Call;
use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::number::Number;
use crate::fake::refusal::Refusal;
use crate::fake::shard::{Shard, ShardName, shard_index};
use crate::fake::stream::{Status, Stream};
use crate::fake::token::{self, Page};
use crate::model::{HashKey, Timestamp};
use crate::sys::lock::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<i64>,
    shard_filter: Option<ShardFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter {
    r#type: Option<String>,
    shard_id: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStream {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    exclusive_start_shard_id: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams {
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
    limit: Option<i64>,
}

pub(super) fn list_shards(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let now = call.now;
    let mut page = first_or_next_page(call.parse()?, now)?;
    call.stream = Some(page.stream.clone());
    let stream = call.stream(&page.stream)?;
    let stream = lock(&stream);
    if !matches!(stream.status(), Status::Active | Status::Updating) {
        return Err(in_use(&stream, "ACTIVE or UPDATING"));
    }
    let filter = Filter::read(page.filter.as_ref(), stream.horizon(now))?;
    let view = View::of(&stream, call.fault, now);
    let shown = match call.fault {
        Some(Fault::ShortPage) => 1,
        _ => page.max_results,
    };
    let from = page.after.map_or(0, |after| after.saturating_add(1));
    let mut rest = stream
        .shards
        .range(from..)
        .map(|(_, shard)| shard)
        .filter(|shard| view.shows(shard) && filter.lets_through(shard, view.is_open(shard)));
    let mut shards: Vec<_> = rest.by_ref().take(shown).collect();
    let last = shards.last().map(|shard| shard.index);
    if let Some(Fault::ListedReversed) = call.fault {
        shards.reverse();
    }
    let shards = shards.iter();
    let shards = shards.map(|shard| Described::new(shard, view.is_open(shard)));
    let is_last = rest.next().is_none();
    page.after = last.filter(|_| !is_last).or(page.after);
    let answer = ListedShards {
        shards: shards.collect(),
        next_token: (!is_last).then(|| token::seal(&page)),
    };
    let mut body = Vec::with_capacity(SHARD_BYTES * (answer.shards.len() + 1));
    let written = serde_json::to_writer(&mut body, &answer);
    written.map_err(|_| Refusal::internal())?;
    Ok(body)
}

/// What a listed shard takes, with two parents.
const SHARD_BYTES: usize = 480;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedShards {
    shards: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// What of a stream a listing shows: the truth, unless the service is still making up its mind.
struct View {
    shows_newest: bool,
    /// What happened later is not shown.
    as_of: Timestamp,
    /// Closed shards that look open, because what followed them did so only just now.
    look_open: BTreeSet<u32>,
}

impl View {
    fn of(stream: &Stream, fault: Option<&Fault>, now: Timestamp) -> View {
        let newest = || {
            stream
                .open_shards()
                .flat_map(|shard| shard.parent.into_iter().chain(shard.adjacent_parent))
        };
        let whole = View {
            shows_newest: true,
            as_of: Timestamp::from_millis(i64::MAX),
            look_open: BTreeSet::new(),
        };
        match fault {
            Some(Fault::ChildrenLate) => View {
                shows_newest: false,
                look_open: newest().collect(),
                ..whole
            },
            Some(Fault::ListedLate(by)) => View {
                as_of: now.saturating_sub(*by).max(stream.made),
                ..whole
            },
            Some(Fault::ParentsOpen) => View {
                look_open: newest().collect(),
                ..whole
            },
            _ => whole,
        }
    }

    fn shows(&self, shard: &Shard) -> bool {
        let is_old_enough = self.shows_newest || !shard.is_open() || shard.parent.is_none();
        is_old_enough && shard.made <= self.as_of
    }

    fn is_open(&self, shard: &Shard) -> bool {
        let is_closed = shard.closed.is_some_and(|closed| closed <= self.as_of);
        !is_closed || self.look_open.contains(&shard.index)
    }
}

fn first_or_next_page(request: ListShards, now: Timestamp) -> Result<Page, Refusal> {
    let max_results = request
        .max_results
        .map(|max| check::range(max, "maxResults", 1, 10_000));
    let max_results = max_results.transpose()?.unwrap_or(1_000);
    let max_results = usize::try_from(max_results).unwrap_or(1);
    if let Some(token) = request.next_token {
        if request.stream_name.is_some() || request.stream_arn.is_some() {
            return Err(Refusal::invalid(
                "NextToken and StreamName cannot be provided together.",
            ));
        }
        let page = Page::open(&token, now)?;
        return Ok(Page {
            max_results,
            ..page
        });
    }
    let stream = check::stream_name(request.stream_name, request.stream_arn)?;
    let after = request
        .exclusive_start_shard_id
        .map(|id| known_index(&id, "exclusiveStartShardId"));
    let (filter, filter_after) = match request.shard_filter {
        Some(filter) => filter.parts()?,
        None => (None, None),
    };
    Ok(Page {
        stream,
        after: after.transpose()?.or(filter_after),
        filter,
        max_results,
        listed: now.as_millis(),
    })
}

impl ShardFilter {
    /// The filter's name with its time, and the shard behind which it starts.
    #[allow(clippy::type_complexity)]
    fn parts(self) -> Result<(Option<(String, i64)>, Option<u32>), Refusal> {
        let name = check::required(self.r#type, "shardFilter.type")?;
        let after = match name.as_str() {
            "AFTER_SHARD_ID" => {
                let id = check::required(self.shard_id, "shardFilter.shardId")?;
                Some(known_index(&id, "shardFilter.shardId")?)
            }
            _ => None,
        };
        let time = match name.as_str() {
            "AT_TIMESTAMP" | "FROM_TIMESTAMP" => {
                check::required(self.timestamp, "shardFilter.timestamp")?
            }
            _ => 0.0,
        };
        Ok((Some((name, (time * 1_000.0).round() as i64)), after))
    }
}

/// Which shards a listing shows.
enum Filter {
    All,
    AtLatest,
    OpenAt(Timestamp),
    OpenSince(Timestamp),
}

impl Filter {
    fn read(filter: Option<&(String, i64)>, horizon: Timestamp) -> Result<Filter, Refusal> {
        let Some((name, time)) = filter else {
            return Ok(Filter::All);
        };
        let time = Timestamp::from_millis(*time).max(horizon);
        Ok(match name.as_str() {
            "AFTER_SHARD_ID" | "FROM_TRIM_HORIZON" => Filter::All,
            "AT_LATEST" => Filter::AtLatest,
            "AT_TIMESTAMP" => Filter::OpenAt(time),
            "AT_TRIM_HORIZON" => Filter::OpenAt(horizon),
            "FROM_TIMESTAMP" => Filter::OpenSince(time),
            _ => {
                let rule = "satisfy enum value set: [AFTER_SHARD_ID, AT_LATEST, AT_TIMESTAMP, \
                            AT_TRIM_HORIZON, FROM_TIMESTAMP, FROM_TRIM_HORIZON]";
                return Err(Refusal::validation(name, "shardFilter.type", rule));
            }
        })
    }

    fn lets_through(&self, shard: &Shard, is_open: bool) -> bool {
        match self {
            Filter::All => true,
            Filter::AtLatest => is_open,
            Filter::OpenAt(time) => shard.was_open_at(*time),
            Filter::OpenSince(time) => shard.closed.is_none_or(|closed| closed > *time),
        }
    }
}

pub(super) fn describe_stream(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: DescribeStream = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let limit = check::range(request.limit.unwrap_or(100), "limit", 1, 10_000)?;
    let after = request
        .exclusive_start_shard_id
        .map(|id| known_index(&id, "exclusiveStartShardId"))
        .transpose()?;
    let stream = call.stream(&name)?;
    let stream = lock(&stream);
    let mut rest = stream
        .shards
        .range(after.map_or(0, |after| after.saturating_add(1))..)
        .map(|(_, shard)| Described::new(shard, shard.is_open()));
    // Before it is ACTIVE a stream shows no shards.
    let shown = match stream.status() {
        Status::Creating => 0,
        _ => usize::try_from(limit).unwrap_or(1),
    };
    let shards: Vec<_> = rest.by_ref().take(shown).collect();
    let mut description = description(&stream);
    description["HasMoreShards"] = (shown > 0 && rest.next().is_some()).into();
    description["Shards"] = json!(shards);
    Ok(json!({ "StreamDescription": description })
        .to_string()
        .into_bytes())
}

pub(super) fn describe_stream_summary(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: DescribeStream = call.parse()?;
    let name = call.name(request.stream_name, request.stream_arn)?;
    let stream = call.stream(&name)?;
    let stream = lock(&stream);
    let mut description = description(&stream);
    description["OpenShardCount"] = stream.open_shards().count().into();
    description["ConsumerCount"] = 0.into();
    description["MaxRecordSizeInKiB"] = (stream.max_record_bytes / 1024).into();
    description["RecordDistributionStrategy"] = stream.strategy.as_str().into();
    Ok(json!({ "StreamDescriptionSummary": description })
        .to_string()
        .into_bytes())
}

pub(super) fn list_streams(call: &mut Call<'_>) -> Result<Vec<u8>, Refusal> {
    let request: ListStreams = call.parse()?;
    let limit = check::range(request.limit.unwrap_or(100), "limit", 1, 10_000)?;
    let after = request.next_token.or(request.exclusive_start_stream_name);
    let mut rest = call
        .service
        .stream_names()
        .into_iter()
        .filter(|name| after.as_ref().is_none_or(|after| name > after))
        .filter(|name| call.stream(name).is_ok());
    let shown: Vec<_> = rest
        .by_ref()
        .take(usize::try_from(limit).unwrap_or(1))
        .collect();
    let more = rest.next().is_some();
    let mut answer = json!({ "StreamNames": shown, "HasMoreStreams": more });
    if let (true, Some(last)) = (more, shown.last()) {
        answer["NextToken"] = last.clone().into();
    }
    Ok(answer.to_string().into_bytes())
}

fn description(stream: &Stream) -> Value {
    let mode = match stream.on_demand {
        true => "ON_DEMAND",
        false => "PROVISIONED",
    };
    json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn(),
        "StreamStatus": stream.status().as_str(),
        "StreamModeDetails": { "StreamMode": mode },
        "RetentionPeriodHours": stream.retention.as_secs() / 3_600,
        "StreamCreationTimestamp": seconds(stream.made),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
        "EncryptionType": "NONE",
    })
}

/// A shard as it is listed. Written without a tree or a text in between: there may be many.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    #[serde(serialize_with = "shard_id")]
    shard_id: u32,
    hash_key_range: DescribedRange,
    sequence_number_range: DescribedNumbers,
    #[serde(serialize_with = "parent", skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<u32>,
    #[serde(serialize_with = "parent", skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedRange {
    #[serde(serialize_with = "text")]
    starting_hash_key: HashKey,
    #[serde(serialize_with = "text")]
    ending_hash_key: HashKey,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedNumbers {
    #[serde(serialize_with = "text")]
    starting_sequence_number: Number,
    #[serde(serialize_with = "end", skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<Number>,
}

impl Described {
    fn new(shard: &Shard, is_open: bool) -> Described {
        Described {
            shard_id: shard.index,
            hash_key_range: DescribedRange {
                starting_hash_key: shard.range.start,
                ending_hash_key: shard.range.end,
            },
            sequence_number_range: DescribedNumbers {
                starting_sequence_number: shard.start_number(),
                ending_sequence_number: shard.end_number().filter(|_| !is_open),
            },
            parent_shard_id: shard.parent,
            adjacent_parent_shard_id: shard.adjacent_parent,
        }
    }
}

fn text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn shard_id<S: Serializer>(index: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&ShardName(*index))
}

fn parent<S: Serializer>(index: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match index {
        Some(index) => shard_id(index, serializer),
        None => serializer.serialize_none(),
    }
}

fn end<S: Serializer>(number: &Option<Number>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => text(number, serializer),
        None => serializer.serialize_none(),
    }
}

pub(super) fn hash_key_range(shard: &Shard) -> Value {
    json!({
        "StartingHashKey": shard.range.start.to_string(),
        "EndingHashKey": shard.range.end.to_string(),
    })
}

pub(super) fn in_use(stream: &Stream, wanted: &str) -> Refusal {
    let (name, status) = (&stream.name, stream.status().as_str());
    Refusal::new(
        "ResourceInUseException",
        format!("Stream {name} under account {ACCOUNT} not {wanted}, instead in state {status}"),
    )
}

fn known_index(id: &str, at: &str) -> Result<u32, Refusal> {
    shard_index(id).ok_or_else(|| {
        let rule = "satisfy regular expression pattern: shardId-\\d{12}";
        Refusal::validation(id, at, rule)
    })
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1_000.0
}
