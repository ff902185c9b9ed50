use std::fmt;
use std::sync::Arc;

use crate::credentials::{CredentialsProvider, lacks};
use crate::error::Result;
use crate::sign::Credentials;
use crate::sys::env::{Env, SystemEnv};

/// Credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if set, `AWS_SESSION_TOKEN`.
///
/// Flink's `ENV_VAR`. An empty variable counts as not set.
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

    fn required(&self, name: &str) -> Result<String> {
        let lack = || lacks("environment", format_args!("{name} is not set"));
        self.0.var(name).ok_or_else(lack)
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
        let id = self.required("AWS_ACCESS_KEY_ID")?;
        let credentials = Credentials::new(id, self.required("AWS_SECRET_ACCESS_KEY")?);
        Ok(match self.0.var("AWS_SESSION_TOKEN") {
            Some(token) => credentials.with_session_token(token),
            None => credentials,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn environment(variables: &[(&'static str, &'static str)]) -> Result<Credentials> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Environment::of(Arc::new(variables)).credentials()
    }

    #[test]
    fn both_keys_are_needed_and_the_missing_one_is_named() {
        let (id, secret) = (
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
        );
        assert_eq!(
            environment(&[id, secret])
                .expect("credentials")
                .access_key_id(),
            "AKID"
        );
        for (set, missing) in [(secret, "AWS_ACCESS_KEY_ID"), (id, "AWS_SECRET_ACCESS_KEY")] {
            assert_eq!(
                environment(&[set]).expect_err("incomplete").to_string(),
                format!(
                    "no credentials: environment: {missing} is not set; set one of them, or give the client a \
                     provider of your own"
                )
            );
        }
    }
}
