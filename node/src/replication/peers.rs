//! Streams to the other nodes of the cluster: who is where, how to open one, and how the last tries went.
//!
//! Peers are found by id through gossip, never by a configured address. A stream begins with a [`Hello`]: nodes of different
//! clusters exchange nothing else.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use muster_cluster::runtime::{Cluster, OpenError};
use openraft::errors::{RPCError, Unreachable};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::call_lane::CallLane;
use super::frame::{self, FrameReader};
use super::types::{NodeId, TypeConfig};
use super::wire::{Call, Hello, Welcome};

/// Its half that reads.
pub(crate) use muster_cluster::runtime::PeerReader as ReadHalf;
/// A stream to or from a peer, behind the cluster library's preface.
pub use muster_cluster::runtime::PeerStream;
/// Its half that writes.
pub(crate) use muster_cluster::runtime::PeerWriter as WriteHalf;

/// Finds and dials peers through this node's membership, once there is one.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    cluster: Arc<OnceLock<Cluster>>,
}

impl Dialer {
    /// From now on peers are found through this membership.
    pub fn set(&self, cluster: Cluster) {
        let _: Result<_, _> = self.cluster.set(cluster);
    }

    async fn dial(&self, target: NodeId, kind: u8) -> Result<PeerStream, OpenFailure> {
        let cluster = self.cluster.get().ok_or(OpenFailure::Unknown)?;
        cluster.open_stream(target.0, kind).await.map_err(|error| match error {
            OpenError::UnknownMember(_) => OpenFailure::Unknown,
            OpenError::ConnectionRefused { .. } => OpenFailure::Refused(error.to_string()),
            OpenError::WrongMember { .. } | OpenError::Refused { .. } | OpenError::NotAMember { .. } => {
                OpenFailure::Declined(error.to_string())
            }
            other => OpenFailure::Unreachable(other.to_string()),
        })
    }
}

/// The first exchange on a stream must be done within this; a peer that is alive takes a round trip.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a stream could not be opened. Nothing of what was to be sent has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// Gossip knows no address of it.
    #[error("no address of it is known")]
    Unknown,
    /// The host answered that nobody listens: the process is gone.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No answer, or none in time: the host, the network, or the process may be gone or slow.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// Somebody answered and declined.
    #[error("declined: {0}")]
    Declined(String),
    /// Somebody answered whose cluster took the place of this node's.
    #[error("its cluster {by} took the place of this one")]
    Replaced {
        /// That cluster.
        by: Uuid,
        /// How many seconds ago.
        ago: u64,
    },
}

impl OpenFailure {
    /// As openraft wants to hear it: the peer is backed off.
    pub(crate) fn unreachable(self) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::new(&self))
    }
}

/// What became of the last tries to reach a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether the last try succeeded and no loss was seen since.
    pub connected: bool,
    /// Why not.
    pub last_error: Option<String>,
    /// The wire version of the last stream.
    pub version: Option<u16>,
}

/// The way to every peer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dialer: Dialer,
    cluster_id: Arc<OnceLock<Uuid>>,
    heartbeat: Duration,
    calls: Mutex<BTreeMap<NodeId, CallLane>>,
    reach: Mutex<BTreeMap<NodeId, Reach>>,
}

impl Peers {
    /// `heartbeat` is what all waits for a peer's sign of life follow from.
    pub(crate) fn new(dialer: Dialer, cluster_id: Arc<OnceLock<Uuid>>, heartbeat: Duration) -> Self {
        let inner = Inner { dialer, cluster_id, heartbeat, calls: Mutex::default(), reach: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Opens a stream of a kind to a peer and has it welcomed.
    pub(crate) async fn open(&self, target: NodeId, kind: u8) -> Result<PeerStream, OpenFailure> {
        let opened = self.dial(target, kind).await;
        let mut reach = self.inner.reach.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = reach.entry(target).or_default();
        match &opened {
            Ok(stream) => {
                *entry = Reach { connected: true, last_error: None, version: Some(u16::from(stream.version())) }
            }
            Err(failure) => {
                let why = failure.to_string();
                // Once for each change: a peer that stays away would fill the log.
                if entry.last_error.as_ref() != Some(&why) {
                    log::info!("no stream to {target}: {why}");
                }
                *entry = Reach { connected: false, last_error: Some(why), version: entry.version };
            }
        }
        opened
    }

    async fn dial(&self, target: NodeId, kind: u8) -> Result<PeerStream, OpenFailure> {
        let mut stream = self.inner.dialer.dial(target, kind).await?;
        let greet = async {
            let mut buffer = BytesMut::new();
            frame::put(&mut buffer, 0, &Hello { cluster_id: self.inner.cluster_id.get().copied() })?;
            stream.write_all(&buffer).await?;
            FrameReader::of_greetings(&mut stream).next::<Welcome>().await
        };
        let welcome = match tokio::time::timeout(HELLO_TIMEOUT, greet).await {
            Ok(welcome) => welcome.map_err(|error| OpenFailure::Unreachable(error.to_string()))?,
            Err(_) => return Err(OpenFailure::Unreachable(format!("no welcome for {HELLO_TIMEOUT:?}"))),
        };
        match welcome {
            Some((_, Welcome::Granted)) => Ok(stream),
            Some((_, Welcome::OtherCluster(id))) => Err(OpenFailure::Declined(format!("it is part of cluster {id}"))),
            Some((_, Welcome::NotReady(why))) => Err(OpenFailure::Declined(why)),
            Some((_, Welcome::Replaced { by, ago })) => Err(OpenFailure::Replaced { by, ago }),
            None => Err(OpenFailure::Unreachable("it closed the stream".to_owned())),
        }
    }

    /// How often a leader lets itself be heard.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.inner.heartbeat
    }

    /// A peer has opened a stream to this node: it may have been away, and the lane to it may still hold the stream to its former life. A
    /// question shows that.
    pub(crate) fn came(&self, peer: NodeId) {
        let lane = self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned();
        if let Some(lane) = lane {
            tokio::spawn(async move { lane.call(Call::Ping, HELLO_TIMEOUT).await });
        }
    }

    /// The lane for questions to a peer.
    pub(crate) fn calls(&self, target: NodeId) -> CallLane {
        let mut calls = self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(target).or_insert_with(|| CallLane::start(self.clone(), target)).clone()
    }

    /// Notes that a stream to a peer broke.
    pub(crate) fn lost(&self, target: NodeId, error: &io::Error) {
        let mut reach = self.inner.reach.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = reach.entry(target).or_default();
        entry.connected = false;
        entry.last_error = Some(error.to_string());
    }

    /// How the last tries to reach each peer went.
    pub(crate) fn reach(&self) -> BTreeMap<NodeId, Reach> {
        self.inner.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
