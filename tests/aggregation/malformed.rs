//! What is made of odd bytes, beside what the KCL makes of them.

use bytes::Bytes;
use kinesis_blocking::aggregation::{
    DecodeLimits, Misplaced, SubRecord, decode, decode_all, decode_readable,
};
use kinesis_blocking::{HashKey, HashKeyRange};
use serde_json::Value;

use crate::vectors::{blob, file, record};

/// Where we differ from the KCL on purpose, and why.
const DIFFERENCES: [(&str, &str); 1] = [(
    "pk_index_2_32",
    "the KCL casts the index to 32 bits and delivers the record under another key",
)];

#[test]
fn odd_bytes_are_read_as_the_kcl_reads_them() {
    let file = file("malformed.json");
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(vectors.len(), 86);
    for vector in vectors {
        let name = vector["name"].as_str().expect("a name");
        if !DIFFERENCES.iter().any(|(other, _)| *other == name) {
            assert_eq!(verdict(vector), kcl(&vector["kcl"]), "{name}");
        }
    }
}

#[test]
fn a_difference_from_the_kcl_is_a_typed_error() {
    let file = file("malformed.json");
    let vectors = file["vectors"].as_array().expect("a list");
    for (name, why) in DIFFERENCES {
        let vector = vectors.iter().find(|v| v["name"] == name).expect(name);
        let error = decode(&blob(&vector["blob"])).expect_err(why);
        assert!(error.to_string().contains("4294967296"), "{error}");
    }
}

#[test]
fn a_batch_is_read_as_its_members_are() {
    let file = file("malformed.json");
    let vectors = file["vectors"].as_array().expect("a list");
    let blobs: Vec<Bytes> = vectors.iter().map(|v| blob(&v["blob"])).collect();
    let limits = DecodeLimits::default();
    let single: Vec<_> = blobs.iter().map(|b| decode_readable(b, &limits)).collect();
    assert_eq!(decode_all(&blobs, &limits), single);
}

/// The user records that are delivered from the vector's shard, or `None` for the record as it is.
fn verdict(vector: &Value) -> Option<Vec<SubRecord>> {
    let decoded = decode_readable(&blob(&vector["blob"]), &DecodeLimits::default());
    let records = decoded.ok()??.records;
    let bound = |name: &str, default: HashKey| match vector.get(name) {
        Some(text) => text.as_str().expect("decimal").parse().expect("a hash key"),
        None => default,
    };
    let range = HashKeyRange {
        start: bound("start", HashKey::MIN),
        end: bound("end", HashKey::MAX),
    };
    let placement = Misplaced::CompatKcl.judge(&records, &range);
    Some(
        placement
            .select(records)
            .map(|(_, record)| record)
            .collect(),
    )
}

fn kcl(answer: &Value) -> Option<Vec<SubRecord>> {
    let records = answer.get("records")?.as_array().expect("a list");
    for (position, row) in records.iter().enumerate() {
        assert_eq!(row[3].as_u64(), Some(position as u64));
    }
    Some(records.iter().map(record).collect())
}
