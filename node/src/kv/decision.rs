//! What a write does to the keys, given what is there: the rules of the keyspace, apart from how it is stored.

use super::operation::{Operation, Outcome};
use super::reading::Versioned;

/// The revisions of a key that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// The write that created it.
    pub create: u64,
    /// The write that last set it.
    pub modify: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing; no revision is taken.
    Refuse(Outcome),
    /// Set a key.
    Set {
        /// The key.
        key: String,
        /// What it becomes.
        versioned: Versioned,
        /// What to answer.
        outcome: Outcome,
    },
    /// Remove a key, if it is there.
    Remove {
        /// The key.
        key: String,
        /// What to answer.
        outcome: Outcome,
    },
    /// Remove all keys that start with this; the answer counts them.
    RemovePrefix(String),
    /// Set a value of the configuration; no revision is taken.
    Configure {
        /// Name of the value.
        name: String,
        /// The value.
        value: String,
    },
    /// Let so many revisions be nobody's.
    SkipRevisions(u64),
}

/// Decides. `current` is what is there of the operation's key, for operations on one key; `revision` is the one that the write takes
/// unless it is refused.
pub fn decide(operation: Operation, current: Option<Revisions>, revision: u64) -> Decision {
    let modified = current.map(|current| current.modify);
    match operation {
        Operation::Put { condition, .. } | Operation::Delete { condition, .. } if !condition.holds(modified) => {
            Decision::Refuse(Outcome::ConditionFailed { current: modified })
        }
        Operation::Put { key, value, content_type, condition: _ } => {
            let create_revision = current.map_or(revision, |current| current.create);
            let versioned = Versioned { value, content_type, create_revision, modify_revision: revision };
            Decision::Set { key, versioned, outcome: Outcome::Put { revision, created: current.is_none() } }
        }
        Operation::Delete { key, condition: _ } => {
            Decision::Remove { key, outcome: Outcome::Deleted { revision, existed: current.is_some() } }
        }
        Operation::DeletePrefix { prefix } => Decision::RemovePrefix(prefix),
        Operation::Configure { name, value } => Decision::Configure { name, value },
        Operation::SkipRevisions { count } => Decision::SkipRevisions(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Condition;

    const THERE: Option<Revisions> = Some(Revisions { create: 3, modify: 5 });

    fn put(condition: Condition) -> Operation {
        Operation::Put { key: "k".into(), value: "v".into(), content_type: None, condition }
    }

    fn delete(condition: Condition) -> Operation {
        Operation::Delete { key: "k".into(), condition }
    }

    #[test]
    fn a_put_keeps_the_create_revision_of_a_key_that_is_there() {
        for (current, create_revision, created) in [(THERE, 3, false), (None, 9, true)] {
            let Decision::Set { versioned, outcome, .. } = decide(put(Condition::Always), current, 9) else { panic!() };
            assert_eq!((versioned.create_revision, versioned.modify_revision), (create_revision, 9));
            assert_eq!(outcome, Outcome::Put { revision: 9, created });
        }
    }

    #[test]
    fn a_delete_of_nothing_takes_a_revision_too() {
        let outcome = Outcome::Deleted { revision: 9, existed: false };
        assert_eq!(decide(delete(Condition::Always), None, 9), Decision::Remove { key: "k".into(), outcome });
    }

    #[test]
    fn what_does_not_hold_is_refused_with_what_is_there() {
        let refused = [
            (Condition::Exists, None),
            (Condition::Absent, THERE),
            (Condition::ModifiedAt(vec![3]), THERE),
            (Condition::ModifiedAt(vec![]), THERE),
            (Condition::ModifiedAt(vec![5]), None),
        ];
        for (condition, there) in refused {
            let refusal = Decision::Refuse(Outcome::ConditionFailed { current: there.map(|there| there.modify) });
            assert_eq!(decide(put(condition.clone()), there, 9), refusal);
            assert_eq!(decide(delete(condition), there, 9), refusal);
        }
        for (condition, there) in
            [(Condition::Exists, THERE), (Condition::Absent, None), (Condition::ModifiedAt(vec![1, 5]), THERE)]
        {
            assert!(!matches!(decide(put(condition), there, 9), Decision::Refuse(_)));
        }
    }
}
