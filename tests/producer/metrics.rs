//! What a producer tells of itself, and what it uploads to CloudWatch.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault, VirtualClock};
use kinesis_blocking::{
    CloudWatch, Credentials, ErrorKind, HttpTransport, MetricsGranularity, MetricsLevel, Operation,
    Producer, ProducerConfig, ProducerMetrics, Properties, TransportError,
};

use crate::quiet::until;
use crate::support::*;

#[test]
fn metrics_are_told_by_stream_and_shard() {
    let fake = kinesis(2).with_stream("audit", 1);
    let producer = producer(&fake);
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    for n in 0..10 {
        producer.put(named(n).stream("audit")).expect("taken in");
    }
    producer.flush().expect("flushed");
    let ProducerMetrics { total, streams, .. } = producer.metrics();
    assert_eq!(
        (total.user_records_received, total.user_records_put),
        (110, 110)
    );
    let orders = &streams[STREAM];
    assert_eq!(orders.total.user_records_put, 100);
    assert_eq!(orders.shards.len(), 2);
    let by_shard = orders.shards.values().map(|shard| shard.user_records_put);
    assert_eq!(by_shard.sum::<u64>(), 100);
    assert_eq!(streams["audit"].total.user_records_received, 10);
    let percentiles = orders.percentiles;
    assert!(percentiles.buffering_time.p50 <= percentiles.buffering_time.p999);
    let text = producer.metrics().to_json();
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["Streams"][STREAM]["UserRecordsPut"], 100);
}

#[test]
fn metrics_are_told_every_so_often_and_at_the_end() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let (told, reports) = std::sync::mpsc::channel();
    let tell = move |metrics: &ProducerMetrics| {
        told.send(metrics.total.user_records_put)
            .expect("the test listens");
        assert!(metrics.total.user_records_put < 2, "a panic of the user's");
    };
    let producer = builder(&fake).on_metrics(Duration::from_secs(10), tell);
    let producer = producer.start().expect("started");
    for n in 0..3 {
        producer.put(named(n)).expect("taken in");
        producer.flush().expect("flushed");
        pass_until(&clock, || reports.try_iter().any(|told| told == n + 1));
    }
    producer.close().expect("closed");
    assert_eq!(reports.iter().last(), Some(3));
}

/// Lets time go by, from wait to wait, until something is so.
fn pass_until(clock: &VirtualClock, is_so: impl Fn() -> bool) {
    until("such moment", || {
        is_so() || {
            clock.advance_to_next();
            false
        }
    });
}

/// A stream of one shard that takes everything, and a CloudWatch that does as it is told.
#[derive(Clone, Default)]
struct Aws {
    bodies: Arc<Mutex<Vec<String>>>,
    /// Who signed what: service and access key.
    signers: Arc<Mutex<Vec<(bool, String)>>>,
    /// What CloudWatch answers before it takes anything.
    failures: Arc<Mutex<Vec<u16>>>,
    /// Whether it is two hours later there.
    is_ahead: bool,
}

