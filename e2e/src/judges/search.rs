//! The search for an order: Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memory of Lowe, "Testing for
//! linearizability" (2017): a state that was reached with the same operations done before need not be tried again.
//!
//! It knows nothing of stores: steps with a begin and an end, and a function that says what a step makes of a state.

use std::collections::HashSet;
use std::hash::Hash;

use crate::torture::operation::Micros;

/// When a step happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Not before this.
    pub(super) began: Micros,
    /// Not after this; `None`: at any time later, or never.
    pub(super) ended: Option<Micros>,
}

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none. The longest that could be had, and what then could have come next.
    None {
        /// Steps in order.
        longest: Vec<usize>,
        /// None of these fits behind them.
        stuck: Vec<usize>,
    },
    /// It was given up.
    TooMuch,
}

struct Frame<S> {
    state: S,
    next: Vec<usize>,
    tried: usize,
    /// The step that led here.
    by: Option<usize>,
}

/// Looks for an order of all steps that have an end, and of any of the others, in which `apply` accepts each and no step comes before one
/// that ended before it began. Tries at most `budget` steps.
pub(super) fn search<S: Clone + Eq + Hash>(
    spans: &[Span],
    start: S,
    budget: usize,
    apply: impl Fn(usize, &S) -> Option<S>,
) -> Found {
    let mut by_begin: Vec<usize> = (0..spans.len()).collect();
    by_begin.sort_by_key(|&step| spans[step].began);
    let mut done = vec![0_u64; spans.len().div_ceil(64)];
    let is_done = |done: &[u64], step: usize| done[step / 64] >> (step % 64) & 1 == 1;
    let candidates = |done: &[u64]| {
        // Whoever began after another ended comes after it.
        let mut first_end = Micros::MAX;
        let mut next = Vec::new();
        for &step in by_begin.iter().filter(|&&step| !is_done(done, step)) {
            if spans[step].began > first_end {
                break;
            }
            first_end = first_end.min(spans[step].ended.unwrap_or(Micros::MAX));
            next.push(step);
        }
        next.retain(|&step| spans[step].began <= first_end);
        // What nobody had an answer to only when nothing else fits.
        next.sort_by_key(|&step| spans[step].ended.unwrap_or(Micros::MAX));
        next
    };
    let mut left = spans.iter().filter(|span| span.ended.is_some()).count();
    if left == 0 {
        return Found::Order;
    }
    let mut seen = HashSet::new();
    let mut stack = vec![Frame { state: start, next: candidates(&done), tried: 0, by: None }];
    let (mut longest, mut stuck) = (Vec::new(), stack[0].next.clone());
    let mut spent = 0;
    while let Some(frame) = stack.last_mut() {
        let Some(&step) = frame.next.get(frame.tried) else {
            if let Some(by) = stack.pop().and_then(|frame| frame.by) {
                done[by / 64] &= !(1 << (by % 64));
                left += usize::from(spans[by].ended.is_some());
            }
            continue;
        };
        frame.tried += 1;
        spent += 1;
        if spent > budget {
            return Found::TooMuch;
        }
        let Some(state) = apply(step, &frame.state) else { continue };
        done[step / 64] |= 1 << (step % 64);
        if !seen.insert((done.clone(), state.clone())) {
            done[step / 64] &= !(1 << (step % 64));
            continue;
        }
        left -= usize::from(spans[step].ended.is_some());
        if left == 0 {
            return Found::Order;
        }
        let next = candidates(&done);
        if stack.len() > longest.len() {
            longest = stack.iter().filter_map(|frame| frame.by).chain([step]).collect();
            stuck.clone_from(&next);
        }
        stack.push(Frame { state, next, tried: 0, by: Some(step) });
    }
    Found::None { longest, stuck }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A register: a step writes a number or reads one.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Write(u8),
        Read(u8),
    }

    fn apply(step: Step, state: u8) -> Option<u8> {
        match step {
            Step::Write(value) => Some(value),
            Step::Read(value) => (value == state).then_some(state),
        }
    }

    /// Every order there is, without any cleverness.
    fn dumb(spans: &[Span], steps: &[Step], done: &mut Vec<usize>, state: u8) -> bool {
        let open = |step: &usize| !done.contains(step);
        if (0..steps.len()).filter(open).all(|step| spans[step].ended.is_none()) {
            return true;
        }
        let open: Vec<usize> = (0..steps.len()).filter(open).collect();
        open.iter().any(|&step| {
            let late = |&&other: &&usize| spans[other].ended.is_some_and(|ended| ended < spans[step].began);
            if open.iter().any(|other| late(&other)) {
                return false;
            }
            let Some(state) = apply(steps[step], state) else { return false };
            done.push(step);
            let found = dumb(spans, steps, done, state);
            done.pop();
            found
        })
    }

    #[test]
    fn it_finds_what_trying_everything_finds() {
        let mut chance = StdRng::seed_from_u64(1);
        let mut found = [0, 0];
        for _ in 0..3_000 {
            let count = chance.random_range(1..7);
            let steps: Vec<Step> = (0..count)
                .map(|_| match chance.random_bool(0.5) {
                    true => Step::Write(chance.random_range(0..3)),
                    false => Step::Read(chance.random_range(0..3)),
                })
                .collect();
            let spans: Vec<Span> = steps
                .iter()
                .map(|step| {
                    let began = chance.random_range(0..10);
                    let lost = matches!(step, Step::Write(_)) && chance.random_bool(0.3);
                    Span { began, ended: (!lost).then(|| began + chance.random_range(0..5)) }
                })
                .collect();
            let clever = search(&spans, 0, 1_000_000, |step, &state| apply(steps[step], state)) == Found::Order;
            assert_eq!(clever, dumb(&spans, &steps, &mut Vec::new(), 0), "{spans:?} {steps:?}");
            found[usize::from(clever)] += 1;
        }
        assert!(found[0] > 300 && found[1] > 300, "both kinds occurred: {found:?}");
    }
}
