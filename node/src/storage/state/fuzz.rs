//! The door of the state's rows; see `crate::fuzz`.

use bytes::Bytes;

use super::rows::{self, Applied, Part};
use crate::fuzz::same_again;
use crate::kv::{Outcome, Versioned};
use crate::storage::Position;

/// A row of any family: its key's part or its value, whatever it is taken for.
pub(crate) fn row(bytes: &[u8]) {
    let _ = (rows::parse_revisions(bytes), rows::parse_expiry_row(bytes), rows::parse_session_row(bytes));
    if let Some(applied) = rows::parse_applied(bytes) {
        let again = postcard::to_stdvec(&applied).expect("it is written");
        assert_eq!(rows::parse_applied(&again), Some(applied));
    }
    if let Some(found) = rows::parse_row(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(rows::parse_value(bytes, false).as_ref(), Some(&found));
        assert_eq!(rows::encode_value(&found), bytes);
    }
    same_again::<Vec<Outcome>>(bytes);
}

pub(crate) fn row_samples() -> Vec<Vec<u8>> {
    let versioned = |content_type: Option<&str>| Versioned {
        value: Bytes::from_static(b"value"),
        content_type: content_type.map(str::to_owned),
        create_revision: 3,
        modify_revision: 500,
    };
    let part = Part { index: 8, writes: 1, deleted: 300, prefix: "a/".into() };
    let position = Some(Position { term: 2, index: 9 });
    let applied = Applied { position, revision: 7, stamp_ms: 1_000, part: Some(part) };
    let outcomes = vec![Outcome::Put { revision: 7, created: true }, Outcome::IdempotencyMismatch];
    vec![
        rows::encode_value(&versioned(None)),
        rows::encode_value(&versioned(Some("text/plain"))),
        postcard::to_stdvec(&applied).unwrap(),
        postcard::to_stdvec(&outcomes).unwrap(),
        rows::expiry_row(77, "key"),
        rows::session_row(5, 6),
    ]
}
