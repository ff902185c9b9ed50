use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Operation, without_password};
use crate::retry::RetryPolicy;

/// What properties say about calls. What they leave open is left to the builder.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct AwsConfig {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) credentials: CredentialsConfig,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) proxy: Option<String>,
    pub(crate) non_proxy_hosts: Option<String>,
    pub(crate) tls_roots: Option<PathBuf>,
    pub(crate) trusts_anyone: bool,
    pub(crate) patience: Patience,
}

/// Most calls under way, if nothing else is set: a quarter of the open files that most systems grant a
/// process.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// URLs without the names and passwords that they may hold.
impl fmt::Debug for AwsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().map(without_password);
        let proxy = self.proxy.as_deref().map(without_password);
        f.debug_struct("AwsConfig")
            .field("region", &self.region)
            .field("endpoint", &endpoint)
            .field("credentials", &self.credentials)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("max_connections", &self.max_connections)
            .field("proxy", &proxy)
            .field("non_proxy_hosts", &self.non_proxy_hosts)
            .field("tls_roots", &self.tls_roots)
            .field("trusts_anyone", &self.trusts_anyone)
            .field("patience", &self.patience)
            .finish()
    }
}

/// How failed calls are made again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patience {
    pub(crate) get_records: RetryPolicy,
    pub(crate) get_shard_iterator: RetryPolicy,
    pub(crate) list_shards: RetryPolicy,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            get_records: RetryPolicy::default_for(Operation::GetRecords),
            get_shard_iterator: RetryPolicy::default_for(Operation::GetShardIterator),
            list_shards: RetryPolicy::default_for(Operation::ListShards),
        }
    }
}

/// Where credentials are to come from, by Flink's names.
#[derive(Clone, Default, PartialEq)]
pub(crate) enum CredentialsConfig {
    AssumeRole {
        role_arn: String,
        session_name: Option<String>,
        external_id: Option<String>,
        sts_endpoint: Option<String>,
        /// Who asks for the role.
        by: Box<CredentialsConfig>,
    },
    /// The chain of all usual places, with the properties that Java would have as its own.
    Auto(JavaProperties),
    Basic {
        access_key_id: String,
        secret_key: String,
    },
    #[default]
    Default,
    Environment,
    JavaProperties(JavaProperties),
    Profile {
        name: Option<String>,
        file: Option<PathBuf>,
    },
    WebIdentity {
        role_arn: Option<String>,
        session_name: Option<String>,
        token_file: Option<PathBuf>,
    },
}

/// What Java's SDK finds among the system properties: names and values.
pub(crate) type JavaProperties = Vec<(String, String)>;

/// Shows the kind and no value.
impl fmt::Debug for CredentialsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialsConfig::AssumeRole { .. } => "ASSUME_ROLE",
            CredentialsConfig::Auto(_) => "AUTO",
            CredentialsConfig::Basic { .. } => "BASIC",
            CredentialsConfig::Default => "default",
            CredentialsConfig::Environment => "ENV_VAR",
            CredentialsConfig::JavaProperties(_) => "SYS_PROP",
            CredentialsConfig::Profile { .. } => "PROFILE",
            CredentialsConfig::WebIdentity { .. } => "WEB_IDENTITY_TOKEN",
        })
    }
}
