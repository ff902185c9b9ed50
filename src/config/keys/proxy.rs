//! An HTTP proxy, which properties have in parts.

use std::fmt;

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
            (Some(user), Some(password)) => format!("{}:{}@", escaped(user), escaped(password)),
            (Some(user), None) => format!("{}@", escaped(user)),
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

/// Writes what has a meaning in a URL in another way.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let write = |byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(write).collect()
}

/// Where nothing else is said.
pub(super) const HTTPS_PORT: u64 = 443;
