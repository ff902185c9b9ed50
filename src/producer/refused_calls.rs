//! Calls that are refused as a whole, through the pure parts, by hand-made time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Listed, PutRecordOutput, PutRecordsEntry, PutRecordsOutput};
use crate::config::ProducerConfig;
use crate::error::{Error, Result};
use crate::model::{HashKeyRange, Shard, ShardMap};
use crate::producer::aggregator::{Aggregator, Rules};
use crate::producer::delivery::Stored;
use crate::producer::group::Group;
use crate::producer::job::{Answer, Job, Outcome, Span};
use crate::producer::pipeline::Pipeline;
use crate::producer::record::UserRecord;
use crate::sys::Sys;
use crate::sys::rng::Rng;

/// How a record ended: its data's length, and its shard or the error and whether it may be stored.
type Fate = (usize, Result<String, (String, Stored)>);

/// Puts records of these lengths, none of them aggregated, and answers each call until all have settled.
fn fates(
    lengths: &[usize],
    mut answer: impl FnMut(&[PutRecordsEntry]) -> Result<PutRecordsOutput>,
) -> (Vec<Fate>, usize) {
    let config = ProducerConfig::builder().aggregation(false).build();
    let (config, name): (_, Arc<str>) = (config.expect("valid"), "orders".into());
    let clock = Sys::real().clock;
    let (mut now, number) = (clock.now(), "1".parse().expect("a number"));
    let map = ShardMap::new(&[Shard::new("shard", HashKeyRange::FULL, number)]);
    let listed = Listed {
        map: Arc::new(map),
        began: now,
        ended: now,
    };
    let mut pipeline = Pipeline::new(&config, Rng::from_seed(1));
    let mut aggregator = Aggregator::new(name.clone(), Rules::of(&config));
    aggregator.follow(listed.map.clone(), &mut Vec::new());
    pipeline.learn(&name, Some(&listed));
    let mut finished = Vec::new();
    for length in lengths {
        let record = UserRecord::new("k", vec![b'x'; *length]);
        let group = Group::new(clock.clone());
        drop(aggregator.start(now, record, group, &mut finished));
    }
    aggregator.finish_all(&mut finished);
    pipeline.accept(now, finished);
    let (mut fates, mut calls) = (Vec::new(), 0);
    for _ in 0..STEPS_MAX {
        pipeline.tick(now);
        pipeline.flush_stream(now, &name);
        while let Some(job) = pipeline.next_job(now) {
            let Job::Put { id, entries, .. } = job else {
                panic!("its map is new");
            };
            calls += 1;
            let answer = Answer::Put {
                id,
                output: answer(&entries),
            };
            let (began, ended) = (now, later(now, 1));
            let span = Span { began, ended };
            pipeline.on_outcome(ended, Outcome { span, answer });
        }
        for one in pipeline.take_effects().settled {
            let told = |error: Error| (error.to_string(), one.record.stored);
            let result = one.result.map(|output| output.shard_id.to_string());
            fates.push((one.record.data.len(), result.map_err(told)));
        }
        if fates.len() == lengths.len() {
            break;
        }
        now = later(now, 50);
    }
    fates.sort_by_key(|(length, _)| *length);
    (fates, calls)
}

/// So many steps of 50 ms are longer than any record's time to live.
const STEPS_MAX: usize = 1_000;

fn later(now: Instant, millis: u64) -> Instant {
    now + Duration::from_millis(millis)
}

fn stored(entries: &[PutRecordsEntry]) -> PutRecordsOutput {
    let output = |_: &PutRecordsEntry| {
        Ok(PutRecordOutput {
            shard_id: "shard".into(),
            sequence_number: "7".parse().expect("a number"),
        })
    };
    PutRecordsOutput {
        records: entries.iter().map(output).collect(),
    }
}

/// The service's own answer, a balancer's page, and that of an endpoint which gives it a name.
#[test]
fn small_records_are_stored_although_a_large_one_makes_the_call_too_large() {
    let refusals = [
        || Error::service("", "", 413),
        || Error::service("", "<html> <h1>413 Request Entity Too Large</h1>", 413),
        || Error::service("RequestEntityTooLarge", "m", 400),
        || Error::service("RequestEntityTooLargeException", "m", 413),
    ];
    for refusal in refusals {
        let large = 700_000;
        let lengths: Vec<_> = (1..=20).chain([large]).chain(21..=40).collect();
        let (fates, calls) = fates(&lengths, |entries| {
            match entries.iter().any(|entry| entry.data.len() >= large) {
                true => Err(refusal()),
                false => Ok(stored(entries)),
            }
        });
        assert_eq!(fates.len(), 41);
        let (largest, small) = fates.split_last().expect("41");
        assert!(small.iter().all(|(_, fate)| fate.is_ok()), "{small:?}");
        let (text, possibly) = largest.1.clone().expect_err("too large");
        assert_eq!(possibly, Stored::No);
        assert!(text.contains("; the request is larger than"), "{text}");
        // Halves of 41, until the large one is alone.
        assert!(calls <= 13, "{calls} calls");
    }
}

/// Each of these calls has stored its records, so the next one would make copies and no progress.
#[test]
fn an_answer_that_cannot_be_read_twice_for_the_same_member_ends_the_record() {
    let odd = || Error::of_member("Records is no list");
    let (told, calls) = fates(&[1], |_| Err(odd()));
    let (text, possibly) = told[0].1.clone().expect_err("unreadable");
    assert_eq!((calls, possibly), (2, Stored::Possibly));
    assert!(
        text.contains("Records is no list, in two responses"),
        "{text}"
    );

    // An accident on the way is not the same twice.
    let mut answers = vec![
        None,
        Some(odd()),
        Some(Error::malformed("response", "it breaks off")),
        Some(odd()),
    ];
    let (told, calls) = fates(&[1], |entries| match answers.pop().flatten() {
        Some(error) => Err(error),
        None => Ok(stored(entries)),
    });
    assert_eq!((calls, told[0].1.as_deref().ok()), (4, Some("shard")));
}