impl HttpTransport for Aws {
    fn round_trip(
        &self,
        request: http::Request<Bytes>,
        _: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let is_metrics = request.uri().host() == Some("monitoring.test");
        let key = header("authorization").split(['=', '/']).nth(1);
        let signer = (is_metrics, key.unwrap_or_default().to_owned());
        self.signers.lock().expect("not poisoned").push(signer);
        let answer = |status: u16, body: String| {
            let mut response = http::Response::new(Bytes::from(body));
            *response.status_mut() = status.try_into().expect("a status");
            Ok(response)
        };
        let body = String::from_utf8_lossy(request.body()).into_owned();
        if is_metrics {
            assert!(header("authorization").contains("/us-east-1/monitoring/aws4_request"));
            if let Some(status) = self.failures.lock().expect("not poisoned").pop() {
                return answer(status, "<ErrorResponse/>".to_owned());
            }
            if self.is_ahead && !header("x-amz-date").starts_with("20231115T00") {
                let code =
                    "<ErrorResponse><Error><Code>RequestExpired</Code></Error></ErrorResponse>";
                let mut expired = answer(400, code.to_owned())?;
                let date = "Wed, 15 Nov 2023 00:13:20 GMT".parse().expect("a header");
                expired.headers_mut().insert("date", date);
                return Ok(expired);
            }
            self.bodies.lock().expect("not poisoned").push(body);
            return answer(200, "<PutMetricDataResponse/>".to_owned());
        }
        let stored = r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#;
        answer(200, match header("x-amz-target") {
            "Kinesis_20131202.ListShards" => r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211455"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#.to_owned(),
            _ => format!(r#"{{"Records":[{}]}}"#, vec![stored; body.matches("\"Data\":").count()].join(",")),
        })
    }
}

impl Aws {
    fn producer(&self, clock: &VirtualClock, settings: CloudWatch) -> Producer {
        let fake = FakeKinesis::on_clock(clock.clone());
        let client = fake.client_builder().transport(self.clone());
        let client = client.credentials(Credentials::new("AKIDRECORDS", "secret"));
        let builder = Producer::builder(client.build().expect("a client")).stream(STREAM);
        let settings = settings.endpoint("http://monitoring.test");
        builder.cloudwatch(settings).start().expect("started")
    }

    fn bodies(&self) -> Vec<String> {
        std::mem::take(&mut *self.bodies.lock().expect("not poisoned"))
    }

