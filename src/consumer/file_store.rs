//! A checkpoint file and the three files beside it.
//!
//! - `orders.checkpoint`: the last commit.
//! - `orders.checkpoint.previous`: the one before it, for when the last is damaged.
//! - `orders.checkpoint.tmp`: the next one, while it is being written.
//! - `orders.checkpoint.lock`: locked by whoever uses the others, and otherwise empty. It is never
//!   removed: of two programs, one could then lock the removed file and the other a new one.
//!
//! The first line of a file is the MD5 of all that follows: the checkpoint's JSON, and in a line of
//! its own the caller's state in base64, if there is any. The sum stands first so that no part of a
//! file looks like a whole one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::store::{CheckpointStore, Commit};
use crate::error::{Error, ErrorKind, Result};

/// Keeps what is committed in a file that is always whole, whenever the process or the machine stops.
///
/// A new commit is written beside the old one, brought to the disk, and then put in its place; the
/// old one is kept as `….previous`. If the newest is damaged, which its checksum tells, the previous
/// one is loaded and the log says so at `warn`.
///
/// One file belongs to one consumer: another that loads it, in this process or on this machine, is
/// refused until the first is dropped or its process ends, however it ends. The lock is that of
/// [`File::try_lock`], which network file systems may not have.
///
/// What [`Checkpoint::to_json`] gave is read as well, if it is all there is in the file.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{CheckpointStore, Commit, FileCheckpointStore};
///
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let mut store = FileCheckpointStore::new(folder.path().join("orders.checkpoint"));
/// assert_eq!(store.load()?, None);
/// store.save(&Commit::default())?;
/// assert_eq!(store.load()?, Some(Commit::default()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileCheckpointStore {
    path: PathBuf,
    held: Option<Held>,
}

/// What is known while the file is ours.
#[derive(Debug)]
struct Held {
    _lock: File,
    /// The newest commit may become the previous one: it is there, and whole.
    newest_is_whole: bool,
}

impl FileCheckpointStore {
    /// Names the file. Its folder has to exist; the file need not.
    pub fn new(path: impl Into<PathBuf>) -> FileCheckpointStore {
        FileCheckpointStore {
            path: path.into(),
            held: None,
        }
    }

    /// Takes the lock, unless it is ours already.
    fn hold(&mut self) -> Result<&mut Held> {
        let held = match self.held.take() {
            Some(held) => held,
            None => Held {
                _lock: self.locked().map_err(self.failed("locking"))?,
                newest_is_whole: false,
            },
        };
        Ok(self.held.insert(held))
    }

    fn locked(&self) -> io::Result<File> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.beside(".lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::Error(error)) => Err(error),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another consumer uses it: end that one, or give this one a file of its own",
            )),
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let name = self.path.file_name().map(OsString::from);
        let mut name = name.unwrap_or_default();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Falls back on the previous commit when the newest is damaged, or was just about to be replaced.
    fn newest_or_previous(&self) -> Result<(Option<Commit>, bool)> {
        let previous = self.beside(".previous");
        let damage = match read(&self.path) {
            Ok(Found::Whole(commit)) => return Ok((Some(commit), true)),
            Ok(Found::Nothing) if !previous.exists() => return Ok((None, false)),
            Ok(Found::Nothing) => "it is missing".to_owned(),
            Ok(Found::Damaged(damage)) => damage,
            Err(error) => return Err(self.failed("reading")(error)),
        };
        let Ok(Found::Whole(commit)) = read(&previous) else {
            return Err(self.failed("reading")(io::Error::other(damage)));
        };
        log::warn!(
            "checkpoint file {}: {damage}; the one before it is used, so what was done since is done again",
            self.path.display()
        );
        Ok((Some(commit), false))
    }

    fn replace(&self, text: &[u8], newest_is_whole: bool) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        if newest_is_whole {
            fs::rename(&self.path, self.beside(".previous"))?;
        }
        fs::rename(&temporary, &self.path)?;
        sync_folder(&self.path)
    }

    fn failed(&self, doing: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        let doing = format!("{doing} checkpoint file {}", self.path.display());
        move |source| Error::new(ErrorKind::Checkpoint { doing, source })
    }
}

