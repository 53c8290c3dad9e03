//! What the engine (fjall 3.1) reads without a look at its checksums, looked at before it does.
//!
//! - `keyspaces/<n>/v<m>`, the list of the tables that are in use. `current` beside it names it and has its XXH3-128, which nobody compares: with a
//!   bit turned over, whole levels are taken for left over and deleted, or a table's rows for older or newer than they are.
//! - `keyspaces/<n>/tables/<m>`, the tables. Each ends with a table of contents, and room is made for as many entries as that says before its
//!   checksum is compared: with a bit turned over for 80 GiB, which ends the process.
//! - `<n>.jnl`, the journals. The checksum of a batch is of its items; its sequence number has none, and what is broken ends a journal
//!   without a word, though another one may follow. The same goes for the room for an item.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::storage::OpenError;

/// Behind each batch of a journal.
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Numbers of batches are below this; whoever gives one that is not panics.
const NUMBERS: u64 = 1 << 63;

/// 256 MiB, far above what the longest value takes (`snapshot::MAX_FRAME`), and no burden for any machine.
const LONGEST: u32 = 256 << 20;

/// Behind a table: a magic with versions, the checksum of the table of contents, where that begins, and its length, which nobody reads.
const TABLE_END: usize = 4 + 2 + 16 + 8 + 8;
/// Before the entries of a table of contents: a magic, and how many they are.
const CONTENTS_HEAD: usize = 4 + 4;
/// The least that an entry takes: place, length, length of the name.
const CONTENTS_ENTRY: u64 = 8 + 8 + 2;

/// Looks at an engine's directory. Whatever the engine itself refuses is left to it.
pub(super) fn check(engine: &Path) -> Result<(), OpenError> {
    for keyspace in names(&engine.join("keyspaces"))? {
        check_tables(&keyspace)?;
        for table in names(&keyspace.join("tables"))? {
            check_contents(&table).map_err(|error| OpenError::io("read", &table, error))??;
        }
    }
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok();
    let mut journals: Vec<_> = names(engine)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    journals.sort();
    let mut last = None;
    while !journals.is_empty() {
        let (_, path) = journals.remove(0);
        let sealed = !journals.is_empty();
        check_journal(&path, sealed, &mut last).map_err(|error| OpenError::io("read", &path, error))??;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let listed = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| OpenError::io("list", dir, error)),
    }
}

fn check_tables(keyspace: &Path) -> Result<(), OpenError> {
    let read = |path: &Path| match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|error| OpenError::io("read", path, error)),
    };
    // The version, its checksum, and 0: what kind that is.
    let Some(current) = read(&keyspace.join("current"))? else { return Ok(()) };
    let (Some((version, rest)), 25) = (current.split_first_chunk(), current.len()) else { return Ok(()) };
    let path = keyspace.join(format!("v{}", u64::from_le_bytes(*version)));
    match (read(&path)?, rest) {
        (Some(list), [sum @ .., 0]) if xxh3_128(&list).to_le_bytes() != *sum => {
            Err(OpenError::damaged(&path, 0, "the list of tables does not fit its checksum in `current`"))
        }
        _ => Ok(()),
    }
}

/// Whether a table's table of contents has room for its entries. What is half there may be left over from a crash, and is no concern of ours.
fn check_contents(path: &Path) -> io::Result<Result<(), OpenError>> {
    let file = File::open(path)?;
    let Some(end) = file.metadata()?.len().checked_sub(TABLE_END as u64) else { return Ok(Ok(())) };
    let (mut trailer, mut head) = ([0; TABLE_END], [0; CONTENTS_HEAD]);
    file.read_exact_at(&mut trailer, end)?;
    let [b'S', b'F', b'A', b'!', 1, 0, rest @ ..] = trailer else { return Ok(Ok(())) };
    let begin = rest[16..].first_chunk().map_or(end, |begin| u64::from_le_bytes(*begin));
    let Some(room) = end.checked_sub(begin).and_then(|left| left.checked_sub(CONTENTS_HEAD as u64)) else {
        return Ok(Ok(()));
    };
    file.read_exact_at(&mut head, begin)?;
    match head {
        [b'T', b'O', b'C', b'!', count @ ..] if u64::from(u32::from_le_bytes(count)) > room / CONTENTS_ENTRY => {
            Ok(Err(OpenError::damaged(path, begin, "its table of contents is shorter than it says")))
        }
        _ => Ok(Ok(())),
    }
}

