"""Asks emulators what they have to refuse, and writes down their answers as they came.

    target/interop/venv/bin/python tests/interop/capture_errors.py    after tests/interop/run.sh

What is written, tests/data/errors.json, is what the crate's reader of errors is tried with.
"""

import http.client
import json
import urllib.parse

import emulators

EMULATORS = {
    "kinesalite": emulators.kinesalite,
    "kinesis-mock": emulators.kinesis_mock,
    "moto": emulators.moto,
}
TARGET = emulators.ROOT / "tests" / "data" / "errors.json"
JSON = "application/x-amz-json-1.1"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
# What a client can see of an answer beside its body; the rest is different each time.
HEADERS = ("content-type", "x-amzn-errortype")

SHARD = {"StreamName": "orders", "ShardId": "shardId-000000000000"}
ENTRY = {"StreamName": "orders", "Data": "YQ==", "PartitionKey": "key"}
CASES = {
    "no such stream": ("DescribeStreamSummary", {"StreamName": "none"}, {}),
    "no such shard": (
        "GetShardIterator",
        SHARD | {"ShardId": "shardId-000000000009", "ShardIteratorType": "LATEST"},
        {},
    ),
    "a stream twice": ("CreateStream", {"StreamName": "orders", "ShardCount": 1}, {}),
    "too many shards": ("CreateStream", {"StreamName": "large", "ShardCount": 100_000}, {}),
    "no iterator": ("GetRecords", {"ShardIterator": "garbage"}, {}),
    "a partition key too long": ("PutRecord", ENTRY | {"PartitionKey": "k" * 300}, {}),
    "no partition key": ("PutRecord", {"StreamName": "orders", "Data": "YQ=="}, {}),
    "a record too large": ("PutRecord", ENTRY | {"Data": "A" * (2 << 20)}, {}),
    "a request too large": ("PutRecord", ENTRY | {"Data": "A" * (8 << 20)}, {}),
    "a number for a name": ("DescribeStreamSummary", {"StreamName": 7}, {}),
    "no such operation": ("Describe", {}, {}),
    "no JSON": ("PutRecord", None, {}),
    "no signature": ("ListShards", {"StreamName": "orders"}, {"Authorization": None}),
    "another content type": ("ListShards", {}, {"Content-Type": "application/json"}),
}


def ask(url, operation, fields, changed):
    headers = {
        "Content-Type": JSON,
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": AUTHORIZATION,
    } | changed
    headers = {name: value for name, value in headers.items() if value is not None}
    body = "{" if fields is None else json.dumps(fields)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
    try:
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        said = {name: answer.getheader(name) for name in HEADERS if answer.getheader(name)}
        return answer.status, said, answer.read().decode()
    finally:
        connection.close()


def captured():
    for name, start in EMULATORS.items():
        with start() as endpoint:
            ask(endpoint.url, "CreateStream", {"StreamName": "orders", "ShardCount": 1}, {})
            for what, case in CASES.items():
                try:
                    status, headers, body = ask(endpoint.url, *case)
                except (OSError, http.client.HTTPException) as error:
                    print(f"{name}, {what}: no answer: {error!r}")
                    continue
                print(f"{name}, {what}: {status} {headers} {body[:150]!r}")
                if status != 200:
                    fixture = {"from": name, "what": what, "status": status}
                    yield fixture | {"headers": headers, "body": body}


def main():
    lines = ",\n".join(json.dumps(fixture, ensure_ascii=False) for fixture in captured())
    TARGET.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
