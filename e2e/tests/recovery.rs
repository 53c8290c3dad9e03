//! The disks of a majority are gone for good: what is left goes on when a person says so, and nothing that comes back does harm.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use muster_client::api::cluster::MemberState;
use muster_client::api::registry::Clusters;
use muster_e2e::cli::{Said, muster, run};
use muster_e2e::cluster::SOON;
use muster_e2e::folder::{copy, edit};
use muster_e2e::{Cluster, Load, Plan, eventually};
use uuid::Uuid;

/// 60 s: several starts, and a change of the voters behind them.
const LATER: Duration = Duration::from_secs(60);

async fn recover(dir: &Path, more: &[&str]) -> Said {
    let dir = dir.display().to_string();
    run("muster-node", &[&["recover", "--data-dir", &dir], more].concat(), b"").await
}

async fn put(cluster: &Cluster, node: usize, key: &str, timeout: &str) -> (u16, String) {
    let call = cluster.http.put(cluster.nodes[node].url(&format!("/kv/{key}")), "x").query("timeout", timeout);
    call.send().await.map_or((0, String::new()), |answer| (answer.status, answer.text()))
}

async fn cluster_id(cluster: &Cluster, node: usize) -> Uuid {
    cluster.status(node).await.cluster_id.expect("it is part of a cluster")
}

/// Waits until the node says that another cluster took the place of its own.
async fn gives_way(cluster: &Cluster, node: usize, to: Uuid) {
    eventually("a disk of the old cluster gives way", SOON, async || {
        let ready = cluster.http.get(cluster.nodes[node].url("/readyz")).send().await.ok()?;
        let text = ready.text();
        let told = text.contains("took the place") && text.contains(&to.to_string()) && text.contains("empty data dir");
        (ready.status == 503 && told).then_some(())
    })
    .await;
}

