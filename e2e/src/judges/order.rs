//! Revisions grow in real time over the whole store, and no two writes share one: a write that begins after another was acknowledged has
//! the higher revision, and a linearizable read sees at least what was acknowledged before it was asked for. This is strict
//! serializability with the order given, so it needs no search, and it sees across keys what [`super::linearizable`] cannot.

use std::collections::BTreeMap;

use super::write::writes;
use crate::torture::operation::{Freshness, Micros};
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners = BTreeMap::new();
    // What must be above everything acknowledged before it began: (began, revision, what).
    let mut later: Vec<(Micros, u64, bool, String)> = Vec::new();
    for write in writes(record) {
        let Some(revision) = write.revision() else { continue };
        let what = format!("{} to {:?}", write.key, write.value);
        if let Some(other) = owners.insert(revision, what.clone()) {
            wrong.push(format!("revision {revision} belongs to two writes: {other} and {what}"));
        }
        later.push((write.began, revision, true, what));
    }
    for read in record.operations.iter().filter(|done| done.call.freshness() == Some(Freshness::Linearizable)) {
        if let Some((applied, _)) = read.view() {
            later.push((read.began, applied, false, format!("a linearizable read by client {}", read.client)));
        }
    }
    later.sort();
    let acked = acked(record);
    let (mut at, mut highest) = (0, 0);
    for (began, revision, writes, what) in later {
        while at < acked.len() && acked[at].0 < began {
            highest = highest.max(acked[at].1);
            at += 1;
        }
        if revision < highest || (writes && revision == highest) {
            wrong
                .push(format!("{what} began at {began} and is of revision {revision}, but {highest} was acked before"));
        }
    }
    wrong
}

/// When which revision was acknowledged, in the order of time.
pub(super) fn acked(record: &Record) -> Vec<(Micros, u64)> {
    let acked = |done: &crate::torture::operation::Operation| Some((done.ended, done.acked()?));
    let mut acked: Vec<_> = record.operations.iter().filter_map(acked).collect();
    acked.sort_unstable();
    acked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::Story;
    use crate::torture::operation::Freshness::{Linearizable, Local};

    #[test]
    fn it_bites() {
        let sound = || Story::default().put("a", "1", 0..10, Some(1)).put("b", "2", 5..20, Some(2));
        assert_eq!(judge(&sound().get_at("c", None, 2, None, 21..22, Linearizable).record), Vec::<String>::new());
        assert_eq!(judge(&sound().get_at("c", None, 1, None, 21..22, Local).record), Vec::<String>::new());
        assert_eq!(
            judge(&sound().get_at("c", None, 1, None, 21..22, Linearizable).record).len(),
            1,
            "stale, by another key"
        );
        assert_eq!(judge(&sound().put("c", "3", 21..22, Some(2)).record).len(), 2, "a revision given twice");
        let early = Story::default().put("a", "1", 0..10, Some(5)).put("b", "2", 11..20, Some(4));
        assert_eq!(judge(&early.record).len(), 1, "back in time");
    }
}
