//! Datagrams blocked, streams not: nobody flaps.

use std::time::Duration;

use muster_cluster::sim::{Record, Sim};
use muster_cluster::swim::{Config, Event, Stats};
use uuid::Uuid;

/// The first host hears no datagram of anybody's for a minute.
fn run(stream_probes: bool, size: usize) -> (Sim<Record>, Vec<Stats>) {
    let config = Config { stream_probes, ..Config::local("blocked") };
    let mut sim = Sim::new(config, 3, Record::default());
    for _ in 0..size {
        let host = sim.add_next();
        sim.start(host, vec![Sim::<()>::address(1)]);
    }
    sim.run(Duration::from_secs(5));
    assert_eq!(sim.agree(), Ok(()));
    (1..size).for_each(|host| sim.network.deafen(0, host));
    sim.run(Duration::from_secs(60));
    let stats = sim.hosts().filter_map(|host| host.swim.as_ref()).map(|swim| swim.stats()).collect();
    (sim, stats)
}

fn suspicions(sim: &Sim<Record>) -> usize {
    sim.watch.events.iter().filter(|(_, _, event)| matches!(event, Event::Suspected(_))).count()
}

#[test]
fn a_member_that_only_streams_reach_is_not_suspected() {
    for size in [2, 5] {
        let (sim, stats) = run(true, size);
        assert_eq!(suspicions(&sim), 0, "among {size}");
        assert_eq!(sim.agree(), Ok(()), "among {size}");
        assert!(sim.watch.lost > 100, "the datagrams were not blocked");
        assert!(stats[0].probes_stream > 20, "{:?}", stats[0]);
        assert!(stats[1].last_by_stream == Some(Uuid::from_u128(1)), "{:?}", stats[1]);
    }
}

#[test]
fn without_streams_it_would_be() {
    let (sim, _) = run(false, 5);
    assert!(suspicions(&sim) > 0);
}
