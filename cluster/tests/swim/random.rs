//! Random faults over many seeds: whatever happened, once the network is whole the views agree within a bound.
//!
//! ```sh
//! MUSTER_SEED=1234 cargo nextest run -p muster-cluster trials_from_the_environment                 # one seed
//! MUSTER_SEEDS=10000 cargo nextest run --release -p muster-cluster trials_from_the_environment     # a long run
//! MUSTER_SEEDS=3000..4000 cargo nextest run --release -p muster-cluster trials_from_the_environment     # a slice of it
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use muster_cluster::sim::{CONVERGES_WITHIN, Fault, Outcome, Record, Sim, trial};
use muster_cluster::swim::{Config, Event};
use uuid::Uuid;

fn passed(seed: u64) -> Outcome {
    trial(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"))
}

fn check_all(seeds: Range<u64>) -> Vec<Outcome> {
    let outcomes: Vec<Outcome> = seeds.map(passed).collect();
    let lost: u64 = outcomes.iter().map(|outcome| outcome.lost).sum();
    assert!(lost > 1_000, "only {lost} packets were lost: the faults did not fire");
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    for (fault, times) in outcomes.iter().flat_map(|outcome| &outcome.faults) {
        *faults.entry(*fault).or_default() += times;
    }
    for fault in Fault::ALL {
        assert!(faults.contains_key(&fault), "{fault:?} never happened");
    }
    outcomes
}

// Several tests, so that they run beside each other.

#[test]
fn views_agree_after_faults_1() {
    check_all(0..50);
}

#[test]
fn views_agree_after_faults_2() {
    check_all(50..100);
}

#[test]
fn views_agree_after_faults_3() {
    check_all(100..150);
}

#[test]
fn views_agree_after_faults_4() {
    check_all(150..200);
}

/// What the environment asks for; see the head of the file.
#[test]
fn trials_from_the_environment() {
    let number = |text: &str| -> u64 { text.parse().expect("a number") };
    if let Ok(seed) = std::env::var("MUSTER_SEED") {
        passed(number(&seed));
    }
    let Ok(seeds) = std::env::var("MUSTER_SEEDS") else { return };
    let (first, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
    let outcomes = check_all(number(first)..number(end));
    let mut times: Vec<Duration> = outcomes.iter().map(|outcome| outcome.converged_in).collect();
    times.sort();
    let steps: u64 = outcomes.iter().map(|outcome| outcome.steps).sum();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "seeds {first} to {end}, {steps} steps; one view after {median:?} (median), {last:?} (last), bound {CONVERGES_WITHIN:?}"
    );
}

#[test]
fn one_seed_one_trace() {
    let (first, second, other) = (passed(7), passed(7), passed(8));
    assert!(first.sent > 300, "a run of {} packets says little", first.sent);
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_ne!(first.fingerprint, other.fingerprint);
}

/// A tombstone takes its age along, so that no two members keep one alive by telling each other of it.
#[test]
fn the_dead_are_forgotten_everywhere_at_about_the_same_time() {
    for seed in 0..10 {
        forget(seed);
    }
}

fn forget(seed: u64) {
    let ttl = Duration::from_secs(40);
    let config = Config { tombstone_ttl: ttl, ..Config::local("forget") };
    let mut sim = Sim::new(config, seed, Record::default());
    let seeds = vec![Sim::<()>::address(1), Sim::<()>::address(2)];
    for _ in 0..5 {
        let host = sim.add_next();
        sim.start(host, seeds.clone());
    }
    let last = 4;
    let dead = sim.host(last).id;
    sim.run(Duration::from_secs(5));
    sim.crash(last);
    let crashed_at = sim.watch.events.len();
    sim.run(Duration::from_secs(20));
    // One that starts late learns of the dead with their age.
    let late = sim.add(Uuid::from_u128(6), Sim::<()>::address(6));
    sim.start(late, seeds);
    sim.run(Duration::from_secs(5));
    let knows =
        |sim: &Sim<Record>, host: usize| sim.host(host).swim.as_ref().is_some_and(|swim| swim.member(dead).is_some());
    for host in sim.up() {
        assert!(knows(&sim, host), "host {host} has forgotten too early");
    }
    // The time to live and one sweep, counted from the crash.
    sim.run(ttl);
    for host in sim.up() {
        assert!(!knows(&sim, host), "host {host} still remembers");
    }
    sim.run(Duration::from_secs(60));
    assert_eq!(sim.agree(), Ok(()));
    assert_eq!(sim.different_states(), 1);
    assert!(sim.up().iter().all(|host| !knows(&sim, *host)), "it was brought back");
    for (time, host, event) in &sim.watch.events[crashed_at..] {
        let risen = matches!(event, Event::Joined(member) if member.id == dead);
        assert!(!risen, "seed {seed}: host {host} saw it rise at {time:?}");
    }
}
