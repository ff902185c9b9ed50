"""Amazon's own consumer as the judge: a KCL worker reads what `put` writes across a split and a merge.

kinesis-mock serves Kinesis, moto the worker's lease table in DynamoDB. The worker is started before
the split: kinesis-mock gives closed shards an ending sequence number that the KCL refuses at its
start. About 100 s in all, nearly all of them waits of the KCL's own: 30 to 75 s from the start to the
first lease, and the leader hands out the leases of child shards every 20 s."""

import contextlib
import json
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import emulators
import streams
import tools
from tools import Different

APPLICATION = "judge"
JARS = emulators.INSTALLED / "amazon" / "kcl"

# With ordering on, and the same without: a program each, at the same time.
COUNT = 20_000
KEYS = 97
# From a program's first line to its last, with time for both reshards in between.
PUT_SECONDS = 20

FIRST_LEASE_SECONDS = 120
ALL_READ_SECONDS = 180
# After the last record: a copy of an aggregate would be read with the next poll, a second later.
AFTER_SECONDS = 5


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("kcl: told to end"))
    begin = time.monotonic()
    try:
        with emulators.kinesis_mock() as kinesis, emulators.moto() as tables:
            figures = judged(streams.Service("kinesis-mock", kinesis), tables.url)
    except (Different, emulators.NotReady, TimeoutError) as error:
        print(f"kcl: FAILED: {error}")
        return 1
    print(f"kcl: ok: {figures}; {time.monotonic() - begin:.0f} s")
    return 0


def judged(service, tables):
    with service.stream(shards=2) as stream, Worker(service.endpoint, tables, stream) as worker:
        lower, upper = service.shards(stream)
        worker.wait_until("both first leases", FIRST_LEASE_SECONDS, lambda: len(worker.leases) == 2)
        first_lease = time.monotonic() - worker.begin
        put_across_reshards(service, stream, lower, upper)
        shards = {shard.id: shard for shard in service.shards(stream)}
        all_read = lambda: len(worker.counts) == 2 * COUNT and worker.leases == shards.keys()
        worker.wait_until("all records", ALL_READ_SECONDS, all_read)
        worker.listen(AFTER_SECONDS)
    again = {line: count for line, count in worker.counts.items() if count != 1}
    if again:
        raise Different(f"{len(again)} records came again: {list(again.items())[:5]}")
    expected = {line.strip() for name in PROGRAMS for line in lines(name)}
    if worker.counts.keys() != expected:
        raise Different("other records were read than were put")
    if worker.disordered:
        raise Different(f"out of order within a key: {worker.disordered[:5]}")
    ended = {shard.id for shard in shards.values() if shard.closed}
    if worker.ended != ended or len(ended) != 3:
        raise Different(f"ended shards: {worker.ended}, and not {ended}")
    each = ", ".join(f"{worker.of_shard[shard]} in {shard[-2:]}" for shard in sorted(worker.of_shard))
    return (
        f"{2 * COUNT} records across a split and a merge, each read once, the ordered half in order "
        f"within its keys: {each}; first leases after {first_lease:.0f} s"
    )


# What each of the two programs is started with.
PROGRAMS = {"ordered": ["--ordered"], "plain": []}


def lines(name):
    """Each line names its key, who put it, and its number."""
    for number in range(COUNT):
        yield f'{{"key":"{name}-{number % KEYS}","number":{number}}}\n'.encode()


def put_across_reshards(service, stream, lower, upper):
    """Splits the lower shard after a third of the time, and merges its upper child away after two."""
    options = ["--partition-key-field", "key", "--rate", str(COUNT // PUT_SECONDS)]
    with contextlib.ExitStack() as running:
        programs = {}
        for name, own in PROGRAMS.items():
            with tempfile.TemporaryFile() as file:
                file.writelines(lines(name))
                file.seek(0)
                command = tools.command("put", service.endpoint, stream, *options, *own)
                programs[name] = running.enter_context(tools.Running(command, stdin=file))
        time.sleep(PUT_SECONDS / 3)
        service.split(stream, lower)
        time.sleep(PUT_SECONDS / 3)
        service.merge(stream, service.shards(stream)[-1], upper)
        for name, program in programs.items():
            put = tools.Put.from_ended(program.ended().expect_success(name))
            if (put.delivered, put.failed) != (COUNT, 0):
                raise Different(f"{name}: {put.delivered} records delivered, {put.failed} failed")


class Worker:
    """A KCL worker that is running, and what it has read until now."""

    def __init__(self, kinesis, tables, stream):
        self.begin = time.monotonic()
        self.log = emulators.log_of("kcl")
        settings = ["-Daws.cborEnabled=false", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        jars = ["-cp", f"{JARS}/classes:{JARS}/lib/*", "KclWorker"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["java", *settings, *jars, kinesis, tables, streams.REGION, stream, APPLICATION],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=emulators.clean_environment(),
                preexec_fn=emulators.end_with_parent,
            )
        self.events = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.leases, self.ended = set(), set()
        # How often each line was read, and how many came from each shard.
        self.counts, self.of_shard = Counter(), Counter()
        # The last number of each key that was put in order, and what came behind a higher one.
        self.last, self.disordered = {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        emulators.stop(self.process)

    def _read(self):
        for line in self.process.stdout:
            self.events.put(line.rstrip(b"\n"))
        self.events.put(None)

    def wait_until(self, what, seconds, is_there):
        end = time.monotonic() + seconds
        while not is_there():
            if time.monotonic() > end:
                read = sum(self.counts.values())
                raise Different(
                    f"no {what} after {seconds} s: leases of {sorted(self.leases)}, {read} records, "
                    f"{sorted(self.ended)} ended:\n{emulators.end_of(self.log)}"
                )
            self._take(timeout=0.1)

    def listen(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._take(timeout=left)

    def _take(self, timeout):
        try:
            event = self.events.get(timeout=timeout)
        except queue.Empty:
            return
        if event is None:
            raise Different(f"the worker ended by itself:\n{emulators.end_of(self.log)}")
        kind, shard, *fields = event.split(b"\t")
        shard = shard.decode()
        match kind:
            case b"lease":
                self.leases.add(shard)
            case b"record":
                self._note(shard, *fields)
            case b"ended":
                self.ended.add(shard)
            case _:
                raise Different(f"the worker says {event!r}")

    def _note(self, shard, key, data):
        self.counts[data] += 1
        self.of_shard[shard] += 1
        record = json.loads(data)
        if record["key"].encode() != key:
            raise Different(f"{data!r} came with the key {key!r}")
        if key.startswith(b"ordered-") and self.last.get(key, -1) >= record["number"]:
            self.disordered.append(f"{data} behind {self.last[key]}")
        self.last[key] = record["number"]


if __name__ == "__main__":
    sys.exit(main())
