//! What holds for any records and any limits.

use bytes::Bytes;
use kinesis_blocking::aggregation::{
    Aggregate, AggregateRef, DecodeError, DecodeLimits, Misplaced, SubRecord, decode, decode_all,
    decode_readable, encode, hash_keys, seal_all,
};
use kinesis_blocking::{HashKey, HashKeyRange};
use proptest::collection::vec;
use proptest::prelude::*;

/// Records whose keys often repeat and whose lengths lie about the steps of a varint.
fn user_record() -> impl Strategy<Value = SubRecord> {
    let partition_key = prop_oneof![
        "[ab]{0,2}",
        "\\PC{1,20}",
        Just("k".repeat(127)),
        Just("k".repeat(128)),
        Just("é".repeat(256)),
    ];
    let explicit_hash_key = prop_oneof![
        3 => Just(None),
        1 => (0..3u128).prop_map(Some),
        1 => any::<u128>().prop_map(Some),
        1 => Just(Some(u128::MAX)),
    ];
    let data = prop_oneof![
        20 => vec(any::<u8>(), 0..20),
        20 => (120..135usize).prop_map(|len| vec![b'd'; len]),
        1 => (16_375..16_390usize).prop_map(|len| vec![b'd'; len]),
    ];
    (partition_key, explicit_hash_key, data).prop_map(|(key, hash_key, data)| SubRecord {
        explicit_hash_key: hash_key.map(HashKey::from),
        ..SubRecord::new(key, data)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(records in vec(user_record(), 1..20)) {
        prop_assert_eq!(decode(&encode(&records)), Ok(Some(records)));
    }

    #[test]
    fn the_length_is_known_after_every_record(records in vec(user_record(), 0..12)) {
        let mut aggregate = Aggregate::new(usize::MAX, u64::MAX);
        for count in 0..=records.len() {
            prop_assert_eq!(aggregate.encoded_len(), encode(&records[..count]).len());
            if let Some(record) = records.get(count) {
                prop_assert_eq!(aggregate.try_push_record(record.clone()), Ok(()));
            }
        }
        prop_assert_eq!(aggregate.finish(), encode(&records));
    }

    #[test]
    fn a_record_that_does_not_fit_changes_nothing(
        records in vec(user_record(), 2..20),
        max_bytes in 20..2000usize,
        max_count in 0..20u64,
    ) {
        let mut aggregate = Aggregate::new(max_bytes, max_count);
        let mut taken = Vec::new();
        for record in records {
            match aggregate.try_push_record(record.clone()) {
                Ok(()) => taken.push(record),
                Err(back) => prop_assert_eq!(back, record),
            }
            let len = encode(&taken).len();
            prop_assert_eq!((aggregate.len(), aggregate.encoded_len()), (taken.len() as u64, len));
            prop_assert!(taken.len() == 1 || (len <= max_bytes && taken.len() as u64 <= max_count));
        }
        prop_assert_eq!(aggregate.finish(), encode(&taken));
    }

    #[test]
    fn a_batch_is_made_and_read_like_its_members(batch in vec(vec(user_record(), 0..9), 0..9)) {
        let mut aggregate = Aggregate::new(usize::MAX, u64::MAX);
        let unsealed = batch.iter().map(|records| {
            for record in records {
                let SubRecord { partition_key, explicit_hash_key, data } = record;
                assert!(aggregate.try_push(partition_key, *explicit_hash_key, data));
            }
            aggregate.finish_unsealed()
        });
        let sealed = seal_all(unsealed.collect());
        let single: Vec<Bytes> = batch.iter().map(|records| encode(records)).collect();
        prop_assert_eq!(&sealed, &single);

        let limits = DecodeLimits::default();
        let read: Vec<_> = single.iter().map(|data| decode_readable(data, &limits)).collect();
        prop_assert_eq!(decode_all(&sealed, &limits), read);
    }

    #[test]
    fn any_bytes_are_plain_or_an_error_and_never_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&bytes.into()), Ok(None));
    }

    #[test]
    fn hash_keys_in_a_batch_are_those_of_each(keys in vec("\\PC{0,70}", 0..20)) {
        let single: Vec<HashKey> = keys.iter().map(|key| HashKey::of_partition_key(key)).collect();
        prop_assert_eq!(hash_keys(&keys), single);
    }

    #[test]
    fn a_policy_leaves_out_only_what_is_misplaced(
        records in vec(user_record(), 0..12),
        (start, end) in any::<(u128, u128)>(),
    ) {
        let range = HashKeyRange { start: start.min(end).into(), end: start.max(end).into() };
        let in_place = |record: &SubRecord| range.contains(record.hash_key());
        let placement = Misplaced::DropAndCount.judge(&records, &range);
        let expected = records.iter().filter(|record| in_place(record)).count();
        prop_assert_eq!(placement.in_place(), expected);
        prop_assert_eq!(placement.misplaced(), records.len() - expected);
        for (position, record) in records.iter().enumerate() {
            prop_assert_eq!(placement.delivers(position), in_place(record));
        }
    }
}

