//! JSON 1.1: what goes over the wire for each operation, and nothing else.

pub(super) mod get_records;
mod members;
mod payloads;
mod put_record;
pub(super) mod put_records;
mod scanner;
mod seconds;
mod shards;
mod streams;
mod text;
mod tree;
mod usual_listing;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::http::{Said, bare_code};
use crate::model::Operation;
use crate::sys::buffers::Buffers;

pub(super) use get_records::GetRecords;
pub(super) use put_record::PutRecord;
pub(super) use put_records::PutRecords;
pub(super) use shards::{GetShardIterator, ListShards};
pub(super) use streams::{
    CreateStream, DeleteStream, DescribeStreamSummary, MergeShards, SplitShard, UpdateShardCount,
};

/// One operation's request, and what its answer means. The two cannot be paired wrongly.
pub(super) trait Exchange {
    const OPERATION: Operation;
    type Answer;

    fn body(&self) -> Bytes;

    /// The same, in memory that was used before if it is large.
    fn body_in(&self, _: &Buffers) -> Bytes {
        self.body()
    }

    fn answer(&self, body: Bytes) -> Result<Self::Answer>;

    /// Says whether the same request may be made again after an error that passes.
    fn is_repeated_after(&self, _: &Error) -> bool {
        true
    }

    /// Says what the call is about.
    fn subject(&self, context: &mut Context);
}

fn json(value: &Value) -> Bytes {
    value.to_string().into()
}

/// A request about a stream, which is named by its name or by its ARN.
fn json_about(stream: &str, mut fields: Value) -> Bytes {
    fields[stream_field(stream)] = stream.into();
    json(&fields)
}

/// The field that names a stream. No stream's name has a colon.
fn stream_field(stream: &str) -> &'static str {
    match stream.starts_with("arn:") {
        true => "StreamARN",
        false => "StreamName",
    }
}

/// Error for an answer that is not what the operation answers. Never quotes it: it may hold records.
fn malformed(detail: impl std::fmt::Display) -> Error {
    Error::malformed("response", detail)
}

/// Reads an answer whose status says that the call failed.
pub(super) fn service_error(response: &Response<Bytes>) -> Error {
    let status = response.status().as_u16();
    let header = response.headers().get("x-amzn-errortype");
    let header = header.and_then(|value| value.to_str().ok());
    let body = tree::object(response.body());
    let said = body.as_ref().map(Said::of).unwrap_or_default();
    let header = header.map(bare_code).filter(|code| !code.is_empty());
    let code = header.or(said.code);
    match (code, said.message) {
        (Some(code), message) => Error::service(code, message.unwrap_or_default(), status),
        (None, Some(message)) => Error::service("", message, status),
        (None, None) => {
            let text = String::from_utf8_lossy(response.body());
            match (between(&text, "Code"), between(&text, "Message")) {
                // What stands before the service may answer in XML, as the query services do.
                (Some(code), message) => Error::service(code, message.unwrap_or_default(), status),
                // Somebody on the way answered in the service's place; its first words say who.
                (None, _) => Error::service("", text.trim_start_matches('\u{feff}'), status),
            }
        }
    }
}

