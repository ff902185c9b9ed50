"""One stream with all that a stream may hold: plain records, aggregates that three libraries made, and
everything malformed that there is. `tail` has to read each exactly, in the order of its shard."""

import base64
import hashlib
import json
import random

import tools
from aiokpl.aggregation import UserRecord as AiokplRecord
from aiokpl.aggregation import encode_aggregated
from aws_kinesis_agg.aggregator import AggRecord
from emulators import INSTALLED, ROOT
from tools import Different

VECTORS = ROOT / "tests/data/vectors/malformed.json"
NODE_PEER = ROOT / "tests/interop/aggregation/agg_peer.cjs"
PLAIN = 100
AGGREGATES_EACH = 20
SEED = 1

# Their checksum is right, and an index leads nowhere or a hash key is none. The KCL delivers what
# comes before the fault and loses the rest; here they are handed on whole.
HANDED_ON_WHOLE = (
    "ehk_2_128",
    "ehk_bad_after_good",
    "ehk_empty",
    "ehk_index_no_table",
    "ehk_index_out_of_range",
    "ehk_negative",
    "ehk_not_a_number",
    "no_tables",
    "pk_index_2_31",
    "pk_index_2_32",
    "pk_index_2_64_minus_1",
    "pk_index_out_of_range_first",
    "pk_index_out_of_range_last",
    "pk_index_out_of_range_middle",
    "pk_index_out_of_range_only",
    "pk_table_as_varint",
)


def mixed(service):
    chance = random.Random(SEED)
    made = [plain(number, chance) for number in range(PLAIN)]
    for library in (by_python, by_aiokpl, by_node):
        made += [aggregate(library, number, chance) for number in range(AGGREGATES_EACH)]
    made += malformed()
    chance.shuffle(made)
    entries = [
        {"PartitionKey": f"outer {number}", "Data": data} for number, (data, _) in enumerate(made)
    ]
    with service.stream(shards=3) as stream:
        service.put(stream, entries)
        read, seconds = tools.tail_json(service, stream, "--misplaced", "deliver")
        for shard in service.shards(stream):
            owned = [
                inner(entry["PartitionKey"])
                for entry, (_, inner) in zip(entries, made)
                if shard.owns(hash_key(entry["PartitionKey"]))
            ]
            expected = [record for records in owned for record in records]
            seen = [
                (line.partition_key, line.explicit_hash_key, line.data, line.sub_sequence_number)
                for line in read
                if line.shard_id == shard.id
            ]
            same_order(shard.id, seen, expected)
    return f"{len(entries)} Kinesis records, {len(read)} user records: tail {seconds:.2f} s"


def hash_key(partition_key):
    return int.from_bytes(hashlib.md5(partition_key.encode()).digest(), "big")


def same_order(shard, seen, expected):
    for at, (one, other) in enumerate(zip(seen, expected)):
        if one != other:
            raise Different(f"{shard}: record {at} is {one}, not {other}")
    if len(seen) != len(expected):
        raise Different(f"{shard}: {len(seen)} records, not {len(expected)}")


# ── what is put, and what has to come out of it under the outer partition key ──────────────────────


def plain(number, chance):
    data = b"plain %d " % number + chance.randbytes(chance.randrange(200))
    return data, whole(data)


def whole(data):
    return lambda outer: [(outer, None, data, None)]


def parts(records):
    return lambda _: [(key, hash_key, data, sub) for sub, (key, hash_key, data) in enumerate(records)]


def aggregate(library, number, chance):
    records = [
        (
            f"{library.__name__} {number % 7} é{sub % 3}",
            str(chance.randrange(2**128)),
            b"%d.%d " % (number, sub) + chance.randbytes(chance.randrange(100)),
        )
        for sub in range(chance.randrange(2, 30))
    ]
    return library(records), parts(records)


def by_python(records):
    made = AggRecord()
    for partition_key, explicit_hash_key, data in records:
        if not made.add_user_record(partition_key, data, explicit_hash_key):
            raise RuntimeError("aws_kinesis_agg does not take the record")
    return made.get_contents()[2]


def by_aiokpl(records):
    return encode_aggregated(
        [AiokplRecord(partition_key=p, explicit_hash_key=e, data=d) for p, e, d in records]
    )


def by_node(records):
    text = [[p, e, base64.b64encode(d).decode()] for p, e, d in records]
    valid = base64.b64encode(by_python(records)).decode()
    ended = tools.run(
        ["node", str(NODE_PEER)],
        stdin=json.dumps({"records": text, "blob": valid}).encode() + b"\n",
        environment={"NODE_PATH": str(INSTALLED / "npm/node_modules")},
    )
    return base64.b64decode(json.loads(ended.expect_success("node").stdout)["blob"])


def malformed():
    """By what the KCL makes of it, without its look at the shard's range, which is a policy here."""
    for vector in json.loads(VECTORS.read_text())["vectors"]:
        data = base64.b64decode(vector.get("blob", ""))
        read = vector["py" if vector["name"].startswith("range_") else "kcl"]
        if read["result"] != "records" or vector["name"] in HANDED_ON_WHOLE:
            yield data, whole(data)
            continue
        yield data, parts([(p, as_number(e), base64.b64decode(d)) for p, e, d, _ in read["records"]])


def as_number(explicit_hash_key):
    """A number is what counts: the text may have zeros before it."""
    return None if explicit_hash_key is None else str(int(explicit_hash_key))
