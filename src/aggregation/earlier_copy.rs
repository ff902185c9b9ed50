//! The mark of a user record that its producer stored again: where the earlier copies are.
//!
//! The schema gives each user record a list of `tags`, pairs of a key and a value. Neither the KPL nor
//! the KCL reads or writes them, and every reader steps over them. The producer writes one tag for each
//! earlier copy of a record, and only into records that it stores again: ordinary aggregates have no
//! tags, as the KPL's have none.

use crate::aggregation::{
    survey::{TAG_KEY, TAG_VALUE, TAGS},
    wire::{Fields, TAG_TAG_KEY, TAG_TAG_VALUE, TAG_TAGS, Value, put_varint},
};
use crate::model::{SequenceNumber, ShardRef, stream_name};

/// Where a user record was stored before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EarlierCopy {
    /// The shard, with the name of its stream: a copy in another stream is none.
    pub shard: ShardRef,
    /// The Kinesis record that the copy is in.
    pub sequence_number: SequenceNumber,
}

impl EarlierCopy {
    /// Reads the marks among the tags of a user record; tags of others are stepped over.
    pub fn all_of(record: &[u8]) -> impl Iterator<Item = EarlierCopy> {
        let fields = Fields::new(record, 1).map_while(Result::ok);
        let tags = fields.filter(|field| field.number == TAGS);
        tags.filter_map(|tag| EarlierCopy::read(bytes(tag.value)?))
    }

    /// Appends the tag, as a field of a user record.
    pub fn write(&self, out: &mut Vec<u8>) {
        let stream = stream_name(&self.shard.stream);
        let value = format!("{stream}/{}/{}", self.shard.shard_id, self.sequence_number);
        let mut tag = Vec::with_capacity(KEY.len() + value.len() + 2 * HEAD_LEN_MAX);
        for (field, text) in [(TAG_TAG_KEY, KEY), (TAG_TAG_VALUE, &value)] {
            put_bytes(&mut tag, field, text.as_bytes());
        }
        put_bytes(out, TAG_TAGS, &tag);
    }

    fn read(tag: &[u8]) -> Option<EarlierCopy> {
        let (mut key, mut value) = (None, None);
        for field in Fields::new(tag, 2) {
            match field.ok()? {
                field if field.number == TAG_KEY => key = bytes(field.value),
                field if field.number == TAG_VALUE => value = bytes(field.value),
                _ => {}
            }
        }
        let text = std::str::from_utf8(value?).ok()?;
        let mut parts = text.rsplitn(3, '/');
        let (number, shard, stream) = (parts.next()?, parts.next()?, parts.next()?);
        (key? == KEY.as_bytes()).then_some(EarlierCopy {
            shard: ShardRef::new(stream, shard),
            sequence_number: number.parse().ok()?,
        })
    }
}

/// The tags of all earlier copies of a record, as they are written behind its data.
pub(crate) fn tags(copies: &[EarlierCopy]) -> Vec<u8> {
    let mut tags = Vec::new();
    copies.iter().for_each(|copy| copy.write(&mut tags));
    tags
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn bytes(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The tag's key. Short, as it goes with each record, and with a prefix of this crate's.
const KEY: &str = "kb:copy";

/// Bytes before a text at most: its field and its length.
const HEAD_LEN_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::aggregation::{Aggregate, AggregateRef, DecodeLimits, decode, message};

    fn copy(stream: &str, number: &str) -> EarlierCopy {
        EarlierCopy {
            shard: ShardRef::new(stream, "shardId-000000000007"),
            sequence_number: number.parse().expect("a number"),
        }
    }

    #[test]
    fn the_marks_of_a_record_are_read_back_and_no_other_reader_sees_them() {
        let copies = [copy("orders", "12"), copy("orders", "13")];
        let mut aggregate = Aggregate::new(1_000, 10);
        assert!(aggregate.try_push("a", None, b"plain"));
        let before = aggregate.encoded_len();
        let tags = tags(&copies);
        assert!(aggregate.try_push_tagged("a", None, b"again", &tags));
        assert_eq!(aggregate.encoded_len(), before + 2 + 4 + 5 + tags.len());
        let data = aggregate.finish();

        let read = AggregateRef::read(&data, &DecodeLimits::default()).expect("readable");
        let read = read.expect("an aggregate");
        let found: Vec<Vec<_>> = read
            .iter_indexed()
            .map(|record| record.expect("a record").earlier_copies().collect())
            .collect();
        assert_eq!(found, [vec![], copies.to_vec()]);
        let records = decode(&data).expect("readable").expect("an aggregate");
        assert_eq!((records.len(), &records[1].data[..]), (2, &b"again"[..]));

        // By the schema, too, these are tags.
        let body = &data[4..data.len() - 16];
        let by_schema = message::AggregatedRecord::decode(body).expect("the message");
        let tag = &by_schema.records[1].tags[1];
        let value = "orders/shardId-000000000007/13";
        assert_eq!((&*tag.key, tag.value.as_deref()), (KEY, Some(value)));
    }

    #[test]
    fn a_stream_is_named_alike_by_name_and_by_arn() {
        let mut tag = Vec::new();
        copy("arn:aws:kinesis:eu-west-1:123456789012:stream/orders", "7").write(&mut tag);
        let read: Vec<_> = EarlierCopy::all_of(&tag).collect();
        assert_eq!(read, [copy("orders", "7")]);
    }

    #[test]
    fn tags_of_others_and_torn_marks_are_stepped_over() {
        let tag = |key: &str, value: &str| {
            let (mut tag, mut field) = (Vec::new(), Vec::new());
            put_bytes(&mut tag, TAG_TAG_KEY, key.as_bytes());
            put_bytes(&mut tag, TAG_TAG_VALUE, value.as_bytes());
            put_bytes(&mut field, TAG_TAGS, &tag);
            field
        };
        let mut record = Vec::new();
        for (key, value) in [
            ("other", "orders/shard/7"),
            (KEY, "orders/7"),
            (KEY, "orders/shard/x"),
            (KEY, ""),
            (KEY, "orders/shard/8"),
        ] {
            record.extend(tag(key, value));
        }
        let read: Vec<_> = EarlierCopy::all_of(&record).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].sequence_number.as_str(), "8");
        for end in 0..record.len() {
            assert_eq!(EarlierCopy::all_of(&record[..end]).count(), 0, "{end}");
        }
    }
}
