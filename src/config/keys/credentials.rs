//! Keys of credentials. They nest: `aws.credentials.provider.role.provider` says who asks for a role,
//! and is the beginning of that provider's own keys. So they are read by hand and not by a table.

use std::path::PathBuf;

use crate::config::Properties;
use crate::config::aws::CredentialsConfig;
use crate::config::keys::{KnownKey, one_of};
use crate::error::{Error, Result};

/// Reads where credentials come from.
pub(super) fn credentials(properties: &Properties) -> Result<CredentialsConfig> {
    if properties.iter().any(|(name, _)| name.starts_with(PREFIX)) || !java(properties).is_empty() {
        return Level {
            properties,
            prefix: PREFIX.to_owned(),
            depth: 0,
        }
        .read();
    }
    Ok(CredentialsConfig::Default)
}

/// Says whether a name is one of these keys.
pub(super) fn is_key(name: &str) -> bool {
    if NAMES.contains(&name) {
        return true;
    }
    let Some(mut rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    while let Some(deeper) = rest.strip_prefix(".role.provider") {
        rest = deeper;
    }
    rest.is_empty()
        || NAMES
            .iter()
            .any(|known| known.strip_prefix(PREFIX) == Some(rest))
}

const PREFIX: &str = "aws.credentials.provider";

/// The names at the top, for who mistyped one.
pub(super) const NAMES: [&str; 15] = [
    PREFIX,
    "aws.credentials.provider.basic.accesskeyid",
    "aws.credentials.provider.basic.secretkey",
    "aws.credentials.provider.profile.name",
    "aws.credentials.provider.profile.path",
    "aws.credentials.provider.role.arn",
    "aws.credentials.provider.role.externalId",
    "aws.credentials.provider.role.provider",
    "aws.credentials.provider.role.sessionName",
    STS_ENDPOINT,
    "aws.credentials.provider.webIdentityToken.file",
    JAVA[0],
    JAVA[1],
    JAVA[2],
    JAVA[3],
];

const STS_ENDPOINT: &str = "aws.credentials.provider.role.stsEndpoint";

/// What Java's SDK has as system properties.
const JAVA: [&str; 4] = [
    "aws.accessKeyId",
    "aws.secretAccessKey",
    "aws.secretKey",
    "aws.sessionToken",
];

/// The rows of the page, in the order of the names.
pub(super) fn rows() -> Vec<KnownKey> {
    let whats = [
        "Where credentials come from. BASIC if one of its keys is set, else AUTO: environment, these properties, web identity, profile, container, EC2.",
        "BASIC: the access key.",
        "BASIC: its secret.",
        "PROFILE: the section of the file; the environment's AWS_PROFILE if it is not set.",
        "PROFILE: the file of credentials; ~/.aws/credentials if it is not set.",
        "ASSUME_ROLE and WEB_IDENTITY_TOKEN: the role.",
        "ASSUME_ROLE: what the role's owner asks to be shown.",
        "ASSUME_ROLE: who asks for the role, by the same kinds; below it are that provider's own keys.",
        "ASSUME_ROLE and WEB_IDENTITY_TOKEN: the name that logs show.",
        "ASSUME_ROLE: the URL of STS, at every level.",
        "WEB_IDENTITY_TOKEN: the token's file; the environment's AWS_WEB_IDENTITY_TOKEN_FILE if it is not set.",
        "SYS_PROP and AUTO: the access key, by the name of a Java system property.",
        "SYS_PROP and AUTO: its secret.",
        "SYS_PROP and AUTO: its secret, by the older name.",
        "SYS_PROP and AUTO: the session's token.",
    ];
    let row = |(name, what): (&&'static str, &str)| KnownKey {
        name,
        deprecated: &[],
        takes: match *name {
            PREFIX | "aws.credentials.provider.role.provider" => one_of(&KINDS),
            _ => "text".to_owned(),
        },
        default: String::new(),
        what: what.to_owned(),
    };
    NAMES.iter().zip(whats).map(row).collect()
}

/// One provider among the nested ones.
struct Level<'a> {
    properties: &'a Properties,
    prefix: String,
    depth: usize,
}

