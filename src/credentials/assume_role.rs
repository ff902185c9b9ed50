use std::fmt;
use std::time::{Duration, SystemTime};

use crate::credentials::sts::Sts;
use crate::credentials::{CredentialsProvider, Outside, fails};
use crate::error::{ErrorKind, Result};
use crate::http::HttpTransport;
use crate::sign::Credentials;

/// Temporary credentials of a role, which others' credentials give the right to take on.
///
/// Flink's `ASSUME_ROLE`. Roles nest: the base may be an `AssumeRole` itself.
///
/// ```
/// use kinesis_blocking::credentials::{AssumeRole, Environment};
///
/// let provider = AssumeRole::new("arn:aws:iam::123456789012:role/reader", Environment::new())
///     .session_name("nightly-report")
///     .external_id("of-our-customer");
/// # drop(provider);
/// ```
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
pub struct AssumeRole {
    role_arn: String,
    base: Box<dyn CredentialsProvider>,
    session_name: Option<String>,
    external_id: Option<String>,
    duration: Option<Duration>,
    sts: Sts,
}

impl AssumeRole {
    /// Takes on a role with the credentials of `base`.
    ///
    /// Flink's `aws.credentials.provider.role.arn` and `…role.provider`.
    pub fn new(
        role_arn: impl Into<String>,
        base: impl CredentialsProvider + 'static,
    ) -> AssumeRole {
        AssumeRole::within(Outside::real(), role_arn, base)
    }

    pub(crate) fn within(
        outside: Outside,
        role_arn: impl Into<String>,
        base: impl CredentialsProvider + 'static,
    ) -> AssumeRole {
        AssumeRole {
            role_arn: role_arn.into(),
            base: Box::new(base),
            session_name: None,
            external_id: None,
            duration: None,
            sts: Sts::within(outside),
        }
    }

    /// Sets the name that logs show for the session: 2 to 64 letters, digits or `+=,.@_-`.
    ///
    /// Default: `kinesis-blocking-` and the time. Flink's
    /// `aws.credentials.provider.role.sessionName`.
    pub fn session_name(mut self, name: impl Into<String>) -> AssumeRole {
        self.session_name = Some(name.into());
        self
    }

    /// Sets what the role's owner demands to hear. Flink's
    /// `aws.credentials.provider.role.externalId`.
    pub fn external_id(mut self, id: impl Into<String>) -> AssumeRole {
        self.external_id = Some(id.into());
        self
    }

    /// Sets how long the credentials are good: 15 minutes to 12 hours, in seconds. Default: the
    /// service's, 1 hour.
    pub fn duration(mut self, duration: Duration) -> AssumeRole {
        self.duration = Some(duration);
        self
    }

    /// Sets the region whose STS is asked.
    ///
    /// Default: that of `AWS_REGION`, else of `AWS_DEFAULT_REGION`, else the global one.
    pub fn region(mut self, region: impl Into<String>) -> AssumeRole {
        self.sts.region = Some(region.into());
        self
    }

    /// Sets the URL of STS. Flink's `aws.credentials.provider.role.stsEndpoint`.
    ///
    /// Default: the environment's `AWS_ENDPOINT_URL_STS`, else `AWS_ENDPOINT_URL`, else the
    /// region's.
    pub fn sts_endpoint(mut self, url: impl Into<String>) -> AssumeRole {
        self.sts.endpoint = Some(url.into());
        self
    }

    /// Sets what carries the requests. Default: HTTP/1.1.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> AssumeRole {
        self.sts.transport(transport);
        self
    }

    fn ask(&self) -> Result<Credentials> {
        let base = self.base.credentials()?;
        let outcome = self.ask_as(&base);
        match &outcome {
            Err(error) if is_expired(error.kind()) => {
                // Who keeps the base's credentials may not know; new ones get one chance.
                self.base.refused(&base);
                self.ask_as(&self.base.credentials()?)
            }
            _ => outcome,
        }
    }

    fn ask_as(&self, base: &Credentials) -> Result<Credentials> {
        let session = session_name(self.session_name.as_deref(), self.sts.now());
        let seconds = self.duration.map(|duration| duration.as_secs().to_string());
        let mut fields = vec![
            ("Action", "AssumeRole"),
            ("RoleArn", &self.role_arn),
            ("RoleSessionName", &session),
        ];
        fields.extend(self.external_id.as_deref().map(|id| ("ExternalId", id)));
        fields.extend(
            seconds
                .as_deref()
                .map(|seconds| ("DurationSeconds", seconds)),
        );
        self.sts.call(&fields, Some(base))
    }
}

impl CredentialsProvider for AssumeRole {
    fn credentials(&self) -> Result<Credentials> {
        let place = || format!("assume role {}", self.role_arn);
        self.ask().map_err(|error| fails(&place(), error))
    }
}

impl fmt::Debug for AssumeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AssumeRole {
            role_arn,
            session_name,
            ..
        } = self;
        f.debug_struct("AssumeRole")
            .field("role_arn", role_arn)
            .field("session_name", session_name)
            .finish_non_exhaustive()
    }
}

