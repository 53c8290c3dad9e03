//! One cluster for each name, whatever dies while it is founded.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_client::api::registry::{Clusters, Nodes};
use muster_e2e::cluster::SOON;
use muster_e2e::{Cluster, Plan, RegistryServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// 2 s in which something must not happen that would take a fraction of a second: twice the quiet second of a new registry.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Where a founding gets stuck on its way to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// It does not get there: the id is on the founder's disk, and nobody knows it.
    Before,
    /// The answer does not get back: the registry has recorded what the founder does not know.
    After,
    /// Nowhere.
    Not,
}

/// Stands between the nodes and the registry.
#[derive(Debug)]
struct Between {
    url: String,
    stuck: Arc<Mutex<Stuck>>,
    founder: Arc<Mutex<Option<Uuid>>>,
}

impl Between {
    async fn of(registry: SocketAddr, stuck: Stuck) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(registry.ip(), 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let between = Self { url, stuck: Arc::new(Mutex::new(stuck)), founder: Arc::default() };
        let (stuck, founder) = (Arc::clone(&between.stuck), Arc::clone(&between.founder));
        tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                tokio::spawn(carry(node, registry, Arc::clone(&stuck), Arc::clone(&founder)));
            }
        });
        between
    }

    fn let_pass(&self) {
        *self.stuck.lock().unwrap() = Stuck::Not;
    }

    /// Waits until a founding is stuck, and says whose.
    async fn founder(&self) -> Uuid {
        eventually("a node is about to found", SOON, async || *self.founder.lock().unwrap()).await
    }
}

/// One connection: requests one way, answers the other, until a founding comes by that is to get stuck. Then nothing more.
async fn carry(
    mut node: TcpStream,
    registry: SocketAddr,
    stuck: Arc<Mutex<Stuck>>,
    founder: Arc<Mutex<Option<Uuid>>>,
) -> std::io::Result<()> {
    let mut registry = TcpStream::connect(registry).await?;
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    let mut request = Vec::new();
    loop {
        tokio::select! {
            read = node.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                request.extend_from_slice(bytes);
                let at = *stuck.lock().unwrap();
                if at != Stuck::Not && request.starts_with(b"PUT /clusters/") {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let id = text.split("\"founder\":\"").nth(1).and_then(|rest| rest.get(..36)?.parse().ok());
                    // The body may come behind the head.
                    let Some(id) = id else { continue };
                    if at == Stuck::After {
                        registry.write_all(&request).await?;
                        assert!(registry.read(&mut answered).await? > 0, "the registry answers");
                    }
                    *founder.lock().unwrap() = Some(id);
                    // The connection stands, and nothing comes.
                    return std::future::pending().await;
                }
                if !request.starts_with(b"PUT /clusters/") || at == Stuck::Not {
                    registry.write_all(&request).await?;
                    request.clear();
                }
            }
            read = registry.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                node.write_all(bytes).await?;
            }
        }
    }
}

/// Three nodes of which two found, and the founder (its number) killed with -9 while its founding is stuck.
async fn founder_killed(stuck: Stuck) -> (Cluster, Between, usize) {
    // A short lease, so that the dead founder is soon forgotten.
    let mut cluster = Plan::new(0).without_registry().registry_args(&["--lease", "1s"]).lay();
    cluster.registry.start().await;
    let at: SocketAddr = cluster.registry.url().trim_start_matches("http://").parse().unwrap();
    let between = Between::of(at, stuck).await;
    for _ in 0..3 {
        cluster.add(&["-ra", &between.url, "--bootstrap-expect", "2"]);
    }
    cluster.spawn_all();
    cluster.ready_all().await;
    let founder = between.founder().await;
    let mut which = None;
    for (n, node) in cluster.nodes.iter().enumerate() {
        if node.id(&cluster.http).await == founder {
            which = Some(n);
        }
    }
    let which = which.expect("one of ours");
    cluster.nodes[which].kill();
    (cluster, between, which)
}

/// The ids that the registry knows under the one name there is.
async fn recorded(cluster: &Cluster) -> Vec<Uuid> {
    let known: Clusters = cluster.http.get(format!("{}/clusters", cluster.registry.url())).ok().await.json();
    known.clusters.iter().filter_map(|cluster| Some(cluster.founding.as_ref()?.cluster_id)).collect()
}

/// Everyone is of the one cluster that is recorded.
async fn one_cluster(cluster: &mut Cluster) -> Uuid {
    cluster.usable().await;
    cluster.settled().await;
    let ids = recorded(cluster).await;
    let own = cluster.nodes[0].members(&cluster.http).await.unwrap().cluster_id;
    assert_eq!(ids, Vec::from_iter(own));
    ids[0]
}

