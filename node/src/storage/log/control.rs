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
//! What is found at a start may be in one slot only, or in no more than the system's memory: it is written to both again, synced, before anything is done by it.
//! **The marks** are written to their slots in turn. Those that forbid something (how far the log was purged) are synced, and with two writes,
//! like the vote; those that only help to find damage (committed, flushed) ride along unsynced, always behind the sync of what they speak of, so that they never
//! promise more than is on disk.

use std::io::{self, ErrorKind};
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
    /// The vote and the marks as they were found, until they are settled.
    found: Vec<Found>,
}

/// The newer good slot of two.
#[derive(Debug)]
struct Found {
    slot: u64,
    sequence: u64,
    content: Vec<u8>,
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
            let mut control = Self { file, vote_sequence: 0, marks_sequence: 0, found: Vec::new() };
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
            vote: Some(vote.content.clone()).filter(|vote| !vote.is_empty()),
            marks: postcard::from_bytes(&marks.content).map_err(|_| damaged(path, "the marks", 2 * SLOT))?,
        };
        let (vote_sequence, marks_sequence) = (vote.sequence, marks.sequence);
        Ok((Self { file, vote_sequence, marks_sequence, found: vec![vote, marks] }, contents))
    }

    /// Writes what was found to both slots of each, synced: a process that was killed may have left it in one, and that in the system's memory alone.
    /// Nothing may be done by it before.
    pub(super) fn settle(&mut self) -> Result<(), OpenError> {
        let found = std::mem::take(&mut self.found);
        // The other slot of each pair first, so that a good one is there at every moment.
        let written = [1, 0].into_iter().try_for_each(|other| {
            found.iter().try_for_each(|found| self.write(found.slot ^ other, found.sequence, &found.content))?;
            self.file.sync()
        });
        match written {
            // Only file systems that copy on write run out of room here; with such a disk, too, a node starts and says that it is full.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                log::warn!(
                    "{}: there is no room to write both copies of what it says: {error}",
                    self.file.path.display()
                );
                Ok(())
            }
            written => written.map_err(|error| OpenError::io("write", &self.file.path, error)),
        }
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

fn newer(path: &Path, bytes: &[u8], slots: [u64; 2], what: &str) -> Result<Found, OpenError> {
    let mut best: Option<Found> = None;
    for slot in slots {
        match parse(bytes.get((slot * SLOT) as usize..).unwrap_or_default(), slot) {
            Slot::Good(sequence, content) => {
                if best.as_ref().is_none_or(|best| best.sequence < sequence) {
                    best = Some(Found { slot, sequence, content });
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
    use std::sync::atomic::Ordering;

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

    /// What stands in each slot; `None`: nothing good.
    fn slots(path: &Path) -> [Option<(u64, Vec<u8>)>; 4] {
        let bytes = std::fs::read(path).unwrap();
        [0, 1, 2, 3].map(|slot| match parse(&bytes[(slot * SLOT) as usize..], slot) {
            Slot::Good(sequence, content) => Some((sequence, content)),
            Slot::Newer(_) | Slot::Bad => None,
        })
    }

    #[test]
    fn one_start_makes_both_copies_good_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let mut control = Control::create(&path, marks(0)).unwrap();
        control.write_vote(b"vote").unwrap();
        control.write_marks_synced(marks(7)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for slot in 0..4 {
            let mut bytes = whole.clone();
            bytes[slot * SLOT as usize + 20] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(slots(&path)[slot], None);
            let (mut control, found) = Control::open(&path).unwrap();
            control.settle().unwrap();
            let [vote, other_vote, marks, other_marks] = slots(&path);
            assert!(vote.is_some() && vote == other_vote, "slot {slot}");
            assert!(marks.is_some() && marks == other_marks, "slot {slot}");
            // What follows is newer than both.
            control.write_vote(b"next").unwrap();
            control.write_marks(self::marks(8)).unwrap();
            let next = Contents { vote: Some(b"next".to_vec()), marks: self::marks(8) };
            assert_eq!((found.vote, Control::open(&path).unwrap().1), (Some(b"vote".to_vec()), next));
        }
    }

    #[test]
    fn a_vote_that_came_into_one_slot_only_is_in_both_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let mut control = Control::create(&path, marks(0)).unwrap();
        control.write_vote(b"old").unwrap();
        control.write(0, 3, b"new").unwrap();
        drop(control);
        Control::open(&path).unwrap().0.settle().unwrap();
        assert_eq!(slots(&path)[..2], [Some((3, b"new".to_vec())), Some((3, b"new".to_vec()))]);
    }

    #[test]
    fn a_disk_without_room_is_no_reason_not_to_start_and_one_that_fails_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        Control::create(&path, marks(0)).unwrap();
        let (mut full, _) = Control::open(&path).unwrap();
        full.file.faults.overwrites.store(true, Ordering::SeqCst);
        full.settle().unwrap();
        let (mut failing, _) = Control::open(&path).unwrap();
        failing.file.faults.sync.store(true, Ordering::SeqCst);
        assert!(matches!(failing.settle(), Err(OpenError::Io(line)) if line.contains("control")));
    }
}
