//! The door of a recovery's note; see `crate::fuzz`.

use std::path::Path;

use super::note;

/// The file `recovering` of a data dir.
pub(crate) fn note(dir: &Path, bytes: &[u8]) {
    note::take_any(dir, bytes);
}

pub(crate) fn note_samples() -> Vec<Vec<u8>> {
    let written = note::a_file();
    let text = String::from_utf8(written.clone()).unwrap();
    // Without a checksum, as releases before 2.4 wrote it, and of a later release.
    let unsummed: String = text.lines().filter(|line| !line.contains("\"sum\"")).collect::<Vec<_>>().join("\n");
    let unsummed = unsummed.replace(",\n}", "\n}");
    let later = unsummed.replace("\"version\": 1", "\"version\": 2, \"more\": [null, 1.5]");
    vec![written, unsummed.into_bytes(), later.into_bytes()]
}
