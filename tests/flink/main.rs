//! What the Flink connector tries by hand before a release, on AWS: each record counted exactly once
//! although the job fails, and although the stream is resharded. Here on the fake at a hundred times
//! the pace, or as it is there on the endpoint that `KINESIS_ENDPOINT` names. `RECORDS` is for slow ones.
//!
//! <https://github.com/apache/flink-connector-aws/tree/v4.3/flink-connector-aws/flink-connector-kinesis/src/test/java/org/apache/flink/streaming/connectors/kinesis/manualtests>

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use kinesis_blocking::fake::FakeKinesis;
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Client, Commit, Consumer, ConsumerConfig, Credentials, Event,
    FileCheckpointStore, Producer, PutRecordsEntry, ShardRef, StartPosition, UserRecord,
};

#[test]
fn each_record_counts_once_although_the_job_fails() {
    let job = Job {
        records: 1_000,
        fails_after: 200,
        deadline: Duration::from_secs(120),
    };
    let service = Service::new("exactly-once", 1);
    service.run(&job, |service, stop| {
        let producer = Producer::builder(service.client.clone())
            .stream(service.stream)
            .fail_on_error(true)
            .start()
            .expect("started");
        for number in 0..job.records {
            let record = UserRecord::new("0", text(number));
            producer.put(record).expect("taken in");
            service.pause(Duration::from_millis(10), stop);
        }
        producer.close().expect("everything is stored");
    });
}

#[test]
fn each_record_counts_once_although_the_job_fails_and_shards_split_and_merge() {
    let records = std::env::var("RECORDS").map_or(20_000, |text| text.parse().expect("a number"));
    let job = Job {
        records,
        fails_after: records / 2,
        deadline: Duration::from_secs(300),
    };
    let service = Service::new("resharding", 1);
    service.run(&job, |service, stop| {
        std::thread::scope(|scope| {
            scope.spawn(|| reshard(service));
            // Without the KPL, which puts records again in a reshard: there they would come twice.
            let mut rng = Rng::with_seed(1);
            let numbers: Vec<usize> = (0..job.records).collect();
            for numbers in numbers.chunks(30) {
                put(service, &mut rng, numbers);
                service.pause(Duration::from_millis(25), stop);
            }
        });
    });
    let shards = service.client.list_shards(service.stream).expect("listed");
    assert_eq!(shards.len(), 4, "split and merged");
}

/// 5 s after the start the shard is split in its middle, and 7 s later its children are merged.
fn reshard(service: &Service) {
    let (_never, stop) = channel();
    let shard = |number: u32| ShardRef::new(service.stream, format!("shardId-{number:012}"));
    service.pause(Duration::from_secs(5), &stop);
    let middle = "170141183460469231731687303715884105727";
    let split = service
        .client
        .split_shard(&shard(0), middle.parse().expect("a key"));
    split.expect("split");
    service.wait_until_active();
    service.pause(Duration::from_secs(7), &stop);
    let merged = service.client.merge_shards(&shard(1), &shard(2).shard_id);
    merged.expect("merged");
    service.wait_until_active();
}

fn put(service: &Service, rng: &mut Rng, numbers: &[usize]) {
    let entry = |number: &usize| PutRecordsEntry {
        data: text(*number).into(),
        partition_key: rng.u64(..).to_string().into(),
        explicit_hash_key: None,
    };
    let mut entries: Vec<_> = numbers.iter().map(entry).collect();
    while !entries.is_empty() {
        let output = service
            .client
            .put_records(service.stream, &entries)
            .expect("answered");
        let mut results = output.records.iter();
        entries.retain(|_| results.next().is_some_and(|result| result.is_err()));
    }
}

/// A record's number and twelve letters.
fn text(number: usize) -> String {
    format!("{number}-abcdefghijkl")
}

fn number(data: &[u8]) -> usize {
    let text = std::str::from_utf8(data).expect("text");
    let (number, letters) = text.split_once('-').expect("a number");
    assert_eq!(letters, "abcdefghijkl");
    number.parse().expect("a number")
}

struct Job {
    records: usize,
    /// How many records it takes until it fails, once.
    fails_after: usize,
    deadline: Duration,
}

struct Service {
    client: Client,
    stream: &'static str,
    /// How much faster everything goes than it does on AWS.
    haste: u32,
}

impl Service {
    fn new(stream: &'static str, shards: u32) -> Service {
        let (client, haste) = match std::env::var("KINESIS_ENDPOINT") {
            Ok(endpoint) => (client(&endpoint), 1),
            Err(_) => (FakeKinesis::new().client(), 100),
        };
        let service = Service {
            client,
            stream,
            haste,
        };
        service
            .client
            .create_stream(stream, shards)
            .expect("created");
        service.wait_until_active();
        service
    }

