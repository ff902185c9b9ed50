//! Streams and their shards: states, listings, retention.

use std::time::Duration;

use kinesis_blocking::Timestamp;
use kinesis_blocking::fake::{FakeKinesis, FakeServer, VirtualClock};
use serde_json::{Value, json};

use crate::raw::{ask, call};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn served(fake: &FakeKinesis) -> FakeServer {
    fake.serve().expect("a socket")
}

fn fake() -> (VirtualClock, FakeKinesis) {
    let clock = VirtualClock::starting_at(START);
    (clock.clone(), FakeKinesis::on_clock(clock))
}

fn shard_ids(answer: &Value) -> Vec<&str> {
    let shards = answer["Shards"].as_array().expect("shards");
    let ids = shards.iter().map(|shard| shard["ShardId"].as_str());
    ids.map(|id| &id.expect("a name")[18..]).collect()
}

#[test]
fn a_stream_goes_through_its_states_in_time() {
    let (clock, fake) = fake();
    let fake = fake.with_stream_delay(Duration::from_secs(30));
    let server = served(&fake);
    let name = json!({ "StreamName": "orders" });
    let status = || {
        let (_, answer) = call(&server, "DescribeStreamSummary", name.clone());
        let summary = &answer["StreamDescriptionSummary"];
        (
            summary["StreamStatus"].as_str().map(str::to_owned),
            summary["OpenShardCount"].as_u64(),
        )
    };
    let is = |status: &str, shards| (Some(status.to_owned()), Some(shards));
    let split = json!({
        "StreamName": "orders",
        "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": "170141183460469231731687303715884105728",
    });

    let create = json!({ "StreamName": "orders", "ShardCount": 1 });
    assert_eq!(call(&server, "CreateStream", create), (200, Value::Null));
    assert_eq!(status(), is("CREATING", 1));
    let (_, answer) = call(&server, "SplitShard", split.clone());
    assert_eq!(answer["__type"], "ResourceInUseException");
    let put = json!({ "StreamName": "orders", "PartitionKey": "key", "Data": "" });
    let (_, answer) = call(&server, "PutRecord", put.clone());
    assert_eq!(answer["__type"], "ResourceNotFoundException");

    clock.advance(Duration::from_secs(30));
    assert_eq!(status(), is("ACTIVE", 1));
    assert_eq!(call(&server, "SplitShard", split), (200, Value::Null));
    assert_eq!(status(), is("UPDATING", 1));
    let (_, answer) = call(&server, "PutRecord", put);
    assert_eq!(answer["ShardId"], "shardId-000000000000");

    clock.advance(Duration::from_secs(30));
    assert_eq!(status(), is("ACTIVE", 2));
    let deleted = call(&server, "DeleteStream", name.clone());
    assert_eq!(deleted, (200, Value::Null));
    assert_eq!(status(), is("DELETING", 2));
    clock.advance(Duration::from_secs(30));
    assert_eq!(status(), (None, None));
}

#[test]
fn a_listing_is_read_page_by_page_by_its_token_alone() {
    let (clock, fake) = fake();
    let server = served(&fake.with_stream("orders", 5));
    let first = json!({ "StreamName": "orders", "MaxResults": 2 });
    let (_, first) = call(&server, "ListShards", first);
    assert_eq!(shard_ids(&first), ["00", "01"]);
    let token = &first["NextToken"];
    let page = |token: &Value| json!({ "NextToken": token, "MaxResults": 2 });
    let (_, second) = call(&server, "ListShards", page(token));
    assert_eq!(shard_ids(&second), ["02", "03"]);
    let (_, third) = call(&server, "ListShards", page(&second["NextToken"]));
    assert_eq!(shard_ids(&third), ["04"]);
    assert_eq!(third["NextToken"], Value::Null);

    let both = json!({ "NextToken": token, "StreamName": "orders" });
    let (_, answer) = call(&server, "ListShards", both);
    assert_eq!(answer["__type"], "InvalidArgumentException");
    clock.advance(Duration::from_millis(300_001));
    let (_, answer) = call(&server, "ListShards", page(token));
    assert_eq!(answer["__type"], "ExpiredNextTokenException");
}

