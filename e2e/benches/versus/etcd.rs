//! Three members of etcd at default settings, spoken to through the JSON gateway of its v3 API.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muster_e2e::drive::requests::Request;
use muster_e2e::{Http, Process, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cell::Operation;
use crate::options::Options;
use crate::system::MEMBERS;

/// 20 s to elect a leader; it takes half a second on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Etcd {
    members: Vec<Process>,
    clients: Vec<SocketAddr>,
    http: Http,
    // Last, so that the processes are gone before their folders are.
    _dir: TempDir,
}

impl Etcd {
    /// The program: as told, or on `PATH`.
    pub(crate) fn find(options: &Options) -> Option<PathBuf> {
        let on_path = || {
            let path = env::var_os("PATH")?;
            env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file())
        };
        options.etcd.clone().or_else(on_path)
    }

    /// Starts it and waits for a leader.
    pub(crate) async fn start(program: PathBuf) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("versus-etcd-").tempdir()?;
        let ports = free_ports(2 * MEMBERS)?;
        let (clients, peers) = ports.split_at(MEMBERS);
        let names: Vec<String> = (1..=MEMBERS).map(|n| format!("e{n}")).collect();
        let everyone: Vec<String> = names.iter().zip(peers).map(|(name, at)| format!("{name}=http://{at}")).collect();
        let everyone = everyone.join(",");
        let mut members = Vec::new();
        for ((name, client), peer) in names.iter().zip(clients).zip(peers) {
            let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
            let data = dir.path().join(name).display().to_string();
            let args = [
                ["--name", name],
                ["--data-dir", &data],
                ["--listen-client-urls", &client],
                ["--advertise-client-urls", &client],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &peer],
                ["--initial-cluster", &everyone],
                ["--initial-cluster-token", "versus"],
                ["--log-level", "warn"],
            ];
            let mut member = Process::new(name, program.clone(), args.concat().into_iter().map(str::to_owned));
            member.spawn();
            members.push(member);
        }
        let etcd = Self { members, clients: clients.to_vec(), http: Http::default(), _dir: dir };
        etcd.targets().await;
        Ok(etcd)
    }

    /// The members' processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Process::pid).collect()
    }

    /// The client ports, the leader's first.
    pub(crate) async fn targets(&self) -> Vec<SocketAddr> {
        eventually("a leader of etcd", SOON, async || {
            for (index, at) in self.clients.iter().enumerate() {
                let call = self.http.post(format!("http://{at}/v3/maintenance/status"), &json!({}));
                let status: Value = call.send().await.ok()?.parsed()?;
                if status["leader"] == status["header"]["member_id"] {
                    let mut targets = self.clients.clone();
                    targets.swap(0, index);
                    return Some(targets);
                }
            }
            None
        })
        .await
    }

    /// A request as the gateway wants it.
    pub(crate) fn request(operation: Operation, key: &str, value: &[u8]) -> Request {
        let key = STANDARD.encode(key);
        let (path, body) = match operation {
            Operation::Write => ("/v3/kv/put", json!({"key": key, "value": STANDARD.encode(value)})),
            Operation::Local => ("/v3/kv/range", json!({"key": key, "serializable": true})),
            Operation::Linearizable => ("/v3/kv/range", json!({"key": key})),
        };
        Request { method: "POST", path: path.to_owned(), body: body.to_string().into_bytes() }
    }
}

/// etcd wants its ports beforehand. They are held together and then let go, so no two are the same; another program may
/// take one in between, and etcd then says so.
fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
