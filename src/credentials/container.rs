//! The credentials endpoint of ECS and of EKS Pod Identity.
//!
//! The request carries a token, so it must not be sent wherever a variable points to: over plain
//! HTTP it goes to this machine and to the two link-local services only.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri};

use crate::credentials::outside::{ATTEMPTS, METADATA_TIMEOUT};
use crate::credentials::{CredentialsProvider, Outside, document, fails, lacks};
use crate::error::{Error, Result};
use crate::http::{HttpTransport, Said, has_user};
use crate::model::without_password;
use crate::sign::Credentials;

/// Credentials of the role of an ECS task or an EKS pod.
///
/// Says where: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, else `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
/// Sends along what is in the file that `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names, read each
/// time, else `AWS_CONTAINER_AUTHORIZATION_TOKEN`. Asks up to 3 times for 1 s, never by a proxy.
///
/// ```
/// use kinesis_blocking::credentials::Container;
///
/// let provider = Container::new().uri("http://169.254.170.23/v1/credentials");
/// # drop(provider);
/// ```
pub struct Container {
    outside: Outside,
    uri: Option<String>,
    timeout: Duration,
}

impl Container {
    /// Looks in the environment of this process.
    pub fn new() -> Container {
        Container::within(Outside::real())
    }

    pub(crate) fn within(outside: Outside) -> Container {
        Container {
            outside,
            uri: None,
            timeout: METADATA_TIMEOUT,
        }
    }

    /// Sets the whole URI to ask, in place of the environment's.
    ///
    /// Over plain HTTP it has to be this machine, 169.254.170.2, 169.254.170.23 or `fd00:ec2::23`.
    pub fn uri(mut self, uri: impl Into<String>) -> Container {
        self.uri = Some(uri.into());
        self
    }

    /// Sets how long each of 3 attempts may take. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Container {
        self.timeout = timeout;
        self
    }

    /// Sets what carries the requests. Default: HTTP/1.1 without a proxy.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> Container {
        self.outside.metadata = Arc::new(transport);
        self
    }

    fn ask(&self, uri: &str) -> Result<Credentials> {
        let uri = allowed(uri)?;
        let token = self.token()?;
        let request = || request(&uri, token.as_ref());
        let patience = (ATTEMPTS, self.timeout);
        let response = self
            .outside
            .ask(&self.outside.metadata, patience, request)?;
        match response.status() {
            StatusCode::OK => document::credentials(response.body()),
            _ => Err(refusal(&response)),
        }
    }

    fn place(&self) -> Option<String> {
        let var = |name| self.outside.env.var(name);
        if let Some(uri) = &self.uri {
            return Some(uri.clone());
        }
        match var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) => Some(format!("{ECS}{path}")),
            None => var("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        }
    }

    /// The file goes first: EKS changes its content while the program runs.
    fn token(&self) -> Result<Option<HeaderValue>> {
        let env = &self.outside.env;
        let (place, token) = match env.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => {
                let text = env.read_file(Path::new(&path)).map_err(|error| {
                    Error::malformed("authorization token", format_args!("{path}: {error}"))
                })?;
                ("the token file", Some(text.trim_end().to_owned()))
            }
            None => (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                env.var("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
            ),
        };
        let header = |token: String| {
            let header = HeaderValue::from_str(&token);
            header.map_err(|_| {
                let detail = format_args!("{place} holds what cannot be in a header").to_string();
                Error::malformed("authorization token", detail)
            })
        };
        token.map(header).transpose()
    }
}

impl Default for Container {
    fn default() -> Container {
        Container::new()
    }
}

impl CredentialsProvider for Container {
    fn credentials(&self) -> Result<Credentials> {
        let uri = self.place().ok_or_else(|| {
            lacks(
                "container",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set",
            )
        })?;
        self.ask(&uri).map_err(|error| fails("container", error))
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.uri.as_deref().map(without_password);
        f.debug_struct("Container")
            .field("uri", &uri)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn request(uri: &Uri, token: Option<&HeaderValue>) -> Result<Request<Bytes>> {
    let mut request = Request::get(uri).header("accept", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    request
        .body(Bytes::new())
        .map_err(|error| Error::malformed("request", error))
}

/// Lets a URI pass that the token may be sent to.
fn allowed(text: &str) -> Result<Uri> {
    let wrong = |expected| Error::config("container credentials URI", text, expected);
    let uri: Uri = text
        .parse()
        .map_err(|_| wrong("a URI such as http://169.254.170.23/v1/credentials"))?;
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_near(host) => {}
        _ => {
            return Err(wrong(
                "https, or http to this machine, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]",
            ));
        }
    }
    match has_user(&uri) {
        true => Err(wrong("a URI without a user and a password")),
        false => Ok(uri),
    }
}

fn is_near(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || LINK_LOCAL.contains(&address.to_string().as_str()),
        Err(_) => host == "localhost",
    }
}

/// What ECS and EKS say when they give none; botocore reads the same two names.
fn refusal(response: &Response<Bytes>) -> Error {
    let body = document::object(response.body()).unwrap_or_default();
    let said = Said::of(&body);
    Error::service(
        said.code.unwrap_or_default(),
        said.message.unwrap_or_default(),
        response.status().as_u16(),
    )
}

const ECS: &str = "http://169.254.170.2";

/// ECS, EKS, EKS over IPv6.
const LINK_LOCAL: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{answer, outside};

