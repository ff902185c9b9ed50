//! The client's operations on the fake, by a stream's name and by its ARN.

mod proxy;
mod slow;
#[cfg(feature = "tls")]
mod tls;

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    Client, Credentials, ErrorKind, HashKey, Operation, PutRecordsEntry, ShardFilter, ShardId,
    ShardPosition, ShardRef, StartPosition,
};

const NAME: &str = "orders";

fn client(shards: u32) -> (Client, String) {
    let client = FakeKinesis::new().with_stream(NAME, shards).client();
    let arn = client.describe_stream_summary(NAME).expect("a stream").arn;
    (client, arn)
}

fn entry(data: &'static [u8]) -> PutRecordsEntry {
    PutRecordsEntry {
        data: Bytes::from_static(data),
        partition_key: "key".into(),
        explicit_hash_key: Some(HashKey::from(0)),
    }
}

#[test]
fn records_are_put_and_read_by_name_and_by_arn() {
    let (client, arn) = client(1);
    assert!(arn.starts_with("arn:aws:kinesis:us-east-1:"), "{arn}");
    for stream in [NAME, &arn] {
        let put = client.put_record(stream, &entry(b"one")).expect("put");
        let output = client.put_records(stream, &[entry(b"two")]).expect("put");
        assert!(output.records[0].is_ok());
        let shard = ShardRef::new(stream, put.shard_id);
        let position = ShardPosition::Start(StartPosition::TrimHorizon);
        let iterator = client.get_shard_iterator(&shard, &position);
        let iterator = iterator.expect("an answer").expect("an iterator");
        let output = client.get_records(&iterator, 10).expect("records");
        let last = &output.records[output.records.len() - 2..];
        assert_eq!(last[0].sequence_number, put.sequence_number);
        assert_eq!(&*last[0].data, b"one");
        assert_eq!(&*last[1].data, b"two");
    }
}

#[test]
fn streams_change_and_go_by_name_and_by_arn() {
    for by_arn in [false, true] {
        let (client, arn) = client(2);
        let stream = if by_arn { &*arn } else { NAME };
        let open = || {
            let shards = client.list_shards(stream).expect("shards");
            let open = shards.into_iter().filter(|shard| shard.is_open());
            open.map(|shard| shard.id).collect::<Vec<ShardId>>()
        };
        client.update_shard_count(stream, 4).expect("scaled");
        let [first, second, ..] = &open()[..] else {
            panic!("4 shards")
        };
        let merged = client.merge_shards(&ShardRef::new(stream, first.clone()), second);
        merged.expect("merged");
        assert_eq!(open().len(), 3);
        let shard = ShardRef::new(stream, open().pop().expect("a shard"));
        client
            .split_shard(&shard, HashKey::from(1 << 10))
            .expect("split");
        assert_eq!(open().len(), 4);
        client.delete_stream(stream).expect("deleted");
        let error = client.describe_stream_summary(stream).expect_err("gone");
        assert!(
            error.to_string().contains("ResourceNotFoundException"),
            "{error}"
        );
        assert_eq!(error.stream(), Some(stream));
    }
}

#[test]
fn a_new_stream_has_a_name_and_no_arn_yet() {
    let (client, arn) = client(1);
    client.create_stream("new", 1).expect("made");
    let error = client.create_stream(&arn, 1).expect_err("an ARN");
    assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
}

/// A client of a service that checks signatures and whose clock is so many seconds ahead.
#[test]
fn shards_are_filtered_by_endpoints_that_can_and_by_the_client_where_they_cannot() {
    for refusals in [0, 1] {
        let fake = FakeKinesis::new().with_stream(NAME, 2);
        let client = fake.client();
        client.update_shard_count(NAME, 1).expect("merged");
        let ids = |filter| {
            let refusal = Fault::refuse("ValidationException", "no such member");
            fake.on(Operation::ListShards).fail_next(refusals, refusal);
            let shards = client.list_shards_filtered(NAME, &filter).expect("shards");
            let ids = shards.iter().map(|shard| shard.id.to_string());
            ids.map(|id| id[id.len() - 1..].to_owned())
                .collect::<String>()
        };
        assert_eq!(ids(ShardFilter::AtLatest), "2");
        let first = ShardId::from("shardId-000000000000");
        assert_eq!(ids(ShardFilter::AfterShardId(first)), "12");
        assert_eq!(ids(ShardFilter::FromTrimHorizon), "012");
    }
}

fn client_apart(seconds: i64) -> (Client, FakeKinesis) {
    let fake = FakeKinesis::new()
        .with_stream(NAME, 1)
        .with_credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .with_clock_skew(seconds * 1_000);
    (fake.client(), fake)
}

#[test]
fn a_wrong_clock_is_corrected_once_and_for_all_calls() {
    for (seconds, refused) in [(0, 0), (899, 0), (1_000, 1), (-1_000, 1), (86_400 * 400, 1)] {
        let (client, fake) = client_apart(seconds);
        for calls in 1..4 {
            client.put_record(NAME, &entry(b"data")).expect("put");
            assert_eq!(
                fake.calls(Operation::PutRecord),
                calls + refused,
                "{seconds} s"
            );
        }
        assert_eq!(fake.records(NAME).len(), 3);
    }
}

#[test]
fn a_wrong_secret_is_not_a_wrong_clock() {
    let (_, fake) = client_apart(0);
    let server = fake.serve().expect("a socket");
    for seconds in [0, 1_000] {
        let fake = fake.clone().with_clock_skew(seconds * 1_000);
        let before = fake.calls(Operation::PutRecord);
        let client = Client::builder()
            .region("us-east-1")
            .endpoint(server.endpoint())
            .credentials(Credentials::new("AKIDEXAMPLE", "wrong"));
        let error = client
            .build()
            .expect("a client")
            .put_record(NAME, &entry(b"data"));
        let error = error.expect_err("another secret").to_string();
        assert!(error.contains("InvalidSignatureException"), "{error}");
        // By another clock the signature could have been right, so that is tried, but once.
        assert_eq!(
            fake.calls(Operation::PutRecord) - before,
            if seconds == 0 { 1 } else { 2 }
        );
    }
}
