//! The border of the core on one page: what comes in, what goes out, and what can be read off it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use uuid::Uuid;

use super::event::Event;
use super::hlc::Stamp;
use crate::keyring::Keyring;

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The time of [`Swim::next_deadline`](super::Swim::next_deadline) has come. Too early or too often does no harm.
    Tick,
    /// A datagram arrived.
    Datagram {
        /// From where.
        from: SocketAddr,
        /// All of it.
        bytes: Bytes,
    },
    /// A frame arrived on a stream of the membership's own: the body, without the length before it.
    Frame {
        /// On which.
        stream: StreamId,
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
    /// [`MAX_SEEDS`] are kept. A member that has seeds listens to one of them before it announces itself, so hand them in at the
    /// start, before the outputs are performed. Ours are not looked for; an empty list says that we start alone.
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
    /// Seal and open packets with these keys from now on. Hand them in at the start, before the outputs are performed.
    Keys(Keyring),
    /// Say goodbye; [`Event::LeaveDone`] follows. There is no way back: a member that returns is a new
    /// [`Swim`](super::Swim).
    Leave,
}

/// What goes out. The driver performs outputs in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send it over UDP, once.
    Datagram {
        /// To where.
        to: SocketAddr,
        /// All of it, at most [`super::wire::PACKET_BUDGET`].
        bytes: Bytes,
    },
    /// Open a stream of kind [`super::wire::StreamKind::Exchange`] and send the frame on it (its length before it, see
    /// [`super::wire::frame_head`]). Frames that come back are [`Input::Frame`].
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
    /// Open a stream of kind [`super::wire::StreamKind::Probe`] and send the frame on it, to see whether a member that answers no datagram
    /// answers that. Otherwise as [`Output::OpenStream`]; there may be some of them beside the exchanges.
    ProbeStream {
        /// How it is called from now on.
        stream: StreamId,
        /// Where to.
        to: SocketAddr,
        /// Whom it means, for the preface.
        target: Uuid,
        /// The frame's body.
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
    /// If the disk refuses, try again until it does not: meanwhile the member goes on with the stamp that it has, cannot refute, and is
    /// silent if it has none.
    PersistStamp {
        /// What to hand back as [`Identity::last_stamp`](super::Identity::last_stamp) at the next start.
        stamp: Stamp,
    },
    /// The program should know.
    Event(Event),
}

/// A stream of the membership's own: a full-state exchange or a probe.
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

/// What was counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams that came in, good or bad.
    pub packets_received: u64,
    /// Bytes of the datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of the datagrams that came in.
    pub bytes_received: u64,
    /// Packets and frames dropped for what they were: not ours, cut short, malformed, of a version we do not speak.
    pub malformed: u64,
    /// Packets and frames of a cluster with another name.
    pub foreign_cluster: u64,
    /// Packets dropped because they were changed on their way: their sums say so.
    pub damaged: u64,
    /// Packets dropped because they are not sealed.
    pub unsealed: u64,
    /// Packets dropped because they are sealed with a key that we do not have.
    pub unknown_keys: u64,
    /// Packets dropped because their seal is broken, or was made for an earlier life of ours.
    pub bad_seals: u64,
    /// Sealed packets dropped because they were here before; user messages in sealed packets that were not meant for one life of ours.
    pub replayed: u64,
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
    /// Bytes of the frames of exchanges that we sent.
    pub sync_bytes_sent: u64,
    /// Bytes of those that came in.
    pub sync_bytes_received: u64,
    /// Probes of ours that were begun, but those of the dead.
    pub probes: u64,
    /// Of these, answered first by the target's own datagram.
    pub probes_direct: u64,
    /// Answered first by way of a relay.
    pub probes_indirect: u64,
    /// Answered first over a stream. Many of these say that datagrams are blocked.
    pub probes_stream: u64,
    /// The member that answered last over a stream first.
    pub last_by_stream: Option<Uuid>,
    /// Not answered at all, while the life that was probed was thought to live.
    pub probes_failed: u64,
    /// Relays that said that they heard nothing of the target either.
    pub nacks_received: u64,
    /// Relays that said nothing at all, though they could have.
    pub nacks_missed: u64,
    /// Times that we told an asker that we heard nothing of the target.
    pub nacks_sent: u64,
    /// Periods that began late by more than half a probe time-out: this machine is busy, or was asleep.
    pub timers_late: u64,
    /// Our score of health now: 0 is well. Probes take this many times longer, and once more.
    pub health: u32,
    /// Requests dropped because too many were under way: probes to relay, exchanges to start.
    pub overloaded: u64,
}
