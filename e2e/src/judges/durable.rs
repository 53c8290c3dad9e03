//! What was acknowledged is there at the end, on every node, and what was refused is not. Nothing is there that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};

use super::write::{Fate, Write, by_key};
use crate::torture::operation::Found;
use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let writes = by_key(record);
    let mut wrong = Vec::new();
    if record.copies.is_empty() {
        wrong.push("nobody said what it holds at the end".to_owned());
    }
    for copy in &record.copies {
        let there: BTreeMap<&str, &Found> = copy.found.iter().map(|(key, found)| (key.as_str(), found)).collect();
        let keys: BTreeSet<&str> = writes.keys().copied().chain(there.keys().copied()).collect();
        for key in keys {
            let of = writes.get(key).map_or(&[][..], Vec::as_slice);
            let why = of_key(of, there.get(key).copied());
            wrong.extend(why.map(|why| format!("node {}: {key}: {why}", copy.node)));
        }
    }
    wrong
}

fn of_key(writes: &[Write<'_>], there: Option<&Found>) -> Option<String> {
    let last = writes.iter().filter_map(|write| Some((write.revision()?, write))).max_by_key(|(revision, _)| *revision);
    match (there, last) {
        (None, Some((revision, Write { value: Some(value), .. }))) => {
            let excused = writes.iter().any(|write| write.value.is_none() && write.fate == Fate::Unknown);
            (!excused).then(|| format!("{value}, acknowledged at revision {revision}, is lost"))
        }
        (None, _) => None,
        (Some(found), Some((revision, write))) => {
            let right = revision == found.revision && write.value == Some(&found.value);
            (!right).then(|| {
                format!("{} at {} is there, {:?} at {revision} should be", found.value, found.revision, write.value)
            })
        }
        (Some(found), None) => Some(format!("{} is there, which was refused or never written", found.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::{Story, found};
    use crate::torture::operation::Seen;
    use crate::torture::record::Copy;

    fn at_the_end(story: Story, there: &[(&str, &str, u64)]) -> usize {
        let mut record = story.record;
        let found = there.iter().map(|(key, value, revision)| ((*key).to_owned(), found(value, *revision))).collect();
        record.copies.push(Copy { node: 0, revision: 9, found });
        judge(&record).len()
    }

    #[test]
    fn it_bites() {
        let put = || Story::default().put("k", "a", 0..1, Some(1));
        assert_eq!(at_the_end(put(), &[("k", "a", 1)]), 0);
        assert_eq!(at_the_end(put(), &[]), 1, "lost");
        assert_eq!(at_the_end(put(), &[("k", "a", 2)]), 1, "written again");
        assert_eq!(at_the_end(put().delete("k", 2..3, Some(2)), &[("k", "a", 1)]), 1, "risen from the dead");
        assert_eq!(at_the_end(put().delete("k", 2..3, None), &[]), 0, "nobody knows");
        assert_eq!(at_the_end(put().put("k", "b", 2..3, None), &[("k", "b", 2)]), 0, "nobody knew");
        let refused = Story::default().put_as("k", "a", 0..1, Seen::Failed(String::new()));
        assert_eq!(at_the_end(refused, &[("k", "a", 1)]), 1, "refused and there");
        assert_eq!(at_the_end(put(), &[("k", "a", 1), ("x", "x", 2)]), 1, "from nowhere");
        assert_eq!(judge(&put().record).len(), 1, "nobody looked");
    }
}
