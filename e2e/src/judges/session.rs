//! Who uses the client library reads its own writes and never goes back in time, wherever it reads: Terry and others, "Session guarantees
//! for weakly consistent replicated data" (1994), sections 3.1 and 3.2.

use std::collections::{BTreeMap, BTreeSet};

use crate::torture::operation::{Call, Operation, Seen};
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut sessions: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for done in record.operations.iter().filter(|done| done.node.is_none()) {
        sessions.entry(done.client).or_default().push(done);
    }
    let delete = |done: &'_ Operation| match &done.call {
        Call::Delete { key, .. } => Some(key.clone()),
        Call::Put { .. } | Call::Get { .. } | Call::List { .. } => None,
    };
    let deleted: BTreeSet<String> = record.operations.iter().filter_map(delete).collect();
    let mut wrong = Vec::new();
    for (client, mut operations) in sessions {
        operations.sort_by_key(|done| done.began);
        let (mut written, mut read) = (0, 0);
        // What it wrote of each key, or was told when a condition was refused.
        let mut known: BTreeMap<&str, u64> = BTreeMap::new();
        for done in operations {
            for (key, revision) in &known {
                let missed = match done.saw(key) {
                    Some(Some(found)) => found.revision < *revision,
                    Some(None) => !deleted.contains(*key),
                    None => false,
                };
                if missed {
                    wrong.push(format!(
                        "client {client} read {key} at {} and missed {revision}, which it had written or been told of",
                        done.began
                    ));
                }
            }
            let told = match (&done.call, &done.seen) {
                (Call::Put { key, .. }, Seen::Wrote { revision, .. }) => Some((key, *revision)),
                (Call::Put { key, .. } | Call::Delete { key, .. }, Seen::Refused { current: Some(current) }) => {
                    read = read.max(*current);
                    Some((key, *current))
                }
                _ => None,
            };
            if let Some((key, revision)) = told {
                let newest = known.entry(key).or_default();
                *newest = revision.max(*newest);
            }
            if let Some((applied, _)) = done.view() {
                if applied < written {
                    wrong.push(format!(
                        "client {client} read revision {applied} at {} after it had written {written}",
                        done.began
                    ));
                }
                if applied < read {
                    wrong.push(format!(
                        "client {client} read revision {applied} at {} after it had seen {read}",
                        done.began
                    ));
                }
                read = read.max(applied);
            }
            written = written.max(done.acked().unwrap_or(0));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::Story;
    use crate::torture::operation::Condition;
    use crate::torture::operation::Freshness::Local;

    #[test]
    fn a_refused_condition_is_seen() {
        let refused = |current| {
            let seen = Seen::Refused { current };
            Story::default().put_if("a", "1", Condition::At(4), 0..1, seen).by(1)
        };
        let then = |applied| judge(&refused(Some(57)).get_at("b", None, applied, None, 2..3, Local).by(1).record).len();
        assert_eq!([then(57), then(56)], [0, 1]);
        let older = refused(Some(57)).get_at("a", Some(("0", 50)), 57, None, 2..3, Local).by(1);
        assert_eq!(judge(&older.record).len(), 1, "the key is older than what refused it");
        let absent = refused(None).get_at("b", None, 3, None, 2..3, Local).by(1);
        assert_eq!(judge(&absent.record), Vec::<String>::new(), "nobody said at what revision");
    }

    #[test]
    fn it_bites() {
        let then = |applied| {
            let story =
                Story::default().put("a", "1", 0..1, Some(5)).by(1).get_at("b", None, 7, None, 2..3, Local).by(1);
            judge(&story.get_at("b", None, applied, None, 4..5, Local).by(1).record).len()
        };
        assert_eq!([then(7), then(6), then(4)], [0, 1, 2]);
        let of_another =
            Story::default().put("a", "1", 0..1, Some(5)).by(1).get_at("b", None, 3, None, 2..3, Local).by(2);
        assert_eq!(judge(&of_another.record), Vec::<String>::new());
        let blind = Story::default().put("a", "1", 0..1, Some(5)).by(1).get_at("a", None, 5, None, 2..3, Local).by(1);
        assert_eq!(judge(&blind.record).len(), 1, "its own write is not there");
    }
}
