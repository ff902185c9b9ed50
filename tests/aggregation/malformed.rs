//! What is made of odd bytes, beside what the KCL makes of them.

use bytes::Bytes;
use kinesis_blocking::aggregation::{DecodeLimits, SubRecord, decode, decode_all, decode_readable};
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
        // The KCL's filter by hash range is the consumer's choice: see `misplaced`.
        let filtered = name.starts_with("range_");
        let differs = DIFFERENCES.iter().any(|(other, _)| *other == name);
        if !filtered && !differs {
            assert_eq!(
                verdict(&blob(&vector["blob"])),
                kcl(&vector["kcl"]),
                "{name}"
            );
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

/// The user records that are delivered, or `None` for the record as it is.
fn verdict(data: &Bytes) -> Option<Vec<SubRecord>> {
    match decode_readable(data, &DecodeLimits::default()) {
        Ok(Some(decoded)) => Some(decoded.records),
        Ok(None) | Err(_) => None,
    }
}

fn kcl(answer: &Value) -> Option<Vec<SubRecord>> {
    let records = answer.get("records")?.as_array().expect("a list");
    for (position, row) in records.iter().enumerate() {
        assert_eq!(row[3].as_u64(), Some(position as u64));
    }
    Some(records.iter().map(record).collect())
}
