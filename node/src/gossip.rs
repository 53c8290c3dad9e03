//! This node's membership: sockets, and the roster that the rest of the node goes by.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use muster_cluster::runtime::{Cluster, Metrics, View};
use muster_cluster::swim::Report;
use muster_cluster::world::net::{TcpListener, UdpSocket};
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
        ("damaged", swim.damaged + metrics.streams_damaged),
        ("other_cluster", swim.foreign_cluster + metrics.refused_other_cluster),
        ("unsealed", swim.unsealed + metrics.streams_unsealed),
        ("unknown_key", swim.unknown_keys + metrics.streams_unknown_key),
        ("bad_seal", swim.bad_seals + metrics.streams_bad_seal),
        ("replayed", swim.replayed),
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
        "muster_gossip_exchange_bytes_sent_total",
        Kind::Counter,
        "Bytes of exchanges sent.",
        metrics.exchange_bytes_sent,
    );
    into.single(
        "muster_gossip_exchange_bytes_received_total",
        Kind::Counter,
        "Bytes of exchanges received.",
        metrics.exchange_bytes_received,
    );
    into.family("muster_gossip_probes_total", Kind::Counter, "Probes that are over, by how they were answered first.");
    for (result, count) in [
        ("direct", swim.probes_direct),
        ("indirect", swim.probes_indirect),
        ("stream", swim.probes_stream),
        ("failed", swim.probes_failed),
    ] {
        into.sample("muster_gossip_probes_total", &[("result", result)], count);
    }
    into.family(
        "muster_gossip_nacks_total",
        Kind::Counter,
        "Relays that heard nothing: heard of, awaited in vain, said.",
    );
    for (what, count) in [("received", swim.nacks_received), ("missed", swim.nacks_missed), ("sent", swim.nacks_sent)] {
        into.sample("muster_gossip_nacks_total", &[("what", what)], count);
    }
    into.single("muster_gossip_late_timers_total", Kind::Counter, "Periods that began late here.", swim.timers_late);
    into.single(
        "muster_peer_streams_accepted_total",
        Kind::Counter,
        "Streams of peers accepted.",
        metrics.streams_accepted,
    );
}

/// Adds gossip's figures of this moment.
pub fn collect_report(report: &Report, into: &mut Text) {
    into.single("muster_gossip_health", Kind::Gauge, "Score of this node's own health; 0 is well.", report.health);
    into.family("muster_gossip_queue", Kind::Gauge, "What waits to be passed on or is under way.");
    for (queue, length) in [
        ("news", report.news_queued),
        ("broadcasts", report.broadcasts_queued),
        ("relays", report.relays),
        ("exchanges", report.exchanges),
        ("timers", report.timers),
    ] {
        into.sample("muster_gossip_queue", &[("queue", queue)], length);
    }
    into.single("muster_gossip_loss_ratio", Kind::Gauge, "Share of datagrams lost lately, by the probes.", report.loss);
    into.single(
        "muster_gossip_ping_chance",
        Kind::Gauge,
        "Estimated chance that a member is probed in a period.",
        report.ping_chance,
    );
    into.single(
        "muster_gossip_all_know_seconds",
        Kind::Gauge,
        "Estimated time until all know of news.",
        report.all_know.as_secs_f64(),
    );
    let name = "muster_gossip_round_trip_seconds";
    into.family(name, Kind::Histogram, "Round trips of direct probes.");
    let bucket = format!("{name}_bucket");
    let mut count = 0;
    for (bound, within) in &report.round_trips.buckets {
        count += within;
        into.sample(&bucket, &[("le", &bound.as_secs_f64().to_string())], count);
    }
    count += report.round_trips.beyond;
    into.sample(&bucket, &[("le", "+Inf")], count);
    into.sample(&format!("{name}_sum"), &[], report.round_trips.sum.as_secs_f64());
    into.sample(&format!("{name}_count"), &[], count);
    collect_accusations(report, into);
}

/// Who accused whom: the pairs that were heard of last; all others in one sample without names, so that sums only grow.
fn collect_accusations(report: &Report, into: &mut Text) {
    let lines = || {
        let named = report.accusations.iter().map(|line| (line.by.to_string(), line.of.to_string(), line.verdicts));
        named.chain([(String::new(), String::new(), report.other_accusations)])
    };
    for (name, help, read) in [
        ("muster_gossip_accusations_total", "Times that one member suspected another.", 0),
        ("muster_gossip_refutations_total", "Accusations that the accused showed to be wrong.", 1),
        ("muster_gossip_convictions_total", "Accusations after which the accused was given up or left.", 2),
    ] {
        into.family(name, Kind::Counter, help);
        for (by, of, verdicts) in lines() {
            let count = [verdicts.accused, verdicts.refuted, verdicts.upheld][read];
            into.sample(name, &[("by", &by), ("of", &of)], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_cluster::swim::{Accusations, Histogram, Verdicts};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_report_becomes_families_whose_buckets_add_up() {
        let verdicts = Verdicts { accused: 3, refuted: 2, upheld: 1 };
        let report = Report {
            live: 3,
            suspected: 1,
            known: 4,
            health: 2,
            news_queued: 5,
            broadcasts_queued: 0,
            relays: 0,
            exchanges: 0,
            timers: 9,
            round_trips: Histogram {
                buckets: vec![(Duration::from_millis(1), 4), (Duration::from_millis(5), 2)],
                beyond: 1,
                sum: Duration::from_millis(20),
            },
            round_trip_p99: None,
            loss: 0.25,
            ping_chance: 0.75,
            all_know: Duration::from_millis(400),
            accusations: vec![Accusations { by: Uuid::from_u128(1), of: Uuid::from_u128(2), verdicts }],
            other_accusations: Verdicts::default(),
        };
        let mut text = Text::default();
        collect_report(&report, &mut text);
        let page = text.into_string();
        for line in [
            "muster_gossip_health 2",
            "muster_gossip_queue{queue=\"news\"} 5",
            "muster_gossip_loss_ratio 0.25",
            "muster_gossip_all_know_seconds 0.4",
            "muster_gossip_round_trip_seconds_bucket{le=\"0.001\"} 4",
            "muster_gossip_round_trip_seconds_bucket{le=\"0.005\"} 6",
            "muster_gossip_round_trip_seconds_bucket{le=\"+Inf\"} 7",
            "muster_gossip_round_trip_seconds_sum 0.02",
            "muster_gossip_round_trip_seconds_count 7",
            "muster_gossip_refutations_total{by=\"00000000-0000-0000-0000-000000000001\",of=\"00000000-0000-0000-0000-000000000002\"} 2",
            "muster_gossip_convictions_total{by=\"\",of=\"\"} 0",
        ] {
            assert!(page.lines().any(|given| given == line), "{line} is not in\n{page}");
        }
    }
}
