//! Sums, for bits that flip on their way.
//!
//! The 16 bits with which UDP and TCP protect what they carry are renewed by whoever rewrites packets, network cards and switches among
//! them, so what these get wrong arrives with a checksum that is right (J. Stone, C. Partridge, "When the CRC and TCP checksum disagree",
//! SIGCOMM 2000). Packets that are not sealed therefore carry a sum of their own, from end to end. It stands at a fixed place: no bit that
//! flips elsewhere, in a length say, can hide it.
//!
//! A sum is no proof against somebody who means harm; a seal is.

use super::envelope::ENVELOPE_HEAD;

/// The type of the message that a sum is. Members of 2.3 and before skip it, as every type that they do not know.
pub(super) const SUM: u8 = 16;
/// Type, length, CRC-32.
pub(in crate::swim) const SUM_LEN: usize = 3 + 4;

const HEAD: [u8; 3] = [SUM, 4, 0];
const AT: usize = ENVELOPE_HEAD + HEAD.len();

/// Puts a sum into a packet, before all other messages.
pub(in crate::swim) fn put(packet: &mut Vec<u8>) {
    let len = packet.len();
    packet.resize(len + SUM_LEN, 0);
    packet.copy_within(ENVELOPE_HEAD..len, ENVELOPE_HEAD + SUM_LEN);
    packet[ENVELOPE_HEAD..AT].copy_from_slice(&HEAD);
    let sum = sum(packet);
    packet[AT..AT + 4].copy_from_slice(&sum);
}

/// Whether a packet is what its sum says, or has none, as those of members of 2.3 and before.
pub(in crate::swim) fn holds(packet: &[u8]) -> bool {
    if packet.get(ENVELOPE_HEAD) != Some(&SUM) {
        return true;
    }
    packet.get(ENVELOPE_HEAD..AT) == Some(&HEAD) && packet.get(AT..AT + 4) == Some(&sum(packet))
}

/// Of all but itself.
fn sum(packet: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(packet.get(..AT).unwrap_or(packet));
    hasher.update(packet.get(AT + 4..).unwrap_or_default());
    hasher.finalize().to_le_bytes()
}

/// CRC-8 with the polynomial x^8 + x^2 + x + 1, for the few bytes of a preface: whichever bit of them flips, it is another.
pub(super) fn short(bytes: impl IntoIterator<Item = u8>) -> u8 {
    let step = |sum: u8| if sum & 0x80 == 0 { sum << 1 } else { sum << 1 ^ 0x07 };
    bytes.into_iter().fold(0, |sum, byte| (0..8).fold(sum ^ byte, |sum, _| step(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_bit_of_a_packet_flips_the_packet_is_refused_or_says_the_same() {
        let plain: Vec<u8> = (0..100).collect();
        let mut packet = plain.clone();
        put(&mut packet);
        assert!(holds(&packet));
        assert_eq!(packet.len(), plain.len() + SUM_LEN);
        assert_eq!((&packet[..ENVELOPE_HEAD], &packet[ENVELOPE_HEAD + SUM_LEN..]), plain.split_at(ENVELOPE_HEAD));
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // In its type, which makes it a message of a type that nobody knows.
            let unknown = bit / 8 == ENVELOPE_HEAD;
            assert_eq!(holds(&flipped), unknown, "bit {bit}");
        }
        for len in 0..packet.len() {
            assert_eq!(holds(&packet[..len]), len <= ENVELOPE_HEAD, "{len} bytes");
        }
    }

    #[test]
    fn packets_without_a_sum_are_taken_for_what_they_are() {
        assert!(holds(&[]) && holds(&[0; 100]));
    }

    #[test]
    fn the_short_sum_is_the_published_one() {
        // The check value of CRC-8/SMBUS.
        assert_eq!(short(*b"123456789"), 0xf4);
    }
}
