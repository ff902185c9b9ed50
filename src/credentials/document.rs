//! Credentials as JSON: what metadata servers, `credential_process`, single sign-on and `aws login` hand out.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::credentials::keys::KeySet;
use crate::error::{Error, Result};
use crate::sign::Credentials;

/// What the members are called in one kind of document.
pub(super) struct Names {
    pub id: &'static str,
    pub secret: &'static str,
    pub token: &'static str,
    pub expiration: &'static str,
}

/// The document of a container's or an instance's role.
///
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>
pub(super) const SERVER: Names = Names {
    token: "Token",
    ..PROCESS
};

/// What a `credential_process` prints.
///
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
pub(super) const PROCESS: Names = Names {
    id: "AccessKeyId",
    secret: "SecretAccessKey",
    token: "SessionToken",
    expiration: "Expiration",
};

/// Reads the credentials in a metadata server's document.
///
/// # Errors
/// `Service`: the document is a refusal. `Malformed`: it is no such document. Never quotes it.
pub(super) fn credentials(body: &[u8]) -> Result<Credentials> {
    let document = object(body)?;
    // Containers leave the code out.
    if let Some(code) = text(&document, "Code").filter(|code| code != "Success") {
        let message = text(&document, "Message").unwrap_or_default();
        return Err(Error::service(&code, &message, 200));
    }
    of_object(&document, &SERVER)
}

/// Reads a JSON object.
///
/// # Errors
/// `Malformed`: it is none. Never quotes it.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    // The reader's own message may hold a piece of the document.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        malformed(format_args!(
            "it is no JSON object, line {line} column {column}"
        ))
    })
}

/// Reads the credentials that a document, or a part of one, has under these names.
///
/// # Errors
/// `Malformed`: a member is missing or is not what it has to be. Names the member, never quotes it.
pub(super) fn of_object(document: &Map<String, Value>, names: &Names) -> Result<Credentials> {
    let expiration = match document.get(names.expiration) {
        // Milliseconds, as the service for single sign-on gives them.
        Some(Value::Number(millis)) => millis.as_u64().map(|millis| millis.to_string() + "ms"),
        _ => text(document, names.expiration),
    };
    let part = |name| text(document, name);
    assemble(
        names,
        [
            part(names.id),
            part(names.secret),
            part(names.token),
            expiration,
        ],
    )
}

/// A member that is a text; one that is null or of another kind counts as absent.
pub(super) fn text(document: &Map<String, Value>, name: &str) -> Option<String> {
    document.get(name)?.as_str().map(str::to_owned)
}

/// Credentials of the four parts that every source of temporary ones names: access key, secret key, session token and
/// expiration.
pub(super) fn assemble(names: &Names, parts: [Option<String>; 4]) -> Result<Credentials> {
    let [id, secret, token, expiration] = parts;
    let required = |part: Option<String>, name: &str| {
        part.ok_or_else(|| malformed(format_args!("it has no {name}")))
    };
    let keys = KeySet {
        id: (names.id, Some(required(id, names.id)?)),
        secret: (names.secret, Some(required(secret, names.secret)?)),
        token: (names.token, token),
    };
    let credentials = keys.credentials().map_err(malformed)?;
    let credentials = credentials.ok_or_else(|| malformed("it has no keys"))?;
    match expiration.filter(|text| !text.trim().is_empty()) {
        None => Ok(credentials),
        Some(text) => match instant(&text) {
            Some(at) => Ok(credentials.with_expiry(at)),
            None => Err(malformed(format_args!(
                "its {} is no instant such as {INSTANT_EXAMPLE}",
                names.expiration
            ))),
        },
    }
}

/// Reads an instant in the forms that servers and programs write: RFC 3339, and the same with a blank for the `T`,
/// with `+0000` for `+00:00`, with `UTC` or nothing for `Z`; or milliseconds with `ms` behind them.
pub(super) fn instant(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if let Some(millis) = text
        .strip_suffix("ms")
        .and_then(|millis| millis.parse().ok())
    {
        return SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    }
    let (day, time) = text.split_once(['T', 't', ' '])?;
    let time = time.trim();
    let (time, zone) = match time.find(['Z', 'z', 'U', '+', '-', ' ']) {
        Some(at) => (&time[..at], time[at..].trim()),
        None => (time, ""),
    };
    let zone = match zone {
        "" | "Z" | "z" | "UTC" => "Z".to_owned(),
        // `+0000`: the colon is missing.
        zone if zone.len() == 5 && zone.is_ascii() => format!("{}:{}", &zone[..3], &zone[3..]),
        zone => zone.to_owned(),
    };
    let text = format!("{day}T{time}{zone}");
    OffsetDateTime::parse(&text, &Rfc3339)
        .ok()
        .map(SystemTime::from)
}

