//! A term has one leader: election safety, Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (2014), figure 3.

use std::collections::BTreeMap;

use crate::torture::record::Record;

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let mut terms = BTreeMap::new();
    let mut wrong = Vec::new();
    for reign in &record.reigns {
        let first = *terms.entry(reign.term).or_insert(reign.leader);
        if first != reign.leader {
            wrong.push(format!("{first} and {} both led in term {}", reign.leader, reign.term));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::torture::record::Reign;

    #[test]
    fn it_bites() {
        let reign = |term, leader| Reign { term, leader: Uuid::from_u128(leader), at: 0 };
        let told = |reigns: &[Reign]| judge(&Record { reigns: reigns.to_vec(), ..Record::default() }).len();
        assert_eq!(told(&[reign(1, 1), reign(1, 1), reign(2, 2), reign(3, 1)]), 0);
        assert_eq!(told(&[reign(1, 1), reign(2, 2), reign(1, 2), reign(1, 2)]), 1);
    }
}
