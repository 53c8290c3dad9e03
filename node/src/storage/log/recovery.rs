//! Opening a log: what is there, what was torn and is cut off, what is damaged and is refused.
//!
//! A crash can only harm what was written since the last sync: a suffix of the newest segment. So a bad record there is a torn
//! tail, unless something proves that it had been synced: a good record behind it that was written after that sync, the mark of the last sync, or the
//! mark of the last committed entry. Anywhere else a bad record is damage.
//!
//! What is read here may be in the system's memory alone: after a sync that failed, it keeps the pages, calls them clean and never writes them. So whatever
//! is not known as synced is written again before it is vouched for.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{OpenError, Position};
use super::control::Marks;
use super::file::LogFile;
use super::index::Index;
use super::record::{self, ALIGN, Brand, Kind};
use super::segment::{self, Found, Header, START};

/// What was found in the directory.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: Index,
    /// Files that hold nothing.
    pub(super) spares: Vec<Arc<LogFile>>,
    /// Files that hold nothing either, of no size that is of use.
    pub(super) misfits: Vec<PathBuf>,
    /// Checksum of the last record of the newest segment.
    pub(super) checksum: u32,
    /// The highest number in a file name.
    pub(super) highest_file: u64,
}

struct Candidate {
    file: Arc<LogFile>,
    header: Header,
    checksum: u32,
}

/// Reads the segments in `dir`. `size` is that of new segments: spares of another size are of no use.
pub(super) fn recover(dir: &Path, marks: &Marks, size: u64) -> Result<Recovered, OpenError> {
    let mut spares = Vec::new();
    let mut misfits = Vec::new();
    let mut live = Vec::new();
    let mut highest_file = 0;
    for (number, path) in segment_files(dir)? {
        highest_file = highest_file.max(number);
        let opened =
            LogFile::open(&path).and_then(|file| Ok((file.length()?, file.read_at(0, segment::HEADER)?, file)));
        let (length, head, file) = opened.map_err(|error| OpenError::io("read", &path, error))?;
        match Header::parse(&head) {
            Found::Header(header, checksum) if header.brand.generation >= marks.first_generation => {
                live.push(Candidate { file: Arc::new(file), header, checksum });
            }
            Found::Header(..) | Found::Blank if length == size => spares.push(Arc::new(file)),
            Found::Header(..) | Found::Blank => misfits.push(path),
            Found::Newer(version) => return Err(OpenError::newer(&path, version)),
            Found::Damaged => return Err(OpenError::damaged(&path, 0, "the segment's header is damaged")),
        }
    }
    live.sort_by_key(|candidate| candidate.header.brand.generation);
    check_generations(dir, &live, marks)?;

    let mut index = Index::new(marks.purged);
    let mut checksum = 0;
    for (at, candidate) in live.iter().enumerate() {
        let next = live.get(at + 1).map(|next| (next.header.previous_end, next.header.previous_checksum));
        checksum = scan(candidate, next, marks, &mut index)?;
    }
    if let Some(committed) = marks.committed
        && index.last().map(|last| last.index) < Some(committed.index)
    {
        let (path, end) =
            live.last().map_or((dir, 0), |last| (last.file.path.as_path(), index.current().map_or(0, |s| s.end)));
        let found = index.last().map_or_else(|| "empty".to_owned(), |last| format!("at entry {}", last.index));
        let what = format!("entry {} was committed, but the log ends {found}", committed.index);
        return Err(OpenError::damaged(path, end, &what));
    }
    Ok(Recovered { index, spares, misfits, checksum, highest_file })
}

/// The segment files and their numbers.
fn segment_files(dir: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let listed = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files = Vec::new();
    for entry in listed.map_err(|error| OpenError::io("list", dir, error))? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "seg")
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The generations in use follow each other, from the first that must be there to the last that must be there.
fn check_generations(dir: &Path, live: &[Candidate], marks: &Marks) -> Result<(), OpenError> {
    let mut expected = marks.first_generation;
    for candidate in live {
        if candidate.header.brand.generation != expected {
            return Err(missing(dir, expected));
        }
        expected += 1;
    }
    let flushed = marks.flushed.0;
    if flushed >= expected { Err(missing(dir, expected)) } else { Ok(()) }
}

fn missing(dir: &Path, generation: u64) -> OpenError {
    OpenError::damaged(dir, 0, &format!("the log's segment of generation {generation} is missing"))
}

