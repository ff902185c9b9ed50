"""Runs the scenarios on the emulators, one line each. Arguments: only those whose name has one of
these words in it."""

import contextlib
import functools
import signal
import sys
import time
import traceback

import emulators
import scenarios
from streams import Service

# kinesis-mock serves about 200 requests and 3 MB a second: its streams are smaller where it counts.
SUITE = [
    ("kinesalite", emulators.kinesalite, [
        ("round trip", functools.partial(scenarios.round_trip, count=20_000)),
        ("plain round trip", functools.partial(scenarios.plain_round_trip, count=2_000)),
        ("aggregates of Python", functools.partial(scenarios.foreign_aggregates, count=3_000)),
        ("aiokpl", functools.partial(scenarios.foreign_producer, count=2_000)),
        ("split and SIGKILL", functools.partial(scenarios.split_and_killed, count=20_000)),
        ("bad input", scenarios.bad_input),
        ("AWS SDK for Rust", scenarios.sdk_check),
    ]),
    ("kinesis-mock", emulators.kinesis_mock, [
        ("round trip", functools.partial(scenarios.round_trip, count=20_000)),
        ("plain round trip", functools.partial(scenarios.plain_round_trip, count=200)),
        ("aggregates of Python", functools.partial(scenarios.foreign_aggregates, count=1_000)),
        ("aiokpl", functools.partial(scenarios.foreign_producer, count=1_000)),
        ("split and SIGKILL", functools.partial(scenarios.split_and_killed, count=20_000)),
        ("AWS SDK for Rust", scenarios.sdk_check),
    ]),
    ("ferrokinesis", emulators.ferrokinesis, [
        ("round trip", functools.partial(scenarios.round_trip, count=20_000)),
        ("aggregates of Python", functools.partial(scenarios.foreign_aggregates, count=3_000)),
        ("split and SIGKILL", functools.partial(scenarios.split_and_killed, count=20_000)),
        ("AWS SDK for Rust", scenarios.sdk_check),
    ]),
    # The crate's own, behind its socket: what boto3 and the AWS SDK say to it.
    ("fake", emulators.fake, [
        ("round trip", functools.partial(scenarios.round_trip, count=20_000)),
        ("plain round trip", functools.partial(scenarios.plain_round_trip, count=2_000)),
        ("aggregates of Python", functools.partial(scenarios.foreign_aggregates, count=3_000)),
        ("aiokpl", functools.partial(scenarios.foreign_producer, count=2_000)),
        ("split and SIGKILL", functools.partial(scenarios.split_and_killed, count=20_000)),
        ("bad input", scenarios.bad_input),
        ("AWS SDK for Rust", scenarios.sdk_check),
    ]),
    # The only one here that throttles: 1,000 records and 1 MiB a second for each shard.
    ("ferrokinesis with limits", functools.partial(emulators.ferrokinesis, "--enforce-limits"), [
        ("throttled", functools.partial(scenarios.throttled, count=6_000)),
    ]),
    # Its shards do not split as Kinesis's do, and it counts sequence numbers 1, 2, 3.
    ("moto", emulators.moto, [
        ("round trip", functools.partial(scenarios.round_trip, count=5_000)),
        ("plain round trip", functools.partial(scenarios.plain_round_trip, count=500)),
    ]),
]


def main(words):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interop: told to end"))
    passed = failed = 0
    for emulator, start, rows in SUITE:
        wanted = [row for row in rows if is_wanted(f"{emulator}: {row[0]}", words)]
        if not wanted:
            continue
        with contextlib.ExitStack() as running:
            try:
                service = Service(emulator, running.enter_context(start()))
            except (emulators.NotReady, OSError) as error:
                print(f"{emulator}: FAILED: it did not start: {error}", flush=True)
                failed += len(wanted)
                continue
            for name, scenario in wanted:
                if shown(f"{emulator}: {name}", functools.partial(scenario, service)):
                    passed += 1
                else:
                    failed += 1
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


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
