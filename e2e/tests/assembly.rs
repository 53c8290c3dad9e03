//! Nodes find each other, through nothing but the registry's address and however they are started.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use muster_client::api::cluster::{Leader, MemberState, Role};
use muster_client::api::registry::{Clusters, Nodes};
use muster_e2e::cluster::SOON;
use muster_e2e::figures::{bound, figure};
use muster_e2e::{Cluster, Plan, eventually, until};

/// 3 s from the start of the last process to the first write.
const USABLE: Duration = Duration::from_secs(3);

/// Starts the registry (`r`) and the nodes (`0`, `1`, `2`) in this order, and says how long the cluster then took to be usable.
async fn assembled(order: &str) -> (Cluster, Duration) {
    let mut cluster = Plan::new(3).lay();
    for who in order.chars() {
        match who.to_digit(10) {
            Some(node) => cluster.nodes[node as usize].spawn(),
            None => cluster.registry.process.spawn(),
        }
    }
    let since = Instant::now();
    cluster.registry.process.ready().await;
    cluster.ready_all().await;
    cluster.usable().await;
    (cluster, since.elapsed())
}

async fn assembles(order: &str) {
    let (mut cluster, took) = assembled(order).await;
    figure(&format!("assembly, started in the order {order}, usable"), &format!("{} ms", took.as_millis()));
    assert!(took < bound(USABLE, 4), "usable only after {took:?}");
    let leader = cluster.settled().await;
    agree(&cluster, leader).await;
}

