//! A member whose datagrams do not arrive, on real sockets: streams show that it lives.

use muster_cluster::swim::{Event, MemberState};
use tokio::net::{TcpListener, UdpSocket};

use crate::fixture::{Plan, start_all};

/// A TCP socket on one loopback address and a UDP socket with the same port on another: what is sent to the first one by datagram
/// arrives nowhere.
async fn bind_deaf() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = tcp.local_addr().expect("an address").port();
        // Nobody else's socket may hear what is meant for it either.
        let free = UdpSocket::bind(("127.0.0.1", port)).await.is_ok();
        if let (true, Ok(udp)) = (free, UdpSocket::bind(("127.0.0.2", port)).await) {
            return (udp, tcp);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_only_streams_reach_stays() {
    let nodes = start_all(2).await;
    let (udp, tcp) = bind_deaf().await;
    let deaf = Plan::new(9).seeds([nodes[0].cluster.local_address()]).start_on(udp, tcp).await;
    for node in &nodes {
        node.sees_one(deaf.id(), MemberState::Alive).await;
    }
    let mut events = nodes[0].cluster.events();
    nodes[0].counts("ten answers over streams", |metrics| metrics.swim.probes_stream >= 10).await;
    assert_eq!(nodes[0].metrics().await.swim.last_by_stream, Some(deaf.id()));
    assert!(nodes[0].metrics().await.probe_streams_dialled >= 10);
    assert!(deaf.metrics().await.probe_streams_accepted >= 10);
    let mut given_up = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Failed(member) = event {
            given_up.push(member.id);
        }
    }
    assert!(given_up.is_empty(), "{given_up:?}");
    nodes[0].sees(3, MemberState::Alive).await;
    let report = nodes[0].cluster.report().await.expect("it runs");
    assert!(report.round_trip_p99.is_some() && report.live == 3, "{report}");
}
