//! A node that starts from an old copy of its disk neither votes nor acknowledges nor leads as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::cluster::SOON;
use muster_e2e::folder::{copy, edit};
use muster_e2e::{Cluster, Plan, eventually, until};
use uuid::Uuid;

/// 60 s: a restart of everybody, a replacement, and a copy of the data.
const LATER: Duration = Duration::from_secs(60);

/// What is kept of a node in another's `witness` (docs/storage.md): stamp, term, index.
fn remembered(cluster: &Cluster, by: usize, of: Uuid) -> [u64; 3] {
    let bytes = std::fs::read(cluster.nodes[by].dir().join("witness")).unwrap_or_default();
    let row = bytes.get(16..).unwrap_or_default().chunks_exact(40).find(|row| row[..16] == *of.as_bytes());
    row.map_or([0; 3], |row| [16, 24, 32].map(|at| u64::from_le_bytes(row[at..at + 8].try_into().unwrap())))
}

async fn put(cluster: &Cluster, node: usize, key: &str) {
    cluster.http.put(cluster.nodes[node].url(&format!("/kv/{key}")), "x").query("timeout", "10s").ok().await;
}

/// Waits until the node lives under another id than this.
async fn comes_back_as_another(cluster: &mut Cluster, node: usize, before: Uuid) -> Uuid {
    eventually("the node that was set back has a new identity", LATER, async || {
        // It starts anew within its process.
        cluster.nodes[node].ready().await;
        let members = cluster.nodes[node].members(&cluster.http).await?;
        (members.local != before).then_some(members.local)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_everybody_an_old_disk_helps_nobody_to_a_majority() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "2s"]).start().await;
    let leader = cluster.leader().await;
    let (old, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    let before = cluster.nodes[old].id(&cluster.http).await;
    assert!(cluster.nodes[old].stop().await.success());
    let backup = cluster.folder("backup");
    copy(cluster.nodes[old].dir(), &backup).unwrap();
    let earlier = remembered(&cluster, behind, before);
    cluster.nodes[old].start().await;
    cluster.settled().await;
    eventually("its new life is on another's disk", SOON, async || {
        (remembered(&cluster, behind, before)[0] > earlier[0]).then_some(())
    })
    .await;
    // From here on the leader and the one that will be set back are the majority.
    let leader = cluster.leader().await;
    if leader == behind {
        let body = serde_json::json!({"to": cluster.nodes[3 - old - behind].id(&cluster.http).await});
        cluster.http.post(cluster.nodes[leader].url("/cluster/leader/transfer"), &body).send().await.ok();
    }
    let first = 3 - old - behind;
    eventually("another leads", SOON, async || {
        let members = cluster.nodes[first].members(&cluster.http).await?;
        (members.leader? != cluster.nodes[behind].id(&cluster.http).await).then_some(())
    })
    .await;
    cluster.nodes[behind].process.pause();
    for n in 0..20 {
        put(&cluster, first, &format!("later/{n}")).await;
    }
    for node in [first, old, behind] {
        cluster.nodes[node].kill();
    }
    cluster.nodes[old].wipe();
    copy(&backup, cluster.nodes[old].dir()).unwrap();
    // Two of three, none of which has what was acknowledged.
    for node in [old, behind] {
        cluster.nodes[node].spawn();
    }
    for node in [old, behind] {
        cluster.nodes[node].ready().await;
    }
    let two = [before, cluster.nodes[behind].id(&cluster.http).await];
    let led = until(Duration::from_secs(6), async || {
        // Its last leader is known to it from its disk.
        let leader = cluster.nodes[behind].members(&cluster.http).await?.leader;
        leader.filter(|leader| two.contains(leader))
    });
    assert_eq!(led.await, None, "elected with the vote of an old disk");
    assert!(cluster.nodes[old].process.has_logged("old copy"), "it says so");
    assert_eq!(cluster.nodes[old].id(&cluster.http).await, before, "nothing is set aside while nobody leads");
    // The one that has everything comes back.
    cluster.nodes[first].start().await;
    comes_back_as_another(&mut cluster, old, before).await;
    cluster.usable().await;
    assert_eq!(cluster.everything(behind, "later/").await.len(), 20);
    eventually("it has caught up", LATER, async || (cluster.copy_of(old, "later/").await.len() == 20).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_running_node_is_an_old_disk_as_well() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "2s"]).start().await;
    let leader = cluster.leader().await;
    let old = (leader + 1) % 3;
    let before = cluster.nodes[old].id(&cluster.http).await;
    let backup = cluster.folder("backup");
    cluster.nodes[old].process.pause();
    copy(cluster.nodes[old].dir(), &backup).unwrap();
    cluster.nodes[old].process.resume();
    for n in 0..20 {
        put(&cluster, old, &format!("later/{n}")).await;
    }
    let held = cluster.status(old).await.id;
    assert_eq!(held, before);
    eventually("all of it is there", SOON, async || (cluster.copy_of(old, "later/").await.len() == 20).then_some(()))
        .await;
    let followed = eventually("the leader has its word for it", SOON, async || {
        let [_, _, index] = remembered(&cluster, leader, before);
        (index >= 20).then_some(index)
    });
    followed.await;
    // The same life, by its stamp: only the log tells.
    cluster.nodes[old].kill();
    cluster.nodes[old].wipe();
    copy(&backup, cluster.nodes[old].dir()).unwrap();
    cluster.nodes[old].start().await;
    comes_back_as_another(&mut cluster, old, before).await;
    eventually("it has caught up", LATER, async || (cluster.copy_of(old, "later/").await.len() == 20).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_started_beside_the_leader_costs_it_the_lead_and_neither_identity_nor_vote() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "5m"]).start().await;
    let running = cluster.leader().await;
    let before = cluster.nodes[running].id(&cluster.http).await;
    let beside = cluster.add(&[]);
    copy(cluster.nodes[running].dir(), cluster.nodes[beside].dir()).unwrap();
    let path = cluster.nodes[beside].dir().join("identity.json");
    edit(&path, |identity| ["http_port", "peer_port"].into_iter().for_each(|port| drop(identity.remove(port))))
        .unwrap();
    for n in 0..20 {
        put(&cluster, running, &format!("later/{n}")).await;
    }
    assert_eq!(cluster.leader().await, running);
    eventually("others know how far it has come since", SOON, async || {
        let [_, _, index] = remembered(&cluster, (running + 1) % 3, before);
        (index >= 20).then_some(())
    })
    .await;
    cluster.nodes[beside].start().await;
    let double = "two nodes run under this node's identity";
    eventually("the running one hears of the copy", SOON, async || {
        cluster.nodes[running].process.has_logged(double).then_some(())
    })
    .await;
    let readyz = cluster.nodes[running].url("/readyz");
    assert!(cluster.http.get(&readyz).expect(503).await.text().contains(double));
    let other = (running + 1) % 3;
    eventually("another leads", SOON, async || {
        let members = cluster.nodes[other].members(&cluster.http).await?;
        (members.leader? != before).then_some(())
    })
    .await;
    let fourth = comes_back_as_another(&mut cluster, beside, before).await;
    // Gossip may have seen both speak in turn: a minute then.
    eventually("nothing is said of a double any more", LATER * 2, async || {
        let ready = cluster.http.get(&readyz).send().await.ok()?;
        (ready.is_ok() && cluster.nodes[running].process.has_logged("no double of this node")).then_some(())
    })
    .await;
    assert_eq!(cluster.nodes[running].id(&cluster.http).await, before);
    let aside = std::fs::read_dir(cluster.nodes[running].dir()).unwrap();
    assert!(aside.filter_map(Result::ok).all(|entry| !entry.file_name().to_string_lossy().starts_with("set-aside")));
    eventually("the copy's new life votes as well", LATER, async || {
        let status = cluster.nodes[other].status(&cluster.http).await?;
        status.voters.iter().any(|voter| voter.id == fourth).then_some(())
    })
    .await;
    // Three of four: not without the voice of the one that was doubled.
    cluster.nodes[other].kill();
    cluster.usable().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_founders_disk_from_when_it_was_alone_founds_no_second_history() {
    let mut cluster = Plan::new(1).args(&["--replace-after", "2s"]).start().await;
    let before = cluster.nodes[0].id(&cluster.http).await;
    put(&cluster, 0, "early").await;
    assert!(cluster.nodes[0].stop().await.success());
    let backup = cluster.folder("backup");
    copy(cluster.nodes[0].dir(), &backup).unwrap();
    cluster.nodes[0].start().await;
    for _ in 0..2 {
        let node = cluster.add(&[]);
        cluster.nodes[node].start().await;
    }
    cluster.settled().await;
    put(&cluster, 0, "kept").await;
    cluster.nodes[0].kill();
    cluster.nodes[0].wipe();
    copy(&backup, cluster.nodes[0].dir()).unwrap();
    cluster.nodes[0].start().await;
    // Whatever it acknowledges from its first moment on, the others have.
    let mut acknowledged = Vec::new();
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        let key = format!("fork/{}", acknowledged.len());
        let call = cluster.http.put(cluster.nodes[0].url(&format!("/kv/{key}")), "x").query("timeout", "100ms");
        if call.within(Duration::from_millis(500)).send().await.is_ok_and(|answer| answer.is_ok()) {
            acknowledged.push(key);
        }
        // Once it begins anew, its ports are others.
        cluster.nodes[0].ready().await;
    }
    comes_back_as_another(&mut cluster, 0, before).await;
    let there = cluster.everything(1, "").await;
    assert!(there.contains_key("kept") && there.contains_key("early"));
    for key in &acknowledged {
        assert!(there.contains_key(key), "{key} was acknowledged by a fork: {:?}", there.keys());
    }
    eventually("it has what the others have", LATER, async || {
        cluster.copy_of(0, "").await.contains_key("kept").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_voter_goes_on_alone_once_nobody_else_is_found() {
    let mut cluster = Plan::new(1).args(&["--voters", "1"]).start().await;
    let other = cluster.add(&[]);
    cluster.nodes[other].start().await;
    let id = cluster.nodes[other].id(&cluster.http).await;
    eventually("the second learns", SOON, async || {
        let status = cluster.nodes[0].status(&cluster.http).await?;
        status.learners.iter().any(|learner| learner.id == id).then_some(())
    })
    .await;
    put(&cluster, 0, "kept").await;
    // With its learner: at once.
    cluster.nodes[0].kill();
    cluster.nodes[0].start().await;
    let took = cluster.usable().await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Without: it looks for it first.
    cluster.nodes[other].kill();
    cluster.nodes[0].kill();
    cluster.nodes[0].start().await;
    let early = cluster.http.put(cluster.nodes[0].url("/kv/early"), "x").query("timeout", "1s").send().await.unwrap();
    assert_eq!(early.status, 503, "{}", early.text());
    assert!(early.text().contains("only voter"), "{}", early.text());
    eventually("it goes on alone", LATER, async || {
        let call = cluster.http.put(cluster.nodes[0].url("/kv/late"), "x").query("timeout", "500ms");
        call.send().await.ok().filter(|answer| answer.is_ok()).map(|_| ())
    })
    .await;
    assert_eq!(cluster.everything(0, "kept").await.len(), 1);
}
