use std::fmt;
use std::time::Duration;

use crate::http::proxy::ProxyRules;

/// How the network is reached.
#[derive(Clone)]
pub(crate) struct Network {
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// Idle ones included.
    pub max_connections: usize,
    pub proxies: ProxyRules,
    pub trust: Trust,
}

/// Whose certificates are believed.
#[derive(Clone)]
pub(crate) enum Trust {
    /// Everybody's: there is no protection against whoever is on the way.
    Anyone,
    /// Those that one of Mozilla's certificate authorities has signed.
    BuiltIn,
    /// Those that one of these authorities has signed.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "it is refused as a whole")
    )]
    Pem(String),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::Anyone => "Anyone",
            Trust::BuiltIn => "BuiltIn",
            Trust::Pem(_) => "Pem",
        })
    }
}
