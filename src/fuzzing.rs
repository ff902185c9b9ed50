//! What the fuzz targets run: one function a target, which panics on a finding.
//!
//! `fuzz/corpus` has their seeds, which `cargo test` replays.

use std::collections::HashMap;

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

use crate::aggregation::message::{AggregatedRecord, Record};
use crate::aggregation::{
    Aggregate, AggregateRef, DecodeError, DecodeLimits, Decoded, MAGIC, SubRecord, decode,
    decode_all, decode_readable, encode,
};
use crate::model::HashKey;

/// Bytes that decoding may hold at once for each byte of input, all that it returns included.
///
/// The worst is a table of empty partition keys: 2 bytes of input make 40 of table. A user record
/// takes 80 bytes for 6 or more.
pub const DECODE_MEMORY_PER_BYTE: u64 = 20;

/// Decodes the input as it is, and as a body with the right frame around it, in every way there is.
///
/// `bytes_held` runs its argument and tells how many bytes were allocated at most at one time.
pub fn aggregation_decode(input: &[u8], bytes_held: impl Fn(&mut dyn FnMut()) -> u64) {
    for data in [Bytes::copy_from_slice(input), framed(input)] {
        let limits = DecodeLimits::default();
        let mut read = Ok(None);
        let held = bytes_held(&mut || read = decode_readable(&data, &limits));
        let bound = DECODE_MEMORY_PER_BYTE * data.len() as u64 + SHARING;
        assert!(held <= bound, "{held} bytes held, the bound is {bound}");

        assert_eq!(
            decode_all(std::slice::from_ref(&data), &limits),
            [read.clone()]
        );
        let whole = decode(&data);
        if let Ok(Some(decoded)) = read {
            assert_decoded(&data, &decoded);
            match decoded.unreadable {
                None => assert_eq!(whole, Ok(Some(decoded.records))),
                Some(error) => assert_eq!(whole, Err(error)),
            }
        }
    }
}

/// Makes user records of the input, encodes them in every way there is, and reads them again.
pub fn aggregation_round_trip(input: &[u8]) {
    let (max_bytes, records) = records_of(input);
    let data = encode(&records);
    match records.is_empty() {
        true => assert!(data.is_empty()),
        false => assert_eq!(decode(&data), Ok(Some(records.clone()))),
    }
    assert_eq!(data, prost_encode(&records));

    let mut aggregate = Aggregate::new(max_bytes, 5);
    let mut read = Vec::new();
    let mut finish = |aggregate: &mut Aggregate| {
        let (len, count) = (aggregate.encoded_len(), aggregate.len());
        let data = aggregate.finish();
        assert_eq!(data.len(), len);
        assert!(count == 1 || (len <= max_bytes && count <= 5));
        read.extend(decode(&data).expect("sound").expect("an aggregate"));
    };
    for record in &records {
        if let Err(record) = aggregate.try_push_record(record.clone()) {
            finish(&mut aggregate);
            assert_eq!(aggregate.try_push_record(record), Ok(()));
        }
    }
    if !aggregate.is_empty() {
        finish(&mut aggregate);
    }
    assert_eq!(read, records);
}

/// Reads the input as a body with our decoder and with prost's, whose answers must fit together.
pub fn aggregation_differential(input: &[u8]) {
    let body = body_of(input);
    if body.is_empty() {
        return;
    }
    let ours = decode_readable(&framed(input), &DecodeLimits::default());
    match (AggregatedRecord::decode(body), ours) {
        (Ok(message), Ok(ours)) => {
            let ours = ours.expect("the frame is right");
            let (records, readable) = resolve(&message);
            assert_eq!(ours.records, records);
            assert_eq!(ours.unreadable.is_none(), readable);
        }
        // prost does not look whether `required` fields are there.
        (Ok(_), Err(DecodeError::Malformed { problem, .. })) => {
            assert!(problem.contains("lacks"), "{problem}");
        }
        // prost refuses what protobuf-java steps over.
        (Err(error), Ok(_)) => {
            let text = error.to_string();
            let stricter = ["invalid wire type", "UTF-8", "recursion limit"];
            assert!(
                stricter.iter().any(|reason| text.contains(reason)),
                "{text}"
            );
        }
        (Err(_), Err(DecodeError::Malformed { .. })) => {}
        (_, Err(error)) => panic!("{error}"),
    }
}

