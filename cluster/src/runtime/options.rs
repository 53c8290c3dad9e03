//! What a driver is started with.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{key_chain::KeyStore, stamp::StampStore};
use crate::{keyring::Keyring, swim, world};

/// Who this member is, how it behaves and where it looks for others.
pub struct Options {
    /// The protocol's settings, the cluster's name among them.
    pub config: swim::Config,
    /// This member's id, kept across restarts.
    pub id: Uuid,
    /// A random number drawn afresh at every start, to tell two live copies of one identity apart.
    pub boot: u64,
    /// Where others reach this member: one port for UDP and TCP. Not the unspecified address.
    pub address: SocketAddr,
    /// What the others are told of it, opaque here.
    pub metadata: Bytes,
    /// Where to look for others: `host:port`. Names are resolved afresh at every try.
    pub seeds: Vec<String>,
    /// The keys that it seals and opens with; open by default.
    pub keys: Keyring,
    /// What keeps the ring when it changes; none by default: the next start is told again.
    pub key_store: Option<Box<dyn KeyStore>>,
    /// What keeps this member's last stamp.
    pub stamps: Box<dyn StampStore>,
    /// The bounds of queues and slots.
    pub limits: Limits,
}

impl Options {
    /// Options with the standard limits, no metadata and no seeds; the boot number is drawn here.
    pub fn new(config: swim::Config, id: Uuid, address: SocketAddr, stamps: impl StampStore) -> Self {
        Self {
            config,
            id,
            boot: world::random(),
            address,
            metadata: Bytes::new(),
            seeds: Vec::new(),
            keys: Keyring::default(),
            key_store: None,
            stamps: Box::new(stamps),
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("config", &self.config)
            .field("id", &self.id)
            .field("address", &self.address)
            .field("seeds", &self.seeds)
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The bounds of a driver's queues and slots, and how long it waits for strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Accepted connections whose preface is awaited: 64 by default, a few hundred kilobytes at worst. Full, the one that has been silent longest is
    /// closed for the next, and counted.
    pub handshakes: usize,
    /// Of these, how many from one IP address: 16 by default, so that one silent stranger leaves room for the others.
    pub handshakes_per_address: usize,
    /// How long a preface or its answer may take: 2 s by default. Peers send it in the same breath as they connect; a lost
    /// packet costs a second or so to repair.
    pub handshake_timeout: Duration,
    /// How long a connection may take to stand: 1 s by default, a round trip and one repetition.
    pub connect_timeout: Duration,
    /// Full-state exchanges served at once: 8 by default. A frame has up to 16 MiB, so that is what bounds their memory. Full, the
    /// asker is told that we are busy.
    pub exchanges: usize,
    /// Probes over streams that are answered at once: 64 by default. Full, the asker is told that we are busy.
    pub probes: usize,
    /// Streams of the program's kinds that wait to be taken from the receiver: 64 by default. Full, the dialler is told that we are busy.
    pub incoming_streams: usize,
    /// Events kept for a slow receiver: 1,024 by default. Full, the oldest go, and the receiver is told how many it missed.
    pub events: usize,
    /// How often the membership's figures go to the log: every 5 minutes by default. Zero: never.
    pub report_every: Duration,
    /// Requests of handles that wait for the owner task: 256 by default. Full, the handle waits.
    pub commands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 64,
            handshakes_per_address: 16,
            handshake_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            exchanges: 8,
            probes: 64,
            incoming_streams: 64,
            events: 1_024,
            report_every: Duration::from_secs(300),
            commands: 256,
        }
    }
}

impl Limits {
    /// The channels cannot have less than one place.
    pub(super) fn at_least_one(mut self) -> Self {
        for bound in [
            &mut self.handshakes,
            &mut self.handshakes_per_address,
            &mut self.exchanges,
            &mut self.probes,
            &mut self.incoming_streams,
            &mut self.events,
            &mut self.commands,
        ] {
            *bound = (*bound).max(1);
        }
        self
    }
}
