use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{HashKey, Operation};

/// A record to put: its data, and what decides where it goes.
///
/// ```
/// use kinesis_blocking::{HashKey, UserRecord};
///
/// let record = UserRecord::new("customer-7", "order 1");
/// let elsewhere = record.clone().stream("audit").explicit_hash_key(HashKey::MIN);
/// assert_eq!(elsewhere.data(), record.data());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    partition_key: String,
    data: Bytes,
    /// Behind a pointer because most records have none, and every record is moved several times.
    target: Option<Box<Target>>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Target {
    stream: Option<Arc<str>>,
    explicit_hash_key: Option<HashKey>,
    has_no_key: bool,
}

impl UserRecord {
    /// Makes a record for the producer's default stream and the shard that the partition key falls into.
    ///
    /// A partition key has 1 to 256 characters. Nothing is checked before the record is put.
    pub fn new(partition_key: impl Into<String>, data: impl Into<Bytes>) -> UserRecord {
        UserRecord {
            partition_key: partition_key.into(),
            data: data.into(),
            target: None,
        }
    }

    /// Makes a record without a partition key, for a stream whose record distribution strategy is
    /// [`Auto`](crate::RecordDistributionStrategy::Auto): the service decides on its shard.
    ///
    /// It is never aggregated. Any other stream refuses it, and it settles as undelivered.
    pub fn without_partition_key(data: impl Into<Bytes>) -> UserRecord {
        let mut record = UserRecord::new("", data);
        record.target.get_or_insert_default().has_no_key = true;
        record
    }

    /// Names the stream that takes it, in place of the producer's default.
    pub fn stream(mut self, name: impl Into<Arc<str>>) -> UserRecord {
        self.target.get_or_insert_default().stream = Some(name.into());
        self
    }

    /// Decides the shard in place of the partition key.
    pub fn explicit_hash_key(mut self, key: HashKey) -> UserRecord {
        self.target.get_or_insert_default().explicit_hash_key = Some(key);
        self
    }

    /// Returns its partition key; empty if it has none.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// Returns its data.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    pub(super) fn into_parts(self) -> (String, Bytes) {
        (self.partition_key, self.data)
    }

    pub(super) fn stream_name(&self) -> Option<&Arc<str>> {
        self.target.as_ref()?.stream.as_ref()
    }

    pub(super) fn has_no_key(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.has_no_key)
    }

    pub(super) fn given_hash_key(&self) -> Option<HashKey> {
        self.target.as_ref()?.explicit_hash_key
    }

    /// Where it lies on the ring.
    pub(super) fn hash_key(&self) -> HashKey {
        self.given_hash_key()
            .unwrap_or_else(|| HashKey::of_partition_key(&self.partition_key))
    }

    /// What the service counts against its limits.
    pub(super) fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }

    /// Checks the service's rules: `API_PutRecordsRequestEntry.html`.
    pub(super) fn check(&self, limit_bytes: usize) -> Result<()> {
        if !self.has_no_key() {
            check_partition_key(&self.partition_key)?;
        }
        let bytes = self.bytes();
        if bytes > limit_bytes {
            return Err(Error::new(ErrorKind::RecordTooLarge { bytes, limit_bytes }));
        }
        Ok(())
    }
}

impl fmt::Debug for UserRecord {
    /// Without the key and the data, which belong to the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("partition_key_len", &self.partition_key.len())
            .field("data_len", &self.data.len())
            .field("stream", &self.stream_name())
            .field("explicit_hash_key", &self.given_hash_key())
            .finish()
    }
}

/// A record that was not taken in; it comes back whole.
#[derive(Debug)]
pub struct PutError {
    /// The record, as it was given.
    pub record: UserRecord,
    /// Why it was not taken in.
    pub error: Error,
}

impl PutError {
    pub(super) fn new(record: UserRecord, error: Error, stream: Option<&Arc<str>>) -> PutError {
        let error = error.within(|context| {
            context.operation = Some(Operation::PutRecords);
            context.stream = stream.or(record.stream_name()).cloned();
        });
        PutError { record, error }
    }

    /// Says whether there was no room: the same record may be taken in later.
    pub fn is_full(&self) -> bool {
        matches!(self.error.kind(), ErrorKind::Full { .. })
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for PutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<PutError> for Error {
    fn from(refused: PutError) -> Error {
        refused.error
    }
}

fn check_partition_key(key: &str) -> Result<()> {
    // A text has no more characters than bytes, so that short ones need not be counted.
    if !key.is_empty() && key.len() <= PARTITION_KEY_CHARS_MAX {
        return Ok(());
    }
    match key.chars().count() {
        1..=PARTITION_KEY_CHARS_MAX => Ok(()),
        count => Err(Error::new(ErrorKind::InvalidRecord {
            reason: format!(
                "the partition key has {count} characters, 1 to {PARTITION_KEY_CHARS_MAX} are allowed"
            ),
        })),
    }
}

/// Characters, not bytes: `API_PutRecordsRequestEntry.html`.
const PARTITION_KEY_CHARS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_key_has_1_to_256_characters_whatever_their_bytes() {
        let reason =
            |count| format!("the partition key has {count} characters, 1 to 256 are allowed");
        for (key, refused) in [
            (String::new(), Some(reason(0))),
            ("k".to_owned(), None),
            ("k".repeat(256), None),
            ("k".repeat(257), Some(reason(257))),
            ("é".repeat(256), None),
            ("é".repeat(257), Some(reason(257))),
        ] {
            let checked = UserRecord::new(key, "").check(usize::MAX);
            let said = checked.err().map(|error| error.to_string());
            assert_eq!(said, refused);
        }
    }

    #[test]
    fn a_records_size_is_its_data_and_its_key() {
        let size = |data_len| {
            let checked = UserRecord::new("key", vec![0; data_len]).check(100);
            checked.err().map(|error| error.to_string())
        };
        let refused = "the record's data and partition key are 101 bytes, the limit is 100";
        let sizes = [size(96), size(97), size(98)];
        assert_eq!(sizes, [None, None, Some(refused.to_owned())]);
    }

    #[test]
    fn a_record_is_shown_without_its_key_and_data() {
        let record = UserRecord::new("key", "secret").explicit_hash_key(7.into());
        assert_eq!(
            format!("{record:?}"),
            "UserRecord { partition_key_len: 3, data_len: 6, stream: None, \
             explicit_hash_key: Some(HashKey(7)) }"
        );
    }

    #[test]
    fn results_stay_small_enough_to_be_returned() {
        assert!(size_of::<UserRecord>() <= 64);
        assert!(size_of::<PutError>() <= 72);
    }
}
