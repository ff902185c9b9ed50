#[cfg(feature = "sts")]
use std::time::Duration;

use crate::credentials::Outside;
use crate::credentials::keys::KeySet;
use crate::credentials::profile::file::Properties;
use crate::credentials::profile::files::Files;
use crate::credentials::profile::{PLACE, login, process, sso};
#[cfg(feature = "sts")]
use crate::credentials::{
    AssumeRole, Container, CredentialsProvider, Environment, Imds, WebIdentity,
};
use crate::error::{Error, Result};
use crate::sign::Credentials;

/// Makes credentials of what profiles say, each perhaps with the help of another.
pub(super) struct Resolver<'a> {
    pub outside: &'a Outside,
    pub files: &'a Files,
}

/// Says whether a profile is about credentials at all; many have a region only.
pub(super) fn has_credentials(profile: &Properties) -> bool {
    let is_set = |name: &&str| profile.get(*name).is_some_and(|value| !value.is_empty());
    PROPERTIES.iter().any(|name| profile.contains_key(*name))
        || [TOKEN, SECURITY_TOKEN].iter().any(is_set)
}

impl Resolver<'_> {
    /// Resolves a profile that the profiles on the `way` lead to.
    ///
    /// A profile may have several kinds of credentials. Which of them counts is botocore's choice: a role, a web
    /// identity, single sign-on, the keys of the credentials file, a login session, a program, the keys of the config
    /// file. Keys of a profile that another one names as its source end the chain of roles.
    pub fn resolve(&self, name: &str, way: &[&str]) -> Result<Credentials> {
        let is_source = !way.is_empty();
        let way = [way, &[name]].concat();
        let wrong = |what: &str| wrong(&way, what);
        let profile = self.files.profile(name);
        let profile = profile.ok_or_else(|| wrong("does not exist"))?;
        let of = |property: &str| profile.get(property).map(String::as_str);
        if let Some(empty) = PROPERTIES.iter().find(|name| of(name) == Some("")) {
            return Err(wrong(&format!("has an empty {empty}")));
        }
        let has_keys = of(ID).or(of(SECRET)).is_some();
        match (of("role_arn"), of("web_identity_token_file")) {
            (Some(role), Some(file)) => return self.web_identity(&profile, role, file, &way),
            (None, Some(_)) => return Err(wrong("has a web_identity_token_file, but no role_arn")),
            (Some(role), None) if !(is_source && has_keys) => {
                return self.role(&profile, role, &way);
            }
            _ => {}
        }
        if SSO.iter().any(|property| of(property).is_some()) {
            let sso = sso::credentials(self.outside, &self.files.config, &profile);
            return sso.map_err(|lack| within(&way, lack));
        }
        if let Some(keys) = self.keys(&self.files.credentials.profiles, name, &way)? {
            return Ok(keys);
        }
        if let Some(session) = of("login_session") {
            let login = login::credentials(self.outside, session);
            return login.map_err(|lack| within(&way, lack));
        }
        if let Some(command) = of("credential_process") {
            let process = process::credentials(self.outside, command);
            return process.map_err(|lack| within(&way, lack));
        }
        if let Some(keys) = self.keys(&self.files.config.profiles, name, &way)? {
            return Ok(keys);
        }
        // It is meant to give credentials, or the whole profile would have been passed over.
        let left = PROPERTIES.iter().find(|property| of(property).is_some());
        Err(wrong(&match left {
            Some(left) => format!("has a {left}, but {NOTHING}"),
            None => format!("has {NOTHING}"),
        }))
    }

    /// The keys of a profile in one of the files, as a set: two files are two places.
    fn keys(
        &self,
        profiles: &super::file::Profiles,
        name: &str,
        way: &[&str],
    ) -> Result<Option<Credentials>> {
        let Some(profile) = profiles.get(name) else {
            return Ok(None);
        };
        let of = |name: &'static str| (name, profile.get(name).cloned());
        let token = match profile.contains_key(SECURITY_TOKEN) {
            true => of(SECURITY_TOKEN),
            false => of(TOKEN),
        };
        let keys = KeySet {
            id: of(ID),
            secret: of(SECRET),
            token,
        };
        let keys = keys.credentials();
        keys.map_err(|lack| wrong(way, &format!("cannot be used: {lack}")))
    }

    #[cfg(not(feature = "sts"))]
    fn role(&self, _: &Properties, _: &str, way: &[&str]) -> Result<Credentials> {
        Err(wrong(way, NO_STS))
    }

    #[cfg(not(feature = "sts"))]
    fn web_identity(&self, _: &Properties, _: &str, _: &str, way: &[&str]) -> Result<Credentials> {
        Err(wrong(way, NO_STS))
    }

    #[cfg(feature = "sts")]
    fn role(&self, profile: &Properties, role: &str, way: &[&str]) -> Result<Credentials> {
        let of = |property: &str| profile.get(property).map(String::as_str);
        if of("mfa_serial").is_some() {
            let what =
                format!("has an mfa_serial, and nobody can be asked for a code here: {EXPORT}");
            return Err(wrong(way, &what));
        }
        match ["source_profile", "credential_source"].map(of) {
            [Some(source), None] => self.assume(profile, role, way, self.source(source, way)?),
            [None, Some(source)] => self.assume(profile, role, way, self.place(source, way)?),
            [Some(_), Some(_)] => Err(wrong(
                way,
                "has both a source_profile and a credential_source",
            )),
            [None, None] => Err(wrong(
                way,
                "has a role_arn, but no source_profile, credential_source or web_identity_token_file",
            )),
        }
    }

    #[cfg(feature = "sts")]
    fn source(&self, source: &str, way: &[&str]) -> Result<Credentials> {
        let is_itself = way.last() == Some(&source);
        // A profile that is its own source takes on its role with its own keys.
        let own_keys =
            |profile: Properties| profile.contains_key(ID) || profile.contains_key(SECRET);
        let ends_here = is_itself && self.files.profile(source).is_some_and(own_keys);
        if way.contains(&source) && !ends_here {
            let circle = format!("has the source_profile [{source}], which leads back here");
            return Err(wrong(way, &circle));
        }
        self.resolve(source, way)
    }

    #[cfg(feature = "sts")]
    fn place(&self, source: &str, way: &[&str]) -> Result<Credentials> {
        let outside = self.outside.clone();
        match source {
            "Ec2InstanceMetadata" => Imds::within(outside).credentials(),
            "EcsContainer" => Container::within(outside).credentials(),
            "Environment" => Environment::of(outside.env).credentials(),
            _ => Err(wrong(
                way,
                "has a credential_source that is not Ec2InstanceMetadata, EcsContainer or Environment",
            )),
        }
    }

    #[cfg(feature = "sts")]
    fn assume(
        &self,
        profile: &Properties,
        role: &str,
        way: &[&str],
        base: Credentials,
    ) -> Result<Credentials> {
        let of = |property: &str| profile.get(property).cloned();
        let mut provider = AssumeRole::within(self.outside.clone(), role, base);
        if let Some(name) = of("role_session_name") {
            provider = provider.session_name(name);
        }
        if let Some(id) = of("external_id") {
            provider = provider.external_id(id);
        }
        if let Some(seconds) = of("duration_seconds") {
            let seconds = seconds.parse();
            let seconds =
                seconds.map_err(|_| wrong(way, "has a duration_seconds that is no number"))?;
            provider = provider.duration(Duration::from_secs(seconds));
        }
        if let Some(region) = self.own_region(profile) {
            provider = provider.region(region);
        }
        provider.credentials()
    }

    #[cfg(feature = "sts")]
    fn web_identity(
        &self,
        profile: &Properties,
        role: &str,
        file: &str,
        _: &[&str],
    ) -> Result<Credentials> {
        let provider = WebIdentity::within(self.outside.clone());
        let mut provider = provider.token_file(file).role_arn(role);
        if let Some(name) = profile.get("role_session_name") {
            provider = provider.session_name(name);
        }
        if let Some(region) = self.own_region(profile) {
            provider = provider.region(region);
        }
        provider.credentials()
    }

    /// The profile's region, where nothing that goes before it names one.
    #[cfg(feature = "sts")]
    fn own_region(&self, profile: &Properties) -> Option<String> {
        match self.outside.region() {
            Some(_) => None,
            None => profile.get("region").cloned(),
        }
    }
}

