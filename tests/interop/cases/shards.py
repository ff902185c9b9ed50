"""ListShards: pages, tokens and filters."""

from cases.kinesis import FIRST_SHARD
from cases.table import REFUSED, Table

TABLE = Table()
case = TABLE.case
PAGE = "ListShards"


def numbers(shards):
    """Shards by the ends of their names."""
    return " ".join(str(int(shard["ShardId"][-12:])) for shard in shards) or "none"


def filtered(kinesis, name, **members):
    return numbers(kinesis.of("ListShards", StreamName=name, **members)["Shards"])


def resharded(kinesis):
    """Shard 0, closed, and its children 1 and 2."""
    name = kinesis.stream()
    kinesis.split(name)
    return name


@case("MaxResults 2 of 3 shards", "0 1", PAGE)
def _(kinesis):
    return filtered(kinesis, kinesis.stream(3), MaxResults=2)


@case("NextToken alone", "2", PAGE)
def _(kinesis):
    answer = kinesis.of("ListShards", StreamName=kinesis.stream(3), MaxResults=2)
    # Some have no second page; what they do with a token is still a question.
    token = answer.get("NextToken") or "AAAA"
    return numbers(kinesis.of("ListShards", NextToken=token)["Shards"])


@case("NextToken with StreamName", REFUSED, PAGE)
def _(kinesis):
    name = kinesis.stream(3)
    answer = kinesis.of("ListShards", StreamName=name, MaxResults=2)
    token = answer.get("NextToken") or "AAAA"
    return kinesis.call("ListShards", StreamName=name, NextToken=token).word("answered")


@case("NextToken on the last page", ("null", "absent"), PAGE, "no example on the pages has a null member")
def _(kinesis):
    return kinesis.call("ListShards", StreamName=kinesis.stream()).form_of("NextToken")


@case("garbage NextToken", REFUSED, PAGE)
def _(kinesis):
    return kinesis.call("ListShards", NextToken="garbage").word("answered")


@case("MaxResults 0", REFUSED, PAGE)
def _(kinesis):
    name = kinesis.stream()
    return kinesis.call("ListShards", StreamName=name, MaxResults=0).word("answered")


@case("MaxResults 10,001", REFUSED, PAGE)
def _(kinesis):
    name = kinesis.stream()
    return kinesis.call("ListShards", StreamName=name, MaxResults=10_001).word("answered")


@case("ExclusiveStartShardId 0 of 3", "1 2", PAGE)
def _(kinesis):
    return filtered(kinesis, kinesis.stream(3), ExclusiveStartShardId=FIRST_SHARD)


@case("no filter, after a split", "0 1 2", PAGE)
def _(kinesis):
    return filtered(kinesis, resharded(kinesis))


@case("AT_LATEST, after a split", "1 2", PAGE)
def _(kinesis):
    return filtered(kinesis, resharded(kinesis), ShardFilter={"Type": "AT_LATEST"})


@case("AT_TRIM_HORIZON, after a split", "0", PAGE)
def _(kinesis):
    return filtered(kinesis, resharded(kinesis), ShardFilter={"Type": "AT_TRIM_HORIZON"})


@case("FROM_TRIM_HORIZON, after a split", "0 1 2", PAGE)
def _(kinesis):
    return filtered(kinesis, resharded(kinesis), ShardFilter={"Type": "FROM_TRIM_HORIZON"})


@case("AFTER_SHARD_ID 0, after a split", "1 2", PAGE)
def _(kinesis):
    after = {"Type": "AFTER_SHARD_ID", "ShardId": FIRST_SHARD}
    return filtered(kinesis, resharded(kinesis), ShardFilter=after)


@case("filter of an unknown type", REFUSED, PAGE)
def _(kinesis):
    name = kinesis.stream()
    unknown = {"Type": "AT_NOON"}
    return kinesis.call("ListShards", StreamName=name, ShardFilter=unknown).word("answered")
