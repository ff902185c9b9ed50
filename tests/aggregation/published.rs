//! What four other libraries encode, byte for byte.

use bytes::Bytes;
use kinesis_blocking::aggregation::{Aggregate, SubRecord, decode, encode};

use crate::vectors::{blob, file, records, sha256};

#[test]
fn every_published_aggregate_is_made_and_read_byte_for_byte() {
    for name in ["aggregate.json", "large.json"] {
        let file = file(name);
        let vectors = file["vectors"].as_array().expect("a list");
        assert!(vectors.len() >= 4, "{name}");
        for vector in vectors {
            let records = records(vector);
            let encoded = encode(&records);
            let (published, name) = (&vector["aggregate"], &vector["name"]);
            assert_eq!(
                Some(encoded.len() as u64),
                published["len"].as_u64(),
                "{name}"
            );
            assert_eq!(sha256(&encoded), published["sha256"], "{name}");
            if let Some(text) = published.get("blob") {
                assert_eq!(encoded, blob(text), "{name}");
            }
            assert_eq!(decode(&encoded), Ok(Some(records)), "{name}");
        }
    }
}

#[test]
fn a_faulty_encoder_s_aggregate_is_read_as_it_stands() {
    let file = file("aggregate.json");
    let vectors = file["vectors"].as_array().expect("a list");
    let disagreeing = vectors.iter().filter_map(|v| v.get("disagree"));
    let blobs: Vec<Bytes> = disagreeing
        .flat_map(|by| by.as_object().expect("by library").values())
        .map(|other| blob(&other["blob"]))
        .collect();
    assert_eq!(blobs.len(), 2);
    for aggregate in blobs {
        let decoded = decode(&aggregate).expect("a sound message");
        assert!(decoded.is_some_and(|records| !records.is_empty()));
    }
}

/// Sizes that the KPL's own arithmetic gives, with the bytes or the MD5 of all of them.
#[test]
fn the_kpl_s_sizes_and_bytes_are_met() {
    let many = |key: &str, len: usize, count: usize| vec![user(key, &"x".repeat(len)); count];
    let p: Vec<SubRecord> = (0..130).map(|i| user(&format!("p{i}"), "x")).collect();
    let extremes = [hashed("a", "one", 0), hashed("a", "two", u128::MAX)];
    for (name, records, len, md5) in [
        ("V1", vec![user("a", "one"), user("a", "two")], 41, ""),
        ("V2", vec![user("a", "one"), hashed("b", "two", 5)], 49, ""),
        ("V3", vec![user("a", ""), user("a", "")], 35, ""),
        ("V5", p, 1602, "6a319d3b2142503c0fc74e4759b6084c"),
        ("V6 127", after(127), 163, ""),
        ("V6 128", after(128), 165, ""),
        ("V6 16383", after(16_383), 16_421, ""),
        ("V6 16384", after(16_384), 16_423, ""),
        (
            "V7",
            many("pk", 100, 100),
            10_624,
            "88d0dba75d79ffb5091af2f84591ab9f",
        ),
        (
            "V8",
            many("pk", 1, 1000),
            7024,
            "e5be4b5dc41d277502382ae24f152182",
        ),
        (
            "V9",
            extremes.to_vec(),
            89,
            "2571173ca1432cb2d2787583c62dddcf",
        ),
        ("V10 123", after(123), 158, ""),
        ("V10 124", after(124), 160, ""),
    ] {
        let encoded = encode(&records);
        assert_eq!(encoded.len(), len, "{name}");
        if !md5.is_empty() {
            let sum: [u8; 16] = <md5::Md5 as md5::Digest>::digest(&encoded).into();
            assert_eq!(format!("{:032x}", u128::from_be_bytes(sum)), md5, "{name}");
        }
        assert_eq!(decode(&encoded), Ok(Some(records)), "{name}");
    }
}

/// How many records of one size the KPL puts into 51200 bytes, and how many bytes that makes.
#[test]
fn an_aggregate_takes_as_many_records_as_the_kpl_s() {
    for (len, count, bytes) in [
        (100, 482, 51_116),
        (1000, 50, 50_424),
        (200, 246, 51_192),
        (1, 7310, 51_194),
        (0, 8529, 51_198),
    ] {
        let mut aggregate = Aggregate::new(51_200, u64::MAX);
        while aggregate.try_push("pk", None, &vec![b'x'; len]) {}
        assert_eq!(
            (aggregate.len(), aggregate.encoded_len()),
            (count, bytes),
            "{len} bytes a record"
        );
    }
}

fn user(key: &str, data: &str) -> SubRecord {
    SubRecord::new(key, data.to_owned())
}

fn hashed(key: &str, data: &str, hash_key: u128) -> SubRecord {
    SubRecord {
        explicit_hash_key: Some(hash_key.into()),
        ..user(key, data)
    }
}

fn after(len: usize) -> Vec<SubRecord> {
    vec![user("a", &"x".repeat(len)), user("a", "")]
}
