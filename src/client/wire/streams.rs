use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::client::answers::{RecordDistributionStrategy, StreamSummary};
use crate::client::wire::members::Node;
use crate::client::wire::tree::tree;
use crate::client::wire::{Exchange, json, json_about};
use crate::error::{Context, Result};
use crate::model::{HashKey, Operation, ShardId, ShardRef};

pub(in crate::client) struct CreateStream<'a> {
    pub stream: &'a str,
    pub shards: u32,
}

impl Exchange for CreateStream<'_> {
    const OPERATION: Operation = Operation::CreateStream;
    type Answer = ();

    fn body(&self) -> Bytes {
        json(&json!({ "StreamName": self.stream, "ShardCount": self.shards }))
    }

    fn answer(&self, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

pub(in crate::client) struct DeleteStream<'a> {
    pub stream: &'a str,
}

impl Exchange for DeleteStream<'_> {
    const OPERATION: Operation = Operation::DeleteStream;
    type Answer = ();

    fn body(&self) -> Bytes {
        json_about(self.stream, json!({}))
    }

    fn answer(&self, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

pub(in crate::client) struct UpdateShardCount<'a> {
    pub stream: &'a str,
    pub target: u32,
}

impl Exchange for UpdateShardCount<'_> {
    const OPERATION: Operation = Operation::UpdateShardCount;
    type Answer = ();

    /// There is one way to scale.
    fn body(&self) -> Bytes {
        let fields = json!({ "TargetShardCount": self.target, "ScalingType": "UNIFORM_SCALING" });
        json_about(self.stream, fields)
    }

    fn answer(&self, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

pub(in crate::client) struct SplitShard<'a> {
    pub shard: &'a ShardRef,
    pub at: HashKey,
}

impl Exchange for SplitShard<'_> {
    const OPERATION: Operation = Operation::SplitShard;
    type Answer = ();

    fn body(&self) -> Bytes {
        let (stream, shard) = (&*self.shard.stream, self.shard.shard_id.as_str());
        let fields = json!({ "ShardToSplit": shard, "NewStartingHashKey": self.at.to_string() });
        json_about(stream, fields)
    }

    fn answer(&self, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn subject(&self, context: &mut Context) {
        context.shard = Some(self.shard.clone());
    }
}

pub(in crate::client) struct MergeShards<'a> {
    pub shard: &'a ShardRef,
    pub adjacent: &'a ShardId,
}

impl Exchange for MergeShards<'_> {
    const OPERATION: Operation = Operation::MergeShards;
    type Answer = ();

    fn body(&self) -> Bytes {
        let (stream, shard) = (&*self.shard.stream, self.shard.shard_id.as_str());
        let adjacent = self.adjacent.as_str();
        let fields = json!({ "ShardToMerge": shard, "AdjacentShardToMerge": adjacent });
        json_about(stream, fields)
    }

    fn answer(&self, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn subject(&self, context: &mut Context) {
        context.shard = Some(self.shard.clone());
    }
}

pub(in crate::client) struct DescribeStreamSummary<'a> {
    pub stream: &'a str,
}

