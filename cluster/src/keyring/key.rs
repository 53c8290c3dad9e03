//! One key: its bytes, its name, and the keys derived from it.

use std::fmt;
use std::sync::Arc;

use blake2::digest::{KeyInit, Mac, consts::U32};
use chacha20poly1305::XChaCha20Poly1305;
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub const KEY_LEN: usize = 32;

/// What a key is called: eight bytes of a keyed hash, as 16 hex digits for people. It says nothing about the key, so it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(pub(crate) [u8; KeyName::LEN]);

impl KeyName {
    /// Length on the wire.
    pub const LEN: usize = 8;

    /// From its 16 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut name = [0; Self::LEN];
        super::file::unhex(text, &mut name).then_some(Self(name))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A cluster key. Clones share one copy, which is wiped from memory when the last goes. Shows its name only.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    name: KeyName,
    /// Wipes itself.
    packets: XChaCha20Poly1305,
    #[cfg(feature = "runtime")]
    streams: Zeroizing<[u8; KEY_LEN]>,
}

impl Key {
    /// Of 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let packets = derive(&bytes, b"muster: packets, 1");
        let mut name = [0; KeyName::LEN];
        name.copy_from_slice(&derive(&bytes, b"muster: name, 1")[..KeyName::LEN]);
        let packets = XChaCha20Poly1305::new(packets.as_slice().into());
        #[cfg(feature = "runtime")]
        let streams = derive(&bytes, b"muster: streams, 1");
        Self(Arc::new(Inner {
            bytes,
            name: KeyName(name),
            packets,
            #[cfg(feature = "runtime")]
            streams,
        }))
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> KeyName {
        self.0.name
    }

    /// The secret itself. For writing it into a file or a sealed stream, never into a log.
    #[must_use]
    pub fn secret(&self) -> &[u8; KEY_LEN] {
        &self.0.bytes
    }

    pub(crate) fn packets(&self) -> &XChaCha20Poly1305 {
        &self.0.packets
    }

    #[cfg(feature = "runtime")]
    pub(crate) fn streams(&self) -> &[u8; KEY_LEN] {
        &self.0.streams
    }
}

/// Each use has a key of its own, so that nothing said under one helps against another.
fn derive(key: &[u8; KEY_LEN], purpose: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
    // A key of 32 bytes is what BLAKE2s takes at most; there is no other error.
    let mut mac = <blake2::Blake2sMac<U32> as KeyInit>::new(key.into());
    Mac::update(&mut mac, purpose);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

impl PartialEq for Key {
    /// By name, which leaks no timing of the secret's bytes.
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_keys_apart_and_the_secret_is_not_shown() {
        let (a, b) = (Key::new([1; 32]), Key::new([2; 32]));
        assert_ne!(a.name(), b.name());
        assert_eq!(a, Key::new([1; 32]));
        assert_eq!(KeyName::parse(&a.name().to_string()), Some(a.name()));
        assert_eq!(format!("{a:?}"), format!("Key({})", a.name()));
        #[cfg(feature = "runtime")]
        assert_ne!(a.streams()[..8], a.name().0, "each use has its own");
        for bad in ["", "12", "g123456789abcdef", "0123456789abcdef0"] {
            assert_eq!(KeyName::parse(bad), None, "{bad}");
        }
    }
}
