use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::process;

/// The process's environment: variables, the home directory, small files and helper programs.
pub(crate) trait Env: Send + Sync {
    /// An environment variable as it stands; `None` if it is not set.
    ///
    /// A value that is not UTF-8 comes with U+FFFD in place of the bad bytes. Whoever checks the value then refuses
    /// it by its name; counted as absent, it would let the next place of credentials be used.
    fn raw_var(&self, name: &str) -> Option<String>;

    /// An environment variable without blanks and line ends around it; an empty one counts as not set.
    ///
    /// Secrets of Kubernetes and files read by a shell often end in a line end. Java's SDK trims as well.
    fn var(&self, name: &str) -> Option<String> {
        let value = self.raw_var(name)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The user's home directory.
    fn home(&self) -> Option<PathBuf>;

    /// A file's whole text, of at most [`FILE_BYTES_MAX`].
    fn read_file(&self, path: &Path) -> io::Result<String>;

    /// The files in a folder, by name; at most [`FOLDER_FILES_MAX`] of them.
    fn list_folder(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Runs a program to its end and returns what it printed, or says why there is nothing.
    ///
    /// Blocks for `timeout` at most.
    fn run(&self, words: &[String], timeout: Duration) -> Result<Vec<u8>, String>;
}

/// The environment of this process.
pub(crate) struct SystemEnv;

impl Env for SystemEnv {
    fn raw_var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
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

    fn list_folder(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path)?.take(FOLDER_FILES_MAX);
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<_> = paths.collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    fn run(&self, words: &[String], timeout: Duration) -> Result<Vec<u8>, String> {
        process::run(words, timeout)
    }
}

/// Room for a bundle of all public certificate authorities; a thousand profiles take a tenth.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A folder of cached tokens has a file for each session and one for each registration.
const FOLDER_FILES_MAX: usize = 1_000;

/// An environment written down by a test: what begins with a slash is a file, and what begins with `$ ` is a
/// command with what it prints.
#[cfg(test)]
impl Env for std::collections::HashMap<&'static str, &'static str> {
    fn raw_var(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| (*value).to_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        self.raw_var("HOME").map(PathBuf::from)
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let file = path.to_str().and_then(|path| self.raw_var(path));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list_folder(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.keys().map(Path::new);
        let inside = files.filter(|file| file.parent() == Some(path));
        let mut inside: Vec<_> = inside.map(Path::to_owned).collect();
        inside.sort();
        match inside.is_empty() {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(inside),
        }
    }

    fn run(&self, words: &[String], _: Duration) -> Result<Vec<u8>, String> {
        let printed = self.raw_var(&format!("$ {}", words.join("|")));
        let printed = printed.ok_or_else(|| "no such program".to_owned())?;
        Ok(printed.into_bytes())
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

    #[test]
    fn blanks_and_line_ends_around_a_variable_are_not_part_of_it() {
        let env = std::collections::HashMap::from([("A", " a b\r\n"), ("B", " \n"), ("C", "")]);
        assert_eq!(env.var("A").as_deref(), Some("a b"));
        assert_eq!(
            (env.var("B"), env.var("C"), env.var("D")),
            (None, None, None)
        );
        assert_eq!(env.raw_var("C").as_deref(), Some(""));
    }

    #[test]
    fn the_files_of_a_folder_are_listed_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.json", "a.json"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let files = SystemEnv.list_folder(folder.path()).expect("listed");
        let expected = ["a.json", "b.json"].map(|name| folder.path().join(name));
        assert_eq!(files, expected);
        assert!(SystemEnv.list_folder(&folder.path().join("none")).is_err());
    }
}