fn malformed(detail: impl std::fmt::Display) -> Error {
    Error::malformed("credentials document", detail)
}

/// What messages show as an instant.
pub(super) const INSTANT_EXAMPLE: &str = "2026-01-31T12:00:00Z";

/// Editors and PowerShell put it before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_and_without_its_optional_parts() {
        for (body, expires_at) in [
            (
                r#"{"Code":"Success","LastUpdated":"2026-11-22T19:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIA",
                    "SecretAccessKey":"hidden","Token":"t","Expiration":"2026-11-22T20:34:15Z"}"#,
                Some(1_795_379_655_000_000),
            ),
            (
                r#"{"RoleArn":"arn","AccessKeyId":"ASIA","SecretAccessKey":"hidden","Token":"t","Expiration":"2026-11-22T20:34:15.041228Z"}"#,
                Some(1_795_379_655_041_228),
            ),
            (r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hidden"}"#, None),
            (
                "\u{feff}{\"AccessKeyId\":\"ASIA\\n\",\"SecretAccessKey\":\"hidden\",\"Expiration\":\"\",\"Code\":null,\"Token\":null}",
                None,
            ),
            (
                r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hidden","Expiration":1795379655041,"AccountId":1}"#,
                Some(1_795_379_655_041_000),
            ),
        ] {
            let credentials = credentials(body.as_bytes()).expect(body);
            let micros = expires_at.map(Duration::from_micros);
            let expected = micros.map(|micros| SystemTime::UNIX_EPOCH + micros);
            assert_eq!(
                (credentials.access_key_id(), credentials.expires_at()),
                ("ASIA", expected)
            );
        }
    }

    #[test]
    fn an_instant_is_read_in_every_form_that_is_about() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(4_070_908_800);
        for text in [
            "2099-01-01T00:00:00Z",
            "2099-01-01T00:00:00+0000",
            "2099-01-01T00:00:00+00:00",
            "2099-01-01T00:00:00.000000+00:00",
            "2099-01-01 00:00:00Z",
            "2099-01-01T00:00:00UTC",
            "2099-01-01 00:00:00 UTC",
            "2099-01-01T00:00:00",
            "2099-01-01T01:00:00+0100",
            " 2099-01-01T00:00:00Z\n",
            "4070908800000ms",
        ] {
            assert_eq!(instant(text), Some(expected), "{text:?}");
        }
        for text in [
            "",
            "soon",
            "2099-01-01",
            "2099-13-01T00:00:00Z",
            "2099-01-01T00:00:00+é00",
            "2099-01-01T00:00:00CET",
            "-1ms",
            "T",
            "é T é",
        ] {
            assert_eq!(instant(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_document_is_told_without_its_secrets() {
        for (body, message) in [
            (
                "hidden",
                "credentials document is malformed: it is no JSON object, line 1 column 1",
            ),
            (
                r#"["hidden"]"#,
                "credentials document is malformed: it is no JSON object, line 1 column 0",
            ),
            (
                r#"{"AccessKeyId":"ASIA","SecretAccessKey":["hidden"]}"#,
                "credentials document is malformed: it has no SecretAccessKey",
            ),
            (
                r#"{"AccessKeyId":"","SecretAccessKey":"hidden"}"#,
                "credentials document is malformed: AccessKeyId is empty",
            ),
            (
                r#"{"AccessKeyId":"ASIA"}"#,
                "credentials document is malformed: it has no SecretAccessKey",
            ),
            (
                r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hidden","Expiration":"hidden"}"#,
                "credentials document is malformed: its Expiration is no instant such as 2026-01-31T12:00:00Z",
            ),
            (
                r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"}"#,
                "AssumeRoleUnauthorizedAccess: EC2 cannot assume the role",
            ),
        ] {
            let error = credentials(body.as_bytes()).expect_err(body);
            assert_eq!(error.to_string(), message);
        }
    }
}
