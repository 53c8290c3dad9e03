//! The header of a segment, as bytes. Pure.
//!
//! ```text
//!  0  8    "MUSTRLOG"
//!  8  u16  format version
//! 10  u16  zero
//! 12  u32  checksum (CRC-32) of the header without these four bytes
//! 16  u64  generation: 1 for the first segment ever used, one more for each next use; 0: never used
//! 24  u64  size of the file
//! 32  u64  where the records of the generation before end; 0 if there is none
//! 40  u32  checksum of its last record (of its header if it has none)
//! 44  20   zero
//! ```
//!
//! Magic, version and checksum stay where they are in every version to come.

use super::record::{u32_at, u64_at};

/// Bytes of the header.
pub(super) const HEADER: usize = 64;

/// Where records begin: a block of its own for the header, so that no sync of records rewrites it.
pub(super) const START: u64 = 4096;

/// The format that this release writes.
pub(super) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"MUSTRLOG";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    pub(super) size: u64,
    pub(super) previous_end: u64,
    pub(super) previous_checksum: u32,
}

/// What stands where a header belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A header and its checksum.
    Header(Header, u32),
    /// Nothing was ever written there.
    Blank,
    /// A header of a newer release.
    Newer(u16),
    /// Neither.
    Damaged,
}

impl Header {
    /// The header and its checksum.
    pub(super) fn encode(&self) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous_checksum.to_le_bytes());
        let checksum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// What stands at the start of a file.
    pub(super) fn parse(bytes: &[u8]) -> Found {
        if bytes.iter().take(HEADER).all(|&byte| byte == 0) {
            return Found::Blank;
        }
        let Some(bytes) = bytes.get(..HEADER) else { return Found::Damaged };
        let expected = u32_at(bytes, 12);
        if &bytes[..8] != MAGIC || checksum(bytes) != expected {
            return Found::Damaged;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Found::Newer(version);
        }
        let header = Self {
            generation: u64_at(bytes, 16),
            size: u64_at(bytes, 24),
            previous_end: u64_at(bytes, 32),
            previous_checksum: u32_at(bytes, 40),
        };
        Found::Header(header, expected)
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..HEADER]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_passes() {
        let header = Header { generation: 5, size: 1 << 20, previous_end: 8192, previous_checksum: 17 };
        let (bytes, checksum) = header.encode();
        assert_eq!(Header::parse(&bytes), Found::Header(header, checksum));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&flipped), Found::Damaged, "bit {bit}");
        }
        assert_eq!(Header::parse(&[0; HEADER]), Found::Blank);
        assert_eq!(Header::parse(&[]), Found::Blank);
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        let (mut bytes, _) = Header { generation: 1, size: 0, previous_end: 0, previous_checksum: 0 }.encode();
        bytes[8] = 9;
        let checksum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::parse(&bytes), Found::Newer(9));
    }
}
