/// The process's environment.
pub(crate) trait Env: Send + Sync {
    /// An environment variable; an empty one counts as not set.
    fn var(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
pub(crate) struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// An environment written down by a test.
#[cfg(test)]
impl Env for std::collections::HashMap<&'static str, &'static str> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| (*value).to_owned())
    }
}
