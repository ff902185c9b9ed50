//! What bodies say that are not the answers asked for: errors, and pages of somebody on the way.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

use crate::error::Error;

/// What a body says about an error, in the spellings that AWS and its emulators use. Members of other types say nothing.
#[derive(Default)]
pub(crate) struct Said<'a> {
    pub code: Option<&'a str>,
    pub message: Option<&'a str>,
}

impl<'a> Said<'a> {
    pub fn of(body: &'a Map<String, Value>) -> Said<'a> {
        // The query services in JSON put both into a member of their own.
        let inner = body.get("Error").and_then(Value::as_object);
        let text = |names: &[&str]| {
            let bodies = [Some(body), inner];
            let mut texts = bodies.into_iter().flatten().flat_map(|body| {
                let texts = names.iter().map(|name| body.get(*name)?.as_str());
                texts.flatten().filter(|text| !text.trim().is_empty())
            });
            texts.next()
        };
        Said {
            code: text(&["__type", "code", "Code"])
                .map(bare_code)
                .filter(|code| !code.is_empty()),
            message: text(&["message", "Message", "errorMessage"]),
        }
    }
}

/// The bare name in `com.amazon.coral.service#Name`, `com.amazon.coral.service.Name`, `Name:http://…` and `Name`.
pub(crate) fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, name)| name);
    let code = code.split_once(':').map_or(code, |(name, _)| name).trim();
    let is_spaced = ["com.", "aws.", "software."]
        .iter()
        .any(|space| code.starts_with(space));
    match code.rsplit_once('.') {
        Some((_, name)) if is_spaced => name,
        _ => code,
    }
}

/// A page in place of JSON, of a portal, a balancer or another service.
pub(crate) fn page(response: &Response<Bytes>) -> Option<Error> {
    let body = response
        .body()
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(response.body());
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if body[start] != b'<' {
        return None;
    }
    let status = response.status().as_u16();
    let text = String::from_utf8_lossy(&body[start..]);
    let detail = format_args!("HTTP status {status} with a page in place of JSON: {text}");
    Some(Error::malformed("response", detail))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_in_every_spelling() {
        for (body, code, message) in [
            (r#"{"__type":"A","message":"m"}"#, Some("A"), Some("m")),
            (r#"{"code":"A","Message":"m"}"#, Some("A"), Some("m")),
            (r#"{"Code":"A","errorMessage":"m"}"#, Some("A"), Some("m")),
            (
                r#"{"Error":{"Code":"A","Message":"m"}}"#,
                Some("A"),
                Some("m"),
            ),
            // What is outside comes first, unless it says nothing.
            (r#"{"code":"A","Error":{"Code":"B"}}"#, Some("A"), None),
            (r#"{"__type":" ","code":"A","Error":{}}"#, Some("A"), None),
            (r#"{"__type":7,"Error":"text","message":null}"#, None, None),
            (r##"{"__type":"space#"}"##, None, None),
        ] {
            let map: Map<String, Value> = serde_json::from_str(body).expect("an object");
            let said = Said::of(&map);
            assert_eq!((said.code, said.message), (code, message), "{body}");
        }
    }

    #[test]
    fn a_code_is_freed_of_what_stands_around_it() {
        for code in [
            "Name",
            " Name ",
            "com.amazon.coral.service#Name",
            "com.amazon.coral.service.Name",
            "aws.protocoltests.Name",
            "software.amazon.Name",
            "Name:http://internal.example/coral/",
            "space#Name:http://internal.example/",
        ] {
            assert_eq!(bare_code(code), "Name");
        }
        assert_eq!(bare_code("Sender.Name"), "Sender.Name");
    }

    #[test]
    fn a_page_is_told_by_its_first_words_and_its_status() {
        let told = |body: &'static [u8]| page(&Response::new(Bytes::from_static(body)));
        let error = told(b"\xef\xbb\xbf\n <html>\n<title>Sign \x1b[31min</title>").expect("a page");
        assert_eq!(
            error.to_string(),
            "response is malformed: HTTP status 200 with a page in place of JSON: <html> <title>Sign  [31min</title>"
        );
        assert!(error.is_retryable());
        for body in [&b""[..], b"{}", b" {\"a\":\"<html>\"}", b"text"] {
            assert!(told(body).is_none());
        }
    }
}
