#!/usr/bin/env python3
"""Reads and makes aggregates with a Python library: agg_peer.py aws-kinesis-agg | aiokpl

A line of standard input is {"records": [[partition_key, explicit_hash_key | null, data_base64], ..],
"blob": an aggregate of them in base64}. The line answered has in "records" what the library reads of
the blob, and in "blob" what the library makes of the records.
"""
import base64
import json
import sys


def aws_kinesis_agg():
    from aws_kinesis_agg.aggregator import AggRecord
    from aws_kinesis_agg.deaggregator import deaggregate_records

    def encode(records):
        aggregate = AggRecord()
        for partition_key, explicit_hash_key, data in records:
            assert aggregate.add_user_record(partition_key, data, explicit_hash_key)
        return aggregate.get_contents()[2]

    def decode(blob):
        outer = {
            'kinesisSchemaVersion': '1.0', 'sequenceNumber': '1', 'approximateArrivalTimestamp': 1,
            'partitionKey': 'outer', 'data': base64.b64encode(blob).decode(),
        }
        for record in deaggregate_records([{'kinesis': outer}]):
            inner = record['kinesis']
            assert inner['aggregated']
            yield inner['partitionKey'], inner['explicitHashKey'], base64.b64decode(inner['data'])

    return encode, decode


def aiokpl():
    from aiokpl.aggregation import UserRecord, decode_aggregated, encode_aggregated

    def encode(records):
        return encode_aggregated([
            UserRecord(partition_key=partition_key, explicit_hash_key=explicit_hash_key, data=data)
            for partition_key, explicit_hash_key, data in records
        ])

    def decode(blob):
        for record in decode_aggregated(blob):
            yield record.partition_key, record.explicit_hash_key, record.data

    return encode, decode


def main():
    encode, decode = {'aws-kinesis-agg': aws_kinesis_agg, 'aiokpl': aiokpl}[sys.argv[1]]()
    text = lambda data: base64.b64encode(data).decode()
    for line in sys.stdin:
        case = json.loads(line)
        records = [(p, e, base64.b64decode(d)) for p, e, d in case['records']]
        read = [[p, e, text(d)] for p, e, d in decode(base64.b64decode(case['blob']))]
        print(json.dumps({'records': read, 'blob': text(encode(records))}), flush=True)


main()
