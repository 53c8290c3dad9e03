//! Opening a stream to another member, and what can be said when that fails.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use uuid::Uuid;

use super::{
    counters::Counters,
    key_chain::KeyChain,
    sealed::{self, Channel},
    stream::{PeerStream, prepare},
};
use crate::keyring::{EntryName, Key};
use crate::swim::wire::{Answer, ClusterHash, Preface, PrefaceError, Refusal, StreamKind};
use crate::world::net::TcpStream;

/// Whom to open a stream to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A member, where the membership says that it is.
    Id(Uuid),
    /// Whoever answers there.
    Address(SocketAddr),
    /// This member, at this address: a stranger there is not talked to.
    Member {
        /// Whom.
        id: Uuid,
        /// Where.
        address: SocketAddr,
    },
}

impl From<Uuid> for Peer {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// How far the opening of a stream got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The connection.
    Connect,
    /// The prefaces.
    Preface,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Preface => "waiting for the answer to the preface",
        })
    }
}

/// Why a stream was not opened. No state was changed anywhere by the try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The membership has no record of this id. Retry when it has joined.
    #[error("no member has the id {0}")]
    UnknownMember(Uuid),
    /// The kinds below 16 belong to the membership. The caller's mistake.
    #[error("streams of kind {0} are the membership's own; a program's begin at 16")]
    ReservedKind(u8),
    /// The host is there and says that nobody listens on the port: the process is gone. (A firewall that rejects looks the same.)
    #[error("{address} refuses connections: no process listens there")]
    ConnectionRefused {
        /// Where.
        address: SocketAddr,
    },
    /// The host or the way to it is not there, as far as the network says. Retry later.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the network said.
        source: io::Error,
    },
    /// Nothing was heard in time: the host, the way to it, or the process is slow or gone. Retry later.
    #[error("{address} did not answer in time ({step})")]
    TimedOut {
        /// Where.
        address: SocketAddr,
        /// While doing what.
        step: Step,
    },
    /// The connection stood and was closed before the answer to the preface: it has too many connections, has just stopped, or does not
    /// have the key that we seal with. Retry later.
    #[error(
        "{address} closed the connection instead of answering: it has too many, is stopping, or has other cluster keys ({source})"
    )]
    Closed {
        /// Where.
        address: SocketAddr,
        /// What the connection said.
        source: io::Error,
    },
    /// Something else than a member listens there. Correct the address.
    #[error("what listens at {address} is no member: {source}")]
    NotAMember {
        /// Where.
        address: SocketAddr,
        /// What was wrong with its answer.
        source: PrefaceError,
    },
    /// A member answered, but not the one that was meant: it has moved, or another has its address now.
    #[error("at {address} answers {answered}, not {expected}")]
    WrongMember {
        /// Where.
        address: SocketAddr,
        /// Who was meant.
        expected: Uuid,
        /// Who answered.
        answered: Uuid,
    },
    /// A member answered and does not want the stream.
    #[error("{by} at {address} refused: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Who.
        by: Uuid,
        /// Why.
        reason: Refusal,
    },
    /// This member's driver has stopped.
    #[error("this member has stopped")]
    Stopped,
}

impl OpenError {
    /// Whether the host itself said that the process is gone. Nothing else proves that.
    pub fn process_is_gone(&self) -> bool {
        matches!(self, Self::ConnectionRefused { .. })
    }
}

/// What every opening of a stream needs to know.
#[derive(Debug, Clone)]
pub(super) struct Dialler {
    pub(super) cluster: ClusterHash,
    pub(super) me: Uuid,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) keys: Arc<KeyChain>,
    pub(super) counters: Arc<Counters>,
}

impl Dialler {
    /// Connects, tells who we are and whom we mean, and hears the answer.
    pub(super) async fn open(
        &self,
        address: SocketAddr,
        target: Option<Uuid>,
        kind: StreamKind,
    ) -> Result<PeerStream, OpenError> {
        let key = self.keys.ring().sealing().cloned();
        self.open_with(address, target, kind, key).await
    }

    /// Seals the stream with this key, whatever the ring says.
    pub(super) async fn open_with(
        &self,
        address: SocketAddr,
        target: Option<Uuid>,
        kind: StreamKind,
        key: Option<Key>,
    ) -> Result<PeerStream, OpenError> {
        let mut tcp = match timeout(self.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(OpenError::ConnectionRefused { address });
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(OpenError::TimedOut { address, step: Step::Connect });
            }
            Ok(Err(source)) => return Err(OpenError::Unreachable { address, source }),
            Err(_) => return Err(OpenError::TimedOut { address, step: Step::Connect }),
        };
        let preface = Preface::new(kind, self.cluster, self.me, target);
        let closed = |source| OpenError::Closed { address, source };
        prepare(&tcp).map_err(closed)?;
        let answer = timeout(self.handshake_timeout, async {
            if let Some(key) = &key {
                let (answer, channel) = sealed::dial(&mut tcp, key, &preface).await?;
                return io::Result::Ok((answer, Some(channel)));
            }
            tcp.write_all(&preface.encode()).await?;
            let mut answer = [0; Answer::LEN];
            tcp.read_exact(&mut answer).await?;
            Ok((answer, None))
        });
        let (bytes, channel) = match answer.await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(OpenError::NotAMember { address, source: PrefaceError::Seal });
            }
            Ok(answered) => answered.map_err(closed)?,
            Err(_) => return Err(OpenError::TimedOut { address, step: Step::Preface }),
        };
        let answer = Answer::decode(&bytes).map_err(|source| OpenError::NotAMember { address, source })?;
        let by = answer.sender;
        match (answer.verdict, target) {
            (Err(Refusal::NotMe), Some(expected)) => Err(OpenError::WrongMember { address, expected, answered: by }),
            (Err(reason), _) => Err(OpenError::Refused { address, by, reason }),
            (Ok(_), Some(expected)) if expected != by => {
                Err(OpenError::WrongMember { address, expected, answered: by })
            }
            (Ok(version), _) => {
                let leash = self.keys.leash(key.map_or(EntryName::Plain, |key| EntryName::Key(key.name())));
                let channel = channel.or_else(|| Channel::summed(version, &self.counters));
                Ok(PeerStream::new(tcp, channel, leash, (by, address, version)))
            }
        }
    }
}
