//! The frames of a snapshot, as bytes. Pure.
//!
//! ```text
//!  0  u32  length of all that follows the first eight bytes
//!  4  u32  checksum (CRC-32) of that
//!  8  u64  number of the frame, from 0
//! 16  u8   kind: 0 head, 1 rows, 2 end
//! 17       content
//!
//! head     "MUSTRSNP", u16 format version
//! rows     each u32 length of the key, u32 length of the value, key, value; in the order of the keys
//! end      u64 number of rows
//! ```

use crate::storage::log::{u32_at, u64_at};

/// The format that this release writes.
pub(super) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"MUSTRSNP";
const PREFIX: usize = 17;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The first, of this format version.
    Head(u16),
    /// Rows, as they stand.
    Rows(&'a [u8]),
    /// The last; so many rows came.
    End(u64),
}

/// Why bytes are not the next frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame is cut short or its checksum is wrong")]
    Damaged,
    #[error("frame {found} came where {expected} was expected")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("a frame's content makes no sense")]
    Malformed,
}

/// Starts a frame of rows.
pub(super) fn begin(number: u64, capacity: usize) -> Vec<u8> {
    start(number, 1, capacity)
}

/// Adds a row to a frame of rows.
pub(super) fn add_row(frame: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    frame.extend_from_slice(&(key.len() as u32).to_le_bytes());
    frame.extend_from_slice(&(value.len() as u32).to_le_bytes());
    frame.extend_from_slice(key);
    frame.extend_from_slice(value);
}

/// Puts length and checksum in.
pub(super) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - 8) as u32;
    let checksum = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The first frame.
pub(super) fn head() -> Vec<u8> {
    let mut frame = start(0, 0, 10);
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&VERSION.to_le_bytes());
    seal(frame)
}

/// The last frame.
pub(super) fn end(number: u64, rows: u64) -> Vec<u8> {
    let mut frame = start(number, 2, 8);
    frame.extend_from_slice(&rows.to_le_bytes());
    seal(frame)
}

fn start(number: u64, kind: u8, capacity: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PREFIX + capacity);
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.push(kind);
    frame
}

/// Reads the frame that must be the one with this number.
pub(super) fn parse(bytes: &[u8], number: u64) -> Result<Frame<'_>, FrameError> {
    if bytes.len() < PREFIX
        || u32_at(bytes, 0) as usize != bytes.len() - 8
        || crc32fast::hash(&bytes[8..]) != u32_at(bytes, 4)
    {
        return Err(FrameError::Damaged);
    }
    let found = u64_at(bytes, 8);
    if found != number {
        return Err(FrameError::OutOfOrder { expected: number, found });
    }
    let content = &bytes[PREFIX..];
    match bytes[16] {
        0 if content.len() >= 10 && &content[..8] == MAGIC => {
            Ok(Frame::Head(u16::from_le_bytes([content[8], content[9]])))
        }
        1 => Ok(Frame::Rows(content)),
        2 if content.len() == 8 => Ok(Frame::End(u64_at(content, 0))),
        _ => Err(FrameError::Malformed),
    }
}

/// The rows of a frame; an error where one is cut short.
pub(super) fn rows(mut content: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), FrameError>> {
    std::iter::from_fn(move || {
        if content.is_empty() {
            return None;
        }
        let mut next = || {
            let lengths = content.get(..8)?;
            let (key, value) = (u32_at(lengths, 0) as usize, u32_at(lengths, 4) as usize);
            let row = content[8..].get(..key.checked_add(value)?)?;
            content = &content[8 + row.len()..];
            Some(row.split_at(key))
        };
        let row = next();
        if row.is_none() {
            content = &[];
        }
        Some(row.ok_or(FrameError::Malformed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_read() {
        let mut frame = begin(3, 0);
        add_row(&mut frame, b"key", b"value");
        add_row(&mut frame, b"other", b"");
        let frame = seal(frame);
        let Ok(Frame::Rows(content)) = parse(&frame, 3) else { panic!() };
        let found: Vec<_> = rows(content).map(Result::unwrap).collect();
        assert_eq!(found, [(&b"key"[..], &b"value"[..]), (b"other", b"")]);
        assert_eq!(parse(&frame, 4), Err(FrameError::OutOfOrder { expected: 4, found: 3 }));
        assert_eq!(parse(&head(), 0), Ok(Frame::Head(VERSION)));
        assert_eq!(parse(&end(9, 77), 9), Ok(Frame::End(77)));
        assert!(rows(&content[..content.len() - 1]).any(|row| row.is_err()));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let mut frame = begin(0, 0);
        add_row(&mut frame, b"key", b"value");
        let frame = seal(frame);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped, 0), Err(FrameError::Damaged), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(parse(&frame[..length], 0), Err(FrameError::Damaged));
        }
    }
}
