use std::fmt;

use crate::credentials::keys::KeySet;
use crate::credentials::{CredentialsProvider, fails, lacks};
use crate::error::{Error, Result};
use crate::sign::Credentials;

/// Credentials among a program's own properties, under the names of Java's system properties.
///
/// Flink's `SYS_PROP`: a JVM has these as system properties; a program without a JVM has them in
/// its configuration. The names are `aws.accessKeyId`, `aws.secretAccessKey` or `aws.secretKey`,
/// and `aws.sessionToken` for temporary credentials. Empty values count as not set.
///
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html>
///
/// ```
/// use kinesis_blocking::CredentialsProvider;
/// use kinesis_blocking::credentials::SystemProperties;
///
/// let given = [("aws.accessKeyId", "AKIDEXAMPLE"), ("aws.secretKey", "secret")];
/// let properties = SystemProperties::new(given);
/// assert_eq!(properties.credentials()?.access_key_id(), "AKIDEXAMPLE");
/// # Ok::<(), kinesis_blocking::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SystemProperties {
    id: Option<String>,
    secret: Option<String>,
    /// The name that version 1 of Java's SDK uses, and Flink with it.
    secret_of_v1: Option<String>,
    token: Option<String>,
}

impl SystemProperties {
    /// Takes the properties that concern credentials, and none of the others.
    pub fn new<K: AsRef<str>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> SystemProperties {
        let mut taken = SystemProperties::default();
        for (name, value) in properties {
            let place = match name.as_ref() {
                "aws.accessKeyId" => &mut taken.id,
                "aws.secretAccessKey" => &mut taken.secret,
                "aws.secretKey" => &mut taken.secret_of_v1,
                "aws.sessionToken" => &mut taken.token,
                _ => continue,
            };
            *place = Some(value.into()).filter(|value| !value.trim().is_empty());
        }
        taken
    }
}

impl CredentialsProvider for SystemProperties {
    fn credentials(&self) -> Result<Credentials> {
        let secret = match (&self.secret, &self.secret_of_v1) {
            (None, Some(secret)) => ("aws.secretKey", Some(secret.clone())),
            (secret, _) => ("aws.secretAccessKey", secret.clone()),
        };
        let keys = KeySet {
            id: ("aws.accessKeyId", self.id.clone()),
            secret,
            token: ("aws.sessionToken", self.token.clone()),
        };
        match keys.credentials() {
            Ok(Some(credentials)) => Ok(credentials),
            Ok(None) => Err(lacks(PLACE, "aws.accessKeyId is not set")),
            Err(wrong) => Err(fails(PLACE, Error::malformed(PLACE, wrong))),
        }
    }
}

impl fmt::Debug for SystemProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SystemProperties { id, .. } = self;
        f.debug_struct("SystemProperties")
            .field("access_key_id", id)
            .finish_non_exhaustive()
    }
}

const PLACE: &str = "properties";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_names_are_known_and_the_missing_one_is_named() {
        let id = ("aws.accessKeyId", "AKID");
        let v1 = ("aws.secretKey", "hidden ");
        for (given, lack) in [
            (vec![id, v1], None),
            (vec![id, ("aws.secretAccessKey", "hidden")], None),
            (
                vec![id, ("aws.secretKey", "")],
                Some("aws.accessKeyId is set and aws.secretAccessKey is not: set both, or neither"),
            ),
            (
                vec![v1, ("aws.region", "us-east-1")],
                Some("aws.secretKey is set and aws.accessKeyId is not: set both, or neither"),
            ),
            (
                vec![("aws.region", "us-east-1")],
                Some(
                    "aws.accessKeyId is not set; set one of them, or give the client a provider of your own",
                ),
            ),
        ] {
            let properties = SystemProperties::new(given.clone());
            let error = properties.credentials().err();
            let message = |lack| format!("no credentials: properties: {lack}");
            assert_eq!(
                error.map(|error| error.to_string()),
                lack.map(message),
                "{given:?}"
            );
            assert!(!format!("{properties:?}").contains("hidden"));
        }
    }
}
