//! What was said of each record, held against what its stream has stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinesis_blocking::aggregation::decode;
use kinesis_blocking::fake::StoredRecord;
use kinesis_blocking::{
    ErrorKind, HashKeyRange, RecordResult, SequenceNumber, ShardId, Stored, Timestamp,
};

use super::scene::{MISSPELT, Put, Scene, Stream, number};
use crate::quiet::until;

#[derive(Default)]
struct Truth {
    stored: BTreeSet<usize>,
    readable: BTreeSet<(usize, ShardId, SequenceNumber)>,
    /// Where the first copy of each record lies that readers find, and its place in an aggregate.
    first: BTreeMap<usize, (SequenceNumber, usize)>,
}

impl Truth {
    fn add_readable(&mut self, number: usize, record: &StoredRecord, member: usize) {
        let at = (record.shard_id.clone(), record.sequence_number.clone());
        let first = (at.1.clone(), member);
        self.readable.insert((number, at.0, at.1));
        let known = self.first.entry(number).or_insert_with(|| first.clone());
        *known = first.min(known.clone());
    }
}

impl Scene {
    /// Checks everything, once all producers are closed or dropped.
    pub fn check(&self, reported: &dyn Fn() -> usize) {
        self.book.settle_all();
        self.check_reports(reported);
        // What callbacks have put meanwhile.
        self.book.settle_all();
        let truths: Vec<_> = self.streams.iter().map(|one| self.truth(one)).collect();
        for (number, put) in &*self.book.puts() {
            self.check_result(*number, put, &truths[put.stream]);
        }
        self.check_order(&truths);
        self.check_times_to_live();
        self.check_counts();
        self.check_missing();
        self.check_descriptions();
        // Calls end that hung when their producers did, and with them the threads that made them.
        self.pass(CALLS_MAX);
    }

    fn truth(&self, stream: &Stream) -> Truth {
        let mut truth = Truth::default();
        if stream.name == MISSPELT {
            return truth;
        }
        let shards = self.kinesis.shards(&stream.name).into_iter();
        let ranges = shards.map(|one| (one.id, one.hash_key_range)).collect();
        for record in self.kinesis.records(&stream.name) {
            self.add(stream, &ranges, &record, &mut truth);
        }
        truth
    }

    fn add(
        &self,
        stream: &Stream,
        ranges: &BTreeMap<ShardId, HashKeyRange>,
        record: &StoredRecord,
        truth: &mut Truth,
    ) {
        let Some(members) = decode(&record.data).expect("our own") else {
            let number = number(&record.data);
            truth.stored.insert(number);
            truth.add_readable(number, record, 0);
            return;
        };
        let range = &ranges[&record.shard_id];
        let is_read = members.iter().all(|one| range.contains(one.hash_key()));
        let is_alone = members.len() == 1;
        for (index, member) in members.into_iter().enumerate() {
            let number = number(&member.data);
            let life = &self.lives[self.book.puts()[&number].life];
            assert!(life.aggregation, "{number} is in an aggregate");
            let may_be = life.under_auto || !stream.is_always_auto;
            assert!(may_be, "{number} is in an aggregate under AUTO");
            let bytes = record.data.len() + record.partition_key.len();
            assert!(
                is_alone || bytes <= life.max_bytes,
                "{number}: an aggregate of {bytes} bytes"
            );
            truth.stored.insert(number);
            if is_read || life.under_auto && stream.was_auto {
                truth.add_readable(number, record, index);
            }
        }
    }

    fn check_result(&self, number: usize, put: &Put, truth: &Truth) {
        match put.result.as_ref().expect("settled") {
            Ok(delivered) => {
                let (shard, at) = (
                    delivered.shard_id.clone(),
                    delivered.sequence_number.clone(),
                );
                let place = (number, shard, at);
                assert!(truth.readable.contains(&place), "{place:?} is not there");
            }
            Err(undelivered) => {
                assert_eq!(undelivered.record, put.record);
                let is_true =
                    undelivered.stored == Stored::Possibly || !truth.stored.contains(&number);
                assert!(is_true, "{number} is stored: {undelivered:#?}");
            }
        }
    }