/// The body of what looks like an aggregate, else the input itself: seeds may be either.
fn body_of(input: &[u8]) -> &[u8] {
    let framed = input.strip_prefix(&MAGIC);
    framed.map_or(input, |rest| {
        rest.split_last_chunk::<16>().map_or(rest, |(body, _)| body)
    })
}

fn framed(input: &[u8]) -> Bytes {
    let body = body_of(input);
    [&MAGIC[..], body, &Md5::digest(body)].concat().into()
}

/// The data of the records lie in the input, and the borrowed form has the same.
fn assert_decoded(data: &Bytes, decoded: &Decoded) {
    let limits = DecodeLimits::default();
    let aggregate = AggregateRef::read(data, &limits).expect("it was read before");
    let aggregate = aggregate.expect("it was one before");
    let unread = usize::from(decoded.unreadable.is_some());
    assert!(aggregate.len() >= decoded.records.len() + unread);
    let mut borrowed = aggregate.iter();
    for record in &decoded.records {
        let other = borrowed.next().expect("as many").expect("sound");
        let range = data.as_ptr_range();
        assert!(record.data.is_empty() || range.contains(&record.data.as_ptr()));
        assert_eq!(*other.partition_key, *record.partition_key);
        assert_eq!(other.explicit_hash_key, record.explicit_hash_key);
        assert_eq!(other.data, record.data);
    }
    assert_eq!(borrowed.next(), decoded.unreadable.clone().map(Err));
    assert_eq!(borrowed.next(), None);
}

/// A limit for aggregates, and records that share keys often: two bytes each, then key and data.
fn records_of(input: &[u8]) -> (usize, Vec<SubRecord>) {
    let (&limit, mut rest) = input.split_first().unwrap_or((&0, &[]));
    let mut records = Vec::new();
    while let [kind, len, after @ ..] = rest {
        let (key, after) = after.split_at((kind & 7).min(after.len() as u8) as usize);
        let (data, after) = after.split_at(usize::from(*len).min(after.len()));
        let explicit_hash_key = match kind >> 6 {
            0 => None,
            1 => Some(HashKey::from(u128::from(kind >> 3 & 7))),
            2 => Some(HashKey::MAX),
            _ => Some(HashKey::of_partition_key(&String::from_utf8_lossy(key))),
        };
        records.push(SubRecord {
            // Long keys are made of short ones, for lengths of two bytes.
            partition_key: String::from_utf8_lossy(key)
                .repeat(1 + usize::from(kind >> 3 & 7) * 9)
                .into(),
            explicit_hash_key,
            data: Bytes::copy_from_slice(data),
        });
        rest = after;
    }
    (usize::from(limit) * 4, records)
}

/// The user records that a message has, and whether all of them could be read.
fn resolve(message: &AggregatedRecord) -> (Vec<SubRecord>, bool) {
    let mut records = Vec::new();
    for record in &message.records {
        let key = usize::try_from(record.partition_key_index).ok();
        let Some(key) = key.and_then(|index| message.partition_key_table.get(index)) else {
            return (records, false);
        };
        let explicit_hash_key = match record.explicit_hash_key_index {
            None => None,
            Some(index) => {
                let index = usize::try_from(index).ok();
                let text = index.and_then(|index| message.explicit_hash_key_table.get(index));
                let Some(number) = text.and_then(|text| text.parse::<u128>().ok()) else {
                    return (records, false);
                };
                Some(HashKey::from(number))
            }
        };
        records.push(SubRecord {
            partition_key: key.as_str().into(),
            explicit_hash_key,
            data: record.data.clone(),
        });
    }
    (records, true)
}

