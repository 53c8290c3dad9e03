//! What is tortured: a registry, machines on a switch with a node on each, and a few machines to spare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use muster_client::api::cluster::{MemberState, Members};
use muster_client::api::kv::Page;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::client::{Addresses, Way, Worker, found_on};
use super::operation::{Call, Condition, Seen};
use super::record::{Copy, Recorder};
use super::script::Hand;
use crate::cli::muster;
use crate::clock::Clock;
use crate::cluster::SOON;
use crate::disk::{Disk, Lost, Trouble};
use crate::netns::Net;
use crate::{Cluster, Http, Node, Plan, RegistryServer, until};

/// 3 s until a dead voter is replaced, instead of minutes: replacing is part of what is tried.
const REPLACE_AFTER: &str = "3s";
/// 1 MiB, the least, instead of 64 MiB: a follower that was away for seconds may need a snapshot.
const LOG: &str = "1MiB";
/// Keys below this are the harness's own and not judged.
pub(super) const OWN: &str = "harness/";
/// The client that looks whether writes go on.
pub(super) const PROBER: usize = 1_000;

/// What is tortured, and by what chance.
#[derive(Debug)]
pub struct World {
    /// The machines.
    pub net: Net,
    /// The programs on them; nodes are on the machine of their own number.
    pub cluster: Cluster,
    /// The nodes' disks, by their numbers, when they have disks of their own.
    pub disks: Vec<Disk>,
    /// The nodes' clocks, by their numbers, where there is a library for that.
    clocks: Vec<Clock>,
    /// The file with the nodes' key, when they have one.
    keys: Option<String>,
    /// The nodes that still run the program of an earlier release.
    pub earlier: BTreeSet<usize>,
    /// Draws what a fault meets; each has its own.
    pub chance: StdRng,
    /// For plain questions.
    pub http: Http,
    /// Where nodes are.
    pub addresses: Addresses,
    /// The run's clock and record.
    pub recorder: Recorder,
    probes: u64,
}

impl World {
    /// Machines with a node on each, and one to spare; on request with disks of their own, or a key. Started, usable and settled.
    ///
    /// # Errors
    /// When this machine does not let us.
    pub async fn new(plan: &super::Plan) -> Result<Self, String> {
        let &super::Plan { nodes, seed, disks, keys, .. } = plan;
        let net = Net::new(nodes + 1)?;
        let mut cluster = Plan::new(0).expect(nodes).without_registry().lay();
        let registry_at = SocketAddr::from((net.host(), 8080));
        cluster.registry = RegistryServer::new(&cluster.folder("registry"), registry_at, &[]);
        cluster.registry.start().await;
        let mut world = Self {
            net,
            cluster,
            disks: Vec::new(),
            clocks: Vec::new(),
            keys: None,
            earlier: BTreeSet::new(),
            chance: StdRng::seed_from_u64(seed),
            http: Http::default(),
            addresses: Addresses::default(),
            recorder: Recorder::default(),
            probes: 0,
        };
        if keys {
            let file = world.cluster.folder("keys");
            let told = muster(&["keys", "generate"]).await;
            std::fs::write(&file, told.exits(0).line()).map_err(|error| error.to_string())?;
            world.keys = Some(file.display().to_string());
        }
        for machine in 0..nodes {
            if disks {
                let disk = Disk::mount().map_err(|error| format!("no disk can be mounted: {error}"))?;
                world.disks.push(disk);
            }
            world.lay(machine, nodes);
            if let Some(folder) = &plan.from {
                let program = folder.join("muster-node");
                let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
                world.cluster.nodes[machine].process.run_as(program);
                world.earlier.insert(machine);
            }
        }
        world.cluster.start_all().await;
        (0..nodes).for_each(|node| world.found_at(node));
        Ok(world)
    }

    /// Lays out the next node, on the machine of its number.
    fn lay(&mut self, machine: usize, expect: usize) {
        let name = format!("n{}", machine + 1);
        let (registry, expect) = (self.cluster.registry.url(), expect.to_string());
        let args = ["-ra", &registry, "--bootstrap-expect", &expect, "--replace-after", REPLACE_AFTER];
        let keys = self.keys.iter().flat_map(|file| ["--keys-file", file]);
        let log = ["--snapshot-every", LOG, "--log-keep", LOG];
        let args = args.into_iter().chain(log).chain(keys);
        let host = IpAddr::V4(self.net.address(machine));
        // A folder on the disk, so that it can be removed.
        let folder = self.disks.get(machine).map_or_else(|| self.cluster.folder(&name), |disk| disk.path().join(&name));
        let mut node = Node::new(&name, &folder, args.map(str::to_owned)).on(self.net.namespace(machine), host);
        // Not in the node's folder, which is wiped now and then.
        if let Ok(clock) = Clock::new(&self.cluster.folder(&format!("{name}.clock"))) {
            node.process = clock.given_to(node.process);
            self.clocks.push(clock);
        }
        self.cluster.nodes.push(node);
    }

