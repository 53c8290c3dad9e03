//! What the registry must not forget, on disk. Two files, because two things are promised:
//!
//! - `foundings`: who founded which cluster. Written anew as a whole, synced (file and directory) and put in place by a
//!   rename, *before* the founding is confirmed. It cannot tear, so whatever does not fit in it is damage and is refused.
//! - `nodes`: who is registered. A journal, appended without a sync: it survives the death of the process, and after a
//!   power failure the nodes register again within a second or two anyway. A torn tail is cut off, and said.
//!
//! Both are lines of text, so that a person can read them: `<CRC-32 in hex> <JSON>`, under a first line with the format and
//! its version. Renewals are not written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use muster_client::api::registry::Founding;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::member::Member;
use crate::roll::{Change, Memory};

const FOUNDINGS: &str = "foundings";
const NODES: &str = "nodes";
const VERSION: &str = "1";
/// 4,096 lines (about 1 MiB) beyond two for each node: short enough to read back in a few milliseconds, long enough that
/// a small registry hardly ever writes its journal anew.
const SLACK: usize = 4_096;

/// Why the store cannot be opened. Nothing was changed; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another registry runs on the directory.
    #[error("{} is in use by another registry; stop that one, or give this one its own --data-dir", .0.display())]
    Locked(PathBuf),
    /// A file of a version that this program does not know.
    #[error("{} was written by a newer version (format {found}); run that version, or a newer one, on this --data-dir", .path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// The founding records are not what was written.
    #[error(
        "{} is damaged in line {line}; restore it from a copy, or, if the clusters' nodes still run, move it away and start again: \
         their ids are learned from them", .path.display()
    )]
    Foundings {
        /// Which file.
        path: PathBuf,
        /// The first line that does not fit.
        line: usize,
    },
    /// The journal of the nodes is damaged before its end.
    #[error("{} is damaged in line {line}; move it away and start again: running nodes register anew by themselves", .path.display())]
    Nodes {
        /// Which file.
        path: PathBuf,
        /// The first line that does not fit.
        line: usize,
    },
    /// The disk or its permissions.
    #[error("{}: {source}; check --data-dir, its permissions and the room on its disk", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |source| StoreError::Io { path: path.to_owned(), source }
}

#[derive(Serialize, Deserialize)]
struct FoundingLine {
    name: String,
    #[serde(flatten)]
    founding: Founding,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NodeLine {
    Entered(Member),
    Left(Uuid),
}

/// An open and locked data directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    journal: File,
    lines: usize,
    bytes: u64,
    /// Kept for the lock that it holds.
    _lock: File,
}

impl Store {
    /// Opens the directory, creates it if there is none, and reads what is remembered.
    pub fn open(dir: &Path) -> Result<(Self, Memory), StoreError> {
        create_dir(dir).map_err(io_at(dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io_at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(StoreError::Io { path, source }),
        }
        let foundings = read_foundings(&dir.join(FOUNDINGS))?;
        let remembers = foundings.is_some();
        let foundings = foundings.unwrap_or_default();
        let nodes = read_nodes(&dir.join(NODES))?;
        if !remembers {
            // From now on an absent file means that it was lost.
            write_foundings(dir, &foundings).map_err(io_at(&dir.join(FOUNDINGS)))?;
        }
        let (journal, lines, bytes) = write_nodes(dir, &nodes).map_err(io_at(&dir.join(NODES)))?;
        let store = Self { dir: dir.to_owned(), journal, lines, bytes, _lock: lock };
        Ok((store, Memory { remembers, nodes, foundings }))
    }

    /// Remembers changes of the roll beyond the life of this process. On an error nothing or a part of it is; a later
    /// [`Store::rewrite`] mends that.
    pub fn append(&mut self, changes: impl IntoIterator<Item = Change>) -> io::Result<()> {
        let mut text = String::new();
        let mut count = 0;
        for change in changes {
            text += &match change {
                Change::Entered(member) => line(&NodeLine::Entered(member))?,
                Change::Left(id) => line(&NodeLine::Left(id))?,
            };
            count += 1;
        }
        self.journal.write_all(text.as_bytes())?;
        self.lines += count;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Whether most of the journal is of the past.
    pub fn is_overgrown(&self, nodes: usize) -> bool {
        self.lines > 2 * nodes + SLACK
    }

    /// Writes the journal anew with those nodes only, and syncs it.
    pub fn rewrite<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Member>) -> io::Result<()> {
        (self.journal, self.lines, self.bytes) = write_nodes(&self.dir, nodes)?;
        Ok(())
    }

    /// Puts every founding on disk. Confirm one only after this has returned `Ok`.
    ///
    /// On an error the old file still stands, or (when only the sync of the directory failed) either may after a crash.
    pub fn record(&mut self, foundings: &BTreeMap<String, Founding>) -> io::Result<()> {
        write_foundings(&self.dir, foundings)
    }

    /// Makes every append fail as on a full disk, until the next [`Store::rewrite`].
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self) {
        self.journal = OpenOptions::new().write(true).open("/dev/full").unwrap();
    }