#[test]
fn a_limit_is_met_exactly() {
    let records = ["one", "two", "three"].map(|key| SubRecord::new(key, "data"));
    let data = encode(&records);
    let read = |change: fn(&mut DecodeLimits, usize), limit: usize| {
        let mut limits = DecodeLimits::default();
        change(&mut limits, limit);
        let read = AggregateRef::read(&data, &limits);
        read.map(|aggregate| aggregate.map_or(0, |aggregate| aggregate.len()))
    };
    let len = data.len();
    for (limit, expected) in [
        (len + 1, Ok(3)),
        (len, Ok(3)),
        (
            len - 1,
            Err(DecodeError::TooManyBytes {
                len,
                max_bytes: len - 1,
            }),
        ),
    ] {
        assert_eq!(read(|limits, max| limits.max_bytes = max, limit), expected);
    }
    for (limit, expected) in [
        (4, Ok(3)),
        (3, Ok(3)),
        (2, Err(DecodeError::TooManyRecords { max_records: 2 })),
    ] {
        assert_eq!(
            read(|limits, max| limits.max_records = max, limit),
            expected
        );
    }
    for (limit, expected) in [
        (4, Ok(3)),
        (3, Ok(3)),
        (
            2,
            Err(DecodeError::TooManyTableEntries {
                max_table_entries: 2,
            }),
        ),
    ] {
        assert_eq!(
            read(|limits, max| limits.max_table_entries = max, limit),
            expected
        );
    }
}

#[test]
fn the_first_record_is_taken_whatever_its_size_and_the_next_is_not() {
    for (max_bytes, max_count) in [(10, 10), (0, 0), (200, 1)] {
        let mut aggregate = Aggregate::new(max_bytes, max_count);
        for _ in 0..2 {
            assert!(aggregate.try_push("key", None, &[b'x'; 100]));
            assert!(!aggregate.try_push("key", None, b""));
            let data = aggregate.finish();
            let records = decode(&data).expect("sound").expect("an aggregate");
            assert_eq!(records, [SubRecord::new("key", vec![b'x'; 100])]);
        }
    }
}

#[test]
fn nothing_is_encoded_as_nothing() {
    let mut aggregate = Aggregate::new(100, 100);
    assert_eq!(aggregate.finish(), Bytes::new());
    assert_eq!(encode(&[]), Bytes::new());
    assert_eq!((aggregate.encoded_len(), aggregate.is_empty()), (0, true));
    let sealed = seal_all(vec![
        aggregate.finish_unsealed(),
        aggregate.finish_unsealed(),
    ]);
    assert_eq!(sealed, [Bytes::new(), Bytes::new()]);
}

#[test]
fn neither_a_record_nor_an_aggregate_shows_its_data() {
    let record = SubRecord::new("key", "the user's own");
    let data = encode(std::slice::from_ref(&record));
    let aggregate = AggregateRef::read(&data, &DecodeLimits::default());
    let aggregate = aggregate.expect("sound").expect("an aggregate");
    for shown in [
        format!("{record:?}"),
        format!("{aggregate:?}"),
        format!("{:?}", aggregate.iter().collect::<Vec<_>>()),
    ] {
        assert!(!shown.contains("own") && !shown.contains("111"), "{shown}");
    }
}
