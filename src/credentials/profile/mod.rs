//! The user's own files: what `aws configure` writes.

pub(crate) mod file;
mod files;
mod login;
mod process;
mod resolver;
mod settings;
mod sso;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::credentials::profile::files::Files;
use crate::credentials::profile::resolver::Resolver;
use crate::credentials::{CredentialsProvider, Outside, fails, lacks};
use crate::error::{Error, ErrorKind, Result};
use crate::http::HttpTransport;
use crate::sign::Credentials;
use crate::sys::env::Env;

pub(crate) use settings::Settings;

/// Credentials of a profile in `~/.aws/credentials` and `~/.aws/config`. Flink's `PROFILE`.
///
/// A profile has one of:
///
/// - keys, with or without a session token,
/// - a role to take on (`role_arn`) with the credentials of another profile (`source_profile`), of a place
///   (`credential_source`) or for a token (`web_identity_token_file`),
/// - single sign-on (`sso_session` or `sso_start_url`): the token that `aws sso login` keeps buys credentials,
/// - `login_session`: what `aws login` keeps, until it expires,
/// - `credential_process`: a program that prints credentials. It is run without a shell, for a minute at most.
///
/// If a profile has several of them, the choice is that of the AWS CLI. Keys, secret and token come from one of the two
/// files as a set; of other properties the credentials file's counts. The files are read each time, so keys that are
/// changed in them are seen. A profile that is meant to give credentials and cannot is an error, also in a chain.
///
/// Not supported, and told as that: `mfa_serial`, as nobody can be asked for a code here.
///
/// ```
/// use kinesis_blocking::credentials::Profile;
///
/// let provider = Profile::new("readers").file("/etc/readers/credentials");
/// # drop(provider);
/// ```
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>
pub struct Profile {
    outside: Outside,
    name: Option<String>,
    credentials_file: Option<PathBuf>,
    config_file: Option<PathBuf>,
}

impl Profile {
    /// Takes this profile. Flink's `aws.credentials.provider.profile.name`.
    pub fn new(name: impl Into<String>) -> Profile {
        Profile {
            name: Some(name.into()),
            ..Profile::within(Outside::real())
        }
    }

    /// Takes the profile that `AWS_PROFILE` names, else `default`.
    pub fn standard() -> Profile {
        Profile::within(Outside::real())
    }

    pub(crate) fn within(outside: Outside) -> Profile {
        Profile {
            outside,
            name: None,
            credentials_file: None,
            config_file: None,
        }
    }

    pub(crate) fn named(mut self, name: &str) -> Profile {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets the credentials file. Flink's `aws.credentials.provider.profile.path`.
    ///
    /// Default: what `AWS_SHARED_CREDENTIALS_FILE` says, else `~/.aws/credentials`.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Profile {
        self.credentials_file = Some(path.into());
        self
    }

    /// Sets the config file. Default: what `AWS_CONFIG_FILE` says, else `~/.aws/config`.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Profile {
        self.config_file = Some(path.into());
        self
    }

    /// Sets what carries requests for roles. Default: HTTP/1.1.
    pub fn transport(mut self, transport: impl HttpTransport + 'static) -> Profile {
        self.outside.service = Arc::new(transport);
        self.outside.metadata = self.outside.service.clone();
        self
    }

    fn ask(&self) -> Result<Credentials> {
        let env = &*self.outside.env;
        let places = (
            self.credentials_file.as_deref(),
            self.config_file.as_deref(),
        );
        let files = Files::read(env, places)?;
        let set = match &self.name {
            Some(name) => Some(name.clone()),
            None => name_in(env)?,
        };
        let name = set.as_deref().unwrap_or(DEFAULT);
        let Some(profile) = files.profile(name) else {
            let lack = files.without(name);
            // Who names a profile does not want to be somebody else.
            return Err(match set {
                Some(_) => Error::malformed(PLACE, lack),
                None => lacks(PLACE, lack),
            });
        };
        if !resolver::has_credentials(&profile) {
            let lack = format_args!("[{name}] has {}", resolver::NOTHING).to_string();
            return Err(lacks(PLACE, lack));
        }
        let resolver = Resolver {
            outside: &self.outside,
            files: &files,
        };
        resolver
            .resolve(name, &[])
            .map_err(|error| meant(name, error))
    }
}

