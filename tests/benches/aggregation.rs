//! The aggregation codec beside raw MD5 over the same bytes: `cargo bench --bench aggregation`.
//!
//! Every kernel of a group has a short turn in each round, so that all of them see the same machine.
//! Printed is the time that a fifth of a kernel's turns stay below, which another program's turns
//! do not reach, and `md-5`'s time divided by it.
//!
//! After `--`: `--quick` makes fewer rounds, any other word leaves out the groups without it in their
//! name. `--check` is quick, runs what has a floor, and fails if it is missed: far below what is
//! measured, far above what the code does when the compiler makes no vectors of it.

use std::collections::HashMap;
use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_blocking::HashKey;
use kinesis_blocking::aggregation::message::{AggregatedRecord, Record};
use kinesis_blocking::aggregation::{
    Aggregate, AggregateRef, DecodeLimits, FRAME_LEN, MAGIC, SubRecord, decode, decode_all, encode,
    hash_keys, seal_all,
};
use md5::{Digest, Md5};
use prost::Message;

/// What the KPL fills an aggregate to by default: `AggregationMaxSize`, in bytes.
const MAX_BYTES: usize = 51_200;

/// Lanes that are vectors give 1.9 to 2.9, lanes that are not 0.7 to 1.1.
const LANES_FLOOR: f64 = 1.4;

