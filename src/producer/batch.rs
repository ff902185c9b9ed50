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
}

impl Batch {
    pub fn new(since: Instant, stream: &Arc<str>, records: Vec<KinesisRecord>) -> Batch {
        Batch {
            stream: stream.clone(),
            records,
            since,
        }
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
