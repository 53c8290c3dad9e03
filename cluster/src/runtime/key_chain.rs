//! The ring of a running member: shared by everything that seals or opens, kept on the disk, changed by one at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, watch};
use zeroize::Zeroizing;

use super::stream::Leash;
use crate::keyring::{Change, ChangeError, EntryName, KeyFileError, Keyring};
use crate::world::spawn_blocking;

/// Keeps the ring of a member for its next start. The call may block; the driver makes it off its tasks, one at a time.
pub trait KeyStore: Send + 'static {
    /// Keeps this ring in place of the one before. Returns once it would survive a power cut.
    ///
    /// # Errors
    /// When that is not certain. The member goes on with the ring that it has.
    fn store(&mut self, ring: &Keyring) -> io::Result<()>;
}

/// A file of keys (see [`crate::keyring`]), replaced whole when the ring changes.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// Why a file of keys was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadKeysError {
    /// The system does not let us.
    #[error("the keys in {path} cannot be read: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// As the system says it.
        source: io::Error,
    },
    /// It says something else than keys.
    #[error("{path}: {source}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What.
        source: KeyFileError,
    },
}

impl KeyFile {
    /// At this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the ring.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense; never with a key in the text.
    pub fn read(&self) -> Result<Keyring, ReadKeysError> {
        let text = fs::read_to_string(&self.path).map(Zeroizing::new);
        let text = text.map_err(|source| ReadKeysError::Io { path: self.path.clone(), source })?;
        Keyring::parse(&text).map_err(|source| ReadKeysError::Content { path: self.path.clone(), source })
    }

    /// Whether others than its owner may read the file: worth a warning.
    pub fn is_exposed(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    }
}

impl KeyStore for KeyFile {
    fn store(&mut self, ring: &Keyring) -> io::Result<()> {
        // A link stays a link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("the keys in {} cannot be replaced: {error}", path.display()))
        };
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(told)?;
        let text = Zeroizing::new(ring.to_text());
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = written.and_then(|()| fs::rename(&fresh, &path)) {
            let _ = fs::remove_file(&fresh);
            return Err(told(error));
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Why a member's ring was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeKeysError {
    /// The change makes no sense.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// It could not be kept.
    #[error("{0}")]
    Store(#[from] io::Error),
}

/// The ring and what hangs on it.
pub(super) struct KeyChain {
    ring: watch::Sender<Keyring>,
    /// `None`: kept nowhere. One change at a time.
    store: AsyncMutex<Option<Box<dyn KeyStore>>>,
    leashes: Mutex<Vec<Weak<Leash>>>,
}

impl std::fmt::Debug for KeyChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyChain").field("ring", &*self.ring.borrow()).finish_non_exhaustive()
    }
}

impl KeyChain {
    pub(super) fn new(ring: Keyring, store: Option<Box<dyn KeyStore>>) -> Self {
        Self { ring: watch::Sender::new(ring), store: AsyncMutex::new(store), leashes: Mutex::default() }
    }

    pub(super) fn ring(&self) -> Keyring {
        self.ring.borrow().clone()
    }

    pub(super) fn follow(&self) -> watch::Receiver<Keyring> {
        self.ring.subscribe()
    }

    /// Changes the ring: on the disk, then in memory.
    pub(super) async fn change(&self, change: &Change) -> Result<Keyring, ChangeKeysError> {
        let mut store = self.store.lock().await;
        let before = self.ring();
        let after = before.after(change)?;
        if after == before {
            return Ok(after);
        }
        if let Some(mut keeper) = store.take() {
            let kept = after.clone();
            let done = spawn_blocking(move || {
                let result = keeper.store(&kept);
                (keeper, result)
            });
            let (keeper, result) = done.await.map_err(io::Error::other)?;
            *store = Some(keeper);
            result?;
        }
        self.ring.send_replace(after.clone());
        let mut leashes = self.leashes.lock().unwrap_or_else(PoisonError::into_inner);
        leashes.retain(|leash| {
            let Some(leash) = leash.upgrade() else { return false };
            let stays = after.entries().iter().any(|entry| entry.name() == leash.entry);
            if !stays {
                leash.cut();
            }
            stays
        });
        Ok(after)
    }

    /// For a stream that depends on this entry.
    pub(super) fn leash(&self, entry: EntryName) -> Arc<Leash> {
        let leash = Arc::new(Leash::new(entry));
        let mut leashes = self.leashes.lock().unwrap_or_else(PoisonError::into_inner);
        // Streams come and go; what is gone is swept when the list would have to grow.
        if leashes.len() == leashes.capacity() {
            leashes.retain(|known| known.strong_count() > 0);
        }
        leashes.push(Arc::downgrade(&leash));
        // The ring may have changed since the stream's handshake began.
        if !self.ring.borrow().entries().iter().any(|known| known.name() == entry) {
            leash.cut();
        }
        leash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{Entry, Key};

    #[test]
    fn a_file_keeps_the_ring_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = KeyFile::new(folder.path().join("keys"));
        assert!(matches!(file.read(), Err(ReadKeysError::Io { .. })));
        let ring = Keyring::sealed(Key::new([7; 32])).after(&Change::Add(Entry::Plain)).unwrap();
        // [7; 32] is a key that the parser refuses: a placeholder.
        file.store(&ring).unwrap();
        assert!(matches!(file.read(), Err(ReadKeysError::Content { source: KeyFileError::Weak { .. }, .. })));
        let ring = Keyring::sealed(Key::new(std::array::from_fn(|at| at as u8)));
        file.store(&ring).unwrap();
        assert_eq!(file.read().unwrap(), ring);
        assert!(!file.is_exposed());
        fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(file.is_exposed());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[tokio::test]
    async fn a_ring_that_cannot_be_kept_does_not_change_and_a_removed_key_ends_its_streams() {
        let folder = tempfile::tempdir().unwrap();
        let gone = KeyFile::new(folder.path().join("none").join("keys"));
        let (a, b) = (Key::new([1; 32]), Key::new([2; 32]));
        let change = Change::Add(Entry::Key(b.clone()));
        let chain = KeyChain::new(Keyring::sealed(a.clone()), Some(Box::new(gone)));
        assert!(matches!(chain.change(&change).await, Err(ChangeKeysError::Store(_))));
        assert_eq!(chain.ring().keys().count(), 1);

        let chain = KeyChain::new(Keyring::sealed(a.clone()), None);
        chain.change(&change).await.unwrap();
        let (on_a, on_b) = (EntryName::Key(a.name()), EntryName::Key(b.name()));
        let leashes = [chain.leash(on_a), chain.leash(on_b)];
        chain.change(&Change::Use(on_b)).await.unwrap();
        assert!(leashes.iter().all(|leash| leash.is_whole()));
        chain.change(&Change::Remove(on_a)).await.unwrap();
        assert!(!leashes[0].is_whole() && leashes[1].is_whole());
        assert!(!chain.leash(on_a).is_whole(), "one that comes too late is cut at once");
    }
}