fn main() -> ExitCode {
    let options = Options::parse(env::args().skip(1));
    raise_trim_threshold();
    let single = [(100, true), (100, false), (1024, true), (10_240, true)];
    let batches = [(100, 4), (100, 8), (1024, 4), (1024, 8), (1024, 30)];
    let one_aggregate = single.map(|(data_len, distinct)| one_aggregate(data_len, distinct));
    let a_batch = batches.map(|(data_len, batch)| a_batch(data_len, batch));
    let groups = one_aggregate.into_iter().chain(a_batch);
    let groups = groups.chain([13, 36, 55, 100].map(partition_keys));
    let chosen = groups.filter(|group| options.choose(group));
    let missed: usize = chosen.map(|group| group.report(options.rounds)).sum();
    if options.check && missed > 0 {
        eprintln!("{missed} floors missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What is asked for after `--`.
#[derive(Default)]
struct Options {
    check: bool,
    filter: String,
    rounds: usize,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Options {
        let mut options = Options {
            rounds: 200,
            ..Options::default()
        };
        for argument in arguments {
            match &argument[..] {
                "--bench" => {}
                "--check" => (options.check, options.rounds) = (true, 30),
                "--quick" => options.rounds = 30,
                _ => options.filter = argument,
            }
        }
        options
    }

    fn choose(&self, group: &Group) -> bool {
        let has_floor = group.kernels.iter().any(|kernel| kernel.floor > 0.0);
        group.name.contains(&self.filter) && (has_floor || !self.check)
    }
}

/// Frees one large block, as any program does once: until then glibc gives every freed batch back to
/// the system, and the page faults of getting it again are measured instead of the codec.
fn raise_trim_threshold() {
    drop(black_box(vec![1u8; 8 << 20]));
}

fn one_aggregate(data_len: usize, distinct: bool) -> Group {
    let records = fill(data_len, distinct, 0);
    let data = encode(&records);
    let body = data.slice(MAGIC.len()..data.len() - (FRAME_LEN - MAGIC.len()));
    assert_eq!(prost_encode(&records), data);
    assert_eq!(prost_decode(&data), records);
    let keys = if distinct { "distinct keys" } else { "one key" };
    let name = format!("{} records of {data_len} B, {keys}", records.len());
    let mut group = Group::new(name, records.len(), records.len() * data_len);
    group.add("md-5 of the body alone", move || {
        black_box(Md5::digest(black_box(&body)));
    });
    let (pushed, mut aggregate) = (records.clone(), Aggregate::new(MAX_BYTES, u64::MAX));
    group.add("encode: Aggregate, reused", move || {
        push_all(&mut aggregate, black_box(&pushed));
        black_box(aggregate.finish());
    });
    let encoded = records.clone();
    group.add("encode: one shot", move || {
        black_box(encode(black_box(&encoded)));
    });
    group.add("encode: prost", move || {
        black_box(prost_encode(black_box(&records)));
    });
    let read = data.clone();
    group.add("decode: AggregateRef", move || read_in_place(&read));
    let read = data.clone();
    group.add("decode: collected", move || {
        black_box(decode(black_box(&read)).is_ok());
    });
    group.add("decode: prost", move || {
        black_box(prost_decode(black_box(&data)));
    });
    group
}

fn a_batch(data_len: usize, batch: usize) -> Group {
    let all: Vec<Vec<SubRecord>> = (0..batch).map(|i| fill(data_len, true, i)).collect();
    let blobs: Vec<Bytes> = all.iter().map(|records| encode(records)).collect();
    let count = all.iter().map(Vec::len).sum::<usize>();
    let name = format!("{batch} aggregates of records of {data_len} B, distinct keys");
    let mut group = Group::new(name, count, count * data_len);
    let bodies: Vec<Bytes> = blobs
        .iter()
        .map(|data| data.slice(MAGIC.len()..data.len() - (FRAME_LEN - MAGIC.len())))
        .collect();
    group.add("md-5 of the bodies alone", move || {
        for body in &bodies {
            black_box(Md5::digest(black_box(body)));
        }
    });
    let mut aggregate = Aggregate::new(MAX_BYTES, u64::MAX);
    let floor = if data_len == 1024 { LANES_FLOOR } else { 0.0 };
    group.add_with_floor("encode: Aggregate and seal_all", floor, move || {
        let mut sealed = Vec::with_capacity(batch);
        // Eight aggregates are still in the cache when their checksums are computed.
        for some in black_box(&all).chunks(8) {
            let unsealed = some.iter().map(|records| {
                push_all(&mut aggregate, records);
                aggregate.finish_unsealed()
            });
            sealed.extend(seal_all(unsealed.collect()));
        }
        black_box(sealed);
    });
    let read = blobs.clone();
    group.add_with_floor("decode: AggregateRef::read_all", floor, move || {
        for aggregate in AggregateRef::read_all(black_box(&read), &DecodeLimits::default()) {
            walk(&aggregate.expect("sound").expect("an aggregate"));
        }
    });
    group.add("decode: decode_all", move || {
        black_box(decode_all(black_box(&blobs), &DecodeLimits::default()));
    });
    group
}

fn partition_keys(len: usize) -> Group {
    let keys: Vec<String> = (0..100).map(|i| format!("{i:0len$}")).collect();
    let name = format!("100 partition keys of {len} B");
    let mut group = Group::new(name, keys.len(), keys.len() * len);
    let single = keys.clone();
    group.add("md-5 of each", move || {
        for key in black_box(&single) {
            black_box(HashKey::of_partition_key(key));
        }
    });
    group.add_with_floor("hash_keys", LANES_FLOOR, move || {
        black_box(hash_keys(black_box(&keys)));
    });
    group
}

fn push_all(aggregate: &mut Aggregate, records: &[SubRecord]) {
    for record in records {
        let key = &record.partition_key;
        assert!(aggregate.try_push(key, record.explicit_hash_key, &record.data));
    }
}

fn read_in_place(data: &Bytes) {
    let read = AggregateRef::read(black_box(data), &DecodeLimits::default());
    walk(&read.expect("sound").expect("an aggregate"));
}

fn walk(aggregate: &AggregateRef<'_>) {
    for record in aggregate {
        black_box(record.expect("sound"));
    }
}

/// As many records as fit; partition keys of 36 bytes, as of a UUID.
fn fill(data_len: usize, distinct: bool, seed: usize) -> Vec<SubRecord> {
    let mut aggregate = Aggregate::new(MAX_BYTES, u64::MAX);
    let mut records = Vec::new();
    loop {
        let number = if distinct { records.len() } else { 7 } + seed * 100_000;
        let mixed = (number as u32).wrapping_mul(2_654_435_761);
        let record = SubRecord::new(
            format!("{mixed:08x}-0000-4000-8000-{number:012x}"),
            noise(data_len, number),
        );
        if aggregate.try_push_record(record.clone()).is_err() {
            return records;
        }
        records.push(record);
    }
}

fn noise(len: usize, seed: usize) -> Bytes {
    let mut state = seed as u64 + 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    next.take(len).collect()
}

/// As anyone would write it on the derived messages.
fn prost_encode(records: &[SubRecord]) -> Vec<u8> {
    let mut message = AggregatedRecord::default();
    let mut index_of: HashMap<String, u64> = HashMap::new();
    for record in records {
        let key = record.partition_key.to_string();
        let next = message.partition_key_table.len() as u64;
        let index = *index_of.entry(key.clone()).or_insert(next);
        if index == next {
            message.partition_key_table.push(key);
        }
        message.records.push(Record {
            partition_key_index: index,
            explicit_hash_key_index: None,
            data: record.data.clone(),
            tags: Vec::new(),
        });
    }
    let body = message.encode_to_vec();
    let sum = Md5::digest(&body);
    [&MAGIC[..], &body, &sum].concat()
}

fn prost_decode(data: &Bytes) -> Vec<SubRecord> {
    let body = data.slice(MAGIC.len()..data.len() - (FRAME_LEN - MAGIC.len()));
    assert_eq!(Md5::digest(&body)[..], data[MAGIC.len() + body.len()..]);
    let message = AggregatedRecord::decode(body).expect("a message");
    let keys = message.partition_key_table;
    let records = message.records.into_iter().map(|record| {
        let key = keys[record.partition_key_index as usize].clone();
        SubRecord::new(key, record.data)
    });
    records.collect()
}

struct Kernel {
    name: &'static str,
    /// The ratio to `md-5` below which something is broken, or 0.
    floor: f64,
    run: Box<dyn FnMut()>,
}

/// Kernels that do the same amount of work; the first is what the others are measured by.
struct Group {
    name: String,
    records: usize,
    bytes: usize,
    kernels: Vec<Kernel>,
}

impl Group {
    fn new(name: String, records: usize, bytes: usize) -> Group {
        Group {
            name,
            records,
            bytes,
            kernels: Vec::new(),
        }
    }

    fn add(&mut self, name: &'static str, run: impl FnMut() + 'static) {
        self.add_with_floor(name, 0.0, run);
    }

    fn add_with_floor(&mut self, name: &'static str, floor: f64, run: impl FnMut() + 'static) {
        let run = Box::new(run);
        self.kernels.push(Kernel { name, floor, run });
    }

    /// Runs and prints; returns how many missed their floor.
    fn report(mut self, rounds: usize) -> usize {
        let times = self.times(rounds);
        let base = undisturbed(&times[0]);
        println!("\n{}", self.name);
        let mut missed = 0;
        for (kernel, own) in self.kernels.iter().zip(&times) {
            let time = undisturbed(own);
            let (of_record, rate) = (time / self.records as f64, self.bytes as f64 / time);
            let (name, ratio) = (kernel.name, base / time);
            println!(
                "  {name:32} {ratio:5.2} of md-5 {:8.0} ns a record {:7.0} MB/s",
                of_record * 1e9,
                rate / 1e6
            );
            missed += usize::from(ratio < kernel.floor);
        }
        missed
    }

    fn times(&mut self, rounds: usize) -> Vec<Vec<f64>> {
        let repeats = self.repeats();
        let mut times = vec![Vec::new(); self.kernels.len()];
        for _ in 0..rounds {
            for (kernel, times) in self.kernels.iter_mut().zip(&mut times) {
                let start = Instant::now();
                (0..repeats).for_each(|_| (kernel.run)());
                times.push(start.elapsed().as_secs_f64() / f64::from(repeats));
            }
        }
        times
    }

    /// How often a kernel has to run to take two milliseconds.
    fn repeats(&mut self) -> u32 {
        let base = &mut self.kernels[0].run;
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed() < Duration::from_millis(2) {
            base();
            runs += 1;
        }
        runs
    }
}

/// The time that a fifth of the turns stay below.
fn undisturbed(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 5]
}
