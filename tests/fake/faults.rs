//! What is scripted to go wrong, through both doors.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_blocking::fake::{FakeKinesis, FakeServer, Fault, VirtualClock};
use kinesis_blocking::{
    Client, ErrorKind, HashKey, Operation, PutRecordsEntry, RetryPolicy, Shard, ShardPosition,
    ShardRef, StartPosition, Timestamp, TransportError,
};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What one hung call over HTTP costs in real time, and long enough for all the others.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A fake with one stream of two shards, and a client at one of its doors that tries once.
struct Door {
    fake: FakeKinesis,
    client: Client,
    _server: Option<FakeServer>,
}

fn doors() -> [Door; 2] {
    [false, true].map(|over_http| {
        let clock = VirtualClock::starting_at(START);
        clock.auto_advance(1);
        let fake = FakeKinesis::on_clock(clock).with_stream("orders", 2);
        let server = over_http.then(|| fake.serve().expect("a socket"));
        let builder = match &server {
            Some(server) => server.client_builder(),
            None => fake.client_builder(),
        };
        let once = RetryPolicy {
            max_retries: Some(0),
            ..RetryPolicy::default_for(Operation::PutRecords)
        };
        let mut builder = builder.request_timeout(REQUEST_TIMEOUT);
        for operation in Operation::ALL {
            builder = builder.retry(operation, once.clone());
        }
        Door {
            fake,
            client: builder.build().expect("a client"),
            _server: server,
        }
    })
}

fn entries(count: usize) -> Vec<PutRecordsEntry> {
    let entry = |n: usize| PutRecordsEntry {
        partition_key: n.to_string().into(),
        explicit_hash_key: None,
        data: vec![0; 100].into(),
    };
    (0..count).map(entry).collect()
}

/// What became of a put: the error's kind in a word.
fn put(client: &Client) -> String {
    match client.put_records("orders", &entries(10)) {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.kind() {
            ErrorKind::Service { code, .. } => code.clone(),
            ErrorKind::Transport(TransportError::Timeout(_)) => "timeout".to_owned(),
            ErrorKind::Transport(_) => "broken".to_owned(),
            ErrorKind::Malformed { .. } => "malformed".to_owned(),
            other => other.to_string(),
        },
    }
}

#[test]
fn each_fault_shows_itself_and_says_truly_what_was_stored() {
    for (fault, seen, stored) in [
        (Fault::AnswerLost, "broken", 10),
        (Fault::Disconnect, "broken", 0),
        (Fault::ExpiredToken, "ExpiredTokenException", 0),
        (Fault::Garbage, "malformed", 10),
        (Fault::Hang, "timeout", 0),
        (Fault::InternalFailure, "InternalFailure", 0),
        (
            Fault::refuse("KMSThrottlingException", "slow down"),
            "KMSThrottlingException",
            0,
        ),
        (Fault::Reset, "broken", 10),
        (Fault::ServiceUnavailable, "ServiceUnavailable", 0),
        (Fault::Slow(Duration::from_millis(80)), "ok", 10),
        (Fault::Throttle, "ProvisionedThroughputExceededException", 0),
        (Fault::Truncated, "broken", 10),
    ] {
        for Door { fake, client, .. } in doors() {
            // Credentials are fetched anew once, so an expired token is met twice.
            let calls = if fault == Fault::ExpiredToken { 2 } else { 1 };
            fake.on(Operation::PutRecords)
                .fail_next(calls, fault.clone());
            assert_eq!(put(&client), seen, "{fault:?}");
            assert_eq!(fake.records("orders").len(), stored, "{fault:?}");
            assert_eq!(put(&client), "ok", "{fault:?} is over");
        }
    }
}

