"""GetShardIterator and GetRecords."""

import time

from cases.kinesis import FIRST_SHARD, MIB, encoded
from cases.table import REFUSED, Table

TABLE = Table()
case = TABLE.case
# Long enough for any answer to a question without work in it.
HANG_SECONDS = 5
APART_SECONDS = 0.01


def shown(data):
    return b" ".join(data).decode() or "nothing"


def put_all(kinesis, stream, *data):
    """Puts records one by one, no two in a millisecond; returns their numbers."""
    answers = []
    for one in data:
        answers.append(kinesis.put(stream, one))
        time.sleep(APART_SECONDS)
    return [answer["SequenceNumber"] for answer in answers]


def await_early_in_a_second():
    """ferrokinesis takes the seconds of a timestamp alone: records of one second are one to it."""
    into = time.time() % 1
    if into > 0.3:
        time.sleep(1 - into)


def refused(kinesis, stream, kind, **members):
    asked = {"ShardId": FIRST_SHARD, "ShardIteratorType": kind} | members
    return kinesis.call("GetShardIterator", StreamName=stream, **asked).word("answered")


@case("TRIM_HORIZON", "a b", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a", b"b")
    return shown(kinesis.data(kinesis.iterator(stream)))


@case("LATEST", "b", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a")
    iterator = kinesis.iterator(stream, "LATEST")
    put_all(kinesis, stream, b"b")
    return shown(kinesis.data(iterator))


@case("AT_SEQUENCE_NUMBER of b", "b c", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    numbers = put_all(kinesis, stream, b"a", b"b", b"c")
    members = {"StartingSequenceNumber": numbers[1]}
    return shown(kinesis.data(kinesis.iterator(stream, "AT_SEQUENCE_NUMBER", **members)))


@case("AFTER_SEQUENCE_NUMBER of b", "c", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    numbers = put_all(kinesis, stream, b"a", b"b", b"c")
    members = {"StartingSequenceNumber": numbers[1]}
    return shown(kinesis.data(kinesis.iterator(stream, "AFTER_SEQUENCE_NUMBER", **members)))


@case("AT_TIMESTAMP of b", "b c", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    await_early_in_a_second()
    put_all(kinesis, stream, b"a", b"b", b"c")
    second = kinesis.read(kinesis.iterator(stream))["Records"][1]
    at = second["ApproximateArrivalTimestamp"]
    return shown(kinesis.data(kinesis.iterator(stream, "AT_TIMESTAMP", Timestamp=at)))


@case("AT_TIMESTAMP before the stream", "a", "GetShardIterator")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a")
    return shown(kinesis.data(kinesis.iterator(stream, "AT_TIMESTAMP", Timestamp=1)))


@case(
    "AT_TIMESTAMP after the last record",
    "nothing",
    "GetShardIterator",
    "the iterator returns the next record that arrives",
)
def _(kinesis):
    stream = kinesis.stream()
    await_early_in_a_second()
    put_all(kinesis, stream, b"a")
    record = kinesis.read(kinesis.iterator(stream))["Records"][0]
    after = record["ApproximateArrivalTimestamp"] + 0.005
    members = (
        f'{{"StreamName":"{stream}","ShardId":"{FIRST_SHARD}",'
        f'"ShardIteratorType":"AT_TIMESTAMP","Timestamp":{after:.3f}}}'
    )
    answer = kinesis.ask("GetShardIterator", members.encode(), seconds=HANG_SECONDS)
    if answer.status != 200:
        return answer.word()
    return shown(kinesis.data(answer.body["ShardIterator"]))


@case(
    "AT_TIMESTAMP an hour ahead",
    None,
    "GetShardIterator",
    "this error of the service is known; no page has it",
)
def _(kinesis):
    ahead = int(time.time()) + 3_600
    return refused(kinesis, kinesis.stream(), "AT_TIMESTAMP", Timestamp=ahead)


@case("AT_TIMESTAMP without Timestamp", REFUSED, "GetShardIterator")
def _(kinesis):
    return refused(kinesis, kinesis.stream(), "AT_TIMESTAMP")


@case("AT_SEQUENCE_NUMBER without a number", REFUSED, "GetShardIterator")
def _(kinesis):
    return refused(kinesis, kinesis.stream(), "AT_SEQUENCE_NUMBER")


@case(
    "AT_SEQUENCE_NUMBER of another shard",
    None,
    "GetShardIterator",
    "an answer would skip or repeat records",
)
def _(kinesis):
    stream = kinesis.stream(2)
    number = kinesis.put(stream, ExplicitHashKey=str(2**128 - 1))["SequenceNumber"]
    return refused(kinesis, stream, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)


@case("AT_SEQUENCE_NUMBER never given out", None, "GetShardIterator", "likewise")
def _(kinesis):
    stream = kinesis.stream()
    return refused(kinesis, stream, "AT_SEQUENCE_NUMBER", StartingSequenceNumber="7" * 56)


@case("iterator of an unknown type", REFUSED, "GetShardIterator")
def _(kinesis):
    return refused(kinesis, kinesis.stream(), "AT_NOON")


@case("iterator of an unknown shard", "ResourceNotFoundException", "GetShardIterator")
def _(kinesis):
    return refused(kinesis, kinesis.stream(), "LATEST", ShardId="shardId-000000000099")


@case("garbage iterator", REFUSED, "GetRecords")
def _(kinesis):
    return kinesis.call("GetRecords", ShardIterator="garbage").word()


@case("iterator older than 5 minutes", "ExpiredIteratorException", "GetRecords")
def _(kinesis):
    iterator = kinesis.aged(kinesis.iterator(kinesis.stream()))
    return kinesis.call("GetRecords", ShardIterator=iterator).word("answered")


@case("iterator used twice", "a, a", "GetShardIterator", "an iterator is a position; using it does not change it")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a")
    iterator = kinesis.iterator(stream)
    return ", ".join(shown(kinesis.data(iterator)) for _ in range(2))


@case("Limit 0", REFUSED, "GetRecords")
def _(kinesis):
    iterator = kinesis.iterator(kinesis.stream())
    return kinesis.call("GetRecords", ShardIterator=iterator, Limit=0).word("answered")


@case("Limit 10,001", "InvalidArgumentException", "GetRecords", "the page names this error")
def _(kinesis):
    iterator = kinesis.iterator(kinesis.stream())
    return kinesis.call("GetRecords", ShardIterator=iterator, Limit=10_001).word("answered")


@case("answer to 11 MiB of records", "at most 10 MiB", "GetRecords")
def _(kinesis):
    stream = kinesis.stream()
    records = [{"PartitionKey": "k", "Data": encoded(b"x" * (MIB - 1))}]
    for _ in range(11):
        kinesis.of("PutRecords", StreamName=stream, Records=records)
    taken = sum(map(len, kinesis.data(kinesis.iterator(stream))))
    return "at most 10 MiB" if taken <= 10 * MIB else f"{taken // MIB + 1} MiB"


@case("MillisBehindLatest at the tip", "0", "GetRecords")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a")
    return str(kinesis.read(kinesis.iterator(stream))["MillisBehindLatest"])


@case("MillisBehindLatest with a record ahead", "more than 0", "GetRecords")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a", b"b")
    behind = kinesis.read(kinesis.iterator(stream), Limit=1)["MillisBehindLatest"]
    return "more than 0" if behind > 0 else str(behind)


@case("members of a record beside its four", "none", "Record", "EncryptionType is for KMS alone")
def _(kinesis):
    stream = kinesis.stream()
    put_all(kinesis, stream, b"a")
    [record] = kinesis.read(kinesis.iterator(stream))["Records"]
    usual = {"ApproximateArrivalTimestamp", "Data", "PartitionKey", "SequenceNumber"}
    return " ".join(sorted(record.keys() - usual)) or "none"


@case(
    "20 GetRecords on a shard at once",
    "ProvisionedThroughputExceededException",
    "GetRecords",
    "5 calls per second, with limits enforced",
    kind="limited",
)
def _(kinesis):
    iterator = kinesis.iterator(kinesis.stream())
    words = {kinesis.call("GetRecords", ShardIterator=iterator).word() for _ in range(20)}
    return min(words, key=lambda word: word == "yes")
