//! What is under way in the network, by the time at which it is due.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::connection::{Connection, Side};
use crate::world::Millis;

/// Something that arrives, or is looked at.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Arc<[u8]>,
    },
    /// The other side is asked whether it takes the connection.
    Syn(Arc<Connection>),
    /// Its answer.
    SynAnswer(Arc<Connection>, bool),
    /// Segments that this side sent may have arrived.
    Segments(Arc<Connection>, Side),
    /// This side hears that the connection is none any more.
    Reset(Arc<Connection>, Side),
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BTreeMap<(Millis, u64), Arrival>,
    next: u64,
}

impl Queue {
    /// What is due at the same time arrives in the order in which it was put in.
    pub(crate) fn put(&mut self, at: Millis, arrival: Arrival) {
        self.next += 1;
        self.due.insert((at, self.next), arrival);
    }

    pub(crate) fn pop(&mut self, now: Millis) -> Option<Arrival> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