impl Level<'_> {
    fn read(&self) -> Result<CredentialsConfig> {
        let id = self.get("basic.accesskeyid");
        let secret = self.get("basic.secretkey");
        let kind = match self.properties.trimmed(&self.prefix) {
            Some(kind) => kind,
            // One of the two is enough to say what is meant: with the other missing, AUTO would sign as somebody else.
            None if id.is_some() || secret.is_some() => "BASIC",
            None => "AUTO",
        };
        Ok(match kind {
            "ASSUME_ROLE" => self.assumed()?,
            "AUTO" => CredentialsConfig::Auto(java(self.properties)),
            "BASIC" => CredentialsConfig::Basic {
                access_key_id: id.ok_or_else(|| self.lacks("basic.accesskeyid", "BASIC"))?,
                secret_key: secret.ok_or_else(|| self.lacks("basic.secretkey", "BASIC"))?,
            },
            "ENV_VAR" => CredentialsConfig::Environment,
            "PROFILE" => CredentialsConfig::Profile {
                name: self.get("profile.name"),
                file: self.get("profile.path").map(PathBuf::from),
            },
            "SYS_PROP" => CredentialsConfig::JavaProperties(java(self.properties)),
            "WEB_IDENTITY_TOKEN" => CredentialsConfig::WebIdentity {
                role_arn: self.get("role.arn"),
                session_name: self.get("role.sessionName"),
                token_file: self.get("webIdentityToken.file").map(PathBuf::from),
            },
            other => {
                let kinds = one_of(&KINDS);
                let expected = format!("{kinds} (for a provider of your own see Client::builder)");
                return Err(Error::config(&self.prefix, other, expected));
            }
        })
    }

    fn assumed(&self) -> Result<CredentialsConfig> {
        let prefix = self.name("role.provider");
        if self.depth >= MAX_DEPTH {
            let expected = format!("nested less than {MAX_DEPTH} times");
            return Err(Error::config(&self.prefix, "ASSUME_ROLE", expected));
        }
        let by = Level {
            properties: self.properties,
            prefix,
            depth: self.depth + 1,
        };
        let role_arn = self.get("role.arn");
        Ok(CredentialsConfig::AssumeRole {
            role_arn: role_arn.ok_or_else(|| self.lacks("role.arn", "ASSUME_ROLE"))?,
            session_name: self.get("role.sessionName"),
            external_id: self.get("role.externalId"),
            // The same for every level, as in Flink.
            sts_endpoint: self.properties.trimmed(STS_ENDPOINT).map(str::to_owned),
            by: Box::new(by.read()?),
        })
    }

    fn get(&self, name: &str) -> Option<String> {
        self.properties.trimmed(&self.name(name)).map(str::to_owned)
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn lacks(&self, name: &str, kind: &str) -> Error {
        let expected = format!("there, as {} is {kind}", self.prefix);
        Error::config(&self.name(name), "", expected)
    }
}

