//! The JSON form of a checkpoint.
//!
//! What version 1 did not have at first stands in members of the whole: those before it pass over what
//! they do not know there, but not in the members of a shard or of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::consumer::checkpoint::{Checkpoint, Origin, Origins, Replaced, Unconfirmed};
use crate::error::{Error, Result};
use crate::model::{
    HashKey, HashKeyRange, SequenceNumber, ShardPosition, ShardRef, StartPosition, Timestamp,
};

impl Checkpoint {
    /// Writes the checkpoint as one JSON object.
    ///
    /// ```
    /// let checkpoint = kinesis_blocking::Checkpoint::default();
    /// assert_eq!(checkpoint.to_json(), r#"{"version":1,"shards":[]}"#);
    /// ```
    pub fn to_json(&self) -> String {
        let shards = self
            .shards
            .iter()
            .map(|(shard, position)| Line {
                complete_to_ms: self.complete_to(shard).map(Timestamp::as_millis),
                watermark_ms: self.watermarks.get(shard).map(|time| time.as_millis()),
                ..Line::new(shard, position)
            })
            .collect();
        let streams = self.listed.iter();
        let file = File {
            version: VERSION,
            streams: streams
                .map(|(name, time)| Listed::new(name, *time))
                .collect(),
            shards,
            watermark_ms: self.watermark.map(Timestamp::as_millis),
            starts_ms: self
                .starts
                .iter()
                .map(|(stream, at)| (stream.to_string(), at.as_millis()))
                .collect(),
            newest: self
                .newest
                .iter()
                .map(|(stream, id)| (stream.to_string(), id.as_str().to_owned()))
                .collect(),
            first_sequence_numbers: firsts_form(&self.firsts),
            unconfirmed: unconfirmed_form(&self.unconfirmed),
            replaced: replaced_form(&self.replaced),
            origins: origins_form(&self.origins),
            subtasks: self.subtasks.iter().map(SubtasksForm::new).collect(),
        };
        serde_json::to_string(&file).expect("strings and numbers are always JSON")
    }

    /// Says whether it would be a checkpoint if this crate were of another version.
    pub(in crate::consumer) fn is_of_another_version(text: &str) -> bool {
        serde_json::from_str(text).is_ok_and(|version: Version| version.version != VERSION)
    }

    /// Reads what [`to_json`](Checkpoint::to_json) wrote.
    ///
    /// # Errors
    /// `Malformed`: it is not that, or a newer version of this crate wrote it.
    pub fn from_json(text: &str) -> Result<Checkpoint> {
        let version: Version = serde_json::from_str(text).map_err(malformed)?;
        if version.version != VERSION {
            let version = version.version;
            return Err(malformed(format_args!(
                "its version is {version}, and this version of the crate reads {VERSION}: go on \
                 with the one that wrote it, or a newer one"
            )));
        }
        let file: File = serde_json::from_str(text).map_err(malformed)?;
        let time_of = |line: &Line, millis: Option<i64>| {
            let shard = ShardRef::new(line.stream.as_str(), line.shard_id.as_str());
            Some((shard, Timestamp::from_millis(millis?)))
        };
        let lines = file.shards.iter();
        let times = lines
            .clone()
            .filter_map(|line| time_of(line, line.complete_to_ms));
        let watermarks = lines.filter_map(|line| time_of(line, line.watermark_ms));
        let (times, watermarks) = (times.collect(), watermarks.collect());
        let listed = file.streams.into_iter().map(Listed::into_time).collect();
        let start =
            |(stream, millis): (String, i64)| (Arc::from(stream), Timestamp::from_millis(millis));
        let starts = file.starts_ms.into_iter().map(start).collect();
        let subtasks = file.subtasks.into_iter();
        let subtasks = subtasks.map(|of| (of.parallelism, of.subtasks)).collect();
        let origins = origins(file.origins)?;
        let firsts = firsts(file.first_sequence_numbers)?;
        let unconfirmed = unconfirmed(file.unconfirmed)?;
        let replaced = replaced(file.replaced)?;
        let shards = file
            .shards
            .into_iter()
            .map(Line::into_position)
            .collect::<Result<_>>()?;
        Ok(Checkpoint {
            shards,
            times,
            watermarks,
            firsts,
            unconfirmed,
            replaced,
            watermark: file.watermark_ms.map(Timestamp::from_millis),
            listed,
            newest: file
                .newest
                .into_iter()
                .map(|(stream, id)| (stream.into(), id.into()))
                .collect(),
            starts,
            origins,
            subtasks,
        })
    }
}

/// By stream and shard.
type FirstsForm = BTreeMap<String, BTreeMap<String, String>>;

