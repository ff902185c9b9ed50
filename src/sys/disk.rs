use std::any::Any;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::target;

/// What a [`FileCheckpointStore`](crate::FileCheckpointStore) writes to: this machine's file systems, or
/// a simulated disk in tests.
#[derive(Clone)]
pub struct Disk(Arc<dyn FileSystem>);

impl Disk {
    /// The file systems of this machine.
    pub(crate) fn real() -> Disk {
        Disk(Arc::new(Machine))
    }

    pub(crate) fn files(&self) -> &dyn FileSystem {
        &*self.0
    }

    #[cfg(any(test, feature = "fake"))]
    pub(crate) fn new(files: impl FileSystem + 'static) -> Disk {
        Disk(Arc::new(files))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// The calls that a file needs which must survive a power loss.
pub(crate) trait FileSystem: Send + Sync {
    /// Locks a file, which it creates if need be, until the returned value is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock`: another holds the lock.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Finds the file that a path leads to: links are followed. Its folder is there.
    ///
    /// # Errors
    /// A [rename](FileSystem::rename) could not replace what is there; the message says what to do.
    fn target(&self, path: &Path) -> io::Result<PathBuf>;

    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Creates a file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file a second name, which must not exist.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file, in one step for all who read, also over one that is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Brings the names in a folder to the disk, which syncing a file does not.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

/// A file that is being written.
pub(crate) trait DiskFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Brings what was written to the disk.
    fn sync(&mut self) -> io::Result<()>;
}

struct Machine;

impl FileSystem for Machine {
    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut options = File::options();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Box::new(lock)),
            Err(TryLockError::Error(error)) => Err(error),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        target::target(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| target::explained(error, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Elsewhere a folder cannot be opened, and a rename needs no more.
    #[cfg(not(unix))]
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
