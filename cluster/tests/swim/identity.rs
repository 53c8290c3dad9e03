//! What becomes of a member that comes back different, or whose clock is wrong: for each case one outcome, over many seeds.

use std::time::Duration;

use bytes::Bytes;
use muster_cluster::sim::{Record, Sim};
use muster_cluster::swim::{Config, Event, Input, MemberState, Stamp};
use uuid::Uuid;

/// Once the member is back, or its clock has jumped, all agree within this: suspicions that run end, and everybody exchanges.
const AGREES_WITHIN: Duration = Duration::from_secs(20);

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn cluster(seed: u64) -> Sim<Record> {
    let mut sim = Sim::new(Config::local("identity"), seed, Record::default());
    for _ in 0..4 {
        let host = sim.add_next();
        sim.start(host, seeds());
    }
    sim.run(Duration::from_secs(5));
    assert_eq!(sim.agree(), Ok(()), "seed {seed}");
    sim
}

fn seeds() -> Vec<std::net::SocketAddr> {
    vec![Sim::<()>::address(1), Sim::<()>::address(2)]
}

fn stamp_at(sim: &Sim<Record>, at: usize, of: usize) -> Stamp {
    let swim = sim.host(at).swim.as_ref().expect("it runs");
    swim.member(sim.host(of).id).expect("it is known").incarnation
}

fn is_set_back(sim: &Sim<Record>, host: usize) -> bool {
    sim.host(host).swim.as_ref().expect("it runs").is_set_back()
}

fn agrees(sim: &mut Sim<Record>, seed: u64) {
    sim.run(AGREES_WITHIN);
    assert_eq!(sim.agree(), Ok(()), "seed {seed}");
}

/// Host 3 crashes, perhaps for so long that it is given up, and comes back after `meanwhile`; its stamp before that.
fn comes_back(seed: u64, meanwhile: impl Fn(&mut Sim<Record>)) -> (Sim<Record>, Stamp) {
    let mut sim = cluster(seed);
    let before = stamp_at(&sim, 0, 3);
    sim.crash(3);
    sim.run(if seed.is_multiple_of(2) { Duration::from_millis(300) } else { Duration::from_secs(10) });
    meanwhile(&mut sim);
    sim.start(3, seeds());
    agrees(&mut sim, seed);
    (sim, before)
}

#[test]
fn at_a_new_address_it_is_the_same_member() {
    for seed in 0..20 {
        let moved = Sim::<()>::address(99);
        let (sim, before) = comes_back(seed, |sim| sim.host_mut(3).address = moved);
        assert!(stamp_at(&sim, 0, 3) > before);
        let member = sim.host(1).swim.as_ref().and_then(|swim| swim.member(sim.host(3).id));
        assert_eq!(member.map(|member| member.address), Some(moved));
        assert!(!is_set_back(&sim, 3));
    }
}

#[test]
fn at_the_same_address_under_a_new_id_the_old_one_is_given_up() {
    for seed in 0..20 {
        let old = Uuid::from_u128(4);
        let fresh = |sim: &mut Sim<Record>| {
            sim.host_mut(3).id = Uuid::from_u128(44);
            sim.lose_disk(3);
        };
        let (sim, _) = comes_back(seed, fresh);
        for host in sim.up().into_iter().filter(|host| *host != 3) {
            let state = sim.host(host).swim.as_ref().and_then(|swim| swim.member(old)).map(|member| member.state);
            assert_eq!(state, Some(MemberState::Failed), "seed {seed}");
        }
        assert!(!is_set_back(&sim, 3), "seed {seed}: nobody has heard of it before");
    }
}

#[test]
fn without_its_disk_it_learns_its_last_stamp_from_the_first_sync_and_says_so() {
    for seed in 0..20 {
        // Behind as well, so that only what it hears can put its new stamp above the old one.
        let (sim, before) = comes_back(seed, |sim| {
            sim.lose_disk(3);
            sim.host_mut(3).clock.ahead_ms = -HOUR_MS;
        });
        assert!(stamp_at(&sim, 0, 3) > before, "seed {seed}");
        assert!(is_set_back(&sim, 3), "seed {seed}");
        let said = sim.watch.events.iter().any(
            |(_, host, event)| matches!(event, Event::SetBack { heard, held } if *host == 3 && *heard == before && *held == Stamp::ZERO),
        );
        assert!(said, "seed {seed}");
    }
}

#[test]
fn with_its_clock_set_back_it_counts_on_from_its_disk() {
    for seed in 0..20 {
        let (sim, before) = comes_back(seed, |sim| sim.host_mut(3).clock.ahead_ms = -DAY_MS);
        let after = stamp_at(&sim, 0, 3);
        assert!(after > before && after.wall() == before.wall(), "seed {seed}: {after} after {before}");
        assert!(!is_set_back(&sim, 3), "seed {seed}");
    }
}

#[test]
fn a_clock_that_jumps_while_it_runs_changes_nothing_for_others_and_it_can_still_refute() {
    for (seed, jump) in (0..20).map(|seed| (seed, if seed % 2 == 0 { -DAY_MS } else { DAY_MS })) {
        let mut sim = cluster(seed);
        let before = stamp_at(&sim, 0, 3);
        let told = sim.watch.events.len();
        sim.host_mut(3).clock.ahead_ms = jump;
        sim.run(Duration::from_secs(30));
        let missed = sim.watch.events[told..].iter().any(|(_, _, event)| matches!(event, Event::Suspected(_)));
        assert!(!missed, "seed {seed}: a clock is no sign of life");
        // Cut off until it is given up, it has to defend itself.
        sim.network.put_in_group(3, 1);
        sim.run(Duration::from_secs(20));
        sim.network.heal();
        agrees(&mut sim, seed);
        let after = stamp_at(&sim, 0, 3);
        assert!(after > before, "seed {seed}");
        // Nobody else's clock went along.
        sim.ask(0, Input::Metadata(Bytes::from_static(b"x"))).expect("it fits");
        sim.run(Duration::from_secs(5));
        assert!(stamp_at(&sim, 1, 0).wall() <= sim.now(0).wall, "seed {seed}");
        assert!(!is_set_back(&sim, 3), "seed {seed}");
    }
}

#[test]
fn a_clock_further_ahead_than_anybody_believes_is_not_followed() {
    for seed in 0..10 {
        let ahead = 20 * 365 * DAY_MS;
        // Started with it, or met by it while it runs and has to defend itself.
        let (mut sim, before) = comes_back(seed, |sim| sim.host_mut(3).clock.ahead_ms = ahead);
        assert!(stamp_at(&sim, 0, 3) > before, "seed {seed}");
        sim.network.put_in_group(3, 1);
        sim.run(Duration::from_secs(20));
        sim.network.heal();
        agrees(&mut sim, seed);
        // And its disk holds nothing that would shut it out once the clock is set.
        sim.crash(3);
        sim.run(Duration::from_secs(1));
        sim.host_mut(3).clock.ahead_ms = 0;
        sim.start(3, seeds());
        agrees(&mut sim, seed);
        assert!(!is_set_back(&sim, 3), "seed {seed}");
    }
}
