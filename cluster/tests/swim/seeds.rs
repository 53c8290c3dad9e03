//! Seeds at which nobody was: members look there in turn, so whoever starts at one of them is found within a bound, not by luck.

use std::net::SocketAddr;
use std::time::Duration;

use muster_cluster::sim::{Record, Sim};
use muster_cluster::swim::Config;
use uuid::Uuid;

/// Seeds, of which the first two are members from the start.
const SEEDS: u32 = 6;

#[test]
fn whoever_starts_at_a_seed_is_found_once_every_seed_had_its_turn() {
    for seed in 0..100 {
        let config = Config::local("seeds");
        // Four seeds at which nobody is, an interval for each, and its jitter.
        let bound = config.seed_interval.mul_f64(1.1) * (SEEDS - 2) + Duration::from_secs(1);
        let mut sim = Sim::new(config, seed, Record::default());
        let seeds: Vec<SocketAddr> = (1..=SEEDS).map(Sim::<()>::address).collect();
        for _ in 0..2 {
            let host = sim.add_next();
            sim.start(host, seeds.clone());
        }
        sim.run(Duration::from_secs(30));
        assert_eq!(sim.agree(), Ok(()));
        // It knows nobody, so that it can only be found.
        let last = sim.add(Uuid::from_u128(9), Sim::<()>::address(SEEDS));
        sim.start(last, Vec::new());
        let found = sim.run_until(bound, Duration::from_millis(100), |sim| sim.agree().is_ok());
        assert!(found, "seed {seed}: {:?} after {bound:?}", sim.agree());
    }
}
