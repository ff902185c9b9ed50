use std::fmt;
use std::sync::Arc;

use crate::credentials::keys::KeySet;
use crate::credentials::{CredentialsProvider, document, fails, lacks};
use crate::error::{Error, Result};
use crate::sign::Credentials;
use crate::sys::env::{Env, SystemEnv};

/// Credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if set, `AWS_SESSION_TOKEN`.
///
/// Flink's `ENV_VAR`. An empty variable counts as not set, and blanks and line ends around a value are dropped. A set
/// that is not whole is an error, and not a reason to use the next place of a chain.
///
/// `AWS_SECURITY_TOKEN` is an older name of the session token. `AWS_CREDENTIAL_EXPIRATION`, which
/// `aws configure export-credentials --format env` prints, says until when the keys are good.
#[derive(Clone)]
pub struct Environment(Arc<dyn Env>);

impl Environment {
    /// Reads the environment of this process.
    pub fn new() -> Environment {
        Environment(Arc::new(SystemEnv))
    }

    pub(crate) fn of(env: Arc<dyn Env>) -> Environment {
        Environment(env)
    }

    fn ask(&self) -> Result<Option<Credentials>, String> {
        let var = |name| self.0.var(name);
        let keys = KeySet {
            id: ("AWS_ACCESS_KEY_ID", var("AWS_ACCESS_KEY_ID")),
            secret: ("AWS_SECRET_ACCESS_KEY", var("AWS_SECRET_ACCESS_KEY")),
            token: self.token()?,
        };
        let Some(credentials) = keys.credentials()? else {
            return Ok(None);
        };
        let Some(expiration) = var("AWS_CREDENTIAL_EXPIRATION") else {
            return Ok(Some(credentials));
        };
        match document::instant(&expiration) {
            Some(at) => Ok(Some(credentials.with_expiry(at))),
            None => Err(format!(
                "AWS_CREDENTIAL_EXPIRATION is no instant such as {}",
                document::INSTANT_EXAMPLE
            )),
        }
    }

    /// Two different tokens are two different sessions: which of them is meant, nobody can tell.
    fn token(&self) -> Result<(&'static str, Option<String>), String> {
        let names = ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"];
        match names.map(|name| self.0.var(name)) {
            [Some(one), Some(other)] if one != other => Err(
                "AWS_SESSION_TOKEN and AWS_SECURITY_TOKEN are both set and differ: set the first only"
                    .to_owned(),
            ),
            [None, Some(token)] => Ok((names[1], Some(token))),
            [token, _] => Ok((names[0], token)),
        }
    }
}

impl Default for Environment {
    fn default() -> Environment {
        Environment::new()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl CredentialsProvider for Environment {
    fn credentials(&self) -> Result<Credentials> {
        match self.ask() {
            Ok(Some(credentials)) => Ok(credentials),
            Ok(None) => Err(lacks(PLACE, "AWS_ACCESS_KEY_ID is not set")),
            Err(wrong) => Err(fails(PLACE, Error::malformed(PLACE, wrong))),
        }
    }
}

const PLACE: &str = "environment";

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::error::ErrorKind;

    const ID: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKID\n");
    const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "hidden\r\n");

    fn environment(variables: &[(&'static str, &'static str)]) -> Result<Credentials> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Environment::of(Arc::new(variables)).credentials()
    }

    #[test]
    fn a_whole_set_is_taken_without_line_ends() {
        let taken = environment(&[ID, SECRET]).expect("credentials");
        assert!(taken.is_same(&Credentials::new("AKID", "hidden")));
        for name in ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"] {
            let taken = environment(&[ID, SECRET, (name, "token\n")]).expect("credentials");
            let expected = Credentials::new("AKID", "hidden").with_session_token("token");
            assert!(taken.is_same(&expected), "{name}");
        }
    }

    #[test]
    fn the_expiration_that_the_cli_exports_is_kept() {
        let at = ("AWS_CREDENTIAL_EXPIRATION", "2026-11-22T20:34:15+00:00");
        let taken = environment(&[ID, SECRET, at]).expect("credentials");
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_379_655);
        assert_eq!(taken.expires_at(), Some(expected));
    }

    #[test]
    fn a_set_that_is_not_whole_ends_a_chain() {
        let token = ("AWS_SESSION_TOKEN", "t");
        for (variables, wrong) in [
            (
                vec![ID],
                "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not: set both, or neither",
            ),
            (
                vec![SECRET],
                "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not: set both, or neither",
            ),
            (
                vec![ID, ("AWS_SECRET_ACCESS_KEY", "")],
                "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not: set both, or neither",
            ),
            (
                vec![token],
                "AWS_SESSION_TOKEN is set and AWS_ACCESS_KEY_ID is not: set both, or neither",
            ),
            (
                vec![ID, SECRET, token, ("AWS_SECURITY_TOKEN", "u")],
                "AWS_SESSION_TOKEN and AWS_SECURITY_TOKEN are both set and differ: set the first only",
            ),
            (
                vec![ID, ("AWS_SECRET_ACCESS_KEY", "hid den")],
                "AWS_SECRET_ACCESS_KEY has a blank, a line end or a character outside of ASCII in it",
            ),
            (
                vec![ID, SECRET, ("AWS_CREDENTIAL_EXPIRATION", "soon")],
                "AWS_CREDENTIAL_EXPIRATION is no instant such as 2026-01-31T12:00:00Z",
            ),
        ] {
            let error = environment(&variables).expect_err(wrong);
            let ErrorKind::Credentials { tried, cause } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(tried[..], [("environment".to_owned(), wrong.to_owned())]);
            assert!(cause.is_some(), "{wrong}: the search ends here");
        }
    }

    #[test]
    fn an_environment_without_keys_lets_a_chain_go_on() {
        for variables in [
            vec![],
            vec![("AWS_ACCESS_KEY_ID", ""), ("AWS_SESSION_TOKEN", " ")],
        ] {
            let error = environment(&variables).expect_err("nothing");
            assert_eq!(
                error.to_string(),
                "no credentials: environment: AWS_ACCESS_KEY_ID is not set; set one of them, or give the client a \
                 provider of your own"
            );
        }
    }
}
