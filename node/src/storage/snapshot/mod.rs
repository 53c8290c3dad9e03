//! Snapshots: the whole state as a stream of frames, in bounded memory on both sides.
//!
//! ```text
//! sender:   state ──view──> reader ──frames──> network
//! receiver: network ──frames──> writer ──> a state of its own beside the present one ──finish──> staged ──install──> the state
//! ```
//!
//! Nothing is copied to make one: it is read from the engine while it is sent. Nothing that was received is visible before all of it was checked and is on disk.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use fjall::{PersistMode, Readable};

use super::Position;
use super::state::{Generation, StateError, applied_position, is_applied_row, write_applied_again};

mod frame;

#[cfg(test)]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;

use frame::Frame;

/// Rows are framed together until they take this: few system calls, little memory.
const FRAME: usize = 256 << 10;

/// No frame is longer: the largest value, its key, and what comes before it.
pub const MAX_FRAME: usize = 20 << 20;

/// Frames that wait for the receiver's disk; when full, the network waits.
const FRAMES_WAITING: usize = 2;

/// A consistent view of the state, to be sent. Later writes do not show in it.
///
/// While it lives the engine keeps the memtables and tables of its time, beside newer ones.
pub struct SnapshotView {
    pub(super) generation: Arc<Generation>,
    pub(super) snapshot: fjall::Snapshot,
    pub(super) applied: Option<Position>,
    pub(super) membership: Option<Bytes>,
}

/// Reads a view as frames.
pub struct SnapshotReader {
    generation: Arc<Generation>,
    rows: fjall::Iter,
    /// A row that did not fit into the last frame.
    left: Option<(fjall::UserKey, fjall::UserValue)>,
    frames: u64,
    count: u64,
    bytes: u64,
    expected_bytes: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Rows,
    Done,
}

/// Takes frames, checks each, and builds a state of its own beside the present one.
pub struct SnapshotWriter {
    frames: u64,
    last_key: Vec<u8>,
    count: u64,
    ended: bool,
    has_applied: bool,
    failed: bool,
    sender: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<Result<Generation, StateError>>>,
}

/// A complete, checked state beside the present one; discarded when dropped without being installed.
#[derive(Debug)]
pub struct StagedSnapshot {
    pub(super) generation: Generation,
    applied: Option<Position>,
}

impl StagedSnapshot {
    /// The last entry that is in it.
    pub fn applied(&self) -> Option<Position> {
        self.applied
    }
}

impl SnapshotView {
    /// The last entry that is in it.
    pub fn applied(&self) -> Option<Position> {
        self.applied
    }

    /// The membership that is in it, as replication encodes it.
    pub fn membership(&self) -> Option<&Bytes> {
        self.membership.as_ref()
    }

    /// Reads it from the beginning.
    pub fn reader(&self) -> Result<SnapshotReader, StateError> {
        let rows = self.generation.rows()?;
        Ok(SnapshotReader {
            rows: self.snapshot.iter(rows),
            left: None,
            frames: 0,
            count: 0,
            bytes: 0,
            expected_bytes: rows.disk_space().max(1),
            generation: self.generation.clone(),
            stage: Stage::Head,
        })
    }
}

impl SnapshotReader {
    /// The next frame (about 256 KiB, more when one value is bigger, at most [`MAX_FRAME`]), `None` behind the last. Blocks on the disk.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, StateError> {
        let frame = match self.stage {
            Stage::Head => {
                self.stage = Stage::Rows;
                frame::head()
            }
            Stage::Rows => match self.rows_frame()? {
                Some(frame) => frame,
                None => {
                    self.stage = Stage::Done;
                    frame::end(self.frames, self.count)
                }
            },
            Stage::Done => return Ok(None),
        };
        self.frames += 1;
        Ok(Some(Bytes::from(frame)))
    }

    /// How much has been read, 0 to 100; an estimate, since what is in memory is not counted and what is on disk is compressed.
    pub fn percent(&self) -> u8 {
        match self.stage {
            Stage::Done => 100,
            Stage::Head | Stage::Rows => (self.bytes.saturating_mul(100) / self.expected_bytes).min(99) as u8,
        }
    }

    fn rows_frame(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        let mut frame: Option<Vec<u8>> = None;
        loop {
            let row = match self.left.take() {
                Some(row) => Some(row),
                None => {
                    let row = self.rows.next().map(fjall::Guard::into_inner).transpose();
                    row.map_err(|error| self.generation.error(&error))?
                }
            };
            let Some((key, value)) = row else { return Ok(frame.map(frame::seal)) };
            let size = key.len() + value.len() + 8;
            if frame.as_ref().is_some_and(|frame| frame.len() + size > FRAME) {
                self.left = Some((key, value));
                return Ok(frame.map(frame::seal));
            }
            let frame = frame.get_or_insert_with(|| frame::begin(self.frames, FRAME.min(2 * size).max(4096)));
            frame::add_row(frame, &key, &value);
            self.count += 1;
            self.bytes += size as u64;
        }
    }
}

