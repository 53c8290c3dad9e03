//! The note of a recovery: written before anything is changed, removed when all of it is, so that whatever a crash leaves is finished as it was begun.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::storage::json_file;

const FILE: &str = "recovering";
/// Of what this release writes; a note with a higher one is refused.
const VERSION: u32 = 1;

/// What is to become of a data dir.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) version: u32,
    /// The cluster that is left behind.
    pub(super) from: Uuid,
    /// The cluster that takes its place.
    pub(super) to: Uuid,
    /// Who the node is in it.
    pub(super) node: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// The term of the entries that are added.
    pub(super) term: u64,
    /// The index of the first.
    pub(super) index: u64,
    /// The revision that was applied when it began.
    pub(super) revision: u64,
    /// When it began, in seconds since 1970 by this machine's clock.
    pub(super) began: u64,
}

impl Note {
    /// Of these clusters; everything else is filled in by the caller.
    pub(super) fn new(from: Uuid, to: Uuid) -> Self {
        let (node, name) = (Uuid::nil(), String::new());
        Self { version: VERSION, from, to, node, name, term: 0, index: 0, revision: 0, began: 0 }
    }

    /// The note in a data dir, if there is one.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(dir.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let (object, _) = json_file::parse(&text)?;
        let Head { version } = Head::deserialize(&object)?;
        if version > VERSION {
            let why =
                format!("it is of format {version} and this release reads up to {VERSION}; use the newer release");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(serde_json::from_value(object)?))
    }

    /// On the disk when it returns.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        json_file::replace(&dir.join(FILE), self)
    }

    /// All is done.
    pub(super) fn remove(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }

    /// Whether there is one.
    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }
}

/// For the fuzzing door: any bytes where a note belongs, as they are and with the right checksum over them.
#[cfg(test)]
pub(super) fn take_any(dir: &Path, bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        fs::write(dir.join(FILE), bytes).unwrap();
        assert!(Note::exists(dir));
        let note = Note::read(dir);
        if let Ok(note) = &note {
            let note = note.as_ref().expect("it is there");
            assert!(note.version <= VERSION);
            note.write(dir).unwrap();
            assert_eq!(Note::read(dir).unwrap().as_ref(), Some(note), "written anew, it is another");
        }
        note.ok().flatten()
    };
    let as_it_is = read(bytes);
    // A checksum would refuse nearly all that is changed.
    if let Ok(mut object) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes)
        && object.remove("sum").is_some()
    {
        json_file::replace(&dir.join(FILE), &object).unwrap();
        let summed = fs::read(dir.join(FILE)).unwrap();
        let summed = read(&summed);
        assert!(as_it_is.is_none() || summed == as_it_is, "{as_it_is:?} and {summed:?}");
    }
}

/// For the fuzzing door: a note as it is written.
#[cfg(test)]
pub(super) fn a_file() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut note = Note::new(Uuid::from_u128(1), Uuid::from_u128(2));
    (note.node, note.name) = (Uuid::from_u128(3), "näme \"1\"".to_owned());
    (note.term, note.index, note.revision, note.began) = (7, u64::MAX, 500, 1_700_000_000);
    note.write(dir.path()).unwrap();
    fs::read(dir.path().join(FILE)).unwrap()
}
