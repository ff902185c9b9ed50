//! Limits on rates, and signatures.

use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{
    Client, Credentials, ErrorKind, Operation, PutRecordsEntry, RetryPolicy, ShardIterator,
    ShardPosition, ShardRef, StartPosition, Timestamp,
};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn limited() -> (VirtualClock, Client) {
    let clock = VirtualClock::starting_at(START);
    let fake = FakeKinesis::on_clock(clock.clone())
        .with_service_limits()
        .with_stream("orders", 1);
    let once = RetryPolicy {
        max_retries: Some(0),
        ..RetryPolicy::default_for(Operation::GetRecords)
    };
    let client = fake.client();
    let client = client.with_retry(Operation::GetShardIterator, once.clone());
    (clock, client.with_retry(Operation::GetRecords, once))
}

fn put(client: &Client, count: usize, bytes: usize) -> Vec<Result<(), String>> {
    let entry = PutRecordsEntry {
        partition_key: "k".into(),
        explicit_hash_key: None,
        data: vec![0; bytes].into(),
    };
    let output = client.put_records("orders", &vec![entry; count]);
    let results = output.expect("answered").records.into_iter();
    results
        .map(|result| result.map(|_| ()).map_err(|error| error.code))
        .collect()
}

fn iterator(client: &Client) -> ShardIterator {
    let shard = ShardRef::new("orders", "shardId-000000000000");
    let start = ShardPosition::Start(StartPosition::TrimHorizon);
    let iterator = client.get_shard_iterator(&shard, &start);
    iterator.expect("answered").expect("an open shard")
}

fn throttled() -> Result<(), String> {
    Err("ProvisionedThroughputExceededException".to_owned())
}

#[test]
fn entries_over_a_shard_s_rate_fail_one_by_one() {
    let (clock, client) = limited();
    assert_eq!(put(&client, 500, 10), vec![Ok(()); 500]);
    assert_eq!(put(&client, 499, 10), vec![Ok(()); 499]);
    assert_eq!(put(&client, 3, 10), [Ok(()), throttled(), throttled()]);
    clock.advance(Duration::from_secs(1));
    let half = 512 * 1024 - 1;
    assert_eq!(put(&client, 3, half), [Ok(()), Ok(()), throttled()]);
}

#[test]
fn a_shard_answers_five_times_a_second_and_rests_after_a_large_answer() {
    let (clock, client) = limited();
    for _ in 0..3 {
        assert_eq!(put(&client, 1, 1_000_000), [Ok(())]);
        clock.advance(Duration::from_secs(1));
    }
    let iterator = iterator(&client);
    let read = || match client.get_records(&iterator, 10_000) {
        Ok(output) => output.records.len(),
        Err(error) => {
            assert!(error.is_throttled(), "{error}");
            0
        }
    };
    // 3,000,003 bytes at 2 MiB a second.
    assert_eq!((read(), read()), (3, 0));
    clock.advance(Duration::from_millis(1_430));
    assert_eq!(read(), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(read(), 3);
    clock.advance(Duration::from_secs(60));
    let small = || client.get_records(&iterator, 1).is_ok();
    let answered = [(); 4].map(|()| small());
    assert_eq!(answered, [true, true, true, false]);
}

#[test]
fn only_signed_requests_with_the_right_secret_are_answered() {
    let fake = FakeKinesis::new()
        .with_credentials(Credentials::new("AKID", "secret"))
        .with_stream("orders", 1);
    let server = fake.serve().expect("a socket");
    for client in [fake.client(), server.client()] {
        assert_eq!(client.list_shards("orders").expect("signed").len(), 1);
    }
    for (credentials, code) in [
        (
            Credentials::new("AKID", "other"),
            "InvalidSignatureException",
        ),
        (
            Credentials::new("DIKA", "secret"),
            "UnrecognizedClientException",
        ),
    ] {
        let client = server.client_builder().credentials(credentials).build();
        let error = client.expect("a client").list_shards("orders");
        match error.expect_err("refused").kind() {
            ErrorKind::Service { code: said, .. } => assert_eq!(said, code),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_clock_that_is_far_off_makes_no_good_signature() {
    // The client corrects its clock by that of whoever refuses it, and comes again.
    for (skew, calls) in [(-899_000, 1), (899_000, 1), (900_000, 2)] {
        let fake = FakeKinesis::on_clock(VirtualClock::starting_at(START))
            .with_credentials(Credentials::new("AKID", "secret"))
            .with_clock_skew(skew)
            .with_stream("orders", 1);
        let listed = fake.client().list_shards("orders");
        assert!(listed.is_ok(), "{skew}");
        assert_eq!(fake.calls(Operation::ListShards), calls, "{skew}");
    }
}
