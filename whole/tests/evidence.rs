//! Every fault shows that it happened, and one that met nothing does not.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use muster_whole::cluster::Cluster;
use muster_whole::faults::{ALL, Fault, heal};
use muster_world::Millis;

/// Longer than anything here takes, in virtual time.
const SOON: Millis = 60_000;
/// Long enough for gossip, heartbeats and five hand-overs.
const HOLDS: Millis = 1_500;

/// Over before any time has passed, they have met nothing.
const TAKE_TIME: [Fault; 12] = [
    Fault::Pause,
    Fault::PauseAll,
    Fault::CutOff,
    Fault::Halves,
    Fault::OneWay,
    Fault::Ring,
    Fault::Lossy,
    Fault::Slow,
    Fault::Doubled,
    Fault::GossipCut,
    Fault::StreamsCut,
    Fault::Transfer,
];

fn until_whole(cluster: &mut Cluster) {
    let began = muster_world::now();
    while let Err(missing) = cluster.is_whole() {
        cluster.step().unwrap();
        assert!(muster_world::now() < began + SOON, "{missing}");
    }
}

#[test]
fn what_happened_shows_and_what_did_not_does_not() {
    let mut cluster = Cluster::new(1, 5);
    (0..5).for_each(|node| cluster.start(node));
    until_whole(&mut cluster);
    cluster.is_founded();
    for fault in ALL {
        if TAKE_TIME.contains(&fault) {
            let begun = fault.begin(&mut cluster);
            heal(&mut cluster);
            assert_eq!(begun.evidence(&cluster), None, "{fault:?} of no length");
        }
        let begun = fault.begin(&mut cluster);
        for since in 0..HOLDS {
            begun.goes_on(&mut cluster, since);
            cluster.step().unwrap();
        }
        heal(&mut cluster);
        until_whole(&mut cluster);
        let shown = begun.evidence(&cluster);
        println!("{fault:?} on {}: {shown:?}", begun.names());
        assert!(shown.is_some(), "{fault:?} on {} shows nothing", begun.names());
    }
}

#[test]
fn who_stops_nobody_shows_nothing() {
    let mut cluster = Cluster::new(1, 3);
    // Nobody runs yet.
    let begun = Fault::KillAll.begin(&mut cluster);
    (0..3).for_each(|node| cluster.start(node));
    until_whole(&mut cluster);
    assert_eq!(begun.evidence(&cluster), None);
    assert!(!Fault::Ring.is_for(3) && Fault::Ring.is_for(4));
}
