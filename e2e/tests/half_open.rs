//! Streams that stand on one end only: a firewall on the way was started anew, and tells nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Instant;

use muster_e2e::cluster::SOON;
use muster_e2e::figures::figure;
use muster_e2e::firewall;
use muster_e2e::netns::Net;
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Load, eventually};

/// A settled cluster of three whose leader's streams all come to nothing, from now on; `None` where that cannot be done.
async fn forgotten() -> Option<(Net, Cluster, usize)> {
    let net = needs("root and network namespaces", Net::new(3))?;
    let mut cluster = net.cluster().await;
    let leader = cluster.leader().await;
    let streams = needs("nft and ss", firewall::forget(&net, leader))?;
    assert!(streams >= 6, "entries, heartbeats and questions to both: {streams}");
    Some((net, cluster, leader))
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_through_every_node() {
    let Some((net, mut cluster, leader)) = forgotten().await else { return };
    let began = Instant::now();
    for node in 0..3 {
        eventually("a write through every node", SOON, async || {
            cluster.http.put(cluster.nodes[node].url("/kv/key"), "x").send().await.ok().filter(|answer| answer.is_ok())
        })
        .await;
    }
    figure(
        "all streams of the leader forgotten, writes through every node",
        &format!("{} ms", began.elapsed().as_millis()),
    );
    assert!(firewall::caught(&net, leader) > 0, "something was in the way");
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linearizable_reads_go_on_while_nobody_writes() {
    let Some((net, mut cluster, leader)) = forgotten().await else { return };
    let began = Instant::now();
    for node in 0..3 {
        eventually("a linearizable read through every node", SOON, async || {
            let read = cluster.http.get(cluster.nodes[node].url("/kv/none?consistency=linearizable")).send().await;
            read.ok().filter(|answer| answer.status == 404)
        })
        .await;
    }
    figure("all streams of the leader forgotten, linearizable reads", &format!("{} ms", began.elapsed().as_millis()));
    assert!(firewall::caught(&net, leader) > 0, "something was in the way");
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_deposed_for_good_while_writes_come() {
    let Some((net, mut cluster, leader)) = forgotten().await else { return };
    let everybody: Vec<String> = (0..3).map(|node| cluster.endpoint(node)).collect();
    let load = Load::plain(&cluster.http, &everybody, "load", 3);
    let since = Instant::now();
    load.more_acks(100, SOON).await;
    let gap = load.so_far().next_ack_after(since).expect("writes go on");
    figure("all streams of the leader forgotten, next write of plain HTTP", &format!("{} ms", gap.as_millis()));
    let settled = cluster.settled().await;
    load.stop().await.check(&cluster.everything(settled, "").await);
    assert!(firewall::caught(&net, leader) > 0, "something was in the way");
}
