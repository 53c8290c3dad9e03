//! The calls of the kernel, on a platter, with what is wrong with it at the moment.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::content::{BLOCK, Content};
use super::platter::{Node, Platter};
use super::trouble::{Kind, Switch, Sync};

/// Nothing is kept by the kernel: what a power cut or rot has changed is seen at once.
const FRESH: Duration = Duration::ZERO;

/// A platter and its troubles; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Drive(pub(super) Arc<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    platter: Mutex<Platter>,
    pub(super) switch: Switch,
}

impl Drive {
    pub(super) fn new(capacity: u64) -> Self {
        Self(Arc::new(Parts { platter: Mutex::new(Platter::new(capacity)), switch: Switch::default() }))
    }

    /// Does it here, or on a thread of its own if it may have to wait. What is not to be done any more is answered with EIO.
    fn perform(&self, kind: Kind, call: impl FnOnce(&Parts) + Send + 'static) {
        if !self.0.switch.holds_up(kind) {
            return call(&self.0);
        }
        let parts = self.0.clone();
        std::thread::spawn(move || {
            // A reply that is dropped says EIO.
            if parts.switch.wait(kind) {
                call(&parts);
            }
        });
    }
}

impl Parts {
    pub(super) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_file(&self, number: u64) -> Result<(), Errno> {
        let has = |part: &str| self.platter().path(number).is_some_and(|path| path.to_string_lossy().contains(part));
        match self.switch.sync(|| self.platter().place(number).unwrap_or_default(), has) {
            Sync::Done => self.platter().sync(number),
            Sync::Lied => {}
            Sync::Died { done } => {
                if done {
                    self.platter().sync(number);
                }
                self.switch.wait(Kind::Sync);
                return Err(Errno::EIO);
            }
            Sync::Failed => {
                self.platter().drop_unsynced(number);
                return Err(Errno::EIO);
            }
        }
        Ok(())
    }

    fn write(&self, number: u64, at: u64, new: &[u8]) -> Result<(), Errno> {
        self.switch.check(Kind::Write)?;
        // The platter is let go first: a sync takes the switch, and then the platter.
        let written = self.platter().write(number, at, new);
        if written == Err(Errno::ENOSPC) {
            self.switch.note_full();
        }
        written
    }
}

fn attributes(platter: &Platter, number: u64) -> Result<FileAttr, Errno> {
    let (kind, size, perm, nlink) = match platter.get(number)? {
        Node::File(content) => (FileType::RegularFile, content.bytes.len() as u64, 0o644, 1),
        Node::Folder(_) => (FileType::Directory, BLOCK, 0o755, 2),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    })
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(found) => reply.entry(&FRESH, &found, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attribute(result: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(found) => reply.attr(&FRESH, &found),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Drive {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let platter = self.0.platter();
        entry(platter.find(parent.0, name).and_then(|number| attributes(&platter, number)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attribute(attributes(&self.0.platter(), ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.perform(Kind::Write, move |parts| {
            let mut platter = parts.platter();
            let set = size.map_or(Ok(()), |size| platter.set_length(ino.0, size));
            attribute(set.and_then(|()| attributes(&platter, ino.0)), reply);
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let name = name.to_owned();
        self.perform(Kind::Name, move |parts| {
            let mut platter = parts.platter();
            let made = platter.create(parent.0, &name, Node::Folder(Default::default()));
            entry(made.and_then(|number| attributes(&platter, number)), reply);
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.perform(Kind::Name, move |parts| answer(parts.platter().remove(parent.0, &name), reply));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.perform(Kind::Name, move |parts| answer(parts.platter().remove(parent.0, &name), reply));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        into: INodeNo,
        new: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new) = (name.to_owned(), new.to_owned());
        self.perform(Kind::Name, move |parts| {
            answer(parts.platter().rename((parent.0, &name), (into.0, &new)), reply);
        });
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.0.platter().open(ino.0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let name = name.to_owned();
        self.perform(Kind::Name, move |parts| {
            let mut platter = parts.platter();
            let made = platter.create(parent.0, &name, Node::File(Content::default()));
            match made.and_then(|number| attributes(&platter, number)) {
                Ok(made) => {
                    platter.open(made.ino.0);
                    reply.created(&FRESH, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.perform(Kind::Read, move |parts| {
            let checked = parts.switch.check(Kind::Read);
            let platter = parts.platter();
            match checked.and_then(|()| platter.read(ino.0, offset, size as usize)) {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(error),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = |result: Result<(), Errno>, length: usize, reply: ReplyWrite| match result {
            Ok(()) => reply.written(length as u32),
            Err(error) => reply.error(error),
        };
        if !self.0.switch.holds_up(Kind::Write) {
            return done(self.0.write(ino.0, offset, data), data.len(), reply);
        }
        let data = data.to_vec();
        self.perform(Kind::Write, move |parts| done(parts.write(ino.0, offset, &data), data.len(), reply));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.platter().close(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.perform(Kind::Sync, move |parts| answer(parts.sync_file(ino.0), reply));
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, data: bool, reply: ReplyEmpty) {
        self.fsync(request, ino, handle, data, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let platter = self.0.platter();
        let names = match platter.names(ino.0) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        for (next, (name, number)) in (1..).zip(names).skip(offset as usize) {
            let kind = match platter.get(*number) {
                Ok(Node::Folder(_)) => FileType::Directory,
                Ok(Node::File(_)) | Err(_) => FileType::RegularFile,
            };
            if reply.add(INodeNo(*number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let platter = self.0.platter();
        let (all, free) = (platter.capacity / BLOCK, platter.free() / BLOCK);
        reply.statfs(all, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32);
    }
}
