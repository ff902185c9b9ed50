"""The crate's own programs, `put` and `tail`, run as a user would run them."""

import base64
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass

import emulators
import streams

PROGRAMS = emulators.ROOT / "target" / "release" / "examples"
# Far above what any of them takes; a program that hangs must not hang the suite.
PROGRAM_SECONDS = 120

SUMMARY = re.compile(
    r"^put: (\d+) records delivered, (\d+) failed, (\d+) Kinesis records, (\d+) calls$", re.M
)


class Different(Exception):
    """What was seen is not what had to be."""


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: bytes
    stderr: str
    seconds: float

    def expect_success(self, what):
        if self.status != 0:
            raise Different(f"{what} ended with status {self.status}: {self.stderr.strip()}")
        return self


@dataclass(frozen=True)
class Put:
    delivered: int
    failed: int
    kinesis_records: int
    calls: int
    seconds: float

    @staticmethod
    def from_ended(ended):
        found = SUMMARY.search(ended.stderr)
        if not found:
            raise Different(f"put ended without its last line: {ended.stderr.strip()}")
        return Put(*map(int, found.groups()), ended.seconds)


@dataclass(frozen=True)
class Line:
    """One line of `tail --format json`."""

    stream: str
    shard_id: str
    sequence_number: int
    sub_sequence_number: int | None
    partition_key: str
    explicit_hash_key: str | None
    data: bytes

    @staticmethod
    def parse(text):
        fields = json.loads(text)
        if not isinstance(fields["arrival_ms"], int):
            raise Different(f"tail wrote a line without its time: {text}")
        return Line(
            stream=fields["stream"],
            shard_id=fields["shard_id"],
            sequence_number=int(fields["sequence_number"]),
            sub_sequence_number=fields["sub_sequence_number"],
            partition_key=fields["partition_key"],
            explicit_hash_key=fields["explicit_hash_key"],
            data=base64.b64decode(fields["data"], validate=True),
        )

    def identity(self):
        return (self.shard_id, self.sequence_number, self.sub_sequence_number)


def credentials():
    return {
        "AWS_ACCESS_KEY_ID": streams.ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": streams.SECRET_ACCESS_KEY,
    }


def command(program, endpoint, stream, *options, region=streams.REGION):
    path = PROGRAMS / program
    if not path.exists():
        raise Different(f"{path} is missing: build it with cargo build --release --examples")
    place = ["--region", region, "--endpoint", endpoint]
    return [str(path), "--stream", stream, *place, *options]


def run(arguments, stdin=b"", environment=None, timeout=PROGRAM_SECONDS):
    environment = credentials() if environment is None else environment
    begin = time.monotonic()
    try:
        ended = subprocess.run(
            arguments,
            input=stdin,
            capture_output=True,
            env=emulators.clean_environment(**environment),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as hung:
        said = (hung.stderr or b"").decode(errors="replace").strip()
        raise Different(
            f"{' '.join(arguments)}: no end after {timeout} s: {said}"
        ) from None
    seconds = time.monotonic() - begin
    return Ended(ended.returncode, ended.stdout, ended.stderr.decode(errors="replace"), seconds)


def put(service, stream, lines, *options):
    ended = run(command("put", service.endpoint, stream, *options), b"".join(lines))
    return Put.from_ended(ended.expect_success("put"))


def tail(service, stream, *options):
    arguments = command("tail", service.endpoint, stream, "--until-caught-up", *options)
    return run(arguments).expect_success("tail")


def tail_json(service, stream, *options):
    ended = tail(service, stream, "--from", "trim_horizon", "--format", "json", *options)
    return [Line.parse(line) for line in ended.stdout.splitlines()], ended.seconds


class Running:
    """A program that is still running, with its output read line by line."""

    def __init__(self, arguments, stdin=subprocess.DEVNULL):
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            arguments,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=emulators.clean_environment(**credentials()),
            preexec_fn=emulators.end_with_parent,
        )
        self.stderr = b""
        self.stderr_reader = threading.Thread(target=self._read_stderr, daemon=True)
        self.stderr_reader.start()
        self.alarm = threading.Timer(PROGRAM_SECONDS, self.process.kill)
        self.alarm.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.alarm.cancel()
        self.process.kill()
        self.process.wait()
        self.stderr_reader.join()
        self.process.stdout.close()

    def _read_stderr(self):
        with self.process.stderr as stderr:
            self.stderr = stderr.read()

    def lines(self):
        """Whole lines only: a kill may cut the last one short."""
        return (line for line in self.process.stdout if line.endswith(b"\n"))

    def write(self, lines):
        self.process.stdin.write(b"".join(lines))
        self.process.stdin.flush()

    def end_of_input(self):
        self.process.stdin.close()
        return self.ended()

    def expect_alive(self):
        if self.process.poll() is None:
            return True
        raise Different(f"put ended before its input did: {self.ended().stderr.strip()}")

    def kill(self):
        """SIGKILL; what was written before it is still to be read."""
        self.process.kill()

    def ended(self, stdout=b""):
        self.process.wait()
        self.stderr_reader.join()
        seconds = time.monotonic() - self.begin
        return Ended(self.process.returncode, stdout, self.stderr.decode(errors="replace"), seconds)


def checkpoint_positions(saved):
    """Each shard's last record done, as (sequence number, sub-sequence number or None)."""
    if saved["version"] != 1:
        raise Different(f"a checkpoint of version {saved['version']}, not 1")
    done = {}
    for shard in saved["shards"]:
        if shard.get("shard_end"):
            done[shard["shard_id"]] = "SHARD_END"
        elif "sequence_number" in shard:
            place = (int(shard["sequence_number"]), shard.get("sub_sequence_number"))
            done[shard["shard_id"]] = place
    return done


def is_done(checkpoint, line):
    """Whether the checkpoint covers this record."""
    position = checkpoint.get(line.shard_id)
    if position is None:
        return False
    if position == "SHARD_END":
        return True
    sequence_number, sub_sequence_number = position
    if line.sequence_number != sequence_number:
        return line.sequence_number < sequence_number
    return sub_sequence_number is None or line.sub_sequence_number <= sub_sequence_number
