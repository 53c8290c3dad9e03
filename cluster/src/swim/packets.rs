//! Buffers for packets, used again and again: in its steady state a member allocates nothing to probe and to answer.

use bytes::{Bytes, BytesMut};

use super::wire::Message;

/// What is taken at a time: room for dozens of probes, or for three full packets. It is used again once the driver has let go of
/// all that is in it.
const BLOCK: usize = 4 << 10;

/// The buffers.
#[derive(Debug, Default)]
pub(super) struct Packets {
    scratch: Vec<u8>,
    block: BytesMut,
    /// A packet that came in, opened; empty between two.
    pub(super) opened: Vec<u8>,
    /// What is in it; empty between two.
    pub(super) messages: Vec<Message>,
}

impl Packets {
    /// An empty buffer to build a packet in. Hand it back with [`Packets::carry`].
    pub(super) fn begin(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch
    }

    /// Empty ones for a packet that comes in, to open it and to read it. Put them back.
    pub(super) fn begin_reading(&mut self) -> (Vec<u8>, Vec<Message>) {
        (std::mem::take(&mut self.opened), std::mem::take(&mut self.messages))
    }

    /// The packet to hand out.
    pub(super) fn carry(&mut self, packet: Vec<u8>) -> Bytes {
        if self.block.capacity() < packet.len() {
            self.block.reserve(BLOCK.max(packet.len()));
        }
        self.block.extend_from_slice(&packet);
        self.scratch = packet;
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_was_put_in_and_do_not_share_bytes_with_later_ones() {
        let mut packets = Packets::default();
        let mut kept = Vec::new();
        for round in 0..200_u32 {
            let mut out = packets.begin();
            assert!(out.is_empty());
            out.extend(std::iter::repeat_n(round as u8, round as usize * 7));
            let bytes = packets.carry(out);
            // Some are let go at once, some are kept.
            if round.is_multiple_of(3) {
                kept.push((round, bytes));
            }
        }
        for (round, bytes) in kept {
            assert!(bytes.len() == round as usize * 7 && bytes.iter().all(|byte| *byte == round as u8));
        }
    }
}
