//! Each finding from the evidence that calls for it.

use super::*;
use crate::doctor::evidence::{NodeView, Registered, RegistryView};
use muster_client::api::cluster::{Disk, Link, Members, Replica};
use muster_client::api::registry::Cluster;

const CLUSTER: Uuid = Uuid::from_u128(99);

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n << 96)
}

fn status(n: u128, leader: Option<u128>) -> Status {
    let replica = |n: u128| Replica {
        id: id(n),
        name: format!("n{n}"),
        matched_index: None,
        lag: None,
        state: Some(MemberState::Alive),
        snapshot_percent: None,
    };
    let link = |n: u128| Link { id: id(n), connected: true, version: Some(1), round_trip_ms: None, last_error: None };
    Status {
        id: id(n),
        name: format!("n{n}"),
        version: "1.0.0".to_owned(),
        cluster_id: Some(CLUSTER),
        role: Some(if leader == Some(n) { Role::Leader } else { Role::Voter }),
        term: 3,
        leader: leader.map(id),
        leader_since_ms: None,
        no_leader_reason: leader.is_none().then(|| "no majority".to_owned()),
        last_log_index: 1,
        committed_index: 1,
        applied_index: 1,
        revision: 1,
        voters: vec![replica(1), replica(2), replica(3)],
        learners: Vec::new(),
        failures_tolerated: 1,
        disk: Disk { free_bytes: 1 << 40, ..Disk::default() },
        network: (1..=3).filter(|other| *other != n).map(link).collect(),
    }
}

fn members(local: u128) -> Members {
    let member = |n: u128| Member {
        id: id(n),
        name: format!("n{n}"),
        http: format!("h:{n}"),
        peer: String::new(),
        state: MemberState::Alive,
        incarnation: 0,
        role: Some(Role::Voter),
        priority: 0,
        last_seen_ms: None,
        round_trip_ms: None,
        suspected_by: Vec::new(),
    };
    Members { cluster_id: Some(CLUSTER), local: id(local), leader: Some(id(1)), members: (1..=3).map(member).collect() }
}

fn well() -> Evidence {
    let node = |n| NodeView {
        address: format!("h:{n}"),
        status: Ok(status(n, Some(1))),
        members: Ok(members(n)),
        health: None,
    };
    Evidence { cluster: "muster".to_owned(), nodes: (1..=3).map(node).collect(), registries: Vec::new() }
}

fn change(evidence: &mut Evidence, n: usize, change: impl FnOnce(&mut Status)) {
    change(evidence.nodes[n - 1].status.as_mut().unwrap());
}

fn silence(evidence: &mut Evidence, n: usize) {
    evidence.nodes[n - 1].status = Err("Connection refused".to_owned());
    evidence.nodes[n - 1].members = Err("Connection refused".to_owned());
}

fn found(evidence: &Evidence) -> Vec<(Level, String)> {
    diagnose(evidence).into_iter().map(|finding| (finding.level, finding.what)).collect()
}

#[test]
fn a_healthy_cluster_brings_only_notes() {
    assert_eq!(found(&well()), [(Level::Note, "3 of 3 voters answer me; 1 of them may fail now".to_owned())]);
}

#[test]
fn without_a_majority_it_names_who_is_missing() {
    let mut evidence = well();
    silence(&mut evidence, 1);
    silence(&mut evidence, 2);
    evidence.nodes[2].status = Ok(status(3, None));
    let first = &diagnose(&evidence)[0];
    assert_eq!((first.level, &*first.what), (Level::Critical, "nobody leads, so nothing can be written: no majority"));
    assert!(first.advice.contains("2 of 3 voters must be there, n1, n2 did not answer"), "{}", first.advice);
}

#[test]
fn a_leader_that_everyone_names_and_nobody_can_ask_is_critical() {
    let mut evidence = well();
    silence(&mut evidence, 1);
    let first = &diagnose(&evidence)[0];
    let what = "the leader, n1, does not answer, and nobody took over: nothing can be written";
    assert_eq!((first.level, &*first.what), (Level::Critical, what));
    assert!(first.advice.starts_with("Enough voters answer me"), "{}", first.advice);
}

#[test]
fn a_stream_that_is_cut_one_way_is_told_from_one_cut_both_ways() {
    let mut evidence = well();
    change(&mut evidence, 2, |status| status.network[1].connected = false);
    assert_eq!(found(&evidence)[0].1, "n2 cannot reach the peer port of n3, though n3 reaches n2");
    change(&mut evidence, 3, |status| status.network[1].connected = false);
    assert_eq!(found(&evidence)[0].1, "n2 and n3 cannot reach each other over their peer ports");
    assert_eq!(found(&evidence).iter().filter(|(_, what)| what.contains("reach")).count(), 1);
}

#[test]
fn nodes_without_a_cluster_have_no_streams_that_could_be_cut() {
    let mut evidence = well();
    for n in 1..=3 {
        change(&mut evidence, n, |status| {
            (status.cluster_id, status.leader, status.voters) = (None, None, Vec::new());
            status.network.iter_mut().for_each(|link| link.connected = false);
        });
    }
    let found = found(&evidence);
    assert_eq!(found[0], (Level::Critical, "n1, n2, n3 are in no cluster yet".to_owned()));
    assert!(!found.iter().any(|(_, what)| what.contains("reach")), "{found:?}");
}

#[test]
fn a_full_disk_comes_before_a_slow_one() {
    let mut evidence = well();
    change(&mut evidence, 1, |status| status.disk.sync_ms_p99 = 400.0);
    change(&mut evidence, 3, |status| status.disk.full = true);
    let found = found(&evidence);
    assert!(found[0].1.contains("disk of n3 is full") && found[1].1.contains("disk of n1 is slow"), "{found:?}");
}

#[test]
fn two_clusters_under_one_name_are_critical() {
    let mut evidence = well();
    change(&mut evidence, 3, |status| status.cluster_id = Some(Uuid::from_u128(7 << 96)));
    assert_eq!(found(&evidence)[0].0, Level::Critical);
    assert!(found(&evidence)[0].1.contains("n3 (00000007)"), "{:?}", found(&evidence));
}

#[test]
fn gossip_that_doubts_a_node_which_answers_is_noticed() {
    let mut evidence = well();
    evidence.nodes[0].members.as_mut().unwrap().members[2].state = MemberState::Failed;
    assert_eq!(found(&evidence)[0].1, "n3 answers me, but gossip at n1 takes it for dead or doubtful");
}

#[test]
fn a_registry_that_is_away_is_a_warning_and_one_that_knows_another_cluster_too() {
    let mut evidence = well();
    let away = RegistryView { address: "r1".to_owned(), answer: Err("Connection refused".to_owned()) };
    let founding = muster_client::api::registry::Founding { cluster_id: Uuid::from_u128(5), founder: id(1) };
    let cluster = Cluster { name: "muster".to_owned(), founding: Some(founding), seen: vec![CLUSTER] };
    let wrong = Registered { nodes: Vec::new(), cluster: Some(cluster) };
    evidence.registries = vec![away, RegistryView { address: "r2".to_owned(), answer: Ok(wrong) }];
    let found = found(&evidence);
    assert!(found[0].1.starts_with("the registry r1 does not answer"), "{found:?}");
    assert!(found[1].1.starts_with("the registry r2 records"), "{found:?}");
}

#[test]
fn nobody_at_all_is_critical() {
    let nothing = Evidence { cluster: "muster".to_owned(), nodes: Vec::new(), registries: Vec::new() };
    assert_eq!(found(&nothing)[0].0, Level::Critical);
}
