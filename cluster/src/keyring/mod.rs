//! The cluster's keys: which one seals, which ones open, and how that changes while members run.
//!
//! ```text
//!   first ->  KEY b   seals what we send
//!             KEY a   still opens what others seal with it
//!             plain   what is not sealed is taken, too
//! ```
//!
//! *Plain* is an entry like a key: first in the ring, it means that we send unsealed; further down, that unsealed packets and streams
//! are still taken; absent, that they are not. So an open cluster becomes a sealed one, and one key follows another, by the same three
//! steps: add it everywhere, use it everywhere, remove the old one everywhere. A ring without any entry does not exist; the ring of an
//! open cluster is *plain* alone.
//!
//! This module does no I/O; how keys stand in a file is in `file`.

mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod key;

use std::fmt;

pub use file::{KEY_FILE_HEAD, KeyFileError, encode_key, parse_key};
pub use key::{KEY_LEN, Key, KeyName};

/// Most entries of a ring: rotation needs two, a cluster in disorder some more.
pub const MAX_KEYS: usize = 16;

/// What stands in a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A key.
    Key(Key),
    /// Unsealed.
    Plain,
}

impl Entry {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> EntryName {
        match self {
            Self::Key(key) => EntryName::Key(key.name()),
            Self::Plain => EntryName::Plain,
        }
    }
}

/// What an entry is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryName {
    /// A key's name.
    Key(KeyName),
    /// `plain`.
    Plain,
}

impl EntryName {
    /// From what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == file::PLAIN { Some(Self::Plain) } else { KeyName::parse(text).map(Self::Key) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => name.fmt(f),
            Self::Plain => f.write_str(file::PLAIN),
        }
    }
}

/// A change of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Open with it from now on, too. Done already: nothing changes.
    Add(Entry),
    /// Seal with it from now on. It must be in the ring.
    Use(EntryName),
    /// Forget it. Gone already: nothing changes. Not the first.
    Remove(EntryName),
}

/// Why a ring was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Add it first.
    #[error("{0} is not in the ring; add it first")]
    Unknown(EntryName),
    /// Use another first.
    #[error("{0} is the one that seals; use another first")]
    InUse(EntryName),
    /// Remove one first.
    #[error("the ring has {MAX_KEYS} entries already; remove one first")]
    Full,
}

/// The keys of one member, in order; never empty. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    entries: Vec<Entry>,
}

impl Default for Keyring {
    /// Open: nothing is sealed.
    fn default() -> Self {
        Self { entries: vec![Entry::Plain] }
    }
}

impl Keyring {
    /// With one key, and nothing else taken.
    #[must_use]
    pub fn sealed(key: Key) -> Self {
        Self { entries: vec![Entry::Key(key)] }
    }

    /// The entries, the first first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys().next().is_none()
    }

    /// The key that seals; none when we send unsealed.
    #[must_use]
    pub fn sealing(&self) -> Option<&Key> {
        match self.entries.first() {
            Some(Entry::Key(key)) => Some(key),
            Some(Entry::Plain) | None => None,
        }
    }

    /// All keys, the first first.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Key(key) => Some(key),
            Entry::Plain => None,
        })
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, name: KeyName) -> Option<&Key> {
        self.keys().find(|key| key.name() == name)
    }

    /// Whether what is not sealed is taken.
    #[must_use]
    pub fn takes_plain(&self) -> bool {
        self.entries.contains(&Entry::Plain)
    }

    /// The ring after a change.
    ///
    /// # Errors
    /// When the change makes no sense.
    pub fn after(&self, change: &Change) -> Result<Self, ChangeError> {
        let mut entries = self.entries.clone();
        let place = |name| entries.iter().position(|entry| entry.name() == name);
        match change {
            Change::Add(entry) => match place(entry.name()) {
                Some(_) => {}
                None if entries.len() >= MAX_KEYS => return Err(ChangeError::Full),
                None => entries.push(entry.clone()),
            },
            Change::Use(name) => {
                let at = place(*name).ok_or(ChangeError::Unknown(*name))?;
                entries[..=at].rotate_right(1);
            }
            Change::Remove(name) => match place(*name) {
                Some(0) => return Err(ChangeError::InUse(*name)),
                Some(at) => drop(entries.remove(at)),
                None => {}
            },
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new([byte; KEY_LEN])
    }

    #[test]
    fn an_open_cluster_becomes_a_sealed_one_and_changes_its_key_in_the_same_steps() {
        let (a, b) = (key(1), key(2));
        let mut ring = Keyring::default();
        assert!(ring.is_open() && ring.takes_plain() && ring.sealing().is_none());
        let mut expect = |change: Change, sealing: Option<&Key>, plain: bool, keys: usize| {
            ring = ring.after(&change).unwrap();
            assert_eq!((ring.sealing(), ring.takes_plain(), ring.keys().count()), (sealing, plain, keys), "{change:?}");
        };
        let name = |key: &Key| EntryName::Key(key.name());
        expect(Change::Add(Entry::Key(a.clone())), None, true, 1);
        expect(Change::Use(name(&a)), Some(&a), true, 1);
        expect(Change::Remove(EntryName::Plain), Some(&a), false, 1);
        expect(Change::Remove(EntryName::Plain), Some(&a), false, 1);
        expect(Change::Add(Entry::Key(b.clone())), Some(&a), false, 2);
        expect(Change::Add(Entry::Key(b.clone())), Some(&a), false, 2);
        expect(Change::Use(name(&b)), Some(&b), false, 2);
        expect(Change::Remove(name(&a)), Some(&b), false, 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let ring = Keyring::sealed(key(1));
        let (first, other) = (EntryName::Key(key(1).name()), EntryName::Key(key(2).name()));
        assert_eq!(ring.after(&Change::Use(other)), Err(ChangeError::Unknown(other)));
        assert_eq!(ring.after(&Change::Remove(first)), Err(ChangeError::InUse(first)));
        assert_eq!(ring.after(&Change::Remove(other)), Ok(ring.clone()));
        let mut full = ring;
        for byte in 2..=16 {
            full = full.after(&Change::Add(Entry::Key(key(byte)))).unwrap();
        }
        assert_eq!(full.after(&Change::Add(Entry::Plain)), Err(ChangeError::Full));
    }
}