/// Encodes by prost's derive.
fn prost_encode(records: &[SubRecord]) -> Bytes {
    let (mut keys, mut hash_keys) = (Table::default(), Table::default());
    let record = |record: &SubRecord| Record {
        partition_key_index: keys.index_of(record.partition_key.to_string()),
        explicit_hash_key_index: record
            .explicit_hash_key
            .map(|key| hash_keys.index_of(key.to_string())),
        data: record.data.clone(),
        tags: Vec::new(),
    };
    let message = AggregatedRecord {
        records: records.iter().map(record).collect(),
        partition_key_table: keys.entries,
        explicit_hash_key_table: hash_keys.entries,
    };
    match records.is_empty() {
        true => Bytes::new(),
        false => framed(&message.encode_to_vec()),
    }
}

#[derive(Default)]
struct Table {
    entries: Vec<String>,
    index_of: HashMap<String, u64>,
}

impl Table {
    fn index_of(&mut self, key: String) -> u64 {
        let next = self.entries.len() as u64;
        let index = *self.index_of.entry(key.clone()).or_insert(next);
        if index == next {
            self.entries.push(key);
        }
        index
    }
}

/// Bytes that the first slice of a buffer takes, to count its owners.
const SHARING: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 3] = [
        ("aggregation_decode", |input| {
            aggregation_decode(input, held)
        }),
        ("aggregation_differential", aggregation_differential),
        ("aggregation_round_trip", aggregation_round_trip),
    ];

    fn held(run: &mut dyn FnMut()) -> u64 {
        allocation_counter::measure(run).bytes_max
    }

    #[test]
    fn decoding_holds_no_more_than_its_bound_whatever_the_input() {
        let unused_keys = [0x0a, 0].repeat(1000);
        let used_keys = [unused_keys.clone(), [0x1a, 4, 8, 0, 0x1a, 0].repeat(1000)].concat();
        let unused_hash_keys = [0x12, 0].repeat(1000);
        let no_text = [0x0a, 1, 0xff].repeat(1000);
        let long_no_text = [&[0x0a, 0xe8, 7][..], &[0xff; 1000]].concat();
        let own = |i: u16| {
            let index = [i as u8 | 0x80, (i >> 7) as u8];
            [&[0x1a, 5, 8][..], &index, &[0x1a, 0]].concat()
        };
        let own_key_each = [unused_keys.clone(), (0..1000).flat_map(own).collect()].concat();
        for body in [
            unused_keys,
            used_keys,
            unused_hash_keys,
            no_text,
            long_no_text,
            own_key_each,
        ] {
            aggregation_decode(&body, held);
        }
    }

    #[test]
    fn reading_in_place_allocates_the_two_tables_and_nothing_else() {
        for count in [1, 10, 1000] {
            let records: Vec<SubRecord> = (0..count)
                .map(|i| SubRecord {
                    explicit_hash_key: Some(HashKey::from(i)),
                    ..SubRecord::new(format!("key {i}"), "data")
                })
                .collect();
            let data = encode(&records);
            let mut read = 0;
            let allocations = allocation_counter::measure(|| {
                let aggregate = AggregateRef::read(&data, &DecodeLimits::default());
                let aggregate = aggregate.expect("sound").expect("an aggregate");
                read = aggregate.iter().flatten().count();
            });
            assert_eq!(read, records.len());
            assert_eq!(allocations.count_total, 2, "{count} records");
        }
    }

    #[test]
    fn a_warm_aggregate_takes_records_without_allocating() {
        let mut aggregate = Aggregate::new(51_200, 500);
        let mut fill = |_| {
            let count = allocation_counter::measure(|| {
                let hash_keys = (0..500).map(HashKey::from);
                for hash_key in hash_keys {
                    aggregate.try_push("key", Some(hash_key), b"data");
                }
            });
            aggregate.clear();
            count.count_total
        };
        assert_eq!([0, 1, 2].map(&mut fill)[1..], [0, 0]);
    }

    #[test]
    fn every_seed_runs_without_a_finding() {
        for (name, target) in TARGETS {
            let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let seeds = std::fs::read_dir(&folder).expect(&folder);
            let mut count = 0;
            for seed in seeds {
                let path = seed.expect("an entry").path();
                println!("{}", path.display());
                target(&std::fs::read(&path).expect("a file"));
                count += 1;
            }
            assert!(count >= 5, "{folder}");
        }
    }
}
