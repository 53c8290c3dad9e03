//! A registry and nodes in a temporary folder, on a loopback address of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_client::Client;
use muster_client::api::cluster::{MemberState, Status};
use muster_client::api::kv::Page;
use tempfile::TempDir;
use uuid::Uuid;

use crate::http::Http;
use crate::node::Node;
use crate::registry::RegistryServer;
use crate::tap::Tap;
use crate::wait::{eventually, until};

/// 20 s for what takes a second on an idle machine: these tests share two cores with whatever else runs.
pub const SOON: Duration = Duration::from_secs(20);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    nodes: usize,
    expect: Option<usize>,
    args: Vec<String>,
    registry_args: Vec<String>,
    told_of_registry: bool,
}

/// A registry, its nodes, and the folder with all their data. Everything ends with it.
#[derive(Debug)]
pub struct Cluster {
    /// The registry.
    pub registry: RegistryServer,
    /// The nodes `n1`, `n2`, ... at 0, 1, ...
    pub nodes: Vec<Node>,
    /// For plain requests.
    pub http: Http,
    /// The loopback address that all of it listens on.
    pub ip: Ipv4Addr,
    args: Vec<String>,
    // Last, so that the processes are gone before their folders are.
    dir: TempDir,
}

impl Plan {
    /// One registry and so many nodes.
    pub fn new(nodes: usize) -> Self {
        Self { nodes, expect: None, args: Vec::new(), registry_args: Vec::new(), told_of_registry: true }
    }

    /// With nodes that know of no registry.
    pub fn without_registry(mut self) -> Self {
        self.told_of_registry = false;
        self
    }

    /// With `--bootstrap-expect` other than the number of nodes.
    pub fn expect(mut self, nodes: usize) -> Self {
        self.expect = Some(nodes);
        self
    }

    /// With further arguments for every node.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// With further arguments for the registry.
    pub fn registry_args(mut self, args: &[&str]) -> Self {
        self.registry_args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Lays everything out without starting anything.
    pub fn lay(self) -> Cluster {
        let dir = tempfile::Builder::new().prefix("muster-e2e-").tempdir().expect("a temporary folder");
        let ip = own_loopback();
        // The address is nobody else's, so a fixed port cannot be taken, and nodes can be told of a registry that comes later.
        let at = SocketAddr::from((ip, 8080));
        let more: Vec<&str> = self.registry_args.iter().map(String::as_str).collect();
        let registry = RegistryServer::new(&dir.path().join("registry"), at, &more);
        let expect = self.expect.unwrap_or(self.nodes).max(1);
        let mut args = Vec::new();
        if self.told_of_registry {
            args.extend(["-ra".to_owned(), registry.url()]);
            args.extend(["--bootstrap-expect".to_owned(), expect.to_string()]);
        }
        args.extend(self.args);
        let mut cluster = Cluster { registry, nodes: Vec::new(), http: Http::default(), ip, args, dir };
        for _ in 0..self.nodes {
            cluster.add(&[]);
        }
        cluster
    }

    /// Starts everything, the registry first, and waits until the cluster is usable and everyone has found everyone.
    pub async fn start(self) -> Cluster {
        let mut cluster = self.lay();
        cluster.registry.start().await;
        cluster.start_all().await;
        cluster
    }
}

/// A loopback address that no other test and no other program uses: client connections come from 127.0.0.1, so a port that
/// a server has kept for its next start cannot be taken by one of them meanwhile.
pub fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let pid = std::process::id().to_le_bytes();
    // 32 clusters for each process is more than a test has.
    let last = 1 + (NEXT.fetch_add(1, Ordering::Relaxed) % 32) + 32 * (pid[0] % 7);
    Ipv4Addr::new(127, 64 + (pid[0] >> 3) + 32 * (pid[2] & 3), pid[1], last)
}

impl Cluster {
    /// A registry and so many nodes, started, usable and settled.
    pub async fn start(nodes: usize) -> Self {
        Plan::new(nodes).start().await
    }