#[test]
fn a_limit_of_records_has_an_error_at_each_end() {
    let server = served(&FakeKinesis::new().with_stream("orders", 1));
    let shard = json!({
        "StreamName": "orders",
        "ShardId": "shardId-000000000000",
        "ShardIteratorType": "LATEST",
    });
    let (_, iterator) = call(&server, "GetShardIterator", shard);
    for (limit, code) in [
        (0, json!("ValidationException")),
        (1, Value::Null),
        (10_000, Value::Null),
        (10_001, json!("InvalidArgumentException")),
    ] {
        let request = json!({ "ShardIterator": iterator["ShardIterator"], "Limit": limit });
        let (_, answer) = call(&server, "GetRecords", request);
        assert_eq!(answer["__type"], code, "{limit}");
    }
}

#[test]
fn a_listing_is_filtered_by_when_shards_took_records() {
    let (clock, fake) = fake();
    let server = served(&fake.with_stream("orders", 2));
    let seconds = |after| START.as_millis() / 1_000 + after;
    // 00 and 01 at first, 02 and 03 from 00 after 10 s, 04 from 03 and 01 after 20 s.
    clock.advance(Duration::from_secs(10));
    let split = json!({
        "StreamName": "orders",
        "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": "1000",
    });
    assert_eq!(call(&server, "SplitShard", split), (200, Value::Null));
    clock.advance(Duration::from_secs(10));
    let merge = json!({
        "StreamName": "orders",
        "ShardToMerge": "shardId-000000000003",
        "AdjacentShardToMerge": "shardId-000000000001",
    });
    assert_eq!(call(&server, "MergeShards", merge), (200, Value::Null));
    clock.advance(Duration::from_secs(10));

    for (filter, shards) in [
        (json!({ "Type": "AT_LATEST" }), vec!["02", "04"]),
        (json!({ "Type": "AT_TRIM_HORIZON" }), vec!["00", "01"]),
        (
            json!({ "Type": "FROM_TRIM_HORIZON" }),
            vec!["00", "01", "02", "03", "04"],
        ),
        (
            json!({ "Type": "AT_TIMESTAMP", "Timestamp": seconds(15) }),
            vec!["01", "02", "03"],
        ),
        (
            json!({ "Type": "FROM_TIMESTAMP", "Timestamp": seconds(15) }),
            vec!["01", "02", "03", "04"],
        ),
        (
            json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000002" }),
            vec!["03", "04"],
        ),
    ] {
        let request = json!({ "StreamName": "orders", "ShardFilter": filter });
        let (_, answer) = call(&server, "ListShards", request);
        assert_eq!(shard_ids(&answer), shards, "{filter}");
    }
    let start = json!({ "StreamName": "orders", "ExclusiveStartShardId": "shardId-000000000003" });
    let (_, answer) = call(&server, "ListShards", start);
    assert_eq!(shard_ids(&answer), ["04"]);
}

#[test]
fn iterators_start_where_they_are_asked_to() {
    let (clock, fake) = fake();
    let server = served(&fake.with_stream("orders", 1));
    let mut numbers = Vec::new();
    for second in 0..4 {
        let put = json!({ "StreamName": "orders", "PartitionKey": second.to_string(), "Data": "" });
        let (_, answer) = call(&server, "PutRecord", put);
        numbers.push(answer["SequenceNumber"].clone());
        clock.advance(Duration::from_secs(1));
    }
    let time = START.as_millis() as f64 / 1_000.0;
    for (kind, detail, read) in [
        ("TRIM_HORIZON", json!({}), "0123"),
        ("LATEST", json!({}), ""),
        (
            "AT_SEQUENCE_NUMBER",
            json!({ "StartingSequenceNumber": numbers[1] }),
            "123",
        ),
        (
            "AFTER_SEQUENCE_NUMBER",
            json!({ "StartingSequenceNumber": numbers[1] }),
            "23",
        ),
        (
            "AFTER_SEQUENCE_NUMBER",
            json!({ "StartingSequenceNumber": numbers[3] }),
            "",
        ),
        ("AT_TIMESTAMP", json!({ "Timestamp": time + 2.0 }), "23"),
        ("AT_TIMESTAMP", json!({ "Timestamp": time + 2.001 }), "3"),
        ("AT_TIMESTAMP", json!({ "Timestamp": time + 3.5 }), ""),
    ] {
        let mut request = detail.clone();
        request["StreamName"] = "orders".into();
        request["ShardId"] = "shardId-000000000000".into();
        request["ShardIteratorType"] = kind.into();
        let (_, answer) = call(&server, "GetShardIterator", request);
        let get = json!({ "ShardIterator": answer["ShardIterator"] });
        let (_, answer) = call(&server, "GetRecords", get);
        let records = answer["Records"].as_array().expect("records");
        let keys: String = records
            .iter()
            .filter_map(|record| record["PartitionKey"].as_str())
            .collect();
        assert_eq!(keys, read, "{kind} {detail}");
    }
}

