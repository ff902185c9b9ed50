"""README's two programs, as they stand there: one writes, the other reads, and shards split and merge
all the while. Only the number of records is another, and they take a minute."""

import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter

import emulators
import tools
from emulators import INSTALLED, ROOT
from tools import Different

STREAM = "orders"
COUNT = 100_000
SECONDS = 60
SHARDS = 4
# What is handed out again comes within this, once all has come.
AFTER_SECONDS = 5
READ_SECONDS_MAX = 60
SEED = 1

PACED = """
fn paced(numbers: std::ops::Range<u32>) -> impl Iterator<Item = u32> {
    let begin = std::time::Instant::now();
    let pause = std::time::Duration::from_secs(SECONDS) / numbers.end;
    numbers.inspect(move |n| std::thread::sleep((pause * *n).saturating_sub(begin.elapsed())))
}
"""

MANIFEST = """[workspace]
[package]
name = "readme"
version = "0.0.0"
edition = "2024"
[dependencies]
kinesis-blocking = { path = "ROOT" }
"""


def two_programs(service):
    write, read = build(*blocks())
    environment = tools.credentials() | {"AWS_ENDPOINT_URL_KINESIS": service.endpoint}
    environment = emulators.clean_environment(**environment)
    service.client.create_stream(StreamName=STREAM, ShardCount=SHARDS)
    service.wait_active(STREAM)
    with tempfile.TemporaryDirectory() as folder, Reader(read, environment, folder) as reader:
        reader.wait_until_started()
        with subprocess.Popen(
            [write],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=emulators.end_with_parent,
        ) as writer:
            reshards = reshard_while(service, lambda: writer.poll() is None)
            said = writer.stdout.read().decode()
        if writer.returncode:
            raise Different(f"the writer ended with status {writer.returncode}: {said}")
        reader.wait_for(COUNT)
        counts = Counter(reader.keys)
    service.client.delete_stream(StreamName=STREAM)
    expected = {f"customer-{number}" for number in range(COUNT)}
    lost, again = len(expected - counts.keys()), sum(counts.values()) - len(counts)
    if (lost, again, len(counts)) != (0, 0, COUNT):
        raise Different(f"{lost} lost, {again} came again, {len(counts)} in all; {said.strip()}")
    return f"{COUNT} records across {reshards} splits and merges: 0 lost, 0 again; {said.strip()}"


def blocks():
    """The two programs, the first of which writes."""
    _, *after = (ROOT / "README.md").read_text().split("```rust")
    programs = [text.split("\n", 1)[1].split("```")[0] for text in after]
    programs = [program for program in programs if "fn main()" in program]
    write, read = programs[:2]
    asked = "in 0..1_000 {"
    if write.count(asked) != 1 or "for record in &mut consumer" not in read:
        raise Different("README's first two programs are not those that write and read")
    paced = PACED.replace("SECONDS", str(SECONDS))
    return write.replace(asked, f"in paced(0..{COUNT}) {{") + paced, read


def build(write, read):
    project = INSTALLED / "readme"
    sources = project / "src/bin"
    sources.mkdir(parents=True, exist_ok=True)
    (project / "Cargo.toml").write_text(MANIFEST.replace("ROOT", str(ROOT)))
    shutil.copy(ROOT / "Cargo.lock", project / "Cargo.lock")
    programs = {"readme_write": write, "readme_read": read}
    for name, text in programs.items():
        (sources / f"{name}.rs").write_text(text)
    command = ["cargo", "build", "--quiet", "--release", "--target-dir", str(ROOT / "target")]
    built = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if built.returncode:
        raise Different(f"README's programs do not build: {built.stderr}")
    return [ROOT / "target/release" / name for name in programs]


def reshard_while(service, is_under_way):
    """Splits and merges at random, one after the other; says how many it were."""
    chance, done = random.Random(SEED), 0
    while is_under_way():
        time.sleep(chance.uniform(0.5, 2))
        shards = sorted((s for s in service.shards(STREAM) if not s.closed), key=lambda s: s.first)
        at = chance.randrange(len(shards))
        if len(shards) > SHARDS + 2 or (len(shards) > 2 and chance.random() < 0.5):
            at = min(at, len(shards) - 2)
            service.merge(STREAM, shards[at], shards[at + 1])
        else:
            service.split(STREAM, shards[at])
        done += 1
    return done


class Reader:
    """The program that reads: each of its lines names the key of a record."""

    def __init__(self, program, environment, folder):
        self.keys, self.checkpoint = [], pathlib.Path(folder) / "orders.checkpoint"
        self.process = subprocess.Popen(
            [program],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            preexec_fn=emulators.end_with_parent,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self.keys.append(line.decode().split(":")[0])

    def wait_until_started(self):
        """Until it has saved its start: what is put from then on is read."""
        self._wait("checkpoint", self.checkpoint.exists)

    def wait_for(self, count):
        self._wait(f"{count} records", lambda: len(self.keys) >= count)
        time.sleep(AFTER_SECONDS)

    def _wait(self, what, is_there):
        end = time.monotonic() + READ_SECONDS_MAX
        while not is_there():
            if self.process.poll() is not None:
                raise Different(f"the reader ended with status {self.process.returncode}")
            if time.monotonic() > end:
                raise Different(f"the reader has {len(self.keys)} records, and no {what}")
            time.sleep(0.05)
