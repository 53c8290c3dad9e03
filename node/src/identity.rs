//! Who this node is, across restarts: a small JSON file in the data dir.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use muster_cluster::world;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::storage::json_file;

const FILE: &str = "identity.json";
/// Of what this release writes; a file with a higher one is refused.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    version: u32,
    id: Uuid,
    /// The name of the cluster that the data is of.
    #[serde(default)]
    cluster: Option<String>,
    /// Ports that were chosen by `0`, kept for the next start.
    #[serde(default)]
    http_port: Option<u16>,
    #[serde(default)]
    peer_port: Option<u16>,
    /// Where others reached this node last: for a start without a registry.
    #[serde(default)]
    advertised: Option<String>,
    /// A cluster that this node is about to found and that is not confirmed yet.
    #[serde(default)]
    founding: Option<Uuid>,
    /// It was taken out of its cluster for good.
    #[serde(default)]
    left: bool,
    /// Peer ports of members that were alive lately.
    #[serde(default)]
    peers: Vec<String>,
}

/// The identity of this data dir.
#[derive(Debug)]
pub struct Identity {
    path: PathBuf,
    content: Content,
}

/// Why there is no identity. One line each that says what to do; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system refused.
    #[error("{path}: {cause}; see to the rights and the room on that disk")]
    Io {
        /// Which file.
        path: PathBuf,
        /// As the system says it.
        cause: io::Error,
    },
    /// It does not read.
    #[error("{path} is damaged ({cause}); restore it, or start with an empty --data-dir as a new node")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// It is gone, and the data of a cluster is there: under a new identity that would be nobody's.
    #[error(
        "{path} is missing, although the data of a cluster is there; restore it, or start with an empty --data-dir as a new node"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// Of a newer release.
    #[error("{path} is of format {found} and this release reads up to {VERSION}; start the newer release again")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl IdentityError {
    /// Whether the same may succeed once there is room on the disk.
    pub fn is_for_want_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { cause, .. } if matches!(cause.kind(), StorageFull | QuotaExceeded))
    }
}

