//! `If-Match` and `If-None-Match` (RFC 9110, section 13.1), as conditions on a key's modify revision.
//!
//! Our tags are `"<revision>"` and strong. `If-Match` compares strongly, so a weak tag never matches; `If-None-Match`
//! compares weakly, so `W/"5"` is 5. A tag that is no revision matches nothing. What is not a list of tags is refused.

use actix_web::http::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};

use super::error::ApiError;
use crate::kv::Condition;

/// 64: tags of a condition travel in the log.
const MAX_TAGS: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Revisions(Vec<u64>),
}

/// The condition of a write.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Condition, ApiError> {
    match (tags(headers, "If-Match")?, tags(headers, "If-None-Match")?) {
        (None, None) => Ok(Condition::Always),
        (Some(Tags::Any), None) => Ok(Condition::Exists),
        (Some(Tags::Revisions(revisions)), None) => Ok(Condition::ModifiedAt(revisions)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::Revisions(revisions))) => Ok(Condition::NotModifiedAt(revisions)),
        (Some(_), Some(_)) => Err(ApiError::bad_request("If-Match and If-None-Match cannot be combined in a write")),
    }
}

/// What the conditions of a read make of a key whose modify revision is `current`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as usual.
    Go,
    /// 304: the caller has it already.
    NotModified,
    /// 412.
    Failed,
}

/// The conditions of a read, understood before anything is read.
#[derive(Debug)]
pub(super) struct OfRead {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// The conditions of a read.
pub(super) fn of_read(headers: &HeaderMap) -> Result<OfRead, ApiError> {
    Ok(OfRead { if_match: tags(headers, "If-Match")?, if_none_match: tags(headers, "If-None-Match")? })
}

impl OfRead {
    /// Judges in the order of RFC 9110, section 13.2.2.
    pub(super) fn judge(&self, current: Option<u64>) -> Verdict {
        let listed = |tags: &Tags| match (tags, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Revisions(revisions), Some(current)) => revisions.contains(&current),
        };
        if self.if_match.as_ref().is_some_and(|tags| !listed(tags)) {
            return Verdict::Failed;
        }
        match self.if_none_match.as_ref().is_some_and(listed) {
            true => Verdict::NotModified,
            false => Verdict::Go,
        }
    }
}

fn tags(headers: &HeaderMap, name: &'static str) -> Result<Option<Tags>, ApiError> {
    let (header, weak_counts) = if name == "If-Match" { (IF_MATCH, false) } else { (IF_NONE_MATCH, true) };
    if !headers.contains_key(&header) {
        return Ok(None);
    }
    let malformed = || {
        ApiError::bad_request(format!(
            "{name} is malformed; write * or quoted revisions, such as \"5\" or \"5\", \"7\""
        ))
    };
    let mut revisions = Vec::new();
    let mut any = false;
    let mut seen = 0;
    // Several header lines are one list.
    for line in headers.get_all(&header) {
        let mut rest = line.as_bytes().trim_ascii();
        if rest == b"*" {
            any = true;
            continue;
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b",") {
                rest = after.trim_ascii_start();
                continue;
            }
            let (tag, after) = one_tag(rest).ok_or_else(malformed)?;
            seen += 1;
            if seen > MAX_TAGS {
                return Err(ApiError::bad_request(format!("{name} has more than {MAX_TAGS} tags")));
            }
            if let Some(revision) = tag.revision.filter(|_| weak_counts || !tag.weak) {
                revisions.push(revision);
            }
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return Err(malformed());
            }
        }
    }
    match (any, seen) {
        (true, 0) => Ok(Some(Tags::Any)),
        (false, 1..) => Ok(Some(Tags::Revisions(revisions))),
        _ => Err(malformed()),
    }
}

struct Tag {
    weak: bool,
    /// `None`: well-formed, but none of ours.
    revision: Option<u64>,
}

/// Reads `[W/]"..."` and what follows it.
fn one_tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let (weak, quoted) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let inner = quoted.strip_prefix(b"\"")?;
    let end = inner.iter().position(|&byte| byte == b'"')?;
    let opaque = &inner[..end];
    let etagc = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..=0xff);
    if !opaque.iter().all(etagc) {
        return None;
    }
    // Only the form that we write: `"05"` and `"+5"` are other tags than `"5"`.
    let canonical = opaque.iter().all(u8::is_ascii_digit) && (opaque.len() == 1 || !opaque.starts_with(b"0"));
    let number = std::str::from_utf8(opaque).ok().and_then(|digits| digits.parse().ok());
    Some((Tag { weak, revision: number.filter(|_| canonical) }, &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn if_match(lines: &[&str]) -> Result<Condition, ApiError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        of_write(&headers)
    }

    #[test]
    fn lists_stars_weak_and_foreign_tags() {
        assert_eq!(if_match(&["*"]).unwrap(), Condition::Exists);
        assert_eq!(if_match(&["\"5\""]).unwrap(), Condition::ModifiedAt(vec![5]));
        assert_eq!(if_match(&[" \"5\" ,, \"7\","]).unwrap(), Condition::ModifiedAt(vec![5, 7]));
        assert_eq!(if_match(&["\"5\"", "\"7\""]).unwrap(), Condition::ModifiedAt(vec![5, 7]));
        assert_eq!(if_match(&["W/\"5\""]).unwrap(), Condition::ModifiedAt(vec![]));
        for foreign in ["\"abc\"", "\"05\"", "\"+5\"", "\"\"", "\"18446744073709551616\"", "\"a,b\""] {
            assert_eq!(if_match(&[foreign]).unwrap(), Condition::ModifiedAt(vec![]), "{foreign}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for bad in ["", ",", "5", "\"5", "5\"", "\"5\" \"7\"", "*, \"5\"", "w/\"5\"", "\"a b\"", "**"] {
            assert!(if_match(&[bad]).is_err(), "{bad}");
        }
        assert!(if_match(&["*", "\"5\""]).is_err());
        assert!(if_match(&[&"\"5\",".repeat(65)]).is_err());
        let mut both = HeaderMap::new();
        both.insert(IF_MATCH, HeaderValue::from_static("*"));
        both.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(of_write(&both).is_err());
    }

    #[test]
    fn reads_compare_as_the_rfc_says() {
        let judge = |header, value: &'static str, current| {
            let mut headers = HeaderMap::new();
            headers.insert(header, HeaderValue::from_static(value));
            of_read(&headers).unwrap().judge(current)
        };
        assert_eq!(judge(IF_NONE_MATCH, "\"5\"", Some(5)), Verdict::NotModified);
        assert_eq!(judge(IF_NONE_MATCH, "W/\"5\"", Some(5)), Verdict::NotModified);
        assert_eq!(judge(IF_NONE_MATCH, "*", Some(5)), Verdict::NotModified);
        assert_eq!(judge(IF_NONE_MATCH, "\"4\"", Some(5)), Verdict::Go);
        assert_eq!(judge(IF_NONE_MATCH, "*", None), Verdict::Go);
        assert_eq!(judge(IF_MATCH, "\"5\"", Some(5)), Verdict::Go);
        assert_eq!(judge(IF_MATCH, "W/\"5\"", Some(5)), Verdict::Failed);
        assert_eq!(judge(IF_MATCH, "*", None), Verdict::Failed);
    }
}
