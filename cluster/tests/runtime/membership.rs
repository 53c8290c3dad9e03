//! Members find each other, notice who is gone, and tell each other things.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use muster_cluster::{
    runtime::{Cluster, LeaveError, OpenError, Options, RequestError, StampFile, StampStore, StartError, Stopped},
    swim::{Event, MAX_MESSAGE, MemberState, Refused, Stamp},
};
use tokio::net::{TcpListener, UdpSocket};
use uuid::Uuid;

use crate::fixture::{DEADLINE, Plan, bind, config, event, start_all, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_find_each_other_through_one_and_the_one_that_stops_is_failed_everywhere() {
    let mut nodes = start_all(5).await;
    let victim = nodes.remove(4);
    let mut events = nodes[3].cluster.events();
    victim.cluster.stop().await;
    for node in &nodes {
        node.sees_one(victim.id(), MemberState::Failed).await;
        node.sees(4, MemberState::Alive).await;
    }
    let failed = event(&mut events, |event| match event {
        Event::Failed(member) => Some(member.id),
        _ => None,
    });
    assert_eq!(failed.await, victim.id());
    let state = nodes[0].cluster.state().await.expect("it runs");
    assert_eq!(state.add_set.len(), 5);
    assert!(state.remove_set.contains_key(&victim.id()));
    let metrics = nodes[0].metrics().await;
    assert!(
        metrics.datagrams_sent > 0 && metrics.datagrams_received > 0 && metrics.exchanges_accepted > 0,
        "{metrics:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_left_and_not_failed_and_does_no_more() {
    let nodes = start_all(3).await;
    let leaver = &nodes[2];
    let heard_by = leaver.cluster.leave(DEADLINE).await.expect("a good leave");
    assert!(heard_by > 0);
    for node in &nodes[..2] {
        node.sees_one(leaver.id(), MemberState::Left).await;
    }
    assert_eq!(leaver.cluster.state().await, Err(Stopped));
    assert_eq!(leaver.cluster.leave(DEADLINE).await, Err(LeaveError::Stopped(Stopped)));
    let refused = leaver.cluster.open_stream(nodes[0].id(), 16).await;
    assert!(matches!(refused, Err(OpenError::Stopped)), "{refused:?}");
    let gone = nodes[0].cluster.open_stream(leaver.cluster.local_address(), 16).await;
    assert!(gone.as_ref().is_err_and(OpenError::process_is_gone), "its port is closed: {gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_starts_again_is_known_by_a_newer_stamp() {
    let nodes = start_all(2).await;
    let [stays, goes] = <[_; 2]>::try_from(nodes).unwrap_or_else(|_| unreachable!("two were started"));
    let incarnation = |id| stays.cluster.view().member(id).map(|member| member.incarnation);
    let (id, first) = (goes.id(), incarnation(goes.id()));
    goes.cluster.stop().await;
    let stored = StampFile::new(goes.folder.path().join("stamp")).load().expect("a stamp");
    assert_eq!(Some(stored), first, "what was used is on the disk");
    let seeds = [stays.cluster.local_address()];
    let back = Plan { folder: goes.folder, ..Plan::new(2) }.seeds(seeds).start().await;
    let newer = |view: &muster_cluster::runtime::View| {
        view.member(id).is_some_and(|member| Some(member.incarnation) > first && member.state == MemberState::Alive)
    };
    stays.view_is("back with a newer stamp", newer).await;
    assert_eq!(stays.cluster.view().member(id).map(|member| member.address), Some(back.cluster.local_address()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_broadcasts_and_messages_arrive() {
    let nodes = start_all(3).await;
    let mut first = nodes[0].cluster.events();
    let mut second = nodes[1].cluster.events();

    nodes[2].cluster.set_metadata("role=learner").await.expect("short enough");
    let id = nodes[2].id();
    for node in &nodes {
        let told = |view: &muster_cluster::runtime::View| {
            view.member(id).is_some_and(|member| member.metadata == "role=learner")
        };
        node.view_is("the new metadata", told).await;
    }

    nodes[2].cluster.broadcast("to all").await.expect("short enough");
    for events in [&mut first, &mut second] {
        let heard = event(events, |event| match event {
            Event::Broadcast { from, payload } => Some((from, payload)),
            _ => None,
        });
        assert_eq!(heard.await, (id, Bytes::from("to all")));
    }

    nodes[2].cluster.send_to(nodes[0].id(), "to one").await.expect("it lives");
    let heard = event(&mut first, |event| match event {
        Event::Message { from, payload } => Some((from, payload)),
        _ => None,
    });
    assert_eq!(heard.await, (id, Bytes::from("to one")));

    let stranger = Uuid::from_u128(77);
    let refused = nodes[2].cluster.send_to(stranger, "x").await;
    assert_eq!(refused, Err(RequestError::Refused(Refused::UnknownMember(stranger))));
    let refused = nodes[2].cluster.broadcast(vec![0; MAX_MESSAGE + 1]).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refused::TooLarge { .. }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_may_be_names_and_may_be_told_later() {
    let first = Plan::new(1).start().await;
    let port = first.cluster.local_address().port();
    let by_name = Plan { seeds: vec![format!("localhost:{port}")], ..Plan::new(2) }.start().await;
    let later = Plan::new(3).start().await;
    later.sees(1, MemberState::Alive).await;
    assert!(later.cluster.add_seeds(vec!["nowhere".to_owned()]).is_err());
    later.cluster.add_seeds(vec![format!("127.0.0.1:{port}")]).expect("a good seed");
    for node in [&first, &by_name, &later] {
        node.sees(3, MemberState::Alive).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_another_name_is_never_joined() {
    let first = Plan::new(1).start().await;
    let seeds = [first.cluster.local_address()];
    let other = Plan { name: "other", ..Plan::new(2) }.seeds(seeds).start().await;
    first.counts("a refusal", |metrics| metrics.refused_other_cluster > 0).await;
    other.counts("a failed exchange", |metrics| metrics.exchanges_failed > 0).await;
    // Each comes to know itself, and nobody else.
    for node in [&first, &other] {
        node.sees(1, MemberState::Alive).await;
        assert_eq!(node.cluster.view().members.len(), 1);
    }
    let refused = other.cluster.open_stream(first.cluster.local_address(), 16).await;
    assert!(matches!(&refused, Err(OpenError::Refused { by, .. }) if *by == first.id()), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_datagrams_are_counted_and_do_no_harm() {
    let nodes = start_all(2).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let to = nodes[0].cluster.local_address();
    let garbage: [&[u8]; 4] = [b"", b"x", &[0; 1_400], &[0xff; 60_000]];
    let before = nodes[0].metrics().await.swim.malformed;
    for bytes in garbage {
        socket.send_to(bytes, to).await.expect("sent");
    }
    nodes[0].counts("four malformed packets", |metrics| metrics.swim.malformed >= before + 4).await;
    nodes[0].sees(2, MemberState::Alive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_handle_dropped_ends_it() {
    let nodes = start_all(2).await;
    let [stays, goes] = <[_; 2]>::try_from(nodes).unwrap_or_else(|_| unreachable!("two were started"));
    let id = goes.id();
    let mut events = goes.cluster.events();
    drop(goes);
    within("the end of its events", async { while events.recv().await.is_ok() {} }).await;
    stays.sees_one(id, MemberState::Failed).await;
}

/// A store that cannot tell, or that tells and cannot keep.
struct Broken {
    loads: bool,
}

impl StampStore for Broken {
    fn load(&mut self) -> std::io::Result<Stamp> {
        if self.loads { Ok(Stamp::ZERO) } else { Err(std::io::Error::other("no disk")) }
    }

    fn store(&mut self, _: Stamp) -> std::io::Result<()> {
        Err(std::io::Error::other("no disk"))
    }
}

async fn start(options: Options, udp: UdpSocket, tcp: TcpListener) -> Result<Cluster, StartError> {
    Cluster::start(options, udp, tcp).await.map(|(cluster, _)| cluster)
}

#[tokio::test]
async fn what_cannot_work_is_not_started() {
    let options =
        |address: SocketAddr, loads| Options::new(config("test"), Uuid::from_u128(1), address, Broken { loads });
    let (udp, tcp) = bind().await;
    let here = tcp.local_addr().expect("an address");
    assert!(matches!(start(options(here, false), udp, tcp).await, Err(StartError::Stamp(_))));

    let ((udp, _), (_, tcp)) = (bind().await, bind().await);
    assert!(matches!(start(options(here, true), udp, tcp).await, Err(StartError::Ports { .. })));

    let (udp, tcp) = bind().await;
    let mut bad_seed = options(here, true);
    bad_seed.seeds.push("http://registry".to_owned());
    assert!(matches!(start(bad_seed, udp, tcp).await, Err(StartError::Seed(_))));

    let (udp, tcp) = bind().await;
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(matches!(start(options(nowhere, true), udp, tcp).await, Err(StartError::Config(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_stamp_cannot_be_stored_stays_unknown_and_says_why() {
    let first = Plan::new(1).start().await;
    let (udp, tcp) = bind().await;
    let here = tcp.local_addr().expect("an address");
    let mut options = Options::new(config("test"), Uuid::from_u128(2), here, Broken { loads: true });
    options.seeds.push(first.cluster.local_address().to_string());
    let silent = start(options, udp, tcp).await.expect("it starts");
    within("the failed store", async {
        while silent.metrics().await.expect("it runs").stamp_errors == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    first.counts("an exchange with it", |metrics| metrics.exchanges_accepted > 0).await;
    assert!(first.cluster.view().member(Uuid::from_u128(2)).is_none());
}