/// What stands in an element of this name.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn error(status: u16, header: Option<&str>, body: &str) -> String {
        let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
        *response.status_mut() = status.try_into().expect("a status");
        if let Some(header) = header {
            response
                .headers_mut()
                .insert("x-amzn-errortype", header.parse().expect("a header"));
        }
        service_error(&response).to_string()
    }

    #[test]
    fn an_error_is_read_in_every_spelling() {
        for (who, status, header, body, message) in [
            (
                "kinesalite",
                400,
                None,
                r#"{"__type":"ResourceNotFoundException","message":"Stream x under account 000000000000 not found."}"#,
                "ResourceNotFoundException: Stream x under account 000000000000 not found.; check the stream's name, \
                 the region and the account",
            ),
            (
                "kinesalite, without a message",
                400,
                None,
                r#"{"__type":"UnknownOperationException"}"#,
                "UnknownOperationException",
            ),
            (
                "kinesalite, with a capital",
                400,
                None,
                r#"{"__type":"SerializationException","Message":"m"}"#,
                "SerializationException: m",
            ),
            (
                "kinesalite, with a prefix",
                404,
                None,
                r#"{"__type":"com.amazon.coral.service#UnknownOperationException","message":null}"#,
                "UnknownOperationException",
            ),
            (
                "kinesalite, body too large",
                413,
                None,
                "",
                "HTTP status 413: ; the request is larger than the service, or a proxy before it, takes: raise the stream's largest record, or lower max_user_record_bytes and collection_max_bytes",
            ),
            (
                "kinesis-mock",
                400,
                None,
                r#"{"__type":"ExpiredIteratorException","message":"The shard iterator has expired."}"#,
                "ExpiredIteratorException: The shard iterator has expired.",
            ),
            (
                "kinesis-mock, unhandled",
                500,
                None,
                "Internal Server Error",
                "HTTP status 500: Internal Server Error",
            ),
            (
                "moto",
                400,
                Some("InvalidArgumentException"),
                r#"{"__type":"InvalidArgumentException","message":"m"}"#,
                "InvalidArgumentException: m",
            ),
            (
                "moto, unhandled",
                500,
                None,
                "<!doctype html>\n<title>500 Internal Server Error</title>",
                "HTTP status 500: <!doctype html> <title>500 Internal Server Error</title>",
            ),
            (
                "moto, of the signature",
                403,
                None,
                "<ErrorResponse>\n <Error>\n  <Code>SignatureDoesNotMatch</Code>\n  <Message>The request signature \
                 we calculated</Message>\n </Error></ErrorResponse>",
                "SignatureDoesNotMatch: The request signature we calculated; check the secret key, the region and \
                 this machine's clock",
            ),
            (
                "ministack, of the signature",
                400,
                None,
                r#"{"__type":"InvalidSignatureException","message":"Signature expired: 1 is now earlier than 2"}"#,
                "InvalidSignatureException: Signature expired: 1 is now earlier than 2; check the secret key, the \
                 region and this machine's clock",
            ),
            (
                "ministack, of the key",
                400,
                None,
                r#"{"__type":"UnrecognizedClientException","message":"m"}"#,
                "UnrecognizedClientException: m; check the access key: the service does not know it",
            ),
            (
                "ministack, of the token",
                400,
                None,
                r#"{"__type":"ExpiredTokenException","message":"m"}"#,
                "ExpiredTokenException: m; get new credentials: the session token is no longer valid",
            ),
            (
                "AWS, in the header",
                400,
                Some("InternalFailure:http://internal.amazon.com/coral/"),
                r#"{"message":"m"}"#,
                "InternalFailure: m",
            ),
            (
                "AWS, in the header only",
                500,
                Some("InternalFailure"),
                "",
                "InternalFailure",
            ),
            (
                "a proxy",
                502,
                None,
                "<html>\n<b>Bad gateway</b>",
                "HTTP status 502: <html> <b>Bad gateway</b>",
            ),
            (
                "nulls",
                400,
                None,
                r#"{"__type":null,"message":null}"#,
                "HTTP status 400: {\"__type\":null,\"message\":null}",
            ),
            (
                "a body that breaks off",
                400,
                None,
                r#"{"__type":"Internal"#,
                r#"HTTP status 400: {"__type":"Internal"#,
            ),
        ] {
            assert_eq!(error(status, header, body), message, "{who}");
        }
    }

    #[test]
    fn a_body_that_is_no_text_is_told_as_far_as_it_is() {
        let mut response = Response::new(Bytes::from_static(b"\xff\xfe\x00busy"));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        let text = service_error(&response).to_string();
        assert_eq!(text, "HTTP status 503: \u{fffd}\u{fffd} busy");
    }

    #[test]
    fn one_odd_member_leaves_the_rest_of_an_error_readable() {
        for (header, body) in [
            (
                None,
                r#"{"__type":"Gone","code":404,"message":"no stream"}"#,
            ),
            (
                None,
                r#"{"__type":"Gone","code":"NotFound","message":"no stream"}"#,
            ),
            (
                None,
                r#"{"__type":"Gone","message":"no stream","Message":"no stream"}"#,
            ),
            (
                None,
                r#"{"__type":"Gone","message":null,"Message":"no stream"}"#,
            ),
            (
                None,
                r#"{"__type":"Gone","message":"","Message":"no stream"}"#,
            ),
            (
                None,
                r#"{"__type":"a.b.v1#Gone","message":"no stream","more":[{"code":1}]}"#,
            ),
            (
                None,
                r#"{"__type":"com.amazonaws.kinesis.Gone","Message":"no stream"}"#,
            ),
            (None, r#"{"Code":"Gone","Message":"no stream"}"#),
            (None, r#"{"__type":7,"code":"Gone","message":"no stream"}"#),
            (None, r#"{"Error":{"Code":"Gone","Message":"no stream"}}"#),
            (
                None,
                "\u{feff}{\"__type\":\"Gone\",\"message\":\"no stream\"}",
            ),
            (
                Some("Gone:http://internal/"),
                r#"{"__type":"Other","message":"no stream"}"#,
            ),
            (Some(" "), r#"{"__type":"Gone","message":"no stream"}"#),
            (Some("Gone"), r#"{"message":{},"Message":"no stream"}"#),
        ] {
            assert_eq!(error(400, header, body), "Gone: no stream", "{body}");
        }
        let told = error(
            400,
            None,
            r#"{"__type":"Gone","message":{"text":"no stream"}}"#,
        );
        assert_eq!(told, "Gone");
    }

    #[test]
    fn a_page_in_place_of_an_answer_is_cut_short() {
        assert!(error(503, None, &"x".repeat(100_000)).len() < 600);
    }

    /// What emulators answered, as `tests/interop/capture_errors.py` wrote it down.
    #[test]
    fn real_answers_of_emulators_are_read() {
        #[derive(serde::Deserialize)]
        struct Captured {
            from: String,
            what: String,
            status: u16,
            headers: std::collections::BTreeMap<String, String>,
            body: String,
        }
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/errors.json"
        ));
        let captured: Vec<Captured> = serde_json::from_str(text).expect("JSON");
        let mut read = String::new();
        for Captured {
            from,
            what,
            status,
            headers,
            body,
        } in captured
        {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let error = service_error(&response.body(body.into()).expect("a response"));
            let ErrorKind::Service { code, status, .. } = error.kind() else {
                panic!("{error}");
            };
            let code = if code.is_empty() { "-" } else { code };
            let verdict = error.verdict();
            read.push_str(&format!("{from}, {what}: {status} {code} {verdict:?}\n"));
            assert!(error.to_string().chars().count() < 700, "{error}");
        }
        assert_eq!(read, EMULATORS_ERRORS);
    }

    const EMULATORS_ERRORS: &str = "\
kinesalite, no such stream: 400 ResourceNotFoundException Fatal
kinesalite, no such shard: 400 ResourceNotFoundException Fatal
kinesalite, a stream twice: 400 ResourceInUseException Fatal
kinesalite, too many shards: 400 LimitExceededException Throttled
kinesalite, no iterator: 400 InvalidArgumentException Fatal
kinesalite, a partition key too long: 400 ValidationException Fatal
kinesalite, no partition key: 400 ValidationException Fatal
kinesalite, a record too large: 400 ValidationException Fatal
kinesalite, a request too large: 413 - Fatal
kinesalite, a number for a name: 400 SerializationException Fatal
kinesalite, no such operation: 400 UnknownOperationException Fatal
kinesalite, no JSON: 400 SerializationException Fatal
kinesalite, no signature: 400 MissingAuthenticationTokenException Fatal
kinesalite, another content type: 404 - Fatal
kinesis-mock, no such stream: 400 ResourceNotFoundException Fatal
kinesis-mock, no such shard: 400 ResourceNotFoundException Fatal
kinesis-mock, a stream twice: 400 ResourceInUseException Fatal
kinesis-mock, too many shards: 400 LimitExceededException Throttled
kinesis-mock, no iterator: 500 - Retry
kinesis-mock, a partition key too long: 400 InvalidArgumentException Fatal
kinesis-mock, no partition key: 400 SerializationException Fatal
kinesis-mock, a record too large: 400 InvalidArgumentException Fatal
kinesis-mock, a number for a name: 400 SerializationException Fatal
kinesis-mock, no such operation: 400 AccessDeniedException Fatal
kinesis-mock, no JSON: 400 SerializationException Fatal
kinesis-mock, no signature: 400 MissingAuthenticationTokenException Fatal
kinesis-mock, another content type: 400 InvalidArgumentException Fatal
moto, no such stream: 400 ResourceNotFoundException Fatal
moto, no such shard: 400 ResourceNotFoundException Fatal
moto, a stream twice: 400 ResourceInUseException Fatal
moto, no iterator: 500 - Retry
moto, a partition key too long: 400 InvalidArgumentException Fatal
moto, no partition key: 400 InvalidArgumentException Fatal
moto, a number for a name: 400 ResourceNotFoundException Fatal
moto, no such operation: 500 - Retry
moto, no JSON: 400 ResourceNotFoundException Fatal
moto, another content type: 400 ResourceNotFoundException Fatal
";
}
