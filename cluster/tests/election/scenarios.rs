//! What is tried, over how many seeds.

use std::{ops::Range, time::Duration};

use muster_cluster::election::{Input, Mode, Output};
use rand::RngExt;

use crate::{
    vote::Flaw,
    world::{Plan, World, id, ms},
};

/// An election, a lost try or two, and a deferral: what a whole network may need at worst before all agree.
const BOUND: Duration = Duration::from_millis(3_000);

fn seeds(normally: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("MUSTER_ELECTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MUSTER_ELECTION_SEEDS").unwrap_or(normally),
    }
}

/// Two seconds of faults, drawn from the world's seed.
fn storm(world: &mut World) {
    let nodes = world.plan.nodes;
    for _ in 0..10 {
        let node = world.rng.random_range(0..nodes);
        match world.rng.random_range(0..9) {
            0 => {
                world.cuts.clear();
                let side: Vec<bool> = (0..nodes).map(|_| world.rng.random_bool(0.5)).collect();
                for a in 0..nodes {
                    world.cuts.extend((0..nodes).filter(|b| side[a] != side[*b]).map(|b| (a, b)));
                }
                world.connections_change();
            }
            1 => {
                let other = world.rng.random_range(0..nodes);
                world.cuts.insert((node, other));
                world.connections_change();
            }
            2 => {
                world.cuts.clear();
                world.connections_change();
            }
            3 | 4 => {
                let leader = (0..nodes).find(|n| world.nodes[*n].election.leader().is_some_and(|(l, _)| l == id(*n)));
                let victim = leader.unwrap_or(node);
                if world.nodes[victim].up {
                    if world.rng.random_bool(0.5) { world.kill(victim) } else { world.vanish(victim) }
                }
            }
            5 => {
                if !world.nodes[node].up {
                    world.start(node);
                }
            }
            6 => world.loss = [0.0, 0.05, 0.3][world.rng.random_range(0..3)],
            7 => world.slowest = [ms(2), ms(10), ms(60)][world.rng.random_range(0..3)],
            _ => {
                // Gossip errs now and then.
                let leader = id(world.rng.random_range(0..nodes));
                world.report(node, ms(1), Input::LeaderSuspected { leader });
            }
        }
        let pause = ms(world.rng.random_range(20..380));
        world.run(pause);
    }
}

fn calm(world: &mut World) {
    world.cuts.clear();
    world.loss = 0.0;
    world.slowest = ms(5);
    for node in 0..world.plan.nodes {
        if !world.nodes[node].up {
            world.start(node);
        }
    }
    world.connections_change();
}

/// A storm and the calm after it; what went wrong, if anything did.
fn explore(plan: Plan) -> (World, Result<Duration, String>) {
    let mut world = World::new(plan);
    storm(&mut world);
    calm(&mut world);
    let begin = world.now;
    // What all agree on in the first moment may be a leader that a vote under way is about to replace.
    world.run_until_agreed(BOUND);
    world.run(ms(300));
    let agreed = world.run_until_agreed(BOUND).map(|_| world.now.saturating_since(begin));
    let agreed = agreed.filter(|took| *took <= BOUND);
    let first = world.agreed();
    let verdict = match (world.history.broken.clone(), agreed) {
        (Some(broken), _) => Err(broken),
        (None, None) => Err(format!("no leader within {BOUND:?} of the calm")),
        (None, Some(took)) => {
            world.run(ms(700));
            match world.history.broken.clone() {
                Some(broken) => Err(broken),
                None if world.agreed() != first && world.plan.mode == Mode::Voted => {
                    Err(format!("a leader did not last in the calm: {first:?}, then {:?}", world.agreed()))
                }
                None if world.agreed().is_none() => Err("agreement did not last in the calm".to_owned()),
                None => Ok(took),
            }
        }
    };
    (world, verdict)
}

fn explore_all(mode: Mode, normally: u64) {
    let (mut lost, mut repeated, mut terms, mut slowest) = (0, 0, 0, Duration::ZERO);
    for seed in seeds(normally) {
        let (world, verdict) = explore(Plan::new(mode, 3 + (seed % 3) as usize, seed));
        match verdict {
            Ok(took) => slowest = slowest.max(took),
            Err(what) => panic!("{what}; again with MUSTER_ELECTION_SEED={seed}"),
        }
        lost += world.lost;
        repeated += world.repeated;
        terms += world.history.terms();
    }
    println!("{mode:?}: {lost} messages lost, {repeated} repeated, {terms} terms, slowest agreement {slowest:?}");
    assert!(lost > 0 && repeated > 0, "the storms were none");
    // Plain leaders of one term are no fault, so only those of the vote are counted.
    assert!(mode == Mode::Plain || terms > 0, "nobody was ever elected");
}

