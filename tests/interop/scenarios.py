"""What must hold between this crate and programs of others. A scenario returns its figures as one
line, or raises `Different` with what was not as it had to be."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import conformance
import emulators
import tools
from emulators import INSTALLED, PEERS, ROOT
from streams import REGION, UserRecord, delivered_records, user_records
from tools import Different, Line

# kinesalite's keep-alive, and one more.
IDLE_SECONDS = 6
AGGREGATION = ROOT / "tests/interop/aggregation/run.sh"
BOTO3_CHECK = ROOT / "tests/interop/fake/boto3_check.py"


def numbers(count):
    return [b"%d\n" % number for number in range(1, count + 1)]


# ── round trips ────────────────────────────────────────────────────────────────────────────────


def round_trip(service, count):
    """`seq 1 N | put`, then `tail | sort -n`; and Python reads the same from the stream."""
    lines = numbers(count)
    with service.stream(shards=3) as stream:
        put = tools.put(service, stream, lines)
        same("put's own count", (put.delivered, put.failed), (count, 0))
        tail = tools.tail(service, stream, "--from", "trim_horizon")
        same_lines("tail", tail.stdout.splitlines(keepends=True), lines)
        read = [
            (shard.id, user)
            for shard, record in service.kinesis_records(stream)
            for user in user_records(record)
        ]
        same_lines("boto3 and aws_kinesis_agg", [user.data + b"\n" for _, user in read], lines)
        kinesis_records = sum(1 for _ in service.kinesis_records(stream))
        same("put's count of Kinesis records", put.kinesis_records, kinesis_records)
        shards = len({shard for shard, _ in read})
        same("shards with records", shards, 3)
    return (
        f"{count} lines over 3 shards: put {put.seconds:.2f} s ({put.kinesis_records} Kinesis "
        f"records, {put.calls} calls), tail {tail.seconds:.2f} s, boto3 read {len(read)}"
    )


def plain_round_trip(service, count):
    """The same without aggregation, by one partition key: order is kept then."""
    lines = numbers(count)
    with service.stream(shards=1) as stream:
        put = tools.put(service, stream, lines, "--no-aggregation", "--partition-key", "one")
        same("put's own count", (put.delivered, put.failed), (count, 0))
        same("Kinesis records", put.kinesis_records, count)
        read, seconds = tools.tail_json(service, stream)
        same("partition keys", {line.partition_key for line in read}, {"one"})
        same("sub-sequence numbers", {line.sub_sequence_number for line in read}, {None})
        same_lines("tail", [line.data + b"\n" for line in read], lines)
    return f"{count} lines by one key: put {put.seconds:.2f} s, tail {seconds:.2f} s"


def foreign_aggregates(service, count):
    """What the Python aggregation library made comes out of `tail` whole."""
    records = [
        UserRecord(
            partition_key=f"Schlüssel-{number % 97}",
            data=b"%d \x00\xff\n %s" % (number, b"x" * (number % 300)),
            explicit_hash_key=str(number * (2**128 // (count + 1))) if number % 3 == 0 else None,
        )
        for number in range(count)
    ]
    with service.stream(shards=3) as stream:
        aggregates = service.put_aggregated(stream, records)
        lines, seconds = tools.tail_json(service, stream)
        key = ("partition key", "explicit hash key", "data")
        same_bag(
            key,
            [(line.partition_key, line.explicit_hash_key, line.data) for line in lines],
            [(record.partition_key, record.explicit_hash_key, record.data) for record in records],
        )
        expect_sub_sequence_numbers(lines)
    return f"{count} records in {aggregates} aggregates of aws_kinesis_agg: tail {seconds:.2f} s"


def expect_sub_sequence_numbers(lines):
    """In an aggregate they count from 0, in the order in which it was made."""
    aggregates = {}
    for line in lines:
        place = (line.shard_id, line.sequence_number)
        aggregates.setdefault(place, []).append(line.sub_sequence_number)
    for place, numbers_seen in aggregates.items():
        same(f"sub-sequence numbers of {place}", numbers_seen, list(range(len(numbers_seen))))


def cloudwatch(service, count):
    """What `put` uploads of itself is what CloudWatch then knows."""
    with service.stream(shards=2) as stream:
        put = tools.put(service, stream, numbers(count), "--cloudwatch", service.endpoint)
        same("put's own count", (put.delivered, put.failed), (count, 0))
        found = service.metrics("KinesisProducerLibrary", stream)
    for name, total in [
        ("UserRecordsReceived", count),
        ("UserRecordsPut", count),
        ("KinesisRecordsPut", put.kinesis_records),
        ("UserRecordsDataPut", None),
        ("BufferingTime", None),
        ("RequestTime", None),
    ]:
        if name not in found:
            raise Different(f"CloudWatch does not know {name}; it knows {sorted(found)}")
        if total is not None:
            same(f"the sum of {name}", found[name], total)
    return f"{count} lines, {len(found)} metrics of the stream in CloudWatch"


def foreign_producer(service, count):
    """aiokpl, a KPL in Python, writes; `tail` reads."""
    with service.stream(shards=3) as stream:
        script = pathlib.Path(__file__).with_name("aiokpl_put.py")
        arguments = [sys.executable, str(script), service.endpoint, stream, str(count)]
        ended = tools.run(arguments).expect_success("aiokpl")
        lines, seconds = tools.tail_json(service, stream)
        same_lines("tail", [line.data + b"\n" for line in lines], numbers(count))
        aggregated = sum(1 for line in lines if line.sub_sequence_number is not None)
    return f"{count} records of aiokpl ({ended.seconds:.2f} s), {aggregated} aggregated: tail {seconds:.2f} s"


def foreign_consumer(service, count):
    """`put` writes; async-kinesis reads."""
    lines = numbers(count)
    with service.stream(shards=3) as stream:
        put = tools.put(service, stream, lines)
        same("put's own count", (put.delivered, put.failed), (count, 0))
        script = pathlib.Path(__file__).with_name("async_kinesis_read.py")
        arguments = [sys.executable, str(script), service.endpoint, stream, str(count)]
        ended = tools.run(arguments).expect_success("async-kinesis")
        same_lines("async-kinesis", ended.stdout.splitlines(keepends=True), lines)
    return f"{count} lines in {put.kinesis_records} Kinesis records: read in {ended.seconds:.2f} s"


def throttled(service, count):
    """More than a shard takes in a second: single records of a call are refused, and sent again."""
    lines = numbers(count)
    with service.stream(shards=1) as stream:
        put = tools.put(service, stream, lines, "--no-aggregation")
        same("put's own count", (put.delivered, put.failed), (count, 0))
        tail = tools.tail(service, stream, "--from", "trim_horizon")
        same_lines("tail", tail.stdout.splitlines(keepends=True), lines)
    return (
        f"{count} lines into a shard that takes 1000 a second: put {put.seconds:.2f} s "
        f"({put.kinesis_records} Kinesis records, {put.calls} calls), tail {tail.seconds:.2f} s"
    )


def goes_on(service, count):
    """Two streams at once; a second run prints what came since the first, and nothing again."""
    first, second = numbers(count)[: count // 2], numbers(count)[count // 2 :]
    with service.stream(shards=1) as one, service.stream(shards=2) as two:
        with tempfile.TemporaryDirectory(dir=INSTALLED) as folder:
            options = ["--stream", two, "--checkpoint", str(pathlib.Path(folder, "checkpoint"))]
            runs = []
            for lines in (first, second, []):
                for stream in (one, two) if lines else ():
                    tools.put(
                        service, stream, [b"%s %s" % (stream.encode(), line) for line in lines]
                    )
                read, _ = tools.tail_json(service, one, *options)
                for stream in (one, two):
                    mine = [line.data + b"\n" for line in read if line.stream == stream]
                    expected = [b"%s %s" % (stream.encode(), line) for line in lines]
                    same_lines(f"tail, {stream}", mine, expected)
                runs.append(len(read))
    return f"two streams in three runs from one checkpoint: {' + '.join(map(str, runs))} lines"


def idle_connection(service, count):
    """The emulator closes connections after 5 s without a word: the next call is on a dead one."""
    lines = numbers(count)
    with service.stream(shards=1) as stream:
        arguments = tools.command("put", service.endpoint, stream)
        with tools.Running(arguments, stdin=subprocess.PIPE) as put:
            put.write(lines[: count // 2])
            service.wait_for_record(stream, service.shards(stream)[0], put.expect_alive)
            time.sleep(IDLE_SECONDS)
            put.write(lines[count // 2 :])
            done = tools.Put.from_ended(put.end_of_input().expect_success("put"))
        same("put's own count", (done.delivered, done.failed), (count, 0))
        tail = tools.tail(service, stream, "--from", "trim_horizon")
        same_lines("tail", tail.stdout.splitlines(keepends=True), lines)
    return f"{count} lines with {IDLE_SECONDS} s of silence between them, each once"


# ── resharding, and SIGKILL ───────────────────────────────────────────────────────────────────────


def split_and_killed(service, count, kills=2):
    """A shard is split while `put` runs; `tail --checkpoint` is killed while it reads."""
    lines = numbers(count)
    with service.stream(shards=3) as stream:
        put = put_during_split(service, stream, lines)
        same("put's own count", (put.delivered, put.failed), (count, 0))
        delivered, kinesis_records, left_out = delivered_records(service, stream)
        same_lines(
            "the stream, by the KCL's rule", [user.data + b"\n" for user in delivered], lines
        )
        with tempfile.TemporaryDirectory(dir=INSTALLED) as folder:
            runs = read_killed(service, stream, pathlib.Path(folder, "checkpoint"), count, kills)
    shards = {line.shard_id for run in runs for line in run.lines}
    # A child may hold second copies only, which are left out by their marks.
    if not 4 <= len(shards) <= 5:
        raise Different(f"{len(shards)} shards read, not 4 or 5")
    repeated = expect_exactly_once_but_for_kills(runs, lines)
    at_most = " + ".join(f"{again} of {since} since" for again, since in repeated)
    return (
        f"{count} lines, {kinesis_records} Kinesis records ({left_out} left out by the KCL's rule); "
        f"{' + '.join(str(len(run.lines)) for run in runs)} read; repeated after each kill: {at_most} "
        "the last checkpoint; none lost"
    )


def put_during_split(service, stream, lines):
    """Half before, the rest during the split, and some when it is over."""
    half, most = len(lines) // 2, len(lines) * 9 // 10
    arguments = tools.command("put", service.endpoint, stream)
    with tools.Running(arguments, stdin=subprocess.PIPE) as put:
        put.write(lines[:half])
        parent = service.shards(stream)[1]
        service.wait_for_record(stream, parent, put.expect_alive)
        meanwhile = threading.Thread(target=put.write, args=(lines[half:most],))
        meanwhile.start()
        service.split(stream, parent)
        meanwhile.join()
        put.expect_alive()
        put.write(lines[most:])
        return tools.Put.from_ended(put.end_of_input().expect_success("put"))


def live(service, count):
    """`tail` reads while `put` writes, a shard is split, and its upper half merged away."""
    lines = numbers(count)
    with service.stream(shards=2) as stream:
        options = ["--from", "trim_horizon", "--format", "json", "--max-records", str(count)]
        arguments = tools.command("tail", service.endpoint, stream, *options)
        with tools.Running(arguments) as tail:
            put = put_during_reshards(service, stream, lines)
            same("put's own count", (put.delivered, put.failed), (count, 0))
            read = [Line.parse(line) for line in tail.lines()]
            ended = tail.ended().expect_success("tail")
    same_lines("tail", [line.data + b"\n" for line in read], lines)
    shards = Counter(line.shard_id[-2:] for line in read)
    counts = ", ".join(f"{count} in {shard}" for shard, count in sorted(shards.items()))
    return f"{count} lines while put writes and shards split and merge: {counts}; {ended.seconds:.2f} s"


def put_during_reshards(service, stream, lines, endpoint=None):
    """A third before the split, a third between it and the merge, a third after it."""
    third = len(lines) // 3
    arguments = tools.command("put", endpoint or service.endpoint, stream)
    with tools.Running(arguments, stdin=subprocess.PIPE) as put:
        put.write(lines[:third])
        lower, upper = service.shards(stream)
        service.wait_for_record(stream, lower, put.expect_alive)
        service.split(stream, lower)
        put.write(lines[third : 2 * third])
        child = service.shards(stream)[-1]
        service.wait_for_record(stream, child, put.expect_alive)
        service.merge(stream, child, upper)
        put.write(lines[2 * third :])
        return tools.Put.from_ended(put.end_of_input().expect_success("put"))


# What may go wrong with a call on its way through microburst, each with its share of the calls.
TROUBLE = [
    (0.05, {"error": {"code": "ProvisionedThroughputExceededException", "status": 400}}),
    (0.03, {"error": {"code": "InternalFailure", "status": 500}}),
    (0.03, {"reset": True}),
    (0.03, {"response": {"truncate_frac": 0.5}}),
    (0.05, {"latency": 300}),
]


def under_load(service, count, troubled=False):
    """`put` writes 100 bytes a line while a shard is split and its upper half merged away, perhaps
    through a proxy in which calls go wrong. The libraries of Python, by the KCL's rule, read each
    line, and but for lost answers read it once."""
    lines = [b"%0100d\n" % number for number in range(1, count + 1)]
    # Each of them once for certain, and then by chance.
    shares = [({"times": 1}, fault) for _, fault in TROUBLE]
    shares += [({"probability": share}, fault) for share, fault in TROUBLE]
    puts = {"service": "kinesis", "operation": "PutRecords"}
    rules = [puts | share | fault for share, fault in shares]
    with contextlib.ExitStack() as running:
        stream = running.enter_context(service.stream(shards=2))
        endpoint = service.endpoint
        if troubled:
            proxy = running.enter_context(emulators.microburst(service.endpoint, rules))
            endpoint = proxy.url
        put = put_during_reshards(service, stream, lines, endpoint)
        fired = emulators.microburst_fired(endpoint) if troubled else 0
        same("put's own count", (put.delivered, put.failed), (count, 0))
        read, kinesis_count, left_out = delivered_records(service, stream)
    counts = Counter(user.data + b"\n" for user in read)
    same_lines("boto3 and aws_kinesis_agg", counts.keys(), lines)
    again = counts.total() - count
    if troubled and not fired:
        raise Different("nothing went wrong in the proxy")
    if not troubled and again:
        raise Different(f"{again} lines came again")
    return (
        f"{count} lines of 100 bytes under a split and a merge: put {put.seconds:.2f} s "
        f"({put.kinesis_records} Kinesis records, {put.calls} calls, {fired} faults), none lost, "
        f"{again} came again, {left_out} of {kinesis_count} Kinesis records left out"
    )


class Run:
    """One life of `tail`: what it wrote, and the checkpoint it left."""

    def __init__(self, lines, checkpoint):
        self.lines = lines
        self.checkpoint = checkpoint


def read_killed(service, stream, checkpoint, count, kills):
    """Kills it `kills` times, each time after it has saved a checkpoint; then lets it end."""
    options = ["--from", "trim_horizon", "--checkpoint", str(checkpoint), "--format", "json"]
    arguments = tools.command("tail", service.endpoint, stream, "--until-caught-up", *options)
    runs = []
    for life in range(kills + 1):
        is_last = life == kills
        read, before = [], saved(checkpoint)
        with tools.Running(arguments) as tail:
            for text in tail.lines():
                read.append(Line.parse(text))
                # Read no faster than it takes to save some checkpoints on the way.
                if not is_last and len(read) % 100 == 0:
                    time.sleep(0.02)
                if not is_last and is_due(read, before, saved(checkpoint), count // (kills + 2)):
                    tail.kill()
            ended = tail.ended()
        if is_last:
            ended.expect_success("the last tail")
        elif ended.status != -9:
            raise Different(
                f"tail ended with status {ended.status} after {len(read)} lines, before it saved "
                f"a checkpoint that it could be killed after: {ended.stderr.strip()}"
            )
        runs.append(Run(read, positions(saved(checkpoint))))
    return runs


def is_due(read, before, now, share):
    """Its share is read, a checkpoint is saved, and some lines came since."""
    return len(read) >= share and now != before and len(read) % 7 == 0


def saved(checkpoint):
    """The checkpoint's JSON, which comes after the checksum."""
    try:
        return checkpoint.read_text().split("\n")[1]
    except FileNotFoundError:
        return ""