/// Walks the whole batches of a journal. What follows them may be half a batch, if nothing is behind this journal, and else is zeros.
fn check_journal(path: &Path, sealed: bool, last: &mut Option<u64>) -> io::Result<Result<(), OpenError>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut reader, mut at) = (BufReader::with_capacity(1 << 16, file), 0);
    loop {
        match batch(&mut reader, length - at) {
            Ok(Some((seqno, taken))) => {
                if last.is_some_and(|last| seqno <= last) || seqno >= NUMBERS {
                    let what = format!("a batch of the journal has number {seqno}, and the one before {last:?}");
                    return Ok(Err(OpenError::damaged(path, at, &what)));
                }
                (*last, at) = (Some(seqno), at + taken);
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Ok(Err(OpenError::damaged(path, at, &error.to_string())));
            }
            Err(error) => return Err(error),
        }
    }
    if sealed && !is_zero_from(path, at)? {
        let what = "a batch of the journal is damaged, and another journal follows";
        return Ok(Err(OpenError::damaged(path, at, what)));
    }
    Ok(Ok(()))
}

/// The number of the next batch, and its bytes; `None` if it is not whole. Invalid: it could be none, whatever comes.
fn batch(reader: &mut impl BufRead, left: u64) -> io::Result<Option<(u64, u64)>> {
    let mut start = [0; 13];
    reader.read_exact(&mut start)?;
    let [1, a, b, c, d, seqno @ ..] = start else { return Ok(None) };
    let (mut sum, mut taken) = (Xxh3::new(), start.len() as u64);
    for _ in 0..u32::from_le_bytes([a, b, c, d]) {
        // Tag, kind, compression, keyspace; lengths of the key, of the value, and of the value here.
        let mut head = [0; 21];
        reader.read_exact(&mut head[..1])?;
        let rest = match head[0] {
            2 => &mut head[1..],
            4 => &mut head[1..9],
            _ => return Ok(None),
        };
        reader.read_exact(rest)?;
        let item = if head[0] == 2 { 21 } else { 9 };
        sum.update(&head[..item]);
        let body = match head {
            [2, _, _, _, _, _, _, _, _, _, _, k0, k1, w0, w1, w2, w3, v @ ..] => {
                let (value, here) = (u32::from_le_bytes([w0, w1, w2, w3]), u32::from_le_bytes(v));
                if value.max(here) > LONGEST {
                    let what = format!("a batch of the journal has an item of {} bytes", value.max(here));
                    return Err(io::Error::new(ErrorKind::InvalidData, what));
                }
                u64::from(u16::from_le_bytes([k0, k1])) + u64::from(here)
            }
            _ => 0,
        };
        taken += item as u64 + body;
        if taken > left {
            return Ok(None);
        }
        update(&mut sum, reader, body)?;
    }
    let mut end = [0; 13];
    reader.read_exact(&mut end)?;
    let whole = end[0] == 3 && end[1..9] == sum.digest().to_le_bytes() && end[9..] == TRAILER;
    Ok(whole.then_some((u64::from_le_bytes(seqno), taken + end.len() as u64)))
}

fn update(sum: &mut Xxh3, reader: &mut impl BufRead, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let there = reader.fill_buf()?;
        let there = &there[..there.len().min(usize::try_from(bytes).unwrap_or(usize::MAX))];
        if there.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        sum.update(there);
        let taken = there.len();
        reader.consume(taken);
        bytes -= taken as u64;
    }
    Ok(())
}

fn is_zero_from(path: &Path, at: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    let mut part = vec![0; 1 << 16];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(true),
            n if part[..n].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// For the fuzzing door: any bytes as a journal, as they are and with the right checksums, walked here and in the plainest way that there is.
#[cfg(test)]
pub(super) fn take_any_journal(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for summed in [false, true] {
        if summed {
            let mut at = 0;
            while let Some((sum, end, _)) = plainly(&bytes[at..]) {
                bytes[at + end - 12..at + end - 4].copy_from_slice(&sum.to_le_bytes());
                at += end;
            }
        }
        let (mut at, mut reader) = (0, &bytes[..]);
        loop {
            let left = &bytes[at..];
            let plain = plainly(left).filter(|(sum, end, _)| left[end - 12..end - 4] == sum.to_le_bytes());
            match (batch(&mut reader, left.len() as u64), plain) {
                (Ok(Some((number, taken))), Some((_, end, same))) => {
                    assert_eq!((number, taken), (same, end as u64));
                    at += end;
                    assert_eq!(reader.len(), bytes.len() - at);
                }
                (Ok(None), None) => break,
                (Err(error), None) => {
                    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData), "{error}");
                    break;
                }
                (found, plain) => panic!("{found:?} and {plain:?}"),
            }
        }
    }
}

