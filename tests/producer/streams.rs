//! Several streams, named in several ways, elements of a type of the user's, and large records.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinesis_blocking::fake::{FakeKinesis, Fault};
use kinesis_blocking::{
    FixedPartitioner, HashKey, Operation, Partitioner, Producer, RandomPartitioner, Serializer,
    UserRecord,
};

use crate::support::*;

#[test]
fn a_stream_may_be_named_by_its_arn() {
    let fake = kinesis(2).with_stream("audit", 1);
    let arn_of = |name| {
        let summary = fake.client().describe_stream_summary(name);
        summary.expect("described").arn
    };
    let producer = Producer::builder(fake.client()).stream(arn_of(STREAM));
    let producer = producer.start().expect("started");
    let mut deliveries = Vec::new();
    for n in 0..100 {
        deliveries.push(producer.put(named(n)).expect("taken in"));
        let audit = named(n).stream(arn_of("audit"));
        deliveries.push(producer.put(audit).expect("taken in"));
    }
    producer.close().expect("closed");
    for delivery in deliveries {
        delivered(delivery.wait());
    }
    assert_each_once(&fake, 100);
    assert!(fake.records(STREAM).len() < 100, "aggregated");
    assert!(!fake.records("audit").is_empty());
}

#[test]
fn a_stream_needs_a_name() {
    let fake = kinesis(1);
    let producer = producer(&fake);
    for name in ["", "  "] {
        let refused = producer
            .put(named("one").stream(name))
            .expect_err("no name");
        assert!(
            refused
                .to_string()
                .ends_with("the record names a stream without a name"),
            "{refused}"
        );
    }
    assert_eq!(producer.outstanding(), 0);
}

#[test]
fn streams_without_end_are_refused() {
    let fake = still(1);
    let producer = configured(&fake, |config| config.aggregation(false));
    let refused = (0..20_000).find_map(|n| {
        let refused = producer.put(named(n).stream(format!("stream-{n}")));
        refused.err().map(|refused| (n, refused.to_string()))
    });
    let (count, message) = refused.expect("too many");
    assert_eq!(count, 10_000);
    assert!(
        message.ends_with("a producer puts to 10000 streams at most"),
        "{message}"
    );
    drop(producer);
}

#[test]
fn one_stream_is_flushed_without_the_others() {
    let fake = still(1).with_stream("stuck", 1);
    fake.on(Operation::PutRecords)
        .stream("stuck")
        .fail_next(u64::MAX, Fault::Hang);
    let producer = producer(&fake);
    let stuck = producer.put(named("stuck").stream("stuck"));
    let stuck = stuck.expect("taken in");
    let delivery = producer.put(named("one")).expect("taken in");
    producer.flush_stream(STREAM).expect("flushed");
    assert!(delivery.is_settled() && !stuck.is_settled());
    let left = |stream| producer.flush_stream_timeout(stream, Duration::ZERO);
    assert_eq!(left("stuck").expect("flushed"), 1);
    assert_eq!(left(STREAM).expect("flushed"), 0);
    assert_eq!(left("never put to").expect("flushed"), 0);
    let all = producer.flush_timeout(Duration::ZERO);
    assert_eq!(all.expect("flushed"), 1);
}

#[test]
fn the_oldest_record_that_is_not_settled_is_known() {
    let clock = clock();
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream(STREAM, 1);
    let slow = configured(&fake, |config| {
        config.record_max_buffered_time(Duration::from_secs(10))
    });
    assert_eq!(slow.oldest_outstanding(), None);
    slow.put(named("one")).expect("taken in");
    clock.advance(Duration::from_millis(1_500));
    slow.put(named("two")).expect("taken in");
    assert_eq!(
        slow.oldest_outstanding(),
        Some(Duration::from_millis(1_500))
    );
    fake.on(Operation::PutRecords).fail_next(1, Fault::Hang);
    assert_eq!(slow.flush_timeout(Duration::ZERO).expect("flushed"), 2);
    // On its way it counts as before.
    assert_eq!(
        slow.oldest_outstanding(),
        Some(Duration::from_millis(1_500))
    );
    let _flow = Flow::of(&clock);
    slow.flush().expect("flushed");
    assert_eq!(slow.oldest_outstanding(), None);
}

struct Order {
    customer: &'static str,
    text: &'static str,
}

struct Orders;

impl Serializer<Order> for Orders {
    fn serialize(&self, order: &Order) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        match order.text {
            "" => Err("an order without a text".into()),
            text => Ok(Bytes::from_static(text.as_bytes())),
        }
    }

    fn target_stream(&self, order: &Order) -> Option<Arc<str>> {
        (order.customer == "auditor").then(|| "audit".into())
    }
}

