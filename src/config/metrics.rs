use std::fmt;
use std::time::Duration;

use crate::model::without_password;

/// Which metrics are uploaded: the KPL's `MetricsLevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MetricsLevel {
    /// None at all.
    None,
    /// Those that tell whether all is well.
    Summary,
    /// All of them.
    Detailed,
}

/// How finely they are told apart: the KPL's `MetricsGranularity`. Each level has those above it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MetricsGranularity {
    /// Of the whole producer.
    Global,
    /// By `StreamName`.
    Stream,
    /// By `ShardId`, too. CloudWatch charges by the metric: with many shards this is dear.
    Shard,
}

/// What of the metrics goes to CloudWatch, where, and how often.
#[derive(Clone, PartialEq)]
pub(crate) struct MetricsUpload {
    pub level: MetricsLevel,
    pub granularity: MetricsGranularity,
    pub namespace: String,
    pub delay: Duration,
    pub endpoint: Option<String>,
}

impl fmt::Debug for MetricsUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().map(without_password);
        f.debug_struct("MetricsUpload")
            .field("level", &self.level)
            .field("granularity", &self.granularity)
            .field("namespace", &self.namespace)
            .field("delay", &self.delay)
            .field("endpoint", &endpoint)
            .finish()
    }
}

impl Default for MetricsUpload {
    /// The KPL's defaults.
    fn default() -> MetricsUpload {
        MetricsUpload {
            level: MetricsLevel::Detailed,
            granularity: MetricsGranularity::Shard,
            namespace: "KinesisProducerLibrary".to_owned(),
            delay: UPLOAD_DELAY_MAX,
            endpoint: None,
        }
    }
}

/// Says whether CloudWatch takes a namespace: `API_PutMetricData.html`.
pub(crate) fn is_namespace(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.starts_with("AWS/")
}

pub(crate) const NAMESPACE: &str = "a name of 1 to 255 characters that does not begin with AWS/";

/// The KPL's upper bound, and its default.
pub(crate) const UPLOAD_DELAY_MAX: Duration = Duration::from_secs(60);