    /// Adds a node with a fresh data directory and the cluster's arguments, and further ones. Not started.
    pub fn add(&mut self, more: &[&str]) -> usize {
        let name = format!("n{}", self.nodes.len() + 1);
        let at = SocketAddr::from((self.ip, 0)).to_string();
        let mut args = vec!["--http".to_owned(), at.clone(), "--peer".to_owned(), at];
        args.extend(self.args.iter().cloned());
        args.extend(more.iter().map(ToString::to_string));
        self.nodes.push(Node::new(&name, &self.dir.path().join(&name), args));
        self.nodes.len() - 1
    }

    /// From their next starts on, the registry and all nodes run the programs that this gives for their names.
    pub fn run_as(&mut self, program: impl Fn(&str) -> PathBuf) {
        self.registry.process.run_as(program("muster-registry"));
        self.nodes.iter_mut().for_each(|node| node.process.run_as(program("muster-node")));
    }

    /// A node more, not started, that the others reach through a tap only, at the end of a line of this length.
    pub async fn add_behind_tap(&mut self, way: Duration, more: &[&str]) -> Tap {
        let name = format!("n{}", self.nodes.len() + 1);
        let (at, port) = (own_loopback(), 8050 + u16::try_from(self.nodes.len()).expect("a few nodes"));
        // Addresses of the test's own, so a fixed port is nobody else's.
        let peer = SocketAddr::from((self.ip, port));
        let tap = Tap::at_a_distance(SocketAddr::from((at, port)), peer, way).await;
        let here = [format!("{}:0", self.ip), peer.to_string(), at.to_string()];
        let here = ["--http", "--peer", "--advertise"].iter().zip(here).flat_map(|(flag, at)| [flag.to_string(), at]);
        let args = here.chain(self.args.clone()).chain(more.iter().map(ToString::to_string));
        self.nodes.push(Node::new(&name, &self.folder(&name), args));
        tap
    }

    /// A folder of the cluster's, for whatever else a test keeps.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts every node that does not run, and waits until the cluster is usable and everyone has found everyone. Who leads.
    pub async fn start_all(&mut self) -> usize {
        self.spawn_all();
        self.ready_all().await;
        self.usable().await;
        self.settled().await
    }

    /// Starts every node that does not run, without waiting.
    pub fn spawn_all(&mut self) {
        self.nodes.iter_mut().filter_map(|node| (!node.is_running()).then_some(node)).for_each(Node::spawn);
    }

    /// Waits until every node that runs has said that it is ready.
    pub async fn ready_all(&mut self) {
        for node in &mut self.nodes {
            if node.is_running() {
                node.ready().await;
            }
        }
    }

    /// Waits until a write succeeds, and says how long that took.
    pub async fn usable(&mut self) -> Duration {
        let since = Instant::now();
        let key = format!("harness/usable/{}", Uuid::new_v4());
        let urls: Vec<String> = self.running().iter().map(|&n| self.nodes[n].url(&format!("/kv/{key}"))).collect();
        let mut turn = 0;
        let mut last = String::new();
        let done = until(SOON, async || {
            turn += 1;
            let call = self.http.put(&urls[turn % urls.len()], "usable").query("timeout", "200ms");
            match call.within(Duration::from_secs(1)).send().await {
                Ok(answer) if answer.is_ok() => Some(()),
                Ok(answer) => {
                    last = format!("{} {}", answer.status, answer.text());
                    None
                }
                Err(lost) => {
                    last = lost.reason;
                    None
                }
            }
        });
        assert!(done.await.is_some(), "no write succeeded within {SOON:?}; the last try met: {last}");
        since.elapsed()
    }

    /// Which nodes run.
    pub fn running(&mut self) -> Vec<usize> {
        let running = |(n, node): (usize, &mut Node)| node.is_running().then_some(n);
        self.nodes.iter_mut().enumerate().filter_map(running).collect()
    }

    /// Waits until all running nodes say the same: who leads, who is alive (they are, nobody else), who votes (the first five
    /// seats are taken). Returns the leader.
    pub async fn settled(&mut self) -> usize {
        let running = self.running();
        let mut seen = String::new();
        let found = until(SOON, async || match self.agreement(&running).await {
            Ok(leader) => Some(leader),
            Err(why) => {
                seen = why;
                None
            }
        });
        match found.await {
            Some(leader) => leader,
            None => panic!("the nodes {running:?} did not come to agree within {SOON:?}: {seen}"),
        }
    }

