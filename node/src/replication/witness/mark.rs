//! How far another node was seen to have come, and the file that keeps it.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `MUSTRWIT` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 2 | number of nodes |
//! | 12 | 4 | checksum (CRC-32) of all the rest of the file |
//! | 16 | 40 each | id, u64 stamp, u64 term, u64 index |
//!
//! Replaced whole: written beside, synced, renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::storage::OpenError;

const FILE: &str = "witness";
const MAGIC: &[u8; 8] = b"MUSTRWIT";
const VERSION: u16 = 1;
const HEAD: usize = 16;
const ROW: usize = 40;
/// Nodes that are remembered: far more than there are voters. Full: those with the oldest stamps go.
const MOST: usize = 256;

/// How far a node has come, by what was synced to its disk. None of the three ever goes back on a disk that is whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The stamp of its life in gossip; 0: none.
    pub(crate) stamp: u64,
    /// The term of its vote.
    pub(crate) term: u64,
    /// The last entry in its log that is known to be committed.
    pub(crate) index: u64,
}

impl Mark {
    /// The higher of the two in each respect.
    pub(super) fn max(self, other: Self) -> Self {
        Self { stamp: self.stamp.max(other.stamp), term: self.term.max(other.term), index: self.index.max(other.index) }
    }
}

/// What a mark adds to what was remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing: there is nothing to write.
    None,
    /// It has come further.
    Further,
    /// It has begun a new life.
    Life,
}

/// Why a file holds no memory that this release can use.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    /// Of a newer release, in this format.
    Newer(u16),
    /// For people.
    Damaged(String),
}

/// What this node remembers of others.
#[derive(Debug)]
pub(super) struct Marks {
    path: PathBuf,
    of: BTreeMap<Uuid, Mark>,
}

impl Marks {
    /// Reads what is remembered. A damaged file is said and set aside: the memory begins anew, and an old copy of another disk may
    /// go unnoticed until it is complete again.
    ///
    /// # Errors
    /// When the file is of a newer release. It is left as it is.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE);
        let read = match fs::read(&path) {
            Ok(bytes) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(Unusable::Damaged(error.to_string())),
        };
        let of = match read {
            Ok(of) => of,
            Err(Unusable::Newer(version)) => return Err(OpenError::newer(&path, version)),
            Err(Unusable::Damaged(why)) => {
                let aside = path.with_extension("damaged");
                log::error!(
                    "{} cannot be used ({why}); it is moved to {} and begun anew",
                    path.display(),
                    aside.display()
                );
                let _: Result<_, _> = fs::rename(&path, aside);
                BTreeMap::new()
            }
        };
        Ok(Self { path, of })
    }

    pub(super) fn get(&self, id: Uuid) -> Mark {
        self.of.get(&id).copied().unwrap_or_default()
    }

    /// Takes in how far a node has come.
    pub(super) fn note(&mut self, id: Uuid, mark: Mark) -> News {
        let before = self.get(id);
        if before.max(mark) == before {
            return News::None;
        }
        self.of.insert(id, before.max(mark));
        while self.of.len() > MOST {
            let oldest = self.of.iter().min_by_key(|(_, mark)| mark.stamp).map(|(id, _)| *id);
            oldest.and_then(|id| self.of.remove(&id));
        }
        if before.stamp < mark.stamp { News::Life } else { News::Further }
    }

    /// What is to be written, and where.
    pub(super) fn image(&self) -> (PathBuf, Vec<u8>) {
        (self.path.clone(), encode(&self.of))
    }
}

