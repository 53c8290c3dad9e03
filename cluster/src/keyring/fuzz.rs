//! What the fuzzers hold the key file to.

use super::Keyring;

/// A key file: no panic, and whatever is understood is understood again when it is written anew.
pub(crate) fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(ring) = Keyring::parse(text) else { return };
    let again = Keyring::parse(&ring.to_text());
    assert_eq!(
        again.map(|again| again.entries().to_vec()).ok(),
        Some(ring.entries().to_vec()),
        "written anew, it is another"
    );
}
