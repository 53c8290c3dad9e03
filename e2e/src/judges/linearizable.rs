//! Every key's writes and linearizable reads fit one order that respects real time: Herlihy and Wing, "Linearizability: a correctness
//! condition for concurrent objects" (1990), section 2. Keys are judged one by one (locality, section 3.1 there).
//!
//! The state of a key is its last writer and its revision. A write whose answer never came may have happened at any time since it was
//! sent, or never; once anybody read its value, it has happened, with the revision that was read. A write that was refused for good has
//! not happened: reading its value fits nowhere.

use std::collections::HashMap;

use super::search::{Found as Search, Span, search};
use super::write::{Fate, Write, by_key};
use crate::torture::operation::{Condition, Freshness, Operation};
use crate::torture::record::Record;

/// 3,000,000 steps for a key: seconds. Histories without a violation take little more steps than they have operations.
const BUDGET: usize = 3_000_000;

/// A key at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// Which write put it there.
    by: Option<usize>,
    /// The revision that it was written at, if anybody knows it.
    revision: Option<u64>,
    /// The revision of the next write is above this.
    above: u64,
}

enum Step<'a> {
    Write(Write<'a>),
    /// Finds the value of this write (`None`: no such write) at this revision.
    Finds(Option<usize>, u64),
    FindsNothing,
}

/// What is wrong.
pub fn judge(record: &Record) -> Vec<String> {
    let reads = record.by_key();
    let of_key = |(key, writes)| of_key(key, writes, reads.get(key).map_or(&[][..], Vec::as_slice));
    by_key(record).into_iter().filter_map(of_key).collect()
}

fn of_key(key: &str, writes: Vec<Write<'_>>, operations: &[&Operation]) -> Option<String> {
    let writer: HashMap<String, usize> =
        writes.iter().enumerate().filter_map(|(n, write)| Some((write.value?.to_owned(), n))).collect();
    let mut spans: Vec<Span> = writes.iter().map(|write| Span { began: write.began, ended: write.ended }).collect();
    let mut steps: Vec<Step<'_>> = writes.into_iter().map(Step::Write).collect();
    for read in operations.iter().filter(|done| done.call.freshness() == Some(Freshness::Linearizable)) {
        let Some(found) = read.saw(key) else { continue };
        steps.push(match found {
            Some(found) => Step::Finds(writer.get(&found.value).copied(), found.revision),
            None => Step::FindsNothing,
        });
        spans.push(Span { began: read.began, ended: Some(read.ended) });
    }
    let start = State { by: None, revision: None, above: 0 };
    match search(&spans, start, BUDGET, |step, state| apply(step, &steps[step], *state)) {
        Search::Order => None,
        Search::TooMuch => Some(format!("{key}: undecided after {BUDGET} steps, {} operations", steps.len())),
        Search::None { longest, stuck } => {
            let show = |steps_of: &[usize]| -> Vec<String> {
                steps_of.iter().map(|&step| format!("{} {}", shown(&spans[step]), words(&steps[step]))).collect()
            };
            let last = &longest[longest.len().saturating_sub(8)..];
            Some(format!(
                "{key}: no order fits; behind {} steps ending with\n    {}\nnone of these can be next:\n    {}",
                longest.len(),
                show(last).join("\n    "),
                show(&stuck).join("\n    ")
            ))
        }
    }
}

fn shown(span: &Span) -> String {
    match span.ended {
        Some(ended) => format!("[{}..{ended}]", span.began),
        None => format!("[{}..?]", span.began),
    }
}

fn words(step: &Step<'_>) -> String {
    match step {
        Step::Finds(None, revision) => format!("reads what nobody wrote, at {revision}"),
        Step::Finds(Some(by), revision) => format!("reads the value of write {by} at {revision}"),
        Step::FindsNothing => "reads that it is absent".to_owned(),
        Step::Write(write) => {
            let what = write.value.map_or("deletes".to_owned(), |value| format!("puts {value}"));
            format!("{what} if {:?}: {:?}", write.condition, write.fate)
        }
    }
}

fn apply(number: usize, step: &Step<'_>, state: State) -> Option<State> {
    match step {
        Step::Finds(by, revision) => (by.is_some() && *by == state.by).then(|| known_as(state, *revision)).flatten(),
        Step::FindsNothing => state.by.is_none().then_some(state),
        Step::Write(write) => {
            let by = write.value.map(|_| number);
            match write.fate {
                Fate::Failed => Some(state),
                Fate::Refused(_) if holds(write.condition, &state) => None,
                Fate::Refused(None) => state.by.is_none().then_some(state),
                Fate::Refused(Some(current)) => state.by.and_then(|_| known_as(state, current)),
                Fate::Applied { revision, existed, .. } => {
                    let fits = existed.is_none_or(|existed| existed == state.by.is_some());
                    let goes = holds(write.condition, &state) && fits && revision > state.above;
                    goes.then_some(State { by, revision: Some(revision), above: revision })
                }
                Fate::Unknown => {
                    holds(write.condition, &state).then_some(State { by, revision: None, above: state.above + 1 })
                }
            }
        }
    }
}

