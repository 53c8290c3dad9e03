//! A cluster grows, changes its voters and moves house under load, while the registry forgets everything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use muster_client::Client;
use muster_e2e::cluster::{SOON, own_loopback};
use muster_e2e::folder::copy;
use muster_e2e::{Cluster, Load, Plan, eventually};
use serde_json::json;
use uuid::Uuid;

/// 60 s: several changes of the voters, one after the other.
const LATER: Duration = Duration::from_secs(60);

/// A program's client that asks the registry as well.
fn client(cluster: &Cluster) -> Client {
    let builder = Client::builder().endpoints(cluster.endpoints()).registry(cluster.registry.url());
    builder.timeout(SOON).build().unwrap()
}

async fn voters(cluster: &Cluster, node: usize) -> BTreeSet<Uuid> {
    let status = cluster.nodes[node].status(&cluster.http).await;
    status.map(|status| status.voters.iter().map(|voter| voter.id).collect()).unwrap_or_default()
}

/// A registry with an empty folder, at the same address.
async fn forget_everything(cluster: &mut Cluster) {
    cluster.registry.process.kill();
    cluster.registry.wipe();
    cluster.registry.start().await;
}

/// The next start of a node is at another address.
fn move_house(cluster: &mut Cluster, node: usize) {
    let ip = own_loopback();
    let args = cluster.nodes[node].process.args_mut();
    for flag in ["--http", "--peer"] {
        let value = args.iter().position(|arg| arg == flag).unwrap() + 1;
        args[value] = format!("{ip}:0");
    }
}

