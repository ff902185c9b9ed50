//! The readers of answers, for whoever feeds them with anything.

use bytes::Bytes;
use http::Response;

use crate::client::answers::{GetRecordsOutput, ShardIterator};
use crate::client::wire::{self, Exchange};
use crate::error::{Error, Result};
use crate::model::{Shard, ShardRef};

pub(crate) fn get_records(body: Bytes) -> Result<GetRecordsOutput> {
    let iterator = ShardIterator {
        shard: ShardRef::new("orders", "shardId-000000000000"),
        token: String::new(),
    };
    let iterator = &iterator;
    wire::GetRecords { iterator, limit: 1 }.answer(body)
}

pub(crate) fn list_shards(body: Bytes) -> Result<(Vec<Shard>, Option<String>)> {
    let page = wire::ListShards::first("orders").answer(body)?;
    Ok((page.shards, page.next_token))
}

pub(crate) fn error(response: &Response<Bytes>) -> Error {
    wire::service_error(response)
}
