//! What a member is: who it says that it is, and what others see of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::config::ConfigError;
use super::hlc::Stamp;
use super::wire::{MAX_METADATA, VersionRange};
use crate::time::{Mono, Wall};

/// Who this member is; handed in at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id; kept across restarts.
    pub id: Uuid,
    /// A random number drawn afresh at every start. It tells two live copies of one identity apart.
    pub boot: u64,
    /// Where others reach it: UDP and TCP on one port.
    pub address: SocketAddr,
    /// What it wants others to know; opaque here, at most [`MAX_METADATA`] bytes.
    pub metadata: Bytes,
    /// The last stamp that was handed out to be persisted, as its disk holds it; [`Stamp::ZERO`] for a new member.
    pub last_stamp: Stamp,
}

impl Identity {
    pub(super) fn validate(&self, wall: Wall) -> Result<(), ConfigError> {
        if self.last_stamp > Stamp::believable(wall) {
            return Err(ConfigError::Clock { stamp: self.last_stamp });
        }
        if self.id.is_nil() {
            return Err(ConfigError::Identity { what: "id is nil" });
        }
        if !reachable(&self.address) {
            return Err(ConfigError::Identity { what: "address must name a host and a port that others can reach" });
        }
        if self.metadata.len() > MAX_METADATA {
            return Err(ConfigError::Identity { what: "metadata is longer than 512 bytes" });
        }
        Ok(())
    }
}

/// Whether one can send to it: neither port 0 nor the unspecified address.
pub(super) fn reachable(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

/// What is known of a member: a copy, true at the time of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: Uuid,
    /// Where it is reached.
    pub address: SocketAddr,
    /// What it told of itself.
    pub metadata: Bytes,
    /// The random number of its start.
    pub boot: u64,
    /// The protocol versions that it speaks.
    pub versions: VersionRange,
    /// What is thought of it.
    pub state: MemberState,
    /// The stamp of its life.
    pub incarnation: Stamp,
    /// When a packet or frame last came from it itself; none for ourselves and for those never heard directly.
    pub last_heard: Option<Mono>,
    /// The last round trip of a direct probe.
    pub round_trip: Option<Duration>,
    /// Who accuses it, if it is suspected, the first accuser first.
    pub suspected_by: Vec<Uuid>,
    /// Two live copies of it were seen within the last minute: neither is to be believed.
    pub duplicate: bool,
}

/// What is thought of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It lives.
    Alive,
    /// It did not answer; it may still refute.
    Suspect,
    /// It did not answer and did not refute: given up.
    Failed,
    /// It said goodbye.
    Left,
}

impl MemberState {
    /// Whether it takes part: alive, or suspected and not yet given up.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Alive | Self::Suspect => true,
            Self::Failed | Self::Left => false,
        }
    }
}
