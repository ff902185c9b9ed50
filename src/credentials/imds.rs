//! The instance metadata service of EC2, in its second version only.
//!
//! The first version answers whoever can make this machine send a GET, so it is never asked.
//! Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri};

use crate::credentials::outside::{ATTEMPTS, METADATA_TIMEOUT};
use crate::credentials::{CredentialsProvider, Outside, document, fails, lacks};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HttpTransport, has_user};
use crate::model::without_password;
use crate::sign::Credentials;

/// Credentials of the role of an EC2 instance, from its metadata service (IMDSv2).
///
/// Asks up to 3 times for 1 s at 169.254.169.254, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT`
/// says; at the service's IPv6 address if `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` is `IPv6`; not
/// at all if `AWS_EC2_METADATA_DISABLED` is `true`. Never by a proxy.
///
/// In a container on the instance the service may be out of reach by the instance's hop limit.
///
/// ```
/// use kinesis_blocking::credentials::Imds;
///
/// let provider = Imds::new().timeout(std::time::Duration::from_millis(200));
/// # drop(provider);
/// ```
pub struct Imds {
    outside: Outside,
    endpoint: Option<String>,
    timeout: Duration,
    /// Whether the service has ever answered: from then on its silence is a failure that may pass.
    answered: AtomicBool,
}

impl Imds {
    /// Asks the metadata service that the environment of this process names.
    pub fn new() -> Imds {
        Imds::within(Outside::real())
    }

    pub(crate) fn within(outside: Outside) -> Imds {
        Imds {
            outside,
            endpoint: None,
            timeout: METADATA_TIMEOUT,
            answered: AtomicBool::new(false),
        }
    }

    /// Sets the URL of the service, in place of the environment's and the usual one.
    pub fn endpoint(mut self, url: impl Into<String>) -> Imds {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets how long each of 3 attempts at a request may take. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Imds {
        self.timeout = timeout;
        self
    }

    /// Sets what carries the requests. Default: HTTP/1.1 without a proxy.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> Imds {
        self.outside.metadata = Arc::new(transport);
        self
    }

    /// A token is good for hours, yet a restarted service may have forgotten it: one more is taken.
    fn ask(&self, base: &str) -> Result<Credentials> {
        match self.ask_with_new_token(base) {
            Err(error) if is_unauthorized(&error) => self.ask_with_new_token(base),
            outcome => outcome,
        }
    }

    fn ask_with_new_token(&self, base: &str) -> Result<Credentials> {
        let token = self.token(base)?;
        let roles = self.read(base, "", &token)?;
        let role = role(&roles)?;
        document::credentials(&self.read(base, role, &token)?)
    }

