"""What a client meets before it looks at any answer: names of errors, headers, connections."""

from cases.kinesis import SIGNATURE
from cases.table import Table

TABLE = Table()
case = TABLE.case


def unknown_stream(kinesis):
    return kinesis.call("DescribeStreamSummary", StreamName="no-such-stream")


@case("unknown stream", "ResourceNotFoundException", "DescribeStreamSummary")
def _(kinesis):
    return unknown_stream(kinesis).word()


@case("status of an error", "400", "DescribeStreamSummary")
def _(kinesis):
    return str(unknown_stream(kinesis).status)


@case("members of an error", "__type message", "aws-json-1_1-protocol")
def _(kinesis):
    return " ".join(sorted(unknown_stream(kinesis).body))


@case(
    "x-amzn-ErrorType of an error",
    None,
    "aws-json-1_1-protocol",
    "clients do not need it; kinesalite and kinesis-mock send none",
)
def _(kinesis):
    return unknown_stream(kinesis).headers["x-amzn-ErrorType"] or "absent"


@case("Content-Type of an error", "application/x-amz-json-1.1", "aws-json-1_1-protocol")
def _(kinesis):
    return unknown_stream(kinesis).headers["Content-Type"] or "absent"


@case("x-amzn-RequestId", "there", "PutRecord")
def _(kinesis):
    return "there" if unknown_stream(kinesis).headers["x-amzn-RequestId"] else "absent"


@case("unknown operation", None, "CommonErrors", "the page has the error names of other protocols")
def _(kinesis):
    return kinesis.call("BrewCoffee").word()


@case("body that is not JSON", None, "CommonErrors", "this error of the service is known")
def _(kinesis):
    return kinesis.ask("ListStreams", b"{").word()


@case("number where a text belongs", None, "CommonErrors", "likewise")
def _(kinesis):
    return kinesis.call("DescribeStreamSummary", StreamName=7).word()


@case("member that no page knows", None, "PutRecord", "ignored, because newer clients may send it")
def _(kinesis):
    return kinesis.call("ListStreams", Colour="green").word("left alone")


@case(
    "unsigned request",
    None,
    "CommonErrors",
    "this error of the service is known; it shows a missing signature",
)
def _(kinesis):
    return kinesis.ask("ListStreams", b"{}", headers={}).word("answered")


@case("wrong signature", None, "CommonErrors", "the fake checks signatures only after it was given a secret")
def _(kinesis):
    return kinesis.ask("ListStreams", b"{}", headers=SIGNATURE).word("answered")


@case("second request on a connection", None, "PutRecords", "HTTP/1.1 keeps connections")
def _(kinesis):
    kinesis.call("ListStreams")
    kept = kinesis.connection
    answer = kinesis.call("ListStreams")
    return answer.word("answered" if kept and kept is kinesis.connection else "closed")