/// The profile is meant to give credentials: that a place to which it leads has none is a failure, not a reason to ask the
/// next provider, whose credentials are somebody else's.
fn meant(name: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Credentials { tried, cause: None } => {
            let tried: Vec<_> = tried
                .iter()
                .map(|(place, lack)| format!("{place}: {lack}"))
                .collect();
            Error::malformed(
                PLACE,
                format_args!("[{name}] leads to {}", tried.join("; ")),
            )
        }
        _ => error,
    }
}

impl Default for Profile {
    fn default() -> Profile {
        Profile::standard()
    }
}

impl CredentialsProvider for Profile {
    fn credentials(&self) -> Result<Credentials> {
        self.ask().map_err(|error| match error.kind() {
            ErrorKind::Credentials { cause: None, .. } => error,
            _ => fails(PLACE, error),
        })
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Profile {
            name,
            credentials_file,
            config_file,
            ..
        } = self;
        f.debug_struct("Profile")
            .field("name", name)
            .field("credentials_file", credentials_file)
            .field("config_file", config_file)
            .finish_non_exhaustive()
    }
}

/// The profile that the environment names.
///
/// # Errors
/// `Config`: a variable is empty, or the two name different profiles. The AWS CLI and the SDKs differ in which of the two
/// counts, so a program could run as somebody else than the person who tried it out.
fn name_in(env: &dyn Env) -> Result<Option<String>> {
    let names = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
    for name in names {
        if env.raw_var(name).is_some() && env.var(name).is_none() {
            let expected = "the name of a profile; unset it to use [default]";
            return Err(Error::config(name, "", expected));
        }
    }
    match names.map(|name| env.var(name)) {
        [Some(one), Some(other)] if one != other => {
            let expected = "that of AWS_DEFAULT_PROFILE: set one of the two";
            Err(Error::config(names[0], one, expected))
        }
        [one, other] => Ok(one.or(other)),
    }
}

const DEFAULT: &str = "default";

