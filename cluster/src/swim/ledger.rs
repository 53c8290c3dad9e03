//! Who accused whom, and what came of it: for people who look for the member that is wrong about all others, or the link that is bad.
//!
//! Bounded: of the pairs, those that were heard of last are kept. What the others counted goes into one sum, so that totals only
//! grow.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Pairs that are kept: all of a cluster of sixteen, and in a larger one those that matter now.
const PAIRS: usize = 256;

/// What came of one member's accusations of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// Times that it said so.
    pub accused: u64,
    /// Times that the other showed that it lives: the accuser was wrong.
    pub refuted: u64,
    /// Times that the other was given up, or said goodbye meanwhile.
    pub upheld: u64,
}

/// One line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accusations {
    /// Who accused.
    pub by: Uuid,
    /// Whom; this member, too.
    pub of: Uuid,
    /// What came of it.
    pub verdicts: Verdicts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    verdicts: Verdicts,
    used: u64,
}

/// The ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lines: BTreeMap<(Uuid, Uuid), Line>,
    uses: u64,
    /// The sums of the lines that made room.
    others: Verdicts,
}

/// What is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    Accused,
    Refuted,
    Upheld,
}

impl Ledger {
    pub(super) fn note(&mut self, by: Uuid, of: Uuid, note: Note) {
        if self.lines.len() >= PAIRS && !self.lines.contains_key(&(by, of)) {
            self.make_room();
        }
        self.uses += 1;
        let line = self.lines.entry((by, of)).or_default();
        line.used = self.uses;
        match note {
            Note::Accused => line.verdicts.accused += 1,
            Note::Refuted => line.verdicts.refuted += 1,
            Note::Upheld => line.verdicts.upheld += 1,
        }
    }

    fn make_room(&mut self) {
        let oldest = self.lines.iter().min_by_key(|(_, line)| line.used).map(|(pair, _)| *pair);
        let Some(Line { verdicts, .. }) = oldest.and_then(|pair| self.lines.remove(&pair)) else { return };
        self.others.accused += verdicts.accused;
        self.others.refuted += verdicts.refuted;
        self.others.upheld += verdicts.upheld;
    }

    pub(super) fn lines(&self) -> Vec<Accusations> {
        let line = |(&(by, of), line): (&(Uuid, Uuid), &Line)| Accusations { by, of, verdicts: line.verdicts };
        self.lines.iter().map(line).collect()
    }

    pub(super) const fn others(&self) -> Verdicts {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_heard_of_longest_ago_makes_room_and_stays_in_the_sum() {
        let mut ledger = Ledger::default();
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        ledger.note(first, second, Note::Accused);
        ledger.note(second, first, Note::Accused);
        ledger.note(first, second, Note::Refuted);
        for number in 10..10 + PAIRS as u128 - 1 {
            ledger.note(Uuid::from_u128(number), first, Note::Upheld);
        }
        let lines = ledger.lines();
        assert_eq!(lines.len(), PAIRS);
        let kept = lines.iter().find(|line| line.by == first).expect("it was used later");
        assert_eq!(kept.verdicts, Verdicts { accused: 1, refuted: 1, upheld: 0 });
        assert_eq!(ledger.others(), Verdicts { accused: 1, refuted: 0, upheld: 0 });
    }
}