def positions(text):
    """Shard by shard, how far the checkpoint says it has come."""
    return {} if not text else tools.checkpoint_positions(json.loads(text))


def expect_exactly_once_but_for_kills(runs, lines):
    """By (shard, sequence number, sub-sequence number). Returns, for each kill, how many records
    came again and how many there were since the checkpoint."""
    repeated, seen = [], set()
    for life, run in enumerate(runs):
        identities = [line.identity() for line in run.lines]
        if len(set(identities)) != len(identities):
            raise Different(f"run {life + 1} of tail wrote a record twice")
        if life > 0:
            checkpoint = runs[life - 1].checkpoint
            done = [line for line in run.lines if tools.is_done(checkpoint, line)]
            if done:
                raise Different(
                    f"run {life + 1} of tail wrote {len(done)} records again that the checkpoint "
                    f"before it covers, {done[0]} for one"
                )
            again = sum(1 for identity in identities if identity in seen)
            since = {
                line.identity()
                for earlier in runs[:life]
                for line in earlier.lines
                if not tools.is_done(checkpoint, line)
            }
            repeated.append((again, len(since)))
            if again > len(since):
                raise Different(f"{again} records came again, {len(since)} since the checkpoint")
        seen.update(identities)
    once = {line.identity(): line.data for run in runs for line in run.lines}
    same_lines("all runs of tail", [data + b"\n" for data in once.values()], lines)
    return repeated


