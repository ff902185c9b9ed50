"""Which identity, region and endpoint a set-up of environment and files resolves to: the crate's `shards` against
botocore, over set-ups drawn by a fixed seed.

    python3 against_botocore.py FOLDER_OF_THE_BUILT_TOOLS [SETUPS [SEED]]

Each set-up has at least two providers of credentials and one oddity. A tool's call is caught by a stub that is its proxy,
its STS and its container endpoint. Differences are allowed for the oddities in KNOWN only, and only as said there.
"""

import collections
import concurrent.futures
import http.server
import json
import logging
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import botocore.loaders
import botocore.session

SEED, SETUPS, EACH_MIN, WORKERS, SECONDS = 20_261_130, 700, 20, 8, 60
REGIONS = ("us-west-2", "eu-west-1", "eu-central-1")

WEB_FIRST = "a web identity beside a role's profile"

# Oddities whose outcome may differ: what is refused here and passed over there, or taken from another place, and why.
KNOWN = {
    "half a pair: the secret only": "refused: half a pair is a mistake, and the next provider is somebody else",
    "an empty key beside a secret": "refused, as half a pair",
    "a session token alone": "refused: a token without its keys is half a set",
    "an empty AWS_PROFILE": "refused where botocore takes the empty name for a profile or for none",
    "two names of a profile": "AWS_PROFILE and AWS_DEFAULT_PROFILE that differ are refused: nobody can tell which is meant",
    "a source_profile without a role": "refused: the profile is about a role that is not named",
    "a credential_source without a role": "refused: the profile is about a role that is not named",
    "FIPS that is neither true nor false": "refused: botocore takes it for false",
    "a dual stack that is neither true nor false": "refused: botocore takes it for false",
    "an empty property of credentials": "refused: botocore takes it for absent",
    WEB_FIRST: "the environment's web identity goes before the profile, as in Java's SDK and Flink",
}