impl CheckpointStore for FileCheckpointStore {
    fn load(&mut self) -> Result<Option<Commit>> {
        self.hold()?;
        let (commit, newest_is_whole) = self.newest_or_previous()?;
        self.hold()?.newest_is_whole = newest_is_whole;
        Ok(commit)
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        if self.held.is_none() {
            // What is there has to be known, or it could not be kept as the previous one.
            self.load()?;
        }
        let newest_is_whole = self.hold()?.newest_is_whole;
        self.replace(written(commit).as_bytes(), newest_is_whole)
            .map_err(self.failed("writing"))?;
        self.hold()?.newest_is_whole = true;
        Ok(())
    }
}

/// What is at a path.
enum Found {
    Damaged(String),
    Nothing,
    Whole(Commit),
}

/// # Errors
/// The system's; and a whole file that this version of the crate does not understand, for which an
/// older one must not stand in.
fn read(path: &Path) -> io::Result<Found> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Found::Damaged("it is no text".to_owned()));
    };
    if let Some(rest) = text.strip_prefix(CHECKSUM) {
        return match rest.split_once('\n') {
            Some((sum, lines)) if sum == checksum(lines) => understood(lines)
                .map(Found::Whole)
                .map_err(io::Error::other),
            _ => Ok(Found::Damaged("its checksum is wrong".to_owned())),
        };
    }
    match Checkpoint::from_json(&text) {
        Ok(checkpoint) => Ok(Found::Whole(Commit::new(checkpoint, None))),
        Err(error) if Checkpoint::is_of_another_version(&text) => Err(io::Error::other(error)),
        Err(error) => Ok(Found::Damaged(error.to_string())),
    }
}

fn understood(lines: &str) -> Result<Commit> {
    let (checkpoint, rest) = lines.split_once('\n').unwrap_or((lines, ""));
    let checkpoint = Checkpoint::from_json(checkpoint)?;
    let state = match rest.strip_prefix(STATE) {
        Some(base64) => Some(decoded(base64.trim_end())?),
        None if rest.is_empty() => None,
        None => return Err(Error::malformed("checkpoint", "its third line is unknown")),
    };
    Ok(Commit::new(checkpoint, state))
}

fn decoded(base64: &str) -> Result<Bytes> {
    let bytes = BASE64_STANDARD.decode(base64);
    bytes
        .map(Bytes::from)
        .map_err(|error| Error::malformed("checkpoint's state", error))
}

fn written(commit: &Commit) -> String {
    let mut lines = commit.checkpoint.to_json();
    lines.push('\n');
    if let Some(state) = &commit.state {
        lines.push_str(STATE);
        BASE64_STANDARD.encode_string(state, &mut lines);
        lines.push('\n');
    }
    format!("{CHECKSUM}{}\n{lines}", checksum(&lines))
}

