//! The header of a segment, as bytes. Pure.
//!
//! ```text
//!  0  8    "MUSTRLOG"
//!  8  u16  format version: 2, or 1 without a salt
//! 10  u16  zero
//! 12  u32  checksum (CRC-32) of the header without these four bytes
//! 16  u64  generation: 1 for the first segment ever used, one more for each next use; 0: never used
//! 24  u64  size of the file
//! 32  u64  where the records of the generation before end; 0 if there is none
//! 40  u32  checksum of its last record (of its header if it has none)
//! 44  u64  salt: drawn for each use, not 0, below 2^56; every record of the use bears it (in version 1: zero)
//! 52  12   zero
//! ```
//!
//! Magic, version and checksum stay where they are in every version to come.

use super::record::{Brand, SALT_BITS, u32_at, u64_at};

/// Bytes of the header.
pub(super) const HEADER: usize = 64;

/// Where records begin: a block of its own for the header, so that no sync of records rewrites it.
pub(super) const START: u64 = 4096;

/// The format that this release writes.
const VERSION: u16 = 2;

/// That of releases up to 2.3, whose newest segment is continued as it is.
const UNSALTED: u16 = 1;

const MAGIC: &[u8; 8] = b"MUSTRLOG";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) brand: Brand,
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
    /// The header and its checksum: of version 1, if there is no salt.
    pub(super) fn encode(&self) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        let version = if self.brand.salt == 0 { UNSALTED } else { VERSION };
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.brand.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous_checksum.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.brand.salt.to_le_bytes());
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
        let salt = match u16::from_le_bytes([bytes[8], bytes[9]]) {
            UNSALTED => 0,
            VERSION => match u64_at(bytes, 44) {
                salt if salt != 0 && salt >> SALT_BITS == 0 => salt,
                _ => return Found::Damaged,
            },
            newer => return Found::Newer(newer),
        };
        let header = Self {
            brand: Brand { generation: u64_at(bytes, 16), salt },
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

    const HEADER_OF_NOTHING: Header =
        Header { brand: Brand { generation: 1, salt: 9 }, size: 0, previous_end: 0, previous_checksum: 0 };

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_passes() {
        for (salt, version) in [(0, 1), (1, 2), (u64::MAX >> 8, 2)] {
            let brand = Brand { generation: 5, salt };
            let header = Header { brand, size: 1 << 20, previous_end: 8192, previous_checksum: 17 };
            let (bytes, checksum) = header.encode();
            assert_eq!(bytes[8], version);
            assert_eq!(Header::parse(&bytes), Found::Header(header, checksum));
            for bit in 0..HEADER * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::parse(&flipped), Found::Damaged, "bit {bit}");
            }
        }
        assert_eq!(Header::parse(&[0; HEADER]), Found::Blank);
        assert_eq!(Header::parse(&[]), Found::Blank);
    }

    #[test]
    fn a_newer_header_is_told_from_a_damaged_one() {
        let (mut bytes, _) = HEADER_OF_NOTHING.encode();
        bytes[8] = 9;
        let checksum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::parse(&bytes), Found::Newer(9));
    }
}
