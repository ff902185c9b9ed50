"""SIGKILL, again and again, for the program that writes each record exactly once into SQLite, while
others put records and split and merge the shards. `SEED=…` repeats the plan, `KILLS=…` its length."""

import os
import pathlib
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter

import tools
from emulators import INSTALLED, ROOT
from streams import UserRecord, user_records
from tools import Different

PROGRAM = ROOT / "target/exactly_once/debug/exactly-once"
KILLS = 10
# From before its first call to after some commits; that slow one takes longer to the first.
LIFE_SECONDS = {"kinesis-mock": (0.0, 2.0)}
LIFE_SECONDS_USUAL = (0.0, 0.8)
PUT_PAUSE_SECONDS = 0.05
RESHARD_PAUSE_SECONDS = (0.3, 2.0)
OPEN_SHARDS_MAX = 4


def exactly_once(service):
    kills = int(os.environ.get("KILLS", KILLS))
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    chance = random.Random(seed)
    try:
        with service.stream(shards=2) as stream, tempfile.TemporaryDirectory(dir=INSTALLED) as folder:
            database = pathlib.Path(folder, "results.db")
            with Crowd(service, stream, seed) as crowd:
                begin = time.monotonic()
                early = sum(killed(service, stream, database, chance) for _ in range(kills))
                seconds = time.monotonic() - begin
            run(service, stream, database)
            expected = truth(service, stream)
            same_rows(results(database), expected)
            shards = len(service.shards(stream))
    except Exception as error:
        error.add_note(f"SEED={seed}")
        raise
    return (
        f"{kills} kills in {seconds:.0f} s ({early} before the first commit of a life), "
        f"{len(expected)} user records in {shards} shards ({crowd.splits} splits, {crowd.merges} "
        "merges): each is in the table once"
    )


def arguments(service, stream, database, *options):
    place = ["--region", "us-east-1", "--endpoint", service.endpoint, "--database", str(database)]
    return [str(PROGRAM), "--stream", stream, *place, *options]


def killed(service, stream, database, chance):
    """One life of random length. Returns whether nothing was committed in it."""
    before = place(database)
    with tools.Running(arguments(service, stream, database)) as program:
        time.sleep(chance.uniform(*LIFE_SECONDS.get(service.name, LIFE_SECONDS_USUAL)))
        if program.process.poll() is not None:
            raise Different(f"it ended by itself: {program.ended().stderr.strip()}")
        program.kill()
    return place(database) == before


def run(service, stream, database):
    ended = tools.run(arguments(service, stream, database, "--until-caught-up"))
    ended.expect_success("the last life")


def place(database):
    try:
        with sqlite3.connect(database) as connection:
            return connection.execute("SELECT checkpoint FROM place").fetchone()
    except sqlite3.OperationalError:
        return None


def results(database):
    with sqlite3.connect(database) as connection:
        return connection.execute(
            "SELECT shard_id, sequence_number, sub_sequence_number, partition_key, data FROM results"
        ).fetchall()


def truth(service, stream):
    """What boto3 and the aggregation library for Python find in the stream."""
    rows = []
    for shard, kinesis_record in service.kinesis_records(stream):
        inner = list(user_records(kinesis_record))
        is_aggregate = len(inner) != 1 or inner[0].data != kinesis_record["Data"]
        for sub, record in enumerate(inner):
            number = kinesis_record["SequenceNumber"]
            sub = sub if is_aggregate else None
            rows.append((shard.id, number, sub, record.partition_key, record.data))
    return rows


def same_rows(seen, expected):
    seen, expected = Counter(seen), Counter(expected)
    if max(expected.values(), default=0) != 1:
        raise Different("the truth has a record twice, or none")
    missing, extra = expected - seen, seen - expected
    if missing or extra:
        raise Different(
            f"{missing.total()} rows missing {list(missing)[:3]}, {extra.total()} too many "
            f"{list(extra)[:3]}, of {expected.total()}"
        )


class Crowd:
    """Those who put records, and split and merge shards, until the last kill."""

    def __init__(self, service, stream, seed):
        self.service, self.stream = service, stream
        self.put_chance, self.reshard_chance = random.Random(seed + 1), random.Random(seed + 2)
        self.splits = self.merges = self.records = 0
        self.over = threading.Event()
        self.failed = None
        self.threads = [threading.Thread(target=self._until_over, args=(work, pause)) for work, pause in (
            (self._put, lambda: PUT_PAUSE_SECONDS),
            (self._reshard, lambda: self.reshard_chance.uniform(*RESHARD_PAUSE_SECONDS)),
        )]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if self.failed:
            raise self.failed

    def _until_over(self, work, pause):
        try:
            while not self.over.wait(pause()):
                work()
        except Exception as error:
            self.failed = error

    def _put(self):
        """Some plain records and some in aggregates, of all shards."""
        records = [self._record() for _ in range(self.put_chance.randrange(1, 30))]
        plain = [{"PartitionKey": r.partition_key, "Data": r.data} for r in records[::5]]
        aggregated = [record for at, record in enumerate(records) if at % 5]
        # Shards may change between the listing and the call; what is misplaced then is read as well.
        self.service.put(self.stream, plain)
        if aggregated:
            self.service.put_aggregated(self.stream, aggregated)

    def _record(self):
        self.records += 1
        return UserRecord(f"key {self.put_chance.randrange(50)}", b"record %d" % self.records)

    def _reshard(self):
        open_shards = [shard for shard in self.service.shards(self.stream) if not shard.closed]
        open_shards.sort(key=lambda shard: shard.first)
        at = self.reshard_chance.randrange(len(open_shards))
        can_merge = at + 1 < len(open_shards)
        if can_merge and (len(open_shards) >= OPEN_SHARDS_MAX or self.reshard_chance.random() < 0.5):
            self.service.merge(self.stream, open_shards[at], open_shards[at + 1])
            self.merges += 1
        elif len(open_shards) < OPEN_SHARDS_MAX:
            self.service.split(self.stream, open_shards[at])
            self.splits += 1