/// Of a batch whose parts are all there: the checksum of its items, its bytes, and its number.
#[cfg(test)]
fn plainly(bytes: &[u8]) -> Option<(u64, usize, u64)> {
    let number = |at: usize, length: usize| {
        let mut eight = [0; 8];
        eight[..length].copy_from_slice(bytes.get(at..at + length)?);
        Some(u64::from_le_bytes(eight))
    };
    let (mut sum, mut at) = (Xxh3::new(), 13);
    let mut items = number(1, 4).filter(|_| bytes[0] == 1)?;
    while items > 0 {
        let length = match bytes.get(at)? {
            2 if number(at + 13, 4)?.max(number(at + 17, 4)?) > u64::from(LONGEST) => return None,
            2 => 21 + number(at + 11, 2)? + number(at + 17, 4)?,
            4 => 9,
            _ => return None,
        };
        let item = bytes.get(at..)?.get(..usize::try_from(length).ok()?)?;
        sum.update(item);
        at += item.len();
        items -= 1;
    }
    let end = bytes.get(at..at + 13)?;
    (end[0] == 3 && end[9..] == TRAILER).then_some((sum.digest(), at + 13, number(5, 8)?))
}

/// For the fuzzing door: any bytes as the files of an engine, as they are, and with the right checksums where one is compared.
#[cfg(test)]
pub(super) fn take_any_engine(engine: &Path, bytes: &[u8]) {
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let keyspace = engine.join("keyspaces/1");
    let _: io::Result<()> = std::fs::remove_dir_all(&keyspace);
    let (current, list) = bytes.split_at(bytes.len().min(25));
    write(&keyspace.join("current"), current);
    write(&keyspace.join("tables/7"), bytes);
    write(&engine.join("0.jnl"), bytes);
    let named = |error: &OpenError| assert!(error.to_string().contains(&engine.display().to_string()), "{error}");
    let _ = check(engine).inspect_err(named);
    let Some(version) = current.first_chunk() else { return };
    let path = keyspace.join(format!("v{}", u64::from_le_bytes(*version)));
    write(&path, list);
    let unsummed = check_tables(&keyspace).inspect_err(named);
    // What is behind `current` is of a kind that is not looked at, or it is summed and then found good.
    assert!(
        unsummed.is_ok() == (current.len() < 25 || current[24] != 0 || current[8..24] == xxh3_128(list).to_le_bytes())
    );
    if current.len() == 25 {
        write(&keyspace.join("current"), &[&version[..], &xxh3_128(list).to_le_bytes(), &[0]].concat());
        check_tables(&keyspace).unwrap();
    }
}