    /// Puts a fresh node on the next machine to spare, and returns its number; `None`: there is none left.
    pub fn add(&mut self) -> Option<usize> {
        let node = self.cluster.nodes.len();
        (node < self.net.machines()).then(|| self.lay(node, 1))?;
        Some(node)
    }

    /// Ends the last node, which is no member any more, and forgets it. Its machine is to spare again.
    pub fn remove_last(&mut self) {
        if let Some(mut node) = self.cluster.nodes.pop() {
            if node.is_running() {
                node.kill();
            }
            node.wipe();
            self.clocks.truncate(self.cluster.nodes.len());
            self.addresses.keep(self.cluster.nodes.len());
        }
    }

    /// Tells the clients where a node is, once it was ready.
    pub fn found_at(&self, node: usize) {
        self.addresses.set(node, self.cluster.endpoint(node));
    }

    /// A node's disk.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk(&self, node: usize) -> Result<&Disk, String> {
        self.disks.get(node).ok_or_else(|| "this node has no disk of its own".to_owned())
    }

    /// A node's clock.
    ///
    /// # Errors
    /// When it goes by the machine's.
    pub fn clock(&self, node: usize) -> Result<&Clock, String> {
        self.clocks.get(node).ok_or_else(|| "this node has no clock of its own".to_owned())
    }

    /// Whether every node goes by a clock of its own.
    ///
    /// # Errors
    /// When one does not.
    pub fn hooked(&self) -> Result<(), String> {
        let hooked = |node: usize| self.clock(node).is_ok_and(|clock| clock.is_in(&self.cluster.nodes[node].process));
        let without = self.all().into_iter().find(|node| !hooked(*node));
        without
            .map_or(Ok(()), |node| Err(format!("{} takes no library (is it linked statically?)", self.names(&[node]))))
    }

    /// A node's process dies with its machine's power: what it had not synced is gone, or with `torn` there in part.
    ///
    /// # Errors
    /// When it has no disk of its own.
    pub fn lose_power(&mut self, node: usize, torn: bool) -> Result<Lost, String> {
        self.cluster.nodes[node].kill();
        let disk = self.disks.get(node).ok_or("this node has no disk of its own")?;
        Ok(disk.power_off(torn.then_some(&mut self.chance)))
    }

    /// The numbers of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (0..self.cluster.nodes.len()).collect()
    }

    /// All nodes but these.
    pub fn others(&self, than: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|node| !than.contains(node)).collect()
    }

    /// The nodes' names, for people.
    pub fn names(&self, nodes: &[usize]) -> String {
        nodes.iter().map(|&node| self.cluster.nodes[node].name()).collect::<Vec<_>>().join(", ")
    }

    /// The leader, as somebody says within a while.
    ///
    /// # Errors
    /// When nobody says.
    pub async fn leader(&mut self) -> Result<usize, String> {
        let led = until(SOON, async || {
            for node in self.all() {
                let Some(status) = self.cluster.nodes[node].status(&self.http).await else { continue };
                if status.leader == Some(status.id) {
                    return Some(node);
                }
            }
            None
        });
        led.await.ok_or_else(|| "nobody leads".to_owned())
    }

    /// Has the leadership handed to this node, which votes and runs.
    ///
    /// # Errors
    /// When it does not lead within a while, and why.
    pub async fn hand_to(&mut self, node: usize) -> Result<(), String> {
        let to = serde_json::json!({ "to": self.cluster.nodes[node].id(&self.http).await });
        let mut why = String::new();
        let handed = until(SOON, async || {
            let call = self.http.post(self.cluster.nodes[node].url("/cluster/leader/transfer"), &to);
            why = call.send().await.map_or_else(|lost| lost.reason, |answer| answer.text());
            let status = self.cluster.nodes[node].status(&self.http).await?;
            (status.leader == Some(status.id)).then_some(())
        });
        let handed = handed.await;
        handed.ok_or_else(|| format!("{} cannot be handed the leadership: {why}", self.names(&[node])))
    }

    /// One that does not lead.
    ///
    /// # Errors
    /// When nobody leads.
    pub async fn follower(&mut self) -> Result<usize, String> {
        let leader = self.leader().await?;
        Ok(self.one_of(&self.others(&[leader])))
    }

    /// The leader, more often than each of the others.
    ///
    /// # Errors
    /// When nobody leads.
    pub async fn victim(&mut self) -> Result<usize, String> {
        if self.chance.random_bool(0.5) { self.leader().await } else { self.follower().await }
    }

    /// One of these.
    pub fn one_of(&mut self, nodes: &[usize]) -> usize {
        nodes[self.chance.random_range(0..nodes.len())]
    }

    /// The nodes in an order by chance.
    pub fn shuffled(&mut self) -> Vec<usize> {
        let mut nodes = self.all();
        for at in (1..nodes.len()).rev() {
            nodes.swap(at, self.chance.random_range(0..=at));
        }
        nodes
    }

    /// Starts a node again, and waits until it serves.
    pub async fn start(&mut self, node: usize) {
        self.cluster.nodes[node].start().await;
        self.found_at(node);
    }

    /// Waits until a write went through every node that runs, and says whether it did in time. The writes are on record.
    pub async fn writes_everywhere(&mut self, within: Duration) -> bool {
        let running = self.cluster.running();
        self.writes_through(&running, within).await
    }

    /// The same with these nodes only.
    pub async fn writes_through(&mut self, nodes: &[usize], within: Duration) -> bool {
        let since = Instant::now();
        for &node in nodes {
            let left = within.saturating_sub(since.elapsed());
            if until(left, async || self.probe(node).await.then_some(())).await.is_none() {
                return false;
            }
        }
        true
    }

    async fn probe(&mut self, node: usize) -> bool {
        self.probes += 1;
        let value = format!("probe-{}", self.probes);
        let call = Call::Put { key: format!("probe/{node}"), value, condition: Condition::Always, again: None };
        matches!(self.prober(node).perform(&call, 0).await, Seen::Wrote { .. })
    }

    /// A client of the harness's own, at a node. What it does is on record like all else.
    pub(super) fn prober(&self, node: usize) -> Worker {
        Worker {
            number: PROBER,
            way: Way::Plain(self.http.clone(), node),
            addresses: self.addresses.clone(),
            recorder: self.recorder.clone(),
            control: None,
        }
    }

    /// Waits until nothing of a fault is left: whoever runs is alive to all, votes, and no voter is dead.
    ///
    /// # Errors
    /// What still is in the way when the time is over.
    pub async fn whole(&mut self, within: Duration) -> Result<(), String> {
        let running = self.cluster.running();
        let mut why = String::new();
        let done = until(within, async || match self.is_whole(&running).await {
            Ok(()) => Some(()),
            Err(reason) => {
                why = reason;
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        });
        let done = done.await;
        done.ok_or(why)
    }

    async fn is_whole(&self, running: &[usize]) -> Result<(), String> {
        let mut ids = Vec::new();
        let mut views: BTreeMap<Uuid, Members> = BTreeMap::new();
        for &node in running {
            let name = self.cluster.nodes[node].name();
            let members = self.cluster.nodes[node].members(&self.http).await;
            let members = members.ok_or_else(|| format!("{name} does not answer"))?;
            ids.push(members.local);
            views.insert(members.local, members);
        }
        ids.sort_unstable();
        for members in views.values() {
            let alive = |member: &&muster_client::api::cluster::Member| member.state == MemberState::Alive;
            let mut seen: Vec<Uuid> = members.members.iter().filter(alive).map(|member| member.id).collect();
            seen.sort_unstable();
            if seen != ids {
                return Err(format!("{} of {} are alive to {}", seen.len(), ids.len(), members.local));
            }
        }
        for &node in running {
            let name = self.cluster.nodes[node].name();
            let status = self.cluster.nodes[node].status(&self.http).await;
            let status = status.ok_or_else(|| format!("{name} does not answer"))?;
            let voters: Vec<Uuid> = status.voters.iter().map(|voter| voter.id).collect();
            if voters.len() < running.len().min(5) || voters.iter().any(|voter| !ids.contains(voter)) {
                return Err(format!("{name} knows {} voters, {} nodes run", voters.len(), running.len()));
            }
        }
        Ok(())
    }

    /// What every node that runs holds, once all of them have applied the same.
    ///
    /// # Errors
    /// When they do not come to the same revision, or one does not answer.
    pub async fn copies(&mut self) -> Result<Vec<Copy>, String> {
        let running = self.cluster.running();
        let mut seen = Vec::new();
        let quiet = until(SOON, async || {
            seen.clear();
            for &node in &running {
                seen.push(self.cluster.nodes[node].status(&self.http).await?.revision);
            }
            seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
        quiet.await.ok_or_else(|| format!("the nodes {running:?} do not come to one revision: {seen:?}"))?;
        let mut copies = Vec::new();
        for node in running {
            copies.push(self.copy(node).await?);
        }
        Ok(copies)
    }

    /// What a node holds.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn copy(&self, node: usize) -> Result<Copy, String> {
        let mut copy = Copy { node, revision: 0, found: Vec::new() };
        let mut after: Option<String> = None;
        loop {
            let mut call = self.http.get(self.cluster.nodes[node].url("/kv")).query("limit", 1000);
            if let Some(after) = &after {
                call = call.query("start_after", after);
            }
            let answer = call.send().await.map_err(|lost| lost.reason)?;
            let page: Page = answer.parsed().ok_or_else(|| answer.text())?;
            copy.revision = page.revision;
            copy.found.extend(found_on(&page).into_iter().filter(|(key, _)| !key.starts_with(OWN)));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(copy),
            }
        }
    }
}

impl Drop for World {
    /// A process that waits for a disk could not be ended.
    fn drop(&mut self) {
        for disk in &self.disks {
            disk.trouble(|trouble| *trouble = Trouble::default());
        }
    }
}
