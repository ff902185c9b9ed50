//! `Debug` of a type that holds data, keys, tokens or passwords shows lengths only: a program that
//! prints its values, and a panic that shows them, tell nothing that belongs to its users.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kinesis_blocking::aggregation::message::{self, AggregatedRecord, Tag};
use kinesis_blocking::aggregation::{Aggregate, AggregateRef, DecodeLimits, decode};
use kinesis_blocking::credentials::{AssumeRole, Cached, Container, Imds, SystemProperties};
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Client, CloudWatch, Commit, Consumer, ConsumerConfig, Credentials, Event,
    MemoryCheckpointStore, Producer, ProducerConfig, Properties, PutRecordsEntry, ShardPosition,
    ShardRef, StartPosition, UserRecord,
};

const DATA: &str = "data-of-a-record";
const KEY: &str = "key-of-somebody";
const SECRET: &str = "secret-or-token";
const PASSWORD: &str = "password-in-a-url";

/// Each public type that has any of them, made with all it can have.
fn shown() -> Vec<(&'static str, String)> {
    let mut shown = Vec::new();
    let mut show = |name, value: &dyn Debug| shown.push((name, format!("{value:?} {value:#?}")));
    let url = format!("http://somebody:{PASSWORD}@localhost:1");

    let record = UserRecord::new(KEY, DATA);
    show("UserRecord", &record);
    let entry = PutRecordsEntry {
        data: Bytes::from(DATA),
        partition_key: KEY.into(),
        explicit_hash_key: None,
    };
    show("PutRecordsEntry", &entry);
    let mut aggregate = Aggregate::new(10_000, 10);
    assert!(aggregate.try_push(KEY, None, DATA.as_bytes()));
    show("Aggregate", &aggregate);
    let unsealed = aggregate.finish_unsealed();
    show("Unsealed", &unsealed);
    let bytes = unsealed.seal();
    show("SubRecord", &decode(&bytes).expect("whole"));
    let limits = DecodeLimits::default();
    let parsed = AggregateRef::read(&bytes, &limits)
        .expect("whole")
        .expect("one");
    show("AggregateRef", &parsed);
    let records = parsed.iter();
    show("SubRecords", &records);
    show("SubRecordRef", &records.collect::<Vec<_>>());
    let tag = Tag {
        key: KEY.to_owned(),
        value: Some(DATA.to_owned()),
    };
    show("Tag", &tag);
    let inner = message::Record {
        partition_key_index: 0,
        explicit_hash_key_index: None,
        data: Bytes::from(DATA),
        tags: vec![tag],
    };
    show("message::Record", &inner);
    let message = AggregatedRecord {
        partition_key_table: vec![KEY.to_owned()],
        explicit_hash_key_table: vec![KEY.to_owned()],
        records: vec![inner],
    };
    show("AggregatedRecord", &message);

    let credentials = Credentials::new("AKIDEXAMPLE", SECRET).with_session_token(SECRET);
    show("Credentials", &credentials);
    show("Cached", &Cached::new(credentials.clone()));
    let java = [
        ("aws.accessKeyId", "AKIDEXAMPLE"),
        ("aws.secretKey", SECRET),
    ];
    show("SystemProperties", &SystemProperties::new(java));
    show("Imds", &Imds::new().endpoint(&url));
    show("Container", &Container::new().uri(&url));
    let role = AssumeRole::new("arn:aws:iam::1:role/r", credentials.clone());
    show("AssumeRole", &role.external_id(SECRET).sts_endpoint(&url));
    let properties = Properties::from_iter([
        ("aws.region", "us-east-1"),
        ("aws.endpoint", &url),
        ("aws.credentials.provider.basic.accesskeyid", "AKID"),
        ("aws.credentials.provider.basic.secretkey", SECRET),
        ("ProxyPassword", PASSWORD),
    ]);
    show("Properties", &properties);
    let builder = Client::builder().properties(&properties).expect("valid");
    show(
        "ClientBuilder",
        &builder.proxy(&url).credentials(credentials),
    );
    show("CloudWatch", &CloudWatch::new().endpoint(&url));
    let error = Client::builder().region("us-east-1").endpoint(&url).build();
    show("Error", &error.expect_err("a user in the URL"));
    show("ConsumerConfig", &ConsumerConfig::default());
    show("ProducerConfig", &ProducerConfig::default());

    let kinesis = FakeKinesis::new().with_stream("orders", 1);
    let client = kinesis.client();
    show("Client", &client);
    let put = client.put_records("orders", &[entry]).expect("stored");
    show("PutRecordsOutput", &put);
    show("StoredRecord", &kinesis.records("orders"));
    show("LoggedRequest", &kinesis.requests());
    let shard = ShardRef::new("orders", "shardId-000000000000");
    let start = ShardPosition::Start(StartPosition::TrimHorizon);
    let iterator = client.get_shard_iterator(&shard, &start);
    let iterator = iterator.expect("an answer").expect("an iterator");
    show("ShardIterator", &iterator);
    let answer = client.get_records(&iterator, 10).expect("records");
    assert_eq!(answer.records.len(), 1);
    show("PartitionKey", &answer.records[0].partition_key);
    show("RawRecord and GetRecordsOutput", &answer);

    let producer = Producer::builder(client.clone()).stream("orders");
    show("ProducerBuilder", &producer);
    let producer = producer.start().expect("started");
    show("Producer", &producer);
    let delivery = producer.try_put(UserRecord::new(KEY, DATA)).expect("room");
    show("Delivery", &delivery);
    show("Delivered", &delivery.wait());
    let refused = producer.try_put(UserRecord::new(KEY.repeat(100), DATA));
    show("PutError", &refused.expect_err("the key is too long"));
    producer.close().expect("closed");
    let scripted = kinesis.on(kinesis_blocking::Operation::PutRecords);
    scripted.fail_next(1, Fault::refuse("AccessDeniedException", "not you"));
    let producer = Producer::builder(client.clone()).stream("orders").start();
    let delivery = producer.expect("started").put(UserRecord::new(KEY, DATA));
    let undelivered = delivery.expect("room").wait().expect_err("denied");
    show("Undelivered", &undelivered);

    let config = ConsumerConfig::builder()
        .start_position(StartPosition::TrimHorizon)
        .until_caught_up(true)
        .build();
    let consumer = Consumer::builder(client).stream("orders");
    let consumer = consumer
        .config(config.expect("valid"))
        .checkpoint_store(MemoryCheckpointStore::new());
    show("ConsumerBuilder", &consumer);
    let mut consumer = consumer.start().expect("started");
    show("Consumer", &consumer);
    let first = consumer.next().expect("one").expect("a record");
    assert_eq!(first.data(), DATA.as_bytes());
    show("Record", &first);
    show("Event", &Event::Record(first));
    let commit = Commit::new(consumer.checkpoint(), Some(Bytes::from(DATA)));
    show("Commit", &commit);
    shown
}

