//! JSON 1.1: what goes over the wire for each operation, and nothing else.

mod get_records;
mod put_record;
mod put_records;
mod shards;
mod streams;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::model::Operation;

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

    fn answer(&self, body: Bytes) -> Result<Self::Answer>;

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

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(malformed)
}

/// Error for an answer that is not what the operation answers. Never quotes it: it may hold records.
fn malformed(detail: impl std::fmt::Display) -> Error {
    Error::malformed("response", detail)
}

/// What a body says about an error, in the spellings that AWS and its emulators use.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type", alias = "code", default)]
    kind: Option<String>,
    #[serde(alias = "Message", default)]
    message: Option<String>,
}

/// Reads an answer whose status says that the call failed.
pub(super) fn service_error(response: &Response<Bytes>) -> Error {
    let header = response
        .headers()
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok());
    let body: Option<ErrorBody> = serde_json::from_slice(response.body()).ok();
    let said = body.unwrap_or_default();
    let code = header
        .or(said.kind.as_deref())
        .map_or("", bare_code)
        .to_owned();
    let status = response.status().as_u16();
    match (said.message, code.is_empty()) {
        (Some(message), _) => Error::service(&code, &message, status),
        // Somebody on the way answered in the service's place; its first words say who.
        (None, true) => Error::service("", &String::from_utf8_lossy(response.body()), status),
        (None, false) => Error::service(&code, "", status),
    }
}

/// The bare name in `com.amazon.coral.service#Name`, `Name:http://…` and `Name`.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, name)| name);
    code.split_once(':').map_or(code, |(name, _)| name).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (status, header, body, message) in [
            (
                400,
                None,
                r#"{"__type":"InternalFailure","message":"m"}"#,
                "InternalFailure: m",
            ),
            (
                400,
                None,
                r#"{"__type":"com.amazon.coral.service#InternalFailure"}"#,
                "InternalFailure",
            ),
            (
                400,
                None,
                r#"{"__type":"InternalFailure","Message":"m"}"#,
                "InternalFailure: m",
            ),
            (
                400,
                Some("InternalFailure:http://host/"),
                r#"{"message":"m"}"#,
                "InternalFailure: m",
            ),
            (500, Some("InternalFailure"), "", "InternalFailure"),
            (
                502,
                None,
                "<html>\n<b>Bad gateway</b>",
                "HTTP status 502: <html> <b>Bad gateway</b>",
            ),
            (
                500,
                None,
                "Internal Server Error",
                "HTTP status 500: Internal Server Error",
            ),
            (413, None, "", "HTTP status 413: "),
            (
                400,
                None,
                r#"{"__type":null,"message":null}"#,
                "HTTP status 400: {\"__type\":null,\"message\":null}",
            ),
        ] {
            assert_eq!(error(status, header, body), message, "{body}");
        }
    }

    #[test]
    fn a_page_in_place_of_an_answer_is_cut_short() {
        assert!(error(503, None, &"x".repeat(100_000)).len() < 600);
    }
}
