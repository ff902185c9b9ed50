//! The first look at an aggregate: its frame, its fields, its user records before their lookup.

use crate::aggregation::{
    DecodeError, DecodeLimits, MAGIC,
    digest::Sum,
    wire::{
        Field, Fields, Problem, TAG_DATA, TAG_EXPLICIT_HASH_KEY_INDEX, TAG_PARTITION_KEY_INDEX,
        Value,
    },
};

/// What could be an aggregate, parted into message and checksum.
pub(super) struct Frame<'a> {
    pub(super) body: &'a [u8],
    pub(super) sum: Sum,
}

impl<'a> Frame<'a> {
    /// A message of nothing is no aggregate, even with its right checksum: the KCL has it so.
    pub(super) fn of(
        data: &'a [u8],
        limits: &DecodeLimits,
    ) -> Result<Option<Frame<'a>>, DecodeError> {
        let framed = data.strip_prefix(&MAGIC);
        let Some((body, sum)) = framed.and_then(<[u8]>::split_last_chunk) else {
            return Ok(None);
        };
        if body.is_empty() {
            return Ok(None);
        }
        if data.len() > limits.max_bytes {
            return Err(DecodeError::TooManyBytes {
                len: data.len(),
                max_bytes: limits.max_bytes,
            });
        }
        Ok(Some(Frame { body, sum: *sum }))
    }
}

/// What the first pass over a body finds out, before anything is allocated.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) partition_keys: usize,
    pub(super) explicit_hash_keys: usize,
    pub(super) records: usize,
    /// Where the first user record begins.
    pub(super) records_start: usize,
    /// Where the last table entry ends.
    pub(super) tables_end: usize,
}

impl Survey {
    pub(super) fn of(body: &[u8], limits: &DecodeLimits) -> Result<Survey, DecodeError> {
        let mut survey = Survey::default();
        let mut fields = Fields::new(body, 0);
        loop {
            let start = body.len() - fields.rest().len();
            let Some(field) = fields.next() else {
                break;
            };
            let end = body.len() - fields.rest().len();
            if let Err(problem) = survey.count(field, start, end) {
                let start = MAGIC.len() + start;
                return Err(DecodeError::Malformed { start, problem });
            }
        }
        survey.check(limits)?;
        Ok(survey)
    }

    #[inline(always)]
    fn count(
        &mut self,
        field: Result<Field<'_>, Problem>,
        start: usize,
        end: usize,
    ) -> Result<(), Problem> {
        let field = field?;
        match (field.number, field.value) {
            (PARTITION_KEY_TABLE, Value::Bytes(_)) => {
                self.partition_keys += 1;
                self.tables_end = end;
            }
            (EXPLICIT_HASH_KEY_TABLE, Value::Bytes(_)) => {
                self.explicit_hash_keys += 1;
                self.tables_end = end;
            }
            (RECORDS, Value::Bytes(message)) => {
                RawRecord::of(message)?;
                if self.records == 0 {
                    self.records_start = start;
                }
                self.records += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self, limits: &DecodeLimits) -> Result<(), DecodeError> {
        let max_records = limits.max_records;
        if self.records > max_records {
            return Err(DecodeError::TooManyRecords { max_records });
        }
        let max_table_entries = limits.max_table_entries;
        if self.partition_keys.max(self.explicit_hash_keys) > max_table_entries {
            return Err(DecodeError::TooManyTableEntries { max_table_entries });
        }
        Ok(())
    }
}

/// A user record before its indices are looked up.
pub(super) struct RawRecord<'a> {
    pub(super) partition_key_index: u64,
    pub(super) explicit_hash_key_index: Option<u64>,
    pub(super) data: &'a [u8],
}

impl<'a> RawRecord<'a> {
    #[inline(always)]
    pub(super) fn of(message: &'a [u8]) -> Result<RawRecord<'a>, Problem> {
        match RawRecord::as_written(message) {
            Some(record) => Ok(record),
            None => RawRecord::as_allowed(message),
        }
    }

    /// Reads the form that the encoders write: each field once and in order, and nothing else.
    #[inline(always)]
    pub(super) fn as_written(message: &'a [u8]) -> Option<RawRecord<'a>> {
        let mut cursor = Fields::new(message.strip_prefix(&[TAG_PARTITION_KEY_INDEX])?, 1);
        let partition_key_index = cursor.varint().ok()?;
        let mut explicit_hash_key_index = None;
        if let Some(rest) = cursor.rest().strip_prefix(&[TAG_EXPLICIT_HASH_KEY_INDEX]) {
            cursor = Fields::new(rest, 1);
            explicit_hash_key_index = Some(cursor.varint().ok()?);
        }
        cursor = Fields::new(cursor.rest().strip_prefix(&[TAG_DATA])?, 1);
        let data = cursor.bytes().ok()?;
        cursor.rest().is_empty().then_some(RawRecord {
            partition_key_index,
            explicit_hash_key_index,
            data,
        })
    }

    /// Reads any form that protobuf allows; of a field that comes twice, the last counts.
    #[cold]
    fn as_allowed(message: &'a [u8]) -> Result<RawRecord<'a>, Problem> {
        let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
        for field in Fields::new(message, 1) {
            let field = field?;
            match (field.number, field.value) {
                (PARTITION_KEY_INDEX, Value::Varint(index)) => partition_key_index = Some(index),
                (EXPLICIT_HASH_KEY_INDEX, Value::Varint(index)) => {
                    explicit_hash_key_index = Some(index)
                }
                (DATA, Value::Bytes(bytes)) => data = Some(bytes),
                (TAGS, Value::Bytes(tag)) => check_tag(tag)?,
                _ => {}
            }
        }
        Ok(RawRecord {
            partition_key_index: partition_key_index.ok_or("a record lacks partition_key_index")?,
            explicit_hash_key_index,
            data: data.ok_or("a record lacks data")?,
        })
    }
}

/// Tags are read by nobody, but their key is `required`.
fn check_tag(message: &[u8]) -> Result<(), Problem> {
    let mut has_key = false;
    for field in Fields::new(message, 2) {
        let field = field?;
        has_key |= matches!((field.number, field.value), (TAG_KEY, Value::Bytes(_)));
    }
    has_key.then_some(()).ok_or("a tag lacks its key")
}

// The field numbers of the schema, as in `message.rs`.
pub(super) const PARTITION_KEY_TABLE: u64 = 1;
pub(super) const EXPLICIT_HASH_KEY_TABLE: u64 = 2;
pub(super) const RECORDS: u64 = 3;
const PARTITION_KEY_INDEX: u64 = 1;
const EXPLICIT_HASH_KEY_INDEX: u64 = 2;
const DATA: u64 = 3;
pub(super) const TAGS: u64 = 4;
pub(super) const TAG_KEY: u64 = 1;
#[cfg(feature = "client")]
pub(super) const TAG_VALUE: u64 = 2;