#[test]
fn no_public_type_shows_data_keys_tokens_or_passwords() {
    let shown = shown();
    for (name, text) in &shown {
        for private in [DATA, KEY, SECRET, PASSWORD] {
            assert!(!text.contains(private), "{name}: {text}");
        }
        let bytes = format!("{:?}", DATA.as_bytes());
        assert!(!text.contains(&bytes), "{name}: {text}");
    }
}

/// Fields that hold what belongs to the user, or a secret, by their names.
const PRIVATE_NAMES: [&str; 14] = [
    "body",
    "data",
    "endpoint",
    "external_id",
    "partition_key",
    "partition_keys",
    "password",
    "payload",
    "proxy",
    "secret",
    "secret_key",
    "token",
    "uri",
    "url",
];

/// And by their types.
const PRIVATE_TYPES: [&str; 5] = ["Bytes", "[u8]", "Vec<u8>", "HeaderMap", "HeaderValue"];

/// Fields that look private and are not, each with the reason.
const HARMLESS: [(&str, &str); 3] = [
    (
        "Context.endpoint",
        "a client's, which has no user information",
    ),
    ("Draft.proxy", "shows its host and port only"),
    (
        "FakeServer.endpoint",
        "this machine's, made by the fake itself",
    ),
];

#[test]
fn no_type_that_holds_such_things_derives_debug() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("a source");
        // Values of tests are made up.
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for (name, fields) in derived(code) {
            seen += 1;
            for (field, kind) in fields {
                let is_private = PRIVATE_NAMES.contains(&field.as_str())
                    || PRIVATE_TYPES.iter().any(|private| kind.contains(private));
                let full = format!("{name}.{field}");
                let is_harmless = HARMLESS.iter().any(|(harmless, _)| *harmless == full);
                if is_private && !is_harmless {
                    broken.push(format!("{}: {full}: {kind}", path.display()));
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(
        broken.is_empty(),
        "write Debug by hand:\n{}",
        broken.join("\n")
    );
}

/// Each type that derives `Debug`, with its fields and their types.
fn derived(code: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let is_derived = line.trim_start().starts_with("#[derive(") && line.contains("Debug");
        if !is_derived {
            continue;
        }
        let head = lines.by_ref().find(|line| {
            let words = line.split_whitespace();
            words.clone().any(|word| word == "struct" || word == "enum")
                && !line.trim_start().starts_with("//")
        });
        let head = head.expect("a type behind a derive");
        let words = head.split_whitespace();
        let mut name = words
            .skip_while(|word| *word != "struct" && *word != "enum")
            .skip(1);
        let name = name.next().expect("a name");
        let end = name
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(name.len());
        let mut fields = Vec::new();
        if !head.trim_end().ends_with('{') {
            fields.push(("0".to_owned(), head.to_owned()));
        } else {
            let indent = head.len() - head.trim_start().len();
            let close = format!("{}}}", " ".repeat(indent));
            for line in lines.by_ref().take_while(|line| *line != close) {
                let line = line.trim();
                let field = line
                    .trim_start_matches("pub ")
                    .trim_start_matches("pub(super) ");
                let field = field.trim_start_matches("pub(crate) ");
                match field.split_once(": ") {
                    Some((field, kind)) if !line.starts_with("//") => {
                        fields.push((field.to_owned(), kind.to_owned()));
                    }
                    // A variant's own name says nothing.
                    None if !line.starts_with(['/', '#']) => {
                        let kinds = line.split_once('(').map_or("", |(_, kinds)| kinds);
                        fields.push((String::new(), kinds.to_owned()));
                    }
                    _ => {}
                }
            }
        }
        found.push((name[..end].to_owned(), fields));
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
