//! What guards the records of a stream: keys that only both ends have, or, on streams that are not sealed, a sum.
//!
//! TCP's checksum has 16 bits and is renewed by whoever rewrites packets on their way, so bytes do arrive that nobody sent. On a stream they
//! would be believed: an entry of the log with another value, say. A record that is not what its sum says ends the stream, and what was
//! on it is sent again on the next.

use std::io;
use std::sync::Arc;

use snow::StatelessTransportState;

use super::counters::Counters;
use super::sealed::HandshakeError;

const SEAL: usize = 16;
const SUM: usize = 4;

/// What makes the last bytes of a record, and goes by them.
#[derive(Debug, Clone)]
pub(super) enum Guard {
    /// A seal: hidden from others, and nobody else can make one.
    Seal(Arc<StatelessTransportState>),
    /// A sum, readable by all: what is changed by accident is found, and counted here.
    Sum(Arc<Counters>),
}

impl Guard {
    /// How many bytes that is.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Seal(_) => SEAL,
            Self::Sum(_) => SUM,
        }
    }

    /// Whether the end of a direction is a record of its own, since anybody can make the other.
    pub(super) const fn ends_with_a_record(&self) -> bool {
        match self {
            Self::Seal(_) => true,
            Self::Sum(_) => false,
        }
    }

    /// Writes these bytes as record number `number`; `record` has room for [`Self::len`] more.
    pub(super) fn close(&self, number: u64, bytes: &[u8], record: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Seal(noise) => noise.write_message(number, bytes, record).map(drop).map_err(io::Error::other),
            Self::Sum(_) => {
                let (text, sum) = record.split_at_mut(bytes.len());
                text.copy_from_slice(bytes);
                sum.copy_from_slice(&self::sum(number, bytes));
                Ok(())
            }
        }
    }

    /// Reads record number `number` into `bytes`, which has [`Self::len`] less.
    pub(super) fn open(&self, number: u64, record: &[u8], bytes: &mut [u8]) -> Result<(), HandshakeError> {
        match self {
            Self::Seal(noise) => noise.read_message(number, record, bytes).map(drop).map_err(|_| self.broken()),
            Self::Sum(_) => {
                let (text, sum) = record.split_at(bytes.len());
                if *sum != self::sum(number, text) {
                    return Err(self.broken());
                }
                bytes.copy_from_slice(text);
                Ok(())
            }
        }
    }

    /// What is said of a record that is not as it was sent.
    pub(super) fn broken(&self) -> HandshakeError {
        match self {
            Self::Seal(_) => HandshakeError::BadSeal,
            Self::Sum(counters) => {
                counters.streams_damaged.add(1);
                HandshakeError::Damaged
            }
        }
    }
}

/// CRC-32 over the number and the bytes: so a record that is left out or comes twice is found as well.
fn sum(number: u64, bytes: &[u8]) -> [u8; SUM] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}
