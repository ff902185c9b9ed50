//! Single sign-on (IAM Identity Center): the token that `aws sso login` keeps buys credentials of a role.
//!
//! Sources: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html>,
//! <https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html>

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use serde_json::{Map, Value};

use crate::credentials::outside::{ATTEMPTS, SERVICE_TIMEOUT};
use crate::credentials::profile::PLACE;
use crate::credentials::profile::file::{Properties, Sections};
use crate::credentials::profile::files::without_tilde;
use crate::credentials::{Outside, document};
use crate::error::{Error, Result};
use crate::model::endpoint;
use crate::sign::Credentials;
use crate::sys::clock::Clock;
use crate::sys::percent::encoded;

/// Asks for credentials of the profile's role. Blocks until the service answers, for three attempts of 6 s at most.
///
/// # Errors
/// `Malformed`: the profile is not whole, nobody is logged in, or the login has expired. `Service`, `Transport`.
pub(super) fn credentials(
    outside: &Outside,
    config: &Sections,
    profile: &Properties,
) -> Result<Credentials> {
    let login = Login::of(config, profile).map_err(wrong)?;
    let token = login.token(outside)?;
    let url = login.url(outside)?;
    let bearer = HeaderValue::from_str(&token);
    let bearer = bearer.map_err(|_| login.lack("the kept token is damaged"))?;
    let request = || {
        let request = Request::get(&url).header("x-amz-sso_bearer_token", &bearer);
        let request = request
            .header("accept", "application/json")
            .body(Bytes::new());
        request.map_err(|error| Error::malformed("request", error))
    };
    let response = outside.ask(&outside.service, (ATTEMPTS, SERVICE_TIMEOUT), request)?;
    login.answer(&response)
}

/// What a profile says of single sign-on.
#[derive(Debug)]
struct Login {
    start_url: String,
    region: String,
    account_id: String,
    role_name: String,
}

impl Login {
    /// Takes the profile's properties and those of the session that it names.
    fn of(config: &Sections, profile: &Properties) -> Result<Login, String> {
        let mut all = profile.clone();
        if let Some(name) = profile.get("sso_session") {
            let session = config.sso_sessions.get(name);
            let session = session.ok_or_else(|| format!("there is no [sso-session {name}]"))?;
            for (property, value) in session {
                let own = all.insert(property.clone(), value.clone());
                // Which of the two is meant, nobody can tell.
                if own.is_some_and(|own| own != *value) {
                    return Err(format!(
                        "{property} differs from that of [sso-session {name}]"
                    ));
                }
            }
        }
        let of = |property: &str| {
            let value = all.get(property).filter(|value| !value.is_empty());
            value
                .cloned()
                .ok_or_else(|| format!("{property} is not set"))
        };
        Ok(Login {
            start_url: of("sso_start_url")?,
            region: of("sso_region")?,
            account_id: of("sso_account_id")?,
            role_name: of("sso_role_name")?,
        })
    }

    /// The token of the login, from the folder in which the AWS CLI keeps tokens.
    ///
    /// The files' names are SHA-1 sums; what is in a file says as well where it is from.
    fn token(&self, outside: &Outside) -> Result<String> {
        let env = &*outside.env;
        let folder = without_tilde(env, "~/.aws/sso/cache");
        let folder = folder.ok_or_else(|| self.lack("there is no home directory"))?;
        let files = env.list_folder(&folder).unwrap_or_else(|error| {
            log::debug!("{} counts as empty: {error}", folder.display());
            Vec::new()
        });
        let texts = files.iter().filter_map(|file| env.read_file(file).ok());
        let tokens = texts.filter_map(|text| document::object(text.as_bytes()).ok());
        let tokens = tokens.filter_map(|token| self.is_for(&token).then(|| kept(&token)).flatten());
        // Of several logins the one that lasts longest is the newest.
        let newest = tokens.max_by_key(|(expires_at, _)| *expires_at);
        let (expires_at, token) = newest.ok_or_else(|| self.lack("nobody is logged in"))?;
        match expires_at > SystemTime::from(outside.clock.wall()) {
            true => Ok(token),
            false => Err(self.lack("the login has expired")),
        }
    }

