use std::io;
use std::path::{Path, PathBuf};

use crate::credentials::profile::PLACE;
use crate::credentials::profile::file::{Kind, Profiles, parse};
use crate::error::{Error, Result};
use crate::sys::env::Env;

/// The profiles of both files. Not for `Debug`: they hold secret keys.
pub(super) struct Files {
    pub profiles: Profiles,
    /// The paths, as they are told; with whether there is such a file.
    looked_at: [(String, bool); 2],
}

impl Files {
    /// Reads the credentials file and the config file, from the given places or the usual ones.
    ///
    /// # Errors
    /// `Malformed`: a file is there, and cannot be read or is not of the format.
    pub fn read(env: &dyn Env, given: (Option<&Path>, Option<&Path>)) -> Result<Files> {
        let credentials = path(
            env,
            given.0,
            "AWS_SHARED_CREDENTIALS_FILE",
            "~/.aws/credentials",
        );
        let config = path(env, given.1, "AWS_CONFIG_FILE", "~/.aws/config");
        let of_config = profiles_in(env, &config, Kind::Config)?;
        let of_credentials = profiles_in(env, &credentials, Kind::Credentials)?;
        let looked_at = [
            (credentials, of_credentials.is_some()),
            (config, of_config.is_some()),
        ];
        let mut profiles = of_config.unwrap_or_default();
        for (name, properties) in of_credentials.unwrap_or_default() {
            profiles.entry(name).or_default().extend(properties);
        }
        Ok(Files {
            profiles,
            looked_at,
        })
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
        let others: Vec<_> = self.profiles.keys().take(OTHERS_MAX).collect();
        let others = others.iter().map(|name| format!("[{name}]"));
        let others = others.collect::<Vec<_>>().join(", ");
        match others.is_empty() {
            true => format!("{files} no [{name}]"),
            false => format!("{files} no [{name}] (but {others})"),
        }
    }
}

fn path(env: &dyn Env, given: Option<&Path>, variable: &str, usual: &str) -> String {
    let given = given.map(|path| path.display().to_string());
    given
        .or_else(|| env.var(variable))
        .unwrap_or_else(|| usual.to_owned())
}

/// `None`: there is no such file, which is no error.
fn profiles_in(env: &dyn Env, path: &str, kind: Kind) -> Result<Option<Profiles>> {
    let Some(whole) = without_tilde(env, path) else {
        return Ok(None);
    };
    let wrong = |detail: String| Error::malformed(PLACE, format_args!("{path}: {detail}"));
    match env.read_file(&whole) {
        Ok(text) => parse(&text, kind).map(Some).map_err(wrong),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn without_tilde(env: &dyn Env, path: &str) -> Option<PathBuf> {
    match path.strip_prefix("~/") {
        Some(rest) => env.home().map(|home| home.join(rest)),
        None => Some(path.into()),
    }
}

/// How many other profiles a message names.
const OTHERS_MAX: usize = 10;
