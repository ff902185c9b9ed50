//! `login_session`: what `aws login` keeps of a session in the browser.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html>

use std::time::SystemTime;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::credentials::profile::PLACE;
use crate::credentials::profile::files::without_tilde;
use crate::credentials::{Outside, document};
use crate::error::{Error, Result};
use crate::sign::Credentials;
use crate::sys::clock::Clock;
use crate::sys::hex;

/// Reads the credentials that `aws login` has kept, until they expire.
///
/// Renewing them takes a proof by the session's private key, which this library does not make: `aws login` does.
///
/// # Errors
/// `Malformed`: there are none, or they have expired.
pub(super) fn credentials(outside: &Outside, session: &str) -> Result<Credentials> {
    let lack = |detail: &str| {
        let what = format_args!(
            "login_session: {detail}: run `aws login`, or {}",
            super::resolver::EXPORT
        );
        Error::malformed(PLACE, what)
    };
    let env = &*outside.env;
    let folder = env.var("AWS_LOGIN_CACHE_DIRECTORY");
    let folder = folder.unwrap_or_else(|| "~/.aws/login/cache".to_owned());
    let folder = without_tilde(env, &folder).ok_or_else(|| lack("there is no home directory"))?;
    let digest = Sha256::digest(session.as_bytes());
    let name = hex::encoded(digest);
    let text = env.read_file(&folder.join(format!("{name}.json")));
    let text = text.map_err(|_| lack("nobody is logged in"))?;
    let token = document::object(text.as_bytes())?;
    let Some(Value::Object(kept)) = token.get("accessToken") else {
        return Err(lack("what is kept of the session has no accessToken"));
    };
    let credentials = document::of_object(kept, &NAMES)?;
    let now = SystemTime::from(outside.clock.wall());
    match credentials.expires_at() {
        Some(at) if at > now => Ok(credentials),
        Some(_) => Err(lack("the session has expired")),
        None => Err(lack("what is kept of the session has no expiresAt")),
    }
}

/// The members of `accessToken`.
const NAMES: document::Names = document::Names {
    id: "accessKeyId",
    secret: "secretAccessKey",
    token: "sessionToken",
    expiration: "expiresAt",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::outside;

    const SESSION: &str = "arn:aws:iam::000000000000:user/someone";
    /// The SHA-256 of the session's name.
    const FILE: &str = "/home/.aws/login/cache/0933e6382824a88aaa5d9c87b6c373b23f160ac4d420715fe7d5f6f006f5bfe9.json";

    fn kept(expires_at: &str) -> &'static str {
        let text = format!(
            r#"{{"accessToken":{{"accessKeyId":"ASIA","secretAccessKey":"s","sessionToken":"t","accountId":"0","expiresAt":"{expires_at}"}}}}"#
        );
        text.leak()
    }

    fn ask(env: &[(&'static str, &'static str)]) -> Result<Credentials> {
        credentials(&outside(env, []).0, SESSION)
    }

    #[test]
    fn kept_credentials_are_used_until_they_expire() {
        let env = [("HOME", "/home"), (FILE, kept("2026-11-22T20:34:15Z"))];
        let expected = Credentials::new("ASIA", "s").with_session_token("t");
        assert!(ask(&env).expect("kept").is_same(&expected));
        let other = FILE.replace("/home/.aws/login/cache", "/elsewhere").leak();
        let env = [
            ("AWS_LOGIN_CACHE_DIRECTORY", "/elsewhere"),
            (other, env[1].1),
        ];
        assert!(ask(&env).expect("kept").is_same(&expected));
    }

    #[test]
    fn without_them_the_error_says_what_to_run() {
        for (env, detail) in [
            (vec![], "there is no home directory"),
            (vec![("HOME", "/home")], "nobody is logged in"),
            (
                vec![("HOME", "/home"), (FILE, "{}")],
                "what is kept of the session has no accessToken",
            ),
            (
                vec![("HOME", "/home"), (FILE, kept("2015-01-01T00:00:00Z"))],
                "the session has expired",
            ),
            (
                vec![("HOME", "/home"), (FILE, kept(""))],
                "what is kept of the session has no expiresAt",
            ),
        ] {
            let error = ask(&env).expect_err(detail).to_string();
            assert!(
                error.starts_with(&format!(
                    "profile is malformed: login_session: {detail}: run `aws login`"
                )),
                "{error}"
            );
        }
    }
}
