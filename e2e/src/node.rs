//! A `muster-node`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use muster_client::api::cluster::{Members, Status};
use uuid::Uuid;

use crate::binaries;
use crate::folder;
use crate::http::Http;
use crate::process::Process;
use crate::until;

/// 10 s for a stop in good order: it takes a fraction of a second unless the machine is overloaded.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);
/// 5 s for a plain question. A node that is there answers in milliseconds, one that is paused never.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// A node and its data directory.
#[derive(Debug)]
pub struct Node {
    /// The process, for signals and its log.
    pub process: Process,
    name: String,
    dir: PathBuf,
    http: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    host: Option<IpAddr>,
}

impl Node {
    /// Not started yet, with `--name`, `--data-dir` and these arguments.
    pub fn new(name: &str, dir: &Path, more: impl IntoIterator<Item = String>) -> Self {
        let mut args = vec!["--name".to_owned(), name.to_owned()];
        args.extend(["--data-dir".to_owned(), dir.display().to_string()]);
        args.extend(more);
        let process = Process::new(name, binaries::program("muster-node"), args);
        Self { process, name: name.to_owned(), dir: dir.to_owned(), http: None, peer: None, host: None }
    }

    /// On a machine of its own (see [`Net`](crate::netns::Net)): the ports of its `ready` line are reached at this address.
    pub fn on(mut self, namespace: String, host: IpAddr) -> Self {
        self.process = self.process.in_netns(namespace);
        self.host = Some(host);
        self
    }

    /// Its machine has another address from the next start on.
    pub fn moved(&mut self, host: IpAddr) {
        self.host = Some(host);
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(&mut self) {
        self.process.spawn();
    }

    /// Waits until it is ready, and learns its addresses.
    pub async fn ready(&mut self) {
        let ready = self.process.ready().await;
        let seen = |at: SocketAddr| SocketAddr::new(self.host.unwrap_or(at.ip()), at.port());
        (self.http, self.peer) = (Some(seen(ready.http)), ready.peer.map(seen));
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.terminate(STOP_WITHIN).await
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its client port is, as its `ready` line said.
    ///
    /// # Panics
    /// When it never was ready.
    pub fn http(&self) -> SocketAddr {
        self.http.unwrap_or_else(|| panic!("{} never was ready", self.name))
    }

    /// Where its peer port is, as its `ready` line said.
    ///
    /// # Panics
    /// When it never said so.
    pub fn peer(&self) -> SocketAddr {
        self.peer.unwrap_or_else(|| panic!("{} never said where its peer port is", self.name))
    }

    /// `http://host:port` of its client port.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.http())
    }

    /// A URL of its client port; `path` begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint())
    }

    /// What it says of itself; `None` when it does not answer.
    pub async fn status(&self, http: &Http) -> Option<Status> {
        http.get(self.url("/cluster/status")).within(ASK_WITHIN).send().await.ok()?.parsed()
    }

    /// What it says of the members; `None` when it does not answer.
    pub async fn members(&self, http: &Http) -> Option<Members> {
        http.get(self.url("/cluster/members")).within(ASK_WITHIN).send().await.ok()?.parsed()
    }

    /// A figure of `/metrics`, by its name and labels as they stand there; `None` when the node does not answer or has no such figure.
    pub async fn metric<T: FromStr>(&self, http: &Http, series: &str) -> Option<T> {
        let page = http.get(self.url("/metrics")).within(ASK_WITHIN).send().await.ok()?;
        let text = page.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// How many datagrams and streams it has dropped for this reason; `None` when it does not answer.
    pub async fn dropped(&self, http: &Http, reason: &str) -> Option<u64> {
        self.metric(http, &format!("muster_gossip_dropped_total{{reason=\"{reason}\"}}")).await
    }

    /// Its identity. A first answer may be lost with a connection to the machine before it lost its power.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn id(&self, http: &Http) -> Uuid {
        let told = until(ASK_WITHIN, async || self.members(http).await).await;
        told.unwrap_or_else(|| panic!("{} does not say who it is", self.name)).local
    }

    /// Removes its data directory: a volume that is gone.
    ///
    /// # Panics
    /// When it runs.
    pub fn wipe(&mut self) {
        assert!(!self.is_running(), "stop {} first", self.name);
        folder::remove(&self.dir).expect("remove a node's data");
    }
}
