//! What a user gets wrong is named, with what was being done and what to do now.

use std::net::TcpListener;
use std::time::Duration;

use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Client, Consumer, Credentials, ErrorKind, Operation, Producer, RetryPolicy, UserRecord,
};

fn client() -> Client {
    FakeKinesis::new().with_stream("orders", 1).client()
}

fn once() -> RetryPolicy {
    RetryPolicy {
        max_retries: Some(0),
        ..RetryPolicy::default_for(Operation::ListShards)
    }
}

/// The text, without what differs from run to run.
fn told(error: impl ToString) -> String {
    let text = error.to_string();
    match text.split_once(", request ") {
        Some((before, after)) => {
            let (_, after) = after.split_once(')').expect("a closing bracket");
            format!("{before}){after}")
        }
        None => text,
    }
}

#[test]
fn a_stream_that_does_not_exist() {
    let expected = "ListShards on stream nowhere: ResourceNotFoundException: Stream nowhere under account \
                    000000000000 not found. (1 attempt in 0.0 s); check the stream's name, the region and \
                    the account";
    let consumer = Consumer::builder(client()).stream("nowhere").start();
    assert_eq!(told(consumer.expect_err("no such stream")), expected);
    let producer = Producer::builder(client()).stream("nowhere").start();
    assert_eq!(told(producer.expect_err("no such stream")), expected);
}

#[test]
fn a_region_that_is_none() {
    let client = Client::builder().region("us-east1").build();
    assert_eq!(
        told(client.expect_err("no region")),
        "region: \"us-east1\" is not a region such as us-east-1"
    );
}

#[test]
fn an_endpoint_where_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = Client::builder()
        .region("us-east-1")
        .endpoint(format!("http://{address}"))
        .credentials(Credentials::new("AKIDEXAMPLE", "secret"))
        .retry(Operation::ListShards, once())
        .build()
        .expect("a client");
    let error = Consumer::builder(client)
        .stream("orders")
        .start()
        .expect_err("unreachable");
    assert_eq!(
        told(error),
        format!(
            "ListShards on stream orders at http://{address}/: cannot connect: Connection refused (os error \
             111) (1 attempt in 0.0 s); check the endpoint and the region, and that this machine can reach it"
        )
    );
}

#[test]
fn credentials_that_are_not_there() {
    const NO_EC2: &str = "AWS_EC2_METADATA_DISABLED";
    if std::env::vars_os().count() > 2 {
        // No test may change its own environment, but it may give another one to a child.
        let this = std::env::current_exe().expect("a path");
        let mut child = std::process::Command::new(this);
        let child = child.args(["--exact", "credentials_that_are_not_there"]);
        let child = child.env_clear().env(NO_EC2, "true").env("HOME", "/none");
        assert!(child.status().expect("a child").success());
        return;
    }
    let client = Client::builder().region("us-east-1").build();
    let producer = Producer::builder(client.expect("a client"))
        .stream("orders")
        .start();
    assert_eq!(
        told(producer.expect_err("no credentials")),
        "ListShards on stream orders: no credentials: environment: AWS_ACCESS_KEY_ID is not set; web identity: \
         AWS_WEB_IDENTITY_TOKEN_FILE is not set; profile: there is neither ~/.aws/credentials nor ~/.aws/config; \
         container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set; \
         imds: AWS_EC2_METADATA_DISABLED is true; set one of them, or give the client a provider of your own"
    );
}

#[test]
fn a_record_that_is_too_large_comes_back() {
    let producer = Producer::builder(client())
        .stream("orders")
        .start()
        .expect("started");
    let record = UserRecord::new("key", vec![7; 1 << 20]);
    let refused = producer.put(record.clone()).expect_err("too large");
    assert_eq!(
        told(&refused),
        "PutRecords on stream orders: the record's data and partition key are 1048579 bytes, the limit is 1048576"
    );
    assert_eq!(refused.record, record);
}

#[test]
fn a_record_for_a_closed_producer_comes_back() {
    let producer = Producer::builder(client())
        .stream("orders")
        .start()
        .expect("started");
    producer.close().expect("closed");
    let record = UserRecord::new("key", "data");
    let refused = producer.put(record.clone()).expect_err("closed");
    assert_eq!(
        told(&refused),
        "PutRecords on stream orders: the producer or consumer was closed"
    );
    assert!(matches!(refused.error.kind(), ErrorKind::Closed));
    assert_eq!(refused.record, record);
    let refused = producer.put_timeout(record.clone(), Duration::ZERO);
    assert_eq!(refused.expect_err("closed").record, record);
}