    const DOCUMENT: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hidden","Token":"t","Expiration":"2026-11-22T20:34:15Z"}"#;

    #[test]
    fn the_uri_and_the_token_are_found_where_they_are_documented_to_be() {
        let relative = (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/v2/credentials/1",
        );
        let full = (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        );
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "from-variable");
        let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
        let content = ("/token", "from-file\r\n");
        for (env, asked) in [
            (vec![relative], "GET http://169.254.170.2/v2/credentials/1"),
            (
                vec![relative, full],
                "GET http://169.254.170.2/v2/credentials/1",
            ),
            (
                vec![full, token],
                "GET http://169.254.170.23/v1/credentials from-variable",
            ),
            (
                vec![full, token, file, content],
                "GET http://169.254.170.23/v1/credentials from-file",
            ),
        ] {
            let (outside, canned) = outside(&env, [answer(200, DOCUMENT)]);
            let credentials = Container::within(outside).credentials().expect("some");
            assert_eq!(credentials.access_key_id(), "ASIA");
            assert_eq!(canned.asked("authorization"), [asked]);
        }
    }

    #[test]
    fn a_token_goes_to_near_hosts_only() {
        for (uri, is_allowed) in [
            ("http://127.0.0.1:1/x", true),
            ("http://127.8.9.1/x", true),
            ("http://[::1]/x", true),
            ("http://localhost/x", true),
            ("http://169.254.170.2/x", true),
            ("http://169.254.170.23/x", true),
            ("http://[fd00:ec2::23]/x", true),
            ("https://anywhere.example/x", true),
            ("http://169.254.170.3/x", false),
            ("http://169.254.169.254/x", false),
            ("http://[fd00:ec2::24]/x", false),
            ("http://169.254.170.2.evil.example/x", false),
            ("http://169.254.170.2@evil.example/x", false),
            ("http://localhost.example/x", false),
            ("http://evillocalhost/x", false),
            ("http://evil.localhost/x", false),
            ("http://localhost@evil.example/x", false),
            ("http://user:hidden@localhost/x", false),
            ("https://user:hidden@example.com/x", false),
            ("ftp://127.0.0.1/x", false),
            ("/x", false),
            ("", false),
        ] {
            assert_eq!(allowed(uri).is_ok(), is_allowed, "{uri}");
        }
    }

    #[test]
    fn a_container_without_credentials_says_why() {
        let full = (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1/v1/credentials",
        );
        let evil = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/");
        let no_file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
        let bad_token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hidden\nx");
        let refused = r#"{"code":"NotAuthorized","message":"The token is stale"}"#;
        for (env, answers, is_set_up, lack) in [
            (
                vec![],
                vec![],
                false,
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set",
            ),
            (
                vec![evil],
                vec![],
                true,
                "container credentials URI: \"http://***@evil.example/\" is not https, or http to this machine, \
                 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]",
            ),
            (
                vec![full, no_file],
                vec![],
                true,
                "authorization token is malformed: /token: entity not found",
            ),
            (
                vec![full, bad_token],
                vec![],
                true,
                "authorization token is malformed: AWS_CONTAINER_AUTHORIZATION_TOKEN holds what cannot be in a header",
            ),
            (
                vec![full],
                vec![answer(401, refused)],
                true,
                "NotAuthorized: The token is stale",
            ),
            (
                vec![full],
                vec![answer(404, "<html>")],
                true,
                "HTTP status 404: ",
            ),
            (
                vec![full],
                vec![answer(500, ""), answer(429, ""), answer(503, "")],
                true,
                "HTTP status 503: ",
            ),
            (vec![full], vec![], true, "no answer within 1.0 s"),
            (
                vec![full],
                vec![answer(200, "hidden")],
                true,
                "credentials document is malformed: it is no JSON object, line 1 column 1",
            ),
        ] {
            let (outside, _) = outside(&env, answers);
            let error = Container::within(outside).credentials().expect_err(lack);
            let crate::ErrorKind::Credentials { tried, cause } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(tried[..], [("container".to_owned(), lack.to_owned())]);
            assert_eq!(cause.is_some(), is_set_up, "{lack}");
        }
    }

    #[test]
    fn a_busy_endpoint_is_asked_again_and_its_failure_may_pass() {
        let full = (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1/v1/credentials",
        );
        let answers = [answer(500, ""), answer(200, DOCUMENT)];
        let (busy, canned) = outside(&[full], answers);
        assert!(Container::within(busy).credentials().is_ok());
        assert_eq!(canned.asked("").len(), 2);
        let (silent, canned) = outside(&[full], []);
        let error = Container::within(silent).credentials().expect_err("silent");
        assert!(error.is_retryable());
        assert_eq!(canned.asked("").len(), 3);
    }
}
