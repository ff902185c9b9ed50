"""The fake's socket door, as boto3 knows Kinesis: create, put, reshard, read parents to their end
and on into their children, and be refused by the right names.

    boto3_check.py ENDPOINT [ACCESS_KEY_ID SECRET_ACCESS_KEY]

Ends with one line of figures, or with a traceback and exit status 1. With a key it also checks that
a wrong secret is refused, so the fake has to ask for that key.
"""

import sys
import uuid

import boto3
import botocore.config
import botocore.exceptions

COUNT = 1_000


def client(endpoint, key, secret):
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


def main(endpoint, key="AKIDEXAMPLE", secret=None):
    kinesis = client(endpoint, key, secret or "secret")
    stream = f"boto3-{uuid.uuid4().hex}"
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream)
    expected = put(kinesis, stream, 0, COUNT)
    reshard(kinesis, stream)
    expected |= put(kinesis, stream, COUNT, COUNT)
    read, shards = read_all(kinesis, stream)
    same("records", sorted(read), sorted(expected))
    same("every record once", len(read), len(expected))
    same("listed by pages", listed(kinesis, stream), sorted(shards))
    refusals(kinesis, stream)
    if secret:
        wrong = client(endpoint, key, secret + "x")
        refused("InvalidSignatureException", wrong.list_streams)
    settings(kinesis, stream)
    kinesis.delete_stream(StreamName=stream)
    refused("ResourceNotFoundException", kinesis.list_shards, StreamName=stream)
    print(f"boto3: {len(read)} records through {len(shards)} shards")


def put(kinesis, stream, first, count):
    """Puts records in calls of 500 and one alone; returns (key, data) of each."""
    put = {(f"key-{n}", bytes([n % 256]) * (n % 100)) for n in range(first, first + count)}
    entries = [{"PartitionKey": key, "Data": data} for key, data in sorted(put)]
    last = entries.pop()
    for start in range(0, len(entries), 500):
        answer = kinesis.put_records(StreamName=stream, Records=entries[start : start + 500])
        same("failed entries", answer["FailedRecordCount"], 0)
    answer = kinesis.put_record(StreamName=stream, ExplicitHashKey="0", **last)
    same("sequence number's digits", len(answer["SequenceNumber"]), 56)
    return put


def reshard(kinesis, stream):
    """Splits the first shard, merges its upper half with the second, doubles what there is."""
    arn = kinesis.describe_stream(StreamName=stream)["StreamDescription"]["StreamARN"]
    kinesis.split_shard(
        StreamARN=arn,
        ShardToSplit="shardId-000000000000",
        NewStartingHashKey=str(2**126),
    )
    kinesis.merge_shards(
        StreamARN=arn,
        ShardToMerge="shardId-000000000003",
        AdjacentShardToMerge="shardId-000000000001",
    )
    kinesis.get_waiter("stream_exists").wait(StreamName=stream)
    answer = kinesis.update_shard_count(
        StreamARN=arn, TargetShardCount=4, ScalingType="UNIFORM_SCALING"
    )
    same("shards before", answer["CurrentShardCount"], 2)
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    same("open shards", summary["OpenShardCount"], 4)


def read_all(kinesis, stream):
    """Reads from the oldest shards on, each shard after its parents; returns records and shards."""
    start = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_TRIM_HORIZON"})
    waiting = {shard["ShardId"]: [] for shard in start["Shards"]}
    records, ended = [], set()
    while waiting:
        ready = [shard for shard, parents in waiting.items() if set(parents) <= ended]
        shard = ready[0]
        del waiting[shard]
        children = read_shard(kinesis, stream, shard, records)
        ended.add(shard)
        for child in children:
            waiting[child["ShardId"]] = child["ParentShards"]
    return records, ended


def read_shard(kinesis, stream, shard, records):
    """Reads a shard to its end, or to its tip while it is open; returns its children."""
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    last = ""
    while True:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=100)
        for record in answer["Records"]:
            same("order", last < record["SequenceNumber"], True)
            last = record["SequenceNumber"]
            records.append((record["PartitionKey"], record["Data"]))
        iterator = answer.get("NextShardIterator")
        if iterator is None:
            return answer["ChildShards"]
        if answer["MillisBehindLatest"] == 0:
            return []


def listed(kinesis, stream):
    # By hand: boto3's paginator names the stream beside the token, which Kinesis refuses.
    answer = kinesis.list_shards(StreamName=stream, MaxResults=3)
    shards = answer["Shards"]
    while token := answer.get("NextToken"):
        answer = kinesis.list_shards(NextToken=token, MaxResults=3)
        shards += answer["Shards"]
    return sorted(shard["ShardId"] for shard in shards)


def refusals(kinesis, stream):
    missing = {"StreamName": "no-such-stream"}
    refused("ResourceNotFoundException", kinesis.list_shards, **missing)
    refused("ResourceInUseException", kinesis.create_stream, StreamName=stream, ShardCount=1)
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="garbage")
    refused(
        "InvalidArgumentException",
        kinesis.split_shard,
        StreamName=stream,
        ShardToSplit="shardId-000000000000",
        NewStartingHashKey="7",
    )
    large = {"PartitionKey": "key", "Data": b"x" * 2**20}
    refused("ValidationException", kinesis.put_records, StreamName=stream, Records=[large])


def settings(kinesis, stream):
    kinesis.increase_stream_retention_period(StreamName=stream, RetentionPeriodHours=48)
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    same("hours", summary["RetentionPeriodHours"], 48)
    same("listed streams", stream in kinesis.list_streams()["StreamNames"], True)


def refused(name, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        same(f"refusal of {call.__name__}", error.response["Error"]["Code"], name)
        same("request id", len(error.response["ResponseMetadata"]["RequestId"]), 36)
    else:
        sys.exit(f"boto3: {call.__name__} was not refused with {name}")


def same(what, found, expected):
    if found != expected:
        sys.exit(f"boto3: {what}: {found!r:.300} is not {expected!r:.300}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
