//! The one thread that writes: takes all that waits, makes one write and one sync of it, then answers everybody.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_cluster::world;

use super::super::Position;
use super::control::{Control, Marks};
use super::file::LogFile;
use super::index::Extent;
use super::record::{self, Brand, Head, Kind, SALT_BITS};
use super::segment::{Header, START};
use super::{Callback, LogError, Record, Shared, State};

/// A group is written when it reaches this, even if more waits: bounds the buffer, and a group this long no longer gains from waiting.
const GROUP: usize = 4 << 20;

/// How long to wait before a write is tried again that found no room.
const RETRY: Duration = Duration::from_millis(500);

/// Something to be done, and who hears that it is.
pub(super) enum Job {
    Append(Vec<Record>, Callback),
    Truncate(Option<u64>, Callback),
    Purge(Position, Callback),
    Vote(Bytes, Callback),
}

impl Job {
    pub(super) fn answer(self, result: Result<(), LogError>) {
        match self {
            Self::Append(_, done) | Self::Truncate(_, done) | Self::Purge(_, done) | Self::Vote(_, done) => {
                done(result)
            }
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Append(..) => "Append",
            Self::Truncate(..) => "Truncate",
            Self::Purge(..) => "Purge",
            Self::Vote(..) => "Vote",
        })
    }
}

/// The segment that is written to.
struct Current {
    file: Arc<LogFile>,
    brand: Brand,
    size: u64,
    /// Where the next record goes.
    end: u64,
    /// Synced up to here.
    synced: u64,
}

/// The writer's own state; nobody else touches it.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    control: Control,
    marks: Marks,
    current: Option<Current>,
    /// Checksum of the last record.
    chain: u32,
    /// Encoded records that belong at `current.end - group.len()`.
    group: Vec<u8>,
    /// Where the entries of the group go.
    placed: Vec<(Position, u64)>,
}