    /// Syncs the journal, for a stop in good order.
    pub fn sync(&self) -> io::Result<()> {
        self.journal.sync_all()
    }

    /// Length of the journal.
    pub fn journal_bytes(&self) -> u64 {
        self.bytes
    }
}

/// Makes a directory and those above it that are missing. Their names are on disk when it returns: a founding that was confirmed must not go with the
/// folder that it stands in.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(parent)?.sync_all(),
    }
}

fn header(kind: &str) -> String {
    format!("muster-registry {kind} {VERSION}\n")
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value).map_err(io::Error::other)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, json) = (line.get(..8)?, line.get(9..)?);
    let sum_fits = sum == format!("{:08x}", crc32fast::hash(json)).as_bytes() && line.get(8) == Some(&b' ');
    if sum_fits { serde_json::from_slice(json).ok() } else { None }
}

/// The bytes of a file after its first line, if that is of this version.
enum Opened<'a> {
    Body(&'a [u8]),
    /// The first line is cut short.
    Torn,
    Newer(String),
    Damaged,
}

fn open_text<'a>(bytes: &'a [u8], kind: &str) -> Opened<'a> {
    let header = header(kind);
    if let Some(body) = bytes.strip_prefix(header.as_bytes()) {
        return Opened::Body(body);
    }
    if header.as_bytes().starts_with(bytes) {
        return Opened::Torn;
    }
    let first = bytes.split(|byte| *byte == b'\n').next().and_then(|first| std::str::from_utf8(first).ok());
    let version = first.and_then(|first| first.strip_prefix(&format!("muster-registry {kind} ")));
    match version {
        Some(version) if version.parse::<u32>().is_ok_and(|version| version > 1) => Opened::Newer(version.to_owned()),
        _ => Opened::Damaged,
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

fn read_foundings(path: &Path) -> Result<Option<BTreeMap<String, Founding>>, StoreError> {
    read(path)?.map(|bytes| parse_foundings(path, &bytes)).transpose()
}

fn parse_foundings(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Founding>, StoreError> {
    let damaged = |line| StoreError::Foundings { path: path.to_owned(), line };
    let body = match open_text(bytes, FOUNDINGS) {
        Opened::Body(body) => body,
        Opened::Newer(found) => return Err(StoreError::Newer { path: path.to_owned(), found }),
        Opened::Torn | Opened::Damaged => return Err(damaged(1)),
    };
    // The last line counts the others, so that a file that was cut short is not taken for a whole one.
    let lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
    let mut foundings = BTreeMap::new();
    for (at, text) in lines.iter().enumerate() {
        let Some(text) = text.strip_suffix(b"\n") else { return Err(damaged(at + 2)) };
        if at + 1 == lines.len() {
            let whole = parse::<usize>(text) == Some(at);
            return if whole { Ok(foundings) } else { Err(damaged(at + 2)) };
        }
        let FoundingLine { name, founding } = parse(text).ok_or_else(|| damaged(at + 2))?;
        foundings.insert(name, founding);
    }
    Err(damaged(2))
}

fn read_nodes(path: &Path) -> Result<Vec<Member>, StoreError> {
    read(path)?.map_or(Ok(Vec::new()), |bytes| parse_nodes(path, &bytes))
}

fn parse_nodes(path: &Path, bytes: &[u8]) -> Result<Vec<Member>, StoreError> {
    let damaged = |line| StoreError::Nodes { path: path.to_owned(), line };
    let body = match open_text(bytes, NODES) {
        Opened::Body(body) => body,
        Opened::Torn => {
            log::warn!("{}: cut short in its first line; no node is remembered", path.display());
            return Ok(Vec::new());
        }
        Opened::Newer(found) => return Err(StoreError::Newer { path: path.to_owned(), found }),
        Opened::Damaged => return Err(damaged(1)),
    };
    let mut nodes = BTreeMap::new();
    let mut torn = None;
    for (at, text) in body.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match (text.strip_suffix(b"\n").and_then(parse::<NodeLine>), torn) {
            // Something whole after something broken: that was no append cut short.
            (Some(_), Some(line)) => return Err(damaged(line)),
            (Some(NodeLine::Entered(member)), None) => {
                nodes.insert(member.id, member);
            }
            (Some(NodeLine::Left(id)), None) => {
                nodes.remove(&id);
            }
            (None, None) => torn = Some(at + 2),
            (None, Some(_)) => {}
        }
    }
    if let Some(line) = torn {
        log::warn!("{}: cut off a torn tail from line {line} on; {} nodes are remembered", path.display(), nodes.len());
    }
    Ok(nodes.into_values().collect())
}

/// For the fuzzing door: a file with any lines, and the right checksum before each.
#[cfg(test)]
pub(crate) fn take_any_nodes(bytes: &[u8]) {
    let path = Path::new("nodes");
    let _: Result<_, _> = parse_nodes(path, bytes);
    let _: Result<_, _> = parse_nodes(path, &summed(bytes));
}

/// For the fuzzing door, likewise.
#[cfg(test)]
pub(crate) fn take_any_foundings(bytes: &[u8]) {
    let path = Path::new("foundings");
    let _: Result<_, _> = parse_foundings(path, bytes);
    let _: Result<_, _> = parse_foundings(path, &summed(bytes));
}

#[cfg(test)]
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut summed = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        let json = line.get(9..).unwrap_or_default();
        let sum = crc32fast::hash(json.strip_suffix(b"\n").unwrap_or(json));
        summed.extend_from_slice(format!("{sum:08x} ").as_bytes());
        summed.extend_from_slice(json);
    }
    summed
}

