use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sys::disk::{Disk, DiskFile, FileSystem, Lock};
use crate::sys::lock::lock;
use crate::sys::rng::Rng;

/// A disk in memory that loses at a [power loss](FakeDisk::power_loss) what was not synced. Cheap to
/// clone; clones are the same disk.
///
/// It keeps files and names apart, as file systems do. Until a file is synced, a power loss may leave
/// all of its new contents, a part of them, or zeros in place of a part. Until a folder is synced, each
/// creation, link, rename and removal in it may have happened or not, in any combination. POSIX
/// promises no more than that.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeDisk;
/// use kinesis_blocking::{CheckpointStore, Commit, FileCheckpointStore};
///
/// let disk = FakeDisk::new();
/// let store = || FileCheckpointStore::new("orders.checkpoint").on_disk(&disk);
/// store().save(&Commit::default())?;
/// disk.power_loss();
/// assert_eq!(store().load()?, Some(Commit::default()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FakeDisk(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    /// Every file that was ever created, with a name or without.
    files: Vec<File>,
    /// As programs see them.
    names: BTreeMap<PathBuf, usize>,
    /// As they are after a power loss, if nothing in `unsynced` happened.
    synced: BTreeMap<PathBuf, usize>,
    unsynced: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    /// How often the power was lost. A lock taken before does not unlock what was locked since.
    losses: u64,
    operations: u64,
    /// All later operations fail.
    last_operation: u64,
    /// This one fails, whether the others do or not.
    failing: Option<u64>,
    links: bool,
}

#[derive(Default)]
struct File {
    contents: Vec<u8>,
    synced: Vec<u8>,
}

/// What happens to the names in a folder, each in one step.
#[derive(Clone)]
enum Change {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl FakeDisk {
    /// Makes an empty disk. What a power loss leaves is drawn from the seed 0.
    pub fn new() -> FakeDisk {
        FakeDisk::with_seed(0)
    }

    /// Makes an empty disk. What a power loss leaves is drawn from the seed.
    pub fn with_seed(seed: u64) -> FakeDisk {
        FakeDisk(Arc::new(Mutex::new(State {
            rng: Rng::from_seed(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            synced: BTreeMap::new(),
            unsynced: Vec::new(),
            locks: BTreeSet::new(),
            losses: 0,
            operations: 0,
            last_operation: u64::MAX,
            failing: None,
            links: true,
        })))
    }

    /// Refuses hard links from now on, as FAT and some network file systems do.
    pub fn without_hard_links(self) -> FakeDisk {
        self.state().links = false;
        self
    }

    /// Switches the power off and on again: locks are gone, and so is what was not synced, or a part of
    /// it. Operations succeed again.
    ///
    /// Programs that used the disk before must be over: drop their stores first.
    pub fn power_loss(&self) {
        let mut state = self.state();
        state.lose_changes();
        state.lose_contents();
        state.locks.clear();
        state.losses += 1;
        (state.last_operation, state.failing) = (u64::MAX, None);
    }

    /// Lets so many operations succeed and fails all that follow, until [`repair`](FakeDisk::repair) or
    /// a power loss. A write that fails has written half.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.last_operation = state.operations.saturating_add(operations);
    }

    /// Lets so many operations succeed and fails the one that follows, and none behind it.
    #[cfg(test)]
    pub(crate) fn fail_once_after(&self, operations: u64) {
        let mut state = self.state();
        state.failing = Some(state.operations + operations + 1);
    }

    /// Lets all operations succeed again.
    pub fn repair(&self) {
        let mut state = self.state();
        (state.last_operation, state.failing) = (u64::MAX, None);
    }

    /// Counts the operations so far, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Returns the contents of a file; `None` if there is none of that name.
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(path.as_ref())?;
        state.files.get(*file).map(|file| file.contents.clone())
    }