fn firsts_form(firsts: &BTreeMap<ShardRef, SequenceNumber>) -> FirstsForm {
    let mut form = FirstsForm::new();
    for (shard, first) in firsts {
        let stream = form.entry(shard.stream.to_string()).or_default();
        stream.insert(shard.shard_id.as_str().to_owned(), first.to_string());
    }
    form
}

fn firsts(form: FirstsForm) -> Result<BTreeMap<ShardRef, SequenceNumber>> {
    let mut firsts = BTreeMap::new();
    for (stream, shards) in form {
        for (shard, first) in shards {
            let shard = ShardRef::new(stream.as_str(), shard);
            firsts.insert(shard, first.parse().map_err(malformed)?);
        }
    }
    Ok(firsts)
}

/// By stream and shard.
type UnconfirmedForm = BTreeMap<String, BTreeMap<String, StretchForm>>;

/// The last record read before the retention was last confirmed, and how far behind reading was since.
#[derive(Serialize, Deserialize)]
struct StretchForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    lag_ms: u64,
}

fn unconfirmed_form(all: &BTreeMap<ShardRef, Unconfirmed>) -> UnconfirmedForm {
    let mut form = UnconfirmedForm::new();
    for (shard, Unconfirmed { after, lag }) in all {
        let stretch = StretchForm {
            after: after.as_ref().map(ToString::to_string),
            lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        };
        let stream = form.entry(shard.stream.to_string()).or_default();
        stream.insert(shard.shard_id.as_str().to_owned(), stretch);
    }
    form
}

fn unconfirmed(form: UnconfirmedForm) -> Result<BTreeMap<ShardRef, Unconfirmed>> {
    let mut all = BTreeMap::new();
    for (stream, shards) in form {
        for (shard, StretchForm { after, lag_ms }) in shards {
            let after = after.map(|after| after.parse()).transpose();
            let unconfirmed = Unconfirmed {
                after: after.map_err(malformed)?,
                lag: Duration::from_millis(lag_ms),
            };
            all.insert(ShardRef::new(stream.as_str(), shard), unconfirmed);
        }
    }
    Ok(all)
}

/// By stream and shard.
type ReplacedForm = BTreeMap<String, BTreeMap<String, LeftForm>>;

/// The last record that was read of a shard whose stream was made anew, and the shard's hash keys.
#[derive(Serialize, Deserialize)]
struct LeftForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    hash_keys: [String; 2],
}

fn replaced_form(all: &BTreeMap<ShardRef, Replaced>) -> ReplacedForm {
    let mut form = ReplacedForm::new();
    for (shard, Replaced { after, range }) in all {
        let left = LeftForm {
            after: after.as_ref().map(ToString::to_string),
            hash_keys: [range.start.to_string(), range.end.to_string()],
        };
        let stream = form.entry(shard.stream.to_string()).or_default();
        stream.insert(shard.shard_id.as_str().to_owned(), left);
    }
    form
}

fn replaced(form: ReplacedForm) -> Result<BTreeMap<ShardRef, Replaced>> {
    let key = |key: String| key.parse::<HashKey>().map_err(malformed);
    let mut all = BTreeMap::new();
    for (stream, shards) in form {
        for (shard, LeftForm { after, hash_keys }) in shards {
            let [start, end] = hash_keys;
            let after = after.map(|after| after.parse()).transpose();
            let replaced = Replaced {
                after: after.map_err(malformed)?,
                range: HashKeyRange {
                    start: key(start)?,
                    end: key(end)?,
                },
            };
            all.insert(ShardRef::new(stream.as_str(), shard), replaced);
        }
    }
    Ok(all)
}

fn malformed(detail: impl fmt::Display) -> Error {
    Error::malformed("checkpoint", detail)
}

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<Listed>,
    shards: Vec<Line>,
    /// The last watermark that was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark_ms: Option<i64>,
    /// By stream and shard: the first Kinesis record that was read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    first_sequence_numbers: FirstsForm,
    /// By stream and shard: what the retention has not confirmed yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unconfirmed: UnconfirmedForm,
    /// By stream and shard: what was left of it when its stream was made anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    replaced: ReplacedForm,
    /// By stream: since when it is read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    starts_ms: BTreeMap<String, i64>,
    /// By stream: the newest shard that was listed last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    origins: OriginsForm,
    /// Whose shards it has, if not those of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subtasks: Vec<SubtasksForm>,
}

/// By stream and shard: the first and the last hash key, and the starting sequence number.
type OriginsForm = BTreeMap<String, BTreeMap<String, [String; 3]>>;

