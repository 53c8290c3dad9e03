//! What a driver counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::swim::{
    Stats,
    wire::{Refusal, StreamKind},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was counted since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Metrics {
            /// The protocol's own figures.
            pub swim: Stats,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters behind [`Metrics`]. Each stands alone, so the order between them does not matter.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn read(&self, swim: Stats) -> Metrics {
                Metrics { swim, $($name: self.$name.value(),)* }
            }
        }
    };
}

counters! {
    /// Datagrams handed to the socket.
    datagrams_sent,
    /// Bytes of these.
    datagram_bytes_sent,
    /// Datagrams taken from the socket.
    datagrams_received,
    /// Bytes of these.
    datagram_bytes_received,
    /// Datagrams not sent because the socket was full for longer than they are worth waiting for.
    datagrams_dropped,
    /// Datagrams that the socket refused: no route, host unreachable.
    datagram_errors,
    /// Exchange streams that we opened and that stood.
    exchanges_dialled,
    /// Exchange streams that we could not open.
    exchanges_failed,
    /// Exchange streams that we accepted.
    exchanges_accepted,
    /// Exchange and probe streams that took too long, or whose frames were malformed.
    exchanges_broken,
    /// Bytes of exchange frames sent, with their lengths.
    exchange_bytes_sent,
    /// Bytes of exchange frames received, with their lengths.
    exchange_bytes_received,
    /// Probe streams that we opened and that stood.
    probe_streams_dialled,
    /// Probe streams that we could not open.
    probe_streams_failed,
    /// Probe streams that we accepted.
    probe_streams_accepted,
    /// Connections accepted.
    connections,
    /// Connections closed unheard because too many prefaces were awaited.
    connections_crowded_out,
    /// Connections that could not be accepted: out of file descriptors, most likely.
    accept_errors,
    /// Connections whose preface took too long.
    prefaces_late,
    /// Connections that sent something else than a preface, or too little.
    prefaces_malformed,
    /// Connections closed because they are not sealed.
    streams_unsealed,
    /// Connections closed because they are sealed with a key that is not in the ring.
    streams_unknown_key,
    /// Connections closed because their seal is broken, or repeats an earlier one.
    streams_bad_seal,
    /// Streams that ended since something on them was changed on its way.
    streams_damaged,
    /// Requests about the keys that were served.
    key_requests,
    /// Streams refused: of another cluster.
    refused_other_cluster,
    /// Streams refused: another member was meant.
    refused_not_me,
    /// Streams refused: no common version.
    refused_version,
    /// Streams refused: a kind that nobody serves.
    refused_kind,
    /// Streams refused: too many.
    refused_busy,
    /// Streams of the program's kinds that were handed over.
    streams_accepted,
    /// Stamps that could not be stored.
    stamp_errors,
}

impl Counters {
    pub(super) fn dialled(&self, kind: StreamKind) {
        match kind {
            StreamKind::Exchange => self.exchanges_dialled.add(1),
            StreamKind::Probe => self.probe_streams_dialled.add(1),
            StreamKind::Keys | StreamKind::Reserved(_) | StreamKind::Application(_) => {}
        }
    }

    pub(super) fn not_dialled(&self, kind: StreamKind) {
        match kind {
            StreamKind::Exchange => self.exchanges_failed.add(1),
            StreamKind::Probe => self.probe_streams_failed.add(1),
            StreamKind::Keys | StreamKind::Reserved(_) | StreamKind::Application(_) => {}
        }
    }

    pub(super) fn refused(&self, why: Refusal) {
        match why {
            Refusal::OtherCluster => self.refused_other_cluster.add(1),
            Refusal::NotMe => self.refused_not_me.add(1),
            Refusal::Version => self.refused_version.add(1),
            Refusal::Kind => self.refused_kind.add(1),
            Refusal::Busy => self.refused_busy.add(1),
            Refusal::Stopping | Refusal::Other(_) => {}
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