# ── bad input ──────────────────────────────────────────────────────────────────────────────────


def bad_input(service):
    """Each is one clear line and a status, never a panic, from both programs."""
    # Nothing may listen on the discard port of a machine that runs tests.
    nobody = "http://127.0.0.1:9"
    rows = [
        ("unknown stream", dict(stream="no-such-stream"), "no-such-stream"),
        ("region", dict(region="us east 1"), '"us east 1"'),
        ("endpoint", dict(endpoint="not a url"), '"not a url"'),
        ("nobody listens", dict(endpoint=nobody), "127.0.0.1:9"),
        ("no access key", dict(without="AWS_ACCESS_KEY_ID"), "AWS_ACCESS_KEY_ID"),
        ("no secret key", dict(without="AWS_SECRET_ACCESS_KEY"), "AWS_SECRET_ACCESS_KEY"),
    ]
    if service.untrusted:
        rows.append(("certificate", dict(endpoint=service.untrusted), "ertificate"))
    with service.stream(shards=1) as stream:
        place = dict(stream=stream, region=REGION, endpoint=service.endpoint, without=None)
        for name, wrong, named in rows:
            for program in ("put", "tail"):
                expect_refusal(f"{program}, {name}", program, place | wrong, named)
        oversized(service, stream)
    return f"{len(rows)} kinds of it for both programs, and an oversized record: each its error"