fn is_expired(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Service { code, .. } if code == "ExpiredToken" || code == "ExpiredTokenException")
}

/// The given name, else one of the time, so that two sessions in a log can be told apart.
pub(super) fn session_name(given: Option<&str>, now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    given.map_or_else(|| format!("kinesis-blocking-{millis}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::credentials::canned::{Answer, answer, dated, outside};

    const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

    const DENIED: &str = "<ErrorResponse><Error><Code>AccessDenied</Code>\
                          <Message>not authorized</Message></Error></ErrorResponse>";

    const EXPIRED: &str = "<ErrorResponse><Error><Code>ExpiredToken</Code>\
                           <Message>expired</Message></Error></ErrorResponse>";

    fn good() -> Answer {
        answer(
            200,
            "<R><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>2026-11-22T20:34:15Z</Expiration></Credentials></R>",
        )
    }

    #[test]
    fn what_is_set_is_sent_and_nothing_else() {
        let (outside, canned) = outside(&[], [good(), good()]);
        let base = || Credentials::new("AKID", "secret");
        let plain = AssumeRole::within(outside.clone(), ROLE, base());
        assert_eq!(plain.credentials().expect("some").access_key_id(), "ASIA");
        let full = AssumeRole::within(outside, ROLE, base())
            .session_name("night")
            .external_id("a=b")
            .duration(Duration::from_secs(900));
        assert!(full.credentials().is_ok());
        let common = "Version=2011-06-15&Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader";
        assert_eq!(
            canned.bodies(),
            [
                format!("{common}&RoleSessionName=kinesis-blocking-1440938160000"),
                format!("{common}&RoleSessionName=night&ExternalId=a%3Db&DurationSeconds=900"),
            ]
        );
    }

    #[test]
    fn roles_nest_and_a_refusal_names_the_whole_way() {
        let base = || Credentials::new("AKID", "secret");
        let (inner, _) = outside(&[], [answer(403, DENIED)]);
        let (outer, canned) = outside(&[], []);
        let first = AssumeRole::within(inner, "arn:first", base());
        let error = AssumeRole::within(outer, "arn:second", first)
            .credentials()
            .expect_err("denied");
        assert_eq!(
            error.to_string(),
            "no credentials: assume role arn:second: assume role arn:first: AccessDenied: not authorized"
        );
        assert!(!error.is_retryable() && canned.asked("").is_empty());
    }

    #[test]
    fn a_base_that_has_expired_gets_one_chance_to_be_new() {
        struct Base(Arc<AtomicU32>);
        impl CredentialsProvider for Base {
            fn credentials(&self) -> Result<Credentials> {
                Ok(Credentials::new("ASIA", "secret").with_session_token("t"))
            }
            fn refused(&self, _: &Credentials) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        for (answers, is_good) in [
            (vec![answer(403, EXPIRED), good()], true),
            (vec![answer(403, EXPIRED), answer(403, EXPIRED)], false),
        ] {
            let refusals = Arc::new(AtomicU32::new(0));
            let (outside, canned) = outside(&[], answers);
            let role = AssumeRole::within(outside, ROLE, Base(refusals.clone()));
            assert_eq!(role.credentials().is_ok(), is_good);
            assert_eq!(
                (refusals.load(Ordering::Relaxed), canned.asked("").len()),
                (1, 2)
            );
        }
    }

    #[test]
    fn a_wrong_clock_is_corrected_once_and_stays_corrected() {
        const SKEWED: &str = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code>\
                              <Message>Signature expired</Message></Error></ErrorResponse>";
        // The clock by hand says 12:36, on the same day.
        let skewed = || dated(answer(403, SKEWED), "Sun, 30 Aug 2015 13:36:00 GMT");
        let (outside, canned) = outside(&[], [skewed(), good(), good(), skewed(), skewed()]);
        let role = AssumeRole::within(outside, ROLE, Credentials::new("AKID", "secret"));
        assert!(role.credentials().is_ok() && role.credentials().is_ok());
        let error = role.credentials().expect_err("right, and refused again");
        assert!(
            error.to_string().contains("SignatureDoesNotMatch"),
            "{error}"
        );
        let hours: Vec<_> = canned.asked("x-amz-date");
        let hours: Vec<_> = hours
            .iter()
            .map(|asked| &asked[asked.len() - 7..])
            .collect();
        assert_eq!(
            hours,
            ["123600Z", "133600Z", "133600Z", "133600Z", "133600Z"]
        );
    }

    #[test]
    fn trouble_of_sts_may_pass() {
        let busy = || answer(503, "");
        let (outside, canned) = outside(&[], [busy(), busy(), busy()]);
        let role = AssumeRole::within(outside, ROLE, Credentials::new("AKID", "secret"));
        let error = role.credentials().expect_err("busy");
        assert!(error.is_retryable(), "{error}");
        assert_eq!(canned.asked("").len(), 3);
        assert!(!format!("{role:?}").contains("secret"));
    }
}
