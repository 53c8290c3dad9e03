//! What a disk holds, in memory: files and folders, and for each of them what it would take to undo all that was not synced.
//!
//! The strict reading of POSIX: what was written is on the disk once its file was synced, a name once its folder was. File systems often keep
//! more; nobody may count on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use fuser::Errno;
use rand::RngExt;
use rand::rngs::StdRng;

use super::content::Content;

/// 512 bytes: what a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The number of the top folder.
pub(super) const TOP: u64 = 1;

/// Files and folders by number.
#[derive(Debug)]
pub(super) struct Platter {
    nodes: BTreeMap<u64, Node>,
    last: u64,
    /// The newest last.
    unsynced: BTreeMap<u64, Vec<Undo>>,
    /// How often each is open: what has no name any more stays as long as it is.
    opened: BTreeMap<u64, usize>,
    /// Bytes that fit.
    pub(super) capacity: u64,
}

#[derive(Debug)]
pub(super) enum Node {
    File(Content),
    Folder(BTreeMap<OsString, u64>),
}

#[derive(Debug)]
enum Undo {
    /// These bytes stood there, in a file of this length.
    Bytes { at: usize, old: Vec<u8>, length: usize },
    /// The name meant this.
    Name { name: OsString, before: Option<u64> },
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Writes that were not synced and are gone.
    pub writes: usize,
    /// Writes that were not synced and are there in part.
    pub torn: usize,
    /// Names that came or went and were not synced.
    pub names: usize,
}

impl Platter {
    pub(super) fn new(capacity: u64) -> Self {
        let nodes = BTreeMap::from([(TOP, Node::Folder(BTreeMap::new()))]);
        Self { nodes, last: TOP, unsynced: BTreeMap::new(), opened: BTreeMap::new(), capacity }
    }

