use std::fs;
use std::io;
use std::path::Path;

use kinesis_blocking::{CheckpointStore, Commit, FileCheckpointStore};

/// Reads what a checkpoint file has, or its previous one has if that is damaged; also while a
/// consumer holds it, as only a copy is looked at.
pub fn read(path: &Path) -> Result<Commit, String> {
    let problem = |error: io::Error| format!("{}: {error}", path.display());
    let folder = tempfile::tempdir().map_err(problem)?;
    let copy = folder.path().join("copy");
    let names = [(path, copy.clone()), (&beside(path), beside(&copy))];
    for (from, to) in names {
        match fs::copy(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(problem(error)),
            _ => {}
        }
    }
    match FileCheckpointStore::new(&copy).load() {
        Ok(Some(commit)) => Ok(commit),
        Ok(None) => Err(format!("{}: there is no such file", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}