    fn is_for(&self, token: &Map<String, Value>) -> bool {
        let of = |name| document::text(token, name);
        let trimmed = |url: &str| url.trim_end_matches(['/', '#']).to_owned();
        of("startUrl").is_some_and(|url| trimmed(&url) == trimmed(&self.start_url))
            && of("region").is_none_or(|region| region == self.region)
    }

    fn url(&self, outside: &Outside) -> Result<String> {
        let settings = outside.settings()?;
        let base = match settings.endpoint("sso")? {
            Some(url) => url,
            None => endpoint("portal.sso", &self.region, settings.variant()?),
        };
        let (role, account) = (encoded(&self.role_name), encoded(&self.account_id));
        let base = base.trim_end_matches('/');
        Ok(format!(
            "{base}/federation/credentials?role_name={role}&account_id={account}"
        ))
    }

    fn answer(&self, response: &Response<Bytes>) -> Result<Credentials> {
        let status = response.status();
        if status == http::StatusCode::UNAUTHORIZED {
            return Err(self.lack("the login was refused"));
        }
        if !status.is_success() {
            let body = document::object(response.body()).unwrap_or_default();
            let of = |name| document::text(&body, name);
            let code = of("__type").or_else(|| of("code")).unwrap_or_default();
            let message = of("message").unwrap_or_default();
            return Err(Error::service(&code, &message, status.as_u16()));
        }
        let document = document::object(response.body())?;
        match document.get("roleCredentials") {
            Some(Value::Object(role)) => document::of_object(role, &NAMES),
            _ => Err(wrong("the answer has no roleCredentials".to_owned())),
        }
    }

    fn lack(&self, detail: &str) -> Error {
        let url = &self.start_url;
        wrong(format!(
            "{detail} ({url}): run `aws sso login` for this profile"
        ))
    }
}

/// When a kept token expires, and the token.
fn kept(token: &Map<String, Value>) -> Option<(SystemTime, String)> {
    let expires_at = document::instant(&document::text(token, "expiresAt")?)?;
    Some((expires_at, document::text(token, "accessToken")?))
}

fn wrong(detail: String) -> Error {
    Error::malformed(PLACE, format_args!("single sign-on: {detail}"))
}

