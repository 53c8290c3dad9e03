//! A write that was sent again is applied once: all answers to its idempotency key tell the same, its value is seen at one revision only,
//! and the store's revision has grown by no more than what was applied or may have been.

use std::collections::HashMap;

use super::write::{Fate, found_by, writes};
use crate::torture::operation::Seen;
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut answers: HashMap<&str, &Seen> = HashMap::new();
    for done in &record.operations {
        let definite = matches!(done.seen, Seen::Wrote { .. } | Seen::Refused { .. });
        let Some(again) = done.call.again().filter(|_| definite) else { continue };
        let first = answers.entry(again).or_insert(&done.seen);
        if **first != done.seen {
            wrong.push(format!("{:?} was answered with {first:?} and with {:?}", done.call, done.seen));
        }
    }
    let mut revisions: HashMap<(&str, &str), u64> = HashMap::new();
    let copies = record.copies.iter().flat_map(|copy| copy.found.iter().map(|(key, found)| (key.as_str(), found)));
    for (key, found) in record.operations.iter().flat_map(found_by).chain(copies) {
        let first = *revisions.entry((key, &found.value)).or_insert(found.revision);
        if first != found.revision {
            wrong.push(format!("{} was put to {key} twice, at {first} and at {}", found.value, found.revision));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong.extend(grown(record));
    wrong
}

/// Counts revisions, from what the first reader had seen applied to what is applied at the end.
fn grown(record: &Record) -> Option<String> {
    let first = record.operations.iter().filter(|done| done.view().is_some()).min_by_key(|done| done.ended)?;
    let (start, _) = first.view()?;
    let end = record.copies.iter().map(|copy| copy.revision).max()?;
    let later: Vec<_> = writes(record).into_iter().filter(|write| write.began >= first.ended).collect();
    let earlier = record.operations.iter().any(|done| done.call.writes() && done.began < first.ended);
    if earlier {
        return None;
    }
    let applied = later.iter().filter(|write| write.revision().is_some()).count() as u64;
    let maybe = later.iter().filter(|write| write.fate == Fate::Unknown).count() as u64;
    let grown = end.checked_sub(start)?;
    let right = (applied..=applied + maybe).contains(&grown);
    (!right).then(|| {
        format!("{applied} writes were applied and {maybe} may have been, but there are {grown} new revisions")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::{Story, found};
    use crate::torture::operation::Freshness::Local;
    use crate::torture::record::Copy;

    #[test]
    fn it_bites() {
        let twice = |second| {
            Story::default().put("k", "a", 0..1, Some(1)).again("x").put_as("k", "a", 2..3, second).again("x").record
        };
        let wrote = |revision| Seen::Wrote { revision, existed: false };
        assert_eq!(judge(&twice(wrote(1))), Vec::<String>::new());
        assert_eq!(judge(&twice(Seen::Failed(String::new()))), Vec::<String>::new());
        assert_eq!(judge(&twice(wrote(2))).len(), 1, "applied twice, and said so");
        assert_eq!(judge(&twice(Seen::Refused { current: None })).len(), 1, "another answer");
        let moved = Story::default().get("k", Some(("a", 1)), 0..1, Local).get("k", Some(("a", 4)), 2..3, Local);
        assert_eq!(judge(&moved.record).len(), 1, "applied twice, as readers saw");
    }

    #[test]
    fn it_counts() {
        let end = |revision| {
            let mut record = Story::default()
                .get_at("k", None, 10, None, 0..1, Local)
                .put("k", "a", 2..3, Some(11))
                .put("k", "b", 4..5, None)
                .record;
            record.copies.push(Copy { node: 0, revision, found: vec![("k".to_owned(), found("a", 11))] });
            judge(&record).len()
        };
        assert_eq!([end(10), end(11), end(12), end(13)], [1, 0, 0, 1]);
    }
}
