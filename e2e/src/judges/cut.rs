//! A read shows the key as it was at the revision that it names, however old that is: a local read may be behind, but it must be a true
//! picture of some moment. Between the write that it found and the revision that it names there is no other write of the key.

use std::collections::BTreeMap;

use super::write::{Fate, Write, by_key};
use crate::torture::operation::Operation;
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let writes = by_key(record);
    let mut wrong = Vec::new();
    for (key, reads) in record.by_key() {
        let Some(writes) = writes.get(key) else { continue };
        let of: BTreeMap<u64, &Write<'_>> =
            writes.iter().filter_map(|write| Some((write.revision()?, write))).collect();
        for read in reads {
            wrong.extend(of_read(key, read, writes, &of));
        }
    }
    wrong
}

fn of_read(key: &str, read: &Operation, writes: &[Write<'_>], of: &BTreeMap<u64, &Write<'_>>) -> Option<String> {
    let (applied, _) = read.view()?;
    let found = read.saw(key)?;
    let last = of.range(..=applied).next_back().map(|(revision, write)| (*revision, *write));
    let what = format!("client {} read {key} at {}, from revision {applied}", read.client, read.began);
    match (found, last) {
        (None, Some((revision, Write { value: Some(value), .. }))) => {
            let deletes =
                |write: &Write<'_>| write.value.is_none() && write.fate == Fate::Unknown && write.began < read.ended;
            let excused = writes.iter().any(deletes);
            (!excused).then(|| format!("{what}: absent, but {value} was put at {revision}"))
        }
        (Some(found), _) if found.revision > applied => Some(format!("{what}: found revision {}", found.revision)),
        (Some(found), Some((revision, _))) if revision > found.revision => {
            Some(format!("{what}: found revision {}, but it was written at {revision}", found.revision))
        }
        (Some(found), Some((revision, write))) if revision == found.revision && write.value != Some(&found.value) => {
            Some(format!("{what}: found {} at {revision}, which is of {:?}", found.value, write.value))
        }
        (Some(found), _) if of.get(&found.revision).is_none() => {
            Some(format!("{what}: found {} at {}, where nobody wrote it", found.value, found.revision))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::Story;
    use crate::torture::operation::Freshness::Local;

    #[test]
    fn it_bites() {
        let told =
            || Story::default().put("k", "a", 0..1, Some(1)).put("k", "b", 2..3, Some(3)).delete("k", 4..5, Some(6));
        let read = |what, applied| judge(&told().get_at("k", what, applied, None, 7..8, Local).record).len();
        assert_eq!((read(None, 0), read(Some(("a", 1)), 2), read(Some(("b", 3)), 5), read(None, 9)), (0, 0, 0, 0));
        assert_eq!(read(Some(("a", 1)), 3), 1, "older than it says");
        assert_eq!(read(None, 3), 1, "lost");
        assert_eq!(read(Some(("b", 3)), 6), 1, "risen from the dead");
        assert_eq!(read(Some(("b", 3)), 2), 1, "newer than it says");
        assert_eq!(read(Some(("b", 1)), 2), 1, "the value of one at the revision of another");
        assert_eq!(read(Some(("x", 2)), 2), 1, "from nowhere");
    }
}
