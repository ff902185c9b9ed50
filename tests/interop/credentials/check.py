"""The crate's `smallest` and `tail`, run as a user would run them, with every kind of credentials,
against services that check them."""

import base64
import contextlib
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import emulators  # noqa: E402

PROGRAMS = emulators.ROOT / "target" / "release" / "examples"
VENV = emulators.INSTALLED / "credentials-venv" / "bin"
REGION = "us-east-1"
STREAM = "orders"
# Names that AWS allows and that have to be encoded in a form and in a signature.
EXTERNAL_ID = "a=b/c+d:e@f"
PROGRAM_SECONDS = 60


class Different(Exception):
    pass


def ministack(**settings):
    def command(port):
        place = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
        return [VENV / "ministack"], place | settings

    return emulators.running("ministack", command, "/_ministack/health", 200)


def moto():
    def command(port):
        return [VENV / "moto_server", "-H", "127.0.0.1", "-p", str(port)], {}

    return emulators.running("moto with authentication", command, "/moto-api/", 200)


def service(name, url, key="test", secret="test", token=None):
    return boto3.client(
        name,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(proxies={}, retries={"max_attempts": 0}),
    )


def keys(key, secret, token=None):
    variables = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    return variables | ({"AWS_SESSION_TOKEN": token} if token else {})


def put(url, environment, stream=STREAM):
    place = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": url}
    return subprocess.run(
        [PROGRAMS / "smallest", stream],
        env=emulators.clean_environment(**place) | environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )


def accepted(what, ended):
    if ended.returncode != 0 or not ended.stdout.startswith("shardId-"):
        raise Different(f"{what}: {ended.stdout}{ended.stderr}")
    print(f"{what}: ok", flush=True)


def refused(what, ended, *words, secret="hidden"):
    text = ended.stdout + ended.stderr
    if ended.returncode == 0 or not all(word in text for word in words) or secret in text:
        raise Different(f"{what}: {text}")
    print(f"{what}: ok: {ended.stderr.strip()}", flush=True)


POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["kinesis:*", "sts:*"], "Resource": "*"}],
    }
)


def trust(principal, action="sts:AssumeRole", condition=None):
    statement = {"Effect": "Allow", "Principal": principal, "Action": action}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def user(iam):
    iam.create_user(UserName="writer")
    iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=POLICY)
    made = iam.create_access_key(UserName="writer")["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def role(iam, name, policy):
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=POLICY)
    return arn


def on_ministack(folder):
    with ministack(AUTH="true") as url:
        iam, kinesis = service("iam", url), service("kinesis", url)
        kinesis.create_stream(StreamName=STREAM, ShardCount=1)
        key, secret = user(iam)
        signatures(url, key, secret, kinesis)
        sessions(url, key, secret)
        anybody = {"AWS": "*"}
        strict = {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}
        first = role(iam, "first", trust(anybody))
        second = role(iam, "second", trust(anybody, condition=strict))
        profiles(folder, url, key, secret, first, second)
        short_lived(folder, url, key, secret, first)
        web_identity(folder, url, iam)


def signatures(url, key, secret, kinesis):
    accepted("ministack: a user's key", put(url, keys(key, secret)))
    arn = kinesis.describe_stream_summary(StreamName=STREAM)
    arn = arn["StreamDescriptionSummary"]["StreamARN"]
    accepted("ministack: a stream by its ARN", put(url, keys(key, secret), arn))
    localhost = url.replace("127.0.0.1", "localhost")
    accepted("ministack: another host, signed with its port", put(localhost, keys(key, secret)))
    wrong = put(url, keys(key, "hidden"))
    refused("ministack: a wrong secret", wrong, "InvalidSignatureException", "check the secret key")
    wrong = put(url, keys("AKIAUNKNOWN", "hidden"))
    refused("ministack: an unknown key", wrong, "UnrecognizedClientException", "check the access key")


# Read by Python before it starts a program: that program's clock.
ANOTHER_CLOCK = """
import datetime, time

APART = {seconds}
real = time.time
time.time = lambda: real() + APART

class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=APART)

datetime.datetime = Clock
"""


