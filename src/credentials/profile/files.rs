use std::io;
use std::path::{Path, PathBuf};

use crate::credentials::profile::PLACE;
use crate::credentials::profile::file::{Kind, Properties, Sections, parse};
use crate::error::{Error, Result};
use crate::sys::env::Env;

/// What the user's two files have. Not for `Debug`: they hold secret keys.
pub(crate) struct Files {
    /// `~/.aws/credentials`.
    pub credentials: Sections,
    /// `~/.aws/config`.
    pub config: Sections,
    /// The paths, as they are told; with whether there is such a file.
    looked_at: [(String, bool); 2],
}

impl Files {
    /// Reads the credentials file and the config file, from the given places or the usual ones.
    ///
    /// # Errors
    /// `Malformed`: a file is there and is not of the format, or one that a setting names cannot be read.
    pub fn read(env: &dyn Env, given: (Option<&Path>, Option<&Path>)) -> Result<Files> {
        let credentials = FilePath::of(env, given.0, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = FilePath::of(env, given.1, "AWS_CONFIG_FILE", "config");
        let of_config = config.sections(env, Kind::Config)?;
        let of_credentials = credentials.sections(env, Kind::Credentials)?;
        Ok(Files {
            looked_at: [
                (credentials.path, of_credentials.is_some()),
                (config.path, of_config.is_some()),
            ],
            credentials: of_credentials.unwrap_or_default(),
            config: of_config.unwrap_or_default(),
        })
    }

    /// The profile of this name as both files have it together; a property of the credentials file counts.
    pub fn profile(&self, name: &str) -> Option<Properties> {
        let [config, credentials] = self.both().map(|profiles| profiles.get(name));
        let mut profile = config.or(credentials)?.clone();
        let own = credentials.into_iter().flatten();
        profile.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        Some(profile)
    }

    /// Says that a profile is in neither file, and which ones are.
    pub fn without(&self, name: &str) -> String {
        let [(first, is_first), (second, is_second)] = &self.looked_at;
        let files = match (is_first, is_second) {
            (false, false) => return format!("there is neither {first} nor {second}"),
            (true, true) => format!("{first} and {second} have"),
            (true, false) => format!("{first} has"),
            (false, true) => format!("{second} has"),
        };
        let mut others: Vec<_> = self.both().into_iter().flat_map(|p| p.keys()).collect();
        others.sort();
        others.dedup();
        let others = others.iter().take(OTHERS_MAX);
        let others: Vec<_> = others.map(|name| format!("[{name}]")).collect();
        match others.is_empty() {
            true => format!("{files} no [{name}]"),
            false => format!("{files} no [{name}] (but {})", others.join(", ")),
        }
    }

    fn both(&self) -> [&super::file::Profiles; 2] {
        [&self.config.profiles, &self.credentials.profiles]
    }
}

/// Where a file is looked for.
struct FilePath {
    path: String,
    /// A setting names it: it is meant to be there.
    is_named: bool,
}

impl FilePath {
    fn of(env: &dyn Env, given: Option<&Path>, variable: &str, usual: &str) -> FilePath {
        let given = given.map(|path| path.display().to_string());
        let named = given.or_else(|| env.var(variable));
        FilePath {
            is_named: named.is_some(),
            path: named.unwrap_or_else(|| format!("~/.aws/{usual}")),
        }
    }

    /// `None`: there is no such file, which is no error.
    ///
    /// A home in which there can be no file counts as one without: system users have /dev/null, containers have a
    /// folder where a file is meant to be mounted, and a role of the machine has to work there all the same.
    fn sections(&self, env: &dyn Env, kind: Kind) -> Result<Option<Sections>> {
        let path = &self.path;
        let Some(whole) = without_tilde(env, path) else {
            return Ok(None);
        };
        let wrong = |detail: String| Error::malformed(PLACE, format_args!("{path}: {detail}"));
        match env.read_file(&whole) {
            Ok(text) => parse(&text, kind).map(Some).map_err(wrong),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if self.is_named || error.kind() == io::ErrorKind::InvalidData => {
                Err(wrong(error.to_string()))
            }
            Err(error) => {
                log::debug!("{path} counts as absent: {error}");
                Ok(None)
            }
        }
    }
}

/// The path with the user's home for a tilde; `None` if there is no home.
pub(super) fn without_tilde(env: &dyn Env, path: &str) -> Option<PathBuf> {
    match path.strip_prefix("~/") {
        Some(rest) => env.home().map(|home| home.join(rest)),
        None => Some(path.into()),
    }
}

/// How many other profiles a message names.
const OTHERS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A home whose files cannot be read, for one reason or another.
    struct Unusable(io::ErrorKind, Option<&'static str>);

    impl Env for Unusable {
        fn raw_var(&self, name: &str) -> Option<String> {
            let is_named = name == "AWS_CONFIG_FILE";
            self.1.filter(|_| is_named).map(str::to_owned)
        }

        fn home(&self) -> Option<PathBuf> {
            Some("/home".into())
        }

        fn read_file(&self, _: &Path) -> io::Result<String> {
            Err(self.0.into())
        }

        fn list_folder(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
            Err(self.0.into())
        }

        fn run(&self, _: &[String], _: Duration) -> Result<Vec<u8>, String> {
            Err("no programs here".to_owned())
        }
    }

    #[test]
    fn a_home_that_cannot_be_read_counts_as_absent_and_a_named_file_does_not() {
        for kind in [
            io::ErrorKind::NotFound,
            io::ErrorKind::NotADirectory,
            io::ErrorKind::IsADirectory,
            io::ErrorKind::PermissionDenied,
        ] {
            let files = Files::read(&Unusable(kind, None), (None, None));
            let Ok(files) = files else {
                panic!("{kind} does not count as absent");
            };
            assert!(files.profile("default").is_none(), "{kind}");
        }
        let named = Unusable(io::ErrorKind::PermissionDenied, Some("/etc/aws"));
        let error = Files::read(&named, (None, None)).err().expect("refused");
        assert!(
            error.to_string().contains("/etc/aws: permission denied"),
            "{error}"
        );
        // A file of another encoding is there and is not empty.
        let encoded = Unusable(io::ErrorKind::InvalidData, None);
        assert!(Files::read(&encoded, (None, None)).is_err());
    }
}
