//! The doors through which bytes of strangers come in, for fuzzers and for the replay of what they found (feature `fuzzing`).
//!
//! Every door takes any bytes, and panics where the code behind it is wrong. No program needs them.

#[cfg(feature = "runtime")]
use crate::runtime;
use crate::{election, keyring, swim};

/// A door: its name, which is that of its fuzz target and of its folder of inputs, and what is behind it.
pub type Door = (&'static str, fn(&[u8]));

/// All doors. Those of streams and of the stamp's file are there with the feature `runtime` only.
pub const DOORS: &[Door] = &[
    ("envelope", swim::wire::fuzz::envelope),
    ("message", swim::wire::fuzz::message),
    ("preface", swim::wire::fuzz::preface),
    ("sealed", swim::fuzz::sealed),
    ("keyring", keyring::fuzz::file),
    ("core", swim::fuzz::core),
    ("election_message", election::fuzz::message),
    ("election_core", election::fuzz::core),
    #[cfg(feature = "runtime")]
    ("key_request", runtime::fuzz::key_request),
    #[cfg(feature = "runtime")]
    ("stream_head", runtime::fuzz::stream_head),
    #[cfg(feature = "runtime")]
    ("stream_records", runtime::fuzz::stream_records),
    #[cfg(feature = "runtime")]
    ("stamp", runtime::fuzz::stamp),
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
