#!/usr/bin/env python3
"""The client and the AWS SDK for Rust at the same work, against a stub on the loopback.

    tests/benches/beside.py [--rounds N] [--scale X] [CASE…]     CPU of the client process
    tests/benches/beside.py poll [--threads N] [--seconds N]     threads that poll every 200 ms

Runs the two in turn, A B B A, so that a round's ratio is formed of runs beside each other; prints
the median of the ratios with the middle half. Absolute times move by half from one minute to the
next on a shared machine, ratios by a few per cent. TARGET_PEERS says where both are built.

Both are built with every function at a multiple of 64 bytes: one and the same SHA-256 takes up to a
tenth more or less by where the linker happens to put it, and is half of the largest case.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get("TARGET_PEERS", ROOT / "target" / "peers"))
ALIGNED = "-C llvm-args=-align-all-functions=6"

# Requests of a run, or records, and the most that the goal allows of the SDK's time.
CASES = {
    "get10k": (60, 0.30),
    "get1m": (120, 0.35),
    "put500x100": (400, 0.55),
    "put500x1024": (250, 0.70),
    "empty": (4000, 0.35),
    # User records of 100 bytes, everything included.
    "produce": (1_000_000, 0.65),
    "produce-plain": (300_000, 0.50),
    "consume": (1_000_000, 0.40),
    "consume-aggregated": (3_000_000, 0.35),
}
POLL_GOAL = 0.75
MEMORY_GOAL_KIB = 100


def built():
    command = ["cargo", "build", "--release", "--quiet", "--bin", "stub", "--bin", "sdk_bench"]
    place = dict(os.environ, CARGO_TARGET_DIR=str(PEERS), RUSTFLAGS=ALIGNED)
    subprocess.run(command, cwd=ROOT / "tests" / "peers", env=place, check=True)
    command = ["cargo", "bench", "--bench", "client", "--no-run", "--message-format=short"]
    told = subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True)
    if told.returncode:
        sys.exit(told.stderr)
    line = next(line for line in told.stderr.splitlines() if "Executable" in line)
    ours = ROOT / line[line.rindex("(") + 1 : line.rindex(")")]
    return [str(ours)], [str(PEERS / "release" / "sdk_bench")]


class Stub:
    def __init__(self, *options):
        command = [str(PEERS / "release" / "stub"), *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.url = self.process.stdout.readline().strip()

    def connections(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def run(program, stub, *arguments):
    command = [*program, stub.url, *map(str, arguments)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    nanoseconds, calls, kib = map(int, printed.split())
    return nanoseconds / 1000 / max(calls, 1), kib


def beside(case, rounds, scale, ours, sdk):
    requests, goal = CASES[case]
    requests = max(1, round(requests * scale))
    measured = []
    with Stub() as stub:
        for number in range(rounds):
            order = [ours, sdk] if number % 2 == 0 else [sdk, ours]
            times = {program[0]: run(program, stub, case, requests) for program in order}
            measured.append((times[ours[0]], times[sdk[0]]))
    ratios = sorted(one[0] / other[0] for one, other in measured)
    one, other = (
        statistics.median(pair[who][0] for pair in measured) for who in (0, 1)
    )
    memory = [max(pair[who][1] for pair in measured) / 1024 for who in (0, 1)]
    ratio = statistics.median(ratios)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(
        f"{case:12} {ratio:5.3f} ({low:.3f} to {high:.3f}), goal {goal:.2f}"
        f"   {one:8.3f} and {other:8.3f} us each, {memory[0]:.1f} and {memory[1]:.1f} MiB",
        flush=True,
    )
    return ratio <= goal


def polling(threads, seconds, ours, sdk):
    measured = []
    cores = str(os.cpu_count())
    for program, count in [(ours, threads), (sdk + ["--threads", cores], threads), (ours, 0)]:
        with Stub("--delay-us", "5000") as stub:
            each, kib = run(program, stub, "poll", count, seconds if count else 1)
            measured.append((each, kib, stub.connections()))
            what = "tasks of the SDK" if program[0] == sdk[0] else "threads of ours"
            print(f"{count} {what}: {each:.1f} us a poll, {kib} KiB, {measured[-1][2]} connections")
    (one, kib, connections), (other, *_), (_, empty_kib, _) = measured
    memory = (kib - empty_kib) / threads
    print(f"ratio {one / other:.3f}, goal {POLL_GOAL}; {memory:.0f} KiB a thread, goal {MEMORY_GOAL_KIB}")
    return one / other <= POLL_GOAL and memory <= MEMORY_GOAL_KIB and connections <= threads


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", choices=[[], "poll", *CASES])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    programs = built()
    if "poll" in chosen.cases:
        return 0 if polling(chosen.threads, chosen.seconds, *programs) else 1
    cases = chosen.cases or CASES
    results = [beside(case, chosen.rounds, chosen.scale, *programs) for case in cases]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
