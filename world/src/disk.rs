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

    /// It is synced: all of it is on the disk.
    ///
    /// # Errors
    /// When there is no power (any more), and nobody is to hear whether it is.
    pub fn synced(&mut self) -> io::Result<()> {
        let sync = sync();
        if sync.reaches {
            self.before.clear();
        }
        sync.answer
    }

    /// The power failed: takes back what never reached the disk, a lot drawn for each sector. `write` puts a sector back.
    pub fn fails(&mut self, mut write: impl FnMut(u64, &[u8])) {
        for (sector, bytes) in std::mem::take(&mut self.before) {
            let lost = with(|world| {
                let lost = world.chance.random_bool(0.5);
                let disk = &mut world.here().disk;
                disk.sectors.lost += u64::from(lost);
                disk.sectors.kept += u64::from(!lost);
                lost
            });
            if lost {
                write(sector * SECTOR, &bytes);
            }
        }
    }
}

/// A folder is synced, whole: what it holds now is what a power cut leaves of it. For programs' parts that keep their files themselves.
///
/// # Errors
/// As [`Journal::synced`].
pub fn synced(folder: &Path) -> io::Result<()> {
    let sync = sync();
    // A copy that fails leaves the one before, which is the harder case.
    if sync.reaches && try_with(|_| ()).is_some() {
        let (copy, new) = (beside(folder, "synced"), beside(folder, "syncing"));
        drop(std::fs::remove_dir_all(&new));
        if copy_folder(folder, &new).is_ok() {
            drop(std::fs::remove_dir_all(&copy));
            drop(std::fs::rename(&new, &copy));
        }
    }
    sync.answer
}

/// Something else is synced, a file that was written aside or a folder's names. Nothing is taken back of it: power that fails here leaves it as it is,
/// and nothing after it.
///
/// # Errors
/// As [`Journal::synced`].
pub fn reached() -> io::Result<()> {
    sync().answer
}

/// A machine's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// How often something was synced, so far.
    pub(crate) syncs: u64,
    pub(crate) sectors: Sectors,
    /// At which sync the power fails, and when.
    pub(crate) fails: Option<(u64, Moment)>,
}

/// What power cuts made of what was not synced, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sectors {
    /// They are as they were before.
    pub lost: u64,
    /// They are there, although nobody had said so.
    pub kept: u64,
}

/// When in a sync the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything of it is on the disk.
    Before,
    /// All of it is there, but nobody has heard so.
    After,
}

/// What becomes of a sync.
struct Sync {
    reaches: bool,
    answer: io::Result<()>,
}

/// The machine that runs syncs something. Outside of a simulation it is none of ours.
fn sync() -> Sync {
    let done = Sync { reaches: true, answer: Ok(()) };
    let of_this_world = try_with(|world| {
        let machine = &mut world.machines[world.current?];
        if !machine.powered {
            return Some(Sync { reaches: false, answer: Err(io::Error::other("no power")) });
        }
        machine.disk.syncs += 1;
        let (_, moment) = machine.disk.fails.take_if(|(at, _)| *at == machine.disk.syncs)?;
        machine.powered = false;
        Some(Sync { reaches: moment == Moment::After, answer: Err(io::Error::other("the power fails")) })
    });
    of_this_world.flatten().unwrap_or(done)
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
