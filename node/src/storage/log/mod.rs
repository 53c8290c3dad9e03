//! The segmented log: records in order, on disk before they are answered for. Knows nothing of what is in them.
//!
//! ```text
//! append ──> queue ──> writer thread: all that waits becomes one write and one fdatasync ──> callbacks, in order
//!   │                      │
//!   └── readable at once   ├── segments: zero-filled once, recycled when purged   (docs/storage.md has the bytes)
//!                          └── control: the vote, and the marks that make damage detectable
//! ```
//!
//! - A failed sync is never retried: what the disk then holds is unknown. The log is *poisoned*: everything fails from there on, with the reason.
//! - No room for the next segment is a state: what waits goes on waiting, [`Log::is_full`] says so one segment earlier, and all clears by itself.
//! - It does no caching beyond what is not written yet; [`recent`] is for that.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::{OpenError, Position};

mod control;
// Threads and the system's files, or what stands for them in a simulated world.
#[cfg(not(simulated))]
mod driver;
#[cfg(simulated)]
#[path = "simulated.rs"]
mod driver;
mod file;
mod index;
mod latency;
pub mod recent;
mod record;
pub(super) use record::{u32_at, u64_at};
mod recovery;
mod segment;
mod spares;
mod writer;

#[cfg(test)]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;

use control::{Control, Marks};
use driver::Bell;

pub(super) use file::{create_dir, sync_dir};
use index::Index;
use latency::Latency;

use spares::Spares;
pub(super) use spares::free_bytes;
use writer::{Job, Writer};

/// Hears whether what was asked for is on disk, on the writer's thread: it must not block.
pub type Callback = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    pub payload: Bytes,
}

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The last entry that was purged.
    pub purged: Option<Position>,
    /// The last entry, or the last purged one if there is none.
    pub last: Option<Position>,
}

/// How to open a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Size of a segment; a longer record gets a longer one.
    pub segment_bytes: u64,
    /// With less than this free on the file system the disk counts as full.
    pub reserve_bytes: u64,
}

/// Why the log did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk failed; the log takes nothing any more until the process is started again. What was not answered is unknown.
    #[error("the log failed and takes nothing any more: {0}; check the disk and restart the node")]
    Poisoned(String),
    /// What was read is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// The caller left a hole, or a record is too long; nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The log was closed; nothing was written.
    #[error("the log is closed")]
    Closed,
}

/// Figures for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Bytes that the files take.
    pub bytes: u64,
    /// Bytes left on the file system when it was last looked at.
    pub free_bytes: u64,
    /// Median of the last syncs.
    pub sync_p50: Duration,
    /// 99th percentile of the last syncs.
    pub sync_p99: Duration,
}

/// The log. All methods may be called from any thread; only reads that miss the memory touch the disk.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Bell,
    spares: Spares,
    full: AtomicBool,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Entries that are readable but not written yet.
    unwritten: VecDeque<Record>,
    unwritten_bytes: u64,
    queue: Vec<Job>,
    vote: Option<Bytes>,
    committed: Option<Position>,
    committed_changed: bool,
    /// The writer is at work, or wakes by itself before long: it need not be woken for the marks alone.
    wakes_soon: bool,
    latency: Latency,
    failure: Option<String>,
    closed: bool,
}

