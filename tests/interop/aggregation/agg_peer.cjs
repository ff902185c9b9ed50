// Reads and makes aggregates with npm's aws-kinesis-agg, which NODE_PATH must lead to.
//
// A line of standard input is {"records": [[partition_key, explicit_hash_key | null, data_base64], ..],
// "blob": an aggregate of them in base64}. The line answered has in "records" what the library reads
// of the blob, and in "blob" what the library makes of the records.
'use strict';
const readline = require('readline');
const kinesis = require('aws-kinesis-agg');

function encode(records) {
  const aggregator = new kinesis.RecordAggregator();
  for (const [partitionKey, explicitHashKey, data] of records) {
    const record = { partitionKey, data: Buffer.from(data, 'base64') };
    if (explicitHashKey !== null) record.explicitHashKey = explicitHashKey;
    aggregator.addUserRecord(record);
  }
  return aggregator.build().data.toString('base64');
}

function decode(blob) {
  const records = [];
  const fail = (error) => { if (error) throw new Error(String(error)); };
  const take = (error, record) => {
    fail(error);
    if (record.subSequenceNumber !== records.length) throw new Error('not taken apart');
    const explicitHashKey = record.explicitPartitionKey;
    records.push([record.partitionKey, explicitHashKey === undefined ? null : explicitHashKey, record.data]);
  };
  const outer = { data: blob, partitionKey: 'outer', sequenceNumber: '1' };
  kinesis.deaggregate(outer, true, take, fail);
  return records;
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const { records, blob } = JSON.parse(line);
  process.stdout.write(JSON.stringify({ records: decode(blob), blob: encode(records) }) + '\n');
});