fn checksum(lines: &str) -> String {
    let sum = Md5::digest(lines);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Begins the first line.
const CHECKSUM: &str = "md5 ";

/// Begins the line of the caller's state.
const STATE: &str = "state ";

/// Brings the rename itself to the disk, which syncing the file does not.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder cannot be opened, and a rename needs no more.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ShardPosition, ShardRef};

    fn checkpoint(shard: &str) -> Checkpoint {
        let shards = [(ShardRef::new("orders", shard), ShardPosition::ShardEnd)];
        Checkpoint {
            shards: shards.into(),
            ..Checkpoint::default()
        }
    }

    fn commit(shard: &str) -> Commit {
        Commit::new(checkpoint(shard), None)
    }

    fn with_state(shard: &str, state: &'static [u8]) -> Commit {
        Commit::new(checkpoint(shard), Some(Bytes::from_static(state)))
    }

    /// A folder with a file in which "a", and then "b", were saved.
    fn saved_twice() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let mut store = FileCheckpointStore::new(&path);
        store.save(&with_state("a", b"of a")).expect("saved");
        store.save(&with_state("b", b"of b")).expect("saved");
        (folder, path)
    }

    fn load(path: &Path) -> Result<Option<Commit>> {
        FileCheckpointStore::new(path).load()
    }

    #[test]
    fn the_last_save_is_what_loads_with_the_state_that_belongs_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        for last in [
            commit("a"),
            with_state("b", b""),
            with_state("c", b"\x00\n\xff md5"),
            commit("d"),
        ] {
            let mut store = FileCheckpointStore::new(&path);
            store.save(&last).expect("saved");
            assert_eq!(store.load().expect("loaded"), Some(last.clone()));
            drop(store);
            assert_eq!(load(&path).expect("loaded"), Some(last));
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        let expected = ["checkpoint", "checkpoint.lock", "checkpoint.previous"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_file_of_each_version_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let json = include_str!("../../tests/data/checkpoint/version_1.json");
        let checkpoint = Checkpoint::from_json(json).expect("a checkpoint");
        for (text, state) in [
            (
                include_str!("../../tests/data/checkpoint/version_1.file"),
                Some(Bytes::from_static(b"17 orders\0")),
            ),
            (json, None),
        ] {
            fs::write(&path, text).expect("written");
            let expected = Commit::new(checkpoint.clone(), state);
            assert_eq!(load(&path).expect("loaded"), Some(expected));
        }
        let written = include_str!("../../tests/data/checkpoint/version_1.file");
        let state = Some(Bytes::from_static(b"17 orders\0"));
        assert_eq!(super::written(&Commit::new(checkpoint, state)), written);
    }

    #[test]
    fn a_save_that_was_cut_short_anywhere_leaves_a_whole_commit() {
        let (_folder, path) = saved_twice();
        let store = FileCheckpointStore::new(&path);
        let temporary = store.beside(".tmp");
        fs::write(&temporary, "md5 0123").expect("written");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("b", b"of b")));
        // Between the two renames.
        fs::rename(&path, store.beside(".previous")).expect("renamed");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("b", b"of b")));
        let mut after = FileCheckpointStore::new(&path);
        after.save(&commit("c")).expect("saved over the remains");
        assert_eq!(after.load().expect("loaded"), Some(commit("c")));
    }

    #[test]
    fn any_damage_to_the_newest_brings_the_one_before_it_back() {
        let (_folder, path) = saved_twice();
        let whole = fs::read(&path).expect("read");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            let loaded = load(&path).expect("loaded");
            assert_eq!(loaded, Some(with_state("a", b"of a")), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x01;
            fs::write(&path, flipped).expect("written");
            let loaded = load(&path).expect("loaded");
            assert_eq!(loaded, Some(with_state("a", b"of a")), "bit at {at}");
        }
    }

    #[test]
    fn a_damaged_commit_never_becomes_the_previous_one() {
        let (_folder, path) = saved_twice();
        fs::write(&path, "damaged").expect("written");
        let mut store = FileCheckpointStore::new(&path);
        store.save(&commit("c")).expect("saved");
        drop(store);
        fs::write(&path, "damaged again").expect("written");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("a", b"of a")));
    }

    #[test]
    fn what_no_previous_one_can_stand_in_for_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let newer = r#"{"version":2,"shards":[]}"#;
        for (text, expected) in [
            ("", "checkpoint is malformed: EOF while parsing"),
            ("md5 0\n{}", "its checksum is wrong"),
            (newer, "checkpoint is malformed: its version is 2"),
        ] {
            fs::write(&path, text).expect("written");
            let message = load(&path).expect_err("refused").to_string();
            let name = format!("reading checkpoint file {}: {expected}", path.display());
            assert!(message.starts_with(&name), "{message}");
        }
        let (_folder, path) = saved_twice();
        let newer = format!("{newer}\n");
        let whole = format!("md5 {}\n{newer}", checksum(&newer));
        for text in [newer, whole] {
            fs::write(&path, text).expect("written");
            let message = load(&path).expect_err("an older one must not stand in");
            assert!(
                message.to_string().contains("its version is 2"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_told_before_anything_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = load(&folder.path().join("missing/checkpoint"))
            .expect_err("no folder")
            .to_string();
        assert!(message.starts_with("locking checkpoint file "), "{message}");
        assert!(
            message.ends_with("missing/checkpoint: No such file or directory (os error 2)"),
            "{message}"
        );
    }

    #[test]
    fn a_file_has_one_consumer_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        let mut first = FileCheckpointStore::new(&path);
        first.load().expect("loaded");
        for refused in [
            load(&path).err(),
            FileCheckpointStore::new(&path).save(&commit("b")).err(),
        ] {
            let expected = format!(
                "locking checkpoint file {}: another consumer uses it: end that one, or give this \
                 one a file of its own",
                path.display()
            );
            assert_eq!(refused.expect("refused").to_string(), expected);
        }
        first.save(&commit("a")).expect("saved");
        drop(first);
        assert_eq!(load(&path).expect("loaded"), Some(commit("a")));
    }
}
