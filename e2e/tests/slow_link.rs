//! What takes longer on its way than a peer may be silent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::{Duration, Instant};

use muster_e2e::cluster::SOON;
use muster_e2e::eventually;
use muster_e2e::figures::figure;
use muster_e2e::netns::Net;
use muster_e2e::skip::needs;

/// 1 MB, about the longest value.
const VALUE: usize = 1_000_000;
/// That takes 16 s.
const KBIT: u32 = 512;

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_catches_up_over_a_slow_link() {
    let Some(net) = needs("root and network namespaces", Net::new(3)) else { return };
    let mut cluster = net.cluster().await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.nodes[away].stop().await;
    cluster.http.put(cluster.nodes[leader].url("/kv/long"), "x".repeat(VALUE)).ok().await;
    let Some(()) = needs("tc", net.narrow(away, KBIT, 200)) else { return };
    let began = Instant::now();
    cluster.nodes[away].spawn();
    eventually("it has the value", 4 * SOON, async || {
        let read = cluster.http.get(cluster.nodes[away].url("/kv/long")).send().await.ok()?;
        (read.status == 200).then_some(())
    })
    .await;
    let took = began.elapsed();
    figure("1 MB to one follower at 512 kbit/s", &format!("{} ms", took.as_millis()));
    assert!(took > Duration::from_secs(14), "the link was not slow");
    assert!(took < Duration::from_secs(28), "it was sent twice: {took:?}");
    net.widen(away);
    cluster.settled().await;
}

/// 256 kbit/s take 33 s for it: longer than a snapshot's end may be silent, and it comes all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_gets_through_a_slow_link() {
    let Some(net) = needs("root and network namespaces", Net::new(3)) else { return };
    let mut cluster = net.cluster_with(&["--snapshot-every", "1MiB", "--log-keep", "1MiB"]).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.nodes[away].stop().await;
    let index = async |which: &str| {
        let series = format!("muster_raft_{which}_index");
        cluster.nodes[leader].metric::<u64>(&cluster.http, &series).await.expect("it says how far it is")
    };
    // One value is one frame of a snapshot.
    let (left, mut value) = (index("last_log").await, "x".repeat(VALUE));
    while index("purged").await <= left {
        value.push('x');
        cluster.http.put(cluster.nodes[leader].url("/kv/long"), value.clone()).ok().await;
    }
    let Some(()) = needs("tc", net.narrow(away, 256, 200)) else { return };
    let began = Instant::now();
    cluster.nodes[away].spawn();
    eventually("it has the value", 6 * SOON, async || {
        let read = cluster.http.get(cluster.nodes[away].url("/kv/long")).send().await.ok()?;
        (read.status == 200 && read.text() == value).then_some(())
    })
    .await;
    let took = began.elapsed();
    figure("a snapshot with 1 MB at 256 kbit/s", &format!("{} ms", took.as_millis()));
    assert!(took > Duration::from_secs(31), "the link was not slow: {took:?}");
    net.widen(away);
    cluster.settled().await;
}
