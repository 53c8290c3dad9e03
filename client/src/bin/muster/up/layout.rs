//! Who runs where: names, ports, folders and arguments.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Status};

/// Everything that is to run.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) registry: Place,
    pub(super) nodes: Vec<Place>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) http: u16,
    /// The registry has none.
    pub(super) peer: Option<u16>,
    pub(super) log: PathBuf,
}

impl Place {
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// What to type to start it by hand.
    pub(super) fn command_line(&self) -> String {
        let program = self.program.display().to_string();
        std::iter::once(&program).chain(&self.args).map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ")
    }
}

fn quoted(arg: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !arg.is_empty() && arg.chars().all(safe) { arg.to_owned() } else { format!("'{}'", arg.replace('\'', r"'\''")) }
}

impl Layout {
    /// Finds programs, checks ports, makes folders. Nothing runs yet.
    pub(super) fn plan(
        dir: &Path,
        nodes: u8,
        base_port: u16,
        registry_port: u16,
        cluster: &str,
    ) -> Result<Self, Failure> {
        let (registry_program, node_program) = (program("muster-registry")?, program("muster-node")?);
        std::fs::create_dir_all(dir).map_err(|error| {
            Failure::new(Status::Failed, format!("{} cannot be made: {error}; choose another --dir", dir.display()))
        })?;
        // Absolute, so that the command lines that are shown work from anywhere.
        let dir = dir.canonicalize()?;
        let mut ports = Ports::default();
        let registry_http = ports.take(registry_port, "the registry", "--registry-port")?;
        let path = |name: &str| dir.join(name).display().to_string();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let registry = Place {
            name: "registry".to_owned(),
            program: registry_program,
            args: vec!["--http".into(), address(registry_http), "--data-dir".into(), path("registry")],
            http: registry_http,
            peer: None,
            log: dir.join("registry.log"),
        };
        let mut places = Vec::new();
        for number in 1..=u16::from(nodes) {
            let name = format!("n{number}");
            let wanted = |offset: u16| match base_port {
                0 => Some(0),
                base => base.checked_add((number - 1) * 2 + offset),
            };
            let (Some(http), Some(peer)) = (wanted(0), wanted(1)) else {
                let what = format!("{nodes} nodes do not fit above port {base_port}");
                return Err(Failure::new(Status::Usage, format!("{what}; choose a lower --base-port")));
            };
            let http = ports.take(http, &name, "--base-port")?;
            let peer = ports.take(peer, &name, "--base-port")?;
            let flags = [
                ("--name", name.clone()),
                ("--cluster", cluster.to_owned()),
                ("--registry-address", registry.url()),
                ("--http", address(http)),
                ("--peer", address(peer)),
                ("--data-dir", path(&name)),
                ("--bootstrap-expect", nodes.to_string()),
            ];
            let args = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            let (program, log) = (node_program.clone(), dir.join(format!("{name}.log")));
            places.push(Place { name, program, args, http, peer: Some(peer), log });
        }
        Ok(Self { dir, registry, nodes: places })
    }

    /// The registry first.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.registry).chain(&self.nodes)
    }
}

/// How many nodes a folder holds from earlier: n1, n2, ... without a gap.
pub(super) fn nodes_in(dir: &Path) -> u8 {
    (1..=u8::MAX).take_while(|number| dir.join(format!("n{number}")).is_dir()).count() as u8
}

/// Beside this program, or on `PATH`.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|this| this.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file()).ok_or_else(|| {
        let what = format!("there is no {name} beside this program or on PATH");
        Failure::new(Status::Failed, format!("{what}\nBuild it with `cargo build --release`, or install it."))
    })
}

/// Ports that were found free, so that none is given out twice.
#[derive(Default)]
struct Ports {
    taken: BTreeSet<u16>,
}

impl Ports {
    /// Checks that a port is free for TCP and UDP, or finds one (0). It is released again for the child to take: should
    /// somebody else be quicker, the child says so in its log.
    fn take(&mut self, wanted: u16, whose: &str, flag: &str) -> Result<u16, Failure> {
        // A few tries: a port that is free for TCP may be taken for UDP.
        for _ in 0..if wanted == 0 { 50 } else { 1 } {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
            let bound = tcp.and_then(|tcp| tcp.local_addr()).map(|address| address.port());
            let both = bound.and_then(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map(|_| port));
            match both {
                Ok(port) if self.taken.insert(port) => return Ok(port),
                Ok(_) => {}
                Err(error) if wanted != 0 && error.kind() != std::io::ErrorKind::AddrInUse => {
                    let what = format!("port {wanted} for {whose} cannot be used: {error}");
                    return Err(Failure::new(Status::Failed, format!("{what}; choose another with {flag}")));
                }
                Err(_) => {}
            }
        }
        let what = format!("port {wanted} for {whose} is in use, perhaps by another `muster up`");
        Err(Failure::new(Status::Failed, format!("{what}; stop that, or choose other ports with {flag} (0: any free)")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_one_clear_line() {
        let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = busy.local_addr().unwrap().port();
        let failure = Ports::default().take(port, "n1", "--base-port").unwrap_err();
        assert!(failure.message().starts_with(&format!("port {port} for n1 is in use")), "{}", failure.message());
    }

    #[test]
    fn free_ports_are_given_out_once() {
        let mut ports = Ports::default();
        let given: BTreeSet<u16> = (0..5).map(|_| ports.take(0, "n1", "--base-port").unwrap()).collect();
        assert_eq!(given.len(), 5);
    }

    #[test]
    fn the_nodes_of_an_earlier_run_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nodes_in(dir.path()), 0);
        for name in ["n1", "n2", "n4"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(nodes_in(dir.path()), 2);
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        assert_eq!(quoted("--data-dir"), "--data-dir");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
