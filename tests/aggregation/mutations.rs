//! Damage to an aggregate: never a panic, never a wrong record.

use bytes::Bytes;
use kinesis_blocking::aggregation::message::AggregatedRecord;
use kinesis_blocking::aggregation::{
    DecodeError, DecodeLimits, Decoded, MAGIC, SubRecord, decode, decode_readable,
};
use md5::{Digest, Md5};
use prost::Message;

use crate::vectors::{blob, file};

/// Published aggregates up to this length in bytes are mutated at every place to every value.
const MAX_LEN: usize = 90;

fn small_aggregates() -> Vec<(String, Bytes)> {
    let file = file("aggregate.json");
    let vectors = file["vectors"].as_array().expect("a list").iter();
    let small: Vec<(String, Bytes)> = vectors
        .map(|v| (v["name"].to_string(), blob(&v["aggregate"]["blob"])))
        .filter(|(_, blob)| blob.len() <= MAX_LEN)
        .collect();
    assert!(small.len() >= 15);
    small
}

#[test]
fn a_changed_byte_makes_an_aggregate_a_plain_record() {
    for (name, aggregate) in small_aggregates() {
        for at in 0..aggregate.len() {
            for change in 1..=255 {
                let mut changed = aggregate.to_vec();
                changed[at] ^= change;
                let read = decode(&changed.into());
                assert_eq!(read, Ok(None), "{name}: byte {at} ^ {change}");
            }
        }
    }
}

#[test]
fn an_aggregate_that_is_cut_or_goes_on_is_a_plain_record() {
    for (name, aggregate) in small_aggregates() {
        for end in 0..aggregate.len() {
            assert_eq!(
                decode(&aggregate.slice(..end)),
                Ok(None),
                "{name}: to {end}"
            );
        }
        for more in 0..=255 {
            let longer = [&aggregate[..], &[more]].concat();
            assert_eq!(decode(&longer.into()), Ok(None), "{name}: and {more}");
        }
    }
}

/// With the checksum put right again the change stands, and prost must see the same records in it.
#[test]
fn a_changed_byte_under_a_right_checksum_is_read_as_it_stands() {
    let mut read = 0;
    for (name, aggregate) in small_aggregates() {
        let body = aggregate.slice(MAGIC.len()..aggregate.len() - 16);
        for at in 0..body.len() {
            for change in 1..=255 {
                let mut changed = body.to_vec();
                changed[at] ^= change;
                read += usize::from(assert_like_prost(&changed, &format!("{name}: byte {at}")));
            }
        }
    }
    assert!(read > 50_000, "only {read} were messages");
}

/// Says whether there were records to compare.
fn assert_like_prost(body: &[u8], place: &str) -> bool {
    let data = [&MAGIC[..], body, &Md5::digest(body)].concat();
    let ours = decode_readable(&data.into(), &DecodeLimits::default());
    match (ours, AggregatedRecord::decode(body)) {
        (Ok(Some(decoded)), Ok(message)) => {
            assert_records(&decoded, &message, place);
            true
        }
        // prost refuses a key that is no UTF-8 and a field of another wire type.
        (Ok(Some(_)), Err(_)) => false,
        // prost does not miss what is `required`.
        (Err(DecodeError::Malformed { problem, .. }), Ok(_)) => {
            assert!(problem.contains("lacks"), "{place}: {problem}");
            false
        }
        (Err(_), Err(_)) => false,
        (ours, _) => panic!("{place}: {ours:?}"),
    }
}

fn assert_records(decoded: &Decoded, message: &AggregatedRecord, place: &str) {
    let unread = usize::from(decoded.unreadable.is_some());
    assert!(decoded.records.len() + unread <= message.records.len());
    assert!(unread == 1 || decoded.records.len() == message.records.len());
    for (ours, theirs) in decoded.records.iter().zip(&message.records) {
        let key = &message.partition_key_table[theirs.partition_key_index as usize];
        let hash_key = theirs.explicit_hash_key_index.map(|index| {
            let text = &message.explicit_hash_key_table[index as usize];
            text.parse().expect("we read it")
        });
        let expected = SubRecord {
            explicit_hash_key: hash_key,
            ..SubRecord::new(key.as_str(), theirs.data.clone())
        };
        assert_eq!(*ours, expected, "{place}");
    }
}
