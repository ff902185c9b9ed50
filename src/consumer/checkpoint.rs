use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{SequenceNumber, ShardPosition, ShardRef, StartPosition, Timestamp};

/// How far each shard has been read: where to go on from.
///
/// Its JSON form is versioned: a later version of this crate reads what an earlier one wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) shards: BTreeMap<ShardRef, ShardPosition>,
    /// Up to when everything of a shard that arrived is covered by its position, where that is known.
    pub(super) times: BTreeMap<ShardRef, Timestamp>,
    /// How far the event time of each shard has come with its position, where that is known.
    pub(super) watermarks: BTreeMap<ShardRef, Timestamp>,
    /// The last watermark that was handed out.
    pub(super) watermark: Option<Timestamp>,
    /// When the shards of each stream were listed last: what it does not know was not there then.
    pub(super) listed: BTreeMap<Arc<str>, Timestamp>,
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

    /// Says how far one shard has been read, in place of what was known of it.
    ///
    /// For a checkpoint that is made by hand, of another library's say: no consumer needs it.
    /// `complete_to` is the time up to which all that arrived is covered, where that is known: only
    /// with it can a consumer tell whether records were trimmed before it came. Watermarks are
    /// forgotten: what is read again may have happened before them.
    ///
    /// ```
    /// use kinesis_blocking::{Checkpoint, ShardPosition, ShardRef, StartPosition};
    ///
    /// let mut checkpoint = Checkpoint::default();
    /// let shard = ShardRef::new("orders", "shardId-000000000000");
    /// let begin = ShardPosition::Start(StartPosition::TrimHorizon);
    /// checkpoint.insert(shard.clone(), begin.clone(), None);
    /// assert_eq!(checkpoint.position(&shard), Some(&begin));
    /// ```
    pub fn insert(
        &mut self,
        shard: ShardRef,
        position: ShardPosition,
        complete_to: Option<Timestamp>,
    ) {
        self.remove(&shard);
        self.times
            .extend(complete_to.map(|time| (shard.clone(), time)));
        self.shards.insert(shard, position);
    }

    /// Forgets a shard, and gives how far it had been read.
    ///
    /// A consumer that goes on from here reads it from its beginning if it finds it, as a new one.
    pub fn remove(&mut self, shard: &ShardRef) -> Option<ShardPosition> {
        self.times.remove(shard);
        self.watermarks.remove(shard);
        self.watermark = None;
        self.shards.remove(shard)
    }

    /// Puts the checkpoints of two consumers together, for one that goes on from both.
    ///
    /// Where both know a shard, whoever came further counts: what it covers has been handed out. Of
    /// two that have not begun, the one that reads more counts.
    ///
    /// ```
    /// # fn main() -> kinesis_blocking::Result<()> {
    /// use kinesis_blocking::Checkpoint;
    ///
    /// let json = |shard: &str, number: u32| {
    ///     let shard = format!(r#"{{"stream":"orders","shard_id":"{shard}","sequence_number":"{number}"}}"#);
    ///     format!(r#"{{"version":1,"shards":[{shard}]}}"#)
    /// };
    /// let (one, older) = (Checkpoint::from_json(&json("a", 7))?, Checkpoint::from_json(&json("a", 6))?);
    /// assert_eq!(one.clone().merge(older), one);
    /// let other = Checkpoint::from_json(&json("b", 1))?;
    /// assert_eq!(one.merge(other).iter().count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn merge(mut self, other: Checkpoint) -> Checkpoint {
        self.watermark = match (self.is_empty(), other.is_empty()) {
            (true, _) => other.watermark,
            (_, true) => self.watermark,
            // What is complete is what is complete for both; nothing, if one does not know.
            _ => self.watermark.min(other.watermark),
        };
        for (stream, listed) in other.listed {
            let mine = self.listed.entry(stream).or_insert(listed);
            *mine = listed.min(*mine);
        }
        for (shard, position) in &other.shards {
            let mine = self.shards.get(shard);
            if mine == Some(position) {
                // The times of both hold.
                keep_later(&mut self.times, &other.times, shard);
                keep_later(&mut self.watermarks, &other.watermarks, shard);
            } else if mine.is_none_or(|mine| counts_more(position, mine)) {
                replace(&mut self.times, &other.times, shard);
                replace(&mut self.watermarks, &other.watermarks, shard);
                self.shards.insert(shard.clone(), position.clone());
            }
        }
        self
    }

    /// Says whether any shard of a stream is in it.
    pub(super) fn knows_stream(&self, stream: &str) -> bool {
        self.shards.keys().any(|shard| &*shard.stream == stream)
    }

    /// The same, with streams under other names where there is one.
    pub(super) fn renamed(self, name: impl Fn(&str) -> Option<Arc<str>>) -> Checkpoint {
        let stream = |stream: Arc<str>| name(&stream).unwrap_or(stream);
        let shard = |shard: ShardRef| ShardRef {
            stream: stream(shard.stream),
            ..shard
        };
        let all = |times: BTreeMap<ShardRef, Timestamp>| {
            times.into_iter().map(|(of, at)| (shard(of), at)).collect()
        };
        let (shards, listed) = (self.shards.into_iter(), self.listed.into_iter());
        Checkpoint {
            shards: shards.map(|(of, at)| (shard(of), at)).collect(),
            times: all(self.times),
            watermarks: all(self.watermarks),
            watermark: self.watermark,
            listed: listed.map(|(of, at)| (stream(of), at)).collect(),
        }
    }

    /// Lets go of all shards of a stream.
    pub(super) fn forget_stream(&mut self, stream: &str) {
        self.shards.retain(|shard, _| &*shard.stream != stream);
        self.times.retain(|shard, _| &*shard.stream != stream);
        self.watermarks.retain(|shard, _| &*shard.stream != stream);
        self.listed.remove(stream);
    }

    /// Returns up to when everything of a shard that arrived is covered by its position; `None` if
    /// that is not known.
    pub fn complete_to(&self, shard: &ShardRef) -> Option<Timestamp> {
        self.times.get(shard).copied()
    }

    /// When the shards of a stream were listed last.
    pub(super) fn listed(&self, stream: &str) -> Option<Timestamp> {
        self.listed.get(stream).copied()
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
        };
        serde_json::to_string(&file).expect("strings and numbers are always JSON")
    }

    /// Says whether it would be a checkpoint if this crate were of another version.
    pub(super) fn is_of_another_version(text: &str) -> bool {
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
        let shards = file
            .shards
            .into_iter()
            .map(Line::into_position)
            .collect::<Result<_>>()?;
        Ok(Checkpoint {
            shards,
            times,
            watermarks,
            watermark: file.watermark_ms.map(Timestamp::from_millis),
            listed,
        })
    }
}

