use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Finds the file that a path leads to, and looks whether a rename can replace it.
///
/// A link is followed, also one whose target does not exist yet, so that the target is replaced and the
/// link stays.
///
/// # Errors
/// Nothing that a rename could replace is there: a folder, a device, a mounted file. Links that lead in
/// a circle; a folder that is missing. The message says what to do.
pub(super) fn target(path: &Path) -> io::Result<PathBuf> {
    let target = followed(path)?;
    let folder = canonical_folder(&target)?;
    let name = target.file_name();
    let name = name.ok_or_else(|| refused(&target, "names no file: add a file's name"))?;
    let target = folder.join(name);
    match fs::metadata(&target) {
        Ok(found) if found.is_dir() => Err(refused(&target, "is a folder: name a file in it")),
        Ok(found) if !found.is_file() => Err(refused(
            &target,
            "is a device, a pipe or a socket: name a file",
        )),
        Ok(_) if is_mounted(&target) => Err(refused(&target, MOUNTED)),
        Ok(_) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        Err(error) => Err(error),
    }
}

/// What a rename fails with that would replace a mounted file.
pub(super) fn explained(error: io::Error, path: &Path) -> io::Error {
    match error.kind() {
        io::ErrorKind::ResourceBusy => refused(path, MOUNTED),
        _ => error,
    }
}

const MOUNTED: &str = "is mounted by itself, so it cannot be replaced: mount its folder";

fn refused(path: &Path, why: &str) -> io::Error {
    let path = path.display();
    io::Error::new(io::ErrorKind::InvalidInput, format!("{path} {why}"))
}

fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // A relative target counts from the link's folder; `join` replaces all by an absolute one.
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // It is no link, or nothing is there, which is not looked at here.
            Err(_) => return Ok(path),
        }
    }
    Err(refused(&path, "is a link that leads in a circle"))
}

/// As many as Linux follows.
const LINKS_MAX: usize = 40;

fn canonical_folder(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    folder.canonicalize().map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "is not there: make this folder".to_owned(),
            _ => format!("cannot be opened: {error}"),
        };
        io::Error::new(error.kind(), format!("{} {why}", folder.display()))
    })
}

/// Containers mount single files. A rename over such a file fails, and what is written to it beside
/// that would not be whole at each moment. Linux lists its mounts; elsewhere the first commit finds out.
/// The numbers of devices would not do: an overlay may show one for a file and another for its folder.
fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    has_mount(&mounts, path)
}

/// Says whether something is mounted at a path, by Linux's list: in each line the fifth word, in which
/// blanks and the like are written as `\040`.
fn has_mount(mounts: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    let mut lines = mounts.split(|byte| *byte == b'\n');
    lines.any(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        words.nth(4).is_some_and(|word| unescaped(word) == path)
    })
}

fn unescaped(word: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(word.len()), word);
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_whole_names() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 22 8:1 /srv/o /data/orders\\040new.checkpoint rw - ext4 /dev/sda1 rw\n\
            41 22 8:1 / /short\n";
        for (path, is_mounted) in [
            ("/data/orders new.checkpoint", true),
            ("/data/orders", false),
            ("/data/orders\\040new.checkpoint", false),
            ("/short", true),
            ("/", true),
            ("", false),
        ] {
            assert_eq!(has_mount(mounts, Path::new(path)), is_mounted, "{path}");
        }
        assert_eq!(unescaped(br"a\134b\09c\"), br"a\b\09c\");
    }

    #[test]
    fn what_cannot_be_replaced_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |path: &Path| target(path).expect_err("refused").to_string();
        let says = refused(folder.path());
        assert!(says.ends_with("is a folder: name a file in it"), "{says}");
        let missing = folder.path().join("missing/orders");
        let says = refused(&missing);
        assert!(
            says.ends_with("missing is not there: make this folder"),
            "{says}"
        );
        let file = folder.path().join("orders");
        let canonical = folder.path().canonicalize().expect("there").join("orders");
        assert_eq!(target(&file).expect("nothing there"), canonical);
        fs::write(&file, "").expect("written");
        assert_eq!(target(&file).expect("a file"), canonical);
        assert!(refused(Path::new("/")).contains("names no file"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_also_to_what_is_not_there_yet() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("volume")).expect("made");
        symlink("volume/orders", at("relative")).expect("linked");
        symlink(at("relative"), at("absolute")).expect("linked");
        symlink(at("circle"), at("circle")).expect("linked");
        let volume = at("volume").canonicalize().expect("there");
        for _ in 0..2 {
            for link in ["relative", "absolute"] {
                assert_eq!(target(&at(link)).expect("followed"), volume.join("orders"));
            }
            fs::write(at("volume/orders"), "").expect("written");
        }
        let error = target(&at("circle")).expect_err("refused").to_string();
        assert!(error.ends_with("leads in a circle"), "{error}");
        assert!(target(Path::new("/dev/null")).is_err());
    }
}