impl Log {
    /// Opens the log in `dir`, or creates one.
    pub fn open(dir: &Path, options: &LogOptions) -> Result<Self, OpenError> {
        create_dir(dir).map_err(|error| OpenError::io("create", dir, error))?;
        let path = dir.join("control");
        let exists = path.try_exists().map_err(|error| OpenError::io("look for", &path, error))?;
        let (mut control, contents) = if exists {
            Control::open(&path)?
        } else {
            let marks = Marks { first_generation: 1, ..Marks::default() };
            let found = recovery::recover(dir, &marks, options.segment_bytes)?;
            if found.index.current().is_some() {
                return Err(OpenError::damaged(&path, 0, "the file is missing, but there are segments of a log"));
            }
            (Control::create(&path, marks)?, control::Contents { vote: None, marks })
        };
        let marks = contents.marks;
        let recovered = recovery::recover(dir, &marks, options.segment_bytes)?;
        // What is refused above was left as it is. From here on the vote is told and segments that are purged by the marks go.
        control.settle()?;
        for path in &recovered.misfits {
            std::fs::remove_file(path).map_err(|error| OpenError::io("remove", path, error))?;
        }
        let spares = Spares::new(
            dir.to_owned(),
            options.segment_bytes,
            options.reserve_bytes,
            recovered.spares,
            recovered.highest_file,
        );
        let state = State {
            index: recovered.index,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            queue: Vec::new(),
            vote: contents.vote.map(Bytes::from),
            committed: marks.committed,
            committed_changed: false,
            wakes_soon: false,
            latency: Latency::default(),
            failure: None,
            closed: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Bell::default(), spares, full: AtomicBool::new(false) });
        let writer = Writer::new(shared.clone(), control, marks, recovered.checksum);
        let threads =
            driver::start(&shared, writer).map_err(|error| OpenError::io("start a thread for", dir, error))?;
        Ok(Self { shared, threads })
    }

    /// Adds entries. They can be read when this returns and are on disk when `done` hears so.
    pub fn append(&self, records: Vec<Record>, done: Callback) -> Result<(), LogError> {
        let mut state = self.shared.lock();
        state.check()?;
        let mut last = state.last();
        let mut is_empty = state.index.is_empty() && state.unwritten.is_empty();
        for record in &records {
            let index = record.position.index;
            if !Index::may_follow(last, is_empty, index) {
                return Err(LogError::Refused(format!("entry {index} does not follow {last:?}")));
            }
            if record.payload.len() as u64 > MAX_PAYLOAD {
                return Err(LogError::Refused(format!(
                    "entry {index} has {} bytes; {MAX_PAYLOAD} is the most",
                    record.payload.len()
                )));
            }
            (last, is_empty) = (Some(record.position), false);
        }
        state.unwritten_bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        state.unwritten.extend(records.iter().cloned());
        state.queue.push(Job::Append(records, done));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Makes void every entry behind `last` (that one stays; `None`: all). Done, for readers too, when `done` hears so.
    pub fn truncate_after(&self, last: Option<u64>, done: Callback) {
        self.enqueue(Job::Truncate(last, done));
    }

    /// Makes void every entry up to `last` (that one too), and recycles segments that hold nothing else. What is behind it must not be needed any more:
    /// the caller knows that the state is on disk that far. The log may be shorter than that; it then continues behind it.
    pub fn purge(&self, last: Position, done: Callback) {
        self.enqueue(Job::Purge(last, done));
    }

    /// Replaces the vote: a few bytes that mean nothing to the log.
    pub fn save_vote(&self, vote: Bytes, done: Callback) {
        self.enqueue(Job::Vote(vote, done));
    }

    /// Hears when all that was asked for before is on disk.
    pub fn barrier(&self, done: Callback) {
        self.enqueue(Job::Append(Vec::new(), done));
    }

    /// Notes that entries up to here are committed. Written soon, and only after them; may be forgotten by a crash.
    pub fn save_committed(&self, committed: Option<Position>) {
        let mut state = self.shared.lock();
        state.committed = committed;
        state.committed_changed = true;
        let wakes_soon = state.wakes_soon;
        drop(state);
        if !wakes_soon {
            self.shared.work.notify_one();
        }
    }

    /// The vote that was saved last.
    pub fn vote(&self) -> Option<Bytes> {
        self.shared.lock().vote.clone()
    }

    /// The last entry that was noted as committed.
    pub fn committed(&self) -> Option<Position> {
        self.shared.lock().committed
    }

    /// Where the log begins and ends.
    pub fn bounds(&self) -> Bounds {
        let state = self.shared.lock();
        Bounds { purged: state.index.purged(), last: state.last() }
    }

    /// The entries from `from` up to `to` (excluded); those that are not there, at either end, are left out. At most `limit` bytes of payload, but one
    /// entry at least. Blocks on the disk for those that are written already.
    pub fn read(&self, from: u64, to: u64, limit: u64) -> Result<Vec<Record>, LogError> {
        loop {
            let state = self.shared.lock();
            let purged = state.index.purged();
            let extents = state.index.locate(from, to, limit);
            let in_range = |record: &&Record| (from..to).contains(&record.position.index);
            let waiting: Vec<Record> = state.unwritten.iter().filter(in_range).cloned().collect();
            drop(state);
            match read_all(&extents, waiting, limit) {
                // Recycled while it was read: no damage.
                Err(_) if self.shared.lock().index.purged() != purged => {}
                result => return result,
            }
        }
    }

    /// Whether new entries should be refused for want of room (507). Clears by itself. Cheap: ask before each proposal.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Whether the state, too, should take nothing more for now: a good part of what is kept in reserve for it is gone. Clears by itself.
    pub fn is_starved(&self) -> bool {
        self.shared.spares.is_starved()
    }

    /// Whether there is room for the log and for what is kept in reserve for the state, as of now.
    pub fn has_room(&self) -> bool {
        self.shared.spares.has_room()
    }

    /// Why the log takes nothing any more (a failed fsync is never retried), if so. Only a restart helps.
    pub fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Bytes of entries that wait to be written.
    pub fn waiting_bytes(&self) -> u64 {
        self.shared.lock().unwritten_bytes
    }

    /// Bytes of records in segments that are in use: what a purge could free, for deciding when to take a snapshot.
    pub fn live_bytes(&self) -> u64 {
        self.shared.lock().index.bytes()
    }

    /// The highest index that may be purged so that what is behind it takes at least `keep` bytes. Whole segments only.
    pub fn index_keeping(&self, keep: u64) -> Option<u64> {
        self.shared.lock().index.keeping(keep)
    }

    /// Figures for people.
    pub fn status(&self) -> LogStatus {
        let (_, free_bytes) = self.shared.spares.room();
        let state = self.shared.lock();
        let (sync_p50, sync_p99) = state.latency.percentiles();
        let used: u64 = state.index.segments().map(|segment| segment.size).sum();
        LogStatus { bytes: used + self.shared.spares.count() * self.shared.spares.size, free_bytes, sync_p50, sync_p99 }
    }

    fn enqueue(&self, job: Job) {
        let mut state = self.shared.lock();
        if let Err(error) = state.check() {
            drop(state);
            return job.answer(Err(error));
        }
        state.queue.push(job);
        drop(state);
        self.shared.work.notify_one();
    }
}

