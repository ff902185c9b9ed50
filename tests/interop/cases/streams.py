"""Streams: made, described, changed and deleted."""

from cases.kinesis import GLIMPSES, MIB, Refused, encoded
from cases.table import REFUSED, Table

TABLE = Table()
case = TABLE.case


@case("state after CreateStream", "CREATING", "CreateStream", kind="slow")
def _(kinesis):
    for _ in range(GLIMPSES):
        name = kinesis.new_name()
        kinesis.of("CreateStream", StreamName=name, ShardCount=1)
        status = kinesis.summary(name)["StreamStatus"]
        if status != "ACTIVE":
            break
    return status


@case(
    "PutRecord right after CreateStream",
    None,
    "CreateStream",
    "the page says to wait for ACTIVE; an error shows a missing wait",
    kind="slow",
)
def _(kinesis):
    for _ in range(GLIMPSES):
        name = kinesis.new_name()
        kinesis.of("CreateStream", StreamName=name, ShardCount=1)
        put = kinesis.call("PutRecord", StreamName=name, PartitionKey="key", Data="")
        if put.status != 200:
            break
    return put.word("stored")


@case("CreateStream of a name in use", "ResourceInUseException", "CreateStream")
def _(kinesis):
    return kinesis.call("CreateStream", StreamName=kinesis.stream(), ShardCount=1).word()


@case("CreateStream without ShardCount, on demand", "4 shards", "how-do-i-size-a-stream")
def _(kinesis):
    name = kinesis.new_name()
    mode = {"StreamMode": "ON_DEMAND"}
    kinesis.of("CreateStream", StreamName=name, StreamModeDetails=mode)
    kinesis.wait_active(name)
    return f"{len(kinesis.shards(name))} shards"


@case("StreamName of 129 characters", REFUSED, "CreateStream")
def _(kinesis):
    return kinesis.call("CreateStream", StreamName="x" * 129, ShardCount=1).word()


@case("hash key ranges of 4 shards", None, "CreateStream", "each shard has an equal part of 2^128")
def _(kinesis):
    ranges = [shard["HashKeyRange"] for shard in kinesis.shards(kinesis.stream(4))]
    found = [(int(one["StartingHashKey"]), int(one["EndingHashKey"])) for one in ranges]
    equal = [(n << 126, (n + 1 << 126) - 1) for n in range(4)]
    return "equal" if found == equal else "unequal"


@case("stream mode in DescribeStreamSummary", "PROVISIONED", "DescribeStreamSummary")
def _(kinesis):
    details = kinesis.summary(kinesis.stream()).get("StreamModeDetails")
    return details["StreamMode"] if details else "absent"


@case("OpenShardCount after a split", "2", "DescribeStreamSummary")
def _(kinesis):
    name = kinesis.stream()
    kinesis.split(name)
    return str(kinesis.summary(name)["OpenShardCount"])


@case("DescribeStream with Limit 1 of 2 shards", "1, more", "DescribeStream")
def _(kinesis):
    answer = kinesis.of("DescribeStream", StreamName=kinesis.stream(2), Limit=1)
    description = answer["StreamDescription"]
    more = "more" if description["HasMoreShards"] else "no more"
    return f"{len(description['Shards'])}, {more}"


@case("ListStreams by pages", "yes", "ListStreams")
def _(kinesis):
    made = {kinesis.stream(), kinesis.stream()}
    answer = kinesis.of("ListStreams", Limit=1)
    listed = answer["StreamNames"]
    while answer["HasMoreStreams"]:
        answer = kinesis.of("ListStreams", Limit=1, ExclusiveStartStreamName=listed[-1])
        listed += answer["StreamNames"]
    return "yes" if made <= set(listed) and len(listed) == len(set(listed)) else "no"


@case("StreamARN in place of StreamName", "yes", "PutRecord")
def _(kinesis):
    arn = kinesis.arn(kinesis.stream())
    record = {"PartitionKey": "key", "Data": encoded(b"data")}
    return kinesis.call("PutRecord", StreamARN=arn, **record).word()


@case(
    "iterator made by StreamARN, used alone",
    "yes",
    "GetRecords",
    "StreamARN is not a required parameter there",
)
def _(kinesis):
    answer = kinesis.of(
        "GetShardIterator",
        StreamARN=kinesis.arn(kinesis.stream()),
        ShardId="shardId-000000000000",
        ShardIteratorType="LATEST",
    )
    return kinesis.call("GetRecords", ShardIterator=answer["ShardIterator"]).word()


@case(
    "StreamName and the StreamARN of another stream",
    None,
    "PutRecord",
    "an error shows that the client confuses two streams",
)
def _(kinesis):
    arn, other = kinesis.arn(kinesis.stream()), kinesis.stream()
    record = {"PartitionKey": "key", "Data": encoded(b"data")}
    return kinesis.call("PutRecord", StreamARN=arn, StreamName=other, **record).word("stored")


@case("retention of 23 hours", REFUSED, "DecreaseStreamRetentionPeriod")
def _(kinesis):
    name = kinesis.stream()
    hours = {"RetentionPeriodHours": 23}
    return kinesis.call("DecreaseStreamRetentionPeriod", StreamName=name, **hours).word()


@case("record of 1.25 MiB after UpdateMaxRecordSize", "yes", "UpdateMaxRecordSize")
def _(kinesis):
    name = kinesis.stream()
    kinesis.of("UpdateMaxRecordSize", StreamARN=kinesis.arn(name), MaxRecordSizeInKiB=4096)
    kinesis.wait_active(name)
    kinesis.put(name, b"x" * (MIB * 5 // 4))
    return "yes"


@case("DescribeStreamSummary of a deleted stream", "ResourceNotFoundException", "DeleteStream")
def _(kinesis):
    name = kinesis.stream()
    kinesis.of("DeleteStream", StreamName=name)
    try:
        while kinesis.summary(name)["StreamStatus"] == "DELETING":
            pass
    except Refused as refused:
        return str(refused).rpartition(" ")[2]
    return "still there"
