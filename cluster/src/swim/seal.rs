//! Sealing of packets: what a datagram goes through on its way out and in when there are keys.
//!
//! ```text
//!   head 12 | sender 16 | sum 7 | messages ...                   plain: see `wire::sum`
//!   head 12 | key name 8 | nonce 24 | sender, messages ... | tag 16    sealed: flag 1; bound: flag 2 as well
//! ```
//!
//! The cipher is XChaCha20-Poly1305 (S. Arciszewski, "XChaCha: eXtended-nonce ChaCha and AEAD_XChaCha20_Poly1305", IETF draft): the
//! head, with the hash of the cluster's name in it, is authenticated and stays readable.
//!
//! **Nonces** must never repeat under one key, and need not be secret. All members share the key, and all their restarts, so a counter
//! alone will not do, and 96 bits drawn at random (AES-GCM, plain ChaCha20) would be used up after 2^32 packets of the whole cluster: a
//! week at 10,000 members. Of our 192 bits 128 are drawn at every start (the boot number, and one word of the core's generator, which
//! the driver seeds from the system's entropy), and 64 count packets: no generator of cryptographic strength is needed, and the core
//! stays deterministic. What would repeat a nonce is a copy of a *running* process's memory, brought to life twice.
//!
//! **Replays.** The same 192 bits tell packets apart: a window for each start of each sender drops what was there before, and what is
//! older than the window. A receiver that has restarted remembers nothing, so what a program must not hear twice (its messages and
//! broadcasts) is *bound* to the receiver's life: the receiver's boot number is authenticated along with the head, though not sent.

use rand::Rng;

use chacha20poly1305::aead::{AeadInPlace, Tag};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use uuid::Uuid;

use super::seen::Seen;
use super::wire::{FLAG_BOUND, FLAG_SEALED, PACKET_HEAD, SEAL_OVERHEAD, carries_payload, sum};
use crate::keyring::{KeyName, Keyring};

/// Starts of senders whose packets are told apart: twice the largest cluster that the protocol is meant for. A packet of the sender
/// that was silent longest could be heard once more.
const SENDERS: usize = 32_768;

const NONCE: usize = 24;
const TAG: usize = 16;
const SEALED_HEAD: usize = PACKET_HEAD + KeyName::LEN + NONCE;

const _: () = assert!(KeyName::LEN + NONCE + TAG == SEAL_OVERHEAD);
const _: () = assert!(sum::SUM_LEN <= SEAL_OVERHEAD);

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is not sealed, and must be.
    Plain,
    /// Sealed with a key that we do not have.
    UnknownKey,
    /// It is not what was sealed, or not for this life of ours.
    BadSeal,
    /// It was here before.
    Replayed,
    /// It is not sealed, and was changed on its way.
    Damaged,
}

/// The keys and the nonces.
#[derive(Debug, Default)]
pub(super) struct Seals {
    ring: Keyring,
    /// The first 16 bytes of each nonce; drawn when there is a key for the first time.
    start: Option<[u8; 16]>,
    sent: u64,
    seen: Option<Seen>,
}

impl Seals {
    /// Goes by these keys from now on.
    pub(super) fn set(&mut self, ring: Keyring, boot: u64, rng: &mut impl Rng) {
        if !ring.is_open() && self.start.is_none() {
            let mut start = [0; 16];
            start[..8].copy_from_slice(&boot.to_le_bytes());
            start[8..].copy_from_slice(&rng.next_u64().to_le_bytes());
            self.start = Some(start);
            self.seen = Some(Seen::with_origins(SENDERS));
        }
        self.ring = ring;
    }