#[test]
fn a_vote_has_one_victor_a_term_and_somebody_wins_once_the_network_is_whole() {
    explore_all(Mode::Voted, 2_000);
}

#[test]
fn plain_bully_has_one_leader_everywhere_once_the_network_is_whole() {
    explore_all(Mode::Plain, 2_000);
}

#[test]
fn one_seed_gives_one_trace() {
    for mode in [Mode::Voted, Mode::Plain] {
        let traces = [1, 1, 2].map(|seed| explore(Plan { traced: true, ..Plan::new(mode, 5, seed) }).0.trace);
        assert!(traces[0].len() > 1_000, "hardly anything happened");
        assert_eq!(traces[0], traces[1]);
        assert_ne!(traces[0], traces[2]);
    }
}

#[test]
fn flawed_votes_are_caught() {
    for flaw in [Flaw::Alone, Flaw::BlindToLogs] {
        let caught = (0..300).find(|seed| {
            let (world, _) = explore(Plan { flaw, tell_freshness: false, ..Plan::new(Mode::Voted, 5, *seed) });
            world.history.broken.is_some()
        });
        assert!(caught.is_some(), "{flaw:?} went unnoticed");
    }
}

#[test]
fn without_timers_nobody_wins_and_that_is_noticed() {
    let (_, verdict) = explore(Plan { timers: false, ..Plan::new(Mode::Voted, 3, 1) });
    assert!(verdict.is_err());
}

/// How long until all agree again after the leader was killed, in the middle and at worst.
fn after_a_kill(gone: fn(&mut World, usize)) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..200)
        .map(|seed| {
            let mut world = World::new(Plan::new(Mode::Voted, 3, seed));
            world.run_until_agreed(BOUND).expect("a first leader");
            let more = ms(world.rng.random_range(500..900));
            world.run(more);
            let (leader, _) = world.agreed().expect("a lasting leader");
            gone(&mut world, leader);
            world.run_until_agreed(BOUND).expect("a second leader")
        })
        .collect();
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

#[test]
fn a_certain_death_is_settled_at_once_and_a_disappearance_soon_after_the_window() {
    let (median, worst) = after_a_kill(World::kill);
    println!("kill: median {median:?}, worst {worst:?}");
    assert!(median < ms(50) && worst < ms(300), "kill: median {median:?}, worst {worst:?}");
    let (median, worst) = after_a_kill(World::vanish);
    println!("vanish: median {median:?}, worst {worst:?}");
    assert!(median < ms(450) && worst < ms(800), "vanish: median {median:?}, worst {worst:?}");
    // Its connections still seem whole, and it is not waited for all the same.
    let (median, worst) = after_a_kill(World::pause);
    println!("pause: median {median:?}, worst {worst:?}");
    assert!(median < ms(450) && worst < ms(800), "pause: median {median:?}, worst {worst:?}");
}

/// A cluster whose highest id has the shorter log loses its leader. How many campaigns came to nothing.
fn short_log_with_the_high_id(seed: u64, tell_freshness: bool) -> u64 {
    let mut world = World::new(Plan { tell_freshness, ..Plan::new(Mode::Voted, 3, seed) });
    world.run_until_agreed(BOUND).expect("a first leader");
    let (leader, _) = world.agreed().expect("agreed");
    let highest = (0..3).rfind(|node| *node != leader).expect("two are left");
    let fresh = (0..3).find(|node| ![leader, highest].contains(node)).expect("one is left");
    // The one with the higher id misses the last writes, but not the heartbeats long enough to notice.
    world.cuts.insert((leader, highest));
    while world.nodes[fresh].voter.disk.last() <= world.nodes[highest].voter.disk.last() {
        world.run(ms(10));
    }
    world.cuts.clear();
    let before = world.campaigns_lost;
    world.vanish(leader);
    world.run_until_agreed(BOUND).expect("a second leader");
    assert_eq!(world.agreed().map(|(node, _)| node), Some(fresh), "seed {seed}");
    world.campaigns_lost - before
}

