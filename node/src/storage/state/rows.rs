//! The rows of the state engine, as bytes. Pure. One keyspace holds them all, so that whatever the engine flushes or loses, it is at the border
//! of a batch: keys, what is remembered and how far the log was applied never part.
//!
//! ```text
//! c <name>                     a value of the replicated configuration
//! i <idempotency key>          what is remembered of it (postcard)
//! k <key>                      u64 create revision, u64 modify revision, u16 length of the content type (65535: none), the type, the value
//! m applied                    how far the log was applied (postcard)
//! m membership                 the membership, as replication encodes it
//! s <u128 session> <u64 n>     settled below, stamp, and what came of the writes 32 n to 32 n + 31 (postcard); both numbers big-endian
//! t <u64 stamp> <idem. key>    empty: what is to be forgotten when; the stamp big-endian, so that rows are in its order
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::kv::{Revisions, Versioned};
use crate::storage::Position;

/// Where a family of rows begins.
pub(super) const CONFIGURATION: u8 = b'c';
pub(super) const IDEMPOTENCY: u8 = b'i';
pub(super) const KEY: u8 = b'k';
pub(super) const SESSION: u8 = b's';
pub(super) const EXPIRY: u8 = b't';

/// The row that says how far the log was applied.
pub(super) const APPLIED: &[u8] = b"mapplied";
/// The row of the membership.
pub(super) const MEMBERSHIP: &[u8] = b"mmembership";

const NO_TYPE: u16 = u16::MAX;
const FIXED: usize = 18;

/// How far the log was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    pub(super) position: Option<Position>,
    pub(super) revision: u64,
    /// The highest stamp of an entry.
    pub(super) stamp_ms: u64,
    /// Of the entry behind `position`, what was applied already.
    pub(super) part: Option<Part>,
}

/// An entry that was applied in part: a prefix delete too large for one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Its index.
    pub(super) index: u64,
    /// Writes of it that were applied wholly.
    pub(super) writes: u64,
    /// Keys that the next write deleted.
    pub(super) deleted: u64,
    /// The prefix of those, without the family. Releases up to 2.2 did not keep it.
    pub(super) prefix: String,
}

/// Reads how far the log was applied.
pub(super) fn parse_applied(row: &[u8]) -> Option<Applied> {
    #[derive(Deserialize)]
    struct OldPart {
        index: u64,
        writes: u64,
        deleted: u64,
    }
    #[derive(Deserialize)]
    struct Old {
        position: Option<Position>,
        revision: u64,
        stamp_ms: u64,
        part: Option<OldPart>,
    }
    postcard::from_bytes(row).ok().or_else(|| {
        let Old { position, revision, stamp_ms, part } = postcard::from_bytes(row).ok()?;
        let part =
            part.map(|OldPart { index, writes, deleted }| Part { index, writes, deleted, prefix: String::new() });
        Some(Applied { position, revision, stamp_ms, part })
    })
}

/// A row's key: its family and a name.
pub(super) fn row(family: u8, name: &str) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + name.len());
    row.push(family);
    row.extend_from_slice(name.as_bytes());
    row
}

/// The row that says when an idempotency key is forgotten.
pub(super) fn expiry_row(stamp_ms: u64, key: &str) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + key.len());
    row.push(EXPIRY);
    row.extend_from_slice(&stamp_ms.to_be_bytes());
    row.extend_from_slice(key.as_bytes());
    row
}

/// Stamp and idempotency key of such a row.
pub(super) fn parse_expiry_row(row: &[u8]) -> Option<(u64, &str)> {
    let (stamp, key) = row.get(1..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*stamp), std::str::from_utf8(key).ok()?))
}

/// The row of some outcomes of a session.
pub(super) fn session_row(session: u128, at: u64) -> Vec<u8> {
    let mut row = Vec::with_capacity(25);
    row.push(SESSION);
    row.extend_from_slice(&session.to_be_bytes());
    row.extend_from_slice(&at.to_be_bytes());
    row
}

/// Session and place of such a row.
pub(super) fn parse_session_row(row: &[u8]) -> Option<(u128, u64)> {
    let (session, rest) = row.get(1..)?.split_first_chunk::<16>()?;
    Some((u128::from_be_bytes(*session), u64::from_be_bytes(rest.try_into().ok()?)))
}

/// A key's row.
pub(super) fn encode_value(versioned: &Versioned) -> Vec<u8> {
    // HTTP bounds a header's length far below 65535; a longer type would be none.
    let content_type = versioned.content_type.as_deref().filter(|text| text.len() < usize::from(NO_TYPE));
    let text = content_type.unwrap_or_default();
    let mut bytes = Vec::with_capacity(FIXED + text.len() + versioned.value.len());
    bytes.extend_from_slice(&versioned.create_revision.to_le_bytes());
    bytes.extend_from_slice(&versioned.modify_revision.to_le_bytes());
    let length = content_type.map_or(NO_TYPE, |text| text.len() as u16);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&versioned.value);
    bytes
}

/// A key's row without its value: revisions, content type, where the value begins.
fn parse_head(bytes: &[u8]) -> Option<(Revisions, Option<&str>, usize)> {
    let (create, rest) = bytes.split_first_chunk::<8>()?;
    let (modify, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let revisions = Revisions { create: u64::from_le_bytes(*create), modify: u64::from_le_bytes(*modify) };
    match u16::from_le_bytes(*length) {
        NO_TYPE => Some((revisions, None, FIXED)),
        length => {
            let text = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
            Some((revisions, Some(text), FIXED + text.len()))
        }
    }
}

/// Reads a key's row without copying the value.
pub(super) fn parse_row(row: &Bytes) -> Option<Versioned> {
    let (_, _, at) = parse_head(row)?;
    parse_with(row, row.slice(at..))
}

/// Reads a key's row; `keys_only` leaves the value out.
pub(super) fn parse_value(bytes: &[u8], keys_only: bool) -> Option<Versioned> {
    let (_, _, at) = parse_head(bytes)?;
    parse_with(bytes, if keys_only { Bytes::new() } else { Bytes::copy_from_slice(&bytes[at..]) })
}

fn parse_with(bytes: &[u8], value: Bytes) -> Option<Versioned> {
    let (revisions, content_type, _) = parse_head(bytes)?;
    Some(Versioned {
        value,
        content_type: content_type.map(str::to_owned),
        create_revision: revisions.create,
        modify_revision: revisions.modify,
    })
}

/// Reads a key's revisions.
pub(super) fn parse_revisions(bytes: &[u8]) -> Option<Revisions> {
    parse_head(bytes).map(|(revisions, _, _)| revisions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read() {
        for content_type in [None, Some(String::new()), Some("text/plain".to_owned())] {
            for value in [Bytes::new(), Bytes::from_static(b"\0value")] {
                let versioned =
                    Versioned { value, content_type: content_type.clone(), create_revision: 1, modify_revision: 2 };
                let bytes = encode_value(&versioned);
                assert_eq!(parse_value(&bytes, false).as_ref(), Some(&versioned));
                assert_eq!(parse_row(&bytes.clone().into()).as_ref(), Some(&versioned));
                assert_eq!(parse_value(&bytes, true), Some(Versioned { value: Bytes::new(), ..versioned }));
                assert_eq!(parse_revisions(&bytes), Some(Revisions { create: 1, modify: 2 }));
                assert_eq!(parse_value(&bytes[..17], false), None);
            }
        }
        assert_eq!(parse_expiry_row(&expiry_row(7, "a/b")), Some((7, "a/b")));
        assert!(expiry_row(255, "z") < expiry_row(256, "a"));
    }
}
