use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::credentials::assume_role::session_name;
use crate::credentials::sts::Sts;
use crate::credentials::{CredentialsProvider, Outside, fails, lacks};
use crate::error::{Error, Result};
use crate::http::HttpTransport;
use crate::sign::Credentials;

/// Temporary credentials of a role, for a token of an identity provider: a pod in EKS, say.
///
/// Flink's `WEB_IDENTITY_TOKEN`. What is not set here is taken from `AWS_WEB_IDENTITY_TOKEN_FILE`,
/// `AWS_ROLE_ARN` and `AWS_ROLE_SESSION_NAME`. The token's file is read each time, because the
/// token in it is replaced now and then.
///
/// ```
/// use kinesis_blocking::credentials::WebIdentity;
///
/// let provider = WebIdentity::new()
///     .token_file("/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
///     .role_arn("arn:aws:iam::123456789012:role/reader");
/// # drop(provider);
/// ```
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
pub struct WebIdentity {
    token_file: Option<PathBuf>,
    role_arn: Option<String>,
    session_name: Option<String>,
    duration: Option<Duration>,
    sts: Sts,
}

impl WebIdentity {
    /// Takes everything from the environment of this process, unless it is set.
    pub fn new() -> WebIdentity {
        WebIdentity::within(Outside::real())
    }

    pub(crate) fn within(outside: Outside) -> WebIdentity {
        WebIdentity {
            token_file: None,
            role_arn: None,
            session_name: None,
            duration: None,
            sts: Sts::within(outside),
        }
    }

    /// Sets the token's file. Flink's `aws.credentials.provider.webIdentityToken.file`.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> WebIdentity {
        self.token_file = Some(path.into());
        self
    }

    /// Sets the role to take on. Flink's `aws.credentials.provider.role.arn`.
    pub fn role_arn(mut self, arn: impl Into<String>) -> WebIdentity {
        self.role_arn = Some(arn.into());
        self
    }

    /// Sets the name that logs show for the session. Default: `kinesis-blocking-` and the time.
    ///
    /// Flink's `aws.credentials.provider.role.sessionName`.
    pub fn session_name(mut self, name: impl Into<String>) -> WebIdentity {
        self.session_name = Some(name.into());
        self
    }

    /// Sets how long the credentials are good: 15 minutes to 12 hours, in seconds. Default: the
    /// service's, 1 hour.
    pub fn duration(mut self, duration: Duration) -> WebIdentity {
        self.duration = Some(duration);
        self
    }

    /// Sets the region whose STS is asked.
    ///
    /// Default: that of `AWS_REGION`, else of `AWS_DEFAULT_REGION`, else the global one.
    pub fn region(mut self, region: impl Into<String>) -> WebIdentity {
        self.sts.region = Some(region.into());
        self
    }

    /// Sets the URL of STS. Flink's `aws.credentials.provider.role.stsEndpoint`.
    pub fn sts_endpoint(mut self, url: impl Into<String>) -> WebIdentity {
        self.sts.endpoint = Some(url.into());
        self
    }

    /// Sets what carries the requests. Default: HTTP/1.1.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> WebIdentity {
        self.sts.transport(transport);
        self
    }

    fn var(&self, name: &str) -> Option<String> {
        self.sts.outside.env.var(name)
    }

    fn ask(&self, token_file: &Path) -> Result<Credentials> {
        let expected = "the ARN of the role to take on";
        let role = self.role_arn.clone().or_else(|| self.var("AWS_ROLE_ARN"));
        let role = role.ok_or_else(|| Error::config("AWS_ROLE_ARN", "", expected))?;
        let token = self.sts.outside.env.read_file(token_file);
        let token = token.map_err(|error| {
            let path = token_file.display();
            Error::malformed("web identity token", format_args!("{path}: {error}"))
        })?;
        let session = self.session_name.clone();
        let session = session.or_else(|| self.var("AWS_ROLE_SESSION_NAME"));
        let session = session_name(session.as_deref(), self.sts.now());
        let seconds = self.duration.map(|duration| duration.as_secs().to_string());
        let mut fields = vec![
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", &role),
            ("RoleSessionName", &session),
            ("WebIdentityToken", token.trim()),
        ];
        fields.extend(
            seconds
                .as_deref()
                .map(|seconds| ("DurationSeconds", seconds)),
        );
        self.sts.call(&fields, None)
    }
}

impl Default for WebIdentity {
    fn default() -> WebIdentity {
        WebIdentity::new()
    }
}

impl CredentialsProvider for WebIdentity {
    fn credentials(&self) -> Result<Credentials> {
        let place = "web identity";
        let file = self.token_file.clone();
        let file = file.or_else(|| self.var("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from));
        let file = file.ok_or_else(|| lacks(place, "AWS_WEB_IDENTITY_TOKEN_FILE is not set"))?;
        self.ask(&file).map_err(|error| fails(place, error))
    }
}

impl fmt::Debug for WebIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WebIdentity {
            token_file,
            role_arn,
            session_name,
            ..
        } = self;
        f.debug_struct("WebIdentity")
            .field("token_file", token_file)
            .field("role_arn", role_arn)
            .field("session_name", session_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{answer, outside};
    use crate::error::ErrorKind;

    const GOOD: &str = "<R><Credentials><AccessKeyId>ASIA</AccessKeyId>\
                        <SecretAccessKey>s</SecretAccessKey></Credentials></R>";

    const FILE: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    const TOKEN: (&str, &str) = ("/token", "e30.e30.hidden\n");
    const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:reader");
    const NAME: (&str, &str) = ("AWS_ROLE_SESSION_NAME", "pod");

    #[test]
    fn the_token_is_sent_unsigned() {
        let (outside, canned) = outside(&[FILE, TOKEN, ROLE, NAME], [answer(200, GOOD)]);
        assert!(WebIdentity::within(outside).credentials().is_ok());
        assert_eq!(
            canned.asked("authorization"),
            ["POST https://sts.amazonaws.com/"]
        );
        assert_eq!(
            canned.bodies(),
            [
                "Version=2011-06-15&Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Areader&RoleSessionName=pod\
                 &WebIdentityToken=e30.e30.hidden"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused =
            "<E><Error><Code>InvalidIdentityToken</Code><Message>No provider</Message></Error></E>";
        for (env, answers, is_set_up, lack) in [
            (
                vec![ROLE],
                vec![],
                false,
                "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
            ),
            (
                vec![FILE, TOKEN],
                vec![],
                true,
                "AWS_ROLE_ARN is not set: it has to be the ARN of the role to take on",
            ),
            (
                vec![FILE, ROLE],
                vec![],
                true,
                "web identity token is malformed: /token: entity not found",
            ),
            (
                vec![FILE, ROLE, TOKEN],
                vec![answer(400, refused)],
                true,
                "InvalidIdentityToken: No provider",
            ),
        ] {
            let (outside, _) = outside(&env, answers);
            let error = WebIdentity::within(outside).credentials().expect_err(lack);
            let ErrorKind::Credentials { tried, cause } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(tried[..], [("web identity".to_owned(), lack.to_owned())]);
            assert_eq!(cause.is_some(), is_set_up, "{lack}");
        }
    }
}
