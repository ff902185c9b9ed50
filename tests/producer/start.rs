//! What a producer says at once.

use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{Client, Credentials, ErrorKind, Operation, Producer, UserRecord};

use crate::support::*;

fn refused(client: Client) -> String {
    let started = Producer::builder(client).stream(STREAM).start();
    started.expect_err("refused").to_string()
}

#[test]
fn a_stream_that_is_not_there_is_said_at_once() {
    let clock = clock();
    let _flow = Flow::of(&clock);
    let fake = FakeKinesis::on_clock(clock);
    let message = refused(fake.client());
    assert!(
        message.starts_with("ListShards on stream orders: ResourceNotFoundException: "),
        "{message}"
    );
    assert!(
        message.ends_with("; check the stream's name, the region and the account"),
        "{message}"
    );
}

#[test]
fn an_endpoint_that_nobody_answers_at_is_said_after_three_attempts() {
    let fake = kinesis(1);
    fake.on(Operation::ListShards)
        .fail_next(u64::MAX, Fault::Disconnect);
    let message = refused(fake.client());
    assert!(message.contains("(3 attempts in "), "{message}");
}

#[test]
fn a_closed_port_is_said_with_what_to_check() {
    let server = kinesis(1).serve().expect("a socket");
    let endpoint = server.endpoint().to_owned();
    drop(server);
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(endpoint)
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .retry(
            Operation::ListShards,
            kinesis_blocking::RetryPolicy {
                max_retries: Some(0),
                ..kinesis_blocking::RetryPolicy::default_for(Operation::ListShards)
            },
        )
        .build()
        .expect("a client");
    let message = refused(client);
    assert!(
        message.starts_with("ListShards on stream orders at http://127.0.0.1:"),
        "{message}"
    );
    assert!(
        message
            .ends_with("; check the endpoint and the region, and that this machine can reach it"),
        "{message}"
    );
}

#[test]
fn without_the_right_to_list_shards_records_go_one_by_one() {
    let fake = kinesis(2);
    let denied = Fault::refuse("AccessDeniedException", "not yours");
    fake.on(Operation::ListShards).fail_next(u64::MAX, denied);
    let producer = producer(&fake);
    for n in 0..100 {
        producer.put(named(n)).expect("taken in");
    }
    producer.close().expect("closed");
    assert_eq!(fake.records(STREAM).len(), 100);
    fake.calm_down();
    assert_each_once(&fake, 100);
}

#[test]
fn a_record_needs_a_stream() {
    let fake = kinesis(1);
    let producer = Producer::builder(fake.client()).start().expect("started");
    let refused = producer.put(named("one")).expect_err("no stream");
    assert_eq!(refused.record, named("one"));
    assert_eq!(
        refused.to_string(),
        "PutRecords: the record names no stream and the producer has no default"
    );
    let delivery = producer.put(named("one").stream(STREAM)).expect("taken in");
    delivered(delivery.wait());
}

#[test]
fn a_record_that_the_service_would_refuse_comes_back_at_once() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    for (record, message) in [
        (
            UserRecord::new("", "data"),
            "PutRecords on stream orders: the partition key has 0 characters, 1 to 256 are allowed",
        ),
        (
            UserRecord::new("k".repeat(257), "data"),
            "PutRecords on stream orders: the partition key has 257 characters, 1 to 256 are allowed",
        ),
        (
            UserRecord::new("k", vec![0; 1024 * 1024]),
            "PutRecords on stream orders: the record's data and partition key are 1048577 bytes, the limit is 1048576",
        ),
    ] {
        let refused = producer.put(record.clone()).expect_err("refused");
        assert_eq!(
            (refused.record, refused.error.to_string()),
            (record, message.to_owned())
        );
    }
    assert_eq!(producer.outstanding(), 0);
    let largest = UserRecord::new("k", vec![b'x'; 1024 * 1024 - 1]);
    delivered(producer.put(largest).expect("taken in").wait());
}

#[test]
fn missing_credentials_are_said_at_once() {
    struct None;
    impl kinesis_blocking::CredentialsProvider for None {
        fn credentials(&self) -> kinesis_blocking::Result<Credentials> {
            let missing = Client::builder().region("").build();
            Err(missing.expect_err("no region, for want of an error of the user's own"))
        }
    }
    let fake = kinesis(1);
    let client = fake.client_builder().credentials(None).build();
    let started = Producer::builder(client.expect("a client"))
        .stream(STREAM)
        .start();
    let error = started.expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
}