#[test]
fn a_starting_number_has_to_come_from_the_shard_it_is_used_on() {
    let (_, fake) = fake();
    let server = served(&fake.with_stream("orders", 2));
    let ask = |shard: &str, number: &Value| {
        let request = json!({
            "StreamName": "orders",
            "ShardId": shard,
            "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        });
        call(&server, "GetShardIterator", request)
    };
    let (_, answer) = call(&server, "ListShards", json!({ "StreamName": "orders" }));
    let start = &answer["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"];
    assert_eq!(ask("shardId-000000000000", start).0, 200);
    let wrong_shard = "Invalid StartingSequenceNumber. It encodes shardId-000000000000, while it was \
                       used in a call to a shard with shardId-000000000001";
    let answer = ask("shardId-000000000001", start);
    assert_eq!(answer.1["message"], wrong_shard);
    let (status, answer) = ask("shardId-000000000000", &json!("1"));
    assert_eq!(
        (status, &answer["__type"]),
        (400, &json!("InvalidArgumentException"))
    );
}

#[test]
fn records_are_kept_for_a_day_and_an_iterator_for_five_minutes() {
    let (clock, fake) = fake();
    let fake = fake.with_stream("orders", 1);
    let server = served(&fake);
    let put = json!({ "StreamName": "orders", "PartitionKey": "key", "Data": "" });
    assert_eq!(call(&server, "PutRecord", put).0, 200);
    let horizon = json!({
        "StreamName": "orders",
        "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON",
    });
    let (_, answer) = call(&server, "GetShardIterator", horizon);
    let get = json!({ "ShardIterator": answer["ShardIterator"] });
    let day = Duration::from_secs(24 * 3_600);
    clock.advance(Duration::from_secs(300));
    assert_eq!(call(&server, "GetRecords", get.clone()).0, 200);
    clock.advance(Duration::from_millis(1));
    let (_, answer) = call(&server, "GetRecords", get);
    assert_eq!(answer["__type"], "ExpiredIteratorException");
    clock.advance(day - Duration::from_millis(300_001));
    assert_eq!(fake.records("orders").len(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(fake.records("orders"), []);
}

#[test]
fn retention_and_record_size_can_be_set() {
    let (_, fake) = fake();
    let server = served(&fake.with_stream("orders", 1));
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let hours = json!({ "StreamARN": arn, "RetentionPeriodHours": 168 });
    let longer = call(&server, "IncreaseStreamRetentionPeriod", hours.clone());
    assert_eq!(longer, (200, Value::Null));
    let size = json!({ "StreamARN": arn, "MaxRecordSizeInKiB": 10_240 });
    assert_eq!(call(&server, "UpdateMaxRecordSize", size).0, 200);
    let (_, answer) = call(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamARN": arn }),
    );
    assert_eq!(
        answer["StreamDescriptionSummary"],
        json!({
            "StreamName": "orders",
            "StreamARN": arn,
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": { "StreamMode": "PROVISIONED" },
            "RetentionPeriodHours": 168,
            "StreamCreationTimestamp": 1_700_000_000.0,
            "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
            "EncryptionType": "NONE",
            "OpenShardCount": 1,
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": 10_240,
            "RecordDistributionStrategy": "USER_PARTITION_KEY",
        })
    );
    let hours = json!({ "StreamARN": arn, "RetentionPeriodHours": 24 });
    let (_, answer) = call(&server, "IncreaseStreamRetentionPeriod", hours.clone());
    assert_eq!(answer["__type"], "InvalidArgumentException");
    assert_eq!(call(&server, "DecreaseStreamRetentionPeriod", hours).0, 200);
}

#[test]
fn what_is_not_allowed_is_refused_by_its_name() {
    let (_, fake) = fake();
    let server = served(&fake.with_stream("orders", 2));
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=none\r\n";
    let split = |shard: &str, at: &str| json!({ "StreamName": "orders", "ShardToSplit": shard, "NewStartingHashKey": at });
    let scale = |target: i64, kind: &str| json!({ "StreamName": "orders", "TargetShardCount": target, "ScalingType": kind });
    let merge = |one: &str, other: &str| json!({ "StreamName": "orders", "ShardToMerge": one, "AdjacentShardToMerge": other });
    let (first, second) = ("shardId-000000000000", "shardId-000000000001");
    for (operation, body, code) in [
        ("SplitShard", split(first, "1"), "InvalidArgumentException"),
        ("SplitShard", split(first, "x"), "ValidationException"),
        (
            "SplitShard",
            split("shardId-000000000009", "7"),
            "ResourceNotFoundException",
        ),
        (
            "MergeShards",
            merge(first, first),
            "InvalidArgumentException",
        ),
        (
            "MergeShards",
            json!({ "StreamName": "orders", "ShardToMerge": second }),
            "ValidationException",
        ),
        (
            "UpdateShardCount",
            scale(5, "UNIFORM_SCALING"),
            "InvalidArgumentException",
        ),
        ("UpdateShardCount", scale(2, "SOME"), "ValidationException"),
        (
            "CreateStream",
            json!({ "StreamName": "a/b", "ShardCount": 1 }),
            "ValidationException",
        ),
        (
            "CreateStream",
            json!({ "StreamName": "b" }),
            "ValidationException",
        ),
        (
            "PutRecords",
            json!({ "StreamName": "orders" }),
            "ValidationException",
        ),
        (
            "PutRecords",
            json!({ "StreamName": 7 }),
            "SerializationException",
        ),
        ("DescribeConsumers", json!({}), "UnknownOperationException"),
    ] {
        let (status, answer) = call(&server, operation, body.clone());
        assert_eq!(
            (status, answer["__type"].as_str()),
            (400, Some(code)),
            "{operation} {body}"
        );
    }
    let (status, answer) = ask(&server, "ListShards", "", "{}");
    assert_eq!(
        (status, answer),
        (
            400,
            json!({
                "__type": "MissingAuthenticationTokenException",
                "message": "Missing Authentication Token",
            })
        )
    );
    let (_, answer) = ask(&server, "ListShards", signed, "{");
    assert_eq!(answer["__type"], "SerializationException");
}

#[test]
fn a_put_is_checked_before_anything_is_stored() {
    let (_, fake) = fake();
    let fake = fake.with_stream("orders", 1);
    let server = served(&fake);
    let record =
        |key: &str, bytes: usize| json!({ "PartitionKey": key, "Data": "AAAA".repeat(bytes / 3) });
    let mib = 1024 * 1024;
    let long = "k".repeat(257);
    for (name, records, code) in [
        ("no record", vec![], "ValidationException"),
        (
            "501 records",
            vec![record("key", 3); 501],
            "ValidationException",
        ),
        ("no key", vec![record("", 3)], "ValidationException"),
        ("a long key", vec![record(&long, 3)], "ValidationException"),
        (
            "a record too large with its key",
            vec![record("key", 3), record("ke", mib - 1)],
            "ValidationException",
        ),
        (
            "a request too large",
            vec![record("k", mib - 1); 11],
            "InvalidArgumentException",
        ),
        (
            "no base64",
            vec![json!({ "PartitionKey": "key", "Data": "?" })],
            "SerializationException",
        ),
        (
            "a hash key out of range",
            vec![json!({
                "PartitionKey": "key",
                "Data": "",
                "ExplicitHashKey": "340282366920938463463374607431768211456",
            })],
            "InvalidArgumentException",
        ),
    ] {
        let request = json!({ "StreamName": "orders", "Records": records });
        let (status, answer) = call(&server, "PutRecords", request);
        assert_eq!(
            (status, answer["__type"].as_str()),
            (400, Some(code)),
            "{name}"
        );
    }
    assert_eq!(fake.records("orders"), []);
    let largest = json!({ "StreamName": "orders", "Records": vec![record("k", mib - 1)] });
    let (status, answer) = call(&server, "PutRecords", largest);
    assert_eq!((status, &answer["FailedRecordCount"]), (200, &json!(0)));
}