/// Replaces the file; on the disk when it returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    #[cfg(simulated)]
    muster_cluster::world::disk::reached()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn encode(of: &BTreeMap<Uuid, Mark>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + ROW * of.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u16::try_from(of.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for (id, mark) in of {
        bytes.extend_from_slice(id.as_bytes());
        for number in [mark.stamp, mark.term, mark.index] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    let sum = checksum(&bytes);
    bytes[12..HEAD].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<Uuid, Mark>, Unusable> {
    let damaged = |why: &str| Err(Unusable::Damaged(why.to_owned()));
    if bytes.len() < HEAD || &bytes[..8] != MAGIC {
        return damaged("it is not what this program writes");
    }
    // The version first: what else a newer release writes there is unknown.
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version > VERSION {
        return Err(Unusable::Newer(version));
    }
    if bytes[12..HEAD] != checksum(bytes).to_le_bytes() {
        return damaged("its checksum does not fit");
    }
    let count = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let (rows, rest) = bytes[HEAD..].as_chunks::<ROW>();
    if rows.len() != count || !rest.is_empty() {
        return damaged("it has another length than it should");
    }
    let number = |row: &[u8; ROW], at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&row[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let parse = |row: &[u8; ROW]| {
        let mut id = [0; 16];
        id.copy_from_slice(&row[..16]);
        let mark = Mark { stamp: number(row, 16), term: number(row, 24), index: number(row, 32) };
        (Uuid::from_bytes(id), mark)
    };
    Ok(rows.iter().map(parse).collect())
}

/// For the fuzzing door: any bytes for the file, with the right checksum over them.
#[cfg(test)]
pub(in crate::replication) fn take_any(bytes: &[u8]) {
    let _: Result<_, _> = decode(bytes);
    if bytes.len() < HEAD {
        return;
    }
    let mut bytes = bytes.to_vec();
    let sum = checksum(&bytes);
    bytes[12..HEAD].copy_from_slice(&sum.to_le_bytes());
    if let Ok(of) = decode(&bytes) {
        assert_eq!(decode(&encode(&of)), Ok(of));
    }
}

/// For the fuzzing door: a file with so many rows.
#[cfg(test)]
pub(in crate::replication) fn a_file(rows: u64) -> Vec<u8> {
    encode(&(0..rows).map(|n| (Uuid::from_u128(n.into()), Mark { stamp: n, term: n, index: n })).collect())
}

/// Of everything but the four bytes that it stands in.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[HEAD..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> BTreeMap<Uuid, Mark> {
        (1..4).map(|n| (Uuid::from_u128(n.into()), Mark { stamp: n, term: n + 1, index: n << 40 })).collect()
    }

    #[test]
    fn what_is_remembered_is_found_again_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::open(dir.path()).unwrap();
        let id = Uuid::from_u128(7);
        assert_eq!(marks.get(id), Mark::default());
        assert_eq!(marks.note(id, Mark { stamp: 5, term: 2, index: 9 }), News::Life);
        assert_eq!(marks.note(id, Mark { stamp: 5, term: 1, index: 20 }), News::Further);
        assert_eq!(marks.note(id, Mark { stamp: 4, term: 2, index: 20 }), News::None);
        let (path, bytes) = marks.image();
        write(&path, &bytes).unwrap();
        assert_eq!(Marks::open(dir.path()).unwrap().get(id), Mark { stamp: 5, term: 2, index: 20 });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let good = encode(&some());
        assert_eq!(decode(&good).unwrap(), some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "byte {at}");
            assert!(decode(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_damaged_memory_is_set_aside_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"nonsense").unwrap();
        assert_eq!(Marks::open(dir.path()).unwrap().get(Uuid::from_u128(1)), Mark::default());
        assert!(dir.path().join("witness.damaged").exists());
    }

    #[test]
    fn a_memory_of_a_newer_release_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut newer = encode(&some());
        newer[8] += 1;
        newer.extend([7; 9]);
        fs::write(dir.path().join(FILE), &newer).unwrap();
        let error = Marks::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("newer release (format 2)"), "{error}");
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), newer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::open(dir.path()).unwrap();
        for n in 1..=300u64 {
            marks.note(Uuid::from_u128(n.into()), Mark { stamp: n, ..Mark::default() });
        }
        assert_eq!(marks.of.len(), MOST);
        assert_eq!(marks.get(Uuid::from_u128(300)).stamp, 300);
        assert_eq!(marks.get(Uuid::from_u128(1)).stamp, 0);
    }
}
