//! What metadata servers answer: credentials as JSON, with an instant as text.

use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Result};
use crate::sign::Credentials;

/// The document of a container's or an instance's role.
///
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    /// `Success`, or why there are no credentials; containers leave it out.
    code: Option<String>,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

/// Reads the credentials in a document.
///
/// # Errors
/// `Service`: the document is a refusal. `Malformed`: it is no such document. Never quotes it.
pub(super) fn credentials(body: &[u8]) -> Result<Credentials> {
    let document: Document = serde_json::from_slice(body).map_err(|error| {
        // The reader's own message may hold a piece of the document.
        let (line, column) = (error.line(), error.column());
        malformed(format_args!(
            "it is not the documented JSON, line {line} column {column}"
        ))
    })?;
    if let Some(code) = document.code.filter(|code| code != "Success") {
        let message = document.message.unwrap_or_default();
        return Err(Error::service(&code, &message, 200));
    }
    assemble(
        document.access_key_id,
        document.secret_access_key,
        document.token,
        document.expiration,
    )
}

/// Credentials of the four parts that every source of temporary ones names.
pub(super) fn assemble(
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
) -> Result<Credentials> {
    let required = |part: Option<String>, name: &str| {
        part.filter(|part| !part.is_empty())
            .ok_or_else(|| malformed(format_args!("it has no {name}")))
    };
    let id = required(id, "AccessKeyId")?;
    let mut credentials = Credentials::new(id, required(secret, "SecretAccessKey")?);
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        credentials = credentials.with_session_token(token);
    }
    match expiration {
        Some(text) => Ok(credentials.with_expiry(instant(&text)?)),
        None => Ok(credentials),
    }
}

fn instant(text: &str) -> Result<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| malformed("its Expiration is no instant such as 2026-01-31T12:00:00Z"))
}

fn malformed(detail: impl std::fmt::Display) -> Error {
    Error::malformed("credentials document", detail)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn what_is_no_document_is_told_without_its_secrets() {
        for (body, message) in [
            (
                "hidden",
                "credentials document is malformed: it is not the documented JSON, line 1 column 1",
            ),
            (
                r#"{"SecretAccessKey":["hidden"]}"#,
                "credentials document is malformed: it is not the documented JSON, line 1 column 19",
            ),
            (
                r#"{"AccessKeyId":"","SecretAccessKey":"hidden"}"#,
                "credentials document is malformed: it has no AccessKeyId",
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