/// The members of `roleCredentials`.
const NAMES: document::Names = document::Names {
    id: "accessKeyId",
    secret: "secretAccessKey",
    token: "sessionToken",
    expiration: "expiration",
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::credentials::canned::{Answer, Canned, answer, outside};
    use crate::credentials::profile::file::{Kind, parse};

    const URL: &str = "https://corp.awsapps.com/start";
    const PROFILE: &str = "[default]\nsso_session = corp\nsso_account_id = 000000000000\nsso_role_name = a/b\n\
                           [sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n";
    const LEGACY: &str = "[default]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n\
                          sso_account_id = 000000000000\nsso_role_name = a/b\n";
    const ROLE: &str = r#"{"roleCredentials":{"accessKeyId":"ASIA","secretAccessKey":"s","sessionToken":"t","expiration":1795379655000}}"#;

    fn token(url: &str, token: &str, expires_at: &str) -> &'static str {
        let text = format!(
            r#"{{"startUrl":"{url}","region":"eu-west-1","accessToken":"{token}","expiresAt":"{expires_at}"}}"#
        );
        text.leak()
    }

    fn ask(
        config: &str,
        env: &[(&'static str, &'static str)],
        answers: impl IntoIterator<Item = Answer>,
    ) -> (Result<Credentials>, Canned) {
        let sections = parse(config, Kind::Config).expect("sound");
        let (outside, canned) = outside(env, answers);
        let profile = &sections.profiles["default"];
        (credentials(&outside, &sections, profile), canned)
    }

    #[test]
    fn the_newest_token_of_the_start_url_buys_the_roles_credentials() {
        let env = [
            ("HOME", "/home"),
            (
                "/home/.aws/sso/cache/a.json",
                token(
                    "https://other.awsapps.com/start",
                    "other",
                    "2099-01-01T00:00:00Z",
                ),
            ),
            (
                "/home/.aws/sso/cache/b.json",
                token(URL, "old", "2026-01-01T00:00:00Z"),
            ),
            (
                "/home/.aws/sso/cache/c.json",
                token(
                    "https://corp.awsapps.com/start/",
                    "new",
                    "2026-11-22T20:34:15UTC",
                ),
            ),
            ("/home/.aws/sso/cache/d.json", "no JSON"),
            (
                "/home/.aws/sso/cache/e.json",
                r#"{"clientId":"registration"}"#,
            ),
        ];
        for config in [PROFILE, LEGACY] {
            let (outcome, canned) = ask(config, &env, [answer(200, ROLE)]);
            let credentials = outcome.expect("bought");
            assert!(credentials.is_same(&Credentials::new("ASIA", "s").with_session_token("t")));
            let seconds = Duration::from_secs(1_795_379_655);
            assert_eq!(
                credentials.expires_at(),
                Some(SystemTime::UNIX_EPOCH + seconds)
            );
            assert_eq!(
                canned.asked("x-amz-sso_bearer_token"),
                [
                    "GET https://portal.sso.eu-west-1.amazonaws.com/federation/credentials?role_name=a%2Fb&account_id=000000000000 new"
                ]
            );
        }
    }

    #[test]
    fn without_a_login_the_error_says_what_to_run() {
        let home = ("HOME", "/home");
        let old = (
            "/home/.aws/sso/cache/b.json",
            token(URL, "hidden", "2015-01-01T00:00:00Z"),
        );
        let good = (
            "/home/.aws/sso/cache/b.json",
            token(URL, "hidden", "2099-01-01T00:00:00Z"),
        );
        for (env, answers, detail) in [
            (vec![], vec![], "there is no home directory"),
            (vec![home], vec![], "nobody is logged in"),
            (vec![home, old], vec![], "the login has expired"),
            (
                vec![home, good],
                vec![answer(401, "{}")],
                "the login was refused",
            ),
        ] {
            let error = ask(PROFILE, &env, answers).0.expect_err(detail);
            assert_eq!(
                error.to_string(),
                format!(
                    "profile is malformed: single sign-on: {detail} ({URL}): run `aws sso login` for this profile"
                )
            );
        }
        let denied = answer(
            403,
            r#"{"__type":"ForbiddenException","message":"No access"}"#,
        );
        let error = ask(PROFILE, &[home, good], [denied]).0.expect_err("denied");
        assert_eq!(error.to_string(), "ForbiddenException: No access");
    }

    #[test]
    fn a_profile_that_is_not_whole_names_what_is_missing() {
        let without = |property: &str| -> String {
            let lines = PROFILE.lines().filter(|line| !line.starts_with(property));
            lines.map(|line| format!("{line}\n")).collect()
        };
        for property in [
            "sso_start_url",
            "sso_region",
            "sso_account_id",
            "sso_role_name",
        ] {
            let error = ask(&without(property), &[], []).0.expect_err(property);
            assert_eq!(
                error.to_string(),
                format!("profile is malformed: single sign-on: {property} is not set")
            );
        }
        for (config, lack) in [
            (
                PROFILE.replace("sso-session corp", "sso-session other"),
                "there is no [sso-session corp]",
            ),
            (
                PROFILE.replace("[default]\n", "[default]\nsso_region = us-east-1\n"),
                "sso_region differs from that of [sso-session corp]",
            ),
        ] {
            let error = ask(&config, &[], []).0.expect_err(lack);
            assert_eq!(
                error.to_string(),
                format!("profile is malformed: single sign-on: {lack}")
            );
        }
    }
}
