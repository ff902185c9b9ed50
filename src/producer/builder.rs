use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Client, Listed, StreamSummary};
use crate::config::ProducerConfig;
#[cfg(feature = "cloudwatch")]
use crate::config::metrics::MetricsLevel;
use crate::error::{Error, Result};
use crate::model::{Escaped, Operation};
use crate::producer::Producer;
use crate::producer::aggregator::Rules;
#[cfg(feature = "cloudwatch")]
use crate::producer::cloudwatch::CloudWatch;
use crate::producer::delivery::RecordResult;
use crate::producer::front::Front;
use crate::producer::intake::Intake;
use crate::producer::metrics::ProducerMetrics;
use crate::producer::monitor::{Monitor, OnMetrics};
use crate::producer::own_thread::ProducerId;
use crate::producer::pipeline::{MAP_AGE_MAX, Pipeline};
use crate::producer::report::{Callback, Reports};
use crate::producer::shared::{Failure, Shared};
use crate::producer::threads::{Callbacks, Threads, once};
#[cfg(feature = "cloudwatch")]
use crate::producer::upload::Uploader;
use crate::retry::RetryPolicy;
use crate::sys::stop::StopSource;

/// Describes a [`Producer`].
#[must_use = "a builder does nothing until `start`"]
pub struct ProducerBuilder {
    client: Client,
    stream: Option<Arc<str>>,
    config: ProducerConfig,
    fail_on_error: bool,
    on_delivery: Option<Callback>,
    on_metrics: Option<(Duration, OnMetrics)>,
    #[cfg(feature = "cloudwatch")]
    cloudwatch: Option<CloudWatch>,
}

impl ProducerBuilder {
    pub(super) fn new(client: Client) -> ProducerBuilder {
        ProducerBuilder {
            client,
            stream: None,
            config: ProducerConfig::default(),
            fail_on_error: false,
            on_delivery: None,
            on_metrics: None,
            #[cfg(feature = "cloudwatch")]
            cloudwatch: None,
        }
    }

    /// Sets the stream of records that name none.
    pub fn stream(mut self, default: impl Into<String>) -> ProducerBuilder {
        self.stream = Some(default.into().into());
        self
    }

    /// Sets everything that is data. Default: [`ProducerConfig::default`].
    pub fn config(mut self, config: ProducerConfig) -> ProducerBuilder {
        self.config = config;
        self
    }

    /// Makes `put`, `flush` and `close` return the error of the first record that was not delivered.
    ///
    /// From then on each of them does. Default: false. Flink's `setFailOnError`.
    pub fn fail_on_error(mut self, yes: bool) -> ProducerBuilder {
        self.fail_on_error = yes;
        self
    }

    /// Has every result reported, one after the other, on a thread of its own.
    ///
    /// A record's room is given back after its report: be quick, and do not wait for room in it. A
    /// panic is logged, and the next result reported all the same.
    pub fn on_delivery(mut self, report: impl Fn(&RecordResult) + Send + 'static) -> Self {
        self.on_delivery = Some(Box::new(report));
        self
    }

    /// Has the metrics told every so often, and once more at the end, on a thread of its own.
    ///
    /// What was missed is not made up for. A panic is logged, and the next ones told all the same.
    pub fn on_metrics(
        mut self,
        every: Duration,
        tell: impl FnMut(&ProducerMetrics) + Send + 'static,
    ) -> ProducerBuilder {
        // A rate of no time at all would be a busy loop.
        let every = every.max(Duration::from_millis(1));
        self.on_metrics = Some((every, Box::new(tell)));
        self
    }

    /// Uploads the metrics to CloudWatch. Default: no, unless the configuration was read from properties
    /// that have a key of the upload. Needs the feature `cloudwatch`.
    #[cfg(feature = "cloudwatch")]
    pub fn cloudwatch(mut self, settings: CloudWatch) -> ProducerBuilder {
        self.cloudwatch = Some(settings);
        self
    }

    /// Lists the default stream's shards and starts the producer's threads.
    ///
    /// Without the right to list shards it works all the same, but does not aggregate. It also asks once,
    /// by DescribeStreamSummary, who decides on the stream's shards; without an answer its keys do.
    ///
    /// # Errors
    /// The stream does not exist, the service cannot be reached, there are no credentials: whatever
    /// ListShards says. `Thread`: the operating system has no thread left. `Config`: a setting of the
    /// upload to CloudWatch is out of its range.
    pub fn start(mut self) -> Result<Producer> {
        #[cfg(feature = "cloudwatch")]
        let uploads = self.ask_for_upload();
        let monitor = self.monitor()?;
        let sys = self.client.sys().clone();
        let first = match &self.stream {
            Some(stream) => Some(first_look(&self.client, stream)?),
            None => None,
        };
        let mut pipeline = Pipeline::new(&self.config, sys.rng("producer"));
        let (shared, stop) = (Arc::new(self.shared()), StopSource::new());
        // From here on what is measured is kept for it.
        #[cfg(feature = "cloudwatch")]
        if uploads {
            drop(shared.take_window());
        }
        shared.know(&mut pipeline, first);
        let threads = Threads::start(
            shared.clone(),
            &self.client,
            pipeline,
            stop.stop(),
            Callbacks {
                on_delivery: self.on_delivery,
                monitor,
            },
        )?;
        Ok(Producer {
            shared,
            stop,
            threads,
        })
    }