/// Two times of the same position of a shard both hold, so the later one says more.
fn keep_later(mine: &mut Times, others: &Times, shard: &ShardRef) {
    let later = mine.remove(shard).max(others.get(shard).copied());
    mine.extend(later.map(|time| (shard.clone(), time)));
}

/// A time goes with its position.
fn replace(mine: &mut Times, others: &Times, shard: &ShardRef) {
    mine.remove(shard);
    mine.extend(others.get(shard).map(|time| (shard.clone(), *time)));
}

type Times = BTreeMap<ShardRef, Timestamp>;

/// Of two positions of one shard, says whether the first is to go on from.
fn counts_more(one: &ShardPosition, other: &ShardPosition) -> bool {
    let (one, other) = (Progress::of(one), Progress::of(other));
    match (&one, &other) {
        (Progress::Start(one), Progress::Start(other)) => one < other,
        _ => one > other,
    }
}

/// A position, ordered by what it covers.
#[derive(PartialEq, PartialOrd)]
enum Progress<'a> {
    /// From when on it reads: `None` is the beginning, and the end of time is LATEST.
    Start(Option<Timestamp>),
    /// A Kinesis record, and the last of its user records that is covered.
    After(&'a SequenceNumber, u64),
    ShardEnd,
}

impl Progress<'_> {
    fn of(position: &ShardPosition) -> Progress<'_> {
        match position {
            ShardPosition::Start(StartPosition::TrimHorizon) => Progress::Start(None),
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Progress::Start(Some(*time)),
            ShardPosition::Start(StartPosition::Latest) => {
                Progress::Start(Some(Timestamp::from_millis(i64::MAX)))
            }
            ShardPosition::After {
                sequence_number,
                sub_sequence_number,
            } => Progress::After(sequence_number, sub_sequence_number.unwrap_or(u64::MAX)),
            ShardPosition::ShardEnd => Progress::ShardEnd,
        }
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<Listed>,
    shards: Vec<Line>,
    /// The last watermark that was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark_ms: Option<i64>,
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
    const VERSION_1: &str = include_str!("../../tests/data/checkpoint/version_1.json");

    #[test]
    fn its_json_is_fixed_and_comes_back_whole() {
        assert_eq!(checkpoint().to_json(), VERSION_1.trim_end());
        assert_eq!(
            Checkpoint::from_json(VERSION_1).expect("a checkpoint"),
            checkpoint()
        );
    }

    /// What version 1 wrote once there were watermarks.
    const WITH_WATERMARKS: &str =
        include_str!("../../tests/data/checkpoint/version_1_watermarks.json");

    #[test]
    fn a_position_made_by_hand_has_no_watermark() {
        let shard = ShardRef::new("orders", "a");
        let time = Timestamp::from_millis;
        let mut made = Checkpoint {
            shards: [(shard.clone(), ShardPosition::ShardEnd)].into(),
            times: [(shard.clone(), time(1))].into(),
            watermarks: [(shard.clone(), time(2))].into(),
            watermark: Some(time(2)),
            ..Checkpoint::default()
        };
        let begin = ShardPosition::Start(StartPosition::TrimHorizon);
        made.insert(shard.clone(), begin.clone(), Some(time(3)));
        let expected = Checkpoint {
            shards: [(shard.clone(), begin.clone())].into(),
            times: [(shard.clone(), time(3))].into(),
            ..Checkpoint::default()
        };
        assert_eq!(made, expected);
        assert_eq!(made.remove(&shard), Some(begin));
        assert_eq!(made, Checkpoint::default());
    }

    #[test]
    fn watermarks_are_kept_beside_the_positions_they_belong_to() {
        let (millis, shard) = (Timestamp::from_millis, ShardRef::new("orders", "shardId-3"));
        let checkpoint = Checkpoint {
            watermarks: [(shard, millis(1_459_799_926_000))].into(),
            watermark: Some(millis(1_459_799_925_000)),
            ..checkpoint()
        };
        assert_eq!(checkpoint.to_json(), WITH_WATERMARKS.trim_end());
        let read = Checkpoint::from_json(WITH_WATERMARKS).expect("a checkpoint");
        assert_eq!(read, checkpoint);
        let renamed = read.renamed(|_| Some("returns".into()));
        assert_eq!(
            renamed.watermarks.keys().next(),
            Some(&ShardRef::new("returns", "shardId-3"))
        );
    }

    #[test]
    fn two_consumers_are_as_far_together_as_the_one_that_is_behind() {
        let at = |shard: &str, watermark: Option<i64>| Checkpoint {
            shards: [(ShardRef::new("orders", shard), ShardPosition::ShardEnd)].into(),
            watermark: watermark.map(Timestamp::from_millis),
            ..Checkpoint::default()
        };
        for (one, other, both) in [
            (at("a", Some(3)), at("b", Some(5)), Some(3)),
            (at("a", Some(3)), at("b", None), None),
            (at("a", Some(3)), Checkpoint::default(), Some(3)),
        ] {
            let both = both.map(Timestamp::from_millis);
            assert_eq!(one.clone().merge(other.clone()).watermark, both);
            assert_eq!(other.merge(one).watermark, both);
        }
    }

    #[test]
    fn the_time_of_a_position_is_kept_beside_it() {
        let mut timed = checkpoint();
        let shard = ShardRef::new("orders", "shardId-3");
        timed.times.insert(shard.clone(), Timestamp::from_millis(7));
        timed
            .listed
            .insert("orders".into(), Timestamp::from_millis(8));
        let json = timed.to_json();
        assert!(json.contains(r#""complete_to_ms":7"#), "{json}");
        let streams = r#""streams":[{"stream":"orders","listed_ms":8}]"#;
        assert!(json.contains(streams), "{json}");
        let read = Checkpoint::from_json(&json).expect("a checkpoint");
        assert_eq!(read, timed);
        assert_eq!(read.complete_to(&shard), Some(Timestamp::from_millis(7)));
        assert_eq!(read.listed("orders"), Some(Timestamp::from_millis(8)));
        assert_eq!(read.listed("returns"), None);
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused_with_a_reason() {
        let shard = |fields: &str| {
            format!(r#"{{"version":1,"shards":[{{"stream":"s","shard_id":"x"{fields}}}]}}"#)
        };
        for (text, message) in [
            (
                r#"{"version":2,"shards":[]}"#.to_owned(),
                "checkpoint is malformed: its version is 2, and this version of the crate reads 1: go on \
                 with the one that wrote it, or a newer one",
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

    #[test]
    fn of_two_positions_of_a_shard_the_one_that_covers_more_counts() {
        let at = |position: &ShardPosition| Checkpoint {
            shards: [(ShardRef::new("orders", "a"), position.clone())].into(),
            ..Checkpoint::default()
        };
        let after = |number: u32, sub_sequence_number| ShardPosition::After {
            sequence_number: number.to_string().parse().expect("a number"),
            sub_sequence_number,
        };
        let start = ShardPosition::Start;
        let time = |millis| start(StartPosition::AtTimestamp(Timestamp::from_millis(millis)));
        // Each counts more than all before it.
        let positions = [
            start(StartPosition::Latest),
            time(2),
            time(1),
            start(StartPosition::TrimHorizon),
            after(9, Some(7)),
            after(10, Some(0)),
            after(10, Some(1)),
            after(10, None),
            ShardPosition::ShardEnd,
        ];
        for (less, one) in positions.iter().enumerate() {
            for other in &positions[less..] {
                assert_eq!(at(one).merge(at(other)), at(other), "{one:?}, {other:?}");
                assert_eq!(at(other).merge(at(one)), at(other), "{other:?}, {one:?}");
            }
        }
        let all = checkpoint().merge(at(&ShardPosition::ShardEnd));
        assert_eq!(all.iter().count(), checkpoint().iter().count() + 1);
    }

    #[test]
    fn two_know_only_the_shards_that_both_could_have_listed() {
        let listed = |times: &[(&str, i64)]| Checkpoint {
            listed: times
                .iter()
                .map(|(stream, time)| ((*stream).into(), Timestamp::from_millis(*time)))
                .collect(),
            ..Checkpoint::default()
        };
        let one = listed(&[("orders", 7), ("returns", 7)]);
        let other = listed(&[("orders", 5), ("returns", 9), ("visits", 1)]);
        let both = listed(&[("orders", 5), ("returns", 7), ("visits", 1)]);
        assert_eq!(one.merge(other), both);
    }

    #[test]
    fn a_time_goes_with_the_position_it_belongs_to() {
        let shard = || ShardRef::new("orders", "a");
        let at = |number: u32, time: Option<i64>| Checkpoint {
            watermark: None,
            watermarks: time
                .map(|time| (shard(), Timestamp::from_millis(time + 1)))
                .into_iter()
                .collect(),
            shards: [(
                shard(),
                ShardPosition::After {
                    sequence_number: number.to_string().parse().expect("a number"),
                    sub_sequence_number: None,
                },
            )]
            .into(),
            times: time
                .map(|time| (shard(), Timestamp::from_millis(time)))
                .into_iter()
                .collect(),
            ..Checkpoint::default()
        };
        for (one, other, both) in [
            (at(1, Some(9)), at(2, None), at(2, None)),
            (at(1, None), at(2, Some(5)), at(2, Some(5))),
            (at(1, Some(9)), at(2, Some(5)), at(2, Some(5))),
            (at(1, Some(9)), at(1, Some(5)), at(1, Some(9))),
            (at(1, None), at(1, Some(5)), at(1, Some(5))),
        ] {
            assert_eq!(one.clone().merge(other.clone()), both);
            assert_eq!(other.merge(one), both);
        }
    }
}
