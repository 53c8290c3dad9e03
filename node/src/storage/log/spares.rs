//! Segments that are ready to be used: filled with zeros by a thread of their own, or recycled.
//!
//! One is made ahead, so that a roll does not wait for the zeros and a full disk is noticed one segment early: while the
//! writer still has room for votes, memberships and what is on its way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::driver;
use super::file::{LogFile, sync_dir};

/// How many recycled segments are kept: two rolls ahead of the purge. More are deleted, so that a log that was once long gives its room back.
const KEPT: usize = 2;

/// How often free space is looked at, and a failed attempt to make a segment repeated.
const INTERVAL: Duration = Duration::from_millis(500);

/// The pool.
#[derive(Debug)]
pub(super) struct Spares {
    pub(super) dir: PathBuf,
    pub(super) size: u64,
    pub(super) reserve: u64,
    pool: Mutex<Pool>,
    changed: Condvar,
    /// Less than half of the reserve is left.
    starved: AtomicBool,
    #[cfg(test)]
    pub(super) faults: Arc<super::file::Faults>,
}

#[derive(Debug, Default)]
struct Pool {
    ready: Vec<Arc<LogFile>>,
    /// The number of the last file that was made.
    highest_file: u64,
    /// Why none can be made.
    problem: Option<String>,
    free_bytes: u64,
    /// Who waits for room gives up.
    closing: bool,
    stopped: bool,
}

impl Spares {
    pub(super) fn new(dir: PathBuf, size: u64, reserve: u64, mut ready: Vec<Arc<LogFile>>, highest_file: u64) -> Self {
        for extra in ready.split_off(ready.len().min(KEPT)) {
            remove(&extra);
        }
        let pool = Pool { ready, highest_file, ..Pool::default() };
        Self {
            dir,
            size,
            reserve,
            pool: Mutex::new(pool),
            changed: Condvar::new(),
            starved: AtomicBool::new(false),
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    /// A segment, waiting for one as long as the disk is full; `None` if that is so when the log closes.
    pub(super) fn take(&self) -> Option<Arc<LogFile>> {
        if !driver::prepares(self) {
            return None;
        }
        let mut pool = self.lock();
        loop {
            if let Some(file) = pool.ready.pop() {
                self.changed.notify_all();
                return Some(file);
            }
            if pool.closing && pool.problem.is_some() {
                return None;
            }
            pool = self.changed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A segment of an unusual size, waiting likewise.
    pub(super) fn make_large(&self, size: u64) -> Option<Arc<LogFile>> {
        if !driver::prepares(self) {
            return None;
        }
        loop {
            match self.make(size) {
                Ok(file) => return Some(Arc::new(file)),
                Err(error) => self.lock().problem = Some(error.to_string()),
            }
            let pool = self.lock();
            if pool.closing {
                return None;
            }
            drop(self.changed.wait_timeout(pool, INTERVAL).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Takes back segments that hold nothing any more.
    pub(super) fn give_back(&self, file: Arc<LogFile>, size: u64) {
        let mut pool = self.lock();
        if size == self.size && pool.ready.len() < KEPT {
            pool.ready.push(file);
            self.changed.notify_all();
        } else {
            remove(&file);
        }
    }

    /// Whether there is no room, and bytes free.
    pub(super) fn room(&self) -> (Option<String>, u64) {
        let pool = self.lock();
        (pool.problem.clone(), pool.free_bytes)
    }

    /// Whether somebody else has taken half of the reserve as well.
    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Whether there is room for all that is kept in reserve and a segment, as of now.
    pub(super) fn has_room(&self) -> bool {
        free_bytes(&self.dir).is_none_or(|free| free >= self.reserve + self.size)
    }

    /// Number of files ready.
    pub(super) fn count(&self) -> u64 {
        self.lock().ready.len() as u64
    }

    /// Lets nobody wait for room any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Ends [`Self::run`].
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Makes segments ahead and watches the room, until stopped. `report` hears whether the disk is full.
    #[cfg_attr(simulated, expect(dead_code, reason = "there are no threads"))]
    pub(super) fn run(&self, report: impl Fn(bool)) {
        loop {
            self.refill();
            let pool = self.lock();
            report(pool.problem.is_some());
            if pool.stopped {
                return;
            }
            if pool.ready.is_empty() && pool.problem.is_none() {
                continue;
            }
            drop(self.changed.wait_timeout(pool, INTERVAL).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Makes a segment if none is ready, and notes whether there is room.
    pub(super) fn refill(&self) {
        let free_bytes = free_bytes(&self.dir);
        let needed = self.lock().ready.is_empty();
        // The reserve is for the state: what it was handed and keeps in memory must find room, or its engine is lost until a restart.
        self.starved.store(free_bytes.is_some_and(|free| free < self.reserve / 2), Ordering::Relaxed);
        let short = free_bytes.filter(|free| *free < self.reserve + if needed { self.size } else { 0 });
        let made = match short {
            Some(free) => {
                Err(std::io::Error::other(format!("{free} bytes are free, {} are kept in reserve", self.reserve)))
            }
            None if needed => self.make(self.size).map(Some),
            None => Ok(None),
        };
        let mut pool = self.lock();
        pool.free_bytes = free_bytes.unwrap_or(0);
        let problem = match made {
            Err(error) => Some(error.to_string()),
            Ok(file) => {
                pool.ready.extend(file.map(Arc::new));
                None
            }
        };
        if problem.is_some() != pool.problem.is_some() {
            match &problem {
                Some(problem) => log::error!(
                    "{}: no further segment can be made for the log: {problem}; writes are refused until one can",
                    self.dir.display()
                ),
                None => log::info!("{}: there is room for the log again", self.dir.display()),
            }
        }
        pool.problem = problem;
        self.changed.notify_all();
    }

    fn make(&self, size: u64) -> std::io::Result<LogFile> {
        let number = {
            let mut pool = self.lock();
            pool.highest_file += 1;
            pool.highest_file
        };
        let path = self.dir.join(format!("{number:010}.seg"));
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests put their faults in"))]
        let mut file = LogFile::create(&path)?;
        #[cfg(test)]
        {
            file.faults = self.faults.clone();
        }
        file.zero(0, size).and_then(|()| sync_dir(&self.dir)).inspect_err(|_| remove(&file))?;
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // Every change is made of infallible steps, so a panic elsewhere cannot have left half of one.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(file: &LogFile) {
    if let Err(error) = std::fs::remove_file(&file.path) {
        log::warn!("{}: cannot remove: {error}", file.path.display());
    }
}

/// Bytes that this process may still write on the file system of `dir`; `None` if the system does not say.
pub(in crate::storage) fn free_bytes(dir: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