/// Reads one segment into the index. Returns the checksum of its last record.
fn scan(candidate: &Candidate, next: Option<(u64, u32)>, marks: &Marks, index: &mut Index) -> Result<u32, OpenError> {
    let Candidate { file, header, checksum } = candidate;
    let path = &file.path;
    // One segment at a time in memory: 16 MiB by default, for the time of the scan.
    let bytes = file.read_at(0, header.size as usize).map_err(|error| OpenError::io("read", path, error))?;
    index.add_segment(file.clone(), header.brand, header.size, START);
    let (mut at, mut chain, mut synced) = (START as usize, *checksum, START as usize);
    while let Some(parsed) = bytes.get(at..).and_then(|rest| record::parse(rest, header.brand)) {
        if parsed.head.previous != chain {
            break;
        }
        let position = Position { term: parsed.head.term, index: parsed.head.index };
        match parsed.head.kind {
            Kind::Cut => index.cut((position.term == 1).then_some(position.index)),
            Kind::Entry if marks.purged.is_some_and(|purged| position.index <= purged.index) => {}
            Kind::Entry => {
                if !Index::may_follow(index.last(), index.is_empty(), position.index) {
                    let what = format!("entry {} does not follow the one before it", position.index);
                    return Err(OpenError::damaged(path, at as u64, &what));
                }
                index.push(position, at as u64);
            }
        }
        chain = parsed.checksum;
        synced = parsed.head.synced as usize;
        at += parsed.size();
    }
    index.set_end(at as u64);
    match next {
        Some(expected) if expected == (at as u64, chain) => Ok(chain),
        Some(_) => {
            Err(OpenError::damaged(path, at as u64, "a record is damaged, and newer ones stand in the next segment"))
        }
        None => {
            let last = index.last().filter(|_| !index.is_empty()).map(|last| last.index);
            check_tail(candidate, &bytes, synced.clamp(START as usize, at)..at, last, marks)?;
            Ok(chain)
        }
    }
}

/// The newest segment's records end where `unproven` does, with the entry `last`: rightly, torn, or damaged? Nothing says that those in `unproven` were synced.
fn check_tail(
    candidate: &Candidate,
    bytes: &[u8],
    unproven: Range<usize>,
    last: Option<u64>,
    marks: &Marks,
) -> Result<(), OpenError> {
    let Candidate { file, header, .. } = candidate;
    let at = unproven.end;
    let path = &file.path;
    if marks.flushed.0 == header.brand.generation && marks.flushed.1 > at as u64 {
        let what = format!(
            "a record is damaged or gone that had been synced (the log was synced up to byte {})",
            marks.flushed.1
        );
        return Err(OpenError::damaged(path, at as u64, &what));
    }
    let behind = behind(bytes, at, header.brand, last);
    if behind == Behind::Later {
        return Err(OpenError::damaged(path, at as u64, "a record is damaged, and good newer ones stand behind it"));
    }
    let mut torn =
        behind == Behind::SameGroup || record::resembles(bytes.get(at..).unwrap_or_default(), header.brand.generation);
    // A partly written record may bear no mark yet; what is not zero in a segment that was never used before is one.
    torn |= header.brand.generation == 1 && bytes.get(at..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0));
    let length = bytes.len() as u64;
    let repaired = (|| {
        match write_again(file, bytes, unproven) {
            // Only file systems that copy on write run out of room here; it is no reason not to start.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                log::warn!("{}: there is no room to write the last records again: {error}", path.display());
            }
            written => written?,
        }
        if torn || length < header.size {
            if torn {
                log::warn!(
                    "{}: the last write was torn by a crash at byte {at}; it had not been acknowledged and is cut off",
                    path.display()
                );
            }
            file.zero(at as u64, header.size)?;
        }
        // What a killed process wrote may not be on disk yet, and from here on it counts as if it were.
        file.sync()
    })();
    repaired.map_err(|error| OpenError::io("repair", path, error))
}

/// What good records stand behind the end.
#[derive(Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// Such as were written with what is not good, or instead of it.
    SameGroup,
    /// One that was written when what is not good had been synced.
    Later,
}