#[test]
fn a_connection_is_reset_or_ends_as_scripted() {
    let broken = Some(io::ErrorKind::ConnectionReset);
    for (fault, has_head, has_body, end) in [
        (Fault::AnswerLost, false, false, broken),
        (Fault::Disconnect, false, false, broken),
        (Fault::HangUp, true, true, None),
        (Fault::Reset, true, false, broken),
        (Fault::Truncated, true, false, None),
    ] {
        let fake = FakeKinesis::new().with_stream("orders", 1);
        fake.on_operation("DescribeStream")
            .stream("orders")
            .fail_next(1, fault.clone());
        let server = fake.serve().expect("a socket");
        let mut socket = crate::raw::connect(&server);
        let body = r#"{"StreamName":"orders"}"#;
        let head =
            "POST / HTTP/1.1\r\nHost: fake\r\nAuthorization: AWS4-HMAC-SHA256 Credential=none";
        let length = body.len();
        write!(
            socket,
            "{head}\r\nX-Amz-Target: Kinesis_20131202.DescribeStream\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        assert_eq!(read.err().map(|error| error.kind()), end, "{fault:?}");
        let answer = String::from_utf8(answer).expect("text");
        assert_eq!(answer.starts_with("HTTP/1.1 200"), has_head, "{fault:?}");
        assert_eq!(answer.ends_with("}}"), has_body, "{fault:?}");
    }
}

#[test]
fn a_client_notices_that_a_kept_connection_is_dead() {
    let fake = FakeKinesis::new().with_stream("orders", 1);
    fake.on(Operation::ListShards).fail_next(3, Fault::HangUp);
    let server = fake.serve().expect("a socket");
    let client = server.client();
    for _ in 0..5 {
        assert_eq!(client.list_shards("orders").expect("a listing").len(), 1);
    }
}

#[test]
#[should_panic(expected = "the name of an operation")]
fn a_script_for_no_operation_is_a_mistake() {
    FakeKinesis::new().on_operation("DescribeShards");
}

#[test]
fn a_late_answer_is_late_by_the_fake_s_clock_and_lost_if_nobody_waits() {
    let clock = VirtualClock::starting_at(START);
    clock.auto_advance(1);
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
    fake.on(Operation::PutRecords)
        .delay_next(1, Duration::from_secs(5))
        .after(1)
        .delay_next(1, Duration::from_secs(7));
    let client = fake.client();
    assert_eq!(put(&client), "ok");
    assert_eq!(clock.time(), START.saturating_add(Duration::from_secs(5)));
    assert_eq!(put(&client), "timeout");
    assert_eq!(clock.time(), START.saturating_add(Duration::from_secs(11)));
    assert_eq!(fake.records("orders").len(), 20);
}

#[test]
fn entries_fail_by_number_and_by_shard() {
    let code = "InternalFailure";
    let fault = |every| Fault::FailEntries {
        every,
        code: code.to_owned(),
    };
    for Door { fake, client, .. } in doors() {
        fake.on(Operation::PutRecords)
            .fail_next(1, fault(3))
            .shard("shardId-000000000001")
            .fail_next(1, fault(1))
            .fail_next(1, Fault::Throttle);
        let failed = || {
            let output = client.put_records("orders", &entries(10));
            let results = output.expect("answered").records;
            let failed = |(n, result): (usize, &Result<_, _>)| result.is_err().then_some(n);
            let failed: Vec<_> = results.iter().enumerate().filter_map(failed).collect();
            failed
        };
        assert_eq!(failed(), [2, 5, 8]);
        let upper = |entry: &PutRecordsEntry| {
            HashKey::of_partition_key(&entry.partition_key).as_u128() >= 1 << 127
        };
        let expected: Vec<_> = (0..10).filter(|n| upper(&entries(10)[*n])).collect();
        assert_eq!((failed(), failed()), (expected.clone(), expected));
        assert_eq!(failed(), [0; 0]);
    }
}

#[test]
fn entries_can_land_in_a_shard_that_does_not_own_them() {
    for Door { fake, client, .. } in doors() {
        fake.on(Operation::PutRecords)
            .fail_next(1, Fault::WrongShard);
        assert_eq!(put(&client), "ok");
        let shards = client.list_shards("orders").expect("shards");
        for record in fake.records("orders") {
            let key = HashKey::of_partition_key(&record.partition_key);
            let shard = shards.iter().find(|shard| shard.id == record.shard_id);
            let range = shard.expect("a shard").hash_key_range;
            assert!(!range.contains(key), "{record:?}");
        }
    }
}

#[test]
fn a_listing_can_lag_behind_a_split() {
    for Door { fake, client, .. } in doors() {
        let parent = ShardRef::new("orders", "shardId-000000000000");
        client.split_shard(&parent, 1_000.into()).expect("split");
        fake.on(Operation::ListShards)
            .fail_next(1, Fault::ChildrenLate)
            .fail_next(1, Fault::ParentsOpen);
        let listed = || {
            let shards = client.list_shards("orders").expect("shards");
            let open: Vec<_> = shards.iter().map(|shard| shard.is_open()).collect();
            open
        };
        assert_eq!(listed(), [true, true]);
        assert_eq!(listed(), [true, true, true, true]);
        assert_eq!(listed(), [false, true, true, true]);
    }
}

#[test]
fn a_listing_can_be_old_and_out_of_order_and_in_short_pages() {
    let (clock, minute) = (VirtualClock::starting_at(START), Duration::from_secs(60));
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 2);
    let client = fake.client();
    clock.advance(minute);
    let parent = ShardRef::new("orders", "shardId-000000000000");
    client.split_shard(&parent, 1_000.into()).expect("split");
    clock.advance(minute);
    fake.on(Operation::ListShards)
        .fail_next(1, Fault::ListedLate(minute + Duration::from_millis(1)))
        .fail_next(1, Fault::ListedLate(minute))
        .fail_next(1, Fault::ListedReversed)
        .fail_next(1, Fault::ShortPage);
    let listed = || {
        let shards = client.list_shards("orders").expect("shards");
        let shown = |shard: &Shard| (shard.id.as_str().as_bytes()[19] - b'0', shard.is_open());
        shards.iter().map(shown).collect::<Vec<_>>()
    };
    let now = [(0, false), (1, true), (2, true), (3, true)];
    assert_eq!(listed(), [(0, true), (1, true)]);
    assert_eq!(listed(), now);
    let mut reversed = now;
    reversed.reverse();
    assert_eq!(listed(), reversed);
    assert_eq!(listed(), now);
    // Two for the one in short pages.
    assert_eq!(fake.calls(Operation::ListShards), 5);
}

