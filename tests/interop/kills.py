"""SIGKILL, again and again, for programs that start at LATEST, while others put records, split and merge
the shards, and step the Date header where the endpoint can. `SEED=…` repeats the plan, `KILLS=…` its length.

`exactly_once` keeps checkpoint and results in one transaction: each record is in its table once.
`file_store` keeps the checkpoint in a file: no record is missing, and one comes again only if it was
handed out after the last commit of the life before."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass

import tools
from emulators import INSTALLED, ROOT
from streams import UserRecord, user_records
from tools import Different

PROGRAMS = ROOT / "target/exactly_once/debug"
KILLS = 20
# A start at LATEST is decided in the first life that comes so far.
KILLS_OF_A_STREAM = 10
PAUSE_SECONDS_MAX = 0.2
# From before its first call to after some commits; that slow one takes longer to the first.
LIFE_SECONDS = {"kinesis-mock": (0.0, 2.0)}
LIFE_SECONDS_USUAL = (0.0, 0.8)
PUT_PAUSE_SECONDS = 0.05
RESHARD_PAUSE_SECONDS = (0.3, 2.0)
STEP_PAUSE_SECONDS = (0.2, 1.5)
# Less than half the shortest retention: further, and a quiet shard looks trimmed.
STEP_MAX_MS = 11 * 3_600_000
OPEN_SHARDS_MAX = 4


def exactly_once(service):
    def check(lives, expected, required):
        rows = Counter(results(lives.database))
        twice = [row for row, count in rows.items() if count > 1]
        if twice:
            raise Different(f"{len(twice)} records are in the table twice: {twice[:3]}")
        same_rows(rows, expected, required)
        return 0

    return under_kills(service, ExactlyOnce, check)


def file_store(service):
    def check(lives, expected, required):
        rows = results(lives.database)
        same_rows(rows, expected, required)
        return len(rows) - len(set(rows))

    return under_kills(service, FileStore, check)


def under_kills(service, kind, check):
    kills = int(os.environ.get("KILLS", KILLS))
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    chance = random.Random(seed)
    begin, total = time.monotonic(), Counter()
    for first in range(0, kills, KILLS_OF_A_STREAM):
        count = min(KILLS_OF_A_STREAM, kills - first)
        try:
            total += stream_under_kills(service, kind, check, count, chance)
        except Exception as error:
            error.add_note(f"SEED={seed}, in the stream from kill {first} on")
            raise
    figures = ", ".join(f"{count} {what}" for what, count in total.items())
    return f"{figures}; {time.monotonic() - begin:.0f} s; none lost, {kind.promise}"


def stream_under_kills(service, kind, check, kills, chance):
    """A new stream, and so a new start at LATEST."""
    with service.stream(shards=2) as stream, tempfile.TemporaryDirectory(dir=INSTALLED) as folder:
        lives = kind(service, stream, pathlib.Path(folder))
        with Crowd(service, stream, chance.randrange(2**32)) as crowd:
            first, early = None, 0
            for _ in range(kills):
                early += lives.killed(chance)
                if first is None and lives.has_started:
                    # What is made from now on arrives after `start` has returned.
                    first = crowd.records + 1
                    crowd.may_step.set()
                time.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))
        lives.last()
        expected = truth(service, stream)
        required = [row for row in expected if first and number_of(row) >= first]
        again = check(lives, expected, required)
        shards = len(service.shards(stream))
    return Counter(
        {
            "kills": kills,
            "without a commit in that life": early,
            "starts at LATEST": 1,
            "user records since": len(required),
            "came again": again,
            "shards": shards,
            "splits": crowd.splits,
            "merges": crowd.merges,
            "steps of the Date header": crowd.steps,
        }
    )


class Lives:
    """A program that is started, killed after a random time, and started again."""

    program = promise = None

    def __init__(self, service, stream, folder):
        self.service, self.stream = service, stream
        self.database = folder / "results.db"
        self.life = 0
        # Whether a life has said that its consumer has started.
        self.has_started = False

    def arguments(self):
        place = ["--region", "us-east-1", "--endpoint", self.service.endpoint]
        place += ["--database", str(self.database)]
        return [str(PROGRAMS / self.program), "--stream", self.stream, *place]

    def killed(self, chance):
        """One life of random length. Returns whether nothing was committed in it."""
        before = self.place()
        self.life += 1
        with tools.Running(self.arguments()) as program:
            time.sleep(chance.uniform(*LIFE_SECONDS.get(self.service.name, LIFE_SECONDS_USUAL)))
            if program.process.poll() is not None:
                raise Different(f"it ended by itself: {program.ended().stderr.strip()}")
            program.kill()
            self.has_started |= b"started\n" in program.process.stdout.read()
        after = self.place()
        self.look()
        return after == before

    def last(self):
        self.life += 1
        ended = tools.run([*self.arguments(), "--until-caught-up"])
        ended.expect_success("the last life")
        self.look()

    def place(self):
        """What a restart goes on from; None if there is nothing yet."""
        raise NotImplementedError

    def look(self):
        """Checks what the life left."""


class ExactlyOnce(Lives):
    program, promise = "exactly-once", "each is in the table once"

    def arguments(self):
        return [*super().arguments(), "--from-latest"]

    def place(self):
        rows = query(self.database, "SELECT checkpoint FROM place")
        return rows[0][0] if rows else None


class FileStore(Lives):
    program, promise = "file-store", "each that came again came after the last commit"

    def __init__(self, service, stream, folder):
        super().__init__(service, stream, folder)
        self.file = folder / "checkpoint"
        # What is committed when a life begins.
        self.done = {}

    def arguments(self):
        return [*super().arguments(), "--checkpoint", str(self.file), "--run", str(self.life)]

    def place(self):
        try:
            text = self.file.read_text()
        except FileNotFoundError:
            if self.done:
                raise Different("the checkpoint file is gone") from None
            return None
        head, _, lines = text.partition("\n")
        if head != f"md5 {hashlib.md5(lines.encode()).hexdigest()}":
            raise Different(f"the checkpoint file is damaged: {head}")
        return lines

    def look(self):
        """Nothing that was committed before this life came again in it, and each shard came in order."""
        seen = {}
        rows = query(
            self.database,
            "SELECT shard_id, sequence_number, sub_sequence_number FROM results "
            f"WHERE run = {self.life} ORDER BY rowid",
        )
        for shard_id, number, sub in rows:
            place = Place(shard_id, int(number), None if sub == -1 else sub)
            if tools.is_done(self.done, place):
                raise Different(f"life {self.life}: {place} was committed before and came again")
            if seen.get(shard_id, (0, -1)) >= (place.sequence_number, sub):
                raise Different(f"life {self.life}: {place} came after {seen[shard_id]}")
            seen[shard_id] = (place.sequence_number, sub)
        saved = self.place()
        self.done = tools.checkpoint_positions(json.loads(saved.partition("\n")[0])) if saved else {}


@dataclass(frozen=True)
class Place:
    shard_id: str
    sequence_number: int
    sub_sequence_number: int | None


def query(database, statement):
    if not database.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            return connection.execute(statement).fetchall()
    except sqlite3.OperationalError:
        # No table yet.
        return []


def results(database):
    rows = query(
        database,
        "SELECT shard_id, sequence_number, sub_sequence_number, partition_key, data FROM results",
    )
    return [(shard, number, None if sub == -1 else sub, *rest) for shard, number, sub, *rest in rows]


def number_of(row):
    """Of a record, in the order in which they were made."""
    return int(row[-1].removeprefix(b"record "))


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


def same_rows(seen, expected, required):
    seen, expected = set(seen), Counter(expected)
    if max(expected.values(), default=0) != 1:
        raise Different("the truth has a record twice, or none")
    missing, extra = set(required) - seen, seen - set(expected)
    if missing or extra:
        raise Different(
            f"{len(missing)} rows missing {list(missing)[:3]}, {len(extra)} too many "
            f"{list(extra)[:3]}, of {len(required)}"
        )


class Crowd:
    """Those who put records, split and merge shards, and step the Date header, until the last kill."""

    def __init__(self, service, stream, seed):
        self.service, self.stream = service, stream
        self.put_chance, self.reshard_chance = random.Random(seed + 1), random.Random(seed + 2)
        self.step_chance = random.Random(seed + 3)
        self.splits = self.merges = self.steps = self.records = 0
        self.over = threading.Event()
        # A start at LATEST means a time, which the service's clock alone can tell.
        self.may_step = threading.Event()
        self.failed = None
        self.threads = [threading.Thread(target=self._until_over, args=(work, pause)) for work, pause in (
            (self._put, lambda: PUT_PAUSE_SECONDS),
            (self._reshard, lambda: self.reshard_chance.uniform(*RESHARD_PAUSE_SECONDS)),
            (self._step, lambda: self.step_chance.uniform(*STEP_PAUSE_SECONDS)),
        )]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if self.service.step_date:
            self.service.step_date(0)
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

    def _step(self):
        if self.service.step_date and self.may_step.is_set():
            self.service.step_date(self.step_chance.randint(-STEP_MAX_MS, STEP_MAX_MS))
            self.steps += 1
