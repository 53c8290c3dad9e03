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
