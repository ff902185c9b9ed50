//! A checkpoint file and the files beside it.
//!
//! - `orders.checkpoint`: the last commit.
//! - `orders.checkpoint.previous`: the commit before it, for when the last is damaged.
//! - `orders.checkpoint.tmp`: the next commit, while it is being written.
//! - `orders.checkpoint.previous.tmp`: a second name or a copy of the last commit, while it becomes the
//!   previous one.
//! - `orders.checkpoint.lock`: empty, and locked while a consumer uses the others. It is never removed: of
//!   two programs, one could then lock the removed file and the other a new one.
//!
//! The first line of a file is the MD5 of all that follows: the checkpoint's JSON, and in a line of
//! its own the caller's state in base64, if there is any. The sum stands first so that no part of a
//! file looks like a whole one.
//!
//! Once it was written, `orders.checkpoint` always exists, at every step of a save. So if it is missing
//! beside a `.previous`, somebody removed it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::consumer::checkpoint::Checkpoint;
use crate::consumer::store::{CheckpointStore, Commit};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Escaped;
use crate::sys::base64::PADDED;
use crate::sys::disk::{Disk, Lock};
use crate::sys::hex;

/// Keeps commits in a file that is always whole, whenever the process or the machine stops.
///
/// A save writes the new commit beside the old one, brings it to the disk and then renames it. The old
/// commit is kept as `….previous`. If the checksum of the newest does not match, the store loads the
/// previous one and logs a warning.
///
/// If the path is a link, the file that it leads to is replaced, and the others lie beside that one. What
/// a rename cannot replace is refused by [`load`](CheckpointStore::load), before anything is read: a
/// folder, a device, and a file that is mounted by itself, as containers do (mount its folder). So is a
/// folder in which this user may not write.
///
/// One file belongs to one consumer. Another that loads it, in this process or on this machine, is
/// refused until the first is dropped or its process ends, however it ends. The lock is that of
/// [`File::try_lock`](std::fs::File::try_lock), which network file systems may not have.
///
/// If the file is missing and `….previous` is there, somebody removed the file, and
/// [`load`](CheckpointStore::load) is refused: starting from the previous commit would repeat records, and
/// starting anew could skip some. The error says how to do either. To start anew, remove both files. A
/// file that is removed while the consumer runs is written anew by the next commit.
///
/// The store also reads a file that has only the JSON of [`Checkpoint::to_json`].
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
    disk: Disk,
    held: Option<Held>,
}

/// What is known while this store has the lock.
struct Held {
    _lock: Lock,
    /// Whether the newest commit may become the previous one.
    newest_is_whole: bool,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl FileCheckpointStore {
    /// Names the file. Its folder has to exist; the file need not.
    pub fn new(path: impl Into<PathBuf>) -> FileCheckpointStore {
        FileCheckpointStore {
            path: path.into(),
            disk: Disk::real(),
            held: None,
        }
    }

    /// Keeps the file on a simulated disk, for tests: `&FakeDisk` of the feature `fake`.
    #[cfg(any(test, feature = "fake"))]
    pub fn on_disk(mut self, disk: impl Into<Disk>) -> FileCheckpointStore {
        self.disk = disk.into();
        self
    }

    /// Takes the lock, unless this store has it already, and looks whether it can write. From then on
    /// the path is that of the file itself, which a link led to.
    fn hold(&mut self) -> Result<&mut Held> {
        let held = match self.held.take() {
            Some(held) => held,
            None => {
                let target = self.disk.files().target(&self.path);
                self.path = target.map_err(self.failed("looking for"))?;
                let lock = self.locked().and_then(|lock| self.tried().map(|()| lock));
                Held {
                    _lock: lock
                        .map_err(|error| self.explained(error))
                        .map_err(self.failed("locking"))?,
                    newest_is_whole: false,
                }
            }
        };
        Ok(self.held.insert(held))
    }

    /// Writes what a commit would write first, and removes it: better now than after an hour of reading.
    fn tried(&self) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        let tried = self.write(&temporary, b"");
        tried.and_then(|()| self.disk.files().remove(&temporary))
    }

