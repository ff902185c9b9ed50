//! The readers of answers, for whoever feeds them with anything.

use bytes::Bytes;
use http::Response;

use crate::client::answers::{EntryError, GetRecordsOutput, PutRecordOutput, ShardIterator};
use crate::client::wire::{self, Exchange, get_records};
use crate::error::{Error, Result};
use crate::model::{Shard, ShardRef};

/// Reads GetRecords' answer by the scanner, if it can, and by serde.
pub(crate) fn get_records(body: &[u8]) -> (Option<GetRecordsOutput>, Result<GetRecordsOutput>) {
    let iterator = ShardIterator {
        shard: ShardRef::new("orders", "shardId-000000000000"),
        token: String::new(),
    };
    let iterator = &iterator;
    let call = wire::GetRecords {
        iterator,
        limit: 1,
        is_shortened: false,
    };
    let scanned = get_records::scanned(body).and_then(|read| call.output(read).ok());
    let by_serde = get_records::read_by_serde(body).and_then(|read| call.output(read));
    (scanned, by_serde)
}

type Outcomes = Vec<Result<PutRecordOutput, EntryError>>;

/// Reads PutRecords' answer by the scanner, if it can, and by serde.
pub(crate) fn put_records(body: &[u8]) -> (Option<Outcomes>, Result<Outcomes>) {
    let scanned = wire::put_records::scanned(body, 0);
    (scanned, wire::put_records::read_by_serde(body))
}

pub(crate) fn list_shards(body: Bytes) -> Result<(Vec<Shard>, Option<String>)> {
    let page = wire::ListShards::first("orders", None).answer(body)?;
    Ok((page.shards, page.next_token))
}

pub(crate) fn error(response: &Response<Bytes>) -> Error {
    wire::service_error(response)
}

/// A text, the same with another byte in one place, and what stands before that place.
#[cfg(test)]
pub(crate) fn damaged(text: String, at: proptest::sample::Index, byte: u8) -> [Vec<u8>; 3] {
    let whole = text.into_bytes();
    let at = at.index(whole.len());
    let (mut changed, cut) = (whole.clone(), whole[..at].to_vec());
    changed[at] = byte;
    [whole, changed, cut]
}