    fn sum_of(&self, metric: &str) -> f64 {
        let bodies = self.bodies().join("&");
        let (_, behind) = bodies
            .split_once(&format!("MetricName={metric}&"))
            .expect("uploaded");
        let (_, sum) = behind.split_once("StatisticValues.Sum=").expect("a sum");
        sum.split('&')
            .next()
            .and_then(|sum| sum.parse().ok())
            .expect("a number")
    }
}

#[test]
fn each_minute_what_was_measured_in_it_is_uploaded() {
    let (clock, aws) = (clock(), Aws::default());
    let settings = CloudWatch::new()
        .level(MetricsLevel::Summary)
        .granularity(MetricsGranularity::Global);
    let producer = aws.producer(&clock, settings);
    for minute in 1..4 {
        for n in 0..minute * 10 {
            producer.put(named(n)).expect("taken in");
        }
        producer.flush().expect("flushed");
        let began = clock.time();
        pass_until(&clock, || {
            !aws.bodies.lock().expect("not poisoned").is_empty()
        });
        let took = clock.time().saturating_since(began);
        assert!(took <= Duration::from_secs(120), "{took:?}");
        assert_eq!(aws.sum_of("UserRecordsPut"), f64::from(minute * 10));
    }
    producer.put(named("last")).expect("taken in");
    producer.close().expect("closed");
    assert_eq!(aws.sum_of("UserRecordsPut"), 1.0);
}

#[test]
fn records_and_metrics_may_be_signed_by_different_keys() {
    let (clock, aws) = (clock(), Aws::default());
    let settings = CloudWatch::new().credentials(Credentials::new("AKIDMETRICS", "secret"));
    let producer = aws.producer(&clock, settings);
    producer.put(named("one")).expect("taken in");
    producer.close().expect("closed");
    let signers = aws.signers.lock().expect("not poisoned");
    assert!(signers.iter().any(|(is_metrics, _)| *is_metrics));
    for (is_metrics, key) in &*signers {
        let expected = if *is_metrics {
            "AKIDMETRICS"
        } else {
            "AKIDRECORDS"
        };
        assert_eq!(key, expected);
    }
    let bodies = aws.bodies().join("&");
    for part in [
        "Namespace=KinesisProducerLibrary",
        "Value=shardId-000000000000",
        "UserRecordsReceived",
    ] {
        assert!(bodies.contains(part), "{part}");
    }
}

/// As calls to Kinesis do.
#[test]
fn an_upload_corrects_a_clock_that_is_wrong() {
    let clock = clock();
    let aws = Aws {
        is_ahead: true,
        ..Aws::default()
    };
    let producer = aws.producer(&clock, CloudWatch::new());
    producer.put(named("one")).expect("taken in");
    producer.close().expect("closed");
    let taken = aws.bodies();
    assert!(taken.iter().any(|body| body.contains("UserRecordsPut")));
    let signers = aws.signers.lock().expect("not poisoned");
    let uploads = signers.iter().filter(|(is_metrics, _)| *is_metrics);
    assert_eq!(
        uploads.count(),
        taken.len() + 1,
        "only the first is refused"
    );
}

#[test]
fn an_upload_that_fails_is_repeated_twice_and_then_given_up() {
    for (failures, uploaded) in [
        (vec![500, 500], true),
        (vec![500, 500, 500], false),
        (vec![403], false),
    ] {
        let (clock, aws) = (clock(), Aws::default());
        *aws.failures.lock().expect("not poisoned") = failures;
        let settings = CloudWatch::new()
            .level(MetricsLevel::Summary)
            .granularity(MetricsGranularity::Global)
            .upload_delay(Duration::from_secs(10));
        let producer = aws.producer(&clock, settings);
        producer.put(named("one")).expect("taken in");
        producer.flush().expect("flushed");
        let failures_left = || aws.failures.lock().expect("not poisoned").len();
        let bodies = || aws.bodies.lock().expect("not poisoned").len();
        pass_until(&clock, || {
            failures_left() == 0 && (bodies() > 0 || !uploaded)
        });
        producer.close().expect("closed");
        let is_uploaded = aws.bodies().join("").contains("UserRecordsPut");
        assert_eq!(is_uploaded, uploaded);
    }
}

#[test]
fn keys_of_a_properties_file_ask_for_the_upload_and_say_how() {
    for (text, uploaded) in [
        ("RateLimit = 100", None),
        ("MetricsLevel = none", None),
        (
            "MetricsLevel = detailed",
            Some(["Namespace=KinesisProducerLibrary", "Value=shardId-0"]),
        ),
        (
            "MetricsNamespace = Orders\nMetricsGranularity = stream",
            Some(["Namespace=Orders", "Value=orders&"]),
        ),
    ] {
        let text = format!("CloudwatchEndpoint = monitoring.test\n{text}");
        let properties = match uploaded {
            None => Properties::parse(text.split_once('\n').expect("a line").1),
            Some(_) => Properties::parse(&text),
        };
        let config = ProducerConfig::from_properties(&properties.expect("good keys"));
        let (clock, aws) = (clock(), Aws::default());
        let client = FakeKinesis::on_clock(clock)
            .client_builder()
            .transport(aws.clone());
        let builder = Producer::builder(client.build().expect("a client")).stream(STREAM);
        let producer = builder
            .config(config.expect("valid"))
            .start()
            .expect("started");
        producer.put(named("one")).expect("taken in");
        producer.close().expect("closed");
        let bodies = aws.bodies().join("&");
        assert_eq!(bodies.is_empty(), uploaded.is_none(), "{text}: {bodies}");
        for part in uploaded.into_iter().flatten() {
            assert!(bodies.contains(part), "{text}: {part} is not in {bodies}");
        }
        assert!(
            uploaded.is_none() || bodies.contains("MetricName=UserRecordsPut"),
            "{text}"
        );
    }
}

#[test]
fn bad_settings_of_the_upload_are_said_at_the_start() {
    let fake = kinesis(1);
    let settings = CloudWatch::new().namespace("AWS/Kinesis");
    let started = builder(&fake).cloudwatch(settings).start();
    let error = started.expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
}

#[test]
fn a_fault_of_the_upload_harms_no_record() {
    let fake = kinesis(1);
    fake.on(Operation::PutRecords).fail_next(1, Fault::Throttle);
    // The fake answers everything that is not Kinesis with an error.
    let settings = CloudWatch::new().endpoint("http://kinesis.fake");
    // Time flies from upload to upload.
    let config = ProducerConfig::builder().record_ttl(Duration::MAX).build();
    let producer = builder(&fake)
        .config(config.expect("valid"))
        .cloudwatch(settings);
    let producer = producer.start().expect("started");
    let delivery = producer.put(named("one")).expect("taken in");
    delivered(delivery.wait());
    producer.close().expect("closed");
}
