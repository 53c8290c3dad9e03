//! Members on loopback.

use std::{future::Future, net::SocketAddr, time::Duration};

use muster_cluster::{
    keyring::Keyring,
    runtime::{Cluster, IncomingStream, Limits, Metrics, Options, StampFile, View},
    swim::{Config, Event, MemberState},
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{broadcast, mpsc},
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Much longer than anything here takes, for machines that are busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A member, the streams that it is sent, and the folder of its stamp.
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    pub(crate) streams: mpsc::Receiver<IncomingStream>,
    pub(crate) folder: TempDir,
}

/// How a member is started.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) id: Uuid,
    pub(crate) seeds: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) folder: TempDir,
    pub(crate) metadata: &'static str,
    pub(crate) keys: Keyring,
}

impl Plan {
    pub(crate) fn new(id: u128) -> Self {
        Self {
            name: "test",
            id: Uuid::from_u128(id),
            seeds: Vec::new(),
            limits: Limits::default(),
            folder: tempfile::tempdir().expect("a folder"),
            metadata: "",
            keys: Keyring::default(),
        }
    }

    pub(crate) fn seeds(mut self, seeds: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.seeds = seeds.into_iter().map(|seed| seed.to_string()).collect();
        self
    }

    pub(crate) async fn start(self) -> Node {
        let (udp, tcp) = bind().await;
        self.start_on(udp, tcp).await
    }

    pub(crate) async fn start_on(self, udp: UdpSocket, tcp: TcpListener) -> Node {
        let address = tcp.local_addr().expect("an address");
        let stamps = StampFile::new(self.folder.path().join("stamp"));
        let mut options = Options::new(config(self.name), self.id, address, stamps);
        options.seeds = self.seeds;
        options.limits = self.limits;
        options.metadata = self.metadata.into();
        options.keys = self.keys;
        let (cluster, streams) = Cluster::start(options, udp, tcp).await.expect("it starts");
        Node { cluster, streams, folder: self.folder }
    }
}

/// The settings for one machine, twice as fast.
pub(crate) fn config(name: &str) -> Config {
    Config {
        probe_interval: Duration::from_millis(120),
        probe_timeout: Duration::from_millis(60),
        gossip_interval: Duration::from_millis(30),
        ..Config::local(name)
    }
}

/// A UDP and a TCP socket on one free port.
pub(crate) async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("an address");
        // Somebody else's UDP socket may have that port.
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (udp, tcp);
        }
    }
}

/// A chain of members: each knows the first one only.
pub(crate) async fn start_all(count: u128) -> Vec<Node> {
    let mut nodes = vec![Plan::new(1).start().await];
    let seed = nodes[0].cluster.local_address();
    for id in 2..=count {
        nodes.push(Plan::new(id).seeds([seed]).start().await);
    }
    for node in &nodes {
        node.sees(count as usize, MemberState::Alive).await;
    }
    nodes
}

impl Node {
    pub(crate) fn id(&self) -> Uuid {
        self.cluster.id()
    }

    /// Waits until the view is as it should be.
    pub(crate) async fn view_is(&self, what: &str, good: impl Fn(&View) -> bool) {
        let mut views = self.cluster.members();
        let wait = timeout(DEADLINE, views.wait_for(|view| good(view))).await;
        if wait.is_err() {
            panic!("{what}: {:#?}", self.cluster.view());
        }
    }

    /// Waits until so many members are in this state.
    pub(crate) async fn sees(&self, count: usize, state: MemberState) {
        let good = |view: &View| view.members.iter().filter(|member| member.state == state).count() == count;
        self.view_is(&format!("{count} members {state:?}"), good).await;
    }

    /// Waits until one member is in this state.
    pub(crate) async fn sees_one(&self, id: Uuid, state: MemberState) {
        let good = |view: &View| view.member(id).is_some_and(|member| member.state == state);
        self.view_is(&format!("{id} is {state:?}"), good).await;
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        self.cluster.metrics().await.expect("it runs")
    }

    /// Waits until a counter is as it should be.
    pub(crate) async fn counts(&self, what: &str, good: impl Fn(&Metrics) -> bool) {
        within(what, async {
            while !good(&self.metrics().await) {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A future with the deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in {DEADLINE:?}"),
    }
}

/// Waits for an event.
pub(crate) async fn event<T>(events: &mut broadcast::Receiver<Event>, pick: impl Fn(Event) -> Option<T>) -> T {
    within("the event", async {
        loop {
            if let Some(found) = pick(events.recv().await.expect("events go on")) {
                return found;
            }
        }
    })
    .await
}