class Stub(http.server.BaseHTTPRequestHandler):
    """Everything that a tool may reach; notes what reaches Kinesis."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.server.host = self.path
        self.send_response(200)
        self.end_headers()
        if self.path.endswith(":443"):
            self.server.seen.append(("https://" + self.path[:-4], None, None))
            # No TLS: the tool gives up at once.
            self.wfile.write(b"HTTP/1.1 400 No TLS here\r\n\r\n")
            self.close_connection = True

    def do_GET(self):
        self.answer(200, "application/json", json.dumps(document("CONTAINER")))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        if "x-amz-target" not in self.headers:
            form = dict(urllib.parse.parse_qsl(body))
            by = (re.search(r"Credential=([^/]+)", self.headers.get("authorization", "")) or [None, "WEB"])[1]
            keys = document(f"{form['RoleArn'].rsplit('/', 1)[1]}.OF.{by}")
            fields = "".join(f"<{n}>{keys[k]}</{n}>" for n, k in (("AccessKeyId", "AccessKeyId"), ("SecretAccessKey", "SecretAccessKey"), ("SessionToken", "Token"), ("Expiration", "Expiration")))
            result = f"{form['Action']}Result"
            user = "<AssumedRoleUser><AssumedRoleId>a:b</AssumedRoleId><Arn>arn:aws:sts::000000000000:assumed-role/r/s</Arn></AssumedRoleUser>"
            return self.answer(200, "text/xml", f'<R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{result}><Credentials>{fields}</Credentials>{user}</{result}></R>')
        key, region = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", self.headers["authorization"]).groups()
        identity = (key, self.headers.get("x-amz-security-token"))
        self.server.seen.append(("http://" + self.headers["host"], region, identity))
        self.answer(400, "application/x-amz-json-1.1", '{"__type":"AccessDeniedException","message":"seen"}')

    def answer(self, status, kind, text):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def document(key):
    return {"AccessKeyId": key, "SecretAccessKey": "secret", "Token": f"token-{key}", "Expiration": "2126-11-22T20:34:15Z"}


class Setup:
    """Variables, and sections of the two files."""

    def __init__(self, rng, folder, port):
        self.folder, self.stub = folder, f"http://127.0.0.1:{port}"
        self.env = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": self.stub, "HOME": folder}
        self.config, self.credentials, self.providers = collections.defaultdict(dict), collections.defaultdict(dict), []
        self.profile = rng.choice(("default", "work", "two words"))
        if self.profile != "default":
            self.env["AWS_PROFILE"] = self.profile
        self.config[self.profile]["region"] = rng.choice(REGIONS)
        # The base of roles, in a file of its own choice.
        rng.choice((self.config, self.credentials))["base"].update(pair("BASE"))
        # One provider alone may decide: what is drawn more often goes last in the order.
        rigged = rng.choice(RIGGED) if rng.random() < 0.3 else None
        for provider in rigged[0] if rigged else rng.sample(list(PROVIDERS.values()), rng.choice((2, 2, 3))):
            (PROVIDERS[provider] if rigged else provider)(self, rng)
        rng.choice(ENDPOINTS)(self, rng)
        if rng.random() < 0.3:
            self.env["AWS_DEFAULT_REGION"] = rng.choice(REGIONS)
        self.oddity = rng.choice(rigged[1] if rigged else list(ODDITIES))
        ODDITIES[self.oddity](self, rng)
        self.is_web_first = "role_arn" in self.own and "AWS_WEB_IDENTITY_TOKEN_FILE" in self.env

    @property
    def own(self):
        return self.config[self.profile]

    def write(self):
        folder = pathlib.Path(self.folder) / ".aws"
        folder.mkdir(exist_ok=True)
        quote = '"' if self.oddity == "a quoted name of a section" else ("'" if " " in self.profile else "")
        end = "\r\n" if self.oddity == "line ends of Windows" else "\n"
        space = "   " if self.oddity == "blanks around names and values" else ""
        for name, sections in (("config", self.config), ("credentials", self.credentials)):
            lines = []
            for section, properties in sections.items():
                is_bare = name == "credentials" or section == "default" or section.startswith("services ")
                lines.append(f"[{section}]" if is_bare else f"[profile {quote}{section}{quote}]")
                for key, value in properties.items():
                    if isinstance(value, dict):
                        lines += [f"{key} ="] + [f"  {inner} = {text}" for inner, text in value.items()]
                    else:
                        lines.append(f"{key}{space}={space}{value}{space}")
            (folder / name).write_bytes((end.join(lines) + end).encode())


def pair(key, token=True):
    keys = {"aws_access_key_id": key, "aws_secret_access_key": "secret"}
    return keys | ({"aws_session_token": f"token-{key}"} if token else {})


def provider(name):
    def named(function):
        def set_up(setup, rng):
            setup.providers.append(name)
            function(setup, rng)
        PROVIDERS[name] = set_up
        return function
    return named


PROVIDERS, ENDPOINTS, ODDITIES = {}, [], {}

# Oddities of form, which change nothing.
PLAIN = ("blanks around names and values", "line ends of Windows", "files that variables name")

# Draws of outcomes that are rare otherwise: the places that are asked last.
RIGGED = (
    (("environment", "container"), ("empty keys",)),
    (("config file", "container"), PLAIN),
    (("process", "config file"), PLAIN),
    (("credentials file", "container"), ("a profile of another name",)),
)


@provider("environment")
def _(setup, rng):
    keys = pair("ENV", rng.random() < 0.5)
    setup.env.update({name.upper(): value for name, value in keys.items()})


@provider("credentials file")
def _(setup, rng):
    setup.credentials[setup.profile].update(pair("FILE", rng.random() < 0.5))


@provider("config file")
def _(setup, rng):
    setup.own.update(pair("CONFIG", rng.random() < 0.5))


@provider("role")
def _(setup, rng):
    setup.own.update(role_arn="arn:aws:iam::000000000000:role/ROLE", role_session_name="session", source_profile="base")
    setup.own.pop("credential_source", None)


@provider("role of a place")
def _(setup, rng):
    if "source_profile" not in setup.own:
        setup.own.update(role_arn="arn:aws:iam::000000000000:role/PLACED", role_session_name="session", credential_source="Environment")
        setup.env.update({name.upper(): value for name, value in pair("ENV").items()} if rng.random() < 0.7 else {})


@provider("web identity")
def _(setup, rng):
    token = pathlib.Path(setup.folder) / "token"
    token.write_text("a.b.c\n")
    setup.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN="arn:aws:iam::000000000000:role/WEBROLE", AWS_ROLE_SESSION_NAME="session")


@provider("process")
def _(setup, rng):
    printed = pathlib.Path(setup.folder) / "printed"
    keys = document("PROCESS")
    keys["SessionToken"] = keys.pop("Token")
    printed.write_text(json.dumps({"Version": 1} | keys))
    setup.own["credential_process"] = f"/bin/cat {printed}"


@provider("container")
def _(setup, rng):
    setup.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{setup.stub}/credentials"


def endpoint(function):
    ENDPOINTS.append(function)
    return function


@endpoint
def _(setup, rng):
    setup.env["AWS_ENDPOINT_URL_KINESIS"] = "http://own.test:4567"
    setup.env["AWS_ENDPOINT_URL"] = "http://all.test"


@endpoint
def _(setup, rng):
    setup.env["AWS_ENDPOINT_URL"] = "http://all.test"
    setup.own["endpoint_url"] = "http://profile.test"


@endpoint
def _(setup, rng):
    setup.own["endpoint_url"] = "http://profile.test"


@endpoint
def _(setup, rng):
    setup.own.update(endpoint_url="http://profile.test", services="mine")
    setup.config["services mine"]["kinesis"] = {"endpoint_url": "http://section.test"}


@endpoint
def _(setup, rng):
    if rng.random() < 0.5:
        setup.own["use_fips_endpoint"] = rng.choice(("true", "false"))
        setup.own["use_dualstack_endpoint"] = rng.choice(("true", "false"))


def oddity(name):
    def named(function):
        ODDITIES[name] = function
        return function
    return named


def without_keys(setup):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        setup.env.pop(name, None)


for plain in ("blanks around names and values", "a quoted name of a section", "line ends of Windows"):
    ODDITIES[plain] = lambda setup, rng: None


@oddity("half a pair: the key only")
def _(setup, rng):
    without_keys(setup)
    setup.env["AWS_ACCESS_KEY_ID"] = "HALF"


@oddity("half a pair: the secret only")
def _(setup, rng):
    without_keys(setup)
    setup.env["AWS_SECRET_ACCESS_KEY"] = "half"


@oddity("empty keys")
def _(setup, rng):
    without_keys(setup)
    setup.env.update(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_SESSION_TOKEN="")


@oddity("an empty key beside a secret")
def _(setup, rng):
    without_keys(setup)
    setup.env.update(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="half")


@oddity("a session token alone")
def _(setup, rng):
    without_keys(setup)
    setup.env["AWS_SESSION_TOKEN"] = "alone"


@oddity("the old name of a token")
def _(setup, rng):
    if setup.env.pop("AWS_SESSION_TOKEN", None):
        setup.env["AWS_SECURITY_TOKEN"] = "old"
    own = setup.credentials.get(setup.profile, {})
    if own.pop("aws_session_token", None):
        own["aws_security_token"] = "old"


@oddity("a profile that is not there")
def _(setup, rng):
    setup.env["AWS_PROFILE"] = "missing"


@oddity("a profile of another name")
def _(setup, rng):
    setup.env["AWS_PROFILE"] = "base"
    setup.config["base"].update(setup.own | {"region": "us-west-2"})


@oddity("an empty AWS_PROFILE")
def _(setup, rng):
    setup.env["AWS_PROFILE"] = ""


@oddity("two names of a profile")
def _(setup, rng):
    setup.env.update(AWS_PROFILE=setup.profile, AWS_DEFAULT_PROFILE="base")


@oddity("the older name of a profile")
def _(setup, rng):
    if "AWS_PROFILE" in setup.env:
        setup.env["AWS_DEFAULT_PROFILE"] = setup.env.pop("AWS_PROFILE")


@oddity("keys in two files")
def _(setup, rng):
    setup.own.pop("aws_access_key_id", None)
    setup.own["aws_secret_access_key"] = "other"
    setup.credentials[setup.profile] = {"aws_access_key_id": "SPLIT"}


@oddity("names of properties in capitals")
def _(setup, rng):
    own = setup.credentials.get(setup.profile, {})
    for name in list(own):
        own[name.upper()] = own.pop(name)


@oddity("a source that is not there")
def _(setup, rng):
    if "source_profile" in setup.own:
        setup.own["source_profile"] = "missing"


@oddity("a role whose source has a role and keys")
def _(setup, rng):
    setup.config["base"].update(role_arn="arn:aws:iam::000000000000:role/BASEROLE", source_profile="base")


@oddity("a source_profile without a role")
def _(setup, rng):
    if "role_arn" in setup.own:
        del setup.own["role_arn"]
    setup.own.setdefault("source_profile", "base")


@oddity("a credential_source without a role")
def _(setup, rng):
    setup.own.pop("role_arn", None)
    setup.own.setdefault("credential_source", "Environment")


@oddity("an empty property of credentials")
def _(setup, rng):
    setup.own["credential_process"] = ""


@oddity("a program that fails")
def _(setup, rng):
    if "credential_process" in setup.own:
        setup.own["credential_process"] = "/bin/false"


@oddity("a program of another version")
def _(setup, rng):
    if "credential_process" in setup.own:
        (pathlib.Path(setup.folder) / "printed").write_text('{"Version": 2}')


@oddity("FIPS that is neither true nor false")
def _(setup, rng):
    setup.own["use_fips_endpoint"] = "yes"


@oddity("a dual stack that is neither true nor false")
def _(setup, rng):
    setup.env["AWS_USE_DUALSTACK_ENDPOINT"] = "1"


@oddity("URLs that are to be ignored")
def _(setup, rng):
    # STS's URL is ignored as well: without roles and web identities.
    for name in ("role_arn", "source_profile", "credential_source"):
        setup.own.pop(name, None)
    for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"):
        setup.env.pop(name, None)
    setup.own["ignore_configured_endpoint_urls"] = "true"


@oddity("no region")
def _(setup, rng):
    setup.env.pop("AWS_DEFAULT_REGION", None)
    setup.own.pop("region", None)


@oddity("files that variables name")
def _(setup, rng):
    folder = f"{setup.folder}/.aws"
    setup.env.update(AWS_CONFIG_FILE=f"{folder}/config", AWS_SHARED_CREDENTIALS_FILE=f"{folder}/credentials")


# Reads the models of services once.
LOADER = botocore.loaders.create_loader()

# botocore reads the process's own environment and writes into it.
ENVIRONMENT = threading.Lock()


def of_botocore(setup):
    with ENVIRONMENT:
        kept = dict(os.environ)
        os.environ.clear()
        os.environ.update(setup.env, PATH=kept["PATH"])
        try:
            session = botocore.session.Session()
            session.register_component("data_loader", LOADER)
            credentials = session.get_credentials()
            if credentials is None:
                return ("error", "no credentials")
            frozen = credentials.get_frozen_credentials()
            client = session.create_client("kinesis")
            return (client.meta.endpoint_url, client.meta.region_name, (frozen.access_key, frozen.token))
        except Exception as error:  # Whatever it is, botocore refuses the set-up.
            return ("error", f"{type(error).__name__}: {error}")
        finally:
            os.environ.clear()
            os.environ.update(kept)


def of_tool(setup, tools, server):
    server.seen = []
    proxy = {name: setup.stub for name in ("HTTP_PROXY", "HTTPS_PROXY")}
    command = [pathlib.Path(tools) / "shards", "--stream", "s"]
    environment = setup.env | proxy | {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    if not server.seen:
        return ("error", done.stderr.strip()[-300:])
    return server.seen[0]


def is_same(mine, theirs):
    if "error" in (mine[0], theirs[0]):
        return mine[0] == theirs[0]
    # Over TLS the host alone is seen, which has the region.
    return mine == theirs if mine[2] else mine[0] == theirs[0]


def try_one(number, seed, tools, server):
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(random.Random(f"{seed}-{number}"), folder, server.server_port)
        setup.write()
        theirs = of_botocore(setup)
        return number, setup, of_tool(setup, tools, server), theirs


def listed(setup, mine):
    """The listed difference that this may be: a refusal here, or the environment's web identity."""
    if mine[0] == "error":
        return setup.oddity if setup.oddity in KNOWN else None
    is_web = mine[2] is None or mine[2][0] == "WEBROLE.OF.WEB"
    return WEB_FIRST if is_web and setup.is_web_first else None


