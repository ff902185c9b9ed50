use crate::config::aws::CredentialsConfig;
#[cfg(feature = "sts")]
use crate::credentials::{AssumeRole, WebIdentity};
use crate::credentials::{
    Chain, CredentialsProvider, Environment, Outside, Profile, SystemProperties,
};
use crate::error::Result;
use crate::sign::Credentials;

/// Makes the provider that properties ask for.
///
/// # Errors
/// `Config`: it needs the feature `sts`, and the program was built without.
pub(crate) fn configured(
    config: &CredentialsConfig,
    outside: &Outside,
) -> Result<Box<dyn CredentialsProvider>> {
    Ok(match config {
        CredentialsConfig::AssumeRole { .. } | CredentialsConfig::WebIdentity { .. } => {
            return of_sts(config, outside);
        }
        CredentialsConfig::Auto(given) => Box::new(Chain::within(
            outside,
            Some(SystemProperties::new(given.clone())),
        )),
        CredentialsConfig::Basic {
            access_key_id,
            secret_key,
        } => Box::new(Credentials::new(access_key_id, secret_key)),
        CredentialsConfig::Default => Box::new(Chain::within(outside, None)),
        CredentialsConfig::Environment => Box::new(Environment::of(outside.env.clone())),
        CredentialsConfig::JavaProperties(given) => Box::new(SystemProperties::new(given.clone())),
        CredentialsConfig::Profile { name, file } => {
            let profile = Profile::within(outside.clone());
            let profile = match name {
                Some(name) => profile.named(name),
                None => profile,
            };
            Box::new(match file {
                Some(file) => profile.file(file),
                None => profile,
            })
        }
    })
}

#[cfg(feature = "sts")]
fn of_sts(config: &CredentialsConfig, outside: &Outside) -> Result<Box<dyn CredentialsProvider>> {
    match config {
        CredentialsConfig::AssumeRole {
            role_arn,
            session_name,
            external_id,
            sts_endpoint,
            by,
        } => {
            let mut role = AssumeRole::within(outside.clone(), role_arn, configured(by, outside)?);
            if let Some(name) = session_name {
                role = role.session_name(name);
            }
            if let Some(id) = external_id {
                role = role.external_id(id);
            }
            if let Some(url) = sts_endpoint {
                role = role.sts_endpoint(url);
            }
            Ok(Box::new(role))
        }
        CredentialsConfig::WebIdentity {
            role_arn,
            session_name,
            token_file,
        } => {
            let mut identity = WebIdentity::within(outside.clone());
            if let Some(arn) = role_arn {
                identity = identity.role_arn(arn);
            }
            if let Some(name) = session_name {
                identity = identity.session_name(name);
            }
            if let Some(file) = token_file {
                identity = identity.token_file(file);
            }
            Ok(Box::new(identity))
        }
        other => configured(other, outside),
    }
}

#[cfg(not(feature = "sts"))]
fn of_sts(config: &CredentialsConfig, _: &Outside) -> Result<Box<dyn CredentialsProvider>> {
    Err(crate::error::Error::config(
        "aws.credentials.provider",
        format!("{config:?}"),
        "possible in a program built without the feature `sts` of kinesis-blocking",
    ))
}