    fn locked(&self) -> io::Result<Lock> {
        let locked = self.disk.files().lock(&self.beside(".lock"));
        locked.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another consumer uses it: end that one, or give this one a file of its own",
            ),
            _ => error,
        })
    }

    /// Says what to do if it may not write.
    fn explained(&self, error: io::Error) -> io::Error {
        let folder = folder(&self.path).display();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => io::Error::new(
                error.kind(),
                format!(
                    "{error}: let this user write in the folder {folder}, or name a file elsewhere"
                ),
            ),
            _ => error,
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let name = self.path.file_name().map(OsString::from);
        let mut name = name.unwrap_or_default();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Falls back on the previous commit if the newest is damaged. Says whether the newest is whole.
    fn newest_or_previous(&self) -> Result<(Option<Commit>, bool)> {
        let previous = || self.read(&self.beside(".previous"));
        let damage = match self.read(&self.path) {
            Ok(Found::Whole(commit)) => return Ok((Some(commit), true)),
            Ok(Found::Nothing) => match previous() {
                Ok(Found::Nothing) => return Ok((None, false)),
                _ => return Err(self.removed()),
            },
            Ok(Found::Damaged(damage)) => damage,
            Err(error) => return Err(self.failed("reading")(error)),
        };
        let Ok(Found::Whole(commit)) = previous() else {
            let message = format!(
                "{damage}, and there is no whole {} in its place: put a copy back; or remove both to \
                 start anew",
                self.beside(".previous").display()
            );
            return Err(self.failed("reading")(io::Error::other(message)));
        };
        log::warn!(
            "checkpoint file {}: {}; the commit before it is used, so records handed out since \
             then come again",
            Escaped(self.path.display()),
            Escaped(damage)
        );
        Ok((Some(commit), false))
    }

    fn removed(&self) -> Error {
        let (path, previous) = (self.path.display(), self.beside(".previous"));
        let previous = previous.display();
        self.failed("reading")(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "it was removed, and {previous} is still there: put the file back; or rename \
                 {previous} to {path} to go on from the commit before the last; or remove {previous} \
                 as well to start anew"
            ),
        ))
    }

    /// # Errors
    /// The system's; and a whole file that this version of the crate does not understand, for which an
    /// older one must not stand in.
    fn read(&self, path: &Path) -> io::Result<Found> {
        match self.disk.files().read(path) {
            Ok(bytes) => parsed(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, text: &[u8], newest_is_whole: bool) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        // Synced before the rename: or after a power loss the path could name an empty file.
        self.write(&temporary, text)?;
        if newest_is_whole {
            self.keep_previous()?;
        }
        self.disk.files().rename(&temporary, &self.path)?;
        // Only now does a power loss not undo the rename.
        self.disk.files().sync_folder(folder(&self.path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.disk.files().create(path)?;
        file.write_all(bytes)?;
        file.sync()
    }

    /// Keeps the newest commit as the previous one, and at its path as well: a rename of the path would
    /// leave it without a file until the next rename.
    fn keep_previous(&self) -> io::Result<()> {
        let (newest, spare) = (&self.path, self.beside(".previous.tmp"));
        match self.disk.files().remove(&spare) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // A crash may have left it as a second name of the newest. Were it still there, a copy would
            // overwrite the newest.
            _ => {}
        }
        let linked = self.disk.files().hard_link(newest, &spare);
        let kept = linked.or_else(|_| {
            // Not every file system has hard links.
            let bytes = self.disk.files().read(newest)?;
            self.write(&spare, &bytes)
        });
        match kept {
            Ok(()) => self.disk.files().rename(&spare, &self.beside(".previous")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::warn!(
                    "checkpoint file {} was removed while its consumer runs; the commit under way \
                     writes it anew",
                    newest.display()
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
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
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, while a file is read"
)]
enum Found {
    Damaged(String),
    Nothing,
    Whole(Commit),
}

fn parsed(bytes: Vec<u8>) -> io::Result<Found> {
    if bytes.is_empty() {
        return Ok(Found::Damaged("it is empty".to_owned()));
    }
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
    let bytes = PADDED.decode(base64);
    bytes
        .map(Bytes::from)
        .map_err(|error| Error::malformed("checkpoint's state", error))
}

fn written(commit: &Commit) -> String {
    let mut lines = commit.checkpoint.to_json();
    lines.push('\n');
    if let Some(state) = &commit.state {
        lines.push_str(STATE);
        PADDED.encode_string(state, &mut lines);
        lines.push('\n');
    }
    format!("{CHECKSUM}{}\n{lines}", checksum(&lines))
}

fn checksum(lines: &str) -> String {
    hex::encoded(Md5::digest(lines))
}

/// Begins the first line.
const CHECKSUM: &str = "md5 ";

/// Begins the line of the caller's state.
const STATE: &str = "state ";

/// A path of one word lies in the working folder.
fn folder(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fake::FakeDisk;
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
        // What a process that is killed may leave: half of the next commit, and the last one's second name.
        fs::write(store.beside(".tmp"), "md5 0123").expect("written");
        fs::hard_link(&path, store.beside(".previous.tmp")).expect("linked");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("b", b"of b")));
        let mut after = FileCheckpointStore::new(&path);
        after.save(&commit("c")).expect("saved over the remains");
        assert_eq!(after.load().expect("loaded"), Some(commit("c")));
        fs::write(&path, "damaged").expect("written");
        let loaded = after.load().expect("loaded");
        assert_eq!(loaded, Some(with_state("b", b"of b")));
    }

    #[test]
    fn a_missing_file_beside_a_previous_one_is_refused_with_the_ways_out() {
        let (_folder, path) = saved_twice();
        let previous = FileCheckpointStore::new(&path).beside(".previous");
        fs::remove_file(&path).expect("removed");
        let message = load(&path).expect_err("refused").to_string();
        let (file, kept) = (path.display(), previous.display());
        assert_eq!(
            message,
            format!(
                "reading checkpoint file {file}: it was removed, and {kept} is still there: put the \
                 file back; or rename {kept} to {file} to go on from the commit before the last; or \
                 remove {kept} as well to start anew"
            )
        );
        let refused = FileCheckpointStore::new(&path).save(&commit("c"));
        refused.expect_err("nor is it written over");
        fs::rename(&previous, &path).expect("renamed");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("a", b"of a")));
        fs::remove_file(&path).expect("removed");
        assert_eq!(load(&path).expect("loaded"), None);
    }

    #[test]
    fn a_file_that_is_removed_while_it_is_used_is_written_anew() {
        let (_folder, path) = saved_twice();
        let mut store = FileCheckpointStore::new(&path);
        store.load().expect("loaded");
        for name in ["c", "d"] {
            fs::remove_file(&path).expect("removed");
            store.save(&commit(name)).expect("saved");
            assert_eq!(store.load().expect("loaded"), Some(commit(name)));
        }
    }

    /// A disk on which "a" and "b" were saved, and the operations that the next save needs.
    fn disk(seed: u64) -> FakeDisk {
        let disk = FakeDisk::with_seed(seed);
        let mut store = on(&disk);
        store.save(&commit("a")).expect("saved");
        store.save(&commit("b")).expect("saved");
        disk
    }

    fn on(disk: &FakeDisk) -> FileCheckpointStore {
        FileCheckpointStore::new("checkpoint").on_disk(disk)
    }

    /// Cuts a save off after each number of operations, with and without hard links, and says what each
    /// cut is. The last is a whole save.
    fn cuts(cut: impl Fn(&FakeDisk, &mut FileCheckpointStore, Result<()>)) {
        for (seed, links) in (0..100).flat_map(|seed| [(seed, true), (seed, false)]) {
            for operations in 0.. {
                let disk = match links {
                    true => disk(seed),
                    false => disk(seed).without_hard_links(),
                };
                let mut store = on(&disk);
                store.load().expect("loaded");
                disk.fail_after(operations);
                let saved = store.save(&commit("c"));
                let is_whole = saved.is_ok();
                cut(&disk, &mut store, saved);
                if is_whole {
                    break;
                }
            }
        }
    }

    #[test]
    fn after_a_power_loss_at_any_operation_the_file_has_the_last_commit_or_the_one_before() {
        cuts(|disk, store, saved| {
            drop(std::mem::replace(store, on(disk)));
            disk.power_loss();
            let loaded = on(disk).load().expect("loaded").expect("a commit");
            match saved {
                Ok(()) => assert_eq!(loaded, commit("c"), "what was saved stays"),
                Err(_) => assert!([commit("b"), commit("c")].contains(&loaded), "{loaded:?}"),
            }
            let mut next = on(disk);
            next.save(&commit("d")).expect("saved over the remains");
            assert_eq!(next.load().expect("loaded"), Some(commit("d")));
            disk.replace("checkpoint", "damaged");
            assert_eq!(
                next.load().expect("loaded"),
                Some(loaded),
                "the previous one"
            );
        });
    }

    #[test]
    fn a_process_that_is_killed_at_any_operation_leaves_the_last_commit_or_the_one_before() {
        cuts(|disk, store, saved| {
            drop(std::mem::replace(store, on(disk)));
            disk.repair();
            let loaded = on(disk).load().expect("loaded").expect("a commit");
            match saved {
                Ok(()) => assert_eq!(loaded, commit("c")),
                Err(_) => assert!([commit("b"), commit("c")].contains(&loaded), "{loaded:?}"),
            }
        });
    }

    #[test]
    fn a_save_that_succeeds_although_an_operation_failed_keeps_the_commit_before_it() {
        for operations in 0..OPERATIONS_MAX {
            for disk in [disk(0), disk(0).without_hard_links()] {
                let mut store = on(&disk);
                store.load().expect("loaded");
                disk.fail_once_after(operations);
                let saved = store.save(&commit("c"));
                disk.repair();
                let loaded = store.load().expect("loaded").expect("a commit");
                if saved.is_ok() {
                    assert_eq!(loaded, commit("c"), "{operations}");
                    disk.replace("checkpoint", "damaged");
                    let previous = store.load().expect("loaded");
                    assert_eq!(previous, Some(commit("b")), "{operations}");
                }
            }
        }
    }

    #[test]
    fn remains_that_cannot_be_removed_never_cost_the_newest_commit() {
        // Killed between the two operations that keep the previous commit.
        let is_left = |disk: &FakeDisk| disk.contents("checkpoint.previous.tmp").is_some();
        let killed = |operations| {
            let disk = disk(0);
            let mut store = on(&disk);
            store.load().expect("loaded");
            disk.fail_after(operations);
            let _ = store.save(&commit("c"));
            drop(store);
            disk.repair();
            disk
        };
        let remains = (0..OPERATIONS_MAX).find(|operations| is_left(&killed(*operations)));
        let remains = remains.expect("it is linked first");
        for (failing, last) in
            (0..OPERATIONS_MAX).flat_map(|n| (0..OPERATIONS_MAX).map(move |m| (n, m)))
        {
            let disk = killed(remains);
            let mut store = on(&disk);
            store.load().expect("loaded");
            disk.fail_once_after(failing);
            disk.fail_after(last);
            let _ = store.save(&commit("c"));
            drop(store);
            disk.repair();
            let loaded = on(&disk).load().expect("loaded").expect("a commit");
            assert!(
                ["b", "c"].map(commit).contains(&loaded),
                "{failing} failed, cut at {last}: {loaded:?}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_none() {
        for operations in 0..2 {
            let disk = disk(0);
            let mut store = on(&disk);
            store.load().expect("loaded");
            disk.replace("checkpoint", "damaged");
            disk.fail_after(operations);
            store.load().expect_err("it cannot be read");
        }
    }

    #[test]
    fn two_saves_cut_off_one_after_the_other_leave_a_whole_commit() {
        for (first, second) in
            (0..OPERATIONS_MAX).flat_map(|n| (0..OPERATIONS_MAX).map(move |m| (n, m)))
        {
            for (links, power) in [(true, true), (true, false), (false, true), (false, false)] {
                let disk = match links {
                    true => disk(first),
                    false => disk(first).without_hard_links(),
                };
                let save = |name, operations| {
                    let mut store = on(&disk);
                    store.load().expect("whole");
                    disk.fail_after(operations);
                    let _ = store.save(&commit(name));
                    drop(store);
                    disk.repair();
                    if power {
                        disk.power_loss();
                    }
                };
                save("c", first);
                save("d", second);
                let loaded = on(&disk).load().expect("loaded").expect("a commit");
                let names = ["b", "c", "d"].map(commit);
                assert!(
                    names.contains(&loaded),
                    "cut at {first} and {second}: {loaded:?}"
                );
            }
        }
    }

    /// More than a save needs.
    const OPERATIONS_MAX: u64 = 14;

    #[test]
    fn a_save_that_failed_at_any_operation_can_be_repeated() {
        cuts(|disk, store, _| {
            disk.repair();
            store.save(&commit("c")).expect("saved");
            store.save(&commit("d")).expect("saved");
            assert_eq!(store.load().expect("loaded"), Some(commit("d")));
            disk.replace("checkpoint", "damaged");
            assert_eq!(store.load().expect("loaded"), Some(commit("c")));
        });
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
        let lines = format!("{}\nunknown\n", checkpoint("a").to_json());
        let unknown = format!("md5 {}\n{lines}", checksum(&lines));
        for (text, expected) in [
            ("", "it is empty, and there is no whole "),
            ("md5 0\n{}", "its checksum is wrong"),
            (newer, "checkpoint is malformed: its version is 2"),
            (
                &unknown,
                "checkpoint is malformed: its third line is unknown",
            ),
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
        assert!(
            message.starts_with("looking for checkpoint file "),
            "{message}"
        );
        assert!(
            message.ends_with("missing is not there: make this folder"),
            "{message}"
        );
    }

    #[test]
    fn an_empty_file_is_a_damaged_one() {
        let (_folder, path) = saved_twice();
        fs::write(&path, "").expect("emptied");
        assert_eq!(load(&path).expect("loaded"), Some(with_state("a", b"of a")));
    }

    #[cfg(unix)]
    #[test]
    fn what_a_link_leads_to_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (link, volume) = (folder.path().join("link"), folder.path().join("volume"));
        fs::create_dir(&volume).expect("made");
        let target = volume.join("checkpoint");
        std::os::unix::fs::symlink("volume/checkpoint", &link).expect("linked");
        for name in ["a", "b"] {
            let mut store = FileCheckpointStore::new(&link);
            store.save(&commit(name)).expect("saved");
            // By its other name too, it has one consumer at a time.
            load(&target).expect_err("locked");
            drop(store);
            assert_eq!(load(&target).expect("loaded"), Some(commit(name)));
        }
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
        fs::write(&target, "damaged").expect("written");
        assert_eq!(load(&link).expect("loaded"), Some(commit("a")));
    }

    #[test]
    fn a_disk_that_takes_no_file_is_told_before_anything_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = load(folder.path()).expect_err("refused").to_string();
        assert!(
            message.ends_with("is a folder: name a file in it"),
            "{message}"
        );
        for operations in 0..3 {
            let disk = FakeDisk::new();
            disk.fail_after(operations);
            let error = on(&disk).load().expect_err("it cannot be written");
            let message = error.to_string();
            assert!(
                message.starts_with("locking checkpoint file checkpoint: "),
                "{message}"
            );
        }
    }

    #[test]
    fn a_folder_that_may_not_be_written_in_is_told_with_what_to_do() {
        let store = FileCheckpointStore::new("folder/checkpoint");
        let advice = "let this user write in the folder folder, or name a file elsewhere";
        for (kind, is_advised) in [
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::ReadOnlyFilesystem, true),
            (io::ErrorKind::StorageFull, false),
        ] {
            let explained = store.explained(kind.into());
            assert_eq!(explained.kind(), kind);
            let message = explained.to_string();
            assert_eq!(message.contains(advice), is_advised, "{message}");
        }
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