impl Exchange for DescribeStreamSummary<'_> {
    const OPERATION: Operation = Operation::DescribeStreamSummary;
    type Answer = StreamSummary;

    fn body(&self) -> Bytes {
        json_about(self.stream, json!({}))
    }

    fn answer(&self, body: Bytes) -> Result<StreamSummary> {
        let tree = tree(&body)?;
        let answer = Node::root(&tree);
        let summary = answer.at("StreamDescriptionSummary");
        let hours = summary.at("RetentionPeriodHours").required_count()?;
        let open_shards = summary.at("OpenShardCount").required_count()?;
        // One that is new, or no text, is none that this library knows.
        let strategy = summary.at("RecordDistributionStrategy").text();
        Ok(StreamSummary {
            arn: summary.at("StreamARN").required()?.into_owned(),
            status: summary.at("StreamStatus").required()?.into_owned(),
            open_shards: u32::try_from(open_shards).unwrap_or(u32::MAX),
            retention: Duration::from_secs(hours.saturating_mul(3_600)),
            record_distribution_strategy: strategy
                .ok()
                .flatten()
                .and_then(|name| RecordDistributionStrategy::named(&name)),
        })
    }

    fn subject(&self, context: &mut Context) {
        context.stream = Some(self.stream.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_as_aws_documents_it() {
        let body = br#"{"StreamDescriptionSummary":{"ConsumerCount":0,"EncryptionType":"NONE","EnhancedMonitoring":[],
            "OpenShardCount":3,"RetentionPeriodHours":24,"StreamARN":"arn:aws:kinesis:us-west-2:123456789012:stream/orders",
            "StreamCreationTimestamp":1.572297168E9,"StreamName":"orders","StreamStatus":"ACTIVE"}}"#;
        let summary = DescribeStreamSummary { stream: "orders" }.answer(Bytes::from_static(body));
        let expected = StreamSummary {
            arn: "arn:aws:kinesis:us-west-2:123456789012:stream/orders".to_owned(),
            status: "ACTIVE".to_owned(),
            open_shards: 3,
            retention: Duration::from_secs(86_400),
            record_distribution_strategy: None,
        };
        assert_eq!(summary.expect("a summary"), expected);
    }

    #[test]
    fn a_strategy_is_read_if_it_is_known() {
        for (field, strategy) in [
            (
                r#","RecordDistributionStrategy":"AUTO""#,
                Some(RecordDistributionStrategy::Auto),
            ),
            (
                r#","RecordDistributionStrategy":"USER_PARTITION_KEY""#,
                Some(RecordDistributionStrategy::UserPartitionKey),
            ),
            (r#","RecordDistributionStrategy":"OF_2030""#, None),
            (r#","RecordDistributionStrategy":null"#, None),
            ("", None),
        ] {
            let body = format!(
                r#"{{"StreamDescriptionSummary":{{"OpenShardCount":3,"RetentionPeriodHours":24,
                "StreamARN":"arn","StreamStatus":"ACTIVE"{field}}}}}"#
            );
            let summary = DescribeStreamSummary { stream: "orders" }.answer(body.into());
            let read = summary.expect("a summary").record_distribution_strategy;
            assert_eq!(read, strategy, "{field}");
        }
    }

    #[test]
    fn a_stream_is_named_by_its_name_or_its_arn() {
        let arn = "arn:aws:kinesis:us-west-2:123456789012:stream/orders";
        for (stream, expected) in [
            ("orders", json!({"StreamName": "orders"})),
            (arn, json!({ "StreamARN": arn })),
        ] {
            assert_eq!(DeleteStream { stream }.body(), expected.to_string());
            assert_eq!(
                DescribeStreamSummary { stream }.body(),
                expected.to_string()
            );
            let mut scaling = json!({"ScalingType": "UNIFORM_SCALING", "TargetShardCount": 4});
            scaling
                .as_object_mut()
                .expect("an object")
                .append(expected.clone().as_object_mut().expect("an object"));
            let update = UpdateShardCount { stream, target: 4 };
            assert_eq!(update.body(), scaling.to_string());
        }
    }

    #[test]
    fn resharding_names_its_shards() {
        let shard = ShardRef::new("orders", "shardId-0");
        let split = SplitShard {
            shard: &shard,
            at: HashKey::from(7),
        };
        assert_eq!(
            split.body(),
            r#"{"NewStartingHashKey":"7","ShardToSplit":"shardId-0","StreamName":"orders"}"#
        );
        let merge = MergeShards {
            shard: &shard,
            adjacent: &"shardId-1".into(),
        };
        assert_eq!(
            merge.body(),
            r#"{"AdjacentShardToMerge":"shardId-1","ShardToMerge":"shardId-0","StreamName":"orders"}"#
        );
    }
}
