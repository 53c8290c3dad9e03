//! What a file holds, and which of its blocks take room.

/// 4 KiB: what room is counted in.
pub(super) const BLOCK: u64 = 4096;

/// The bytes; where nothing was ever written there are holes, which read as zeros.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Which blocks were ever written; the others are holes and take no room.
    blocks: Vec<bool>,
}

impl Content {
    /// Writes there; a gap before it is a hole.
    pub(super) fn put(&mut self, at: usize, new: &[u8]) {
        let end = at + new.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(new);
        let (first, last) = (at / BLOCK as usize, end.div_ceil(BLOCK as usize));
        if self.blocks.len() < last {
            self.blocks.resize(last, false);
        }
        self.blocks[first..last].fill(true);
    }

    /// Bytes of blocks that a write would be the first to take.
    pub(super) fn missing(&self, at: usize, length: usize) -> u64 {
        let blocks = at / BLOCK as usize..(at + length).div_ceil(BLOCK as usize);
        blocks.filter(|block| !self.blocks.get(*block).copied().unwrap_or(false)).count() as u64 * BLOCK
    }

    /// Cuts it, or makes it longer by a hole.
    pub(super) fn resize(&mut self, length: usize) {
        self.bytes.resize(length, 0);
        self.blocks.truncate(length.div_ceil(BLOCK as usize));
    }

    /// Bytes that it takes.
    pub(super) fn room(&self) -> u64 {
        self.blocks.iter().filter(|block| **block).count() as u64 * BLOCK
    }
}