/// What `members`, `leader` and `status` of all nodes say is one story.
async fn agree(cluster: &Cluster, leader: usize) {
    let leader_id = cluster.nodes[leader].id(&cluster.http).await;
    for (n, node) in cluster.nodes.iter().enumerate() {
        let told: Leader = cluster.http.get(node.url("/cluster/leader")).ok().await.json();
        assert_eq!((told.id, told.name.as_str()), (leader_id, cluster.nodes[leader].name()));
        assert_eq!(told.http, cluster.nodes[leader].http().to_string());
        let status = cluster.status(n).await;
        assert_eq!(status.leader, Some(leader_id));
        assert_eq!(status.term, told.term, "of {}", node.name());
        assert_eq!(status.role, Some(if n == leader { Role::Leader } else { Role::Voter }), "of {}", node.name());
        let members = node.members(&cluster.http).await.unwrap();
        let leaders: Vec<_> = members.members.iter().filter(|m| m.role == Some(Role::Leader)).map(|m| m.id).collect();
        assert_eq!(leaders, [leader_id], "as {} sees it", node.name());
        for member in &members.members {
            let named = cluster.nodes.iter().find(|node| node.name() == member.name).expect("a member of ours");
            assert_eq!(member.http, named.http().to_string());
            assert_eq!(member.peer, named.peer().to_string());
            assert_eq!(member.state, MemberState::Alive);
            assert!(member.incarnation > 0);
        }
        assert_eq!(cluster.http.get(node.url("/livez")).ok().await.status, 200);
        eventually("a node is ready", SOON, async || {
            cluster.http.get(node.url("/readyz")).send().await.ok().filter(|answer| answer.status == 200)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_first() {
    assembles("r012").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_last() {
    assembles("210r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_in_the_middle() {
    assembles("1r20").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_node_joins_later_and_receives_what_is_there() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    for n in 0..300 {
        client.put(format!("early/{n:03}"), format!("value {n}")).await.unwrap();
    }
    let late = cluster.add(&[]);
    cluster.nodes[late].start().await;
    let copy = eventually("the newcomer holds everything", SOON, async || {
        let here = cluster.http.get(cluster.nodes[late].url("/kv?prefix=early/")).send().await.ok()?;
        if !here.is_ok() {
            return None;
        }
        let copy = cluster.copy_of(late, "early/").await;
        (copy.len() == 300).then_some(copy)
    })
    .await;
    assert_eq!(copy["early/299"], b"value 299");
    cluster.settled().await;
    // A write through the newcomer is a write like any other. The client has not made it, so it has to ask for the newest.
    cluster.http.put(cluster.nodes[late].url("/kv/by/newcomer"), "x").expect(201).await;
    assert_eq!(client.get("by/newcomer").linearizable().await.unwrap().unwrap().value, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_nodes_join_a_peer() {
    let mut cluster = Plan::new(0).without_registry().lay();
    let first_peer = format!("{}:8051", cluster.ip);
    // Two that wait for the first, for ever if need be, and say so.
    for _ in 0..2 {
        let node = cluster.add(&["--join", &first_peer]);
        cluster.nodes[node].spawn();
    }
    cluster.ready_all().await;
    for node in &cluster.nodes {
        let ready = cluster.http.get(node.url("/readyz")).send().await.unwrap();
        assert_eq!(ready.status, 503, "a node without a cluster is not ready: {}", ready.text());
        let refused = cluster.http.put(node.url("/kv/too/early"), "x").query("timeout", "100ms").expect(503).await;
        assert!(refused.header("retry-after").is_some());
    }
    // The first has nobody to ask: it founds at once.
    let first = cluster.add(&[]);
    let args = cluster.nodes[first].process.args_mut();
    let peer = args.iter().position(|arg| arg == "--peer").unwrap() + 1;
    args[peer] = first_peer;
    cluster.nodes[first].start().await;
    cluster.usable().await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_killed_and_started_again_forgets_nobody() {
    let mut cluster = Plan::new(3).registry_args(&["--lease", "30s"]).start().await;
    let nodes = format!("{}/nodes?cluster=muster", cluster.registry.url());
    let before: Nodes = cluster.http.get(&nodes).ok().await.json();
    assert_eq!(before.nodes.len(), 3);
    let clusters: Clusters = cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
    cluster.registry.process.kill();
    cluster.registry.start().await;
    // At once: nobody has had to renew.
    let after: Nodes = cluster.http.get(&nodes).ok().await.json();
    let ids = |nodes: &Nodes| nodes.nodes.iter().map(|node| node.id).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before));
    let again: Clusters = cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
    assert_eq!(again.clusters[0].founding, clusters.clusters[0].founding);
    assert!(again.clusters[0].founding.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_and_restarts_go_on_without_the_registry() {
    let mut cluster = Cluster::start(3).await;
    cluster.http.put(cluster.nodes[0].url("/kv/before"), "1").ok().await;
    cluster.registry.process.kill();
    cluster.http.put(cluster.nodes[1].url("/kv/without"), "2").ok().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    let leader = cluster.start_all().await;
    let all = cluster.everything(leader, "").await;
    assert_eq!((all["before"].as_slice(), all["without"].as_slice()), (&b"1"[..], &b"2"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_of_different_names_never_mix() {
    let mut cluster = Plan::new(0).expect(2).lay();
    cluster.registry.start().await;
    for name in ["left", "left", "right", "right"] {
        let node = cluster.add(&["--cluster", name]);
        cluster.nodes[node].start().await;
    }
    let http = cluster.http.clone();
    let names = async |node: usize| -> Option<BTreeSet<String>> {
        let members = cluster.nodes[node].members(&http).await?;
        members.leader?;
        Some(members.members.into_iter().map(|member| member.name).collect())
    };
    let set = |names: [&str; 2]| names.map(str::to_owned).into_iter().collect::<BTreeSet<_>>();
    for (node, own) in [(0, ["n1", "n2"]), (1, ["n1", "n2"]), (2, ["n3", "n4"]), (3, ["n3", "n4"])] {
        let complete = async || names(node).await.filter(|seen| *seen == set(own));
        eventually("a node sees its own cluster", SOON, complete).await;
    }
    http.put(cluster.nodes[0].url("/kv/side"), "left").ok().await;
    http.get(cluster.nodes[2].url("/kv/side?consistency=linearizable")).expect(404).await;
    // Even when one is told of a peer of the other.
    let peer = cluster.nodes[0].peer().to_string();
    let stranger = cluster.add(&["--cluster", "right", "--join", &peer]);
    cluster.nodes[stranger].start().await;
    let right: BTreeSet<String> = ["n3", "n4", "n5"].map(str::to_owned).into_iter().collect();
    for node in [2, 3, stranger] {
        eventually("the newcomer is in its own cluster", SOON, async || {
            let members = cluster.nodes[node].members(&http).await?;
            let names: BTreeSet<String> = members.members.into_iter().map(|member| member.name).collect();
            (names == right).then_some(())
        })
        .await;
    }
    let left = cluster.nodes[0].members(&http).await.unwrap();
    assert!(left.members.iter().all(|member| member.name != "n5"), "{left:?}");
    let clusters: Clusters = http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
    let ids: BTreeSet<_> =
        clusters.clusters.iter().filter_map(|one| one.founding.as_ref()).map(|f| f.cluster_id).collect();
    assert_eq!(ids.len(), 2, "{clusters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_its_memory_and_nodes_with_theirs_are_the_same_cluster() {
    let mut cluster = Cluster::start(3).await;
    cluster.http.put(cluster.nodes[0].url("/kv/kept"), "yes").ok().await;
    let before = cluster.nodes[0].members(&cluster.http).await.unwrap().cluster_id;
    for node in &mut cluster.nodes {
        assert!(node.stop().await.success(), "{}", node.process.run_log());
    }
    cluster.registry.process.kill();
    cluster.registry.wipe();
    // A newcomer is there before the others: it must not be let found a second cluster once they are back.
    cluster.registry.start().await;
    let late = cluster.add(&[]);
    cluster.nodes[late].spawn();
    let leader = cluster.start_all().await;
    assert_eq!(cluster.nodes[late].members(&cluster.http).await.unwrap().cluster_id, before);
    assert_eq!(cluster.everything(leader, "kept").await["kept"], b"yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_all_come_back_at_other_addresses_find_each_other() {
    let mut cluster = Cluster::start(3).await;
    cluster.http.put(cluster.nodes[0].url("/kv/kept"), "yes").ok().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for (n, node) in cluster.nodes.iter_mut().enumerate() {
        let ip = cluster.ip;
        let args = node.process.args_mut();
        for (flag, port) in [("--http", 9000 + 2 * n), ("--peer", 9001 + 2 * n)] {
            let value = args.iter().position(|arg| arg == flag).unwrap() + 1;
            args[value] = format!("{ip}:{port}");
        }
    }
    let leader = cluster.start_all().await;
    agree(&cluster, leader).await;
    assert_eq!(cluster.everything(leader, "kept").await["kept"], b"yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_needs_nobody() {
    let mut cluster = Plan::new(1).without_registry().lay();
    cluster.nodes[0].start().await;
    let took = cluster.usable().await;
    figure("assembly, a lone node, usable after ready", &format!("{} ms", took.as_millis()));
    assert_eq!(cluster.status(0).await.failures_tolerated, 0);
    // And never becomes two: what nobody told of anybody stays alone.
    let other = cluster.add(&[]);
    cluster.nodes[other].start().await;
    let ids = [0, other].map(|n| &cluster.nodes[n]);
    let mut found = BTreeSet::new();
    for node in ids {
        found.insert(node.members(&cluster.http).await.unwrap().cluster_id);
    }
    assert_eq!(found.len(), 2);
    let mixed = until(Duration::from_secs(1), async || {
        let members = cluster.nodes[0].members(&cluster.http).await?;
        (members.members.len() > 1).then_some(members)
    });
    assert!(mixed.await.is_none());
}