    fn token(&self, base: &str) -> Result<HeaderValue> {
        let url = format!("{base}/latest/api/token");
        let body = self.send(|| {
            let request = Request::put(&url);
            request.header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_SECONDS)
        })?;
        self.answered.store(true, Ordering::Relaxed);
        let token = HeaderValue::from_bytes(body.trim_ascii());
        token.map_err(|_| Error::malformed("metadata token", "it cannot be in a header"))
    }

    fn read(&self, base: &str, role: &str, token: &HeaderValue) -> Result<Bytes> {
        let url = format!("{base}/latest/meta-data/iam/security-credentials/{role}");
        self.send(|| Request::get(&url).header("x-aws-ec2-metadata-token", token))
    }

    fn send(&self, request: impl Fn() -> http::request::Builder) -> Result<Bytes> {
        let request = || {
            let request = request().body(Bytes::new());
            request.map_err(|error| Error::malformed("request", error))
        };
        let patience = (ATTEMPTS, self.timeout);
        let response = self
            .outside
            .ask(&self.outside.metadata, patience, request)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(Error::service("", meaning(status), status.as_u16())),
        }
    }

    fn base(&self) -> String {
        let var = |name| self.outside.env.var(name);
        let set = self.endpoint.clone();
        let set = set.or_else(|| var("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
        let mode = var("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").unwrap_or_default();
        let usual = match mode.eq_ignore_ascii_case("ipv6") {
            true => ENDPOINT_IPV6,
            false => ENDPOINT,
        };
        let base = set.unwrap_or_else(|| usual.to_owned());
        base.trim_end_matches('/').to_owned()
    }

    fn is_disabled(&self) -> bool {
        let disabled = self.outside.env.var("AWS_EC2_METADATA_DISABLED");
        disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// No answer ever means that this is no EC2 instance; that is no failure.
    fn told(&self, base: &str, error: Error) -> Error {
        let answered = self.answered.load(Ordering::Relaxed);
        let base = without_password(base);
        let silent = lacks("imds", format_args!("{base}: {error}"));
        match error.kind() {
            ErrorKind::Transport(_) if !answered => silent,
            ErrorKind::Service { status: 404, .. } => lacks("imds", "the instance has no role"),
            ErrorKind::Service { .. } if !answered => silent,
            _ => fails("imds", error),
        }
    }
}

impl Default for Imds {
    fn default() -> Imds {
        Imds::new()
    }
}

impl CredentialsProvider for Imds {
    fn credentials(&self) -> Result<Credentials> {
        if self.is_disabled() {
            return Err(lacks("imds", "AWS_EC2_METADATA_DISABLED is true"));
        }
        let base = self.base();
        let uri = base.parse::<Uri>();
        if uri.is_ok_and(|uri| has_user(&uri)) {
            let expected = "a URL without a user and a password";
            let error = Error::config("metadata endpoint", base, expected);
            return Err(fails("imds", error));
        }
        self.ask(&base).map_err(|error| self.told(&base, error))
    }
}

impl fmt::Debug for Imds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().map(without_password);
        f.debug_struct("Imds")
            .field("endpoint", &endpoint)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Service { status: 401, .. })
}

fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "the token is not taken",
        StatusCode::FORBIDDEN => "the service is turned off for this instance",
        StatusCode::METHOD_NOT_ALLOWED => "the service gives no tokens",
        _ => "no answer of the metadata service",
    }
}

/// The first line of the list of roles: there is one at most.
fn role(list: &Bytes) -> Result<&str> {
    let wrong = || Error::malformed("list of roles", "it has no line that names a role");
    let text = std::str::from_utf8(list).map_err(|_| wrong())?;
    let role = text.lines().map(str::trim).find(|line| !line.is_empty());
    // The characters that IAM lets a name have, and those of a path or an ARN, which kube2iam lists; anything else is a
    // page of somebody else's.
    let is_named = |role: &&str| {
        role.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-/:".contains(&byte))
    };
    role.filter(is_named).ok_or_else(wrong)
}

const ENDPOINT: &str = "http://169.254.169.254";

const ENDPOINT_IPV6: &str = "http://[fd00:ec2::254]";

