//! A file of the log, and the faults that tests put into it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};

use super::driver::Unsynced;

/// What goes wrong, on purpose.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Every sync fails.
    pub(super) sync: AtomicBool,
    /// There is no room for new segments.
    pub(super) space: AtomicBool,
    /// No write finds room, as where a file system copies what is overwritten.
    pub(super) overwrites: AtomicBool,
}

/// An open file with its name, for messages.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    file: File,
    #[cfg(test)]
    pub(super) faults: Arc<Faults>,
    /// What a power cut takes back.
    unsynced: Unsynced,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().read(true).write(true))
    }

    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Self::with(path, OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: options.open(path)?,
            #[cfg(test)]
            faults: Arc::default(),
            unsynced: Default::default(),
        })
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.overwrites.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.unsynced.writes(offset, bytes.len(), |offset, length| self.read_at(offset, length))?;
        self.file.write_all_at(bytes, offset)
    }

    /// Reads what there is: shorter only at the end of the file.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// `fdatasync`.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        self.unsynced.sync(|| self.file.sync_data())
    }

    /// Writes zeros from `from` to `to` and syncs them with the file's length.
    pub(super) fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.space.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        const ZEROS: &[u8] = &[0; 1 << 20];
        let mut at = from;
        while at < to {
            let length = ZEROS.len().min((to - at) as usize);
            self.write_at(&ZEROS[..length], at)?;
            at += length as u64;
        }
        self.unsynced.sync(|| self.file.sync_all())
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // The file of a purged segment may be gone.
        self.unsynced.dropped(|offset, bytes| drop(self.file.write_all_at(bytes, offset)));
    }
}

/// Makes a directory, with those above it, and their names durable: without that all that is synced within is lost with the name.
pub(in crate::storage) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync_dir(parent),
    }
}

/// Makes the names in a directory durable.
pub(in crate::storage) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(simulated)]
    muster_cluster::world::disk::reached()?;
    File::open(dir)?.sync_all()
}
