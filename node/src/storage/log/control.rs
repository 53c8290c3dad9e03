//! The file `control`: the vote, and the marks that say what must be in the log.
//!
//! Four slots of 4,096 bytes: the vote twice, the marks twice. A slot's bytes in use fit in one sector of 512.
//!
//! ```text
//!  0  8    "MUSTRCTL"
//!  8  u16  format version
//! 10  u16  slot: 0 and 1 vote, 2 and 3 marks
//! 12  u32  checksum (CRC-32) of the slot's bytes in use without these four
//! 16  u64  sequence number: the higher of two is the newer
//! 24  u32  length of the content
//! 28       content
//! ```
//!
//! **The vote** is written to its first slot, synced, written to its second, synced, and only then acknowledged. Whichever
//! slot is torn or rots, the other holds every vote that was acknowledged; the newer of two good ones counts.
//! **The marks** are written to their slots in turn. Those that forbid something (how far the log was purged) are synced, and with two writes,
//! like the vote; those that only help to find damage (committed, flushed) ride along unsynced, always behind the sync of what they speak of, so that they never
//! promise more than is on disk.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{OpenError, Position};
use super::file::{LogFile, sync_dir};
use super::record::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"MUSTRCTL";
const VERSION: u16 = 1;
const SLOT: u64 = 4096;
const HEADER: usize = 28;

/// A slot in use fits in one sector, which disks write whole or not at all.
const CONTENT: usize = 512 - HEADER;

/// What must be in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// The last entry known as committed.
    pub(super) committed: Option<Position>,
    /// The last entry purged.
    pub(super) purged: Option<Position>,
    /// The generation of the oldest segment in use.
    pub(super) first_generation: u64,
    /// Generation and offset up to which the log was synced.
    pub(super) flushed: (u64, u64),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) file: LogFile,
    vote_sequence: u64,
    marks_sequence: u64,
}

/// What was in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) vote: Option<Vec<u8>>,
    pub(super) marks: Marks,
}

impl Control {
    /// Creates the file, with no vote and with these marks.
    pub(super) fn create(path: &Path, marks: Marks) -> Result<Self, OpenError> {
        // Written aside and renamed: a crash leaves no file or a whole one.
        let aside = path.with_extension("new");
        let made = || -> io::Result<Self> {
            if aside.exists() {
                std::fs::remove_file(&aside)?;
            }
            let file = LogFile::create(&aside)?;
            file.zero(0, 4 * SLOT)?;
            let mut control = Self { file, vote_sequence: 0, marks_sequence: 0 };
            control.write_vote(&[])?;
            control.write_marks_synced(marks)?;
            std::fs::rename(&aside, path)?;
            sync_dir(path.parent().unwrap_or(Path::new(".")))?;
            control.file.path = path.to_owned();
            Ok(control)
        };
        made().map_err(|error| OpenError::io("create", path, error))
    }

    /// Opens the file and reads what is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), OpenError> {
        let file = LogFile::open(path).map_err(|error| OpenError::io("open", path, error))?;
        let bytes = file.read_at(0, 4 * SLOT as usize).map_err(|error| OpenError::io("read", path, error))?;
        let vote = newer(path, &bytes, [0, 1], "the vote")?;
        let marks = newer(path, &bytes, [2, 3], "the marks")?;
        let contents = Contents {
            vote: Some(vote.1).filter(|vote| !vote.is_empty()),
            marks: postcard::from_bytes(&marks.1).map_err(|_| damaged(path, "the marks", 2 * SLOT))?,
        };
        Ok((Self { file, vote_sequence: vote.0, marks_sequence: marks.0 }, contents))
    }

    /// Writes a vote to both slots, one after the other, each synced. Empty: none. Longer than a sector takes: refused.
    pub(super) fn write_vote(&mut self, vote: &[u8]) -> io::Result<()> {
        self.vote_sequence += 1;
        for slot in [0, 1] {
            self.write(slot, self.vote_sequence, vote)?;
            self.file.sync()?;
        }
        Ok(())
    }

    /// Writes marks to both slots, one after the other, each synced.
    pub(super) fn write_marks_synced(&mut self, marks: Marks) -> io::Result<()> {
        for _ in 0..2 {
            self.write_marks(marks)?;
            self.file.sync()?;
        }
        Ok(())
    }

    /// Writes marks to the slot whose turn it is, unsynced.
    pub(super) fn write_marks(&mut self, marks: Marks) -> io::Result<()> {
        self.marks_sequence += 1;
        let content = postcard::to_stdvec(&marks).map_err(io::Error::other)?;
        self.write(2 + self.marks_sequence % 2, self.marks_sequence, &content)
    }

    fn write(&self, slot: u64, sequence: u64, content: &[u8]) -> io::Result<()> {
        if content.len() > CONTENT {
            return Err(io::Error::other(format!("{} bytes do not fit in a slot", content.len())));
        }
        let mut bytes = Vec::with_capacity(HEADER + content.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(slot as u16).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(content);
        let checksum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_at(&bytes, slot * SLOT)
    }
}

