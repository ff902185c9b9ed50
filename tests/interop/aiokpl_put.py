"""aiokpl_put.py ENDPOINT STREAM COUNT: puts the numbers from 1 to COUNT with aiokpl."""

import sys

from aiokpl import Config, SyncProducer

import streams

endpoint, stream, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = Config(
    region=streams.REGION,
    endpoint_url=endpoint,
    aws_access_key_id=streams.ACCESS_KEY_ID,
    aws_secret_access_key=streams.SECRET_ACCESS_KEY,
)
with SyncProducer(config) as producer:
    outcomes = [
        producer.put_record(
            stream=stream, partition_key=f"key {number % 1000}", data=b"%d" % number
        )
        for number in range(1, count + 1)
    ]
    producer.flush(timeout=60)
    failed = [
        outcome for outcome in (each.wait(timeout=60) for each in outcomes) if not outcome.success
    ]
if failed:
    sys.exit(f"{len(failed)} records failed, the first one: {failed[0]}")