/// "entry 12 of term 3", as a look at a disk says it.
fn ends_with(said: &Said) -> (u64, u64) {
    let line = said.out.lines().find(|line| line.trim_start().starts_with("log ")).unwrap();
    let words: Vec<&str> = line.split([' ', ';']).collect();
    let after = |word| words[words.iter().position(|w| *w == word).unwrap() + 1].parse().unwrap();
    (after("term"), after("entry"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_disks_are_lost_and_the_cluster_goes_on_from_the_third() {
    // A short lease: the registry's record waits until the dead are forgotten.
    let mut cluster = Plan::new(3).registry_args(&["--lease", "2s"]).start().await;
    let leader = cluster.leader().await;
    let (survivor, lost) = ((leader + 1) % 3, [leader, (leader + 2) % 3]);
    let old = cluster_id(&cluster, survivor).await;
    let before = Load::plain(&cluster.http, &cluster.endpoints(), "before", 3);
    before.more_acks(150, SOON).await;
    let before = before.stop().await;
    cluster.same_everywhere("before/").await;
    // Under load, so that the survivor's log ends somewhere in the middle of things.
    let during = Load::plain(&cluster.http, &cluster.endpoints(), "during", 3);
    during.more_acks(100, SOON).await;
    for node in lost {
        cluster.nodes[node].kill();
    }
    drop(during);
    for node in lost {
        copy(cluster.nodes[node].dir(), &cluster.folder(&format!("old-{node}"))).unwrap();
        cluster.nodes[node].wipe();
    }

    // What is left serves reads of its copy and no writes, and its data is nobody else's while it runs.
    let had = cluster.copy_of(survivor, "").await;
    before.check(
        &had.iter().filter(|(key, _)| key.starts_with("before/")).map(|(k, v)| (k.clone(), v.clone())).collect(),
    );
    eventually("writes are refused", SOON, async || {
        // 504 as long as it takes the leader for alive.
        let (status, text) = put(&cluster, survivor, "refused", "300ms").await;
        assert!(matches!(status, 503 | 504), "{status} {text}");
        (status == 503).then_some(())
    })
    .await;
    let dir = cluster.nodes[survivor].dir().to_owned();
    let said = recover(&dir, &["--confirm", &old.to_string()]).await.exits(1);
    assert!(said.err.contains("another process uses this data dir"), "{}", said.err);
    cluster.nodes[survivor].kill();

    let said = recover(&dir, &[]).await.exits(0);
    for part in [old.to_string().as_str(), "(this node)", "LOST FOR GOOD", "--confirm", "Copy this data dir first"] {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    let said = recover(&dir, &["--confirm", &Uuid::new_v4().to_string()]).await.exits(1);
    assert!(said.err.contains("nothing was changed"), "{}", said.err);
    recover(&dir, &["--confirm", &old.to_string()]).await.exits(0);
    let said = recover(&dir, &["--confirm", &old.to_string()]).await.exits(0);
    assert!(said.out.contains("done before"), "{}", said.out);

    cluster.nodes[survivor].start().await;
    let took = cluster.usable().await;
    let new = cluster_id(&cluster, survivor).await;
    assert_ne!(new, old);
    let has = cluster.everything(survivor, "").await;
    for (key, value) in &had {
        assert_eq!(has.get(key), Some(value), "{key}");
    }
    let revision = cluster.status(survivor).await.revision;
    assert!(revision > 1_000_000_000, "no revision stands for two writes: {revision}");
    eprintln!("{} keys; writes {took:?} after the start; revision {revision}", has.len());

    // Two machines with empty disks.
    for node in lost {
        cluster.nodes[node].start().await;
    }
    cluster.settled().await;
    let whole = cluster.same_everywhere("").await;
    assert!(had.keys().all(|key| whole.contains_key(key)));
    eventually("the registry's record follows", SOON, async || {
        let known: Clusters = cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
        known
            .clusters
            .iter()
            .any(|cluster| cluster.founding.as_ref().is_some_and(|f| f.cluster_id == new))
            .then_some(())
    })
    .await;

    // The disks of both that were lost turn up on machines of their own: a majority of the old cluster.
    let voters: Vec<Uuid> = cluster.status(survivor).await.voters.iter().map(|voter| voter.id).collect();
    let load = Load::plain(&cluster.http, &cluster.endpoints(), "after", 3);
    let mut back = Vec::new();
    for node in lost {
        let other = cluster.add(&[]);
        copy(&cluster.folder(&format!("old-{node}")), cluster.nodes[other].dir()).unwrap();
        let path = cluster.nodes[other].dir().join("identity.json");
        // Their ports are taken by those that came for them.
        edit(&path, |identity| ["http_port", "peer_port"].into_iter().for_each(|port| drop(identity.remove(port))))
            .unwrap();
        cluster.nodes[other].spawn();
        back.push(other);
    }
    cluster.ready_all().await;
    for n in 0..5 {
        for &node in &back {
            let (status, text) = put(&cluster, node, &format!("fork/{n}"), "300ms").await;
            assert_ne!(status / 100, 2, "the old cluster took a write beside the new one: {text}");
        }
    }
    for &node in &back {
        gives_way(&cluster, node, new).await;
    }
    load.more_acks(100, SOON).await;
    let load = load.stop().await;
    assert_eq!(load.not_acked().count(), 0, "{}", load.counts());
    load.check(&cluster.everything(survivor, "after/").await);
    for node in [survivor, lost[0], lost[1]] {
        let ready = cluster.http.get(cluster.nodes[node].url("/readyz")).send().await.unwrap();
        assert_eq!(ready.status, 200, "{}", ready.text());
    }
    let now = cluster.status(survivor).await;
    assert_eq!((now.voters.iter().map(|voter| voter.id).collect::<Vec<_>>(), now.cluster_id), (voters, Some(new)));
    // Emptied, such a machine is welcome.
    let again = back[0];
    cluster.nodes[back[1]].kill();
    cluster.nodes[again].kill();
    cluster.nodes[again].wipe();
    cluster.nodes[again].start().await;
    eventually("it has what the others have", LATER, async || {
        (cluster.copy_of(again, "before/").await == cluster.copy_of(survivor, "before/").await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_survive_of_five_the_one_with_the_newer_log_is_told_by_a_look() {
    let mut cluster = Cluster::start(5).await;
    let leader = cluster.leader().await;
    let [behind, ahead] = [(leader + 1) % 5, (leader + 2) % 5];
    let lost: Vec<usize> = (0..5).filter(|node| ![behind, ahead].contains(node)).collect();
    let old = cluster_id(&cluster, ahead).await.to_string();
    cluster.nodes[behind].kill();
    for n in 0..20 {
        assert_eq!(put(&cluster, leader, &format!("later/{n}"), "10s").await.0, 201);
    }
    eventually("one of the two has them", SOON, async || {
        (cluster.copy_of(ahead, "later/").await.len() == 20).then_some(())
    })
    .await;
    for node in lost {
        cluster.nodes[node].kill();
        cluster.nodes[node].wipe();
    }
    // While another survivor runs, nothing is done: it may be that one whose disk is to be taken.
    let [dir, other] = [ahead, behind].map(|node| cluster.nodes[node].dir().to_owned());
    let said = recover(&other, &["--confirm", &old]).await.exits(1);
    assert!(said.err.contains("somebody answers at"), "{}", said.err);
    cluster.nodes[ahead].kill();
    let [here, there] = [recover(&dir, &[]).await.exits(0), recover(&other, &[]).await.exits(0)];
    assert!(ends_with(&here) > ends_with(&there), "{}{}", here.out, there.out);
    recover(&dir, &["--confirm", &old]).await.exits(0);
    cluster.nodes[ahead].start().await;
    cluster.usable().await;
    assert_eq!(cluster.everything(ahead, "later/").await.len(), 20);
    // The other survivor has no part in it before it is emptied.
    let new = cluster_id(&cluster, ahead).await;
    cluster.nodes[behind].start().await;
    gives_way(&cluster, behind, new).await;
    assert!(cluster.nodes[behind].stop().await.success());
    cluster.nodes[behind].wipe();
    cluster.nodes[behind].start().await;
    eventually("it has what the other has", LATER, async || {
        (cluster.copy_of(behind, "later/").await.len() == 20).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_keys_goes_on_from_one_disk_with_the_same_keys_and_no_others() {
    let mut cluster = Plan::new(0).expect(3).lay();
    cluster.registry.start().await;
    let [file, stranger] = ["keys", "other-keys"].map(|name| cluster.folder(name));
    for file in [&file, &stranger] {
        std::fs::write(file, muster(&["keys", "generate"]).await.exits(0).line()).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for _ in 0..3 {
        cluster.add(&["--keys-file", file.to_str().unwrap()]);
    }
    let leader = cluster.start_all().await;
    for n in 0..20 {
        assert_eq!(put(&cluster, leader, &format!("sealed/{n}"), "10s").await.0, 201);
    }
    cluster.same_everywhere("sealed/").await;
    let (survivor, old) = ((leader + 1) % 3, cluster_id(&cluster, leader).await.to_string());
    let lost = [leader, (leader + 2) % 3];
    cluster.nodes[survivor].kill();
    let dir = cluster.nodes[survivor].dir().to_owned();
    let said = recover(&dir, &["--confirm", &old]).await.exits(1);
    assert!(said.err.contains("somebody answers at"), "keys hide no survivor: {}", said.err);
    for node in lost {
        cluster.nodes[node].kill();
        cluster.nodes[node].wipe();
    }
    recover(&dir, &["--confirm", &old]).await.exits(0);
    cluster.nodes[survivor].start().await;
    cluster.usable().await;
    for node in lost {
        cluster.nodes[node].start().await;
    }
    cluster.settled().await;
    assert_eq!(cluster.same_everywhere("sealed/").await.len(), 20);
    // Who has other keys is no member of this one either.
    let other = cluster.add(&["--keys-file", stranger.to_str().unwrap()]);
    cluster.nodes[other].spawn();
    eventually("it is dropped, and that is said", SOON, async || {
        let dropped = cluster.nodes[survivor].dropped(&cluster.http, "unknown_key").await?;
        (dropped > 0).then_some(())
    })
    .await;
    assert_eq!(
        cluster.nodes[survivor]
            .members(&cluster.http)
            .await
            .unwrap()
            .members
            .iter()
            .filter(|member| member.state == MemberState::Alive)
            .count(),
        3
    );
}