/// What is wrong with the last profile on a way.
fn wrong(way: &[&str], what: &str) -> Error {
    Error::malformed(PLACE, format_args!("[{}] {what}", way.join("] > [")))
}

/// The same for a way to credentials that has an error of its own.
fn within(way: &[&str], error: Error) -> Error {
    match error.kind() {
        crate::error::ErrorKind::Malformed { what, detail } if *what == PLACE => wrong(way, detail),
        _ => error,
    }
}

#[cfg(not(feature = "sts"))]
const NO_STS: &str =
    "has a role_arn, which this build cannot take on: turn on the cargo feature \"sts\"";

/// What a profile lacks that is about other things.
pub(super) const NOTHING: &str = "neither aws_access_key_id nor role_arn";

/// The way out where a person has to do something.
pub(super) const EXPORT: &str =
    "run `aws configure export-credentials --format env` and set what it prints";

const ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";
const TOKEN: &str = "aws_session_token";
/// The older name of the session token.
const SECURITY_TOKEN: &str = "aws_security_token";

/// The properties of single sign-on. One of them says that it is meant.
const SSO: [&str; 4] = [
    "sso_account_id",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
];

/// The properties that say that a profile is meant to give credentials. None of them may be empty.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>
const PROPERTIES: [&str; 12] = [
    ID,
    SECRET,
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "source_profile",
    "sso_account_id",
    "sso_role_name",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];
