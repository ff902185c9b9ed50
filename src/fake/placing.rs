use serde_json::json;

use crate::client::RecordDistributionStrategy;
use crate::fake::call::Call;
use crate::fake::fault::Fault;
use crate::fake::limits;
use crate::fake::number::Number;
use crate::fake::refusal::Refusal;
use crate::fake::shard::{Entry, shard_name};
use crate::fake::stream::Stream;
use crate::model::HashKey;

/// A record that keeps the rules, and where it belongs.
pub(super) struct Valid {
    pub key: HashKey,
    pub entry: Entry,
}

impl Valid {
    pub fn bytes(&self) -> usize {
        self.entry.data.len() + self.entry.partition_key.len()
    }
}

/// How the records of one call find their shards, or fail to.
pub(super) struct Placing<'a> {
    fault: Option<&'a Fault>,
    /// The shard whose records alone the fault is for.
    fault_shard: Option<&'a str>,
    /// Records the fault was for so far.
    met: usize,
    limited: bool,
}

impl<'a> Placing<'a> {
    pub fn of(call: &Call<'a>) -> Placing<'a> {
        Placing {
            fault: call.fault,
            fault_shard: call.fault_shard,
            met: 0,
            limited: call.service.settings().service_limits,
        }
    }

    /// Stores a record where it belongs, or where the fault says.
    pub fn store(&mut self, stream: &mut Stream, record: Valid) -> Result<Number, Refusal> {
        let right = stream.shard_of(record.key).map(|shard| shard.index);
        let right = right.ok_or_else(Refusal::internal)?;
        let fault = self.fault_for(right);
        if let Some(Fault::FailEntries { code, .. }) = fault {
            return Err(entry_refusal(code, &stream.name, right));
        }
        let shard = match fault {
            Some(Fault::WrongShard) => stream.wrong_shard_of(record.key),
            _ if stream.strategy == RecordDistributionStrategy::Auto => stream.next_shard(),
            _ => stream.shard_of(record.key),
        };
        let shard = shard.ok_or_else(Refusal::internal)?;
        let (now, bytes) = (record.entry.arrival, record.bytes() as u64);
        if self.limited && !shard.writes.admit(now, bytes, limits::WRITES) {
            let throttled = shard.id();
            return Err(Refusal::shard_throttled(&stream.name, &throttled));
        }
        Ok(shard.append(record.entry))
    }

    /// The fault, if this record is one that it is for.
    fn fault_for(&mut self, shard: u32) -> Option<&'a Fault> {
        let fault = self.fault?;
        if self
            .fault_shard
            .is_some_and(|only| only != shard_name(shard))
        {
            return None;
        }
        self.met += 1;
        match fault {
            Fault::FailEntries { every, .. } if !self.met.is_multiple_of((*every).max(1)) => None,
            fault => Some(fault),
        }
    }
}

/// Writes down what became of one record.
pub(super) fn write_result(json: &mut String, result: &Result<Number, Refusal>) {
    match result {
        Ok(number) => {
            let shard = shard_name(number.shard);
            let parts = ["{\"ShardId\":\"", &shard, "\",\"SequenceNumber\":\""];
            json.extend(parts);
            json.push_str(&number.to_string());
            json.push_str("\"}");
        }
        Err(Refusal { code, message, .. }) => {
            let failed = json!({ "ErrorCode": code, "ErrorMessage": message });
            json.push_str(&failed.to_string());
        }
    }
}

fn entry_refusal(code: &str, stream: &str, shard: u32) -> Refusal {
    match code {
        "ProvisionedThroughputExceededException" => {
            Refusal::shard_throttled(stream, &shard_name(shard))
        }
        code => Refusal {
            code: code.to_owned().into(),
            ..Refusal::internal()
        },
    }
}
