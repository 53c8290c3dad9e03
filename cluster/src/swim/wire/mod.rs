//! The wire format: versioned, little-endian, written by hand. Its byte tables stand in `docs/wire.md`.

mod codec;
mod envelope;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod message;
mod preface;
pub(super) mod sum;
#[cfg(test)]
mod tests;

use std::fmt;

pub(super) use envelope::{
    ENVELOPE_HEAD, Envelope, FLAG_BOUND, FLAG_SEALED, PACKET_HEAD, PACKET_ROOM, carries_payload, check_head, head,
    head_in,
};
pub(super) use message::{
    ACCUSATION_LEN, BROADCAST_LEN, DIGEST_LEN, DIGEST_SINCE, Message, NACK_SINCE, PROBE_LEN, SHORTEST_STATEMENT,
    Statement,
};

pub use preface::{Answer, Preface, PrefaceError, Refusal, StreamKind};

/// The protocol versions that this build speaks. Version 2 adds message types, version 3 sums to streams that are not sealed; in between
/// nothing changed its meaning.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

/// The first protocol version in which what is on streams that are not sealed comes in records with sums.
pub(crate) const SUMS_SINCE: u8 = 3;

/// Longest metadata of a member: with it, two statements fit into one packet.
pub const MAX_METADATA: usize = 512;

/// Longest name of a cluster in bytes.
pub const MAX_CLUSTER_NAME: usize = 255;

/// Most records that a full-state frame carries.
pub const MAX_ROWS: usize = 65_536;

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionRange {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl VersionRange {
    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u8> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }
}

/// The hash of a cluster's name (FNV-1a, 64 bits). It keeps clusters on one network apart by accident, not by force: that is
/// what keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterHash(u64);

impl ClusterHash {
    /// Of a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    /// From the bits on the wire.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits on the wire.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClusterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Longest datagram: below an Ethernet MTU of 1,500 after IPv6 and UDP headers, with 52 bytes to spare for a tunnel.
pub const PACKET_BUDGET: usize = 1_400;

/// Longest body of a frame: the records of 25,000 members with the longest metadata, of 150,000 without any. What does not fit into one goes
/// with another.
pub const MAX_FRAME: usize = 16 << 20;

/// Length of what stands before each frame's body.
pub const FRAME_HEAD: usize = 4;

/// What stands before a frame's body: its length.
///
/// # Errors
/// When it is longer than [`MAX_FRAME`].
pub fn frame_head(body: &[u8]) -> Result<[u8; FRAME_HEAD], FrameTooLong> {
    match u32::try_from(body.len()) {
        Ok(len) if body.len() <= MAX_FRAME => Ok(len.to_le_bytes()),
        _ => Err(FrameTooLong { len: body.len() }),
    }
}

/// The length of the body that follows; check it before anything is allocated, and let a buffer grow with what has arrived, not
/// with what was announced.
///
/// # Errors
/// When it is longer than [`MAX_FRAME`]: close the stream.
pub const fn frame_len(head: [u8; FRAME_HEAD]) -> Result<usize, FrameTooLong> {
    let len = u32::from_le_bytes(head) as usize;
    if len > MAX_FRAME { Err(FrameTooLong { len }) } else { Ok(len) }
}

/// A frame longer than [`MAX_FRAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes, at most {MAX_FRAME} are taken")]
pub struct FrameTooLong {
    /// Its length.
    pub len: usize,
}

/// Set aside in every packet for its seal: 8 bytes to name the key, a nonce of 24, a tag of 16. Counted whether there are keys or
/// not, so that sealing never makes a packet too long.
pub const SEAL_OVERHEAD: usize = 48;

// The longest broadcast goes beside a probe, a digest and the accusation that its target is told first.
const _: () = assert!(BROADCAST_LEN + PROBE_LEN + DIGEST_LEN + ACCUSATION_LEN <= PACKET_ROOM);

/// Why a packet or frame is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("cut short")]
    Short,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("protocol version {0}")]
    Version(u8),
    #[error("of a cluster with another name")]
    OtherCluster,
    #[error("a stamp that lies years ahead")]
    AbsurdStamp,
}