/// Ends the thread.
enum Stop {
    /// The log is poisoned.
    Failed(String),
    /// The log was closed while there was no room.
    Closed,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, control: Control, marks: Marks, chain: u32) -> Self {
        let current = shared.lock().index.current().map(|segment| Current {
            file: segment.file.clone(),
            brand: segment.brand,
            size: segment.size,
            end: segment.end,
            synced: segment.end,
        });
        Self { shared, control, marks, current, chain, group: Vec::new(), placed: Vec::new() }
    }

    /// Does all that waits. False when that was the last.
    pub(super) fn turn(&mut self, mut state: MutexGuard<'_, State>) -> bool {
        let jobs = std::mem::take(&mut state.queue);
        if jobs.is_empty() && !state.committed_changed {
            return false;
        }
        // Taken under the same lock as the queue: what it speaks of was appended before.
        self.marks.committed = state.committed;
        state.committed_changed = false;
        drop(state);
        let mut jobs = jobs.into_iter();
        let mut waiting = Vec::new();
        let done = self.work(&mut jobs, &mut waiting);
        if let Err(stop) = done {
            self.fail(stop, waiting, jobs);
            return false;
        }
        true
    }

    /// Does the jobs in order. `waiting` holds those whose records are in the group.
    fn work(&mut self, jobs: &mut impl Iterator<Item = Job>, waiting: &mut Vec<Job>) -> Result<(), Stop> {
        for job in jobs {
            // In `waiting` before anything is done, so that it is answered whatever happens.
            waiting.push(job);
            match waiting.last() {
                None => {}
                Some(Job::Append(records, _)) => {
                    // The payloads are shared, so this copies no more than pointers.
                    for record in records.clone() {
                        self.add(Kind::Entry, record.position, &record.payload)?;
                    }
                }
                Some(Job::Truncate(last, _)) => {
                    let last = *last;
                    let position = Position { term: u64::from(last.is_some()), index: last.unwrap_or(0) };
                    self.add(Kind::Cut, position, &[])?;
                    self.write_group()?;
                    self.shared.lock().index.cut(last);
                    answer_all(waiting);
                }
                Some(Job::Purge(last, _)) => {
                    let last = *last;
                    self.write_group()?;
                    self.purge(last)?;
                    answer_all(waiting);
                }
                Some(Job::Vote(vote, _)) => {
                    let vote = vote.clone();
                    self.write_group()?;
                    self.control.write_vote(&vote)?;
                    self.shared.lock().vote = Some(vote);
                    answer_all(waiting);
                }
            }
        }
        self.write_group()?;
        answer_all(waiting);
        // Behind the answers: nobody waits for it, and nothing breaks if it is lost.
        Ok(self.control.write_marks(self.marks)?)
    }

    /// Puts a record into the group, in a new segment if it does not fit into this one.
    fn add(&mut self, kind: Kind, position: Position, payload: &[u8]) -> Result<(), Stop> {
        let size = record::size(payload.len()) as u64;
        if self.current.as_ref().is_none_or(|current| current.end + size > current.size) {
            self.write_group()?;
            self.roll(size)?;
        }
        let Some(current) = &mut self.current else { return Err(Stop::Closed) };
        let head = Head {
            kind,
            brand: current.brand,
            index: position.index,
            term: position.term,
            previous: self.chain,
            synced: current.synced as u32,
        };
        self.chain = record::encode(&head, payload, &mut self.group);
        if kind == Kind::Entry {
            self.placed.push((position, current.end));
        }
        current.end += size;
        if self.group.len() >= GROUP { self.write_group() } else { Ok(()) }
    }

    /// Writes and syncs the group, then makes it known to readers.
    fn write_group(&mut self) -> Result<(), Stop> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.group.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let offset = current.end - self.group.len() as u64;
        while let Err(error) = current.file.write_at(&self.group, offset) {
            // Nothing was synced, so nothing is in doubt: the same bytes may be written again. (Only file systems that copy on write run out
            // of room here.)
            if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                return Err(error.into());
            }
            self.shared.full.store(true, Ordering::Relaxed);
            if self.shared.lock().closed {
                return Err(Stop::Closed);
            }
            std::thread::sleep(RETRY);
        }
        current.file.sync()?;
        let took = started.elapsed();
        current.synced = current.end;
        self.marks.flushed = (current.brand.generation, current.end);
        let mut state = self.shared.lock();
        state.latency.record(took);
        for (position, offset) in self.placed.drain(..) {
            state.index.push(position, offset);
            if let Some(written) = state.unwritten.pop_front() {
                state.unwritten_bytes -= written.payload.len() as u64;
            }
        }
        state.index.set_end(current.end);
        drop(state);
        self.group.clear();
        // A group that was long once does not hold its memory for ever.
        self.group.shrink_to(GROUP / 4);
        Ok(())
    }

    /// Starts a segment that has room for a record of `size`.
    fn roll(&mut self, size: u64) -> Result<(), Stop> {
        let spares = &self.shared.spares;
        let large = START + size > spares.size;
        let file_size = if large { (START + size).next_multiple_of(START) } else { spares.size };
        let taken = if large { spares.make_large(file_size) } else { spares.take() };
        let Some(file) = taken else { return Err(Stop::Closed) };
        let (generation, previous_end) = match &self.current {
            Some(current) => (current.brand.generation + 1, current.end),
            None => (self.marks.first_generation, 0),
        };
        // 0 would be none. The odds are those of a guess.
        let salt = (world::random() >> (u64::BITS - SALT_BITS)).max(1);
        let brand = Brand { generation, salt };
        let header = Header { brand, size: file_size, previous_end, previous_checksum: self.chain };
        let (bytes, checksum) = header.encode();
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.chain = checksum;
        self.shared.lock().index.add_segment(file.clone(), brand, file_size, START);
        self.current = Some(Current { file, brand, size: file_size, end: START, synced: START });
        Ok(())
    }

    /// The marks first, synced: from then on what is purged is not missed. Then the segments.
    fn purge(&mut self, last: Position) -> Result<(), Stop> {
        let mut state = self.shared.lock();
        if state.index.purged().is_some_and(|purged| purged.index >= last.index) {
            return Ok(());
        }
        let free = state.index.purge(last);
        self.marks.purged = Some(last);
        self.marks.first_generation = state.index.first_generation().unwrap_or(self.marks.first_generation);
        drop(state);
        self.control.write_marks_synced(self.marks)?;
        for segment in free {
            self.shared.spares.give_back(segment.file, segment.size);
        }
        Ok(())
    }

    /// Answers everybody that nothing will be done any more.
    fn fail(&self, stop: Stop, waiting: Vec<Job>, rest: impl Iterator<Item = Job>) {
        let mut state = self.shared.lock();
        let error = match stop {
            Stop::Failed(reason) => {
                let reason = match &self.current {
                    Some(current) => format!("{}: {reason}", current.file.path.display()),
                    None => reason,
                };
                log::error!("the log failed: {reason}; check the disk and restart the node");
                state.failure = Some(reason.clone());
                LogError::Poisoned(reason)
            }
            Stop::Closed => LogError::Closed,
        };
        state.closed = true;
        let queued = std::mem::take(&mut state.queue);
        drop(state);
        for job in waiting.into_iter().chain(rest).chain(queued) {
            job.answer(Err(error.clone()));
        }
    }
}

fn answer_all(waiting: &mut Vec<Job>) {
    for job in waiting.drain(..) {
        job.answer(Ok(()));
    }
}

/// Reads the entries of an extent from the disk, and checks them.
pub(super) fn read_extent(extent: &Extent) -> Result<Vec<Record>, LogError> {
    let path = extent.file.path.display();
    let Some(start) = extent.offsets.first().copied() else { return Ok(Vec::new()) };
    let bytes = extent
        .file
        .read_at(start, (extent.end - start) as usize)
        .map_err(|error| LogError::Damaged(format!("{path}: cannot read at byte {start}: {error}; check the disk")))?;
    let bytes = Bytes::from(bytes);
    let mut records = Vec::with_capacity(extent.offsets.len());
    for (index, &offset) in (extent.first..).zip(&extent.offsets) {
        let at = (offset - start) as usize;
        let parsed = bytes.get(at..).and_then(|rest| record::parse(rest, extent.brand));
        let Some(parsed) = parsed.filter(|parsed| parsed.head.index == index) else {
            return Err(LogError::Damaged(format!(
                "{path}: the record of entry {index} at byte {offset} is damaged; replace this node's disk and data dir, it will be sent the data anew"
            )));
        };
        let payload = bytes.slice_ref(parsed.payload);
        records.push(Record { position: Position { term: parsed.head.term, index }, payload });
    }
    Ok(records)
}
