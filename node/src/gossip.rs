//! This node's membership: sockets, address, and the roster that the rest of the node goes by.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use muster_cluster::runtime::{Cluster, Metrics, View};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::metrics::{Kind, Text};
use crate::roster::Roster;

/// How often a pair of sockets on one free port is tried for: the port that TCP gets may be taken on UDP.
const PORT_TRIES: usize = 16;

/// Binds the peer port: UDP and TCP on the same one; port 0 picks one that is free on both.
pub async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if address.port() == 0 => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether an address is one of this host's own: then one can bind to it.
pub async fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).await.is_ok()
}

/// The address that this host would use towards `target`; loopback when it would use none. Nothing is sent.
pub async fn outward(target: SocketAddr) -> IpAddr {
    let any: SocketAddr =
        if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(target).await?;
        socket.local_addr()
    };
    asked.await.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |local| local.ip())
}

/// Keeps the roster as the membership sees it, until that stops.
pub fn follow(cluster: &Cluster, roster: watch::Sender<Arc<Roster>>) {
    let mut views = cluster.members();
    let read = |view: &View| Arc::new(Roster::of(&view.members));
    roster.send_replace(read(&views.borrow_and_update().clone()));
    tokio::spawn(async move {
        while views.changed().await.is_ok() {
            let next = read(&views.borrow_and_update().clone());
            // What changes all the time (when each was heard) wakes nobody.
            roster.send_if_modified(|before| {
                let changed = !before.same_but_for_times(&next);
                *before = next;
                changed
            });
        }
    });
}

/// Adds gossip's counters to `/metrics`.
pub fn collect(metrics: &Metrics, into: &mut Text) {
    let swim = &metrics.swim;
    into.single("muster_gossip_datagrams_sent_total", Kind::Counter, "Datagrams sent.", metrics.datagrams_sent);
    into.single(
        "muster_gossip_datagrams_received_total",
        Kind::Counter,
        "Datagrams received.",
        metrics.datagrams_received,
    );
    into.single(
        "muster_gossip_bytes_sent_total",
        Kind::Counter,
        "Bytes sent as datagrams.",
        metrics.datagram_bytes_sent,
    );
    into.single(
        "muster_gossip_bytes_received_total",
        Kind::Counter,
        "Bytes received as datagrams.",
        metrics.datagram_bytes_received,
    );
    into.family("muster_gossip_dropped_total", Kind::Counter, "What was dropped, by the reason.");
    for (reason, count) in [
        ("socket_full", metrics.datagrams_dropped),
        ("socket_error", metrics.datagram_errors),
        ("malformed", swim.malformed),
        ("other_cluster", swim.foreign_cluster + metrics.refused_other_cluster),
        ("absurd_stamp", swim.absurd_stamps),
        ("not_for_us", swim.not_for_us),
        ("too_many_members", swim.members_refused),
        ("overloaded", swim.overloaded + metrics.refused_busy),
        ("crowded_out", metrics.connections_crowded_out),
        ("late_preface", metrics.prefaces_late),
        ("malformed_preface", metrics.prefaces_malformed),
        ("version", metrics.refused_version),
    ] {
        into.sample("muster_gossip_dropped_total", &[("reason", reason)], count);
    }
    into.single(
        "muster_gossip_drifted_stamps_total",
        Kind::Counter,
        "Stamps beyond the drift bound.",
        swim.drifted_stamps,
    );
    into.single(
        "muster_gossip_exchanges_dialled_total",
        Kind::Counter,
        "Full exchanges begun here.",
        metrics.exchanges_dialled,
    );
    into.single(
        "muster_gossip_exchanges_failed_total",
        Kind::Counter,
        "Full exchanges that failed.",
        metrics.exchanges_failed,
    );
    into.single(
        "muster_peer_streams_accepted_total",
        Kind::Counter,
        "Streams of peers accepted.",
        metrics.streams_accepted,
    );
}