async fn nobody_takes_a_write(cluster: &mut Cluster) {
    for node in cluster.running() {
        let put = cluster.http.put(cluster.nodes[node].url("/kv/early"), "x").query("timeout", "1s");
        let answer = put.send().await.expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_killed_before_the_record_that_comes_back_at_once() {
    let (mut cluster, between, founder) = founder_killed(Stuck::Before).await;
    assert!(recorded(&cluster).await.is_empty());
    between.let_pass();
    cluster.nodes[founder].start().await;
    one_cluster(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_killed_before_the_record_that_comes_back_when_another_has_founded() {
    let (mut cluster, between, founder) = founder_killed(Stuck::Before).await;
    between.let_pass();
    // The offer lapses with the lease of the dead, and goes to another.
    cluster.usable().await;
    let ids = recorded(&cluster).await;
    cluster.nodes[founder].start().await;
    assert_eq!(vec![one_cluster(&mut cluster).await], ids, "it drops its empty cluster and joins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_killed_after_the_record_that_comes_back_at_once() {
    let (mut cluster, between, founder) = founder_killed(Stuck::After).await;
    let ids = recorded(&cluster).await;
    assert_eq!(ids.len(), 1);
    between.let_pass();
    cluster.nodes[founder].start().await;
    assert_eq!(vec![one_cluster(&mut cluster).await], ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_killed_after_the_record_is_waited_for() {
    let (mut cluster, between, founder) = founder_killed(Stuck::After).await;
    let ids = recorded(&cluster).await;
    between.let_pass();
    eventually("the dead founder is forgotten", SOON, async || {
        let nodes: Nodes = cluster.http.get(format!("{}/nodes", cluster.registry.url())).ok().await.json();
        (nodes.nodes.len() == 2).then_some(())
    })
    .await;
    tokio::time::sleep(LONG_ENOUGH).await;
    nobody_takes_a_write(&mut cluster).await;
    assert_eq!(recorded(&cluster).await, ids, "nobody founds another");
    cluster.nodes[founder].start().await;
    assert_eq!(vec![one_cluster(&mut cluster).await], ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_whose_disk_is_lost_before_it_let_anybody_in_is_given_up_by_a_person() {
    let (mut cluster, between, founder) = founder_killed(Stuck::After).await;
    let lost = recorded(&cluster).await;
    assert_eq!(lost.len(), 1);
    between.let_pass();
    cluster.nodes[founder].wipe();
    cluster.nodes[founder].start().await;
    let waiting = format!("waiting for cluster {} to let this node in", lost[0]);
    eventually("all three wait for the cluster that nobody has", SOON, async || {
        cluster.nodes.iter().all(|node| node.process.run_log().contains(&waiting)).then_some(())
    })
    .await;
    cluster.http.delete(format!("{}/clusters/muster", cluster.registry.url())).ok().await;
    let id = one_cluster(&mut cluster).await;
    assert_ne!(id, lost[0], "those that waited look again, and found another");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_registries_found_together_and_either_may_go() {
    let mut cluster = Plan::new(0).without_registry().lay();
    let other_at = SocketAddr::from((cluster.ip, 8081));
    let mut other = RegistryServer::new(&cluster.folder("registry2"), other_at, &[]);
    let both = ["-ra".to_owned(), cluster.registry.url(), "-ra".to_owned(), other.url()];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    cluster.registry.start().await;
    for _ in 0..3 {
        cluster.add(&[&both[..], &["--bootstrap-expect", "3"]].concat());
    }
    cluster.spawn_all();
    cluster.ready_all().await;
    eventually("all have registered", SOON, async || {
        let nodes: Nodes = cluster.http.get(format!("{}/nodes", cluster.registry.url())).ok().await.json();
        (nodes.nodes.len() == 3).then_some(())
    })
    .await;
    tokio::time::sleep(LONG_ENOUGH).await;
    // One of two is no majority.
    nobody_takes_a_write(&mut cluster).await;

    other.start().await;
    let id = one_cluster(&mut cluster).await;
    cluster.registry.process.kill();
    cluster.usable().await;
    other.process.kill();
    other.wipe();
    cluster.usable().await;
    // It comes back without a memory, and learns from the nodes what is there.
    other.start().await;
    let newcomer = cluster.add(&[&both[..], &["--bootstrap-expect", "3"]].concat());
    cluster.nodes[newcomer].start().await;
    cluster.settled().await;
    let members = cluster.nodes[newcomer].members(&cluster.http).await.unwrap();
    assert_eq!((members.cluster_id, members.members.len()), (Some(id), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_of_one_name_that_meet_stay_two() {
    let mut one = Plan::new(1).without_registry().lay();
    let mut two = Plan::new(1).without_registry().lay();
    for cluster in [&mut one, &mut two] {
        cluster.nodes[0].start().await;
        cluster.usable().await;
    }
    one.http.put(one.nodes[0].url("/kv/one"), "1").ok().await;
    two.http.put(two.nodes[0].url("/kv/two"), "2").ok().await;
    // The same registry from now on, and the other's peer port besides: they meet both ways.
    one.registry.start().await;
    let peers = [two.nodes[0].peer(), one.nodes[0].peer()].map(|at| at.to_string());
    let registry = one.registry.url();
    for (cluster, peer) in [&mut one, &mut two].into_iter().zip(&peers) {
        assert!(cluster.nodes[0].stop().await.success());
        cluster.nodes[0].process.args_mut().extend(["-ra", &registry, "--join", peer].map(str::to_owned));
        cluster.nodes[0].start().await;
        cluster.usable().await;
    }
    let told = |text: &str| text.contains("more than one cluster") || text.contains("another cluster");
    for cluster in [&one, &two] {
        eventually("each says that there are two, in /readyz and in its log", SOON, async || {
            let ready = cluster.http.get(cluster.nodes[0].url("/readyz")).send().await.ok()?;
            (told(&ready.text()) && told(&cluster.nodes[0].process.run_log())).then_some(())
        })
        .await;
        let status = cluster.status(0).await;
        assert_eq!((status.voters.len(), status.learners.len()), (1, 0), "nobody votes for the other or copies it");
    }
    assert!(one.everything(0, "two").await.is_empty() && two.everything(0, "one").await.is_empty());
    one.usable().await;
    two.usable().await;
    let known: Clusters = one.http.get(format!("{registry}/clusters")).ok().await.json();
    assert!(known.clusters.iter().any(|cluster| cluster.seen.len() == 2), "both are kept and shown: {known:?}");
}