    fn pace(&self, time: Duration) -> Duration {
        time / self.haste
    }

    /// Waits, unless the job is over, well or not.
    fn pause(&self, time: Duration, stop: &Receiver<()>) {
        let _ = stop.recv_timeout(self.pace(time));
    }

    fn wait_until_active(&self) {
        let summary = || self.client.describe_stream_summary(self.stream);
        while summary().expect("described").status != "ACTIVE" {
            std::thread::yield_now();
        }
    }

    /// Reads what `produce` writes in another thread, with a failure and a restart under way.
    fn run(&self, job: &Job, produce: impl FnOnce(&Service, &Receiver<()>) + Send) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("job.checkpoint");
        let (over, stop) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || produce(self, &stop));
            let deadline = Instant::now() + job.deadline;
            let failed = self.life(job, &path, Some(job.fails_after), deadline);
            assert!(failed.is_none(), "it ended before it failed");
            let (_never, stop) = channel();
            self.pause(Duration::from_millis(500), &stop);
            let seen = self.life(job, &path, None, deadline).expect("all");
            assert_eq!(seen.count, job.records);
            drop(over);
        });
    }

    /// One life of the job. `None` if it failed, as it was to after so many records.
    fn life(
        &self,
        job: &Job,
        path: &Path,
        fails_after: Option<usize>,
        deadline: Instant,
    ) -> Option<Seen> {
        let mut store = FileCheckpointStore::new(path);
        let last = store.load().expect("loaded").unwrap_or_default();
        let mut seen = Seen::restored(last.state.as_ref(), job.records);
        let mut subtasks = [0, 1].map(|index| self.subtask(index, &last.checkpoint));
        let mut next_commit = Instant::now();
        let mut taken = 0;
        while seen.count < job.records {
            assert!(
                Instant::now() < deadline,
                "{} of {}",
                seen.count,
                job.records
            );
            // Neither keeps the other waiting for long.
            for turn in 0..100 {
                let wait = Duration::from_millis(if turn == 0 { 5 } else { 0 });
                let event = subtasks[turn % 2].next_event(wait);
                if let Event::Record(record) = event.expect("an event") {
                    seen.add(number(record.data()));
                    taken += 1;
                }
                if Some(taken) == fails_after {
                    return None;
                }
            }
            if Instant::now() >= next_commit {
                let checkpoints = subtasks.iter().map(Consumer::checkpoint);
                let checkpoint = checkpoints.fold(Checkpoint::default(), Checkpoint::merge);
                let state = Some(seen.bits.clone().into());
                let commit = Commit::new(checkpoint, state);
                store.save(&commit).expect("saved");
                next_commit = Instant::now() + self.pace(Duration::from_millis(500));
            }
        }
        // What comes now has come before.
        for subtask in &mut subtasks {
            let quiet = subtask.next_event(self.pace(Duration::from_secs(1)));
            let quiet = quiet.expect("an event");
            assert!(!matches!(quiet, Event::Record(_)), "too many");
        }
        Some(seen)
    }

    /// Half of the job's two consumers, going on from what both had read.
    fn subtask(&self, index: usize, checkpoint: &Checkpoint) -> Consumer {
        let config = ConsumerConfig::builder()
            .start_position(StartPosition::TrimHorizon)
            .shard_discovery_interval(Duration::from_secs(1));
        let builder = Consumer::builder(self.client.clone())
            .stream(self.stream)
            .config(config.build().expect("valid"))
            .restore(checkpoint.clone())
            .subtask(index, 2);
        builder.start().expect("started")
    }
}

fn client(endpoint: &str) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret");
    let builder = Client::builder().endpoint(endpoint).region("us-east-1");
    builder.credentials(credentials).build().expect("a client")
}

/// Which numbers have come: a bit each. It is committed with the checkpoint.
struct Seen {
    bits: Vec<u8>,
    count: usize,
}

impl Seen {
    fn restored(state: Option<&Bytes>, records: usize) -> Seen {
        let bits = state.map_or_else(|| vec![0; records.div_ceil(8)], |state| state.to_vec());
        let count = bits.iter().map(|byte| byte.count_ones() as usize).sum();
        Seen { bits, count }
    }

    fn add(&mut self, number: usize) {
        let byte = self
            .bits
            .get_mut(number / 8)
            .expect("a number that was put");
        assert_eq!(*byte & 1 << (number % 8), 0, "{number} came twice");
        *byte |= 1 << (number % 8);
        self.count += 1;
    }
}
