//! Nodes of the release before run beside those of today while a cluster is upgraded. One may go back as long as its log goes on in the file that the
//! release before has begun; later it is refused, and loses nothing.
//!
//! The binaries of that release are not built here: `MUSTER_OLD_BIN_DIR` names the folder that has them. Without it these tests say that they are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_e2e::cluster::SOON;
use muster_e2e::figures::figure;
use muster_e2e::skip::not_asked_for;
use muster_e2e::{Cluster, History, Load, Plan, binaries, eventually};
use serde_json::json;

/// 10 s more than the programs of the release before have for anything here.
const STOP: Duration = Duration::from_secs(10);

/// What is tested is whether two releases understand each other, not how fast: two sets of debug binaries start and stop on a machine that may be busy.
const PATIENT: [&str; 4] = ["--heartbeat", "200ms", "--election-timeout", "1500ms"];

fn old(name: &str) -> PathBuf {
    binaries::old_program(name).expect("checked before")
}

/// Whether there is nothing to test against.
fn skipped() -> bool {
    let skipped = binaries::old_program("muster-node").is_none();
    if skipped {
        not_asked_for("MUSTER_OLD_BIN_DIR names no binaries of the release before");
    }
    skipped
}

/// A settled cluster of three nodes and a registry of the release before.
async fn old_cluster() -> Cluster {
    let mut cluster = Plan::new(3).args(&PATIENT).lay();
    cluster.run_as(old);
    cluster.registry.start().await;
    cluster.start_all().await;
    cluster
}

/// Stops a node in good order under load and starts it as another program. Plain writers that do not talk to it, and programs that do, notice nothing.
async fn replaced(cluster: &mut Cluster, node: usize, program: PathBuf, step: &str) -> [History; 2] {
    let others: Vec<String> = (0..3).filter(|n| *n != node).map(|n| cluster.endpoint(n)).collect();
    let plain = Load::plain(&cluster.http, &others, &format!("{step}/plain"), 3);
    let client = Load::client(&cluster.client(), &format!("{step}/client"), 2);
    plain.more_acks(50, SOON).await;
    client.more_acks(20, SOON).await;
    let status = cluster.nodes[node].process.terminate(STOP).await;
    assert_eq!(status.code(), Some(0), "{}", cluster.nodes[node].process.run_log());
    plain.more_acks(50, SOON).await;
    cluster.nodes[node].process.run_as(program);
    cluster.nodes[node].start().await;
    cluster.settled().await;
    plain.more_acks(50, SOON).await;
    client.more_acks(20, SOON).await;
    [plain.stop().await, client.stop().await]
}

async fn leads(cluster: &mut Cluster, node: usize) {
    let wanted = cluster.nodes[node].id(&cluster.http).await;
    let asked = cluster.nodes[(node + 1) % 3].url("/cluster/leader/transfer");
    cluster.http.post(asked, &json!({"to": wanted})).expect(200).await;
    assert_eq!(cluster.settled().await, node);
}

/// Writes and reads through every node, confirmed and local, whoever leads.
async fn serves(cluster: &Cluster, step: &str) {
    for node in 0..3 {
        let url = cluster.nodes[node].url(&format!("/kv/{step}/through/{node}"));
        let put = cluster.http.put(&url, step.to_owned()).ok().await;
        let read = cluster.http.get(&url).query("consistency", "linearizable").ok().await;
        assert_eq!(read.text(), step);
        for reader in 0..3 {
            let url = cluster.nodes[reader].url(&format!("/kv/{step}/through/{node}"));
            let read = cluster.http.get(url).query("min_revision", put.revision()).ok().await;
            assert_eq!(read.text(), step);
        }
    }
}

