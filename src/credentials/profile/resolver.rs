use std::collections::BTreeMap;
#[cfg(feature = "sts")]
use std::time::Duration;

use crate::credentials::Outside;
use crate::credentials::profile::PLACE;
use crate::credentials::profile::file::Profiles;
#[cfg(feature = "sts")]
use crate::credentials::{
    AssumeRole, Container, CredentialsProvider, Environment, Imds, WebIdentity,
};
use crate::error::{Error, Result};
use crate::sign::Credentials;

/// Makes credentials of what profiles say, each perhaps with the help of another.
pub(super) struct Resolver<'a> {
    #[cfg_attr(
        not(feature = "sts"),
        expect(dead_code, reason = "STS is asked with it")
    )]
    pub outside: &'a Outside,
    pub profiles: &'a Profiles,
}

type Properties = BTreeMap<String, String>;

/// Says whether a profile is about credentials at all; many have a region only.
pub(super) fn has_credentials(profile: &Properties) -> bool {
    PROPERTIES.iter().any(|name| profile.contains_key(*name))
}

impl Resolver<'_> {
    /// Resolves a profile that the profiles on the `way` lead to.
    pub fn resolve(&self, name: &str, way: &[&str]) -> Result<Credentials> {
        let asked_by_itself = way.last() == Some(&name);
        let way = [way, &[name]].concat();
        let wrong = |what: &str| wrong(&way, what);
        let profile = self.profiles.get(name);
        let profile = profile.ok_or_else(|| wrong("does not exist"))?;
        let of = |property: &str| profile.get(property).map(String::as_str);
        // A profile that is its own source takes on its role with its own keys.
        if let Some(role) = of("role_arn").filter(|_| !asked_by_itself) {
            return self.role(profile, role, &way);
        }
        match (of("aws_access_key_id"), of("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                let credentials = Credentials::new(id, secret);
                Ok(match of("aws_session_token") {
                    Some(token) => credentials.with_session_token(token),
                    None => credentials,
                })
            }
            (Some(_), None) => Err(wrong("has no aws_secret_access_key")),
            (None, Some(_)) => Err(wrong("has no aws_access_key_id")),
            _ if of("credential_process").is_some() => {
                Err(wrong("has a credential_process, which is not supported"))
            }
            _ if of("sso_session").or(of("sso_start_url")).is_some() => {
                Err(wrong("has single sign-on, which is not supported"))
            }
            _ => Err(wrong(&format!("has {NOTHING}"))),
        }
    }

    #[cfg(not(feature = "sts"))]
    fn role(&self, _: &Properties, _: &str, way: &[&str]) -> Result<Credentials> {
        let what =
            "has a role_arn, which this build cannot take on: turn on the cargo feature \"sts\"";
        Err(wrong(way, what))
    }

    #[cfg(feature = "sts")]
    fn role(&self, profile: &Properties, role: &str, way: &[&str]) -> Result<Credentials> {
        let of = |property: &str| profile.get(property).map(String::as_str);
        if of("mfa_serial").is_some() {
            return Err(wrong(way, "has an mfa_serial, which is not supported"));
        }
        let sources = [
            "source_profile",
            "credential_source",
            "web_identity_token_file",
        ];
        match sources.map(of) {
            [Some(source), None, _] => self.assume(profile, role, way, self.source(source, way)?),
            [None, Some(source), _] => self.assume(profile, role, way, self.place(source, way)?),
            [None, None, Some(file)] => self.web_identity(profile, role, file),
            [Some(_), Some(_), _] => Err(wrong(
                way,
                "has both a source_profile and a credential_source",
            )),
            [None, None, None] => Err(wrong(
                way,
                "has a role_arn, but no source_profile, credential_source or web_identity_token_file",
            )),
        }
    }

    #[cfg(feature = "sts")]
    fn source(&self, source: &str, way: &[&str]) -> Result<Credentials> {
        let is_itself = way.last() == Some(&source);
        if way.contains(&source) && !is_itself {
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
    fn web_identity(&self, profile: &Properties, role: &str, file: &str) -> Result<Credentials> {
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

/// What a profile lacks that is about other things.
pub(super) const NOTHING: &str = "neither aws_access_key_id nor role_arn";

/// The properties by which a profile gives credentials.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>
const PROPERTIES: [&str; 6] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "credential_process",
    "role_arn",
    "sso_session",
    "sso_start_url",
];
