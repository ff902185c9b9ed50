use std::sync::Arc;
use std::time::Instant;

use crate::client::{EntryError, PutRecordsOutput};
use crate::producer::job::Span;
use crate::producer::kinesis_record::KinesisRecord;
use crate::producer::tally::{CallReport, RecordReport};

/// Kinesis records that share a call.
pub(super) struct Batch {
    pub stream: Arc<str>,
    pub records: Vec<KinesisRecord>,
    /// When it was ready to be sent.
    pub since: Instant,
    /// When the first of its records expires, if one does.
    pub expires: Option<Instant>,
}

impl Batch {
    pub fn new(since: Instant, stream: &Arc<str>, records: Vec<KinesisRecord>) -> Batch {
        Batch {
            stream: stream.clone(),
            expires: first_expiry(&records),
            records,
            since,
        }
    }

    /// Takes the records out that live no longer.
    pub fn take_expired(&mut self, now: Instant) -> Vec<KinesisRecord> {
        if self.expires.is_none_or(|expires| expires > now) {
            return Vec::new();
        }
        let expired = self
            .records
            .extract_if(.., |record| record.is_expired(now))
            .collect();
        self.expires = first_expiry(&self.records);
        expired
    }

    /// What can be said of its call whatever came of it.
    pub fn called(&self, span: Span) -> CallReport {
        let users = self.records.iter().map(KinesisRecord::users);
        CallReport {
            stream: self.stream.clone(),
            queued: span.began.saturating_duration_since(self.since),
            took: span.ended.saturating_duration_since(span.began),
            carried: (self.records.len(), users.sum()),
            error: None,
            records: Vec::new(),
        }
    }

    /// What came of a call that was answered.
    pub fn answered(&self, span: Span, output: &PutRecordsOutput) -> CallReport {
        let records = self.records.iter().zip(&output.records);
        let report = |(record, result): (&KinesisRecord, &Result<_, EntryError>)| RecordReport {
            shard: record.predicted.clone(),
            users: record.users(),
            bytes: record.bytes(),
            error: result.as_ref().err().map(|error| error.code.clone()),
        };
        CallReport {
            records: records.map(report).collect(),
            ..self.called(span)
        }
    }
}

fn first_expiry(records: &[KinesisRecord]) -> Option<Instant> {
    records.iter().filter_map(|record| record.expires).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::producer::kinesis_record::tests::bare;
    use crate::sys::Sys;

    #[test]
    fn each_record_leaves_its_call_when_it_expires() {
        let start = Sys::real().clock.now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let expiring = |seconds: Option<u64>| {
            let mut record = bare(start, "k", b"");
            record.expires = seconds.map(at);
            record
        };
        let records = [Some(4), Some(2), None, Some(2)].map(expiring);
        let mut batch = Batch::new(start, &"orders".into(), records.into());
        for (second, taken, next) in [
            (1, 0, Some(at(2))),
            (2, 2, Some(at(4))),
            (3, 0, Some(at(4))),
            (5, 1, None),
            (6, 0, None),
        ] {
            assert_eq!(batch.take_expired(at(second)).len(), taken, "{second}");
            assert_eq!(batch.expires, next, "{second}");
        }
    }
}
