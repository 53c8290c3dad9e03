//! A full disk in a cluster is a state that clears by itself: reads go on, the leadership moves to where there is room, and writes go on
//! there, or are refused while a majority is full. A node alone is in `disks.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use muster_e2e::cluster::SOON;
use muster_e2e::disk::Disk;
use muster_e2e::figures::{bound, figure, summary};
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Load, Plan, eventually};
use serde_json::json;

/// 48 MiB, three quarters of what a node keeps in reserve: it is full, and goes on with what others write.
const NOTICED: u64 = 48 << 20;
/// A node looks at its room twice a second, and then hands over within a few looks of a tenth of a second.
const MOVES: Duration = Duration::from_secs(1);
/// A refusal asks nobody and waits for nothing but the way to the leader.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Three nodes, settled, each on a disk of its own; `None`: this machine does not let us. The disks come first, since they must outlive the
/// processes.
async fn on_disks() -> Option<(Vec<Disk>, Cluster)> {
    let disks: Result<Vec<_>, _> = (0..3).map(|_| Disk::mount()).collect();
    let disks = needs("root and /dev/fuse", disks)?;
    let mut cluster = Plan::new(3).lay();
    for (disk, node) in disks.iter().zip(&cluster.nodes) {
        symlink(disk.path(), node.dir()).unwrap();
    }
    cluster.registry.start().await;
    cluster.start_all().await;
    Some((disks, cluster))
}

/// The status of a write, which the node is given five seconds for; 0 when there is no answer.
async fn put(cluster: &Cluster, node: usize, key: &str) -> u16 {
    let call = cluster.http.put(cluster.nodes[node].url(&format!("/kv/{key}")), "new").query("timeout", "5s");
    call.within(Duration::from_secs(10)).send().await.map_or(0, |answer| answer.status)
}

/// A key, which has to be answered, and be there.
async fn read(cluster: &Cluster, node: usize, key: &str, consistency: &str) -> String {
    let call = cluster.http.get(cluster.nodes[node].url(&format!("/kv/{key}"))).query("consistency", consistency);
    call.within(Duration::from_secs(5)).ok().await.text()
}

async fn is_full(cluster: &Cluster, node: usize, expected: bool) {
    eventually(&format!("a node says of its disk that it is full: {expected}"), SOON, async || {
        let status = cluster.nodes[node].status(&cluster.http).await?;
        (status.disk.full == expected).then_some(())
    })
    .await;
}

