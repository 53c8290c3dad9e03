//! Seeds of the whole node. `MUSTER_SEEDS` says how many (or which: `7..8`). One run at a time, whatever threads the tests have.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::ops::Range;

use muster_e2e::torture::client::Control as ClientControl;
use muster_whole::faults::Fault;
use muster_whole::run::{Control, Plan, Report, run};

/// What a change can wait for; the program runs as many as one likes.
const SEEDS: u64 = 8;

fn seeds() -> Range<u64> {
    let given = std::env::var("MUSTER_SEEDS").unwrap_or_default();
    match given.split_once("..") {
        Some((from, to)) => from.parse().expect("a seed")..to.parse().expect("a seed"),
        None => 1..given.parse().unwrap_or(SEEDS) + 1,
    }
}

fn judged(plan: &Plan) -> Report {
    let report = run(plan);
    let (seed, what) = (plan.seed, report.violations.iter().take(5).map(ToString::to_string).collect::<Vec<_>>());
    assert!(what.is_empty(), "MUSTER_SEEDS={seed}..{}:\n{}\n{what:#?}", seed + 1, report.story.join("\n"));
    report
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let (mut acked, mut faults) = (0, BTreeSet::new());
    for seed in seeds() {
        let report = judged(&Plan { seed, ..Plan::default() });
        acked += report.record.operations.iter().filter(|done| done.acked().is_some()).count();
        for strike in &report.record.strikes {
            assert!(!strike.evidence.is_empty(), "{} shows nothing", strike.fault);
            faults.extend(strike.fault.split(" and ").map(str::to_owned));
        }
        println!("seed {seed}: {:016x}, {}", report.trace, report.record.counts());
    }
    assert!(acked > 100, "{acked}");
    assert!(seeds().count() < SEEDS as usize || faults.len() > 8, "{faults:?}");
}

#[test]
fn a_seed_gives_the_same_run_and_another_one_another() {
    // 8: a run of it once parted from another when a node was killed after 0.9 s.
    let traces = |seed| run(&Plan { seed, ..Plan::default() }).traces;
    let first = traces(8);
    let parted = traces(8).iter().zip(&first).position(|(one, other)| one != other);
    assert_eq!(parted, None, "the virtual millisecond at which they part");
    assert_ne!(traces(2), first);
}

/// What judges say within a few seeds of a broken rule.
fn bites(faults: &[Fault], control: Control, judges: &[&str]) {
    let found = (1..20).find_map(|seed| {
        let report = run(&Plan { seed, faults: faults.to_vec(), control: Some(control) });
        let all: BTreeSet<&str> = report.violations.iter().map(|violation| violation.judge).collect();
        let found = report.violations.iter().find(|violation| judges.contains(&violation.judge)).cloned()?;
        Some((seed, found, all))
    });
    let (seed, violation, all) = found.expect("somebody objects");
    println!("{control:?}: seed {seed}, by {all:?}: {violation}");
}

#[test]
fn reads_from_a_copy_are_no_linearizable_ones() {
    let faults = [Fault::Pause, Fault::CutOff, Fault::Slow];
    bites(&faults, Control::Client(ClientControl::StaleReads), &["order", "linearizable"]);
}

#[test]
fn a_retry_that_is_applied_twice_is_found() {
    bites(&[Fault::Kill, Fault::Slow], Control::Client(ClientControl::TwiceApplied), &["once", "linearizable"]);
}

#[test]
fn disks_that_say_that_they_have_synced_and_have_not_lose_what_was_acknowledged() {
    bites(&[Fault::PowerOffAll], Control::LyingDisks, &["durable", "order", "linearizable", "cut"]);
}

/// Two clusters never become one, so the run ends with an error; whoever looks at that alone does not see that something is lost.
#[test]
fn a_run_that_does_not_end_well_is_judged_all_the_same() {
    let report = run(&Plan { seed: 1, control: Some(Control::Minority), ..Plan::default() });
    let judges: BTreeSet<&str> = report.violations.iter().map(|violation| violation.judge).collect();
    assert!(judges.contains("run") && judges.contains("order") && judges.contains("durable"), "{judges:?}");
    assert!(!report.record.copies.is_empty(), "somebody says what is left");
}

#[test]
fn a_minority_that_takes_itself_for_all_is_found() {
    bites(&[], Control::Minority, &["durable", "order", "linearizable", "cut", "leaders"]);
}
