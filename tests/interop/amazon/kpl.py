"""Amazon's own producer as the partner: what its native daemon puts across reshards, our consumer reads.

After a reshard KPLs put records again that lie outside their shard: the KPL 1.1 whole aggregates, the
KPL 1.0 only the records outside once it knows the new shard. The consumer cannot tell these copies
from records that are meant to come twice, so by default it hands them out, and loses none of either.
The runs go at the same time; about 60 s in all, of which 20 s are the pace of the puts."""

import concurrent.futures
import contextlib
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import emulators
import streams
import tools
from tools import Different

KEYS = 97
PER_SECOND = 1_000
PUT_SECONDS_MAX = 180


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("kpl: told to end"))
    begin = time.monotonic()
    runs = {"KPL 1.1.1, kinesis-mock": on_kinesis_mock}
    for name, jars in (("1.1.1", "kpl"), ("1.0.4", "kpl_1_0")):
        runs[f"KPL {name}, answers a second late"] = lambda sts, jars=jars: on_late_fake(jars, sts)
    failed = False
    with emulators.moto(account=emulators.ACCOUNT) as tables, front(tables.url) as sts:
        with concurrent.futures.ThreadPoolExecutor() as threads:
            ends = {name: threads.submit(run, sts) for name, run in runs.items()}
        for name, end in ends.items():
            try:
                print(f"kpl: {name}: ok: {end.result()}")
            except (Different, emulators.NotReady, TimeoutError, subprocess.SubprocessError) as error:
                print(f"kpl: {name}: FAILED: {error}")
                failed = True
    print(f"kpl: {time.monotonic() - begin:.0f} s")
    return int(failed)


@contextlib.contextmanager
def front(url):
    with emulators.peer("tls_front", urllib.parse.urlsplit(url).netloc) as endpoint:
        yield port_of(endpoint.url)


def port_of(url):
    return urllib.parse.urlsplit(url).port


def on_kinesis_mock(sts):
    """Of three shards the first is split, and the other two are merged."""
    with emulators.kinesis_mock() as endpoint:
        service = streams.Service("kinesis-mock", endpoint)
        with service.stream(shards=3) as stream:
            first, second, third = service.shards(stream)
            changes = [
                lambda: service.split(stream, first),
                lambda: service.merge(stream, second, third),
            ]
            tls = port_of(service.untrusted)
            return put_and_read(service, stream, "kpl", tls, sts, 20_000, changes)


def on_late_fake(jars, sts):
    """The daemon has put a second's records by an old map when it learns of a split."""
    with emulators.fake("--late-puts") as endpoint, front(endpoint.url) as tls:
        service = streams.Service("fake", endpoint)
        with service.stream(shards=1) as stream:
            changes = [lambda: service.split(stream, service.shards(stream)[0])]
            return put_and_read(service, stream, jars, tls, sts, 16_000, changes, copies=True)


def put_and_read(service, stream, jars, tls, sts, count, changes, copies=False):
    put(service, stream, jars, tls, sts, count, changes)
    stored = sum(1 for _ in every_copy(service, stream))
    if copies and stored <= count:
        raise Different("the KPL repeated nothing, so nothing was tried")
    by_default, _ = tools.tail_json(service, stream)
    by_content, _ = tools.tail_json(service, stream, "--misplaced", "content")
    expected = {f"line-{number}".encode(): f"key-{number % KEYS}" for number in range(count)}
    again = told_again("by default", by_default, expected)
    if left := told_again("with contents compared", by_content, expected):
        raise Different(f"with contents compared {left} lines came again")
    if stored < len(by_default):
        raise Different(f"{len(by_default)} lines were handed out of {stored} stored ones")
    return f"{count} lines, {stored} stored, each handed out, {again} again; none again by content"


def put(service, stream, jars, tls, sts, count, changes):
    """The changes come while the lines do, evenly spread."""
    at = emulators.INSTALLED / "amazon" / jars
    numbers = [count, KEYS, PER_SECOND]
    arguments = ["localhost", tls, sts, streams.REGION, stream, *numbers]
    command = ["java", "-cp", f"{at}/classes:{at}/lib/*", "KplLines", *arguments]
    log = emulators.log_of(f"{jars}-{stream}")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=emulators.clean_environment(),
            preexec_fn=emulators.end_with_parent,
        )
    with process:
        try:
            is_under_way = lambda: process.poll() is None
            service.wait_for_record(stream, service.shards(stream)[0], is_under_way)
            for change in changes:
                time.sleep(count / PER_SECOND / (len(changes) + 1))
                change()
            said, _ = process.communicate(timeout=PUT_SECONDS_MAX)
        finally:
            process.kill()
    # The daemon's own log goes to its standard error; the last line is ours.
    numbers = said.split()[-2:]
    if process.returncode or numbers != [str(count).encode(), b"0"]:
        end = emulators.end_of(log)
        raise Different(f"the KPL said {said.decode(errors='replace').strip()!r}:\n{end}")


def every_copy(service, stream):
    for _, kinesis_record in service.kinesis_records(stream):
        yield from streams.user_records(kinesis_record)


def told_again(how, read, expected):
    """How many lines came more than once; each has to come, with its key, and nothing else."""
    for line in read:
        if expected.get(line.data) != line.partition_key:
            raise Different(f"{how} {line.data!r} came with the key {line.partition_key!r}")
    counts = Counter(line.data for line in read)
    if missing := expected.keys() - counts.keys():
        raise Different(f"{how} {len(missing)} lines are missing: {sorted(missing)[:5]}")
    return sum(count - 1 for count in counts.values())


if __name__ == "__main__":
    sys.exit(main())
