//! An aggregate read in one pass, if it is written as encoders do: the partition keys, then the user
//! records, each field in its order. What is not is left to [`AggregateRef`](super::AggregateRef),
//! which also finds the words for what is wrong; so whatever is read here, that one reads the same.

use std::ops::Range;

use crate::aggregation::{
    DecodeLimits, MAGIC,
    survey::RawRecord,
    wire::{Fields, TAG_PARTITION_KEY, TAG_RECORD},
};

/// An aggregate whose checksum was right, and which has no explicit hash keys.
pub(crate) struct Written<'a> {
    key_text: &'a str,
    keys: Vec<Range<usize>>,
    body: &'a [u8],
    max_records: usize,
}

/// A user record: where its partition key lies in the text of the keys, and its data in the aggregate.
pub(crate) struct WrittenRecord {
    pub key: Range<usize>,
    pub data: Range<usize>,
}

impl<'a> Written<'a> {
    /// Finds the partition keys.
    pub fn of(body: &'a [u8], limits: &DecodeLimits) -> Option<Written<'a>> {
        let (mut keys, mut rest) = (Vec::new(), body);
        while let [TAG_PARTITION_KEY, behind @ ..] = rest {
            let mut fields = Fields::new(behind, 0);
            let key = fields.bytes().ok()?;
            rest = fields.rest();
            let end = body.len() - rest.len();
            keys.push(end - key.len()..end);
        }
        // Keys of less than 128 bytes have lengths and tags that are text too, so all is looked at at
        // once; and as those are ASCII, each key is text by itself.
        let key_text = std::str::from_utf8(&body[..body.len() - rest.len()]).ok()?;
        (keys.len() <= limits.max_table_entries).then_some(Written {
            key_text,
            keys,
            body,
            max_records: limits.max_records,
        })
    }

    /// Returns the text that the keys lie in, with what stands between them.
    pub fn key_text(&self) -> &'a str {
        self.key_text
    }

    /// Gives each user record; `None`, and nothing of it counts, if not all is as encoders write it.
    #[inline]
    pub fn each(&self, mut record: impl FnMut(WrittenRecord)) -> Option<()> {
        let mut left = self.max_records;
        let mut rest = &self.body[self.key_text.len()..];
        while let [TAG_RECORD, behind @ ..] = rest {
            let mut fields = Fields::new(behind, 0);
            let raw = RawRecord::as_written(fields.bytes().ok()?)?;
            rest = fields.rest();
            left = left.checked_sub(1)?;
            if raw.explicit_hash_key_index.is_some() {
                return None;
            }
            let key = usize::try_from(raw.partition_key_index).ok()?;
            // The data is the last of its fields.
            let end = MAGIC.len() + self.body.len() - rest.len();
            record(WrittenRecord {
                key: self.keys.get(key)?.clone(),
                data: end - raw.data.len()..end,
            });
        }
        rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregation::{AggregateRef, FRAME_LEN, SubRecord, encode};

    /// The partition keys and data that are read of a body; `None` if it is left to the other way.
    fn read(body: &[u8], limits: &DecodeLimits) -> Option<Vec<(String, Vec<u8>)>> {
        let written = Written::of(body, limits)?;
        let (text, mut records) = (written.key_text(), Vec::new());
        let start = MAGIC.len();
        written.each(|record| {
            let data = &body[record.data.start - start..record.data.end - start];
            records.push((text[record.key].to_owned(), data.to_vec()));
        })?;
        Some(records)
    }

    /// What is read here, the other way reads as well, and the same.
    fn assert_same(body: &[u8], limits: &DecodeLimits) -> bool {
        let Some(records) = read(body, limits) else {
            return false;
        };
        let aggregate = AggregateRef::of_body(body, limits).expect("an aggregate");
        let theirs = aggregate.iter().map(|record| {
            let record = record.expect("a record");
            assert_eq!(record.explicit_hash_key, None);
            (record.partition_key.to_owned(), record.data.to_vec())
        });
        assert_eq!(records, theirs.collect::<Vec<_>>());
        true
    }

    fn body(records: &[SubRecord]) -> Vec<u8> {
        let aggregate = encode(records);
        aggregate[MAGIC.len()..aggregate.len() - (FRAME_LEN - MAGIC.len())].to_vec()
    }

    fn record() -> impl Strategy<Value = SubRecord> {
        let key = prop_oneof!["[a-c]{1,2}", "é{0,3}", "[a-z]{120,140}"];
        let hash_key = proptest::option::weighted(0.02, any::<u128>());
        let data = prop::collection::vec(any::<u8>(), 0..200);
        (key, hash_key, data).prop_map(|(key, hash_key, data)| SubRecord {
            explicit_hash_key: hash_key.map(Into::into),
            ..SubRecord::new(key, data)
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_other_way_reads(
            records in prop::collection::vec(record(), 1..8),
            at: prop::sample::Index,
            byte: u8,
            max: u8,
        ) {
            let limits = DecodeLimits {
                max_records: usize::from(max % 8),
                max_table_entries: usize::from(max / 8 % 8),
                ..DecodeLimits::default()
            };
            let mut body = body(&records);
            assert_same(&body, &limits);
            let at = at.index(body.len());
            body[at] = byte;
            assert_same(&body, &DecodeLimits::default());
            body.truncate(at);
            assert_same(&body, &DecodeLimits::default());
        }
    }

    #[test]
    fn what_encoders_write_is_read_and_the_unusual_is_left_to_the_other_way() {
        let is_read = |body: &[u8]| assert_same(body, &DecodeLimits::default());
        let usual = body(&["a", "b", "a"].map(|key| SubRecord::new(key, "data")));
        assert!(is_read(&usual));
        let with_hash_key = SubRecord {
            explicit_hash_key: Some(7.into()),
            ..SubRecord::new("a", "data")
        };
        let key = [TAG_PARTITION_KEY, 1];
        let record = [TAG_RECORD, 4, 0x08, 0, 0x1a, 0];
        for (what, unusual) in [
            ("an explicit hash key", body(&[with_hash_key])),
            ("a long key", body(&[SubRecord::new("k".repeat(128), "")])),
            ("keys behind records", [&record[..], &key, b"k"].concat()),
            (
                "a key that is no text",
                [&key[..], b"\xff", &record].concat(),
            ),
            ("no such key", record.to_vec()),
            ("an unknown field", [&usual[..], &[0x20, 1]].concat()),
            ("a cut", usual[..usual.len() - 1].to_vec()),
        ] {
            assert!(!is_read(&unusual), "{what}");
        }
    }
}