fn origins_form(origins: &Origins) -> OriginsForm {
    let mut form = OriginsForm::new();
    for (shard, origin) in origins.iter() {
        let HashKeyRange { start, end } = origin.range;
        let all = [
            start.to_string(),
            end.to_string(),
            origin.starting.to_string(),
        ];
        let stream = form.entry(shard.stream.to_string()).or_default();
        stream.insert(shard.shard_id.as_str().to_owned(), all);
    }
    form
}

fn origins(form: OriginsForm) -> Result<Origins> {
    let mut all = Vec::new();
    for (stream, shards) in form {
        let stream: Arc<str> = stream.into();
        for (shard, [start, end, starting]) in shards {
            let key = |key: String| key.parse::<HashKey>().map_err(malformed);
            let origin = Origin {
                range: HashKeyRange {
                    start: key(start)?,
                    end: key(end)?,
                },
                starting: starting.parse().map_err(malformed)?,
            };
            all.push((ShardRef::new(stream.clone(), shard), origin));
        }
    }
    Ok(all.into_iter().collect())
}

/// Of so many subtasks, those whose shards are there.
#[derive(Serialize, Deserialize)]
struct SubtasksForm {
    parallelism: usize,
    subtasks: BTreeSet<usize>,
}

impl SubtasksForm {
    fn new((parallelism, subtasks): (usize, &BTreeSet<usize>)) -> SubtasksForm {
        SubtasksForm {
            parallelism,
            subtasks: subtasks.clone(),
        }
    }
}

/// When the shards of a stream were listed last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    stream: String,
    listed_ms: i64,
}

impl Listed {
    fn new(stream: &str, time: Timestamp) -> Listed {
        Listed {
            stream: stream.to_owned(),
            listed_ms: time.as_millis(),
        }
    }

    fn into_time(self) -> (Arc<str>, Timestamp) {
        (self.stream.into(), Timestamp::from_millis(self.listed_ms))
    }
}

/// One shard. Exactly one of `start`, `sequence_number` and `shard_end` says how far it was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    stream: String,
    shard_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shard_end: bool,
    /// Everything that arrived up to then is covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    complete_to_ms: Option<i64>,
    /// The event time of what is covered has come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark_ms: Option<i64>,
}

impl Line {
    fn new(shard: &ShardRef, position: &ShardPosition) -> Line {
        let (stream, shard_id) = (shard.stream.to_string(), shard.shard_id.as_str().to_owned());
        let entry = Line {
            stream,
            shard_id,
            ..Line::default()
        };
        match position {
            ShardPosition::Start(StartPosition::Latest) => Line {
                start: Some("LATEST".to_owned()),
                ..entry
            },
            ShardPosition::Start(StartPosition::TrimHorizon) => Line {
                start: Some("TRIM_HORIZON".to_owned()),
                ..entry
            },
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Line {
                start: Some("AT_TIMESTAMP".to_owned()),
                timestamp_ms: Some(time.as_millis()),
                ..entry
            },
            ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            } => {
                let sequence_number = Some(sequence_number.to_string());
                Line {
                    sequence_number,
                    sub_sequence_number: *sub_sequence_number,
                    ..entry
                }
            }
            ShardPosition::ShardEnd => Line {
                shard_end: true,
                ..entry
            },
        }
    }

    fn into_position(self) -> Result<(ShardRef, ShardPosition)> {
        let position = self.position()?;
        Ok((ShardRef::new(self.stream, self.shard_id), position))
    }

    fn position(&self) -> Result<ShardPosition> {
        match (self.start.as_deref(), &self.sequence_number, self.shard_end) {
            (Some(start), None, false) => self.start(start).map(ShardPosition::Start),
            (None, Some(number), false) => {
                let sequence_number: SequenceNumber = number.parse().map_err(malformed)?;
                Ok(ShardPosition::After {
                    sequence_number,
                    sub_sequence_number: self.sub_sequence_number,
                })
            }
            (None, None, true) => Ok(ShardPosition::ShardEnd),
            _ => Err(malformed(format_args!(
                "shard {} has no position or several",
                self.shard_id
            ))),
        }
    }

    fn start(&self, start: &str) -> Result<StartPosition> {
        match (start, self.timestamp_ms) {
            ("LATEST", None) => Ok(StartPosition::Latest),
            ("TRIM_HORIZON", None) => Ok(StartPosition::TrimHorizon),
            ("AT_TIMESTAMP", Some(millis)) => {
                Ok(StartPosition::AtTimestamp(Timestamp::from_millis(millis)))
            }
            _ => Err(malformed(format_args!(
                "shard {} has the unknown start {start:?}",
                self.shard_id
            ))),
        }
    }
}