    /// Says whether metrics are uploaded; if nothing else says so, what the keys said counts.
    #[cfg(feature = "cloudwatch")]
    fn ask_for_upload(&mut self) -> bool {
        let keys = self.config.metrics_upload.take();
        let keys = keys.filter(|upload| upload.level > MetricsLevel::None);
        self.cloudwatch = self.cloudwatch.take().or(keys.map(CloudWatch::of));
        self.cloudwatch.is_some()
    }

    fn monitor(&mut self) -> Result<Monitor> {
        let mut monitor = Monitor::default();
        if let Some((every, mut tell)) = self.on_metrics.take() {
            monitor.add(every, Box::new(move |shared, _| tell(&shared.metrics())));
        }
        #[cfg(feature = "cloudwatch")]
        if let Some(settings) = self.cloudwatch.take() {
            settings.check()?;
            let delay = settings.delay();
            let mut uploader = Uploader::new(self.client.clone(), settings)?;
            monitor.add(
                delay,
                Box::new(move |shared, stop| uploader.upload(shared, stop)),
            );
        }
        Ok(monitor)
    }

    fn shared(&self) -> Shared {
        let (config, clock) = (self.config.clone(), self.client.sys().clock.clone());
        Shared {
            id: ProducerId::new(),
            front: Front::new(self.stream.clone(), Rules::of(&config), clock.clone()),
            intake: Intake::new(config.queue_limit(), config.queue_limit_bytes),
            failure: Failure::new(self.fail_on_error),
            tallies: Mutex::default(),
            reports: self.on_delivery.as_ref().map(|_| Reports::new()),
            config,
            clock,
        }
    }
}

impl Shared {
    /// Starts with what is known of the default stream.
    fn know(&self, pipeline: &mut Pipeline, first: Option<FirstLook>) {
        let (Ok(stream), Some(first)) = (self.front.stream(None), first) else {
            return;
        };
        let FirstLook { listed, summary } = first;
        pipeline.learn(&stream.name, listed.as_ref());
        pipeline.on_described(self.clock.now(), &stream.name, &summary);
        for (_, aggregates) in pipeline.take_effects().aggregation {
            stream.aggregate(aggregates);
        }
        listed
            .into_iter()
            .for_each(|listed| stream.follow(listed.map));
    }
}

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("client", &self.client)
            .field("stream", &self.stream)
            .field("config", &self.config)
            .field("fail_on_error", &self.fail_on_error)
            .finish_non_exhaustive()
    }
}

/// What is known of the default stream from the start.
struct FirstLook {
    listed: Option<Listed>,
    summary: Result<StreamSummary>,
}

/// Lists a stream's shards, and asks who decides on them: so that no aggregate is made for a stream
/// that gets none. That is asked once, and its failure is none of the start.
fn first_look(client: &Client, stream: &Arc<str>) -> Result<FirstLook> {
    let listed = first_map(client, stream)?;
    let summary = once(client).describe_stream_summary(stream);
    Ok(FirstLook { listed, summary })
}

/// Lists a stream's shards; `None` without the right to.
fn first_map(client: &Client, stream: &Arc<str>) -> Result<Option<Listed>> {
    let policy = impatient(client.policy(Operation::ListShards));
    let now = client.sys().clock.now();
    let since = now.checked_sub(MAP_AGE_MAX).unwrap_or(now);
    let patient = client.with_retry(Operation::ListShards, policy);
    match patient.shard_map(stream, since) {
        Ok(listed) => Ok(Some(listed)),
        Err(error) if is_denied(&error) => {
            let stream = Escaped(stream);
            log::warn!("{error}; records for {stream} are not aggregated");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A wrong endpoint has to be said within seconds.
fn impatient(policy: &RetryPolicy) -> RetryPolicy {
    RetryPolicy {
        max_retries: Some(policy.max_retries.unwrap_or(RETRIES_MAX).min(RETRIES_MAX)),
        backoff_max: policy.backoff_max.min(BACKOFF_MAX),
        ..policy.clone()
    }
}

fn is_denied(error: &Error) -> bool {
    matches!(error.code(), "AccessDenied" | "AccessDeniedException")
}

const RETRIES_MAX: u32 = 2;
const BACKOFF_MAX: Duration = Duration::from_millis(1_000);
