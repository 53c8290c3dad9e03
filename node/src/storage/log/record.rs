//! One record of a segment, as bytes. Pure.
//!
//! ```text
//!  0  u32  checksum (CRC-32) of all that follows, payload included
//!  4  u32  length of the payload
//!  8  u64  generation of the segment: what an earlier use left behind has another
//! 16  u64  index      of a cut: the last index that stays
//! 24  u64  term       of a cut: 1 if an index stays, 0 if none
//! 32  u32  checksum of the record before (of the segment's header for the first): a chain
//! 36  u32  the offset in this segment up to which all was synced when this was written
//! 40  u8   kind: 1 entry, 2 cut
//! 41  7    zero
//! 48       payload, then zeros up to a multiple of 8
//! ```

/// Bytes before the payload.
pub(super) const HEADER: usize = 48;

/// Records start at multiples of this, so that a search for stray ones is short.
pub(super) const ALIGN: usize = 8;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry of the log.
    Entry,
    /// Everything behind an index is void.
    Cut,
}

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) generation: u64,
    pub(super) index: u64,
    pub(super) term: u64,
    /// Checksum of the record before.
    pub(super) previous: u32,
    /// Synced up to this offset when it was written.
    pub(super) synced: u32,
}

/// A record that was read and whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) head: Head,
    pub(super) checksum: u32,
    pub(super) payload: &'a [u8],
}

impl Parsed<'_> {
    /// Bytes on disk, padding included.
    pub(super) fn size(&self) -> usize {
        size(self.payload.len())
    }
}

/// Bytes on disk of a record with a payload of this length.
pub(super) fn size(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGN)
}

/// Appends a record and returns its checksum. The payload is shorter than 4 GiB: a segment's size is checked before.
pub(super) fn encode(head: &Head, payload: &[u8], out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&head.generation.to_le_bytes());
    out.extend_from_slice(&head.index.to_le_bytes());
    out.extend_from_slice(&head.term.to_le_bytes());
    out.extend_from_slice(&head.previous.to_le_bytes());
    out.extend_from_slice(&head.synced.to_le_bytes());
    let kind = match head.kind {
        Kind::Entry => 1,
        Kind::Cut => 2,
    };
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    out.resize(start + size(payload.len()), 0);
    checksum
}

/// The record at the start of `bytes`, if one of this generation stands there whole.
pub(super) fn parse(bytes: &[u8], generation: u64) -> Option<Parsed<'_>> {
    let header = bytes.get(..HEADER)?;
    if u64_at(header, 8) != generation {
        return None;
    }
    let payload = bytes.get(HEADER..HEADER.checked_add(u32_at(header, 4) as usize)?)?;
    let checksum = u32_at(header, 0);
    if crc32fast::hash(&bytes[4..HEADER + payload.len()]) != checksum {
        return None;
    }
    let kind = match header[40] {
        1 => Kind::Entry,
        2 => Kind::Cut,
        _ => return None,
    };
    let head = Head {
        kind,
        generation,
        index: u64_at(header, 16),
        term: u64_at(header, 24),
        previous: u32_at(header, 32),
        synced: u32_at(header, 36),
    };
    Some(Parsed { head, checksum, payload })
}

/// Whether the bytes bear the marks of a record of this generation, whole or not.
pub(super) fn resembles(bytes: &[u8], generation: u64) -> bool {
    bytes.get(..HEADER).is_some_and(|header| u64_at(header, 8) == generation)
}

/// A little-endian number; the caller knows that it is there.
pub(in crate::storage) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// A little-endian number; the caller knows that it is there.
pub(in crate::storage) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { kind: Kind::Entry, generation: 7, index: 3, term: 2, previous: 99, synced: 4096 };

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 7, 8, 9, 300] {
            let payload = vec![0xa5; length];
            let mut bytes = Vec::new();
            let checksum = encode(&HEAD, &payload, &mut bytes);
            assert_eq!(bytes.len(), size(length));
            let parsed = parse(&bytes, 7).unwrap();
            assert_eq!((parsed.head, parsed.checksum, parsed.payload), (HEAD, checksum, &payload[..]));
            assert_eq!(parse(&bytes, 8), None, "another generation");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_taken_for_the_record() {
        let payload = b"payload of some length";
        let mut bytes = Vec::new();
        encode(&HEAD, payload, &mut bytes);
        for length in 0..HEADER + payload.len() {
            assert_eq!(parse(&bytes[..length], 7), None);
        }
        for bit in 0..(HEADER + payload.len()) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped, 7), None, "bit {bit}");
        }
    }
}