const PLACE: &str = "profile";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::canned::{Answer, Canned, answer, outside};

    const HOME: (&str, &str) = ("HOME", "/home");
    const FILE: &str = "/home/.aws/credentials";
    const CONFIG: &str = "/home/.aws/config";

    fn ask(
        env: &[(&'static str, &'static str)],
        answers: impl IntoIterator<Item = Answer>,
    ) -> (Result<Credentials>, Canned) {
        let (outside, canned) = outside(env, answers);
        (Profile::within(outside).credentials(), canned)
    }

    fn same(credentials: Result<Credentials>, expected: Credentials) {
        assert!(credentials.expect("some").is_same(&expected));
    }

    #[test]
    fn the_named_profile_is_taken_from_both_files() {
        let file = "[default]\naws_access_key_id = AKID\naws_secret_access_key = s\n\
                    [dev]\naws_access_key_id = DEV\naws_secret_access_key = s\naws_session_token = t";
        let config = "[default]\naws_access_key_id = NOT\n[profile conf]\naws_access_key_id = CONF\n\
                      aws_secret_access_key = s\n[profile dev]\nregion = eu-west-1";
        let files = [HOME, (FILE, file), (CONFIG, config)];
        let of = |profile: Option<&'static str>| {
            let profile = profile.map(|name| ("AWS_PROFILE", name));
            let env: Vec<_> = files.iter().copied().chain(profile).collect();
            ask(&env, []).0
        };
        same(of(None), Credentials::new("AKID", "s"));
        same(of(Some("conf")), Credentials::new("CONF", "s"));
        let dev = Credentials::new("DEV", "s").with_session_token("t");
        same(of(Some("dev")), dev);
        let (named, _) = outside(&files, []);
        let named = Profile {
            name: Some("conf".to_owned()),
            ..Profile::within(named)
        };
        same(named.credentials(), Credentials::new("CONF", "s"));
    }

    #[test]
    fn of_several_kinds_of_credentials_the_one_counts_that_counts_for_the_aws_cli() {
        let keys = "aws_access_key_id = KEYS\naws_secret_access_key = s\n";
        let process = "credential_process = vault\n";
        let printed = (
            "$ vault",
            r#"{"Version":1,"AccessKeyId":"PROCESS","SecretAccessKey":"s"}"#,
        );
        let of = |text: &str| -> &'static str { format!("[default]\n{text}").leak() };
        for (env, id) in [
            (vec![(FILE, of(keys)), (CONFIG, of(process))], "KEYS"),
            (vec![(CONFIG, of(&[keys, process].concat()))], "PROCESS"),
            (vec![(CONFIG, of(keys))], "KEYS"),
        ] {
            let env = [&env[..], &[HOME, printed]].concat();
            assert_eq!(ask(&env, []).0.expect(id).access_key_id(), id);
        }
    }

    #[test]
    fn files_are_where_they_are_said_to_be() {
        let keys = "[default]\naws_access_key_id = AKID\naws_secret_access_key = s";
        let expected = || Credentials::new("AKID", "s");
        let shared = ("AWS_SHARED_CREDENTIALS_FILE", "~/other");
        let config = ("AWS_CONFIG_FILE", "/etc/config");
        same(
            ask(&[HOME, shared, ("/home/other", keys)], []).0,
            expected(),
        );
        same(ask(&[config, ("/etc/config", keys)], []).0, expected());
        let (outside, _) = outside(&[HOME, shared, ("/given", keys)], []);
        same(
            Profile::within(outside).file("/given").credentials(),
            expected(),
        );
    }

    #[test]
    fn the_profile_in_use_has_other_settings_as_well() {
        let config = "[default]\nregion = us-east-1\n[profile dev]\nregion = eu-west-1\nempty =\n";
        let dev = ("AWS_PROFILE", "dev");
        let setting = |env: &[(&'static str, &'static str)], name| {
            let (outside, _) = outside(env, []);
            let settings = Settings::load(outside.env).expect("sound files");
            settings.property(name).map(str::to_owned)
        };
        for (env, name, value) in [
            (vec![HOME, (CONFIG, config)], "region", Some("us-east-1")),
            (
                vec![HOME, (CONFIG, config), dev],
                "region",
                Some("eu-west-1"),
            ),
            (vec![HOME, (CONFIG, config), dev], "empty", None),
            (vec![HOME], "region", None),
            (vec![], "region", None),
        ] {
            assert_eq!(setting(&env, name).as_deref(), value);
        }
    }

    #[test]
    fn a_profile_without_credentials_says_why() {
        let other = "[dev]\n[prod]\n";
        let region = "[default]\nregion = us-east-1";
        let named = ("AWS_PROFILE", "live");
        for (env, is_set_up, lack) in [
            (
                vec![],
                false,
                "there is neither ~/.aws/credentials nor ~/.aws/config",
            ),
            (
                vec![HOME, (FILE, other)],
                false,
                "~/.aws/credentials has no [default] (but [dev], [prod])",
            ),
            (
                vec![HOME, (FILE, ""), (CONFIG, "")],
                false,
                "~/.aws/credentials and ~/.aws/config have no [default]",
            ),
            (
                vec![HOME, (CONFIG, region)],
                false,
                "[default] has neither aws_access_key_id nor role_arn",
            ),
            (
                vec![HOME, (CONFIG, region), named],
                true,
                "~/.aws/config has no [live] (but [default])",
            ),
            (
                vec![HOME, (FILE, "hidden")],
                true,
                "~/.aws/credentials: line 1 is neither a section nor a property nor a comment",
            ),
            (
                vec![HOME, (FILE, "[default]\naws_access_key_id = A")],
                true,
                "[default] cannot be used: aws_access_key_id is set and aws_secret_access_key is not: set both, or neither",
            ),
            (
                vec![HOME, (FILE, "[default]\naws_secret_access_key = hidden")],
                true,
                "[default] cannot be used: aws_secret_access_key is set and aws_access_key_id is not: set both, or neither",
            ),
            (
                vec![HOME, (CONFIG, "[default]\naws_session_token = hidden")],
                true,
                "[default] cannot be used: aws_session_token is set and aws_access_key_id is not: set both, or neither",
            ),
            (
                vec![
                    HOME,
                    (FILE, "[default]\naws_access_key_id = A"),
                    (CONFIG, "[default]\naws_secret_access_key = hidden"),
                ],
                true,
                "[default] cannot be used: aws_access_key_id is set and aws_secret_access_key is not: set both, or neither",
            ),
            (
                vec![
                    HOME,
                    (
                        FILE,
                        "[default]\naws_access_key_id =\naws_secret_access_key = hidden",
                    ),
                ],
                true,
                "[default] has an empty aws_access_key_id",
            ),
            (
                vec![
                    HOME,
                    (
                        FILE,
                        "[default]\naws_access_key_id = A\naws_secret_access_key = hid den",
                    ),
                ],
                true,
                "[default] cannot be used: aws_secret_access_key has a blank, a line end or a character outside of ASCII in it",
            ),
            (
                vec![HOME, (CONFIG, "[default]\ncredential_process = vault")],
                true,
                "[default] credential_process: no such program",
            ),
            (
                vec![HOME, (CONFIG, "[default]\nsso_session = s")],
                true,
                "[default] single sign-on: there is no [sso-session s]",
            ),
            (
                vec![
                    HOME,
                    (CONFIG, "[default]\nsso_account_id = 0\nsso_role_name = r"),
                ],
                true,
                "[default] single sign-on: sso_start_url is not set",
            ),
            (
                vec![
                    HOME,
                    (CONFIG, "[default]\nweb_identity_token_file = /token"),
                ],
                true,
                "[default] has a web_identity_token_file, but no role_arn",
            ),
            (
                vec![HOME, (CONFIG, "[default]\nsource_profile = other")],
                true,
                "[default] has a source_profile, but neither aws_access_key_id nor role_arn",
            ),
            (
                vec![HOME, (CONFIG, "[default]\ncredential_source = Environment")],
                true,
                "[default] has a credential_source, but neither aws_access_key_id nor role_arn",
            ),
            (
                vec![HOME, (CONFIG, "[default]\nrole_arn =")],
                true,
                "[default] has an empty role_arn",
            ),
            (
                vec![HOME, (CONFIG, "[default]\nlogin_session = arn")],
                true,
                "[default] login_session: nobody is logged in: run `aws login`, or run `aws configure export-credentials --format env` and set what it prints",
            ),
        ] {
            let error = ask(&env, []).0.expect_err(lack);
            let ErrorKind::Credentials { tried, cause } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(tried[..], [("profile".to_owned(), lack.to_owned())]);
            assert_eq!(cause.is_some(), is_set_up, "{lack}");
        }
    }

    #[cfg(feature = "sts")]
    mod roles {
        use super::*;

        fn good(id: &str) -> Answer {
            let credentials = format!(
                "<R><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>t</SessionToken></Credentials></R>"
            );
            let mut response = answer(200, "")?;
            *response.body_mut() = credentials.into();
            Ok(response)
        }

        #[test]
        fn sources_are_followed_to_the_keys_and_roles_taken_on_on_the_way_back() {
            let config = "[default]\nrole_arn = arn:second\nsource_profile = middle\nregion = eu-west-1\n\
                          [profile middle]\nrole_arn = arn:first\nsource_profile = keys\nexternal_id = x\n\
                          role_session_name = n\nduration_seconds = 900\n";
            let file = "[keys]\naws_access_key_id = AKID\naws_secret_access_key = s";
            let env = [HOME, (FILE, file), (CONFIG, config)];
            let (outcome, canned) = ask(&env, [good("FIRST"), good("SECOND")]);
            same(
                outcome,
                Credentials::new("SECOND", "s").with_session_token("t"),
            );
            let bodies = canned.bodies();
            assert_eq!(
                bodies[0],
                "Version=2011-06-15&Action=AssumeRole&RoleArn=arn%3Afirst&RoleSessionName=n&ExternalId=x\
                 &DurationSeconds=900"
            );
            let asked = canned.asked("authorization");
            assert!(
                asked[0].starts_with(
                    "POST https://sts.amazonaws.com/ AWS4-HMAC-SHA256 Credential=AKID/"
                )
            );
            assert!(asked[1].starts_with(
                "POST https://sts.eu-west-1.amazonaws.com/ AWS4-HMAC-SHA256 Credential=FIRST/"
            ));
        }

        #[test]
        fn a_profile_may_be_its_own_source() {
            let file = "[default]\nrole_arn = arn:r\nsource_profile = default\n\
                        aws_access_key_id = AKID\naws_secret_access_key = s";
            let (outcome, canned) = ask(&[HOME, (FILE, file)], [good("ROLE")]);
            assert_eq!(outcome.expect("some").access_key_id(), "ROLE");
            assert_eq!(canned.asked("").len(), 1);
        }

        #[test]
        fn keys_of_a_source_end_the_chain_of_roles() {
            let config = "[default]\nrole_arn = arn:outer\nsource_profile = b\n\
                          [profile b]\nrole_arn = arn:inner\nsource_profile = c\naws_access_key_id = B\naws_secret_access_key = s\n\
                          [profile c]\naws_access_key_id = C\naws_secret_access_key = s\n";
            let (outcome, canned) = ask(&[HOME, (CONFIG, config)], [good("ROLE")]);
            assert_eq!(outcome.expect("some").access_key_id(), "ROLE");
            let asked = canned.asked("authorization");
            assert!(
                asked.len() == 1 && asked[0].contains("Credential=B/"),
                "{asked:?}"
            );
        }

        #[test]
        fn a_place_may_be_the_source() {
            let of = |source: &str| format!("[default]\nrole_arn = arn:r\n{source}").leak() as &str;
            let env = [
                ("AWS_ACCESS_KEY_ID", "ENV"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c"),
                ("/token", "jwt"),
                HOME,
            ];
            let document = r#"{"AccessKeyId":"SERVER","SecretAccessKey":"s"}"#;
            let imds = [answer(200, "t"), answer(200, "r"), answer(200, document)];
            for (source, before, signer) in [
                ("credential_source = Environment", vec![], "ENV"),
                (
                    "credential_source = EcsContainer",
                    vec![answer(200, document)],
                    "SERVER",
                ),
                (
                    "credential_source = Ec2InstanceMetadata",
                    imds.into(),
                    "SERVER",
                ),
                ("web_identity_token_file = /token", vec![], ""),
            ] {
                let env = [&env[..], &[(CONFIG, of(source))]].concat();
                let answers = before.into_iter().chain([good("ROLE")]);
                let (outcome, canned) = ask(&env, answers);
                assert_eq!(outcome.expect(source).access_key_id(), "ROLE");
                let last = canned.asked("authorization").pop().expect("a call");
                let is_signed = last.contains(&format!("Credential={signer}/"));
                assert!(is_signed || signer.is_empty(), "{source}: {last}");
            }
        }

        #[test]
        fn what_leads_nowhere_is_told_with_the_whole_way() {
            for (file, lack) in [
                (
                    "[default]\nrole_arn = r\nsource_profile = b\n[b]\nrole_arn = r\nsource_profile = default",
                    "[default] > [b] has the source_profile [default], which leads back here",
                ),
                (
                    "[default]\nrole_arn = r\nsource_profile = b\n[b]\nrole_arn = r\nsource_profile = c\n\
                     [c]\nrole_arn = r\nsource_profile = b",
                    "[default] > [b] > [c] has the source_profile [b], which leads back here",
                ),
                (
                    "[default]\nrole_arn = r\nsource_profile = b",
                    "[default] > [b] does not exist",
                ),
                (
                    "[default]\nrole_arn = r\nsource_profile = default",
                    "[default] has the source_profile [default], which leads back here",
                ),
                (
                    "[default]\nrole_arn = r",
                    "[default] has a role_arn, but no source_profile, credential_source or web_identity_token_file",
                ),
                (
                    "[default]\nrole_arn = r\nsource_profile = b\ncredential_source = Environment",
                    "[default] has both a source_profile and a credential_source",
                ),
                (
                    "[default]\nrole_arn = r\ncredential_source = environment",
                    "[default] has a credential_source that is not Ec2InstanceMetadata, EcsContainer or Environment",
                ),
                (
                    "[default]\nrole_arn = r\nmfa_serial = m\nsource_profile = b",
                    "[default] has an mfa_serial, and nobody can be asked for a code here: run `aws configure export-credentials --format env` and set what it prints",
                ),
                (
                    "[default]\nrole_arn = r\nduration_seconds = 1h\nsource_profile = b\n\
                     [b]\naws_access_key_id = a\naws_secret_access_key = s",
                    "[default] has a duration_seconds that is no number",
                ),
            ] {
                let error = ask(&[HOME, (FILE, file)], []).0.expect_err(lack);
                assert_eq!(
                    error.to_string(),
                    format!("no credentials: profile: {lack}")
                );
            }
        }

        /// The chain must not go on: the next place has somebody else's credentials.
        #[test]
        fn a_source_that_has_none_ends_the_search() {
            let file = "[default]\nrole_arn = r\ncredential_source = Environment";
            let error = ask(&[HOME, (FILE, file)], []).0.expect_err("no keys");
            assert!(
                matches!(error.kind(), ErrorKind::Credentials { cause: Some(_), .. }),
                "{error}"
            );
            assert_eq!(
                error.to_string(),
                "no credentials: profile: [default] leads to environment: AWS_ACCESS_KEY_ID is not set"
            );
        }

        #[test]
        fn a_refusal_of_sts_is_told_below_the_profile() {
            let file = "[default]\nrole_arn = arn:r\ncredential_source = Environment";
            let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")];
            let env = [&keys[..], &[HOME, (FILE, file)]].concat();
            let denied = "<E><Error><Code>AccessDenied</Code><Message>no</Message></Error></E>";
            let error = ask(&env, [answer(403, denied)]).0.expect_err("denied");
            assert_eq!(
                error.to_string(),
                "no credentials: profile: assume role arn:r: AccessDenied: no"
            );
        }
    }
}
