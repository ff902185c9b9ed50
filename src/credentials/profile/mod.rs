//! The user's own files: what `aws configure` writes.

pub(crate) mod file;
mod files;
mod resolver;

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

/// Credentials of a profile in `~/.aws/credentials` and `~/.aws/config`. Flink's `PROFILE`.
///
/// A profile has keys, with or without a session token, or a role to take on with the credentials
/// of another profile (`source_profile`), of a place (`credential_source`) or for a token
/// (`web_identity_token_file`). Where both files have a property, the credentials file's is taken.
/// The files are read each time, so keys that are changed in them are seen.
///
/// Not supported, and told as that: `credential_process`, single sign-on, `mfa_serial`.
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
        let set = self.name.clone().or_else(|| name_in(env));
        let name = set.as_deref().unwrap_or(DEFAULT);
        let Some(profile) = files.profiles.get(name) else {
            let lack = files.without(name);
            // Who names a profile does not want to be somebody else.
            return Err(match set {
                Some(_) => Error::malformed(PLACE, lack),
                None => lacks(PLACE, lack),
            });
        };
        if !resolver::has_credentials(profile) {
            let lack = format_args!("[{name}] has {}", resolver::NOTHING).to_string();
            return Err(lacks(PLACE, lack));
        }
        let resolver = Resolver {
            outside: &self.outside,
            profiles: &files.profiles,
        };
        resolver.resolve(name, &[])
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

/// A setting of the profile in use, such as `region`; `None` if it or the profile is not there.
///
/// # Errors
/// A file is there and cannot be read.
pub(crate) fn setting(env: &dyn Env, property: &str) -> Result<Option<String>> {
    let files = Files::read(env, (None, None))?;
    let name = name_in(env);
    let profile = files.profiles.get(name.as_deref().unwrap_or(DEFAULT));
    let value = profile.and_then(|profile| profile.get(property)).cloned();
    Ok(value.filter(|value| !value.is_empty()))
}

fn name_in(env: &dyn Env) -> Option<String> {
    env.var("AWS_PROFILE")
        .or_else(|| env.var("AWS_DEFAULT_PROFILE"))
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
            setting(&*outside.env, name).expect("sound files")
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
                "[default] has no aws_secret_access_key",
            ),
            (
                vec![HOME, (FILE, "[default]\naws_secret_access_key = hidden")],
                true,
                "[default] has no aws_access_key_id",
            ),
            (
                vec![HOME, (FILE, "[default]\ncredential_process = hidden")],
                true,
                "[default] has a credential_process, which is not supported",
            ),
            (
                vec![HOME, (CONFIG, "[default]\nsso_session = s")],
                true,
                "[default] has single sign-on, which is not supported",
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
                    "[default] > [default] has neither aws_access_key_id nor role_arn",
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
                    "[default] has an mfa_serial, which is not supported",
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