/// Asks for the leadership to be handed to this node until it is.
async fn is_handed_the_leadership(cluster: &Cluster, node: usize) {
    let to = cluster.nodes[node].id(&cluster.http).await;
    eventually("a node with room again is handed the leadership", SOON, async || {
        let call = cluster.http.post(cluster.nodes[node].url("/cluster/leader/transfer"), &json!({ "to": to }));
        call.send().await.ok().filter(|answer| answer.is_ok())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_hands_over_and_may_lead_again_once_there_is_room() {
    let Some((disks, mut cluster)) = on_disks().await else { return };
    let full = cluster.settled().await;
    let (process, id) = (cluster.nodes[full].process.pid(), cluster.nodes[full].id(&cluster.http).await);
    assert_eq!(put(&cluster, full, "before").await, 201);
    let load = Load::plain(&cluster.http, &cluster.endpoints(), "load", 3);
    load.more_acks(50, SOON).await;

    disks[full].fill(NOTICED);
    let since = Instant::now();
    let led = eventually("another leads", SOON, async || {
        let leader = cluster.leader_among(&[0, 1, 2]).await;
        (leader != full).then_some(leader)
    })
    .await;
    let took = since.elapsed();
    figure("another leads after the leader's disk became full", &format!("{} ms", took.as_millis()));
    assert!(took < bound(MOVES, 5), "{took:?}");
    // Writes through all nodes, and reads at the full one, of what was written there and elsewhere meanwhile.
    for round in 0..10 {
        for node in 0..3 {
            let key = format!("meanwhile/{round}/{node}");
            assert_eq!(put(&cluster, node, &key).await, 201, "through node {node}, where {full} is full");
            assert_eq!(read(&cluster, full, &key, "linearizable").await, "new");
        }
        assert_eq!(read(&cluster, full, "before", "local").await, "new");
    }
    load.more_acks(50, SOON).await;
    is_full(&cluster, full, true).await;
    let refused = cluster.http.post(cluster.nodes[led].url("/cluster/leader/transfer"), &json!({ "to": id }));
    let refused = refused.expect(409).await.text();
    assert!(refused.contains("has a full disk"), "{refused}");
    // Not a byte: it applies nothing any more, and shows what it had.
    disks[full].fill(0);
    for round in 0..10 {
        for node in 0..3 {
            let status = put(&cluster, node, &format!("at-the-brim/{round}/{node}")).await;
            assert_eq!(status, 201, "through node {node}, where {full} is full to the brim");
        }
        assert_eq!(read(&cluster, full, "before", "local").await, "new");
    }
    assert_ne!(cluster.leader().await, full, "nobody hands it back");

    disks[full].empty();
    is_full(&cluster, full, false).await;
    cluster.settled().await;
    is_handed_the_leadership(&cluster, full).await;
    assert_eq!(cluster.settled().await, full);
    load.more_acks(50, SOON).await;
    for node in 0..3 {
        assert_eq!(put(&cluster, node, &format!("after/{node}")).await, 201);
    }
    let history = load.stop().await;
    figure("writes while a leader's disk became full and had room again", &history.counts());
    history.check(&cluster.everything(full, "load/").await);
    for prefix in ["load/", "meanwhile/", "at-the-brim/", "after/"] {
        cluster.same_everywhere(prefix).await;
    }
    assert_eq!(cluster.nodes[full].process.pid(), process, "by itself");
}

/// Two of three: both followers, up to what is noticed in time; and the leader with one of them, to the brim at one blow.
#[tokio::test(flavor = "multi_thread")]
async fn a_majority_of_full_disks_refuses_writes_at_once_and_takes_them_again_when_one_has_room() {
    let Some((disks, mut cluster)) = on_disks().await else { return };
    let processes: Vec<u32> = cluster.nodes.iter().map(|node| node.process.pid()).collect();
    for (round, with_leader, left) in [(0, false, NOTICED), (1, true, 0)] {
        let leader = cluster.settled().await;
        let roomy = if with_leader { (leader + 1) % 3 } else { leader };
        let full: Vec<usize> = (0..3).filter(|node| *node != roomy).collect();
        assert_eq!(put(&cluster, leader, &format!("before/{round}")).await, 201);
        let load = Load::plain(&cluster.http, &cluster.endpoints(), &format!("load{round}"), 3);
        load.more_acks(50, SOON).await;

        for node in &full {
            disks[*node].fill(left);
        }
        let since = Instant::now();
        for node in 0..3 {
            eventually("writes are refused through every node", SOON, async || {
                (put(&cluster, node, &format!("refused/{round}/{node}")).await == 507).then_some(())
            })
            .await;
        }
        let case = if with_leader { "the leader and a follower, to the brim" } else { "both followers" };
        figure(&format!("507 through every node after two disks of three are full ({case})"), &millis(since.elapsed()));
        let mut times = Vec::new();
        for n in 0..10 {
            for node in 0..3 {
                let since = Instant::now();
                assert_eq!(put(&cluster, node, &format!("none/{round}/{n}/{node}")).await, 507, "through node {node}");
                times.push(since.elapsed());
            }
            // Reads go on, everywhere those that ask nobody; who has no room at all may have applied less than was acknowledged.
            for node in 0..3 {
                read(&cluster, node, &format!("before/{round}"), "local").await;
            }
            for node in (0..3).filter(|node| left > 0 || *node == roomy) {
                assert_eq!(read(&cluster, node, &format!("before/{round}"), "linearizable").await, "new");
            }
        }
        figure(&format!("a refusal with 507 ({case})"), &summary(&times).2);
        let slowest = times.iter().max().unwrap();
        assert!(*slowest < bound(AT_ONCE, 20), "{slowest:?}");

        // One of them is enough, and nobody is asked to do anything.
        disks[full[round % 2]].empty();
        let since = Instant::now();
        for node in 0..3 {
            eventually("writes go through every node again", SOON, async || {
                matches!(put(&cluster, node, &format!("resumed/{round}/{node}")).await, 200 | 201).then_some(())
            })
            .await;
        }
        figure(&format!("writes through every node after one has room again ({case})"), &millis(since.elapsed()));
        load.more_acks(50, SOON).await;
        full.iter().for_each(|node| disks[*node].empty());
        for node in 0..3 {
            is_full(&cluster, node, false).await;
        }
        let leader = cluster.settled().await;
        let history = load.stop().await;
        figure(&format!("writes of which two disks of three were full ({case})"), &history.counts());
        history.check(&cluster.everything(leader, &format!("load{round}/")).await);
        cluster.same_everywhere("").await;
        assert!(cluster.everything(leader, &format!("none/{round}/")).await.is_empty(), "what was refused is there");
    }
    let now: Vec<u32> = cluster.nodes.iter().map(|node| node.process.pid()).collect();
    assert_eq!(now, processes, "by itself");
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
