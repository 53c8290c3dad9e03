//! A disk of the harness's own, in memory, mounted by FUSE: what is wrong with it can be switched while it is in use.
//!
//! ```text
//! muster-node ── kernel ── mount (its calls) ── trouble (what is wrong now)
//!                               └── platter (what it holds, and what was not synced)
//! ```
//!
//! The kernel keeps nothing of it (direct I/O, no attributes): every read and write comes here. So a power cut is to kill the process and to
//! take back here what was not synced, and a flipped bit is seen by the next read.

mod content;
mod mount;
mod platter;
mod trouble;

use std::io;
use std::path::{Path, PathBuf};

use fuser::{BackgroundSession, Config, MountOption};
use rand::rngs::StdRng;
use tempfile::TempDir;

use mount::Drive;
pub use platter::Lost;
pub use trouble::{Death, Died, Met, Trouble};

/// 1 GiB: a node keeps a few hundred MiB in a run of some minutes. It is only taken from memory as it fills.
const CAPACITY: u64 = 1 << 30;

/// A mounted disk; unmounted when dropped, and what it holds is gone.
#[derive(Debug)]
pub struct Disk {
    drive: Drive,
    session: Option<BackgroundSession>,
    // Last, so that nothing is mounted there any more.
    at: TempDir,
}

impl Disk {
    /// An empty one, mounted at a folder of its own.
    ///
    /// # Errors
    /// When this machine does not let us: it takes root and `/dev/fuse`.
    pub fn mount() -> io::Result<Self> {
        let at = tempfile::Builder::new().prefix("muster-disk-").tempdir()?;
        let drive = Drive::new(CAPACITY);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("muster-e2e".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(drive.clone(), at.path(), &config)?;
        Ok(Self { drive, at, session: Some(session) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Changes what is wrong with it.
    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        self.drive.0.switch.set(change);
    }

    /// How often anybody met what was wrong, since it was mounted.
    pub fn met(&self) -> Met {
        self.drive.0.switch.met()
    }

    /// Takes back all that was not synced; with chance, some writes are there in whole or in part. Whoever wrote to it must be dead.
    pub fn power_off(&self, chance: Option<&mut StdRng>) -> Lost {
        let lost = self.drive.0.platter().power_off(chance);
        self.drive.0.switch.revive();
        lost
    }

    /// It was only the process that died: what was written is there, and it goes on.
    pub fn go_on(&self) {
        self.drive.0.switch.revive();
    }

    /// At which sync its machine's power failed, if it did and what was not synced was not taken back yet.
    pub fn died(&self) -> Option<Died> {
        self.drive.0.switch.died()
    }

    /// Leaves so many bytes of room, and says how many were in use. A real disk is filled by something else.
    pub fn fill(&self, left: u64) -> u64 {
        let mut platter = self.drive.0.platter();
        let used = platter.used();
        platter.capacity = used + left;
        used
    }

    /// Gives it its room back.
    pub fn empty(&self) {
        self.drive.0.platter().capacity = CAPACITY;
    }

    /// All files, by their paths on the disk.
    pub fn files(&self) -> Vec<PathBuf> {
        self.drive.0.platter().files().into_iter().map(|(path, _)| path).collect()
    }

    /// Changes what a file holds behind everybody's back; `None`: there is no such file.
    pub fn rot<T>(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
        self.drive.0.platter().rot(path, change)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who waits for an answer could not even be killed.
        self.trouble(|trouble| *trouble = Trouble::default());
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("{} stays mounted: {error}", self.at.path().display());
        }
    }
}