    /// Replaces a file, as another program would that syncs it.
    pub fn replace(&self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) {
        let mut state = self.state();
        let (path, contents) = (path.into(), contents.into());
        let synced = contents.clone();
        state.files.push(File { contents, synced });
        let file = state.files.len() - 1;
        state.change_for_good(Change::Add(path, file));
    }

    /// Removes a file, as another program would that syncs the folder. `false` if there was none.
    pub fn remove(&self, path: impl Into<PathBuf>) -> bool {
        let mut state = self.state();
        let path = path.into();
        let existed = state.names.contains_key(&path);
        state.change_for_good(Change::Remove(path));
        existed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Default for FakeDisk {
    fn default() -> FakeDisk {
        FakeDisk::new()
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FakeDisk")
            .field("files", &state.names.keys())
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}

impl From<&FakeDisk> for Disk {
    fn from(disk: &FakeDisk) -> Disk {
        Disk::new(disk.clone())
    }
}

impl State {
    /// Counts an operation, and fails it if the disk has stopped.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        let is_over = self.operations > self.last_operation;
        match is_over || self.failing == Some(self.operations) {
            true => Err(io::Error::other("the fake disk has stopped")),
            false => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        let file = self.names.get(path).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    /// What another program did and synced is there whatever happens to the changes before it.
    fn change_for_good(&mut self, change: Change) {
        let folder = folder(change.path()).to_owned();
        self.change(change);
        self.sync_folder(&folder);
    }

    fn sync_folder(&mut self, path: &Path) {
        for change in mem::take(&mut self.unsynced) {
            match folder(change.path()) == path {
                true => change.apply(&mut self.synced),
                false => self.unsynced.push(change),
            }
        }
    }

    fn lose_changes(&mut self) {
        for change in mem::take(&mut self.unsynced) {
            if self.rng.next_u64().is_multiple_of(2) {
                change.apply(&mut self.synced);
            }
        }
        self.names = self.synced.clone();
    }

    fn lose_contents(&mut self) {
        let State { files, rng, .. } = self;
        for file in files.iter_mut().filter(|file| file.contents != file.synced) {
            let len = file.contents.len();
            let from = (rng.next_f64() * len as f64) as usize;
            match rng.next_u64() % 4 {
                0 => file.contents = file.synced.clone(),
                1 => file.contents.truncate(from),
                // The length reached the disk before the bytes.
                2 => file
                    .contents
                    .iter_mut()
                    .skip(from)
                    .for_each(|byte| *byte = 0),
                _ => {}
            }
            file.synced = file.contents.clone();
        }
    }
}

impl Change {
    /// The name that tells the folder.
    fn path(&self) -> &Path {
        match self {
            Change::Add(path, _) | Change::Remove(path) | Change::Rename(_, path, _) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Add(path, file) => names.insert(path.clone(), *file),
            Change::Remove(path) => names.remove(path),
            Change::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file)
            }
        };
    }
}

impl FileSystem for FakeDisk {
    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state();
        state.operate()?;
        match state.locks.insert(path.to_owned()) {
            true => Ok(Box::new(Locked {
                disk: self.clone(),
                path: path.to_owned(),
                losses: state.losses,
            })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// It knows neither links nor mounts.
    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.operate()?;
        let file = state.file(path)?;
        Ok(state.files[file].contents.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.operate()?;
        let file = match state.file(path) {
            Ok(file) => file,
            Err(_) => {
                state.files.push(File::default());
                let file = state.files.len() - 1;
                state.change(Change::Add(path.to_owned(), file));
                file
            }
        };
        state.files[file].contents.clear();
        let disk = self.clone();
        Ok(Box::new(Opened { disk, file }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let file = state.file(from)?;
        if !state.links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(Change::Add(to.to_owned(), file));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let file = state.file(from)?;
        // Two names of one file: POSIX has it that nothing happens.
        if state.names.get(to) != Some(&file) {
            state.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.file(path)?;
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.sync_folder(path);
        Ok(())
    }
}

struct Opened {
    disk: FakeDisk,
    file: usize,
}

impl DiskFile for Opened {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let operated = state.operate();
        let written = match operated {
            Ok(()) => bytes.len(),
            Err(_) => bytes.len() / 2,
        };
        let file = &mut state.files[self.file];
        file.contents.extend_from_slice(&bytes[..written]);
        operated
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        let file = &mut state.files[self.file];
        file.synced = file.contents.clone();
        Ok(())
    }
}

struct Locked {
    disk: FakeDisk,
    path: PathBuf,
    losses: u64,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.losses == self.losses {
            state.locks.remove(&self.path);
        }
    }
}

/// The folder of a file as the file store names it: `.` for a name alone.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &FakeDisk, path: &str, text: &str) -> Box<dyn DiskFile> {
        let mut file = disk.create(Path::new(path)).expect("created");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    /// What a power loss leaves of one history, over many draws.
    fn left(history: impl Fn(&FakeDisk), path: &str) -> BTreeSet<Option<String>> {
        let of = |seed| {
            let disk = FakeDisk::with_seed(seed);
            history(&disk);
            disk.power_loss();
            let contents = disk.contents(path);
            contents.map(|bytes| String::from_utf8(bytes).expect("text"))
        };
        (0..500).map(of).collect()
    }

    fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<Option<String>> {
        texts.map(|text| Some(text.to_owned())).into()
    }

    #[test]
    fn what_is_synced_with_its_folder_stays_and_nothing_else_is_certain() {
        let synced = |disk: &FakeDisk| {
            write(disk, "f/a", "ab").sync().expect("synced");
            disk.sync_folder(Path::new("f")).expect("synced");
        };
        assert_eq!(left(synced, "f/a"), texts(["ab"]));
        let nameless = |disk: &FakeDisk| write(disk, "a", "ab").sync().expect("synced");
        let mut either = texts(["ab"]);
        either.insert(None);
        assert_eq!(left(nameless, "a"), either);
        let torn = |disk: &FakeDisk| {
            write(disk, "a", "ab");
            disk.sync_folder(Path::new(".")).expect("synced");
        };
        assert_eq!(left(torn, "a"), texts(["", "a", "ab", "a\0", "\0\0"]));
    }

    #[test]
    fn a_rename_is_one_step_and_each_step_alone_may_be_lost() {
        let history = |disk: &FakeDisk| {
            disk.replace("a", "old");
            write(disk, "b", "new").sync().expect("synced");
            disk.rename(Path::new("b"), Path::new("a"))
                .expect("renamed");
            disk.hard_link(Path::new("a"), Path::new("c"))
                .expect("linked");
        };
        assert_eq!(left(history, "a"), texts(["old", "new"]));
        for path in ["b", "c"] {
            let mut either = texts(["new"]);
            either.insert(None);
            assert_eq!(left(history, path), either, "{path}");
        }
    }

    #[test]
    fn a_lock_goes_with_its_holder_or_with_the_power() {
        let disk = FakeDisk::new();
        let path = Path::new("lock");
        let first = disk.lock(path).expect("locked");
        let refused = disk.lock(path).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
        disk.power_loss();
        let second = disk.lock(path).expect("locked");
        drop(first);
        assert!(disk.lock(path).is_err(), "the first is of before");
        drop(second);
        assert!(disk.lock(path).is_ok());
    }

    #[test]
    fn a_disk_that_fails_writes_half_and_can_be_repaired() {
        let disk = FakeDisk::new();
        disk.fail_after(1);
        let mut file = disk.create(Path::new("a")).expect("created");
        file.write_all(b"abcd").expect_err("stopped");
        file.sync().expect_err("stopped");
        assert_eq!(disk.contents("a"), Some(b"ab".to_vec()));
        disk.repair();
        assert_eq!(disk.read(Path::new("a")).expect("read"), b"ab");
        assert_eq!(disk.operations(), 4);
        assert!(disk.remove("a") && !disk.remove("a"));
    }
}
