//! An Ethernet frame with TCP or UDP over IPv4 in it: where its parts are, its checksum, and a bit that flips.
//!
//! Between virtual machines the kernel leaves the checksum to a network card that is not there: what comes out of a cable has a sum of its
//! pseudo header only, and nobody minds. Whoever puts such a frame on a cable as it is has it thrown away, so the sum is made whole first.

use std::net::Ipv4Addr;

/// Destination, source, type.
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where the parts of a frame are, as offsets into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    protocol: u8,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// Whom it is for.
    pub to: Ipv4Addr,
    transport: usize,
    sum: usize,
    /// Where what the programs say begins.
    pub payload: usize,
    /// Where it ends. Padding may follow.
    pub end: usize,
}

impl Parts {
    /// Of a frame with a whole packet of TCP or UDP over IPv4; `None` for all others, fragments among them.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(ETHERNET..)?;
        let head: &[u8; 20] = ip.first_chunk()?;
        if frame[12..ETHERNET] != IPV4 || head[0] >> 4 != 4 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0;
        let transport = ETHERNET + usize::from(head[0] & 0x0f) * 4;
        let end = ETHERNET + length;
        if fragment || end > frame.len() || transport > end {
            return None;
        }
        let protocol = head[9];
        let (payload, sum) = match protocol {
            TCP => (transport + usize::from(frame[..end].get(transport + 12)? >> 4) * 4, transport + 16),
            UDP => (transport + 8, transport + 6),
            _ => return None,
        };
        let [from, to] = [12, 16].map(|at| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]));
        (sum + 2 <= payload && payload <= end).then_some(Self { protocol, from, to, transport, sum, payload, end })
    }

    /// Makes the frame's checksum right.
    pub fn make_whole(&self, frame: &mut [u8]) {
        let field = self.sum..self.sum + 2;
        // A datagram may do without one.
        if self.protocol == UDP && frame[field.clone()] == [0, 0] {
            return;
        }
        frame[field.clone()].fill(0);
        let length = (self.end - self.transport) as u64;
        let pseudo = words(&self.from.octets()) + words(&self.to.octets()) + u64::from(self.protocol) + length;
        let mut sum = pseudo + words(&frame[self.transport..self.end]);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let sum = !(sum as u16);
        let sum = if self.protocol == UDP && sum == 0 { 0xffff } else { sum };
        frame[field].copy_from_slice(&sum.to_be_bytes());
    }

    /// The bits of the whole packet, headers of IP and above included: whichever flips, a checksum is wrong.
    pub fn bits(&self) -> std::ops::Range<usize> {
        ETHERNET * 8..self.end * 8
    }

    /// The bits of what the programs say.
    pub fn payload_bits(&self) -> std::ops::Range<usize> {
        self.payload * 8..self.end * 8
    }
}

/// Flips one bit of a frame.
pub fn flip(frame: &mut [u8], bit: usize) {
    frame[bit / 8] ^= 1 << (bit % 8);
}

/// The sum of 16-bit words, big-endian; a last odd byte counts as the upper half of one (RFC 1071).
fn words(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum + odd.first().map_or(0, |byte| u64::from(*byte) << 8)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A datagram of these bytes from 10.0.0.`from` to 10.0.0.`to`, with a checksum that is not whole.
    pub(in crate::wire) fn datagram(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        let length = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
        frame.extend([0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, UDP, 0, 0]);
        frame.extend([10, 0, 0, from, 10, 0, 0, to]);
        let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        frame.extend([0x1b, 0x58, 0x1b, 0x58, length[0], length[1], 0xab, 0xcd]);
        frame.extend(payload);
        frame
    }

    /// Whether all words together with the pseudo header make nothing but ones.
    fn is_right(frame: &[u8]) -> bool {
        let parts = Parts::of(frame).unwrap();
        let length = (parts.end - parts.transport) as u64;
        let pseudo = words(&frame[26..34]) + u64::from(parts.protocol) + length;
        (pseudo + words(&frame[parts.transport..parts.end])).is_multiple_of(0xffff)
    }

    #[test]
    fn a_checksum_is_made_whole_and_any_flipped_bit_behind_it_makes_it_wrong() {
        for payload in [&b"even"[..], b"odds!", b""] {
            let mut frame = datagram(1, 2, payload);
            assert!(!is_right(&frame));
            let parts = Parts::of(&frame).unwrap();
            parts.make_whole(&mut frame);
            assert!(is_right(&frame));
            for bit in parts.payload_bits() {
                let mut flipped = frame.clone();
                flip(&mut flipped, bit);
                assert!(!is_right(&flipped));
                assert_ne!(flipped[parts.payload..], frame[parts.payload..]);
                parts.make_whole(&mut flipped);
                assert!(is_right(&flipped), "and right again, with what is wrong in it");
            }
        }
    }

    #[test]
    fn what_is_no_whole_packet_of_tcp_or_udp_is_left_alone() {
        let whole = datagram(1, 2, b"text");
        assert!(Parts::of(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(Parts::of(&whole[..length]), None, "{length}");
        }
        let changed = |at: usize, to: u8| {
            let mut frame = whole.clone();
            frame[at] = to;
            Parts::of(&frame)
        };
        assert_eq!(changed(13, 0x06), None, "a question who has an address");
        assert_eq!(changed(14, 0x65), None, "IPv6");
        assert_eq!(changed(20, 0x20), None, "a fragment");
        assert_eq!(changed(23, 1), None, "ICMP");
    }

    #[test]
    fn a_datagram_without_a_checksum_stays_without() {
        let mut frame = datagram(1, 2, b"text");
        frame[40..42].fill(0);
        let before = frame.clone();
        Parts::of(&frame).unwrap().make_whole(&mut frame);
        assert_eq!(frame, before);
    }
}
