//! What a failure means for a Kinesis record: again after a while, or never.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::EntryError;
use crate::config::ProducerConfig;
use crate::error::{Error, ErrorKind, Verdict};
use crate::model::{Operation, ShardId};
use crate::producer::delivery::Stored;
use crate::producer::kinesis_record::KinesisRecord;
use crate::retry::RetryPolicy;
use crate::sys::clock::later;
use crate::sys::rng::Rng;

/// Records that wait for their next attempt, and the rules by which they do.
pub(super) struct Retrier {
    fail_if_throttled: bool,
    ttl: Duration,
    backoff: RetryPolicy,
    rng: Rng,
    waiting: BTreeMap<Instant, Vec<KinesisRecord>>,
}

impl Retrier {
    pub fn new(config: &ProducerConfig, rng: Rng) -> Retrier {
        Retrier {
            fail_if_throttled: config.fail_if_throttled,
            ttl: config.record_ttl,
            backoff: BACKOFF,
            rng,
            waiting: BTreeMap::new(),
        }
    }

    /// Says whether trying again may help.
    pub fn allows(&self, error: &Error) -> bool {
        match error.verdict() {
            Verdict::Fatal => is_of_entry(error) && !is_permanent(error.code()),
            Verdict::NewIterator => false,
            Verdict::Throttled => !self.fail_if_throttled,
            // The client has asked for new credentials once; they may still come.
            Verdict::RefreshCredentials | Verdict::Retry => true,
        }
    }

    /// Lets records of one outcome wait; gives back those that have not the time to.
    ///
    /// All wait for the same time, so that they meet in one call again.
    pub fn wait(&mut self, now: Instant, records: Vec<KinesisRecord>) -> Vec<KinesisRecord> {
        let attempts = records.iter().map(|record| record.attempts.len()).max();
        let retry = attempts.map_or(0, |attempts| attempts.saturating_sub(1) as u32);
        let due = later(now, self.backoff.backoff(retry, &mut self.rng));
        let (expired, waiting) = records
            .into_iter()
            .partition(|record: &KinesisRecord| record.is_expired(due));
        self.waiting
            .entry(due)
            .or_default()
            .extend::<Vec<_>>(waiting);
        expired
    }

    pub fn take_due(&mut self, now: Instant) -> Vec<KinesisRecord> {
        let mut due = Vec::new();
        while let Some(first) = self
            .waiting
            .first_entry()
            .filter(|first| *first.key() <= now)
        {
            due.extend(first.remove());
        }
        due
    }

    pub fn take_all(&mut self) -> Vec<KinesisRecord> {
        std::mem::take(&mut self.waiting)
            .into_values()
            .flatten()
            .collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(due, _)| *due)
    }

    /// Says whether a record of this stream waits.
    pub fn has_any_of(&self, stream: &str) -> bool {
        let mut waiting = self.waiting.values().flatten();
        waiting.any(|record| &*record.stream == stream)
    }

    /// Error for a record whose time to live is over.
    pub fn expired(&self, record: &KinesisRecord) -> Error {
        let mut attempts = record.all_attempts().rev();
        let cause = attempts.find_map(|attempt| attempt.error.clone());
        Error::new(ErrorKind::Expired {
            ttl: self.ttl,
            cause,
        })
    }
}

/// Says whether it is the error of a single entry, in a call that was answered.
fn is_of_entry(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Service { status: 200, .. })
}

/// Says whether an entry's error will be the same next time; what is not known may pass.
fn is_permanent(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException"
            | "InvalidArgumentException"
            | "InvalidSignatureException"
            | "KMSAccessDeniedException"
            | "KMSDisabledException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException"
            | "KMSOptInRequired"
            | "ResourceNotFoundException"
            | "UnrecognizedClientException"
            | "ValidationException"
    )
}

