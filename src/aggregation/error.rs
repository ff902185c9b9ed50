use std::fmt;

use crate::model::HashKey;

/// Why an aggregate with a right checksum cannot be read, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A user record refers to an explicit hash key that the table does not have.
    ExplicitHashKeyIndexOutOfRange {
        /// The user record's position, counted from 0.
        sub_sequence_number: u64,
        /// The index it refers to.
        index: u64,
        /// The entries that the table has.
        table_len: usize,
    },
    /// A user record's explicit hash key is not a whole number from 0 to 2^128 - 1.
    ExplicitHashKeyNotANumber {
        /// The user record's position, counted from 0.
        sub_sequence_number: u64,
    },
    /// The body is not the message it should be.
    Malformed {
        /// Where the field begins that cannot be read, in bytes from the start of the record.
        start: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A user record refers to a partition key that the table does not have.
    PartitionKeyIndexOutOfRange {
        /// The user record's position, counted from 0.
        sub_sequence_number: u64,
        /// The index it refers to.
        index: u64,
        /// The entries that the table has.
        table_len: usize,
    },
    /// The record begins as an aggregate and is longer than the limit; its checksum was not computed.
    TooManyBytes {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The aggregate has more user records than the limit.
    TooManyRecords {
        /// The limit.
        max_records: usize,
    },
    /// A table of the aggregate has more entries than the limit.
    TooManyTableEntries {
        /// The limit, for each of the two tables.
        max_table_entries: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("aggregate cannot be read: ")?;
        match self {
            DecodeError::ExplicitHashKeyIndexOutOfRange {
                sub_sequence_number,
                index,
                table_len,
            } => write!(
                f,
                "user record {sub_sequence_number} refers to explicit hash key {index}, and there \
                 are {table_len}"
            ),
            DecodeError::ExplicitHashKeyNotANumber {
                sub_sequence_number,
            } => write!(
                f,
                "the explicit hash key of user record {sub_sequence_number} is not a whole number \
                 from 0 to {}",
                HashKey::MAX
            ),
            DecodeError::Malformed { start, problem } => {
                write!(f, "in the field at byte {start}, {problem}")
            }
            DecodeError::PartitionKeyIndexOutOfRange {
                sub_sequence_number,
                index,
                table_len,
            } => write!(
                f,
                "user record {sub_sequence_number} refers to partition key {index}, and there are \
                 {table_len}"
            ),
            DecodeError::TooManyBytes { len, max_bytes } => {
                write!(f, "it has {len} bytes, and the limit is {max_bytes}")
            }
            DecodeError::TooManyRecords { max_records } => {
                write!(f, "it has more user records than the limit, {max_records}")
            }
            DecodeError::TooManyTableEntries { max_table_entries } => {
                write!(
                    f,
                    "a table has more entries than the limit, {max_table_entries}"
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_cannot_be_read() {
        let sub_sequence_number = 2;
        for (error, text) in [
            (
                DecodeError::ExplicitHashKeyIndexOutOfRange {
                    sub_sequence_number,
                    index: 7,
                    table_len: 3,
                },
                "user record 2 refers to explicit hash key 7, and there are 3",
            ),
            (
                DecodeError::ExplicitHashKeyNotANumber {
                    sub_sequence_number,
                },
                "the explicit hash key of user record 2 is not a whole number from 0 to \
                 340282366920938463463374607431768211455",
            ),
            (
                DecodeError::Malformed {
                    start: 9,
                    problem: "a number is cut off",
                },
                "in the field at byte 9, a number is cut off",
            ),
            (
                DecodeError::PartitionKeyIndexOutOfRange {
                    sub_sequence_number,
                    index: 7,
                    table_len: 3,
                },
                "user record 2 refers to partition key 7, and there are 3",
            ),
            (
                DecodeError::TooManyBytes {
                    len: 11,
                    max_bytes: 10,
                },
                "it has 11 bytes, and the limit is 10",
            ),
            (
                DecodeError::TooManyRecords { max_records: 10 },
                "it has more user records than the limit, 10",
            ),
            (
                DecodeError::TooManyTableEntries {
                    max_table_entries: 10,
                },
                "a table has more entries than the limit, 10",
            ),
        ] {
            assert_eq!(
                error.to_string(),
                format!("aggregate cannot be read: {text}")
            );
        }
    }
}
