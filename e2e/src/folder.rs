//! Copies of data dirs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Replaces what is in a folder, if it is there, by a copy of another with all that is in it.
///
/// # Errors
/// As the system says them.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    remove(to)?;
    copy(from, to)
}

/// Removes a folder, if it is there. The room is free when it returns: a disk may keep what could still come back.
///
/// # Errors
/// As the system says them.
pub fn remove(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    sync(folder.parent().unwrap_or(folder))
}

/// Changes a JSON file of a data dir as a person would with an editor: the checksum goes.
///
/// # Errors
/// As the system says them, and when it is no JSON.
pub fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> io::Result<()> {
    let mut object = serde_json::from_slice(&fs::read(path)?)?;
    change(&mut object);
    object.remove("sum");
    fs::write(path, serde_json::to_vec(&object)?)
}

/// Copies a folder with all that is in it, into one that is empty or not there. All of it is on the disk when it returns.
///
/// # Errors
/// As the system says them.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            sync(&target)?;
        }
    }
    sync(to)?;
    sync(to.parent().unwrap_or(to))
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