#[test]
fn a_stream_keeps_records_as_long_as_it_is_set_to() {
    let (clock, hour) = (VirtualClock::starting_at(START), Duration::from_secs(3_600));
    let fake = FakeKinesis::on_clock(clock.clone()).with_stream("orders", 1);
    let client = fake.client();
    assert_eq!(put(&client), "ok");
    fake.set_retention("orders", 48 * hour);
    clock.advance(25 * hour);
    assert_eq!(fake.records("orders").len(), 10);
    fake.set_retention("orders", 24 * hour);
    assert_eq!(fake.records("orders").len(), 0);
    fake.set_retention("nothing", hour);
}

#[test]
fn reading_can_stumble_without_losing_its_place() {
    for Door { fake, client, .. } in doors() {
        assert_eq!(put(&client), "ok");
        let shard = ShardRef::new("orders", "shardId-000000000000");
        let there = fake.records("orders").iter().fold(0, |there, record| {
            there + usize::from(record.shard_id == shard.shard_id)
        });
        fake.on(Operation::GetRecords)
            .shard("shardId-000000000001")
            .fail_next(9, Fault::Throttle)
            .shard("shardId-000000000000")
            .fail_next(1, Fault::ExpiredIterator)
            .fail_next(1, Fault::EmptyBatch);
        let start = ShardPosition::Start(StartPosition::TrimHorizon);
        let iterator = client.get_shard_iterator(&shard, &start);
        let iterator = iterator.expect("answered").expect("an iterator");
        let error = client.get_records(&iterator, 10).expect_err("expired");
        assert!(error.to_string().contains("ExpiredIteratorException"));
        let empty = client.get_records(&iterator, 10).expect("records");
        assert_eq!((empty.records.len(), there > 0), (0, true));
        assert!(empty.millis_behind_latest > Some(0));
        let next = empty.next.expect("a shard that goes on");
        let read = client.get_records(&next, 10).expect("records");
        assert_eq!(read.records.len(), there);
    }
}

#[test]
fn every_request_is_seen_and_logged() {
    for Door { fake, client, .. } in doors() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        fake.on(Operation::ListShards)
            .fail_next(1, Fault::Throttle)
            .observe(move |request| {
                seen.lock().expect("sane").push(request.body().len());
            });
        assert!(client.list_shards("orders").is_err());
        assert!(client.list_shards("orders").is_ok());
        assert!(client.list_shards("nothing").is_err());
        assert_eq!(*sizes.lock().expect("sane"), [23, 23, 24]);
        let log: Vec<_> = fake
            .requests()
            .into_iter()
            .map(|logged| (logged.stream, logged.status, logged.error))
            .collect();
        let (orders, nothing) = (Some("orders".to_owned()), Some("nothing".to_owned()));
        assert_eq!(
            log,
            [
                (None, 400, Some("LimitExceededException".to_owned())),
                (orders, 200, None),
                (nothing, 400, Some("ResourceNotFoundException".to_owned())),
            ]
        );
        assert_eq!(fake.calls(Operation::ListShards), 3);
    }
}

#[test]
fn chance_can_be_calmed_down() {
    for Door { fake, client, .. } in doors() {
        fake.on(Operation::PutRecords)
            .fail_at_random(1, 1.0, [Fault::Throttle]);
        assert_eq!(put(&client), "ProvisionedThroughputExceededException");
        fake.calm_down();
        assert_eq!(put(&client), "ok");
    }
}

#[test]
fn a_server_is_dropped_at_once_though_its_callers_hang() {
    let fake = FakeKinesis::new().with_stream("orders", 1);
    fake.on(Operation::ListShards)
        .fail_next(1, Fault::Hang)
        .delay_next(9, Duration::from_secs(3_600));
    let server = fake.serve().expect("a socket");
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = crate::raw::connect(&server);
        let request = b"POST / HTTP/1.1\r\nX-Amz-Target: Kinesis_20131202.ListShards\r\n\r\n";
        socket.write_all(request).expect("sent");
        sockets.push(socket);
    }
    drop(server);
    for mut socket in sockets {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}
