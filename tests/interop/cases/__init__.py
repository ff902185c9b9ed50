"""What an endpoint that calls itself Kinesis does, case by case. Each module of this package
declares some; `all_cases` has them in the order of the table."""

from cases import reads, resharding, shards, streams, wire, writes

MODULES = (streams, shards, writes, reads, resharding, wire)


def all_cases():
    return [case for module in MODULES for case in module.TABLE.cases]