/// The same state, now that its revision is known; `None` when it is another.
fn known_as(state: State, revision: u64) -> Option<State> {
    match state.revision {
        Some(known) => (known == revision).then_some(state),
        None => (revision >= state.above).then_some(State { revision: Some(revision), above: revision, ..state }),
    }
}

fn holds(condition: Condition, state: &State) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => state.by.is_none(),
        // Whoever asks for a revision has seen it, so a write of that revision is known to be of it.
        Condition::At(revision) => state.by.is_some() && state.revision == Some(revision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judges::story::Story;
    use crate::torture::operation::Freshness::{Linearizable, Local};
    use crate::torture::operation::Seen;

    #[test]
    fn a_sound_history_has_an_order() {
        let story = Story::default()
            .put("k", "a", 0..10, Some(1))
            .get("k", Some(("a", 1)), 11..12, Linearizable)
            // Its answer was lost; somebody read it later.
            .put("k", "b", 20..30, None)
            .get("k", Some(("a", 1)), 31..32, Linearizable)
            .get("k", Some(("b", 2)), 33..34, Linearizable)
            .put_if("k", "c", Condition::At(1), 40..41, Seen::Refused { current: Some(2) })
            .put_if("k", "d", Condition::At(2), 42..43, Seen::Wrote { revision: 3, existed: true })
            .delete("k", 50..60, Some(4))
            .get("k", None, 61..62, Linearizable)
            .put_if("k", "e", Condition::Absent, 63..64, Seen::Wrote { revision: 5, existed: false });
        assert_eq!(judge(&story.record), Vec::<String>::new());
    }

    fn bites(story: Story) {
        assert_eq!(judge(&story.record).len(), 1, "{:#?}", story.record.operations);
    }

    #[test]
    fn a_lost_write_a_stale_read_and_a_reading_that_goes_back_are_found() {
        let written = || Story::default().put("k", "a", 0..10, Some(1)).put("k", "b", 20..30, Some(2));
        bites(written().get("k", Some(("a", 1)), 31..32, Linearizable));
        bites(written().get("k", None, 31..32, Linearizable));
        // Local reads may be behind.
        assert_eq!(judge(&written().get("k", Some(("a", 1)), 31..32, Local).record), Vec::<String>::new());
        let seen = Story::default().put("k", "a", 0..1, Some(1)).put("k", "b", 20..90, Some(2));
        bites(seen.get("k", Some(("b", 2)), 31..32, Linearizable).get("k", Some(("a", 1)), 33..34, Linearizable));
    }

    #[test]
    fn a_refused_write_that_is_there_and_values_from_nowhere_are_found() {
        let failed = Story::default().put_as("k", "a", 0..10, Seen::Failed(String::new()));
        bites(failed.get("k", Some(("a", 1)), 11..12, Linearizable));
        bites(Story::default().put("k", "a", 0..1, Some(1)).get("k", Some(("x", 1)), 2..3, Linearizable));
    }

    #[test]
    fn two_winners_of_one_condition_and_a_condition_refused_for_nothing_are_found() {
        let won = |revision| Seen::Wrote { revision, existed: false };
        bites(Story::default().put_if("k", "a", Condition::Absent, 0..10, won(1)).put_if(
            "k",
            "b",
            Condition::Absent,
            0..10,
            won(2),
        ));
        let start = || Story::default().put("k", "a", 0..1, Some(1));
        bites(start().put_if("k", "b", Condition::At(1), 2..3, Seen::Refused { current: Some(1) }));
        bites(start().put_if("k", "b", Condition::At(9), 2..3, Seen::Wrote { revision: 10, existed: true }));
        // By the revisions the first came after the second; by the clock before.
        bites(Story::default().put("k", "a", 0..1, Some(2)).put("k", "b", 2..3, Some(1)));
    }

    #[test]
    fn a_write_nobody_answered_may_have_happened_once_only() {
        let lost = || Story::default().put("k", "a", 0..1, Some(1)).put("k", "b", 2..3, None);
        let late = lost().put("k", "c", 4..5, Some(2)).get("k", Some(("b", 3)), 6..7, Linearizable);
        assert_eq!(judge(&late.record), Vec::<String>::new());
        bites(lost().get("k", Some(("b", 2)), 4..5, Linearizable).put("k", "c", 6..7, Some(3)).get(
            "k",
            Some(("b", 4)),
            8..9,
            Linearizable,
        ));
    }
}
