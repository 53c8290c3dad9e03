//! Who uses the client library reads its own writes and never goes back in time, wherever it reads: Terry and others, "Session guarantees
//! for weakly consistent replicated data" (1994), sections 3.1 and 3.2.

use std::collections::{BTreeMap, BTreeSet};

use crate::torture::operation::{Call, Operation};
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
        let mut own: BTreeMap<&str, u64> = BTreeMap::new();
        for done in operations {
            for (key, revision) in &own {
                let missed = match done.saw(key) {
                    Some(Some(found)) => found.revision < *revision,
                    Some(None) => !deleted.contains(*key),
                    None => false,
                };
                if missed {
                    wrong.push(format!(
                        "client {client} read {key} at {} and missed its own write {revision}",
                        done.began
                    ));
                }
            }
            if let (Call::Put { key, .. }, Some(revision)) = (&done.call, done.acked()) {
                let newest = own.entry(key).or_default();
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
                        "client {client} read revision {applied} at {} after it had read {read}",
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
    use crate::torture::operation::Freshness::Local;

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
