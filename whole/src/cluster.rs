//! The nodes: a machine each, its data dir, and the process that runs there now or none.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use muster_cluster::world::net::{TcpListener, UdpSocket};
use muster_e2e::torture::record::Reign;
use muster_node::flags::{self, Flags};
use muster_node::identity::Identity;
use muster_node::parts::{Data, End, Parts};
use muster_node::recovery::{self, Recover};
use muster_node::replication::{EngineRole, Replication};
use muster_node::storage::StorageOptions;
use muster_world::{Simulation, disk};
use tempfile::TempDir;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::client::Doors;
use crate::door;
use crate::recorder::Recorder;
use crate::watchdog;

const PEER_PORT: u16 = 8051;
const HTTP_PORT: u16 = 8050;
/// Segments of 32 KiB: a run of twenty seconds rolls them, and purges some.
const SEGMENT: u64 = 32 << 10;
/// A snapshot for every 64 KiB of log, so that who was away for a few seconds gets one.
const SNAPSHOT_EVERY: u64 = 64 << 10;
/// How often a node says whether it leads.
const WATCH: Duration = Duration::from_millis(20);

/// All nodes and their world.
pub struct Cluster {
    /// The world. Its machines are the nodes, and behind them the clients'.
    pub sim: Simulation,
    /// The ways into the nodes.
    pub doors: Doors,
    /// What clients and nodes say.
    pub recorder: Recorder,
    nodes: Vec<Node>,
    clients: usize,
    /// Everybody knows the others, so that who has forgotten all is told.
    founded: bool,
    /// How often the leadership was handed over.
    transfers: Arc<AtomicU64>,
    folder: TempDir,
}

/// One of them.
struct Node {
    dir: PathBuf,
    /// How often it was started.
    starts: u64,
    /// It knows of nobody else, and is told of nobody.
    alone: bool,
    /// Its disk goes back to where it was when it began to lie.
    lies: bool,
    life: Arc<Mutex<Life>>,
}

/// What becomes of a process.
#[derive(Debug, Default)]
struct Life {
    replication: Weak<Replication>,
    ended: Option<Result<End, String>>,
}

fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).expect("few nodes"))
}

