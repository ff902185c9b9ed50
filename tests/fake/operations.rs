use kinesis_blocking::fake::{FakeKinesis, FakeServer, StoredRecord, VirtualClock};
use kinesis_blocking::{
    Client, HashKey, HashKeyRange, Operation, PutRecordsEntry, Shard, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A fake with one stream, and a client at one of its doors.
struct Door {
    fake: FakeKinesis,
    client: Client,
    _server: Option<FakeServer>,
}

/// The same fake anew, once for each door.
fn doors(shards: u32) -> [Door; 2] {
    [false, true].map(|over_http| {
        let clock = VirtualClock::starting_at(START);
        let fake = FakeKinesis::on_clock(clock).with_stream("orders", shards);
        let server = over_http.then(|| fake.serve().expect("a socket"));
        let client = match &server {
            Some(server) => server.client(),
            None => fake.client(),
        };
        Door {
            fake,
            client,
            _server: server,
        }
    })
}

fn entry(partition_key: &str, data: Vec<u8>) -> PutRecordsEntry {
    PutRecordsEntry {
        partition_key: partition_key.into(),
        explicit_hash_key: None,
        data: data.into(),
    }
}

/// Reads a shard until its end or its tip: data in order, and its children if it has ended.
fn read(client: &Client, shard: &Shard) -> (Vec<Vec<u8>>, Option<Vec<String>>) {
    let shard = ShardRef::new("orders", shard.id.clone());
    let start = ShardPosition::Start(StartPosition::TrimHorizon);
    let iterator = client.get_shard_iterator(&shard, &start);
    let mut iterator = iterator.expect("answered").expect("an iterator");
    let mut data = Vec::new();
    loop {
        let output = client.get_records(&iterator, 7).expect("records");
        data.extend(output.records.iter().map(|record| record.data.to_vec()));
        match output.next {
            Some(next) if output.millis_behind_latest > Some(0) => iterator = next,
            Some(_) => return (data, None),
            None => {
                let children = output.child_shards.iter();
                return (
                    data,
                    Some(children.map(|child| child.id.to_string()).collect()),
                );
            }
        }
    }
}

#[test]
fn what_is_put_is_stored_where_its_key_belongs_and_read_back_in_order() {
    for Door { fake, client, .. } in doors(3) {
        let entries: Vec<_> = (0..500u32)
            .map(|n| entry(&format!("key-{n}"), n.to_be_bytes().to_vec()))
            .collect();
        let output = client.put_records("orders", &entries).expect("answered");
        assert!(output.records.iter().all(Result::is_ok));
        let stored = fake.records("orders");
        assert_eq!(stored.len(), 500);
        let shards = client.list_shards("orders").expect("shards");
        for shard in &shards {
            let of_shard = stored.iter().filter(|record| record.shard_id == shard.id);
            let expected: Vec<_> = entries
                .iter()
                .filter(|entry| {
                    let key = HashKey::of_partition_key(&entry.partition_key);
                    shard.hash_key_range.contains(key)
                })
                .map(|entry| entry.data.to_vec())
                .collect();
            let of_shard: Vec<_> = of_shard.map(|record| record.data.to_vec()).collect();
            assert_eq!(of_shard, expected);
            assert_eq!(read(&client, shard), (expected, None));
        }
        assert_eq!(fake.calls(Operation::PutRecords), 1);
    }
}

#[test]
fn a_stored_record_is_what_was_put() {
    for Door { fake, client, .. } in doors(1) {
        let mut entry = entry("schlüssel \"1\"\n", vec![0, 255, b'"']);
        entry.explicit_hash_key = Some(HashKey::MAX);
        let output = client
            .put_records("orders", &[entry.clone()])
            .expect("answered");
        let put = output.records[0].as_ref().expect("stored");
        let stored: Vec<StoredRecord> = fake.records("orders");
        assert_eq!(stored[0].shard_id, put.shard_id);
        assert_eq!(stored[0].sequence_number, put.sequence_number);
        assert_eq!(stored[0].arrival, START);
        assert_eq!(stored[0].partition_key, &*entry.partition_key);
        assert_eq!(stored[0].explicit_hash_key, entry.explicit_hash_key);
        assert_eq!(stored[0].data, entry.data);
        assert_eq!(put.sequence_number.as_str().len(), 56);
    }
}

#[test]
fn a_split_and_a_merge_end_their_parents_and_name_their_children() {
    for Door { client, .. } in doors(2) {
        let put = |key: HashKey, data: &str| {
            let mut entry = entry("key", data.into());
            entry.explicit_hash_key = Some(key);
            let output = client.put_records("orders", &[entry]).expect("answered");
            assert!(output.records[0].is_ok());
        };
        put(HashKey::MIN, "before the split");
        let shards = client.list_shards("orders").expect("shards");
        let parent = ShardRef::new("orders", shards[0].id.clone());
        let at = shards[0].hash_key_range.midpoint();
        client.split_shard(&parent, at).expect("split");
        put(HashKey::MIN, "after the split");
        let (upper, last) = ("shardId-000000000003", "shardId-000000000001");
        client
            .merge_shards(&ShardRef::new("orders", upper), &last.into())
            .expect("merged");
        put(at, "after the merge");

        let shards = client.list_shards("orders").expect("shards");
        let read: Vec<_> = shards.iter().map(|shard| read(&client, shard)).collect();
        let one = |data: &str| vec![data.as_bytes().to_vec()];
        let id = |n: u32| format!("shardId-{n:012}");
        assert_eq!(
            read,
            [
                (one("before the split"), Some(vec![id(2), id(3)])),
                (vec![], Some(vec![id(4)])),
                (one("after the split"), None),
                (vec![], Some(vec![id(4)])),
                (one("after the merge"), None),
            ]
        );
        let parents: Vec<Vec<_>> = shards
            .iter()
            .map(|shard| shard.parents().map(ToString::to_string).collect())
            .collect();
        assert_eq!(
            parents,
            [vec![], vec![], vec![id(0)], vec![id(0)], vec![id(3), id(1)]]
        );
        let merged = HashKeyRange {
            start: at,
            end: HashKey::MAX,
        };
        assert_eq!(shards[4].hash_key_range, merged);
    }
}

#[test]
fn refusals_come_in_the_service_s_words() {
    for Door { client, .. } in doors(1) {
        let error = client.list_shards("nothing").expect_err("no stream");
        let words = "ListShards on stream nothing: ResourceNotFoundException: Stream nothing under \
                     account 000000000000 not found. (1 attempt in 0.0 s, request ";
        assert!(error.to_string().starts_with(words), "{error}");
        let error = client.create_stream("orders", 1).expect_err("is there");
        let words = "CreateStream on stream orders: ResourceInUseException: Stream orders under \
                     account 000000000000 already exists.";
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

#[test]
fn a_dropped_server_answers_nobody_and_leaves_no_thread() {
    let fake = FakeKinesis::new().with_stream("orders", 1);
    let server = fake.serve().expect("a socket");
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let client = server.client();
    assert_eq!(client.list_shards("orders").expect("shards").len(), 1);
    let idle = std::net::TcpStream::connect(&address).expect("connected");
    drop(server);
    assert!(std::net::TcpStream::connect(&address).is_err());
    drop(idle);
}

#[test]
fn a_request_larger_than_any_is_refused_and_not_hung_up_on() {
    let fake = FakeKinesis::new();
    let server = fake.serve().expect("a socket");
    let mut socket = crate::raw::connect(&server);
    let head = "POST / HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n";
    std::io::Write::write_all(&mut socket, head.as_bytes()).expect("sent");
    std::io::Write::write_all(&mut socket, &[b'x'; 1_000_000]).expect("read");
    socket
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer).expect("an answer");
    let expected = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answer, expected);
}
