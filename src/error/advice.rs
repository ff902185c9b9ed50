use crate::error::{Error, ErrorKind};

impl ErrorKind {
    /// What to do now, for the failures whose cure is known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            ErrorKind::Credentials { cause: None, .. } => {
                Some("set one of them, or give the client a provider of your own")
            }
            ErrorKind::DataLoss { .. } => {
                Some("to go on without them: ConsumerConfigBuilder::data_loss")
            }
            ErrorKind::Expired { .. } => Some("raise record_ttl, or put less than the shards take"),
            ErrorKind::Fenced { .. } => Some("end this one, or both do the same work"),
            ErrorKind::Full { .. } => Some("wait for deliveries, or raise it"),
            ErrorKind::Misplaced { .. } => {
                Some("choose what to do with them: ConsumerConfigBuilder::misplaced")
            }
            ErrorKind::Outage { .. } => Some(
                "a restart goes on from the last commit; to wait longer or for ever: ConsumerConfigBuilder::outage_timeout",
            ),
            ErrorKind::OwnThread { .. } => Some("call it on another thread"),
            ErrorKind::Poison { .. } => Some(
                "repair the decoder, or choose what to do with such records: ConsumerBuilder::on_poison",
            ),
            ErrorKind::Service { code, status, .. } if is_too_large(code, *status) => Some(
                "the request is larger than the service, or a proxy before it, takes: raise the stream's largest \
                 record, or lower max_user_record_bytes and collection_max_bytes",
            ),
            ErrorKind::Service { code, .. } => service_advice(code),
            ErrorKind::Transport(error) => error.advice(),
            _ => None,
        }
    }
}

impl Error {
    /// Says whether the service, or somebody before it, did not take the request for its size.
    pub(crate) fn is_too_large(&self) -> bool {
        match self.kind() {
            ErrorKind::Service { code, status, .. } => is_too_large(code, *status),
            _ => false,
        }
    }
}

/// By HTTP's status, or by the names that AWS and gateways have for it.
fn is_too_large(code: &str, status: u16) -> bool {
    status == 413
        || matches!(
            code.strip_suffix("Exception").unwrap_or(code),
            "ContentTooLarge"
                | "EntityTooLarge"
                | "PayloadTooLarge"
                | "RequestEntityTooLarge"
                | "RequestTooLarge"
        )
}

fn service_advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDeniedException" => "the IAM policy of these credentials has to allow the call",
        "ExpiredToken" | "ExpiredTokenException" => {
            "get new credentials: the session token is no longer valid"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "check the secret key, the region and this machine's clock"
        }
        "ProvisionedThroughputExceededException" => {
            "another program may share the shard: call less often, or split it"
        }
        "ResourceNotFoundException" => "check the stream's name, the region and the account",
        "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "check the access key: the service does not know it"
        }
        _ => return None,
    })
}
