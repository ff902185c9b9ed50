//! An HTTP proxy, which properties have in parts.

use std::fmt;

use crate::sys::percent::encoded;

#[derive(Clone, Default, PartialEq)]
pub(super) struct Proxy {
    pub host: Option<String>,
    pub port: Option<u64>,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl Proxy {
    pub fn url(&self) -> Option<String> {
        let host = self.host.as_ref()?;
        let port = self.port.unwrap_or(HTTPS_PORT);
        let user = match (&self.user, &self.password) {
            (Some(user), Some(password)) => format!("{}:{}@", encoded(user), encoded(password)),
            (Some(user), None) => format!("{}@", encoded(user)),
            _ => String::new(),
        };
        Some(format!("http://{user}{host}:{port}"))
    }
}

/// Shows the place only.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Where nothing else is said.
pub(super) const HTTPS_PORT: u64 = 443;