fn failed(histories: &[History]) -> Vec<String> {
    let failed = histories.iter().flat_map(History::not_acked);
    failed.map(|write| format!("{} via {}: {:?}", write.key, write.via, write.fate)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_upgraded_node_by_node_under_load_and_one_goes_back_before_its_log_turns() {
    if skipped() {
        return;
    }
    let new = binaries::program("muster-node");
    let mut cluster = old_cluster().await;
    let mut histories = Vec::new();
    let leader = cluster.settled().await;
    let order = [(leader + 1) % 3, leader, (leader + 2) % 3];
    for (step, node) in order.into_iter().enumerate() {
        histories.extend(replaced(&mut cluster, node, new.clone(), &format!("up{step}")).await);
        // It is of today, once there are two of it. They tell each other how far they have come once a second.
        let witness = cluster.nodes[node].dir().join("witness");
        eventually("it bears witness", SOON, async || (step == 0 || witness.exists()).then_some(())).await;
        // Whoever leads: one of today over two of before, then the reverse.
        for leader in [order[0], order[2]] {
            leads(&mut cluster, leader).await;
            serves(&cluster, &format!("mixed{step}-{leader}")).await;
        }
    }
    // What was written here is much less than a file of the log has. A death is got over with both releases voting.
    histories.extend(replaced(&mut cluster, order[1], old("muster-node"), "back").await);
    serves(&cluster, "back").await;
    for node in [order[0], order[1]] {
        leads(&mut cluster, node).await;
        let load = Load::client(&cluster.client(), &format!("killed{node}"), 2);
        load.more_acks(20, SOON).await;
        cluster.nodes[node].kill();
        load.more_acks(20, SOON).await;
        cluster.nodes[node].start().await;
        cluster.settled().await;
        histories.push(load.stop().await);
    }
    histories.extend(replaced(&mut cluster, order[1], new, "again").await);
    // The registry as well.
    assert_eq!(cluster.registry.process.terminate(STOP).await.code(), Some(0));
    cluster.registry.process.run_as(binaries::program("muster-registry"));
    cluster.registry.start().await;
    serves(&cluster, "all").await;
    eventually("every node vouches and is vouched for", SOON, async || {
        (0..3).all(|node| cluster.nodes[node].dir().join("witness").exists()).then_some(())
    })
    .await;
    let there = cluster.same_everywhere("").await;
    for history in &histories {
        history.check(&there);
    }
    let counts: Vec<String> = histories.iter().map(History::counts).collect();
    figure("upgrade from the release before, writes", &counts.join("; "));
    assert_eq!(failed(&histories), Vec::<String>::new());
}

/// All files of a folder, with what they hold.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut next) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = next.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                next.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_has_turned_is_refused_by_the_release_before_and_loses_nothing() {
    // 20 MB: a file of the log has 16 MiB.
    const LONG: usize = 1_000_000;
    if skipped() {
        return;
    }
    let mut cluster = old_cluster().await;
    let node = (cluster.settled().await + 1) % 3;
    let histories = replaced(&mut cluster, node, binaries::program("muster-node"), "up").await;
    for n in 0..20 {
        let url = cluster.nodes[(node + 1) % 3].url(&format!("/kv/long/{n}"));
        cluster.http.put(url, vec![b'x'; LONG]).ok().await;
    }
    cluster.same_everywhere("long/").await;
    assert_eq!(cluster.nodes[node].process.terminate(STOP).await.code(), Some(0));
    let before = files(cluster.nodes[node].dir());
    cluster.nodes[node].process.run_as(old("muster-node"));
    cluster.nodes[node].spawn();
    let status = cluster.nodes[node].process.wait(STOP).await;
    assert_eq!(status.code(), Some(1), "{}", cluster.nodes[node].process.run_log());
    eventually("it says why", SOON, async || {
        cluster.nodes[node].process.has_logged("written by a newer release (format 2)").then_some(())
    })
    .await;
    // The state's engine had tidied up by then; all of the log and the rest is as it was.
    let after = files(cluster.nodes[node].dir());
    let state = cluster.nodes[node].dir().join("state");
    let all = before.keys().chain(after.keys()).filter(|path| !path.starts_with(&state));
    let changed: Vec<&PathBuf> = all.filter(|path| before.get(*path) != after.get(*path)).collect();
    assert_eq!(changed, Vec::<&PathBuf>::new());
    // It goes on with today's, and has everything of itself: nobody is there to tell it.
    for other in [(node + 1) % 3, (node + 2) % 3] {
        assert_eq!(cluster.nodes[other].process.terminate(STOP).await.code(), Some(0));
    }
    cluster.nodes[node].process.run_as(binaries::program("muster-node"));
    cluster.nodes[node].start().await;
    eventually("it has everything", SOON, async || {
        let there = cluster.copy_of(node, "").await;
        let long = (0..20).all(|n| there.get(&format!("long/{n}")).is_some_and(|value| value.len() == LONG));
        let acked = histories.iter().flat_map(History::acked).all(|write| there.contains_key(&write.key));
        (long && acked).then_some(())
    })
    .await;
    cluster.start_all().await;
    let there = cluster.same_everywhere("").await;
    histories.iter().for_each(|history| history.check(&there));
    assert_eq!(failed(&histories), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_of_today_is_let_into_a_cluster_of_the_release_before() {
    if skipped() {
        return;
    }
    let mut cluster = old_cluster().await;
    cluster.http.put(cluster.nodes[0].url("/kv/early"), "x").ok().await;
    let node = cluster.add(&[]);
    cluster.nodes[node].start().await;
    eventually("it has what was there", SOON, async || {
        cluster.copy_of(node, "early").await.contains_key("early").then_some(())
    })
    .await;
    let id = cluster.nodes[node].id(&cluster.http).await;
    eventually("it votes", SOON, async || {
        cluster.status(0).await.voters.iter().any(|voter| voter.id == id).then_some(())
    })
    .await;
}
