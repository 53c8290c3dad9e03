//! Snapshots: the whole state as a stream of frames.

use bytes::Bytes;

use super::state::StateError;

/// A consistent view of the state, to be sent.
#[derive(Debug)]
pub struct SnapshotView {}

/// Reads a view as frames, in bounded memory.
#[derive(Debug)]
pub struct SnapshotReader {}

/// Takes frames, checks each, and builds the new state beside the present one.
#[derive(Debug)]
pub struct SnapshotWriter {}

/// A complete, checked state beside the present one; discarded when dropped without being installed.
#[derive(Debug)]
pub struct StagedSnapshot {}

impl SnapshotReader {
    /// The next frame (about 256 KiB, more when one value is bigger; at most [`MAX_FRAME`]), `None` behind the last. Blocks on the disk.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, StateError> {
        todo!()
    }

    /// How much has been read, 0 to 100; an estimate.
    pub fn percent(&self) -> u8 {
        todo!()
    }
}

/// No frame is longer.
pub const MAX_FRAME: usize = 20 << 20;

impl SnapshotWriter {
    /// Takes the next frame, whole and in order. Blocks on the disk. After an error the snapshot must be started anew.
    pub fn write_frame(&mut self, frame: &[u8]) -> Result<(), StateError> {
        let _ = frame;
        todo!()
    }

    /// Behind the last frame. Blocks until all is on disk.
    pub fn finish(self) -> Result<StagedSnapshot, StateError> {
        todo!()
    }
}
