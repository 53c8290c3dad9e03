//! Who looks on: everything that happens in a run is told to one watcher, which counts, records or judges.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::swim::{Event, Input, Stamp, Swim};

/// Something that happened. Hosts are numbered in the order in which they were added, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening<'a> {
    /// A member started.
    Started {
        /// Where.
        host: usize,
        /// Who.
        id: Uuid,
        /// The random number of this start.
        boot: u64,
    },
    /// A member's process is gone, by a crash or after it left.
    Ended {
        /// Where.
        host: usize,
    },
    /// A process was stopped or made mute, or goes on.
    Held {
        /// Where.
        host: usize,
        /// Whether it is held now.
        held: bool,
    },
    /// A stamp is on a disk.
    Persisted {
        /// Where.
        host: usize,
        /// Whose.
        id: Uuid,
        /// Which.
        stamp: Stamp,
    },
    /// A program asked its member for something.
    Asked {
        /// Where.
        host: usize,
        /// For what.
        input: &'a Input,
    },
    /// A datagram was sent.
    Sent {
        /// By whom.
        host: usize,
        /// To where.
        to: SocketAddr,
        /// All of it.
        bytes: &'a Bytes,
    },
    /// A datagram did not arrive: lost on the way, cut off, or the socket was full.
    Lost {
        /// Whose.
        host: usize,
    },
    /// A datagram was handed to a member.
    Arrived {
        /// At which host.
        host: usize,
    },
    /// A frame was sent on a stream.
    Framed {
        /// By whom.
        host: usize,
        /// Its body.
        bytes: &'a Bytes,
    },
    /// A program heard something from its member.
    Heard {
        /// Where.
        host: usize,
        /// What.
        event: &'a Event,
    },
}

/// A watcher.
pub trait Watch {
    /// Something happened, `at` that long after the beginning.
    fn note(&mut self, at: Duration, happening: &Happening<'_>) {
        let _ = (at, happening);
    }

    /// A member was handed something and its outputs, some at least, are about to be performed. `disk` is what its disk holds.
    fn stepped(&mut self, at: Duration, host: usize, swim: &Swim, disk: Stamp) {
        let _ = (at, host, swim, disk);
    }
}

/// Nobody looks.
impl Watch for () {}

/// Two look, one after the other.
impl<A: Watch, B: Watch> Watch for (A, B) {
    fn note(&mut self, at: Duration, happening: &Happening<'_>) {
        self.0.note(at, happening);
        self.1.note(at, happening);
    }

    fn stepped(&mut self, at: Duration, host: usize, swim: &Swim, disk: Stamp) {
        self.0.stepped(at, host, swim, disk);
        self.1.stepped(at, host, swim, disk);
    }
}

/// Keeps what programs heard, and a fingerprint of everything.
#[derive(Debug, Default)]
pub struct Record {
    /// When, at which host, what.
    pub events: Vec<(Duration, usize, Event)>,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Datagrams that did not arrive.
    pub lost: u64,
    trace: DefaultHasher,
}

impl Record {
    /// Two runs that gave the same did the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.trace.finish()
    }
}

impl Watch for Record {
    fn note(&mut self, at: Duration, happening: &Happening<'_>) {
        match happening {
            Happening::Sent { host, to, bytes } => {
                self.sent += 1;
                (at, host, to, bytes).hash(&mut self.trace);
            }
            Happening::Framed { host, bytes } => (at, host, bytes).hash(&mut self.trace),
            Happening::Lost { .. } => self.lost += 1,
            Happening::Heard { host, event } => {
                (at, host, format!("{event:?}")).hash(&mut self.trace);
                self.events.push((at, *host, (*event).clone()));
            }
            Happening::Started { .. }
            | Happening::Ended { .. }
            | Happening::Held { .. }
            | Happening::Persisted { .. }
            | Happening::Asked { .. }
            | Happening::Arrived { .. } => (at, format!("{happening:?}")).hash(&mut self.trace),
        }
    }
}