/// What Java's SDK would find among the system properties.
fn java(properties: &Properties) -> Vec<(String, String)> {
    let given = NAMES[11..]
        .iter()
        .filter_map(|&name| Some((name, properties.trimmed(name)?)));
    given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

const KINDS: [&str; 7] = [
    "ASSUME_ROLE",
    "AUTO",
    "BASIC",
    "ENV_VAR",
    "PROFILE",
    "SYS_PROP",
    "WEB_IDENTITY_TOKEN",
];

/// Roles that are asked for by roles.
const MAX_DEPTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> Result<CredentialsConfig> {
        credentials(&Properties::from_iter(pairs.iter().copied()))
    }

    const ID: (&str, &str) = ("aws.credentials.provider.basic.accesskeyid", "AKID");
    const SECRET: (&str, &str) = ("aws.credentials.provider.basic.secretkey", "hidden");

    fn basic() -> CredentialsConfig {
        CredentialsConfig::Basic {
            access_key_id: "AKID".to_owned(),
            secret_key: "hidden".to_owned(),
        }
    }

    #[test]
    fn the_kind_is_basic_with_its_keys_and_auto_without() {
        for (pairs, kind) in [
            (vec![], CredentialsConfig::Default),
            (vec![("aws.region", "x")], CredentialsConfig::Default),
            (vec![ID, SECRET], basic()),
            (
                vec![(PREFIX, "AUTO"), ID, SECRET],
                CredentialsConfig::Auto(vec![]),
            ),
            (vec![(PREFIX, "BASIC"), ID, SECRET], basic()),
            (vec![(PREFIX, "ENV_VAR")], CredentialsConfig::Environment),
            (
                vec![(PREFIX, "SYS_PROP"), ("aws.secretKey", "hidden")],
                CredentialsConfig::JavaProperties(vec![("aws.secretKey".into(), "hidden".into())]),
            ),
            (
                vec![
                    (PREFIX, "PROFILE"),
                    ("aws.credentials.provider.profile.name", "foo"),
                ],
                CredentialsConfig::Profile {
                    name: Some("foo".into()),
                    file: None,
                },
            ),
            (
                vec![
                    (PREFIX, "WEB_IDENTITY_TOKEN"),
                    ("aws.credentials.provider.role.arn", "r"),
                ],
                CredentialsConfig::WebIdentity {
                    role_arn: Some("r".into()),
                    session_name: None,
                    token_file: None,
                },
            ),
        ] {
            let read = read_all(&pairs).expect("good");
            assert!(read == kind, "{pairs:?}: {read:?}");
            assert!(!format!("{read:?}").contains("hidden"));
        }
    }

    #[test]
    fn one_key_of_basic_without_the_other_is_an_error() {
        for (given, missing) in [(ID, SECRET.0), (SECRET, ID.0)] {
            let error = read_all(&[given]).expect_err(missing).to_string();
            assert!(
                error.starts_with(&format!("{missing} is not set")),
                "{error}"
            );
        }
        let blank = [(ID.0, "AKID "), (SECRET.0, " hidden\t")];
        assert!(
            read_all(&blank).expect("good") == basic(),
            "blanks are dropped"
        );
    }

    #[test]
    fn roles_nest() {
        let role = "aws.credentials.provider.role.provider";
        let pairs = [
            (PREFIX, "ASSUME_ROLE"),
            ("aws.credentials.provider.role.arn", "outer"),
            ("aws.credentials.provider.role.externalId", "external"),
            ("aws.credentials.provider.role.stsEndpoint", "http://sts"),
            (role, "ASSUME_ROLE"),
            ("aws.credentials.provider.role.provider.role.arn", "inner"),
            (
                "aws.credentials.provider.role.provider.role.sessionName",
                "session",
            ),
            (
                "aws.credentials.provider.role.provider.role.provider",
                "BASIC",
            ),
            (
                "aws.credentials.provider.role.provider.role.provider.basic.accesskeyid",
                "AKID",
            ),
            (
                "aws.credentials.provider.role.provider.role.provider.basic.secretkey",
                "hidden",
            ),
        ];
        let sts_endpoint = Some("http://sts".to_owned());
        let inner = CredentialsConfig::AssumeRole {
            role_arn: "inner".into(),
            session_name: Some("session".into()),
            external_id: None,
            sts_endpoint: sts_endpoint.clone(),
            by: Box::new(basic()),
        };
        let outer = CredentialsConfig::AssumeRole {
            role_arn: "outer".into(),
            session_name: None,
            external_id: Some("external".into()),
            sts_endpoint,
            by: Box::new(inner),
        };
        assert!(read_all(&pairs).expect("good") == outer);
        assert!(pairs.iter().all(|(name, _)| is_key(name)));
        assert!(!is_key(
            "aws.credentials.provider.role.provider.basic.accesskey"
        ));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (pairs, message) in [
            (
                vec![(PREFIX, "BASIC"), ID],
                "aws.credentials.provider.basic.secretkey is not set: it has to be there, as aws.credentials.provider is BASIC",
            ),
            (
                vec![(PREFIX, "ASSUME_ROLE")],
                "aws.credentials.provider.role.arn is not set: it has to be there, as aws.credentials.provider is ASSUME_ROLE",
            ),
            (
                vec![(PREFIX, "CUSTOM")],
                "aws.credentials.provider: \"CUSTOM\" is not one of ASSUME_ROLE, AUTO, BASIC, ENV_VAR, PROFILE, SYS_PROP, WEB_IDENTITY_TOKEN (for a provider of your own see Client::builder)",
            ),
        ] {
            assert_eq!(read_all(&pairs).expect_err(message).to_string(), message);
        }
    }
}