impl Cluster {
    /// So many machines with nothing on their disks, and one for the clients.
    pub fn new(seed: u64, count: usize) -> Self {
        let mut sim = Simulation::new(seed);
        let memory = PathBuf::from("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        let node = |number: usize| Node {
            dir: folder.path().join(format!("n{number}")),
            starts: 0,
            alone: false,
            lies: false,
            life: Arc::default(),
        };
        let nodes: Vec<Node> = (0..count).map(node).collect();
        for machine in 0..=count {
            sim.add(IpAddr::V4(address(machine)));
        }
        let doors = Doors::default();
        (0..count).for_each(|node| doors.set(node, None));
        let (recorder, transfers) = (Recorder::default(), Arc::default());
        let mut this = Self { sim, doors, recorder, nodes, clients: count, founded: false, transfers, folder };
        this.sim.start(count, || async {});
        this
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The machine that clients run on.
    pub fn clients(&self) -> usize {
        self.clients
    }

    fn flags(&self, node: usize) -> Flags {
        let here = address(node);
        let mut args = vec!["muster-node".to_owned(), "--name".to_owned(), format!("n{node}")];
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        add("--peer", format!("{here}:{PEER_PORT}"));
        add("--http", format!("{here}:{HTTP_PORT}"));
        add("--data-dir", self.nodes[node].dir.display().to_string());
        add("--cache-size", "1MiB".to_owned());
        add("--replace-after", "3s".to_owned());
        // The first node founds; once all are there, it joins the others if it has forgotten them.
        if !self.nodes[node].alone && (node != 0 || self.founded) {
            for other in (0..self.count()).filter(|other| *other != node) {
                add("--join", format!("{}:{PEER_PORT}", address(other)));
            }
        }
        let mut flags = flags::try_parse(args.into_iter().map(Into::into)).expect("good flags");
        (flags.snapshot_every.0, flags.log_keep.0) = (SNAPSHOT_EVERY, SEGMENT);
        flags
    }

    /// Starts a node's process, in place of the one that may run.
    pub fn start(&mut self, node: usize) {
        let flags = self.flags(node);
        self.nodes[node].starts += 1;
        let life = Arc::new(Mutex::new(Life::default()));
        self.nodes[node].life = life.clone();
        let (door, requests) = mpsc::unbounded_channel();
        self.doors.set(node, Some(door));
        let recorder = self.recorder.clone();
        self.sim.start(node, || async move {
            let ended = run(flags, requests, recorder, life.clone()).await;
            life.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(ended);
        });
    }

    /// `kill -9`, or the power fails.
    pub fn stop(&mut self, node: usize, power_fails: bool) {
        self.doors.set(node, None);
        self.nodes[node].life = Arc::default();
        if power_fails && std::mem::take(&mut self.nodes[node].lies) {
            self.sim.power_off(node);
            disk::restore(&self.nodes[node].dir, false).expect("the disk as it was");
            return;
        }
        let state = self.nodes[node].dir.join("state");
        // The state's engine would tidy up as it is dropped.
        disk::keep(&state).expect("a copy of the state");
        if power_fails {
            self.sim.power_off(node);
        } else {
            self.sim.kill(node);
        }
        disk::restore(&state, power_fails).expect("the state as it was");
    }

    /// From now on no disk does what it says that it has done: when its machine loses its power, it is as it is now.
    pub fn lie(&mut self) {
        for node in &mut self.nodes {
            disk::keep(&node.dir).expect("a copy of the disk");
            node.lies = true;
        }
    }

    /// A stopped node goes on from its disk alone when it is started, as an operator may have it when all others are lost for good, and must not
    /// otherwise. Nothing of this world stops him: he was told that nobody answers.
    ///
    /// # Errors
    /// When it refuses.
    pub fn recover(&mut self, node: usize, cluster: Uuid) -> Result<String, String> {
        assert!(!self.sim.runs(node), "its files are in use");
        self.nodes[node].alone = true;
        let dir = &self.nodes[node].dir;
        let recover = Recover { confirm: Some(cluster), even_if_reached: true };
        self.sim.within(node, || {
            // It would ask at their addresses, with the system's own sockets.
            Identity::open(dir, true)
                .and_then(|mut identity| identity.keep_peers(Vec::new()))
                .map_err(|error| error.to_string())?;
            recovery::run(dir, &recover).map_err(|error| error.to_string())
        })
    }

    /// Takes a stopped node's disk away.
    pub fn wipe(&mut self, node: usize) {
        assert!(!self.sim.runs(node), "its files are in use");
        std::fs::remove_dir_all(&self.nodes[node].dir).expect("an empty disk");
    }

    /// Who leads by its own word and by that of a majority of those that are awake.
    pub fn leader(&self) -> Option<usize> {
        (0..self.count()).find(|&node| self.look(node, |replication| leads(replication).is_some()) == Some(true))
    }

    /// Looks at a node's engine, if a process is there and awake.
    pub fn look<T>(&self, node: usize, look: impl FnOnce(&Arc<Replication>) -> T) -> Option<T> {
        if !self.sim.is_awake(node) {
            return None;
        }
        let replication = self.nodes[node].life.lock().unwrap_or_else(PoisonError::into_inner).replication.upgrade()?;
        Some(self.sim.within(node, || look(&replication)))
    }

    /// Whether every node votes, and nobody else.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_whole(&self) -> Result<(), String> {
        let every = || 0..self.count();
        let nodes: BTreeSet<_> = every().filter_map(|node| self.look(node, |it| it.me())).collect();
        let leader = self.leader();
        let voters = leader.and_then(|leader| self.look(leader, |it| it.voters()));
        let all_may = every().all(|node| self.look(node, |it| it.may_vote()) == Some(true));
        if all_may && nodes.len() == self.count() && voters.as_ref() == Some(&nodes) {
            return Ok(());
        }
        Err(format!("n{leader:?} leads, {voters:?} vote, {nodes:?} are there"))
    }