/// Looks for good records behind `at`. What stands there may be an earlier use's payload, that is, a caller's choice: in a segment without a salt it may look like records as
/// much as it likes. So what no writer would have written is not summed up, and the work has an end.
fn behind(bytes: &[u8], at: usize, brand: Brand, last: Option<u64>) -> Behind {
    /// Records do not overlap, so all of them have no more bytes than the segment. The rest is for damaged ones with lengths that reach over others.
    const OVERLAP: usize = 4;
    let mut left = OVERLAP * bytes.len();
    let mut found = Behind::Nothing;
    for stray in (at + ALIGN..bytes.len()).step_by(ALIGN) {
        let Some((head, length)) = record::claim(&bytes[stray..], brand) else { continue };
        let synced = head.synced as usize;
        // Each record adds one entry at most. (There is no lower bound: a cut that is damaged may stand between.)
        let highest = last.map_or(u64::MAX, |last| last.saturating_add(1 + ((stray - at) / record::HEADER) as u64));
        if !(START as usize..=stray).contains(&synced) || head.index > highest {
            continue;
        }
        // Used up: nobody wrote this as records. The marks still say what must be there.
        let Some(rest) = left.checked_sub(record::HEADER + length) else { break };
        left = rest;
        if record::parse(&bytes[stray..], brand).is_some() {
            if synced > at {
                return Behind::Later;
            }
            found = Behind::SameGroup;
        }
    }
    found
}

/// Writes the header and these records over themselves, so that the next sync has something to sync: see above.
fn write_again(file: &LogFile, bytes: &[u8], records: Range<usize>) -> io::Result<()> {
    /// 1 MiB: a record may have a thousand times that, and the system is to have it in pieces.
    const PIECE: usize = 1 << 20;
    file.write_at(bytes.get(..segment::HEADER).unwrap_or_default(), 0)?;
    let start = records.start;
    for (number, piece) in bytes.get(records).unwrap_or_default().chunks(PIECE).enumerate() {
        file.write_at(piece, (start + number * PIECE) as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::record::Head;
    use super::*;

    #[test]
    fn the_header_and_what_nobody_calls_synced_are_written_again_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..4 << 20).map(|at: usize| (at % 251) as u8 + 1).collect();
        let (start, long) = (START as usize, (3 << 20) + 5);
        for (number, records) in [start..start, 5_000..5_008, 5_000..long].into_iter().enumerate() {
            let file = LogFile::create(&dir.path().join(number.to_string())).unwrap();
            file.zero(0, bytes.len() as u64).unwrap();
            write_again(&file, &bytes, records.clone()).unwrap();
            let mut expected = vec![0; bytes.len()];
            for written in [0..segment::HEADER, records] {
                expected[written.clone()].copy_from_slice(&bytes[written]);
            }
            assert!(file.read_at(0, bytes.len()).unwrap() == expected, "case {number}");
        }
    }

    /// Bytes behind an end: what looks like records and reaches to the end of all, then a good one of a later group.
    fn baited(lures: usize, brand: Brand) -> Vec<u8> {
        let head = Head { kind: Kind::Entry, brand, index: 1, term: 1, previous: 0, synced: START as u32 + 8 };
        let mut bytes = vec![0; START as usize + 8];
        for _ in 0..lures {
            record::encode(&Head { brand: Brand { salt: 0, ..brand }, ..head }, &[], &mut bytes);
        }
        record::encode(&head, b"good", &mut bytes);
        let end = bytes.len();
        for lure in 0..lures {
            let at = START as usize + 8 + lure * record::HEADER;
            bytes[at + 4..at + 8].copy_from_slice(&((end - at - record::HEADER) as u32).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_looks_like_long_records_takes_no_time_and_with_a_salt_hides_nothing() {
        let look = |lures, salt| {
            let brand = Brand { generation: 5, salt };
            behind(&baited(lures, brand), START as usize, brand, Some(0))
        };
        assert_eq!((look(0, 0), look(0, 9)), (Behind::Later, Behind::Later));
        assert_eq!((look(5, 0), look(5, 9)), (Behind::Later, Behind::Later));
        // 20,000 times half a megabyte, were all of them summed up.
        assert_eq!((look(20_000, 0), look(20_000, 9)), (Behind::Nothing, Behind::Later));
    }

    #[test]
    fn a_record_behind_the_end_has_an_index_that_a_writer_could_have_come_to() {
        let brand = Brand { generation: 5, salt: 0 };
        let with = |index, last| {
            let mut bytes = vec![0; START as usize + 2 * record::HEADER];
            let head = Head { kind: Kind::Entry, brand, index, term: 1, previous: 0, synced: START as u32 + 8 };
            record::encode(&head, b"good", &mut bytes);
            behind(&bytes, START as usize, brand, last)
        };
        // Two may stand between: 11, 12, then this. Or a cut.
        assert_eq!([13, 10, 1].map(|index| with(index, Some(10))), [Behind::Later, Behind::Later, Behind::Later]);
        assert_eq!((with(14, Some(10)), with(14, None)), (Behind::Nothing, Behind::Later));
    }
}
