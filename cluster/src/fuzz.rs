//! The doors through which bytes of strangers come in, for fuzzers and for the replay of what they found (feature `fuzzing`).
//!
//! Every door takes any bytes, and panics where the code behind it is wrong. No program needs them.

use crate::{election, keyring, swim};

/// A door: its name, which is that of its fuzz target and of its folder of inputs, and what is behind it.
pub type Door = (&'static str, fn(&[u8]));

/// All doors.
pub const DOORS: [Door; 8] = [
    ("envelope", swim::wire::fuzz::envelope),
    ("message", swim::wire::fuzz::message),
    ("preface", swim::wire::fuzz::preface),
    ("sealed", swim::fuzz::sealed),
    ("keyring", keyring::fuzz::file),
    ("core", swim::fuzz::core),
    ("election_message", election::fuzz::message),
    ("election_core", election::fuzz::core),
];

/// The door of that name.
///
/// # Panics
/// When there is none.
pub fn open(name: &str, data: &[u8]) {
    match DOORS.iter().find(|(door, _)| *door == name) {
        Some((_, behind)) => behind(data),
        None => panic!("there is no door {name}"),
    }
}
