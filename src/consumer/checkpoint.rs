use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{SequenceNumber, ShardPosition, ShardRef, StartPosition, Timestamp};

/// How far each shard has been read: where to go on from.
///
/// Its JSON form is versioned: a later version of this crate reads what an earlier one wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    pub(super) shards: BTreeMap<ShardRef, ShardPosition>,
    /// Up to when everything of a shard that arrived is covered by its position, where that is known.
    pub(super) times: BTreeMap<ShardRef, Timestamp>,
}

impl Checkpoint {
    /// Returns how far one shard has been read; `None` if the checkpoint does not know it.
    pub fn position(&self, shard: &ShardRef) -> Option<&ShardPosition> {
        self.shards.get(shard)
    }

    /// Iterates over all shards, by stream and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ShardRef, &ShardPosition)> {
        self.shards.iter()
    }

    /// Says whether nothing has been read of anything.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Says whether any shard of a stream is in it.
    pub(super) fn knows_stream(&self, stream: &str) -> bool {
        self.shards.keys().any(|shard| &*shard.stream == stream)
    }

    /// The same, with streams under other names where there is one.
    pub(super) fn renamed(self, name: impl Fn(&str) -> Option<std::sync::Arc<str>>) -> Checkpoint {
        let renamed = |mut shard: ShardRef| {
            shard.stream = name(&shard.stream).unwrap_or(shard.stream);
            shard
        };
        let (shards, times) = (self.shards.into_iter(), self.times.into_iter());
        Checkpoint {
            shards: shards
                .map(|(shard, position)| (renamed(shard), position))
                .collect(),
            times: times.map(|(shard, time)| (renamed(shard), time)).collect(),
        }
    }

    /// Lets go of all shards of a stream.
    pub(super) fn forget_stream(&mut self, stream: &str) {
        self.shards.retain(|shard, _| &*shard.stream != stream);
        self.times.retain(|shard, _| &*shard.stream != stream);
    }

    /// Up to when everything of a shard that arrived is covered by its position.
    pub(super) fn complete_to(&self, shard: &ShardRef) -> Option<Timestamp> {
        self.times.get(shard).copied()
    }

    /// The same of the shard of a stream that was read last: about when the checkpoint was made.
    pub(super) fn made(&self, stream: &str) -> Option<Timestamp> {
        let times = self.times.iter();
        times
            .filter(|(shard, _)| &*shard.stream == stream)
            .map(|(_, time)| *time)
            .max()
    }

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
            .map(|(shard, position)| Entry {
                complete_to_ms: self.complete_to(shard).map(Timestamp::as_millis),
                ..Entry::new(shard, position)
            })
            .collect();
        let file = File {
            version: VERSION,
            shards,
        };
        serde_json::to_string(&file).expect("strings and numbers are always JSON")
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
                "its version is {version}, this crate reads {VERSION}"
            )));
        }
        let file: File = serde_json::from_str(text).map_err(malformed)?;
        let times = file.shards.iter().filter_map(Entry::time).collect();
        let shards = file
            .shards
            .into_iter()
            .map(Entry::into_position)
            .collect::<Result<_>>()?;
        Ok(Checkpoint { shards, times })
    }
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
    shards: Vec<Entry>,
}

/// One shard. Exactly one of `start`, `sequence_number` and `shard_end` says how far it was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
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
}

