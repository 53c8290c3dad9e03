//! The door of snapshots; see `crate::fuzz`.

use super::frame::{self, Frame};

/// One frame of a snapshot that a leader sends.
pub(crate) fn snapshot(bytes: &[u8]) {
    let _ = frame::parse(bytes, 0);
    if bytes.len() < 17 {
        return;
    }
    let bytes = frame::seal(bytes.to_vec());
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[8..16]);
    if let Ok(Frame::Rows(content)) = frame::parse(&bytes, u64::from_le_bytes(number)) {
        let mut read = 0;
        for row in frame::rows(content) {
            let Ok((key, value)) = row else { break };
            read += 8 + key.len() + value.len();
            super::super::state::fuzz::row(value);
        }
        assert!(read <= content.len());
    }
}

pub(crate) fn snapshot_samples() -> Vec<Vec<u8>> {
    let mut rows = frame::begin(1, 100);
    frame::add_row(&mut rows, b"\x00a", b"value");
    frame::add_row(&mut rows, b"\x01", &[]);
    vec![frame::head(), frame::seal(rows), frame::end(2, 2)]
}
