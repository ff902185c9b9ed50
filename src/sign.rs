//! Signature Version 4, and the secret it needs. The only room that names `aws-sigv4`.

mod clock;
mod signer;

use std::fmt;
use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_v4};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

use crate::error::{Error, Result};
use crate::model::Timestamp;

pub(crate) use clock::{SigningClock, server_time};
pub(crate) use signer::Signer;

/// The right to call AWS: an access key, its secret and perhaps a session token.
///
/// Its `Debug` shows the access key and nothing else; the secret is wiped when the last clone goes.
///
/// ```
/// let credentials = kinesis_blocking::Credentials::new("AKIDEXAMPLE", "secret");
/// assert!(!format!("{credentials:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct Credentials(aws_credential_types::Credentials);

impl Credentials {
    /// Makes credentials that neither expire nor need a session token.
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Credentials {
        Credentials::assemble(access_key_id.into(), secret_access_key.into(), None, None)
    }

    /// Adds the token that temporary credentials come with.
    pub fn with_session_token(self, token: impl Into<String>) -> Credentials {
        let (id, secret) = (
            self.0.access_key_id().to_owned(),
            self.0.secret_access_key().to_owned(),
        );
        Credentials::assemble(id, secret, Some(token.into()), self.0.expiry())
    }

    /// Says until when the credentials are good.
    pub fn with_expiry(mut self, at: SystemTime) -> Credentials {
        *self.0.expiry_mut() = Some(at);
        self
    }

    /// Returns the access key's name, which is no secret.
    pub fn access_key_id(&self) -> &str {
        self.0.access_key_id()
    }

    /// Returns until when the credentials are good; `None` if they do not expire.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expiry()
    }

    /// Says whether these are the very same credentials.
    pub(crate) fn is_same(&self, other: &Credentials) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.access_key_id() == other.access_key_id()
            && one.secret_access_key() == other.secret_access_key()
            && one.session_token() == other.session_token()
    }

    fn assemble(
        id: String,
        secret: String,
        token: Option<String>,
        expiry: Option<SystemTime>,
    ) -> Credentials {
        Credentials(aws_credential_types::Credentials::new(
            id,
            secret,
            token,
            expiry,
            "kinesis-blocking",
        ))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id())
            .finish_non_exhaustive()
    }
}

/// Puts the headers of a signature on a request. All of its own headers and its body are covered.
///
/// For any request; [`Signer`] is quicker for many of a kind.
pub(crate) fn sign(
    request: &mut Request<Bytes>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    time: Timestamp,
) -> Result<()> {
    let identity = credentials.0.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time.into())
        .settings(SigningSettings::default())
        .build()
        .map_err(cannot_sign)?;
    let (method, uri) = (request.method().as_str(), request.uri().to_string());
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    let signable = SignableRequest::new(method, uri, headers, SignableBody::Bytes(request.body()))
        .map_err(cannot_sign)?;
    let (instructions, _signature) = sign_v4(signable, &params.into())
        .map_err(cannot_sign)?
        .into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(cannot_sign)?;
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).map_err(cannot_sign)?);
    }
    Ok(())
}

fn cannot_sign(reason: impl fmt::Display) -> Error {
    Error::malformed("request", format_args!("cannot be signed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(credentials: &Credentials) -> Request<Bytes> {
        let mut request = Request::post("https://kinesis.us-east-1.amazonaws.com/")
            .header("host", "kinesis.us-east-1.amazonaws.com")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "Kinesis_20131202.ListShards")
            .body(Bytes::from_static(b"{}"))
            .expect("a request");
        let time = Timestamp::from_millis(1_440_938_160_000);
        sign(&mut request, credentials, "us-east-1", "kinesis", time).expect("signed");
        request
    }

    #[test]
    fn a_signature_covers_the_headers_that_say_what_is_asked() {
        let request = signed(&Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        ));
        assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        let authorization = request.headers()["authorization"].to_str().expect("text");
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=";
        assert!(authorization.starts_with(expected), "{authorization}");
        assert!(!request.headers().contains_key("x-amz-security-token"));
    }

    #[test]
    fn a_session_token_goes_along() {
        let request =
            signed(&Credentials::new("ASIDEXAMPLE", "secret").with_session_token("token"));
        assert_eq!(request.headers()["x-amz-security-token"], "token");
    }

    #[test]
    fn debug_shows_no_secret() {
        let expiry = SystemTime::UNIX_EPOCH;
        let credentials = Credentials::new("AKID", "hidden")
            .with_session_token("hidden")
            .with_expiry(expiry);
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { access_key_id: \"AKID\", .. }"
        );
        assert_eq!(credentials.expires_at(), Some(expiry));
    }

    /// Of AWS's published cases those that HTTP of this crate can say.
    #[test]
    fn published_cases_get_their_signatures() {
        let text = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/sigv4.json"
        ));
        let suite: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let cases = suite["cases"].as_array().expect("cases");
        for case in cases {
            let field = |name: &str| case[name].as_str().expect("text");
            let target = format!("https://example.amazonaws.com{}", field("target"));
            let mut request = Request::builder().method(field("method")).uri(target);
            for header in case["headers"].as_array().expect("headers") {
                let part = |n: usize| header[n].as_str().expect("text");
                request = request.header(part(0), part(1));
            }
            let body = Bytes::copy_from_slice(field("body").as_bytes());
            let mut request = request.body(body).expect("a request");
            let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
            let mut credentials = Credentials::new("AKIDEXAMPLE", secret);
            if let Some(token) = case["token"].as_str() {
                credentials = credentials.with_session_token(token);
            }
            let time = Timestamp::from_millis(1_440_938_160_000);
            sign(&mut request, &credentials, "us-east-1", "service", time).expect("signed");
            let authorization = request.headers()["authorization"].to_str().expect("text");
            let (_, signature) = authorization.split_once("Signature=").expect("a signature");
            assert_eq!(signature, field("signature"), "{}", field("name"));
        }
        assert!(cases.len() >= 20, "{}", cases.len());
    }
}