def expect_refusal(name, program, place, named):
    arguments = tools.command(program, place["endpoint"], place["stream"], region=place["region"])
    if program == "tail":
        arguments.append("--until-caught-up")
    environment = tools.credentials()
    environment.pop(place["without"], None)
    ended = tools.run(arguments, b"one line\n", environment)
    same(f"the status of {name}", ended.status, 1)
    expect_clear(name, ended, named)


def expect_clear(name, ended, named):
    said = ended.stderr.strip()
    if "panicked" in said or "RUST_BACKTRACE" in said:
        raise Different(f"{name}: a panic: {said}")
    errors = [line for line in said.splitlines() if not tools.SUMMARY.match(line)]
    if len(errors) != 1:
        raise Different(f"{name}: {len(errors)} lines of error, not one:\n{said}")
    if named not in said:
        raise Different(f"{name}: the error does not name {named}: {said}")


def oversized(service, stream):
    """One record of more than 1 MiB fails alone."""
    lines = [b"before\n", b"x" * (1024 * 1024 + 1) + b"\n", b"after\n"]
    ended = tools.run(tools.command("put", service.endpoint, stream), b"".join(lines))
    same("the status with an oversized record", ended.status, 1)
    put = tools.Put.from_ended(ended)
    same("with an oversized record, (delivered, failed)", (put.delivered, put.failed), (2, 1))
    expect_clear("oversized record", ended, "1048576")
    tail = tools.tail(service, stream, "--from", "trim_horizon")
    same_lines("tail", tail.stdout.splitlines(keepends=True), [lines[0], lines[2]])


