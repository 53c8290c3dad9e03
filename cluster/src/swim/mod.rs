//! SWIM membership as a core without I/O.
//!
//! ```no_run
//! # use muster_cluster::{swim::*, time::Now};
//! # fn clock() -> Now { unimplemented!() }
//! # fn perform(output: Output) {}
//! # fn next_input(until: Option<muster_cluster::time::Mono>) -> Input { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let identity: Identity = unimplemented!();
//! let mut swim = Swim::new(Config::lan("muster"), identity, 42, clock())?;
//! loop {
//!     while let Some(output) = swim.poll() {
//!         perform(output);
//!     }
//!     let input = next_input(swim.next_deadline()); // `Input::Tick` when the deadline came first
//!     swim.handle(clock(), input)?;
//! }
//! # }
//! ```

mod config;
mod event;
mod hlc;
mod member;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use uuid::Uuid;

pub use config::{Config, ConfigError};
pub use event::Event;
pub use hlc::Stamp;
pub use member::{Identity, Member, MemberState};

use crate::time::{Mono, Now};

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The time of [`Swim::next_deadline`] has come. Too early or too often does no harm.
    Tick,
    /// A datagram arrived.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// All of it.
        bytes: Bytes,
    },
    /// A frame arrived on an exchange stream: the body, without the length before it.
    Frame {
        /// On which.
        stream: StreamId,
        /// The address of the other end.
        from: SocketAddr,
        /// The frame's body.
        bytes: Bytes,
    },
    /// A stream ended, failed, or could not be opened. Not needed after [`Output::CloseStream`] or a last frame.
    StreamClosed {
        /// Which.
        stream: StreamId,
    },
    /// The stamp of an [`Output::PersistStamp`] is on the disk.
    StampPersisted {
        /// Which.
        stamp: Stamp,
    },
    /// Where to look for members: the names given, resolved afresh, and what the registry said. Replaces those before; at most
    /// [`MAX_SEEDS`] are kept. Hand them in before the first [`Input::Tick`] if there are any.
    Seeds(Vec<SocketAddr>),
    /// We have other metadata from now on.
    Metadata(Bytes),
    /// Others reach us at another address from now on.
    Address(SocketAddr),
    /// Tell all members, once, best effort. At most [`MAX_BROADCAST`] bytes.
    Broadcast(Bytes),
    /// Tell one member, once, best effort. At most [`MAX_MESSAGE`] bytes.
    Message {
        /// Whom.
        to: Uuid,
        /// What.
        payload: Bytes,
    },
    /// Say goodbye; [`Event::LeaveDone`] follows. There is no way back: a member that returns is a new [`Swim`].
    Leave,
}

/// What goes out. The driver performs outputs in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send it over UDP, once.
    Datagram {
        /// To where.
        to: SocketAddr,
        /// All of it, at most [`wire::PACKET_BUDGET`].
        bytes: Bytes,
    },
    /// Open a stream of kind [`wire::StreamKind::Exchange`] and send the frame on it (its length before it, see
    /// [`wire::frame_head`]). Frames that come back are [`Input::Frame`].
    OpenStream {
        /// How it is called from now on.
        stream: StreamId,
        /// Where to.
        to: SocketAddr,
        /// Whom it means, for the preface.
        target: Option<Uuid>,
        /// The first frame's body.
        frame: Bytes,
    },
    /// Send a frame.
    SendFrame {
        /// On which stream.
        stream: StreamId,
        /// The frame's body.
        frame: Bytes,
        /// Close the stream once it is sent.
        last: bool,
    },
    /// Close the stream, whatever is under way on it.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// Write it to the disk, in place of the one before, sync it, then say [`Input::StampPersisted`]. Until then it is not used.
    /// If the disk refuses, say nothing: the member goes on with the stamp that it has, and stays silent if it has none.
    PersistStamp {
        /// What to hand back as [`Identity::last_stamp`] at the next start.
        stamp: Stamp,
    },
    /// The program should know.
    Event(Event),
}

/// A stream of the full-state exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// We asked for it; numbered by the core.
    Dialled(u64),
    /// Another member opened it; numbered by the driver, never twice.
    Accepted(u64),
}

/// Why an input was refused. Nothing was changed by it. What comes from the network is never refused, only counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Longer than a packet can carry. Send a reference to it instead.
    #[error("{what} of {len} bytes, at most {max} fit")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its length.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// No live member has this id.
    #[error("no live member has the id {0}")]
    UnknownMember(Uuid),
    /// Nobody could reach us there.
    #[error("{0} is no address that others can reach")]
    Unreachable(SocketAddr),
    /// We have left, or are about to.
    #[error("this member is leaving")]
    Leaving,
}

/// Longest user broadcast in bytes.
pub const MAX_BROADCAST: usize = 1_024;

/// Longest user message in bytes.
pub const MAX_MESSAGE: usize = 1_024;

/// Most seeds that are kept.
pub const MAX_SEEDS: usize = 64;

/// The two dictionaries of the membership, in order of the ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The members that added themselves: where they are and with which stamp.
    pub add_set: BTreeMap<Uuid, (SocketAddr, Stamp)>,
    /// The lives that were ended, by the stamp that they had; the address where it is known.
    pub remove_set: BTreeMap<Uuid, (Option<SocketAddr>, Stamp)>,
}

/// A member of a cluster, as a state machine.
#[derive(Debug)]
pub struct Swim {
    config: Config,
    identity: Identity,
    outputs: VecDeque<Output>,
}

impl Swim {
    /// A member that is about to start. The same `seed` and inputs give the same outputs.
    ///
    /// # Errors
    /// When the configuration or the identity cannot work.
    pub fn new(config: Config, identity: Identity, seed: u64, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        identity.validate()?;
        let _ = (seed, now);
        Ok(Self { config, identity, outputs: VecDeque::new() })
    }

    /// Takes the world in.
    ///
    /// # Errors
    /// When the program asked for what cannot be done. Nothing was changed. Never for what came from the network.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Refused> {
        let _ = (now, input);
        Ok(())
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// Our id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.identity.id
    }

    /// The hash of our cluster's name, for stream prefaces.
    #[must_use]
    pub fn cluster_hash(&self) -> wire::ClusterHash {
        self.config.cluster_hash()
    }

    /// All members that are known, ourselves and the dead included, in order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: Uuid) -> Option<Member> {
        let _ = id;
        None
    }

    /// The two dictionaries.
    #[must_use]
    pub fn state(&self) -> State {
        State::default()
    }

    /// Counters for people and for `/metrics`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams that came in, good or bad.
    pub packets_received: u64,
    /// Packets and frames dropped for what they were: not ours, cut short, malformed, of a version we do not speak.
    pub malformed: u64,
    /// Packets and frames of a cluster with another name.
    pub foreign_cluster: u64,
    /// Statements refused for a stamp that is years ahead.
    pub absurd_stamps: u64,
    /// Stamps further ahead of our wall clock than the drift bound: somebody's clock is wrong.
    pub drifted_stamps: u64,
    /// Probes that named somebody else: we have an address that was another's.
    pub not_for_us: u64,
    /// Statements not taken in because there are too many members.
    pub members_refused: u64,
    /// User broadcasts that made room for others, or grew too old, before they were sent as often as they should.
    pub broadcasts_dropped: u64,
    /// Requests dropped because too many were under way: probes to relay, exchanges to start.
    pub overloaded: u64,
}