/// Says whether a call that failed so may have stored its records all the same.
pub(super) fn stored_despite(error: &Error) -> Stored {
    let possibly = match error.kind() {
        ErrorKind::Transport(error) => error.may_have_been_sent(),
        // Somebody on the way, or the service itself, lost track of what it did.
        ErrorKind::Service { status, .. } => *status >= 500,
        ErrorKind::Malformed { what, .. } => *what != "request",
        ErrorKind::Thread { .. } => true,
        _ => false,
    };
    match possibly {
        true => Stored::Possibly,
        false => Stored::No,
    }
}

/// Says whether the answers to the last two calls that put this record had the same member that cannot be read. Each of
/// them has probably stored it, and so would the next.
pub(super) fn is_odd_again(record: &KinesisRecord) -> bool {
    let mut attempts = record.attempts.iter().rev();
    let mut odd = || attempts.next()?.error.as_ref()?.odd_member();
    let (last, before) = (odd(), odd());
    last.is_some() && last == before
}

/// Says whether one bad record may have failed the whole call, or its size: apart, the others will pass.
pub(super) fn blames_one_record(error: &Error) -> bool {
    let ErrorKind::Service { code, .. } = error.kind() else {
        return false;
    };
    let is_invalid = matches!(
        code.as_str(),
        "InvalidArgumentException" | "SerializationException" | "ValidationException"
    );
    is_invalid || error.is_too_large()
}

pub(super) fn entry_error(stream: &Arc<str>, error: EntryError) -> Error {
    let EntryError { code, message } = error;
    // The call itself was answered with 200.
    let error = Error::new(ErrorKind::Service {
        code,
        message,
        status: 200,
    });
    error.within(|context| {
        context.operation = Some(Operation::PutRecords);
        context.stream = Some(stream.clone());
    })
}

/// Error for an aggregate that was stored where its readers leave it out. The KPL's words.
pub(super) fn wrong_shard(stream: &Arc<str>, shard: &ShardId) -> Error {
    let code = "Wrong Shard".to_owned();
    let message = format!("{shard} took the aggregate, but does not own all of its records");
    entry_error(stream, EntryError { code, message })
}

/// How a record's failures are told at last.
pub(super) fn told(error: Error, record: &KinesisRecord, now: Instant) -> Error {
    error.within(|context| {
        context.operation = Some(Operation::PutRecords);
        context.stream = Some(record.stream.clone());
        context.attempts = record.all_attempts().count() as u32;
        let took = record
            .all_attempts()
            .map(|attempt| attempt.delay + attempt.duration);
        context.elapsed = took.sum::<Duration>() + now.saturating_duration_since(record.since);
    })
}