    pub(super) fn get(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn names(&self, folder: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        match self.get(folder)? {
            Node::Folder(names) => Ok(names),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(folder)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn file(&mut self, number: u64) -> Result<&mut Content, Errno> {
        match self.nodes.get_mut(&number).ok_or(Errno::ENOENT)? {
            Node::File(content) => Ok(content),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    /// A new file or folder.
    pub(super) fn create(&mut self, folder: u64, name: &OsStr, node: Node) -> Result<u64, Errno> {
        if self.names(folder)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        self.nodes.insert(self.last, node);
        self.name(folder, name, Some(self.last))?;
        Ok(self.last)
    }

    /// Takes a name away.
    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), Errno> {
        if let Node::Folder(names) = self.get(self.find(folder, name)?)?
            && !names.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.name(folder, name, None)
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let moved = self.find(from.0, from.1)?;
        if self.find(to.0, to.1).is_ok() {
            self.remove(to.0, to.1)?;
        }
        self.name(from.0, from.1, None)?;
        self.name(to.0, to.1, Some(moved))
    }

    fn name(&mut self, folder: u64, name: &OsStr, now: Option<u64>) -> Result<(), Errno> {
        let Some(Node::Folder(names)) = self.nodes.get_mut(&folder) else { return Err(Errno::ENOTDIR) };
        let before = match now {
            Some(number) => names.insert(name.to_owned(), number),
            None => names.remove(name),
        };
        self.unsynced.entry(folder).or_default().push(Undo::Name { name: name.to_owned(), before });
        Ok(())
    }

    pub(super) fn read(&self, number: u64, at: u64, length: usize) -> Result<&[u8], Errno> {
        match self.get(number)? {
            Node::File(content) => {
                let bytes = &content.bytes;
                let from = (at as usize).min(bytes.len());
                Ok(&bytes[from..from.saturating_add(length).min(bytes.len())])
            }
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub(super) fn write(&mut self, number: u64, at: u64, new: &[u8]) -> Result<(), Errno> {
        let at = at as usize;
        let missing = self.file(number)?.missing(at, new.len());
        if missing > 0 && missing > self.free() {
            return Err(Errno::ENOSPC);
        }
        let content = self.file(number)?;
        let length = content.bytes.len();
        let old = content.bytes[at.min(length)..(at + new.len()).min(length)].to_vec();
        content.put(at, new);
        self.unsynced.entry(number).or_default().push(Undo::Bytes { at, old, length });
        Ok(())
    }

    pub(super) fn set_length(&mut self, number: u64, length: u64) -> Result<(), Errno> {
        let content = self.file(number)?;
        let (before, length) = (content.bytes.len(), length as usize);
        let at = length.min(before);
        let undo = Undo::Bytes { at, old: content.bytes[at..].to_vec(), length: before };
        content.resize(length);
        self.unsynced.entry(number).or_default().push(undo);
        Ok(())
    }

    /// What was done to it so far is on the disk.
    pub(super) fn sync(&mut self, number: u64) {
        if self.unsynced.remove(&number).is_some() && matches!(self.nodes.get(&number), Some(Node::Folder(_))) {
            self.collect();
        }
    }

    /// What was done to a file since its last sync is gone, as after a sync that failed: the system takes the pages for clean.
    pub(super) fn drop_unsynced(&mut self, number: u64) {
        for undo in self.unsynced.remove(&number).into_iter().flatten().rev() {
            self.undo(number, undo);
        }
    }

    /// Takes back all that was not synced; with chance, each write may also be there in whole or in part, as a disk that writes in an order
    /// of its own leaves them.
    pub(super) fn power_off(&mut self, mut chance: Option<&mut StdRng>) -> Lost {
        let mut lost = Lost::default();
        self.opened.clear();
        for (number, undos) in std::mem::take(&mut self.unsynced) {
            let mut done = Vec::new();
            for undo in undos.into_iter().rev() {
                match &undo {
                    Undo::Name { .. } => lost.names += 1,
                    Undo::Bytes { at, length, old } => {
                        lost.writes += 1;
                        // What the write had made of it; its own length is known from what stands there before the next one.
                        if let Some(Node::File(content)) = self.nodes.get(&number) {
                            let new = content.bytes.get(*at..).unwrap_or_default();
                            let end = if content.bytes.len() > *length { new.len() } else { old.len().min(new.len()) };
                            done.push((*at, new[..end].to_vec()));
                        }
                    }
                }
                self.undo(number, undo);
            }
            let (Some(chance), Some(Node::File(content))) = (chance.as_deref_mut(), self.nodes.get_mut(&number)) else {
                continue;
            };
            for (at, new) in done.into_iter().rev() {
                let sectors = new.len().div_ceil(SECTOR);
                let kept = match chance.random_range(0..3) {
                    0 => continue,
                    1 => chance.random_range(0..=sectors) * SECTOR,
                    _ => new.len(),
                };
                let kept = kept.min(new.len());
                lost.writes -= usize::from(kept == new.len());
                lost.torn += usize::from(0 < kept && kept < new.len());
                content.put(at, &new[..kept]);
            }
        }
        self.collect();
        lost
    }

    fn undo(&mut self, number: u64, undo: Undo) {
        match (self.nodes.get_mut(&number), undo) {
            (Some(Node::File(content)), Undo::Bytes { at, old, length }) => {
                content.bytes.resize(length, 0);
                content.bytes[at.min(length)..][..old.len()].copy_from_slice(&old);
            }
            (Some(Node::Folder(names)), Undo::Name { name, before }) => {
                match before {
                    Some(before) => names.insert(name, before),
                    None => names.remove(&name),
                };
            }
            (_, Undo::Bytes { .. } | Undo::Name { .. }) => {}
        }
    }

    pub(super) fn open(&mut self, number: u64) {
        *self.opened.entry(number).or_default() += 1;
    }

    pub(super) fn close(&mut self, number: u64) {
        if let Some(count) = self.opened.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.opened.remove(&number);
                self.collect();
            }
        }
    }

    /// Forgets what nobody can come to any more, nor could after a power cut.
    fn collect(&mut self) {
        let undone = self.unsynced.values().flatten().filter_map(|undo| match undo {
            Undo::Name { before, .. } => *before,
            Undo::Bytes { .. } => None,
        });
        let mut next: Vec<u64> = undone.chain(self.opened.keys().copied()).chain([TOP]).collect();
        let mut reached = BTreeSet::new();
        while let Some(number) = next.pop() {
            if reached.insert(number)
                && let Some(Node::Folder(names)) = self.nodes.get(&number)
            {
                next.extend(names.values());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
        self.unsynced.retain(|number, _| reached.contains(number));
    }

    /// Bytes that files take.
    pub(super) fn used(&self) -> u64 {
        let taken = |node: &Node| match node {
            Node::File(content) => content.room(),
            Node::Folder(_) => 0,
        };
        self.nodes.values().map(taken).sum()
    }

    /// Bytes left.
    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// All files, with their paths.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = self.places();
        files.retain(|(_, number)| matches!(self.nodes.get(number), Some(Node::File(_))));
        files
    }

    /// All files and folders, with their paths.
    fn places(&self) -> Vec<(PathBuf, u64)> {
        let (mut places, mut next) = (Vec::new(), vec![(PathBuf::new(), TOP)]);
        while let Some((path, number)) = next.pop() {
            if let Some(Node::Folder(names)) = self.nodes.get(&number) {
                next.extend(names.iter().map(|(name, number)| (path.join(name), *number)));
            }
            places.push((path, number));
        }
        places.sort();
        places
    }

    /// A file's path.
    pub(super) fn path(&self, number: u64) -> Option<PathBuf> {
        self.files().into_iter().find_map(|(path, known)| (known == number).then_some(path))
    }

    /// The path of a file or a folder.
    pub(super) fn place(&self, number: u64) -> Option<PathBuf> {
        self.places().into_iter().find_map(|(path, known)| (known == number).then_some(path))
    }

    /// Changes a file behind everybody's back.
    pub(super) fn rot<T>(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
        let number = self.files().into_iter().find_map(|(known, number)| (known == path).then_some(number))?;
        self.file(number).ok().map(|content| change(&mut content.bytes))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::content::BLOCK;
    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn file() -> Node {
        Node::File(Content::default())
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let mut disk = Platter::new(1 << 20);
        let kept = disk.create(TOP, name("kept"), file()).unwrap();
        disk.write(kept, 0, b"one two").unwrap();
        disk.sync(kept);
        disk.sync(TOP);
        disk.write(kept, 4, b"three").unwrap();
        disk.write(kept, 20, b"far").unwrap();
        disk.set_length(kept, 2).unwrap();
        let fresh = disk.create(TOP, name("fresh"), file()).unwrap();
        disk.write(fresh, 0, b"x").unwrap();
        disk.rename((TOP, name("kept")), (TOP, name("moved"))).unwrap();
        assert_eq!(disk.power_off(None), Lost { writes: 4, torn: 0, names: 3 });
        assert_eq!(disk.names(TOP).unwrap().keys().collect::<Vec<_>>(), ["kept"]);
        assert_eq!(disk.read(kept, 0, 100).unwrap(), b"one two");
        assert!(disk.get(fresh).is_err(), "nobody can come to it");
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors_of_what_was_written_and_never_anything_else() {
        let (mut torn, mut whole) = (0, 0);
        for seed in 0..50 {
            let mut disk = Platter::new(1 << 20);
            let number = disk.create(TOP, name("file"), file()).unwrap();
            disk.write(number, 0, &[1; 4096]).unwrap();
            disk.sync(number);
            disk.sync(TOP);
            disk.write(number, 0, &[2; 2048]).unwrap();
            disk.write(number, 2048, &[3; 2048]).unwrap();
            let lost = disk.power_off(Some(&mut StdRng::seed_from_u64(seed)));
            let bytes = disk.read(number, 0, 5000).unwrap();
            assert_eq!(bytes.len(), 4096);
            for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
                assert!(sector[0] == 1 || sector[0] == if at < 4 { 2 } else { 3 });
            }
            torn += lost.torn;
            whole += 2 - lost.writes;
        }
        assert!(torn > 5 && whole > 5, "{torn} torn, {whole} whole");
    }

    #[test]
    fn a_failed_sync_drops_the_data_and_the_next_one_brings_nothing_back() {
        let mut disk = Platter::new(1 << 20);
        let number = disk.create(TOP, name("file"), file()).unwrap();
        disk.write(number, 0, b"old").unwrap();
        disk.sync(number);
        disk.write(number, 0, b"new").unwrap();
        disk.drop_unsynced(number);
        disk.sync(number);
        assert_eq!(disk.read(number, 0, 3).unwrap(), b"old");
    }

    #[test]
    fn holes_take_no_room_and_a_full_disk_takes_what_stands_already() {
        let mut disk = Platter::new(2 * BLOCK);
        let number = disk.create(TOP, name("file"), file()).unwrap();
        disk.set_length(number, 1 << 20).unwrap();
        assert_eq!(disk.used(), 0);
        disk.write(number, 10 * BLOCK, &[1; 2 * BLOCK as usize]).unwrap();
        assert_eq!(disk.free(), 0);
        assert_eq!(disk.write(number, 0, b"x"), Err(Errno::ENOSPC));
        disk.write(number, 11 * BLOCK, b"again").unwrap();
        assert_eq!(disk.read(number, 0, 1).unwrap(), [0]);
    }

    #[test]
    fn what_has_no_name_stays_while_it_is_open() {
        let mut disk = Platter::new(1 << 20);
        let number = disk.create(TOP, name("file"), file()).unwrap();
        disk.open(number);
        disk.remove(TOP, name("file")).unwrap();
        disk.sync(TOP);
        disk.write(number, 0, b"x").unwrap();
        disk.close(number);
        assert!(disk.get(number).is_err());
    }
}