    /// Hands the leadership over to anybody.
    pub fn transfer(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(replication) = self.look(leader, Arc::clone) else { return };
        let transfers = self.transfers.clone();
        self.sim.spawn(leader, async move {
            // May fail: then nobody could take it.
            if replication.transfer(None).await.is_ok() {
                transfers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// How often the leadership was handed over.
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// How often a node was started.
    pub fn starts(&self, node: usize) -> u64 {
        self.nodes[node].starts
    }

    /// Who a node is, if a process is there and awake.
    pub fn identity(&self, node: usize) -> Option<Uuid> {
        self.look(node, |replication| replication.me())
    }

    /// All are there: from now on whoever has forgotten everything joins the others.
    pub fn is_founded(&mut self) {
        self.founded = true;
    }

    /// How many vote, as the leader knows.
    pub fn voters(&self) -> usize {
        self.leader().and_then(|leader| self.look(leader, |replication| replication.voters().len())).unwrap_or(0)
    }

    /// A millisecond passes. A process that ended by itself is started again as an operator, or the process itself, would; one whose power failed
    /// is gone.
    ///
    /// # Errors
    /// When one ended that must not.
    pub fn step(&mut self) -> Result<(), String> {
        self.sim.step();
        watchdog::step();
        for node in 0..self.count() {
            if self.sim.runs(node) && !self.sim.is_powered(node) {
                self.stop(node, true);
            }
            let ended = self.nodes[node].life.lock().unwrap_or_else(PoisonError::into_inner).ended.take();
            match ended {
                None => {}
                Some(Ok(End::SetBack)) => {
                    self.stop(node, false);
                    muster_node::set_aside::set_aside(&self.nodes[node].dir, None)
                        .map_err(|error| error.to_string())?;
                    self.start(node);
                }
                // No disk of this world is ever full.
                Some(Ok(End::RoomAgain)) => return Err(format!("n{node} says that its disk was full")),
                Some(Ok(End::Stopped)) => return Err(format!("n{node} was taken out, which nobody asked for")),
                Some(Err(why)) => return Err(format!("n{node} stopped: {why}")),
            }
        }
        Ok(())
    }

    /// Where the data dirs are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

fn leads(replication: &Replication) -> Option<u64> {
    let figures = replication.figures();
    (figures.role == Some(EngineRole::Leader)).then_some(figures.term)
}

async fn run(
    flags: Flags,
    requests: mpsc::UnboundedReceiver<door::Request>,
    recorder: Recorder,
    life: Arc<Mutex<Life>>,
) -> Result<End, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let options = StorageOptions { cache_bytes: flags.cache_size.0, segment_bytes: SEGMENT, reserve_bytes: 0 };
    let Some(data) = Data::open(&flags, &options).map_err(|error| told(&error))? else { return Ok(End::Stopped) };
    let udp = UdpSocket::bind(flags.peer).await.map_err(|error| told(&error))?;
    let tcp = TcpListener::bind(flags.peer).await.map_err(|error| told(&error))?;
    let parts = Parts::start(&flags, data).await.map_err(|error| told(&error))?;
    life.lock().unwrap_or_else(PoisonError::into_inner).replication = Arc::downgrade(&parts.replication);
    tokio::spawn(door::serve(parts.keyspace.clone(), requests));
    tokio::spawn(watch(parts.replication.clone(), recorder));
    let joining = parts.joining(&flags, None);
    let http_at: SocketAddr = flags.http;
    parts.run(&joining, (udp, tcp), http_at).await.map_err(|error| told(&error))
}

/// Says again and again whether this node leads.
async fn watch(replication: Arc<Replication>, recorder: Recorder) {
    loop {
        if let Some(term) = leads(&replication) {
            let reign = Reign { term, leader: replication.me(), at: recorder.now() };
            recorder.with(|record| record.reigns.push(reign));
        }
        tokio::time::sleep(WATCH).await;
    }
}
