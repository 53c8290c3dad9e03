//! Random faults over many seeds: whatever happened, once the network is whole the views agree within a bound.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::swim::{Config, Event, Input, MemberState, Swim};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::net::Net;

/// With the preset `local`, after the network is whole and nobody starts or stops any more: a suspicion that is running ends within
/// two seconds, every dead member is probed within some seconds, the halves exchange what they know, and all refute. Stated with
/// room for eight members.
const CONVERGES_WITHIN: Duration = Duration::from_secs(20);

/// After that long every pair has exchanged its full state, directly or not: the dictionaries are equal to the last entry.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);

fn name(number: u8) -> String {
    format!("n{number}")
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7_000))
}

fn seeds() -> Vec<SocketAddr> {
    vec![address(1), address(2)]
}

/// A run: start, faults, calm. Gives what dropped, so that the test can see that the faults were real.
fn run(seed: u64) -> Net {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut net = Net::new(Config::local("random"), seed);
    let size = chance.random_range(3..=8);
    for number in 1..=size {
        net.add(&name(number), Uuid::from_u128(number.into()), address(number));
        net.nodes.get_mut(&name(number)).expect("added").clock_ms = chance.random_range(-2_000..2_000);
        net.start(&name(number), seeds(), Bytes::new());
    }
    // Everybody knows everybody once: after that, seeds are a help and not a need.
    net.run(Duration::from_secs(5));
    assert_eq!(net.agree(), Ok(()), "seed {seed}: at the start");
    for _ in 0..12 {
        let node = name(chance.random_range(1..=size));
        match chance.random_range(0..9) {
            0 => net.loss = 0.0,
            1 | 2 => net.loss = chance.random_range(0.05..0.4),
            3 | 4 => {
                let groups = chance.random_range(2..=3);
                net.groups = (1..=size).map(|number| (name(number), chance.random_range(0..groups))).collect();
            }
            5 => net.groups.clear(),
            6 => net.crash(&node),
            7 | 8 => {
                if net.nodes[&node].swim.is_none() {
                    if chance.random_bool(0.3) {
                        net.nodes.get_mut(&node).expect("added").disk = Default::default();
                    }
                    net.start(&node, seeds(), Bytes::new());
                }
            }
            _ => unreachable!("drawn below 9"),
        }
        net.run(Duration::from_millis(chance.random_range(100..6_000)));
    }
    net.loss = 0.0;
    net.groups.clear();
    if seed.is_multiple_of(2) {
        // In every other run the seeds are forgotten: the two halves must find each other by the dead that they remember.
        for name in net.live() {
            if net.nodes[&name].swim.as_ref().is_some_and(Swim::is_synced) {
                net.input(&name, Input::Seeds(Vec::new()));
            }
        }
    }
    // A door must be open: somebody runs at a seed's address.
    if net.nodes[&name(1)].swim.is_none() && net.nodes[&name(2)].swim.is_none() {
        net.start(&name(1), seeds(), Bytes::new());
    }
    net
}

fn check(seed: u64) -> u64 {
    let mut net = run(seed);
    net.run(CONVERGES_WITHIN);
    if let Err(difference) = net.agree() {
        panic!("seed {seed}: {difference}");
    }
    let agreed_at = net.events.len();
    net.run(EQUAL_WITHIN);
    if let Err(difference) = net.agree() {
        panic!("seed {seed}, later: {difference}");
    }
    assert_eq!(net.states(), 1, "seed {seed}: the dictionaries differ");
    // Nobody who is alive is troubled any more, and nobody who is dead comes back.
    for (time, who, event) in &net.events[agreed_at..] {
        assert!(matches!(event, Event::Synced { .. }), "seed {seed}: {time:?} {who}: {event:?}");
    }
    assert!(net.checker.broken.is_empty(), "seed {seed}: {:#?}", net.checker.broken);
    let dead: Vec<Uuid> = net.nodes.values().filter(|node| node.swim.is_none()).map(|node| node.id).collect();
    for swim in net.nodes.values().filter_map(|node| node.swim.as_ref()) {
        for member in swim.members() {
            assert_eq!(member.state == MemberState::Failed, dead.contains(&member.id), "seed {seed}: {member:?}");
        }
    }
    net.dropped
}

fn check_all(seeds: std::ops::Range<u64>) {
    let dropped: u64 = seeds.map(check).sum();
    assert!(dropped > 1_000, "only {dropped} packets were lost: the faults did not fire");
}

// Several tests, so that they run beside each other.

#[test]
fn views_agree_after_faults_1() {
    check_all(0..40);
}

#[test]
fn views_agree_after_faults_2() {
    check_all(40..80);
}

#[test]
fn views_agree_after_faults_3() {
    check_all(80..120);
}

#[test]
fn views_agree_after_faults_4() {
    check_all(120..160);
}

#[test]
fn one_seed_one_trace() {
    let (first, second, other) = (run(7), run(7), run(8));
    assert!(first.sent > 300, "a run of {} packets says little", first.sent);
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_ne!(first.fingerprint(), other.fingerprint());
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
    let mut net = Net::new(Config { tombstone_ttl: ttl, ..Config::local("forget") }, seed);
    for number in 1..=5 {
        net.add(&name(number), Uuid::from_u128(number.into()), address(number));
        net.start(&name(number), seeds(), Bytes::new());
    }
    net.run(Duration::from_secs(5));
    net.crash("n5");
    let crashed_at = net.events.len();
    net.run(Duration::from_secs(20));
    // One that starts late learns of the dead with their age.
    net.add("n6", Uuid::from_u128(6), address(6));
    net.start("n6", seeds(), Bytes::new());
    net.run(Duration::from_secs(5));
    let knows = |net: &Net, name: &str| {
        net.nodes[name].swim.as_ref().is_some_and(|swim| swim.member(Uuid::from_u128(5)).is_some())
    };
    for name in net.live() {
        assert!(knows(&net, &name), "{name} has forgotten too early");
    }
    // The time to live and one sweep, counted from the crash.
    net.run(ttl);
    for name in net.live() {
        assert!(!knows(&net, &name), "{name} still remembers");
    }
    net.run(Duration::from_secs(60));
    assert_eq!(net.agree(), Ok(()));
    assert_eq!(net.states(), 1);
    assert!(net.live().iter().all(|name| !knows(&net, name)), "it was brought back");
    for (time, who, event) in &net.events[crashed_at..] {
        let risen = matches!(event, Event::Joined(member) if member.id == Uuid::from_u128(5));
        assert!(!risen, "seed {seed}: {who} saw it rise at {time:?}");
    }
}
