//! How long clients are without writes when the leader is lost without a word: its host gone, cut off from its peers, or asleep. (A leader
//! whose process dies is in `failover.rs`: its host says so.)
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::{Duration, Instant};

use muster_e2e::cluster::SOON;
use muster_e2e::figures::{bound, distribution, figure, rounds};
use muster_e2e::netns::Net;
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Load};

/// From the loss of the leader to the next acknowledged write at one of the others: the lease of 300 ms, two heartbeats that may be late, and
/// an election with room to spare.
const MEDIAN: Duration = Duration::from_secs(1);

/// Loses the leader a few times and says how long the others took no writes.
async fn without_writes(
    what: &str,
    cluster: &mut Cluster,
    lose: impl Fn(&mut Cluster, usize),
    bring_back: impl AsyncFn(&mut Cluster, usize),
) {
    let (mut plain, mut library) = (Vec::new(), Vec::new());
    for round in 0..rounds(3) {
        let leader = cluster.settled().await;
        let stay: Vec<String> = (0..3).filter(|&node| node != leader).map(|node| cluster.endpoint(node)).collect();
        let load = Load::plain(&cluster.http, &stay, &format!("plain{round}"), 3);
        let program = Load::client(&cluster.client(), &format!("program{round}"), 2);
        load.more_acks(50, SOON).await;
        program.more_acks(20, SOON).await;
        lose(cluster, leader);
        let lost = Instant::now();
        load.more_acks(50, SOON).await;
        program.more_acks(20, SOON).await;
        bring_back(cluster, leader).await;
        let settled = cluster.settled().await;
        let (load, program) = (load.stop().await, program.stop().await);
        plain.push(load.next_ack_after(lost).expect("writes went on"));
        library.push(program.next_ack_after(lost).expect("writes went on"));
        load.check(&cluster.everything(settled, &format!("plain{round}/")).await);
        program.check(&cluster.everything(settled, &format!("program{round}/")).await);
    }
    let (median, _, text) = distribution(&plain);
    let (through_library, _, library) = distribution(&library);
    figure(&format!("{what}, next write at one of the others"), &text);
    figure(&format!("{what}, next write of the client library"), &library);
    assert!(median < bound(MEDIAN, 3), "{what}: {text}");
    assert!(through_library < bound(MEDIAN, 3), "{what}, client library: {library}");
}

fn machines() -> Option<Net> {
    needs("root and network namespaces", Net::new(3))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaders_host_is_lost() {
    let Some(net) = machines() else { return };
    let mut cluster = net.cluster().await;
    let lose = |cluster: &mut Cluster, leader: usize| {
        net.power_off(leader);
        cluster.nodes[leader].kill();
    };
    let bring_back = async |cluster: &mut Cluster, leader: usize| {
        net.power_on(leader);
        cluster.nodes[leader].start().await;
    };
    without_writes("the leader's host lost", &mut cluster, lose, bring_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_cut_off_from_its_peers_only() {
    let Some(net) = machines() else { return };
    let mut cluster = net.cluster().await;
    let others = |leader: usize| (0..3).filter(move |&node| node != leader);
    let lose = |_: &mut Cluster, leader: usize| others(leader).for_each(|other| net.part(leader, other));
    let bring_back = async |_: &mut Cluster, leader: usize| others(leader).for_each(|other| net.join(leader, other));
    without_writes("the leader cut off from its peers", &mut cluster, lose, bring_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_paused() {
    let mut cluster = Cluster::start(3).await;
    let lose = |cluster: &mut Cluster, leader: usize| cluster.nodes[leader].process.pause();
    let bring_back = async |cluster: &mut Cluster, leader: usize| cluster.nodes[leader].process.resume();
    without_writes("the leader paused", &mut cluster, lose, bring_back).await;
}
