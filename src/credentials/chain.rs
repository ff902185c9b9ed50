use std::fmt;
use std::sync::Arc;

use crate::credentials::profile::Profile;
#[cfg(feature = "sts")]
use crate::credentials::web_identity::WebIdentity;
use crate::credentials::{
    Container, CredentialsProvider, Environment, Imds, Outside, SystemProperties,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sign::Credentials;

/// Several places, asked in order until one has credentials.
///
/// A place that is not set up is passed over. A place that is set up and does not work ends the
/// search: going on would silently make the calls in somebody else's name. (Flink, by way of
/// Java's SDK, goes on.)
///
/// ```
/// use kinesis_blocking::credentials::{Chain, Environment, Profile};
///
/// let chain = Chain::new().then(Environment::new()).then(Profile::new("readers"));
/// # drop(chain);
/// ```
#[derive(Default)]
pub struct Chain(Vec<Box<dyn CredentialsProvider>>);

impl Chain {
    /// Makes a chain without any place.
    pub fn new() -> Chain {
        Chain::default()
    }

    /// Makes the chain that Flink calls `AUTO`, the usual one of AWS's SDKs.
    ///
    /// In order: the environment, a web identity token, the profile, the container, the EC2
    /// instance. A client without a provider uses it.
    pub fn standard() -> Chain {
        Chain::within(&Outside::real(), None)
    }

    /// Makes the same chain, with a program's properties asked after the environment.
    pub fn standard_with(properties: SystemProperties) -> Chain {
        Chain::within(&Outside::real(), Some(properties))
    }

    pub(crate) fn within(outside: &Outside, properties: Option<SystemProperties>) -> Chain {
        let environment = Environment::of(Arc::clone(&outside.env));
        let mut chain = Chain::new().then(environment);
        if let Some(properties) = properties {
            chain = chain.then(properties);
        }
        #[cfg(feature = "sts")]
        let chain = chain.then(WebIdentity::within(outside.clone()));
        chain
            .then(Profile::within(outside.clone()))
            .then(Container::within(outside.clone()))
            .then(Imds::within(outside.clone()))
    }

    /// Adds a place, to be asked when all before it have nothing.
    pub fn then(mut self, next: impl CredentialsProvider + 'static) -> Chain {
        self.0.push(Box::new(next));
        self
    }
}

impl CredentialsProvider for Chain {
    fn credentials(&self) -> Result<Credentials> {
        let mut all = Vec::new();
        for provider in &self.0 {
            let error = match provider.credentials() {
                Ok(credentials) => return Ok(credentials),
                Err(error) => error,
            };
            let cause = match error.kind() {
                ErrorKind::Credentials { tried, cause } => {
                    all.extend(tried.iter().cloned());
                    cause.clone()
                }
                _ => {
                    all.push(("provider of your own".to_owned(), error.to_string()));
                    Some(error)
                }
            };
            if cause.is_some() {
                return Err(none(all, cause));
            }
        }
        Err(none(all, None))
    }

    fn refused(&self, credentials: &Credentials) {
        for provider in &self.0 {
            provider.refused(credentials);
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("places", &self.0.len())
            .finish()
    }
}

fn none(tried: Vec<(String, String)>, cause: Option<Error>) -> Error {
    Error::new(ErrorKind::Credentials { tried, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{answer, outside};

    /// Each place's own way of having credentials, in the order of the chain.
    const PLACES: [&[(&str, &str)]; 3] = [
        &[
            ("AWS_ACCESS_KEY_ID", "ENVIRONMENT"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ],
        &[
            ("HOME", "/home"),
            (
                "/home/.aws/credentials",
                "[default]\naws_access_key_id=PROFILE\naws_secret_access_key=s",
            ),
        ],
        &[(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1/v1/credentials",
        )],
    ];

    const DOCUMENT: &str = r#"{"AccessKeyId":"SERVER","SecretAccessKey":"s"}"#;

    fn found(places: &[&[(&'static str, &'static str)]], properties: bool) -> String {
        let env = places.concat();
        let imds = [
            answer(200, "token"),
            answer(200, "role"),
            answer(200, DOCUMENT),
        ];
        let container = [answer(200, DOCUMENT)];
        let (outside, _) = match places.is_empty() {
            true => outside(&env, imds),
            false => outside(&env, container),
        };
        let given = [("aws.accessKeyId", "PROPERTIES"), ("aws.secretKey", "s")];
        let properties = properties.then(|| SystemProperties::new(given));
        let chain = Chain::within(&outside, properties);
        chain
            .credentials()
            .expect("some")
            .access_key_id()
            .to_owned()
    }

    #[test]
    fn places_are_asked_in_the_documented_order() {
        assert_eq!(found(&PLACES, true), "ENVIRONMENT");
        assert_eq!(found(&PLACES[1..], true), "PROPERTIES");
        assert_eq!(found(&PLACES[1..], false), "PROFILE");
        assert_eq!(found(&PLACES[2..], false), "SERVER");
        assert_eq!(found(&[], false), "SERVER");
    }

    #[cfg(feature = "sts")]
    #[test]
    fn a_failure_names_every_place_and_what_it_lacks() {
        let env = [
            ("HOME", "/home"),
            ("/home/.aws/credentials", "[dev]\n[prod]"),
        ];
        let (outside, _) = outside(&env, []);
        let properties = SystemProperties::new([("aws.region", "us-east-1")]);
        let error = Chain::within(&outside, Some(properties))
            .credentials()
            .expect_err("none");
        assert_eq!(
            error.to_string(),
            "no credentials: environment: AWS_ACCESS_KEY_ID is not set; properties: aws.accessKeyId is not set; \
             web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; profile: ~/.aws/credentials has no [default] \
             (but [dev], [prod]); container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and \
             AWS_CONTAINER_CREDENTIALS_FULL_URI are not set; imds: http://169.254.169.254: no answer within 1.0 s; \
             set one of them, or give the client a provider of your own"
        );
    }

    #[cfg(feature = "sts")]
    #[test]
    fn a_place_that_is_set_up_and_does_not_work_ends_the_search() {
        let env = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("/token", "hidden"),
            ("AWS_ROLE_ARN", "arn:reader"),
        ];
        let env = [&env[..], PLACES[1]].concat();
        let denied = "<E><Error><Code>AccessDenied</Code><Message>no</Message></Error></E>";
        let (outside, _) = outside(&env, [answer(403, denied)]);
        let error = Chain::within(&outside, None)
            .credentials()
            .expect_err("denied");
        assert_eq!(
            error.to_string(),
            "no credentials: environment: AWS_ACCESS_KEY_ID is not set; web identity: AccessDenied: no"
        );
    }

    #[test]
    fn an_error_of_a_users_provider_ends_the_search() {
        struct Broken;
        impl CredentialsProvider for Broken {
            fn credentials(&self) -> Result<Credentials> {
                Err(Error::service("Busy", "", 503))
            }
        }
        let chain = Chain::new()
            .then(Broken)
            .then(Credentials::new("AKID", "s"));
        let error = chain.credentials().expect_err("broken");
        assert_eq!(
            error.to_string(),
            "no credentials: provider of your own: Busy"
        );
        assert!(error.is_retryable());
    }
}