# ── programs and scripts of other parts of the suite ───────────────────────────────────────────


def sdk_check(service):
    """The AWS SDK for Rust, as a judge of the emulator itself."""
    return script([PEERS / "sdk_check", service.endpoint], {})


def script(arguments, environment):
    ended = tools.run([str(argument) for argument in arguments], environment=environment)
    said = ended.stdout.decode(errors="replace").strip()
    if ended.status != 0:
        raise Different(f"status {ended.status}:\n{said}\n{ended.stderr.strip()}")
    if not said:
        raise Different("it said nothing")
    return said.splitlines()[-1]


def aggregation():
    """The aggregation format against the libraries of others, byte by byte."""
    return script(["bash", AGGREGATION], builds() | library_places())


def conformance_table():
    """The table in the fake's documentation, asked for again."""
    figures, wrong, odd = conformance.check()
    for text in odd:
        print(f"odd: {text}", end="", flush=True)
    if wrong:
        raise Different("\n".join([figures, *wrong]))
    return figures


def boto3_on_the_fake(service):
    """What boto3 makes of the fake, call by call."""
    environment = tools.credentials() | library_places()
    return script([sys.executable, "-B", BOTO3_CHECK, service.endpoint], environment)


def library_places():
    return {"PYTHON": sys.executable, "NODE_PATH": str(INSTALLED / "npm" / "node_modules")}


def builds():
    """What cargo needs of the caller's environment."""
    names = ("HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN")
    return {name: os.environ[name] for name in names if name in os.environ}


# ── comparing ──────────────────────────────────────────────────────────────────────────────────


def same(what, seen, expected):
    if seen != expected:
        raise Different(f"{what}: {seen}, not {expected}")


def same_lines(what, seen, expected):
    """As `sort -n` would show them."""
    same_bag((f"lines of {what}",), seen, expected)


def same_bag(what, seen, expected):
    seen, expected = Counter(seen), Counter(expected)
    missing, extra = expected - seen, seen - expected
    if missing or extra:
        raise Different(
            f"{', '.join(what)}: {missing.total()} missing {some(missing)}, "
            f"{extra.total()} too many {some(extra)}, of {expected.total()}"
        )


def some(bag):
    shown = [str(item)[:60] for item in list(bag)[:5]]
    return f"({', '.join(shown)}{', …' if len(bag) > 5 else ''})" if bag else ""