impl Entry {
    fn new(shard: &ShardRef, position: &ShardPosition) -> Entry {
        let (stream, shard_id) = (shard.stream.to_string(), shard.shard_id.to_string());
        let entry = Entry {
            stream,
            shard_id,
            ..Entry::default()
        };
        match position {
            ShardPosition::Start(StartPosition::Latest) => Entry {
                start: Some("LATEST".to_owned()),
                ..entry
            },
            ShardPosition::Start(StartPosition::TrimHorizon) => Entry {
                start: Some("TRIM_HORIZON".to_owned()),
                ..entry
            },
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Entry {
                start: Some("AT_TIMESTAMP".to_owned()),
                timestamp_ms: Some(time.as_millis()),
                ..entry
            },
            ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            } => {
                let sequence_number = Some(sequence_number.to_string());
                Entry {
                    sequence_number,
                    sub_sequence_number: *sub_sequence_number,
                    ..entry
                }
            }
            ShardPosition::ShardEnd => Entry {
                shard_end: true,
                ..entry
            },
        }
    }

    fn time(&self) -> Option<(ShardRef, Timestamp)> {
        let time = Timestamp::from_millis(self.complete_to_ms?);
        let (stream, shard_id) = (self.stream.as_str(), self.shard_id.as_str());
        Some((ShardRef::new(stream, shard_id), time))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let after = |sub_sequence_number| ShardPosition::After {
            sequence_number: "49590338271490256608559692538361571095921575989136588898"
                .parse()
                .expect("a number"),
            sub_sequence_number,
        };
        let start = ShardPosition::Start;
        let positions = [
            start(StartPosition::Latest),
            start(StartPosition::TrimHorizon),
            start(StartPosition::AtTimestamp(Timestamp::from_millis(
                1_459_799_926_480,
            ))),
            after(None),
            after(Some(41)),
            ShardPosition::ShardEnd,
        ];
        let shards = (0..)
            .zip(positions)
            .map(|(i, position)| (ShardRef::new("orders", format!("shardId-{i}")), position));
        Checkpoint {
            shards: shards.collect(),
            ..Checkpoint::default()
        }
    }

    /// What version 1 wrote; every later version has to read it.
    const VERSION_1: &str = concat!(
        r#"{"version":1,"shards":["#,
        r#"{"stream":"orders","shard_id":"shardId-0","start":"LATEST"},"#,
        r#"{"stream":"orders","shard_id":"shardId-1","start":"TRIM_HORIZON"},"#,
        r#"{"stream":"orders","shard_id":"shardId-2","start":"AT_TIMESTAMP","timestamp_ms":1459799926480},"#,
        r#"{"stream":"orders","shard_id":"shardId-3","#,
        r#""sequence_number":"49590338271490256608559692538361571095921575989136588898"},"#,
        r#"{"stream":"orders","shard_id":"shardId-4","#,
        r#""sequence_number":"49590338271490256608559692538361571095921575989136588898","sub_sequence_number":41},"#,
        r#"{"stream":"orders","shard_id":"shardId-5","shard_end":true}]}"#,
    );

    #[test]
    fn its_json_is_fixed_and_comes_back_whole() {
        assert_eq!(checkpoint().to_json(), VERSION_1);
        assert_eq!(
            Checkpoint::from_json(VERSION_1).expect("a checkpoint"),
            checkpoint()
        );
    }

    #[test]
    fn the_time_of_a_position_is_kept_beside_it() {
        let mut timed = checkpoint();
        let shard = ShardRef::new("orders", "shardId-3");
        timed.times.insert(shard.clone(), Timestamp::from_millis(7));
        let json = timed.to_json();
        assert!(json.contains(r#""complete_to_ms":7"#), "{json}");
        let read = Checkpoint::from_json(&json).expect("a checkpoint");
        assert_eq!(read, timed);
        assert_eq!(read.complete_to(&shard), Some(Timestamp::from_millis(7)));
        assert_eq!(read.made("orders"), Some(Timestamp::from_millis(7)));
        assert_eq!(read.made("returns"), None);
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused_with_a_reason() {
        let shard = |fields: &str| {
            format!(r#"{{"version":1,"shards":[{{"stream":"s","shard_id":"x"{fields}}}]}}"#)
        };
        for (text, message) in [
            (
                r#"{"version":2,"shards":[]}"#.to_owned(),
                "checkpoint is malformed: its version is 2, this crate reads 1",
            ),
            (
                shard(""),
                "checkpoint is malformed: shard x has no position or several",
            ),
            (
                shard(r#","shard_end":true,"sequence_number":"1""#),
                "checkpoint is malformed: shard x has no position or several",
            ),
            (
                shard(r#","start":"SOMEWHERE""#),
                "checkpoint is malformed: shard x has the unknown start \"SOMEWHERE\"",
            ),
            (
                shard(r#","sequence_number":"LATEST""#),
                "checkpoint is malformed: sequence number \"LATEST\" is not a decimal number of 1 to 129 digits",
            ),
        ] {
            assert_eq!(
                Checkpoint::from_json(&text)
                    .expect_err("refused")
                    .to_string(),
                message
            );
        }
        assert!(Checkpoint::from_json("").is_err());
    }
}
