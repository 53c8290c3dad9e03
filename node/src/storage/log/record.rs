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
//! 41  7    salt of the segment; in one of version 1: zero
//! 48       payload, then zeros up to a multiple of 8
//! ```
//!
//! Payloads are what callers like, and outlive their segment's use in the file: one may hold bytes that are a record to the letter. It cannot hold the salt, which
//! is drawn when the use begins and told to nobody.

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

/// What all records of one use of a segment bear, and those of no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brand {
    pub(super) generation: u64,
    /// Below 2^56, see [`SALT_BITS`]. 0: of version 1, which has none.
    pub(super) salt: u64,
}

/// As many as a record has room for: nobody guesses them, however many guesses a segment holds.
pub(super) const SALT_BITS: u32 = 56;

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) brand: Brand,
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
    out.extend_from_slice(&head.brand.generation.to_le_bytes());
    out.extend_from_slice(&head.index.to_le_bytes());
    out.extend_from_slice(&head.term.to_le_bytes());
    out.extend_from_slice(&head.previous.to_le_bytes());
    out.extend_from_slice(&head.synced.to_le_bytes());
    let kind = match head.kind {
        Kind::Entry => 1,
        Kind::Cut => 2,
    };
    out.extend_from_slice(&(kind | head.brand.salt << 8).to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    out.resize(start + size(payload.len()), 0);
    checksum
}

/// What the record at the start of `bytes` says of itself, and the length of its payload, if there is room for one of this brand. Nothing is summed up: cheap.
pub(super) fn claim(bytes: &[u8], brand: Brand) -> Option<(Head, usize)> {
    let header = bytes.get(..HEADER)?;
    let last_word = u64_at(header, 40);
    if u64_at(header, 8) != brand.generation || last_word >> 8 != brand.salt {
        return None;
    }
    let kind = match last_word as u8 {
        1 => Kind::Entry,
        2 => Kind::Cut,
        _ => return None,
    };
    let length = u32_at(header, 4) as usize;
    bytes.get(HEADER..HEADER.checked_add(length)?)?;
    let head = Head {
        kind,
        brand,
        index: u64_at(header, 16),
        term: u64_at(header, 24),
        previous: u32_at(header, 32),
        synced: u32_at(header, 36),
    };
    Some((head, length))
}

/// The record at the start of `bytes`, if one of this brand stands there whole.
pub(super) fn parse(bytes: &[u8], brand: Brand) -> Option<Parsed<'_>> {
    let (head, length) = claim(bytes, brand)?;
    let checksum = u32_at(bytes, 0);
    (crc32fast::hash(&bytes[4..HEADER + length]) == checksum).then_some(Parsed {
        head,
        checksum,
        payload: &bytes[HEADER..HEADER + length],
    })
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

    const BRAND: Brand = Brand { generation: 7, salt: (1 << SALT_BITS) - 3 };
    const HEAD: Head = Head { kind: Kind::Entry, brand: BRAND, index: 3, term: 2, previous: 99, synced: 4096 };

    #[test]
    fn what_is_written_is_read() {
        for (length, salt) in [0, 1, 7, 8, 9, 300].into_iter().flat_map(|length| [(length, 0), (length, BRAND.salt)]) {
            let payload = vec![0xa5; length];
            let head = Head { brand: Brand { salt, ..BRAND }, ..HEAD };
            let mut bytes = Vec::new();
            let checksum = encode(&head, &payload, &mut bytes);
            assert_eq!(bytes.len(), size(length));
            let parsed = parse(&bytes, head.brand).unwrap();
            assert_eq!((parsed.head, parsed.checksum, parsed.payload), (head, checksum, &payload[..]));
            assert_eq!(parse(&bytes, Brand { generation: 8, ..head.brand }), None, "another generation");
            assert_eq!(parse(&bytes, Brand { salt: salt ^ 1, ..head.brand }), None, "another salt");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_taken_for_the_record() {
        let payload = b"payload of some length";
        let mut bytes = Vec::new();
        encode(&HEAD, payload, &mut bytes);
        for length in 0..HEADER + payload.len() {
            assert_eq!(parse(&bytes[..length], BRAND), None);
        }
        for bit in 0..(HEADER + payload.len()) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped, BRAND), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_version_1_is_what_it_was() {
        let mut bytes = Vec::new();
        encode(&Head { brand: Brand { salt: 0, ..BRAND }, ..HEAD }, b"ab", &mut bytes);
        let mut by_hand = [&2_u32.to_le_bytes()[..], &[7, 0, 0, 0, 0, 0, 0, 0], &[3, 0, 0, 0, 0, 0, 0, 0]].concat();
        by_hand.extend([2, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 0, 16, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        let sum = crc32fast::hash(&by_hand);
        assert_eq!(bytes, [&sum.to_le_bytes()[..], &by_hand, &[0; 6]].concat());
    }
}
