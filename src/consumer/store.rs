use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::consumer::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};

/// A place where a consumer's checkpoint outlives the consumer.
pub trait CheckpointStore: Send {
    /// Returns the checkpoint saved last; `None` if there is none yet.
    ///
    /// # Errors
    /// There may be one, but it cannot be read. The consumer then does not start.
    fn load(&mut self) -> Result<Option<Checkpoint>>;

    /// Saves a checkpoint, wholly or not at all, before it returns.
    ///
    /// # Errors
    /// It was not saved; the one before is still there.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<()>;
}

/// Keeps the checkpoint in a file that is always whole, whenever the process or the machine stops.
///
/// A new checkpoint is written beside the old one, brought to the disk, and then put in its place.
/// One file belongs to one consumer.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::{Checkpoint, CheckpointStore, FileCheckpointStore};
///
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let mut store = FileCheckpointStore::new(folder.path().join("orders.checkpoint"));
/// assert_eq!(store.load()?, None);
/// store.save(&Checkpoint::default())?;
/// assert_eq!(store.load()?, Some(Checkpoint::default()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileCheckpointStore {
    path: PathBuf,
}

impl FileCheckpointStore {
    /// Names the file. Its folder has to exist; the file need not.
    pub fn new(path: impl Into<PathBuf>) -> FileCheckpointStore {
        FileCheckpointStore { path: path.into() }
    }

    fn temporary(&self) -> PathBuf {
        let mut name = self
            .path
            .file_name()
            .map(OsString::from)
            .unwrap_or_default();
        name.push(".tmp");
        self.path.with_file_name(name)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        sync_folder(&self.path)
    }

    fn failed(&self, doing: &str) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} checkpoint file {}", self.path.display());
        move |source| Error::new(ErrorKind::Checkpoint { doing, source })
    }
}

impl CheckpointStore for FileCheckpointStore {
    fn load(&mut self) -> Result<Option<Checkpoint>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => match Checkpoint::from_json(&text) {
                Ok(checkpoint) => Ok(Some(checkpoint)),
                Err(error) => Err(self.failed("reading")(io::Error::other(error))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("reading")(error)),
        }
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.replace(&checkpoint.to_json())
            .map_err(self.failed("writing"))
    }
}

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

    #[test]
    fn the_last_save_is_what_loads_and_nothing_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = FileCheckpointStore::new(folder.path().join("checkpoint"));
        for shard in ["a", "b"] {
            store.save(&checkpoint(shard)).expect("saved");
        }
        assert_eq!(store.load().expect("loaded"), Some(checkpoint("b")));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_save_that_was_cut_short_leaves_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = FileCheckpointStore::new(folder.path().join("checkpoint"));
        store.save(&checkpoint("a")).expect("saved");
        fs::write(store.temporary(), "{\"version\":1,\"sha").expect("written");
        assert_eq!(store.load().expect("loaded"), Some(checkpoint("a")));
        store
            .save(&checkpoint("b"))
            .expect("saved over the remains");
        assert_eq!(store.load().expect("loaded"), Some(checkpoint("b")));
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_not_taken_for_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        fs::write(&path, "").expect("written");
        let message = FileCheckpointStore::new(&path)
            .load()
            .expect_err("empty")
            .to_string();
        let name = format!(
            "reading checkpoint file {}: checkpoint is malformed: ",
            path.display()
        );
        assert!(message.starts_with(&name), "{message}");
        let mut nowhere = FileCheckpointStore::new(folder.path().join("missing/checkpoint"));
        assert_eq!(nowhere.load().expect("no file yet"), None);
        let message = nowhere
            .save(&checkpoint("a"))
            .expect_err("no folder")
            .to_string();
        assert!(message.starts_with("writing checkpoint file "), "{message}");
        assert!(
            message.ends_with("missing/checkpoint: No such file or directory (os error 2)"),
            "{message}"
        );
    }
}
