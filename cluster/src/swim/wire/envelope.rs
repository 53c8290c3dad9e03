//! What packets and frames have in common: a header, the sender, messages until the end.

use uuid::Uuid;

use super::codec::{Reader, Writer};
use super::message::{Message, is_payload};
use super::{ClusterHash, PACKET_BUDGET, SEAL_OVERHEAD, VERSIONS, WireError};
use crate::swim::hlc::Stamp;

/// `MS`.
const MAGIC: [u8; 2] = *b"MS";

/// What a seal authenticates and does not hide: magic, version, flags, cluster.
pub(in crate::swim) const PACKET_HEAD: usize = 2 + 1 + 1 + 8;

/// Header and sender.
pub(in crate::swim) const ENVELOPE_HEAD: usize = PACKET_HEAD + 16;

/// Flag: the rest is sealed.
pub(in crate::swim) const FLAG_SEALED: u8 = 1;

/// Flag, beside the other: sealed for one life of the receiver.
pub(in crate::swim) const FLAG_BOUND: u8 = 2;

/// Room for messages in a packet, with the room for a seal set aside.
pub(in crate::swim) const PACKET_ROOM: usize = PACKET_BUDGET - SEAL_OVERHEAD - ENVELOPE_HEAD;

/// An envelope that was read and is well formed.
#[derive(Debug)]
pub(in crate::swim) struct Envelope {
    /// Who sent it (as it says).
    pub(in crate::swim) sender: Uuid,
    /// The messages that this version knows, in their order.
    pub(in crate::swim) messages: Vec<Message>,
    /// Statements left out for a stamp that lies years ahead. Such a stamp costs its statement, not those beside it: or one wrong
    /// clock would shut everybody out of everybody's full state.
    pub(in crate::swim) absurd: u64,
}

impl Envelope {
    /// Reads all of it, so that a malformed one changes nothing. The messages go into `messages`, an empty vector that may have been
    /// used before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::swim) fn open(
        bytes: &[u8],
        cluster: ClusterHash,
        believable: Stamp,
        mut messages: Vec<Message>,
    ) -> Result<Self, WireError> {
        // Every flag changes how the rest is read, so one that is not known cannot be skipped; seals are open by now.
        if check_head(bytes, cluster)? != 0 {
            return Err(WireError::Malformed("flags"));
        }
        let mut reader = Reader::new(bytes.get(PACKET_HEAD..).unwrap_or_default());
        let sender = reader.id()?;
        let mut absurd = 0;
        while !reader.is_empty() {
            match Message::read(&mut reader, believable) {
                Ok(known) => messages.extend(known),
                Err(WireError::AbsurdStamp) => absurd += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(Self { sender, messages, absurd })
    }
}

/// Checks what is readable of every packet: whether it is ours. Returns its flags.
///
/// # Errors
/// Why it is not.
pub(in crate::swim) fn check_head(bytes: &[u8], cluster: ClusterHash) -> Result<u8, WireError> {
    let mut reader = Reader::new(bytes);
    if reader.bytes(2)? != MAGIC {
        return Err(WireError::Malformed("magic"));
    }
    let version = reader.u8()?;
    if !(VERSIONS.min..=VERSIONS.max).contains(&version) {
        return Err(WireError::Version(version));
    }
    let flags = reader.u8()?;
    if reader.u64()? != cluster.to_bits() {
        return Err(WireError::OtherCluster);
    }
    Ok(flags)
}

/// Whether a packet of ours carries something for the program: that must not be heard twice.
pub(in crate::swim) fn carries_payload(packet: &[u8]) -> bool {
    let mut rest = packet.get(ENVELOPE_HEAD..).unwrap_or_default();
    while let [kind, low, high, behind @ ..] = rest {
        if is_payload(*kind) {
            return true;
        }
        rest = behind.get(usize::from(u16::from_le_bytes([*low, *high]))..).unwrap_or_default();
    }
    false
}

/// The beginning of a packet or frame of version `version`.
pub(in crate::swim) fn head(version: u8, cluster: ClusterHash, sender: Uuid) -> Vec<u8> {
    head_in(Vec::with_capacity(256), version, cluster, sender)
}

/// The same, in an empty buffer that was used before.
pub(in crate::swim) fn head_in(buffer: Vec<u8>, version: u8, cluster: ClusterHash, sender: Uuid) -> Vec<u8> {
    let mut out = Writer(buffer);
    out.bytes(&MAGIC);
    out.u8(version);
    out.u8(0);
    out.u64(cluster.to_bits());
    out.id(sender);
    out.0
}
