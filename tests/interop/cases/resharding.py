"""SplitShard, MergeShards, UpdateShardCount, and how a shard ends."""

from cases.kinesis import FIRST_SHARD, GLIMPSES, HASH_KEYS
from cases.shards import numbers
from cases.table import REFUSED, Table

TABLE = Table()
case = TABLE.case

SHARD_IDS = [f"shardId-{n:012}" for n in range(4)]
PAGES = 10


def split(kinesis, stream, shard=FIRST_SHARD, at=HASH_KEYS // 4):
    asked = {"ShardToSplit": shard, "NewStartingHashKey": str(at)}
    return kinesis.call("SplitShard", StreamName=stream, **asked)


def merge(kinesis, stream, first, second):
    asked = {"ShardToMerge": SHARD_IDS[first], "AdjacentShardToMerge": SHARD_IDS[second]}
    return kinesis.call("MergeShards", StreamName=stream, **asked)


def scale(kinesis, stream, target):
    asked = {"TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}
    return kinesis.call("UpdateShardCount", StreamName=stream, **asked)


def ended(kinesis, *data):
    """A stream whose first shard holds these and was split."""
    stream = kinesis.stream()
    for one in data:
        kinesis.put(stream, one)
    kinesis.split(stream)
    return stream


def last_answer(kinesis, stream):
    """The answer that says a shard has ended, and how many came before it."""
    iterator = kinesis.iterator(stream)
    for before in range(PAGES):
        answer = kinesis.call("GetRecords", ShardIterator=iterator)
        if answer.status != 200:
            return None, before
        iterator = answer.body.get("NextShardIterator")
        if iterator is None:
            return answer, before
    return None, PAGES


@case("children of a split", "0 to 1 2", "SplitShard")
def _(kinesis):
    shards = kinesis.shards(ended(kinesis))
    children = [shard for shard in shards if shard.get("ParentShardId") == FIRST_SHARD]
    closed = [shard for shard in shards if shard["SequenceNumberRange"].get("EndingSequenceNumber")]
    return f"{numbers(closed)} to {numbers(children)}"


@case("records put to a split shard stay readable", "yes", "SplitShard")
def _(kinesis):
    stream = ended(kinesis, b"a")
    return "yes" if kinesis.data(kinesis.iterator(stream)) == [b"a"] else "no"


@case("shard of a record put after a split", "a child", "SplitShard")
def _(kinesis):
    shard = kinesis.put(ended(kinesis))["ShardId"]
    return "the parent" if shard == FIRST_SHARD else "a child"


@case("SplitShard of a closed shard", REFUSED, "SplitShard")
def _(kinesis):
    return split(kinesis, ended(kinesis)).word("split again")


@case("SplitShard at a hash key of another shard", REFUSED, "SplitShard")
def _(kinesis):
    return split(kinesis, kinesis.stream(2), at=HASH_KEYS - 10).word("split")


@case("SplitShard of an unknown shard", "ResourceNotFoundException", "SplitShard")
def _(kinesis):
    return split(kinesis, kinesis.stream(), "shardId-000000000099").word("split")


@case("SplitShard right after another", "ResourceInUseException", "SplitShard", kind="slow")
def _(kinesis):
    for _ in range(GLIMPSES):
        stream = kinesis.stream(2)
        split(kinesis, stream)
        second = split(kinesis, stream, SHARD_IDS[1], HASH_KEYS // 4 * 3)
        if second.status != 200:
            break
    return second.word("split")


@case("parents of a merged shard", "0 and 1", "MergeShards")
def _(kinesis):
    stream = kinesis.stream(2)
    answer = merge(kinesis, stream, 0, 1)
    if answer.status != 200:
        return answer.word()
    kinesis.wait_active(stream)
    shard = kinesis.shards(stream)[-1]
    parents = [shard.get("ParentShardId"), shard.get("AdjacentParentShardId")]
    return " and ".join("none" if id is None else str(int(id[-12:])) for id in parents)


@case("MergeShards of shards apart", REFUSED, "MergeShards")
def _(kinesis):
    return merge(kinesis, kinesis.stream(3), 0, 2).word("merged")


@case("MergeShards of a shard with itself", REFUSED, "MergeShards")
def _(kinesis):
    return merge(kinesis, kinesis.stream(2), 0, 0).word("merged")


@case("UpdateShardCount of 2 to 4", "4 open of 6", "UpdateShardCount")
def _(kinesis):
    stream = kinesis.stream(2)
    answer = scale(kinesis, stream, 4)
    if answer.status != 200:
        return answer.word()
    kinesis.wait_active(stream)
    shards = kinesis.shards(stream)
    ends = [shard["SequenceNumberRange"].get("EndingSequenceNumber") for shard in shards]
    return f"{ends.count(None)} open of {len(shards)}"


@case("UpdateShardCount to more than double", REFUSED, "UpdateShardCount")
def _(kinesis):
    return scale(kinesis, kinesis.stream(2), 5).word("scaled")


@case("UpdateShardCount to less than half", REFUSED, "UpdateShardCount")
def _(kinesis):
    return scale(kinesis, kinesis.stream(4), 1).word("scaled")


@case(
    "EndingSequenceNumber of a closed shard",
    "at its last record or above",
    "SequenceNumberRange",
)
def _(kinesis):
    stream = kinesis.stream()
    last = int(kinesis.put(stream)["SequenceNumber"])
    kinesis.split(stream)
    shards = {shard["ShardId"]: shard for shard in kinesis.shards(stream)}
    if FIRST_SHARD not in shards:
        return "no such shard"
    end = shards[FIRST_SHARD]["SequenceNumberRange"].get("EndingSequenceNumber")
    if end is None:
        return "absent"
    return "at its last record or above" if int(end) >= last else "below its last record"


@case("EndingSequenceNumber of an open shard", ("null", "absent"), "SequenceNumberRange")
def _(kinesis):
    [shard] = kinesis.shards(kinesis.stream())
    numbers = shard["SequenceNumberRange"]
    if "EndingSequenceNumber" not in numbers:
        return "absent"
    return str(numbers["EndingSequenceNumber"] or "null")


@case("NextShardIterator at the end of a shard", ("null", "absent"), "GetRecords")
def _(kinesis):
    answer, _ = last_answer(kinesis, ended(kinesis, b"a"))
    return answer.form_of("NextShardIterator") if answer else "never ends"


@case(
    "answers before the one that ends a shard",
    None,
    "GetRecords",
    "the last records may come with the end; a client must not wait for an empty response",
)
def _(kinesis):
    answer, before = last_answer(kinesis, ended(kinesis, b"a"))
    return str(before) if answer else "never ends"


@case("ChildShards at the end of a shard", "1 2", "GetRecords")
def _(kinesis):
    answer, _ = last_answer(kinesis, ended(kinesis, b"a"))
    if not answer:
        return "never ends"
    children = answer.body.get("ChildShards")
    return numbers(children) if children else "absent"


@case("ChildShards of an open shard", ("null", "absent"), "GetRecords")
def _(kinesis):
    iterator = kinesis.iterator(kinesis.stream())
    return kinesis.call("GetRecords", ShardIterator=iterator).form_of("ChildShards")
