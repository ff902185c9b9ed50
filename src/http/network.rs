use std::fmt;
use std::time::Duration;

/// How the network is reached.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// Idle ones included.
    pub max_connections: usize,
    pub proxying: Proxying,
    pub trust: Trust,
}

/// Whom requests are handed to.
#[derive(Clone)]
pub(crate) enum Proxying {
    /// The proxy that `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY` names, but for hosts in `NO_PROXY`.
    Environment,
    /// The host itself.
    Never,
    /// This proxy.
    Url(String),
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

/// A proxy's URL may hold a password.
impl fmt::Debug for Proxying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proxying::Environment => "Environment",
            Proxying::Never => "Never",
            Proxying::Url(_) => "Url",
        })
    }
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