#[cfg(test)]
pub(crate) fn some_nodes() -> Vec<Vec<u8>> {
    let member = |n: u128| {
        let said = r#"{"name":"n1","cluster":"muster","http":"0.0.0.0:8050","peer":"[::]:8051"}"#;
        let said = serde_json::from_str(said).unwrap();
        Member::new(Uuid::from_u128(n), said, std::net::Ipv4Addr::LOCALHOST.into()).unwrap()
    };
    let text = |lines: &[NodeLine]| {
        let lines: String = lines.iter().map(|entry| line(entry).unwrap()).collect();
        (header(NODES) + &lines).into_bytes()
    };
    let entered = |n| NodeLine::Entered(member(n));
    vec![
        text(&[]),
        text(&[entered(1)]),
        text(&[entered(1), entered(2), NodeLine::Left(Uuid::from_u128(1)), entered(3)]),
    ]
}

#[cfg(test)]
pub(crate) fn some_foundings() -> Vec<Vec<u8>> {
    let text = |many: u128| {
        let mut text = header(FOUNDINGS);
        for n in 1..=many {
            let founding = Founding { cluster_id: Uuid::from_u128(n), founder: Uuid::from_u128(n + 1) };
            text += &line(&FoundingLine { name: format!("c{n}"), founding }).unwrap();
        }
        (text + &line(&many).unwrap()).into_bytes()
    };
    (0..3).map(text).collect()
}

fn write_foundings(dir: &Path, foundings: &BTreeMap<String, Founding>) -> io::Result<()> {
    let mut text = header(FOUNDINGS);
    for (name, founding) in foundings {
        text += &line(&FoundingLine { name: name.clone(), founding: founding.clone() })?;
    }
    text += &line(&foundings.len())?;
    replace(dir, FOUNDINGS, &text).map(drop)
}

fn write_nodes<'a>(dir: &Path, nodes: impl IntoIterator<Item = &'a Member>) -> io::Result<(File, usize, u64)> {
    let mut text = header(NODES);
    let mut lines = 0;
    for member in nodes {
        text += &line(&NodeLine::Entered(member.clone()))?;
        lines += 1;
    }
    Ok((replace(dir, NODES, &text)?, lines, text.len() as u64))
}