def with_another_clock(folder):
    """Of the two clocks the service's counts: the program's is corrected, once, by what it hears."""
    for seconds in (-3_000, 3_000):
        (folder / "sitecustomize.py").write_text(ANOTHER_CLOCK.format(seconds=seconds))
        with ministack(AUTH="true", PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1") as url:
            service("kinesis", url).create_stream(StreamName=STREAM, ShardCount=1)
            key, secret = user(service("iam", url))
            try:
                service("kinesis", url, key, secret).list_streams()
                raise Different(f"a clock {seconds} s apart makes no difference")
            except ClientError as error:
                print(f"ministack: boto3 by the wrong clock: {error}", flush=True)
            accepted(f"ministack: a clock {seconds} s apart", put(url, keys(key, secret)))
            wrong = put(url, keys(key, "hidden"))
            refused("ministack: and a wrong secret", wrong, "InvalidSignatureException")


class Recorder(http.server.BaseHTTPRequestHandler):
    """Refuses every request, and keeps it."""

    kept = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.kept.append((self.path, dict(self.headers.items()), body))
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        pass


def signature_by_botocore(url, secret, token, path, headers, body):
    headers = {name.lower(): value for name, value in headers.items()}
    authorization = headers["authorization"]
    named = re.search("SignedHeaders=([^,]*)", authorization)[1].split(";")
    signed = {name: headers[name] for name in named}
    request = AWSRequest("POST", url + path, signed, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", secret, token), "kinesis", REGION)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return authorization.split("Signature=")[1], signer.signature(text, request), named


def signed_as_by_botocore(_):
    """Whole requests, signed again by botocore from what arrived."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hosts = [f"{host}:{server.server_port}" for host in ("127.0.0.1", "localhost")]
    paths = ["", "/", "/a/b", "/a/b/", "//a", "/a%20b/%C3%A9", "/~a-b_c.d", "/a=b,c:d@e"]
    tokens = [None, "token", "a/b+c==/" * 100]
    arn = f"arn:aws:kinesis:{REGION}:123456789012:stream/orders"
    asked = [(host, path, None, STREAM) for host in hosts for path in paths]
    asked += [(hosts[0], "/a%20b", token, name) for token in tokens for name in (STREAM, arn)]
    for host, path, token, name in asked:
        Recorder.kept.clear()
        secret = "a/b+c=" * 7
        put(f"http://{host}{path}", keys("AKIDEXAMPLE", secret, token), name)
        if not Recorder.kept:
            raise Different(f"nothing was sent to {host}{path}")
        for request in Recorder.kept:
            ours, theirs, named = signature_by_botocore(f"http://{host}", secret, token, *request)
            needed = {"host", "content-type", "x-amz-date", "x-amz-target"}
            needed |= {"x-amz-security-token"} if token else set()
            if ours != theirs or not needed <= set(named):
                raise Different(f"{host}{path}: signed {named}: {ours}, by botocore {theirs}")
    server.shutdown()
    print(f"botocore: {len(asked)} requests: the same signatures", flush=True)


def sessions(url, key, secret):
    session = service("sts", url, key, secret).get_session_token()["Credentials"]
    key, secret, token = (
        session[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    accepted("ministack: a session", put(url, keys(key, secret, token)))
    wrong = put(url, keys(key, secret))
    refused("ministack: a session without its token", wrong, "Exception", secret=secret)


def profile_files(folder, text):
    path = folder / "config"
    path.write_text(text)
    return {"AWS_CONFIG_FILE": str(path), "AWS_PROFILE": "writer"}


def profiles(folder, url, key, secret, first, second):
    user_keys = f"[profile keys]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    middle = f"[profile middle]\nrole_arn = {first}\nsource_profile = keys\n"
    last = f"[profile writer]\nrole_arn = {second}\nsource_profile = middle\n"
    right = last + f"external_id = {EXTERNAL_ID}\n"
    files = profile_files(folder, user_keys + middle + right)
    accepted("ministack: roles by way of profiles", put(url, files))
    files = profile_files(folder, user_keys + middle + last)
    wrong = put(url, files)
    refused("ministack: no external id", wrong, "assume role", "AccessDenied", secret=secret)
    files = profile_files(folder, user_keys.replace(secret, "hidden") + middle + right)
    refused("ministack: a role with a wrong secret", put(url, files), "assume role", "check the secret")


def short_lived(folder, url, key, secret, arn):
    """Credentials of 2 seconds, for 8: read by a program that goes on all the time."""
    files = profile_files(
        folder,
        f"[profile writer]\nrole_arn = {arn}\nsource_profile = keys\nduration_seconds = 2\n"
        f"[profile keys]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n",
    )
    place = ["--stream", STREAM, "--region", REGION, "--endpoint", url, "--from", "latest"]
    program = subprocess.Popen(
        [PROGRAMS / "tail", *place],
        env=emulators.clean_environment(AWS_ENDPOINT_URL_STS=url) | files,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    read = []
    reader = threading.Thread(target=lambda: read.extend(program.stdout), daemon=True)
    reader.start()
    writer, sent = service("kinesis", url), 0
    time.sleep(2)
    end = time.monotonic() + 8
    while time.monotonic() < end and program.poll() is None:
        writer.put_record(StreamName=STREAM, Data=f"{sent}".encode(), PartitionKey="key")
        sent += 1
        time.sleep(0.2)
    time.sleep(2)
    program.terminate()
    program.wait(PROGRAM_SECONDS)
    reader.join(PROGRAM_SECONDS)
    errors = program.stderr.read()
    if len(read) != sent:
        raise Different(f"short-lived credentials: {len(read)} of {sent} records read: {errors}")
    print(f"ministack: credentials of 2 seconds: ok: {sent} records", flush=True)


def web_identity(folder, url, iam):
    issuer = "token.example.com"
    iam.create_open_id_connect_provider(
        Url=f"https://{issuer}", ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40]
    )
    account = iam.get_user(UserName="writer")["User"]["Arn"].split(":")[4]
    provider = {"Federated": f"arn:aws:iam::{account}:oidc-provider/{issuer}"}
    condition = {"StringEquals": {f"{issuer}:sub": "pod"}}
    policy = trust(provider, "sts:AssumeRoleWithWebIdentity", condition)
    arn = role(iam, "pod", policy)
    path = folder / "token"

    def with_subject(subject):
        claims = {"iss": f"https://{issuer}", "sub": subject, "aud": "sts.amazonaws.com"}
        parts = [{"alg": "none"}, claims | {"exp": int(time.time()) + 600}]
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        path.write_text(".".join(part.decode().rstrip("=") for part in encoded) + ".hidden\n")
        return put(url, {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": arn})

    accepted("ministack: a web identity", with_subject("pod"))
    refused("ministack: another's web identity", with_subject("other"), "web identity", "AccessDenied")


def on_metadata_servers(folder):
    with ministack(MINISTACK_IMDS_V2_REQUIRED="1") as url:
        service("kinesis", url).create_stream(StreamName=STREAM, ShardCount=1)
        imds = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "false"}
        # A proxy that nobody listens at: nothing of this machine is asked through it, and all else would be.
        proxy = {"HTTP_PROXY": "http://127.0.0.1:9"}
        accepted("ministack: an instance's role", put(url, imds | proxy))
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v2/credentials/task"}
        accepted("ministack: a container's role", put(url, container | proxy))
        elsewhere = put("http://kinesis.test", container | proxy)
        refused("ministack: a proxy that is not there", elsewhere, "through the proxy 127.0.0.1:9: cannot connect")
        container |= {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(folder / "none")}
        refused("ministack: a container without its token", put(url, container), "container", "none")


def on_moto():
    with moto() as url:
        service("kinesis", url).create_stream(StreamName=STREAM, ShardCount=1)
        key, secret = user(service("iam", url))
        headers = {"Content-Type": "text/plain"}
        reset = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(reset, timeout=PROGRAM_SECONDS).close()
        accepted("moto: a user's key", put(url, keys(key, secret)))
        wrong = put(url, keys(key, "hidden"))
        refused("moto: a wrong secret", wrong, "SignatureDoesNotMatch", "check the secret key")


def main():
    checks = [signed_as_by_botocore, on_ministack, with_another_clock, on_metadata_servers, lambda _: on_moto()]
    failed = 0
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(pathlib.Path(folder))
            except Different as difference:
                failed += 1
                print(f"FAILED: {difference}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
