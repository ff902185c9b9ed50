use crate::config::keys::{self, Key, Setting};
use crate::config::{ProducerConfig, Properties};
use crate::error::Error;

/// Tells that what is set has no effect.
pub(super) fn read(properties: &Properties, faults: &mut Vec<Error>, _: &mut ProducerConfig) {
    keys::read(KEYS, properties, &mut (), faults);
}

pub(super) static KEYS: &[Key<()>] = &[
    ignored("MetricsLevel"),
    ignored("MetricsGranularity"),
    ignored("MetricsNamespace"),
    ignored("MetricsUploadDelay"),
    ignored("CloudwatchEndpoint"),
    ignored("CloudwatchPort"),
];

const fn ignored(name: &'static str) -> Key<()> {
    Key::new(name, Setting::Ignored { because: BECAUSE }, "")
}

const BECAUSE: &str = "metrics are uploaded with the crate's feature cloudwatch, and this program was \
                       built without it; Producer::metrics tells them";