impl Identity {
    /// Reads the identity of a data dir, or draws one and writes it. `part_of_cluster`: there is data of a cluster, so there was an identity.
    pub fn open(dir: &Path, part_of_cluster: bool) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if part_of_cluster {
                    return Err(IdentityError::Missing { path });
                }
                let content = Content {
                    version: VERSION,
                    id: world::uuid(),
                    cluster: None,
                    http_port: None,
                    peer_port: None,
                    advertised: None,
                    founding: None,
                    left: false,
                    peers: Vec::new(),
                };
                let this = Self { path, content };
                this.save()?;
                return Ok(this);
            }
            Err(cause) => return Err(IdentityError::Io { path, cause }),
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |cause| IdentityError::Damaged { path: path.clone(), cause };
        let (object, vouched) = json_file::parse(&text).map_err(damaged)?;
        let head = Head::deserialize(&object).map_err(damaged)?;
        if head.version > VERSION {
            return Err(IdentityError::Newer { path, found: head.version });
        }
        let mut content: Content = serde_json::from_value(object).map_err(damaged)?;
        content.peers.retain(|peer| {
            let sound = peer.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
            if !sound {
                log::warn!("{}: `{peer}` is no address of a peer; it is left out", path.display());
            }
            sound
        });
        let this = Self { path, content };
        if !vouched && let Err(why) = this.save() {
            log::info!("{why}; it has no checksum yet, and gets one when it is written next");
        }
        Ok(this)
    }

    /// The node's id.
    pub fn id(&self) -> Uuid {
        self.content.id
    }

    /// The name of the cluster that the data is of, once there is such data.
    pub fn cluster(&self) -> Option<&str> {
        self.content.cluster.as_deref()
    }

    /// Keeps the name of the cluster that this node is about to become part of.
    pub fn keep_cluster(&mut self, name: &str) -> Result<(), IdentityError> {
        self.change(|content| content.cluster = Some(name.to_owned()))
    }

    /// The ports that were chosen by `0` at an earlier start: clients', peers'.
    pub fn ports(&self) -> (Option<u16>, Option<u16>) {
        (self.content.http_port, self.content.peer_port)
    }

    /// Keeps the ports of this start.
    pub fn keep_ports(&mut self, http: u16, peer: u16) -> Result<(), IdentityError> {
        self.change(|content| (content.http_port, content.peer_port) = (Some(http), Some(peer)))
    }

    /// Where others reached this node last.
    pub fn advertised(&self) -> Option<&str> {
        self.content.advertised.as_deref()
    }

    /// Keeps where others reach this node.
    pub fn keep_advertised(&mut self, host: String) -> Result<(), IdentityError> {
        self.change(|content| content.advertised = Some(host))
    }

    /// A cluster that this node was about to found and that was not confirmed when it stopped.
    pub fn founding(&self) -> Option<Uuid> {
        self.content.founding
    }

    /// Notes, or forgets, a founding that is not confirmed yet. Noted before anybody is asked to record it.
    pub fn set_founding(&mut self, founding: Option<Uuid>) -> Result<(), IdentityError> {
        self.change(|content| content.founding = founding)
    }

    /// Becomes another node over the same data: in the cluster that takes the place of its old one after a recovery. It remembers nobody, since those
    /// that it knew are of the old one.
    pub fn begin_anew(&mut self, id: Uuid) -> Result<(), IdentityError> {
        self.change(|content| {
            (content.id, content.founding, content.left) = (id, None, false);
            content.peers.clear();
        })
    }

    /// Whether this node was taken out of its cluster for good.
    pub fn has_left(&self) -> bool {
        self.content.left
    }

    /// Notes that this node was taken out for good.
    pub fn set_left(&mut self) -> Result<(), IdentityError> {
        self.change(|content| content.left = true)
    }

    /// Peer ports of members that were alive lately.
    pub fn peers(&self) -> &[String] {
        &self.content.peers
    }

    /// Keeps the peer ports of live members, for a start without a registry.
    pub fn keep_peers(&mut self, peers: Vec<String>) -> Result<(), IdentityError> {
        self.change(|content| content.peers = peers)
    }

    /// On the disk when it returns; unchanged is not written.
    fn change(&mut self, change: impl FnOnce(&mut Content)) -> Result<(), IdentityError> {
        let before = self.content.clone();
        change(&mut self.content);
        if self.content == before {
            return Ok(());
        }
        self.save().inspect_err(|_| self.content = before)
    }

    fn save(&self) -> Result<(), IdentityError> {
        json_file::replace(&self.path, &self.content)
            .map_err(|cause| IdentityError::Io { path: self.path.clone(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_drawn_once_and_kept_with_all_that_was_noted() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::open(dir.path(), false).unwrap();
        let cluster = Uuid::new_v4();
        first.keep_ports(1, 2).unwrap();
        first.keep_advertised("10.0.0.1".into()).unwrap();
        first.set_founding(Some(cluster)).unwrap();
        first.keep_peers(vec!["10.0.0.2:8051".into()]).unwrap();
        let again = Identity::open(dir.path(), false).unwrap();
        assert_eq!(again.content, first.content);
        assert_eq!((again.ports(), again.founding(), again.has_left()), ((Some(1), Some(2)), Some(cluster), false));
    }

    #[test]
    fn who_begins_anew_keeps_its_ports_and_its_clusters_name_and_remembers_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::open(dir.path(), false).unwrap();
        first.keep_cluster("muster").unwrap();
        first.keep_ports(1, 2).unwrap();
        first.keep_peers(vec!["10.0.0.2:8051".into()]).unwrap();
        first.set_left().unwrap();
        let id = Uuid::new_v4();
        first.begin_anew(id).unwrap();
        let again = Identity::open(dir.path(), true).unwrap();
        assert_eq!((again.id(), again.ports(), again.cluster()), (id, (Some(1), Some(2)), Some("muster")));
        assert!(again.peers().is_empty() && !again.has_left());
    }

    #[test]
    fn peers_that_are_no_addresses_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::open(dir.path(), false).unwrap();
        let mixed = ["10.0.0.2:8051", "garbage", "", "10.0.0.3", "10.0.0.4:0", "[::1]:8051", "n:99999"];
        first.keep_peers(mixed.map(str::to_owned).to_vec()).unwrap();
        assert_eq!(Identity::open(dir.path(), true).unwrap().peers(), ["10.0.0.2:8051", "[::1]:8051"]);
    }

    #[test]
    fn no_new_identity_is_drawn_for_the_data_of_a_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let error = Identity::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("restore it"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
        let first = Identity::open(dir.path(), false).unwrap().id();
        assert_eq!(Identity::open(dir.path(), true).unwrap().id(), first);
    }

    #[test]
    fn damage_and_newer_formats_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for (text, why) in [("{", "damaged"), ("{\"version\":2}", "format 2"), ("{\"version\":1}", "damaged")] {
            std::fs::write(&path, text).unwrap();
            let error = Identity::open(dir.path(), false).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
