//! Puts the data of a life that is over into a folder of its own, so that the node starts as a new one and nothing is deleted.
//!
//! Entry by entry, since a data dir that is a mounted volume cannot be renamed. A note says first where everything goes, so that a start after a crash in
//! the middle brings the rest there; a new life beside half of the old one would be neither.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path};

use uuid::Uuid;

/// Holds the name of the folder until everything is there.
const NOTE: &str = "setting-aside";
/// Before the id in the folder's name.
const PREFIX: &str = "set-aside-";
/// What stays: other processes may wait for it.
const LOCK: &str = "lock";

/// Sets aside everything in `dir` but the keys, which are the cluster's and not this life's, and what was set aside before. On the disk when it returns.
/// The caller has the dir locked.
///
/// # Errors
/// When something cannot be moved: the next start brings the rest.
pub fn set_aside(dir: &Path, keys: Option<&Path>) -> io::Result<()> {
    let beside = dir.join(NOTE).with_extension("new");
    let mut note = File::create(&beside)?;
    write!(note, "{PREFIX}{}", Uuid::new_v4())?;
    note.sync_all()?;
    fs::rename(&beside, dir.join(NOTE))?;
    sync(dir)?;
    finish(dir, keys)
}

/// Whether a crash has left something to [`finish`].
pub fn is_unfinished(dir: &Path) -> bool {
    dir.join(NOTE).exists()
}

/// Brings everything to where the note says. The caller has the dir locked.
///
/// # Errors
/// When something cannot be moved, or the note leads elsewhere.
pub fn finish(dir: &Path, keys: Option<&Path>) -> io::Result<()> {
    let name = fs::read_to_string(dir.join(NOTE))?;
    let plain = matches!(Path::new(&name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if !plain || !name.starts_with(PREFIX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{NOTE} names no folder that is ours")));
    }
    let into = dir.join(name);
    fs::create_dir_all(&into)?;
    let keys = keys.and_then(|keys| keys.canonicalize().ok());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_keys = keys.is_some() && entry.path().canonicalize().ok() == keys;
        let stays = [NOTE, LOCK].map(OsStr::new).contains(&name.as_os_str());
        if !is_keys && !stays && !name.to_string_lossy().starts_with(PREFIX) {
            fs::rename(entry.path(), into.join(name))?;
        }
    }
    sync(&into)?;
    sync(dir)?;
    fs::remove_file(dir.join(NOTE))?;
    sync(dir)?;
    log::warn!("the old data is in {}; delete it once you are sure that nothing in it is missed", into.display());
    Ok(())
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// For the fuzzing door: any bytes where the note belongs. Whatever it says, everything that is moved stays in the data dir.
#[cfg(test)]
pub(crate) fn take_any(dir: &Path, note: &[u8]) {
    let (data, outside) = (dir.join("data"), dir.join("outside"));
    for dir in [&data, &outside] {
        let _: io::Result<()> = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(data.join("format"), "kept").unwrap();
    fs::write(data.join(NOTE), note).unwrap();
    let finished = finish(&data, None);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "{note:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{note:?}");
    if finished.is_ok() {
        let into = data.join(std::str::from_utf8(note).unwrap());
        assert_eq!(fs::read(into.join("format")).unwrap(), b"kept");
        assert_eq!((into.parent(), fs::read_dir(&data).unwrap().count()), (Some(&*data), 1));
    } else {
        assert_eq!(fs::read(data.join("format")).unwrap(), b"kept", "{note:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn names(dir: &Path) -> BTreeSet<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// A data dir with everything that a node leaves there, and keys; and the keys' path.
    fn filled() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        for file in ["lock", "format", "identity.json", "stamp", "witness", "keys"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        for folder in ["log", "state", "set-aside-before"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let keys = dir.path().join("keys");
        (dir, keys)
    }

    const MOVED: [&str; 6] = ["format", "identity.json", "log", "stamp", "state", "witness"];

    fn check(dir: &Path) {
        assert!(!is_unfinished(dir));
        let left = names(dir);
        let folder = left.iter().find(|name| name.starts_with(PREFIX) && *name != "set-aside-before").unwrap();
        assert_eq!(names(&dir.join(folder)), set(&MOVED));
        assert_eq!(left, set(&["lock", "keys", "set-aside-before", folder]));
    }

    #[test]
    fn everything_goes_but_the_lock_the_keys_and_what_went_before() {
        let (dir, keys) = filled();
        set_aside(dir.path(), Some(&keys)).unwrap();
        check(dir.path());
    }

    #[test]
    fn wherever_a_crash_stops_it_the_rest_goes_to_the_same_place() {
        for moved in 0..=MOVED.len() {
            let (dir, keys) = filled();
            fs::write(dir.path().join(NOTE), "set-aside-1").unwrap();
            if moved > 0 {
                fs::create_dir(dir.path().join("set-aside-1")).unwrap();
            }
            for name in &MOVED[..moved] {
                fs::rename(dir.path().join(name), dir.path().join("set-aside-1").join(name)).unwrap();
            }
            assert!(is_unfinished(dir.path()));
            finish(dir.path(), Some(&keys)).unwrap();
            check(dir.path());
        }
    }

    #[test]
    fn a_note_that_leads_elsewhere_moves_nothing() {
        for note in ["", "log", "/tmp/set-aside-1", "set-aside-1/../..", "../set-aside-1"] {
            let (dir, keys) = filled();
            fs::write(dir.path().join(NOTE), note).unwrap();
            let before = names(dir.path());
            assert!(finish(dir.path(), Some(&keys)).is_err(), "{note}");
            assert_eq!(names(dir.path()), before);
        }
    }
}
