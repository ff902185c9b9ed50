use std::fmt;

use crate::model::{SequenceNumber, ShardRef};

/// Records that a consumer could not hand out, or not as they were meant: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The shard it is in.
    pub shard: ShardRef,
    /// Why it came about.
    pub cause: GapCause,
    /// Up to and with this Kinesis record nothing is missing; `None` if none was read before. If it is an
    /// aggregate that was handed out in part, the rest of it may be missing as well.
    pub after: Option<SequenceNumber>,
    /// From this Kinesis record on nothing is missing; `None` if none has been read since.
    pub before: Option<SequenceNumber>,
}

/// Why records were not handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// What looks like an aggregate cannot be read, and was handed out whole, as one record.
    MalformedAggregate {
        /// Where it is.
        sequence_number: SequenceNumber,
    },
    /// User records of another shard were left out, as [`Misplaced`](crate::Misplaced) was set to.
    Misplaced {
        /// The aggregate they are in.
        sequence_number: SequenceNumber,
        /// How many of its user records were left out.
        records: usize,
    },
    /// User records of another shard were handed out. A copy of them may come in their own shard, unless
    /// a mark or the content shows that it is a repeat.
    MisplacedHandedOut {
        /// The aggregate they are in: the last one of the answer that was read.
        sequence_number: SequenceNumber,
        /// How many there are in that answer.
        records: usize,
        /// A producer with a shard map from before a reshard may have put them there, which stores
        /// them again if it follows the KPL. Otherwise no reshard explains them: their producer
        /// does not look where its records go.
        after_reshard: bool,
    },
    /// User records were left out because another copy of them is handed out, in this shard or another:
    /// their producer stored them again.
    Repeated {
        /// The Kinesis record they are in.
        sequence_number: SequenceNumber,
        /// How many of its user records were left out.
        records: usize,
    },
    /// The shard is not listed any more, and was not read to its end.
    ShardVanished,
    /// A new stream has the name of the one that was read before.
    StreamRecreated,
    /// More time has passed than the stream keeps records, and the last record that was read is gone. If
    /// nothing arrived in that time, nothing is lost: a quiet shard cannot be distinguished from one
    /// whose records were trimmed.
    Trimmed,
    /// The service does not know the place up to which the shard was read.
    UnknownPosition,
}

impl Gap {
    pub(crate) fn new(shard: ShardRef, cause: GapCause) -> Gap {
        Gap {
            shard,
            cause,
            after: None,
            before: None,
        }
    }

    /// Says whether records may be lost, and not only left out or handed out in another form.
    pub fn is_loss(&self) -> bool {
        !matches!(
            self.cause,
            GapCause::MalformedAggregate { .. }
                | GapCause::Misplaced { .. }
                | GapCause::MisplacedHandedOut { .. }
                | GapCause::Repeated { .. }
        )
    }
}

impl Gap {
    /// Why and between what, where the shard has been told.
    pub(crate) fn what(&self) -> String {
        let bound = |word: &str, number: &Option<SequenceNumber>| match number {
            Some(number) => format!(", {word} {number}"),
            None => String::new(),
        };
        let (after, before) = (bound("after", &self.after), bound("before", &self.before));
        let doubt = match self.cause {
            GapCause::Trimmed => QUIET_OR_TRIMMED,
            _ => "",
        };
        format!("{}{after}{before}{doubt}", self.cause)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.shard, self.what())
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GapCause::MalformedAggregate { sequence_number } => write!(
                f,
                "the aggregate at {sequence_number} cannot be read and is handed out whole"
            ),
            GapCause::Misplaced {
                sequence_number,
                records,
            } => write!(
                f,
                "{records} user records of the aggregate at {sequence_number} are left out"
            ),
            GapCause::MisplacedHandedOut {
                sequence_number,
                records,
                after_reshard,
            } => {
                let why = match after_reshard {
                    true => "after a reshard: their producer may store them again",
                    false => "without a reshard: their producer does not look where records go",
                };
                write!(
                    f,
                    "{records} user records up to the aggregate at {sequence_number} belong to another \
                     shard and are handed out, {why}"
                )
            }
            GapCause::Repeated {
                sequence_number,
                records,
            } => write!(
                f,
                "{records} user records at {sequence_number} are left out: another copy of each is \
                 handed out"
            ),
            GapCause::ShardVanished => {
                f.write_str("the shard is gone before it was read to its end")
            }
            GapCause::StreamRecreated => f.write_str("the stream was deleted and made anew"),
            GapCause::Trimmed => {
                f.write_str("records may have outlived the stream's retention unread")
            }
            GapCause::UnknownPosition => {
                f.write_str("the service does not know the place it was read to")
            }
        }
    }
}

/// No answer of the service tells the two apart.
const QUIET_OR_TRIMMED: &str =
    "; or the shard was quiet, and nothing is lost: quiet or trimmed cannot be distinguished";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_where_and_why() {
        let number = |text: &str| text.parse().expect("a number");
        let mut gap = Gap::new(ShardRef::new("orders", "shardId-0"), GapCause::Trimmed);
        let start = "stream orders, shard shardId-0: records may have outlived the stream's \
                     retention unread";
        assert_eq!(gap.to_string(), format!("{start}{QUIET_OR_TRIMMED}"));
        (gap.after, gap.before) = (Some(number("7")), Some(number("9")));
        let message = format!("{start}, after 7, before 9{QUIET_OR_TRIMMED}");
        assert_eq!(gap.to_string(), message);
        assert!(gap.is_loss());
        gap.cause = GapCause::Misplaced {
            sequence_number: number("8"),
            records: 2,
        };
        assert!(!gap.is_loss());
        let handed_out = |after_reshard| GapCause::MisplacedHandedOut {
            sequence_number: number("8"),
            records: 2,
            after_reshard,
        };
        let repeated = GapCause::Repeated {
            sequence_number: number("8"),
            records: 2,
        };
        for (cause, text) in [
            (
                handed_out(true),
                "2 user records up to the aggregate at 8 belong to another shard and are handed out, \
                 after a reshard: their producer may store them again",
            ),
            (
                handed_out(false),
                "2 user records up to the aggregate at 8 belong to another shard and are handed out, \
                 without a reshard: their producer does not look where records go",
            ),
            (
                repeated,
                "2 user records at 8 are left out: another copy of each is handed out",
            ),
        ] {
            assert_eq!(cause.to_string(), text);
            gap.cause = cause;
            assert!(!gap.is_loss());
        }
    }
}
