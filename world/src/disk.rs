//! Disks that lose what was not synced when the power fails.
//!
//! A program keeps its files where it likes (in a folder of the test). What it writes to them through a [`Journal`] is remembered until it is
//! synced, and a part of it, sector by sector, is taken back when the machine loses its power with the file open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rustix::fs::SeekFrom;

use crate::world::{try_with, with};

/// What a disk writes whole.
const SECTOR: u64 = 512;

/// Whether the machine that runs is without power: from then on nothing reaches its disks. False outside of a simulation.
pub fn is_lost() -> bool {
    try_with(|world| world.current.is_some_and(|current| !world.machines[current].powered)).unwrap_or(false)
}

/// What one file held before what was written to it and not synced yet.
#[derive(Debug, Default)]
pub struct Journal {
    before: BTreeMap<u64, Vec<u8>>,
}

impl Journal {
    /// Something is about to be written; `read` reads the sector at an offset, as far as the file goes.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn writes(
        &mut self,
        offset: u64,
        length: usize,
        mut read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let end = offset + length as u64;
        for sector in (offset / SECTOR)..end.div_ceil(SECTOR) {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.before.entry(sector) {
                entry.insert(read(sector * SECTOR, SECTOR as usize)?);
            }
        }
        Ok(())
    }

    /// All of it is on the disk.
    pub fn synced(&mut self) {
        if !try_with(|world| world.disks_lie).unwrap_or(false) {
            self.before.clear();
        }
    }

    /// The power failed: takes back what never reached the disk, a lot drawn for each sector. `write` puts a sector back.
    pub fn fails(&mut self, mut write: impl FnMut(u64, &[u8])) {
        for (sector, bytes) in std::mem::take(&mut self.before) {
            if with(|world| world.chance.random_bool(0.5)) {
                write(sector * SECTOR, &bytes);
            }
        }
    }
}

/// A folder was synced, whole: what it holds now is what a power cut leaves of it. For programs' parts that keep their files themselves.
pub fn synced(folder: &Path) {
    // A copy that fails leaves the one before, which is the harder case.
    if try_with(|_| ()).is_some() && !is_lost() {
        let (copy, new) = (beside(folder, "synced"), beside(folder, "syncing"));
        drop(std::fs::remove_dir_all(&new));
        if copy_folder(folder, &new).is_ok() {
            drop(std::fs::remove_dir_all(&copy));
            drop(std::fs::rename(&new, &copy));
        }
    }
}

/// Keeps what the folder holds now, for [`restore`]: before a process is killed whose parts would tidy up as they are dropped.
///
/// # Errors
/// When it cannot be copied.
pub fn keep(folder: &Path) -> io::Result<()> {
    let copy = beside(folder, "kept");
    drop(std::fs::remove_dir_all(&copy));
    if folder.exists() { copy_folder(folder, &copy) } else { Ok(()) }
}

/// After a kill: the folder is as it was when it was [kept](keep). After a power cut: as it was when it was last [synced].
///
/// # Errors
/// When it cannot be moved.
pub fn restore(folder: &Path, power_failed: bool) -> io::Result<()> {
    let (kept, synced) = (beside(folder, "kept"), beside(folder, "synced"));
    let (from, other) = if power_failed { (&synced, &kept) } else { (&kept, &synced) };
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    if from.exists() {
        std::fs::rename(from, folder)?;
    }
    if other.exists() {
        std::fs::remove_dir_all(other)?;
    }
    Ok(())
}

fn beside(folder: &Path, what: &str) -> PathBuf {
    folder.with_extension(what)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Without the holes: journals are made long before they are full.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (File::open(from)?, File::create(to)?);
    target.set_len(source.metadata()?.len())?;
    let mut at = 0;
    loop {
        let begin = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = rustix::fs::seek(&source, SeekFrom::Hole(begin))?;
        let mut bytes = vec![0; usize::try_from(at - begin).map_err(io::Error::other)?];
        source.read_exact_at(&mut bytes, begin)?;
        target.write_all_at(&bytes, begin)?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_restored_as_it_was_kept_holes_and_all() {
        let folder = std::env::temp_dir().join(format!("muster-world-{}", std::process::id()));
        let state = folder.join("state");
        std::fs::create_dir_all(state.join("inner")).unwrap();
        let file = File::create(state.join("inner/journal")).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", (1 << 20) - 3).unwrap();
        let before = std::fs::read(state.join("inner/journal")).unwrap();
        keep(&state).unwrap();
        file.write_all_at(b"later", 5).unwrap();
        std::fs::write(state.join("new"), "new").unwrap();
        restore(&state, false).unwrap();
        assert_eq!(std::fs::read(state.join("inner/journal")).unwrap(), before);
        assert!(!state.join("new").exists());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no copy is left");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