impl SnapshotWriter {
    pub(super) fn new(generation: Generation) -> Self {
        let (sender, frames) = sync_channel(FRAMES_WAITING);
        let thread = std::thread::Builder::new().name("snapshot-in".to_owned());
        let thread = thread.spawn(move || ingest(generation, &frames)).ok();
        Self {
            frames: 0,
            last_key: Vec::new(),
            count: 0,
            ended: false,
            has_applied: false,
            failed: thread.is_none(),
            sender: Some(sender),
            thread,
        }
    }

    /// Takes the next frame, whole and in order. Blocks on the disk. After an error the snapshot must be started anew.
    pub fn write_frame(&mut self, frame: &[u8]) -> Result<(), StateError> {
        if self.failed {
            return Err(refused("it failed before"));
        }
        let result = self.take(frame);
        self.failed = result.is_err();
        result
    }

    /// Behind the last frame. Blocks until all is on disk.
    pub fn finish(mut self) -> Result<StagedSnapshot, StateError> {
        if self.failed || !self.ended || !self.has_applied {
            return Err(refused("it is not complete"));
        }
        drop(self.sender.take());
        let generation = self.join()?;
        let applied = applied_position(&generation)?;
        Ok(StagedSnapshot { generation, applied })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        if bytes.len() > MAX_FRAME {
            return Err(refused(&format!("a frame has {} bytes; {MAX_FRAME} is the most", bytes.len())));
        }
        let number = self.frames;
        self.frames += 1;
        match frame::parse(bytes, number).map_err(|error| refused(&error.to_string()))? {
            _ if self.ended => Err(refused("something came behind its end")),
            Frame::Head(frame::VERSION) if number == 0 => Ok(()),
            Frame::Head(version) if number == 0 => {
                Err(refused(&format!("its format {version} is newer than this release; upgrade this node")))
            }
            Frame::Rows(content) if number > 0 => {
                for row in frame::rows(content) {
                    let (key, _) = row.map_err(|error| refused(&error.to_string()))?;
                    if key <= self.last_key.as_slice() {
                        return Err(refused("its rows are not in order"));
                    }
                    self.has_applied |= is_applied_row(key);
                    self.count += 1;
                    self.last_key.clear();
                    self.last_key.extend_from_slice(key);
                }
                let sent = self.sender.as_ref().map(|sender| sender.send(content.to_vec()));
                // The other end is gone only if it failed.
                if let Some(Ok(())) = sent { Ok(()) } else { self.join().and(Err(refused("it failed"))) }
            }
            Frame::End(rows) if number > 0 && rows == self.count => {
                self.ended = true;
                Ok(())
            }
            Frame::End(rows) if number > 0 => Err(refused(&format!("{} of its {rows} rows came", self.count))),
            Frame::Head(_) | Frame::Rows(_) | Frame::End(_) => Err(refused("a frame came out of place")),
        }
    }

    fn join(&mut self) -> Result<Generation, StateError> {
        self.sender = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(refused("the thread that stores it panicked")),
        }
    }
}

/// Stores rows in the order in which they come, straight into tables.
fn ingest(generation: Generation, frames: &Receiver<Vec<u8>>) -> Result<Generation, StateError> {
    let stored = (|| {
        let rows = generation.rows()?;
        let engine = |error: fjall::Error| generation.error(&error);
        let mut ingestion = rows.start_ingestion().map_err(engine)?;
        for content in frames {
            for row in frame::rows(&content) {
                let (key, value) = row.map_err(|error| refused(&error.to_string()))?;
                ingestion.write(key, value).map_err(engine)?;
            }
        }
        ingestion.finish().map_err(engine)?;
        write_applied_again(&generation)?;
        generation.database()?.persist(PersistMode::SyncAll).map_err(engine)
    })();
    stored.map(|()| generation)
}

fn refused(why: &str) -> StateError {
    StateError(format!("the snapshot is refused, and the state is as it was: {why}"))
}

impl Drop for SnapshotWriter {
    /// Discards what came, unless it was finished.
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for SnapshotView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotView({:?})", self.applied)
    }
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotReader({} frames, {:?})", self.frames, self.stage)
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotWriter({} frames)", self.frames)
    }
}
