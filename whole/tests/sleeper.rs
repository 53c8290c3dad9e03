//! A leader that slept, and wakes to answers from before its sleep: they are no proof that it still leads.
#![cfg(simulated)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use muster_e2e::torture::operation::{Call, Condition, Freshness, Seen};
use muster_whole::cluster::Cluster;
use muster_world::Millis;

/// Longer than anything here takes, in virtual time.
const SOON: Millis = 20_000;

/// What comes of a call to a node.
type Answer = Arc<Mutex<Option<Seen>>>;

fn ask(cluster: &Cluster, node: usize, call: Call) -> Answer {
    let (doors, answer) = (cluster.doors.clone(), Answer::default());
    let told = answer.clone();
    cluster.sim.spawn(cluster.clients(), async move {
        let seen = doors.ask(node, call).await;
        *told.lock().unwrap() = Some(seen);
    });
    answer
}

fn pass(cluster: &mut Cluster, time: Millis) {
    (0..time).for_each(|_| cluster.step().unwrap());
}

fn until<T>(cluster: &mut Cluster, what: &str, ready: impl Fn(&Cluster) -> Option<T>) -> T {
    for _ in 0..SOON {
        if let Some(ready) = ready(cluster) {
            return ready;
        }
        cluster.step().unwrap();
    }
    panic!("not {what} within {SOON} ms");
}

fn answered(cluster: &mut Cluster, answer: &Answer) -> Seen {
    until(cluster, "answered", |_| answer.lock().unwrap().clone())
}

fn put(value: &str) -> Call {
    Call::Put { key: "key".to_owned(), value: value.to_owned(), condition: Condition::Always, again: None }
}

#[test]
fn an_answer_from_before_its_sleep_does_not_confirm_a_leader() {
    let mut cluster = Cluster::new(1, 3);
    (0..3).for_each(|node| cluster.start(node));
    until(&mut cluster, "whole", |cluster| cluster.is_whole().ok());
    let leader = cluster.leader().unwrap();
    let [quick, late] = [1, 2].map(|behind| (leader + behind) % 3);
    let first = ask(&cluster, leader, put("old"));
    assert!(matches!(answered(&mut cluster, &first), Seen::Wrote { .. }));
    pass(&mut cluster, 100);

    // One entry more, which both take at once. Their answers come when the leader has slept and woken: by the first it knows that the entry is
    // committed, and tells so; the second it may take for an answer to that.
    let wakes = 1_700;
    for (other, after) in [(quick, 20), (late, 60)] {
        cluster.sim.link(other, leader, |link| link.delay = wakes + after..=wakes + after);
    }
    let began = muster_world::now();
    let _entry = ask(&cluster, leader, put("also old"));
    pass(&mut cluster, 50);
    cluster.sim.pause(leader);
    // What is sent now reaches it when all is over.
    for other in [quick, late] {
        cluster.sim.link(other, leader, |link| link.delay = SOON..=SOON);
    }
    until(&mut cluster, "led by another", Cluster::leader);
    let news = ask(&cluster, quick, put("new"));
    assert!(matches!(answered(&mut cluster, &news), Seen::Wrote { .. }));

    pass(&mut cluster, began + wakes - muster_world::now());
    let read = ask(&cluster, leader, Call::Get { key: "key".to_owned(), freshness: Freshness::Linearizable });
    cluster.sim.resume(leader);
    match answered(&mut cluster, &read) {
        Seen::Read { found, .. } => assert_eq!(found.unwrap().value, "new", "told what was no longer so"),
        Seen::Failed(_) => {}
        other => panic!("no answer to a read: {other:?}"),
    }
}
