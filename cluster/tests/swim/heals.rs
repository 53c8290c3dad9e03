//! A partition of any shape that heals leads to one view within a bound, with nobody's help: no seeds, no registry, no restart.
//!
//! The bound: [`BOUND`] times the interval at which the dead are probed, counted from the moment at which the network is whole. What happens
//! in it: a dead one is probed and answers (each member probes one of its dead in every interval, so the first pair meets within one);
//! both sides exchange what they think; the accused refute; the news go round, and whoever it missed meets another pair.

use std::time::Duration;

use muster_cluster::sim::checkers::{Checks, converges};
use muster_cluster::sim::{Latency, Network, Record, Sim};
use muster_cluster::swim::Config;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Intervals of probing the dead: 6 s with the preset `local`, 30 s with `lan`, 90 s with `wan`.
const BOUND: u32 = 6;

/// 20 to 150 ms one way: from one continent to the next, and once around the world.
const WAN: Latency = Latency::Uniform(Duration::from_millis(20), Duration::from_millis(150));

type Shape = fn(&mut Network, usize, &mut Xoshiro256PlusPlus);

fn between(network: &mut Network, a: usize, b: usize) {
    network.cut_one_way(a, b);
    network.cut_one_way(b, a);
}

/// Cuts every pair that may not talk.
fn cut_unless(network: &mut Network, size: usize, may: impl Fn(usize, usize) -> bool) {
    for a in 0..size {
        for b in 0..a {
            if !may(a, b) {
                between(network, a, b);
            }
        }
    }
}

fn halves(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    (0..size / 2).for_each(|host| network.put_in_group(host, 1));
}

fn islands(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    (0..).zip(0..size).for_each(|(group, host)| network.put_in_group(host, group));
}

fn one_alone(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    network.put_in_group(size - 1, 1);
}

/// Two halves that only one member can reach both of.
fn bridge(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    cut_unless(network, size, |a, b| a == 0 || b == 0 || (a < size / 2) == (b < size / 2));
}

/// Each hears its neighbours only.
fn ring(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    cut_unless(network, size, |a, b| a.abs_diff(b) == 1 || a.abs_diff(b) == size - 1);
}

/// One half is heard and hears nothing.
fn one_way(network: &mut Network, size: usize, _: &mut Xoshiro256PlusPlus) {
    for a in 0..size / 2 {
        (size / 2..size).for_each(|b| network.cut_one_way(b, a));
    }
}

fn anything(network: &mut Network, size: usize, chance: &mut Xoshiro256PlusPlus) {
    let share = chance.random_range(0.2..0.95);
    for a in 0..size {
        for b in 0..size {
            if a != b && chance.random_bool(share) {
                network.cut_one_way(a, b);
            }
        }
    }
}

fn heals(config: Config, latency: Latency, shape: Shape, size: usize, seed: u64) -> Duration {
    let (period, bound) = (config.probe_interval, config.dead_probe_interval * BOUND);
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let watch = (Record::default(), Checks::all(&config));
    let mut sim = Sim::new(config, seed, watch);
    sim.network.latency = latency;
    (0..size).for_each(|_| {
        sim.add_next();
    });
    sim.start_acquainted();
    sim.run(period * 8);
    shape(&mut sim.network, size, &mut chance);
    // From too short to notice to long after all was said.
    sim.run(period.mul_f64(chance.random_range(2.0..160.0)));
    sim.network.heal();
    let took = converges(&mut sim, bound).unwrap_or_else(|broken| panic!("{size} members, seed {seed}: {broken}"));
    let now = sim.time();
    sim.run(period * 40);
    sim.watch.1.calm(now);
    if let Err(broken) = sim.watch.1.verdict() {
        panic!("{size} members, seed {seed}: {broken}");
    }
    assert_eq!(sim.agree(), Ok(()), "{size} members, seed {seed}: it did not last");
    took
}

/// Every shape, with clusters of three sizes.
fn whatever_its_shape(preset: fn(&'static str) -> Config, latency: Latency) {
    let shapes: [(&str, Shape); 7] = [
        ("halves", halves),
        ("islands", islands),
        ("one alone", one_alone),
        ("bridge", bridge),
        ("ring", ring),
        ("one way", one_way),
        ("anything", anything),
    ];
    for (name, shape) in shapes {
        let mut times = Vec::new();
        for (size, seeds) in [(3, 5), (8, 4), (16, 1)] {
            times.extend((0..seeds).map(|seed| heals(preset("heals"), latency, shape, size, seed)));
        }
        times.sort();
        eprintln!("{name}: one view after {:?} (median), {:?} (last)", times[times.len() / 2], times[times.len() - 1]);
    }
}

// Several tests, so that they run beside each other.

#[test]
fn whatever_its_shape_a_partition_on_one_machine_heals_by_itself() {
    whatever_its_shape(Config::local, Latency::LAN);
}

#[test]
fn whatever_its_shape_a_partition_in_one_data_centre_heals_by_itself() {
    whatever_its_shape(Config::lan, Latency::LAN);
}

#[test]
fn whatever_its_shape_a_partition_between_continents_heals_by_itself() {
    whatever_its_shape(Config::wan, WAN);
}