/// Waits until a node votes, by the word of another.
async fn votes(cluster: &Cluster, node: usize, asked: usize) {
    eventually("it has a vote", LATER, async || {
        let id = cluster.nodes[node].members(&cluster.http).await?.local;
        voters(cluster, asked).await.contains(&id).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_to_seven_and_on_to_other_voters_under_load_while_the_registry_forgets() {
    let mut cluster = Plan::new(1).start().await;
    let id = cluster.status(0).await.cluster_id;
    let load = Load::client(&client(&cluster), "load", 2);
    load.more_acks(20, SOON).await;
    for size in [3, 5, 7] {
        while cluster.nodes.len() < size {
            let node = cluster.add(&[]);
            cluster.nodes[node].spawn();
        }
        if size == 5 {
            forget_everything(&mut cluster).await;
        }
        cluster.ready_all().await;
        cluster.settled().await;
        load.more_acks(20, SOON).await;
    }
    let before = voters(&cluster, 0).await;
    assert_eq!(before.len(), 5);
    let mut ids = Vec::new();
    for node in &cluster.nodes {
        ids.push(node.id(&cluster.http).await);
    }
    // Two voters go for good, the leader among them, and the learners take their seats; the registry forgets once more between the two.
    let leader = cluster.leader().await;
    let other = (0..7).find(|&node| node != leader && before.contains(&ids[node])).unwrap();
    let asked = (0..7).find(|&node| node != leader && node != other).unwrap();
    for (left, node) in [other, leader].into_iter().enumerate() {
        let url = cluster.nodes[asked].url(&format!("/cluster/members/{}/leave?timeout=20s", ids[node]));
        let answer = cluster.http.post(url, &json!({})).within(LATER).send().await.unwrap();
        assert!(answer.is_ok(), "{} {}", answer.status, answer.text());
        if left == 0 {
            forget_everything(&mut cluster).await;
        }
        eventually("a learner takes the seat", LATER, async || {
            let now = voters(&cluster, asked).await;
            (now.len() == 5 && !now.contains(&ids[node])).then_some(())
        })
        .await;
    }
    load.more_acks(50, SOON).await;
    let load = load.stop().await;
    assert_eq!(load.not_acked().count(), 0, "{}", load.counts());
    let now = voters(&cluster, asked).await;
    assert_eq!(now.difference(&before).count(), 2, "both that only learned vote now");
    load.check(&cluster.everything(asked, "load/").await);
    for node in (0..7).filter(|node| ![leader, other].contains(node)) {
        assert_eq!(cluster.status(node).await.cluster_id, id, "one cluster from the first node to the last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_machines_get_other_addresses_and_the_registry_an_empty_disk() {
    let mut cluster = Cluster::start(3).await;
    let id = cluster.status(0).await.cluster_id;
    let before = Load::client(&client(&cluster), "before", 2);
    before.more_acks(50, SOON).await;
    // In the middle of it all.
    for node in &mut cluster.nodes {
        node.kill();
    }
    // Whatever is in flight has an unknown outcome.
    let known = before.so_far();
    drop(before);
    cluster.registry.process.kill();
    cluster.registry.wipe();
    cluster.registry.start().await;
    for node in 0..3 {
        move_house(&mut cluster, node);
    }
    cluster.start_all().await;
    assert_eq!(cluster.status(0).await.cluster_id, id);
    let after = Load::client(&client(&cluster), "after", 2);
    after.more_acks(50, SOON).await;
    let after = after.stop().await;
    assert_eq!(after.not_acked().count(), 0, "{}", after.counts());
    known.check(&cluster.same_everywhere("before/").await);
    after.check(&cluster.same_everywhere("after/").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_at_the_address_of_a_dead_member_is_taken_for_nobody() {
    let mut cluster = Cluster::start(3).await;
    let id = cluster.status(0).await.cluster_id;
    let leader = cluster.leader().await;
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let dead_id = cluster.nodes[dead].id(&cluster.http).await;
    // A cluster of its own under the same name, with something in it.
    let mut strangers = Plan::new(1).without_registry().lay();
    strangers.nodes[0].start().await;
    strangers.usable().await;
    strangers.http.put(strangers.nodes[0].url("/kv/theirs"), "1").ok().await;
    assert!(strangers.nodes[0].stop().await.success());
    // Its machine comes to the address and the ports where a member of the first one was, and knows the same registry.
    let (http, peer) = (cluster.nodes[dead].http(), cluster.nodes[dead].peer());
    cluster.nodes[dead].kill();
    let args = strangers.nodes[0].process.args_mut();
    for (flag, at) in [("--http", http), ("--peer", peer)] {
        let value = args.iter().position(|arg| arg == flag).unwrap() + 1;
        args[value] = at.to_string();
    }
    args.extend(["-ra".to_owned(), cluster.registry.url()]);
    strangers.nodes[0].start().await;
    strangers.usable().await;
    let theirs = strangers.status(0).await.cluster_id;
    assert_ne!(theirs, id);
    let load = Load::plain(&cluster.http, &[cluster.endpoint(leader), cluster.endpoint(other)], "load", 2);
    eventually("both say that there are two", SOON, async || {
        for (cluster, node) in [(&cluster, leader), (&strangers, 0)] {
            let ready = cluster.http.get(cluster.nodes[node].url("/readyz")).send().await.ok()?.text();
            if !(ready.contains("more than one cluster") || ready.contains("another cluster")) {
                return None;
            }
        }
        Some(())
    })
    .await;
    load.more_acks(50, SOON).await;
    // The member comes back elsewhere, and has its place.
    move_house(&mut cluster, dead);
    cluster.nodes[dead].start().await;
    assert_eq!(cluster.nodes[dead].id(&cluster.http).await, dead_id);
    eventually("it has caught up, and votes", LATER, async || {
        let status = cluster.nodes[dead].status(&cluster.http).await?;
        (status.leader.is_some() && status.voters.iter().any(|voter| voter.id == dead_id)).then_some(())
    })
    .await;
    let load = load.stop().await;
    assert_eq!(load.not_acked().count(), 0, "{}", load.counts());
    load.check(&cluster.everything(other, "load/").await);
    eventually("the one that was away has all of it", SOON, async || {
        (cluster.copy_of(dead, "load/").await.len() == load.acked().count()).then_some(())
    })
    .await;
    assert!(cluster.everything(leader, "theirs").await.is_empty());
    assert_eq!(strangers.everything(0, "").await.keys().filter(|key| key.starts_with("load/")).count(), 0);
    assert_eq!(strangers.everything(0, "theirs").await.len(), 1);
    assert_eq!((cluster.status(dead).await.cluster_id, strangers.status(0).await.cluster_id), (id, theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_moves_one_loses_its_disk_and_one_gets_an_old_one_under_load_while_the_registry_forgets() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "2s"]).start().await;
    let leader = cluster.leader().await;
    let [moves, loses, old] = [leader, (leader + 1) % 3, (leader + 2) % 3];
    let before = cluster.nodes[old].id(&cluster.http).await;
    let load = Load::client(&client(&cluster), "load", 2);
    load.more_acks(20, SOON).await;

    cluster.nodes[moves].kill();
    forget_everything(&mut cluster).await;
    move_house(&mut cluster, moves);
    cluster.nodes[moves].start().await;
    cluster.settled().await;
    load.more_acks(20, SOON).await;

    // A copy of one moment, for later.
    let backup = cluster.folder("backup");
    cluster.nodes[old].process.pause();
    copy(cluster.nodes[old].dir(), &backup).unwrap();
    cluster.nodes[old].process.resume();

    cluster.nodes[loses].kill();
    cluster.nodes[loses].wipe();
    forget_everything(&mut cluster).await;
    cluster.nodes[loses].start().await;
    votes(&cluster, loses, moves).await;
    load.more_acks(20, SOON).await;

    cluster.nodes[old].kill();
    cluster.nodes[old].wipe();
    copy(&backup, cluster.nodes[old].dir()).unwrap();
    forget_everything(&mut cluster).await;
    cluster.nodes[old].start().await;
    eventually("the one with the old disk begins anew", LATER, async || {
        // Within its process, so its ports may be others.
        cluster.nodes[old].ready().await;
        let members = cluster.nodes[old].members(&cluster.http).await?;
        (members.local != before).then_some(())
    })
    .await;
    votes(&cluster, old, moves).await;
    load.more_acks(20, SOON).await;
    let load = load.stop().await;
    assert_eq!(load.not_acked().count(), 0, "{}", load.counts());
    load.check(&cluster.same_everywhere("load/").await);
}
