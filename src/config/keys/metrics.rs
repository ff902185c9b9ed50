//! The KPL's keys of the upload of metrics. The KPL uploads unless it is told not to; here one of
//! these keys has to be set, as CloudWatch charges for it.

use crate::config::keys::{self, Key, Setting, host};
use crate::config::metrics::{
    MetricsGranularity, MetricsLevel, MetricsUpload, NAMESPACE, is_namespace,
};
use crate::config::{ProducerConfig, Properties};
use crate::error::Error;

/// Takes over what is to be uploaded, if any key of it is set.
pub(super) fn read(properties: &Properties, faults: &mut Vec<Error>, config: &mut ProducerConfig) {
    let mut draft = Draft::default();
    keys::read(KEYS, properties, &mut draft, faults);
    if KEYS.iter().any(|key| properties.get(key.name).is_some()) {
        config.metrics_upload = Some(draft.finish());
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    upload: MetricsUpload,
    host: Option<String>,
    port: u64,
}

impl Draft {
    fn finish(mut self) -> MetricsUpload {
        let url = self
            .host
            .map(|host| format!("https://{host}:{}", self.port));
        self.upload.endpoint = url;
        self.upload
    }
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            upload: MetricsUpload::default(),
            host: None,
            port: 443,
        }
    }
}

pub(super) static KEYS: &[Key<Draft>] = &[
    Key::new(
        "MetricsLevel",
        Setting::Word {
            words: &["none", "summary", "detailed"],
            set: |d, at| d.upload.level = LEVELS[at],
            get: |d| at(&LEVELS, d.upload.level),
        },
        "Uploads no metrics, those that tell whether all is well, or all. Any of these keys asks for the upload; it needs the crate's feature `cloudwatch`.",
    ),
    Key::new(
        "MetricsGranularity",
        Setting::Word {
            words: &["global", "stream", "shard"],
            set: |d, at| d.upload.granularity = GRANULARITIES[at],
            get: |d| at(&GRANULARITIES, d.upload.granularity),
        },
        "Tells the metrics apart by nothing, by stream, or by shard as well, which is dear.",
    ),
    Key::new(
        "MetricsNamespace",
        Setting::Text {
            what: NAMESPACE,
            set: |d, text| {
                if !is_namespace(text) {
                    return Err(NAMESPACE.to_owned());
                }
                d.upload.namespace = text.to_owned();
                Ok(())
            },
            default: "KinesisProducerLibrary",
        },
        "The namespace of the metrics.",
    ),
    Key::new(
        "MetricsUploadDelay",
        Setting::Millis {
            range: 1..=60_000,
            set: |d, time| d.upload.delay = time,
            get: |d| Some(d.upload.delay),
        },
        "The time between two uploads.",
    ),
    Key::new(
        "CloudwatchEndpoint",
        Setting::Text {
            what: "a host's name",
            set: |d, text| {
                d.host = host(text, "AWS_ENDPOINT_URL_CLOUDWATCH")?;
                Ok(())
            },
            default: "",
        },
        "The host to upload to over https, in place of the region's.",
    ),
    Key::new(
        "CloudwatchPort",
        Setting::Integer {
            range: 1..=65_535,
            unit: "port",
            cap: None,
            set: |d, n| d.port = n,
            get: |d| d.port,
        },
        "The port at CloudwatchEndpoint.",
    ),
];

fn at<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

const LEVELS: [MetricsLevel; 3] = [
    MetricsLevel::None,
    MetricsLevel::Summary,
    MetricsLevel::Detailed,
];

const GRANULARITIES: [MetricsGranularity; 3] = [
    MetricsGranularity::Global,
    MetricsGranularity::Stream,
    MetricsGranularity::Shard,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn upload(pairs: &[(&str, &str)]) -> Result<Option<MetricsUpload>, String> {
        let properties = Properties::from_iter(pairs.iter().copied());
        let (mut faults, mut config) = (Vec::new(), ProducerConfig::default());
        read(&properties, &mut faults, &mut config);
        let upload = config.metrics_upload;
        match Error::several(faults) {
            None => Ok(upload),
            Some(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn any_of_its_keys_asks_for_the_upload_with_the_kpls_defaults_for_the_others() {
        assert_eq!(upload(&[("RateLimit", "100")]), Ok(None));
        let default = MetricsUpload::default();
        assert_eq!(
            upload(&[("CloudwatchPort", "444")]),
            Ok(Some(default.clone()))
        );
        let all = [
            ("MetricsLevel", "summary"),
            ("MetricsGranularity", "stream"),
            ("MetricsNamespace", "Orders"),
            ("MetricsUploadDelay", "1000"),
            ("CloudwatchEndpoint", "monitoring.example"),
            ("CloudwatchPort", "8443"),
        ];
        let expected = MetricsUpload {
            level: MetricsLevel::Summary,
            granularity: MetricsGranularity::Stream,
            namespace: "Orders".to_owned(),
            delay: Duration::from_secs(1),
            endpoint: Some("https://monitoring.example:8443".to_owned()),
        };
        assert_eq!(upload(&all), Ok(Some(expected)));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (key, value, message) in [
            ("MetricsLevel", "all", "one of none, summary, detailed"),
            (
                "MetricsGranularity",
                "Shard",
                "one of global, stream, shard",
            ),
            ("MetricsNamespace", "AWS/Kinesis", NAMESPACE),
            (
                "MetricsUploadDelay",
                "0",
                "an integer from 1 to 60000 (milliseconds)",
            ),
            (
                "MetricsUploadDelay",
                "60001",
                "an integer from 1 to 60000 (milliseconds)",
            ),
            (
                "CloudwatchEndpoint",
                "https://x",
                "a host's name, without scheme, port and path: see AWS_ENDPOINT_URL_CLOUDWATCH",
            ),
            ("CloudwatchPort", "0", "an integer from 1 to 65535 (port)"),
        ] {
            let told = upload(&[(key, value)]);
            assert_eq!(told, Err(format!("{key}: {value:?} is not {message}")));
        }
    }
}