    /// Of a producer that keeps the order of each key, the first copies of its records lie in it.
    fn check_order(&self, truths: &[Truth]) {
        let mut last: BTreeMap<_, (usize, &(SequenceNumber, usize))> = BTreeMap::new();
        for (number, put) in &*self.book.puts() {
            let is_kept = self.lives[put.life].is_ordered && !self.streams[put.stream].was_auto;
            // Threads that call back put their own among each other.
            if !is_kept || put.record.partition_key() == "callback" {
                continue;
            }
            let Some(Ok(_)) = put.result else { continue };
            let lane = (put.life, put.stream, put.record.partition_key().to_owned());
            let first = truths[put.stream].first.get(number).expect("delivered");
            if let Some((before, at)) = last.insert(lane, (*number, first)) {
                assert!(at < first, "{number} is stored before {before} of its key");
            }
        }
    }

    /// A record that expires does so when its own time to live is over: its last pause may be left
    /// out, and its last call and a list of shards may last beyond.
    fn check_times_to_live(&self) {
        let told = self.book.told();
        for (number, put) in &*self.book.puts() {
            let (life, result) = (&self.lives[put.life], put.result.as_ref());
            let Some((Err(undelivered), at)) = result.zip(told.get(number)) else {
                continue;
            };
            let is_expired = matches!(undelivered.error.kind(), ErrorKind::Expired { .. });
            if is_expired && life.is_prompt {
                let lived = at.saturating_since(put.at);
                let least = life.ttl.saturating_sub(PAUSE_MAX + life.buffered);
                let most = life.ttl.saturating_add(CALLS_MAX);
                assert!(
                    (least..=most).contains(&lived),
                    "{number} of {:?} lived for {lived:?}",
                    life.ttl
                );
            }
        }
    }

    /// What a close says is the sum of what was said of each record.
    fn check_counts(&self) {
        let puts = self.book.puts();
        for (at, life) in self.lives.iter().enumerate() {
            let puts = puts.values().filter(|put| put.life == at);
            let results: Vec<_> = puts.filter_map(|put| put.result.as_ref()).collect();
            let count = |is_so: fn(&RecordResult) -> bool| {
                results.iter().filter(|result| is_so(result)).count() as u64
            };
            let Some(closed) = life.closed else { continue };
            assert_eq!(closed.delivered, count(|result| result.is_ok()));
            let possibly = count(|result| {
                let undelivered = result.as_ref().err();
                undelivered.is_some_and(|one| one.stored == Stored::Possibly)
            });
            assert_eq!(closed.unknown, possibly);
            let all = closed.delivered + closed.undelivered();
            assert_eq!(all, results.len() as u64, "{closed}");
        }
    }

    fn check_reports(&self, reported: &dyn Fn() -> usize) {
        let expected = || {
            let puts = self.book.puts();
            let reporting = |put: &&Put| self.lives[put.life].is_reporting;
            puts.values().filter(reporting).count()
        };
        // Threads that call back end by themselves after a close with a timeout, and a callback may sleep.
        until("report of each record", || reported() >= expected());
        assert_eq!(reported(), expected());
    }

    /// A stream that is not there is asked three times a minute by each producer.
    fn check_missing(&self) {
        let requests = self.kinesis.requests().into_iter();
        let refused = requests.filter(|one| one.stream.as_deref() == Some(MISSPELT));
        let refused: Vec<_> = refused.map(|one| one.at).collect();
        self.check_rate(&refused, 3, Duration::from_secs(59), "misspelt");
    }

    /// Nobody is asked more than once in 10 s who decides on a stream's shards.
    fn check_descriptions(&self) {
        for stream in &self.streams[self.real()] {
            let requests = self.kinesis.requests().into_iter();
            let described = requests.filter(|one| {
                one.operation == "DescribeStreamSummary"
                    && one.stream.as_deref() == Some(&*stream.name)
            });
            let described: Vec<_> = described.map(|one| one.at).collect();
            self.check_rate(&described, 1, Duration::from_secs(10), &stream.name);
        }
    }

    /// In each life there are at most so many in any such time.
    fn check_rate(&self, all: &[Timestamp], most: usize, within: Duration, what: &str) {
        for life in &self.lives {
            let lives =
                |at: &&Timestamp| **at > life.began && life.ended.is_none_or(|end| **at < end);
            let own: Vec<_> = all.iter().filter(lives).collect();
            for window in own.windows(most + 1) {
                let time = window[most].saturating_since(*window[0]);
                assert!(time >= within, "{what}: {} calls within {time:?}", most + 1);
            }
        }
    }
}

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(2_100);

/// The last attempt's, and those of two lists.
const CALLS_MAX: Duration = Duration::from_secs(20);
