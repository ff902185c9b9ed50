use bytes::Bytes;

use crate::client::answers::{PutRecordOutput, PutRecordsEntry};
use crate::client::wire::Exchange;
use crate::client::wire::members::Node;
use crate::client::wire::put_records::push_fields;
use crate::client::wire::text::push_stream;
use crate::client::wire::tree::tree;
use crate::error::{Context, Result};
use crate::model::Operation;
use crate::sys::buffers::Writing;

pub(in crate::client) struct PutRecord<'a> {
    pub stream: &'a str,
    pub entry: &'a PutRecordsEntry,
}

impl Exchange for PutRecord<'_> {
    const OPERATION: Operation = Operation::PutRecord;
    type Answer = PutRecordOutput;

    fn body(&self) -> Bytes {
        let mut body = Writing::over(Vec::new(), BODY_BYTES + self.entry.data.len() / 3 * 4);
        body.push(b"{");
        push_stream(&mut body, self.stream);
        body.push(b",");
        push_fields(&mut body, self.entry);
        body.push(b"}");
        body.into_message()
    }

    fn answer(&self, body: Bytes) -> Result<PutRecordOutput> {
        let tree = tree(&body)?;
        let answer = Node::root(&tree);
        Ok(PutRecordOutput {
            shard_id: answer.at("ShardId").required()?.into_owned().into(),
            sequence_number: answer.at("SequenceNumber").parsed()?,
        })
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

/// Enough for the names, and for a stream and a key of usual length.
const BODY_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKey;

    #[test]
    fn a_record_is_put_and_its_place_is_read() {
        let entry = PutRecordsEntry {
            data: Bytes::from_static(b"data"),
            partition_key: "key".into(),
            explicit_hash_key: Some(HashKey::from(7)),
        };
        let put = PutRecord {
            stream: "orders",
            entry: &entry,
        };
        assert_eq!(
            put.body(),
            r#"{"StreamName":"orders","Data":"ZGF0YQ==","PartitionKey":"key","ExplicitHashKey":"7"}"#
        );
        let answer = br#"{"EncryptionType":"NONE","SequenceNumber":"21269319989653637946712965403778482177","ShardId":"shardId-000000000001"}"#;
        let expected = PutRecordOutput {
            shard_id: "shardId-000000000001".into(),
            sequence_number: "21269319989653637946712965403778482177"
                .parse()
                .expect("a number"),
        };
        let output = put.answer(Bytes::from_static(answer));
        assert_eq!(output.expect("an answer"), expected);
        assert!(put.answer(Bytes::from_static(b"{}")).is_err());
    }
}
