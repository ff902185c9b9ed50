"""Programs that others wrote to stand in for Kinesis: started on free loopback ports, and stopped
whatever happens. Each is ready within a bound, or the suite fails with the end of its log."""

import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / "target" / "interop"
PEERS = ROOT / "target" / "peers" / "debug"

READY_SECONDS = 30
STOP_SECONDS = 5
# A port that was free when it was asked for can be taken by another program before it is used.
PORT_TRIES = 3
# To which the streams of kinesis-mock and of our fake belong.
ACCOUNT = "000000000000"
# How long streams and shards stay CREATING or UPDATING.
STATE_CHANGE_MS = 50


class NotReady(Exception):
    pass


@dataclass(frozen=True)
class Endpoint:
    url: str
    # Behind a certificate that nobody has to trust.
    untrusted: str | None = None
    # Moves the Date header of its answers away from its clock, to so many milliseconds ahead.
    step_date: Callable[[int], None] | None = None


def clean_environment(**more):
    """What a started program sees: nothing of the caller's account, proxies or settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    home = INSTALLED / "home"
    home.mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"} | more


@contextlib.contextmanager
def kinesalite():
    def command(port):
        pace = [f"--{name}StreamMs={STATE_CHANGE_MS}" for name in ("create", "delete", "update")]
        cli = INSTALLED / "npm/node_modules/kinesalite/cli.js"
        return node(cli, f"--port={port}", "--shardLimit=1000", *pace), {}

    with running("kinesalite", command, ready_path="/", ready_status=403) as url:
        yield Endpoint(url)


@contextlib.contextmanager
def kinesis_mock(change_ms=STATE_CHANGE_MS):
    changes = ["CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS"]
    tls_port = free_port()

    def command(port):
        package = INSTALLED / "npm/node_modules/kinesis-local"
        settings = {f"{change}_DURATION": f"{change_ms}ms" for change in changes}
        settings |= {
            "KINESIS_MOCK_PLAIN_PORT": str(port),
            # It opens this one too, asked or not, and ends without its certificate.
            "KINESIS_MOCK_TLS_PORT": str(tls_port),
            "KINESIS_MOCK_CERT_PATH": str(package / "server.json"),
            "SHARD_LIMIT": "1000",
            "LOG_LEVEL": "ERROR",
            "ROOT_LOG_LEVEL": "ERROR",
        }
        return node(package / "main.js"), settings

    with running("kinesis-mock", command, ready_path="/healthcheck", ready_status=200) as url:
        yield Endpoint(url, untrusted=f"https://127.0.0.1:{tls_port}")


@contextlib.contextmanager
def moto(account=None):
    settings = {} if account is None else {"MOTO_ACCOUNT_ID": account}

    def command(port):
        return [INSTALLED / "venv/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)], settings

    with running("moto", command, ready_path="/moto-api/", ready_status=200) as url:
        yield Endpoint(url)


def ferrokinesis(*options):
    return peer("ferrokinesis", *options)


@contextlib.contextmanager
def fake(*options):
    with peer_with_input("fake", *options) as (endpoint, process):
        def step_date(millis):
            process.stdin.write(b"%d\n" % millis)
            process.stdin.flush()

        yield replace(endpoint, step_date=step_date)


@contextlib.contextmanager
def ministack():
    def command(port):
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
        return [INSTALLED / "ministack/bin/ministack"], settings

    path = "/_ministack/health"
    with running("ministack", command, ready_path=path, ready_status=200) as url:
        yield Endpoint(url)


@contextlib.contextmanager
def microburst(upstream, rules):
    """A proxy before another endpoint, in which calls go wrong by these rules."""
    settings = INSTALLED / "microburst.json"
    settings.write_text(json.dumps({"upstream": upstream, "rules": rules}))

    def command(port):
        program = INSTALLED / "microburst/bin/microburst"
        place = ["--host", "127.0.0.1", "--port", str(port), "--upstream", upstream]
        return [program, "--no-resign", "--config", settings, *place], {}

    path = "/_microburst/health"
    with running("microburst", command, ready_path=path, ready_status=200) as url:
        yield Endpoint(url)


def microburst_fired(url):
    """How many faults a proxy has caused."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/_microburst/stats", timeout=10) as answer:
        return json.load(answer)["requests"]["faulted"]


@contextlib.contextmanager
def peer(name, *options):
    """A program of tests/peers: it takes a free port and prints its address when it listens."""
    with peer_with_input(name, *options) as (endpoint, _):
        yield endpoint


@contextlib.contextmanager
def peer_with_input(name, *options):
    log = log_of(name)
    process = spawn([PEERS / name, *options], {}, log, stdin=subprocess.PIPE)
    try:
        url = wait_for_line(process, log)
        if url is None:
            raise NotReady(f"{name} was not ready within {READY_SECONDS} s:\n{end_of(log)}")
        yield Endpoint(url), process
    finally:
        process.stdin.close()
        stop(process)


def wait_for_line(process, log):
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        line, newline, _ = log.read_text(errors="replace").partition("\n")
        if newline:
            return line
        time.sleep(0.02)
    return None


def node(script, *arguments):
    return ["node", "--require", HERE / "loopback.cjs", script, *arguments]


@contextlib.contextmanager
def running(name, command, ready_path, ready_status):
    log = log_of(name)
    process, url = started(name, command, ready_path, ready_status, log)
    try:
        yield url
    finally:
        died = process.poll()
        stop(process)
        if died is not None:
            print(f"{name} ended by itself with status {died}:\n{end_of(log)}", file=sys.stderr)


def started(name, command, ready_path, ready_status, log):
    for _ in range(PORT_TRIES):
        port = free_port()
        arguments, settings = command(port)
        url = f"http://127.0.0.1:{port}"
        process = spawn(arguments, settings, log)
        try:
            if wait_ready(process, url + ready_path, ready_status):
                return process, url
        except BaseException:
            stop(process)
            raise
        stop(process)
    raise NotReady(f"{name} was not ready within {READY_SECONDS} s:\n{end_of(log)}")


def spawn(arguments, settings, log, stdin=subprocess.DEVNULL):
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            env=clean_environment(**settings),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            preexec_fn=end_with_parent,
        )


def log_of(name):
    folder = INSTALLED / "log"
    folder.mkdir(parents=True, exist_ok=True)
    # Several of a name may run at a time.
    number = next(_logs.setdefault(name, itertools.count(1)))
    return folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")


_logs = {}


def wait_ready(process, url, status):
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if status_of(url) == status:
            return True
        time.sleep(0.05)
    return False


def status_of(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def stop(process):
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent():
    """Runs in the child: where the system can, it is killed when the suite is."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def end_of(log):
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-15:]) or "(its log is empty)"
