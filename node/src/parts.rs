//! A node without its client port: what is on the disk, what replicates it, and the way into the cluster. Start-up puts the port and the signals
//! around it; a simulation puts nothing around it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::info;
use muster_cluster::runtime::{StampFile, StampStore};
use muster_cluster::world::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use uuid::Uuid;

use crate::admin::Admin;
use crate::discovery::Discovery;
use crate::flags::Flags;
use crate::identity::Identity;
use crate::joining::{Joining, STAMP_FILE};
use crate::keyspace::Keyspace;
use crate::replication::{self, Compaction, Dialer, Replication};
use crate::roster::Roster;
use crate::startup::StartError;
use crate::storage::{Storage, StorageOptions};

/// How often a disk without room is looked at again.
const ROOM: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As asked, or because this node was taken out for good.
    Stopped,
    /// The disk is an old copy, and the cluster goes on without it.
    SetBack,
    /// The disk was full, and has room again.
    RoomAgain,
}

/// What a data dir holds.
#[derive(Debug)]
pub struct Data {
    /// Who this node is.
    pub identity: Identity,
    storage: Arc<Storage>,
}

impl Data {
    /// Opens it, or begins it. `None`: the node was taken out of its cluster for good.
    ///
    /// # Errors
    /// When it cannot be used, or is of another cluster. Nothing was changed then.
    pub fn open(flags: &Flags, options: &StorageOptions) -> Result<Option<Self>, StartError> {
        let storage = Arc::new(Storage::open(&flags.data_dir, options)?);
        let mut identity = Identity::open(&flags.data_dir, storage.cluster_id().is_some())?;
        if identity.has_left() {
            info!(
                "this node was taken out of its cluster for good and does not come back; to use the machine again, start with \
                 another --data-dir or remove {}",
                flags.data_dir.display()
            );
            return Ok(None);
        }
        if let Some(name) = identity.cluster()
            && name != flags.cluster
            && storage.cluster_id().is_some()
        {
            return Err(StartError::Flag(format!(
                "the data in {} is of the cluster named `{name}`, not `{}`; nothing was changed: start with --cluster {name}, or with \
                 another --data-dir",
                flags.data_dir.display(),
                flags.cluster
            )));
        }
        identity.keep_cluster(&flags.cluster)?;
        Ok(Some(Self { identity, storage }))
    }

    /// The room on its disk, for when there is too little of it to start.
    pub fn room(&self) -> Room {
        Room { storage: self.storage.clone() }
    }
}

/// The room on the disk of a data dir, which stays locked as long as this is held.
#[derive(Debug)]
pub struct Room {
    storage: Arc<Storage>,
}

impl Room {
    /// Whether the state could not take what the log holds for it, for want of room.
    pub fn was_missing(&self) -> bool {
        self.storage.state().ran_out_of_room()
    }

    /// Returns once there is room again.
    pub async fn wait(&self) {
        while !self.storage.log().has_room() {
            tokio::time::sleep(ROOM).await;
        }
    }
}

/// The running parts.
#[derive(Debug)]
pub struct Parts {
    /// This node.
    pub id: Uuid,
    /// Writes and reads.
    pub keyspace: Arc<Keyspace>,
    /// The engine.
    pub replication: Arc<Replication>,
    /// What clients ask and tell the cluster.
    pub admin: Arc<Admin>,
    storage: Arc<Storage>,
    identity: Arc<Mutex<Identity>>,
    dialer: Dialer,
    roster: watch::Sender<Arc<Roster>>,
}

impl Parts {
    /// Starts the engine over what is on the disk. It finds nobody before [`Self::run`].
    ///
    /// # Errors
    /// When the disk or the flags cannot be used.
    pub async fn start(flags: &Flags, data: Data) -> Result<Self, StartError> {
        let Data { identity, storage } = data;
        let id = identity.id();
        let (roster, seen) = watch::channel(Arc::new(Roster::default()));
        let dialer = Dialer::default();
        let options = replication::Options {
            id,
            name: flags.name.clone(),
            priority: flags.priority,
            heartbeat: flags.heartbeat.0,
            election_timeout: flags.election_timeout.0,
            compaction: Compaction { every: flags.snapshot_every.0, keep: flags.log_keep.0 },
            data_dir: flags.data_dir.clone(),
            stamp: last_stamp(&flags.data_dir)?,
        };
        let replication = Replication::start(options, storage.clone(), dialer.clone(), seen.clone()).await?;
        let keyspace = Arc::new(Keyspace::new(replication.clone(), storage.state().clone()));
        let admin = Admin::new(flags.name.clone(), keyspace.clone(), replication.clone(), storage.clone(), seen);
        let identity = Arc::new(Mutex::new(identity));
        Ok(Self { id, keyspace, replication, admin: Arc::new(admin), storage, identity, dialer, roster })
    }

    /// The way into the cluster.
    pub fn joining(&self, flags: &Flags, discovery: Option<Discovery>) -> Joining {
        Joining::new(
            flags.clone(),
            self.identity.clone(),
            self.replication.clone(),
            self.keyspace.clone(),
            self.admin.clone(),
            discovery,
        )
    }

    /// Joins, and goes on until something ends that. Once for each of these.
    ///
    /// # Errors
    /// With what makes it impossible to go on.
    pub async fn run(
        &self,
        joining: &Joining,
        (udp, tcp): (UdpSocket, TcpListener),
        http_at: SocketAddr,
    ) -> Result<End, StartError> {
        let mut left = self.replication.left();
        let mut set_back = self.replication.replaceable();
        tokio::select! {
            error = joining.run(udp, tcp, http_at, &self.dialer, self.roster.clone()) => Err(error),
            _ = left.wait_for(|left| *left) => {
                let noted = self.identity.lock().unwrap_or_else(PoisonError::into_inner).set_left();
                noted.map(|()| End::Stopped).map_err(StartError::from)
            }
            _ = set_back.wait_for(|set_back| *set_back) => Ok(End::SetBack),
            why = self.replication.failed() => match self.storage.state().ran_out_of_room() {
                true => Ok(End::RoomAgain),
                false => Err(StartError::Failed(why)),
            },
        }
    }
}

/// The stamp of this node's last life in gossip; 0: it had none.
fn last_stamp(dir: &Path) -> Result<u64, StartError> {
    let path = dir.join(STAMP_FILE);
    let stamp = StampFile::new(path.clone()).load().map_err(|cause| StartError::Stamp { path, cause })?;
    Ok(stamp.to_bits())
}