/// The longest there is: six hours.
const TOKEN_TTL_SECONDS: &str = "21600";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{Answer, Canned, answer, outside};

    const DOCUMENT: &str = r#"{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"hidden","Token":"t","Expiration":"2026-11-22T20:34:15Z"}"#;

    fn good() -> [Answer; 3] {
        [
            answer(200, "token=="),
            answer(200, "reader\n"),
            answer(200, DOCUMENT),
        ]
    }

    fn imds(
        env: &[(&'static str, &'static str)],
        answers: impl IntoIterator<Item = Answer>,
    ) -> (Imds, Canned) {
        let (outside, canned) = outside(env, answers);
        (Imds::within(outside), canned)
    }

    #[test]
    fn a_token_is_taken_and_goes_along() {
        let (imds, canned) = imds(&[], good());
        let credentials = imds.credentials().expect("some");
        assert_eq!(credentials.access_key_id(), "ASIA");
        let path = "http://169.254.169.254/latest";
        assert_eq!(
            canned.asked("x-aws-ec2-metadata-token"),
            [
                format!("PUT {path}/api/token"),
                format!("GET {path}/meta-data/iam/security-credentials/ token=="),
                format!("GET {path}/meta-data/iam/security-credentials/reader token=="),
            ]
        );
        assert!(canned.asked("x-aws-ec2-metadata-token-ttl-seconds")[0].ends_with(" 21600"));
    }

    #[test]
    fn the_endpoint_is_the_documented_one_unless_it_is_set() {
        let set = (
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "http://localhost:1338/",
        );
        let mode = ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6");
        for (env, base) in [
            (vec![], "http://169.254.169.254"),
            (vec![mode], "http://[fd00:ec2::254]"),
            (vec![mode, set], "http://localhost:1338"),
        ] {
            assert_eq!(imds(&env, []).0.base(), base);
        }
        let (given, _) = imds(&[set], []);
        assert_eq!(given.endpoint("http://other").base(), "http://other");
    }

    #[test]
    fn a_token_that_is_no_longer_taken_is_replaced_once() {
        let forgotten = || [answer(200, "old"), answer(401, "")];
        let (patient, canned) = imds(&[], forgotten().into_iter().chain(good()));
        assert!(patient.credentials().is_ok());
        assert_eq!(canned.asked("").len(), 5);
        let (hopeless, canned) = imds(&[], forgotten().into_iter().chain(forgotten()));
        let error = hopeless.credentials().expect_err("never taken");
        assert_eq!(
            error.to_string(),
            "no credentials: imds: HTTP status 401: the token is not taken"
        );
        assert_eq!(canned.asked("").len(), 4);
    }

    #[test]
    fn a_machine_without_a_role_says_what_it_lacks() {
        let disabled = ("AWS_EC2_METADATA_DISABLED", "TRUE");
        let token = || answer(200, "token");
        for (env, answers, is_set_up, lack) in [
            (
                vec![disabled],
                vec![],
                false,
                "AWS_EC2_METADATA_DISABLED is true",
            ),
            (
                vec![],
                vec![],
                false,
                "http://169.254.169.254: no answer within 1.0 s",
            ),
            (
                vec![],
                vec![answer(403, "")],
                false,
                "http://169.254.169.254: HTTP status 403: the service is turned off for this instance",
            ),
            (
                vec![],
                vec![token(), answer(404, "")],
                false,
                "the instance has no role",
            ),
            (vec![], vec![token()], true, "no answer within 1.0 s"),
            (
                vec![],
                vec![token(), answer(200, "<html><body>")],
                true,
                "list of roles is malformed: it has no line that names a role",
            ),
            (
                vec![],
                vec![token(), answer(200, "\n")],
                true,
                "list of roles is malformed: it has no line that names a role",
            ),
            (
                vec![],
                vec![token(), answer(200, "reader"), answer(200, "hidden")],
                true,
                "credentials document is malformed: it is no JSON object, line 1 column 1",
            ),
            (
                vec![],
                vec![
                    token(),
                    answer(200, "reader"),
                    answer(200, r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#),
                ],
                true,
                "AssumeRoleUnauthorizedAccess",
            ),
        ] {
            let (imds, _) = imds(&env, answers);
            let error = imds.credentials().expect_err(lack);
            let ErrorKind::Credentials { tried, cause } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(tried[..], [("imds".to_owned(), lack.to_owned())]);
            assert_eq!(cause.is_some(), is_set_up, "{lack}");
        }
    }

    #[test]
    fn a_role_is_asked_for_as_the_service_lists_it() {
        for listed in [
            "reader",
            "reader\n",
            "team-a/S3Access",
            "tf/k8s/cluster/prometheus.pods.cluster",
            "arn:aws:iam::000000000000:role/team-a/S3Access",
        ] {
            let (imds, canned) = imds(
                &[],
                [answer(200, "t"), answer(200, listed), answer(200, DOCUMENT)],
            );
            imds.credentials().expect(listed);
            let last = canned.asked("").pop().expect("a call");
            let path = format!("security-credentials/{}", listed.trim());
            assert!(last.ends_with(&path), "{last}");
        }
    }

    #[test]
    fn silence_may_pass_only_where_there_was_an_answer_before() {
        let (imds, _) = imds(&[], good());
        assert!(imds.credentials().is_ok());
        assert!(imds.credentials().expect_err("silent now").is_retryable());
        let (nowhere, _) = outside(&[], []);
        let error = Imds::within(nowhere).credentials().expect_err("no EC2");
        assert!(!error.is_retryable());
    }
}
