//! `Idempotency-Key`, and the digest by which another request under the same key is noticed.

use actix_web::http::header::{HeaderMap, HeaderName};
use crc32fast::Hasher;
use muster_client::api::header::{IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY};

use super::error::ApiError;
use crate::kv::{Condition, Idempotency, Operation};

const NAME: HeaderName = HeaderName::from_static(IDEMPOTENCY_KEY);

/// What makes a retry of `operation` apply once, if the caller asked for that.
pub(super) fn of(headers: &HeaderMap, operation: &Operation) -> Result<Option<Idempotency>, ApiError> {
    let mut lines = headers.get_all(&NAME);
    let Some(line) = lines.next() else { return Ok(None) };
    let text = line.as_bytes();
    let fits = (1..=MAX_IDEMPOTENCY_KEY).contains(&text.len()) && text.iter().all(|byte| (0x20..=0x7e).contains(byte));
    match std::str::from_utf8(text) {
        Ok(key) if fits && lines.next().is_none() => {
            Ok(Some(Idempotency { key: key.to_owned(), digest: digest(operation) }))
        }
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must be one header of 1 to {MAX_IDEMPOTENCY_KEY} bytes of visible ASCII text"
        ))),
    }
}

/// Two checksums side by side: of the value, and of all the rest. It has to catch mistakes, not attacks, and it must be the
/// same in every build, since nodes of two releases compare it; the standard library's hasher promises no such thing.
fn digest(operation: &Operation) -> u64 {
    let mut rest = Hasher::new();
    let mut of_value = Hasher::new();
    let mut text = |text: &str| {
        rest.update(&(text.len() as u64).to_le_bytes());
        rest.update(text.as_bytes());
    };
    match operation {
        Operation::Put { key, value, content_type, condition } => {
            text("put");
            text(key);
            text(content_type.as_deref().unwrap_or_default());
            text(&describe(condition));
            of_value.update(value);
        }
        Operation::Delete { key, condition } => {
            text("delete");
            text(key);
            text(&describe(condition));
        }
        Operation::DeletePrefix { prefix } => {
            text("delete prefix");
            text(prefix);
        }
        Operation::Configure { name, value } => {
            text("configure");
            text(name);
            text(value);
        }
        Operation::SkipRevisions { count } => {
            text("skip revisions");
            text(&count.to_string());
        }
    }
    u64::from(rest.finalize()) << 32 | u64::from(of_value.finalize())
}

fn describe(condition: &Condition) -> String {
    let list = |name: &str, revisions: &[u64]| {
        let texts: Vec<String> = revisions.iter().map(u64::to_string).collect();
        format!("{name} {}", texts.join(","))
    };
    match condition {
        Condition::Always => String::new(),
        Condition::Exists => "exists".to_owned(),
        Condition::Absent => "absent".to_owned(),
        Condition::ModifiedAt(revisions) => list("at", revisions),
        Condition::NotModifiedAt(revisions) => list("not at", revisions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use bytes::Bytes;

    fn put(key: &str, value: &'static str, condition: Condition) -> Operation {
        let value = Bytes::from_static(value.as_bytes());
        Operation::Put { key: key.to_owned(), value, content_type: None, condition }
    }

    #[test]
    fn every_part_of_a_request_counts_in_its_digest() {
        let digests = [
            put("k", "v", Condition::Always),
            put("k", "w", Condition::Always),
            put("l", "v", Condition::Always),
            put("k", "v", Condition::Absent),
            put("k", "v", Condition::ModifiedAt(vec![5])),
            put("k", "v", Condition::NotModifiedAt(vec![5])),
            Operation::Delete { key: "k".to_owned(), condition: Condition::Always },
            Operation::DeletePrefix { prefix: "k".to_owned() },
        ]
        .map(|operation| digest(&operation));
        let distinct: std::collections::BTreeSet<u64> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn a_digest_is_the_same_in_every_release() {
        assert_eq!(digest(&put("k", "v", Condition::Absent)), 13_115_870_821_365_332_868);
    }

    #[test]
    fn only_short_visible_text_is_a_key() {
        let given = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, HeaderValue::from_bytes(value).unwrap());
            of(&headers, &put("k", "v", Condition::Always))
        };
        assert_eq!(given(b"order 17").unwrap().unwrap().key, "order 17");
        assert!(given(&[b'x'; 128]).is_ok());
        assert!(given(&[b'x'; 129]).is_err());
        assert!(given(b"").is_err());
        assert!(given(b"a\tb").is_err());
        assert!(given(b"\xc3\xa4").is_err());
    }
}
