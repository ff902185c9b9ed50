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

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake::ACCOUNT;
use crate::fake::call::{Call, lock};
use crate::fake::check;
use crate::fake::fault::Fault;
use crate::fake::refusal::Refusal;
use crate::fake::shard::{Shard, shard_index, shard_name};
use crate::fake::stream::{Status, Stream};
use crate::fake::token::{self, Page};
use crate::model::Timestamp;

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
    let shards = shards.map(|shard| describe(shard, view.is_open(shard)));
    let mut answer = json!({ "Shards": shards.collect::<Vec<_>>() });
    if rest.next().is_some() {
        page.after = last;
        answer["NextToken"] = token::seal(&page).into();
    }
    Ok(answer.to_string().into_bytes())
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
        .map(|(_, shard)| describe(shard, shard.is_open()));
    // Before it is ACTIVE a stream shows no shards.
    let shown = match stream.status() {
        Status::Creating => 0,
        _ => usize::try_from(limit).unwrap_or(1),
    };
    let shards: Vec<_> = rest.by_ref().take(shown).collect();
    let mut description = description(&stream);
    description["HasMoreShards"] = (shown > 0 && rest.next().is_some()).into();
    description["Shards"] = shards.into();
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

fn describe(shard: &Shard, is_open: bool) -> Value {
    let mut sequence_numbers = json!({
        "StartingSequenceNumber": shard.start_number().to_string(),
    });
    if let (Some(end), false) = (shard.end_number(), is_open) {
        sequence_numbers["EndingSequenceNumber"] = end.to_string().into();
    }
    let mut description = json!({
        "ShardId": shard.id(),
        "HashKeyRange": hash_key_range(shard),
        "SequenceNumberRange": sequence_numbers,
    });
    let parents = [
        ("ParentShardId", shard.parent),
        ("AdjacentParentShardId", shard.adjacent_parent),
    ];
    for (member, parent) in parents {
        if let Some(parent) = parent {
            description[member] = shard_name(parent).into();
        }
    }
    description
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