/// The upper half of the ring for one customer, and for the others wherever they fall.
struct ByCustomer;

impl Partitioner<Order> for ByCustomer {
    fn partition_key(&self, order: &Order) -> String {
        order.customer.to_owned()
    }

    fn explicit_hash_key(&self, order: &Order) -> Option<HashKey> {
        (order.customer == "upper").then_some(HashKey::MAX)
    }
}

#[test]
fn elements_become_records_of_the_stream_and_shard_they_belong_to() {
    let fake = kinesis(2).with_stream("audit", 1);
    let orders = producer(&fake).typed(Orders, ByCustomer);
    let order = |customer, text| Order { customer, text };
    orders.put(&order("auditor", "1")).expect("taken in");
    let upper = orders.put(&order("upper", "2")).expect("taken in");
    let forever = Duration::from_secs(60);
    let timed = orders.put_timeout(&order("c", "3"), forever);
    timed.expect("taken in");
    orders.try_put(&order("c", "4")).expect("taken in");
    let refused = orders.put(&order("c", "")).expect_err("no text");
    assert_eq!(
        refused.to_string(),
        "PutRecords: the serializer refuses the element: an order without a text"
    );
    orders.producer().close().expect("closed");
    assert_eq!(fake.records("audit").len(), 1);
    assert_eq!(stored(&fake).len(), 3);
    let upper = delivered(upper.wait()).shard_id;
    assert_eq!(upper.as_str(), "shardId-000000000001");
}

#[test]
fn partitioners_of_flink_are_there() {
    let fake = kinesis(4);
    let text = |element: &str| Bytes::copy_from_slice(element.as_bytes());
    let fixed = producer(&fake).typed(text, FixedPartitioner::new(3));
    for _ in 0..50 {
        fixed.put("fixed").expect("taken in");
    }
    fixed.producer().close().expect("closed");
    let shards = |fake: &FakeKinesis| {
        let records = fake.records(STREAM).into_iter();
        let shards: std::collections::BTreeSet<_> = records.map(|one| one.shard_id).collect();
        shards.len()
    };
    assert_eq!(shards(&fake), 1);
    let random = fixed.into_producer();
    drop(random);
    let random = producer(&fake).typed(text, RandomPartitioner::new());
    for _ in 0..200 {
        random.put("random").expect("taken in");
    }
    random.into_producer().close().expect("closed");
    assert_eq!(shards(&fake), 4);
}

#[test]
fn an_aggregate_stays_within_what_the_stream_takes_with_its_partition_key() {
    const MIB: usize = 1024 * 1024;
    for limit in [MIB, 10 * MIB] {
        let fake = kinesis(1);
        let producer = configured(&fake, |config| config.aggregation_max_bytes(limit));
        let deliveries: Vec<_> = (0..3_000)
            .map(|n| {
                let record = UserRecord::new(n.to_string(), vec![b'x'; 1_000]);
                producer.put(record).expect("taken in")
            })
            .collect();
        producer.flush().expect("flushed");
        for delivery in deliveries {
            delivered(delivery.wait());
        }
        let records = fake.records(STREAM).into_iter();
        let sizes = records.map(|one| one.data.len() + one.partition_key.len());
        let largest = sizes.max().expect("stored");
        assert!(MIB - 2_000 < largest && largest <= MIB, "{largest}");
    }
}

/// Lets a stream take records of 10 MiB, as an operator would.
fn allow_10_mib(fake: &FakeKinesis) {
    let server = fake.serve().expect("a socket");
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let body = format!(r#"{{"StreamName":"{STREAM}","MaxRecordSizeInKiB":10240}}"#);
    let mut socket = TcpStream::connect(address).expect("connected");
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 Credential=none\r\n\
         X-Amz-Target: Kinesis_20131202.UpdateMaxRecordSize\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn records_of_10_mib_go_to_streams_that_take_them() {
    const MIB: usize = 1024 * 1024;
    let fake = kinesis(1);
    allow_10_mib(&fake);
    let producer = configured(&fake, |config| config.max_user_record_bytes(10 * MIB));
    // The key counts.
    let of = |bytes: usize| UserRecord::new("key", vec![b'x'; bytes - 3]);
    let refused = producer.put(of(10 * MIB + 1)).expect_err("too large");
    assert!(
        refused
            .to_string()
            .ends_with("are 10485761 bytes, the limit is 10485760"),
        "{refused}"
    );
    let mut deliveries = Vec::new();
    for bytes in [10 * MIB, 100, 6 * MIB, 100, 5 * MIB, MIB] {
        deliveries.push(producer.put(of(bytes)).expect("taken in"));
    }
    producer.flush().expect("flushed");
    for delivery in deliveries {
        delivered(delivery.wait());
    }
    assert_eq!(stored(&fake).len(), 6);
}
