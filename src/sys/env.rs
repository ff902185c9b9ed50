use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The process's environment: variables, the home directory and small files.
pub(crate) trait Env: Send + Sync {
    /// An environment variable; an empty one counts as not set.
    fn var(&self, name: &str) -> Option<String>;

    /// The user's home directory.
    fn home(&self) -> Option<PathBuf>;

    /// A file's whole text, of at most [`FILE_BYTES_MAX`].
    fn read_file(&self, path: &Path) -> io::Result<String>;
}

/// The environment of this process.
pub(crate) struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(path)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "it is longer than {FILE_BYTES_MAX} bytes"
            )));
        }
        Ok(text)
    }
}

/// Room for a bundle of all public certificate authorities; a thousand profiles take a tenth.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An environment written down by a test: what begins with a slash is a file.
#[cfg(test)]
impl Env for std::collections::HashMap<&'static str, &'static str> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| (*value).to_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let file = path.to_str().and_then(|path| self.var(path));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (bytes, read) in [
            (0, true),
            (FILE_BYTES_MAX, true),
            (FILE_BYTES_MAX + 1, false),
        ] {
            std::fs::write(&path, vec![b'x'; bytes as usize]).expect("written");
            assert_eq!(SystemEnv.read_file(&path).is_ok(), read, "{bytes}");
        }
        std::fs::write(&path, [0xff]).expect("written");
        assert!(SystemEnv.read_file(&path).is_err(), "no text");
    }
}
