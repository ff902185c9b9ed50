use std::collections::BTreeMap;
use std::ops::Deref;

use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::{FakeKinesis, VirtualClock};
use kinesis_blocking::{
    Closed, Delivered, HashKey, HashKeyRange, Producer, ProducerBuilder, ProducerConfig,
    ProducerConfigBuilder, RecordResult, Timestamp, Undelivered, UserRecord,
};

pub use crate::quiet::Flow;

pub const STREAM: &str = "orders";

/// A fake whose time passes, until this is dropped, only while every thread sleeps.
pub struct Flowing {
    fake: FakeKinesis,
    _flow: Flow,
}

/// One with one stream.
pub fn kinesis(shards: u32) -> Flowing {
    let clock = clock();
    Flowing {
        _flow: Flow::of(&clock),
        fake: FakeKinesis::on_clock(clock).with_stream(STREAM, shards),
    }
}

impl Flowing {
    pub fn with_stream(self, name: &str, shards: u32) -> Flowing {
        let Flowing { fake, _flow } = self;
        let fake = fake.with_stream(name, shards);
        Flowing { fake, _flow }
    }
}

impl Deref for Flowing {
    type Target = FakeKinesis;

    fn deref(&self) -> &FakeKinesis {
        &self.fake
    }
}

/// A fake whose time stands still, so that nothing is sent before a flush; with one stream.
pub fn still(shards: u32) -> FakeKinesis {
    FakeKinesis::on_clock(clock()).with_stream(STREAM, shards)
}

/// Time that stands still.
pub fn clock() -> VirtualClock {
    VirtualClock::starting_at(Timestamp::from_millis(1_700_000_000_000))
}

pub fn builder(fake: &FakeKinesis) -> ProducerBuilder {
    Producer::builder(fake.client()).stream(STREAM)
}

pub fn producer(fake: &FakeKinesis) -> Producer {
    builder(fake).start().expect("started")
}

pub fn configured(
    fake: &FakeKinesis,
    change: impl FnOnce(ProducerConfigBuilder) -> ProducerConfigBuilder,
) -> Producer {
    let config = change(ProducerConfig::builder()).build().expect("valid");
    builder(fake).config(config).start().expect("started")
}

/// A record whose key and data are its name.
pub fn named(name: impl ToString) -> UserRecord {
    UserRecord::new(name.to_string(), name.to_string())
}

pub fn delivered(result: RecordResult) -> Delivered {
    result.expect("delivered")
}

/// Delivered, failed, unknown, unsent.
pub fn counts(closed: Closed) -> [u64; 4] {
    [
        closed.delivered,
        closed.failed,
        closed.unknown,
        closed.unsent,
    ]
}

pub fn undelivered(result: RecordResult) -> Undelivered {
    result.expect_err("undelivered")
}

/// How often each record comes to a reader by the KCL's rule: it leaves out a whole aggregate if one
/// of its records does not belong to the shard.
pub fn seen_by_readers(fake: &FakeKinesis) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for name in read(fake, |range, key| range.contains(key)) {
        *seen.entry(name).or_default() += 1;
    }
    seen
}

/// Everything that lies in the stream, in its place or not.
pub fn stored(fake: &FakeKinesis) -> Vec<String> {
    read(fake, |_, _| true)
}

fn read(fake: &FakeKinesis, belongs: impl Fn(HashKeyRange, HashKey) -> bool) -> Vec<String> {
    let shards = fake.client().list_shards(STREAM).expect("listed");
    let ranges: BTreeMap<_, _> = shards
        .into_iter()
        .map(|shard| (shard.id, shard.hash_key_range))
        .collect();
    let mut names = Vec::new();
    for record in fake.records(STREAM) {
        let range = ranges[&record.shard_id];
        match decode(&record.data).expect("our own") {
            None => names.push(text(&record.data)),
            Some(members) => {
                if members.iter().all(|one| belongs(range, one.hash_key())) {
                    names.extend(members.iter().map(|one| text(&one.data)));
                }
            }
        }
    }
    names
}

fn text(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).expect("text")
}

/// Asserts that readers by the KCL's rule see so many names, and each of them once.
pub fn assert_each_once(fake: &FakeKinesis, count: usize) {
    let seen = seen_by_readers(fake);
    let times = |name: usize| seen.get(&name.to_string()).copied().unwrap_or(0);
    let wrong: Vec<_> = (0..count)
        .map(|name| (name, times(name)))
        .filter(|(_, times)| *times != 1)
        .take(10)
        .collect();
    assert!(wrong.is_empty(), "these names come so often: {wrong:?} …");
    assert_eq!(seen.len(), count);
}