/// Puts a whole new file in the place of an old one: synced, renamed, the directory synced. Returns it, at its end.
fn replace(dir: &Path, name: &str, text: &str) -> io::Result<File> {
    let fresh = dir.join(format!("{name}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, dir.join(name))?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn member(n: u128) -> Member {
        Member {
            id: id(n),
            name: format!("n{n}"),
            cluster: "muster".to_owned(),
            http: "n1.lan:8050".parse().unwrap(),
            peer: "[::1]:8051".parse().unwrap(),
            cluster_id: n.is_multiple_of(2).then(|| id(100)),
            expect: 3,
            replaces: Vec::new(),
            observed_ip: "10.0.0.1".parse().unwrap(),
        }
    }

    fn foundings(n: u128) -> BTreeMap<String, Founding> {
        (0..n).map(|n| (format!("c{n}"), Founding { cluster_id: id(100 + n), founder: id(n) })).collect()
    }

    /// A directory with two foundings and three nodes, one of which left.
    fn written() -> TempDir {
        let dir = TempDir::new().unwrap();
        let (mut store, memory) = Store::open(dir.path()).unwrap();
        assert!(!memory.remembers);
        store.record(&foundings(2)).unwrap();
        store.append((1..=3).map(|n| Change::Entered(member(n)))).unwrap();
        store.append([Change::Left(id(2))]).unwrap();
        dir
    }

    fn reopen(dir: &TempDir) -> Result<Memory, StoreError> {
        Store::open(dir.path()).map(|(_, memory)| memory)
    }

    #[test]
    fn what_was_written_is_remembered() {
        let dir = written();
        for _ in 0..2 {
            let memory = reopen(&dir).unwrap();
            assert!(memory.remembers);
            assert_eq!(memory.foundings, foundings(2));
            assert_eq!(memory.nodes, [member(1), member(3)]);
        }
    }

    #[test]
    fn a_directory_serves_one_registry_at_a_time() {
        let dir = TempDir::new().unwrap();
        let held = Store::open(dir.path()).unwrap();
        let refused = Store::open(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Locked(_)), "{refused}");
        drop(held);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_what_was_whole() {
        let dir = written();
        let path = dir.path().join(NODES);
        let whole = std::fs::read(&path).unwrap();
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let nodes = reopen(&dir).unwrap().nodes;
            let expected = match lines(&whole[..end]) {
                0 | 1 => vec![],
                2 => vec![member(1)],
                3 => vec![member(1), member(2)],
                _ => vec![member(1), member(2), member(3)],
            };
            assert_eq!(nodes, expected, "cut at {end}");
        }
    }

    #[test]
    fn after_a_repair_the_journal_goes_on() {
        let dir = written();
        let path = dir.path().join(NODES);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (mut store, memory) = Store::open(dir.path()).unwrap();
        assert_eq!(memory.nodes.len(), 3);
        store.append([Change::Left(id(1))]).unwrap();
        drop(store);
        assert_eq!(reopen(&dir).unwrap().nodes, [member(2), member(3)]);
    }

    #[test]
    fn a_flipped_bit_never_passes_for_a_node_that_was_not_there() {
        let dir = written();
        let path = dir.path().join(NODES);
        let whole = std::fs::read(&path).unwrap();
        let last_two: usize = whole.split_inclusive(|b| *b == b'\n').rev().take(1).map(<[u8]>::len).sum();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            match reopen(&dir) {
                Ok(memory) => {
                    // Only the last record can pass for a torn one; and the newline before it makes one line of two.
                    assert!(at + 1 >= whole.len() - last_two, "flip at {at} went unnoticed");
                    assert!(memory.nodes.iter().all(|node| (1..=3).any(|n| *node == member(n))));
                }
                Err(StoreError::Nodes { .. } | StoreError::Newer { .. }) => {}
                Err(other) => panic!("flip at {at}: {other}"),
            }
        }
    }

    #[test]
    fn foundings_cut_or_flipped_anywhere_are_refused() {
        let dir = written();
        let path = dir.path().join(FOUNDINGS);
        let whole = std::fs::read(&path).unwrap();
        let refuse = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = reopen(&dir).expect_err(what);
            assert!(matches!(error, StoreError::Foundings { .. } | StoreError::Newer { .. }), "{what}: {error}");
        };
        for end in 0..whole.len() {
            refuse(&whole[..end], &format!("cut at {end}"));
        }
        for at in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            refuse(&bytes, &format!("bit {at}"));
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        for name in [FOUNDINGS, NODES] {
            let dir = written();
            std::fs::write(dir.path().join(name), format!("muster-registry {name} 2\nwhatever\n")).unwrap();
            let message = reopen(&dir).unwrap_err().to_string();
            assert!(message.contains("format 2") && message.contains(name), "{message}");
        }
    }

    #[test]
    fn an_overgrown_journal_is_written_anew() {
        let dir = TempDir::new().unwrap();
        let (mut store, _) = Store::open(dir.path()).unwrap();
        let node = member(1);
        for _ in 0..=SLACK + 2 {
            store.append([Change::Entered(node.clone())]).unwrap();
        }
        assert!(store.is_overgrown(1));
        let before = store.journal_bytes();
        store.rewrite([&node]).unwrap();
        assert!(!store.is_overgrown(1));
        assert!(store.journal_bytes() < before / 100);
        drop(store);
        assert_eq!(reopen(&dir).unwrap().nodes, [node]);
    }
}
