//! All copies are the same once all is quiet: same revision, same keys, values, revisions and types of keys; and all nodes say the same of the
//! cluster: which it is, who leads and votes, how it is configured.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::torture::client::type_of;
use crate::torture::record::{Record, Standing};

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut wrong = copies(record);
    for pair in record.standings.windows(2) {
        wrong.extend(differences(&pair[0], &pair[1]));
    }
    wrong.extend(mixed(record));
    wrong
}

fn copies(record: &Record) -> Vec<String> {
    let Some(first) = record.copies.first() else { return Vec::new() };
    let mut wrong = Vec::new();
    for other in &record.copies[1..] {
        if other.revision != first.revision {
            wrong.push(format!(
                "node {} is at revision {}, node {} at {}",
                first.node, first.revision, other.node, other.revision
            ));
        }
        wrong.extend(difference((first.node, &first.found), (other.node, &other.found)));
    }
    wrong
}

/// Where two lists part.
fn difference<T: PartialEq + Debug>(one: (usize, &[T]), other: (usize, &[T])) -> Option<String> {
    let differs = one.1.iter().zip(other.1).find(|(one, other)| one != other);
    if let Some((this, that)) = differs {
        return Some(format!("node {} has {this:?} where node {} has {that:?}", one.0, other.0));
    }
    let counts = (one.1.len(), other.1.len());
    (counts.0 != counts.1).then(|| format!("node {} has {} keys, node {} has {}", one.0, counts.0, other.0, counts.1))
}

/// What two nodes say differently.
fn differences(one: &Standing, other: &Standing) -> Vec<String> {
    // Named one by one, so that none is forgotten when there is one more.
    let Standing { node, cluster_id, term, leader, voters, learners, config, applied_index, created, types } = one;
    let said = |what: &str, this: &dyn Debug, that: &dyn Debug, same: bool| {
        (!same).then(|| format!("{what}: node {node} says {this:?}, node {} says {that:?}", other.node))
    };
    let all = [
        said("the cluster", cluster_id, &other.cluster_id, *cluster_id == other.cluster_id),
        said("the term", term, &other.term, *term == other.term),
        said("the leader", leader, &other.leader, *leader == other.leader),
        said("the voters", voters, &other.voters, *voters == other.voters),
        said("the learners", learners, &other.learners, *learners == other.learners),
        said("the configuration", config, &other.config, *config == other.config),
        said("the last entry applied", applied_index, &other.applied_index, *applied_index == other.applied_index),
        difference((*node, created), (other.node, &other.created)),
        difference((*node, types), (other.node, &other.types)),
    ];
    all.into_iter().flatten().collect()
}

/// Keys whose type is that of another value: the type says whose it is, where a plain client gave it.
fn mixed(record: &Record) -> Vec<String> {
    let mut wrong = Vec::new();
    for standing in &record.standings {
        let Some(copy) = record.copies.iter().find(|copy| copy.node == standing.node) else { continue };
        let values: BTreeMap<&str, &str> =
            copy.found.iter().map(|(key, found)| (key.as_str(), found.value.as_str())).collect();
        let ours = type_of("");
        for (key, of) in standing.types.iter().filter(|(_, of)| of.starts_with(&ours)) {
            let value = values.get(key.as_str());
            if value.is_none_or(|value| *of != type_of(value)) {
                wrong.push(format!("node {}: {key} is {value:?} and of type {of:?}", standing.node));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::judges::story::found;
    use crate::torture::record::Copy;

    fn copy(node: usize, revision: u64, value: &str) -> Copy {
        Copy { node, revision, found: vec![("k".to_owned(), found("a", 1)), ("l".to_owned(), found(value, 2))] }
    }

    #[test]
    fn it_bites() {
        let told = |copies: Vec<Copy>| judge(&Record { copies, ..Record::default() }).len();
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 2, "b"), copy(2, 2, "b")]), 0);
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 2, "x"), copy(2, 2, "b")]), 1);
        assert_eq!(told(vec![copy(0, 2, "b"), copy(1, 3, "b")]), 1);
        let mut short = copy(1, 2, "b");
        short.found.pop();
        assert_eq!(told(vec![copy(0, 2, "b"), short]), 1);
    }

    #[test]
    fn whatever_a_node_says_differently_is_found() {
        let [x, y] = [1, 2].map(Uuid::from_u128);
        let standing = || Standing {
            node: 0,
            cluster_id: Some(x),
            term: 3,
            leader: Some(x),
            voters: vec![x, y],
            learners: Vec::new(),
            config: "5 voters".to_owned(),
            applied_index: 9,
            created: vec![("k".to_owned(), 1), ("l".to_owned(), 2)],
            types: vec![("k".to_owned(), type_of("a")), ("l".to_owned(), "text/plain".to_owned())],
        };
        let told = |change: fn(&mut Standing)| {
            let mut other = Standing { node: 1, ..standing() };
            change(&mut other);
            let record = Record { standings: vec![standing(), other], ..Record::default() };
            judge(&record).len()
        };
        assert_eq!(told(|_| {}), 0);
        assert_eq!(told(|other| other.cluster_id = None), 1);
        assert_eq!(told(|other| other.term = 4), 1);
        assert_eq!(told(|other| other.leader = None), 1);
        assert_eq!(told(|other| other.voters.truncate(1)), 1);
        assert_eq!(told(|other| other.learners = vec![Uuid::from_u128(3)]), 1);
        assert_eq!(told(|other| other.config = "3 voters".to_owned()), 1);
        assert_eq!(told(|other| other.applied_index = 8), 1);
        assert_eq!(told(|other| other.created[1].1 = 3), 1, "a key made by another write");
        assert_eq!(told(|other| other.created.truncate(1)), 1);
        assert_eq!(told(|other| other.types[1].1 = "text/html".to_owned()), 1);
        // The same everywhere, and of another value's type.
        let of_types = |types: Vec<(String, String)>| Standing { types, ..standing() };
        let mixed = |types| {
            judge(&Record { copies: vec![copy(0, 2, "b")], standings: vec![of_types(types)], ..Record::default() })
                .len()
        };
        assert_eq!(mixed(standing().types), 0);
        assert_eq!(mixed(vec![("k".to_owned(), type_of("b"))]), 1);
        assert_eq!(mixed(vec![("gone".to_owned(), type_of("a"))]), 1);
    }
}