/// Where the whole batches of a journal end, in a test.
#[cfg(test)]
pub(super) fn ends(journal: &[u8]) -> Vec<usize> {
    let (mut ends, mut reader) = (vec![0], journal);
    while let Ok(Some((_, taken))) = batch(&mut reader, journal.len() as u64) {
        ends.push(ends[ends.len() - 1] + taken as usize);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, open, put};
    use super::*;
    use crate::kv::Write;

    /// A state with tables and a journal, closed.
    fn filled() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir);
        for index in 1..=40 {
            let write = Write { operation: put(&format!("key{index}"), &"x".repeat(2_000)), idempotency: None };
            state.apply(&[entry(index, 1, vec![write])]).unwrap();
        }
        state.generation().rows().unwrap().rotate_memtable_and_wait().unwrap();
        for index in 41..=60 {
            let write = Write { operation: put(&format!("key{index}"), "short"), idempotency: None };
            state.apply(&[entry(index, 1, vec![write])]).unwrap();
        }
        state.persist().unwrap();
        drop(state);
        let engine = dir.path().join("1");
        (dir, engine)
    }

    fn said(engine: &Path) -> String {
        check(engine).map_or_else(|error| error.to_string(), |()| "nothing".to_owned())
    }

    #[test]
    fn a_bit_turned_over_in_the_list_of_tables_is_found_wherever_it_is() {
        let (_dir, engine) = filled();
        assert_eq!(said(&engine), "nothing");
        let mut lists = 0;
        for keyspace in names(&engine.join("keyspaces")).unwrap() {
            let current = std::fs::read(keyspace.join("current")).unwrap();
            let path = keyspace.join(format!("v{}", u64::from_le_bytes(current[..8].try_into().unwrap())));
            let list = std::fs::read(&path).unwrap();
            lists += 1;
            for bit in 0..list.len() * 8 {
                let mut turned = list.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, turned).unwrap();
                assert!(said(&engine).contains("list of tables"), "bit {bit} of {}", path.display());
            }
            std::fs::write(&path, list).unwrap();
        }
        assert!(lists > 0 && said(&engine) == "nothing");
    }

    #[test]
    fn batches_in_another_order_and_a_broken_journal_before_another_are_found_and_half_a_batch_at_the_end_is_none_of_it()
     {
        let (_dir, engine) = filled();
        let journals: Vec<_> =
            names(&engine).unwrap().into_iter().filter(|path| path.extension().is_some_and(|e| e == "jnl")).collect();
        let [path] = &journals[..] else { panic!("{journals:?}") };
        let bytes = std::fs::read(path).unwrap();
        let ends = ends(&bytes);
        assert!(ends.len() > 20, "{} batches", ends.len() - 1);
        let (begin, end) = (ends[10], ends[11]);
        // The highest byte of its number: the next one is below it.
        let mut turned = bytes.clone();
        turned[begin + 12] ^= 0x40;
        std::fs::write(path, &turned).unwrap();
        assert!(said(&engine).contains("number"), "{}", said(&engine));
        // Half a batch behind the last whole one is what a crash leaves.
        std::fs::write(path, &bytes[..end - 3]).unwrap();
        assert_eq!(said(&engine), "nothing");
        // But not where another journal follows.
        let next = engine.join("1000.jnl");
        std::fs::write(&next, &bytes[end..ends[12]]).unwrap();
        assert!(said(&engine).contains("another journal follows"), "{}", said(&engine));
        std::fs::write(path, [&bytes[..end], &[0; 100]].concat()).unwrap();
        assert_eq!(said(&engine), "nothing");
        std::fs::write(&next, &bytes[begin..end]).unwrap();
        assert!(said(&engine).contains("number"), "{}", said(&engine));
    }

    #[test]
    fn a_table_of_contents_that_says_more_than_it_has_room_for_is_found_and_half_a_table_is_no_concern() {
        let (_dir, engine) = filled();
        let tables = names(&engine.join("keyspaces/1/tables")).unwrap();
        let [path, ..] = &tables[..] else { panic!("no table") };
        let table = std::fs::read(path).unwrap();
        let end = table.len() - TABLE_END;
        let begin = u64::from_le_bytes(table[end + 22..end + 30].try_into().unwrap()) as usize;
        assert_eq!((&table[end..end + 4], &table[begin..begin + 4]), (&b"SFA!"[..], &b"TOC!"[..]));
        let entries = u32::from_le_bytes(table[begin + 4..begin + 8].try_into().unwrap());
        for bit in 0..32 {
            let mut turned = table.clone();
            turned[begin + 4 + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, &turned).unwrap();
            // A few more or less are left to the engine, which compares a checksum then.
            let few = (entries ^ (1 << bit)) as usize <= (end - begin) / 18;
            let found = said(&engine);
            assert!(found.contains("table of contents") || few && found == "nothing", "bit {bit}: {found}");
            assert!(bit < 16 || !few);
        }
        for cut in (0..table.len()).rev().take(200) {
            std::fs::write(path, &table[..cut]).unwrap();
            assert_eq!(said(&engine), "nothing");
        }
        // What a crash leaves of a table whose last sector came to the disk before the others.
        std::fs::write(path, [&vec![0; end][..], &table[end..]].concat()).unwrap();
        assert_eq!(said(&engine), "nothing");
    }

    #[test]
    fn a_batch_with_a_number_that_the_engine_does_not_have_and_an_item_without_end_are_found() {
        let (_dir, engine) = filled();
        let path = engine.join("0.jnl");
        let bytes = std::fs::read(&path).unwrap();
        let ends = ends(&bytes);
        let last = ends[ends.len() - 2];
        let with = |at: usize, bits: u8| {
            let mut turned = bytes.clone();
            turned[at] ^= bits;
            std::fs::write(&path, turned).unwrap();
            said(&engine)
        };
        assert!(with(last + 12, 0x80).contains("has number 92233720"), "{}", said(&engine));
        assert_eq!(with(last + 12, 0x40), "nothing", "far ahead is no harm");
        // The lengths of the first item's value: of itself, and of what is here of it.
        for at in [last + 13 + 16, last + 13 + 20] {
            assert!(with(at, 0x80).contains("an item of 21474"), "{}", said(&engine));
        }
    }
}
