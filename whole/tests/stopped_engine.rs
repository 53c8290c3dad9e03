//! Whoever waits at a node whose engine stops by itself, as over a failed disk, is answered at once, and costs nothing meanwhile. A node that asks
//! again and again without a pause never comes to rest, which the watchdog ends.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use muster_e2e::torture::operation::{Call, Condition, Freshness, Seen};
use muster_whole::cluster::Cluster;
use muster_whole::watchdog;
use muster_world::Millis;

/// Longer than a start takes, in virtual time.
const SOON: Millis = 20_000;

#[test]
fn who_waits_at_a_node_whose_engine_stops_is_answered() {
    watchdog::begin(1);
    let mut cluster = Cluster::new(1, 3);
    (0..3).for_each(|node| cluster.start(node));
    while cluster.is_whole().is_err() {
        cluster.step().unwrap();
        assert!(muster_world::now() < SOON, "not whole");
    }
    let leader = cluster.leader().unwrap();
    let follower = (leader + 1) % 3;
    // What it carries to the leader comes to nothing, and both wait.
    for other in (0..3).filter(|other| *other != follower) {
        cluster.sim.link(follower, other, |link| link.cut = true);
        cluster.sim.link(other, follower, |link| link.cut = true);
    }
    let put = Call::Put { key: "key".to_owned(), value: "value".to_owned(), condition: Condition::Always, again: None };
    let get = Call::Get { key: "key".to_owned(), freshness: Freshness::Linearizable };
    let answers = Arc::new(Mutex::new(Vec::new()));
    for call in [put, get] {
        let (doors, told) = (cluster.doors.clone(), answers.clone());
        cluster.sim.spawn(cluster.clients(), async move {
            let seen = doors.ask(follower, call).await;
            told.lock().unwrap().push(seen);
        });
    }
    (0..50).for_each(|_| cluster.step().unwrap());
    assert!(answers.lock().unwrap().is_empty(), "both wait");
    let replication = cluster.look(follower, Arc::clone).unwrap();
    cluster.sim.spawn(follower, async move { replication.shutdown().await });
    // What the node itself says when its engine has stopped is not what this is about.
    (0..100).for_each(|_| drop(cluster.step()));
    let answers = answers.lock().unwrap();
    assert!(
        matches!(answers[..], [Seen::Failed(_) | Seen::Unknown(_), Seen::Failed(_) | Seen::Unknown(_)]),
        "{answers:?}"
    );
}
