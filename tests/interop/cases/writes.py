"""PutRecord and PutRecords: keys, sizes, counts and numbers."""

from cases.kinesis import HASH_KEYS, MIB, encoded
from cases.table import REFUSED, Table

TABLE = Table()
case = TABLE.case


def put(kinesis, stream=None, data=b"data", **members):
    record = {"PartitionKey": "key", "Data": encoded(data)} | members
    stream = stream or kinesis.stream()
    return kinesis.call("PutRecord", StreamName=stream, **record).word("stored")


def put_many(kinesis, count, data=b"data", stream=None):
    records = [{"PartitionKey": "k", "Data": encoded(data)}] * count
    stream = stream or kinesis.stream()
    return kinesis.call("PutRecords", StreamName=stream, Records=records)


def outcome(answer):
    """Of a PutRecords: the refusal of all, of entries, or neither."""
    if answer.status != 200 or not answer.body.get("FailedRecordCount"):
        return answer.word("stored")
    codes = {entry.get("ErrorCode") for entry in answer.body["Records"]} - {None}
    return "entries: " + ", ".join(sorted(codes))


@case("ExplicitHashKey 0", "stored", "PutRecord")
def _(kinesis):
    return put(kinesis, ExplicitHashKey="0")


@case("ExplicitHashKey 2^128-1", "stored", "PutRecord")
def _(kinesis):
    return put(kinesis, ExplicitHashKey=str(HASH_KEYS - 1))


@case("ExplicitHashKey 2^128", REFUSED, "PutRecord")
def _(kinesis):
    return put(kinesis, ExplicitHashKey=str(HASH_KEYS))


@case("ExplicitHashKey 007", REFUSED, "PutRecord", "the page's pattern has no leading zeros")
def _(kinesis):
    return put(kinesis, ExplicitHashKey="007")


@case("ExplicitHashKey empty", REFUSED, "PutRecord")
def _(kinesis):
    return put(kinesis, ExplicitHashKey="")


@case("last hash key of the first of 2 shards", "0", "PutRecord")
def _(kinesis):
    answer = kinesis.put(kinesis.stream(2), ExplicitHashKey=str(HASH_KEYS // 2 - 1))
    return str(int(answer["ShardId"][-12:]))


@case("PartitionKey empty", REFUSED, "PutRecord")
def _(kinesis):
    return put(kinesis, PartitionKey="")


@case("PartitionKey of 256 characters", "stored", "PutRecord")
def _(kinesis):
    return put(kinesis, PartitionKey="x" * 256)


@case("PartitionKey of 257 characters", REFUSED, "PutRecord")
def _(kinesis):
    return put(kinesis, PartitionKey="x" * 257)


@case(
    "PartitionKey of 256 characters outside the BMP",
    None,
    "PutRecord",
    "the protocol counts lengths in Unicode scalar values",
)
def _(kinesis):
    return put(kinesis, PartitionKey="\U0001f980" * 256)


@case("Data empty", "stored", "PutRecord")
def _(kinesis):
    return put(kinesis, data=b"")


@case("Data not base64", None, "PutRecord", "the value is no blob; this error of the service is known")
def _(kinesis):
    return put(kinesis, Data="*")


@case("record of 1 MiB, key counted", "stored", "PutRecord")
def _(kinesis):
    return put(kinesis, data=b"x" * (MIB - 3))


@case("record of 1 MiB + 1, key counted", REFUSED, "PutRecord", "the page counts the partition key")
def _(kinesis):
    return put(kinesis, data=b"x" * (MIB - 2))


@case("PutRecords with one record of 1 MiB + 1", REFUSED, "PutRecords", "no record of the call is stored")
def _(kinesis):
    return outcome(put_many(kinesis, 1, b"x" * MIB))


@case("PutRecords of 500 records", "stored", "PutRecords")
def _(kinesis):
    return outcome(put_many(kinesis, 500, b""))


@case("PutRecords of 501 records", REFUSED, "PutRecords")
def _(kinesis):
    return outcome(put_many(kinesis, 501, b""))


@case("PutRecords of no record", REFUSED, "PutRecords", "the page's array has 1 to 500 members")
def _(kinesis):
    return outcome(put_many(kinesis, 0))


@case("PutRecords of 6 MiB", "stored", "PutRecords", "the limit is 10 MiB since records may be that large")
def _(kinesis):
    return outcome(put_many(kinesis, 6, b"x" * (MIB - 1)))


@case("PutRecords of 10 MiB + 1", REFUSED, "PutRecords")
def _(kinesis):
    records = [{"PartitionKey": "k", "Data": encoded(b"x" * (MIB - 1))}] * 10
    records.append({"PartitionKey": "k", "Data": ""})
    return outcome(kinesis.call("PutRecords", StreamName=kinesis.stream(), Records=records))


@case("ErrorCode of a stored entry", "absent", "PutRecords", "the page's example has none")
def _(kinesis):
    [entry] = put_many(kinesis, 1).body["Records"]
    return "absent" if "ErrorCode" not in entry else str(entry["ErrorCode"] or "null")


@case("digits of a sequence number", None, "Record", "the examples have 56 digits, the pattern allows 1 to 129")
def _(kinesis):
    return str(len(kinesis.put(kinesis.stream())["SequenceNumber"]))


@case("sequence numbers rise as numbers and as text", None, "Record", "they do in the examples on the pages")
def _(kinesis):
    entries = put_many(kinesis, 12).body["Records"]
    texts = [entry["SequenceNumber"] for entry in entries]
    rising = [ways == sorted(ways) for ways in (list(map(int, texts)), texts)]
    return {(True, True): "yes", (True, False): "as numbers"}.get(tuple(rising), "no")


@case(
    "1.3 MiB to a shard at once",
    "entries: ProvisionedThroughputExceededException",
    "PutRecords",
    "with limits enforced, which is off by default",
    kind="limited",
)
def _(kinesis):
    return outcome(put_many(kinesis, 3, b"x" * 450_000))


@case(
    "1,500 records to a shard at once",
    "entries: ProvisionedThroughputExceededException",
    "PutRecords",
    kind="limited",
)
def _(kinesis):
    stream = kinesis.stream()
    outcomes = {outcome(put_many(kinesis, 500, b"", stream)) for _ in range(3)}
    return min(outcomes, key=lambda word: word == "stored")