#[test]
fn the_freshest_log_is_not_starved_by_a_higher_id() {
    let told: u64 = (0..100).map(|seed| short_log_with_the_high_id(seed, true)).sum();
    let untold: u64 = (0..100).map(|seed| short_log_with_the_high_id(seed, false)).sum();
    assert!(told * 4 < untold, "campaigns in vain: {told} by rank, {untold} by id alone");
}

#[test]
fn streams_without_datagrams_still_elect() {
    for seed in 0..100 {
        let mut world = World::new(Plan { bully_arrives: false, ..Plan::new(Mode::Voted, 5, seed) });
        let took = world.run_until_agreed(BOUND * 2).unwrap_or_else(|| panic!("nobody won with seed {seed}"));
        assert!(took > ms(900), "the fallback was not waited for: {took:?}");
        assert_eq!(world.history.broken, None);
    }
}

#[test]
fn a_returning_higher_rank_leaves_the_leader_in_peace() {
    for mode in [Mode::Voted, Mode::Plain] {
        for seed in 0..50 {
            let mut world = World::new(Plan::new(mode, 3, seed));
            world.vanish(2);
            world.run_until_agreed(BOUND).expect("a leader of the two lower");
            let led = world.agreed();
            world.start(2);
            world.run(ms(1_500));
            assert_eq!(world.agreed(), led, "{mode:?}, seed {seed}");
        }
    }
}

#[test]
fn a_node_cut_off_disturbs_nobody() {
    for seed in 0..50 {
        let mut world = World::new(Plan::new(Mode::Voted, 3, seed));
        world.run_until_agreed(BOUND).expect("a leader");
        world.run(ms(300));
        let led = world.agreed();
        let (leader, _) = led.expect("a leader");
        let cut_off = (leader + 1) % 3;
        let others: Vec<usize> = (0..3).filter(|node| *node != cut_off).collect();
        for other in &others {
            world.cuts.extend([(*other, cut_off), (cut_off, *other)]);
        }
        world.connections_change();
        world.run(ms(100));
        let before = world.campaigns;
        world.run(ms(3_000));
        assert_eq!(world.campaigns, before, "it campaigned, seed {seed}");
        assert_eq!(world.nodes[cut_off].election.leader(), None);
        world.cuts.clear();
        world.connections_change();
        world.run(ms(500));
        assert_eq!(world.agreed(), led, "its return changed the leader, seed {seed}");
    }
}

/// Why the store does not let plain bully rule: each side of a partition has its leader.
#[test]
fn plain_bully_has_two_leaders_under_a_partition_and_the_higher_term_or_rank_stays() {
    let mut world = World::new(Plan::new(Mode::Plain, 5, 1));
    world.run_until_agreed(BOUND).expect("a leader");
    let first = world.agreed().expect("agreed").0;
    assert_eq!(first, 4, "the highest id leads");
    for low in 0..3 {
        world.cuts.extend([3, 4].into_iter().flat_map(|high| [(low, high), (high, low)]));
    }
    world.run(ms(2_000));
    let led = |world: &World, node: usize| world.nodes[node].election.leader().map(|(leader, _)| leader);
    assert_eq!(led(&world, 0), Some(id(2)), "the highest of the cut-off side leads it");
    assert_eq!(led(&world, 3), Some(id(4)), "and the old leader goes on leading the other");
    world.cuts.clear();
    world.run(ms(500));
    let (stays, _) = world.agreed().expect("one leader once they meet");
    assert_eq!(stays, 2, "the later term stays");
}

#[test]
fn a_transfer_moves_the_lead_in_both_modes() {
    for mode in [Mode::Voted, Mode::Plain] {
        let mut world = World::new(Plan::new(mode, 3, 7));
        world.run_until_agreed(BOUND).expect("a leader");
        world.run(ms(300));
        let (leader, term) = world.agreed().expect("a leader");
        let to = (leader + 1) % 3;
        world.nodes[to].election.handle(world.now, Input::Transfer { to: None });
        assert!(
            matches!(world.nodes[to].election.poll(), Some(Output::TransferRefused(_))),
            "a follower hands nothing over"
        );
        world.input(leader, Input::Transfer { to: Some(id(to)) });
        world.run(ms(100));
        let (now, later) = world.agreed().expect("a leader");
        assert_eq!(now, to, "{mode:?}");
        assert!(later > term);
    }
}
