//! What the engine (fjall 3.1) reads without a look at its checksums, looked at before it does.
//!
//! - `keyspaces/<n>/v<m>`, the list of the tables that are in use. `current` beside it names it and has its XXH3-128, which nobody compares: with a
//!   bit turned over, whole levels are taken for left over and deleted, or a table's rows for older or newer than they are.
//! - `<n>.jnl`, the journals. The checksum of a batch is of its items; its sequence number has none, and what is broken ends a journal
//!   without a word, though another one may follow.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::storage::OpenError;

/// Behind each batch of a journal.
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Looks at an engine's directory. Whatever the engine itself refuses is left to it.
pub(super) fn check(engine: &Path) -> Result<(), OpenError> {
    for keyspace in names(&engine.join("keyspaces"))? {
        check_tables(&keyspace)?;
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

/// Walks the whole batches of a journal. What follows them may be half a batch, if nothing is behind this journal, and else is zeros.
fn check_journal(path: &Path, sealed: bool, last: &mut Option<u64>) -> io::Result<Result<(), OpenError>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut reader, mut at) = (BufReader::with_capacity(1 << 16, file), 0);
    loop {
        match batch(&mut reader, length - at) {
            Ok(Some((seqno, taken))) => {
                if last.is_some_and(|last| seqno <= last) {
                    let what = format!("a batch of the journal has number {seqno}, and the one before {last:?}");
                    return Ok(Err(OpenError::damaged(path, at, &what)));
                }
                (*last, at) = (Some(seqno), at + taken);
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    if sealed && !is_zero_from(path, at)? {
        let what = "a batch of the journal is damaged, and another journal follows";
        return Ok(Err(OpenError::damaged(path, at, what)));
    }
    Ok(Ok(()))
}

/// The number of the next batch, and its bytes; `None` if it is not whole.
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
            [2, _, _, _, _, _, _, _, _, _, _, k0, k1, _, _, _, _, v @ ..] => {
                u64::from(u16::from_le_bytes([k0, k1])) + u64::from(u32::from_le_bytes(v))
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
        let mut ends = vec![0];
        let mut reader = &bytes[..];
        while let Ok(Some((_, taken))) = batch(&mut reader, bytes.len() as u64) {
            ends.push(ends[ends.len() - 1] + taken as usize);
        }
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
}
