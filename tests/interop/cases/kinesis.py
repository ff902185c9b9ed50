"""Kinesis over HTTP/1.1 and JSON 1.1 without a library between: nothing is checked before it is
sent, nothing is tried again once it was answered or refused, and every wait has an end."""

import base64
import contextlib
import http.client
import itertools
import json
import socket
import time
import urllib.parse

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# A mebibyte takes kinesis-mock a second.
ANSWER_SECONDS = 60
STATE_SECONDS = 30
# Few enough for the limit on DescribeStreamSummary, which is 20 a second.
POLL_SECONDS = 0.06
# How often a short-lived state is looked for before it counts as not there.
GLIMPSES = 5
MIB = 1024 * 1024
HASH_KEYS = 2**128
FIRST_SHARD = "shardId-000000000000"

SIGNATURE = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/"
    "aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=" + "0" * 64,
    "X-Amz-Date": "20260101T000000Z",
}

_numbers = itertools.count(1)


class Refused(Exception):
    """An endpoint refused what the case needs before it can ask its question."""


class NotTried(Exception):
    """The question cannot be asked here."""


class Answer:
    def __init__(self, status, headers, text):
        self.status = status
        self.headers = headers
        try:
            self.body = json.loads(text) if text else {}
        except ValueError:
            self.body = None

    def word(self, success="yes"):
        """`success`, or the name of the error without what may stand around it."""
        if self.status == 200:
            return success
        if not isinstance(self.body, dict) or "__type" not in self.body:
            return str(self.status)
        return self.body["__type"].rpartition("#")[2]

    def form_of(self, member):
        """How a member without a value is written."""
        if member not in self.body:
            return "absent"
        return "null" if self.body[member] is None else "there"


class Kinesis:
    """One endpoint, on one connection for as long as that lasts."""

    def __init__(self, name, url):
        self.name = name
        self.place = urllib.parse.urlsplit(url).netloc
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, operation, body, headers=SIGNATURE, seconds=ANSWER_SECONDS):
        """Sends bytes to an operation."""
        kept = self.connection is not None
        head = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
        }
        try:
            return self._exchange(body, head | headers, seconds)
        except (ConnectionError, http.client.HTTPException):
            # Closed since its last answer, as any side may.
            if not kept:
                raise
        return self._exchange(body, head | headers, seconds)

    def _exchange(self, body, headers, seconds):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.place, timeout=seconds)
                self.connection.connect()
            self.connection.sock.settimeout(seconds)
            # Who answers before it has read a large body may hang up on the rest of it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connection.request("POST", "/", body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except BaseException:
            self.close()
            raise
        if self.connection.sock is None:
            self.close()
        return Answer(answer.status, answer.headers, text)

    def is_alive(self):
        host, port = self.place.split(":")
        try:
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
        except OSError:
            return False
        return True

    def call(self, operation, **members):
        return self.ask(operation, json.dumps(members).encode())

    def of(self, operation, **members):
        """The body of an answer that has to be there for the case to go on."""
        answer = self.call(operation, **members)
        if answer.status != 200:
            raise Refused(f"{operation}: {answer.word()}")
        return answer.body

    def new_name(self):
        return f"conformance-{next(_numbers)}"

    def stream(self, shards=1):
        name = self.new_name()
        self.of("CreateStream", StreamName=name, ShardCount=shards)
        self.wait_active(name)
        return name

    def wait_active(self, stream):
        end = time.monotonic() + STATE_SECONDS
        while self.summary(stream)["StreamStatus"] != "ACTIVE":
            if time.monotonic() > end:
                raise Refused("never ACTIVE")
            time.sleep(POLL_SECONDS)

    def summary(self, stream):
        answer = self.of("DescribeStreamSummary", StreamName=stream)
        return answer["StreamDescriptionSummary"]

    def arn(self, stream):
        return self.summary(stream)["StreamARN"]

    def shards(self, stream):
        return self.of("ListShards", StreamName=stream)["Shards"]

    def put(self, stream, data=b"data", **members):
        record = {"PartitionKey": "key", "Data": encoded(data)} | members
        return self.of("PutRecord", StreamName=stream, **record)

    def iterator(self, stream, kind="TRIM_HORIZON", shard=FIRST_SHARD, **members):
        answer = self.of(
            "GetShardIterator",
            StreamName=stream,
            ShardId=shard,
            ShardIteratorType=kind,
            **members,
        )
        return answer["ShardIterator"]

    def read(self, iterator, **members):
        return self.of("GetRecords", ShardIterator=iterator, **members)

    def data(self, iterator):
        """The data of one answer."""
        records = self.read(iterator)["Records"]
        return [base64.b64decode(record["Data"]) for record in records]

    def split(self, stream, shard=FIRST_SHARD, at=HASH_KEYS // 2):
        self.of("SplitShard", StreamName=stream, ShardToSplit=shard, NewStartingHashKey=str(at))
        self.wait_active(stream)

    def aged(self, iterator):
        """The iterator as it would be had it been made 301 seconds earlier."""
        if self.name == "fake":
            token = json.loads(base64.b64decode(iterator))
            token["issued"] -= 301_000
            return encoded(json.dumps(token).encode())
        if self.name not in ("kinesalite", "kinesis-mock", "ferrokinesis"):
            raise NotTried
        token = base64.b64decode(iterator)
        text = opened(token[8:])
        issued = int(text[:14]) - 301_000
        return encoded(token[:8] + closed(b"%014d" % issued + text[14:]))


def encoded(data):
    return base64.b64encode(data).decode()


# kinesalite's iterators, which others took over.
_cipher = Cipher(
    algorithms.AES(
        bytes.fromhex("1133a5a833666b49abf28c8ba302930f0b2fb240dccd43cf4dfbc0ca91f17751")
    ),
    modes.CBC(bytes.fromhex("7bf139dbabbea2d9995d6fcae1dff7da")),
)


def opened(sealed):
    decryptor, unpadder = _cipher.decryptor(), padding.PKCS7(128).unpadder()
    padded = decryptor.update(sealed) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def closed(text):
    encryptor, padder = _cipher.encryptor(), padding.PKCS7(128).padder()
    padded = padder.update(text) + padder.finalize()
    return encryptor.update(padded) + encryptor.finalize()
