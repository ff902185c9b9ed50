"""The tests that the Flink connector's people run by hand, in `tests/flink`, on an emulator."""

import json
import os
import subprocess

import emulators
import tools
from tools import Different


# As long as Flink's people wait.
TEST_SECONDS = 300


def manual_tests(service, records=20_000):
    records = int(os.environ.get("RECORDS", records))
    environment = {"KINESIS_ENDPOINT": service.endpoint, "RECORDS": str(records)}
    ended = tools.run([program()], environment=environment, timeout=TEST_SECONDS)
    said = ended.stdout.decode(errors="replace")
    if ended.status != 0 or "2 passed" not in said:
        raise Different(f"status {ended.status}:\n{said}\n{ended.stderr.strip()}")
    return f"1000 and {records} records, a failure in each, a split and a merge: {ended.seconds:.0f} s"


def program():
    """Where cargo has put the test; it is built if it is not there yet."""
    build = ["cargo", "test", "--no-run", "--test", "flink", "--message-format", "json"]
    built = subprocess.run(build, cwd=emulators.ROOT, capture_output=True, check=True)
    for message in map(json.loads, built.stdout.splitlines()):
        if message.get("executable") and message["target"]["name"] == "flink":
            return message["executable"]
    raise Different("cargo does not say where the test flink is")