/// A throttled shard has room again within its second; trouble may last longer.
const BACKOFF: RetryPolicy = RetryPolicy {
    max_retries: None,
    backoff_base: Duration::from_millis(100),
    backoff_max: Duration::from_millis(2_000),
    backoff_exponent: 1.5,
};

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::TransportError;
    use crate::producer::kinesis_record::tests::bare;
    use crate::sys::Sys;

    fn service(code: &str, status: u16) -> Error {
        let (code, message) = (code.to_owned(), String::new());
        Error::new(ErrorKind::Service {
            code,
            message,
            status,
        })
    }

    fn thread_died() -> Error {
        let (name, message) = ("kin-send".to_owned(), String::new());
        Error::new(ErrorKind::Thread { name, message })
    }

    #[test]
    fn each_failure_is_tried_again_or_not_and_may_have_stored_or_not() {
        let reset = || io::ErrorKind::ConnectionReset.into();
        let rows = [
            (
                "throttled",
                service("ProvisionedThroughputExceededException", 400),
                true,
                Stored::No,
            ),
            (
                "entry failed",
                service("InternalFailure", 200),
                true,
                Stored::No,
            ),
            ("entry of a new kind", service("xx", 200), true, Stored::No),
            (
                "entry without a key",
                service("KMSDisabledException", 200),
                false,
                Stored::No,
            ),
            ("call of a new kind", service("xx", 400), false, Stored::No),
            ("bad gateway", service("", 502), true, Stored::Possibly),
            (
                "no stream",
                service("ResourceNotFoundException", 400),
                false,
                Stored::No,
            ),
            (
                "expired token",
                service("ExpiredTokenException", 400),
                true,
                Stored::No,
            ),
            (
                "not connected",
                TransportError::Connect(reset()).into(),
                true,
                Stored::No,
            ),
            (
                "reset",
                TransportError::Io(reset()).into(),
                true,
                Stored::Possibly,
            ),
            (
                "garbled",
                Error::malformed("response", "no JSON"),
                true,
                Stored::Possibly,
            ),
            (
                "count",
                Error::malformed("PutRecords' answer", "1"),
                false,
                Stored::Possibly,
            ),
            ("panic", thread_died(), false, Stored::Possibly),
        ];
        let retrier = Retrier::new(&ProducerConfig::default(), Rng::from_seed(1));
        for (what, error, again, stored) in rows {
            let found = (retrier.allows(&error), stored_despite(&error));
            assert_eq!(found, (again, stored), "{what}");
        }
    }

    #[test]
    fn throttles_fail_at_once_if_asked_to() {
        let config = ProducerConfig::builder().fail_if_throttled(true);
        let config = config.build().expect("valid");
        let retrier = Retrier::new(&config, Rng::from_seed(1));
        assert!(!retrier.allows(&service("ProvisionedThroughputExceededException", 400)));
        assert!(retrier.allows(&service("InternalFailure", 500)));
    }

    #[test]
    fn records_of_one_outcome_wait_together_and_not_beyond_their_time_to_live() {
        let now = Sys::real().clock.now();
        let mut retrier = Retrier::new(&ProducerConfig::default(), Rng::from_seed(1));
        let mut dying = bare(now, "k", b"");
        dying.expires = Some(now);
        let records = vec![bare(now, "k", b""), dying, bare(now, "k", b"")];
        assert_eq!(retrier.wait(now, records).len(), 1);
        let due = retrier.next_deadline().expect("waiting");
        assert!(now <= due && due < now + Duration::from_millis(100));
        assert!(retrier.take_due(due - Duration::from_nanos(1)).is_empty());
        let has_any = ["orders", "other"].map(|stream| retrier.has_any_of(stream));
        assert_eq!(has_any, [true, false]);
        assert_eq!(retrier.take_due(due).len(), 2);
        assert!(!retrier.has_any_of("orders"));
        assert_eq!(retrier.next_deadline(), None);
    }

    #[test]
    fn an_expired_record_says_what_kept_it() {
        let now = Sys::real().clock.now();
        let retrier = Retrier::new(&ProducerConfig::default(), Rng::from_seed(1));
        let mut record = bare(now, "k", b"");
        let code = "ProvisionedThroughputExceededException".to_owned();
        let message = "Rate exceeded".to_owned();
        let throttled = entry_error(&record.stream, EntryError { code, message });
        let attempt = crate::producer::delivery::Attempt {
            delay: Duration::from_millis(100),
            duration: Duration::from_millis(900),
            error: Some(throttled),
        };
        record.note(attempt, now);
        let second = now + Duration::from_secs(1);
        let error = told(retrier.expired(&record), &record, second);
        // The same after it was grouped anew, which begins a Kinesis record without attempts.
        record.runs[0].history = record.attempts.drain(..).collect();
        let of_anew = told(retrier.expired(&record), &record, second);
        assert_eq!(of_anew.to_string(), error.to_string());
        assert_eq!(
            error.to_string(),
            "PutRecords on stream orders: not stored within the record's time to live of 30000 ms: PutRecords on \
             stream orders: ProvisionedThroughputExceededException: Rate exceeded; another program may share the \
             shard: call less often, or split it (1 attempt in 2.0 s); raise record_ttl, or put less than the \
             shards take"
        );
    }

    #[test]
    fn one_record_is_blamed_for_what_one_can_cause() {
        let rows = [
            ("not valid", service("ValidationException", 400), true),
            ("too large", service("", 413), true),
            (
                "no stream",
                service("ResourceNotFoundException", 400),
                false,
            ),
            ("panic", thread_died(), false),
        ];
        for (what, error, blamed) in rows {
            assert_eq!(blames_one_record(&error), blamed, "{what}");
        }
    }
}
