//! By which map a record that was stored elsewhere than foreseen is judged, by hand-made time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Listed, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::config::ProducerConfig;
use crate::model::{HashKey, HashKeyRange, Shard, ShardMap};
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::group::Group;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::pipeline::Pipeline;
use crate::producer::record::UserRecord;
use crate::sys::Sys;
use crate::sys::rng::Rng;

const MIDDLE: u128 = 1 << 127;

/// The shard `0-whole`, split into `1-lower` and `2-upper` or not yet. Names are in the order of age, as the
/// service gives them.
fn map(is_split: bool, is_whole_closed: bool) -> Arc<ShardMap> {
    let number = || "1".parse().expect("a number");
    let range = |start: u128, end| HashKeyRange {
        start: start.into(),
        end,
    };
    let mut whole = Shard::new("0-whole", HashKeyRange::FULL, number());
    whole.ending_sequence_number = is_whole_closed.then(number);
    let mut shards = vec![whole];
    if is_split {
        let lower = range(0, HashKey::from(MIDDLE - 1));
        shards.push(Shard::new("1-lower", lower, number()));
        let upper = range(MIDDLE, HashKey::MAX);
        shards.push(Shard::new("2-upper", upper, number()));
    }
    Arc::new(ShardMap::new(&shards))
}

struct World {
    start: Instant,
    pipeline: Pipeline,
}

impl World {
    /// A time of the story, in milliseconds.
    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn learn_later(&mut self, map: Arc<ShardMap>, began: u64, ended: u64) {
        let (began, ended) = (self.at(began), self.at(ended));
        let listed = Listed { map, began, ended };
        let answer = Answer::Listed {
            stream: "orders".into(),
            listed: Ok(listed),
        };
        let span = Span { began, ended };
        self.pipeline.on_outcome(ended, Outcome { span, answer });
    }

    /// The calls of PutRecords that are made now.
    fn puts(&mut self, now: u64) -> Vec<(u64, Vec<PutRecordsEntry>)> {
        let now = self.at(now);
        self.pipeline.tick(now);
        self.pipeline.flush_stream(now, &"orders".into());
        let mut puts = Vec::new();
        while let Some(job) = self.pipeline.next_job(now) {
            if let Job::Put { id, entries, .. } = job {
                puts.push((id, entries));
            }
        }
        puts
    }

    fn stored(&mut self, id: u64, shards: &[&str], began: u64, ended: u64) {
        let output = |shard: &&str| {
            Ok(PutRecordOutput {
                shard_id: (*shard).into(),
                sequence_number: "7".parse().expect("a number"),
            })
        };
        let records = shards.iter().map(output).collect();
        let span = Span {
            began: self.at(began),
            ended: self.at(ended),
        };
        let answer = Answer::Put {
            id,
            output: Ok(PutRecordsOutput { records }),
        };
        self.pipeline
            .on_outcome(span.ended, Outcome { span, answer });
    }

    /// What settled, and in which shard it was stored.
    fn settled(&mut self) -> Vec<(String, String)> {
        let settled = self.pipeline.take_effects().settled.into_iter();
        settled
            .flat_map(|one| {
                let shard = one.result.expect("stored").shard_id.to_string();
                let records = one.record.user_records().into_iter();
                let name = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
                records
                    .map(|record| (name(&record.data), shard.clone()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Has an aggregate of two records, for both halves of `0-whole`, under way at 1 ms.
fn under_way() -> (World, u64) {
    let config = ProducerConfig::builder().build().expect("valid");
    let (clock, name): (_, Arc<str>) = (Sys::real().clock, "orders".into());
    let start = clock.now();
    let mut pipeline = Pipeline::new(&config, Rng::from_seed(1));
    let mut aggregator = Aggregator::new(name.clone(), Rules::of(&config));
    let known = Listed {
        map: map(false, false),
        began: start,
        ended: start,
    };
    pipeline.learn(&name, Some(&known));
    let mut finished = Vec::new();
    aggregator.follow(known.map, &mut finished);
    for (data, key) in [("low", 0), ("high", MIDDLE)] {
        let record = UserRecord::new("k", data).explicit_hash_key(key.into());
        if aggregator.join(Some(key.into()), &record).is_none() {
            let group = Group::new(clock.clone());
            aggregator.start(start, record, group, &mut finished);
        }
    }
    aggregator.finish_all(&mut finished);
    let mut world = World { start, pipeline };
    world.pipeline.accept(world.at(1), finished);
    let puts = world.puts(1);
    let [(id, entries)] = &puts[..] else {
        panic!("{} calls", puts.len());
    };
    assert_eq!(entries.len(), 1);
    (world, *id)
}

fn shares(puts: &[(u64, Vec<PutRecordsEntry>)]) -> Vec<Option<HashKey>> {
    let entries = puts.iter().flat_map(|(_, entries)| entries);
    entries.map(|entry| entry.explicit_hash_key).collect()
}

#[test]
fn a_map_that_was_listed_while_a_record_was_stored_does_not_judge_it() {
    let (mut world, id) = under_way();
    // It was begun after the call, and before the call was answered; the parent looks open.
    world.learn_later(map(true, false), 2, 3);
    world.stored(id, &["1-lower"], 1, 4);
    assert!(
        shares(&world.puts(4)).is_empty(),
        "it waits for a newer map"
    );
    assert!(world.settled().is_empty());

    world.learn_later(map(true, true), 5, 6);
    let puts = world.puts(6);
    let keys = [0, MIDDLE].map(|key| Some(HashKey::from(key)));
    assert_eq!(shares(&puts), keys, "each half goes to its shard");
    for (id, entries) in puts {
        let shard = |entry: &PutRecordsEntry| match entry.explicit_hash_key {
            Some(key) if key.as_u128() < MIDDLE => "1-lower",
            _ => "2-upper",
        };
        let shards: Vec<_> = entries.iter().map(shard).collect();
        world.stored(id, &shards, 6, 7);
    }
    let mut settled = world.settled();
    settled.sort();
    let owned = |(name, shard): (&str, &str)| (name.to_owned(), shard.to_owned());
    assert_eq!(
        settled,
        [("high", "2-upper"), ("low", "1-lower")].map(owned)
    );
}

#[test]
fn a_map_that_was_listed_after_a_record_was_stored_judges_it_at_once() {
    let (mut world, id) = under_way();
    world.learn_later(map(true, false), 4, 5);
    // The answer is handed in late; the call ended as the listing began.
    world.stored(id, &["1-lower"], 1, 4);
    assert!(!shares(&world.puts(6)).is_empty(), "it is put again");
}