/// The longest payload: far above the longest value, far below what offsets of 32 bits reach.
const MAX_PAYLOAD: u64 = 1 << 30;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made of infallible steps, so a panic elsewhere cannot have left half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), LogError> {
        match &self.failure {
            Some(reason) => Err(LogError::Poisoned(reason.clone())),
            None if self.closed => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    /// The last entry, written or not.
    fn last(&self) -> Option<Position> {
        self.unwritten.back().map(|record| record.position).or(self.index.last())
    }
}

impl Drop for Log {
    /// Writes what waits, unless the disk is full, and ends the threads.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.spares.close();
        self.shared.work.notify_one();
        // The writer first: it may need a segment more.
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the log panicked");
            }
            self.shared.spares.stop();
        }
    }
}

/// What is written, then what waits to be, as far as one follows the other and the limit allows.
fn read_all(extents: &[index::Extent], waiting: Vec<Record>, limit: u64) -> Result<Vec<Record>, LogError> {
    let mut records = Vec::new();
    for extent in extents {
        records.extend(writer::read_extent(extent)?);
    }
    let mut bytes: u64 = records.iter().map(|record| record.payload.len() as u64).sum();
    for record in waiting {
        let follows = records.last().is_none_or(|last| last.position.index + 1 == record.position.index);
        bytes += record.payload.len() as u64;
        if !follows || (bytes > limit && !records.is_empty()) {
            break;
        }
        records.push(record);
    }
    Ok(records)
}
