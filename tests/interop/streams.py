"""Kinesis as Python programs know it: boto3, and the aggregation library for Python."""

import base64
import contextlib
import datetime
import hashlib
import itertools
import time
from dataclasses import dataclass

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from botocore.config import Config

REGION = "us-east-1"
ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

STATE_SECONDS = 30
FIRST_RECORD_SECONDS = 60
PAGE_RECORDS = 1000
# Well below the 1 MiB of a record and the 5 MiB of a call, and little enough for kinesis-mock.
AGGREGATE_BYTES = 50 * 1024
CALL_RECORDS = 50

_numbers = itertools.count(1)


@dataclass(frozen=True)
class UserRecord:
    partition_key: str
    data: bytes
    explicit_hash_key: str | None = None

    def hash_key(self):
        if self.explicit_hash_key is not None:
            return int(self.explicit_hash_key)
        return int.from_bytes(hashlib.md5(self.partition_key.encode()).digest(), "big")


@dataclass(frozen=True)
class Shard:
    id: str
    first: int
    last: int
    closed: bool

    def owns(self, hash_key):
        return self.first <= hash_key <= self.last


class Service:
    """One endpoint, spoken to with boto3."""

    def __init__(self, name, endpoint):
        self.name = name
        self.endpoint = endpoint.url
        self.untrusted = endpoint.untrusted
        self.step_date = endpoint.step_date
        self.client = boto3.client(
            "kinesis",
            region_name=REGION,
            endpoint_url=endpoint.url,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(connect_timeout=5, read_timeout=60, proxies={}),
        )

    @contextlib.contextmanager
    def stream(self, shards):
        """A new stream for one scenario; emulators hold all records in memory."""
        name = f"interop-{next(_numbers)}"
        self.client.create_stream(StreamName=name, ShardCount=shards)
        self.wait_active(name)
        yield name
        self.client.delete_stream(StreamName=name)

    def metrics(self, namespace, stream):
        """The sum of each metric of a stream: over its shards, if CloudWatch knows it by shard."""
        client = boto3.client(
            "cloudwatch",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(connect_timeout=5, read_timeout=60, proxies={}),
        )
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)
        sums, by_shard = {}, set()
        listed = client.list_metrics(Namespace=namespace)["Metrics"]
        for metric in sorted(listed, key=lambda metric: -len(metric["Dimensions"])):
            name, dimensions = metric["MetricName"], metric["Dimensions"]
            places = {one["Name"]: one["Value"] for one in dimensions}
            if places.get("StreamName") != stream or "ErrorCode" in places:
                continue
            # moto finds what has further dimensions, too.
            if "ShardId" not in places and name in by_shard:
                continue
            by_shard.add(name)
            answer = client.get_metric_statistics(
                Namespace=namespace,
                MetricName=name,
                Dimensions=dimensions,
                StartTime=now - hour,
                EndTime=now + hour,
                Period=86400,
                Statistics=["Sum"],
            )
            found = sum(point["Sum"] for point in answer["Datapoints"])
            sums[name] = sums.get(name, 0) + found
        return sums

    def wait_active(self, stream):
        end = time.monotonic() + STATE_SECONDS
        while time.monotonic() < end:
            summary = self.client.describe_stream_summary(StreamName=stream)
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                return
            time.sleep(0.02)
        raise TimeoutError(f"stream {stream} is not ACTIVE after {STATE_SECONDS} s")

    def shards(self, stream):
        answer = self.client.list_shards(StreamName=stream)
        listed = answer["Shards"]
        # Some page by the hundred.
        while token := answer.get("NextToken"):
            answer = self.client.list_shards(NextToken=token)
            listed += answer["Shards"]
        return [
            Shard(
                id=shard["ShardId"],
                first=int(shard["HashKeyRange"]["StartingHashKey"]),
                last=int(shard["HashKeyRange"]["EndingHashKey"]),
                closed="EndingSequenceNumber" in shard["SequenceNumberRange"],
            )
            for shard in listed
        ]

    def split(self, stream, shard):
        middle = (shard.first + shard.last) // 2 + 1
        self.client.split_shard(
            StreamName=stream, ShardToSplit=shard.id, NewStartingHashKey=str(middle)
        )
        self.wait_active(stream)

    def merge(self, stream, shard, adjacent):
        self.client.merge_shards(
            StreamName=stream, ShardToMerge=shard.id, AdjacentShardToMerge=adjacent.id
        )
        self.wait_active(stream)

    def kinesis_records(self, stream):
        """Each shard with each of its Kinesis records, oldest first."""
        for shard in self.shards(stream):
            answer = self.client.get_shard_iterator(
                StreamName=stream, ShardId=shard.id, ShardIteratorType="TRIM_HORIZON"
            )
            iterator = answer["ShardIterator"]
            while iterator:
                page = self.client.get_records(ShardIterator=iterator, Limit=PAGE_RECORDS)
                for record in page["Records"]:
                    yield shard, record
                if not page["Records"] and not page["MillisBehindLatest"]:
                    break
                iterator = page.get("NextShardIterator")

    def wait_for_record(self, stream, shard, is_under_way):
        """Until something is in this shard, while there is someone who puts it there."""
        end = time.monotonic() + FIRST_RECORD_SECONDS
        while time.monotonic() < end and is_under_way():
            answer = self.client.get_shard_iterator(
                StreamName=stream, ShardId=shard.id, ShardIteratorType="TRIM_HORIZON"
            )
            if self.client.get_records(ShardIterator=answer["ShardIterator"], Limit=1)["Records"]:
                return
            time.sleep(0.02)
        raise TimeoutError(f"nothing came into {shard.id} of {stream}")

    def put_aggregated(self, stream, records):
        """Aggregates as the KPL does: only records of one shard share an aggregate."""
        aggregates = []
        for shard in self.shards(stream):
            if shard.closed:
                continue
            aggregator = RecordAggregator(AGGREGATE_BYTES)
            for record in records:
                if shard.owns(record.hash_key()):
                    full = aggregator.add_user_record(
                        record.partition_key, record.data, record.explicit_hash_key
                    )
                    aggregates.append(full)
            aggregates.append(aggregator.clear_and_get())
        entries = []
        for aggregate in filter(None, aggregates):
            partition_key, explicit_hash_key, data = aggregate.get_contents()
            entry = {"PartitionKey": partition_key, "Data": data}
            if explicit_hash_key is not None:
                entry["ExplicitHashKey"] = explicit_hash_key
            entries.append(entry)
        self.put(stream, entries)
        return len(entries)

    def put(self, stream, entries):
        for start in range(0, len(entries), CALL_RECORDS):
            some = entries[start : start + CALL_RECORDS]
            answer = self.client.put_records(StreamName=stream, Records=some)
            if answer.get("FailedRecordCount"):
                raise RuntimeError(f"PutRecords refused {answer['FailedRecordCount']} records")


def user_records(kinesis_record):
    """What the aggregation library makes of one Kinesis record."""
    for record in iter_deaggregate_records([kinesis_record], data_format="Boto3"):
        record = record["kinesis"]
        if not record.get("aggregated"):
            yield UserRecord(record["partitionKey"], record["data"])
            continue
        yield UserRecord(
            record["partitionKey"],
            base64.b64decode(record["data"]),
            record["explicitHashKey"],
        )


def delivered_records(service, stream):
    """What a KCL would deliver: an aggregate with a record of another shard's is left out whole."""
    delivered, kinesis_count, left_out = [], 0, 0
    for shard, kinesis_record in service.kinesis_records(stream):
        kinesis_count += 1
        inner = list(user_records(kinesis_record))
        is_aggregate = len(inner) != 1 or inner[0].data != kinesis_record["Data"]
        if is_aggregate and not all(shard.owns(record.hash_key()) for record in inner):
            left_out += 1
            continue
        delivered += inner
    return delivered, kinesis_count, left_out
