use std::fmt;

use crate::credentials::{CredentialsProvider, lacks};
use crate::error::Result;
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
            *place = Some(value.into()).filter(|value| !value.is_empty());
        }
        taken
    }
}

impl CredentialsProvider for SystemProperties {
    fn credentials(&self) -> Result<Credentials> {
        let lack = |name: &str| lacks("properties", format_args!("{name} is not set"));
        let id = self.id.as_ref().ok_or_else(|| lack("aws.accessKeyId"))?;
        let secret = self.secret.as_ref().or(self.secret_of_v1.as_ref());
        let secret = secret.ok_or_else(|| lack("aws.secretKey"))?;
        let credentials = Credentials::new(id, secret);
        Ok(match &self.token {
            Some(token) => credentials.with_session_token(token),
            None => credentials,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_names_are_known_and_the_missing_one_is_named() {
        let id = ("aws.accessKeyId", "AKID");
        for (given, lack) in [
            (vec![id, ("aws.secretKey", "hidden")], None),
            (vec![id, ("aws.secretAccessKey", "hidden")], None),
            (
                vec![id, ("aws.secretKey", "")],
                Some("aws.secretKey is not set"),
            ),
            (
                vec![("aws.secretKey", "hidden"), ("aws.region", "us-east-1")],
                Some("aws.accessKeyId is not set"),
            ),
        ] {
            let properties = SystemProperties::new(given.clone());
            let lacking = properties
                .credentials()
                .err()
                .map(|error| error.to_string());
            let message = |lack| {
                format!(
                    "no credentials: properties: {lack}; set one of them, or give the client a provider of your own"
                )
            };
            assert_eq!(lacking, lack.map(message), "{given:?}");
            assert!(!format!("{properties:?}").contains("hidden"));
        }
    }
}