/// The newer good slot of two: sequence and content.
fn newer(path: &Path, bytes: &[u8], slots: [u64; 2], what: &str) -> Result<(u64, Vec<u8>), OpenError> {
    let mut best = None;
    for slot in slots {
        match parse(bytes.get((slot * SLOT) as usize..).unwrap_or_default(), slot) {
            Slot::Good(sequence, content) => {
                if best.as_ref().is_none_or(|(known, _)| *known < sequence) {
                    best = Some((sequence, content));
                }
            }
            Slot::Newer(version) => return Err(OpenError::newer(path, version)),
            Slot::Bad => {
                log::warn!(
                    "{}: one of two copies of {what}, at byte {}, is damaged; using the other",
                    path.display(),
                    slot * SLOT
                );
            }
        }
    }
    best.ok_or_else(|| damaged(path, what, slots[0] * SLOT))
}

fn damaged(path: &Path, what: &str, offset: u64) -> OpenError {
    OpenError::damaged(path, offset, &format!("both copies of {what} are damaged"))
}

enum Slot {
    Good(u64, Vec<u8>),
    Newer(u16),
    Bad,
}

fn parse(bytes: &[u8], slot: u64) -> Slot {
    let good = || {
        let length = u32_at(bytes.get(..HEADER)?, 24) as usize;
        let used = bytes.get(..HEADER + length.min(CONTENT))?;
        (&used[..8] == MAGIC
            && checksum(used) == u32_at(used, 12)
            && u16::from_le_bytes([used[10], used[11]]) == slot as u16)
            .then_some(used)
    };
    let Some(used) = good() else { return Slot::Bad };
    match u16::from_le_bytes([used[8], used[9]]) {
        VERSION => Slot::Good(u64_at(used, 16), used[HEADER..].to_vec()),
        other => Slot::Newer(other),
    }
}

/// For the fuzzing door: any bytes where a slot belongs, as they are and with the right checksum over them.
#[cfg(test)]
pub(super) fn take_any(bytes: &[u8]) {
    parse(bytes, 0);
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(HEADER), 0);
    let used = HEADER + (u32_at(&bytes, 24) as usize).min(CONTENT).min(bytes.len() - HEADER);
    let sum = checksum(&bytes[..used]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    for slot in 0..4 {
        if let Slot::Good(_, content) = parse(&bytes, slot) {
            assert!(content.len() <= CONTENT);
            let _: Result<Marks, _> = postcard::from_bytes(&content);
        }
    }
}

/// For the fuzzing door: a slot as it is written.
#[cfg(test)]
pub(super) fn a_slot(slot: u16, sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &slot.to_le_bytes(), &[0; 4]].concat();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
    bytes.extend_from_slice(content);
    let sum = checksum(&bytes);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(index: u64) -> Marks {
        Marks { committed: Some(Position { term: 1, index }), ..Marks::default() }
    }

    #[test]
    fn the_last_of_everything_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let mut control = Control::create(&path, marks(0)).unwrap();
        assert_eq!(Control::open(&path).unwrap().1, Contents { vote: None, marks: marks(0) });
        for round in 1..5 {
            control.write_vote(&[round]).unwrap();
            control.write_marks(marks(u64::from(round))).unwrap();
            let contents = Contents { vote: Some(vec![round]), marks: marks(u64::from(round)) };
            assert_eq!(Control::open(&path).unwrap().1, contents);
        }
    }

    #[test]
    fn one_flipped_bit_loses_no_vote_and_no_synced_mark_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let mut control = Control::create(&path, marks(0)).unwrap();
        control.write_vote(b"vote").unwrap();
        control.write_marks_synced(marks(7)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let expected = Contents { vote: Some(b"vote".to_vec()), marks: marks(7) };
        for slot in 0..4 {
            for bit in 0..48 * 8 {
                let mut bytes = whole.clone();
                bytes[slot * SLOT as usize + bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(Control::open(&path).unwrap().1, expected, "slot {slot}, bit {bit}");
            }
        }
        for slot in [0, 2] {
            let mut bytes = whole.clone();
            bytes[slot * SLOT as usize] ^= 1;
            bytes[(slot + 1) * SLOT as usize] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let refusal = Control::open(&path).unwrap_err().to_string();
            assert!(refusal.contains("control") && refusal.contains("both copies"), "{refusal}");
        }
    }
}