def kind(outcome):
    if outcome[0] == "error":
        return "refused"
    key = outcome[2][0]
    return re.sub(r"\.OF\..*", "", key)


def place(outcome):
    return "refused" if outcome[0] == "error" else ("public" if outcome[0].startswith("https") else urllib.parse.urlsplit(outcome[0]).hostname)


def main(tools, setups=SETUPS, seed=SEED):
    logging.disable(logging.CRITICAL)
    servers = []
    for _ in range(WORKERS):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
        server.daemon_threads, server.seen = True, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    kinds, places, known, failed = (collections.Counter() for _ in range(4))

    def share(worker):
        return [try_one(number, seed, tools, servers[worker]) for number in range(worker, setups, WORKERS)]

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = [result for part in pool.map(share, range(WORKERS)) for result in part]
    for number, setup, mine, theirs in sorted(results, key=lambda result: result[0]):
        kinds[kind(theirs)] += 1
        places[place(theirs)] += 1
        if is_same(mine, theirs):
            continue
        reason = listed(setup, mine)
        if reason:
            known[reason] += 1
            continue
        failed[setup.oddity] += 1
        print(f"FAILED: set-up {seed}-{number}, {setup.oddity}, {setup.providers}: here {mine}, botocore {theirs}")
    rare = {name: count for name, count in (kinds | places).items() if count < EACH_MIN}
    print(f"botocore: {setups} set-ups, {sum(failed.values())} differ, {sum(known.values())} as listed; outcomes {dict(kinds)}, endpoints {dict(places)}")
    for name, count in known.items():
        print(f"  {count} times {name}: {KNOWN[name]}")
    if rare:
        print(f"FAILED: outcomes that are too rare: {rare}")
    return 1 if failed or rare else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
