//! All copies are the same once all is quiet: same revision, same keys, values and revisions of keys.

use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let Some(first) = record.copies.first() else { return Vec::new() };
    let mut wrong = Vec::new();
    for other in &record.copies[1..] {
        if other.revision != first.revision {
            wrong.push(format!(
                "node {} is at revision {}, node {} at {}",
                first.node, first.revision, other.node, other.revision
            ));
        }
        let differs = first.found.iter().zip(&other.found).find(|(one, other)| one != other);
        if let Some((one, another)) = differs {
            wrong.push(format!("node {} has {one:?} where node {} has {another:?}", first.node, other.node));
        } else if first.found.len() != other.found.len() {
            let counts = (first.found.len(), other.found.len());
            wrong.push(format!("node {} has {} keys, node {} has {}", first.node, counts.0, other.node, counts.1));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::found;
    use crate::torture::record::Copy;

    #[test]
    fn it_bites() {
        let copy = |node, revision, value: &str| Copy {
            node,
            revision,
            found: vec![("k".to_owned(), found("a", 1)), ("l".to_owned(), found(value, 2))],
        };
        let told = |copies: Vec<Copy>| judge(&Record { copies, ..Record::default() }).len();
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 2, "b"), copy(2, 2, "b")]), 0);
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 2, "x"), copy(2, 2, "b")]), 1);
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 3, "b")]), 1);
        let mut short = copy(1, 2, "b");
        short.found.pop();
        assert_eq!(told(vec![copy(0, 2, "b"), short]), 1);
    }
}
