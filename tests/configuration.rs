//! Properties as Flink's users have them, from the text to what happens on the fake.

use std::sync::Mutex;
use std::time::Duration;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, ConsumerConfig, Event, Producer, ProducerConfig, Properties, UserRecord,
};

/// The example of a consumer in Flink's documentation, with the names its constants stand for.
/// Source: <https://nightlies.apache.org/flink/flink-docs-release-1.20/docs/connectors/datastream/kinesis/>
const CONSUMER: &str = "\
aws.region = us-east-1
aws.credentials.provider.basic.accesskeyid = aws_access_key_id
aws.credentials.provider.basic.secretkey = aws_secret_access_key
flink.stream.initpos = LATEST
";

/// The example of a producer, from the same page.
const PRODUCER: &str = "\
aws.region = us-east-1
aws.credentials.provider.basic.accesskeyid = aws_access_key_id
aws.credentials.provider.basic.secretkey = aws_secret_access_key
AggregationMaxCount = 4294967295
CollectionMaxCount = 1000
RecordTtl = 30000
RequestTimeout = 6000
ThreadPoolSize = 15
";

/// What the log is told, in this process.
struct Told(Mutex<Vec<String>>);

static TOLD: Told = Told(Mutex::new(Vec::new()));

impl log::Log for Told {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{}: {}", record.level(), record.args());
            self.0.lock().expect("sane").push(line);
        }
    }

    fn flush(&self) {}
}

/// A client that the properties describe, but for the service it calls.
fn client(properties: &Properties, endpoint: &str) -> Client {
    let builder = Client::builder().properties(properties).expect("good keys");
    builder.endpoint(endpoint).build().expect("a client")
}

#[test]
fn the_examples_of_flinks_documentation_run() {
    log::set_logger(&TOLD).expect("the only logger");
    log::set_max_level(log::LevelFilter::Warn);
    let server = FakeKinesis::new()
        .with_stream("orders", 2)
        .serve()
        .expect("a socket");

    let properties = Properties::parse(CONSUMER)
        .and_then(Properties::strict)
        .expect("known keys");
    let config = ConsumerConfig::from_properties(&properties).expect("good keys");
    let consumer = Consumer::builder(client(&properties, server.endpoint()));
    let mut consumer = consumer
        .stream("orders")
        .config(config)
        .start()
        .expect("started");

    let properties = Properties::parse(PRODUCER)
        .and_then(Properties::strict)
        .expect("known keys");
    let config = ProducerConfig::from_properties(&properties).expect("good keys");
    let producer = Producer::builder(client(&properties, server.endpoint()));
    let producer = producer
        .stream("orders")
        .config(config)
        .start()
        .expect("started");
    for i in 0..1_000 {
        producer
            .put(UserRecord::new(i.to_string(), vec![0; 100]))
            .expect("taken in");
    }
    producer.flush().expect("delivered");

    let mut read = 0;
    while read < 1_000 {
        let event = consumer
            .next_event(Duration::from_secs(60))
            .expect("an event");
        assert!(
            !matches!(event, Event::Timeout | Event::Ended),
            "{read} of 1000"
        );
        read += usize::from(matches!(event, Event::Record(_)));
    }
    let told = TOLD.0.lock().expect("sane");
    let about_keys: Vec<_> = told
        .iter()
        .filter(|line| !line.contains("certificate"))
        .collect();
    assert_eq!(
        about_keys,
        ["WARN: CollectionMaxCount: 1000 is more than the service takes, 500 is used"]
    );
}

#[test]
fn what_no_key_may_be_is_told_in_whole_sentences() {
    for (text, message) in [
        (
            "aws.region = wrongRegionId",
            "region: \"wrongRegionId\" is not a region such as us-east-1",
        ),
        (
            "aws.region = us-east-1\naws.credentials.provider = wrongProviderType",
            "aws.credentials.provider: \"wrongProviderType\" is not one of ASSUME_ROLE, AUTO, BASIC, ENV_VAR, PROFILE, SYS_PROP, WEB_IDENTITY_TOKEN (for a provider of your own see Client::builder)",
        ),
        (
            "aws.region = us-east-1\nflink.list.shards.backoff.base = unparsableLong\nflink.shard.getrecords.backoff.expconst = NaN\nKinesisEndpoint = https://x",
            "3 things are wrong: KinesisEndpoint: \"https://x\" is not a host's name, without scheme, port and path: see aws.endpoint; flink.list.shards.backoff.base: \"unparsableLong\" is not an integer from 0 (milliseconds); flink.shard.getrecords.backoff.expconst: \"NaN\" is not a number from 0",
        ),
    ] {
        let properties = Properties::parse(text).expect("well-formed");
        let error = Client::from_properties(&properties).expect_err(text);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_region_or_an_endpoint_will_do() {
    for text in [
        "aws.region = us-east-1",
        "aws.endpoint = http://localhost:4567",
        "aws.region = us-east-1\naws.endpoint = fake",
        "aws.endpoint = https://kinesis.eu-west-1.amazonaws.com",
        "aws.region = us-gov-west-1\naws.endpoint = http://localhost:4567",
        "Region = us-isob-east-1",
        "KinesisEndpoint = localhost\nKinesisPort = 4567\nVerifyCertificate = false",
        "aws.region = us-east-1\naws.endpoint = localhost:4567\naws.clientconfig.protocol = HTTP",
        "aws.region = us-east-1\nProxyHost = proxy.example\nProxyPort = 8080\nProxyUserName = a b\nProxyPassword = p@ss",
    ] {
        let properties = Properties::parse(text)
            .and_then(Properties::strict)
            .expect("known keys");
        Client::from_properties(&properties).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_region_is_asked_for_if_the_endpoint_names_none_and_is_another_machine() {
    let properties = Properties::parse("aws.endpoint = http://kinesalite:4567").expect("keys");
    let error = Client::from_properties(&properties).expect_err("no region");
    assert!(
        error.to_string().starts_with("region is not set"),
        "{error}"
    );
}

#[test]
fn strict_properties_tell_every_key_that_is_not_known() {
    let text = "aws.regoin = us-east-1\nkafka.topic = x\nRecordTTL = 5\nflink.stream.efo.consumerarn.orders = x";
    let error = Properties::parse(text)
        .and_then(Properties::strict)
        .expect_err("two strangers");
    assert_eq!(
        error.to_string(),
        "2 things are wrong: key: \"RecordTTL\" is not one that is known; did you mean RecordTtl?; key: \"aws.regoin\" is not one that is known; did you mean aws.region?"
    );
}