    /// Seals a packet, in its place, if there is a key to do it with; otherwise puts a sum into it. `receiver`: the boot number of the life that it is for, if that is
    /// known.
    pub(super) fn seal(&mut self, packet: &mut Vec<u8>, receiver: Option<u64>) {
        let (Some(key), Some(start)) = (self.ring.sealing(), self.start) else { return sum::put(packet) };
        let mut nonce = [0; NONCE];
        nonce[..16].copy_from_slice(&start);
        nonce[16..].copy_from_slice(&self.sent.to_le_bytes());
        // 2^64 packets are never sent; wrapping would be the one mistake that breaks the cipher.
        self.sent = self.sent.saturating_add(1);
        let bound = receiver.filter(|_| carries_payload(packet));
        // What is behind the head makes room.
        let len = packet.len();
        packet.resize(len + SEALED_HEAD - PACKET_HEAD, 0);
        packet.copy_within(PACKET_HEAD..len, SEALED_HEAD);
        packet[3] |= FLAG_SEALED | if bound.is_some() { FLAG_BOUND } else { 0 };
        packet[PACKET_HEAD..][..KeyName::LEN].copy_from_slice(&key.name().0);
        packet[PACKET_HEAD + KeyName::LEN..SEALED_HEAD].copy_from_slice(&nonce);
        let associated = associated(packet, bound);
        let (_, body) = packet.split_at_mut(SEALED_HEAD);
        let sealed = key.packets().encrypt_in_place_detached(XNonce::from_slice(&nonce), associated.bytes(), body);
        match sealed {
            Ok(tag) => packet.extend_from_slice(&tag),
            // Only a packet of 256 GiB cannot be sealed. Nothing leaves unsealed.
            Err(_) => packet.clear(),
        }
    }

    /// Opens a packet whose head says that it is ours, into `out`, which is empty. `boot`: our own. Whether user messages in it may be
    /// believed to be new: of those that are sealed, the bound ones. After an error, what is in `out` means nothing.
    pub(super) fn open(&mut self, packet: &[u8], boot: u64, out: &mut Vec<u8>) -> Result<bool, Unopened> {
        let flags = packet.get(3).copied().unwrap_or_default();
        if flags & FLAG_SEALED == 0 {
            out.extend_from_slice(packet);
            return match (self.ring.takes_plain(), sum::holds(packet)) {
                (false, _) => Err(Unopened::Plain),
                (true, false) => Err(Unopened::Damaged),
                (true, true) => Ok(true),
            };
        }
        let (head, rest) = packet.split_at_checked(SEALED_HEAD).ok_or(Unopened::BadSeal)?;
        let (body, tag) = rest.split_at_checked(rest.len().wrapping_sub(TAG)).ok_or(Unopened::BadSeal)?;
        let (mut name, mut nonce) = ([0; KeyName::LEN], [0; NONCE]);
        name.copy_from_slice(&head[PACKET_HEAD..PACKET_HEAD + KeyName::LEN]);
        nonce.copy_from_slice(&head[PACKET_HEAD + KeyName::LEN..]);
        let key = self.ring.key(KeyName(name)).ok_or(Unopened::UnknownKey)?;
        let bound = (flags & FLAG_BOUND != 0).then_some(boot);
        out.extend_from_slice(&head[..PACKET_HEAD]);
        out.extend_from_slice(body);
        let associated = associated(head, bound);
        let tag: &Tag<XChaCha20Poly1305> = tag.into();
        key.packets()
            .decrypt_in_place_detached(XNonce::from_slice(&nonce), associated.bytes(), &mut out[PACKET_HEAD..], tag)
            .map_err(|_| Unopened::BadSeal)?;
        out[3] &= !(FLAG_SEALED | FLAG_BOUND);
        let (mut start, mut number) = ([0; 16], [0; 8]);
        start.copy_from_slice(&nonce[..16]);
        number.copy_from_slice(&nonce[16..]);
        let seen = self.seen.get_or_insert_with(|| Seen::with_origins(SENDERS));
        if !seen.insert(Uuid::from_bytes(start), 0, u64::from_le_bytes(number)) {
            return Err(Unopened::Replayed);
        }
        Ok(bound.is_some())
    }
}

/// What is authenticated beside what is hidden.
struct Associated {
    bytes: [u8; PACKET_HEAD + 8],
    len: usize,
}

impl Associated {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn associated(head: &[u8], bound: Option<u64>) -> Associated {
    let mut bytes = [0; PACKET_HEAD + 8];
    bytes[..PACKET_HEAD].copy_from_slice(&head[..PACKET_HEAD]);
    bytes[PACKET_HEAD..].copy_from_slice(&bound.unwrap_or_default().to_le_bytes());
    Associated { bytes, len: if bound.is_some() { PACKET_HEAD + 8 } else { PACKET_HEAD } }
}