    async fn agreement(&self, running: &[usize]) -> Result<usize, String> {
        let mut ids = BTreeMap::new();
        let mut views = BTreeSet::new();
        for &n in running {
            let node = &self.nodes[n];
            let members = node.members(&self.http).await.ok_or_else(|| format!("{} does not answer", node.name()))?;
            let status = node.status(&self.http).await.ok_or_else(|| format!("{} has no status", node.name()))?;
            ids.insert(members.local, n);
            let alive: BTreeSet<Uuid> =
                members.members.iter().filter(|m| m.state == MemberState::Alive).map(|m| m.id).collect();
            let voters: BTreeSet<Uuid> = status.voters.iter().map(|voter| voter.id).collect();
            views.insert((members.cluster_id, members.leader, alive, voters));
        }
        let mut views = views.into_iter();
        let (Some((cluster_id, leader, alive, voters)), None) = (views.next(), views.next()) else {
            return Err("their views differ".to_owned());
        };
        if cluster_id.is_none() {
            return Err("there is no cluster".to_owned());
        }
        if alive != ids.keys().copied().collect() {
            return Err(format!("{} are alive by gossip, {} run", alive.len(), ids.len()));
        }
        if voters.len() < running.len().min(5) {
            return Err(format!("{} of {} vote", voters.len(), running.len()));
        }
        let leader = leader.ok_or_else(|| "nobody leads".to_owned())?;
        ids.get(&leader).copied().ok_or_else(|| format!("{leader}, who leads, does not run"))
    }

    /// Waits until these nodes agree on a leader among them, and returns it. Others may be paused or cut off.
    pub async fn leader_among(&self, nodes: &[usize]) -> usize {
        eventually("one leader among some nodes, agreed by them", SOON, async || {
            let mut ids = BTreeMap::new();
            let mut leaders = BTreeSet::new();
            for &n in nodes {
                let members = self.nodes[n].members(&self.http).await?;
                ids.insert(members.local, n);
                leaders.insert(members.leader?);
            }
            let leader = leaders.pop_first().filter(|_| leaders.is_empty())?;
            ids.get(&leader).copied()
        })
        .await
    }

    /// Waits until all running nodes agree on a leader that runs, and returns it.
    pub async fn leader(&mut self) -> usize {
        let running = self.running();
        self.leader_among(&running).await
    }

    /// What a node says of itself.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self, node: usize) -> Status {
        let node = &self.nodes[node];
        node.status(&self.http).await.unwrap_or_else(|| panic!("{} does not answer", node.name()))
    }

    /// A node's client port, `http://host:port`.
    pub fn endpoint(&self, node: usize) -> String {
        self.nodes[node].endpoint()
    }

    /// The client ports of all nodes that ever were ready.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::endpoint).collect()
    }

    /// A client as a program has it, given every node.
    pub fn client(&self) -> Client {
        Client::builder().endpoints(self.endpoints()).build().expect("a client")
    }

    /// Every key under a prefix as a node tells them, each page confirmed by a majority.
    pub async fn everything(&self, node: usize, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        self.listing(node, prefix, "linearizable").await
    }

    /// Every key under a prefix as a node has them, without asking anyone.
    pub async fn copy_of(&self, node: usize, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        self.listing(node, prefix, "local").await
    }

    /// Waits until every running node holds the same keys as the leader says there are, and returns them.
    pub async fn same_everywhere(&mut self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let leader = self.settled().await;
        let truth = self.everything(leader, prefix).await;
        for node in self.running() {
            let name = self.nodes[node].name().to_owned();
            eventually(&format!("{name} holds what the leader holds"), SOON, async || {
                (self.copy_of(node, prefix).await == truth).then_some(())
            })
            .await;
        }
        truth
    }

    async fn listing(&self, node: usize, prefix: &str, consistency: &str) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let call = self.http.get(self.nodes[node].url("/kv"));
            let mut call = call.query("prefix", prefix).query("limit", 1000).query("consistency", consistency);
            if let Some(after) = &after {
                call = call.query("start_after", after);
            }
            let page: Page = call.ok().await.json();
            for item in page.items {
                let value = STANDARD.decode(item.value.expect("values were asked for")).expect("base64");
                assert!(item.key.starts_with(prefix), "{} is not under {prefix}", item.key);
                assert!(all.insert(item.key.clone(), value).is_none(), "{} was listed twice", item.key);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }
}
