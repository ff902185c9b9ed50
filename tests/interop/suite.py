"""Runs the scenarios on the emulators, one line each, some emulators at a time: what they do most is
wait. Arguments: only those whose name has one of these words in it."""

import contextlib
import signal
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import emulators
import flink
import kills
import mixed
import readme
import scenarios
from streams import Service

SUITE = {
    "kinesalite": (
        emulators.kinesalite,
        {
            "round trip": partial(scenarios.round_trip, count=20_000),
            "plain round trip": partial(scenarios.plain_round_trip, count=2_000),
            "goes on": partial(scenarios.goes_on, count=2_000),
            "aggregates of Python": partial(scenarios.foreign_aggregates, count=3_000),
            "mixed stream": mixed.mixed,
            "aiokpl": partial(scenarios.foreign_producer, count=2_000),
            "async-kinesis": partial(scenarios.foreign_consumer, count=2_000),
            "live resharding": partial(scenarios.live, count=6_000),
            "load": partial(scenarios.under_load, count=30_000),
            "load through microburst": partial(scenarios.under_load, count=30_000, troubled=True),
            "split and SIGKILL": partial(scenarios.split_and_killed, count=20_000),
            "idle connection": partial(scenarios.idle_connection, count=1_000),
            "Flink's manual tests": flink.manual_tests,
            "bad input": scenarios.bad_input,
            "AWS SDK for Rust": scenarios.sdk_check,
        },
    ),
    # About 200 requests and 3 MB a second is all it serves.
    "kinesis-mock": (
        emulators.kinesis_mock,
        {
            "round trip": partial(scenarios.round_trip, count=20_000),
            "plain round trip": partial(scenarios.plain_round_trip, count=200),
            "goes on": partial(scenarios.goes_on, count=2_000),
            "aggregates of Python": partial(scenarios.foreign_aggregates, count=1_000),
            "mixed stream": mixed.mixed,
            "aiokpl": partial(scenarios.foreign_producer, count=1_000),
            "live resharding": partial(scenarios.live, count=6_000),
            "split and SIGKILL": partial(scenarios.split_and_killed, count=20_000),
            "Flink's manual tests": partial(flink.manual_tests, records=5_000),
            "SIGKILL and SQLite": kills.exactly_once,
            "SIGKILL and the file store": kills.file_store,
            "bad input": scenarios.bad_input,
            "AWS SDK for Rust": scenarios.sdk_check,
        },
    ),
    "ferrokinesis": (
        emulators.ferrokinesis,
        {
            "round trip": partial(scenarios.round_trip, count=20_000),
            "aggregates of Python": partial(scenarios.foreign_aggregates, count=3_000),
            "mixed stream": mixed.mixed,
            "live resharding": partial(scenarios.live, count=6_000),
            "split and SIGKILL": partial(scenarios.split_and_killed, count=20_000),
            "AWS SDK for Rust": scenarios.sdk_check,
        },
    ),
    # The only one here that throttles: 1,000 records and 1 MiB a second for each shard.
    "ferrokinesis with limits": (
        partial(emulators.ferrokinesis, "--enforce-limits"),
        {"throttled": partial(scenarios.throttled, count=6_000)},
    ),
    # Its shards do not split as Kinesis's do, and it counts sequence numbers 1, 2, 3.
    "moto": (
        emulators.moto,
        {
            "round trip": partial(scenarios.round_trip, count=5_000),
            "plain round trip": partial(scenarios.plain_round_trip, count=500),
            "goes on": partial(scenarios.goes_on, count=2_000),
            "mixed stream": mixed.mixed,
            "CloudWatch": partial(scenarios.cloudwatch, count=2_000),
        },
    ),
    # The crate's own, behind its socket: the judges are boto3, aiokpl and the AWS SDK.
    "fake": (
        emulators.fake,
        {
            "round trip": partial(scenarios.round_trip, count=20_000),
            "plain round trip": partial(scenarios.plain_round_trip, count=2_000),
            "goes on": partial(scenarios.goes_on, count=2_000),
            "aggregates of Python": partial(scenarios.foreign_aggregates, count=3_000),
            "mixed stream": mixed.mixed,
            "aiokpl": partial(scenarios.foreign_producer, count=2_000),
            "live resharding": partial(scenarios.live, count=6_000),
            "split and SIGKILL": partial(scenarios.split_and_killed, count=20_000),
            "SIGKILL and SQLite": kills.exactly_once,
            "SIGKILL and the file store": kills.file_store,
            "bad input": scenarios.bad_input,
            "AWS SDK for Rust": scenarios.sdk_check,
            "boto3, call by call": scenarios.boto3_on_the_fake,
        },
    ),
    # One of its own, as the stream's name stands in README.
    "fake alone": (
        partial(emulators.fake, "--stream-delay"),
        {"README's two programs": readme.two_programs},
    ),
}


EMULATORS_AT_A_TIME = 3


def main(words):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interop: told to end"))
    results = []
    if is_wanted("aggregation", words):
        results.append(shown("aggregation", scenarios.aggregation))
    if is_wanted("conformance", words):
        results.append(shown("conformance", scenarios.conformance_table))
    rows = [(emulator, start, wanted(emulator, rows, words)) for emulator, (start, rows) in SUITE.items()]
    with ThreadPoolExecutor(EMULATORS_AT_A_TIME) as pool:
        done = pool.map(lambda row: on_emulator(*row), [row for row in rows if row[2]])
        results += [result for results in done for result in results]
    print(f"{results.count(True)} passed, {results.count(False)} failed", flush=True)
    return 0 if results and all(results) else 1


def wanted(emulator, rows, words):
    names = {f"{emulator}: {name}": scenario for name, scenario in rows.items()}
    return {name: names[name] for name in names if is_wanted(name, words)}


def on_emulator(emulator, start, wanted):
    with contextlib.ExitStack() as running:
        try:
            service = Service(emulator, running.enter_context(start()))
        except (emulators.NotReady, OSError) as error:
            print(f"{emulator}: FAILED: it did not start: {error}", flush=True)
            return [False] * len(wanted)
        return [shown(name, partial(scenario, service)) for name, scenario in wanted.items()]


def is_wanted(name, words):
    return not words or any(word in name for word in words)


def shown(name, scenario):
    begin = time.monotonic()
    try:
        figures = scenario()
    except scenarios.Different as difference:
        figures, is_right = str(difference), False
    except Exception:
        figures, is_right = traceback.format_exc(), False
    else:
        is_right = True
    word = "ok" if is_right else "FAILED"
    print(f"{name}: {word}: {figures} [{time.monotonic() - begin:.1f} s]", flush=True)
    return is_right


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
